// Correlation maps that are never there in full: one pass over tiles finds what
// matching needs of each.
#pragma once

#include <cstddef>
#include <vector>

#include "s2d/feature_extractor.h"

namespace nre {

struct CorrelationOptions {
  // Turns inner products into the logits of a softmax.
  float softmax_scale = 1.0f;

  // Best cells to be kept of each map.
  int top_k = 1;

  bool Check() const;
};

// Of N descriptors' correlation maps, as logits, over all cells of an image.
struct CorrelationSummary {
  int top_k = 0;
  std::vector<int> cells;           // [N, top_k], y * width + x, best first; of
                                    // equal ones the first; -1: no more cells
  std::vector<float> logits;        // [N, top_k] of these cells
  std::vector<float> log_sum_exps;  // [N], ln sum exp over all cells
  std::vector<float> entropies;     // [N], nats, of the softmax

  // Probability of the k-th best cell (thesis Eq. 3.3, 3.5).
  float Probability(size_t i, int k) const;
};

// descriptors: [num, features.channels]. Memory beyond the result does not
// depend on the size of the map; the time is hardly more than that of the
// matrix product. Throws InputError for options that fail their Check().
CorrelationSummary SummarizeCorrelations(const float* descriptors,
                                         size_t num,
                                         const FeatureMap& features,
                                         const CorrelationOptions& options);

// How many cells of each map have at least this logit, [N]: in a second pass,
// for tests of ranks (thesis Eq. 3.1).
std::vector<int> CountCellsAbove(const std::vector<float>& min_logits,
                                 const float* descriptors,
                                 const FeatureMap& features,
                                 float softmax_scale);

}  // namespace nre
