#include "nre/nre_cost.h"

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include <ceres/manifold.h>
#include <gtest/gtest.h>

#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

using Vector6d = Eigen::Matrix<double, 6, 1>;
using Residual = Eigen::Vector3d;
using LocalJacobian = Eigen::Matrix<double, 3, 6>;

constexpr int kStride = 16;

Rigid3d Plus(const Rigid3d& pose, const Vector6d& delta) {
  Rigid3d result;
  const ceres::EigenQuaternionManifold manifold;
  manifold.Plus(pose.rotation.coeffs().data(),
                delta.data(),
                result.rotation.coeffs().data());
  result.translation = pose.translation + delta.tail<3>();
  return result;
}

// Residuals and Jacobian in the tangent space, (rotation, translation).
Residual Evaluate(const NreCostFunction& cost,
                  const Rigid3d& pose,
                  LocalJacobian* jacobian) {
  const double* parameters[] = {pose.rotation.coeffs().data(),
                                pose.translation.data()};
  Residual residual;
  if (jacobian == nullptr) {
    EXPECT_TRUE(cost.Evaluate(parameters, residual.data(), nullptr));
    return residual;
  }
  Eigen::Matrix<double, 3, 4, Eigen::RowMajor> by_rotation;
  Eigen::Matrix<double, 3, 3, Eigen::RowMajor> by_translation;
  double* jacobians[] = {by_rotation.data(), by_translation.data()};
  EXPECT_TRUE(cost.Evaluate(parameters, residual.data(), jacobians));
  Eigen::Matrix<double, 4, 3, Eigen::RowMajor> plus_jacobian;
  const ceres::EigenQuaternionManifold manifold;
  manifold.PlusJacobian(parameters[0], plus_jacobian.data());
  *jacobian << by_rotation * plus_jacobian, by_translation;
  return residual;
}

// Points with random maps, and poses that put them in and around the map.
class NreCostTest : public testing::Test {
 protected:
  NreCostTest() : query_(60, 0.0, &random_) {
    const LossMaps::Geometry geometry = SyntheticQuery::MapGeometry(kStride);
    for (size_t i = 0; i < query_.points.size(); ++i) {
      weights_.push_back(RandomWeights(
          geometry.width, geometry.height, i % 2 == 0 ? 0.1 : 0.9, &random_));
    }
    maps_ = std::make_unique<SparseLossMaps>(
        ToSparse(weights_, geometry.map_from_image));
  }

  NreCostFunction Cost(size_t point, double* accepted_value = nullptr) const {
    return {&query_.camera,
            maps_.get(),
            point,
            query_.points[point],
            &sigma_,
            accepted_value};
  }

  Rigid3d RandomPose() {
    return MoveAway(query_.cam_from_world, 0.1, 0.3, &random_);
  }

  // Position of a point on the map.
  Eigen::Vector2d Project(size_t point, const Rigid3d& pose) const {
    Eigen::Vector2d xy;
    EXPECT_TRUE(
        query_.camera.Project(pose * query_.points[point], &xy, nullptr));
    return maps_->geometry().map_from_image * xy;
  }

  Random random_{1};
  SyntheticQuery query_;
  std::vector<WeightMap> weights_;
  std::unique_ptr<SparseLossMaps> maps_;
  double sigma_ = 1.0;
};

TEST_F(NreCostTest, HalfTheSquaredNormIsEq9) {
  for (const double sigma : {0.6, 1.0, 2.0, 8.0}) {
    sigma_ = sigma;
    for (size_t i = 0; i < query_.points.size(); ++i) {
      const Rigid3d pose = RandomPose();
      const double energy =
          SmoothedEnergy<double>(weights_[i], Project(i, pose), sigma);
      double accepted_value = 1.0;
      const NreCostFunction cost = Cost(i, &accepted_value);
      LocalJacobian jacobian;
      const Residual residual = Evaluate(cost, pose, &jacobian);
      const double offset = 2.1 * std::log(1.0 + weights_[i].weights.size());
      EXPECT_NEAR(0.5 * residual.squaredNorm(), offset + energy, 1e-4);
      EXPECT_NEAR(NreCostFunction::CostOffset(*maps_), offset, 1e-12);
      // Without the kernel's tail there is no tolerance.
      const double value =
          maps_->Smoothed(i, Project(i, pose), sigma, false).value;
      EXPECT_NEAR(0.5 * residual.squaredNorm(), offset + value, 1e-11);
      EXPECT_EQ(accepted_value, value);
      EXPECT_EQ(residual, Evaluate(cost, pose, nullptr));
    }
  }
}

// Ceres' GradientChecker would compare the Jacobian with that of the residuals,
// which it is not meant to be.
TEST_F(NreCostTest, GradientIsThatOfTheCost) {
  constexpr double kStep = 1e-6;
  int num_informative = 0;
  // Far from the kernel's cut-off, where the value jumps by next to nothing,
  // but by more than a small step of the pose changes it.
  for (const double sigma : {10.0, 20.0}) {
    sigma_ = sigma;
    for (size_t i = 0; i < query_.points.size(); ++i) {
      const NreCostFunction cost = Cost(i);
      const Rigid3d pose = RandomPose();
      LocalJacobian jacobian;
      const Residual residual = Evaluate(cost, pose, &jacobian);
      const Vector6d gradient = jacobian.transpose() * residual;
      num_informative += gradient.norm() > 0.01;
      for (int k = 0; k < 6; ++k) {
        const Vector6d step = kStep * Vector6d::Unit(k);
        const double after =
            0.5 * Evaluate(cost, Plus(pose, step), nullptr).squaredNorm();
        const double before =
            0.5 * Evaluate(cost, Plus(pose, -step), nullptr).squaredNorm();
        EXPECT_NEAR(gradient[k],
                    (after - before) / (2.0 * kStep),
                    1e-6 * (1.0 + gradient.norm()))
            << "point " << i << ", parameter " << k;
      }
      EXPECT_EQ(jacobian.row(2).norm(), 0.0);
    }
  }
  EXPECT_GT(num_informative, 60);
}

// The same with a small sigma, against the exact gradient of Eq. 9.
TEST_F(NreCostTest, GradientIsThatOfEq9) {
  sigma_ = 0.7;
  for (size_t i = 0; i < query_.points.size(); ++i) {
    const Rigid3d pose = RandomPose();
    SyntheticQuery single = query_;
    single.points = {query_.points[i]};
    const BruteForceEq9 eq9(
        single, {weights_[i]}, maps_->geometry().map_from_image, sigma_, pose);
    Vector6d expected;
    eq9.Evaluate(Vector6d::Zero(), &expected);
    LocalJacobian jacobian;
    const Residual residual = Evaluate(Cost(i), pose, &jacobian);
    Vector6d gradient = jacobian.transpose() * residual;
    // EigenQuaternionManifold's delta is half the rotation vector, on the left,
    // about the camera's centre (translation apart).
    const Eigen::Vector3d torque =
        0.5 * gradient.head<3>() + pose.translation.cross(gradient.tail<3>());
    gradient.head<3>() = torque;
    // The kernel's tail, which is cut off.
    EXPECT_LT((gradient - expected).norm(), 1e-3 * (1.0 + expected.norm()));
  }
}

// One residual block sqrt(w_q) (p - q) per cell, its weight fixed at the pose.
TEST_F(NreCostTest, NormalMatrixIsThatOfOneBlockPerCell) {
  sigma_ = 1.5;
  constexpr double kStep = 1e-5;
  for (size_t i = 0; i < query_.points.size(); ++i) {
    const Rigid3d pose = RandomPose();
    const Eigen::Vector2d p = Project(i, pose);
    Eigen::Matrix<double, 2, 6> by_pose;
    for (int k = 0; k < 6; ++k) {
      const Vector6d step = kStep * Vector6d::Unit(k);
      by_pose.col(k) =
          (Project(i, Plus(pose, step)) - Project(i, Plus(pose, -step))) /
          (2.0 * kStep);
    }
    Eigen::Matrix<double, 6, 6> expected = Eigen::Matrix<double, 6, 6>::Zero();
    Vector6d expected_gradient = Vector6d::Zero();
    const double variance = sigma_ * sigma_;
    for (int y = 0; y < weights_[i].height; ++y) {
      for (int x = 0; x < weights_[i].width; ++x) {
        const Eigen::Vector2d error = p - Eigen::Vector2d(x, y);
        const double root =
            std::sqrt(weights_[i].At(x, y) *
                      std::exp(-0.5 * error.squaredNorm() / variance) /
                      (2.0 * M_PI * variance * variance));
        const Eigen::Matrix<double, 2, 6> cell_jacobian = root * by_pose;
        expected += cell_jacobian.transpose() * cell_jacobian;
        expected_gradient += cell_jacobian.transpose() * (root * error);
      }
    }
    LocalJacobian jacobian;
    const Residual residual = Evaluate(Cost(i), pose, &jacobian);
    EXPECT_LT((jacobian.transpose() * jacobian - expected).norm(),
              1e-3 * (1.0 + expected.norm()));
    EXPECT_LT((jacobian.transpose() * residual - expected_gradient).norm(),
              1e-3 * (1.0 + expected_gradient.norm()));
  }
}

// Of a longer focal length: the cost of that camera, and its gradient.
TEST_F(NreCostTest, FocalLengthIsAParameter) {
  constexpr double kStep = 1e-6;
  const Eigen::Vector2d principal_point = PrincipalPoint(query_.camera);
  sigma_ = 10.0;  // see GradientIsThatOfTheCost
  int num_informative = 0;
  for (size_t i = 0; i < query_.points.size(); ++i) {
    const Rigid3d pose = RandomPose();
    double log_scale = random_.Uniform(-0.2, 0.2);
    double accepted_value = 0.0;
    const NreFocalCostFunction cost(&query_.camera,
                                    principal_point,
                                    maps_.get(),
                                    i,
                                    query_.points[i],
                                    &sigma_,
                                    &accepted_value);
    const double* parameters[] = {
        pose.rotation.coeffs().data(), pose.translation.data(), &log_scale};
    Residual residual, expected;
    Eigen::Matrix<double, 3, 4, Eigen::RowMajor> by_rotation, rotation;
    Eigen::Matrix<double, 3, 3, Eigen::RowMajor> by_translation, translation;
    Eigen::Vector3d by_focal;
    double* jacobians[] = {
        by_rotation.data(), by_translation.data(), by_focal.data()};
    ASSERT_TRUE(cost.Evaluate(parameters, residual.data(), jacobians));

    const CorrectedCamera camera(query_.camera, {std::exp(log_scale)});
    const NreCostFunction known(
        &camera, maps_.get(), i, query_.points[i], &sigma_, nullptr);
    double* known_jacobians[] = {rotation.data(), translation.data()};
    ASSERT_TRUE(known.Evaluate(parameters, expected.data(), known_jacobians));
    EXPECT_EQ(residual, expected);
    EXPECT_EQ(by_rotation, rotation);
    EXPECT_EQ(by_translation, translation);
    EXPECT_NEAR(
        accepted_value,
        0.5 * residual.squaredNorm() - NreCostFunction::CostOffset(*maps_),
        1e-9);

    const auto cost_at = [&](double value) {
      log_scale = value;
      Residual r;
      EXPECT_TRUE(cost.Evaluate(parameters, r.data(), nullptr));
      return 0.5 * r.squaredNorm();
    };
    const double center = log_scale;
    const double difference =
        (cost_at(center + kStep) - cost_at(center - kStep)) / (2.0 * kStep);
    const double gradient = by_focal.dot(residual);
    num_informative += std::abs(gradient) > 0.01;
    EXPECT_NEAR(gradient, difference, 1e-6 * (1.0 + std::abs(gradient)));
    EXPECT_EQ(by_focal[2], 0.0);
  }
  EXPECT_GT(num_informative, 30);
}

TEST_F(NreCostTest, NothingToSeeIsAConstant) {
  const double root = std::sqrt(2.0 * NreCostFunction::CostOffset(*maps_));
  const auto expect_constant = [&](const NreCostFunction& cost,
                                   const Rigid3d& pose) {
    LocalJacobian jacobian;
    EXPECT_EQ(Evaluate(cost, pose, &jacobian), Residual(0.0, 0.0, root));
    EXPECT_EQ(jacobian.norm(), 0.0);
  };
  // Behind the camera, and on its plane.
  const Rigid3d turned = PerturbLeft(
      (Vector6d() << M_PI, 0, 0, 0, 0, 0).finished(), query_.cam_from_world);
  Rigid3d on_plane = query_.cam_from_world;
  on_plane.translation.z() -= (on_plane * query_.points[0]).z();
  expect_constant(Cost(0), turned);
  expect_constant(Cost(0), on_plane);

  // Far from the map.
  Rigid3d far = query_.cam_from_world;
  far.translation.x() += 1e4;
  expect_constant(Cost(0), far);

  // No point at all.
  const double kNaN = std::numeric_limits<double>::quiet_NaN();
  for (const double bad : {kNaN, 1e300}) {
    expect_constant({&query_.camera,
                     maps_.get(),
                     0,
                     Eigen::Vector3d::Constant(bad),
                     &sigma_,
                     nullptr},
                    query_.cam_from_world);
  }

  // An empty map.
  SparseLossMaps empty(maps_->geometry());
  const std::vector<float> zeros(empty.CellsPerMap(), 0.0f);
  empty.AddPoint(zeros.data());
  expect_constant(
      {&query_.camera, &empty, 0, query_.points[0], &sigma_, nullptr},
      query_.cam_from_world);
}

TEST_F(NreCostTest, SingleJacobiansMayBeLeftOut) {
  const Rigid3d pose = RandomPose();
  const double* parameters[] = {pose.rotation.coeffs().data(),
                                pose.translation.data()};
  sigma_ = 8.0;
  const NreCostFunction cost = Cost(1);
  Residual residual;
  Eigen::Matrix<double, 3, 4, Eigen::RowMajor> both_rotation, rotation;
  Eigen::Matrix<double, 3, 3, Eigen::RowMajor> both_translation, translation;
  double* both[] = {both_rotation.data(), both_translation.data()};
  double* first[] = {rotation.data(), nullptr};
  double* second[] = {nullptr, translation.data()};
  ASSERT_TRUE(cost.Evaluate(parameters, residual.data(), both));
  ASSERT_TRUE(cost.Evaluate(parameters, residual.data(), first));
  ASSERT_TRUE(cost.Evaluate(parameters, residual.data(), second));
  EXPECT_GT(both_rotation.norm(), 0.0);
  EXPECT_EQ(rotation, both_rotation);
  EXPECT_EQ(translation, both_translation);
}

// The offset c keeps the third residual real for whatever map.
TEST_F(NreCostTest, OffsetSufficesForExtremeMaps) {
  const LossMaps::Geometry geometry = maps_->geometry();
  const WeightMap empty(geometry.width, geometry.height);
  const float full = static_cast<float>(empty.LogCategories());
  const Eigen::Vector2d p = Project(0, query_.cam_from_world);
  for (int kind = 0; kind < 4; ++kind) {
    WeightMap map = empty;
    for (int y = 0; y < map.height; ++y) {
      for (int x = 0; x < map.width; ++x) {
        const double distance = (Eigen::Vector2d(x, y) - p).norm();
        const bool set[] = {true,
                            x > p.x(),
                            distance > 1.0 && x > p.x(),
                            (x + y) % 2 == 0 && distance > 0.5};
        map(x, y) = set[kind] ? full : 0.0f;
      }
    }
    const SparseLossMaps maps = ToSparse({map}, geometry.map_from_image);
    for (const double sigma : {0.5, 0.6, 1.0, 3.0}) {
      sigma_ = sigma;
      const NreCostFunction cost(
          &query_.camera, &maps, 0, query_.points[0], &sigma_, nullptr);
      const Residual residual = Evaluate(cost, query_.cam_from_world, nullptr);
      EXPECT_GT(residual[2], 0.0);
      EXPECT_NEAR(0.5 * residual.squaredNorm(),
                  NreCostFunction::CostOffset(maps) +
                      maps.Smoothed(0, p, sigma, false).value,
                  1e-9);
    }
  }
}

}  // namespace
}  // namespace nre
