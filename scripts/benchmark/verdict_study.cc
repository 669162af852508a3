// What the verdict and the covariance are worth: queries that belong to a map
// and queries that do not, generated and real. See README.md.
//
//   verdict_study [--dataset_path FOLDER] [--work_path FOLDER] [--quick 1]
//                 [--only tuning|checking|SCENE] [--results FILE] [--statements
//                 1]
//                 [--num_threads N] [--random_seed N]
//                 [--features NAME] [--weights_path FOLDER]
//
// --results FILE: a line per query, as soon as it is done; what the file has
// already is not done again. --statements 1: queries about which something
// right or wrong is stated, instead; see statement_queries.h.
//
// The exit code is 1 if a query is registered that does not belong, or far from
// its truth, or if the verdict loses too many right poses. With --statements:
// if a pose is wrong, if too many are too sure, or if wrong focal lengths cost
// too many registrations or too much accuracy.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <Eigen/Cholesky>

#include "colmap_plugin/compat/colmap.h"
#include "nre/error.h"
#include "s2d/feature_preset.h"
#include "scripts/benchmark/cached_extractor.h"
#include "scripts/benchmark/named_options.h"
#include "scripts/benchmark/quantile.h"
#include "scripts/benchmark/resumable_table.h"
#include "scripts/benchmark/statement_queries.h"
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
// A covariance explains so many standard deviations of the centre, and what the
// truth is off.
constexpr double kMaxNumStd = 5.0;
constexpr double kMaxUnexplainedM = 0.01;
// Of registered poses about which something is stated.
constexpr double kMaxTooSureShare = 0.02;
// What a wrong focal length may cost: of those registered as they are, and of
// the median error with an unknown one.
constexpr double kMinWrongFocalShare = 0.9;
constexpr double kMaxWrongFocalErrorRatio = 2.0;

// One in so many queries with --quick.
constexpr int kQuickThinOut = 25;

std::map<std::string, std::string> Defaults() {
  return {{"--dataset_path", "../shared/datasets"},
          {"--work_path",
           (std::filesystem::temp_directory_path() / "verdict_study").string()},
          {"--quick", "0"},
          {"--only", ""},
          {"--results", ""},
          {"--statements", "0"},
          {"--num_threads", "1"},
          {"--random_seed", "0"},
          {"--features", kDefaultFeatures},
          {"--weights_path", ""}};
}

// One query when it is done, as a line of --results says it.
struct Outcome {
  std::string scene, kind, name;
  bool for_tuning = false;
  bool belongs = false;
  bool ambiguous = false;
  Verdict verdict = Verdict::kFailed;
  double error_m = 0.0;  // those of queries that belong
  double error_deg = 0.0;
  // Normalised error squared, 6 degrees of freedom; NaN without a covariance.
  double normalised_error = std::nan("");
  // The centre found, and its standard deviation along its error.
  Eigen::Vector3d center_m = Eigen::Vector3d::Zero();
  double center_std_m = 0.0;
  double evidence = 0.0;
  size_t support = 0;
  double focal_length_px = 0.0;
  double focal_length_score = 0.0, lens_score = 0.0;
  std::string why, reason;

  bool Registered() const { return verdict == Verdict::kRegistered; }
  bool Wrong() const {
    return !belongs || error_m > kWrongM || error_deg > kWrongDeg;
  }
  bool Right() const {
    return belongs && verdict != Verdict::kFailed && error_m <= kRightM &&
           error_deg <= kRightDeg;
  }
  bool Lost() const { return Right() && !Registered() && !ambiguous; }
  // Farther off than its covariance allows for.
  bool TooSure() const {
    return belongs && error_m > kMaxNumStd * center_std_m + kMaxUnexplainedM;
  }
  std::string Key() const { return scene + "\t" + kind + "\t" + name; }
};

constexpr char kColumns[] =
    "scene\tkind\tname\tfor_tuning\tbelongs\tambiguous\tverdict\terror_m\t"
    "error_deg\tnormalised_error\tcenter_std_m\tevidence\tsupport\t"
    "focal_length_px\tfocal_length_score\tlens_score\twhy\treason\t"
    "center_x_m\tcenter_y_m\tcenter_z_m";

std::string ToLine(const Outcome& o) {
  std::ostringstream line;
  line.precision(9);
  line << o.Key() << '\t' << o.for_tuning << '\t' << o.belongs << '\t'
       << o.ambiguous << '\t' << VerdictName(o.verdict) << '\t' << o.error_m
       << '\t' << o.error_deg << '\t' << o.normalised_error << '\t'
       << o.center_std_m << '\t' << o.evidence << '\t' << o.support << '\t'
       << o.focal_length_px << '\t' << o.focal_length_score << '\t'
       << o.lens_score << '\t' << o.why << '\t' << o.reason << '\t'
       << o.center_m.x() << '\t' << o.center_m.y() << '\t' << o.center_m.z();
  return line.str();
}

Outcome FromLine(const std::string& line) {
  std::vector<std::string> w = SplitTabs(line);
  w.resize(21);
  Outcome o;
  o.scene = w[0], o.kind = w[1], o.name = w[2];
  o.for_tuning = w[3] == "1", o.belongs = w[4] == "1";
  o.ambiguous = w[5] == "1";
  for (const Verdict verdict :
       {Verdict::kRegistered, Verdict::kRejected, Verdict::kFailed}) {
    if (w[6] == VerdictName(verdict)) o.verdict = verdict;
  }
  o.error_m = std::stod(w[7]), o.error_deg = std::stod(w[8]);
  o.normalised_error = std::stod(w[9]), o.center_std_m = std::stod(w[10]);
  o.evidence = std::stod(w[11]), o.support = std::stoul(w[12]);
  o.focal_length_px = std::stod(w[13]);
  o.focal_length_score = std::stod(w[14]), o.lens_score = std::stod(w[15]);
  o.why = w[16], o.reason = w[17];
  o.center_m = {std::stod(w[18]), std::stod(w[19]), std::stod(w[20])};
  return o;
}

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
  outcome.scene = scene.name;
  outcome.kind = query.kind;
  outcome.name = query.query.name;
  outcome.for_tuning = scene.for_tuning;
  outcome.ambiguous = query.ambiguous;
  outcome.belongs = query.cam_from_world.has_value();
  outcome.verdict = estimate.verdict;
  outcome.evidence = -estimate.log_false_alarms;
  outcome.support = estimate.support.size();
  outcome.focal_length_px = estimate.focal_length_px;
  outcome.focal_length_score = estimate.focal_length_score;
  outcome.lens_score = estimate.lens_score;
  outcome.why = ReasonName(estimate.why);
  outcome.reason = estimate.reason;
  if (query.cam_from_world) {
    const Rigid3d& truth = *query.cam_from_world;
    const Eigen::Vector3d center = ProjectionCenter(estimate.cam_from_world);
    const Eigen::Vector3d error = center - ProjectionCenter(truth);
    outcome.center_m = center / scene.units_per_m;
    outcome.error_m = error.norm() / scene.units_per_m;
    outcome.error_deg = RotationErrorDeg(estimate.cam_from_world, truth);
    outcome.normalised_error = NormalisedError(estimate, truth);
    const Eigen::Vector3d direction = error.normalized();
    outcome.center_std_m =
        std::sqrt(direction.dot(CenterCovariance(estimate) * direction)) /
        scene.units_per_m;
  }
  return outcome;
}

std::vector<Outcome> Run(const StudyScene& scene,
                         const FeaturePreset& preset,
                         const NamedOptions& options,
                         ResumableTable* results) {
  LocalizationOptions localization;
  localization.num_threads = std::atoi(options["--num_threads"].c_str());
  localization.random_seed = std::atoi(options["--random_seed"].c_str());
  LocalizationController controller(
      scene.model, scene.image_path, preset, localization, nullptr);
  std::vector<Outcome> outcomes;
  std::vector<Query> queries;
  std::vector<QueryReferences> references;
  std::map<std::string, const StudyQuery*> by_name;
  for (const StudyQuery& query : scene.queries) {
    const std::string* done =
        results->Find(Judge(scene, query, PoseEstimate()).Key());
    if (done != nullptr) {
      outcomes.push_back(FromLine(*done));
      continue;
    }
    queries.push_back(query.query);
    references.push_back(query.references);
    by_name[query.query.name] = &query;
  }
  size_t num_done = 0;
  controller.Run(queries, references, [&](const QueryResult& result) {
    outcomes.push_back(Judge(scene, *by_name.at(result.name), result.estimate));
    results->Add(ToLine(outcomes.back()));
    std::fprintf(stderr,
                 "\r%s: %zu/%zu ",
                 scene.name.c_str(),
                 ++num_done,
                 queries.size());
  });
  std::fprintf(stderr, "\n");
  return outcomes;
}

// Queries that are nothing but loss maps, made for known poses.
std::vector<Outcome> RunGeneratedMaps(int num_seeds) {
  StudyScene scene;
  scene.name = "maps";
  scene.for_tuning = true;
  std::vector<Outcome> outcomes;
  for (int seed = 0; seed < num_seeds; ++seed) {
    GeneratedMapsOptions options;
    options.wrong_share = 0.2 * (seed % 4);
    const GeneratedQuery generated(options, seed);
    StudyQuery query;
    query.kind = "maps, " + std::to_string(20 * (seed % 4)) + " % wrong";
    query.query.name = std::to_string(seed);
    query.cam_from_world = generated.cam_from_world();
    outcomes.push_back(Judge(scene,
                             query,
                             EstimatePose({generated.camera(),
                                           generated.points(),
                                           generated.coarse_maps(),
                                           generated},
                                          NreEstimationOptions(),
                                          seed)));
  }
  return outcomes;
}

// One row of the table of verdicts.
struct Counts {
  int queries = 0, registered = 0, wrong = 0, right = 0, lost = 0, too_sure = 0;
  std::vector<double> errors_m;  // of registered ones
  std::vector<double> evidence;

  void Add(const Outcome& outcome) {
    ++queries;
    if (outcome.Registered()) {
      ++registered;
      wrong += outcome.Wrong();
      too_sure += outcome.TooSure();
      errors_m.push_back(outcome.error_m);
    }
    right += outcome.Right() && !outcome.ambiguous;
    lost += outcome.Lost();
    evidence.push_back(outcome.evidence);
  }

  void Print(const std::string& name) const {
    std::printf("  %-28s %8d %10d %6d %6d %5d %8d %9.2f  %8.1f %8.1f %8.1f\n",
                name.c_str(),
                queries,
                registered,
                wrong,
                right,
                lost,
                too_sure,
                100.0 * Quantile(errors_m, 0.5),
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
      if (outcome.belongs != belongs) continue;
      rows[outcome.kind].Add(outcome);
      all.Add(outcome);
    }
    if (rows.empty()) continue;
    std::printf("  %-28s %8s %10s %6s %6s %5s %8s %9s  %s\n",
                belongs ? "belongs to the map" : "does not belong",
                "queries",
                "registered",
                "wrong",
                "right",
                "lost",
                "too sure",
                "median cm",
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
      const std::string& name = outcome.scene;
      rows[outcome.kind == "moved" ? "(moved)" : name.substr(0, name.find('_'))]
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

// Returns whether what is asked for of --statements holds, and says by how
// much.
bool PrintStatements(const std::vector<Outcome>& outcomes) {
  std::map<std::string, Counts> kinds;
  Counts all;
  for (const Outcome& outcome : outcomes) {
    kinds[outcome.kind].Add(outcome);
    all.Add(outcome);
  }
  const Counts& as_it_is = kinds["as it is"];
  const Counts& unknown = kinds["focal length unknown"];
  const Counts& wrong = kinds["focal length wrong"];
  const double error_ratio =
      Quantile(wrong.errors_m, 0.5) / Quantile(unknown.errors_m, 0.5);
  std::printf(
      "wrong: %d of %d registered (at most 0)\n"
      "too sure: %d (at most %.0f %%)\n"
      "wrong focal length: %d registered, %d of them as they are (at least "
      "%.0f "
      "%%); median error %.2f of that with an unknown one (at most %.0f)\n",
      all.wrong,
      all.registered,
      all.too_sure,
      100.0 * kMaxTooSureShare,
      wrong.registered,
      as_it_is.registered,
      100.0 * kMinWrongFocalShare,
      error_ratio,
      kMaxWrongFocalErrorRatio);
  return all.wrong == 0 && all.too_sure <= kMaxTooSureShare * all.registered &&
         wrong.registered >= kMinWrongFocalShare * as_it_is.registered &&
         error_ratio <= kMaxWrongFocalErrorRatio;
}

int Main(int argc, char** argv) {
  const NamedOptions options("verdict_study", Defaults(), argc, argv);
  StudySelection selection;
  selection.only = options["--only"];
  selection.thin_out = options["--quick"] == "0" ? 1 : kQuickThinOut;
  std::vector<std::unique_ptr<StudyScene>> scenes =
      GeneratedScenes(options["--work_path"], selection);
  for (std::unique_ptr<StudyScene>& scene : RealScenes(
           options["--dataset_path"], options["--work_path"], selection)) {
    scenes.push_back(std::move(scene));
  }
  FeaturePreset preset =
      CreateFeaturePreset(options["--features"], {options["--weights_path"]});
  const bool statements = options["--statements"] != "0";
  if (statements) CacheFeatures(&preset);
  constexpr size_t kNumKeyWords = 3;  // as in Outcome::Key()
  ResumableTable results(options["--results"], kColumns, kNumKeyWords);
  std::vector<Outcome> tuning, checking;
  if (selection.Has("maps", true) && !statements) {
    constexpr int kNumSeeds = 200;
    tuning = RunGeneratedMaps(kNumSeeds / selection.thin_out);
  }
  for (const std::unique_ptr<StudyScene>& scene : scenes) {
    std::vector<Outcome>& outcomes = scene->for_tuning ? tuning : checking;
    if (statements) StateAboutQueries(scene.get());
    const std::vector<Outcome> more = Run(*scene, preset, options, &results);
    outcomes.insert(outcomes.end(), more.begin(), more.end());
  }
  std::vector<Outcome> all = tuning;
  all.insert(all.end(), checking.begin(), checking.end());
  bool good = true;
  if (statements) {
    PrintVerdicts("What is stated about queries", all);
    good = PrintStatements(all);
  } else {
    if (!tuning.empty()) {
      PrintVerdicts("Scenes that the verdict was tuned on", tuning);
    }
    if (!checking.empty()) {
      good = PrintVerdicts("Scenes that the tuning never saw", checking);
    }
  }
  PrintCovariance(all);
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
