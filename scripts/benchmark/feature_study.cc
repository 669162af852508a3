// What features are worth where they are used, before any pose is estimated:
// how surely and how exactly their maps show known points of held-out images,
// and what they cost. See README.md.
//
//   feature_study --output_path FOLDER [--features NAME[=WEIGHTS_FOLDER] ...]
//                 [--set FOLDER[:HELD_OUT] ...] [--dataset_path FOLDER]
//                 [--gap BASE,BETTER,OTHER ...] [--max_pairs N]
//                 [--max_points N]
//
// FOLDER/pairs.tsv gets a line per pair as soon as it is done; what it has
// already is not done again. tables.md has what is printed, and there are
// curves of every set.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <cblas.h>
#include <opencv2/core.hpp>

#include "nre/error.h"
#include "nre/pose_evaluation.h"
#include "s2d/feature_preset.h"
#include "s2d/image.h"
#include "scripts/benchmark/cached_extractor.h"
#include "scripts/benchmark/epipolar_maps.h"
#include "scripts/benchmark/feature_pairs.h"
#include "scripts/benchmark/feature_study_report.h"
#include "scripts/benchmark/resumable_table.h"
#include "scripts/calibration/map_quality.h"

namespace nre {
namespace {

// Sets below --dataset_path, where none is named.
constexpr const char* kSets[] = {"sacre_coeur:every3",
                                 "lund_door:8-11",
                                 "fountain",
                                 "herzjesu",
                                 "robustmvd",
                                 "virtual_gallery",
                                 "icepy4d_glacier",
                                 "scannet_pairs"};

// Errors are in the same cells for all features, whatever their maps' are: in
// pixels of the picture, reduced to this size on its longer side if it is
// larger. `compact` has such cells.
struct Cell {
  double px;
  double max_image_size;

  double PxOf(const Image& image) const {
    return px *
           std::max(1.0, std::max(image.width, image.height) / max_image_size);
  }
};
constexpr Cell kCoarseCell = {8.0, 1024.0};
constexpr Cell kFineCell = {2.0, 1536.0};

struct Options {
  std::string output_path;
  std::string dataset_path = "../shared/datasets";
  std::vector<std::string> features;
  std::vector<FeatureStudySet> sets;
  std::vector<GapRequest> gaps;
  FeaturePairOptions pairs;
};

// Splits the text in two at a character; the second part is empty if there is
// none.
std::pair<std::string, std::string> SplitAt(const std::string& text, char c) {
  const size_t at = text.find(c);
  if (at == std::string::npos) return {text, ""};
  return {text.substr(0, at), text.substr(at + 1)};
}

GapRequest ParseGap(const std::string& text) {
  const auto [base, rest] = SplitAt(text, ',');
  const auto [better, other] = SplitAt(rest, ',');
  return {base, better, other};
}

Options ReadOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 == argc) throw InputError(name + " has no value; see README.md");
    const std::string value = argv[i + 1];
    if (name == "--output_path") {
      options.output_path = value;
    } else if (name == "--dataset_path") {
      options.dataset_path = value;
    } else if (name == "--features") {
      options.features.push_back(value);
    } else if (name == "--set") {
      options.sets.push_back(ParseFeatureStudySet(value));
    } else if (name == "--gap") {
      options.gaps.push_back(ParseGap(value));
    } else if (name == "--max_pairs") {
      options.pairs.max_pairs = std::stoi(value);
    } else if (name == "--max_points") {
      options.pairs.max_points_per_pair = std::stoi(value);
    } else {
      throw InputError("unknown option " + name + "; see README.md");
    }
  }
  if (options.output_path.empty()) throw InputError("expected --output_path");
  if (options.features.empty()) options.features = {kDefaultFeatures};
  if (options.sets.empty()) {
    for (const std::string set : kSets) {
      options.sets.push_back(
          ParseFeatureStudySet(options.dataset_path + "/" + set));
    }
  }
  options.pairs.Check();
  for (const GapRequest& gap : options.gaps) {
    for (const std::string& name : {gap.base, gap.better, gap.other}) {
      if (std::count(options.features.begin(), options.features.end(), name) ==
          0) {
        throw InputError("--gap names '" + name +
                         "': expected three of the --features");
      }
    }
  }
  return options;
}

// "NAME" or "NAME=WEIGHTS_FOLDER". On the processor, since it is what is timed.
FeaturePreset CreatePreset(const std::string& features) {
  const auto [name, weights_path] = SplitAt(features, '=');
  return CreateFeaturePreset(name, {weights_path, Device::kCpu});
}

// Median CPU times of a picture at 640 x 480, the features in turn.
std::string TimeFeatures(const std::vector<std::string>& features,
                         const std::string& picture_path) {
  constexpr int kNumRounds = 5;
  const Image image = ResizeImage(ReadImage(picture_path), 640, 480);
  std::vector<FeaturePreset> presets;
  for (const std::string& name : features) {
    presets.push_back(CreatePreset(name));
  }
  const auto time = [&](const FeatureExtractor& extractor) {
    const std::clock_t begin = std::clock();
    extractor.Extract(image);
    return 1e3 * (std::clock() - begin) / CLOCKS_PER_SEC;
  };
  std::vector<std::vector<double>> coarse(presets.size()), fine(presets.size());
  for (int round = 0; round < kNumRounds; ++round) {
    for (size_t k = 0; k < presets.size(); ++k) {
      coarse[k].push_back(time(*presets[k].coarse));
      fine[k].push_back(time(*presets[k].fine));
    }
  }
  std::string table =
      "\nCPU time at 640 x 480, one thread\n\n| features | coarse, ms | fine, "
      "ms | both, ms |\n| --- | ---: | ---: | ---: |\n";
  for (size_t k = 0; k < presets.size(); ++k) {
    const double coarse_ms = Median(coarse[k]), fine_ms = Median(fine[k]);
    char row[200];
    std::snprintf(row,
                  sizeof(row),
                  "| %s | %.0f | %.0f | %.0f |\n",
                  features[k].c_str(),
                  coarse_ms,
                  fine_ms,
                  coarse_ms + fine_ms);
    table += row;
  }
  return table;
}

// What both kinds of statistics have; their errors times `cells_per_unit`.
template <typename Statistics>
void SetMeans(const Statistics& sums, double cells_per_unit, FeatureRecord* r) {
  const double num = std::max<size_t>(1, sums.errors.size());
  r->num_points = sums.errors.size();
  r->errors = sums.errors;
  for (double& error : r->errors) error *= cells_per_unit;
  const auto share_within = [&](double cells) {
    return std::count_if(r->errors.begin(),
                         r->errors.end(),
                         [&](double error) { return error <= cells; }) /
           num;
  };
  r->within_1 = share_within(1.0);
  r->within_2 = share_within(2.0);
}

void SetMeans(const MapStatistics& sums,
              const FeatureMap& map,
              double cell_px,
              FeatureRecord* r) {
  SetMeans(sums, 1.0 / (map.map_from_image.scale.x() * cell_px), r);
  r->nre = sums.nre[0] / r->num_points;
  r->max_nre = sums.log_categories / r->num_points;
}

void SetMeans(const EpipolarStatistics& sums, FeatureRecord* r) {
  SetMeans(sums, 1.0, r);
  const double num = r->num_points;
  r->nre = sums.nre / num;
  r->max_nre = sums.max_nre / num;
  r->chance_1 = sums.chance_1 / num;
  r->chance_2 = sums.chance_2 / num;
}

// One pair with one kind of features.
class PairEvaluation {
 public:
  PairEvaluation(const FeaturePair& pair,
                 const FeaturePreset& preset,
                 const std::string& features,
                 ResumableTable* results)
      : pair_(pair), preset_(preset), features_(features), results_(results) {}

  void Run() {
    const std::vector<MapKind> kinds =
        pair_.epipolar ? std::vector<MapKind>{MapKind::kEpipolar}
                       : std::vector<MapKind>{MapKind::kCoarse, MapKind::kFine};
    for (const MapKind kind : kinds) {
      FeatureRecord record;
      record.set = pair_.set;
      record.kind = kind;
      record.features = features_;
      record.reference = pair_.reference;
      record.query = pair_.query;
      if (results_->Find(record.Key()) != nullptr) continue;
      Evaluate(&record);
      if (record.num_points > 0) results_->Add(ToLine(record));
    }
  }

 private:
  void Evaluate(FeatureRecord* record) {
    const Image reference = ReadImage(pair_.reference_path);
    const Image query = ReadImage(pair_.query_path);
    const double cell_px = kCoarseCell.PxOf(query);
    const PairFeatures coarse = {preset_.coarse->Extract(reference),
                                 preset_.coarse->Extract(query)};
    const double scale = preset_.coarse_softmax_scale;
    if (record->kind == MapKind::kEpipolar) {
      SetMeans(
          EvaluateEpipolar(pair_.epipolar_points(), coarse, scale, cell_px),
          record);
    } else if (record->kind == MapKind::kCoarse) {
      SetMeans(EvaluateCoarse(pair_.points(), coarse, {scale}),
               coarse.map2,
               cell_px,
               record);
    } else {
      const PairFeatures fine = {preset_.fine->Extract(reference),
                                 preset_.fine->Extract(query)};
      // The same windows for all features, as far as their maps allow.
      const std::string names = pair_.reference + pair_.query;
      std::seed_seq seed(names.begin(), names.end());
      std::mt19937 random(seed);
      SetMeans(EvaluateFine(pair_.points(),
                            coarse,
                            scale,
                            fine,
                            {preset_.fine_softmax_scale},
                            &random),
               fine.map2,
               kFineCell.PxOf(query),
               record);
    }
  }

  const FeaturePair& pair_;
  const FeaturePreset& preset_;
  const std::string& features_;
  ResumableTable* results_;
};

std::vector<FeaturePair> AllPairs(const Options& options) {
  std::vector<FeaturePair> pairs;
  for (const FeatureStudySet& set : options.sets) {
    for (FeaturePair& pair : FeaturePairs(set, options.pairs)) {
      pairs.push_back(std::move(pair));
    }
  }
  return pairs;
}

void Evaluate(const std::vector<FeaturePair>& pairs,
              const std::string& features,
              ResumableTable* results) {
  FeaturePreset preset = CreatePreset(features);
  CacheFeatures(&preset);
  for (size_t i = 0; i < pairs.size(); ++i) {
    PairEvaluation(pairs[i], preset, features, results).Run();
    std::fprintf(stderr,
                 "\r%s: %zu/%zu pairs, %-20s",
                 features.c_str(),
                 i + 1,
                 pairs.size(),
                 pairs[i].set.c_str());
  }
  std::fprintf(stderr, "\n");
}

// The records of these sets, in the order of the table.
std::vector<FeatureRecord> Records(const ResumableTable& results,
                                   const std::vector<FeaturePair>& pairs) {
  std::vector<FeatureRecord> records;
  for (const auto& [_, line] : results.lines()) {
    const FeatureRecord record = FeatureRecordFromLine(line);
    if (std::any_of(pairs.begin(), pairs.end(), [&](const FeaturePair& pair) {
          return pair.set == record.set && pair.query == record.query &&
                 pair.reference == record.reference;
        })) {
      records.push_back(record);
    }
  }
  return records;
}

void Run(const Options& options) {
  openblas_set_num_threads(1);
  cv::setNumThreads(1);
  const std::vector<FeaturePair> pairs = AllPairs(options);
  std::filesystem::create_directories(options.output_path);
  // What the points depend on is a part of the columns, so that a run with
  // other options does not go on from this one.
  ResumableTable table(options.output_path + "/pairs.tsv",
                       kFeatureColumns + std::string(", points at most ") +
                           std::to_string(options.pairs.max_points_per_pair),
                       kNumFeatureKeyWords);
  const std::string times =
      TimeFeatures(options.features, pairs.front().query_path);
  for (const std::string& features : options.features) {
    Evaluate(pairs, features, &table);
  }
  const FeatureResults results(Records(table, pairs), options.features);
  std::string text = results.Tables() + times;
  for (const GapRequest& gap : options.gaps) text += results.Describe(gap);
  std::fputs(text.c_str(), stdout);
  std::ofstream file(options.output_path + "/tables.md");
  file << text;
  if (!file.flush()) {
    throw InputError("cannot write " + options.output_path + "/tables.md");
  }
  results.WriteCurves(options.output_path);
}

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  try {
    nre::Run(nre::ReadOptions(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "feature_study: %s\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
