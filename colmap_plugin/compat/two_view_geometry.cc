#include "colmap_plugin/compat/two_view_geometry.h"

#include <cmath>

#include <Eigen/LU>

#if NRE_COLMAP_VERSION < 400
#include <estimators/two_view_geometry.h>
#include <util/random.h>
#else
#include <colmap/estimators/two_view_geometry.h>
#endif

#include "nre/error.h"

namespace nre {
namespace {

#if NRE_COLMAP_VERSION < 400
using ColmapOptions = colmap::TwoViewGeometry::Options;
#else
using ColmapOptions = colmap::TwoViewGeometryOptions;
#endif

// COLMAP's defaults in its matchers, which in 3.8 are not those of the struct.
ColmapOptions MakeOptions(const VerificationOptions& options, uint64_t seed) {
  ColmapOptions colmap_options;
  colmap_options.min_num_inliers = options.min_num_inliers;
  colmap_options.ransac_options.max_error = options.max_error_px;
  colmap_options.ransac_options.confidence = 0.999;
  colmap_options.ransac_options.min_num_trials = 100;
  colmap_options.ransac_options.max_num_trials = 10000;
  colmap_options.ransac_options.min_inlier_ratio = 0.25;
#if NRE_COLMAP_VERSION < 400
  colmap::SetPRNGSeed(static_cast<unsigned>(seed ^ (seed >> 32)));
#else
  colmap_options.ransac_options.random_seed =
      static_cast<int>((seed ^ (seed >> 32)) & 0x7fffffff);
#endif
  return colmap_options;
}

colmap::TwoViewGeometry Estimate(const colmap::Camera& camera1,
                                 const std::vector<Eigen::Vector2d>& keypoints1,
                                 const colmap::Camera& camera2,
                                 const std::vector<Eigen::Vector2d>& keypoints2,
                                 const colmap::FeatureMatches& matches,
                                 const ColmapOptions& options) {
#if NRE_COLMAP_VERSION < 400
  colmap::TwoViewGeometry geometry;
  geometry.Estimate(camera1, keypoints1, camera2, keypoints2, matches, options);
  return geometry;
#else
  return colmap::EstimateTwoViewGeometry(
      camera1, keypoints1, camera2, keypoints2, matches, options);
#endif
}

// 3.8 leaves a matrix that it did not estimate zero.
std::optional<Eigen::Matrix3d> IfEstimated(
    const std::optional<Eigen::Matrix3d>& matrix) {
  return matrix.has_value() && !matrix->isZero(0.0) ? matrix : std::nullopt;
}

}  // namespace

TwoViewGeometry Inverse(const TwoViewGeometry& geometry) {
  TwoViewGeometry inverse = geometry;
  for (auto& [i, j] : inverse.inliers) {
    std::swap(i, j);
  }
  if (geometry.F.has_value()) inverse.F = geometry.F->transpose();
  if (geometry.E.has_value()) inverse.E = geometry.E->transpose();
  if (geometry.H.has_value()) inverse.H = geometry.H->inverse();
  return inverse;
}

bool VerificationOptions::Check() const {
  return std::isfinite(max_error_px) && max_error_px > 0.0 &&
         min_num_inliers >= 0;
}

TwoViewGeometry VerifyMatches(const colmap::Camera& camera1,
                              const std::vector<Eigen::Vector2d>& keypoints1,
                              const colmap::Camera& camera2,
                              const std::vector<Eigen::Vector2d>& keypoints2,
                              const KeypointMatches& matches,
                              const VerificationOptions& options,
                              uint64_t seed) {
  if (!options.Check()) {
    throw InputError(
        "the options of the geometric verification are invalid: expected a "
        "positive max_error and a min_num_inliers that is not negative");
  }
  TwoViewGeometry geometry;
  if (matches.size() < static_cast<size_t>(options.min_num_inliers)) {
    return geometry;
  }
  colmap::FeatureMatches colmap_matches;
  for (const auto& [i, j] : matches) {
    colmap_matches.emplace_back(i, j);
  }
  const colmap::TwoViewGeometry estimate = Estimate(camera1,
                                                    keypoints1,
                                                    camera2,
                                                    keypoints2,
                                                    colmap_matches,
                                                    MakeOptions(options, seed));
  geometry.config = estimate.config;
  geometry.F = IfEstimated(estimate.F);
  geometry.E = IfEstimated(estimate.E);
  geometry.H = IfEstimated(estimate.H);
  if (estimate.inlier_matches.size() >=
      static_cast<size_t>(options.min_num_inliers)) {
    for (const colmap::FeatureMatch& match : estimate.inlier_matches) {
      geometry.inliers.emplace_back(match.point2D_idx1, match.point2D_idx2);
    }
  }
  return geometry;
}

}  // namespace nre
