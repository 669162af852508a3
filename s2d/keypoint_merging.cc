#include "s2d/keypoint_merging.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <unordered_map>

#include <Eigen/Geometry>

#include "nre/error.h"

namespace nre {
namespace {

// Points in squares as wide as the radius in which they are sought.
class PointGrid {
 public:
  explicit PointGrid(double radius)
      : radius_(radius), size_(std::max(radius, 1e-6)) {}

  void Add(const Eigen::Vector2d& xy, size_t index) {
    if (xy.allFinite()) squares_[Key(Square(xy))].push_back({xy, index});
  }

  // The nearest point within the radius, the first of equally near ones;
  // kNone if there is none.
  static constexpr size_t kNone = std::numeric_limits<size_t>::max();
  size_t Nearest(const Eigen::Vector2d& xy) const {
    const Eigen::Array2i square = Square(xy);
    size_t nearest = kNone;
    double least = radius_ * radius_;
    for (int dy = -1; dy <= 1; ++dy) {
      for (int dx = -1; dx <= 1; ++dx) {
        const auto points = squares_.find(Key(square + Eigen::Array2i(dx, dy)));
        if (points == squares_.end()) continue;
        for (const Point& point : points->second) {
          const double distance = (point.xy - xy).squaredNorm();
          if (distance < least ||
              (distance == least && point.index < nearest)) {
            least = distance;
            nearest = point.index;
          }
        }
      }
    }
    return nearest;
  }

 private:
  struct Point {
    Eigen::Vector2d xy;
    size_t index;
  };

  Eigen::Array2i Square(const Eigen::Vector2d& xy) const {
    return (xy / size_).array().floor().max(-1e9).min(1e9).cast<int>();
  }

  static int64_t Key(const Eigen::Array2i& square) {
    return (static_cast<int64_t>(square.y()) << 32) ^
           static_cast<uint32_t>(square.x());
  }

  double radius_;
  double size_;
  std::unordered_map<int64_t, std::vector<Point>> squares_;
};

}  // namespace

bool MergingOptions::Check() const {
  return std::isfinite(snap_radius_px) && snap_radius_px >= 0.0 &&
         std::isfinite(merge_radius_px) && merge_radius_px >= 0.0;
}

MergedKeypoints MergeDetections(const Eigen::Matrix2Xd& existing,
                                const std::vector<Detection>& detections,
                                const MergingOptions& options) {
  if (!options.Check()) {
    throw InputError(
        "the options of the merging are invalid: expected radii "
        "that are not negative");
  }
  const size_t num_existing = existing.cols();
  PointGrid old_keypoints(options.snap_radius_px);
  for (size_t i = 0; i < num_existing; ++i) {
    old_keypoints.Add(existing.col(i), i);
  }
  MergedKeypoints merged;
  merged.keypoint_of_detection.resize(detections.size());

  std::vector<size_t> order(detections.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return detections[a].score > detections[b].score;
  });
  // A new keypoint is known by its best detection until all are there.
  PointGrid new_keypoints(options.merge_radius_px);
  std::vector<Eigen::Vector3d> sums;  // score * (x, y, 1)
  for (const size_t i : order) {
    const Detection& detection = detections[i];
    size_t& keypoint = merged.keypoint_of_detection[i];
    keypoint = old_keypoints.Nearest(detection.xy);
    if (keypoint != PointGrid::kNone) continue;
    keypoint = new_keypoints.Nearest(detection.xy);
    if (keypoint == PointGrid::kNone) {
      keypoint = num_existing + sums.size();
      new_keypoints.Add(detection.xy, keypoint);
      sums.emplace_back(Eigen::Vector3d::Zero());
    }
    sums[keypoint - num_existing] +=
        detection.score * detection.xy.homogeneous();
  }
  merged.keypoints.resize(2, num_existing + sums.size());
  merged.keypoints.leftCols(num_existing) = existing;
  for (size_t i = 0; i < sums.size(); ++i) {
    merged.keypoints.col(num_existing + i) = sums[i].hnormalized();
  }
  return merged;
}

}  // namespace nre
