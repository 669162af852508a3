// The U-Net that is trained with the Gauss-Newton loss for feature-metric PnP
// (github.com/zimengjiang/gn_net): group normalisation, CELU, nearest-neighbour
// upsampling.

#include "s2d/networks/module.h"

namespace nre {
namespace {

namespace F = torch::nn::functional;

torch::nn::Conv2d Convolution(int in, int out, int size) {
  return torch::nn::Conv2d(
      torch::nn::Conv2dOptions(in, out, size).padding(size / 2));
}

// Twice: 3 x 3 convolution, group normalisation, CELU.
class DoubleConv : public torch::nn::Module {
 public:
  DoubleConv(int in, int out, int num_groups)
      : layers_(Convolution(in, out, 3),
                torch::nn::GroupNorm(num_groups, out),
                torch::nn::CELU(),
                Convolution(out, out, 3),
                torch::nn::GroupNorm(num_groups, out),
                torch::nn::CELU()) {
    register_module("double_conv", layers_);
  }

  torch::Tensor forward(const torch::Tensor& x) { return layers_->forward(x); }

 private:
  torch::nn::Sequential layers_;
};

class Down : public torch::nn::Module {
 public:
  Down(int in, int out, int num_groups)
      : layers_(torch::nn::MaxPool2d(2),
                std::make_shared<DoubleConv>(in, out, num_groups)) {
    register_module("maxpool_conv", layers_);
  }

  torch::Tensor forward(const torch::Tensor& x) { return layers_->forward(x); }

 private:
  torch::nn::Sequential layers_;
};

class Up : public torch::nn::Module {
 public:
  Up(int in, int out, int num_groups)
      : half_(Convolution(in, out, 1)),
        conv_(std::make_shared<DoubleConv>(in, out, num_groups)) {
    register_module("conv_half_channel", half_);
    register_module("conv", conv_);
  }

  // x at half of the resolution of `skip`, whose odd row or column is padded.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& skip) {
    const torch::Tensor large = half_->forward(
        F::interpolate(x,
                       F::InterpolateFuncOptions()
                           .scale_factor(std::vector<double>{2.0, 2.0})
                           .mode(torch::kNearest)));
    const int64_t rows = skip.size(2) - large.size(2);
    const int64_t columns = skip.size(3) - large.size(3);
    return conv_->forward(
        torch::cat({skip,
                    F::pad(large,
                           F::PadFuncOptions({columns / 2,
                                              columns - columns / 2,
                                              rows / 2,
                                              rows - rows / 2}))},
                   1));
  }

 private:
  torch::nn::Conv2d half_;
  std::shared_ptr<DoubleConv> conv_;
};

class OutConv : public torch::nn::Module {
 public:
  OutConv(int in, int out) : conv_(Convolution(in, out, 1)) {
    register_module("conv", conv_);
  }

  torch::Tensor forward(const torch::Tensor& x) { return conv_->forward(x); }

 private:
  torch::nn::Conv2d conv_;
};

// Four levels of 128 channels, strides 8, 4, 2 and 1 (F1 to F4), cell (0, 0)
// covering the first stride x stride pixels. Training compares them by unit
// norm; the network does not normalise.
class GnNet : public NetworkModule {
 public:
  GnNet() {
    constexpr int kDescriptor = 128;
    constexpr int kChannels[] = {64, 128, 256, 512, 1024};
    constexpr int kNumGroups[] = {8, 8, 16, 16, 32};
    auto net = std::make_shared<torch::nn::Module>();
    first_ = net->register_module(
        "inc", std::make_shared<DoubleConv>(3, kChannels[0], kNumGroups[0]));
    for (int i = 1; i <= kNumLevels; ++i) {
      downs_.push_back(net->register_module(
          "down" + std::to_string(i),
          std::make_shared<Down>(
              kChannels[i - 1], kChannels[i], kNumGroups[i])));
    }
    for (int i = 1; i <= kNumLevels; ++i) {
      const int level = kNumLevels - i;
      ups_.push_back(net->register_module(
          "up" + std::to_string(i),
          std::make_shared<Up>(
              kChannels[level + 1], kChannels[level], kNumGroups[level])));
      outs_.push_back(net->register_module(
          "F" + std::to_string(i),
          std::make_shared<OutConv>(kChannels[level], kDescriptor)));
    }
    register_module("embedding_net", net);
  }

  std::vector<torch::Tensor> Forward(torch::Tensor image) override {
    std::vector<torch::Tensor> skips = {first_->forward(image)};
    for (const auto& down : downs_)
      skips.push_back(down->forward(skips.back()));
    std::vector<torch::Tensor> levels;
    torch::Tensor x = skips.back();
    for (int i = 0; i < kNumLevels; ++i) {
      x = ups_[i]->forward(x, skips[kNumLevels - 1 - i]);
      levels.push_back(outs_[i]->forward(x));
    }
    return levels;
  }

  int MinImageSize() const override { return 1 << kNumLevels; }

 private:
  static constexpr int kNumLevels = 4;
  std::shared_ptr<DoubleConv> first_;
  std::vector<std::shared_ptr<Down>> downs_;
  std::vector<std::shared_ptr<Up>> ups_;
  std::vector<std::shared_ptr<OutConv>> outs_;
};

}  // namespace

std::shared_ptr<NetworkModule> CreateGnNet() {
  return std::make_shared<GnNet>();
}

}  // namespace nre
