#include "nre/reprojection_cost.h"

#include <limits>
#include <vector>

#include <ceres/manifold.h>
#include <gtest/gtest.h>

#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

using Vector6d = Eigen::Matrix<double, 6, 1>;

std::vector<PointMatch> Matches(const SyntheticQuery& query) {
  std::vector<PointMatch> matches;
  for (size_t i = 0; i < query.points.size(); ++i) {
    matches.push_back({query.points[i], query.xys[i]});
  }
  return matches;
}

TEST(ReprojectionCostFunction, JacobianIsThatOfTheResidual) {
  Random random(1);
  const SyntheticQuery query(20, 10.0, &random);
  const ceres::EigenQuaternionManifold manifold;
  for (const PointMatch& match : Matches(query)) {
    const ReprojectionCostFunction cost(&query.camera, &match);
    const Rigid3d pose = MoveAway(query.cam_from_world, 0.1, 0.3, &random);
    const auto residual = [&](const Vector6d& delta) {
      Rigid3d moved;
      manifold.Plus(pose.rotation.coeffs().data(),
                    delta.data(),
                    moved.rotation.coeffs().data());
      moved.translation = pose.translation + delta.tail<3>();
      const double* parameters[] = {moved.rotation.coeffs().data(),
                                    moved.translation.data()};
      Eigen::Vector2d r;
      EXPECT_TRUE(cost.Evaluate(parameters, r.data(), nullptr));
      return r;
    };
    const double* parameters[] = {pose.rotation.coeffs().data(),
                                  pose.translation.data()};
    Eigen::Vector2d r;
    Eigen::Matrix<double, 2, 4, Eigen::RowMajor> by_rotation;
    Eigen::Matrix<double, 2, 3, Eigen::RowMajor> by_translation;
    double* jacobians[] = {by_rotation.data(), by_translation.data()};
    ASSERT_TRUE(cost.Evaluate(parameters, r.data(), jacobians));
    Eigen::Matrix<double, 4, 3, Eigen::RowMajor> plus_jacobian;
    manifold.PlusJacobian(parameters[0], plus_jacobian.data());
    Eigen::Matrix<double, 2, 6> jacobian;
    jacobian << by_rotation * plus_jacobian, by_translation;

    Eigen::Vector2d xy;
    ASSERT_TRUE(
        query.camera.Project(pose * match.point_in_world, &xy, nullptr));
    EXPECT_LT((r - (xy - match.xy)).norm(), 1e-9);
    constexpr double kStep = 1e-6;
    for (int k = 0; k < 6; ++k) {
      const Vector6d step = kStep * Vector6d::Unit(k);
      const Eigen::Vector2d difference =
          (residual(step) - residual(-step)) / (2.0 * kStep);
      EXPECT_LT((jacobian.col(k) - difference).norm(),
                1e-5 * (1.0 + difference.norm()));
    }
  }
}

TEST(ReprojectionCostFunction, RefusesAPointBehindTheCamera) {
  Random random(2);
  const SyntheticQuery query(1, 10.0, &random);
  const PointMatch match = {
      query.cam_from_world.Inverse() * Eigen::Vector3d(0.0, 0.0, -2.0),
      Eigen::Vector2d::Zero()};
  const ReprojectionCostFunction cost(&query.camera, &match);
  const double* parameters[] = {query.cam_from_world.rotation.coeffs().data(),
                                query.cam_from_world.translation.data()};
  Eigen::Vector2d r;
  EXPECT_FALSE(cost.Evaluate(parameters, r.data(), nullptr));
}

TEST(RefinePoseReprojection, FindsThePoseAmongWrongMatches) {
  Random random(3);
  const SyntheticQuery query(100, 10.0, &random);
  std::vector<PointMatch> matches = Matches(query);
  for (size_t i = 0; i < 30; ++i) {
    matches[i].xy += 200.0 * random.Normal2(1.0).normalized();
  }
  // These are near, and the loss has to deal with them.
  for (size_t i = 30; i < 40; ++i) {
    matches[i].xy += 8.0 * random.Normal2(1.0).normalized();
  }
  // Without an image at the start.
  matches.push_back(
      {query.cam_from_world.Inverse() * Eigen::Vector3d(0.0, 0.0, -2.0),
       {100.0, 100.0}});
  Rigid3d pose = MoveAway(query.cam_from_world, 0.005, 0.02, &random);
  const int num_used =
      RefinePoseReprojection(query.camera, matches, 20.0, 0.1, &pose);
  EXPECT_EQ(num_used, 70);
  EXPECT_LT(RotationErrorDeg(pose, query.cam_from_world), 0.001);
  EXPECT_LT(CenterError(pose, query.cam_from_world), 1e-4);
  EXPECT_NEAR(pose.rotation.norm(), 1.0, 1e-14);
}

TEST(RefinePoseReprojection, LeavesThePoseWithTooFewMatches) {
  Random random(4);
  const SyntheticQuery query(2, 10.0, &random);
  const Rigid3d start = MoveAway(query.cam_from_world, 0.001, 0.01, &random);
  Rigid3d pose = start;
  EXPECT_EQ(
      RefinePoseReprojection(query.camera, Matches(query), 50.0, 1.0, &pose),
      2);
  EXPECT_EQ(pose.rotation.coeffs(), start.rotation.coeffs());
  EXPECT_EQ(pose.translation, start.translation);
}

}  // namespace
}  // namespace nre
