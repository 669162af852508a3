#include "nre/point_view.h"

#include <cmath>

#include <Eigen/Geometry>
#include <gtest/gtest.h>

namespace nre {
namespace {

const Eigen::Vector3d kPoint(0.3, -0.2, 5.0);

Rigid3d Rotated(double angle_deg,
                const Eigen::Vector3d& axis,
                const Eigen::Vector3d& fixed_point,
                const Rigid3d& cam_from_world) {
  Rigid3d moved;  // of the world, leaves fixed_point where it is
  moved.rotation = Eigen::AngleAxisd(angle_deg * M_PI / 180.0, axis);
  moved.translation = fixed_point - moved.rotation * fixed_point;
  return cam_from_world * moved;
}

class PointViews : public ::testing::Test {
 protected:
  bool IsAlike(const Rigid3d& pose) const {
    return IsSeenAlike(
        view_, kPoint, pose.rotation.toRotationMatrix(), pose.translation);
  }

  const Rigid3d reference_{Eigen::Quaterniond(0.9, 0.1, -0.3, 0.2).normalized(),
                           Eigen::Vector3d(0.5, 0.1, 1.0)};
  const PointView view_ = ViewOfPoint(reference_, kPoint);
};

TEST_F(PointViews, AreUnitVectorsInTheWorld) {
  const Eigen::Vector3d center = ProjectionCenter(reference_);
  EXPECT_NEAR(view_.distance, (kPoint - center).norm(), 1e-12);
  EXPECT_TRUE((center + view_.distance * view_.ray).isApprox(kPoint, 1e-12));
  EXPECT_NEAR(view_.up.norm(), 1.0, 1e-12);
  EXPECT_NEAR(view_.up.dot(view_.ray), 0.0, 1e-12);
  // A step upwards moves the point's image up, not sideways, where the image
  // is near its centre; anywhere it moves up.
  const Eigen::Vector3d above = reference_ * (kPoint + 1e-3 * view_.up);
  const Eigen::Vector3d here = reference_ * kPoint;
  EXPECT_LT(above.y() / above.z(), here.y() / here.z());
}

TEST_F(PointViews, TheViewItselfIsAlike) { EXPECT_TRUE(IsAlike(reference_)); }

TEST_F(PointViews, RollIsLimited) {
  for (const double sign : {-1.0, 1.0}) {
    EXPECT_TRUE(IsAlike(Rotated(
        sign * (kMaxViewRollDeg - 0.1), view_.ray, kPoint, reference_)));
    for (const double roll : {kMaxViewRollDeg + 0.1, 90.0, 180.0}) {
      EXPECT_FALSE(
          IsAlike(Rotated(sign * roll, view_.ray, kPoint, reference_)));
    }
  }
}

// Around the upward direction, as one walks around a thing.
TEST_F(PointViews, TheAngleOfViewIsLimited) {
  for (const double sign : {-1.0, 1.0}) {
    EXPECT_TRUE(IsAlike(Rotated(
        sign * (kMaxViewAngleDeg - 0.1), view_.up, kPoint, reference_)));
    for (const double angle : {kMaxViewAngleDeg + 0.1, 180.0}) {
      EXPECT_FALSE(
          IsAlike(Rotated(sign * angle, view_.up, kPoint, reference_)));
    }
  }
}

TEST_F(PointViews, ScaleIsLimited) {
  const auto at_distance = [&](double factor) {
    Rigid3d pose = reference_;
    pose.translation += (factor - 1.0) * (reference_ * kPoint);
    return pose;
  };
  for (const double factor : {kMaxViewScale, 1.0 / kMaxViewScale}) {
    EXPECT_TRUE(IsAlike(at_distance(std::pow(factor, 0.99))));
    EXPECT_FALSE(IsAlike(at_distance(std::pow(factor, 1.01))));
    EXPECT_FALSE(IsAlike(at_distance(factor * factor)));
  }
}

// Turning the camera about its own centre changes nothing of these but the
// roll, which is measured where the point is seen.
TEST_F(PointViews, TurningTheCameraDoesNotMatter) {
  const Eigen::Vector3d center = ProjectionCenter(reference_);
  const Eigen::Vector3d up =
      reference_.rotation.conjugate() * Eigen::Vector3d(0.0, -1.0, 0.0);
  for (const double angle : {-40.0, 40.0}) {
    EXPECT_TRUE(IsAlike(Rotated(angle, up, center, reference_)));
  }
}

TEST_F(PointViews, TheirMeanLiesBetweenThem) {
  std::vector<PointView> views;
  for (const double angle : {-80.0, 80.0}) {
    Rigid3d pose = Rotated(angle, view_.up, kPoint, reference_);
    views.push_back(ViewOfPoint(pose, kPoint));
  }
  views[0].distance *= 3.0;
  views[1].distance /= 3.0;
  const PointView mean = MeanView(views);
  EXPECT_TRUE(mean.ray.isApprox(view_.ray, 1e-9));
  EXPECT_TRUE(mean.up.isApprox(view_.up, 1e-9));
  EXPECT_NEAR(mean.distance, view_.distance, 1e-9);
}

TEST_F(PointViews, NothingIsAlikeWithoutNumbers) {
  Rigid3d pose = reference_;
  pose.translation.x() = std::nan("");
  EXPECT_FALSE(IsAlike(pose));
}

}  // namespace
}  // namespace nre
