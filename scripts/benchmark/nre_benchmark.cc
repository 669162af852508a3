// The hot paths one by one, on one core: the estimator on a fixed problem of
// 1000 points with 60 % wrong maps, beside what the machine can do; and all
// paths on the maps of a query of the rendered street scene, 1000 points, too.
#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <memory>
#include <random>
#include <vector>

#include <benchmark/benchmark.h>
#include <cblas.h>
#include <opencv2/calib3d.hpp>
#include <opencv2/core.hpp>

#include "nre/evidence.h"
#include "nre/gnc.h"
#include "nre/msac.h"
#include "nre/p3p.h"
#include "nre/vector_math.h"
#include "s2d/coarse_maps.h"
#include "s2d/correlation.h"
#include "s2d/fine_maps.h"
#include "s2d/matching.h"
#include "scripts/benchmark/fixed_problem.h"
#include "scripts/benchmark/rendered_query.h"

namespace nre {
namespace {

const FixedProblem& GetFixedProblem() {
  static const FixedProblem problem = MakeFixedProblem();
  return problem;
}

// Everything that is measured on the rendered query, once computed.
struct Query {
  static constexpr int kNumPoints = 1000;

  FeaturePreset preset = CreateFeaturePreset("dense_sift");
  PinholeCamera camera = CreateViewCamera(1536, 1024);
  QueryView view = QueryViews().front();
  DescribedPoints points = DescribeReference(camera, preset, kNumPoints);
  Image image = RenderQuery(camera, view);
  FeatureMap coarse_features = preset.coarse->Extract(image);
  FeatureMap fine_features = preset.fine->Extract(image);
  CoarseMaps coarse = ComputeCoarseMaps(
      points.coarse, points.rows, coarse_features, preset.coarse_softmax_scale);
  FineMaps fine_source{{coarse_features,
                        fine_features,
                        points.coarse,
                        points.fine,
                        points.rows,
                        coarse.log_sum_exps,
                        preset.coarse_softmax_scale,
                        preset.fine_softmax_scale},
                       FineMapOptions()};
  std::vector<Eigen::Vector2d> xys = Project();
  std::unique_ptr<LossMaps> fine = fine_source.Compute(xys);

  std::vector<Eigen::Vector2d> Project() const {
    std::vector<Eigen::Vector2d> projected(points.size());
    for (size_t i = 0; i < points.size(); ++i) {
      // NaN, of which the maps know, where a point is behind the camera.
      if (!camera.Project(
              view.cam_from_world * points.xyz[i], &projected[i], nullptr)) {
        projected[i].setConstant(NAN);
      }
    }
    return projected;
  }
};

const Query& GetQuery() {
  static const Query query;
  return query;
}

void BM_DenseSiftCoarse(benchmark::State& state) {
  const Query& query = GetQuery();
  for (auto _ : state) {
    benchmark::DoNotOptimize(query.preset.coarse->Extract(query.image));
  }
}

void BM_DenseSiftFine(benchmark::State& state) {
  const Query& query = GetQuery();
  for (auto _ : state) {
    benchmark::DoNotOptimize(query.preset.fine->Extract(query.image));
  }
}

void BM_CoarseMaps1000Points(benchmark::State& state) {
  const Query& query = GetQuery();
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        ComputeCoarseMaps(query.points.coarse,
                          query.points.rows,
                          query.coarse_features,
                          query.preset.coarse_softmax_scale));
  }
}

void BM_FineMaps1000Windows(benchmark::State& state) {
  const Query& query = GetQuery();
  for (auto _ : state) {
    benchmark::DoNotOptimize(query.fine_source.Compute(query.xys));
  }
}

// 1000 positions of the query in itself, there and back.

Eigen::Matrix2Xd QueryKeypoints() {
  const std::vector<Eigen::Vector2d>& xys = GetQuery().xys;
  return Eigen::Map<const Eigen::Matrix2Xd>(xys[0].data(), 2, xys.size());
}

MatchingOptions QueryMatchingOptions() {
  MatchingOptions options;
  options.softmax_scale = GetQuery().preset.fine_softmax_scale;
  options.coarse_softmax_scale = GetQuery().preset.coarse_softmax_scale;
  return options;
}

void BM_MatchDensely1000(benchmark::State& state) {
  const Query& query = GetQuery();
  for (auto _ : state) {
    benchmark::DoNotOptimize(MatchDensely(QueryKeypoints(),
                                          query.fine_features,
                                          query.fine_features,
                                          QueryMatchingOptions()));
  }
}

void BM_MatchCoarseToFine1000(benchmark::State& state) {
  const Query& query = GetQuery();
  const ImageFeatures features = {query.coarse_features, query.fine_features};
  for (auto _ : state) {
    benchmark::DoNotOptimize(MatchCoarseToFine(
        QueryKeypoints(), features, features, QueryMatchingOptions()));
  }
}

// 1000 descriptors of 128 channels against a map of 300000 cells: one pass that
// finds the best cell, ln sum exp and entropy, and nothing but the matrix
// products, of everything at once and in tiles of so many rows and cells.

struct CorrelationProblem {
  static constexpr int kNum = 1000, kChannels = 128, kWidth = 600,
                       kHeight = 500;

  FeatureMap features;
  std::vector<float> descriptors;

  CorrelationProblem() : descriptors(Random(kNum)) {
    features.channels = kChannels;
    features.width = kWidth;
    features.height = kHeight;
    features.data = Random(kWidth * kHeight);
  }

  // Unit vectors, pairs of which have similarities as features have.
  static std::vector<float> Random(int num) {
    std::mt19937 random(num);
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(num) * kChannels);
    for (float& value : values) value = normal(random) / std::sqrt(kChannels);
    return values;
  }
};

const CorrelationProblem& GetCorrelationProblem() {
  static const CorrelationProblem problem;
  return problem;
}

void BM_CorrelationSgemm(benchmark::State& state) {
  const CorrelationProblem& problem = GetCorrelationProblem();
  const int num_cells = problem.kWidth * problem.kHeight;
  const int rows = static_cast<int>(state.range(0));
  const int cells = static_cast<int>(state.range(1));
  std::vector<float> result(static_cast<size_t>(rows) * cells, 0.0f);
  for (auto _ : state) {
    for (int row = 0; row < problem.kNum; row += rows) {
      for (int cell = 0; cell < num_cells; cell += cells) {
        const int tile_cells = std::min(cells, num_cells - cell);
        cblas_sgemm(CblasRowMajor,
                    CblasNoTrans,
                    CblasTrans,
                    std::min(rows, problem.kNum - row),
                    tile_cells,
                    problem.kChannels,
                    20.0f,
                    &problem.descriptors[row * problem.kChannels],
                    problem.kChannels,
                    &problem.features
                         .data[static_cast<size_t>(cell) * problem.kChannels],
                    problem.kChannels,
                    0.0f,
                    result.data(),
                    tile_cells);
        benchmark::ClobberMemory();
      }
    }
  }
}

void BM_CorrelationSummary(benchmark::State& state) {
  const CorrelationProblem& problem = GetCorrelationProblem();
  CorrelationOptions options;
  options.top_k = static_cast<int>(state.range(0));
  options.softmax_scale = static_cast<float>(state.range(1));
  for (auto _ : state) {
    benchmark::DoNotOptimize(SummarizeCorrelations(
        problem.descriptors.data(), problem.kNum, problem.features, options));
  }
}

// What the machine can do at best, to measure the hot paths by.

NRE_VECTOR_CLONES double SumAll(const float* values, size_t size) {
  constexpr int kNum = 4;
  Double8 sums[kNum] = {};
  for (size_t i = 0; i < size; i += kNum * kVectorSize) {
    for (int v = 0; v < kNum; ++v) {
      Double8 vector;
      LoadFloats(values + i + v * kVectorSize, &vector);
      sums[v] += vector;
    }
  }
  return Sum(sums[0] + sums[1] + sums[2] + sums[3]);
}

NRE_VECTOR_CLONES void ExpAll(const double* x, int size, double* result) {
  for (int i = 0; i < size; i += kVectorSize) {
    Double8 vector;
    Load(x + i, &vector);
    Exp(vector, &vector);
    Store(vector, result + i);
  }
}

// CPU seconds of one call, the best of some: other load on the machine only
// adds to it.
template <typename Function>
double MinCpuSeconds(const Function& function) {
  double best = INFINITY;
  for (int i = 0; i < 15; ++i) {
    const std::clock_t begin = std::clock();
    function();
    best = std::min(best,
                    static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
  }
  return best;
}

// Bytes per second of reading an array of so many MiB from end to end, again
// and again.
double BytesPerSecond(int mebibytes) {
  const std::vector<float> values(static_cast<size_t>(mebibytes) << 18, 1.0f);
  const int num_repetitions = std::max(1, 256 / mebibytes);
  return num_repetitions * 4.0 * values.size() / MinCpuSeconds([&] {
           for (int i = 0; i < num_repetitions; ++i) {
             benchmark::DoNotOptimize(SumAll(values.data(), values.size()));
           }
         });
}

// exp() per second, of doubles that lie in the first-level cache.
double ExpsPerSecond() {
  constexpr int kSize = 1024;
  constexpr int kNumRepetitions = 20000;
  std::vector<double> x(kSize), result(kSize);
  for (int i = 0; i < kSize; ++i) {
    x[i] = -12.5 * i / kSize;
  }
  return 1.0 * kSize * kNumRepetitions / MinCpuSeconds([&] {
           for (int i = 0; i < kNumRepetitions; ++i) {
             ExpAll(x.data(), kSize, result.data());
             benchmark::DoNotOptimize(result.data());
             benchmark::ClobberMemory();
           }
         });
}

struct MachineLimits {
  double memory_bytes_per_second = BytesPerSecond(1024);
  // An array of the size of 1000 fine windows, read once more.
  double windows_bytes_per_second = BytesPerSecond(16);
  double exps_per_second = ExpsPerSecond();
};

const MachineLimits& GetMachineLimits() {
  static const MachineLimits limits;
  return limits;
}

benchmark::Counter PerIteration(double number) {
  return benchmark::Counter(number,
                            benchmark::Counter::kIsIterationInvariantRate);
}

// A rate per iteration as a share, in percent, of one that the machine has.
benchmark::Counter ShareOf(double limit, double number) {
  return PerIteration(100.0 * number / limit);
}

void BM_MachineLimits(benchmark::State& state) {
  const MachineLimits& limits = GetMachineLimits();
  for (auto _ : state) {
  }
  state.counters["bytes_per_s_1GiB"] = limits.memory_bytes_per_second;
  state.counters["bytes_per_s_16MiB"] = limits.windows_bytes_per_second;
  state.counters["exps_per_s"] = limits.exps_per_second;
}

// Triplets of the fixed problem's points.
struct Triplets {
  std::vector<std::array<Eigen::Vector3d, 3>> bearings, points;

  Triplets() {
    const SyntheticQuery& query = GetFixedProblem().query;
    const size_t num = query.points.size();
    for (size_t i = 0; i < num; ++i) {
      const size_t indices[] = {i, (i + 331) % num, (i + 677) % num};
      bearings.emplace_back();
      points.emplace_back();
      for (int k = 0; k < 3; ++k) {
        points.back()[k] = query.points[indices[k]];
        bearings.back()[k] =
            (query.cam_from_world * points.back()[k]).normalized();
      }
    }
  }
};

const Triplets& GetTriplets() {
  static const Triplets triplets;
  return triplets;
}

// Per minimal problem.
void BM_P3P(benchmark::State& state) {
  const Triplets& triplets = GetTriplets();
  std::array<Rigid3d, 4> poses;
  size_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        SolveP3P(triplets.bearings[i], triplets.points[i], &poses));
    i = (i + 1) % triplets.points.size();
  }
  state.SetItemsProcessed(state.iterations());
}

// OpenCV's; the argument is the solver. Its calls check and convert matrices,
// and turn rotations into vectors and back.
void BM_P3POpenCV(benchmark::State& state) {
  const Triplets& triplets = GetTriplets();
  std::vector<cv::Mat> points, xys;
  for (size_t i = 0; i < triplets.points.size(); ++i) {
    points.emplace_back(3, 3, CV_64F);
    xys.emplace_back(3, 2, CV_64F);
    for (int k = 0; k < 3; ++k) {
      for (int c = 0; c < 3; ++c) {
        points[i].at<double>(k, c) = triplets.points[i][k][c];
      }
      const Eigen::Vector2d xy = triplets.bearings[i][k].hnormalized();
      xys[i].at<double>(k, 0) = xy.x();
      xys[i].at<double>(k, 1) = xy.y();
    }
  }
  const cv::Mat intrinsics = cv::Mat::eye(3, 3, CV_64F);
  std::vector<cv::Mat> rotations, translations;
  size_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(cv::solveP3P(points[i],
                                          xys[i],
                                          intrinsics,
                                          cv::noArray(),
                                          rotations,
                                          translations,
                                          state.range(0)));
    i = (i + 1) % triplets.points.size();
  }
  state.SetItemsProcessed(state.iterations());
  state.SetLabel(state.range(0) == cv::SOLVEPNP_P3P ? "P3P" : "AP3P");
}

constexpr int kNumHypotheses = 5000;

// Drawing, P3P, and scoring on 1000 coarse maps.
void MeasureMsac(const Camera& camera,
                 const std::vector<Eigen::Vector3d>& points,
                 const LossMaps& maps,
                 benchmark::State& state) {
  MsacOptions options;
  options.num_hypotheses = kNumHypotheses;
  for (auto _ : state) {
    benchmark::DoNotOptimize(SamplePosesMsac(camera, points, maps, options, 0));
  }
  state.counters["hypotheses_per_s"] = PerIteration(kNumHypotheses);
  // Of all poses, each on all maps; how many are really read depends on how
  // soon they are dropped.
  state.counters["lookups_per_s"] =
      PerIteration(1.0 * points.size() *
                   DrawHypotheses(camera, points, maps, options, 0).size());
}

void BM_MsacPeaked(benchmark::State& state) {
  const FixedProblem& problem = GetFixedProblem();
  MeasureMsac(
      problem.query.camera, problem.query.points, problem.peaked, state);
}

void BM_MsacNoisy(benchmark::State& state) {
  const FixedProblem& problem = GetFixedProblem();
  MeasureMsac(problem.query.camera, problem.query.points, problem.noisy, state);
}

void BM_Msac5000Hypotheses(benchmark::State& state) {
  const Query& query = GetQuery();
  MeasureMsac(query.camera, query.points.xyz, query.coarse.maps, state);
}

// Per point; the argument is ten times sigma in map cells.
void MeasureSmoothed(const LossMaps& maps, benchmark::State& state) {
  const Query& query = GetQuery();
  const double sigma = 0.1 * state.range(0);
  size_t i = 0;
  for (auto _ : state) {
    const Eigen::Vector2d p = maps.geometry().map_from_image * query.xys[i];
    benchmark::DoNotOptimize(maps.Smoothed(i, p, sigma, false));
    i = (i + 1) % maps.NumPoints();
  }
}

void BM_SmoothedCoarse(benchmark::State& state) {
  MeasureSmoothed(GetQuery().coarse.maps, state);
}

void BM_SmoothedFine(benchmark::State& state) {
  MeasureSmoothed(*GetQuery().fine, state);
}

// Refinement of 1000 points from a fixed start.
void MeasureGnc(const Camera& camera,
                const std::vector<Eigen::Vector3d>& points,
                const LossMaps& maps,
                const GncOptions& options,
                const Rigid3d& start,
                benchmark::State& state) {
  for (auto _ : state) {
    Rigid3d pose = start;
    benchmark::DoNotOptimize(
        RefinePoseGnc(camera, points, maps, options, &pose));
  }
  const CountingMaps counting(maps);
  Rigid3d pose = start;
  const GncSummary summary =
      RefinePoseGnc(camera, points, counting, options, &pose);
  state.counters["steps"] = summary.num_steps;
  state.counters["passes"] = 1.0 * counting.num_calls() / points.size();
  state.counters["cells_per_s"] = PerIteration(counting.num_cells());
  state.counters["percent_of_bandwidth"] =
      ShareOf(GetMachineLimits().windows_bytes_per_second,
              sizeof(float) * counting.num_cells());
  state.counters["percent_of_exp_rate"] =
      ShareOf(GetMachineLimits().exps_per_second, counting.num_exps());
  state.counters["maps_MB"] = 1e-6 * maps.NumBytes();
}

void BM_CoarseGncPeaked(benchmark::State& state) {
  const FixedProblem& problem = GetFixedProblem();
  MeasureGnc(problem.query.camera,
             problem.query.points,
             problem.peaked,
             GncOptions::Coarse(),
             problem.coarse_start,
             state);
}

void BM_CoarseGncNoisy(benchmark::State& state) {
  const FixedProblem& problem = GetFixedProblem();
  MeasureGnc(problem.query.camera,
             problem.query.points,
             problem.noisy,
             GncOptions::Coarse(),
             problem.coarse_start,
             state);
}

void BM_FineGncWindows(benchmark::State& state) {
  const FixedProblem& problem = GetFixedProblem();
  MeasureGnc(problem.query.camera,
             problem.query.points,
             *problem.fine,
             GncOptions::Fine(),
             problem.fine_start,
             state);
}

// The rendered query, turned by so many cells from the truth.
void MeasureQueryGnc(const LossMaps& maps,
                     const GncOptions& options,
                     double offset_cells,
                     benchmark::State& state) {
  const Query& query = GetQuery();
  const double angle = offset_cells / maps.geometry().map_from_image.scale.x() /
                       query.camera.MeanFocalLength();
  Rigid3d start = query.view.cam_from_world;
  start.rotation =
      Eigen::AngleAxisd(angle, Eigen::Vector3d::UnitY()) * start.rotation;
  MeasureGnc(query.camera, query.points.xyz, maps, options, start, state);
}

void BM_CoarseGnc(benchmark::State& state) {
  MeasureQueryGnc(GetQuery().coarse.maps, GncOptions::Coarse(), 2.0, state);
}

void BM_FineGnc(benchmark::State& state) {
  MeasureQueryGnc(*GetQuery().fine, GncOptions::Fine(), 6.0, state);
}

// Support, covariance and verdict.
void BM_Evidence(benchmark::State& state) {
  const Query& query = GetQuery();
  PoseEstimate estimate;
  estimate.cam_from_world = query.view.cam_from_world;
  for (auto _ : state) {
    FindSupport(query.camera, query.points.xyz, *query.fine, &estimate);
    JudgeEvidence(query.camera, query.points.xyz, *query.fine, &estimate);
  }
}

BENCHMARK(BM_CorrelationSgemm)
    ->Args({1000, 300000})
    ->Args({1000, 1024})
    ->Args({512, 512})
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_CorrelationSummary)
    ->Args({1, 20})
    ->Args({5, 20})
    ->Args({1, 1})
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_MachineLimits)->Iterations(1);
BENCHMARK(BM_P3P)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_P3POpenCV)
    ->Arg(cv::SOLVEPNP_P3P)
    ->Arg(cv::SOLVEPNP_AP3P)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_MsacPeaked)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_MsacNoisy)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_CoarseGncPeaked)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_CoarseGncNoisy)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_FineGncWindows)->Unit(benchmark::kMillisecond);

BENCHMARK(BM_DenseSiftCoarse)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_DenseSiftFine)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_CoarseMaps1000Points)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_FineMaps1000Windows)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_MatchDensely1000)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_MatchCoarseToFine1000)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Msac5000Hypotheses)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_SmoothedCoarse)->Arg(20)->Arg(6)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_SmoothedFine)->Arg(80)->Arg(6)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_CoarseGnc)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_FineGnc)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Evidence)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  openblas_set_num_threads(1);
  cv::setNumThreads(1);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
