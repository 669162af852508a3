#include "colmap_plugin/controllers/matching_controller.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "colmap_plugin/controllers/camera_image.h"
#include "colmap_plugin/controllers/parallel.h"
#include "colmap_plugin/controllers/seeds.h"
#include "nre/error.h"
#include "nre/stopwatch.h"
#include "s2d/image.h"

namespace nre {
namespace {

// Pairs that are verified side by side, before they are written.
constexpr size_t kBatchSize = 64;

// Scores weigh positions, and must not vanish.
constexpr float kMinScore = 1e-6f;

uint64_t HashOf(const std::vector<Eigen::Vector2d>& keypoints) {
  return HashOfBytes(keypoints.data(),
                     keypoints.size() * sizeof(Eigen::Vector2d));
}

// [2, N], for the other rooms (see compat/colmap.h).
Eigen::Matrix2Xd ToColumns(const std::vector<Eigen::Vector2d>& points) {
  return Eigen::Map<const Eigen::Matrix2Xd>(
      reinterpret_cast<const double*>(points.data()), 2, points.size());
}

// The best of those that share no keypoint, in the order of the keypoints.
struct Candidate {
  uint32_t keypoint1;
  uint32_t keypoint2;
  float score;
};

KeypointMatches ChooseOneToOne(std::vector<Candidate> candidates) {
  std::sort(candidates.begin(),
            candidates.end(),
            [](const Candidate& a, const Candidate& b) {
              return std::tuple(-a.score, a.keypoint1, a.keypoint2) <
                     std::tuple(-b.score, b.keypoint1, b.keypoint2);
            });
  std::set<uint32_t> used1, used2;
  KeypointMatches matches;
  for (const Candidate& candidate : candidates) {
    if (used1.count(candidate.keypoint1) == 0 &&
        used2.count(candidate.keypoint2) == 0) {
      used1.insert(candidate.keypoint1);
      used2.insert(candidate.keypoint2);
      matches.emplace_back(candidate.keypoint1, candidate.keypoint2);
    }
  }
  std::sort(matches.begin(), matches.end());
  return matches;
}

// Numbers the images of pairs, those of a pair near each other: breadth first
// along the pairs (Cuthill, McKee, ACM 1969). Names say little about what is
// paired.
std::map<std::string, size_t> NumberAlongPairs(
    const std::vector<ImagePair>& pairs) {
  std::map<std::string, size_t> ids;  // in the order of the names
  for (const auto& [first, second] : pairs) {
    ids.emplace(first, 0);
    ids.emplace(second, 0);
  }
  size_t num_images = 0;
  for (auto& [name, id] : ids) id = num_images++;
  std::vector<std::set<size_t>> neighbours(num_images);
  for (const auto& [first, second] : pairs) {
    neighbours[ids[first]].insert(ids[second]);
    neighbours[ids[second]].insert(ids[first]);
  }

  std::vector<size_t> order;
  std::vector<size_t> ranks(num_images, num_images);  // none yet
  const auto append = [&](size_t id) {
    if (ranks[id] < num_images) return;
    ranks[id] = order.size();
    order.push_back(id);
  };
  for (size_t start = 0; start < num_images; ++start) {
    size_t next = order.size();
    append(start);
    for (; next < order.size(); ++next) {
      for (const size_t neighbour : neighbours[order[next]]) append(neighbour);
    }
  }
  for (auto& [name, id] : ids) id = ranks[id];
  return ids;
}

}  // namespace

bool MatchingControllerOptions::Check() const {
  return matching.Check() && max_cycle_error_cells >= 0.0 &&
         std::isfinite(snap_radius_cells) && snap_radius_cells >= 0.0 &&
         std::isfinite(merge_radius_cells) && merge_radius_cells >= 0.0 &&
         verification.Check() && max_num_cached_images >= 2 &&
         (num_threads == -1 || num_threads > 0);
}

std::vector<Search> PlanSearches(
    const std::vector<ImagePair>& pairs,
    bool both_directions,
    const std::set<std::string>& names_with_keypoints,
    size_t max_num_cached_images,
    std::vector<ImagePair>* without_keypoints) {
  std::set<ImagePair> searches;
  for (const auto& [first, second] : pairs) {
    const bool forth = names_with_keypoints.count(first) > 0;
    const bool back =
        names_with_keypoints.count(second) > 0 && (both_directions || !forth);
    if (forth) searches.emplace(first, second);
    if (back) searches.emplace(second, first);
    if (!forth && !back) without_keypoints->emplace_back(first, second);
  }

  // Block by block: two blocks of images fit into memory.
  const std::map<std::string, size_t> ranks = NumberAlongPairs(pairs);
  const size_t block_size = std::max<size_t>(max_num_cached_images / 2, 1);
  const auto key = [&](const Search& search) {
    const auto [first, second] =
        std::minmax(ranks.at(search.from), ranks.at(search.to));
    return std::tuple(
        first / block_size, second / block_size, first, second, search.from);
  };
  std::vector<Search> planned;
  for (const auto& [from, to] : searches) planned.push_back({from, to});
  std::sort(planned.begin(),
            planned.end(),
            [&](const Search& a, const Search& b) { return key(a) < key(b); });
  return planned;
}

// The searches of two images.
struct MatchingController::Pair {
  std::string name1;
  std::string name2;
  std::vector<size_t> searches;
};

// What there is to verify.
struct MatchingController::PairMatches {
  std::vector<Eigen::Vector2d> keypoints1;
  std::vector<Eigen::Vector2d> keypoints2;
  KeypointMatches matches;
};

MatchingController::MatchingController(const std::vector<Query>& images,
                                       const std::string& image_path,
                                       const FeaturePreset& preset,
                                       const MatchingControllerOptions& options,
                                       const std::atomic<bool>* stop)
    : image_path_(image_path),
      preset_(preset),
      options_(options),
      stop_(stop),
      features_(std::max(options.max_num_cached_images, 1)) {
  options_.matching.coarse_softmax_scale = preset.coarse_softmax_scale;
  options_.matching.softmax_scale = preset.fine_softmax_scale;
  if (!options_.Check()) {
    throw InputError("the options of the matching are invalid");
  }
  for (const Query& image : images) {
    images_[image.name] = image;
  }
}

void MatchingController::Run(
    const std::vector<Search>& searches,
    const Database& database,
    RawMatchFile* file,
    const std::function<void(const SearchResult&)>& on_result) {
  CheckMatches(searches, database);
  ParallelFor(searches.size(), options_.num_threads, [&](size_t i) {
    CheckStop();
    const SearchResult result = RunSearch(searches[i], database, file);
    std::lock_guard<std::mutex> lock(mutex_);
    if (on_result != nullptr) on_result(result);
  });
}

void MatchingController::CheckMatches(const std::vector<Search>& searches,
                                      const Database& database) const {
  for (const auto& [from, to] : searches) {
    CheckStop();
    const colmap::image_t image_id1 = ImageOf(from).image_id;
    const colmap::image_t image_id2 = ImageOf(to).image_id;
    for (const auto kind :
         {Database::Matches::kVerified, Database::Matches::kRaw}) {
      database.CheckIndices(image_id1,
                            image_id2,
                            database.ReadMatches(image_id1, image_id2, kind));
    }
  }
}

SearchResult MatchingController::RunSearch(const Search& search,
                                           const Database& database,
                                           RawMatchFile* file) {
  Stopwatch stopwatch;
  SearchResult result;
  result.search = search;
  std::vector<Eigen::Vector2d> keypoints;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    keypoints = database.ReadKeypoints(ImageOf(search.from).image_id);
    result.num_keypoints = keypoints.size();
    result.was_done = file->Has(search.from, search.to, HashOf(keypoints));
  }
  if (result.was_done) return result;

  const auto features = [&](const std::string& name) {
    return features_.Get(name, [&] { return Extract(name); });
  };
  const auto features1 = features(search.from);
  const auto features2 = features(search.to);
  MatchingOptions matching = options_.matching;
  matching.max_cycle_error_px =
      options_.max_cycle_error_cells * CellSize(search.from);
  std::vector<RawMatch> matches;
  for (const DenseMatch& match : MatchCoarseToFine(
           ToColumns(keypoints), *features1, *features2, matching)) {
    matches.push_back({static_cast<uint32_t>(match.keypoint),
                       static_cast<float>(match.xy.x()),
                       static_cast<float>(match.xy.y()),
                       std::max(match.probability, kMinScore)});
  }
  result.num_matches = matches.size();
  result.total_ms = stopwatch.LapMs();
  std::lock_guard<std::mutex> lock(mutex_);
  file->Write(search.from, search.to, HashOf(keypoints), matches);
  return result;
}

std::shared_ptr<const ImageFeatures> MatchingController::Extract(
    const std::string& name) const {
  try {
    const colmap::Camera& camera = ImageOf(name).camera;
    const Image pixels = ReadCameraImage(image_path_,
                                         name,
                                         CameraWidth(camera),
                                         CameraHeight(camera),
                                         "its camera in the database");
    auto features = std::make_shared<ImageFeatures>();
    features->coarse = preset_.coarse->Extract(pixels);
    features->fine = preset_.fine->Extract(pixels);
    return features;
  } catch (const InputError& error) {
    throw InputError("The image " + name +
                     " cannot be matched: " + error.what() + ".");
  }
}

WriteResult MatchingController::Write(
    const std::vector<Search>& searches,
    const RawMatchFile& file,
    Database* database,
    const std::function<void(const PairResult&)>& on_result) {
  CheckMatches(searches, *database);
  WriteResult result;
  const std::vector<std::vector<uint32_t>> merged =
      MergeAll(searches, file, database, &result);

  std::map<ImagePair, Pair> by_names;
  for (size_t s = 0; s < searches.size(); ++s) {
    const auto [first, second] = std::minmax(searches[s].from, searches[s].to);
    Pair& pair = by_names[{first, second}];
    pair.name1 = first;
    pair.name2 = second;
    pair.searches.push_back(s);
  }
  std::vector<Pair> pairs;
  for (const auto& [names, pair] : by_names) pairs.push_back(pair);

  for (size_t begin = 0; begin < pairs.size(); begin += kBatchSize) {
    const size_t size = std::min(kBatchSize, pairs.size() - begin);
    std::vector<PairMatches> inputs;
    for (size_t i = 0; i < size; ++i) {
      inputs.push_back(
          Combine(pairs[begin + i], searches, merged, file, *database));
    }
    std::vector<TwoViewGeometry> geometries(size);
    ParallelFor(size, options_.num_threads, [&](size_t i) {
      CheckStop();
      const Pair& pair = pairs[begin + i];
      geometries[i] =
          VerifyMatches(ImageOf(pair.name1).camera,
                        inputs[i].keypoints1,
                        ImageOf(pair.name2).camera,
                        inputs[i].keypoints2,
                        inputs[i].matches,
                        options_.verification,
                        MixSeeds(options_.random_seed,
                                 HashOfName(pair.name1 + "\n" + pair.name2)));
    });
    for (size_t i = 0; i < size; ++i) {
      const Pair& pair = pairs[begin + i];
      database->WriteMatches(ImageOf(pair.name1).image_id,
                             ImageOf(pair.name2).image_id,
                             inputs[i].matches,
                             geometries[i]);
      result.pairs.push_back({pair.name1,
                              pair.name2,
                              inputs[i].matches.size(),
                              geometries[i].inliers.size()});
      if (on_result != nullptr) on_result(result.pairs.back());
    }
  }
  return result;
}

std::vector<std::vector<uint32_t>> MatchingController::MergeAll(
    const std::vector<Search>& searches,
    const RawMatchFile& file,
    Database* database,
    WriteResult* result) const {
  std::map<std::string, std::vector<size_t>> searches_to;
  std::map<std::string, uint64_t> hashes;
  for (size_t s = 0; s < searches.size(); ++s) {
    const auto [from, to] = searches[s];
    searches_to[to].push_back(s);
    if (hashes.count(from) == 0) {
      hashes[from] = HashOf(database->ReadKeypoints(ImageOf(from).image_id));
    }
    if (!file.Has(from, to, hashes[from])) {
      throw InputError("The keypoints of " + from +
                       " in the database have changed while they were matched. "
                       "Run the command again.");
    }
  }

  std::vector<std::vector<uint32_t>> merged(searches.size());
  for (const auto& [name, indices] : searches_to) {
    CheckStop();
    std::vector<Detection> detections;
    for (const size_t s : indices) {
      const std::vector<RawMatch> matches =
          file.Read(searches[s].from, searches[s].to);
      for (const RawMatch& match : matches) {
        detections.push_back({{match.x, match.y}, match.score});
      }
      merged[s].resize(matches.size());
    }
    const colmap::image_t image_id = ImageOf(name).image_id;
    const std::vector<Eigen::Vector2d> existing =
        database->ReadKeypoints(image_id);
    const double cell_size = CellSize(name);
    const MergingOptions merging = {options_.snap_radius_cells * cell_size,
                                    options_.merge_radius_cells * cell_size};
    const MergedKeypoints keypoints =
        MergeDetections(ToColumns(existing), detections, merging);
    std::vector<Eigen::Vector2d> appended;
    for (Eigen::Index i = existing.size(); i < keypoints.keypoints.cols();
         ++i) {
      appended.emplace_back(keypoints.keypoints.col(i));
    }
    database->AppendKeypoints(image_id, appended);

    auto keypoint = keypoints.keypoint_of_detection.begin();
    for (const size_t s : indices) {
      for (uint32_t& index : merged[s]) {
        index = static_cast<uint32_t>(*keypoint++);
      }
    }
    result->num_detections += detections.size();
    result->num_appended += appended.size();
    result->num_snapped +=
        std::count_if(keypoints.keypoint_of_detection.begin(),
                      keypoints.keypoint_of_detection.end(),
                      [&](size_t k) { return k < existing.size(); });
  }
  return merged;
}

MatchingController::PairMatches MatchingController::Combine(
    const Pair& pair,
    const std::vector<Search>& searches,
    const std::vector<std::vector<uint32_t>>& merged,
    const RawMatchFile& file,
    const Database& database) const {
  const colmap::image_t image_id1 = ImageOf(pair.name1).image_id;
  const colmap::image_t image_id2 = ImageOf(pair.name2).image_id;
  std::vector<Candidate> candidates;
  // What was verified by hand, or by guided matching, is in one table only.
  for (const auto kind :
       {Database::Matches::kVerified, Database::Matches::kRaw}) {
    const float score = kind == Database::Matches::kVerified
                            ? std::numeric_limits<float>::infinity()
                            : std::numeric_limits<float>::max();
    for (const auto& [i, j] :
         database.ReadMatches(image_id1, image_id2, kind)) {
      candidates.push_back({i, j, score});
    }
  }
  for (const size_t s : pair.searches) {
    const std::vector<RawMatch> matches =
        file.Read(searches[s].from, searches[s].to);
    const bool forth = searches[s].from == pair.name1;
    for (size_t m = 0; m < matches.size(); ++m) {
      const uint32_t from = matches[m].keypoint;
      const uint32_t to = merged[s][m];
      candidates.push_back(
          {forth ? from : to, forth ? to : from, matches[m].score});
    }
  }
  return {database.ReadKeypoints(image_id1),
          database.ReadKeypoints(image_id2),
          ChooseOneToOne(std::move(candidates))};
}

const Query& MatchingController::ImageOf(const std::string& name) const {
  return images_.at(name);
}

double MatchingController::CellSize(const std::string& name) const {
  const colmap::Camera& camera = ImageOf(name).camera;
  return preset_.fine->Stride() /
         preset_.fine->NaturalScale(CameraWidth(camera), CameraHeight(camera));
}

void MatchingController::CheckStop() const {
  if (stop_ != nullptr && *stop_) {
    throw Interrupted();
  }
}

}  // namespace nre
