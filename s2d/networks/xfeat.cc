// XFeat (Potje et al., CVPR 2024), its dense descriptors only: few channels
// where there are many pixels, three strides that are summed at the first.
// Batch normalisation is part of the weights.

#include "s2d/networks/module.h"

namespace nre {
namespace {

using torch::Tensor;

torch::nn::Conv2d Convolution(int in, int out, int size, int stride = 1) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, size)
                               .stride(stride)
                               .padding((size - 1) / 2));
}

class BasicLayer : public torch::nn::Module {
 public:
  BasicLayer(int in, int out, int size, int stride)
      : layer_(register_module(
            "layer",
            torch::nn::Sequential(Convolution(in, out, size, stride),
                                  torch::nn::ReLU(torch::nn::ReLUOptions(
                                      /*inplace=*/true))))) {}

  Tensor forward(const Tensor& x) { return layer_->forward(x); }

 private:
  torch::nn::Sequential layer_;
};

struct Layer {
  int channels;
  int size = 3;
  int stride = 1;
};

torch::nn::Sequential Block(int in, const std::vector<Layer>& layers) {
  torch::nn::Sequential block;
  for (const Layer& layer : layers) {
    block->push_back(std::make_shared<BasicLayer>(
        in, layer.channels, layer.size, layer.stride));
    in = layer.channels;
  }
  return block;
}

// Less its mean, divided by its standard deviation. Single precision.
Tensor NormalizedGray(const Tensor& images) {
  const Tensor gray = images.to(torch::kFloat32).mean({1}, /*keepdim=*/true);
  const Tensor x = gray - gray.mean({2, 3}, /*keepdim=*/true);
  return (x * torch::rsqrt(x.square().mean({2, 3}, /*keepdim=*/true) + 1e-5))
      .to(images.scalar_type());
}

class XFeat : public NetworkModule {
 public:
  XFeat() {
    skip_ = register_module(
        "skip1",
        torch::nn::Sequential(torch::nn::AvgPool2d(4), Convolution(1, 24, 1)));
    const auto add =
        [&](const std::string& name, int in, const std::vector<Layer>& layers) {
          return register_module(name, Block(in, layers));
        };
    block1_ = add("block1", 1, {{4}, {8, 3, 2}, {8}, {24, 3, 2}});
    block2_ = add("block2", 24, {{24}, {24}});
    block3_ = add("block3", 24, {{64, 3, 2}, {64}, {64, 1}});
    block4_ = add("block4", 64, {{64, 3, 2}, {64}, {64}});
    block5_ = add("block5", 64, {{128, 3, 2}, {128}, {128}, {64, 1}});
    fusion_ = add("block_fusion", 64, {{64}, {64}});
    fusion_->push_back(Convolution(64, 64, 1));
  }

  Tensor NormalizedImages(const Tensor& images) const override {
    return images;
  }

  std::vector<Tensor> Forward(Tensor images) override {
    const Tensor x = PadToWholeCells(NormalizedGray(images), kLastStride)
                         .contiguous(torch::MemoryFormat::ChannelsLast);
    const Tensor x3 = block3_->forward(
        block2_->forward(block1_->forward(x) + skip_->forward(x)));
    const Tensor x4 = block4_->forward(x3);
    const Tensor x5 = block5_->forward(x4);
    const auto upsampled = [&](const Tensor& level) {
      return torch::upsample_bilinear2d(
          level, {x3.size(2), x3.size(3)}, /*align_corners=*/false);
    };
    return {fusion_->forward(x3 + upsampled(x4) + upsampled(x5))
                .narrow(2, 0, images.size(2) / kStride)
                .narrow(3, 0, images.size(3) / kStride)};
  }

  int MinImageSize() const override { return kStride; }

 private:
  static constexpr int kStride = 8;
  static constexpr int kLastStride = 32;

  torch::nn::Sequential skip_ = nullptr;
  torch::nn::Sequential block1_ = nullptr;
  torch::nn::Sequential block2_ = nullptr;
  torch::nn::Sequential block3_ = nullptr;
  torch::nn::Sequential block4_ = nullptr;
  torch::nn::Sequential block5_ = nullptr;
  torch::nn::Sequential fusion_ = nullptr;
};

}  // namespace

std::shared_ptr<NetworkModule> CreateXFeat() {
  return std::make_shared<XFeat>();
}

}  // namespace nre
