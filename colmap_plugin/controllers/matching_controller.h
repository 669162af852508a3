// Sparse-to-dense matching of the images of a database, in two passes: pairs
// are matched one by one, into a file that outlives interruptions; then what
// all of them found in an image is merged into keypoints, and matches of these
// are verified and written.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "colmap_plugin/compat/two_view_geometry.h"
#include "colmap_plugin/controllers/lru_cache.h"
#include "colmap_plugin/io/database.h"
#include "colmap_plugin/io/raw_matches.h"
#include "s2d/feature_preset.h"
#include "s2d/keypoint_merging.h"
#include "s2d/matching.h"

namespace nre {

struct MatchingControllerOptions {
  // But the softmax scales, which are the preset's, and the greatest error of
  // cycles, which is given here in cells of the fine features.
  MatchingOptions matching;
  double max_cycle_error_cells = 0.5;

  // See MergingOptions; in cells of the fine features. See scripts/benchmark
  // for what these, and the error above, were chosen from.
  double snap_radius_cells = 0.25;
  double merge_radius_cells = 0.5;

  VerificationOptions verification;

  // Images whose dense features are kept in memory, beside the two that each
  // thread works on: 0.2 GB each of 1.5 megapixels with dense_sift.
  int max_num_cached_images = 10;

  // Pairs that are worked on at once; -1: as many as there are cores.
  int num_threads = -1;
  uint64_t random_seed = 0;

  bool Check() const;
};

// The keypoints of one image are searched in another one.
struct Search {
  std::string from;
  std::string to;

  bool operator==(const Search& other) const {
    return from == other.from && to == other.to;
  }
};

// The searches of pairs: from the first image in the second, and also back if
// that is wanted. From an image without keypoints, a pair is searched back in
// any case. Every search comes once, in an order that does with the features of
// few images at a time. Pairs neither of whose images has keypoints are
// collected in `without_keypoints`.
std::vector<Search> PlanSearches(
    const std::vector<ImagePair>& pairs,
    bool both_directions,
    const std::set<std::string>& names_with_keypoints,
    size_t max_num_cached_images,
    std::vector<ImagePair>* without_keypoints);

// What was found of a search.
struct SearchResult {
  Search search;
  size_t num_keypoints = 0;
  size_t num_matches = 0;
  bool was_done = false;  // before, by a command that was interrupted
  double total_ms = 0.0;
};

// What became of a pair, in either order.
struct PairResult {
  std::string name1;
  std::string name2;
  size_t num_matches = 0;
  size_t num_verified = 0;
};

struct WriteResult {
  std::vector<PairResult> pairs;
  size_t num_detections = 0;  // of all searches
  size_t num_snapped = 0;     // that became keypoints which were there
  size_t num_appended = 0;    // keypoints
};

class MatchingController {
 public:
  // `images`: all that searches will name, as the database has them. Keeps the
  // reference to `preset`. `stop` (may be null) is looked at between pairs.
  // Throws InputError for options that fail their Check().
  MatchingController(const std::vector<Query>& images,
                     const std::string& image_path,
                     const FeaturePreset& preset,
                     const MatchingControllerOptions& options,
                     const std::atomic<bool>* stop);

  // The first pass. Searches that `file` has are skipped. `on_result` (may be
  // null) is called by one thread at a time. Throws InputError, naming the
  // image, if one cannot be read or its size is not its camera's, for matches
  // of keypoints that the database does not have, and Interrupted; what was
  // found until then is in the file.
  void Run(const std::vector<Search>& searches,
           const Database& database,
           RawMatchFile* file,
           const std::function<void(const SearchResult&)>& on_result);

  // The second pass, for searches that are all in `file`. Existing keypoints
  // keep their indices; matches that a pair has already, verified or not, are
  // kept, those found are added, best first, as far as neither keypoint is
  // matched yet. Throws InputError as above and if the keypoints are no longer
  // those of the first pass, and Interrupted.
  WriteResult Write(const std::vector<Search>& searches,
                    const RawMatchFile& file,
                    Database* database,
                    const std::function<void(const PairResult&)>& on_result);

 private:
  struct Pair;
  struct PairMatches;

  const Query& ImageOf(const std::string& name) const;
  // Of the fine features of an image, in pixels.
  double CellSize(const std::string& name) const;
  std::shared_ptr<const ImageFeatures> Extract(const std::string& name) const;
  // Throws InputError if pairs have matches of keypoints that are not there.
  void CheckMatches(const std::vector<Search>& searches,
                    const Database& database) const;
  SearchResult RunSearch(const Search& search,
                         const Database& database,
                         RawMatchFile* file);
  // The keypoint that every match of each search has become.
  std::vector<std::vector<uint32_t>> MergeAll(
      const std::vector<Search>& searches,
      const RawMatchFile& file,
      Database* database,
      WriteResult* result) const;
  PairMatches Combine(const Pair& pair,
                      const std::vector<Search>& searches,
                      const std::vector<std::vector<uint32_t>>& merged,
                      const RawMatchFile& file,
                      const Database& database) const;
  void CheckStop() const;

  std::map<std::string, Query> images_;
  std::string image_path_;
  const FeaturePreset& preset_;
  MatchingControllerOptions options_;
  const std::atomic<bool>* stop_;
  LruCache<std::string, ImageFeatures> features_;
  std::mutex mutex_;  // of the database, the file and what reports results
};

}  // namespace nre
