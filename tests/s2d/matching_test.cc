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

using Place = std::function<Eigen::Vector2d(const Eigen::Vector2d&)>;

// What `place` of each position shows of the field, of unit norm.
FeatureMap Features(const Field& field,
                    const Place& place,
                    double stride = kStride) {
  FeatureMap features;
  features.channels = kChannels;
  features.width = static_cast<int>(kWidth * kStride / stride);
  features.height = static_cast<int>(kHeight * kStride / stride);
  features.map_from_image = MapFromImage::FromStride(
      {stride, stride}, {0.5 * stride, 0.5 * stride}, {1.0, 1.0});
  for (int y = 0; y < features.height; ++y) {
    for (int x = 0; x < features.width; ++x) {
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

// Coarse cells are three fine ones.
constexpr double kCoarseStride = 3.0 * kStride;

ImageFeatures BothFeatures(const Field& field, const Place& place) {
  return {Features(field, place, kCoarseStride), Features(field, place)};
}

Eigen::Matrix2Xd RandomKeypoints(int num) {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> x(30.0, kStride * kWidth - 30.0);
  std::uniform_real_distribution<double> y(30.0, kStride * kHeight - 30.0);
  Eigen::Matrix2Xd keypoints(2, num);
  for (int i = 0; i < num; ++i) {
    const double keypoint_x = x(random);
    keypoints.col(i) << keypoint_x, y(random);
  }
  return keypoints;
}

Eigen::Vector2d Here(const Eigen::Vector2d& xy) { return xy; }

MatchingOptions Options() {
  MatchingOptions options;
  options.softmax_scale = 40.0f;
  options.coarse_softmax_scale = 25.0f;
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
  const Eigen::Matrix2Xd keypoints = RandomKeypoints(100);
  const std::vector<DenseMatch> matches =
      MatchDensely(keypoints, features1, features2, Options());
  ASSERT_EQ(matches.size(), keypoints.cols());
  double sum = 0.0;
  for (size_t i = 0; i < matches.size(); ++i) {
    EXPECT_EQ(matches[i].keypoint, i);
    const double error = (matches[i].xy - keypoints.col(i) - shift).norm();
    EXPECT_LT(error, 0.25 * kStride);
    sum += error;
    EXPECT_GT(matches[i].probability, 0.0f);
    EXPECT_LT(matches[i].entropy, std::log(kWidth * kHeight));
  }
  // Of the best cell alone, 0.38 strides on the mean.
  EXPECT_LT(sum / matches.size(), 0.1 * kStride);
}

// A correlation that is a quadratic function, with axes that are none of the
// map's.
TEST(MatchingTest, RefinesAQuadraticFunctionExactly) {
  FeatureMap features1 = Features(Field(1), Here);
  features1.channels = 1;
  features1.unit_norm = false;
  features1.data.assign(kWidth * kHeight, 1.0f);
  FeatureMap features2 = features1;
  const Eigen::Vector2d top(20.3, 30.1);  // cells
  Eigen::Matrix2d curvature;
  curvature << 3.0, -1.5, -1.5, 2.0;
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      const Eigen::Vector2d d = Eigen::Vector2d(x, y) - top;
      features2.data[y * kWidth + x] =
          static_cast<float>(-0.001 * d.dot(curvature * d));
    }
  }
  const std::vector<DenseMatch> matches = MatchDensely(
      Eigen::Vector2d(50.0, 50.0), features1, features2, Options());
  ASSERT_EQ(matches.size(), 1);
  EXPECT_LT((features2.map_from_image * matches[0].xy - top).norm(), 1e-4);
}

TEST(MatchingTest, KeypointsOutsideHaveNoMatch) {
  const Field field(1);
  const FeatureMap features = Features(field, Here);
  Eigen::Matrix2Xd keypoints(2, 3);
  keypoints << -5.0, 50.0, 20.0, 20.0, 50.0, 1e6;
  const std::vector<DenseMatch> matches =
      MatchDensely(keypoints, features, features, Options());
  ASSERT_EQ(matches.size(), 1);
  EXPECT_EQ(matches[0].keypoint, 1);
  EXPECT_TRUE(MatchDensely({}, features, features, MatchingOptions()).empty());
  EXPECT_TRUE(MatchCoarseToFine({}, {}, {}, MatchingOptions()).empty());
}

// In the right half, the second image shows something else.
TEST(MatchingTest, CyclesComeBackOnlyWhereBothShowTheSame) {
  const Field field(1);
  const FeatureMap features1 = Features(field, Here);
  const double middle = 0.5 * kStride * kWidth;
  const FeatureMap features2 = Features(field, [&](const Eigen::Vector2d& xy) {
    return Eigen::Vector2d(xy.x() < middle ? xy.x() : xy.x() + 1e4, xy.y());
  });
  const Eigen::Matrix2Xd keypoints = RandomKeypoints(200);
  MatchingOptions options = Options();
  options.max_cycle_error_px = 4.0;
  int num_left = 0;
  for (const Eigen::Vector2d keypoint : keypoints.colwise()) {
    num_left += keypoint.x() < middle;
  }
  int num_kept = 0, num_wrong = 0;
  for (const DenseMatch& match :
       MatchDensely(keypoints, features1, features2, options)) {
    const Eigen::Vector2d keypoint = keypoints.col(match.keypoint);
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
  const Eigen::Matrix2Xd keypoints = RandomKeypoints(60);
  MatchingOptions options = Options();
  options.max_ratio = 0.9;
  options.ratio_rank = 0.006;
  options.min_probability = 0.05;
  std::vector<size_t> expected;
  std::vector<float> descriptor(kChannels);
  for (Eigen::Index i = 0; i < keypoints.cols(); ++i) {
    ASSERT_TRUE(features1.Sample(keypoints.col(i), descriptor.data()));
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

// The pixels of a larger picture that was reduced to the same cells.
TEST(MatchingTest, CyclesCorrectMatchesInImagesOfAnySize) {
  const Field field(1);
  const ImageFeatures features1 = BothFeatures(field, Here);
  const ImageFeatures features2 =
      BothFeatures(field, [&](const Eigen::Vector2d& xy) {
        return Eigen::Vector2d(xy.x() + 3.3, xy.y() - 5.9);
      });
  ImageFeatures larger = features2;
  for (FeatureMap* features : {&larger.coarse, &larger.fine}) {
    features->map_from_image.scale /= 4.0;
  }
  MatchingOptions options = Options();
  options.max_cycle_error_px = 4.0;
  const Eigen::Matrix2Xd keypoints = RandomKeypoints(100);
  const auto expect_scaled = [](const std::vector<DenseMatch>& matches,
                                const std::vector<DenseMatch>& scaled) {
    ASSERT_EQ(matches.size(), scaled.size());
    EXPECT_GT(matches.size(), 50);
    for (size_t i = 0; i < matches.size(); ++i) {
      EXPECT_LT((4.0 * matches[i].xy - scaled[i].xy).norm(), 1e-3);
    }
  };
  expect_scaled(MatchCoarseToFine(keypoints, features1, features2, options),
                MatchCoarseToFine(keypoints, features1, larger, options));
  expect_scaled(
      MatchDensely(keypoints, features1.fine, features2.fine, options),
      MatchDensely(keypoints, features1.fine, larger.fine, options));
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

// A keypoint's correlation with all cells, as its definition says.
std::vector<double> Logits(const Eigen::Vector2d& keypoint,
                           const FeatureMap& features1,
                           const FeatureMap& features2,
                           double scale) {
  std::vector<float> descriptor(kChannels);
  EXPECT_TRUE(features1.Sample(keypoint, descriptor.data()));
  std::vector<double> logits(features2.data.size() / kChannels);
  for (size_t i = 0; i < features2.data.size(); ++i) {
    logits[i / kChannels] +=
        scale * descriptor[i % kChannels] * features2.data[i];
  }
  return logits;
}

double SumExp(const std::vector<double>& logits) {
  double sum = 0.0;
  for (const double logit : logits) sum += std::exp(logit);
  return sum;
}

TEST(MatchingTest, CoarseToFineFindsWhatAllFineCellsHave) {
  const Field field(1);
  const Eigen::Vector2d shift(13.3, -6.9);
  const ImageFeatures features1 = BothFeatures(field, Here);
  const ImageFeatures features2 = BothFeatures(
      field,
      [&](const Eigen::Vector2d& xy) { return Eigen::Vector2d(xy - shift); });
  const Eigen::Matrix2Xd keypoints = RandomKeypoints(100);
  for (const double max_cycle_error_px : {4.0, 1e9}) {
    MatchingOptions options = Options();
    options.max_cycle_error_px = max_cycle_error_px;
    const std::vector<DenseMatch> expected =
        MatchDensely(keypoints, features1.fine, features2.fine, options);
    const std::vector<DenseMatch> matches =
        MatchCoarseToFine(keypoints, features1, features2, options);
    ASSERT_EQ(matches.size(), keypoints.cols());
    ASSERT_EQ(expected.size(), keypoints.cols());
    for (size_t i = 0; i < matches.size(); ++i) {
      EXPECT_EQ(matches[i].keypoint, i);
      EXPECT_LT((matches[i].xy - expected[i].xy).norm(), 1e-9);
    }
  }
}

// The best cell of the window and its probability, written down once more: the
// window's side is a whole number of coarse cells, but it lies anywhere.
TEST(MatchingTest, CoarseToFineSearchesAWindow) {
  const Field field(2);
  const ImageFeatures features1 = BothFeatures(field, Here);
  const ImageFeatures features2 =
      BothFeatures(field, [](const Eigen::Vector2d& xy) {
        return Eigen::Vector2d(1.1 * xy.x() + 4.0, 0.9 * xy.y());
      });
  const Eigen::Matrix2Xd keypoints = RandomKeypoints(40);
  MatchingOptions options = Options();
  options.window_size = 2.0;
  const std::vector<DenseMatch> matches =
      MatchCoarseToFine(keypoints, features1, features2, options);
  const std::vector<DenseMatch> coarse_matches = [&] {
    MatchingOptions coarse_options = options;
    coarse_options.softmax_scale = options.coarse_softmax_scale;
    return MatchDensely(
        keypoints, features1.coarse, features2.coarse, coarse_options);
  }();
  ASSERT_EQ(matches.size(), keypoints.cols());
  const FeatureMap& coarse = features2.coarse;
  const FeatureMap& fine = features2.fine;
  for (size_t i = 0; i < matches.size(); ++i) {
    const Eigen::Vector2d center = fine.map_from_image * coarse_matches[i].xy;
    const std::vector<double> coarse_logits =
        Logits(keypoints.col(i),
               features1.coarse,
               coarse,
               options.coarse_softmax_scale);
    const std::vector<double> logits =
        Logits(keypoints.col(i), features1.fine, fine, options.softmax_scale);
    double mass = 0.0, sum = 0.0, best = -1e9;
    Eigen::Vector2d best_cell(-1.0, -1.0);
    for (int y = 0; y < fine.height; ++y) {
      for (int x = 0; x < fine.width; ++x) {
        // Six cells a side.
        if (std::round(center.x() - 2.5) > x ||
            std::round(center.x() - 2.5) + 6 <= x ||
            std::round(center.y() - 2.5) > y ||
            std::round(center.y() - 2.5) + 6 <= y) {
          continue;
        }
        // A fine cell is a ninth of the coarse one that it lies in.
        mass += std::exp(coarse_logits[y / 3 * coarse.width + x / 3]) / 9.0;
        const double logit = logits[y * fine.width + x];
        sum += std::exp(logit);
        if (logit > best) {
          best = logit;
          best_cell = {x, y};
        }
      }
    }
    const double probability =
        mass / SumExp(coarse_logits) * std::exp(best) / sum;
    EXPECT_NEAR(matches[i].probability / probability, 1.0, 1e-3);
    EXPECT_FLOAT_EQ(matches[i].entropy, coarse_matches[i].entropy);
    EXPECT_LE(
        (fine.map_from_image * matches[i].xy - best_cell).cwiseAbs().maxCoeff(),
        1.0);
  }
}

// The same image twice, with keypoints up to the border and beyond.
TEST(MatchingTest, CoarseToFineMatchesUpToTheOutermostCoarseCells) {
  const Field field(1);
  const ImageFeatures features = BothFeatures(field, Here);
  const double width = kStride * kWidth, height = kStride * kHeight;
  const double first = 0.5 * kCoarseStride;
  Eigen::Matrix2Xd keypoints(2, 300);
  std::vector<size_t> expected;
  std::mt19937 random(7);
  std::uniform_real_distribution<double> u(-5.0, width + 5.0);
  for (Eigen::Index i = 0; i < keypoints.cols(); ++i) {
    const Eigen::Vector2d xy(u(random), u(random));
    if (xy.x() >= first && xy.y() >= first && xy.x() <= width - first &&
        xy.y() <= height - first) {
      expected.push_back(i);
    }
    keypoints.col(i) = xy;
  }
  const std::vector<DenseMatch> matches =
      MatchCoarseToFine(keypoints, features, features, Options());
  ASSERT_EQ(matches.size(), expected.size());
  for (size_t i = 0; i < matches.size(); ++i) {
    EXPECT_EQ(matches[i].keypoint, expected[i]);
    EXPECT_LT((matches[i].xy - keypoints.col(expected[i])).norm(),
              0.25 * kStride);
  }
}

// In the right half, the second image shows something else.
TEST(MatchingTest, CoarseToFineChecksCyclesAndProbabilities) {
  const Field field(1);
  const ImageFeatures features1 = BothFeatures(field, Here);
  const double middle = 0.5 * kStride * kWidth;
  const ImageFeatures features2 =
      BothFeatures(field, [&](const Eigen::Vector2d& xy) {
        return Eigen::Vector2d(xy.x() < middle ? xy.x() : xy.x() + 1e4, xy.y());
      });
  const Eigen::Matrix2Xd keypoints = RandomKeypoints(200);
  const MatchingOptions all = Options();
  const std::vector<DenseMatch> matches =
      MatchCoarseToFine(keypoints, features1, features2, all);
  MatchingOptions options = all;
  options.max_cycle_error_px = 4.0;
  options.cycle_correction = 0.4;
  const std::vector<DenseMatch> checked =
      MatchCoarseToFine(keypoints, features1, features2, options);
  options = all;
  std::vector<float> probabilities;
  for (const DenseMatch& match : matches) {
    probabilities.push_back(match.probability);
  }
  std::sort(probabilities.begin(), probabilities.end());
  options.min_probability = probabilities.at(100);
  std::vector<size_t> probable;
  for (const DenseMatch& match : matches) {
    if (match.probability >= probabilities[100]) {
      probable.push_back(match.keypoint);
    }
  }
  std::vector<size_t> kept;
  for (const DenseMatch& match :
       MatchCoarseToFine(keypoints, features1, features2, options)) {
    kept.push_back(match.keypoint);
  }
  EXPECT_EQ(kept, probable);
  EXPECT_EQ(kept.size(), 100);

  // The way back of each, searched by itself.
  std::vector<DenseMatch> expected;
  for (DenseMatch match : matches) {
    const std::vector<DenseMatch> back =
        MatchCoarseToFine({match.xy}, features2, features1, all);
    if (back.empty()) continue;
    const Eigen::Vector2d error = back[0].xy - keypoints.col(match.keypoint);
    if (error.norm() <= 4.0) {
      match.xy -= 0.4 * error;
      expected.push_back(match);
    }
  }
  ASSERT_EQ(checked.size(), expected.size());
  for (size_t i = 0; i < checked.size(); ++i) {
    EXPECT_EQ(checked[i].keypoint, expected[i].keypoint);
    EXPECT_LT((checked[i].xy - expected[i].xy).norm(), 1e-6);
  }
  EXPECT_LT(checked.size(), 150);
  EXPECT_GT(checked.size(), 50);
}

// The second image shows the left part of the first one twice.
TEST(MatchingTest, CoarseToFineModesAreWhereverTheKeypointMayBe) {
  const Field field(3);
  const ImageFeatures features1 = BothFeatures(field, Here);
  const double period = 10.0 * kCoarseStride;
  const ImageFeatures features2 =
      BothFeatures(field, [&](const Eigen::Vector2d& xy) {
        return Eigen::Vector2d(std::fmod(xy.x(), period), xy.y());
      });
  MatchingOptions options = Options();
  options.max_num_modes = 2;
  const Eigen::Vector2d keypoint(60.0, 80.0);
  const std::vector<DenseMatch> matches =
      MatchCoarseToFine({keypoint}, features1, features2, options);
  ASSERT_EQ(matches.size(), 2);
  EXPECT_GE(matches[0].probability, matches[1].probability);
  const double left = std::min(matches[0].xy.x(), matches[1].xy.x());
  const double right = std::max(matches[0].xy.x(), matches[1].xy.x());
  EXPECT_NEAR(left, keypoint.x(), 1.0);
  EXPECT_NEAR(right, keypoint.x() + period, 1.0);
}

// Windows as large as the image all find the same.
TEST(MatchingTest, CoarseToFineModesAreApart) {
  const Field field(3);
  const ImageFeatures features = BothFeatures(field, Here);
  const Eigen::Matrix2Xd keypoints = RandomKeypoints(20);
  MatchingOptions options = Options();
  options.max_num_modes = 3;
  options.window_size = 50.0;
  const std::vector<DenseMatch> matches =
      MatchCoarseToFine(keypoints, features, features, options);
  ASSERT_EQ(matches.size(), keypoints.cols());
  for (size_t i = 0; i < matches.size(); ++i) {
    EXPECT_EQ(matches[i].keypoint, i);
    EXPECT_LT((matches[i].xy - keypoints.col(i)).norm(), 0.25 * kStride);
  }
}

// The ratio of coarse similarities decides.
TEST(MatchingTest, CoarseToFineTakesTheRatioTestOfTheCoarseMap) {
  const Field field(2);
  const ImageFeatures features1 = BothFeatures(field, Here);
  const ImageFeatures features2 =
      BothFeatures(field, [](const Eigen::Vector2d& xy) {
        return Eigen::Vector2d(1.1 * xy.x() + 4.0, 0.9 * xy.y());
      });
  const Eigen::Matrix2Xd keypoints = RandomKeypoints(60);
  MatchingOptions options = Options();
  options.max_ratio = 0.75;
  options.ratio_rank = 0.02;
  const auto indices = [](const std::vector<DenseMatch>& matches) {
    std::vector<size_t> result;
    for (const DenseMatch& match : matches) result.push_back(match.keypoint);
    return result;
  };
  const std::vector<size_t> kept =
      indices(MatchCoarseToFine(keypoints, features1, features2, options));
  options.softmax_scale = options.coarse_softmax_scale;
  EXPECT_EQ(kept,
            indices(MatchDensely(
                keypoints, features1.coarse, features2.coarse, options)));
  EXPECT_GT(kept.size(), 5);
  EXPECT_LT(kept.size(), 55);
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
  options.coarse_softmax_scale = 0.0f;
  EXPECT_THROW(MatchCoarseToFine({}, {}, {}, options), InputError);
  options = MatchingOptions();
  options.cycle_correction = 1.1;
  EXPECT_FALSE(options.Check());
  options = MatchingOptions();
  options.window_size = 0.0;
  EXPECT_FALSE(options.Check());
  options = MatchingOptions();
  options.max_cycle_error_px = -1.0;
  EXPECT_FALSE(options.Check());
}

}  // namespace
}  // namespace nre
