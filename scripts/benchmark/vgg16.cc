#include "scripts/benchmark/vgg16.h"

#include <ATen/Parallel.h>
#include <torch/nn.h>
#include <torch/version.h>

#include "s2d/networks/vgg.h"

namespace nre {

struct Vgg16::Network {
  torch::nn::Sequential layers;
  torch::Tensor input;
};

Vgg16::Vgg16(int width, int height) : network_(std::make_unique<Network>()) {
  at::set_num_threads(1);
  torch::manual_seed(0);
  network_->layers = CreateVgg16Encoder();
  for (torch::Tensor& weight : network_->layers->parameters()) {
    // Keeps the scale of the values: denormal numbers would be slow.
    if (weight.dim() == 4) torch::nn::init::kaiming_normal_(weight);
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
