#include "nre/priors.h"

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include <Eigen/Cholesky>
#include <ceres/gradient_checker.h>
#include <ceres/manifold.h>
#include <gtest/gtest.h>

#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

using Vector6d = Eigen::Matrix<double, 6, 1>;

Priors RandomPriors(Random* random) {
  Priors priors;
  priors.position = PositionPrior();
  priors.position->mean = random->Uniform3(-10.0, 10.0);
  Eigen::Matrix3d root;
  root << random->Uniform3(-1.0, 1.0), random->Uniform3(-1.0, 1.0),
      random->Uniform3(-1.0, 1.0);
  priors.position->covariance =
      root * root.transpose() + 0.1 * Eigen::Matrix3d::Identity();
  priors.gravity = GravityPrior();
  priors.gravity->down_in_cam = random->Normal3(1.0).normalized();
  priors.gravity->down_in_world = random->Normal3(1.0).normalized();
  priors.gravity->stddev_deg = 3.0;
  return priors;
}

void ExpectRightGradients(const ceres::CostFunction& cost,
                          const double* const* parameters,
                          bool with_translation) {
  const ceres::EigenQuaternionManifold quaternion;
  const ceres::EuclideanManifold<3> euclidean;
  std::vector<const ceres::Manifold*> manifolds = {&quaternion};
  if (with_translation) {
    manifolds.push_back(&euclidean);
  }
  const ceres::GradientChecker checker(
      &cost, &manifolds, ceres::NumericDiffOptions());
  ceres::GradientChecker::ProbeResults results;
  // Its verdict is about relative errors, also of entries that are zero.
  checker.Probe(parameters, 1e-6, &results);
  ASSERT_EQ(results.local_jacobians.size(), manifolds.size());
  for (size_t i = 0; i < manifolds.size(); ++i) {
    EXPECT_GT(results.local_jacobians[i].norm(), 0.0);
    EXPECT_LT((results.local_jacobians[i] - results.local_numeric_jacobians[i])
                  .norm(),
              1e-6 * results.local_jacobians[i].norm());
  }
}

TEST(Priors, GradientsAreThoseOfTheResiduals) {
  Random random(1);
  for (int i = 0; i < 20; ++i) {
    const Priors priors = RandomPriors(&random);
    const Rigid3d pose = random.Pose();
    const double* parameters[] = {pose.rotation.coeffs().data(),
                                  pose.translation.data()};
    const std::unique_ptr<ceres::CostFunction> position(
        CreatePositionCost(*priors.position));
    const std::unique_ptr<ceres::CostFunction> gravity(
        CreateGravityCost(*priors.gravity));
    ExpectRightGradients(*position, parameters, true);
    ExpectRightGradients(*gravity, parameters, false);

    Eigen::Vector3d position_residuals, gravity_residuals;
    ASSERT_TRUE(
        position->Evaluate(parameters, position_residuals.data(), nullptr));
    ASSERT_TRUE(
        gravity->Evaluate(parameters, gravity_residuals.data(), nullptr));
    EXPECT_NEAR(PriorCost(priors, pose),
                0.5 * position_residuals.squaredNorm() +
                    0.5 * gravity_residuals.squaredNorm(),
                1e-9 * PriorCost(priors, pose));
  }
}

// The formulas of the two distributions, written down once more.
TEST(Priors, CostIsMinusTheLogLikelihood) {
  Random random(2);
  for (int i = 0; i < 20; ++i) {
    const Priors both = RandomPriors(&random);
    const Rigid3d pose = random.Pose();
    const PositionPrior& position = *both.position;
    const GravityPrior& gravity = *both.gravity;
    EXPECT_EQ(PriorCost(Priors(), pose), 0.0);
    const Eigen::Vector3d offset = ProjectionCenter(pose) - position.mean;
    const double kappa = std::pow(180.0 / (M_PI * 3.0), 2);
    const double cosine =
        gravity.down_in_cam.dot(pose.rotation * gravity.down_in_world);
    const double expected =
        0.5 * offset.dot(position.covariance.inverse() * offset) +
        kappa * (1.0 - cosine);
    EXPECT_NEAR(PriorCost(both, pose), expected, 1e-9 * expected);
    Priors one = both;
    one.position.reset();
    EXPECT_NEAR(PriorCost(one, pose), kappa * (1.0 - cosine), 1e-9 * kappa);
  }
}

TEST(Priors, HessianIsThatOfTheCostAtItsPeak) {
  Random random(3);
  Priors priors = RandomPriors(&random);
  const Rigid3d pose = random.Pose();
  priors.position->mean = ProjectionCenter(pose);
  priors.gravity->down_in_cam = pose.rotation * priors.gravity->down_in_world;
  const Eigen::Matrix<double, 6, 6> hessian = PriorHessian(priors, pose);
  const auto cost = [&](const Vector6d& change) {
    return PriorCost(priors, PerturbLeft(change, pose));
  };
  constexpr double kStep = 1e-4;
  for (int i = 0; i < 6; ++i) {
    for (int j = 0; j < 6; ++j) {
      const Vector6d a = kStep * Vector6d::Unit(i),
                     b = kStep * Vector6d::Unit(j);
      EXPECT_NEAR(hessian(i, j),
                  (cost(a + b) - cost(a - b) - cost(b - a) + cost(-a - b)) /
                      (4.0 * kStep * kStep),
                  1e-5 * hessian.norm());
    }
  }
}

// Far from the peak, too.
TEST(Priors, GradientIsThatOfTheCost) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Random random(seed);
    const Priors priors = RandomPriors(&random);
    const Rigid3d pose = random.Pose();
    Vector6d gradient;
    PriorHessian(priors, pose, &gradient);
    constexpr double kStep = 1e-5;
    for (int i = 0; i < 6; ++i) {
      const Vector6d step = kStep * Vector6d::Unit(i);
      EXPECT_NEAR(gradient[i],
                  (PriorCost(priors, PerturbLeft(step, pose)) -
                   PriorCost(priors, PerturbLeft(-step, pose))) /
                      (2.0 * kStep),
                  1e-6 * gradient.norm());
    }
  }
}

// Poses and priors drawn from what they say of themselves.
TEST(DistancesFromPriors, AreChiSquare) {
  constexpr int kNumTrials = 4000;
  Random random(5);
  double position = 0.0, gravity = 0.0;
  for (int i = 0; i < kNumTrials; ++i) {
    Priors priors = RandomPriors(&random);
    const Rigid3d truth = random.Pose();
    Eigen::Matrix<double, 6, 6> root;
    for (int k = 0; k < 6; ++k) {
      root.col(k) << 0.02 * random.Uniform3(-1.0, 1.0),
          0.5 * random.Uniform3(-1.0, 1.0);
    }
    Vector6d error;
    error << random.Normal3(1.0), random.Normal3(1.0);
    const Rigid3d pose = PerturbLeft(root * error, truth);
    const Eigen::Matrix3d position_root =
        priors.position->covariance.llt().matrixL();
    priors.position->mean =
        ProjectionCenter(truth) + position_root * random.Normal3(1.0);
    const Eigen::Vector3d down = truth.rotation * priors.gravity->down_in_world;
    priors.gravity->down_in_cam =
        (down + random.Normal3(3.0 * M_PI / 180.0)).normalized();
    const PriorDistances distances =
        DistancesFromPriors(priors, pose, root * root.transpose());
    position += distances.position;
    gravity += distances.gravity;
  }
  EXPECT_NEAR(position / kNumTrials, 3.0, 0.15);
  EXPECT_NEAR(gravity / kNumTrials, 2.0, 0.12);
}

TEST(DistancesFromPriors, UpsideDownIsFar) {
  Priors priors;
  const Eigen::Matrix<double, 6, 6> none = Eigen::Matrix<double, 6, 6>::Zero();
  EXPECT_EQ(DistancesFromPriors(priors, Rigid3d(), none).gravity, 0.0);
  EXPECT_EQ(DistancesFromPriors(priors, Rigid3d(), none).position, 0.0);
  priors.gravity = GravityPrior();
  for (const double angle : {0.0, 0.3, 2.0, M_PI}) {
    priors.gravity->down_in_cam =
        Eigen::AngleAxisd(angle, Eigen::Vector3d::UnitX()) *
        priors.gravity->down_in_world;
    priors.gravity->stddev_deg = 2.0;
    const double expected = std::pow(angle * 180.0 / M_PI / 2.0, 2);
    EXPECT_NEAR(DistancesFromPriors(priors, Rigid3d(), none).gravity,
                expected,
                1e-6 * (1.0 + expected));
  }
}

TEST(Priors, CheckRefusesNonsense) {
  Random random(4);
  const double kNaN = std::numeric_limits<double>::quiet_NaN();
  const auto check = [&](auto change) {
    Priors priors = RandomPriors(&random);
    priors.focal_length = {100.0, 200.0};
    change(&priors);
    return priors.Check();
  };
  EXPECT_TRUE(check([](Priors*) {}));
  EXPECT_FALSE(check([](Priors* p) { p->focal_length->min_px = 0.0; }));
  EXPECT_FALSE(check([](Priors* p) { p->focal_length->max_px = 99.0; }));
  EXPECT_FALSE(check([&](Priors* p) { p->focal_length->max_px = kNaN; }));
  EXPECT_FALSE(check([&](Priors* p) { p->position->mean.x() = kNaN; }));
  EXPECT_FALSE(check([](Priors* p) { p->position->covariance(0, 1) += 1.0; }));
  EXPECT_FALSE(check([](Priors* p) { p->position->covariance *= -1.0; }));
  EXPECT_FALSE(check([](Priors* p) { p->position->covariance.setZero(); }));
  EXPECT_FALSE(check([](Priors* p) { p->gravity->down_in_cam *= 2.0; }));
  EXPECT_FALSE(check([](Priors* p) { p->gravity->down_in_world.setZero(); }));
  EXPECT_FALSE(check([](Priors* p) { p->gravity->stddev_deg = 0.0; }));
  EXPECT_FALSE(check([&](Priors* p) { p->gravity->stddev_deg = kNaN; }));
  EXPECT_TRUE(Priors().Check());
  EXPECT_TRUE(Priors().Empty());
}

}  // namespace
}  // namespace nre
