// COLMAP's geometric verification of matches between two images.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "colmap_plugin/compat/colmap.h"

namespace nre {

// Indices of matching keypoints of a first and a second image.
using KeypointMatches = std::vector<std::pair<uint32_t, uint32_t>>;

// The columns of COLMAP's table two_view_geometries. Matrices map the first
// image to the second and are left out where they were not estimated.
struct TwoViewGeometry {
  int config = 0;  // TwoViewGeometry::ConfigurationType of COLMAP
  KeypointMatches inliers;
  std::optional<Eigen::Matrix3d> F;
  std::optional<Eigen::Matrix3d> E;
  std::optional<Eigen::Matrix3d> H;
};

// The same, from the second image to the first.
TwoViewGeometry Inverse(const TwoViewGeometry& geometry);

// COLMAP's defaults.
struct VerificationOptions {
  // Inlier threshold.
  double max_error_px = 4.0;

  // Pairs with fewer matches that agree are not verified.
  int min_num_inliers = 15;

  bool Check() const;
};

// Estimates what relates two images, as COLMAP's matchers do: essential or
// fundamental matrix, depending on whether the focal lengths are known, and
// homography. `keypoints` as the database has them, in pixels. No inliers if
// there are fewer than `min_num_inliers`. The same seed gives the same result,
// in any thread. Throws InputError for options that fail their Check().
TwoViewGeometry VerifyMatches(const colmap::Camera& camera1,
                              const std::vector<Eigen::Vector2d>& keypoints1,
                              const colmap::Camera& camera2,
                              const std::vector<Eigen::Vector2d>& keypoints2,
                              const KeypointMatches& matches,
                              const VerificationOptions& options,
                              uint64_t seed);

}  // namespace nre
