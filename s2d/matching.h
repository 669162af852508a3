// Sparse-to-dense matching (S2DHM and S2DNet; thesis chapter 3, appendix A):
// keypoints in one image only, their correspondents searched densely in the
// other one.
#pragma once

#include <vector>

#include <Eigen/Core>

#include "s2d/feature_extractor.h"

namespace nre {

struct MatchingOptions {
  // Turn inner products into the logits of a softmax: of the (fine) features
  // that positions are found in, and of the coarse ones before them.
  float softmax_scale = 1.0f;
  float coarse_softmax_scale = 1.0f;

  // Coarse to fine: side of the windows of fine cells around the best coarse
  // position, in coarse cells. Measured, the accuracy is the same from 2 to 6;
  // see scripts/benchmark.
  double window_size = 3.0;

  // Modes per keypoint, best first: maxima at least `mode_distance` cells
  // apart; coarse to fine, of the coarse cells, each searched in a window, and
  // of the fine cells found.
  int max_num_modes = 1;
  double mode_distance = 2.0;

  // S2DHM's ratio test (Eq. 3.1): kept is a match if fewer than a share of
  // `ratio_rank` of all (coarse) cells have `max_ratio` times its similarity or
  // more. (As printed, the test always holds.) 0: no test.
  double max_ratio = 0.0;
  double ratio_rank = 0.006;

  // S2DNet's confidence (Eq. 3.5): least probability of the best cell; 0: any.
  double min_probability = 0.0;

  // Cyclic check (A.1 to A.3): the match, searched in the first image in the
  // same way, must come back within so many pixels of it. Infinite: no check.
  double max_cycle_error_px = 4.0;

  // This share of the cycle's error, in (fine) cells, is taken off the match,
  // where cycles are checked: the search back errs too, so half of the error is
  // what to expect of the match, if both images are alike. Measured, a third
  // brings 1 to 4 % more matches within a pixel, but 2 % fewer from a sharp to
  // a blurred image; see scripts/benchmark.
  double cycle_correction = 1.0 / 3.0;

  bool Check() const;
};

struct DenseMatch {
  size_t keypoint = 0;
  Eigen::Vector2d xy = Eigen::Vector2d::Zero();  // in the second image
  float probability = 0.0f;                      // of the cell
  float entropy = 0.0f;  // nats, of the whole (coarse) map
};

// Matches of keypoints [2, N] of the first image, in their order, a keypoint's
// best first; none for those without a descriptor or that fail a test. All
// cells are searched. Positions are refined below the cell by a quadratic fit
// of the logits around the best one. Image coordinates are COLMAP's. Throws
// InputError for options that fail their Check().
std::vector<DenseMatch> MatchDensely(const Eigen::Matrix2Xd& keypoints,
                                     const FeatureMap& features1,
                                     const FeatureMap& features2,
                                     const MatchingOptions& options);

// The same, coarse to fine: all coarse cells are searched, and windows of fine
// cells around the best. In time and memory this is the search of the coarse
// features, hardly more. The probability of a cell is the one that the coarse
// map gives its window times that within the window (Germain et al., CVPR 2021,
// appendix D.1). A keypoint has no match if either of its descriptors cannot be
// sampled, which is so up to half a coarse cell from the image's border.
std::vector<DenseMatch> MatchCoarseToFine(const Eigen::Matrix2Xd& keypoints,
                                          const ImageFeatures& features1,
                                          const ImageFeatures& features2,
                                          const MatchingOptions& options);

}  // namespace nre
