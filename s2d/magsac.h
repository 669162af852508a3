// MAGSAC++ (Barath, Noskova, Ivashechkin, Matas, CVPR 2020) as OpenCV's USAC
// has it, for any camera.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "nre/camera.h"
#include "nre/point_match.h"
#include "nre/rigid3.h"

namespace nre {

// A MatchSolver. `max_error_px` bounds the noise that MAGSAC++ marginalises
// over, measured where the mean focal length holds: on the plane z = 1, to
// which positions are unprojected. Matches without a direction, or whose
// direction is 90 degrees or more off the optical axis, are left out. The pose
// found is refined on the reprojection errors that are at most `max_error_px`,
// with a Cauchy loss.
std::optional<Rigid3d> SolveMagsac(const Camera& camera,
                                   const std::vector<PointMatch>& matches,
                                   double max_error_px,
                                   uint64_t seed);

}  // namespace nre
