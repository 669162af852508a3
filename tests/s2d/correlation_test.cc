#include "s2d/correlation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "nre/error.h"

namespace nre {
namespace {

std::vector<float> RandomValues(size_t num, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(num);
  for (float& value : values) value = normal(random);
  return values;
}

FeatureMap RandomFeatures(int width, int height, int channels) {
  FeatureMap features;
  features.channels = channels;
  features.width = width;
  features.height = height;
  features.data =
      RandomValues(static_cast<size_t>(width) * height * channels, 17);
  return features;
}

// The whole map, in double precision.
std::vector<double> Logits(const float* descriptor,
                           const FeatureMap& features,
                           double scale) {
  std::vector<double> logits(features.width * features.height);
  for (size_t i = 0; i < logits.size(); ++i) {
    for (int c = 0; c < features.channels; ++c) {
      logits[i] +=
          scale * descriptor[c] * features.data[i * features.channels + c];
    }
  }
  return logits;
}

struct Sizes {
  int num;
  int width;
  int height;
  int top_k;
  float scale;
};

class CorrelationTest : public testing::TestWithParam<Sizes> {};

// Of tiles that are full and that are not, in either direction.
TEST_P(CorrelationTest, IsThatOfWholeMaps) {
  const Sizes& sizes = GetParam();
  constexpr int kChannels = 11;
  const FeatureMap features =
      RandomFeatures(sizes.width, sizes.height, kChannels);
  const std::vector<float> descriptors =
      RandomValues(static_cast<size_t>(sizes.num) * kChannels, 3);
  CorrelationOptions options;
  options.softmax_scale = sizes.scale;
  options.top_k = sizes.top_k;
  const CorrelationSummary summary =
      SummarizeCorrelations(descriptors.data(), sizes.num, features, options);
  std::vector<float> medians(sizes.num);
  std::vector<int> counts(sizes.num);
  for (int i = 0; i < sizes.num; ++i) {
    const std::vector<double> logits =
        Logits(&descriptors[i * kChannels], features, sizes.scale);
    const int num_cells = static_cast<int>(logits.size());
    std::vector<int> order(num_cells);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int a, int b) {
      return logits[a] > logits[b];
    });
    double sum = 0.0, weighted = 0.0;
    const double max = logits[order[0]];
    for (const double logit : logits) {
      sum += std::exp(logit - max);
      weighted += std::exp(logit - max) * logit;
    }
    const double log_sum_exp = max + std::log(sum);
    EXPECT_NEAR(summary.log_sum_exps[i], log_sum_exp, 1e-4);
    EXPECT_NEAR(summary.entropies[i], log_sum_exp - weighted / sum, 2e-4);
    for (int k = 0; k < sizes.top_k; ++k) {
      const size_t at = static_cast<size_t>(i) * sizes.top_k + k;
      if (k >= num_cells) {
        EXPECT_EQ(summary.cells[at], -1);
        continue;
      }
      ASSERT_EQ(summary.cells[at], order[k]);
      EXPECT_NEAR(summary.logits[at], logits[order[k]], 1e-4);
      EXPECT_NEAR(summary.Probability(i, k),
                  std::exp(logits[order[k]] - log_sum_exp),
                  1e-4);
    }
    // Between two values.
    const int rank = num_cells / 2;
    medians[i] = static_cast<float>(
        rank == 0 ? logits[order[0]] - 1.0
                  : 0.5 * (logits[order[rank - 1]] + logits[order[rank]]));
    counts[i] = std::max(rank, 1);
  }
  if (sizes.width * sizes.height < 1000) {  // else float may swap neighbours
    EXPECT_EQ(
        CountCellsAbove(medians, descriptors.data(), features, sizes.scale),
        counts);
  }
}

INSTANTIATE_TEST_SUITE_P(All,
                         CorrelationTest,
                         testing::Values(Sizes{1, 1, 1, 1, 1.0f},
                                         Sizes{3, 2, 1, 4, 1.0f},
                                         Sizes{40, 31, 17, 3, 0.5f},
                                         Sizes{600, 37, 15, 1, 2.0f},
                                         Sizes{20, 128, 96, 5, 20.0f},
                                         Sizes{513, 32, 33, 2, 0.01f}));

// The maximum grows from tile to tile by more than a float's exp() can bear.
TEST(CorrelationSummaryTest, ManyOrdersOfMagnitude) {
  FeatureMap features = RandomFeatures(2000, 1, 1);
  for (int i = 0; i < 2000; ++i) features.data[i] = i < 1990 ? i : -i;
  const float descriptor = 1.0f;
  const CorrelationSummary summary =
      SummarizeCorrelations(&descriptor, 1, features, CorrelationOptions());
  // A geometric series.
  EXPECT_NEAR(
      summary.log_sum_exps[0], 1989.0 - std::log(1.0 - std::exp(-1.0)), 1e-3);
  EXPECT_EQ(summary.cells[0], 1989);
  const double q = std::exp(-1.0);
  EXPECT_NEAR(summary.entropies[0], -std::log(1.0 - q) + q / (1.0 - q), 1e-4);
}

TEST(CorrelationSummaryTest, OfEqualCellsTheFirst) {
  FeatureMap features = RandomFeatures(40, 30, 4);
  std::fill(features.data.begin(), features.data.end(), 0.5f);
  const std::vector<float> descriptor = {1.0f, 0.0f, 0.0f, 0.0f};
  CorrelationOptions options;
  options.top_k = 3;
  const CorrelationSummary summary =
      SummarizeCorrelations(descriptor.data(), 1, features, options);
  EXPECT_EQ(summary.cells, (std::vector<int>{0, 1, 2}));
  EXPECT_NEAR(summary.entropies[0], std::log(1200.0), 1e-5);
}

TEST(CorrelationSummaryTest, InvalidOptions) {
  const FeatureMap features = RandomFeatures(4, 3, 2);
  const float descriptor[] = {1.0f, 0.0f};
  CorrelationOptions options;
  options.top_k = 0;
  EXPECT_THROW(SummarizeCorrelations(descriptor, 1, features, options),
               InputError);
  options.top_k = 1;
  options.softmax_scale = NAN;
  EXPECT_THROW(SummarizeCorrelations(descriptor, 1, features, options),
               InputError);
}

}  // namespace
}  // namespace nre
