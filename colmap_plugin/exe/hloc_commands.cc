// hloc_matches_exporter and hloc_matches_importer: keypoints and matches from a
// database into hloc's files, and back.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "colmap_plugin/controllers/parallel.h"
#include "colmap_plugin/controllers/seeds.h"
#include "colmap_plugin/exe/commands.h"
#include "colmap_plugin/exe/database_output.h"
#include "colmap_plugin/exe/messages.h"
#include "colmap_plugin/exe/options.h"
#include "colmap_plugin/exe/process.h"
#include "colmap_plugin/exe/progress.h"
#include "colmap_plugin/io/database.h"
#include "colmap_plugin/io/hloc_files.h"
#include "colmap_plugin/io/lists.h"
#include "colmap_plugin/io/output.h"
#include "nre/error.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

void CheckStop(const std::atomic<bool>& stop) {
  if (stop) {
    throw Interrupted();
  }
}

struct ExporterOptions {
  std::string database_path;
  std::string output_path;
  bool raw_matches = false;
};

// An image that has keypoints.
struct ExportedImage {
  std::string name;
  size_t num_keypoints = 0;
};

using ExportedImages = std::map<colmap::image_t, ExportedImage>;

// [128, N], of unit length, as hloc's extractors give them; zeros stay zeros.
Hdf5Array<float> ToHlocDescriptors(const std::vector<uint8_t>& descriptors) {
  constexpr size_t kSize = Database::kSiftSize;
  const size_t num = descriptors.size() / kSize;
  Hdf5Array<float> transposed{
      {static_cast<int64_t>(kSize), static_cast<int64_t>(num)},
      std::vector<float>(descriptors.size())};
  for (size_t i = 0; i < num; ++i) {
    const uint8_t* descriptor = &descriptors[i * kSize];
    float squared_norm = 0.0f;
    for (size_t j = 0; j < kSize; ++j) {
      squared_norm += static_cast<float>(descriptor[j] * descriptor[j]);
    }
    const float scale = squared_norm > 0 ? 1.0f / std::sqrt(squared_norm) : 0;
    for (size_t j = 0; j < kSize; ++j) {
      transposed.values[j * num + i] = scale * descriptor[j];
    }
  }
  return transposed;
}

ExportedImages ExportFeatures(const Database& database,
                              const std::string& path,
                              const std::atomic<bool>& stop) {
  HlocFeaturesFile file(path, Hdf5File::Mode::kCreate);
  const std::vector<Query> images =
      database.ReadQueries(database.ReadImageNames());
  ExportedImages exported;
  Progress progress("images", images.size());
  for (const Query& image : images) {
    CheckStop(stop);
    if (!image.error.empty()) {
      throw InputError("The image " + image.name +
                       " cannot be exported: " + image.error + ".");
    }
    HlocFeatures features;
    features.width = CameraWidth(image.camera);
    features.height = CameraHeight(image.camera);
    features.keypoints = database.ReadKeypoints(image.image_id);
    if (!features.keypoints.empty()) {
      features.descriptors =
          ToHlocDescriptors(database.ReadSiftDescriptors(image.image_id));
      file.Write(image.name, features);
      exported[image.image_id] = {image.name, features.keypoints.size()};
    }
    progress.Advance();
  }
  file.Close();
  return exported;
}

// The image, to which a pair of the database refers.
const ExportedImage& Find(const ExportedImages& images,
                          colmap::image_t image_id,
                          const std::string& database_path) {
  const auto found = images.find(image_id);
  if (found == images.end()) {
    throw InputError("The database " + database_path +
                     " has matches of image " + std::to_string(image_id) +
                     ", which it does not have, or has no keypoints of.");
  }
  return found->second;
}

// Whether fewer matches are left out with the images swapped: only those of the
// second image can have several.
bool IsBetterSwapped(const KeypointMatches& matches) {
  std::set<uint32_t> first, second;
  for (const auto& [i, j] : matches) {
    first.insert(i);
    second.insert(j);
  }
  return second.size() > first.size();
}

struct ExportedMatches {
  std::string pairs;           // a line for each
  bool any_in_quotes = false;  // of their names
  size_t num_pairs = 0;
  size_t num_matches = 0;
  size_t num_left_out = 0;
};

ExportedMatches ExportMatches(const Database& database,
                              const ExporterOptions& options,
                              const ExportedImages& images,
                              const std::string& path,
                              const std::atomic<bool>& stop) {
  const auto kind = options.raw_matches ? Database::Matches::kRaw
                                        : Database::Matches::kVerified;
  const auto pairs = database.ReadMatchedPairs(kind);
  if (pairs.empty()) {
    throw InputError("The database " + options.database_path + " has no " +
                     (options.raw_matches
                          ? "matches. Match its images first."
                          : "verified matches. Match its images first, or "
                            "take the others by --raw_matches 1."));
  }
  HlocMatchesFile file(path, Hdf5File::Mode::kCreate);
  ExportedMatches exported;
  Progress progress("pairs", pairs.size());
  for (auto [id1, id2] : pairs) {
    CheckStop(stop);
    KeypointMatches matches = database.ReadMatches(id1, id2, kind);
    if (IsBetterSwapped(matches)) {
      std::swap(id1, id2);
      matches = database.ReadMatches(id1, id2, kind);
    }
    const ExportedImage& image1 = Find(images, id1, options.database_path);
    const ExportedImage& image2 = Find(images, id2, options.database_path);
    database.CheckIndices(id1, id2, matches);
    const size_t num_left_out =
        file.Write({image1.name, image2.name}, image1.num_keypoints, matches);
    const std::string line = PairLine({image1.name, image2.name});
    exported.pairs += line;
    exported.any_in_quotes |= line != image1.name + " " + image2.name + "\n";
    exported.num_matches += matches.size() - num_left_out;
    exported.num_left_out += num_left_out;
    ++exported.num_pairs;
    progress.Advance();
  }
  file.Close();
  return exported;
}

int Export(const ExporterOptions& options, const std::atomic<bool>& stop) {
  Require(options.database_path, "database_path");
  Require(options.output_path, "output_path");
  const Database database(options.database_path, Database::Mode::kReadOnly);
  OutputFolder output(options.output_path, {options.database_path});
  const fs::path folder = output.path();
  const ExportedImages images =
      ExportFeatures(database, (folder / "features.h5").string(), stop);
  const ExportedMatches matches = ExportMatches(
      database, options, images, (folder / "matches.h5").string(), stop);
  WriteTextFile((folder / "pairs.txt").string(), matches.pairs);
  CommitAll({&output});
  if (matches.any_in_quotes) {
    Warn(
        "Names with blanks are in quotes in pairs.txt, which "
        "hloc_matches_importer reads, but not hloc itself.");
  }
  if (matches.num_left_out > 0) {
    Warn(std::to_string(matches.num_left_out) +
         " matches are left out: a keypoint of a pair's first image can have "
         "only one in hloc's files.");
  }
  std::cerr << "Exported " << images.size() << " images and "
            << matches.num_matches << " matches of " << matches.num_pairs
            << " pairs to " << options.output_path << "\n";
  return kExitDone;
}

struct ImporterOptions {
  DatabaseOutputOptions database;
  std::string features_path;
  std::string matches_path;
  std::string pairs_path;
  VerificationOptions verification;
  int num_threads = -1;
  uint64_t random_seed = 0;
};

struct ImportedImage {
  Query image;
  std::vector<Eigen::Vector2d> keypoints;
  bool is_new = false;  // the database has no keypoints of it
};

using ImportedImages = std::map<std::string, ImportedImage>;

struct ImportedPair {
  const ImportedImage* image1;
  const ImportedImage* image2;
  KeypointMatches matches;
  TwoViewGeometry geometry;
};

void CheckOptions(const ImporterOptions& options) {
  Require(options.features_path, "features_path");
  Require(options.matches_path, "matches_path");
  if (!options.verification.Check() ||
      (options.num_threads < 1 && options.num_threads != -1)) {
    throw InputError(
        "An option is out of its range: TwoViewGeometry.max_error_px is "
        "positive, TwoViewGeometry.min_num_inliers not negative, num_threads "
        "at least 1 or -1.");
  }
}

// The pairs that a file has, each once, whatever its order.
std::vector<ImagePair> EachOnce(const std::vector<ImagePair>& pairs,
                                const std::string& path) {
  std::vector<ImagePair> once;
  std::set<ImagePair> seen;
  for (const auto& [name1, name2] : pairs) {
    if (name1 == name2) {
      throw InputError("The file " + path + " pairs the image " + name1 +
                       " with itself.");
    }
    if (seen.insert(std::minmax(name1, name2)).second) {
      once.emplace_back(name1, name2);
    }
  }
  return once;
}

// Those of the database; each must be there.
std::vector<Query> FindImages(const Database& database,
                              const std::vector<std::string>& names,
                              const ImporterOptions& options) {
  const std::vector<Query> images = database.ReadQueries(names);
  const auto is_absent = [](const Query& image) {
    return image.image_id == colmap::kInvalidImageId;
  };
  const auto absent = std::find_if(images.begin(), images.end(), is_absent);
  if (std::all_of(images.begin(), images.end(), is_absent)) {
    throw InputError("The database " + options.database.database_path +
                     " has none of the images of " + options.features_path +
                     ", such as " + absent->name +
                     ". Expected the same names, relative to the folder of "
                     "the images.");
  }
  if (absent != images.end()) {
    throw InputError("The database " + options.database.database_path +
                     " does not have the image " + absent->name + " of " +
                     options.features_path +
                     ". Add it, or choose pairs without it by --pairs_path.");
  }
  for (const Query& image : images) {
    if (!image.error.empty()) {
      throw InputError("The image " + image.name +
                       " cannot be used: " + image.error + ".");
    }
  }
  return images;
}

void CheckSize(const HlocFeatures& features,
               const Query& image,
               const ImporterOptions& options) {
  const int width = CameraWidth(image.camera);
  const int height = CameraHeight(image.camera);
  if ((features.width != 0 || features.height != 0) &&
      (features.width != width || features.height != height)) {
    throw InputError("The image " + image.name + " has " +
                     std::to_string(features.width) + " x " +
                     std::to_string(features.height) + " pixels in " +
                     options.features_path + ", but " + std::to_string(width) +
                     " x " + std::to_string(height) +
                     " in the database. Extract features from the images of "
                     "the database.");
  }
}

// Matches refer to keypoints by index, so that they must be the same.
void CheckSameKeypoints(const std::vector<Eigen::Vector2d>& expected,
                        const std::vector<Eigen::Vector2d>& given,
                        const std::string& image_name,
                        const ImporterOptions& options) {
  constexpr double kMaxDistance = 0.01;
  std::string difference;
  if (given.size() != expected.size()) {
    difference = std::to_string(given.size()) + " instead of " +
                 std::to_string(expected.size());
  }
  for (size_t i = 0; difference.empty() && i < given.size(); ++i) {
    const double distance = (given[i] - expected[i]).norm();
    if (!(distance <= kMaxDistance)) {
      difference = "keypoint " + std::to_string(i) + " is " +
                   std::to_string(distance) + " px off";
    }
  }
  if (!difference.empty()) {
    throw InputError("The database " + options.database.database_path +
                     " has keypoints of " + image_name +
                     " already, and those of " + options.features_path +
                     " differ: " + difference +
                     ". Expected the same within 0.01 px, or none. Match the "
                     "database's own keypoints (hloc_matches_exporter writes "
                     "them), or import into a database without keypoints of "
                     "these images.");
  }
}

ImportedImages ImportFeatures(const Database& database,
                              const HlocFeaturesFile& file,
                              const std::vector<std::string>& names,
                              const ImporterOptions& options,
                              const std::atomic<bool>& stop) {
  ImportedImages images;
  Progress progress("images", names.size());
  for (const Query& image : FindImages(database, names, options)) {
    CheckStop(stop);
    const HlocFeatures features = file.Read(image.name);
    CheckSize(features, image, options);
    const std::vector<Eigen::Vector2d> present =
        database.ReadKeypoints(image.image_id);
    if (!present.empty()) {
      CheckSameKeypoints(present, features.keypoints, image.name, options);
    }
    images[image.name] = {image, features.keypoints, present.empty()};
    progress.Advance();
  }
  return images;
}

std::vector<ImportedPair> ImportMatches(const HlocMatchesFile& file,
                                        const std::vector<ImagePair>& pairs,
                                        const ImportedImages& images,
                                        const std::atomic<bool>& stop) {
  std::vector<ImportedPair> imported;
  for (const ImagePair& pair : pairs) {
    CheckStop(stop);
    const ImportedImage& image1 = images.at(pair.first);
    const ImportedImage& image2 = images.at(pair.second);
    imported.push_back(
        {&image1,
         &image2,
         file.Read(pair, image1.keypoints.size(), image2.keypoints.size()),
         {}});
  }
  return imported;
}

void VerifyAll(const ImporterOptions& options,
               const std::atomic<bool>& stop,
               std::vector<ImportedPair>* pairs) {
  Progress progress("pairs", pairs->size());
  std::mutex mutex;
  ParallelFor(pairs->size(), options.num_threads, [&](size_t i) {
    CheckStop(stop);
    ImportedPair& pair = (*pairs)[i];
    const ImportedImage& image1 = *pair.image1;
    const ImportedImage& image2 = *pair.image2;
    pair.geometry = VerifyMatches(
        image1.image.camera,
        image1.keypoints,
        image2.image.camera,
        image2.keypoints,
        pair.matches,
        options.verification,
        MixSeeds(options.random_seed,
                 HashOfName(image1.image.name + "\n" + image2.image.name)));
    std::lock_guard<std::mutex> lock(mutex);
    progress.Advance();
  });
}

void PrintSummary(const ImportedImages& images,
                  const std::vector<ImportedPair>& pairs) {
  const auto num_new =
      std::count_if(images.begin(), images.end(), [](const auto& image) {
        return image.second.is_new;
      });
  size_t num_matches = 0;
  size_t num_verified_pairs = 0;
  size_t num_verified_matches = 0;
  for (const ImportedPair& pair : pairs) {
    num_matches += pair.matches.size();
    num_verified_pairs += !pair.geometry.inliers.empty();
    num_verified_matches += pair.geometry.inliers.size();
  }
  std::cerr << "Imported keypoints of " << num_new << " of " << images.size()
            << " images (the database has the others) and " << num_matches
            << " matches of " << pairs.size()
            << " pairs; verified: " << num_verified_matches << " of "
            << num_verified_pairs << " pairs\n";
}

int Import(const ImporterOptions& options, const std::atomic<bool>& stop) {
  CheckOptions(options);
  const DatabaseOutput output(options.database);
  const HlocFeaturesFile features(options.features_path,
                                  Hdf5File::Mode::kReadOnly);
  const HlocMatchesFile matches(options.matches_path,
                                Hdf5File::Mode::kReadOnly);
  std::vector<ImagePair> pairs;
  std::set<std::string> names;
  if (options.pairs_path.empty()) {
    const std::vector<std::string> all = features.ImageNames();
    pairs = EachOnce(matches.Pairs(all), options.matches_path);
    names.insert(all.begin(), all.end());
  } else {
    pairs = EachOnce(ReadImagePairs(options.pairs_path), options.pairs_path);
    for (const auto& [name1, name2] : pairs) {
      names.insert({name1, name2});
    }
  }
  const ImportedImages images = ImportFeatures(
      Database(options.database.database_path, Database::Mode::kReadOnly),
      features,
      {names.begin(), names.end()},
      options,
      stop);
  std::vector<ImportedPair> imported =
      ImportMatches(matches, pairs, images, stop);
  VerifyAll(options, stop, &imported);
  output.Write([&](Database* database) {
    for (const auto& [name, image] : images) {
      if (image.is_new) {
        database->AppendKeypoints(image.image.image_id, image.keypoints);
      }
    }
    for (const ImportedPair& pair : imported) {
      database->WriteMatches(pair.image1->image.image_id,
                             pair.image2->image.image_id,
                             pair.matches,
                             pair.geometry);
    }
  });
  PrintSummary(images, imported);
  return kExitDone;
}

}  // namespace

int RunHlocMatchesExporter(int argc, char** argv) {
  return RunCommand(argv[0], [&](const std::atomic<bool>& stop) -> int {
    ExporterOptions options;
    OptionParser parser("hloc_matches_exporter",
                        "keypoints and matches from a database into files of "
                        "hloc: features.h5 (with SIFT descriptors, if the "
                        "database has them), matches.h5 and pairs.txt, in a "
                        "new folder.");
    parser.AddPath("database_path",
                   &options.database_path,
                   "database with the matches; not changed");
    parser.AddPath("output_path",
                   &options.output_path,
                   "folder for the output; new or empty");
    parser.Add("raw_matches",
               &options.raw_matches,
               "1: matches before geometric verification, 0: after it");
    if (!parser.Parse(argc, argv)) {
      return kExitDone;
    }
    return Export(options, stop);
  });
}

int RunHlocMatchesImporter(int argc, char** argv) {
  return RunCommand(argv[0], [&](const std::atomic<bool>& stop) -> int {
    ImporterOptions options;
    OptionParser parser(
        "hloc_matches_importer",
        "keypoints and matches from files of hloc into a database that has "
        "the images. Keypoints that the database has already must be the "
        "same. Matches are verified geometrically, and replace those that the "
        "database has of the same images.");
    AddDatabaseOutputOptions(&options.database, &parser);
    parser.AddPath("features_path",
                   &options.features_path,
                   "hloc's file of features, with keypoints");
    parser.AddPath("matches_path",
                   &options.matches_path,
                   "hloc's file of matches of these keypoints");
    parser.AddPath("pairs_path",
                   &options.pairs_path,
                   "imports only these pairs of images, and their keypoints: "
                   "two names per line; default: all that the files have");
    parser.Add("num_threads",
               &options.num_threads,
               "pairs verified at once; -1: one per core");
    parser.Add("random_seed",
               &options.random_seed,
               "same seed, same result, whatever the number of threads");
    AddVerificationOptions(&options.verification, &parser);
    if (!parser.Parse(argc, argv)) {
      return kExitDone;
    }
    return Import(options, stop);
  });
}

}  // namespace nre
