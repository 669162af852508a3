#include "colmap_plugin/io/hloc_files.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "nre/error.h"

namespace nre {
namespace {

// COLMAP's image coordinates minus hloc's.
constexpr double kColmapMinusHloc = 0.5;

[[noreturn]] void Fail(const std::string& file,
                       const std::string& path,
                       const std::string& why) {
  throw InputError("hloc's file " + file + " cannot be used: `" + path + "` " +
                   why + ".");
}

// How a matches file writes the name of an image.
std::string NameInPair(std::string image_name) {
  std::replace(image_name.begin(), image_name.end(), '/', '-');
  return image_name;
}

std::string GroupOf(const ImagePair& pair, char separator) {
  return NameInPair(pair.first) + separator + NameInPair(pair.second);
}

ImagePair Swapped(const ImagePair& pair) { return {pair.second, pair.first}; }

using NamesInPairs = std::multimap<std::string, std::string>;

// All pairs of images that a group may be of.
std::vector<ImagePair> PairsOfGroup(const std::string& group,
                                    const NamesInPairs& names) {
  // The names in an old file may have the separator in them.
  const char separator = group.find('/') == std::string::npos ? '_' : '/';
  std::vector<ImagePair> pairs;
  for (size_t at = group.find(separator); at != std::string::npos;
       at = group.find(separator, at + 1)) {
    const auto [begin1, end1] = names.equal_range(group.substr(0, at));
    const auto [begin2, end2] = names.equal_range(group.substr(at + 1));
    for (auto name1 = begin1; name1 != end1; ++name1) {
      for (auto name2 = begin2; name2 != end2; ++name2) {
        pairs.emplace_back(name1->second, name2->second);
      }
    }
  }
  return pairs;
}

}  // namespace

std::vector<std::string> HlocFeaturesFile::ImageNames() const {
  const std::vector<std::string> names = file_.GroupsWith("keypoints");
  if (names.empty()) {
    throw InputError("hloc's file " + path() +
                     " has no features: no group in it has `keypoints`.");
  }
  return names;
}

HlocFeatures HlocFeaturesFile::Read(const std::string& image_name) const {
  HlocFeatures features;
  const std::string path = image_name + "/keypoints";
  const Hdf5Array<float> keypoints = file_.Read<float>(path, 2);
  if (!keypoints.values.empty() && keypoints.shape[1] != 2) {
    Fail(file_.path(),
         path,
         "has " + std::to_string(keypoints.shape[1]) +
             " columns instead of 2, x and y");
  }
  for (size_t i = 0; i < keypoints.values.size(); i += 2) {
    const Eigen::Vector2d xy(keypoints.values[i], keypoints.values[i + 1]);
    if (!xy.allFinite()) {
      Fail(file_.path(), path, "has coordinates that are not finite");
    }
    features.keypoints.emplace_back(xy.array() + kColmapMinusHloc);
  }
  const std::string size_path = image_name + "/image_size";
  if (file_.Has(size_path)) {
    const Hdf5Array<int64_t> size = file_.Read<int64_t>(size_path, 1);
    if (size.values.size() != 2) {
      Fail(file_.path(), size_path, "is not (width, height)");
    }
    features.width = static_cast<int>(size.values[0]);
    features.height = static_cast<int>(size.values[1]);
  }
  return features;
}

void HlocFeaturesFile::Write(const std::string& image_name,
                             const HlocFeatures& features) {
  Hdf5Array<float> keypoints;
  keypoints.shape = {static_cast<int64_t>(features.keypoints.size()), 2};
  for (const Eigen::Vector2d& xy : features.keypoints) {
    keypoints.values.push_back(static_cast<float>(xy.x() - kColmapMinusHloc));
    keypoints.values.push_back(static_cast<float>(xy.y() - kColmapMinusHloc));
  }
  const std::string group = image_name + "/";
  file_.Write(group + "keypoints", keypoints, Hdf5Type::kFloat32);
  if (!features.descriptors.values.empty()) {
    file_.Write(
        group + "descriptors", features.descriptors, Hdf5Type::kFloat16);
  }
  file_.Write(group + "image_size",
              Hdf5Array<int64_t>{{2}, {features.width, features.height}},
              Hdf5Type::kInt64);
}

std::vector<ImagePair> HlocMatchesFile::Pairs(
    const std::vector<std::string>& image_names) const {
  NamesInPairs names;
  for (const std::string& name : image_names) {
    names.emplace(NameInPair(name), name);
  }
  std::vector<ImagePair> pairs;
  for (const std::string& group : file_.GroupsWith("matches0")) {
    const std::vector<ImagePair> candidates = PairsOfGroup(group, names);
    if (candidates.empty()) {
      Fail(path(),
           group,
           "is not a pair of images that the features file has. Expected two "
           "of their names, with - for /. Give the files that belong together, "
           "or choose pairs by a pairs file");
    }
    if (candidates.size() > 1) {
      Fail(path(),
           group,
           "may be " + candidates[0].first + " and " + candidates[0].second +
               " or " + candidates[1].first + " and " + candidates[1].second +
               ". Say which by a pairs file");
    }
    pairs.push_back(candidates[0]);
  }
  if (pairs.empty()) {
    throw InputError("hloc's file " + path() +
                     " has no matches: no group in it has `matches0`.");
  }
  return pairs;
}

KeypointMatches HlocMatchesFile::Read(const ImagePair& pair,
                                      size_t num_keypoints1,
                                      size_t num_keypoints2) const {
  std::optional<std::string> group;
  bool swapped = false;
  for (const char separator : {'/', '_'}) {
    for (const bool swap : {false, true}) {
      const std::string name = GroupOf(swap ? Swapped(pair) : pair, separator);
      if (!group.has_value() && file_.Has(name + "/matches0")) {
        group = name;
        swapped = swap;
      }
    }
  }
  if (!group.has_value()) {
    throw InputError("hloc's file " + path() + " has no matches of " +
                     pair.first + " and " + pair.second +
                     ". Leave the pair out of the pairs file, or match it.");
  }
  if (swapped) {
    std::swap(num_keypoints1, num_keypoints2);
  }
  const std::string dataset = *group + "/matches0";
  const std::vector<int64_t> matches0 = file_.Read<int64_t>(dataset, 1).values;
  if (matches0.size() > num_keypoints1) {
    Fail(path(),
         dataset,
         "is for " + std::to_string(matches0.size()) + " keypoints, but " +
             (swapped ? pair.second : pair.first) + " has " +
             std::to_string(num_keypoints1) +
             ". Give the features that were matched");
  }
  KeypointMatches matches;
  for (size_t i = 0; i < matches0.size(); ++i) {
    const int64_t j = matches0[i];
    if (j < -1 || j >= static_cast<int64_t>(num_keypoints2)) {
      Fail(path(),
           dataset,
           "names keypoint " + std::to_string(j) + " of " +
               (swapped ? pair.first : pair.second) + ", which has " +
               std::to_string(num_keypoints2) +
               ". Give the features that were matched");
    }
    if (j >= 0) {
      matches.emplace_back(swapped ? j : i, swapped ? i : j);
    }
  }
  return matches;
}

size_t HlocMatchesFile::Write(const ImagePair& pair,
                              size_t num_keypoints1,
                              const KeypointMatches& matches) {
  const std::string group = GroupOf(pair, '/') + "/";
  if (file_.Has(group + "matches0")) {
    Fail(path(),
         group,
         "is there already, for images called like " + pair.first + " and " +
             pair.second +
             " but for - and /, which hloc cannot tell apart. Rename images");
  }
  const auto size = static_cast<int64_t>(num_keypoints1);
  Hdf5Array<int64_t> matches0{{size}, std::vector<int64_t>(size, -1)};
  Hdf5Array<float> scores{{size}, std::vector<float>(size, 0.0f)};
  size_t num_left_out = 0;
  for (const auto& [first, second] : matches) {
    if (matches0.values[first] >= 0) {
      ++num_left_out;
      continue;
    }
    matches0.values[first] = second;
    scores.values[first] = 1.0f;
  }
  file_.Write(group + "matches0", matches0, Hdf5Type::kInt32);
  // hloc reads no matches without them.
  file_.Write(group + "matching_scores0", scores, Hdf5Type::kFloat16);
  return num_left_out;
}

}  // namespace nre
