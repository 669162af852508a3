#include "s2d/networks/fused.h"

#include <gtest/gtest.h>

namespace nre {
namespace {

using torch::Tensor;

// What LibTorch has for it.
Tensor Upsampled(const Tensor& x, int64_t factor) {
  return torch::upsample_bilinear2d(
      x, {factor * x.size(2), factor * x.size(3)}, /*align_corners=*/false);
}

Tensor ChannelsLast(const Tensor& x) {
  return x.contiguous(torch::MemoryFormat::ChannelsLast);
}

double Difference(const Tensor& a, const Tensor& b) {
  return (a.to(torch::kFloat64) - b.to(torch::kFloat64))
      .abs()
      .max()
      .item<double>();
}

TEST(Fused, SumsAreThoseOfPooling) {
  torch::manual_seed(0);
  const Tensor images = ChannelsLast(torch::randn({2, 3, 24, 40}));
  const CellSums sums = SumCells(images, 8);
  EXPECT_LT(Difference(sums.values, 64.0 * torch::avg_pool2d(images, 8)), 1e-4);
  EXPECT_LT(
      Difference(sums.squares,
                 64.0 * torch::avg_pool2d(images.square().sum(1, true), 8)),
      1e-3);
}

TEST(Fused, ShiftAndScaleAreInterpolated) {
  torch::manual_seed(0);
  const Tensor images = ChannelsLast(torch::randn({2, 3, 24, 40}));
  const Tensor shift = torch::randn({2, 3, 3, 5});
  const Tensor scale = torch::rand({2, 1, 3, 5});
  const Tensor expected = (images - Upsampled(shift, 8)) * Upsampled(scale, 8);
  const Tensor single = ShiftAndScale(images, shift, scale, 8, torch::kFloat32);
  EXPECT_TRUE(CanFuse(single));
  EXPECT_LT(Difference(single, expected), 1e-5);
  const Tensor half = ShiftAndScale(images, shift, scale, 8, torch::kBFloat16);
  EXPECT_EQ(half.scalar_type(), torch::kBFloat16);
  EXPECT_EQ(Difference(half, single.to(torch::kBFloat16)), 0.0);
}

class AddUpsampledTest : public testing::TestWithParam<torch::Dtype> {};

// Sizes of one cell, too, beyond which there is nothing.
TEST_P(AddUpsampledTest, IsWhatLibTorchMakes) {
  torch::manual_seed(0);
  for (const int64_t height : {1, 2, 7}) {
    for (const int64_t channels : {1, 20, 32}) {
      const Tensor x =
          ChannelsLast(torch::randn({2, channels, height, 5}).to(GetParam()));
      Tensor sum = ChannelsLast(
          torch::randn({2, channels, 2 * height, 10}).to(GetParam()));
      const Tensor expected =
          (Upsampled(x.to(torch::kFloat32), 2) + sum.to(torch::kFloat32))
              .relu();
      AddUpsampledAndRectify(x, &sum);
      // The interpolation in between is in single precision.
      EXPECT_LT(Difference(sum, expected.to(GetParam())),
                GetParam() == torch::kFloat32 ? 1e-5 : 0.02);
      EXPECT_EQ(sum.scalar_type(), GetParam());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All,
                         AddUpsampledTest,
                         testing::Values(torch::kFloat32, torch::kBFloat16));

TEST(Fused, OnlyWhatItCan) {
  EXPECT_TRUE(CanFuse(ChannelsLast(torch::zeros({1, 8, 4, 4}))));
  EXPECT_FALSE(CanFuse(torch::zeros({1, 8, 4, 4})));
  EXPECT_FALSE(
      CanFuse(ChannelsLast(torch::zeros({1, 8, 4, 4}, torch::kFloat64))));
  EXPECT_FALSE(
      CanFuse(ChannelsLast(torch::zeros({1, 8, 4, 4})).requires_grad_()));
}

}  // namespace
}  // namespace nre
