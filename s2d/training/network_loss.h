// The loss of a network on a batch of training pairs. Only for training:
// includes LibTorch.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Generator.h>
#include <torch/types.h>

#include "s2d/networks/levels.h"
#include "s2d/training/training_pairs.h"

namespace nre {

enum class LossKind {
  // Eq. 10 of the NRE, on every output of the network, in both directions.
  kNre,
  // S2DNet's cross-entropy, on all outputs together.
  kCrossEntropy,
  // Double-margin contrastive with mined negatives, plus Gauss-Newton, on every
  // output.
  kContrastive,
};

// "nre", "cross_entropy" or "contrastive"; throws InputError for anything else.
LossKind ParseLossKind(const std::string& name);

struct NetworkLossOptions {
  LossKind kind = LossKind::kNre;

  // Whether descriptors are normalised before they are compared.
  bool unit_norm = true;

  // Of kNre: see CorrespondenceLossOptions.
  double wrong_share = 0.0;

  // Of kContrastive.
  double positive_margin = 0.1;
  double negative_margin = 1.0;
  double gauss_newton_weight = 0.05;
  double vicinity = 1.0;  // cells: how far Gauss-Newton's starts are
};

// Dense features of a batch: one tensor [B, C, H, W] per level.
using LevelFeatures = std::vector<torch::Tensor>;

// references, queries: of pairs' images. softmax_scale: a scalar tensor, which
// descriptors are multiplied by; it may have a gradient. iteration: sets how
// hard negatives are. Returns the mean over visible points, a scalar.
torch::Tensor NetworkLoss(const std::vector<NetworkLevel>& levels,
                          const LevelFeatures& references,
                          const LevelFeatures& queries,
                          const TrainingPairs& pairs,
                          const torch::Tensor& softmax_scale,
                          const NetworkLossOptions& options,
                          int64_t iteration,
                          at::Generator generator);

// How good the maps of one level are, over the visible points of batches.
struct MapQuality {
  double nre = 0.0;             // mean of Eq. 10's summands
  double truncated_nre = 0.0;   // as the estimator sees it (Eq. 6)
  double log_categories = 0.0;  // ln |Omega^|: what an uninformed map costs
  double hits = 0.0;  // share of maps whose best cell is at most 1 cell off
  int64_t num_points = 0;
};

// Sums to be divided by num_points; log_categories is not summed.
MapQuality SumMapQuality(const NetworkLevel& level,
                         const torch::Tensor& references,
                         const torch::Tensor& queries,
                         const TrainingPairs& pairs,
                         const torch::Tensor& softmax_scale,
                         bool unit_norm);

// A network's output [B, C, H, W] as it is compared, in single precision at
// least, and its descriptors at map positions [B, N, 2], [B, N, C], as
// FeatureMap::Sample() has them.
torch::Tensor ComparedFeatures(const torch::Tensor& features, bool unit_norm);
torch::Tensor ComparedDescriptors(const torch::Tensor& features,
                                  const torch::Tensor& positions,
                                  bool unit_norm);

// Map coordinates of image positions [..., 2].
torch::Tensor MapPositions(const NetworkLevel& level,
                           const torch::Tensor& positions);

}  // namespace nre
