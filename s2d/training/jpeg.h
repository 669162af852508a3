// What JPEG does to an image, without the file. Only for training: includes
// LibTorch.
#pragma once

#include <torch/types.h>

namespace nre {

// An image [3, H, W], RGB, 0 to 1, as it is after compression with a quality
// from 1 to 100: ITU-T T.81 (baseline) with the tables of its annex K, scaled
// as libjpeg does, in JFIF's YCbCr, chroma at half the resolution (and
// interpolated bilinearly). Nothing is rounded but the coefficients. Throws
// c10::Error for other shapes and qualities.
torch::Tensor CompressAsJpeg(const torch::Tensor& image, int64_t quality);

}  // namespace nre
