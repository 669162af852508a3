// The first 29 layers of VGG-16 (Simonyan & Zisserman, ICLR 2015), up to
// conv5_3, numbered as in torchvision: convolutions with padding, ReLU, and
// four max poolings that halve the resolution. Only for the networks' library.
#pragma once

#include <vector>

#include <torch/nn.h>

namespace nre {

// Layers 0 to 28, with children "0" to "28".
torch::nn::Sequential CreateVgg16Encoder();

// The outputs of the layers with these ascending indices. Each ReLU works in
// place, on the output of the convolution before it.
std::vector<torch::Tensor> RunVgg16Encoder(torch::nn::Sequential encoder,
                                           torch::Tensor image,
                                           const std::vector<int>& layers);

// Below, the last pooling has no output.
constexpr int kMinVgg16ImageSize = 16;

}  // namespace nre
