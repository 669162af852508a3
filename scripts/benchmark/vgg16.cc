#include "scripts/benchmark/vgg16.h"

#include <torch/torch.h>

namespace nre {

struct Vgg16::Network {
  torch::nn::Sequential layers;
  torch::Tensor input;
};

Vgg16::Vgg16(int width, int height) : network_(std::make_unique<Network>()) {
  torch::set_num_threads(1);
  torch::manual_seed(0);
  constexpr int kPooling = 0;
  int channels = 3;
  for (const int next : {64,
                         64,
                         kPooling,  //
                         128,
                         128,
                         kPooling,  //
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
                         512,
                         kPooling}) {
    if (next == kPooling) {
      network_->layers->push_back(torch::nn::MaxPool2d(2));
      continue;
    }
    torch::nn::Conv2d convolution(
        torch::nn::Conv2dOptions(channels, next, 3).padding(1));
    // Keeps the scale of the values: denormal numbers would be slow.
    torch::nn::init::kaiming_normal_(convolution->weight);
    network_->layers->push_back(convolution);
    network_->layers->push_back(
        torch::nn::ReLU(torch::nn::ReLUOptions().inplace(true)));
    channels = next;
  }
  network_->layers->eval();
  network_->input = torch::randn({1, 3, height, width});
}

Vgg16::~Vgg16() = default;

float Vgg16::Forward() const {
  const torch::InferenceMode guard;
  return network_->layers->forward(network_->input).mean().item<float>();
}

std::string Vgg16::Description() {
  std::string description = "LibTorch " TORCH_VERSION;
  description += at::globalContext().hasMKLDNN() ? " with" : " without";
  return description + " oneDNN";
}

}  // namespace nre
