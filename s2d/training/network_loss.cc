#include "s2d/training/network_loss.h"

#include <cmath>

#include "nre/error.h"
#include "s2d/training/contrastive_losses.h"
#include "s2d/training/correspondence_losses.h"
#include "s2d/training/gauss_newton_loss.h"
#include "s2d/training/map_sampling.h"

namespace nre {
namespace {

using torch::Tensor;

Tensor UnitNorm(const Tensor& t, int64_t dim) {
  return t / t.norm(2, {dim}, /*keepdim=*/true).clamp_min(1e-6);
}

// One direction: descriptors where the points are in `from`, maps over `to`.
struct Direction {
  LevelFeatures from;
  LevelFeatures to;
  Tensor from_positions;  // image coordinates
  Tensor to_positions;
};

Tensor NreOf(const std::vector<NetworkLevel>& levels,
             const Direction& direction,
             const Tensor& visible,
             const Tensor& scale,
             const NetworkLossOptions& options) {
  CorrespondenceLossOptions nre;
  nre.wrong_share = options.wrong_share;
  Tensor sum;
  for (size_t i = 0; i < levels.size(); ++i) {
    const Tensor descriptors =
        ComparedDescriptors(direction.from[i],
                            MapPositions(levels[i], direction.from_positions),
                            options.unit_norm);
    const Tensor loss =
        MaskedMean(NreLoss(scale * descriptors,
                           direction.to[i],
                           MapPositions(levels[i], direction.to_positions),
                           nre),
                   visible);
    sum = i == 0 ? loss : sum + loss;
  }
  return sum;
}

Tensor CrossEntropyOf(const std::vector<NetworkLevel>& levels,
                      const Direction& direction,
                      const Tensor& visible,
                      const Tensor& scale,
                      bool unit_norm) {
  std::vector<Tensor> descriptors;
  for (size_t i = 0; i < levels.size(); ++i) {
    descriptors.push_back(
        scale *
        ComparedDescriptors(direction.from[i],
                            MapPositions(levels[i], direction.from_positions),
                            unit_norm));
  }
  const Tensor positions = MapPositions(levels[0], direction.to_positions);
  const Tensor inside =
      IsInside(positions, direction.to[0].size(2), direction.to[0].size(3));
  return MaskedMean(
      CrossEntropyLoss(
          descriptors, direction.to, positions, CorrespondenceLossOptions()),
      visible & inside);
}

Tensor ContrastiveOf(const std::vector<NetworkLevel>& levels,
                     const Direction& direction,
                     const Tensor& visible,
                     const NetworkLossOptions& options,
                     int64_t iteration,
                     const at::Generator& generator) {
  Tensor sum;
  for (size_t i = 0; i < levels.size(); ++i) {
    const Tensor& features = direction.to[i];
    const Tensor positions = MapPositions(levels[i], direction.to_positions);
    const Tensor descriptors =
        ComparedDescriptors(direction.from[i],
                            MapPositions(levels[i], direction.from_positions),
                            options.unit_norm);
    const MinedNegatives negatives = MineNegatives(descriptors,
                                                   features,
                                                   positions,
                                                   NegativePoolSize(iteration),
                                                   NegativeMiningOptions(),
                                                   generator);
    const Tensor positive = DescriptorDistances(
        descriptors,
        ComparedDescriptors(features, positions, options.unit_norm));
    const Tensor negative = DescriptorDistances(
        descriptors, GatherCells(features, negatives.cells));
    const Tensor inside =
        visible & IsInside(positions, features.size(2), features.size(3));
    const Tensor gauss_newton =
        GaussNewtonLoss(descriptors,
                        features,
                        positions,
                        DrawStarts(positions, options.vicinity, generator),
                        GaussNewtonLossOptions());
    const Tensor loss =
        MaskedMean(PositiveLoss(positive, options.positive_margin), inside) +
        MaskedMean(NegativeLoss(negative, options.negative_margin),
                   visible & negatives.valid) +
        options.gauss_newton_weight * MaskedMean(gauss_newton, inside);
    sum = i == 0 ? loss : sum + loss;
  }
  return sum;
}

Tensor LossOf(const std::vector<NetworkLevel>& levels,
              const Direction& direction,
              const Tensor& visible,
              const Tensor& scale,
              const NetworkLossOptions& options,
              int64_t iteration,
              const at::Generator& generator) {
  switch (options.kind) {
    case LossKind::kNre:
      return NreOf(levels, direction, visible, scale, options);
    case LossKind::kCrossEntropy:
      return CrossEntropyOf(
          levels, direction, visible, scale, options.unit_norm);
    case LossKind::kContrastive:
      return ContrastiveOf(
          levels, direction, visible, options, iteration, generator);
  }
  TORCH_CHECK(false, "unknown loss");
}

}  // namespace

LossKind ParseLossKind(const std::string& name) {
  if (name == "nre") return LossKind::kNre;
  if (name == "cross_entropy") return LossKind::kCrossEntropy;
  if (name == "contrastive") return LossKind::kContrastive;
  throw InputError("Unknown loss " + name +
                   "; expected nre, cross_entropy or contrastive.");
}

Tensor MapPositions(const NetworkLevel& level, const Tensor& positions) {
  return (positions - level.first_center) / level.stride;
}

Tensor ComparedFeatures(const Tensor& features, bool unit_norm) {
  const Tensor single = AtLeastSinglePrecision(features);
  return unit_norm ? UnitNorm(single, 1) : single;
}

Tensor ComparedDescriptors(const Tensor& features,
                           const Tensor& positions,
                           bool unit_norm) {
  const Tensor sampled = SampleFeatures(features, positions);
  return unit_norm ? UnitNorm(sampled, 2) : sampled;
}

Tensor NetworkLoss(const std::vector<NetworkLevel>& levels,
                   const LevelFeatures& references,
                   const LevelFeatures& queries,
                   const TrainingPairs& pairs,
                   const Tensor& softmax_scale,
                   const NetworkLossOptions& options,
                   int64_t iteration,
                   at::Generator generator) {
  Direction forth, back;
  for (size_t i = 0; i < levels.size(); ++i) {
    forth.from.push_back(ComparedFeatures(references[i], options.unit_norm));
    forth.to.push_back(ComparedFeatures(queries[i], options.unit_norm));
  }
  forth.from_positions = pairs.reference_positions;
  forth.to_positions = pairs.query_positions;
  back.from = forth.to;
  back.to = forth.from;
  back.from_positions = pairs.query_positions;
  back.to_positions = pairs.reference_positions;
  const auto loss = [&](const Direction& direction) {
    return LossOf(levels,
                  direction,
                  pairs.visible,
                  softmax_scale,
                  options,
                  iteration,
                  generator);
  };
  return 0.5 * (loss(forth) + loss(back));
}

MapQuality SumMapQuality(const NetworkLevel& level,
                         const Tensor& references,
                         const Tensor& queries,
                         const TrainingPairs& pairs,
                         const Tensor& softmax_scale,
                         bool unit_norm) {
  const torch::NoGradGuard no_grad;
  const Tensor maps = ComparedFeatures(queries, unit_norm);
  const int64_t height = maps.size(2);
  const int64_t width = maps.size(3);
  const Tensor descriptors =
      softmax_scale *
      ComparedDescriptors(ComparedFeatures(references, unit_norm),
                          MapPositions(level, pairs.reference_positions),
                          unit_norm);
  const Tensor positions = MapPositions(level, pairs.query_positions);
  const auto sum = [&](const Tensor& losses) {
    return losses.masked_select(pairs.visible).sum().item<double>();
  };
  MapQuality quality;
  quality.nre =
      sum(NreLoss(descriptors, maps, positions, CorrespondenceLossOptions()));
  quality.truncated_nre = sum(TruncatedNreLoss(
      descriptors, maps, positions, CorrespondenceLossOptions()));
  quality.log_categories = std::log(1.0 + static_cast<double>(height * width));
  const Tensor best = torch::bmm(descriptors, maps.flatten(2)).argmax(2);
  const Tensor found = torch::stack(
      {best.remainder(width), torch::floor_divide(best, width)}, 2);
  const Tensor distance = (found - positions).square().sum(2).sqrt();
  quality.hits = sum((distance <= 1.0).to(torch::kFloat64));
  quality.num_points = pairs.visible.sum().item<int64_t>();
  return quality;
}

}  // namespace nre
