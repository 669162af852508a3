#include "colmap_plugin/compat/absolute_pose.h"

#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "colmap_plugin/compat/camera.h"

namespace nre {
namespace {

// Matches with noise, a share of them wrong.
struct Example {
  colmap::Camera camera;
  Rigid3d cam_from_world;
  std::vector<PointMatch> matches;

  Example(const colmap::Camera& camera,
          int num_matches,
          double wrong_share,
          unsigned seed)
      : camera(camera) {
    std::mt19937 engine(seed);
    const auto uniform = [&](double lower, double upper) {
      return std::uniform_real_distribution<double>(lower, upper)(engine);
    };
    std::normal_distribution<double> noise(0.0, 0.5);
    cam_from_world.rotation =
        Eigen::Quaterniond(uniform(-1, 1), uniform(-1, 1), uniform(-1, 1), 0.7)
            .normalized();
    cam_from_world.translation << uniform(-9, 9), uniform(-9, 9),
        uniform(-9, 9);
    const std::unique_ptr<Camera> projection = CreateCamera(camera);
    while (matches.size() < static_cast<size_t>(num_matches)) {
      const double x = uniform(-5.0, 5.0);
      const double y = uniform(-4.0, 4.0);
      const Eigen::Vector3d in_cam(x, y, uniform(3.0, 10.0));
      PointMatch match{cam_from_world.Inverse() * in_cam, {}};
      if (!projection->Project(in_cam, &match.xy, nullptr) ||
          match.xy.x() < 0.0 || match.xy.x() > projection->Width() ||
          match.xy.y() < 0.0 || match.xy.y() > projection->Height()) {
        continue;
      }
      match.xy.x() += noise(engine);
      match.xy.y() += noise(engine);
      if (uniform(0.0, 1.0) < wrong_share) {
        match.xy.x() = uniform(0.0, projection->Width());
        match.xy.y() = uniform(0.0, projection->Height());
      }
      matches.push_back(match);
    }
  }
};

std::vector<colmap::Camera> Cameras() {
  return {
      MakeColmapCamera("PINHOLE", 640, 480, {500, 510, 320, 240}),
      MakeColmapCamera("SIMPLE_RADIAL", 640, 480, {450, 320, 240, -0.12}),
      MakeColmapCamera(
          "OPENCV", 640, 480, {450, 455, 320, 240, 0.1, -0.02, 0.001, -0.002}),
      MakeColmapCamera("OPENCV_FISHEYE",
                       640,
                       480,
                       {300, 300, 320, 240, 0.02, -0.005, 0.001, 0.0})};
}

TEST(SolveLoRansac, FindsThePoseAmongWrongMatches) {
  unsigned seed = 0;
  for (const colmap::Camera& camera : Cameras()) {
    for (const double wrong_share : {0.0, 0.5, 0.8}) {
      const Example example(camera, 300, wrong_share, ++seed);
      const std::optional<Rigid3d> pose =
          SolveLoRansac(camera, example.matches, 3.0, 1);
      ASSERT_TRUE(pose.has_value());
      EXPECT_LT(RotationErrorDeg(*pose, example.cam_from_world), 0.1);
      EXPECT_LT(CenterError(*pose, example.cam_from_world), 0.02);
      EXPECT_NEAR(pose->rotation.norm(), 1.0, 1e-12);
    }
  }
}

TEST(SolveLoRansac, TheSameForASeedInAnyThread) {
  std::vector<Example> examples;
  for (unsigned i = 0; i < 8; ++i) {
    examples.emplace_back(Cameras()[i % 4], 100, 0.6, i);
  }
  const auto solve = [&](size_t i) {
    return SolveLoRansac(examples[i].camera, examples[i].matches, 3.0, i);
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

TEST(SolveLoRansac, NoPoseFromBadMatches) {
  const colmap::Camera camera = Cameras()[0];
  const Example example(camera, 30, 0.0, 1);
  for (const size_t num_matches : {0, 1, 2, 3}) {
    const std::vector<PointMatch> few(example.matches.begin(),
                                      example.matches.begin() + num_matches);
    EXPECT_FALSE(SolveLoRansac(camera, few, 3.0, 1).has_value());
  }
  // All in one place, or on one line: whatever it says, it is finite.
  for (const double step : {0.0, 0.1}) {
    std::vector<PointMatch> degenerate(30, example.matches[0]);
    for (size_t i = 0; i < degenerate.size(); ++i) {
      degenerate[i].point_in_world.x() += step * i;
    }
    const std::optional<Rigid3d> pose =
        SolveLoRansac(camera, degenerate, 3.0, 1);
    if (pose.has_value()) {
      EXPECT_TRUE(pose->rotation.coeffs().allFinite());
      EXPECT_TRUE(pose->translation.allFinite());
    }
  }
}

}  // namespace
}  // namespace nre
