#include "s2d/networks/vgg.h"

namespace nre {

torch::nn::Sequential CreateVgg16Encoder() {
  constexpr int kPooling = 0;
  constexpr int kLastConvolution = 28;
  torch::nn::Sequential encoder;
  int channels = 3;
  for (const int next : {64,
                         64,
                         kPooling,
                         128,
                         128,
                         kPooling,
                         256,
                         256,
                         256,
                         kPooling,  //
                         512,
                         512,
                         512,
                         kPooling,  //
                         512,
                         512,
                         512}) {
    if (next == kPooling) {
      encoder->push_back(torch::nn::MaxPool2d(2));
      continue;
    }
    encoder->push_back(torch::nn::Conv2d(
        torch::nn::Conv2dOptions(channels, next, 3).padding(1)));
    if (encoder->size() <= kLastConvolution) {
      encoder->push_back(
          torch::nn::ReLU(torch::nn::ReLUOptions().inplace(true)));
    }
    channels = next;
  }
  return encoder;
}

std::vector<torch::Tensor> RunVgg16Encoder(torch::nn::Sequential encoder,
                                           torch::Tensor image,
                                           const std::vector<int>& layers) {
  std::vector<torch::Tensor> outputs;
  int index = 0;
  for (torch::nn::AnyModule& layer : *encoder) {
    if (outputs.size() == layers.size()) break;
    image = layer.forward(image);
    if (index++ == layers[outputs.size()]) outputs.push_back(image);
  }
  return outputs;
}

}  // namespace nre
