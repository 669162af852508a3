#include "nre/nearby_minima.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "nre/gnc.h"
#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

using Vector6d = Eigen::Matrix<double, 6, 1>;

constexpr int kCoarseStride = 8;
constexpr int kFineStride = 2;

// Maps with peaks at two places, the second `factor` times as high.
class TwoPeaks : public FineMapSource {
 public:
  TwoPeaks(const std::vector<Eigen::Vector2d>& first,
           const std::vector<Eigen::Vector2d>& second,
           double factor)
      : first_(first, kFineStride, 0.7),
        second_(second, kFineStride, 0.7),
        factor_(factor) {}

  std::unique_ptr<LossMaps> Compute(
      const std::vector<Eigen::Vector2d>& xy_image) const override {
    std::unique_ptr<LossMaps> maps = first_.Compute(xy_image);
    const std::unique_ptr<LossMaps> others = second_.Compute(xy_image);
    auto& dense = dynamic_cast<DenseLossMaps&>(*maps);
    const auto& other = dynamic_cast<const DenseLossMaps&>(*others);
    for (size_t i = 0; i < dense.NumPoints(); ++i) {
      for (int k = 0; k < dense.CellsPerMap(); ++k) {
        dense.Data(i)[k] = std::max(
            dense.Data(i)[k], static_cast<float>(factor_ * other.Data(i)[k]));
      }
    }
    return maps;
  }

 private:
  GaussianFineMaps first_;
  GaussianFineMaps second_;
  double factor_;
};

// A narrow view of points at similar depths, and another pose that is turned
// about their middle and so shows them at hardly other places.
struct NarrowView {
  SyntheticQuery query;
  Rigid3d other;
  std::vector<Eigen::Vector2d> other_xys;

  NarrowView(double turn_deg, Random* random) : query(0, 0.0, random) {
    Eigen::Vector3d middle = Eigen::Vector3d::Zero();
    constexpr int kNumPoints = 80;
    for (int i = 0; i < kNumPoints; ++i) {
      query.Add({random->Uniform(250.0, 400.0), random->Uniform(200.0, 300.0)},
                random->Uniform(4.0, 5.0));
      middle += query.cam_from_world * query.points.back() / kNumPoints;
    }
    Rigid3d turn;
    turn.rotation =
        Eigen::AngleAxisd(turn_deg * M_PI / 180.0, Eigen::Vector3d::UnitY());
    turn.translation = middle - turn.rotation * middle;
    other = turn * query.cam_from_world;
    for (const Eigen::Vector3d& point : query.points) {
      Eigen::Vector2d xy;
      query.camera.Project(other * point, &xy, nullptr);
      other_xys.push_back(xy);
    }
  }
};

TEST(FindNearbyMinima, FindsADeeperOneAlongTheValley) {
  // The second is too far along the valley for a straight line.
  for (int seed = 0; seed < 10; ++seed) {
    Random random(100 + seed);
    const NarrowView view(seed % 2 == 0 ? 12.0 : 35.0, &random);
    const SyntheticQuery& query = view.query;
    const std::unique_ptr<LossMaps> fine =
        TwoPeaks(query.xys, view.other_xys, 1.1).Compute(query.xys);
    Rigid3d start = query.cam_from_world;
    GncOptions options;
    options.sigmas = {0.6};
    RefinePoseGnc(query.camera, query.points, *fine, options, &start);
    ASSERT_LT(RotationErrorDeg(start, query.cam_from_world), 1.0);

    const std::vector<NearbyMinimum> minima =
        FindNearbyMinima(query.camera, query.points, *fine, Priors(), start);
    EXPECT_EQ(RotationErrorDeg(minima.front().cam_from_world, start), 0.0);
    bool has_other = false;
    for (const NearbyMinimum& minimum : minima) {
      EXPECT_NEAR(minimum.cost,
                  query.points.size() * MeanNre(query.camera,
                                                query.points,
                                                *fine,
                                                minimum.cam_from_world),
                  1e-9);
      has_other |= RotationErrorDeg(minimum.cam_from_world, view.other) < 1.0 &&
                   minimum.cost < minima.front().cost;
    }
    EXPECT_TRUE(has_other);
  }
}

TEST(FindNearbyMinima, AreNoneWhereThePoseIsWellDetermined) {
  Random random(200);
  const SyntheticQuery query(200, 20.0, &random);
  const std::unique_ptr<LossMaps> fine =
      GaussianFineMaps(query.xys, kFineStride, 1.0).Compute(query.xys);
  const std::vector<NearbyMinimum> minima = FindNearbyMinima(
      query.camera, query.points, *fine, Priors(), query.cam_from_world);
  ASSERT_EQ(minima.size(), 1);
  EXPECT_EQ(minima[0].cam_from_world.translation,
            query.cam_from_world.translation);
}

TEST(FindNearbyMinima, AreNoneWhereNothingIsInView) {
  Random random(201);
  const SyntheticQuery query(20, 20.0, &random);
  const std::unique_ptr<LossMaps> fine =
      GaussianFineMaps(query.xys, kFineStride, 1.0).Compute(query.xys);
  Rigid3d away = query.cam_from_world;
  away.translation.z() -= 100.0;
  EXPECT_EQ(FindNearbyMinima(query.camera, query.points, *fine, Priors(), away)
                .size(),
            1);
}

TEST(ScatterOfMinima, IsTheWeightedSecondMoment) {
  Random random(300);
  const Rigid3d pose = random.Pose();
  Vector6d a, b;
  a << 0.02, -0.01, 0.03, 0.1, 0.2, -0.3;
  b << -0.01, 0.0, 0.02, -0.3, 0.1, 0.0;
  const std::vector<NearbyMinimum> minima = {
      {pose, 7.0}, {PerturbLeft(a, pose), 5.0}, {PerturbLeft(b, pose), 11.0}};
  const double weight = std::exp(-1.0), weight_b = std::exp(-3.0);
  const Matrix6d expected = (a * a.transpose() + weight_b * b * b.transpose()) /
                            (weight + 1.0 + weight_b);
  EXPECT_TRUE(ScatterOfMinima(minima, 2.0).isApprox(expected, 1e-9));
  EXPECT_TRUE(ScatterOfMinima({minima[0]}, 2.0).isZero(1e-12));
}

// Two minima about as deep: their distance is how uncertain the pose is, even
// if either of them is narrow.
TEST(EstimatePose, IsAsUncertainAsItsMinimaAreFarApart) {
  constexpr double kTurnDeg = 12.0;
  for (int seed = 0; seed < 5; ++seed) {
    Random random(400 + seed);
    const NarrowView view(kTurnDeg, &random);
    const SyntheticQuery& query = view.query;
    const auto estimate = [&](double factor) {
      return EstimatePose({query.camera,
                           query.points,
                           MakeCoarseMaps(query.xys, kCoarseStride, 1.0),
                           TwoPeaks(query.xys, view.other_xys, factor)},
                          NreEstimationOptions(),
                          seed);
    };
    const PoseEstimate sure = estimate(0.0);
    EXPECT_EQ(sure.verdict, Verdict::kRegistered) << sure.reason;
    const PoseEstimate torn = estimate(1.0);
    EXPECT_EQ(torn.verdict, Verdict::kRejected);
    EXPECT_NE(torn.reason.find("uncertain"), std::string::npos) << torn.reason;
    const double std_deg =
        std::sqrt(torn.covariance.diagonal().head<3>().sum()) * 180.0 / M_PI;
    EXPECT_GT(std_deg, 0.3 * kTurnDeg);
    EXPECT_LT(std_deg, 1.5 * kTurnDeg);
  }
}

}  // namespace
}  // namespace nre
