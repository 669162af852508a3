#include "s2d/training/textures.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace nre {
namespace {

using torch::Tensor;

Tensor Procedural(int64_t num, int64_t size, uint64_t seed) {
  return ProceduralTextures(num, size, at::detail::createCPUGenerator(seed));
}

Tensor Cut(const std::vector<Tensor>& photos, int64_t num, int64_t size) {
  return CutTextures(photos, num, size, at::detail::createCPUGenerator(7));
}

void ExpectImages(const Tensor& images, int64_t num, int64_t size) {
  EXPECT_EQ(images.sizes(), at::IntArrayRef({num, 3, size, size}));
  EXPECT_TRUE(images.ge(0.0).logical_and(images.le(1.0)).all().item<bool>());
}

// Of each texture, [num]: the mean over channels of the standard deviation.
Tensor Contrasts(const Tensor& textures) {
  return textures.flatten(2).std(2).mean(1);
}

TEST(ProceduralTextures, AreImagesOfAnySize) {
  for (const int64_t size : {8, 33, 64}) {
    ExpectImages(Procedural(20, size, 1), 20, size);
  }
  ExpectImages(Procedural(0, 16, 1), 0, 16);
  EXPECT_THROW(Procedural(1, 7, 1), c10::Error);
  EXPECT_THROW(Procedural(-1, 64, 1), c10::Error);
}

TEST(ProceduralTextures, DependOnTheGeneratorOnly) {
  const Tensor textures = Procedural(12, 64, 1);
  const int num_threads = at::get_num_threads();
  for (const int num : {1, 2, 5}) {
    at::set_num_threads(num);
    EXPECT_TRUE(textures.equal(Procedural(12, 64, 1))) << num;
  }
  at::set_num_threads(num_threads);
  at::Generator generator = at::detail::createCPUGenerator(1);
  EXPECT_TRUE(textures.equal(ProceduralTextures(12, 64, generator)));
  // The generator went on.
  EXPECT_FALSE(textures.equal(ProceduralTextures(12, 64, generator)));
}

TEST(ProceduralTextures, AreRichOrPlain) {
  const Tensor textures = Procedural(120, 64, 3);
  const Tensor contrasts = Contrasts(textures);
  const double rich =
      contrasts.gt(0.08).to(torch::kFloat64).mean().item<double>();
  const double plain =
      contrasts.lt(0.03).to(torch::kFloat64).mean().item<double>();
  EXPECT_GT(rich, 0.5);
  EXPECT_GT(plain, 0.05);
  EXPECT_LT(plain, 0.3);
  EXPECT_GT(contrasts.min().item<double>(), 0.0);
}

TEST(ProceduralTextures, VaryAtSeveralScales) {
  // What a mean over 4 x 4 pixels removes, and what remains, against all.
  const Tensor textures = Procedural(60, 128, 4);
  const Tensor coarse = at::avg_pool2d(textures, 4);
  const Tensor all = textures.var({0, 2, 3}).mean();
  const double fine_share =
      ((textures - coarse.repeat_interleave(4, 2).repeat_interleave(4, 3))
           .square()
           .mean() /
       all)
          .item<double>();
  EXPECT_GT(fine_share, 0.05);
  EXPECT_LT(fine_share, 0.6);
}

TEST(ProceduralTextures, DoNotRepeat) {
  // No two textures are alike, and none equals itself moved by some pixels.
  const Tensor textures = Procedural(40, 64, 5);
  const Tensor flat = textures.flatten(1);
  const Tensor distances =
      torch::cdist(flat, flat) + 9.0 * torch::eye(flat.size(0));
  EXPECT_GT(distances.min().item<double>(), 1.0);
  for (int64_t shift = 4; shift <= 32; ++shift) {
    for (const int64_t axis : {2, 3}) {
      const Tensor a = textures.narrow(axis, shift, 64 - shift);
      const Tensor b = textures.narrow(axis, 0, 64 - shift);
      const Tensor share =
          (a - b).square().mean({1, 2, 3}) / textures.flatten(2).var(2).mean(1);
      // Bars and gradients vary in one direction only.
      EXPECT_GT(share.median().item<double>(), 0.1) << shift;
    }
  }
}

// A photograph of which each pixel tells its row and column.
Tensor PositionPhoto(int64_t height, int64_t width) {
  const Tensor y = torch::arange(height).view({height, 1}).expand({-1, width});
  const Tensor x = torch::arange(width).expand({height, -1});
  return torch::stack({x, y, torch::full({height, width}, 128)}, 2)
      .to(torch::kUInt8);
}

TEST(CutTextures, AreSquaresOfThePhotograph) {
  const Tensor textures = Cut({PositionPhoto(90, 200)}, 50, 32);
  ExpectImages(textures, 50, 32);
  EXPECT_TRUE(textures.select(1, 2).allclose(torch::tensor(128.0f / 255.0f)));
  // Positions are linear along both sides: x along one of them, y along the
  // other, by the same steps, between half a pixel and 90 / 32.
  const Tensor inner =
      textures.narrow(1, 0, 2).narrow(2, 4, 24).narrow(3, 4, 24) * 255.0;
  const Tensor across = inner.diff(1, 3), down = inner.diff(1, 2);
  const Tensor right = across.mean({2, 3}), below = down.mean({2, 3});
  // The filter ripples, and the file rounds.
  constexpr double kRounding = 0.15;
  EXPECT_LT((across - right.view({50, 2, 1, 1})).abs().max().item<double>(),
            kRounding);
  EXPECT_LT((down - below.view({50, 2, 1, 1})).abs().max().item<double>(),
            kRounding);
  const Tensor steps = right.abs().amax(1);
  EXPECT_TRUE(right.abs().amin(1).allclose(torch::zeros(50), 0.0, kRounding));
  EXPECT_TRUE(below.abs().amin(1).allclose(torch::zeros(50), 0.0, kRounding));
  EXPECT_TRUE(below.abs().amax(1).allclose(steps, 0.0, kRounding));
  EXPECT_GE(steps.min().item<double>(), 0.5 - kRounding);
  EXPECT_LT(steps.min().item<double>(), 0.7);
  EXPECT_GT(steps.max().item<double>(), 2.0);
  EXPECT_LE(steps.max().item<double>(), 90.0 / 32.0 + kRounding);
  // All eight ways to turn and mirror.
  const Tensor turned = right.select(1, 0).abs() < 0.1;
  const Tensor x_sign =
      torch::where(turned, below.select(1, 0), right.select(1, 0)) > 0;
  const Tensor y_sign =
      torch::where(turned, right.select(1, 1), below.select(1, 1)) > 0;
  const Tensor way = turned * 4 + x_sign * 2 + y_sign;
  EXPECT_EQ(std::get<0>(at::_unique(way)).numel(), 8);
}

TEST(CutTextures, DependOnTheGeneratorOnly) {
  const std::vector<Tensor> photos = {PositionPhoto(60, 70),
                                      PositionPhoto(30, 20)};
  const Tensor textures = Cut(photos, 10, 24);
  const int num_threads = at::get_num_threads();
  at::set_num_threads(3);
  EXPECT_TRUE(textures.equal(Cut(photos, 10, 24)));
  at::set_num_threads(num_threads);
}

TEST(CutTextures, TakesSmallPhotographsAndRefusesOthers) {
  ExpectImages(Cut({PositionPhoto(3, 1)}, 4, 16), 4, 16);
  EXPECT_THROW(Cut({}, 1, 16), c10::Error);
  EXPECT_THROW(Cut({torch::zeros({4, 4, 3})}, 1, 16), c10::Error);
  EXPECT_THROW(Cut({PositionPhoto(4, 4).permute({2, 0, 1})}, 1, 16),
               c10::Error);
  EXPECT_THROW(Cut({PositionPhoto(0, 4)}, 1, 16), c10::Error);
  EXPECT_THROW(Cut({PositionPhoto(4, 4)}, 1, 0), c10::Error);
}

}  // namespace
}  // namespace nre
