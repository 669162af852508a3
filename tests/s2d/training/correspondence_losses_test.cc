#include "s2d/training/correspondence_losses.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "s2d/coarse_maps.h"
#include "s2d/training/map_sampling.h"
#include "tests/s2d/training/gradient_check.h"
#include "tests/testing/synthetic_features.h"

namespace nre {
namespace {

using torch::Tensor;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A map of 2 x 2 cells with C = 0.1, 0.2, 0.3, 0.4.
const std::vector<double> kLogits = {
    0.0, std::log(2.0), std::log(3.0), std::log(4.0)};

CorrespondenceLossOptions Options(double softmax_scale,
                                  int64_t max_tile_cells = 1 << 20) {
  CorrespondenceLossOptions options;
  options.softmax_scale = softmax_scale;
  options.max_tile_cells = max_tile_cells;
  return options;
}

double LossAt(double x, double y, bool truncated) {
  const auto loss = truncated ? TruncatedNreLoss : NreLoss;
  return loss(Doubles({0.5}, {1, 1, 1}),
              Doubles(kLogits, {1, 1, 2, 2}),
              Doubles({x, y}, {1, 1, 2}),
              Options(2.0))
      .item<double>();
}

TEST(NreLoss, IsThatOfHandComputedCases) {
  const double loss[] = {
      -std::log(0.1), -std::log(0.2), -std::log(0.3), -std::log(0.4)};
  const double out = std::log(5.0);
  EXPECT_NEAR(LossAt(0, 1, false), loss[2], 1e-12);
  EXPECT_NEAR(
      LossAt(0.25, 0.5, false),
      0.375 * loss[0] + 0.125 * loss[1] + 0.375 * loss[2] + 0.125 * loss[3],
      1e-12);
  // Neighbours that are missing at the border are `out`.
  EXPECT_NEAR(LossAt(-0.5, 0, false), 0.5 * loss[0] + 0.5 * out, 1e-12);
  EXPECT_NEAR(LossAt(1.5, 1.75, false), 0.125 * loss[3] + 0.875 * out, 1e-12);
  // Of the four cells, only that with 0.1 costs more than `out`.
  EXPECT_NEAR(LossAt(0.25, 0.5, true),
              0.375 * out + 0.125 * loss[1] + 0.375 * loss[2] + 0.125 * loss[3],
              1e-12);
}

// The estimator's fine maps are mixed in the same way.
TEST(NreLoss, MayBeOfPointsThatAreWrongTooOften) {
  CorrespondenceLossOptions options = Options(2.0);
  options.wrong_share = 0.75;
  const auto loss = [&](double x, double y) {
    return NreLoss(Doubles({0.5}, {1, 1, 1}),
                   Doubles(kLogits, {1, 1, 2, 2}),
                   Doubles({x, y}, {1, 1, 2}),
                   options)
        .item<double>();
  };
  const auto mixed = [](double c) { return -std::log(0.25 * c + 0.75 / 5.0); };
  EXPECT_NEAR(loss(0, 1), mixed(0.3), 1e-12);
  EXPECT_NEAR(loss(0.5, 1), 0.5 * mixed(0.3) + 0.5 * mixed(0.4), 1e-12);
  EXPECT_NEAR(loss(-0.5, 0), 0.5 * mixed(0.1) + 0.5 * std::log(5.0), 1e-12);
  EXPECT_DOUBLE_EQ(loss(kNan, 0), std::log(5.0));
  options.wrong_share = 1.0;
  EXPECT_THROW(loss(0, 0), c10::Error);
}

TEST(NreLoss, CostsLogCategoriesOutside) {
  for (const double x : {-1.0, 2.0, -7.5, 1e30, kNan, kInfinity, -kInfinity}) {
    for (const bool truncated : {false, true}) {
      EXPECT_DOUBLE_EQ(LossAt(x, 0.5, truncated), std::log(5.0)) << x;
      EXPECT_DOUBLE_EQ(LossAt(0.5, x, truncated), std::log(5.0)) << x;
    }
  }
}

TEST(NreLoss, OfAUniformMapIsLogCells) {
  const Tensor loss =
      NreLoss(torch::ones({1, 2, 3}),
              torch::ones({1, 3, 7, 9}),
              torch::tensor({3.3f, 2.2f, 20.0f, 1.0f}).view({1, 2, 2}),
              Options(10.0));
  EXPECT_NEAR(loss[0][0].item<float>(), std::log(63.0), 1e-5);
  EXPECT_NEAR(loss[0][1].item<float>(), std::log(64.0), 1e-5);
}

// Two images; inside, on a cell, at the border, outside.
Tensor Positions() {
  return Doubles({1.3,
                  2.6,
                  3.0,
                  1.0,
                  -0.4,
                  3.3,
                  8.0,
                  kNan,
                  0.0,
                  0.0,
                  4.2,
                  0.7,
                  2.5,
                  3.0,
                  1.1,
                  9.0},
                 {2, 4, 2});
}

TEST(NreLoss, HasTheGradientOfFiniteDifferences) {
  torch::manual_seed(1);
  const Tensor weights = RandomDoubles({2, 4});
  for (const auto loss : {NreLoss, TruncatedNreLoss}) {
    // In one tile and in several.
    for (const int64_t max_tile_cells : {1 << 20, 120}) {
      for (const double wrong_share : {0.0, 0.9}) {
        CorrespondenceLossOptions options = Options(2.0, max_tile_cells);
        options.wrong_share = wrong_share;
        ExpectGradients(
            [&](const std::vector<Tensor>& inputs) {
              return (weights *
                      loss(inputs[0], inputs[1], Positions(), options))
                  .sum();
            },
            {RandomDoubles({2, 4, 3}), RandomDoubles({2, 3, 4, 5})});
      }
    }
  }
}

TEST(NreLoss, DoesNotDependOnTiles) {
  torch::manual_seed(2);
  const Tensor descriptors = RandomDoubles({2, 4, 3}).requires_grad_();
  const Tensor features = RandomDoubles({2, 3, 4, 5}).requires_grad_();
  const auto gradients = [&](int64_t max_tile_cells, Tensor* losses) {
    *losses = NreLoss(
        descriptors, features, Positions(), Options(3.0, max_tile_cells));
    return torch::autograd::grad({losses->square().sum()},
                                 {descriptors, features});
  };
  Tensor expected, losses;
  const auto expected_gradients = gradients(1 << 20, &expected);
  for (const int64_t max_tile_cells : {1, 80, 120}) {
    const auto actual = gradients(max_tile_cells, &losses);
    EXPECT_TRUE(losses.allclose(expected, 1e-12, 1e-12));
    for (size_t i = 0; i < actual.size(); ++i) {
      EXPECT_TRUE(actual[i].allclose(expected_gradients[i], 1e-12, 1e-12));
    }
  }
}

TEST(NreLoss, HasNoGradientOutside) {
  torch::manual_seed(3);
  const Tensor descriptors = torch::randn({1, 2, 4}).requires_grad_();
  const Tensor features = torch::randn({1, 4, 3, 3}).requires_grad_();
  const Tensor positions = torch::tensor({9.0f, 0.0f, 0.0f, NAN});
  NreLoss(descriptors, features, positions.view({1, 2, 2}), Options(5.0))
      .sum()
      .backward();
  EXPECT_EQ(descriptors.grad().abs().max().item<float>(), 0.0f);
  EXPECT_EQ(features.grad().abs().max().item<float>(), 0.0f);
}

TEST(NreLoss, IsFiniteForExtremeLogitsAndHalfPrecision) {
  torch::manual_seed(4);
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const Tensor descriptors =
        torch::randn({1, 3, 4}).to(type).requires_grad_();
    const Tensor features =
        torch::randn({1, 4, 3, 3}).to(type).requires_grad_();
    const Tensor positions = 2.0 * torch::rand({1, 3, 2}, torch::kFloat64);
    const Tensor losses =
        NreLoss(descriptors, features, positions, Options(1e4));
    EXPECT_EQ(losses.scalar_type(), torch::kFloat32);
    EXPECT_TRUE(losses.isfinite().all().item<bool>());
    losses.sum().backward();
    EXPECT_TRUE(descriptors.grad().isfinite().all().item<bool>());
    EXPECT_TRUE(features.grad().isfinite().all().item<bool>());
  }
}

// What the estimator computes from the same features.
TEST(TruncatedNreLoss, IsThatOfTheLossMaps) {
  constexpr int kNumPoints = 50;
  constexpr int kChannels = 16;
  constexpr int kHeight = 5;
  constexpr int kWidth = 7;
  constexpr float kScale = 12.0f;
  Random random(5);
  const FeatureMap map =
      RandomFeatures(kWidth, kHeight, kChannels, MapFromImage(), &random);
  // Points around the cells that their descriptors are from, and around the
  // border.
  torch::manual_seed(5);
  Tensor positions = 2.4 * torch::rand({1, kNumPoints, 2}, torch::kFloat64);
  std::vector<float> descriptors;
  for (int i = 0; i < kNumPoints; ++i) {
    const int x = i % kWidth;
    const int y = i % kHeight;
    const float* cell = map.Descriptor(x, y);
    descriptors.insert(descriptors.end(), cell, cell + kChannels);
    positions[0][i] += Doubles({x - 1.2, y - 1.2}, {2});
  }
  const CoarseMaps maps =
      ComputeCoarseMaps(descriptors, FusedDescriptors(), map, kScale);

  const Tensor features =
      torch::tensor(map.data).view({1, kHeight, kWidth, kChannels});
  const Tensor losses = TruncatedNreLoss(
      torch::tensor(descriptors).view({1, kNumPoints, kChannels}),
      features.permute({0, 3, 1, 2}),
      positions,
      Options(kScale));
  const double log_categories = maps.maps.geometry().LogCategories();
  int num_informative = 0;
  for (int i = 0; i < kNumPoints; ++i) {
    const double weight = maps.maps.Weight(
        i,
        {positions[0][i][0].item<double>(), positions[0][i][1].item<double>()});
    EXPECT_NEAR(losses[0][i].item<double>(), log_categories - weight, 1e-4);
    num_informative += weight > 0.1;
  }
  EXPECT_GT(num_informative, kNumPoints / 2);
  EXPECT_LT(num_informative, kNumPoints);
}

TEST(CrossEntropyLoss, IsThatOfHandComputedCases) {
  const Tensor positions =
      Doubles({0, 0, 0.6, 0.3, 0.4, 1.0, 1.1, 0.0, kNan, 0.0}, {1, 5, 2});
  const Tensor losses =
      CrossEntropyLoss({torch::ones({1, 5, 1}, torch::kFloat64)},
                       {Doubles(kLogits, {1, 1, 2, 2})},
                       positions,
                       Options(1.0));
  const double expected[] = {
      -std::log(0.1), -std::log(0.2), -std::log(0.3), 0.0, 0.0};
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(losses[0][i].item<double>(), expected[i], 1e-12);
  }
}

// Levels of 4 x 6, 2 x 3 and 1 x 1 cells.
struct Levels {
  std::vector<Tensor> descriptors;
  std::vector<Tensor> features;
};

Levels RandomLevels() {
  return {{RandomDoubles({2, 4, 3}),
           RandomDoubles({2, 4, 2}),
           RandomDoubles({2, 4, 3})},
          {RandomDoubles({2, 3, 4, 6}),
           RandomDoubles({2, 2, 2, 3}),
           RandomDoubles({2, 3, 1, 1})}};
}

TEST(CrossEntropyLoss, AddsLevelsWhereTheirCellsLie) {
  torch::manual_seed(6);
  const Levels levels = RandomLevels();
  const Tensor losses = CrossEntropyLoss(
      levels.descriptors, levels.features, Positions(), Options(0.7));

  // Every cell of the first level is looked up in the others.
  Tensor logits = torch::zeros({2, 4, 24}, torch::kFloat64);
  for (size_t m = 0; m < levels.features.size(); ++m) {
    const Tensor& features = levels.features[m];
    Tensor centers = torch::empty({2, 24, 2}, torch::kFloat64);
    for (int64_t cell = 0; cell < 24; ++cell) {
      const double x = cell % 6;
      const double y = cell / 6;
      centers.select(1, cell).select(1, 0).fill_(
          (x + 0.5) * features.size(3) / 6.0 - 0.5);
      centers.select(1, cell).select(1, 1).fill_(
          (y + 0.5) * features.size(2) / 4.0 - 0.5);
    }
    logits += 0.7 * levels.descriptors[m].matmul(
                        SampleFeatures(features, centers).transpose(1, 2));
  }
  const Tensor expected = -logits.log_softmax(2);
  const Tensor positions = Positions();
  const Tensor inside = IsInside(positions, 4, 6);
  int num_inside = 0;
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t i = 0; i < 4; ++i) {
      if (!inside[b][i].item<bool>()) {
        EXPECT_EQ(losses[b][i].item<double>(), 0.0);
        continue;
      }
      ++num_inside;
      const auto x = std::lrint(positions[b][i][0].item<double>());
      const auto y = std::lrint(positions[b][i][1].item<double>());
      EXPECT_NEAR(losses[b][i].item<double>(),
                  expected[b][i][y * 6 + x].item<double>(),
                  1e-12);
    }
  }
  EXPECT_EQ(num_inside, 5);
}

TEST(CrossEntropyLoss, HasTheGradientOfFiniteDifferences) {
  torch::manual_seed(7);
  const Levels levels = RandomLevels();
  const Tensor weights = RandomDoubles({2, 4});
  std::vector<Tensor> inputs = levels.descriptors;
  inputs.insert(inputs.end(), levels.features.begin(), levels.features.end());
  for (const int64_t max_tile_cells : {1 << 20, 150}) {
    ExpectGradients(
        [&](const std::vector<Tensor>& t) {
          return (weights * CrossEntropyLoss({t[0], t[1], t[2]},
                                             {t[3], t[4], t[5]},
                                             Positions(),
                                             Options(0.7, max_tile_cells)))
              .sum();
        },
        inputs);
  }
}

// Against all cells' weights, as NreLoss() has four of.
TEST(MapCrossEntropyLoss, IsThatOfTheDefinition) {
  const auto loss = [](const std::vector<double>& target) {
    return MapCrossEntropyLoss(Doubles({0.5}, {1, 1, 1}),
                               Doubles(kLogits, {1, 1, 2, 2}),
                               Doubles(target, {1, 1, 4}),
                               Options(2.0))
        .item<double>();
  };
  EXPECT_NEAR(loss({0, 0, 1, 0}), -std::log(0.3), 1e-12);
  EXPECT_NEAR(loss({0.5, 0, 0, 0.5}),
              -0.5 * std::log(0.1) - 0.5 * std::log(0.4),
              1e-12);
  EXPECT_EQ(loss({0, 0, 0, 0}), 0.0);
  // The least of all targets' is where the maps are the same: the entropy.
  double entropy = 0.0;
  for (const double c : {0.1, 0.2, 0.3, 0.4}) entropy -= c * std::log(c);
  EXPECT_NEAR(loss({0.1, 0.2, 0.3, 0.4}), entropy, 1e-12);
}

TEST(MapCrossEntropyLoss, HasTheGradientOfFiniteDifferences) {
  torch::manual_seed(8);
  const Tensor weights = RandomDoubles({2, 4});
  const Tensor targets = RandomDoubles({2, 4, 20}).softmax(2);
  // In one tile and in several.
  std::vector<double> values;
  for (const int64_t max_tile_cells : {1 << 20, 120}) {
    const auto loss = [&](const std::vector<Tensor>& inputs) {
      return (weights *
              MapCrossEntropyLoss(
                  inputs[0], inputs[1], targets, Options(2.0, max_tile_cells)))
          .sum();
    };
    torch::manual_seed(9);
    const std::vector<Tensor> inputs = {RandomDoubles({2, 4, 3}),
                                        RandomDoubles({2, 3, 4, 5})};
    values.push_back(loss(inputs).item<double>());
    ExpectGradients(loss, inputs);
  }
  EXPECT_NEAR(values[0], values[1], 1e-12);
}

}  // namespace
}  // namespace nre
