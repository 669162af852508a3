// Estimates with any camera. Nothing here has std::vectors of Eigen types in
// its interface, which COLMAP 3.8 has its own idea of.
#pragma once

#include <cstdint>

#include "nre/camera.h"

namespace nre {

struct CameraTrial {
  bool registered = false;
  double rotation_error_deg = 0.0;
  double center_error = 0.0;  // points are at distances of 3 to 10
};

// Points that `true_camera` (640 x 480) sees anywhere in its image, most of
// them within its border; loss maps around these positions, with noise of a
// pixel and 40 % wrong; the pose by EstimatePose() with `camera`.
CameraTrial RunCameraTrial(const Camera& true_camera,
                           const Camera& camera,
                           uint64_t seed);

}  // namespace nre
