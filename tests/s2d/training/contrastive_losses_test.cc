#include "s2d/training/contrastive_losses.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "s2d/training/map_sampling.h"
#include "tests/s2d/training/gradient_check.h"

namespace nre {
namespace {

using torch::Tensor;

TEST(DescriptorDistances, HaveNoGradientBetweenEqualDescriptors) {
  const Tensor a = Doubles({1, 2, 4, 6}, {2, 2}).requires_grad_();
  const Tensor b = Doubles({1, 2, 1, 2}, {2, 2}).requires_grad_();
  const Tensor distances = DescriptorDistances(a, b);
  EXPECT_TRUE(distances.equal(Doubles({0, 5}, {2})));
  distances.sum().backward();
  EXPECT_TRUE(a.grad().allclose(Doubles({0, 0, 0.6, 0.8}, {2, 2})));
  EXPECT_TRUE(b.grad().allclose(Doubles({0, 0, -0.6, -0.8}, {2, 2})));
}

TEST(DoubleMarginLoss, IsThatOfHandComputedCases) {
  const Tensor distances = Doubles({0.0, 0.1, 0.4, 1.0, 3.0}, {5});
  EXPECT_TRUE(PositiveLoss(distances, 0.1)
                  .allclose(Doubles({0, 0, 0.09, 0.81, 8.41}, {5})));
  EXPECT_TRUE(NegativeLoss(distances, 1.0)
                  .allclose(Doubles({1, 0.81, 0.36, 0, 0}, {5})));
}

TEST(DoubleMarginLoss, HasTheGradientOfFiniteDifferences) {
  torch::manual_seed(1);
  // Of both margins some distances are smaller and some larger.
  ExpectGradients(
      [&](const std::vector<Tensor>& inputs) {
        const Tensor distances = DescriptorDistances(inputs[0], inputs[1]);
        return PositiveLoss(distances, 1.5).sum() +
               NegativeLoss(distances, 2.5).sum();
      },
      {RandomDoubles({2, 6, 3}), RandomDoubles({2, 6, 3})});
}

TEST(DoubleMarginLoss, IsFiniteForEqualDescriptors) {
  Tensor a = torch::ones({1, 3, 4}).requires_grad_();
  const Tensor distances = DescriptorDistances(a, torch::ones({1, 3, 4}));
  (PositiveLoss(distances, 0.1) + NegativeLoss(distances, 1.0))
      .sum()
      .backward();
  EXPECT_EQ(a.grad().abs().max().item<float>(), 0.0f);
}

// Candidates and their squared distances to an anchor, closest first.
std::vector<std::pair<double, int64_t>> SortedCandidates(
    const Tensor& anchor, const Tensor& candidates, const Tensor& allowed) {
  std::vector<std::pair<double, int64_t>> sorted;
  for (int64_t i = 0; i < candidates.size(0); ++i) {
    if (allowed[i].item<bool>()) {
      sorted.emplace_back(
          (candidates[i] - anchor).square().sum().item<double>(), i);
    }
  }
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

TEST(ClosestCandidates, AreThoseOfBruteForce) {
  torch::manual_seed(2);
  const Tensor anchors = RandomDoubles({2, 5, 4});
  const Tensor candidates = RandomDoubles({2, 9, 4});
  Tensor allowed = torch::rand({2, 5, 9}) < 0.5;
  allowed[0][0].fill_(false);
  allowed[0][1].fill_(true);
  allowed[1][0].fill_(false);
  allowed[1][0][7] = true;
  const Tensor closest = ClosestCandidates(anchors, candidates, allowed, 4);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t i = 0; i < 5; ++i) {
      const auto expected =
          SortedCandidates(anchors[b][i], candidates[b], allowed[b][i]);
      for (size_t k = 0; k < 4; ++k) {
        EXPECT_EQ(closest[b][i][k].item<int64_t>(),
                  k < expected.size() ? expected[k].second : -1);
      }
    }
  }
  EXPECT_EQ(ClosestCandidates(anchors, candidates, allowed, 99).size(2), 9);
}

TEST(NegativePoolSize, ShrinksToFive) {
  EXPECT_EQ(NegativePoolSize(0), 300);
  EXPECT_EQ(NegativePoolSize(10000), 164);  // 300 exp(-0.6)
  EXPECT_EQ(NegativePoolSize(68000), 5);
  EXPECT_EQ(NegativePoolSize(1000000000), 5);
}

class MineNegativesTest : public testing::Test {
 protected:
  MineNegativesTest() {
    torch::manual_seed(3);
    descriptors_ = RandomDoubles({2, kNumPoints, 4});
    features_ = RandomDoubles({2, 4, kHeight, kWidth});
    positions_ = torch::rand({2, kNumPoints, 2}, torch::kFloat64) *
                 Doubles({kWidth - 1.0, kHeight - 1.0}, {2});
  }

  MinedNegatives Mine(int64_t pool_size,
                      uint64_t seed,
                      int64_t max_tile_cells = 1 << 20) const {
    NegativeMiningOptions options;
    options.min_distance = min_distance_ / kHeight;
    options.max_tile_cells = max_tile_cells;
    return MineNegatives(descriptors_,
                         features_,
                         positions_,
                         pool_size,
                         options,
                         at::detail::createCPUGenerator(seed));
  }

  // The pool that a point's negative is drawn from.
  std::set<int64_t> Pool(int64_t b, int64_t i, size_t pool_size) const {
    Tensor allowed = torch::zeros({kHeight * kWidth}, torch::kBool);
    for (int64_t cell = 0; cell < kHeight * kWidth; ++cell) {
      const double dx = cell % kWidth - positions_[b][i][0].item<double>();
      const double dy = cell / kWidth - positions_[b][i][1].item<double>();
      allowed[cell] = std::hypot(dx, dy) > min_distance_;
    }
    std::set<int64_t> pool;
    for (const auto& [distance, cell] : SortedCandidates(
             descriptors_[b][i], features_[b].flatten(1).t(), allowed)) {
      if (pool.size() < pool_size) pool.insert(cell);
    }
    return pool;
  }

  static constexpr int64_t kNumPoints = 7;
  static constexpr int64_t kHeight = 6;
  static constexpr int64_t kWidth = 8;
  double min_distance_ = 2.5;  // cells
  Tensor descriptors_;
  Tensor features_;
  Tensor positions_;
};

TEST_F(MineNegativesTest, DrawsFromTheHardestFarAway) {
  constexpr int kPoolSize = 3;
  std::vector<std::set<int64_t>> drawn(2 * kNumPoints);
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const MinedNegatives mined = Mine(kPoolSize, seed);
    EXPECT_TRUE(mined.valid.all().item<bool>());
    for (int64_t i = 0; i < 2 * kNumPoints; ++i) {
      drawn[i].insert(mined.cells.flatten()[i].item<int64_t>());
    }
  }
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t i = 0; i < kNumPoints; ++i) {
      EXPECT_EQ(drawn[b * kNumPoints + i], Pool(b, i, kPoolSize));
    }
  }
}

TEST_F(MineNegativesTest, DependsOnTheSeedOnly) {
  const MinedNegatives expected = Mine(20, 1);
  for (const int64_t max_tile_cells : {1, 200, 1 << 20}) {
    EXPECT_TRUE(Mine(20, 1, max_tile_cells).cells.equal(expected.cells));
  }
  EXPECT_FALSE(Mine(20, 2).cells.equal(expected.cells));
}

TEST_F(MineNegativesTest, FindsTheOnlyNegative) {
  positions_.zero_();
  min_distance_ = 8.5;  // of the corner opposite: 8.602
  const MinedNegatives mined = Mine(5, 1);
  EXPECT_TRUE(mined.valid.all().item<bool>());
  EXPECT_TRUE((mined.cells == kHeight * kWidth - 1).all().item<bool>());
}

TEST_F(MineNegativesTest, SaysWhereThereIsNone) {
  min_distance_ = 20.0;
  const MinedNegatives mined = Mine(5, 1);
  EXPECT_FALSE(mined.valid.any().item<bool>());
  features_.requires_grad_();
  const Tensor negatives = GatherCells(features_, mined.cells);
  const Tensor loss = MaskedMean(
      NegativeLoss(DescriptorDistances(descriptors_, negatives), 9.0),
      mined.valid);
  EXPECT_EQ(loss.item<double>(), 0.0);
  loss.backward();
  EXPECT_EQ(features_.grad().abs().max().item<double>(), 0.0);
}

// A query at the origin, others at given squared distances from it.
Tensor At(const std::vector<double>& squared_distances) {
  Tensor points = torch::zeros(
      {1, static_cast<int64_t>(squared_distances.size()), 3}, torch::kFloat64);
  for (size_t i = 0; i < squared_distances.size(); ++i) {
    points[0][i][i % 3] = std::sqrt(squared_distances[i]);
  }
  return points;
}

Tensor Mask(const std::vector<int64_t>& values) {
  return torch::tensor(values).to(torch::kBool).unsqueeze(0);
}

TEST(RankingLoss, IsThatOfHandComputedCases) {
  const Tensor query = torch::zeros({1, 3}, torch::kFloat64);
  const Tensor positives = At({0.5, 0.2, 0.1});
  const Tensor negatives = At({0.25, 0.05, 0.29, 0.31, 0.0});
  const auto loss = [&](const Tensor& positive_mask,
                        const Tensor& negative_mask) {
    return RankingLoss(
               query, positives, positive_mask, negatives, negative_mask, 0.1)
        .item<double>();
  };
  // Best positive: 0.2; the third is not there.
  EXPECT_NEAR(loss(Mask({1, 1, 0}), Mask({1, 1, 1, 1, 0})),
              0.05 + 0.25 + 0.01 + 0.0,
              1e-12);
  EXPECT_NEAR(loss(Mask({1, 0, 0}), Mask({0, 0, 0, 1, 0})), 0.29, 1e-12);
  EXPECT_EQ(loss(Mask({1, 1, 1}), Mask({0, 0, 0, 0, 0})), 0.0);
  EXPECT_EQ(loss(Mask({0, 0, 0}), Mask({1, 1, 1, 1, 1})), 0.0);
}

TEST(RankingLoss, HasTheGradientOfFiniteDifferences) {
  torch::manual_seed(4);
  Tensor positive_mask = torch::rand({4, 3}) < 0.7;
  Tensor negative_mask = torch::rand({4, 5}) < 0.7;
  positive_mask[0].fill_(false);  // zero gradients, not NaN
  positive_mask[1].fill_(true);
  negative_mask[2].fill_(false);
  const Tensor weights = RandomDoubles({4});
  ExpectGradients(
      [&](const std::vector<Tensor>& inputs) {
        return (weights * RankingLoss(inputs[0],
                                      inputs[1],
                                      positive_mask,
                                      inputs[2],
                                      negative_mask,
                                      1.0))
            .sum();
      },
      {RandomDoubles({4, 3}),
       RandomDoubles({4, 3, 3}),
       RandomDoubles({4, 5, 3})});
}

}  // namespace
}  // namespace nre
