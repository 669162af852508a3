// Small networks of our own, made to run on a laptop without a GPU: residual
// blocks (He et al., CVPR 2016) at ever lower resolutions, and back up by a
// feature pyramid (Lin et al., CVPR 2017). Convolutions of stride 2 have an
// even kernel, so that a cell covers exactly the cells that it is made of, as
// bilinear interpolation on the way up has it.

#include "s2d/networks/module.h"

namespace nre {
namespace {

using torch::Tensor;

torch::nn::Conv2d Convolution(int in, int out, int size, int stride = 1) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, size)
                               .stride(stride)
                               .padding((size - 1) / 2)
                               .bias(false));
}

// Convolution and batch normalisation.
class ConvBn : public torch::nn::Module {
 public:
  ConvBn(int in, int out, int size, int stride = 1)
      : conv_(register_module("conv", Convolution(in, out, size, stride))),
        bn_(register_module("bn", torch::nn::BatchNorm2d(out))) {}

  Tensor forward(const Tensor& x) { return bn_->forward(conv_->forward(x)); }

 private:
  torch::nn::Conv2d conv_;
  torch::nn::BatchNorm2d bn_;
};

class ResidualBlock : public torch::nn::Module {
 public:
  explicit ResidualBlock(int channels)
      : first_(register_module(
            "first", std::make_shared<ConvBn>(channels, channels, 3))),
        second_(register_module(
            "second", std::make_shared<ConvBn>(channels, channels, 3))) {}

  Tensor forward(const Tensor& x) {
    return (second_->forward(first_->forward(x).relu_()) + x).relu_();
  }

 private:
  std::shared_ptr<ConvBn> first_;
  std::shared_ptr<ConvBn> second_;
};

// Twice the resolution: what a cell covers stays where it is.
Tensor Upsample(const Tensor& x) {
  return torch::upsample_bilinear2d(
      x, {2 * x.size(2), 2 * x.size(3)}, /*align_corners=*/false);
}

// What the networks see: each pixel less the mean of its surroundings, divided
// by their standard deviation, so that light and contrast hardly matter, also
// where they change within the image. Where there is less than kPlain of the
// image's contrast, it stays weak. images: [B, 3, H, W], H and W multiples of
// kPool. Single precision.
constexpr int kPool = 8;
constexpr double kPlain = 0.2;

Tensor NormalizeLocally(const Tensor& images) {
  // Less its mean, for the sake of precision.
  const Tensor all = images.to(torch::kFloat32);
  const Tensor x = all - all.mean({2, 3}, /*keepdim=*/true);
  const auto smooth = [](const Tensor& t) {
    return torch::avg_pool2d(t, 3, 1, 1, false, /*count_include_pad=*/false);
  };
  const auto surroundings = [&](const Tensor& t) {
    return smooth(smooth(torch::avg_pool2d(t, kPool)));
  };
  const Tensor mean = surroundings(x);
  // Of all channels together.
  const Tensor variance =
      (surroundings(x.square().mean(1, true)) - mean.square().mean(1, true))
          .clamp_min(0.0);
  const Tensor of_image = variance.mean({2, 3}, /*keepdim=*/true);
  const Tensor scale =
      torch::rsqrt(variance + kPlain * kPlain * of_image + 1e-8);
  const auto upsample = [&](const Tensor& t) {
    return torch::upsample_bilinear2d(
        t, {x.size(2), x.size(3)}, /*align_corners=*/false);
  };
  return ((x - upsample(mean)) * upsample(scale))
      .to(images.scalar_type())
      .contiguous(torch::MemoryFormat::ChannelsLast);
}

struct Level {
  int channels;
  int num_blocks;
};

struct CompactOptions {
  // Of halving resolutions, the first at stride 2.
  std::vector<Level> levels;

  // The level at whose resolution descriptors come out, how many channels and
  // blocks lead there, and how many channels are in them.
  int output_level;
  int pyramid_channels;
  int num_output_blocks;
  int output_channels;
};

class Compact : public NetworkModule {
 public:
  explicit Compact(const CompactOptions& options) : options_(options) {
    int channels = 3;
    for (size_t i = 0; i < options.levels.size(); ++i) {
      const Level& level = options.levels[i];
      const std::string name = std::to_string(i);
      // An even kernel of 4 x 4 sees beyond its cell.
      torch::nn::Sequential down(
          std::make_shared<ConvBn>(channels, level.channels, 4, 2),
          torch::nn::ReLU(torch::nn::ReLUOptions(/*inplace=*/true)));
      for (int b = 0; b < level.num_blocks; ++b) {
        down->push_back(std::make_shared<ResidualBlock>(level.channels));
      }
      downs_.push_back(register_module("down" + name, down));
      if (static_cast<int>(i) >= options.output_level) {
        laterals_.push_back(
            register_module("lateral" + name,
                            std::make_shared<ConvBn>(
                                level.channels, options.pyramid_channels, 1)));
      }
      channels = level.channels;
    }
    smooth_ = register_module(
        "smooth",
        std::make_shared<ConvBn>(
            options.pyramid_channels, options.pyramid_channels, 3));
    for (int b = 0; b < options.num_output_blocks; ++b) {
      output_blocks_.push_back(register_module(
          "block" + std::to_string(b),
          std::make_shared<ResidualBlock>(options.pyramid_channels)));
    }
    out_ = register_module(
        "out",
        torch::nn::Conv2d(torch::nn::Conv2dOptions(
            options.pyramid_channels, options.output_channels, 1)));
  }

  std::vector<Tensor> Forward(Tensor image) override {
    const int64_t stride = int64_t{1} << (options_.output_level + 1);
    const int64_t height = image.size(2) / stride;
    const int64_t width = image.size(3) / stride;
    std::vector<Tensor> levels;
    Tensor x = NormalizeLocally(PadToWholeCells(image, MinImageSize()));
    for (torch::nn::Sequential& down : downs_) {
      x = down->forward(x);
      levels.push_back(x);
    }
    Tensor sum = laterals_.back()->forward(levels.back()).relu_();
    for (size_t i = laterals_.size() - 1; i-- > 0;) {
      sum = (Upsample(sum) +
             laterals_[i]->forward(levels[i + options_.output_level]))
                .relu_();
    }
    sum = smooth_->forward(sum).relu_();
    for (const auto& block : output_blocks_) sum = block->forward(sum);
    return {out_->forward(sum).narrow(2, 0, height).narrow(3, 0, width)};
  }

  int MinImageSize() const override { return 1 << options_.levels.size(); }

 private:
  CompactOptions options_;
  std::vector<torch::nn::Sequential> downs_;
  std::vector<std::shared_ptr<ConvBn>> laterals_;
  std::shared_ptr<ConvBn> smooth_;
  std::vector<std::shared_ptr<ResidualBlock>> output_blocks_;
  torch::nn::Conv2d out_ = nullptr;
};

}  // namespace

std::shared_ptr<NetworkModule> CreateCompactCoarse() {
  return std::make_shared<Compact>(CompactOptions{
      {{16, 0}, {32, 1}, {80, 1}, {128, 2}, {192, 1}}, 2, 128, 0, 128});
}

std::shared_ptr<NetworkModule> CreateCompactFine() {
  return std::make_shared<Compact>(
      CompactOptions{{{24, 1}, {40, 1}, {64, 1}, {96, 1}}, 0, 32, 1, 48});
}

}  // namespace nre
