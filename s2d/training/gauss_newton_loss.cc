#include "s2d/training/gauss_newton_loss.h"

#include <cmath>

#include "s2d/training/map_sampling.h"

namespace nre {
namespace {

using torch::Tensor;

const double kLogTwoPi = std::log(2.0 * std::acos(-1.0));

Tensor Dot(const Tensor& a, const Tensor& b) { return (a * b).sum(-1); }

// dF / dx (axis 0) or dF / dy (axis 1) at positions inside of the map: [B, N,
// C].
Tensor CentralDifferences(const Tensor& features,
                          const Tensor& positions,
                          int axis) {
  const auto moved = [&](double step) {
    const Tensor to = positions.clone();
    to.select(-1, axis).add_(step);
    return ClampToMap(to, features.size(2), features.size(3));
  };
  const Tensor after = moved(1.0);
  const Tensor before = moved(-1.0);
  // Zero only if the map is a single cell wide, and so is the difference.
  const Tensor distance = (after - before).select(-1, axis).clamp_min(1.0);
  return (SampleFeatures(features, after) - SampleFeatures(features, before)) /
         distance.unsqueeze(-1).to(features.dtype());
}

}  // namespace

bool GaussNewtonLossOptions::Check() const {
  return std::isfinite(epsilon) && epsilon > 0.0 &&
         std::isfinite(error_weight) && error_weight >= 0.0 &&
         std::isfinite(determinant_weight) && determinant_weight >= 0.0;
}

// With H = L D L^T, D = diag(d, s), L = ((1, 0), (t, 1)), nothing is
// subtracted that may cancel: with k = dF/dy - t dF/dx,
//   d = |dF/dx|^2 + epsilon,  t = <dF/dx, dF/dy> / d,
//   s = |k|^2 + (1 + t^2) epsilon,
// and for v = u - mu = delta + H^-1 J^T r:
//   v_x + t v_y = delta_x + t delta_y + <dF/dx, r> / d,
//   v_y = delta_y + <k, r> / s,
//   e1 = 1/2 d (v_x + t v_y)^2 + 1/2 s v_y^2,  |H| = d s.
Tensor GaussNewtonLoss(const Tensor& targets,
                       const Tensor& features,
                       const Tensor& positions,
                       const Tensor& starts,
                       const GaussNewtonLossOptions& options) {
  TORCH_CHECK(options.Check(), "invalid GaussNewtonLossOptions");
  const Tensor map = AtLeastSinglePrecision(features);
  const int64_t height = map.size(2);
  const int64_t width = map.size(3);
  const Tensor x_s = ClampToMap(starts, height, width);
  const Tensor delta =
      (ClampToMap(positions, height, width) - x_s).to(map.dtype());
  const Tensor delta_x = delta.select(-1, 0);
  const Tensor delta_y = delta.select(-1, 1);

  const Tensor r = SampleFeatures(map, x_s) - AtLeastSinglePrecision(targets);
  const Tensor along_x = CentralDifferences(map, x_s, 0);
  const Tensor along_y = CentralDifferences(map, x_s, 1);

  const Tensor d = Dot(along_x, along_x) + options.epsilon;
  const Tensor t = Dot(along_x, along_y) / d;
  const Tensor k = along_y - t.unsqueeze(-1) * along_x;
  const Tensor s = Dot(k, k) + (1.0 + t.square()) * options.epsilon;
  const Tensor first = delta_x + t * delta_y + Dot(along_x, r) / d;
  const Tensor second = delta_y + Dot(k, r) / s;

  const Tensor e1 = 0.5 * (d * first.square() + s * second.square());
  const Tensor e2 = kLogTwoPi - 0.5 * (d.log() + s.log());
  return options.error_weight * e1 + options.determinant_weight * e2;
}

Tensor DrawStarts(const Tensor& positions,
                  double vicinity,
                  at::Generator generator) {
  const Tensor uniform =
      torch::rand(positions.sizes(), generator, torch::kFloat64)
          .to(positions.options());
  return positions + vicinity * (2.0 * uniform - 1.0);
}

}  // namespace nre
