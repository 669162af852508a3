#include "s2d/training/map_sampling.h"

#include <limits>

#include <gtest/gtest.h>

#include "tests/s2d/training/gradient_check.h"

namespace nre {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(FindBilinearCells, WeightsCellsThatExist) {
  const BilinearCells cells = FindBilinearCells(
      Doubles({0.25, 1.5, -0.5, 0.0, 2.0, 2.75}, {1, 3, 2}), 3, 3);
  const std::vector<std::vector<double>> expected = {
      {0.375, 0.125, 0.375, 0.125},
      {0.0, 0.5, 0.0, 0.0},
      {0.25, 0.0, 0.0, 0.0}};
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t k = 0; k < 4; ++k) {
      EXPECT_DOUBLE_EQ(cells.weights[0][i][k].item<double>(), expected[i][k]);
    }
  }
  EXPECT_TRUE(cells.indices[0][0].equal(torch::tensor({3L, 4L, 6L, 7L})));
  EXPECT_EQ(cells.indices[0][1][1].item<int64_t>(), 0);
  EXPECT_EQ(cells.indices[0][2][0].item<int64_t>(), 8);
}

TEST(FindBilinearCells, HasNoWeightsFarAway) {
  for (const double x : {-1.0, 3.0, 1e30, -1e30, kNan, kInfinity, -kInfinity}) {
    const BilinearCells cells =
        FindBilinearCells(Doubles({x, 1.0, 1.0, x}, {1, 2, 2}), 3, 3);
    EXPECT_EQ(cells.weights.abs().sum().item<double>(), 0.0) << x;
    EXPECT_GE(cells.indices.min().item<int64_t>(), 0);
    EXPECT_LT(cells.indices.max().item<int64_t>(), 9);
  }
}

TEST(IsInside, LiesBetweenTheCellsCentres) {
  const torch::Tensor inside = IsInside(
      Doubles({0, 0, 3, 1, 3.01, 1, -0.01, 1, 1, 1.01, kNan, 0}, {1, 6, 2}),
      2,
      4);
  EXPECT_TRUE(inside.equal(
      torch::tensor({true, true, false, false, false, false}).unsqueeze(0)));
}

TEST(SampleFeatures, InterpolatesAndClamps) {
  // F(x, y) = (x, 10 y) on 3 rows of 4, and twice that.
  const torch::Tensor y = torch::arange(3, torch::kFloat64).view({3, 1});
  const torch::Tensor x = torch::arange(4, torch::kFloat64).view({1, 4});
  const torch::Tensor one =
      torch::stack({x.expand({3, 4}), 10.0 * y.expand({3, 4})});
  const torch::Tensor positions =
      Doubles({1.25, 0.5, 3.0, 2.0, -5.0, 1.75, 9.0, kInfinity}, {1, 4, 2});
  const torch::Tensor sampled = SampleFeatures(torch::stack({one, 2.0 * one}),
                                               positions.expand({2, -1, -1}));
  const torch::Tensor expected =
      Doubles({1.25, 5.0, 3.0, 20.0, 0.0, 17.5, 3.0, 20.0}, {4, 2});
  EXPECT_TRUE(sampled.allclose(torch::stack({expected, 2.0 * expected})));
}

TEST(SampleFeatures, HasTheGradientOfFiniteDifferences) {
  torch::manual_seed(0);
  const torch::Tensor positions =
      Doubles({0.3, 0.9, 2.0, 1.0, 1.7, 0.2, -3.0, 8.0}, {2, 2, 2});
  const torch::Tensor weights = RandomDoubles({2, 2, 3});
  ExpectGradients(
      [&](const std::vector<torch::Tensor>& inputs) {
        return (weights * SampleFeatures(inputs[0], positions)).sum();
      },
      {RandomDoubles({2, 3, 2, 3})});
}

TEST(MaskedMean, IsZeroWithoutAnything) {
  torch::Tensor losses =
      Doubles({1.0, 2.0, 6.0, kNan}, {2, 2}).requires_grad_();
  const torch::Tensor mask = torch::tensor({true, false, true, false});
  const torch::Tensor mean = MaskedMean(losses, mask.view({2, 2}));
  EXPECT_DOUBLE_EQ(mean.item<double>(), 3.5);
  const torch::Tensor nothing =
      MaskedMean(losses, torch::zeros({2, 2}, torch::kBool));
  EXPECT_EQ(nothing.item<double>(), 0.0);
  nothing.backward();
  EXPECT_EQ(losses.grad().abs().sum().item<double>(), 0.0);
}

}  // namespace
}  // namespace nre
