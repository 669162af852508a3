#include "s2d/training/jpeg.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

namespace nre {
namespace {

using torch::Tensor;

// Smooth structures and some noise, of any size.
Tensor Picture(int64_t height, int64_t width) {
  const Tensor x = torch::arange(width, torch::kFloat32);
  const Tensor y = torch::arange(height, torch::kFloat32).unsqueeze(1);
  const Tensor waves = torch::stack({(0.11 * x + 0.05 * y).sin(),
                                     (0.07 * x - 0.13 * y).cos(),
                                     (0.004 * x * y).sin()});
  const Tensor noise =
      torch::randn({3, height, width}, at::detail::createCPUGenerator(1));
  return (0.5 + 0.3 * waves + 0.03 * noise).clamp(0.0, 1.0);
}

double Psnr(const Tensor& a, const Tensor& b) {
  return -10.0 * std::log10((a - b).square().mean().item<double>());
}

TEST(CompressAsJpeg, KeepsWhatTheTablesKeep) {
  const Tensor picture = Picture(64, 96);
  double last = 0.0;
  for (const int64_t quality : {1, 5, 20, 50, 80, 95}) {
    const double psnr = Psnr(picture, CompressAsJpeg(picture, quality));
    EXPECT_GT(psnr, last) << quality;
    last = psnr;
  }
  EXPECT_LT(Psnr(picture, CompressAsJpeg(picture, 1)), 20.0);
  // Grey has no chroma to lose: steps of one grey level remain.
  const Tensor grey = picture.narrow(0, 0, 1).expand({3, -1, -1});
  EXPECT_LT(
      (CompressAsJpeg(grey, 100) - grey).square().mean().sqrt().item<double>() *
          255.0,
      1.0);
}

TEST(CompressAsJpeg, RoundsTheMeanOfABlockByTheFirstStep) {
  // A uniform block has only its first coefficient, 8 times its level.
  for (const int64_t quality : {10, 50, 75}) {
    const double step = std::floor(
        (16 * (quality < 50 ? 5000 / quality : 200 - 2 * quality) + 50) / 100);
    for (const double level : {3.0, 77.0, 128.0, 201.5}) {
      const Tensor compressed =
          CompressAsJpeg(torch::full({3, 16, 16}, level / 255.0), quality);
      const double expected =
          std::nearbyint((level - 128.0) * 8.0 / step) * step / 8.0 + 128.0;
      EXPECT_TRUE(compressed.allclose(
          torch::tensor(std::clamp(expected, 0.0, 255.0) / 255.0), 0.0, 1e-4))
          << quality << " " << level;
    }
  }
}

TEST(CompressAsJpeg, TreatsEachBlockAlone) {
  const Tensor picture = Picture(48, 48);
  Tensor other = picture.clone();
  other.narrow(1, 16, 16).narrow(2, 16, 16).copy_(
      torch::rand({3, 16, 16}, at::detail::createCPUGenerator(2)));
  const Tensor difference =
      (CompressAsJpeg(picture, 30) - CompressAsJpeg(other, 30)).abs().amax(0);
  EXPECT_GT(difference.max().item<float>(), 0.1f);
  // But for the interpolation of chroma, which reaches a pixel further.
  Tensor outside = difference.clone();
  outside.narrow(0, 15, 18).narrow(1, 15, 18).zero_();
  EXPECT_LT(outside.max().item<float>(), 1e-5f);
}

TEST(CompressAsJpeg, TakesAnySizeAndRefusesOtherArguments) {
  for (const auto& [height, width] : {std::pair(1, 1), std::pair(17, 30)}) {
    const Tensor compressed = CompressAsJpeg(Picture(height, width), 90);
    EXPECT_EQ(compressed.sizes(), at::IntArrayRef({3, height, width}));
    EXPECT_GT(Psnr(compressed, Picture(height, width)), 20.0);
  }
  EXPECT_THROW(CompressAsJpeg(Picture(8, 8), 0), c10::Error);
  EXPECT_THROW(CompressAsJpeg(Picture(8, 8), 101), c10::Error);
  EXPECT_THROW(CompressAsJpeg(Picture(8, 8)[0], 50), c10::Error);
}

}  // namespace
}  // namespace nre
