#include "s2d/training/jpeg.h"

#include <cmath>

#include "s2d/training/resampling.h"

namespace nre {
namespace {

using torch::Tensor;

// Annex K.1 and K.2 of ITU-T T.81, row by row.
constexpr int kLuma[64] = {
    16, 11, 10, 16, 24,  40,  51,  61,  12, 12, 14, 19, 26,  58,  60,  55,
    14, 13, 16, 24, 40,  57,  69,  56,  14, 17, 22, 29, 51,  87,  80,  62,
    18, 22, 37, 56, 68,  109, 103, 77,  24, 35, 55, 64, 81,  104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99};
constexpr int kChroma[64] = {17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99,
                             99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66,
                             99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
                             99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
                             99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99};

// [1, 64, 1, 1], in grey levels.
Tensor QuantizationSteps(const int (&table)[64],
                         int64_t quality,
                         const torch::TensorOptions& options) {
  const int64_t percent = quality < 50 ? 5000 / quality : 200 - 2 * quality;
  const Tensor steps =
      torch::tensor(at::ArrayRef<int>(table, 64), torch::kInt64);
  return steps.mul(percent)
      .add(50)
      .div(100, "floor")
      .clamp(1, 255)
      .view({1, 64, 1, 1})
      .to(options);
}

// The orthonormal discrete cosine transform of 8 x 8 pixels: [64, 1, 8, 8],
// coefficient (v, u) in row 8 v + u.
Tensor CosineTransform(const torch::TensorOptions& options) {
  Tensor rows = torch::empty({8, 8}, torch::kFloat64);
  auto values = rows.accessor<double, 2>();
  for (int u = 0; u < 8; ++u) {
    for (int x = 0; x < 8; ++x) {
      values[u][x] = std::sqrt(u == 0 ? 0.125 : 0.25) *
                     std::cos((2 * x + 1) * u * M_PI / 16);
    }
  }
  return (rows.view({8, 1, 8, 1}) * rows.view({1, 8, 1, 8}))
      .view({64, 1, 8, 8})
      .to(options);
}

// planes: [B, 1, H, W] in grey levels around 0, H and W multiples of 8.
Tensor Quantize(const Tensor& planes, const int (&table)[64], int64_t quality) {
  const Tensor transform = CosineTransform(planes.options());
  const Tensor steps = QuantizationSteps(table, quality, planes.options());
  const Tensor coefficients = torch::conv2d(planes, transform, {}, 8);
  return torch::conv_transpose2d(
      (coefficients / steps).round_().mul_(steps), transform, {}, 8);
}

// Repeats the last row and column up to multiples of `unit`.
Tensor Padded(const Tensor& image, int64_t unit) {
  const int64_t height = image.size(1), width = image.size(2);
  const int64_t right = (width + unit - 1) / unit * unit - width;
  const int64_t below = (height + unit - 1) / unit * unit - height;
  if (right == 0 && below == 0) return image;
  return at::replication_pad2d(image, {0, right, 0, below});
}

}  // namespace

Tensor CompressAsJpeg(const Tensor& image, int64_t quality) {
  TORCH_CHECK(
      image.dim() == 3 && image.size(0) == 3 && quality >= 1 && quality <= 100,
      "expected an image [3, H, W] and a quality from 1 to 100, got ",
      image.sizes(),
      " and ",
      quality);
  const int64_t height = image.size(1), width = image.size(2);
  const Tensor padded = Padded(image * 255.0, 16);
  const Tensor r = padded[0], g = padded[1], b = padded[2];
  const Tensor y = 0.299 * r + 0.587 * g + 0.114 * b;
  const Tensor chroma = torch::stack({(b - y) / 1.772, (r - y) / 1.402});
  const Tensor luma =
      Quantize((y - 128.0).unsqueeze(0).unsqueeze(0), kLuma, quality)
          .view_as(y) +
      128.0;
  const Tensor coarse =
      Quantize(at::avg_pool2d(chroma, 2).unsqueeze(1), kChroma, quality);
  const Tensor cb_cr =
      Resample(coarse.squeeze(1), padded.size(1), padded.size(2));
  const Tensor blue = luma + 1.772 * cb_cr[0];
  const Tensor red = luma + 1.402 * cb_cr[1];
  const Tensor green = (luma - 0.299 * red - 0.114 * blue) / 0.587;
  return torch::stack({red, green, blue})
      .narrow(1, 0, height)
      .narrow(2, 0, width)
      .div(255.0)
      .clamp_(0.0, 1.0);
}

}  // namespace nre
