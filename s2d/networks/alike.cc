// ALIKE (Zhao et al., IEEE Transactions on Multimedia 2022): convolutions at
// the strides 1, 2, 8 and 32, all of which are upsampled to the picture's size
// and make its descriptors. These are pooled here, strip by strip, so that
// nothing is held for the whole picture in full resolution.

#include <algorithm>
#include <array>

#include "s2d/networks/module.h"

namespace nre {
namespace {

using torch::Tensor;

torch::nn::Conv2d Convolution(int in, int out, int size, bool bias = false) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, size)
                               .padding((size - 1) / 2)
                               .bias(bias));
}

// Two convolutions of 3 x 3, each with batch normalisation; with `residual`,
// the input, brought to as many channels, is added before the last ReLU.
class Block : public torch::nn::Module {
 public:
  Block(int in, int out, bool residual)
      : conv1_(register_module("conv1", Convolution(in, out, 3))),
        bn1_(register_module("bn1", torch::nn::BatchNorm2d(out))),
        conv2_(register_module("conv2", Convolution(out, out, 3))),
        bn2_(register_module("bn2", torch::nn::BatchNorm2d(out))) {
    if (!residual) return;
    residual_ = register_module("downsample", Convolution(in, out, 1, true));
  }

  Tensor forward(const Tensor& x) {
    const Tensor y = bn2_->forward(
        conv2_->forward(bn1_->forward(conv1_->forward(x)).relu_()));
    return residual_.is_empty() ? y.relu()
                                : (y + residual_->forward(x)).relu_();
  }

 private:
  torch::nn::Conv2d conv1_;
  torch::nn::BatchNorm2d bn1_;
  torch::nn::Conv2d conv2_;
  torch::nn::BatchNorm2d bn2_;
  torch::nn::Conv2d residual_ = nullptr;
};

// The rows from `begin` on of `x` as it is if upsampled bilinearly to
// height x width, corner pixels' centres onto corner pixels' centres.
Tensor UpsampledRows(const Tensor& x,
                     int64_t height,
                     int64_t width,
                     int64_t begin,
                     int64_t num_rows) {
  const double scale = (x.size(2) - 1.0) / (height - 1.0);
  const Tensor y = (torch::arange(num_rows, torch::kFloat64) + begin) * scale;
  const Tensor above = y.floor().clamp_max(std::max<int64_t>(x.size(2) - 2, 0));
  const Tensor below = (above + 1.0).clamp_max(x.size(2) - 1.0);
  const auto rows = [&](const Tensor& index) {
    return x.index_select(2, index.to(x.device(), torch::kInt64));
  };
  const Tensor share = (y - above).view({1, 1, -1, 1}).to(x.options());
  return torch::upsample_bilinear2d(
      torch::lerp(rows(above), rows(below), share)
          .contiguous(torch::MemoryFormat::ChannelsLast),
      {num_rows, width},
      /*align_corners=*/true);
}

class Alike : public NetworkModule {
 public:
  explicit Alike(const AlikeOptions& options)
      : strip_rows_(options.strip_rows), num_channels_(options.descriptor) {
    int in = 3;
    for (size_t i = 0; i < kNumBlocks; ++i) {
      const std::string name = std::to_string(i + 1);
      const int out = options.channels[i];
      blocks_[i] = register_module(
          "block" + name, std::make_shared<Block>(in, out, /*residual=*/i > 0));
      laterals_[i] = register_module(
          "conv" + name, Convolution(out, options.descriptor / 4, 1));
      in = out;
    }
    if (options.two_heads) {
      first_head_ = register_module(
          "convhead1", Convolution(options.descriptor, options.descriptor, 1));
    }
    // One more channel than descriptors have: how salient a pixel is.
    last_head_ = register_module(
        "convhead2",
        Convolution(options.descriptor, options.descriptor + 1, 1));
  }

  Tensor NormalizedImages(const Tensor& images) const override {
    return images.contiguous(torch::MemoryFormat::ChannelsLast);
  }

  std::vector<Tensor> Forward(Tensor images) override {
    const Tensor padded = PadToWholeCells(images, kLastStride);
    // Batch normalisation must see whole batches.
    const int64_t strip_rows = is_training() ? padded.size(2) : strip_rows_;
    const std::vector<Tensor> levels = Levels(padded, strip_rows);
    std::vector<Tensor> coarse, fine;
    for (int64_t y = 0; y < padded.size(2); y += strip_rows) {
      const int64_t num = std::min(strip_rows, padded.size(2) - y);
      const Tensor x = torch::avg_pool2d(FullResolution(padded, levels, y, num),
                                         kFineStride);
      fine.push_back(Descriptors(x));
      coarse.push_back(
          Descriptors(torch::avg_pool2d(x, kCoarseStride / kFineStride)));
    }
    const auto output = [&](const std::vector<Tensor>& strips, int64_t stride) {
      return torch::cat(strips, 2)
          .narrow(2, 0, images.size(2) / stride)
          .narrow(3, 0, images.size(3) / stride);
    };
    return {output(coarse, kCoarseStride), output(fine, kFineStride)};
  }

  int MinImageSize() const override { return 8; }

 private:
  static constexpr size_t kNumBlocks = 4;
  static constexpr int kLastStride = 32;
  static constexpr int kCoarseStride = 4;
  static constexpr int kFineStride = 2;

  // The rows from `begin` on of the first block's output.
  Tensor FirstBlock(const Tensor& padded, int64_t begin, int64_t num_rows) {
    constexpr int64_t kHalo = 2;  // what two convolutions see
    const int64_t from = std::max<int64_t>(begin - kHalo, 0);
    const int64_t to = std::min(begin + num_rows + kHalo, padded.size(2));
    return blocks_[0]
        ->forward(padded.narrow(2, from, to - from))
        .narrow(2, begin - from, num_rows);
  }

  // What the blocks at the strides 2, 8 and 32 say, of the whole picture.
  std::vector<Tensor> Levels(const Tensor& padded, int64_t strip_rows) {
    std::vector<Tensor> strips;
    for (int64_t y = 0; y < padded.size(2); y += strip_rows) {
      const int64_t num = std::min(strip_rows, padded.size(2) - y);
      strips.push_back(torch::max_pool2d(FirstBlock(padded, y, num), 2));
    }
    Tensor x = torch::cat(strips, 2);
    std::vector<Tensor> levels;
    for (size_t i = 1; i < kNumBlocks; ++i) {
      if (i > 1) x = torch::max_pool2d(x, 4);
      x = blocks_[i]->forward(x);
      levels.push_back(laterals_[i]->forward(x).relu_());
    }
    return levels;
  }

  // What the last convolution sees in these rows.
  Tensor FullResolution(const Tensor& padded,
                        const std::vector<Tensor>& levels,
                        int64_t begin,
                        int64_t num_rows) {
    std::vector<Tensor> all = {
        laterals_[0]->forward(FirstBlock(padded, begin, num_rows)).relu_()};
    for (const Tensor& level : levels) {
      all.push_back(UpsampledRows(
          level, padded.size(2), padded.size(3), begin, num_rows));
    }
    const Tensor x = torch::cat(all, 1);
    return first_head_.is_empty() ? x : first_head_->forward(x).relu_();
  }

  // The last convolution is linear, and may come after pooling.
  Tensor Descriptors(const Tensor& x) {
    return torch::conv2d(x, last_head_->weight.narrow(0, 0, num_channels_));
  }

  const int64_t strip_rows_;
  const int64_t num_channels_;
  std::array<std::shared_ptr<Block>, kNumBlocks> blocks_;
  std::array<torch::nn::Conv2d, kNumBlocks> laterals_{
      nullptr, nullptr, nullptr, nullptr};
  torch::nn::Conv2d first_head_ = nullptr;
  torch::nn::Conv2d last_head_ = nullptr;
};

}  // namespace

AlikeOptions AlikeT() { return {{8, 16, 32, 64}, 64, false}; }
AlikeOptions AlikeN() { return {{16, 32, 64, 128}, 128, false}; }
AlikeOptions AlikeL() { return {{32, 64, 128, 128}, 128, true}; }

std::shared_ptr<NetworkModule> CreateAlike(const AlikeOptions& options) {
  return std::make_shared<Alike>(options);
}

}  // namespace nre
