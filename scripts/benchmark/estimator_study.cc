// A controlled experiment on pose estimators: problems with known poses, loss
// maps partly or mostly wrong, half of them generated, half from dense features
// of real pairs; every method gets the same maps. See README.md.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <cblas.h>
#include <opencv2/core/utility.hpp>

#include "nre/gnc.h"
#include "nre/msac.h"
#include "nre/pose_estimator.h"
#include "s2d/coarse_maps.h"
#include "s2d/fine_maps.h"
#include "s2d/magsac.h"
#include "scripts/benchmark/estimator_study_real.h"
#include "scripts/benchmark/estimator_study_report.h"
#include "tests/testing/generated_maps.h"

namespace nre {
namespace {

constexpr int kNumPoints = 300;
const PoseThreshold kThreshold = {0.1, false, 1.0};
const PoseThreshold kTightThreshold = {0.02, false, 0.2};

// One pose to estimate.
struct Problem {
  std::string family;
  double wrong_share = 0.0;
  std::string name;
  uint64_t seed = 0;
  const Camera& camera;
  const Rigid3d& cam_from_world;  // the truth
  const std::vector<Eigen::Vector3d>& points;
  const LossMaps& coarse;
  const FineMapSource& fine;
  MethodInputs inputs;
  const PointView* point_views = nullptr;
};

PoseEstimate Estimate(const Problem& problem,
                      const NreEstimationOptions& options,
                      const PointView* point_views) {
  return EstimatePose({problem.camera,
                       problem.points,
                       problem.coarse,
                       problem.fine,
                       Priors(),
                       SharedErrors(),
                       point_views},
                      options,
                      problem.seed,
                      problem.inputs);
}

// What is left of the estimator when stages are left out.
struct Stages {
  int num_refined_hypotheses = NreEstimationOptions().num_refined_hypotheses;
  std::vector<double> coarse_sigmas;  // none: no coarse GNC
  std::vector<double> fine_sigmas;    // none: no fine maps
};

using Method = std::function<PoseEstimate(const Problem&)>;

void Refine(const Problem& problem,
            const LossMaps& maps,
            const std::vector<double>& sigmas,
            Rigid3d* pose) {
  GncOptions gnc;
  gnc.sigmas = sigmas;
  RefinePoseGnc(problem.camera, problem.points, maps, gnc, pose);
}

void RefineFine(const Problem& problem,
                const std::vector<double>& sigmas,
                PoseEstimate* estimate) {
  std::vector<Eigen::Vector2d> xys(problem.points.size());
  for (size_t i = 0; i < xys.size(); ++i) {
    if (!problem.camera.Project(
            estimate->cam_from_world * problem.points[i], &xys[i], nullptr)) {
      xys[i].setConstant(std::numeric_limits<double>::quiet_NaN());
    }
  }
  const std::unique_ptr<LossMaps> maps = problem.fine.Compute(xys);
  Refine(problem, *maps, sigmas, &estimate->cam_from_world);
  estimate->fine_cost =
      MeanNre(problem.camera, problem.points, *maps, estimate->cam_from_world);
}

PoseEstimate RunStages(const Problem& problem, const Stages& stages) {
  MsacOptions options;
  options.max_num_poses = stages.num_refined_hypotheses;
  const std::vector<PoseHypothesis> hypotheses = SamplePosesMsac(
      problem.camera, problem.points, problem.coarse, options, problem.seed);
  PoseEstimate estimate;
  if (hypotheses.empty()) {
    return estimate;
  }
  estimate.verdict = Verdict::kRejected;  // there is none without evidence
  estimate.cam_from_world = hypotheses.front().cam_from_world;
  if (!stages.coarse_sigmas.empty()) {
    double best_cost = std::numeric_limits<double>::infinity();
    for (const PoseHypothesis& hypothesis : hypotheses) {
      Rigid3d pose = hypothesis.cam_from_world;
      Refine(problem, problem.coarse, stages.coarse_sigmas, &pose);
      const double cost =
          MeanNre(problem.camera, problem.points, problem.coarse, pose);
      if (cost < best_cost) {
        best_cost = cost;
        estimate.cam_from_world = pose;
      }
    }
  }
  if (!stages.fine_sigmas.empty()) {
    RefineFine(problem, stages.fine_sigmas, &estimate);
  }
  return estimate;
}

std::map<std::string, Method> AllMethods() {
  std::map<std::string, Method> methods;
  for (const EstimationMethod method : {EstimationMethod::kNre,
                                        EstimationMethod::kRe,
                                        EstimationMethod::kLoRansac,
                                        EstimationMethod::kMagsac,
                                        EstimationMethod::kFpr}) {
    NreEstimationOptions options;
    options.method = method;
    // Started from the NRE, it would be no baseline; the paper's starts here.
    options.fpr_start = EstimationMethod::kMagsac;
    methods[EstimationMethodName(method)] = [options](const Problem& problem) {
      return Estimate(problem, options, problem.point_views);
    };
  }
  // What the baselines are told, and no more.
  methods["nre without views"] = [](const Problem& problem) {
    return Estimate(problem, NreEstimationOptions(), nullptr);
  };
  // What the costs themselves would allow.
  methods["from truth"] = [](const Problem& problem) {
    PoseEstimate estimate;
    estimate.verdict = Verdict::kRejected;
    estimate.cam_from_world = problem.cam_from_world;
    Refine(problem,
           problem.coarse,
           GncOptions::Coarse().sigmas,
           &estimate.cam_from_world);
    estimate.coarse_cost = MeanNre(problem.camera,
                                   problem.points,
                                   problem.coarse,
                                   estimate.cam_from_world);
    RefineFine(problem, GncOptions::Fine().sigmas, &estimate);
    return estimate;
  };
  const auto add = [&](const std::string& name, const Stages& stages) {
    methods[name] = [stages](const Problem& problem) {
      return RunStages(problem, stages);
    };
  };
  const std::vector<double> coarse = GncOptions::Coarse().sigmas;
  const std::vector<double> fine = GncOptions::Fine().sigmas;
  const int num = NreEstimationOptions().num_refined_hypotheses;
  add("msac", {1, {}, {}});
  add("msac+coarse", {num, coarse, {}});
  add("msac+fine", {1, {}, fine});
  add("msac+coarse1+fine", {1, coarse, fine});
  add("msac+coarse+fine", {num, coarse, fine});
  add("coarse not graduated", {num, {coarse.back()}, fine});
  add("fine not graduated", {num, coarse, {fine.back()}});
  add("not graduated", {num, {coarse.back()}, {fine.back()}});
  return methods;
}

const std::vector<std::string> kBaselines = {
    "re", "lo_ransac", "magsac", "fpr"};

const std::vector<std::string> kStages = {"msac",
                                          "msac+coarse",
                                          "msac+fine",
                                          "msac+coarse1+fine",
                                          "msac+coarse+fine",
                                          "coarse not graduated",
                                          "fine not graduated",
                                          "not graduated"};

struct Options {
  std::string datasets_path;
  std::string output_path;
  // Problems per kind of generated maps and wrong share; for the real half,
  // every so many pairs.
  int num_generated = 25;
  int pair_step = 1;
  uint64_t first_seed = 1000;
  std::vector<double> wrong_shares;
  std::vector<std::string> methods = {
      "nre", "re", "lo_ransac", "magsac", "fpr"};
  std::vector<std::string> scenes = {"fountain", "herzjesu"};
  std::string features = "dense_sift";  // of the real half
  std::string weights_path;

  Options() {
    for (int i = 0; i < 10; ++i) {
      wrong_shares.push_back(0.1 * i);
    }
  }
};

class Study {
 public:
  explicit Study(const Options& options)
      : options_(options), methods_(AllMethods()) {}

  void RunGenerated() {
    std::map<std::string, GeneratedMapsOptions> families;
    families["generated/mixed"] = {};
    families["generated/agreeing"];
    families["generated/too sure"].sharpness = 2.0;
    families["generated/unsure"].sharpness = 0.6;
    MethodInputs inputs;
    inputs.lo_ransac = PinholeLoRansac(GeneratedQuery::kWidth,
                                       GeneratedQuery::kHeight,
                                       GeneratedQuery::kFocalLength,
                                       GeneratedQuery::kFocalLength,
                                       0.5 * GeneratedQuery::kWidth,
                                       0.5 * GeneratedQuery::kHeight);
    inputs.magsac = SolveMagsac;
    for (auto& [family, maps] : families) {
      maps.num_points = kNumPoints;
      for (const double wrong_share : options_.wrong_shares) {
        maps.wrong_share = wrong_share;
        if (family == "generated/agreeing" && wrong_share > 0.0) {
          // Fewer than those that agree on the truth, or that would be wrong.
          maps.agreeing_share =
              std::min(0.3, 0.5 * (1.0 - wrong_share) / wrong_share);
        }
        for (int i = 0; i < options_.num_generated; ++i) {
          const uint64_t seed = options_.first_seed + i;
          const GeneratedQuery query(maps, seed);
          RunMethods({family,
                      wrong_share,
                      std::to_string(seed),
                      seed,
                      query.camera(),
                      query.cam_from_world(),
                      query.points(),
                      query.coarse_maps(),
                      query,
                      inputs});
        }
      }
      std::fprintf(
          stderr, "%s: %zu results\n", family.c_str(), records_.size());
    }
  }

  void RunReal() {
    const FeaturePreset preset =
        CreateFeaturePreset(options_.features, {options_.weights_path});
    for (const std::string& scene : options_.scenes) {
      const std::string folder = options_.datasets_path + "/" + scene;
      int index = 0;
      ForEachRealPair(folder, preset, [&](const RealPair& pair) {
        if (index++ % options_.pair_step == 0) {
          for (const double wrong_share : options_.wrong_shares) {
            RunPair(preset, scene, pair, wrong_share, index);
          }
          std::fprintf(
              stderr, "%s: %zu results\n", pair.name.c_str(), records_.size());
        }
      });
    }
  }

  const std::vector<StudyRecord>& records() const { return records_; }

 private:
  // Of some of the reference's points, some get the descriptors of others.
  void RunPair(const FeaturePreset& preset,
               const std::string& scene,
               const RealPair& pair,
               double wrong_share,
               int index) {
    Random random(options_.first_seed + index);
    std::vector<size_t> order(pair.points.size());
    std::iota(order.begin(), order.end(), 0);
    for (size_t i = 0; i + 1 < order.size(); ++i) {
      std::swap(order[i],
                order[i + static_cast<size_t>(random.Uniform(
                              0.0, static_cast<double>(order.size() - i)))]);
    }
    order.resize(std::min<size_t>(order.size(), kNumPoints));

    DescribedPoints points;
    const auto append = [](const std::vector<float>& from,
                           size_t row,
                           int channels,
                           std::vector<float>* to) {
      to->insert(to->end(),
                 from.begin() + row * channels,
                 from.begin() + (row + 1) * channels);
    };
    for (const size_t i : order) {
      const bool is_wrong = random.Uniform(0.0, 1.0) < wrong_share;
      const size_t other = static_cast<size_t>(
          random.Uniform(0.0, static_cast<double>(pair.others.size())));
      const DescribedPoints& source = is_wrong ? pair.others : pair.points;
      points.xyz.push_back(pair.points.xyz[i]);
      points.views.push_back(pair.points.views[i]);
      append(source.coarse,
             is_wrong ? other : i,
             preset.coarse->Channels(),
             &points.coarse);
      append(source.fine,
             is_wrong ? other : i,
             preset.fine->Channels(),
             &points.fine);
    }
    const CoarseMaps coarse = ComputeCoarseMaps(points.coarse,
                                                points.rows,
                                                pair.features->coarse,
                                                preset.coarse_softmax_scale);
    const FineMaps fine({pair.features->coarse,
                         pair.features->fine,
                         points.coarse,
                         points.fine,
                         points.rows,
                         coarse.log_sum_exps,
                         preset.coarse_softmax_scale,
                         preset.fine_softmax_scale},
                        FineMapOptions());
    RunMethods({"real/" + scene,
                wrong_share,
                pair.name,
                options_.first_seed + index,
                *pair.camera,
                pair.cam_from_world,
                points.xyz,
                coarse.maps,
                fine,
                {pair.lo_ransac,
                 SolveMagsac,
                 {pair.features->fine.data.data(),
                  pair.features->fine.channels,
                  pair.features->fine.height,
                  pair.features->fine.width,
                  pair.features->fine.map_from_image},
                 points.fine.data()},
                points.views.data()});
  }

  void RunMethods(const Problem& problem) {
    for (const std::string& name : options_.methods) {
      if (name == "fpr" && problem.inputs.fine_features.data == nullptr) {
        continue;  // generated maps have no features
      }
      const std::clock_t start = std::clock();
      const PoseEstimate estimate = methods_.at(name)(problem);
      StudyRecord record;
      record.cpu_ms = 1e3 * (std::clock() - start) / CLOCKS_PER_SEC;
      record.family = problem.family;
      record.wrong_share = problem.wrong_share;
      record.problem = problem.name;
      record.method = name;
      record.verdict = estimate.verdict;
      record.coarse_cost = estimate.coarse_cost;
      record.fine_cost = estimate.fine_cost;
      if (estimate.verdict != Verdict::kFailed) {
        record.error =
            ErrorOfPose(estimate.cam_from_world, problem.cam_from_world);
      }
      records_.push_back(record);
    }
  }

  Options options_;
  std::map<std::string, Method> methods_;
  std::vector<StudyRecord> records_;
};

std::vector<std::string> Split(const std::string& list) {
  std::vector<std::string> items;
  std::istringstream stream(list);
  for (std::string item; std::getline(stream, item, ',');) {
    items.push_back(item);
  }
  return items;
}

Options ReadOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool has_value = i + 1 < argc;
    if (argument == "--quick") {
      options.num_generated = 5;
      options.pair_step = 10;
      options.wrong_shares = {0.0, 0.5, 0.8};
    } else if (argument == "--datasets_path" && has_value) {
      options.datasets_path = argv[++i];
    } else if (argument == "--output_path" && has_value) {
      options.output_path = argv[++i];
    } else if (argument == "--num_generated" && has_value) {
      options.num_generated = std::stoi(argv[++i]);
    } else if (argument == "--pair_step" && has_value) {
      options.pair_step = std::max(1, std::stoi(argv[++i]));
    } else if (argument == "--first_seed" && has_value) {
      options.first_seed = std::stoull(argv[++i]);
    } else if (argument == "--stages") {
      options.methods = kStages;
    } else if (argument == "--methods" && has_value) {
      options.methods = Split(argv[++i]);
    } else if (argument == "--features" && has_value) {
      options.features = argv[++i];
    } else if (argument == "--weights_path" && has_value) {
      options.weights_path = argv[++i];
    } else if (argument == "--scenes" && has_value) {
      options.scenes = Split(argv[++i]);
    } else if (argument == "--wrong_shares" && has_value) {
      options.wrong_shares.clear();
      for (const std::string& share : Split(argv[++i])) {
        options.wrong_shares.push_back(std::stod(share));
      }
    } else {
      throw std::invalid_argument("see README.md for the options");
    }
  }
  return options;
}

void Run(const Options& options) {
  openblas_set_num_threads(1);
  cv::setNumThreads(1);
  Study study(options);
  if (options.num_generated > 0) {
    study.RunGenerated();
  }
  if (!options.datasets_path.empty()) {
    study.RunReal();
  }
  const std::vector<StudyRecord>& records = study.records();
  std::vector<std::string> families;
  if (options.num_generated > 0) {
    families.push_back("generated");
  }
  if (!options.datasets_path.empty()) {
    families.push_back("real");
  }
  for (const StudyRecord& record : records) {
    if (std::count(families.begin(), families.end(), record.family) == 0) {
      families.push_back(record.family);
    }
  }
  for (const std::string& family : families) {
    for (const PoseThreshold& threshold : {kThreshold, kTightThreshold}) {
      PrintRecalls(records, family, options.methods, kBaselines, threshold);
    }
    PrintErrors(records, family, options.methods, kThreshold);
  }
  if (!options.output_path.empty()) {
    std::filesystem::create_directories(options.output_path);
    WriteRecords(records, options.output_path + "/records.csv");
    for (const std::string family : {"generated", "real"}) {
      if (std::count(families.begin(), families.end(), family) == 0) {
        continue;
      }
      WriteCurves(records,
                  family,
                  options.methods,
                  kThreshold,
                  options.output_path + "/" + family);
    }
  }
}

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  try {
    nre::Run(nre::ReadOptions(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "estimator_study: %s\n", error.what());
    return 1;
  }
  return 0;
}
