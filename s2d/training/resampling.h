// Images as tensors: parts of photographs and other sizes. Only for training:
// includes LibTorch.
#pragma once

#include <vector>

#include <torch/types.h>

namespace nre {

// The part of a photograph, uint8 [H, W, 3], with the pixels [x, x + width) x
// [y, y + height): [3, height, width], 0 to 1.
torch::Tensor PhotoPart(const torch::Tensor& photo,
                        int64_t x,
                        int64_t y,
                        int64_t width,
                        int64_t height);

// An image [C, H, W] in another size, the borders staying where they are:
// bilinear, low-pass filtered where it shrinks.
torch::Tensor Resample(const torch::Tensor& image,
                       int64_t height,
                       int64_t width);

// Throws c10::Error unless there are photographs and each is uint8 [H, W, 3] on
// the CPU and not empty.
void CheckPhotos(const std::vector<torch::Tensor>& photos);

}  // namespace nre
