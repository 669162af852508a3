#include "s2d/feature_extractor.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace nre {
namespace {

// Cells 4 pixels apart, the first one centred on pixel coordinates (2, 2).
FeatureMap TestMap(int width, int height, const std::vector<float>& data) {
  FeatureMap map;
  map.channels = 2;
  map.width = width;
  map.height = height;
  map.data = data;
  map.map_from_image =
      MapFromImage::FromStride({4.0, 4.0}, {2.0, 2.0}, {1.0, 1.0});
  return map;
}

TEST(FeatureMapTest, SampleInterpolatesAndNormalizes) {
  const FeatureMap map =
      TestMap(2, 2, {1.0f, 0.0f, 0.0f, 1.0f, 0.6f, 0.8f, 1.0f, 0.0f});
  float descriptor[2];
  // A quarter of a cell to the right and half a cell down: the top row gives
  // (0.75, 0.25), the bottom row (0.7, 0.6).
  ASSERT_TRUE(map.Sample({3.0, 4.0}, descriptor));
  const float norm = std::hypot(0.725f, 0.425f);
  EXPECT_NEAR(descriptor[0], 0.725f / norm, 1e-6f);
  EXPECT_NEAR(descriptor[1], 0.425f / norm, 1e-6f);
  // On the last cell's centre.
  ASSERT_TRUE(map.Sample({6.0, 6.0}, descriptor));
  EXPECT_NEAR(descriptor[0], 1.0f, 1e-6f);
  EXPECT_NEAR(descriptor[1], 0.0f, 1e-6f);
}

TEST(FeatureMapTest, SampleRefusesPositionsOutside) {
  const FeatureMap map =
      TestMap(2, 2, {1.0f, 0.0f, 0.0f, 1.0f, 0.6f, 0.8f, 1.0f, 0.0f});
  float descriptor[2];
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const Eigen::Vector2d& xy : {Eigen::Vector2d(1.99, 3.0),
                                    Eigen::Vector2d(3.0, 1.99),
                                    Eigen::Vector2d(6.01, 3.0),
                                    Eigen::Vector2d(3.0, 6.01),
                                    Eigen::Vector2d(1e30, 3.0),
                                    Eigen::Vector2d(kNan, 3.0),
                                    Eigen::Vector2d(3.0, kNan)}) {
    EXPECT_FALSE(map.Sample(xy, descriptor)) << xy.transpose();
  }
}

TEST(FeatureMapTest, SampleRefusesPlacesWithoutStructure) {
  float descriptor[2];
  const FeatureMap map = TestMap(2, 1, {0.0f, 0.0f, 0.0f, 1.0f});
  EXPECT_FALSE(map.Sample({2.0, 2.0}, descriptor));
  // Next to a zero descriptor the other one alone counts.
  ASSERT_TRUE(map.Sample({4.0, 2.0}, descriptor));
  EXPECT_NEAR(descriptor[1], 1.0f, 1e-6f);
  const FeatureMap opposite = TestMap(2, 1, {0.0f, -1.0f, 0.0f, 1.0f});
  EXPECT_FALSE(opposite.Sample({4.0, 2.0}, descriptor));
}

TEST(FeatureMapTest, SampleLeavesOtherNormsAlone) {
  FeatureMap map = TestMap(2, 1, {3.0f, 0.0f, 0.0f, 1.0f});
  map.unit_norm = false;
  float descriptor[2];
  ASSERT_TRUE(map.Sample({3.0, 2.0}, descriptor));
  EXPECT_NEAR(descriptor[0], 2.25f, 1e-6f);
  EXPECT_NEAR(descriptor[1], 0.25f, 1e-6f);
}

}  // namespace
}  // namespace nre
