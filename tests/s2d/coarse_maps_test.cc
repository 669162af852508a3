#include "s2d/coarse_maps.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "tests/testing/synthetic_features.h"

namespace nre {
namespace {

constexpr int kWidth = 23;
constexpr int kHeight = 17;
constexpr int kChannels = 24;
constexpr float kScale = 20.0f;
const MapFromImage kMapFromImage{{0.125, 0.125}, {-0.5, -0.25}};

FeatureMap Features(Random* random) {
  return RandomFeatures(kWidth, kHeight, kChannels, kMapFromImage, random);
}

// All cells of all maps against Eq. 7 of a softmax in double.
void ExpectBruteForce(const CoarseMaps& actual,
                      const std::vector<float>& descriptors,
                      const FeatureMap& features,
                      double softmax_scale) {
  const size_t num_points = descriptors.size() / features.channels;
  const double log_categories =
      std::log(1.0 + features.width * features.height);
  ASSERT_EQ(actual.maps.NumPoints(), num_points);
  ASSERT_EQ(actual.log_sum_exps.size(), num_points);
  for (size_t i = 0; i < num_points; ++i) {
    const std::vector<double> logits = BruteForceLogits(
        &descriptors[i * features.channels], features, softmax_scale);
    const double log_sum_exp = BruteForceLogSumExp(logits);
    EXPECT_NEAR(actual.log_sum_exps[i], log_sum_exp, 1e-5 * softmax_scale);
    size_t num_informative = 0;
    for (int y = 0; y < features.height; ++y) {
      for (int x = 0; x < features.width; ++x) {
        const double log_c = logits[y * features.width + x] - log_sum_exp;
        const double loss = std::min(log_categories, -log_c);
        ASSERT_NEAR(log_categories - actual.maps.Weight(i, {x, y}),
                    loss,
                    1e-5 * softmax_scale)
            << "point " << i << " at " << x << ", " << y;
        num_informative += loss < log_categories;
      }
    }
    // Truncated cells are not kept, but for those next to the limit.
    EXPECT_NEAR(actual.maps.NumCells(i), num_informative, 2);
  }
}

TEST(ComputeCoarseMaps, IsTheTruncatedSoftmax) {
  Random random(1);
  const FeatureMap features = Features(&random);
  // At, below and beyond the borders of a tile.
  for (const int num_points : {1, 2, 31, 32, 33, 64, 65}) {
    const std::vector<float> descriptors =
        RandomDescriptors(num_points, kChannels, &random);
    ExpectBruteForce(ComputeCoarseMaps(descriptors, {}, features, kScale),
                     descriptors,
                     features,
                     kScale);
  }
}

// Points of 1 to 40 descriptors, so that they lie across the tiles' borders.
FusedDescriptors RaggedRows(Fusion fusion, int num_points) {
  FusedDescriptors rows;
  rows.fusion = fusion;
  rows.begins.push_back(0);
  for (int i = 0; i < num_points; ++i) {
    rows.begins.push_back(rows.begins.back() + (i % 5 == 4 ? 40 : 1 + i % 5));
  }
  return rows;
}

TEST(ComputeCoarseMaps, MaxIsTheSoftmaxOfTheBestSimilarity) {
  Random random(6);
  const FeatureMap features = Features(&random);
  const FusedDescriptors rows = RaggedRows(Fusion::kMax, 13);
  const std::vector<float> descriptors = RandomDescriptors(
      static_cast<int>(rows.begins.back()), kChannels, &random);
  const CoarseMaps maps =
      ComputeCoarseMaps(descriptors, rows, features, kScale);
  ASSERT_EQ(maps.maps.NumPoints(), 13u);
  ASSERT_EQ(maps.log_sum_exps.size(), 13u);
  const double log_categories = std::log(1.0 + kWidth * kHeight);
  for (size_t i = 0; i < 13; ++i) {
    std::vector<double> logits(kWidth * kHeight, -1e9);
    for (size_t row = rows.begins[i]; row < rows.begins[i + 1]; ++row) {
      const std::vector<double> others =
          BruteForceLogits(&descriptors[row * kChannels], features, kScale);
      for (size_t k = 0; k < logits.size(); ++k) {
        logits[k] = std::max(logits[k], others[k]);
      }
    }
    const double log_sum_exp = BruteForceLogSumExp(logits);
    EXPECT_NEAR(maps.log_sum_exps[i], log_sum_exp, 1e-5 * kScale);
    for (int y = 0; y < kHeight; ++y) {
      for (int x = 0; x < kWidth; ++x) {
        ASSERT_NEAR(
            maps.maps.Weight(i, {x, y}),
            std::max(0.0,
                     log_categories + logits[y * kWidth + x] - log_sum_exp),
            1e-5 * kScale);
      }
    }
  }
}

TEST(ComputeCoarseMaps, SumIsTheMeanOfTheLossMaps) {
  Random random(7);
  const FeatureMap features = Features(&random);
  const FusedDescriptors rows = RaggedRows(Fusion::kSum, 13);
  const std::vector<float> descriptors = RandomDescriptors(
      static_cast<int>(rows.begins.back()), kChannels, &random);
  const CoarseMaps fused =
      ComputeCoarseMaps(descriptors, rows, features, kScale);
  const CoarseMaps single =
      ComputeCoarseMaps(descriptors, {}, features, kScale);
  ASSERT_EQ(fused.maps.NumPoints(), 13u);
  ASSERT_EQ(fused.log_sum_exps, single.log_sum_exps);
  for (size_t i = 0; i < 13; ++i) {
    for (int y = 0; y < kHeight; ++y) {
      for (int x = 0; x < kWidth; ++x) {
        double sum = 0.0;
        for (size_t row = rows.begins[i]; row < rows.begins[i + 1]; ++row) {
          sum += single.maps.Weight(row, {x, y});
        }
        ASSERT_NEAR(fused.maps.Weight(i, {x, y}),
                    sum / (rows.begins[i + 1] - rows.begins[i]),
                    1e-5 * kScale);
      }
    }
  }
}

TEST(ComputeCoarseMaps, PeaksAtTheDescriptorsCell) {
  Random random(2);
  const FeatureMap features = Features(&random);
  std::vector<float> descriptors;
  for (int i = 0; i < 40; ++i) {
    const float* descriptor = features.Descriptor(i % kWidth, i % kHeight);
    descriptors.insert(descriptors.end(), descriptor, descriptor + kChannels);
  }
  // A scale that the exponential function alone would not bear.
  for (const float scale : {60.0f, 1000.0f}) {
    const CoarseMaps maps = ComputeCoarseMaps(descriptors, {}, features, scale);
    ExpectBruteForce(maps, descriptors, features, scale);
    for (int i = 0; i < 40; ++i) {
      EXPECT_EQ(maps.maps.Summarize(i).peak,
                Eigen::Vector2d(i % kWidth, i % kHeight));
    }
  }
}

TEST(ComputeCoarseMaps, KeepsTheGeometry) {
  Random random(3);
  const FeatureMap features = Features(&random);
  const LossMaps::Geometry geometry =
      ComputeCoarseMaps(
          RandomDescriptors(1, kChannels, &random), {}, features, kScale)
          .maps.geometry();
  EXPECT_EQ(geometry.width, kWidth);
  EXPECT_EQ(geometry.height, kHeight);
  EXPECT_EQ(geometry.map_from_image.scale, kMapFromImage.scale);
  EXPECT_EQ(geometry.map_from_image.offset, kMapFromImage.offset);
}

TEST(ComputeCoarseMaps, ZeroDescriptorsSayNothing) {
  Random random(4);
  FeatureMap features = Features(&random);
  const double uniform = std::log(1.0 + 1.0 / (kWidth * kHeight));
  const std::vector<float> zero(kChannels, 0.0f);
  CoarseMaps maps = ComputeCoarseMaps(zero, {}, features, kScale);
  EXPECT_NEAR(maps.log_sum_exps[0], std::log(kWidth * kHeight), 1e-5);
  EXPECT_NEAR(maps.maps.Weight(0, {4.3, 5.7}), uniform, 1e-5);

  // Cells without structure, within the map.
  std::fill_n(features.data.begin() + 100 * kChannels, 50 * kChannels, 0.0f);
  const std::vector<float> descriptors =
      RandomDescriptors(33, kChannels, &random);
  ExpectBruteForce(ComputeCoarseMaps(descriptors, {}, features, kScale),
                   descriptors,
                   features,
                   kScale);
}

TEST(CoarseLogSumExps, AreThoseOfTheMaps) {
  Random random(8);
  const FeatureMap features = Features(&random);
  for (const Fusion fusion : {Fusion::kMean, Fusion::kMax, Fusion::kSum}) {
    const FusedDescriptors rows =
        fusion == Fusion::kMean ? FusedDescriptors() : RaggedRows(fusion, 13);
    const std::vector<float> descriptors = RandomDescriptors(
        rows.begins.empty() ? 65 : rows.begins.back(), kChannels, &random);
    const std::vector<float> expected =
        ComputeCoarseMaps(descriptors, rows, features, kScale).log_sum_exps;
    const std::vector<float> actual =
        CoarseLogSumExps(descriptors, rows, features, kScale);
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      EXPECT_NEAR(actual[i], expected[i], 1e-6 * kScale);
    }
  }
}

TEST(CoarseLogSumExps, MayBeEstimatedFromEveryThirdColumnAndRow) {
  Random random(9);
  const FeatureMap features = Features(&random);
  const std::vector<float> descriptors =
      RandomDescriptors(20, kChannels, &random);
  const std::vector<float> actual =
      CoarseLogSumExps(descriptors, {}, features, kScale, 3);
  ASSERT_EQ(actual.size(), 20u);
  for (size_t i = 0; i < actual.size(); ++i) {
    const std::vector<double> logits =
        BruteForceLogits(&descriptors[i * kChannels], features, kScale);
    std::vector<double> sampled;
    for (int y = 0; y < kHeight; y += 3) {
      for (int x = 0; x < kWidth; x += 3) {
        sampled.push_back(logits[y * kWidth + x]);
      }
    }
    EXPECT_NEAR(actual[i],
                BruteForceLogSumExp(sampled) +
                    std::log(1.0 * kWidth * kHeight / sampled.size()),
                1e-5 * kScale);
  }
}

TEST(ComputeCoarseMaps, NoPointsNoMaps) {
  Random random(5);
  const CoarseMaps maps = ComputeCoarseMaps({}, {}, Features(&random), kScale);
  EXPECT_EQ(maps.maps.NumPoints(), 0u);
  EXPECT_TRUE(maps.log_sum_exps.empty());
}

}  // namespace
}  // namespace nre
