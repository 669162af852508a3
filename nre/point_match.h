// 2D-3D matches: what is left of loss maps when only their peaks are kept.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/rigid3.h"

namespace nre {

struct PointMatch {
  Eigen::Vector3d point_in_world;
  Eigen::Vector2d xy;  // image coordinates
};

// A robust estimator of the pose from matches, the most reliable first, of
// which any share may be wrong. A match is right if it lies within about
// `max_error_px` of its point's projection. Returns nothing if it finds no
// pose. Several threads may call it at once; deterministic for a given seed.
using MatchSolver =
    std::function<std::optional<Rigid3d>(const Camera& camera,
                                         const std::vector<PointMatch>& matches,
                                         double max_error_px,
                                         uint64_t seed)>;

}  // namespace nre
