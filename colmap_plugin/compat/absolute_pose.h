// COLMAP's own estimator of a pose from matches.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "colmap_plugin/compat/colmap.h"
#include "nre/point_match.h"
#include "nre/rigid3.h"

namespace nre {

// LO-RANSAC (P3P on samples, EPnP on inliers) with the inlier threshold
// `max_error_px`, then refinement of the reprojection errors of all inliers
// with a Cauchy loss, distortion included. Positions that `camera`
// (CreateCamera must accept it) cannot unproject, or, as far as COLMAP 3.8
// goes, to the front, are left out. What a MatchSolver promises holds: COLMAP's
// random numbers are this call's own.
std::optional<Rigid3d> SolveLoRansac(const colmap::Camera& camera,
                                     const std::vector<PointMatch>& matches,
                                     double max_error_px,
                                     uint64_t seed);

// COLMAP's estimate of pose and focal length, then refinement of both, as its
// mapper registers an image whose focal length is unknown. `camera` has a guess
// that is off by a factor of at most 10; receives what was found. Returns
// nothing if no pose was found. With COLMAP 3.8 not the same in every run.
std::optional<Rigid3d> SolveFocalLoRansac(
    const std::vector<PointMatch>& matches,
    double max_error_px,
    colmap::Camera* camera);

}  // namespace nre
