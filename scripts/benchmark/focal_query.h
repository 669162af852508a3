// The side of the focal length study that knows nothing of COLMAP.
#pragma once

#include <cstdint>
#include <vector>

#include "nre/camera.h"
#include "nre/point_match.h"
#include "nre/pose_estimator.h"
#include "s2d/feature_extractor.h"
#include "s2d/image.h"
#include "s2d/localization.h"

namespace nre {

// A part of an image, resized. Image coordinates are scale * (xy - origin).
struct Crop {
  Image image;
  Eigen::Vector2d origin;
  Eigen::Vector2d scale;
};

// Cuts out a random part of 60 to 100 % of width and height each, and resizes
// it by 0.6 to 1.2. Depends on the seed only.
Crop RandomCrop(const Image& image, uint64_t seed);

struct FocalQueryResult {
  PoseEstimate estimate;  // with unknown focal length
  double estimate_ms = 0.0;
  // Refined peaks of fine maps, the most reliable first: around the coarse
  // maps' peaks, which is what a matcher without a pose can do, and around the
  // projections of the estimate.
  std::vector<PointMatch> own_matches;
  std::vector<PointMatch> guided_matches;
};

FocalQueryResult RunFocalQuery(const FeaturePreset& preset,
                               const Image& image,
                               const Camera& camera,
                               const DescribedPoints& points,
                               const Priors& priors,
                               uint64_t seed);

}  // namespace nre
