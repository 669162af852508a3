#include "s2d/matching.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "nre/error.h"

namespace nre {
namespace {

constexpr int kChannels = 24;
constexpr double kStride = 4.0;
constexpr int kWidth = 60, kHeight = 45;  // cells

// A smooth random field over the plane: every channel a sum of waves.
class Field {
 public:
  explicit Field(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> phase(0.0, 2.0 * M_PI);
    for (Wave& wave : waves_) {
      // Half of the period is a few cells at least.
      wave = {0.06 * Eigen::Vector2d(normal(random), normal(random)),
              phase(random)};
    }
  }

  double operator()(const Eigen::Vector2d& xy, int channel) const {
    double sum = 0.0;
    for (int i = 0; i < kNumWaves; ++i) {
      const Wave& wave = waves_[channel * kNumWaves + i];
      sum += std::sin(wave.frequency.dot(xy) + wave.phase);
    }
    return sum;
  }

 private:
  struct Wave {
    Eigen::Vector2d frequency;  // rad per pixel
    double phase;
  };
  static constexpr int kNumWaves = 4;
  Wave waves_[kChannels * kNumWaves];
};

// What `place` of each position shows of the field, of unit norm.
FeatureMap Features(
    const Field& field,
    const std::function<Eigen::Vector2d(const Eigen::Vector2d&)>& place) {
  FeatureMap features;
  features.channels = kChannels;
  features.width = kWidth;
  features.height = kHeight;
  features.map_from_image = MapFromImage::FromStride(
      {kStride, kStride}, {0.5 * kStride, 0.5 * kStride}, {1.0, 1.0});
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      const Eigen::Vector2d xy =
          place(features.map_from_image.ToImage(Eigen::Vector2d(x, y)));
      double squared_norm = 0.0;
      for (int c = 0; c < kChannels; ++c) {
        features.data.push_back(static_cast<float>(field(xy, c)));
        squared_norm += field(xy, c) * field(xy, c);
      }
      for (int c = kChannels; c > 0; --c) {
        features.data[features.data.size() - c] /=
            static_cast<float>(std::sqrt(squared_norm));
      }
    }
  }
  return features;
}

std::vector<Eigen::Vector2d> RandomKeypoints(int num) {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> x(30.0, kStride * kWidth - 30.0);
  std::uniform_real_distribution<double> y(30.0, kStride * kHeight - 30.0);
  std::vector<Eigen::Vector2d> keypoints(num);
  for (Eigen::Vector2d& keypoint : keypoints) keypoint = {x(random), y(random)};
  return keypoints;
}

Eigen::Vector2d Here(const Eigen::Vector2d& xy) { return xy; }

MatchingOptions Options() {
  MatchingOptions options;
  options.softmax_scale = 40.0f;
  options.max_cycle_error_px = std::numeric_limits<double>::infinity();
  return options;
}

TEST(MatchingTest, FindsAShiftBelowTheCell) {
  const Field field(1);
  const Eigen::Vector2d shift(13.3, -6.9);
  const FeatureMap features1 = Features(field, Here);
  const FeatureMap features2 = Features(field, [&](const Eigen::Vector2d& xy) {
    return Eigen::Vector2d(xy - shift);
  });
  const std::vector<Eigen::Vector2d> keypoints = RandomKeypoints(100);
  const std::vector<DenseMatch> matches =
      MatchDensely(keypoints, features1, features2, Options());
  ASSERT_EQ(matches.size(), keypoints.size());
  double sum = 0.0;
  for (size_t i = 0; i < matches.size(); ++i) {
    EXPECT_EQ(matches[i].keypoint, i);
    const double error = (matches[i].xy - keypoints[i] - shift).norm();
    EXPECT_LT(error, 0.25 * kStride);
    sum += error;
    EXPECT_GT(matches[i].probability, 0.0f);
    EXPECT_LT(matches[i].entropy, std::log(kWidth * kHeight));
  }
  // Of the best cell alone, 0.38 strides on the mean.
  EXPECT_LT(sum / matches.size(), 0.1 * kStride);
}

TEST(MatchingTest, KeypointsOutsideHaveNoMatch) {
  const Field field(1);
  const FeatureMap features = Features(field, Here);
  const std::vector<DenseMatch> matches = MatchDensely(
      {{-5.0, 20.0}, {50.0, 50.0}, {20.0, 1e6}}, features, features, Options());
  ASSERT_EQ(matches.size(), 1);
  EXPECT_EQ(matches[0].keypoint, 1);
  EXPECT_TRUE(MatchDensely({}, features, features, MatchingOptions()).empty());
}

// In the right half, the second image shows something else.
TEST(MatchingTest, CyclesComeBackOnlyWhereBothShowTheSame) {
  const Field field(1);
  const FeatureMap features1 = Features(field, Here);
  const double middle = 0.5 * kStride * kWidth;
  const FeatureMap features2 = Features(field, [&](const Eigen::Vector2d& xy) {
    return Eigen::Vector2d(xy.x() < middle ? xy.x() : xy.x() + 1e4, xy.y());
  });
  const std::vector<Eigen::Vector2d> keypoints = RandomKeypoints(200);
  MatchingOptions options = Options();
  options.max_cycle_error_px = 4.0;
  int num_left = 0;
  for (const Eigen::Vector2d& keypoint : keypoints) {
    num_left += keypoint.x() < middle;
  }
  int num_kept = 0, num_wrong = 0;
  for (const DenseMatch& match :
       MatchDensely(keypoints, features1, features2, options)) {
    const Eigen::Vector2d& keypoint = keypoints[match.keypoint];
    num_kept += keypoint.x() < middle;
    num_wrong += keypoint.x() > middle + 2.0 * kStride;
  }
  EXPECT_GE(num_kept, 0.95 * num_left);
  EXPECT_LE(num_wrong, 0.1 * (200 - num_left));
}

TEST(MatchingTest, RatioAndConfidenceAreThoseOfTheWholeMap) {
  const Field field(2);
  const FeatureMap features1 = Features(field, Here);
  const FeatureMap features2 = Features(field, [](const Eigen::Vector2d& xy) {
    return Eigen::Vector2d(1.1 * xy.x() + 4.0, 0.9 * xy.y());
  });
  const std::vector<Eigen::Vector2d> keypoints = RandomKeypoints(60);
  MatchingOptions options = Options();
  options.max_ratio = 0.9;
  options.ratio_rank = 0.006;
  options.min_probability = 0.05;
  std::vector<size_t> expected;
  std::vector<float> descriptor(kChannels);
  for (size_t i = 0; i < keypoints.size(); ++i) {
    ASSERT_TRUE(features1.Sample(keypoints[i], descriptor.data()));
    std::vector<double> sorted(kWidth * kHeight);
    double sum = 0.0;
    for (size_t k = 0; k < sorted.size(); ++k) {
      for (int c = 0; c < kChannels; ++c) {
        sorted[k] += descriptor[c] * features2.data[k * kChannels + c];
      }
      sum += std::exp(40.0 * sorted[k]);
    }
    std::sort(sorted.rbegin(), sorted.rend());
    const double at_rank = sorted[static_cast<int>(0.006 * sorted.size())];
    if (at_rank < 0.9 * sorted[0] && std::exp(40.0 * sorted[0]) / sum >= 0.05) {
      expected.push_back(i);
    }
  }
  std::vector<size_t> kept;
  for (const DenseMatch& match :
       MatchDensely(keypoints, features1, features2, options)) {
    kept.push_back(match.keypoint);
  }
  EXPECT_EQ(kept, expected);
  EXPECT_GT(expected.size(), 5);
  EXPECT_LT(expected.size(), 55);
}

// The second image shows the left part of the first one twice.
TEST(MatchingTest, ModesAreWhereverTheKeypointMayBe) {
  const Field field(3);
  const FeatureMap features1 = Features(field, Here);
  const double period = 30.0 * kStride;
  const FeatureMap features2 = Features(field, [&](const Eigen::Vector2d& xy) {
    return Eigen::Vector2d(std::fmod(xy.x(), period), xy.y());
  });
  MatchingOptions options = Options();
  options.max_num_modes = 2;
  const Eigen::Vector2d keypoint(60.0, 80.0);
  const std::vector<DenseMatch> matches =
      MatchDensely({keypoint}, features1, features2, options);
  ASSERT_EQ(matches.size(), 2);
  EXPECT_GE(matches[0].probability, matches[1].probability);
  const double left = std::min(matches[0].xy.x(), matches[1].xy.x());
  const double right = std::max(matches[0].xy.x(), matches[1].xy.x());
  EXPECT_NEAR(left, keypoint.x(), 1.0);
  EXPECT_NEAR(right, keypoint.x() + period, 1.0);
}

TEST(MatchingTest, InvalidOptions) {
  const FeatureMap features = Features(Field(1), Here);
  MatchingOptions options;
  EXPECT_TRUE(options.Check());
  options.max_num_modes = 0;
  EXPECT_THROW(MatchDensely({}, features, features, options), InputError);
  options = MatchingOptions();
  options.max_ratio = 1.0;
  EXPECT_FALSE(options.Check());
  options = MatchingOptions();
  options.max_cycle_error_px = -1.0;
  EXPECT_FALSE(options.Check());
}

}  // namespace
}  // namespace nre
