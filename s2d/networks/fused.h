// Passes over large tensors of which LibTorch would make several, each as slow
// as memory is. On the CPU, for batches whose channels come last in memory.
// Without gradients.
#pragma once

#include <torch/types.h>

namespace nre {

// Sums over the cells of size x size pixels that images [B, 3, H, W] consist
// of, in double precision: of every channel, [B, 3, H / size, W / size], and of
// the squares of all channels together, [B, 1, H / size, W / size]. images:
// single precision.
struct CellSums {
  torch::Tensor values;
  torch::Tensor squares;
};
CellSums SumCells(const torch::Tensor& images, int64_t size);

// (images - shift) * scale, both of which are interpolated bilinearly between
// the centres of cells of size x size pixels (beyond the last ones, these):
// shift [B, C, H / size, W / size], scale [B, 1, H / size, W / size], all in
// single precision. Returns `dtype`: single precision or bfloat16.
torch::Tensor ShiftAndScale(const torch::Tensor& images,
                            const torch::Tensor& shift,
                            const torch::Tensor& scale,
                            int64_t size,
                            torch::Dtype dtype);

// Turns sum into max(0, sum + x at twice the resolution, interpolated
// bilinearly), of the same type: single precision or bfloat16. sum: [B, C,
// 2 h, 2 w]; x: [B, C, h, w].
void AddUpsampledAndRectify(const torch::Tensor& x, torch::Tensor* sum);

// Whether a tensor is as the functions above take them, and needs no gradient.
bool CanFuse(const torch::Tensor& x);

}  // namespace nre
