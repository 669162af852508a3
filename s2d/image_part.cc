#include "s2d/image_part.h"

#include <algorithm>
#include <cmath>

#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

namespace nre {
namespace {

// Shifts differ with the depth by about this share of the query's size.
constexpr double kShiftSigma = 0.05;

// The correspondence map C of a point beyond what is uniform, over the whole
// map, its last cell first.
cv::Mat ReversedMass(const SparseLossMaps& maps,
                     size_t point,
                     LossMaps::Raster* raster) {
  maps.Rasterize(point, raster);
  const cv::Mat padded(
      raster->height + 3, raster->width + 3, CV_32F, raster->weights.data());
  cv::Mat mass;
  cv::flip(padded({1, 1, raster->width, raster->height}), mass, -1);
  cv::exp(mass, mass);  // weight = ln|Omega^| + ln C
  return (mass - 1.0) * std::exp(-maps.geometry().LogCategories());
}

}  // namespace

ImagePart FindPart(const SparseLossMaps& maps,
                   const std::vector<Eigen::Vector2d>& keypoints,
                   const Camera& query,
                   const Camera& reference) {
  const LossMaps::Geometry& geometry = maps.geometry();
  const double factor = reference.MeanFocalLength() / query.MeanFocalLength();
  const Eigen::Vector2d query_size =
      factor * Eigen::Vector2d(query.Width(), query.Height());
  const Eigen::Vector2d cell =
      factor * geometry.map_from_image.scale.cwiseInverse();

  // votes(y, x): the query's corner is the reference's, shifted by (x, y) cells
  // less the map's size, since not all of the query need lie in the reference.
  cv::Mat votes = cv::Mat::zeros(
      static_cast<int>(reference.Height() / cell.y()) + geometry.height + 2,
      static_cast<int>(reference.Width() / cell.x()) + geometry.width + 2,
      CV_32F);
  LossMaps::Raster raster;
  for (size_t i = 0; i < keypoints.size(); ++i) {
    const Eigen::Vector2d p =
        keypoints[i].cwiseQuotient(cell) + geometry.map_from_image.offset;
    const cv::Rect shifts(static_cast<int>(std::lround(p.x())) + 1,
                          static_cast<int>(std::lround(p.y())) + 1,
                          geometry.width,
                          geometry.height);
    // A keypoint outside of the image has no place here.
    if ((shifts & cv::Rect({}, votes.size())) == shifts) {
      votes(shifts) += ReversedMass(maps, i, &raster);
    }
  }
  const double sigma =
      std::max(1.0, kShiftSigma * std::max(geometry.width, geometry.height));
  cv::GaussianBlur(votes, votes, cv::Size(), sigma, sigma, cv::BORDER_CONSTANT);
  cv::Point best;
  cv::minMaxLoc(votes, nullptr, nullptr, nullptr, &best);

  const Eigen::Array2d center =
      cell.cwiseProduct(
          Eigen::Vector2d(best.x - geometry.width, best.y - geometry.height)) +
      0.5 * query_size;
  const Eigen::Array2d half = 0.5 * kPartMargin * query_size;
  const Eigen::Array2d size(reference.Width(), reference.Height());
  const Eigen::Array2i begin =
      (center - half).floor().max(0.0).min(size - 1.0).cast<int>();
  const Eigen::Array2i end =
      (center + half).ceil().min(size).cast<int>().max(begin + 1);
  return {begin.x(), begin.y(), end.x() - begin.x(), end.y() - begin.y()};
}

Image CutOut(const Image& image, const ImagePart& part) {
  Image crop;
  crop.width = part.width;
  crop.height = part.height;
  for (int y = part.y; y < part.y + part.height; ++y) {
    const auto row =
        image.rgb.begin() + 3 * (static_cast<size_t>(y) * image.width + part.x);
    crop.rgb.insert(crop.rgb.end(), row, row + 3 * part.width);
  }
  return crop;
}

}  // namespace nre
