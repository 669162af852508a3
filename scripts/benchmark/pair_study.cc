// The protocol of the paper (Germain et al., CVPR 2021, section 8) on any
// COLMAP model: every image is localized in what one other image observes. See
// README.md, and pair_study.sh, which also makes the database.
//
//   pair_study --model_path FOLDER --image_path FOLDER
//              [--methods nre,re,lo_ransac,magsac,fpr,sift]
//              [--features NAME] [--weights_path FOLDER]
//              [--sift_database_path FILE] [--metres_per_unit 0]
//              [--min_shared_points 50] [--max_num_pairs 0]
//              [--selection stratified|widest] [--random_seed 0]
//              [--results FILE] [--num_threads 1] [--list_path FILE]
//
// --results FILE: a line per pair and method, as soon as it is done; what the
// file has already is not done again, and what it has of other features and
// methods is in the tables, too. --list_path FILE: writes the pairs that are
// selected, `query reference`, and does no more.

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <cblas.h>
#include <opencv2/core.hpp>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/localization_controller.h"
#include "colmap_plugin/controllers/parallel.h"
#include "colmap_plugin/controllers/seeds.h"
#include "colmap_plugin/io/database.h"
#include "colmap_plugin/io/lists.h"
#include "nre/error.h"
#include "s2d/feature_preset.h"
#include "s2d/magsac.h"
#include "scripts/benchmark/cached_extractor.h"
#include "scripts/benchmark/model_pairs.h"
#include "scripts/benchmark/named_options.h"
#include "scripts/benchmark/pair_study_report.h"
#include "scripts/benchmark/resumable_table.h"
#include "scripts/benchmark/sift_matches.h"

namespace nre {
namespace {

// COLMAP's SIFT, a method as far as the options go.
constexpr char kSift[] = "sift";
constexpr double kSiftMaxErrorPx = 12.0;  // as in COLMAP's image_registrator

std::map<std::string, std::string> Defaults() {
  return {{"--model_path", ""},
          {"--image_path", ""},
          {"--methods", "nre"},
          {"--features", kDefaultFeatures},
          {"--weights_path", ""},
          {"--sift_database_path", ""},
          {"--metres_per_unit", "0"},
          {"--min_shared_points", "50"},
          {"--max_num_pairs", "0"},
          {"--selection", "stratified"},
          {"--random_seed", "0"},
          {"--results", ""},
          {"--num_threads", "1"},
          {"--list_path", ""}};
}

// A way to localize one pair.
class PairMethod {
 public:
  virtual ~PairMethod() = default;
  // Fills in verdict, reason and errors. Several threads may call it.
  virtual void Run(const ModelPair& pair, PairRecord* record) = 0;
};

// The product as it is, but with the one reference.
class Localizer : public PairMethod {
 public:
  Localizer(const colmap::Reconstruction& model,
            const std::string& image_path,
            const FeaturePreset& preset,
            const LocalizationOptions& options)
      : model_(model),
        controller_(model, image_path, preset, options, nullptr) {}

  void Run(const ModelPair& pair, PairRecord* record) override {
    const colmap::Image& image = model_.Image(pair.query);
    Query query;
    query.name = image.Name();
    query.camera = model_.Camera(image.CameraId());
    QueryReferences references;
    references.given = true;
    references.image_ids = {pair.reference};
    for (const colmap::image_t id : RegisteredImages(model_)) {
      if (id != pair.reference) references.excluded.push_back(id);
    }
    const PoseEstimate estimate =
        controller_.Run({query}, {references}, nullptr).front().estimate;
    record->verdict = estimate.verdict;
    record->why = ReasonName(estimate.why);
    if (estimate.verdict != Verdict::kFailed) {
      record->error = ErrorOfPose(estimate.cam_from_world, CamFromWorld(image));
    }
  }

 private:
  const colmap::Reconstruction& model_;
  LocalizationController controller_;
};

// COLMAP's SIFT matches and MAGSAC++, which knows no verdict: every pose that
// it finds is registered.
class SiftLocalizer : public PairMethod {
 public:
  SiftLocalizer(const colmap::Reconstruction& model,
                const std::string& database_path,
                uint64_t seed)
      : model_(model),
        database_(database_path, Database::Mode::kReadOnly),
        seed_(seed) {}

  void Run(const ModelPair& pair, PairRecord* record) override {
    const colmap::Image& image = model_.Image(pair.query);
    const std::optional<Rigid3d> pose =
        SolveMagsac(*CameraOf(model_, image),
                    Matches(pair),
                    kSiftMaxErrorPx,
                    MixSeeds(seed_, HashOfName(image.Name())));
    if (pose) {
      record->verdict = Verdict::kRegistered;
      record->error = ErrorOfPose(*pose, CamFromWorld(image));
    } else {
      record->why = ReasonName(Reason::kNoPose);
    }
  }

 private:
  std::vector<PointMatch> Matches(const ModelPair& pair) {
    std::lock_guard<std::mutex> lock(mutex_);
    return SiftMatches(model_, database_, pair.query_name, pair.reference);
  }

  const colmap::Reconstruction& model_;
  std::mutex mutex_;
  Database database_;
  uint64_t seed_;
};

struct NamedMethod {
  std::string features;
  std::string name;
  std::unique_ptr<PairMethod> method;
};

std::vector<std::string> SplitCommas(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, ',');) {
    words.push_back(word);
  }
  return words;
}

std::vector<NamedMethod> CreateMethods(const colmap::Reconstruction& model,
                                       const FeaturePreset& preset,
                                       const NamedOptions& options) {
  const uint64_t seed = std::stoull(options["--random_seed"]);
  std::string features = options["--features"];
  if (!options["--weights_path"].empty()) {
    features += "=" + options["--weights_path"];
  }
  std::vector<NamedMethod> methods;
  for (const std::string& name : SplitCommas(options["--methods"])) {
    if (name == kSift) {
      methods.push_back({"SIFT",
                         EstimationMethodName(EstimationMethod::kMagsac),
                         std::make_unique<SiftLocalizer>(
                             model, options["--sift_database_path"], seed)});
      continue;
    }
    LocalizationOptions localization;
    localization.estimation.method = ParseEstimationMethod(name);
    localization.random_seed = seed;
    localization.num_threads = 1;  // pairs run side by side
    methods.push_back(
        {features,
         name,
         std::make_unique<Localizer>(
             model, options["--image_path"], preset, localization)});
  }
  if (methods.empty()) throw InputError("expected --methods");
  return methods;
}

std::vector<ModelPair> ChoosePairs(const colmap::Reconstruction& model,
                                   const NamedOptions& options) {
  ModelPairOptions pairs;
  pairs.min_shared_points = std::stoi(options["--min_shared_points"]);
  pairs.metres_per_unit = std::stod(options["--metres_per_unit"]);
  return SelectPairs(ModelPairs(model, pairs),
                     ParsePairSelection(options["--selection"]),
                     std::stoul(options["--max_num_pairs"]),
                     std::stoull(options["--random_seed"]));
}

void WriteList(const std::string& path, const std::vector<ModelPair>& pairs) {
  std::ofstream file(path);
  for (const ModelPair& pair : pairs) {
    file << PairLine({pair.query_name, pair.reference_name}) << '\n';
  }
  if (!file.flush()) throw InputError("cannot write " + path);
}

// A picture that is missing would count as one that is not found.
void CheckPictures(const std::string& folder,
                   const std::vector<ModelPair>& pairs) {
  for (const ModelPair& pair : pairs) {
    for (const std::string& name : {pair.query_name, pair.reference_name}) {
      const std::filesystem::path path = std::filesystem::path(folder) / name;
      if (!std::filesystem::exists(path)) {
        throw InputError("there is no " + path.string() +
                         ": expected the model's images in --image_path");
      }
    }
  }
}

// What the results depend on is a part of the columns, so that a run on another
// model or with another seed does not go on from this one.
std::string Columns(const colmap::Reconstruction& model,
                    const NamedOptions& options) {
  return kPairColumns + std::string(", model of ") +
         std::to_string(model.NumRegImages()) + " images and " +
         std::to_string(model.NumPoints3D()) + " points, seed " +
         options["--random_seed"];
}

void RunPairs(const std::vector<ModelPair>& pairs,
              const std::vector<NamedMethod>& methods,
              int num_threads,
              ResumableTable* results) {
  std::mutex mutex;
  size_t num_done = 0;
  ParallelFor(pairs.size(), num_threads, [&](size_t i) {
    for (const NamedMethod& method : methods) {
      PairRecord record;
      record.features = method.features;
      record.method = method.name;
      record.query = pairs[i].query_name;
      record.reference = pairs[i].reference_name;
      {
        std::lock_guard<std::mutex> lock(mutex);
        if (results->Find(record.Key()) != nullptr) continue;
      }
      method.method->Run(pairs[i], &record);
      std::lock_guard<std::mutex> lock(mutex);
      results->Add(ToLine(record));
    }
    std::lock_guard<std::mutex> lock(mutex);
    std::fprintf(stderr, "\r%zu/%zu pairs ", ++num_done, pairs.size());
  });
  std::fprintf(stderr, "\n");
}

void Run(const NamedOptions& options) {
  openblas_set_num_threads(1);
  cv::setNumThreads(1);
  colmap::Reconstruction model;
  ReadModel(options["--model_path"], &model);
  const std::vector<ModelPair> pairs = ChoosePairs(model, options);
  if (!options["--list_path"].empty()) {
    WriteList(options["--list_path"], pairs);
    return;
  }
  CheckPictures(options["--image_path"], pairs);
  FeaturePreset preset =
      CreateFeaturePreset(options["--features"], {options["--weights_path"]});
  CacheFeatures(&preset);  // for the other methods, and the next pair
  const std::vector<NamedMethod> methods =
      CreateMethods(model, preset, options);
  ResumableTable results(
      options["--results"], Columns(model, options), kNumPairKeyWords);
  RunPairs(pairs, methods, std::stoi(options["--num_threads"]), &results);
  std::vector<PairRecord> records;
  for (const auto& [_, line] : results.lines()) {
    records.push_back(PairRecordFromLine(line));
  }
  std::fputs(PairTables(pairs, records).c_str(), stdout);
}

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  try {
    nre::Run(nre::NamedOptions("pair_study", nre::Defaults(), argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "pair_study: %s\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
