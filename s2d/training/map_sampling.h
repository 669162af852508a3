// Positions in maps, as tensors: which cells they lie between and what is
// there. Only for training: includes LibTorch.
//
// Map coordinates, (x, y) in cells: cell (0, 0) is centred on (0, 0). A cell's
// index is y * width + x. Positions are constants: no gradient flows to them.
// B: pairs of images in a batch; N: points of each, padded.
//
// All training functions throw c10::Error for options that fail their Check()
// and for shapes that do not fit. Call them outside of autocast. On a GPU the
// gradients of features are sums in no fixed order.
#pragma once

#include <torch/types.h>

namespace nre {

// The four cells around positions, Eq. 3 of Germain, Lepetit, Bourmaud,
// "Neural Reprojection Error", CVPR 2021 (reading x = omega - floor(omega)).
struct BilinearCells {
  torch::Tensor indices;  // [B, N, 4], int64, always valid
  torch::Tensor weights;  // [B, N, 4]; 0 for a cell that is not there
};

// positions: [B, N, 2], anywhere, finite or not. Far away all weights are 0; up
// to one cell outside of the cells' centres some are not.
BilinearCells FindBilinearCells(const torch::Tensor& positions,
                                int64_t height,
                                int64_t width);

// [B, N], bool: whether positions [B, N, 2] are finite and lie between the
// cells' centres, [0, width - 1] x [0, height - 1].
torch::Tensor IsInside(const torch::Tensor& positions,
                       int64_t height,
                       int64_t width);

// The closest position of [0, width - 1] x [0, height - 1]; (0, 0) for NaN.
torch::Tensor ClampToMap(const torch::Tensor& positions,
                         int64_t height,
                         int64_t width);

// The cells' descriptors. features: [B, C, H, W]; indices: [B, N], int64.
// Returns [B, N, C].
torch::Tensor GatherCells(const torch::Tensor& features,
                          const torch::Tensor& indices);

// Interpolates features [B, C, H, W] bilinearly at positions [B, N, 2], clamped
// to the map. Returns [B, N, C], in single precision at least.
torch::Tensor SampleFeatures(const torch::Tensor& features,
                             const torch::Tensor& positions);

// Losses are computed in single precision at least, whatever the network's:
// half-precision tensors are converted, others left alone.
torch::Tensor AtLeastSinglePrecision(const torch::Tensor& tensor);

// The mean of losses [B, N] where mask [B, N] (bool) is set; 0, with zero
// gradients, where it is not set anywhere.
torch::Tensor MaskedMean(const torch::Tensor& losses,
                         const torch::Tensor& mask);

}  // namespace nre
