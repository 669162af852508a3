#include "s2d/training/correspondence_losses.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "s2d/training/map_sampling.h"

namespace nre {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kNoTruncation = std::numeric_limits<double>::infinity();

// What a point's loss is made of: sum_k weights_k f(-ln C(cells_k)).
struct Target {
  // [B, N, K], int64, of the first level; [0]: all, so that K = H W. (LibTorch
  // 1.13 takes no undefined tensors through a function of its own.)
  Tensor cells;
  Tensor weights;  // [B, N, K]

  bool OfAllCells() const { return cells.dim() == 1; }
  Target Narrow(int64_t begin, int64_t num) const {
    return {OfAllCells() ? cells : cells.narrow(1, begin, num),
            weights.narrow(1, begin, num)};
  }
};

// f(loss) = min(limit, -ln((1 - wrong_share) exp(-loss) + wrong_share / n)).
struct CellLoss {
  double limit = kNoTruncation;
  double wrong_share = 0.0;
  double log_categories = 0.0;  // ln n

  Tensor operator()(const Tensor& losses) const {
    if (wrong_share == 0.0) return losses.clamp_max(limit);
    const Tensor uniform = torch::full(
        {}, std::log(wrong_share) - log_categories, losses.options());
    return torch::logaddexp(std::log1p(-wrong_share) - losses, uniform)
        .neg()
        .clamp_max(limit);
  }
};

// descriptors: [B, N, C_m] per level. Returns the logits, [B, N, H W].
Tensor Logits(at::TensorList descriptors, at::TensorList features) {
  const int64_t height = features[0].size(2);
  const int64_t width = features[0].size(3);
  Tensor sum;
  for (size_t m = 0; m < features.size(); ++m) {
    const Tensor map = torch::bmm(descriptors[m], features[m].flatten(2));
    if (m == 0) {
      sum = map;
      continue;
    }
    const Tensor small =
        map.unflatten(2, {features[m].size(2), features[m].size(3)});
    sum = sum + torch::upsample_bilinear2d(
                    small, {height, width}, /*align_corners=*/false)
                    .flatten(2);
  }
  return sum;
}

// [B, N].
Tensor WeightedLosses(at::TensorList descriptors,
                      at::TensorList features,
                      const Target& target,
                      const CellLoss& cell_loss) {
  const Tensor logits = Logits(descriptors, features);
  const Tensor losses =
      logits.logsumexp(2, /*keepdim=*/true) -
      (target.OfAllCells() ? logits : logits.gather(2, target.cells));
  return (target.weights * cell_loss(losses)).sum(2);
}

// WeightedLosses() in tiles of points, whose maps are computed again for the
// gradient, instead of keeping them all.
class TiledLosses : public torch::autograd::Function<TiledLosses> {
 public:
  // tensors: the levels' descriptors, then their features.
  static Tensor forward(AutogradContext* context,
                        at::TensorList tensors,
                        const Tensor& cells,
                        const Tensor& weights,
                        const CellLoss& cell_loss,
                        int64_t points_per_tile) {
    variable_list saved = tensors.vec();
    saved.push_back(cells);
    saved.push_back(weights);
    context->save_for_backward(saved);
    context->saved_data["cell_loss"] = std::vector<double>{
        cell_loss.limit, cell_loss.wrong_share, cell_loss.log_categories};
    context->saved_data["points_per_tile"] = points_per_tile;

    const size_t num_levels = tensors.size() / 2;
    const Target target = {cells, weights};
    const int64_t num_points = weights.size(1);
    std::vector<Tensor> losses;
    for (int64_t begin = 0; begin < num_points; begin += points_per_tile) {
      const int64_t num = std::min(points_per_tile, num_points - begin);
      std::vector<Tensor> descriptors;
      for (size_t m = 0; m < num_levels; ++m) {
        descriptors.push_back(tensors[m].narrow(1, begin, num));
      }
      losses.push_back(WeightedLosses(descriptors,
                                      tensors.slice(num_levels),
                                      target.Narrow(begin, num),
                                      cell_loss));
    }
    return torch::cat(losses, 1);
  }

  static variable_list backward(AutogradContext* context,
                                variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const auto loss = context->saved_data["cell_loss"].toDoubleVector();
    const CellLoss cell_loss = {loss[0], loss[1], loss[2]};
    const int64_t points_per_tile =
        context->saved_data["points_per_tile"].toInt();
    const size_t num_levels = (saved.size() - 2) / 2;
    const Target target = {saved[2 * num_levels], saved[2 * num_levels + 1]};
    const int64_t num_points = target.weights.size(1);

    variable_list features, feature_gradients;
    for (size_t m = 0; m < num_levels; ++m) {
      features.push_back(saved[num_levels + m].detach().requires_grad_());
      feature_gradients.push_back(torch::zeros_like(features.back()));
    }
    std::vector<variable_list> descriptor_gradients(num_levels);
    for (int64_t begin = 0; begin < num_points; begin += points_per_tile) {
      const int64_t num = std::min(points_per_tile, num_points - begin);
      const torch::AutoGradMode enable(true);
      variable_list inputs;
      for (size_t m = 0; m < num_levels; ++m) {
        inputs.push_back(
            saved[m].narrow(1, begin, num).detach().requires_grad_());
      }
      const Tensor losses = WeightedLosses(
          inputs, features, target.Narrow(begin, num), cell_loss);
      inputs.insert(inputs.end(), features.begin(), features.end());
      const variable_list result = torch::autograd::grad(
          {losses}, inputs, {gradients[0].narrow(1, begin, num)});
      for (size_t m = 0; m < num_levels; ++m) {
        descriptor_gradients[m].push_back(result[m]);
        feature_gradients[m].add_(result[num_levels + m]);
      }
    }

    variable_list results;
    for (const variable_list& tiles : descriptor_gradients) {
      results.push_back(torch::cat(tiles, 1));
    }
    results.insert(
        results.end(), feature_gradients.begin(), feature_gradients.end());
    // None for cells, weights, cell_loss and points_per_tile.
    results.resize(results.size() + 4);
    return results;
  }
};

Tensor Losses(const std::vector<Tensor>& descriptors,
              const std::vector<Tensor>& features,
              const Target& target,
              const CellLoss& cell_loss,
              const CorrespondenceLossOptions& options) {
  TORCH_CHECK(options.Check(), "invalid CorrespondenceLossOptions");
  std::vector<Tensor> scaled, maps;
  for (const Tensor& level : descriptors) {
    scaled.push_back(options.softmax_scale * AtLeastSinglePrecision(level));
    TORCH_CHECK(level.size(1) == target.weights.size(1),
                "expected as many descriptors as positions");
  }
  for (const Tensor& level : features) {
    maps.push_back(AtLeastSinglePrecision(level));
  }
  const int64_t num_points = target.weights.size(1);
  const int64_t cells_per_point =
      maps[0].size(0) * maps[0].size(2) * maps[0].size(3);
  const int64_t points_per_tile =
      std::max<int64_t>(1, options.max_tile_cells / cells_per_point);
  const Target typed = {target.cells, target.weights.to(maps[0].dtype())};
  if (num_points <= points_per_tile) {
    return WeightedLosses(scaled, maps, typed, cell_loss);
  }
  std::vector<Tensor> tensors = scaled;
  tensors.insert(tensors.end(), maps.begin(), maps.end());
  return TiledLosses::apply(at::TensorList(tensors),
                            typed.cells,
                            typed.weights,
                            cell_loss,
                            points_per_tile);
}

Tensor NreLosses(const Tensor& descriptors,
                 const Tensor& features,
                 const Tensor& positions,
                 bool truncated,
                 const CorrespondenceLossOptions& options) {
  const int64_t height = features.size(2);
  const int64_t width = features.size(3);
  const double log_categories =
      std::log(1.0 + static_cast<double>(height * width));
  const BilinearCells cells = FindBilinearCells(positions, height, width);
  const Tensor losses = Losses({descriptors},
                               {features},
                               {cells.indices, cells.weights},
                               {truncated ? log_categories : kNoTruncation,
                                options.wrong_share,
                                log_categories},
                               options);
  const Tensor out = (1.0 - cells.weights.sum(2)).to(losses.dtype());
  return losses + out * log_categories;
}

}  // namespace

bool CorrespondenceLossOptions::Check() const {
  return std::isfinite(softmax_scale) && softmax_scale > 0.0 &&
         wrong_share >= 0.0 && wrong_share < 1.0 && max_tile_cells > 0;
}

Tensor NreLoss(const Tensor& descriptors,
               const Tensor& features,
               const Tensor& positions,
               const CorrespondenceLossOptions& options) {
  return NreLosses(
      descriptors, features, positions, /*truncated=*/false, options);
}

Tensor TruncatedNreLoss(const Tensor& descriptors,
                        const Tensor& features,
                        const Tensor& positions,
                        const CorrespondenceLossOptions& options) {
  return NreLosses(
      descriptors, features, positions, /*truncated=*/true, options);
}

Tensor CrossEntropyLoss(const std::vector<Tensor>& descriptors,
                        const std::vector<Tensor>& features,
                        const Tensor& positions,
                        const CorrespondenceLossOptions& options) {
  TORCH_CHECK(!features.empty() && descriptors.size() == features.size(),
              "expected descriptors and features of the same levels");
  const int64_t height = features[0].size(2);
  const int64_t width = features[0].size(3);
  const Tensor nearest = ClampToMap(positions, height, width).round();
  const Tensor cells =
      FindBilinearCells(nearest, height, width).indices.narrow(2, 0, 1);
  const Tensor weights = IsInside(positions, height, width).unsqueeze(2);
  return Losses(descriptors, features, {cells, weights}, CellLoss(), options);
}

Tensor MapCrossEntropyLoss(const Tensor& descriptors,
                           const Tensor& features,
                           const Tensor& targets,
                           const CorrespondenceLossOptions& options) {
  TORCH_CHECK(targets.size(2) == features.size(2) * features.size(3),
              "expected targets of as many cells as the features have");
  const Tensor all_cells = torch::empty({0}, torch::kInt64);
  return Losses(
      {descriptors}, {features}, {all_cells, targets}, CellLoss(), options);
}

}  // namespace nre
