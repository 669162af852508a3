#include "scripts/benchmark/fixed_problem.h"

#include <algorithm>
#include <cmath>

namespace nre {
namespace {

constexpr int kNumPoints = 1000;
constexpr double kWrongShare = 0.6;
constexpr int kCoarseStride = 8;
constexpr int kFineStride = 2;

// Noise of up to a third of what a map can have, in half of its cells.
void AddNoise(float* weights, int width, int height, Random* random) {
  const WeightMap noise = RandomWeights(width, height, 0.5, random);
  for (size_t k = 0; k < noise.weights.size(); ++k) {
    weights[k] = std::max(weights[k], noise.weights[k] / 3.0f);
  }
}

}  // namespace

FixedProblem MakeFixedProblem() {
  Random random(1);
  const SyntheticQuery query(kNumPoints, 20.0, &random);
  const std::vector<Eigen::Vector2d> observed =
      query.Observe(2.0, kWrongShare, &random);

  SparseLossMaps noisy(SyntheticQuery::MapGeometry(kCoarseStride));
  const LossMaps::Geometry& geometry = noisy.geometry();
  for (const Eigen::Vector2d& xy : observed) {
    WeightMap map = GaussianWeights(
        geometry.width, geometry.height, geometry.map_from_image * xy, 1.2);
    AddNoise(map.weights.data(), map.width, map.height, &random);
    noisy.AddPoint(map.weights.data());
  }

  // Windows around the truth; what is wrong may be anywhere in them.
  std::vector<Eigen::Vector2d> in_window = observed;
  for (size_t i = 0; i < in_window.size(); ++i) {
    if ((observed[i] - query.xys[i]).norm() > 10.0) {
      in_window[i] = query.xys[i] + random.Uniform2(-60.0, 60.0);
    }
  }
  std::unique_ptr<LossMaps> gaussians =
      GaussianFineMaps(in_window, kFineStride, 1.5).Compute(query.xys);
  std::unique_ptr<DenseLossMaps> fine(
      static_cast<DenseLossMaps*>(gaussians.release()));
  for (size_t i = 0; i < in_window.size(); ++i) {
    AddNoise(
        fine->Data(i), fine->window_width(), fine->window_height(), &random);
  }
  return {query,
          MakeCoarseMaps(observed, kCoarseStride, 1.2),
          noisy,
          std::move(fine),
          MoveAway(query.cam_from_world, 0.025, 0.1, &random),
          MoveAway(query.cam_from_world, 0.02, 0.08, &random)};
}

CountingMaps::CountingMaps(const LossMaps& maps)
    : LossMaps(maps.geometry()), maps_(maps) {}

SmoothedLoss CountingMaps::Smoothed(size_t point,
                                    const Eigen::Vector2d& p,
                                    double sigma,
                                    bool with_hessian) const {
  maps_.Rasterize(point, &raster_);
  const Eigen::Vector2d local = p - raster_.origin.cast<double>();
  const double radius = 5.0 * sigma;
  const int x_begin =
      std::clamp<double>(std::ceil(local.x() - radius), 0.0, raster_.width);
  const int x_end = std::clamp<double>(
      std::floor(local.x() + radius) + 1.0, x_begin, raster_.width);
  const int y_begin =
      std::clamp<double>(std::ceil(local.y() - radius), 0.0, raster_.height);
  const int y_end = std::clamp<double>(
      std::floor(local.y() + radius) + 1.0, y_begin, raster_.height);
  const bool dense = dynamic_cast<const DenseLossMaps*>(&maps_) != nullptr;
  for (int y = y_begin; y < y_end; ++y) {
    const float* row = &raster_.weights[(y + 1) * (raster_.width + 3) + 1];
    num_cells_ += dense ? x_end - x_begin
                        : std::count_if(row + x_begin,
                                        row + x_end,
                                        [](float w) { return w > 0.0f; });
  }
  ++num_calls_;
  num_exps_ += x_end - x_begin + y_end - y_begin;
  return maps_.Smoothed(point, p, sigma, with_hessian);
}

}  // namespace nre
