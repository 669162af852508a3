#include "nre/rigid3.h"

#include <gtest/gtest.h>

#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

TEST(Rigid3, ComposesAndInverts) {
  Random random(1);
  for (int i = 0; i < 100; ++i) {
    const Rigid3d b_from_a = random.Pose();
    const Rigid3d c_from_b = random.Pose();
    const Eigen::Vector3d x = random.Uniform3(-10.0, 10.0);
    EXPECT_LT(((c_from_b * b_from_a) * x - c_from_b * (b_from_a * x)).norm(),
              1e-12);
    EXPECT_LT((b_from_a.Inverse() * (b_from_a * x) - x).norm(), 1e-12);
    EXPECT_LT((b_from_a * ProjectionCenter(b_from_a)).norm(), 1e-12);
  }
}

TEST(Rigid3, RotationErrorIsTheAngleBetween) {
  Random random(2);
  const Rigid3d pose = random.Pose();
  for (const double degrees : {0.0, 1e-7, 0.01, 45.0, 179.9, 180.0, 200.0}) {
    Rigid3d other = random.Pose();
    const Eigen::AngleAxisd turn(degrees * M_PI / 180.0,
                                 random.Normal3(1.0).normalized());
    other.rotation = Eigen::Quaterniond(turn) * pose.rotation;
    const double expected = degrees > 180.0 ? 360.0 - degrees : degrees;
    EXPECT_NEAR(
        RotationErrorDeg(pose, other), expected, 1e-12 + 1e-9 * degrees);
    EXPECT_NEAR(
        RotationErrorDeg(other, pose), expected, 1e-12 + 1e-9 * degrees);
    // q and -q are the same rotation.
    other.rotation.coeffs() *= -1.0;
    EXPECT_NEAR(
        RotationErrorDeg(pose, other), expected, 1e-12 + 1e-9 * degrees);
  }
}

TEST(Rigid3, CenterErrorIgnoresTheRotation) {
  Random random(3);
  const Eigen::Vector3d center(1.0, -2.0, 5.0);
  const auto looking_from = [&](const Eigen::Vector3d& from) {
    const Eigen::Quaterniond rotation = random.Rotation();
    return Rigid3d{rotation, -(rotation * from)};
  };
  const Rigid3d a = looking_from(center);
  const Rigid3d b = looking_from(center + Eigen::Vector3d(3.0, 0.0, 4.0));
  EXPECT_NEAR(CenterError(a, b), 5.0, 1e-12);
  EXPECT_NEAR(CenterError(a, looking_from(center)), 0.0, 1e-12);
}

}  // namespace
}  // namespace nre
