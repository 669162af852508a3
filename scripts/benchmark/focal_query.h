// The side of the focal length study that knows nothing of COLMAP.
#pragma once

#include <cstdint>
#include <vector>

#include "nre/camera.h"
#include "nre/point_match.h"
#include "nre/rigid3.h"
#include "s2d/feature_preset.h"
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

// Refined peaks of fine maps, the most reliable first: around the coarse maps'
// peaks, which is what a matcher without a pose can do, and around the
// projections of a pose.
struct FocalMatches {
  std::vector<PointMatch> own;
  std::vector<PointMatch> guided;
};

// `camera` and `cam_from_world`: of the guiding pose.
FocalMatches FindMatches(const FeaturePreset& preset,
                         const ImageFeatures& features,
                         const DescribedPoints& points,
                         const Camera& camera,
                         const Rigid3d& cam_from_world);

}  // namespace nre
