#include "s2d/training/map_sampling.h"

#include <vector>

namespace nre {
namespace {

// One coordinate of `positions`, for indices: finite and not far outside.
torch::Tensor Coordinate(const torch::Tensor& positions,
                         int axis,
                         int64_t size) {
  return torch::nan_to_num(positions.detach().select(-1, axis), -2.0)
      .clamp(-2.0, static_cast<double>(size) + 1.0);
}

}  // namespace

BilinearCells FindBilinearCells(const torch::Tensor& positions,
                                int64_t height,
                                int64_t width) {
  const torch::Tensor x = Coordinate(positions, 0, width);
  const torch::Tensor y = Coordinate(positions, 1, height);
  const torch::Tensor x0 = x.floor();
  const torch::Tensor y0 = y.floor();
  std::vector<torch::Tensor> indices, weights;
  for (const int dy : {0, 1}) {
    for (const int dx : {0, 1}) {
      const torch::Tensor cell_x = x0 + dx;
      const torch::Tensor cell_y = y0 + dy;
      const torch::Tensor exists =
          (cell_x >= 0) & (cell_x < width) & (cell_y >= 0) & (cell_y < height);
      weights.push_back((1.0 - (x - cell_x).abs()) *
                        (1.0 - (y - cell_y).abs()) * exists);
      indices.push_back(cell_y.clamp(0, height - 1).to(torch::kInt64) * width +
                        cell_x.clamp(0, width - 1).to(torch::kInt64));
    }
  }
  return {torch::stack(indices, -1), torch::stack(weights, -1)};
}

torch::Tensor IsInside(const torch::Tensor& positions,
                       int64_t height,
                       int64_t width) {
  const torch::Tensor x = positions.select(-1, 0);
  const torch::Tensor y = positions.select(-1, 1);
  return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1);
}

torch::Tensor ClampToMap(const torch::Tensor& positions,
                         int64_t height,
                         int64_t width) {
  const torch::Tensor finite = torch::nan_to_num(positions.detach(), 0.0);
  return torch::stack({finite.select(-1, 0).clamp(0, width - 1),
                       finite.select(-1, 1).clamp(0, height - 1)},
                      -1);
}

torch::Tensor GatherCells(const torch::Tensor& features,
                          const torch::Tensor& indices) {
  const int64_t channels = features.size(1);
  return features.flatten(2)
      .gather(2, indices.unsqueeze(1).expand({-1, channels, -1}))
      .transpose(1, 2);
}

torch::Tensor SampleFeatures(const torch::Tensor& features,
                             const torch::Tensor& positions) {
  const int64_t height = features.size(2);
  const int64_t width = features.size(3);
  const BilinearCells cells =
      FindBilinearCells(ClampToMap(positions, height, width), height, width);
  const torch::Tensor corners =
      AtLeastSinglePrecision(GatherCells(features, cells.indices.flatten(1)))
          .unflatten(1, {-1, 4});
  return (cells.weights.to(corners.dtype()).unsqueeze(-1) * corners).sum(2);
}

torch::Tensor AtLeastSinglePrecision(const torch::Tensor& tensor) {
  const bool is_half = tensor.scalar_type() == torch::kHalf ||
                       tensor.scalar_type() == torch::kBFloat16;
  return is_half ? tensor.to(torch::kFloat32) : tensor;
}

torch::Tensor MaskedMean(const torch::Tensor& losses,
                         const torch::Tensor& mask) {
  return losses.masked_fill(mask.logical_not(), 0.0).sum() /
         mask.sum().clamp_min(1);
}

}  // namespace nre
