// A small fixed version of scripts/benchmark/estimator_study: fails where the
// estimator finds fewer poses than it did.

#include <cstdio>

#include <gtest/gtest.h>

#include "nre/pose_estimator.h"
#include "tests/testing/generated_maps.h"

namespace nre {
namespace {

// Of `num_queries`, those whose pose is right, whatever the verdict.
int NumRight(GeneratedMapsOptions options,
             double wrong_share,
             int num_queries) {
  options.num_points = 300;
  options.wrong_share = wrong_share;
  int num_right = 0;
  for (int seed = 1; seed <= num_queries; ++seed) {
    const GeneratedQuery query(options, seed);
    const PoseEstimate estimate = EstimatePose(
        {query.camera(), query.points(), query.coarse_maps(), query},
        NreEstimationOptions(),
        seed);
    const bool is_right =
        CenterError(estimate.cam_from_world, query.cam_from_world()) <= 0.1 &&
        RotationErrorDeg(estimate.cam_from_world, query.cam_from_world()) <=
            1.0;
    num_right += is_right;
    EXPECT_TRUE(is_right || estimate.verdict != Verdict::kRegistered) << seed;
  }
  std::printf("%.0f %% wrong: %d of %d poses are right\n",
              100.0 * wrong_share,
              num_right,
              num_queries);
  return num_right;
}

TEST(EstimatePoseRecall, OfMixedMaps) {
  EXPECT_EQ(NumRight({}, 0.0, 3), 3);
  EXPECT_EQ(NumRight({}, 0.7, 5), 5);
  EXPECT_GE(NumRight({}, 0.9, 12), 11);
}

TEST(EstimatePoseRecall, OfMapsThatAreTooSure) {
  GeneratedMapsOptions options;
  options.sharpness = 2.0;
  EXPECT_EQ(NumRight(options, 0.8, 5), 5);
}

// Nothing but several places each, the right one often not the likeliest.
TEST(EstimatePoseRecall, OfMapsWithSeveralModes) {
  GeneratedMapsOptions options;
  options.sharp = options.diffuse = options.biased = 0.0;
  EXPECT_EQ(NumRight(options, 0.7, 5), 5);
}

TEST(EstimatePoseRecall, OfWrongMapsThatAgree) {
  GeneratedMapsOptions options;
  options.agreeing_share = 0.2;
  EXPECT_EQ(NumRight(options, 0.7, 5), 5);
}

}  // namespace
}  // namespace nre
