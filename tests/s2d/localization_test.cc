#include "s2d/localization.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "nre/evidence.h"
#include "nre/point_view.h"
#include "tests/testing/synthetic_features.h"

namespace nre {
namespace {

// A query with features and points whose descriptors are the query's own at
// their positions, but for a share of wrong ones.
struct Example {
  FeaturePreset preset;
  ImageFeatures features;
  DescribedPoints points;

  Example(const SyntheticQuery& query, double wrong_share, Random* random) {
    preset.coarse_softmax_scale = 25.0f;
    preset.fine_softmax_scale = 25.0f;
    const LossMaps::Geometry coarse = SyntheticQuery::MapGeometry(8);
    const LossMaps::Geometry fine = SyntheticQuery::MapGeometry(2);
    features.coarse = RandomFeatures(
        coarse.width, coarse.height, 64, coarse.map_from_image, random);
    features.fine = RandomFeatures(
        fine.width, fine.height, 16, fine.map_from_image, random);
    points.xyz = query.points;
    points.coarse = RandomDescriptors(query.points.size(), 64, random);
    points.fine = RandomDescriptors(query.points.size(), 16, random);
    for (size_t i = 0; i < query.xys.size(); ++i) {
      if (random->Uniform(0.0, 1.0) < wrong_share) continue;
      EXPECT_TRUE(features.coarse.Sample(query.xys[i], &points.coarse[64 * i]));
      EXPECT_TRUE(features.fine.Sample(query.xys[i], &points.fine[16 * i]));
    }
  }

  PoseEstimate Run(const Camera& camera,
                   double* coarse_maps_ms,
                   const NreEstimationOptions& options = {},
                   const Priors& priors = Priors()) const {
    return Localize(preset,
                    features,
                    camera,
                    points,
                    options,
                    /*seed=*/1,
                    /*lo_ransac=*/nullptr,
                    coarse_maps_ms,
                    priors);
  }
};

TEST(Localize, FindsThePoseFromDescriptors) {
  Random random(1);
  const SyntheticQuery query(200, 30.0, &random);
  const Example example(query, 0.4, &random);
  double coarse_maps_ms = -1.0;
  const PoseEstimate estimate = example.Run(query.camera, &coarse_maps_ms);
  ASSERT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
  EXPECT_LT(RotationErrorDeg(estimate.cam_from_world, query.cam_from_world),
            0.1);
  EXPECT_LT(CenterError(estimate.cam_from_world, query.cam_from_world), 0.02);
  EXPECT_GE(coarse_maps_ms, 0.0);
  ASSERT_GT(estimate.support.size(), 50u);
  for (const PoseEstimate::Support& support : estimate.support) {
    EXPECT_LT((support.xy - query.xys[support.point]).norm(), 5.0);
  }

  const PoseEstimate again = example.Run(query.camera, nullptr);
  EXPECT_EQ(again.cam_from_world.rotation.coeffs(),
            estimate.cam_from_world.rotation.coeffs());
  EXPECT_EQ(again.cam_from_world.translation,
            estimate.cam_from_world.translation);
}

// What it was found with is every sixth point.
TEST(Localize, RefinesThePoseOnAllPoints) {
  Random random(5);
  const SyntheticQuery query(1200, 30.0, &random);
  const Example example(query, 0.4, &random);
  NreEstimationOptions options;
  options.max_num_points = 200;
  const PoseEstimate estimate = example.Run(query.camera, nullptr, options);
  ASSERT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
  EXPECT_LT(RotationErrorDeg(estimate.cam_from_world, query.cam_from_world),
            0.05);
  EXPECT_GT(estimate.refinement_ms, 0.0);
  EXPECT_GT(estimate.support.size(), 400u);
  for (const PoseEstimate::Support& support : estimate.support) {
    EXPECT_LT((support.xy - query.xys[support.point]).norm(), 5.0);
  }

  // The baselines have no such stage; their support indexes all points, too.
  options.method = EstimationMethod::kRe;
  const PoseEstimate other = example.Run(query.camera, nullptr, options);
  ASSERT_EQ(other.verdict, Verdict::kRegistered) << other.reason;
  EXPECT_EQ(other.refinement_ms, 0.0);
  EXPECT_LE(other.support.size(), 200u);
  ASSERT_GT(other.support.size(), 50u);
  for (const PoseEstimate::Support& support : other.support) {
    EXPECT_EQ(support.point % 6, 0u);
    EXPECT_LT((support.xy - query.xys[support.point]).norm(), 5.0);
  }
}

// However few points there are.
TEST(Localize, RefinesAFocalLengthThatWasFound) {
  Random random(6);
  const SyntheticQuery query(600, 30.0, &random);
  const Example example(query, 0.4, &random);
  const CorrectedCamera camera(query.camera, {1.01});
  Priors priors;
  priors.focal_length = {100.0, 3000.0, /*found=*/true};
  for (const int max_num_points : {200, 1000}) {
    NreEstimationOptions options;
    options.max_num_points = max_num_points;
    const PoseEstimate estimate = example.Run(camera, nullptr, options, priors);
    ASSERT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
    EXPECT_NEAR(estimate.correction.focal_scale, 1.0 / 1.01, 1e-3);
    EXPECT_LT(CenterError(estimate.cam_from_world, query.cam_from_world), 0.02);
    EXPECT_GT(estimate.support.size(), 200u);
    for (const PoseEstimate::Support& support : estimate.support) {
      EXPECT_LT((support.xy - query.xys[support.point]).norm(), 5.0);
    }
    options.max_num_refinement_points = 0;
    EXPECT_EQ(
        example.Run(camera, nullptr, options, priors).correction.focal_scale,
        1.0);
  }
}

TEST(Localize, FindsThePoseByEveryMethod) {
  Random random(4);
  const SyntheticQuery query(200, 30.0, &random);
  const Example example(query, 0.4, &random);
  std::vector<NreEstimationOptions> all(4);
  all[0].method = EstimationMethod::kRe;
  all[1].method = EstimationMethod::kMagsac;
  all[2].method = EstimationMethod::kFpr;
  all[2].fpr_start = EstimationMethod::kNre;
  all[3].method = EstimationMethod::kFpr;
  all[3].fpr_start = EstimationMethod::kMagsac;
  all[3].fpr.loss = FeatureMetricLoss::kHuber;
  for (const NreEstimationOptions& options : all) {
    const PoseEstimate estimate = example.Run(query.camera, nullptr, options);
    ASSERT_EQ(estimate.verdict, Verdict::kRegistered)
        << EstimationMethodName(options.method) << ": " << estimate.reason;
    EXPECT_LT(RotationErrorDeg(estimate.cam_from_world, query.cam_from_world),
              0.2);
    EXPECT_LT(CenterError(estimate.cam_from_world, query.cam_from_world), 0.04);
  }
}

TEST(Localize, RefusesForeignDescriptors) {
  Random random(2);
  const SyntheticQuery query(200, 30.0, &random);
  const PoseEstimate estimate =
      Example(query, 1.0, &random).Run(query.camera, nullptr);
  EXPECT_NE(estimate.verdict, Verdict::kRegistered);
  EXPECT_FALSE(estimate.reason.empty());
}

TEST(Localize, FailsWithoutPoints) {
  Random random(3);
  const SyntheticQuery query(0, 30.0, &random);
  const PoseEstimate estimate =
      Example(query, 0.0, &random).Run(query.camera, nullptr);
  EXPECT_EQ(estimate.verdict, Verdict::kFailed);
  EXPECT_FALSE(estimate.reason.empty());
}

// A share of the points is seen where the picture shows them, others where the
// flipped picture does.
class RejectMirroredTest : public testing::Test {
 protected:
  // `num_unexplained`: of the points in view, instead of those found.
  // `nearer_deg`: from the pose, the flipped one is so far around the scene,
  // where the points were seen from. `share_flipped`: the rest is seen nowhere.
  PoseEstimate Run(double share_as_it_is,
                   std::optional<int> num_unexplained = {},
                   double nearer_deg = 0.0,
                   double share_flipped = 1.0) {
    Random random(5);
    const SyntheticQuery query(300, 30.0, &random);
    Example example(query, 0.0, &random);
    const Example flipped(query, 0.0, &random);
    const FlippedCamera camera(query.camera);
    const Rigid3d flipped_pose =
        AroundTheScene(nearer_deg) * query.cam_from_world;
    for (size_t i = 0; i < query.xys.size(); ++i) {
      example.points.views.push_back(
          ViewOfPoint(flipped_pose, query.points[i]));
      const double choice = random.Uniform(0.0, 1.0) - share_as_it_is;
      Eigen::Vector2d xy;
      if (choice < 0.0 ||
          !IsInImage(camera, flipped_pose, query.points[i], &xy)) {
        continue;
      }
      if (choice > share_flipped) {
        xy << random.Uniform(0.0, SyntheticQuery::kWidth),
            random.Uniform(0.0, SyntheticQuery::kHeight);
      }
      flipped.features.coarse.Sample(xy, &example.points.coarse[64 * i]);
      flipped.features.fine.Sample(xy, &example.points.fine[16 * i]);
    }
    PoseEstimate estimate = example.Run(query.camera, nullptr);
    EXPECT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
    if (num_unexplained) {
      estimate.num_in_view = estimate.support.size() + *num_unexplained;
    }
    num_extractions_ = 0;
    RejectMirrored(
        example.preset,
        example.features,
        [&] {
          ++num_extractions_;
          return flipped.features;
        },
        query.camera,
        example.points,
        NreEstimationOptions(),
        /*seed=*/1,
        Priors(),
        &estimate);
    return estimate;
  }

  static Rigid3d AroundTheScene(double angle_deg) {
    const Eigen::Vector3d middle(0.0, 0.0, 6.5);
    const Eigen::Quaterniond rotation(
        Eigen::AngleAxisd(angle_deg * M_PI / 180.0, Eigen::Vector3d::UnitY()));
    return {rotation, middle - rotation * middle};
  }

  int num_extractions_ = 0;
};

TEST_F(RejectMirroredTest, RejectsWhatFitsBetterFlipped) {
  const PoseEstimate estimate = Run(0.35);
  EXPECT_EQ(num_extractions_, 1);
  EXPECT_EQ(estimate.verdict, Verdict::kRejected);
  EXPECT_NE(estimate.reason.find("mirrored"), std::string::npos)
      << estimate.reason;
}

// As a right pose of a symmetric building does whose references are on the
// other side.
TEST_F(RejectMirroredTest, KeepsWhatFitsBetterFlippedOnlyFromNearer) {
  EXPECT_EQ(Run(0.36, {}, 0.0, 0.42).why, Reason::kMirrored);
  const PoseEstimate estimate = Run(0.36, {}, 20.0, 0.42);
  EXPECT_EQ(num_extractions_, 1);
  EXPECT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
}

TEST_F(RejectMirroredTest, RejectsWhatFitsFarBetterFlippedAndFromNearer) {
  EXPECT_EQ(Run(0.25, {}, 20.0).why, Reason::kMirrored);
}

TEST_F(RejectMirroredTest, KeepsWhatFitsBetterAsItIs) {
  const PoseEstimate estimate = Run(0.6);
  EXPECT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
  EXPECT_TRUE(estimate.reason.empty());
}

TEST_F(RejectMirroredTest, TriesNothingWhereMostOfTheViewSupportsThePose) {
  EXPECT_EQ(Run(1.0, 10).verdict, Verdict::kRegistered);
  EXPECT_EQ(num_extractions_, 0);
}

}  // namespace
}  // namespace nre
