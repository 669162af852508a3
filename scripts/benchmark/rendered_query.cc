#include "scripts/benchmark/rendered_query.h"

#include <algorithm>
#include <stdexcept>
#include <thread>

#include "tests/testing/synthetic_scene.h"

namespace nre {
namespace {

constexpr uint32_t kSceneSeed = 1;
constexpr uint32_t kOtherSceneSeed = 2;

// Rendering is not measured: it takes all cores.
RenderedView RenderView(const PinholeCamera& camera,
                        uint32_t scene_seed,
                        const std::string& light,
                        const Rigid3d& cam_from_world) {
  const int num_threads =
      std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return Render(MakeStreetScene(scene_seed),
                camera,
                cam_from_world,
                MakeLighting(light),
                num_threads);
}

}  // namespace

std::vector<QueryView> QueryViews() {
  return {
      {"near, by day", "day", LookAt({1.0, -3.2, 2.2}, {0.5, 6.5, 2.0})},
      {"far, at dusk", "dusk", LookAt({-3.0, -6.5, 3.2}, {0.5, 6.5, 2.2})},
      {"of another scene",
       "day",
       LookAt({1.0, -3.2, 2.2}, {0.5, 6.5, 2.0}),
       false},
  };
}

PinholeCamera CreateViewCamera(int width, int height) {
  const double focal_length = 0.85 * width;
  return PinholeCamera(
      width, height, focal_length, focal_length, 0.5 * width, 0.5 * height);
}

Image RenderQuery(const PinholeCamera& camera, const QueryView& view) {
  return RenderView(camera,
                    view.same_scene ? kSceneSeed : kOtherSceneSeed,
                    view.light,
                    view.cam_from_world)
      .image;
}

DescribedPoints DescribeReference(const PinholeCamera& camera,
                                  const FeaturePreset& preset,
                                  int num_points) {
  constexpr int kMarginPx = 4;
  const Rigid3d cam_from_world = LookAt({0.0, -4.0, 2.0}, {0.0, 6.5, 2.2});
  const RenderedView view =
      RenderView(camera, kSceneSeed, "day", cam_from_world);
  const FeatureMap coarse = preset.coarse->Extract(view.image);
  const FeatureMap fine = preset.fine->Extract(view.image);

  std::vector<float> coarse_descriptor(coarse.channels);
  std::vector<float> fine_descriptor(fine.channels);
  DescribedPoints points;
  // More than needed: sky, plain walls and the border have no descriptors.
  for (const SurfacePoint& point : SampleSurfacePoints(
           view, camera, cam_from_world, 3 * num_points, kMarginPx, 0)) {
    if (points.xyz.size() < static_cast<size_t>(num_points) &&
        coarse.Sample(point.xy, coarse_descriptor.data()) &&
        fine.Sample(point.xy, fine_descriptor.data())) {
      points.xyz.push_back(point.xyz);
      points.views.push_back(ViewOfPoint(cam_from_world, point.xyz));
      points.coarse.insert(points.coarse.end(),
                           coarse_descriptor.begin(),
                           coarse_descriptor.end());
      points.fine.insert(
          points.fine.end(), fine_descriptor.begin(), fine_descriptor.end());
    }
  }
  if (points.xyz.size() < static_cast<size_t>(num_points)) {
    throw std::runtime_error("the rendered reference image has too few points");
  }
  return points;
}

}  // namespace nre
