#include "tests/testing/synthetic_scene.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "nre/error.h"

namespace nre {
namespace {

PinholeCamera SmallCamera() { return {160, 120, 140.0, 140.0, 80.0, 60.0}; }

// Light that is the same for all surfaces and all views.
Lighting Flat() {
  Lighting lighting;
  lighting.ambient.setOnes();
  lighting.sun.setZero();
  return lighting;
}

// A plain wall in the plane y = 5 with a niche of depth 1 and a hole.
Scene WallWithNicheAndHole() {
  Quad wall;
  wall.origin << -10.0, 5.0, -10.0;
  wall.u_axis = Eigen::Vector3d::UnitX();
  wall.v_axis = Eigen::Vector3d::UnitZ();  // the normal is -y
  wall.width = 20.0;
  wall.height = 20.0;
  wall.cut_outs = {{9.0, 9.0, 11.0, 11.0, 1.0, {}},  // around x = 0, z = 0
                   {11.5, 9.0, 12.5, 11.0, 0.0, {}}};
  SceneObject object;
  object.quads = {wall};
  object.bounds.extend(Eigen::Vector3d(-10.0, 4.9, -10.0));
  object.bounds.extend(Eigen::Vector3d(10.0, 6.1, 10.0));
  return {{object}};
}

Eigen::Vector3d Bearing(double x, double y, double z) {
  return Eigen::Vector3d(x, y, z).normalized();
}

TEST(CastRay, MeetsPlaneNicheAndHoleWhereTheyAre) {
  const Scene scene = WallWithNicheAndHole();
  const Eigen::Vector3d origin = Eigen::Vector3d::Zero();
  RayHit hit;
  ASSERT_TRUE(CastRay(scene, origin, Bearing(-2.0, 5.0, 1.0), &hit));
  EXPECT_LT((hit.point - Eigen::Vector3d(-2.0, 5.0, 1.0)).norm(), 1e-12);
  EXPECT_EQ(hit.normal, -Eigen::Vector3d::UnitY());
  EXPECT_LT((hit.uv - Eigen::Vector2d(8.0, 11.0)).norm(), 1e-12);

  // The niche's back and its right side, whose normal is -x.
  ASSERT_TRUE(CastRay(scene, origin, Bearing(0.6, 6.0, 0.0), &hit));
  EXPECT_LT((hit.point - Eigen::Vector3d(0.6, 6.0, 0.0)).norm(), 1e-12);
  ASSERT_TRUE(CastRay(scene, origin, Bearing(1.0, 5.5, 0.2), &hit));
  EXPECT_LT((hit.point - Eigen::Vector3d(1.0, 5.5, 0.2)).norm(), 1e-12);
  EXPECT_EQ(hit.normal, -Eigen::Vector3d::UnitX());

  EXPECT_FALSE(CastRay(scene, origin, Bearing(2.0, 5.0, 0.0), &hit));
  EXPECT_FALSE(CastRay(scene, origin, Bearing(0.0, -1.0, 0.0), &hit));
}

TEST(CastRay, ReturnsTheFirstOfSeveralSurfaces) {
  Scene scene = WallWithNicheAndHole();
  scene.objects.push_back(scene.objects[0]);
  SceneObject& nearer = scene.objects[1];
  nearer.quads[0].origin.y() = 3.0;
  nearer.quads[0].cut_outs.clear();
  nearer.bounds.translate(Eigen::Vector3d(0.0, -2.0, 0.0));
  for (int order = 0; order < 2; ++order) {
    RayHit hit;
    ASSERT_TRUE(CastRay(
        scene, Eigen::Vector3d::Zero(), Eigen::Vector3d::UnitY(), &hit));
    EXPECT_DOUBLE_EQ(hit.distance, 3.0);
    std::swap(scene.objects[0], scene.objects[1]);
  }
}

TEST(LookAt, PutsTheTargetOnTheAxisAndUpUpwards) {
  const Eigen::Vector3d center(1.0, -4.0, 2.0);
  const Eigen::Vector3d target(-2.0, 6.0, 3.0);
  const Rigid3d cam_from_world = LookAt(center, target);
  EXPECT_LT((ProjectionCenter(cam_from_world) - center).norm(), 1e-12);
  const Eigen::Vector3d in_cam = cam_from_world * target;
  EXPECT_LT(in_cam.head<2>().norm(), 1e-12);
  EXPECT_GT(in_cam.z(), 0.0);
  // Image rows go down.
  const Eigen::Vector3d above = target + Eigen::Vector3d::UnitZ();
  EXPECT_LT((cam_from_world * above).y(), 0.0);
}

TEST(Render, DepthIsThatOfTheRayThroughThePixelsCenter) {
  const Scene scene = WallWithNicheAndHole();
  const PinholeCamera camera = SmallCamera();
  const Rigid3d cam_from_world =
      LookAt(Eigen::Vector3d::Zero(), Eigen::Vector3d::UnitY());
  const RenderedView view = Render(scene, camera, cam_from_world, Flat(), 1);
  const auto depth = [&](double x_world, double z_world, double y_world) {
    Eigen::Vector2d xy;
    const Eigen::Vector3d in_world(x_world, y_world, z_world);
    EXPECT_TRUE(camera.Project(cam_from_world * in_world, &xy, nullptr));
    return view
        .depth[static_cast<int>(xy.y()) * 160 + static_cast<int>(xy.x())];
  };
  EXPECT_FLOAT_EQ(depth(-2.0, 1.0, 5.0), 5.0f);
  EXPECT_FLOAT_EQ(depth(0.5, 0.2, 6.0), 6.0f);
  EXPECT_TRUE(std::isinf(depth(2.0, 0.0, 5.0)));
}

TEST(Render, DoesNotDependOnThreadsAndDoesOnTheSeed) {
  const PinholeCamera camera = SmallCamera();
  const Rigid3d cam_from_world = LookAt({0.0, -4.0, 2.0}, {0.0, 6.0, 2.0});
  Lighting lighting = MakeLighting("dusk");
  lighting.blur_px = 0.8f;
  const Scene scene = MakeStreetScene(3);
  const RenderedView one = Render(scene, camera, cam_from_world, lighting, 1);
  const RenderedView three = Render(scene, camera, cam_from_world, lighting, 3);
  EXPECT_EQ(one.image.rgb, three.image.rgb);
  EXPECT_EQ(one.depth, three.depth);
  const RenderedView other =
      Render(MakeStreetScene(4), camera, cam_from_world, lighting, 1);
  EXPECT_NE(one.image.rgb, other.image.rgb);
}

TEST(Render, SurfacePointHasItsColorInEveryView) {
  const PinholeCamera camera(640, 480, 560.0, 560.0, 320.0, 240.0);
  const Scene scene = MakeStreetScene(1);
  const Rigid3d pose_a = LookAt({-1.0, -3.0, 1.8}, {0.0, 6.5, 2.2});
  const Rigid3d pose_b = LookAt({0.5, -3.2, 2.2}, {0.2, 6.5, 2.0});
  const RenderedView a = Render(scene, camera, pose_a, Flat(), 2);
  const RenderedView b = Render(scene, camera, pose_b, Flat(), 2);
  const std::vector<SurfacePoint> points =
      SampleSurfacePoints(a, camera, pose_a, 500, 3, 7);
  ASSERT_EQ(points.size(), 500u);

  std::vector<float> here, there;
  const std::vector<float> gray_a = a.image.Gray();
  const std::vector<float> gray_b = b.image.Gray();
  for (const SurfacePoint& point : points) {
    Eigen::Vector2d xy_a, xy_b;
    ASSERT_TRUE(IsVisible(scene, camera, pose_a, point.xyz, &xy_a));
    EXPECT_LT((xy_a - point.xy).norm(), 1e-3);
    if (!IsVisible(scene, camera, pose_b, point.xyz, &xy_b)) continue;
    here.push_back(
        gray_a[static_cast<int>(xy_a.y()) * 640 + static_cast<int>(xy_a.x())]);
    there.push_back(
        gray_b[static_cast<int>(xy_b.y()) * 640 + static_cast<int>(xy_b.x())]);
  }
  ASSERT_GT(here.size(), 300u);
  const auto size = static_cast<Eigen::Index>(here.size());
  Eigen::ArrayXf x = Eigen::Map<Eigen::ArrayXf>(here.data(), size);
  Eigen::ArrayXf y = Eigen::Map<Eigen::ArrayXf>(there.data(), size);
  x -= x.mean();
  y -= y.mean();
  const float correlation =
      (x * y).sum() / std::sqrt((x * x).sum() * (y * y).sum());
  EXPECT_GT(correlation, 0.85f);
}

TEST(Render, DoesNotAlias) {
  // Moving the camera by a tenth of a pixel changes an image without aliasing
  // by about a tenth of what a whole pixel changes.
  const Scene scene = MakeStreetScene(1);
  const auto render = [&](double shift_px) {
    const PinholeCamera camera(320, 240, 280.0, 280.0, 160.0 + shift_px, 120.0);
    return Render(scene,
                  camera,
                  LookAt({0.0, -4.0, 2.0}, {0.0, 6.5, 2.2}),
                  Flat(),
                  2)
        .image.Gray();
  };
  const auto difference = [](const std::vector<float>& a,
                             const std::vector<float>& b) {
    double sum = 0.0;
    for (size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] - b[i]);
    return sum / a.size();
  };
  const std::vector<float> still = render(0.0);
  EXPECT_LT(difference(still, render(0.1)),
            0.25 * difference(still, render(1.0)));
}

TEST(SampleSurfacePoints, KeepsAwayFromDepthEdges) {
  const Scene scene = MakeStreetScene(2);
  const PinholeCamera camera = SmallCamera();
  const Rigid3d cam_from_world = LookAt({-1.0, -3.0, 2.0}, {0.0, 6.5, 2.2});
  const RenderedView view = Render(scene, camera, cam_from_world, Flat(), 1);
  for (const SurfacePoint& point :
       SampleSurfacePoints(view, camera, cam_from_world, 200, 2, 1)) {
    const int x = static_cast<int>(point.xy.x());
    const int y = static_cast<int>(point.xy.y());
    const float depth = view.depth[y * 160 + x];
    EXPECT_LT(std::abs(view.depth[y * 160 + x + 2] - depth), 0.1f * depth);
    EXPECT_LT(std::abs(view.depth[y * 160 + x - 2] - depth), 0.1f * depth);
  }
}

TEST(MakeLighting, NamesWhatThereIs) {
  EXPECT_THROW(MakeLighting("moonshine"), InputError);
  EXPECT_GT(MakeLighting("lamps").lamps.size(), 0u);
}

}  // namespace
}  // namespace nre
