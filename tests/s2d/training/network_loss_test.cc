#include "s2d/training/network_loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/optim/adam.h>

#include "nre/error.h"
#include "s2d/networks/module.h"
#include "s2d/training/training_data.h"

namespace nre {
namespace {

constexpr int kNumPairs = 2;
constexpr int kNumPoints = 6;
constexpr double kImageSize = 32.0;

at::Generator Generator(uint64_t seed) {
  return at::detail::createCPUGenerator(seed);
}

// Points anywhere in the images, some beyond the query's map, two invisible:
// one of them nowhere.
TrainingPairs RandomPairs() {
  torch::manual_seed(3);
  TrainingPairs pairs;
  const auto positions = [] {
    return torch::rand({kNumPairs, kNumPoints, 2}) * kImageSize;
  };
  pairs.reference_positions = positions();
  pairs.query_positions = positions();
  pairs.query_positions[0][0][0] = 0.5;  // beyond the first cells' centres
  pairs.query_positions[1][2][1] = kImageSize;
  pairs.visible = torch::ones({kNumPairs, kNumPoints}, torch::kBool);
  pairs.visible[0][1] = false;
  pairs.visible[1][4] = false;
  pairs.query_positions[0][1] = NAN;
  return pairs;
}

using Vector = std::vector<double>;

double Dot(const Vector& a, const Vector& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

Vector UnitNorm(const Vector& v) {
  Vector result = v;
  for (double& value : result) value /= std::sqrt(Dot(v, v));
  return result;
}

// The features [C, H, W] of one image, by loops.
struct Map {
  Map(const torch::Tensor& features, bool unit_norm)
      : height(features.size(1)), width(features.size(2)) {
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        Vector cell;
        for (int c = 0; c < features.size(0); ++c) {
          cell.push_back(features[c][y][x].item<double>());
        }
        cells.push_back(unit_norm ? UnitNorm(cell) : cell);
      }
    }
  }

  // Interpolated, clamped.
  Vector Sample(double x, double y) const {
    x = std::min(std::max(x, 0.0), width - 1.0);
    y = std::min(std::max(y, 0.0), height - 1.0);
    Vector sum(cells[0].size(), 0.0);
    for (int i = 0; i < height; ++i) {
      for (int j = 0; j < width; ++j) {
        const double weight = std::max(0.0, 1.0 - std::abs(x - j)) *
                              std::max(0.0, 1.0 - std::abs(y - i));
        for (size_t c = 0; c < sum.size(); ++c) {
          sum[c] += weight * cells[i * width + j][c];
        }
      }
    }
    return sum;
  }

  // -ln of the softmax of the correlation map.
  Vector Losses(const Vector& descriptor, double scale) const {
    double sum = 0.0;
    for (const Vector& cell : cells)
      sum += std::exp(scale * Dot(descriptor, cell));
    Vector losses;
    for (const Vector& cell : cells) {
      losses.push_back(std::log(sum) - scale * Dot(descriptor, cell));
    }
    return losses;
  }

  int height;
  int width;
  std::vector<Vector> cells;
};

// Eq. 3 with the category `out`, whose loss takes the rest of the weights.
double InterpolatedLoss(const Map& map,
                        const Vector& losses,
                        double x,
                        double y) {
  double sum = 0.0, rest = 1.0;
  for (int i = 0; i < map.height; ++i) {
    for (int j = 0; j < map.width; ++j) {
      const double weight = std::max(0.0, 1.0 - std::abs(x - j)) *
                            std::max(0.0, 1.0 - std::abs(y - i));
      sum += weight * losses[i * map.width + j];
      rest -= weight;
    }
  }
  return sum + rest * std::log(1.0 + map.height * map.width);
}

struct Position {
  double x, y;
};

Position MapPosition(const NetworkLevel& level,
                     const torch::Tensor& positions,
                     int b,
                     int n) {
  return {
      (positions[b][n][0].item<double>() - level.first_center) / level.stride,
      (positions[b][n][1].item<double>() - level.first_center) / level.stride};
}

// The mean of loss(map, losses, position) over visible points for which it is
// not negative.
template <typename Loss>
double MeanByHand(const NetworkLevel& level,
                  const torch::Tensor& from,
                  const torch::Tensor& to,
                  const torch::Tensor& from_positions,
                  const torch::Tensor& to_positions,
                  const torch::Tensor& visible,
                  double scale,
                  bool unit_norm,
                  const Loss& loss) {
  double sum = 0.0;
  int num = 0;
  for (int b = 0; b < kNumPairs; ++b) {
    const Map from_map(from[b], unit_norm), to_map(to[b], unit_norm);
    for (int n = 0; n < kNumPoints; ++n) {
      if (!visible[b][n].item<bool>()) continue;
      const Position p = MapPosition(level, from_positions, b, n);
      const Position q = MapPosition(level, to_positions, b, n);
      const Vector sample = from_map.Sample(p.x, p.y);
      const Vector losses =
          to_map.Losses(unit_norm ? UnitNorm(sample) : sample, scale);
      const double value = loss(to_map, losses, q);
      if (value < 0.0) continue;
      sum += value;
      ++num;
    }
  }
  return sum / num;
}

// Both directions.
template <typename Loss>
double LossByHand(const NetworkLevel& level,
                  const torch::Tensor& references,
                  const torch::Tensor& queries,
                  const TrainingPairs& pairs,
                  double scale,
                  bool unit_norm,
                  const Loss& loss) {
  return 0.5 * (MeanByHand(level,
                           references,
                           queries,
                           pairs.reference_positions,
                           pairs.query_positions,
                           pairs.visible,
                           scale,
                           unit_norm,
                           loss) +
                MeanByHand(level,
                           queries,
                           references,
                           pairs.query_positions,
                           pairs.reference_positions,
                           pairs.visible,
                           scale,
                           unit_norm,
                           loss));
}

double Loss(const std::vector<NetworkLevel>& levels,
            const LevelFeatures& references,
            const LevelFeatures& queries,
            const TrainingPairs& pairs,
            double scale,
            const NetworkLossOptions& options) {
  return NetworkLoss(levels,
                     references,
                     queries,
                     pairs,
                     torch::full({}, scale),
                     options,
                     /*iteration=*/0,
                     Generator(1))
      .item<double>();
}

TEST(NetworkLossTest, NreIsTheSumOverLevelsOfBothDirectionsMeans) {
  const TrainingPairs pairs = RandomPairs();
  const std::vector<NetworkLevel> levels = {{0, 5, 8.0, 4.0}, {1, 3, 4.0, 0.5}};
  const LevelFeatures references = {torch::randn({kNumPairs, 5, 4, 4}),
                                    torch::randn({kNumPairs, 3, 8, 8})};
  const LevelFeatures queries = {torch::randn({kNumPairs, 5, 4, 4}),
                                 torch::randn({kNumPairs, 3, 8, 8})};
  const auto nre = [](const Map& map, const Vector& losses, Position q) {
    return InterpolatedLoss(map, losses, q.x, q.y);
  };
  NetworkLossOptions options;
  for (const bool unit_norm : {true, false}) {
    options.unit_norm = unit_norm;
    double expected = 0.0;
    for (size_t i = 0; i < levels.size(); ++i) {
      expected += LossByHand(
          levels[i], references[i], queries[i], pairs, 3.0, unit_norm, nre);
    }
    EXPECT_NEAR(
        Loss(levels, references, queries, pairs, 3.0, options), expected, 1e-5);
  }
}

TEST(NetworkLossTest, CrossEntropyIsOfTheNearestCell) {
  const TrainingPairs pairs = RandomPairs();
  const std::vector<NetworkLevel> levels = {{0, 5, 4.0, 2.0}};
  const LevelFeatures references = {torch::randn({kNumPairs, 5, 8, 8})};
  const LevelFeatures queries = {torch::randn({kNumPairs, 5, 8, 8})};
  // Points beyond the cells' centres do not count.
  const auto nearest = [](const Map& map, const Vector& losses, Position q) {
    if (q.x < 0 || q.y < 0 || q.x > map.width - 1 || q.y > map.height - 1) {
      return -1.0;
    }
    return losses[std::lround(q.y) * map.width + std::lround(q.x)];
  };
  NetworkLossOptions options;
  options.kind = LossKind::kCrossEntropy;
  for (const bool unit_norm : {true, false}) {
    options.unit_norm = unit_norm;
    EXPECT_NEAR(Loss(levels, references, queries, pairs, 2.0, options),
                LossByHand(levels[0],
                           references[0],
                           queries[0],
                           pairs,
                           2.0,
                           unit_norm,
                           nearest),
                1e-5);
  }
}

// All of one image's descriptors are e_0, all of the other's e_1: sqrt(2) apart
// when they have unit norm. They do not say where Gauss-Newton is to go.
TEST(NetworkLossTest, ContrastiveHasAClosedFormOnConstantFeatures) {
  const TrainingPairs pairs = RandomPairs();
  const std::vector<NetworkLevel> levels = {{0, 2, 4.0, 2.0}, {1, 2, 2.0, 1.0}};
  LevelFeatures references, queries;
  for (const int64_t size : {8, 16}) {
    references.push_back(torch::zeros({kNumPairs, 2, size, size}));
    references.back().select(1, 0).fill_(7.0);
    queries.push_back(torch::zeros({kNumPairs, 2, size, size}));
    queries.back().select(1, 1).fill_(0.1);
  }
  NetworkLossOptions options;
  options.kind = LossKind::kContrastive;
  options.positive_margin = 0.3;
  options.negative_margin = 2.0;
  options.gauss_newton_weight = 0.0;
  const double distance = std::sqrt(2.0);
  const double contrastive =
      std::pow(distance - 0.3, 2) + std::pow(2.0 - distance, 2);
  EXPECT_NEAR(Loss(levels, references, queries, pairs, 5.0, options),
              2.0 * contrastive,
              1e-5);
  options.gauss_newton_weight = 0.1;
  const double gauss_newton =
      2.0 / 7.0 * (std::log(2.0 * M_PI) - std::log(1e-9));
  EXPECT_NEAR(Loss(levels, references, queries, pairs, 5.0, options),
              2.0 * (contrastive + 0.1 * gauss_newton),
              1e-4);
}

// Every cell of the query has a descriptor of its own; the reference's cells
// have those of the cells that they are to be found in.
TEST(NetworkLossTest, MapQualityHasKnownAnswers) {
  constexpr int kSize = 4;
  constexpr int kNumCells = kSize * kSize;
  constexpr double kScale = 6.0;
  const NetworkLevel level = {0, kNumCells, 8.0, 4.0};
  const auto image_position = [](int x, int y) {
    return torch::tensor({4.0 + 8.0 * x, 4.0 + 8.0 * y}, torch::kFloat32);
  };
  const torch::Tensor identity = torch::eye(kNumCells);
  const torch::Tensor queries = identity.view({1, kNumCells, kSize, kSize});
  torch::Tensor references = queries.clone();
  TrainingPairs pairs;
  pairs.reference_positions = torch::zeros({1, 4, 2});
  pairs.query_positions = torch::zeros({1, 4, 2});
  pairs.visible = torch::tensor({{true, true, true, false}});
  const auto add = [&](int n, int x, int y, int true_x, int true_y) {
    pairs.reference_positions[0][n] = image_position(x, y);
    pairs.query_positions[0][n] = image_position(true_x, true_y);
  };
  add(0, 1, 2, 1, 2);  // found where it is
  add(1, 3, 1, 3, 2);  // found a cell off
  add(2, 0, 0, 2, 0);  // found two cells off
  add(3, 0, 3, 3, 0);  // not visible
  const MapQuality quality = SumMapQuality(level,
                                           references,
                                           queries,
                                           pairs,
                                           torch::full({}, kScale),
                                           /*unit_norm=*/true);
  const double sum = std::log(std::exp(kScale) + kNumCells - 1.0);
  EXPECT_NEAR(quality.nre, (sum - kScale) + 2.0 * sum, 1e-4);
  EXPECT_NEAR(quality.truncated_nre,
              (sum - kScale) + 2.0 * std::log(1.0 + kNumCells),
              1e-4);
  EXPECT_NEAR(quality.log_categories, std::log(1.0 + kNumCells), 1e-9);
  EXPECT_EQ(quality.hits, 2.0);
  EXPECT_EQ(quality.num_points, 3);

  // A map that says nothing.
  const MapQuality uniform = SumMapQuality(level,
                                           torch::ones_like(references),
                                           torch::ones_like(queries),
                                           pairs,
                                           torch::full({}, kScale),
                                           /*unit_norm=*/true);
  EXPECT_NEAR(uniform.nre, 3.0 * std::log(kNumCells), 1e-4);
}

TEST(NetworkLossTest, NothingVisibleCostsNothing) {
  TrainingPairs pairs = RandomPairs();
  pairs.visible.zero_();
  const std::vector<NetworkLevel> levels = {{0, 5, 8.0, 4.0}};
  for (const LossKind kind :
       {LossKind::kNre, LossKind::kCrossEntropy, LossKind::kContrastive}) {
    torch::Tensor features =
        torch::randn({2 * kNumPairs, 5, 4, 4}).requires_grad_(true);
    NetworkLossOptions options;
    options.kind = kind;
    const torch::Tensor loss = NetworkLoss(levels,
                                           {features.narrow(0, 0, kNumPairs)},
                                           {features.narrow(0, 2, kNumPairs)},
                                           pairs,
                                           torch::ones({}),
                                           options,
                                           0,
                                           Generator(1));
    loss.backward();
    EXPECT_EQ(loss.item<float>(), 0.0f);
    EXPECT_EQ(features.grad().abs().max().item<float>(), 0.0f);
  }
}

TEST(NetworkLossTest, ParsesItsKinds) {
  EXPECT_EQ(ParseLossKind("nre"), LossKind::kNre);
  EXPECT_EQ(ParseLossKind("cross_entropy"), LossKind::kCrossEntropy);
  EXPECT_EQ(ParseLossKind("contrastive"), LossKind::kContrastive);
  EXPECT_THROW(ParseLossKind("NRE"), InputError);
}

struct Case {
  const char* network;
  LossKind kind;
};

class NetworkLossOfNetworks : public testing::TestWithParam<Case> {};

// Whatever a network and its loss are, they fit a batch that is repeated.
TEST_P(NetworkLossOfNetworks, DecreasesOnOneBatch) {
  at::set_num_threads(1);
  torch::manual_seed(1);
  const auto module = CreateNetworkModule(GetParam().network);
  const auto levels = NetworkLevels(GetParam().network);
  TrainingDataOptions data_options;
  data_options.batch_size = 2;
  data_options.image_size = 64;
  data_options.num_points = 16;
  data_options.min_overlap = 0.5;
  const TrainingPairs pairs =
      TrainingData(data_options, 1)
          .Batch(DataSplit::kTraining, 0, 0.0, torch::kCPU);
  const torch::Tensor images =
      (torch::cat({pairs.reference_images, pairs.query_images}) - 0.45f) /
      0.225f;
  NetworkLossOptions options;
  options.kind = GetParam().kind;
  torch::optim::Adam optimizer(module->parameters(),
                               torch::optim::AdamOptions(5e-4));
  std::vector<double> losses;
  for (int i = 0; i < 6; ++i) {
    optimizer.zero_grad();
    const auto outputs = module->Forward(images);
    LevelFeatures references, queries;
    for (const NetworkLevel& level : levels) {
      ASSERT_EQ(outputs.at(level.output).size(1), level.channels);
      references.push_back(outputs[level.output].narrow(0, 0, 2));
      queries.push_back(outputs[level.output].narrow(0, 2, 2));
    }
    // The same negatives and starts every time.
    const torch::Tensor loss = NetworkLoss(levels,
                                           references,
                                           queries,
                                           pairs,
                                           torch::full({}, 20.0),
                                           options,
                                           0,
                                           Generator(1));
    loss.backward();
    optimizer.step();
    losses.push_back(loss.item<double>());
  }
  EXPECT_LT(losses.back(), losses.front() - 0.3)
      << testing::PrintToString(losses);
}

INSTANTIATE_TEST_SUITE_P(
    All,
    NetworkLossOfNetworks,
    testing::Values(Case{"compact_coarse", LossKind::kNre},
                    Case{"compact_fine", LossKind::kNre},
                    Case{"s2dnet", LossKind::kCrossEntropy},
                    Case{"gnnet", LossKind::kContrastive}),
    [](const auto& info) { return std::string(info.param.network); });

}  // namespace
}  // namespace nre
