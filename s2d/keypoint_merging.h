// Detections of an image that come from different pairs, merged into keypoints:
// else each pair would have keypoints of its own, and no track more than two
// observations (the limit of sparse-to-dense matching that the thesis names).
#pragma once

#include <vector>

#include <Eigen/Core>

namespace nre {

// Where a pair found something in the image.
struct Detection {
  Eigen::Vector2d xy = Eigen::Vector2d::Zero();
  float score = 0.0f;  // > 0; the better, the higher
};

struct MergingOptions {
  // Detections that are no further from an existing keypoint become this
  // keypoint.
  double snap_radius_px = 0.5;

  // Detections that are no further from a better one become one keypoint.
  double merge_radius_px = 1.0;

  bool Check() const;
};

struct MergedKeypoints {
  // [2, N]: the existing ones, as they were, then new ones: means of their
  // detections, weighted by score.
  Eigen::Matrix2Xd keypoints;

  // Which of these each detection has become.
  std::vector<size_t> keypoint_of_detection;
};

// The result does not depend on the order of the detections but for equal
// scores, of which the first counts as better. Throws InputError for options
// that fail their Check().
MergedKeypoints MergeDetections(const Eigen::Matrix2Xd& existing,
                                const std::vector<Detection>& detections,
                                const MergingOptions& options);

}  // namespace nre
