// The hot paths one by one, on one core, on the maps of a query of the
// rendered street scene with 1000 points.
#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>
#include <cblas.h>
#include <opencv2/core/utility.hpp>

#include "nre/evidence.h"
#include "nre/gnc.h"
#include "nre/msac.h"
#include "nre/p3p.h"
#include "s2d/coarse_maps.h"
#include "s2d/fine_maps.h"
#include "scripts/benchmark/rendered_query.h"

namespace nre {
namespace {

// Everything that is measured, once computed.
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

// Per minimal problem, of triplets of points at their true positions.
void BM_P3P(benchmark::State& state) {
  const Query& query = GetQuery();
  std::vector<Eigen::Vector3d> bearings(query.points.size());
  for (size_t i = 0; i < bearings.size(); ++i) {
    bearings[i] =
        (query.view.cam_from_world * query.points.xyz[i]).normalized();
  }
  std::array<Rigid3d, 4> poses;
  size_t i = 0;
  for (auto _ : state) {
    const size_t j = (i + 331) % bearings.size();
    const size_t k = (i + 677) % bearings.size();
    benchmark::DoNotOptimize(SolveP3P(
        {bearings[i], bearings[j], bearings[k]},
        {query.points.xyz[i], query.points.xyz[j], query.points.xyz[k]},
        &poses));
    i = (i + 1) % bearings.size();
  }
}

// Drawing, P3P, and scoring on 1000 coarse maps.
void BM_Msac5000Hypotheses(benchmark::State& state) {
  const Query& query = GetQuery();
  MsacOptions options;
  options.num_hypotheses = 5000;
  for (auto _ : state) {
    benchmark::DoNotOptimize(SamplePosesMsac(
        query.camera, query.points.xyz, query.coarse.maps, options, 0));
  }
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

void MeasureGnc(const LossMaps& maps,
                const GncOptions& options,
                double offset_cells,
                benchmark::State& state) {
  const Query& query = GetQuery();
  // A turn by so many cells from the truth.
  const double angle = offset_cells / maps.geometry().map_from_image.scale.x() /
                       query.camera.MeanFocalLength();
  Rigid3d start = query.view.cam_from_world;
  start.rotation =
      Eigen::AngleAxisd(angle, Eigen::Vector3d::UnitY()) * start.rotation;
  for (auto _ : state) {
    Rigid3d pose = start;
    state.counters["steps"] =
        RefinePoseGnc(query.camera, query.points.xyz, maps, options, &pose)
            .num_steps;
  }
}

void BM_CoarseGnc(benchmark::State& state) {
  MeasureGnc(GetQuery().coarse.maps, GncOptions::Coarse(), 2.0, state);
}

void BM_FineGnc(benchmark::State& state) {
  MeasureGnc(*GetQuery().fine, GncOptions::Fine(), 6.0, state);
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

BENCHMARK(BM_DenseSiftCoarse)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_DenseSiftFine)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_CoarseMaps1000Points)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_FineMaps1000Windows)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_P3P)->Unit(benchmark::kMicrosecond);
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
