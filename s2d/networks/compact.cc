// Small networks of our own, made to run on a laptop without a GPU: residual
// blocks (He et al., CVPR 2016) at ever lower resolutions, and back up by a
// feature pyramid (Lin et al., CVPR 2017). Convolutions of stride 2 have an
// even kernel, so that a cell covers exactly the cells that it is made of, as
// bilinear interpolation on the way up has it.

#include "s2d/networks/fused.h"
#include "s2d/networks/module.h"

namespace nre {
namespace {

using torch::Tensor;

torch::nn::Conv2d Convolution(
    int64_t in, int64_t out, int64_t size, int64_t stride, bool bias) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, size)
                               .stride(stride)
                               .padding((size - 1) / 2)
                               .bias(bias));
}

// Convolution and batch normalisation.
class ConvBn : public torch::nn::Module {
 public:
  ConvBn(int in, int out, int size, int stride = 1)
      : stride_(stride),
        conv_(
            register_module("conv", Convolution(in, out, size, stride, false))),
        bn_(register_module("bn", torch::nn::BatchNorm2d(out))) {}

  Tensor forward(const Tensor& x) {
    const Tensor y = conv_->forward(x);
    return bn_ ? bn_->forward(y) : y;
  }

  // Makes the normalisation, as it is at inference, a part of the convolution.
  void Fold() {
    const torch::NoGradGuard no_grad;
    const Tensor& weight = conv_->weight;
    const Tensor factor =
        bn_->weight * torch::rsqrt(bn_->running_var + bn_->options.eps());
    const torch::nn::Conv2d folded = Convolution(
        weight.size(1), weight.size(0), weight.size(2), stride_, true);
    folded->weight.copy_(weight * factor.view({-1, 1, 1, 1}));
    folded->bias.copy_(bn_->bias - bn_->running_mean * factor);
    conv_ = replace_module("conv", folded);
    unregister_module("bn");
    bn_ = nullptr;
  }

 private:
  int stride_;
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
    return second_->forward(first_->forward(x).relu_()).add_(x).relu_();
  }

 private:
  std::shared_ptr<ConvBn> first_;
  std::shared_ptr<ConvBn> second_;
};

// ReLU of the sum of x, brought to twice the resolution, and y; what a cell
// covers stays where it is. Without gradients, y is lost.
Tensor RectifiedSum(const Tensor& x, Tensor y) {
  if (CanFuse(x) && CanFuse(y)) {
    AddUpsampledAndRectify(x, &y);
    return y;
  }
  return torch::upsample_bilinear2d(
             x, {y.size(2), y.size(3)}, /*align_corners=*/false)
      .add_(y)
      .relu_();
}

constexpr int kPool = 8;
constexpr double kPlain = 0.2;

// Means over the cells of kPool x kPool pixels of images [B, 3, H, W] in single
// precision: of each channel, and of the squares of all. Double precision.
struct CellMeans {
  Tensor values;
  Tensor squares;
};

CellMeans MeansOfCells(const Tensor& images) {
  if (CanFuse(images)) {
    const CellSums sums = SumCells(images, kPool);
    const double num = kPool * kPool;
    return {sums.values / num, sums.squares / (num * images.size(1))};
  }
  const Tensor x = images.to(torch::kFloat64);
  return {torch::avg_pool2d(x, kPool),
          torch::avg_pool2d(x.square().mean(1, true), kPool)};
}

// What the networks see: each pixel less the mean of its surroundings, divided
// by their standard deviation, so that light and contrast hardly matter, also
// where they change within the image. Where there is less than kPlain of the
// image's contrast, it stays weak. images: [B, 3, H, W], H and W multiples of
// kPool.
Tensor NormalizeLocally(const Tensor& images, torch::Dtype dtype) {
  const Tensor x =
      images.to(torch::kFloat32).contiguous(torch::MemoryFormat::ChannelsLast);
  const CellMeans means = MeansOfCells(x);
  const auto surroundings = [](const Tensor& cells) {
    const auto smooth = [](const Tensor& t) {
      return torch::avg_pool2d(t, 3, 1, 1, false, /*count_include_pad=*/false);
    };
    return smooth(smooth(cells.to(torch::kFloat32)));
  };
  // Less their mean, for the sake of precision.
  const Tensor all = means.values.mean({2, 3}, /*keepdim=*/true);
  const Tensor mean = surroundings(means.values - all);
  // Of all channels together.
  const Tensor squares =
      means.squares - (2.0 * means.values - all).mul(all).mean(1, true);
  const Tensor variance =
      (surroundings(squares) - mean.square().mean(1, true)).clamp_min(0.0);
  const Tensor of_image = variance.mean({2, 3}, /*keepdim=*/true);
  const Tensor scale =
      torch::rsqrt(variance + kPlain * kPlain * of_image + 1e-8);
  const Tensor shift = mean + all.to(torch::kFloat32);
  if (CanFuse(x)) return ShiftAndScale(x, shift, scale, kPool, dtype);
  const auto upsample = [&](const Tensor& t) {
    return torch::upsample_bilinear2d(
        t, {x.size(2), x.size(3)}, /*align_corners=*/false);
  };
  return ((x - upsample(shift)) * upsample(scale))
      .to(dtype)
      .contiguous(torch::MemoryFormat::ChannelsLast);
}

struct Level {
  int channels;
  int num_blocks;
};

struct CompactOptions {
  // Of halving resolutions, the first at stride 2.
  std::vector<Level> levels;

  // The level at whose resolution descriptors come out, the one, as coarse or
  // coarser, at which the sum of the pyramid is worked on, by how many blocks,
  // how many channels it has, and how many are in descriptors.
  int output_level;
  int work_level;
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
    Tensor x = NormalizeLocally(PadToWholeCells(image, MinImageSize()),
                                out_->weight.scalar_type());
    image.reset();  // its memory serves what follows
    for (torch::nn::Sequential& down : downs_) {
      x = down->forward(x);
      levels.push_back(x);
    }
    Tensor sum;
    for (int i = static_cast<int>(levels.size()) - 1;
         i >= options_.output_level;
         --i) {
      const Tensor lateral =
          laterals_[i - options_.output_level]->forward(levels[i]);
      sum = sum.defined() ? RectifiedSum(sum, lateral) : lateral.relu_();
      if (i == options_.work_level) {
        sum = smooth_->forward(sum).relu_();
        for (const auto& block : output_blocks_) sum = block->forward(sum);
      }
    }
    return {out_->forward(sum).narrow(2, 0, height).narrow(3, 0, width)};
  }

  int MinImageSize() const override { return 1 << options_.levels.size(); }

  // Logits of the best cells are 0.04 off then, others 0.12.
  bool TakesBfloat16() const override { return true; }

  void Fold() override {
    for (const auto& module : modules()) {
      if (auto* layer = module->as<ConvBn>()) layer->Fold();
    }
  }

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
      {{16, 0}, {24, 1}, {64, 1}, {96, 2}, {160, 2}}, 2, 2, 96, 0, 96});
}

std::shared_ptr<NetworkModule> CreateCompactFine() {
  return std::make_shared<Compact>(CompactOptions{
      {{16, 1}, {32, 1}, {48, 1}, {64, 2}, {96, 1}}, 0, 1, 32, 1, 32});
}

}  // namespace nre
