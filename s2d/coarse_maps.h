// Coarse loss maps of a query: correlation, softmax, truncation, in tiles.
#pragma once

#include <vector>

#include "nre/loss_maps.h"
#include "s2d/feature_extractor.h"
#include "s2d/fusion.h"

namespace nre {

struct CoarseMaps {
  SparseLossMaps maps;
  // ln sum_q exp(scale * similarity) over the whole map, per softmax (one per
  // point, but with Fusion::kSum one per descriptor): what turns similarities
  // into the untruncated correspondence map C.
  std::vector<float> log_sum_exps;
};

// One loss map (Eq. 7) per point: L = min(ln|Omega^|, -ln C), C = softmax of
// softmax_scale * similarity over all cells of `features`, the similarity
// being <descriptor, feature>, with Fusion::kMax the largest of the point's
// descriptors. With Fusion::kSum, L is the mean over the point's descriptors.
// descriptors: [num_rows, features.channels]. Descriptors are processed in
// tiles, so that memory is bounded by one tile of similarities and the sparse
// maps.
CoarseMaps ComputeCoarseMaps(const std::vector<float>& descriptors,
                             const FusedDescriptors& rows,
                             const FeatureMap& features,
                             float softmax_scale);

// CoarseMaps::log_sum_exps of the same, without keeping maps, which are large:
// all that fine maps need once the pose is known. With a `step` above 1, they
// are estimated from the SampledCells() alone.
std::vector<float> CoarseLogSumExps(const std::vector<float>& descriptors,
                                    const FusedDescriptors& rows,
                                    const FeatureMap& features,
                                    float softmax_scale,
                                    int step = 1);

}  // namespace nre
