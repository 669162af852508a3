// The pairs of images of a COLMAP model that pair_study localizes: a query
// image in what one reference image observes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "colmap_plugin/compat/colmap.h"

namespace nre {

// Distances from the scene where the unit of a model is not known: so far away
// is the median of the points that both images observe.
constexpr double kAssumedDepthM = 60.0;

// What makes a pair hard to localize. Medians are over the shared points, which
// both images observe.
enum Difficulty { kDistance, kAngle, kZoom, kNumDifficulties };

struct ModelPair {
  colmap::image_t query = colmap::kInvalidImageId;
  colmap::image_t reference = colmap::kInvalidImageId;
  std::string query_name, reference_name;
  size_t num_shared_points = 0;
  // Shared points, as a share of those that the image observes that observes
  // more.
  double overlap = 0.0;
  // Metres per model unit. Where it is not known, as if the query were, in the
  // median, kAssumedDepthM away from the shared points.
  double metres_per_unit = 1.0;

  // - kDistance: between the cameras' centres, in metres.
  // - kAngle: median angle between the directions from which the images see a
  //   point, in degrees.
  // - kZoom: how much larger the query shows the points than the reference
  //   does, in pixels; median ratio of focal length by distance.
  std::array<double, kNumDifficulties> difficulties = {};
  // Third of all pairs of the model that this one belongs to, 0 to 2, from the
  // smallest values to the largest.
  std::array<int, kNumDifficulties> thirds = {};
};

struct ModelPairOptions {
  int min_shared_points = 50;    // as in the paper
  double metres_per_unit = 0.0;  // 0: not known

  // Throws InputError, naming option and value.
  void Check() const;
};

// Returns all ordered pairs of registered images, by the names of query and
// reference. Throws InputError if there are none, or a camera cannot be used.
std::vector<ModelPair> ModelPairs(const colmap::Reconstruction& model,
                                  const ModelPairOptions& options);

// Which pairs are taken if not all are.
enum class PairSelection {
  // About as many of each third of distance combined with each third of zoom:
  // one of each of these nine at a time, in a random order.
  kStratified,
  kWidest,  // those with the largest angles
};

// Reads "stratified" or "widest"; throws InputError for other names.
PairSelection ParsePairSelection(const std::string& name);

// Returns at most `max_num` of the pairs (0: all), by the names of query and
// reference. Of the same pairs and seed, a larger number contains a smaller.
std::vector<ModelPair> SelectPairs(std::vector<ModelPair> pairs,
                                   PairSelection selection,
                                   size_t max_num,
                                   uint64_t seed);

}  // namespace nre
