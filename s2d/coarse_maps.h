// Coarse loss maps of a query: correlation, softmax, truncation, in tiles.
#pragma once

#include <vector>

#include "nre/loss_maps.h"
#include "s2d/feature_extractor.h"

namespace nre {

struct CoarseMaps {
  SparseLossMaps maps;
  // ln sum_q exp(scale * similarity) over the whole map, per point: what turns
  // similarities into the untruncated correspondence map C.
  std::vector<float> log_sum_exps;
};

// One loss map (Eq. 7) per descriptor: L = min(ln|Omega^|, -ln C), C = softmax
// of softmax_scale * <descriptor, feature> over all cells of `features`.
// descriptors: [num_points, features.channels]. Points are processed in tiles,
// so that memory is bounded by one tile of similarities and the sparse maps.
CoarseMaps ComputeCoarseMaps(const std::vector<float>& descriptors,
                             const FeatureMap& features,
                             float softmax_scale);

}  // namespace nre
