// s2d_matcher: sparse-to-dense matches of a database's images, written where
// COLMAP's own tools find them.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <sstream>

#include <cblas.h>

#include "colmap_plugin/controllers/matching_controller.h"
#include "colmap_plugin/controllers/parallel.h"
#include "colmap_plugin/exe/commands.h"
#include "colmap_plugin/exe/database_output.h"
#include "colmap_plugin/exe/feature_options.h"
#include "colmap_plugin/exe/messages.h"
#include "colmap_plugin/exe/options.h"
#include "colmap_plugin/exe/process.h"
#include "colmap_plugin/exe/progress.h"
#include "colmap_plugin/io/database.h"
#include "colmap_plugin/io/lists.h"
#include "colmap_plugin/io/raw_matches.h"
#include "nre/error.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

struct CommandOptions {
  DatabaseOutputOptions output;
  std::string image_path;
  std::string pairs_path;
  std::string image_list_path;
  std::string raw_matches_path;
  bool both_directions = false;
  FeatureOptions features;
  MatchingControllerOptions matching;
  int log_level = 1;
};

void AddOptions(CommandOptions* options, OptionParser* parser) {
  MatchingControllerOptions& matching = options->matching;
  AddDatabaseOutputOptions(&options->output, parser);
  parser->AddPath(
      "image_path", &options->image_path, "folder of the database's images");
  parser->AddPath("pairs_path",
                  &options->pairs_path,
                  "pairs to match: two names per line (as hloc's retrieval "
                  "writes them). The keypoints of the first image are searched "
                  "in the second; where the first has none, the other way");
  parser->AddPath("image_list_path",
                  &options->image_list_path,
                  "without pairs: images that are matched each with each, one "
                  "name per line; without it, all of the database");
  parser->Add("both_directions",
              &options->both_directions,
              "1: also the keypoints of the second image in the first");
  parser->AddPath("raw_matches_path",
                  &options->raw_matches_path,
                  "file that keeps the matches of each pair until all are "
                  "done, and from which an interrupted command goes on. Kept "
                  "if it is named here; else it lies beside the output, and "
                  "is removed when this is complete");
  AddFeatureOptions(&options->features, parser);
  parser->Add("num_threads",
              &matching.num_threads,
              "pairs worked on at once; -1: one per core");
  parser->Add("random_seed",
              &matching.random_seed,
              "same seed, same result, whatever the number of threads");
  parser->Add("log_level",
              &options->log_level,
              "0: warnings and summary, 1: also progress, 2: a line per pair");
  parser->Add("max_num_cached_images",
              &matching.max_num_cached_images,
              "images whose dense features stay in memory, beside two for "
              "each thread (0.2 GB each of 1.5 megapixels with dense_sift)");
  parser->Add("Matching.max_ratio",
              &matching.matching.max_ratio,
              "S2DHM's ratio test: kept are matches where fewer than a share "
              "of ratio_rank of all cells have this times the best similarity "
              "or more; 0: no test");
  parser->Add(
      "Matching.ratio_rank", &matching.matching.ratio_rank, "see there");
  parser->Add("Matching.min_probability",
              &matching.matching.min_probability,
              "S2DNet's confidence: least probability of the best cell");
  parser->Add("Matching.max_cycle_error_cells",
              &matching.max_cycle_error_cells,
              "matches searched back must come so near to the keypoint; this "
              "and the following in cells of the fine features (dense_sift: 2 "
              "pixels of images that are not resized)");
  parser->Add("Merging.snap_radius_cells",
              &matching.snap_radius_cells,
              "what is found so near to a keypoint becomes this keypoint");
  parser->Add("Merging.merge_radius_cells",
              &matching.merge_radius_cells,
              "what is found so near to a better detection becomes one new "
              "keypoint with it");
  AddVerificationOptions(&matching.verification, parser);
}

void CheckOptions(const CommandOptions& options) {
  Require(options.image_path, "image_path");
  CheckImagePath(options.image_path);
  if (!options.pairs_path.empty() && !options.image_list_path.empty()) {
    throw InputError(
        "Name the pairs by either --pairs_path or --image_list_path.");
  }
  if (!options.matching.Check()) {
    throw InputError(
        "An option is out of its range: max_ratio is in [0, 1), ratio_rank and "
        "min_probability in [0, 1], errors and radii are not negative, "
        "TwoViewGeometry.max_error_px is positive, max_num_cached_images at "
        "least 2, num_threads at least 1 or -1.");
  }
}

// Those of the file, or each with each.
std::vector<ImagePair> ReadPairsToMatch(const CommandOptions& options,
                                        const Database& database) {
  std::vector<ImagePair> pairs;
  if (!options.pairs_path.empty()) {
    pairs = ReadImagePairs(options.pairs_path);
    for (const auto& [first, second] : pairs) {
      if (first == second) {
        throw InputError("The pairs file " + options.pairs_path +
                         " pairs the image " + first + " with itself.");
      }
    }
    return pairs;
  }
  const std::vector<std::string> names =
      options.image_list_path.empty() ? database.ReadImageNames()
                                      : ReadImageList(options.image_list_path);
  for (size_t i = 0; i < names.size(); ++i) {
    for (size_t j = i + 1; j < names.size(); ++j) {
      if (names[i] == names[j]) {
        throw InputError("The image list " + options.image_list_path +
                         " names " + names[i] + " twice.");
      }
      pairs.emplace_back(names[i], names[j]);
    }
  }
  if (pairs.empty()) {
    throw InputError(
        "There are no pairs to match: expected at least two images.");
  }
  return pairs;
}

// The images of all pairs. Throws InputError unless the database has them, with
// a usable camera, and their files are there.
std::vector<Query> ReadImages(const std::vector<ImagePair>& pairs,
                              const std::string& image_path,
                              const Database& database) {
  std::set<std::string> names;
  for (const auto& [first, second] : pairs) {
    names.insert(first);
    names.insert(second);
  }
  std::vector<Query> images =
      database.ReadQueries({names.begin(), names.end()});
  std::vector<std::string> unusable, without_file;
  for (const Query& image : images) {
    if (!image.error.empty()) {
      unusable.push_back(image.name + " (" + image.error + ")");
    } else if (!fs::is_regular_file(fs::path(image_path) / image.name)) {
      without_file.push_back(image.name);
    }
  }
  if (!unusable.empty()) {
    throw InputError(std::to_string(unusable.size()) +
                     " images cannot be matched: " + FirstFew(unusable) + ".");
  }
  if (!without_file.empty()) {
    throw InputError("The image folder " + image_path + " lacks " +
                     std::to_string(without_file.size()) +
                     " images: " + FirstFew(without_file) + ".");
  }
  return images;
}

std::vector<Search> Plan(const CommandOptions& options,
                         const std::vector<ImagePair>& pairs,
                         const std::vector<Query>& images,
                         const Database& database) {
  std::set<std::string> with_keypoints;
  for (const Query& image : images) {
    if (database.NumKeypoints(image.image_id) > 0) {
      with_keypoints.insert(image.name);
    }
  }
  std::vector<ImagePair> without;
  std::vector<Search> searches =
      PlanSearches(pairs,
                   options.both_directions,
                   with_keypoints,
                   options.matching.max_num_cached_images,
                   &without);
  if (searches.empty()) {
    throw InputError("The database " + options.output.database_path +
                     " has no keypoints of the images that are to be matched. "
                     "Extract them first, for example by colmap "
                     "feature_extractor.");
  }
  if (!without.empty()) {
    std::vector<std::string> names;
    for (const auto& [first, second] : without) {
      names.push_back(first + " - " + second);
    }
    Warn(std::to_string(without.size()) +
         " pairs have no keypoints in either image and are not matched: " +
         FirstFew(names) + ".");
  }
  return searches;
}

// All that raw matches depend on but keypoints and images.
std::string DescribeSettings(const CommandOptions& options) {
  const MatchingOptions& matching = options.matching.matching;
  std::ostringstream text;
  text << "features " << options.features.features;
  if (!options.features.weights_path.empty()) {
    std::set<std::string> files;
    std::error_code ignored;  // features without weights need no such folder
    for (const fs::directory_entry& file :
         fs::directory_iterator(options.features.weights_path, ignored)) {
      if (file.path().extension() == ".safetensors") {
        files.insert(
            file.path().filename().string() + " of " +
            std::to_string(file.last_write_time().time_since_epoch().count()));
      }
    }
    for (const std::string& file : files) text << ", " << file;
  }
  text << ", max_ratio " << matching.max_ratio << ", ratio_rank "
       << matching.ratio_rank << ", min_probability "
       << matching.min_probability << ", max_cycle_error_cells "
       << options.matching.max_cycle_error_cells << ", window_size "
       << matching.window_size << ", cycle_correction "
       << matching.cycle_correction;
  return text.str();
}

std::string RawMatchesPath(const CommandOptions& options) {
  if (!options.raw_matches_path.empty()) return options.raw_matches_path;
  return (options.output.in_place ? options.output.database_path
                                  : options.output.output_database_path) +
         ".raw_matches";
}

// A sentence about the pairs that outlive the command; empty if there are none.
std::string SayWhatIsKept(const RawMatchFile& file, const std::string& path) {
  const size_t num_pairs = file.NumPairs();
  if (num_pairs == 0) return "";
  return " Kept are the matches of " + std::to_string(num_pairs) +
         " pairs: the same command goes on from the pairs in " + path +
         "; remove it if images that were matched have changed.";
}

void SearchAll(const CommandOptions& options,
               const std::vector<Search>& searches,
               const Database& database,
               MatchingController* controller,
               RawMatchFile* file) {
  std::unique_ptr<Progress> progress;
  if (options.log_level == 1) {
    progress = std::make_unique<Progress>("pairs matched", searches.size());
  }
  size_t num_done = 0;
  size_t num_done_before = 0;
  controller->Run(searches, database, file, [&](const SearchResult& result) {
    ++num_done;
    num_done_before += result.was_done;
    if (progress != nullptr) progress->Advance();
    if (options.log_level >= 2) {
      std::fprintf(stderr,
                   "[%zu/%zu] %s in %s: %zu keypoints, ",
                   num_done,
                   searches.size(),
                   result.search.from.c_str(),
                   result.search.to.c_str(),
                   result.num_keypoints);
      if (result.was_done) {
        std::fprintf(stderr, "matched before\n");
      } else {
        std::fprintf(stderr,
                     "%zu matches, %.0f ms\n",
                     result.num_matches,
                     result.total_ms);
      }
    }
  });
  if (num_done_before > 0) {
    std::fprintf(stderr,
                 "%zu of %zu pairs had been matched before.\n",
                 num_done_before,
                 searches.size());
  }
}

WriteResult WriteAll(const CommandOptions& options,
                     const std::vector<Search>& searches,
                     const RawMatchFile& file,
                     const DatabaseOutput& output,
                     MatchingController* controller) {
  std::unique_ptr<Progress> progress;
  if (options.log_level == 1) {
    std::set<ImagePair> pairs;
    for (const Search& search : searches) {
      pairs.insert(std::minmax(search.from, search.to));
    }
    progress = std::make_unique<Progress>("pairs verified", pairs.size());
  }
  WriteResult result;
  output.Write([&](Database* database) {
    result = controller->Write(
        searches, file, database, [&](const PairResult& pair) {
          if (progress != nullptr) progress->Advance();
          if (options.log_level >= 2) {
            std::fprintf(stderr,
                         "%s - %s: %zu matches, %zu verified\n",
                         pair.name1.c_str(),
                         pair.name2.c_str(),
                         pair.num_matches,
                         pair.num_verified);
          }
        });
  });
  return result;
}

// Returns the exit code.
int Summarize(const WriteResult& result, const std::vector<Query>& images) {
  std::set<std::string> unmatched;
  for (const Query& image : images) unmatched.insert(image.name);
  size_t num_matches = 0, num_verified = 0, num_verified_pairs = 0;
  for (const PairResult& pair : result.pairs) {
    num_matches += pair.num_matches;
    num_verified += pair.num_verified;
    if (pair.num_verified > 0) {
      ++num_verified_pairs;
      unmatched.erase(pair.name1);
      unmatched.erase(pair.name2);
    }
  }
  std::fprintf(stderr,
               "%zu pairs, %zu of them verified: %zu matches, %zu verified. "
               "%zu detections became %zu new keypoints, %zu existing ones.\n",
               result.pairs.size(),
               num_verified_pairs,
               num_matches,
               num_verified,
               result.num_detections,
               result.num_appended,
               result.num_snapped);
  for (const std::string& name : unmatched) {
    std::fprintf(
        stderr, "  %s: no pair has enough matches that agree\n", name.c_str());
  }
  return unmatched.empty() ? kExitDone : kExitNotAllRegistered;
}

int Match(const CommandOptions& options, const std::atomic<bool>& stop) {
  CheckOptions(options);
  const FeaturePreset preset = CreateFeaturePreset(options.features);
  const DatabaseOutput output(options.output);
  auto database = std::make_unique<Database>(options.output.database_path,
                                             Database::Mode::kReadOnly);
  const std::vector<ImagePair> pairs = ReadPairsToMatch(options, *database);
  const std::vector<Query> images =
      ReadImages(pairs, options.image_path, *database);
  const std::vector<Search> searches = Plan(options, pairs, images, *database);

  // Pairs run side by side, and a sum must not depend on how many threads it
  // is cut into.
  openblas_set_num_threads(1);
  MatchingController controller(
      images, options.image_path, preset, options.matching, &stop);
  const std::string raw_path = RawMatchesPath(options);
  auto file =
      std::make_unique<RawMatchFile>(raw_path, DescribeSettings(options));
  WriteResult result;
  try {
    SearchAll(options, searches, *database, &controller, file.get());
    database.reset();
    result = WriteAll(options, searches, *file, output, &controller);
  } catch (const Interrupted&) {
    throw Interrupted("the database was not written." +
                      SayWhatIsKept(*file, raw_path));
  } catch (const InputError& error) {
    throw InputError(error.what() + SayWhatIsKept(*file, raw_path));
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(error.what() + SayWhatIsKept(*file, raw_path));
  }
  file.reset();
  if (options.raw_matches_path.empty()) {
    std::error_code ignored;
    fs::remove(raw_path, ignored);
  }
  return Summarize(result, images);
}

}  // namespace

int RunS2dMatcher(int argc, char** argv) {
  return RunCommand(argv[0], [&](const std::atomic<bool>& stop) -> int {
    CommandOptions options;
    OptionParser parser(
        "s2d_matcher",
        "searches the keypoints of images densely in other ones, and writes "
        "keypoints, matches and verified two-view geometries into a copy of "
        "the database, or in place. COLMAP's mapper, image_registrator and "
        "point_triangulator use them as they are.");
    AddOptions(&options, &parser);
    if (!parser.Parse(argc, argv)) {
      return kExitDone;
    }
    return Match(options, stop);
  });
}

}  // namespace nre
