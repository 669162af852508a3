// Losses on correspondence maps: the NRE as a training loss, and S2DNet's
// cross-entropy. Only for training: includes LibTorch. Words, coordinates and
// the letters of shapes as in map_sampling.h.
#pragma once

#include <vector>

#include <torch/types.h>

namespace nre {

struct CorrespondenceLossOptions {
  // Turns inner products into the logits of a softmax. A scale that is to be
  // learned is multiplied to the descriptors instead.
  double softmax_scale = 1.0;

  // Share of the points that may be anywhere, of the NRE losses only: C becomes
  // (1 - share) C + share / |Omega^|, as FineMapOptions::wrong_share has it in
  // the estimator. Points that cannot be told from others, however well the
  // network is trained, then hardly have a gradient, and precision counts where
  // they can. 0: as published.
  double wrong_share = 0.0;

  // Points are taken in tiles of at most this many cells of correspondence
  // maps, summed over the batch (but at least one point of each image): 64 MiB
  // in single precision. If the points need several, what is beyond the first
  // is not kept, but computed a second time for the gradient.
  int64_t max_tile_cells = int64_t{1} << 24;

  bool Check() const;
};

// The training loss of Germain, Lepetit, Bourmaud, "Neural Reprojection Error",
// CVPR 2021, of each point (the summands of Eq. 10; Eq. 4 with s_n = 1):
//   sum_q w_q (-ln C(q)),
// C = softmax of softmax_scale * <descriptor, feature> over all H W cells, w
// the bilinear weights of Eq. 3. The category `out` costs ln|Omega^| =
// ln(1 + H W), and takes the weights of cells beyond the border: a position
// that is more than a cell outside or not finite costs exactly this, with zero
// gradient. In nats; a uniform map costs ln(H W) inside.
//
// descriptors: [B, N, C]; features: [B, C, H, W]; positions: [B, N, 2], where
// the points are in the map. Returns [B, N]; Eq. 10 is the sum, MaskedMean()
// does not depend on the number of points.
//
// Memory with gradients: beyond the gradients themselves, about four times a
// tile (logits, their exponentials, and the gradients of both) of min(B N H W,
// max_tile_cells) cells; with several tiles, the features' gradient once more.
torch::Tensor NreLoss(const torch::Tensor& descriptors,
                      const torch::Tensor& features,
                      const torch::Tensor& positions,
                      const CorrespondenceLossOptions& options);

// As the estimator sees it (Eq. 6, 7): each cell's loss truncated at
// ln|Omega^|. At most that, and robust, so for validation; no good for
// training, since it has no gradient where the map is wrong.
torch::Tensor TruncatedNreLoss(const torch::Tensor& descriptors,
                               const torch::Tensor& features,
                               const torch::Tensor& positions,
                               const CorrespondenceLossOptions& options);

// S2DNet's loss (Germain, Bourmaud, Lepetit, ECCV 2020; thesis 3.5.2.1 and
// 3.5.2.3) of each point: minus the log-likelihood of Eq. 3.2 at the nearest
// cell, the logits being the sum over levels of correlation maps, upsampled
// bilinearly to the first level's resolution (Eq. 3.3).
//
// Level m: descriptors[m] [B, N, C_m], features[m] [B, C_m, H_m, W_m], whose
// cells cover the same image without overlap, so that a cell of level m covers
// H_0 / H_m x W_0 / W_m cells of the first (as those of network "s2dnet" do);
// positions: [B, N, 2] in the first level's map. Returns [B, N], in nats; 0 for
// points that are not inside (IsInside()), which are no category here: leave
// them out of the mean. Memory as above.
torch::Tensor CrossEntropyLoss(const std::vector<torch::Tensor>& descriptors,
                               const std::vector<torch::Tensor>& features,
                               const torch::Tensor& positions,
                               const CorrespondenceLossOptions& options);

// The cross-entropy of each point's correspondence map C, as of NreLoss(), with
// a target map T, e.g. that of a teacher: -sum_q T(q) ln C(q). Eq. 10 of the
// NRE is the same with bilinear weights as T. At least the entropy of T, where
// C = T. targets: [B, N, H W], of sum 1 each (or 0: then the loss is 0); they
// have no gradient. Returns [B, N], in nats. Memory as above, and the targets.
torch::Tensor MapCrossEntropyLoss(const torch::Tensor& descriptors,
                                  const torch::Tensor& features,
                                  const torch::Tensor& targets,
                                  const CorrespondenceLossOptions& options);

}  // namespace nre
