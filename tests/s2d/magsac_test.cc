#include "s2d/magsac.h"

#include <limits>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

// One coefficient of radial distortion; inverted by iteration.
class RadialCamera : public Camera {
 public:
  explicit RadialCamera(double k) : k_(k) {}

  int Width() const override { return SyntheticQuery::kWidth; }
  int Height() const override { return SyntheticQuery::kHeight; }
  double MeanFocalLength() const override { return kFocal; }
  bool Project(const Eigen::Vector3d& point_in_cam,
               Eigen::Vector2d* xy,
               Eigen::Matrix<double, 2, 3>* jacobian) const override {
    if (point_in_cam.z() <= 0.0) return false;
    const Eigen::Vector2d p = point_in_cam.hnormalized();
    const double factor = 1.0 + k_ * p.squaredNorm();
    *xy = kFocal * factor * p + kCenter;
    if (jacobian != nullptr) {
      Eigen::Matrix<double, 2, 3> by_point;
      by_point << Eigen::Matrix2d::Identity(), -p;
      *jacobian = kFocal / point_in_cam.z() *
                  (factor * Eigen::Matrix2d::Identity() +
                   2.0 * k_ * p * p.transpose()) *
                  by_point;
    }
    return true;
  }
  bool Unproject(const Eigen::Vector2d& xy,
                 Eigen::Vector3d* bearing) const override {
    const Eigen::Vector2d distorted = (xy - kCenter) / kFocal;
    Eigen::Vector2d p = distorted;
    for (int i = 0; i < 100; ++i) {
      p = distorted / (1.0 + k_ * p.squaredNorm());
    }
    *bearing = p.homogeneous().normalized();
    return true;
  }

 private:
  static constexpr double kFocal = 450.0;
  const Eigen::Vector2d kCenter{320.0, 240.0};
  double k_;
};

// Matches with noise, a share of them wrong.
struct Example {
  Rigid3d cam_from_world;
  std::vector<PointMatch> matches;

  Example(const Camera& camera,
          int num_matches,
          double wrong_share,
          const Eigen::Vector3d& world_offset,
          Random* random) {
    cam_from_world = random->Pose();
    // The world's origin is far away.
    cam_from_world.translation -= cam_from_world.rotation * world_offset;
    while (matches.size() < static_cast<size_t>(num_matches)) {
      const Eigen::Vector3d in_cam(random->Uniform(-4.0, 4.0),
                                   random->Uniform(-3.0, 3.0),
                                   random->Uniform(3.0, 10.0));
      PointMatch match{cam_from_world.Inverse() * in_cam, {}};
      if (!camera.Project(in_cam, &match.xy, nullptr) || match.xy.x() < 0.0 ||
          match.xy.x() > camera.Width() || match.xy.y() < 0.0 ||
          match.xy.y() > camera.Height()) {
        continue;
      }
      match.xy += random->Normal2(0.5);
      if (random->Uniform(0.0, 1.0) < wrong_share) {
        match.xy << random->Uniform(0.0, camera.Width()),
            random->Uniform(0.0, camera.Height());
      }
      matches.push_back(match);
    }
  }
};

void ExpectFound(const Camera& camera,
                 const Example& example,
                 double max_center_error) {
  const std::optional<Rigid3d> pose =
      SolveMagsac(camera, example.matches, 3.0, 1);
  ASSERT_TRUE(pose.has_value());
  EXPECT_LT(RotationErrorDeg(*pose, example.cam_from_world), 0.1);
  EXPECT_LT(CenterError(*pose, example.cam_from_world), max_center_error);
  EXPECT_NEAR(pose->rotation.norm(), 1.0, 1e-12);
}

TEST(SolveMagsac, FindsThePoseAmongWrongMatches) {
  Random random(1);
  for (const double distortion : {0.0, -0.15, 0.2}) {
    const RadialCamera camera(distortion);
    for (const double wrong_share : {0.0, 0.5, 0.8}) {
      ExpectFound(
          camera,
          Example(camera, 300, wrong_share, Eigen::Vector3d::Zero(), &random),
          0.02);
    }
  }
}

// OpenCV computes with floats: 7 digits, no more than the offset has.
TEST(SolveMagsac, TheWorldsOriginMayBeFarAway) {
  Random random(2);
  const RadialCamera camera(0.0);
  ExpectFound(
      camera, Example(camera, 300, 0.5, {4e5, 5e6, 100.0}, &random), 0.02);
}

TEST(SolveMagsac, TheSameForASeedInAnyThread) {
  Random random(3);
  const RadialCamera camera(0.1);
  std::vector<Example> examples;
  for (int i = 0; i < 8; ++i) {
    examples.emplace_back(camera, 100, 0.6, Eigen::Vector3d::Zero(), &random);
  }
  const auto solve = [&](size_t i) {
    return SolveMagsac(camera, examples[i].matches, 3.0, i);
  };
  std::vector<std::optional<Rigid3d>> in_threads(examples.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < examples.size(); ++i) {
    threads.emplace_back([&, i]() { in_threads[i] = solve(i); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < examples.size(); ++i) {
    const std::optional<Rigid3d> alone = solve(i);
    ASSERT_TRUE(alone.has_value() && in_threads[i].has_value());
    EXPECT_EQ(alone->rotation.coeffs(), in_threads[i]->rotation.coeffs());
    EXPECT_EQ(alone->translation, in_threads[i]->translation);
  }
}

// A camera that sees nothing in front of it.
class BackwardCamera : public RadialCamera {
 public:
  BackwardCamera() : RadialCamera(0.0) {}
  bool Unproject(const Eigen::Vector2d& xy,
                 Eigen::Vector3d* bearing) const override {
    RadialCamera::Unproject(xy, bearing);
    bearing->z() = xy.x() < 320.0 ? 0.0 : -bearing->z();
    return xy.y() < 240.0;
  }
};

TEST(SolveMagsac, NoPoseFromBadMatches) {
  Random random(4);
  const RadialCamera camera(0.0);
  const Example example(camera, 30, 0.0, Eigen::Vector3d::Zero(), &random);
  for (const size_t num_matches : {0, 1, 2, 3}) {
    const std::vector<PointMatch> few(example.matches.begin(),
                                      example.matches.begin() + num_matches);
    EXPECT_FALSE(SolveMagsac(camera, few, 3.0, 1).has_value());
  }
  EXPECT_FALSE(
      SolveMagsac(BackwardCamera(), example.matches, 3.0, 1).has_value());

  // All in one place, or on one line: whatever it says, it is finite.
  for (const double step : {0.0, 0.1}) {
    std::vector<PointMatch> degenerate(30, example.matches[0]);
    for (size_t i = 0; i < degenerate.size(); ++i) {
      degenerate[i].point_in_world.x() += step * i;
    }
    const std::optional<Rigid3d> pose = SolveMagsac(camera, degenerate, 3.0, 1);
    if (pose.has_value()) {
      EXPECT_TRUE(pose->rotation.coeffs().allFinite());
      EXPECT_TRUE(pose->translation.allFinite());
    }
  }
}

}  // namespace
}  // namespace nre
