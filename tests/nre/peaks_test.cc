#include "nre/peaks.h"

#include <vector>

#include <gtest/gtest.h>

#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

TEST(RefinePeak, FindsTheMeanOfAGaussian) {
  Random random(1);
  for (int i = 0; i < 20; ++i) {
    const Eigen::Vector2d mean = random.Uniform2(8.0, 24.0);
    const SparseLossMaps maps =
        ToSparse({GaussianWeights(32, 32, mean, 1.2)}, MapFromImage());
    const Eigen::Vector2d peak = maps.Summarize(0).peak;
    EXPECT_GT((peak - mean).norm(), 0.0);
    EXPECT_LT((RefinePeak(maps, 0, peak) - mean).norm(), 0.03);
  }
}

TEST(RefinePeak, StaysWhereNothingIs) {
  const SparseLossMaps maps = ToSparse({WeightMap(10, 10)}, MapFromImage());
  const Eigen::Vector2d p(3.5, 4.0);
  EXPECT_EQ(RefinePeak(maps, 0, p), p);
}

TEST(OneHotMaps, KeepThePeakCellOnly) {
  Random random(2);
  std::vector<WeightMap> weights;
  for (int i = 0; i < 5; ++i) {
    weights.push_back(RandomWeights(20, 15, 0.3, &random));
  }
  weights.push_back(WeightMap(20, 15));  // uninformative
  const MapFromImage map_from_image{{0.5, 0.25}, {1.0, 2.0}};
  const SparseLossMaps maps = ToSparse(weights, map_from_image);
  const DenseLossMaps one_hot = OneHotMaps(maps);
  ASSERT_EQ(one_hot.NumPoints(), weights.size());
  EXPECT_EQ(one_hot.geometry().map_from_image.scale, map_from_image.scale);
  EXPECT_EQ(one_hot.geometry().LogCategories(),
            maps.geometry().LogCategories());
  const double log_categories = weights[0].LogCategories();
  for (size_t i = 0; i < weights.size(); ++i) {
    const LossMaps::Summary peak = maps.Summarize(i);
    for (int y = 0; y < 15; ++y) {
      for (int x = 0; x < 20; ++x) {
        const bool is_peak =
            peak.weight > 0.0 && Eigen::Vector2d(x, y) == peak.peak;
        EXPECT_NEAR(
            one_hot.Weight(i, {x, y}), is_peak ? log_categories : 0.0, 1e-5);
      }
    }
    // Eq. 11.
    const Eigen::Vector2d p = random.Uniform2(0.0, 15.0);
    const double sigma = 3.0;
    const double kernel =
        std::exp(-0.5 * (p - peak.peak).squaredNorm() / (sigma * sigma)) /
        (2.0 * M_PI * sigma * sigma);
    const double expected = peak.weight > 0.0 ? -log_categories * kernel : 0.0;
    EXPECT_NEAR(
        one_hot.Smoothed(i, p, sigma, false).value, expected, 1e-5 / sigma);
  }
}

}  // namespace
}  // namespace nre
