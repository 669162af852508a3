// Which pairs of images a training set has, and the points of each.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "colmap_plugin/compat/colmap.h"
#include "colmap_plugin/io/rgbd_folder.h"
#include "colmap_plugin/io/training_set_writer.h"

namespace nre {

struct TrainingPairOptions {
  // Of a reference image, at most so many queries, spread evenly over those
  // that share enough with it, from the most to the least.
  int max_pairs_per_image = 10;

  // Points that both images show; pairs with fewer are left out.
  int min_covisible_points = 30;

  // Points that both images show, and the same number again of those that only
  // the reference does; a random choice.
  int max_points_per_pair = 1000;
  uint64_t random_seed = 0;

  // Models: observations farther from their point's projection are not used.
  double max_reprojection_error_px = 4.0;

  // RGB-D: share of the reference that the query shows, at least.
  double min_overlap = 0.15;

  // RGB-D: how far depths may differ, relative to the depth.
  double depth_tolerance = 0.03;

  bool Check() const;
};

// Indices of reference and query.
using IndexPair = std::pair<size_t, size_t>;

// Pairs of the given images of a model, by the number of points that both
// observe.
std::vector<IndexPair> CovisiblePairs(
    const colmap::Reconstruction& model,
    const std::vector<colmap::image_t>& images,
    const TrainingPairOptions& options);

// The points that the reference observes, where they project to, in pixels of
// the images; visible if the query observes them, too, and both projections
// are inside of the images. The others are those that the query does not
// observe, but which project somewhere; what it has in front of it is not
// known. Empty if too few are visible. Throws InputError for a camera that
// cannot be used.
std::vector<PairPoint> ModelPairPoints(const colmap::Reconstruction& model,
                                       colmap::image_t reference,
                                       colmap::image_t query,
                                       const TrainingPairOptions& options);

// Pairs of the given frames, by the share of the reference's depth map that
// projects into the query's and agrees with it there. `on_frame` is called
// twice for each frame, by any thread but one at a time, and may throw.
std::vector<IndexPair> OverlappingPairs(const RgbdFolder& folder,
                                        const std::vector<size_t>& frames,
                                        const TrainingPairOptions& options,
                                        int num_threads,
                                        const std::function<void()>& on_frame);

// Pixels of the reference's depth map at random, in pixels of the colour
// images; visible if the query's depth agrees. The others lie behind something
// there or outside of the picture; what lies where the query's depth is unknown
// or has an edge is left out. Empty if too few are visible.
std::vector<PairPoint> RgbdPairPoints(const RgbdFolder& folder,
                                      const RgbdFrame& reference,
                                      const RgbdFrame& query,
                                      const TrainingPairOptions& options);

}  // namespace nre
