// The one place where image coordinates become map coordinates.
#pragma once

#include <Eigen/Core>

namespace nre {

// x_map = scale * x_image + offset, per axis. Image coordinates are COLMAP's
// (the centre of the top-left pixel is (0.5, 0.5)); map coordinates have cell
// (0, 0) centred on (0, 0).
struct MapFromImage {
  Eigen::Vector2d scale = Eigen::Vector2d::Ones();
  Eigen::Vector2d offset = Eigen::Vector2d::Zero();

  Eigen::Vector2d operator*(const Eigen::Vector2d& xy_image) const {
    return scale.cwiseProduct(xy_image) + offset;
  }

  Eigen::Vector2d ToImage(const Eigen::Vector2d& xy_map) const {
    return (xy_map - offset).cwiseQuotient(scale);
  }

  // Of features whose cell (0, 0) is centred on `first_center` (pixels of the
  // image that the extractor saw, COLMAP convention) and whose cells are
  // `stride` of those pixels apart, where the extractor saw the image resized
  // by `resize` = (seen width / width, seen height / height).
  static MapFromImage FromStride(const Eigen::Vector2d& stride,
                                 const Eigen::Vector2d& first_center,
                                 const Eigen::Vector2d& resize) {
    return {resize.cwiseQuotient(stride), -first_center.cwiseQuotient(stride)};
  }
};

}  // namespace nre
