#include "nre/pose_estimator.h"

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

// Coarse maps of stride 8, fine ones of stride 2, both with their peaks at
// noisy positions.
PoseEstimate Estimate(const SyntheticQuery& query,
                      double wrong_share,
                      uint64_t seed) {
  Random random(seed);
  const std::vector<Eigen::Vector2d> observed =
      query.Observe(1.0, wrong_share, &random);
  return EstimatePose({query.camera,
                       query.points,
                       MakeCoarseMaps(observed, 8, 1.0),
                       GaussianFineMaps(observed, 2, 0.8)},
                      NreEstimationOptions(),
                      seed);
}

TEST(EstimatePose, FindsThePose) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Random random(seed);
    const SyntheticQuery query(300, 20.0, &random);
    const PoseEstimate estimate = Estimate(query, 0.6, seed);
    ASSERT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
    // 120 points, each good to 1 of 500 pixels of focal length and at 3 to 10.
    EXPECT_LT(RotationErrorDeg(estimate.cam_from_world, query.cam_from_world),
              0.1);
    EXPECT_LT(CenterError(estimate.cam_from_world, query.cam_from_world), 0.01);

    // Costs fall while the pose gets better, and lie below chance.
    EXPECT_LT(estimate.coarse_cost, estimate.msac_cost + 1e-9);
    EXPECT_LT(estimate.coarse_cost,
              SyntheticQuery::MapGeometry(8).LogCategories());
    EXPECT_LT(estimate.fine_cost,
              SyntheticQuery::MapGeometry(2).LogCategories());
    EXPECT_GT(estimate.support.size(), 80u);
    EXPECT_LT(estimate.support.size(), 160u);
    for (const PoseEstimate::Support& support : estimate.support) {
      Eigen::Vector2d xy;
      ASSERT_TRUE(query.camera.Project(
          estimate.cam_from_world * query.points[support.point], &xy, nullptr));
      EXPECT_LT((support.xy - xy).norm(), 3.01);  // 1.5 cells
    }
    EXPECT_GE(estimate.msac_ms, 0.0);
    EXPECT_GE(estimate.fine_gnc_ms, 0.0);
  }
}

TEST(EstimatePose, OneSeedOneResult) {
  Random random(1);
  const SyntheticQuery query(100, 20.0, &random);
  const PoseEstimate a = Estimate(query, 0.5, 3);
  const PoseEstimate b = Estimate(query, 0.5, 3);
  EXPECT_EQ(a.cam_from_world.rotation.coeffs(),
            b.cam_from_world.rotation.coeffs());
  EXPECT_EQ(a.cam_from_world.translation, b.cam_from_world.translation);
  EXPECT_EQ(a.covariance, b.covariance);
  EXPECT_EQ(a.fine_cost, b.fine_cost);
}

// Fine maps are asked for at positions of the image, or nowhere for a point
// that the coarse pose does not see.
TEST(EstimatePose, SurvivesPointsWithoutAnImage) {
  Random random(2);
  SyntheticQuery query(150, 20.0, &random);
  query.points[5] =
      query.cam_from_world.Inverse() * Eigen::Vector3d(0.0, 0.0, -3.0);
  query.points[6].setConstant(std::numeric_limits<double>::quiet_NaN());
  query.points[7].setConstant(1e200);
  const PoseEstimate estimate = Estimate(query, 0.3, 4);
  ASSERT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
  EXPECT_LT(RotationErrorDeg(estimate.cam_from_world, query.cam_from_world),
            0.1);
  EXPECT_TRUE(estimate.covariance.allFinite());
}

TEST(EstimatePose, FailsWithAReason) {
  Random random(3);
  for (const int num_points : {0, 1, 2}) {
    const SyntheticQuery query(num_points, 20.0, &random);
    const PoseEstimate estimate = Estimate(query, 0.0, 1);
    EXPECT_EQ(estimate.verdict, Verdict::kFailed);
    EXPECT_FALSE(estimate.reason.empty());
  }
  const SyntheticQuery few(6, 20.0, &random);
  const PoseEstimate estimate = Estimate(few, 0.0, 1);
  EXPECT_EQ(estimate.verdict, Verdict::kRejected);
  EXPECT_FALSE(estimate.reason.empty());
}

// A pose that was found with some of the points, and all of them.
struct Refinement {
  SyntheticQuery query;
  std::vector<Eigen::Vector2d> observed;
  std::vector<Eigen::Vector3d> first_points;
  std::vector<Eigen::Vector2d> first_observed;
  SparseLossMaps coarse;
  GaussianFineMaps fine;

  explicit Refinement(uint64_t seed) : Refinement(Random(seed)) {}

  explicit Refinement(Random random)
      : query(1000, 20.0, &random),
        observed(query.Observe(1.5, 0.4, &random)),
        coarse(MakeCoarseMaps(observed, 8, 1.0)),
        fine(observed, 2, 0.8) {
    constexpr int kNumFirst = 100;
    first_points.assign(query.points.begin(), query.points.begin() + kNumFirst);
    first_observed.assign(observed.begin(), observed.begin() + kNumFirst);
  }

  // The problem of all points.
  PoseProblem Problem(const Camera& camera, const Priors& priors) const {
    return {camera, query.points, coarse, fine, priors};
  }

  PoseEstimate Find(const Camera& camera,
                    const Priors& priors,
                    uint64_t seed) const {
    return EstimatePose({camera,
                         first_points,
                         MakeCoarseMaps(first_observed, 8, 1.0),
                         GaussianFineMaps(first_observed, 2, 0.8),
                         priors},
                        NreEstimationOptions(),
                        seed);
  }

  PoseEstimate Find(uint64_t seed) const {
    return Find(query.camera, Priors(), seed);
  }
};

TEST(RefineOnMorePoints, IsMoreExact) {
  double before = 0.0, after = 0.0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const Refinement refinement(seed);
    const SyntheticQuery& query = refinement.query;
    PoseEstimate estimate = refinement.Find(seed);
    const double log_false_alarms = estimate.log_false_alarms;
    ASSERT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
    const size_t num_support = estimate.support.size();
    const double trace = estimate.covariance.trace();
    before += CenterError(estimate.cam_from_world, query.cam_from_world);
    ASSERT_TRUE(RefineOnMorePoints(refinement.Problem(query.camera, Priors()),
                                   &estimate));
    after += CenterError(estimate.cam_from_world, query.cam_from_world);
    EXPECT_GT(estimate.support.size(), 5 * num_support);
    EXPECT_LT(estimate.covariance.trace(), 0.5 * trace);
    EXPECT_EQ(estimate.log_false_alarms, log_false_alarms);
    for (const PoseEstimate::Support& support : estimate.support) {
      EXPECT_LT((support.xy - query.xys[support.point]).norm(), 8.0);
    }
  }
  // Ten times as many points: sqrt(10) by the law of large numbers.
  EXPECT_LT(after, before / 2.0);
}

// Found with a focal length that is off by 1 %, as a first look may leave it.
TEST(RefineOnMorePoints, FindsTheFocalLength) {
  Priors priors;
  priors.focal_length = {100.0, 3000.0, /*found=*/true};
  double before = 0.0, after = 0.0, normalized2 = 0.0;
  constexpr int kNumTrials = 20;
  for (uint64_t seed = 1; seed <= kNumTrials; ++seed) {
    const Refinement refinement(seed);
    const SyntheticQuery& query = refinement.query;
    const double true_focal_length = query.camera.MeanFocalLength();
    const CorrectedCamera camera(query.camera, {seed % 2 == 0 ? 0.99 : 1.01});
    PoseEstimate estimate = refinement.Find(camera, priors, seed);
    ASSERT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
    // It is held, but its uncertainty is that of one that is not known.
    EXPECT_EQ(estimate.correction.focal_scale, 1.0);
    EXPECT_GT(estimate.focal_length_std_px, 0.0);
    const double std_before = estimate.focal_length_std_px;
    const double log_false_alarms = estimate.log_false_alarms;
    before += CenterError(estimate.cam_from_world, query.cam_from_world);
    ASSERT_TRUE(
        RefineOnMorePoints(refinement.Problem(camera, priors), &estimate));
    after += CenterError(estimate.cam_from_world, query.cam_from_world);
    EXPECT_NEAR(estimate.focal_length_px,
                estimate.correction.focal_scale * camera.MeanFocalLength(),
                1e-9);
    const double error = estimate.focal_length_px - true_focal_length;
    EXPECT_LT(std::abs(error), 0.004 * true_focal_length);
    EXPECT_LT(estimate.focal_length_std_px, 0.6 * std_before);
    normalized2 +=
        std::pow(error / estimate.focal_length_std_px, 2) / kNumTrials;
    EXPECT_EQ(estimate.log_false_alarms, log_false_alarms);
    EXPECT_GT(estimate.support.size(), 300u);
    for (const PoseEstimate::Support& support : estimate.support) {
      EXPECT_LT((support.xy - query.xys[support.point]).norm(), 8.0);
    }
  }
  EXPECT_LT(after, before / 2.0);
  EXPECT_GT(normalized2, 0.4);
  EXPECT_LT(normalized2, 2.5);
}

TEST(RefineOnMorePoints, LeavesThePoseWhereTheMapsSayNothing) {
  const Refinement refinement(1);
  const PoseEstimate found = refinement.Find(1);
  PoseEstimate estimate = found;
  const std::vector<Eigen::Vector2d> nowhere(refinement.observed.size(),
                                             Eigen::Vector2d(-1e4, -1e4));
  EXPECT_FALSE(RefineOnMorePoints({refinement.query.camera,
                                   refinement.query.points,
                                   refinement.coarse,
                                   GaussianFineMaps(nowhere, 2, 0.8)},
                                  &estimate));
  EXPECT_EQ(estimate.cam_from_world.translation,
            found.cam_from_world.translation);
  EXPECT_EQ(estimate.covariance, found.covariance);
  EXPECT_EQ(estimate.support.size(), found.support.size());
}

TEST(VerdictName, NamesAll) {
  EXPECT_STREQ(VerdictName(Verdict::kRegistered), "registered");
  EXPECT_STREQ(VerdictName(Verdict::kRejected), "rejected");
  EXPECT_STREQ(VerdictName(Verdict::kFailed), "failed");
}

TEST(NreEstimationOptions, CheckRefusesNonsense) {
  EXPECT_TRUE(NreEstimationOptions().Check());
  const auto check = [](auto change) {
    NreEstimationOptions options;
    change(&options);
    return options.Check();
  };
  EXPECT_FALSE(check([](auto* o) { o->max_num_points = 2; }));
  EXPECT_FALSE(check([](auto* o) { o->max_num_refinement_points = -1; }));
  EXPECT_FALSE(check([](auto* o) { o->num_hypotheses = 0; }));
  EXPECT_FALSE(check([](auto* o) { o->max_num_hypotheses = 0; }));
  EXPECT_FALSE(check([](auto* o) { o->num_refined_hypotheses = 0; }));
  for (const double bad :
       {0.0, -0.1, 1.1, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_FALSE(check([&](auto* o) { o->sampling_share = bad; }));
  }
}

}  // namespace
}  // namespace nre
