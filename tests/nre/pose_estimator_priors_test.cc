#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <Eigen/Cholesky>
#include <gtest/gtest.h>

#include "nre/evidence.h"
#include "nre/gnc.h"
#include "nre/pose_estimator.h"
#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

constexpr double kTrueFocalLength = 1.05 * SyntheticQuery::kFocalLength;

Priors UnknownFocalLength() {
  Priors priors;
  priors.focal_length = {0.1 * SyntheticQuery::kWidth,
                         10.0 * SyntheticQuery::kWidth};
  return priors;
}

// As in the tests of EstimatePose().
PoseEstimate Estimate(const Camera& camera,
                      const SyntheticQuery& query,
                      const std::vector<Eigen::Vector2d>& observed,
                      const Priors& priors,
                      uint64_t seed) {
  return EstimatePose({camera,
                       query.points,
                       MakeCoarseMaps(observed, 8, 1.0),
                       GaussianFineMaps(observed, 2, 0.8),
                       priors},
                      NreEstimationOptions(),
                      seed);
}

TEST(EstimatePose, FindsAnyFocalLength) {
  uint64_t seed = 0;
  for (const double factor : {0.3, 0.7, 1.0, 2.0, 4.0}) {
    Random random(++seed);
    const SyntheticQuery query(300, 20.0, &random);
    const std::vector<Eigen::Vector2d> observed =
        query.Observe(1.0, 0.6, &random);
    // What the user gives; only the ratio of fx and fy has to be right.
    const CorrectedCamera wrong(query.camera, {factor});
    const PoseEstimate estimate =
        Estimate(wrong, query, observed, UnknownFocalLength(), seed);
    ASSERT_EQ(estimate.verdict, Verdict::kRegistered)
        << factor << ": " << estimate.reason;
    EXPECT_NEAR(estimate.correction.focal_scale * factor, 1.0, 0.01);
    EXPECT_NEAR(estimate.focal_length_px, kTrueFocalLength, 5.0);
    EXPECT_LT(std::abs(estimate.focal_length_px - kTrueFocalLength),
              4.0 * estimate.focal_length_std_px);
    EXPECT_LT(estimate.focal_length_std_px, 5.0);
    EXPECT_LT(RotationErrorDeg(estimate.cam_from_world, query.cam_from_world),
              0.2);
    EXPECT_LT(CenterError(estimate.cam_from_world, query.cam_from_world), 0.05);
  }
}

TEST(EstimatePose, OneSeedOneResult) {
  Random random(1);
  const SyntheticQuery query(100, 20.0, &random);
  const std::vector<Eigen::Vector2d> observed =
      query.Observe(1.0, 0.5, &random);
  const PoseEstimate a =
      Estimate(query.camera, query, observed, UnknownFocalLength(), 3);
  const PoseEstimate b =
      Estimate(query.camera, query, observed, UnknownFocalLength(), 3);
  EXPECT_EQ(a.cam_from_world.rotation.coeffs(),
            b.cam_from_world.rotation.coeffs());
  EXPECT_EQ(a.cam_from_world.translation, b.cam_from_world.translation);
  EXPECT_EQ(a.correction.focal_scale, b.correction.focal_scale);
  EXPECT_EQ(a.covariance, b.covariance);
}

TEST(EstimatePose, CovarianceIsTheScatterOfRepeatedEstimates) {
  constexpr int kNumTrials = 60;
  Random random(5);
  const SyntheticQuery query(200, 20.0, &random);
  double pose_error = 0.0, focal_error = 0.0;
  int num_rejected = 0;
  for (int trial = 0; trial < kNumTrials; ++trial) {
    // The noise that the maps speak of: 0.8 cells of 2 px, and the kernel's
    // sigma of one cell on top of that widens the minimum.
    const std::vector<Eigen::Vector2d> observed =
        query.Observe(1.6, 0.0, &random);
    CorrectedPose pose = {query.cam_from_world, {}};
    const auto maps = GaussianFineMaps(observed, 2, 0.8).Compute(query.xys);
    RefinePoseGncCeres(query.camera,
                       query.points,
                       *maps,
                       GncOptions::Fine(),
                       UnknownFocalLength(),
                       &pose);
    PoseEstimate estimate;
    estimate.cam_from_world = pose.cam_from_world;
    const CorrectedCamera camera(query.camera, {pose.correction.focal_scale});
    FindSupport(camera, query.points, *maps, &estimate, UnknownFocalLength());
    JudgeEvidence(camera, query.points, *maps, &estimate, UnknownFocalLength());
    // By chance, one in fifty seems to have another lens, but not much.
    ASSERT_LT(estimate.lens_score, 14.0);
    ASSERT_EQ(estimate.verdict,
              estimate.lens_score > kMaxUnstatedLensScore
                  ? Verdict::kRejected
                  : Verdict::kRegistered)
        << estimate.reason;
    num_rejected += estimate.verdict == Verdict::kRejected;
    const Rigid3d difference =
        query.cam_from_world * pose.cam_from_world.Inverse();
    const Eigen::AngleAxisd turn(difference.rotation);
    Eigen::Matrix<double, 6, 1> error;
    error << turn.angle() * turn.axis(), difference.translation;
    pose_error += error.dot(estimate.covariance.llt().solve(error));
    focal_error += std::pow((estimate.focal_length_px - kTrueFocalLength) /
                                estimate.focal_length_std_px,
                            2);
  }
  std::printf("normalised squared errors: pose %.2f, focal length %.2f\n",
              pose_error / kNumTrials,
              focal_error / kNumTrials);
  EXPECT_LE(num_rejected, 1);
  EXPECT_GT(pose_error / kNumTrials, 6.0 / 3.0);
  EXPECT_LT(pose_error / kNumTrials, 6.0 * 3.0);
  EXPECT_GT(focal_error / kNumTrials, 1.0 / 3.0);
  EXPECT_LT(focal_error / kNumTrials, 3.0);
}

// A plane seen head-on: the camera may be near or its focal length long.
TEST(EstimatePose, APlaneSeenHeadOnIsNotRegistered) {
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    Random random(seed);
    SyntheticQuery query(0, 20.0, &random);
    for (int i = 0; i < 300; ++i) {
      const double x = random.Uniform(20.0, SyntheticQuery::kWidth - 20.0);
      const double y = random.Uniform(20.0, SyntheticQuery::kHeight - 20.0);
      query.Add({x, y}, 5.0);
    }
    const std::vector<Eigen::Vector2d> observed =
        query.Observe(1.0, 0.3, &random);
    const PoseEstimate estimate =
        Estimate(query.camera, query, observed, UnknownFocalLength(), seed);
    EXPECT_EQ(estimate.verdict, Verdict::kRejected)
        << CenterError(estimate.cam_from_world, query.cam_from_world) << ", "
        << estimate.focal_length_px;
    EXPECT_NE(estimate.reason.find("uncertain"), std::string::npos)
        << estimate.reason;
    // Nor is it once a focal length was found: it is as uncertain.
    Priors found = UnknownFocalLength();
    found.focal_length->found = true;
    const PoseEstimate again =
        Estimate(query.camera, query, observed, found, seed);
    EXPECT_EQ(again.verdict, Verdict::kRejected);
    EXPECT_NE(again.reason.find("uncertain"), std::string::npos)
        << again.reason;
    // With a known focal length it is.
    const PoseEstimate known =
        Estimate(query.camera, query, observed, Priors(), seed);
    EXPECT_EQ(known.verdict, Verdict::kRegistered) << known.reason;
  }
}

TEST(EstimatePose, RandomMapsAreNotRegistered) {
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    Random random(seed);
    const SyntheticQuery query(300, 20.0, &random);
    const std::vector<Eigen::Vector2d> observed =
        query.Observe(1.0, 1.0, &random);
    EXPECT_NE(
        Estimate(query.camera, query, observed, UnknownFocalLength(), seed)
            .verdict,
        Verdict::kRegistered);
  }
}

Priors PositionAt(const Eigen::Vector3d& mean, double stddev) {
  Priors priors;
  priors.position = PositionPrior();
  priors.position->mean = mean;
  priors.position->covariance = stddev * stddev * Eigen::Matrix3d::Identity();
  return priors;
}

// Fine maps with two peaks.
class TwoPeaks : public FineMapSource {
 public:
  TwoPeaks(const std::vector<Eigen::Vector2d>& a,
           const std::vector<Eigen::Vector2d>& b)
      : a_(a, 2, 0.8), b_(b, 2, 0.8) {}

  std::unique_ptr<LossMaps> Compute(
      const std::vector<Eigen::Vector2d>& xy_image) const override {
    std::unique_ptr<LossMaps> maps = a_.Compute(xy_image);
    const std::unique_ptr<LossMaps> others = b_.Compute(xy_image);
    auto& weights = static_cast<DenseLossMaps&>(*maps);
    const auto& more = static_cast<const DenseLossMaps&>(*others);
    for (size_t i = 0; i < weights.NumPoints(); ++i) {
      for (int k = 0; k < weights.CellsPerMap(); ++k) {
        weights.Data(i)[k] = std::max(weights.Data(i)[k], more.Data(i)[k]);
      }
    }
    return maps;
  }

 private:
  GaussianFineMaps a_, b_;
};

// Two poses that explain the same maps equally well.
struct AmbiguousScene {
  SyntheticQuery query;
  Rigid3d poses[2];
  std::vector<Eigen::Vector2d> xys[2];

  explicit AmbiguousScene(Random* random) : query(0, 20.0, random) {
    poses[0] = query.cam_from_world;
    Eigen::Matrix<double, 6, 1> change;
    change << 0.1, 0.0, 0.5, 0.4, -0.3, 0.2;
    poses[1] = PerturbLeft(change, poses[0]);
    // Points that both poses see.
    while (query.points.size() < 200) {
      query.Add({random->Uniform(20.0, SyntheticQuery::kWidth - 20.0),
                 random->Uniform(20.0, SyntheticQuery::kHeight - 20.0)},
                random->Uniform(3.0, 10.0));
      Eigen::Vector2d xy;
      if (!query.camera.Project(poses[1] * query.points.back(), &xy, nullptr) ||
          (xy.array() < 20.0).any() || xy.x() > SyntheticQuery::kWidth - 20.0 ||
          xy.y() > SyntheticQuery::kHeight - 20.0) {
        query.points.pop_back();
        query.xys.pop_back();
      }
    }
    xys[0] = query.xys;
    xys[1] = ProjectAll(query.camera, query.points, poses[1]);
    for (int k = 0; k < 2; ++k) {
      for (Eigen::Vector2d& xy : xys[k]) xy += random->Normal2(0.5);
    }
  }

  PoseEstimate Estimate(const Priors& priors) const {
    const LossMaps::Geometry geometry = SyntheticQuery::MapGeometry(8);
    SparseLossMaps coarse(geometry);
    for (size_t i = 0; i < query.points.size(); ++i) {
      WeightMap map(geometry.width, geometry.height);
      for (int k = 0; k < 2; ++k) {
        const WeightMap one =
            GaussianWeights(geometry.width,
                            geometry.height,
                            geometry.map_from_image * xys[k][i],
                            1.0);
        for (size_t c = 0; c < map.weights.size(); ++c) {
          map.weights[c] = std::max(map.weights[c], one.weights[c]);
        }
      }
      coarse.AddPoint(map.weights.data());
    }
    return EstimatePose(
        {query.camera, query.points, coarse, TwoPeaks(xys[0], xys[1]), priors},
        NreEstimationOptions(),
        1);
  }
};

TEST(EstimatePose, PriorsResolveAmbiguities) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Random random(seed);
    const AmbiguousScene scene(&random);
    for (int k = 0; k < 2; ++k) {
      const Rigid3d& pose = scene.poses[k];
      Priors gravity;
      gravity.gravity = GravityPrior();
      gravity.gravity->down_in_cam =
          pose.rotation * gravity.gravity->down_in_world;
      gravity.gravity->stddev_deg = 3.0;
      for (const Priors& priors :
           {PositionAt(ProjectionCenter(pose) + 0.05 * random.Normal3(1.0),
                       0.05),
            gravity}) {
        const PoseEstimate estimate = scene.Estimate(priors);
        EXPECT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
        EXPECT_LT(CenterError(estimate.cam_from_world, pose), 0.02);
        EXPECT_LT(RotationErrorDeg(estimate.cam_from_world, pose), 0.2);
      }
    }
  }
}

TEST(EstimatePose, AVaguePriorDoesNoHarm) {
  Random random(1);
  const SyntheticQuery query(200, 20.0, &random);
  const std::vector<Eigen::Vector2d> observed =
      query.Observe(1.0, 0.5, &random);
  const PoseEstimate without =
      Estimate(query.camera, query, observed, Priors(), 1);
  Priors priors = PositionAt(
      ProjectionCenter(query.cam_from_world) + Eigen::Vector3d(3, -2, 1), 5.0);
  priors.gravity = GravityPrior();
  priors.gravity->down_in_cam =
      Eigen::AngleAxisd(0.5, Eigen::Vector3d::UnitX()) *
      (query.cam_from_world.rotation * priors.gravity->down_in_world);
  priors.gravity->stddev_deg = 30.0;
  const PoseEstimate with = Estimate(query.camera, query, observed, priors, 1);
  EXPECT_EQ(with.verdict, Verdict::kRegistered) << with.reason;
  EXPECT_LT(CenterError(with.cam_from_world, without.cam_from_world), 1e-3);
  EXPECT_LT(RotationErrorDeg(with.cam_from_world, without.cam_from_world),
            1e-2);
}

// Points are at depths of 3 to 10.
TEST(EstimatePose, AWrongPriorDoesNotRegisterAWrongPose) {
  Random random(2);
  const SyntheticQuery query(200, 20.0, &random);
  const std::vector<Eigen::Vector2d> observed =
      query.Observe(1.0, 0.3, &random);
  int num_rejected = 0;
  const auto expect_not_wrong = [&](const Priors& priors) {
    const PoseEstimate estimate =
        Estimate(query.camera, query, observed, priors, 1);
    if (estimate.verdict == Verdict::kRegistered) {
      EXPECT_LT(CenterError(estimate.cam_from_world, query.cam_from_world),
                0.1);
      EXPECT_LT(RotationErrorDeg(estimate.cam_from_world, query.cam_from_world),
                1.0);
    } else {
      ++num_rejected;
    }
  };
  const Eigen::Vector3d center = ProjectionCenter(query.cam_from_world);
  for (const double distance : {0.1, 0.2, 0.4, 1.0, 3.0}) {
    for (const double share : {0.01, 0.1}) {
      expect_not_wrong(
          PositionAt(center + distance * random.Normal3(1.0).normalized(),
                     share * distance));
    }
  }
  for (const double angle_deg : {2.0, 5.0, 20.0, 180.0}) {
    Priors priors;
    priors.gravity = GravityPrior();
    priors.gravity->down_in_cam =
        Eigen::AngleAxisd(
            angle_deg * M_PI / 180.0,
            query.cam_from_world.rotation * Eigen::Vector3d::UnitX()) *
        (query.cam_from_world.rotation * priors.gravity->down_in_world);
    priors.gravity->stddev_deg = 0.1 * angle_deg;
    expect_not_wrong(priors);
  }
  EXPECT_GE(num_rejected, 12);
}

}  // namespace
}  // namespace nre
