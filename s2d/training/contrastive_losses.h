// Losses on distances of descriptors, local and global, and the mining of hard
// negatives. Only for training: includes LibTorch. Words, coordinates and the
// letters of shapes as in map_sampling.h.
//
// "Report" is Xue, Jiang, Chen, "Leveraging Pixel Correspondences for
// Sparse-to-Dense Feature-Metric Localization"; "its code" is
// github.com/zimengjiang/gn_net.
#pragma once

#include <ATen/core/Generator.h>
#include <torch/types.h>

namespace nre {

// L2 distances, [...], of descriptors a and b, [..., C]. Where they are equal
// the gradient is zero.
torch::Tensor DescriptorDistances(const torch::Tensor& a,
                                  const torch::Tensor& b);

// The double-margin contrastive loss (Hao et al., "DeepFirearm", ICPR 2018;
// report, Eq. 4 to 6) is the sum of MaskedMean()s of
//   max(0, D - margin)^2 over positive and
//   max(0, margin - D)^2 over negative
// pairs, D their distances. The report has margins 0.1 and 1; its code has 0.2
// and 1 by default, 0.1 and 1 in its scripts, and adds the losses instead of
// taking the means. With a positive margin of 0 this is the contrastive loss
// of the thesis' labels 0 and 1 for pairs of images (3.4).
torch::Tensor PositiveLoss(const torch::Tensor& distances, double margin);
torch::Tensor NegativeLoss(const torch::Tensor& distances, double margin);

// For each anchor the `num` closest candidates of those allowed, closest first:
// anchors [B, N, C], candidates [B, M, C], allowed [B, N, M] (bool). Returns
// indices, [B, N, min(num, M)], int64, -1 where no more are allowed. For global
// descriptors, with B = 1, these are the hard negatives of NetVLAD's training.
torch::Tensor ClosestCandidates(const torch::Tensor& anchors,
                                const torch::Tensor& candidates,
                                const torch::Tensor& allowed,
                                int64_t num);

struct NegativeMiningOptions {
  // Cells at most this far from the true position are no negatives, in heights
  // of the map. The report leaves it open (alpha); this is its code's.
  double min_distance = 0.2;

  // Distances are computed for at most this many pairs of an anchor and a cell
  // at once.
  int64_t max_tile_cells = int64_t{1} << 24;

  bool Check() const;
};

struct MinedNegatives {
  torch::Tensor cells;  // [B, N], int64: for GatherCells()
  torch::Tensor valid;  // [B, N], bool: whether there is any negative
};

// How hard negatives are after `iteration` steps: they are drawn from the
// max(5, 300 exp(-0.6 iteration / 10000)) hardest (report 3.3; LF-Net, Ono et
// al., NeurIPS 2018, has such a schedule).
int64_t NegativePoolSize(int64_t iteration);

// Draws a negative for each point: one of the pool_size cells closest to its
// descriptor among those farther than min_distance from its position
// (report 3.3; the distance as in D2-Net). The report sorts candidates "by loss
// in increasing order"; that of distances is meant, as in its code: a small
// distance is a large loss. descriptors: [B, N, C]; features: [B, C, H, W];
// positions: [B, N, 2]; generator: of the CPU, so that the draw does not depend
// on the device. No gradient: take it from GatherCells().
MinedNegatives MineNegatives(const torch::Tensor& descriptors,
                             const torch::Tensor& features,
                             const torch::Tensor& positions,
                             int64_t pool_size,
                             const NegativeMiningOptions& options,
                             at::Generator generator);

// NetVLAD's weakly supervised ranking loss (Arandjelovic et al., CVPR 2016, Eq.
// 7), which the thesis (3.4) takes for S2DHM and calls contrastive, of each
// query:
//   sum_j max(0, min_i |q - p_i|^2 + margin - |q - n_j|^2).
// Of the potential positives p_i, images taken close by, only the best counts:
// they need not see the same. queries: [Q, C]; positives: [Q, P, C], P >= 1;
// negatives: [Q, K, C]; masks, bool, say which of these are there: [Q, P] and
// [Q, K]. Descriptors have unit norm, the paper's margin is 0.1. Returns [Q]; 0
// for a query without positives or negatives.
torch::Tensor RankingLoss(const torch::Tensor& queries,
                          const torch::Tensor& positives,
                          const torch::Tensor& positive_mask,
                          const torch::Tensor& negatives,
                          const torch::Tensor& negative_mask,
                          double margin);

}  // namespace nre
