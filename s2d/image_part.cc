#include "s2d/image_part.h"

#include <algorithm>
#include <cmath>

#include <Eigen/Geometry>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "nre/evidence.h"

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

// Votes for shifts: that of (x, y) is for the query's corner being the
// reference's, shifted by (x, y) cells less the map's size, since not all of
// the query need lie in the reference.
cv::Mat VoteForShifts(const SparseLossMaps& maps,
                      const Eigen::Matrix2Xd& keypoints,
                      const Eigen::Vector2d& cell,
                      const Camera& reference) {
  const LossMaps::Geometry& geometry = maps.geometry();
  cv::Mat votes = cv::Mat::zeros(
      static_cast<int>(reference.Height() / cell.y()) + geometry.height + 2,
      static_cast<int>(reference.Width() / cell.x()) + geometry.width + 2,
      CV_32F);
  LossMaps::Raster raster;
  for (Eigen::Index i = 0; i < keypoints.cols(); ++i) {
    const Eigen::Vector2d p =
        keypoints.col(i).cwiseQuotient(cell) + geometry.map_from_image.offset;
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
  return votes;
}

// With a margin, in whole pixels, cut at the reference's border.
ImagePart PartAround(const Eigen::Array2d& center,
                     const Eigen::Array2d& size,
                     const Camera& reference) {
  const Eigen::Array2d half = 0.5 * kPartMargin * size;
  const Eigen::Array2d end_of_all(reference.Width(), reference.Height());
  const Eigen::Array2i begin =
      (center - half).floor().max(0.0).min(end_of_all - 1.0).cast<int>();
  const Eigen::Array2i end =
      (center + half).ceil().min(end_of_all).cast<int>().max(begin + 1);
  return {begin.x(), begin.y(), end.x() - begin.x(), end.y() - begin.y()};
}

}  // namespace

std::vector<ImagePart> FindParts(const SparseLossMaps& maps,
                                 const Eigen::Matrix2Xd& keypoints,
                                 const Camera& query,
                                 const Camera& reference,
                                 int max_num_parts) {
  const LossMaps::Geometry& geometry = maps.geometry();
  const double factor = reference.MeanFocalLength() / query.MeanFocalLength();
  const Eigen::Vector2d query_size =
      factor * Eigen::Vector2d(query.Width(), query.Height());
  const Eigen::Vector2d cell =
      factor * geometry.map_from_image.scale.cwiseInverse();
  cv::Mat votes = VoteForShifts(maps, keypoints, cell, reference);

  std::vector<ImagePart> parts;
  double most;
  cv::Point best;
  cv::minMaxLoc(votes, nullptr, &most, nullptr, &best);
  do {
    const Eigen::Array2d corner = cell.cwiseProduct(
        Eigen::Vector2d(best.x - geometry.width, best.y - geometry.height));
    parts.push_back(
        PartAround(corner + 0.5 * query_size.array(), query_size, reference));
    const cv::Rect near(best.x - geometry.width / 2,
                        best.y - geometry.height / 2,
                        geometry.width,
                        geometry.height);
    votes(near & cv::Rect({}, votes.size())) = 0.0f;
    cv::minMaxLoc(votes, nullptr, &most, nullptr, &best);
  } while (static_cast<int>(parts.size()) < max_num_parts && most > 0.0);
  return parts;
}

std::optional<ImagePart> PartInView(const std::vector<Eigen::Vector3d>& points,
                                    const Eigen::Matrix2Xd& keypoints,
                                    const Camera& query,
                                    const Rigid3d& cam_from_world,
                                    const Camera& reference) {
  Eigen::AlignedBox2d box;
  Eigen::Vector2d xy;
  for (size_t i = 0; i < points.size(); ++i) {
    if (IsInImage(query, cam_from_world, points[i], &xy)) {
      box.extend(keypoints.col(i));
    }
  }
  if (box.isEmpty()) {
    return std::nullopt;
  }
  return PartAround(box.center(), box.sizes(), reference);
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
