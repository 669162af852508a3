#include "scripts/calibration/map_quality.h"

#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "s2d/coarse_maps.h"
#include "s2d/fine_maps.h"
#include "tests/testing/synthetic_features.h"

namespace nre {
namespace {

constexpr float kCoarseScale = 9.0f;
constexpr float kFineScale = 7.0f;

// Points whose descriptors the second image has, and true places that are off
// by up to a cell or two, or at the border.
class MapQualityTest : public testing::Test {
 protected:
  MapQualityTest()
      : random_(1),
        coarse_(RandomPair(40, 30, {{0.125, 0.125}, {-0.5, -0.5}})),
        fine_(RandomPair(160, 120, {{0.5, 0.5}, {-0.5, -0.5}})) {
    for (int i = 0; i < 50; ++i) {
      const Eigen::Vector2d xy(random_.Uniform(4.0, 316.0),
                               random_.Uniform(4.0, 236.0));
      points_.push_back({xy, xy + random_.Uniform2(-4.0, 4.0)});
    }
  }

  PairFeatures RandomPair(int width, int height, const MapFromImage& map) {
    const FeatureMap features =
        RandomFeatures(width, height, 16, map, &random_);
    return {features, features};
  }

  std::vector<float> Descriptors(const FeatureMap& map) const {
    std::vector<float> descriptors(points_.size() * map.channels);
    for (size_t i = 0; i < points_.size(); ++i) {
      EXPECT_TRUE(map.Sample(points_[i].xy1, &descriptors[i * map.channels]));
    }
    return descriptors;
  }

  // The sum of Eq. 6 at the true places.
  double NreOf(const LossMaps& maps) const {
    double sum = 0.0;
    for (size_t i = 0; i < points_.size(); ++i) {
      sum += maps.geometry().LogCategories() -
             maps.Weight(i, maps.geometry().map_from_image * points_[i].xy2);
    }
    return sum;
  }

  Random random_;
  PairFeatures coarse_;
  PairFeatures fine_;
  std::vector<PointPair> points_;
};

TEST_F(MapQualityTest, CoarseNreIsThatOfTheEstimatorsMaps) {
  const MapStatistics statistics =
      EvaluateCoarse(points_, coarse_, {1.0, kCoarseScale});
  const CoarseMaps maps = ComputeCoarseMaps(
      Descriptors(coarse_.map1), {}, coarse_.map2, kCoarseScale);
  EXPECT_NEAR(statistics.nre[1], NreOf(maps.maps), 1e-3);
  EXPECT_LT(statistics.nre[1], 0.9 * statistics.log_categories);
  EXPECT_EQ(statistics.BestScale(), 1);
}

TEST_F(MapQualityTest, FineNreIsThatOfTheEstimatorsMaps) {
  std::mt19937 random(3), same_random(3);
  const MapStatistics statistics = EvaluateFine(
      points_, coarse_, kCoarseScale, fine_, {kFineScale}, &random);

  std::uniform_int_distribution<int> offset(-16, 16);
  std::vector<Eigen::Vector2d> centers;
  for (const PointPair& point : points_) {
    const int dx = offset(same_random), dy = offset(same_random);
    centers.push_back(fine_.map2.map_from_image.ToImage(
        fine_.map2.map_from_image * point.xy2 + Eigen::Vector2d(dx, dy)));
  }
  const std::vector<float> coarse_descriptors = Descriptors(coarse_.map1);
  const std::vector<float> fine_descriptors = Descriptors(fine_.map1);
  const std::vector<float> log_sum_exps =
      ComputeCoarseMaps(coarse_descriptors, {}, coarse_.map2, kCoarseScale)
          .log_sum_exps;
  const FusedDescriptors rows;
  FineMapOptions options;
  options.wrong_share = 0.0;
  const auto maps = FineMaps({coarse_.map2,
                              fine_.map2,
                              coarse_descriptors,
                              fine_descriptors,
                              rows,
                              log_sum_exps,
                              kCoarseScale,
                              kFineScale},
                             options)
                        .Compute(centers);
  EXPECT_NEAR(statistics.nre[0], NreOf(*maps), 1e-2);
  EXPECT_LT(statistics.nre[0], 0.9 * statistics.log_categories);
}

TEST_F(MapQualityTest, ErrorsAreThoseOfTheHighestCell) {
  // At cells' centres, descriptors are those of the cells.
  points_.clear();
  for (const Eigen::Vector2d& truth : {Eigen::Vector2d(10.0, 9.0),
                                       Eigen::Vector2d(11.5, 9.0),
                                       Eigen::Vector2d(8.0, 12.0)}) {
    const MapFromImage& map = coarse_.map2.map_from_image;
    points_.push_back(
        {map.ToImage(Eigen::Vector2d(10.0, 9.0)), map.ToImage(truth)});
  }
  points_.push_back({Eigen::Vector2d(-50.0, 0.0), Eigen::Vector2d(9.0, 9.0)});
  const MapStatistics statistics = EvaluateCoarse(points_, coarse_, {50.0});
  ASSERT_EQ(statistics.NumPoints(), 4);
  EXPECT_NEAR(statistics.errors[0], 0.0, 1e-9);
  EXPECT_NEAR(statistics.errors[1], 1.5, 1e-9);
  EXPECT_NEAR(statistics.errors[2], 3.0, 1e-9);
  EXPECT_EQ(statistics.ShareWithin(1.0), 0.25);
  EXPECT_EQ(statistics.ShareWithin(2.0), 0.5);
  EXPECT_EQ(statistics.ShareWithin(1e9), 0.75);  // one has no descriptor
}

}  // namespace
}  // namespace nre
