// What the verdict and the covariance are worth: queries that belong to a map
// and queries that do not, generated and real. See README.md.
//
//   verdict_study [--dataset_path FOLDER] [--work_path FOLDER] [--quick 1]
//                 [--only tuning|checking|SCENE] [--csv FILE]
//                 [--num_threads N] [--random_seed N]
//                 [--features NAME] [--weights_path FOLDER]
//
// The exit code is 1 if a query is registered that does not belong, or far from
// its truth, or if the verdict loses too many right poses.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <Eigen/Cholesky>

#include "colmap_plugin/compat/colmap.h"
#include "nre/error.h"
#include "s2d/feature_preset.h"
#include "scripts/benchmark/verdict_scenes.h"
#include "tests/testing/generated_maps.h"

namespace nre {
namespace {

// A pose farther off is wrong, a nearer one than the second pair right.
constexpr double kWrongM = 0.5;
constexpr double kWrongDeg = 5.0;
constexpr double kRightM = 0.1;
constexpr double kRightDeg = 1.0;
constexpr double kMaxLostShare = 0.02;

// One in so many queries with --quick.
constexpr int kQuickThinOut = 25;

struct Options {
  std::map<std::string, std::string> values = {
      {"--dataset_path", "../shared/datasets"},
      {"--work_path",
       (std::filesystem::temp_directory_path() / "verdict_study").string()},
      {"--quick", "0"},
      {"--only", ""},
      {"--csv", ""},
      {"--num_threads", "1"},
      {"--random_seed", "0"},
      {"--features", kDefaultFeatures},
      {"--weights_path", ""}};

  Options(int argc, char** argv) {
    for (int i = 1; i < argc; i += 2) {
      const auto value = values.find(argv[i]);
      if (value == values.end() || i + 1 == argc) {
        std::string usage = "usage: verdict_study";
        for (const auto& [name, standard] : values) {
          usage += " [" + name + " " + standard + "]";
        }
        throw InputError(usage);
      }
      value->second = argv[i + 1];
    }
  }

  const std::string& operator[](const std::string& name) const {
    return values.at(name);
  }
};

// One query when it is done.
struct Outcome {
  const StudyScene* scene = nullptr;
  const StudyQuery* query = nullptr;
  PoseEstimate estimate;
  double error_m = 0.0;  // those of queries that belong
  double error_deg = 0.0;
  // Normalised error squared, 6 degrees of freedom; NaN without a covariance.
  double normalised_error = std::nan("");

  bool Belongs() const { return query->cam_from_world.has_value(); }
  bool Registered() const { return estimate.verdict == Verdict::kRegistered; }
  bool Wrong() const {
    return !Belongs() || error_m > kWrongM || error_deg > kWrongDeg;
  }
  bool Right() const {
    return Belongs() && estimate.verdict != Verdict::kFailed &&
           error_m <= kRightM && error_deg <= kRightDeg;
  }
  bool Lost() const { return Right() && !Registered() && !query->ambiguous; }
};

// e^T C^-1 e of the left perturbation e that leads from the estimate to the
// truth.
double NormalisedError(const PoseEstimate& estimate, const Rigid3d& truth) {
  const Rigid3d difference = truth * estimate.cam_from_world.Inverse();
  const Eigen::AngleAxisd rotation(difference.rotation);
  Eigen::Matrix<double, 6, 1> error;
  error << rotation.angle() * rotation.axis(), difference.translation;
  const Eigen::LLT<Matrix6d> cholesky(estimate.covariance);
  if (cholesky.info() != Eigen::Success) return std::nan("");
  return error.dot(cholesky.solve(error));
}

Outcome Judge(const StudyScene& scene,
              const StudyQuery& query,
              const PoseEstimate& estimate) {
  Outcome outcome;
  outcome.scene = &scene;
  outcome.query = &query;
  outcome.estimate = estimate;
  if (query.cam_from_world) {
    outcome.error_m =
        CenterError(estimate.cam_from_world, *query.cam_from_world) /
        scene.units_per_m;
    outcome.error_deg =
        RotationErrorDeg(estimate.cam_from_world, *query.cam_from_world);
    outcome.normalised_error = NormalisedError(estimate, *query.cam_from_world);
  }
  return outcome;
}

std::vector<Outcome> Run(const StudyScene& scene,
                         const FeaturePreset& preset,
                         const Options& options) {
  LocalizationOptions localization;
  localization.num_threads = std::atoi(options["--num_threads"].c_str());
  localization.random_seed = std::atoi(options["--random_seed"].c_str());
  LocalizationController controller(
      scene.model, scene.image_path, preset, localization, nullptr);
  std::vector<Query> queries;
  std::vector<QueryReferences> references;
  for (const StudyQuery& query : scene.queries) {
    queries.push_back(query.query);
    references.push_back(query.references);
  }
  size_t num_done = 0;
  const std::vector<QueryResult> results =
      controller.Run(queries, references, [&](const QueryResult&) {
        std::fprintf(stderr,
                     "\r%s: %zu/%zu ",
                     scene.name.c_str(),
                     ++num_done,
                     queries.size());
      });
  std::fprintf(stderr, "\n");
  std::vector<Outcome> outcomes;
  for (size_t i = 0; i < results.size(); ++i) {
    outcomes.push_back(Judge(scene, scene.queries[i], results[i].estimate));
  }
  return outcomes;
}

// Queries that are nothing but loss maps, made for known poses.
std::vector<Outcome> RunGeneratedMaps(int num_seeds) {
  static StudyScene scene;
  scene.name = "maps";
  scene.for_tuning = true;
  static std::vector<StudyQuery> queries(num_seeds);
  std::vector<Outcome> outcomes;
  for (int seed = 0; seed < num_seeds; ++seed) {
    GeneratedMapsOptions options;
    options.wrong_share = 0.2 * (seed % 4);
    const GeneratedQuery generated(options, seed);
    StudyQuery& query = queries[seed];
    query.kind = "maps, " + std::to_string(20 * (seed % 4)) + " % wrong";
    query.query.name = std::to_string(seed);
    query.cam_from_world = generated.cam_from_world();
    outcomes.push_back(Judge(scene,
                             query,
                             EstimatePose(generated.camera(),
                                          generated.points(),
                                          generated.coarse_maps(),
                                          generated,
                                          NreEstimationOptions(),
                                          seed)));
  }
  return outcomes;
}

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return std::nan("");
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1,
                         static_cast<size_t>(share * values.size()))];
}

// One row of the table of verdicts.
struct Counts {
  int queries = 0, registered = 0, wrong = 0, right = 0, lost = 0;
  std::vector<double> evidence;

  void Add(const Outcome& outcome) {
    ++queries;
    registered += outcome.Registered();
    wrong += outcome.Registered() && outcome.Wrong();
    right += outcome.Right() && !outcome.query->ambiguous;
    lost += outcome.Lost();
    evidence.push_back(-outcome.estimate.log_false_alarms);
  }

  void Print(const std::string& name) const {
    std::printf("  %-28s %8d %10d %6d %6d %5d  %8.1f %8.1f %8.1f\n",
                name.c_str(),
                queries,
                registered,
                wrong,
                right,
                lost,
                Quantile(evidence, 0.0),
                Quantile(evidence, 0.5),
                Quantile(evidence, 1.0));
  }
};

// Returns whether what was asked for holds.
bool PrintVerdicts(const std::string& title,
                   const std::vector<Outcome>& outcomes) {
  std::printf("%s\n", title.c_str());
  bool good = true;
  for (const bool belongs : {false, true}) {
    std::map<std::string, Counts> rows;
    Counts all;
    for (const Outcome& outcome : outcomes) {
      if (outcome.Belongs() != belongs) continue;
      rows[outcome.query->kind].Add(outcome);
      all.Add(outcome);
    }
    if (rows.empty()) continue;
    std::printf("  %-28s %8s %10s %6s %6s %5s  %s\n",
                belongs ? "belongs to the map" : "does not belong",
                "queries",
                "registered",
                "wrong",
                "right",
                "lost",
                "evidence: min, median, max");
    for (const auto& [kind, counts] : rows) counts.Print(kind);
    all.Print("all");
    good = good && all.wrong == 0 && all.lost <= kMaxLostShare * all.right;
  }
  std::printf("\n");
  return good;
}

// Of right poses with a covariance. Pictures of a moving camera apart: they
// were taken from a path, and what is sharpest in them is one of its ends.
void PrintCovariance(const std::vector<Outcome>& outcomes) {
  std::map<std::string, std::vector<double>> rows;
  for (const Outcome& outcome : outcomes) {
    if (outcome.Registered() && !outcome.Wrong()) {
      const std::string& name = outcome.scene->name;
      rows[outcome.query->kind == "moved" ? "(moved)"
                                          : name.substr(0, name.find('_'))]
          .push_back(outcome.normalised_error);
    }
  }
  std::printf(
      "Normalised error squared of registered poses (expected: mean 6.0, "
      "median 5.3)\n  %-28s %8s %8s %8s %8s\n",
      "scenes",
      "queries",
      "mean",
      "median",
      "90 %");
  for (const auto& [name, values] : rows) {
    double sum = 0.0;
    for (const double value : values) sum += value;
    std::printf("  %-28s %8zu %8.2f %8.2f %8.2f\n",
                name.c_str(),
                values.size(),
                sum / values.size(),
                Quantile(values, 0.5),
                Quantile(values, 0.9));
  }
}

void WriteCsv(const std::string& path, const std::vector<Outcome>& outcomes) {
  std::ofstream file(path);
  file << "scene,kind,name,belongs,verdict,error_m,error_deg,evidence,support,"
          "normalised_error,reason\n";
  for (const Outcome& outcome : outcomes) {
    file << outcome.scene->name << ",\"" << outcome.query->kind << "\","
         << outcome.query->query.name << "," << outcome.Belongs() << ","
         << VerdictName(outcome.estimate.verdict) << "," << outcome.error_m
         << "," << outcome.error_deg << ","
         << -outcome.estimate.log_false_alarms << ","
         << outcome.estimate.support.size() << "," << outcome.normalised_error
         << ",\"" << outcome.estimate.reason << "\"\n";
  }
}

int Main(int argc, char** argv) {
  const Options options(argc, argv);
  StudySelection selection;
  selection.only = options["--only"];
  selection.thin_out = options["--quick"] == "0" ? 1 : kQuickThinOut;
  std::vector<std::unique_ptr<StudyScene>> scenes =
      GeneratedScenes(options["--work_path"], selection);
  for (std::unique_ptr<StudyScene>& scene : RealScenes(
           options["--dataset_path"], options["--work_path"], selection)) {
    scenes.push_back(std::move(scene));
  }
  const FeaturePreset preset =
      CreateFeaturePreset(options["--features"], {options["--weights_path"]});
  std::vector<Outcome> tuning, checking;
  if (selection.Has("maps", true)) {
    constexpr int kNumSeeds = 200;
    tuning = RunGeneratedMaps(kNumSeeds / selection.thin_out);
  }
  for (const std::unique_ptr<StudyScene>& scene : scenes) {
    std::vector<Outcome>& outcomes = scene->for_tuning ? tuning : checking;
    const std::vector<Outcome> more = Run(*scene, preset, options);
    outcomes.insert(outcomes.end(), more.begin(), more.end());
  }
  bool good = true;
  if (!tuning.empty()) {
    PrintVerdicts("Scenes that the verdict was tuned on", tuning);
  }
  if (!checking.empty()) {
    good = PrintVerdicts("Scenes that the tuning never saw", checking);
  }
  std::vector<Outcome> all = tuning;
  all.insert(all.end(), checking.begin(), checking.end());
  PrintCovariance(all);
  if (!options["--csv"].empty()) WriteCsv(options["--csv"], all);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  try {
    return nre::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
