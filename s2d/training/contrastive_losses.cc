#include "s2d/training/contrastive_losses.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "s2d/training/map_sampling.h"

namespace nre {
namespace {

using torch::Tensor;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Tensor SquaredDistances(const Tensor& a, const Tensor& b) {
  return (AtLeastSinglePrecision(a) - AtLeastSinglePrecision(b))
      .square()
      .sum(-1);
}

// One valid entry (>= 0) of each row of indices, [B, N, K], whose valid ones
// come first.
MinedNegatives DrawOne(const Tensor& indices, at::Generator generator) {
  const Tensor num_valid = (indices >= 0).sum(2);  // [B, N]
  const Tensor uniform =
      torch::rand(num_valid.sizes(), generator, torch::kFloat64)
          .to(indices.device());
  const Tensor drawn = (uniform * num_valid).floor().to(torch::kInt64);
  const Tensor cells = indices.gather(2, drawn.unsqueeze(2)).squeeze(2);
  return {cells.clamp_min(0), num_valid > 0};
}

// Whether cells are farther than min_distance (cells) from positions [B, N, 2]:
// [B, N, H W].
Tensor IsFar(const Tensor& positions,
             int64_t height,
             int64_t width,
             double min_distance) {
  const auto squares = [&](int axis, int64_t size) {
    const Tensor cells = torch::arange(size, positions.options());
    return (positions.select(2, axis).unsqueeze(2) - cells).square();
  };
  const Tensor squared =
      squares(1, height).unsqueeze(3) + squares(0, width).unsqueeze(2);
  return (squared > min_distance * min_distance).flatten(2);
}

}  // namespace

Tensor DescriptorDistances(const Tensor& a, const Tensor& b) {
  const Tensor squared = SquaredDistances(a, b);
  const Tensor is_zero = squared == 0;
  return squared.masked_fill(is_zero, 1.0).sqrt().masked_fill(is_zero, 0.0);
}

Tensor PositiveLoss(const Tensor& distances, double margin) {
  return (distances - margin).clamp_min(0.0).square();
}

Tensor NegativeLoss(const Tensor& distances, double margin) {
  return (margin - distances).clamp_min(0.0).square();
}

Tensor ClosestCandidates(const Tensor& anchors,
                         const Tensor& candidates,
                         const Tensor& allowed,
                         int64_t num) {
  const torch::NoGradGuard no_grad;
  const Tensor distances = torch::cdist(AtLeastSinglePrecision(anchors),
                                        AtLeastSinglePrecision(candidates))
                               .masked_fill(allowed.logical_not(), kInfinity);
  const auto [closest, indices] = distances.topk(
      std::min(num, distances.size(2)), 2, /*largest=*/false, /*sorted=*/true);
  return indices.masked_fill(closest == kInfinity, -1);
}

bool NegativeMiningOptions::Check() const {
  return std::isfinite(min_distance) && min_distance >= 0.0 &&
         max_tile_cells > 0;
}

int64_t NegativePoolSize(int64_t iteration) {
  const double size = 300.0 * std::exp(-0.6 * iteration / 10000.0);
  return std::max<int64_t>(5, static_cast<int64_t>(size));
}

MinedNegatives MineNegatives(const Tensor& descriptors,
                             const Tensor& features,
                             const Tensor& positions,
                             int64_t pool_size,
                             const NegativeMiningOptions& options,
                             at::Generator generator) {
  TORCH_CHECK(options.Check(), "invalid NegativeMiningOptions");
  const torch::NoGradGuard no_grad;
  const int64_t height = features.size(2);
  const int64_t width = features.size(3);
  const int64_t num_points = positions.size(1);
  const Tensor cells = features.flatten(2).transpose(1, 2);
  const int64_t points_per_tile = std::max<int64_t>(
      1, options.max_tile_cells / (cells.size(0) * cells.size(1)));
  std::vector<Tensor> pools;
  for (int64_t begin = 0; begin < num_points; begin += points_per_tile) {
    const int64_t num = std::min(points_per_tile, num_points - begin);
    pools.push_back(ClosestCandidates(descriptors.narrow(1, begin, num),
                                      cells,
                                      IsFar(positions.narrow(1, begin, num),
                                            height,
                                            width,
                                            options.min_distance * height),
                                      pool_size));
  }
  return DrawOne(torch::cat(pools, 1), generator);
}

Tensor RankingLoss(const Tensor& queries,
                   const Tensor& positives,
                   const Tensor& positive_mask,
                   const Tensor& negatives,
                   const Tensor& negative_mask,
                   double margin) {
  const Tensor query = queries.unsqueeze(1);
  const Tensor best_positive =
      SquaredDistances(query, positives)
          .masked_fill(positive_mask.logical_not(), kInfinity)
          .amin(1, /*keepdim=*/true);
  const Tensor losses =
      (best_positive + margin - SquaredDistances(query, negatives))
          .clamp_min(0.0);
  const Tensor counts = negative_mask & positive_mask.any(1, /*keepdim=*/true);
  return losses.masked_fill(counts.logical_not(), 0.0).sum(1);
}

}  // namespace nre
