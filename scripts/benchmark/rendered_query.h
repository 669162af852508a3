// Queries of the rendered street scene, for the benchmarks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nre/camera.h"
#include "nre/rigid3.h"
#include "s2d/feature_preset.h"
#include "s2d/image.h"
#include "s2d/localization.h"

namespace nre {

struct QueryView {
  std::string name;
  std::string light;  // of MakeLighting()
  Rigid3d cam_from_world;
  // Whether it shows the scene of the reference image; else it shows another
  // one and must not be registered.
  bool same_scene = true;
};

// An easy query, a hard one and one that shows another scene. They differ in
// how many hypotheses are worth refining, hence in time.
std::vector<QueryView> QueryViews();

// The camera of all views.
PinholeCamera CreateViewCamera(int width, int height);

Image RenderQuery(const PinholeCamera& camera, const QueryView& view);

// Renders a reference image and describes `num_points` points that it sees.
DescribedPoints DescribeReference(const PinholeCamera& camera,
                                  const FeaturePreset& preset,
                                  int num_points);

}  // namespace nre
