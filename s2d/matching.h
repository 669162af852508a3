// Sparse-to-dense matching (S2DHM and S2DNet; thesis chapter 3, appendix A):
// keypoints in one image only, their correspondents searched densely in the
// other one.
#pragma once

#include <vector>

#include <Eigen/Core>

#include "s2d/feature_extractor.h"

namespace nre {

struct MatchingOptions {
  // Turns inner products into the logits of a softmax.
  float softmax_scale = 1.0f;

  // Modes per keypoint, best first: maxima at least `mode_distance` cells
  // apart.
  int max_num_modes = 1;
  double mode_distance = 2.0;

  // S2DHM's ratio test (Eq. 3.1): kept is a match if fewer than a share of
  // `ratio_rank` of all cells have `max_ratio` times its similarity or more.
  // (As printed, the test always holds.) 0: no test.
  double max_ratio = 0.0;
  double ratio_rank = 0.006;

  // S2DNet's confidence (Eq. 3.5): least probability of the best cell; 0: any.
  double min_probability = 0.0;

  // Cyclic check (A.1 to A.3): the match, searched in the first image, must
  // come back within so many pixels of it. Infinite: no check.
  double max_cycle_error_px = 4.0;

  bool Check() const;
};

struct DenseMatch {
  size_t keypoint = 0;
  Eigen::Vector2d xy = Eigen::Vector2d::Zero();  // in the second image
  float probability = 0.0f;                      // of the cell
  float entropy = 0.0f;                          // nats, of the whole map
};

// Matches of keypoints [N] of the first image, in their order, a keypoint's
// best first; none for those without a descriptor or that fail a test.
// Positions are refined below the cell by a quadratic fit of the logits around
// the best one. Image coordinates are COLMAP's. Throws InputError for options
// that fail their Check().
std::vector<DenseMatch> MatchDensely(
    const std::vector<Eigen::Vector2d>& keypoints,
    const FeatureMap& features1,
    const FeatureMap& features2,
    const MatchingOptions& options);

}  // namespace nre
