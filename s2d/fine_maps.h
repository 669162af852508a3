// Local fine loss maps around reprojected points (Germain et al., CVPR 2021,
// appendix D.1), without ever holding a map of the whole image.
#pragma once

#include <memory>
#include <vector>

#include "nre/loss_maps.h"
#include "nre/pose_estimator.h"
#include "s2d/feature_extractor.h"
#include "s2d/fusion.h"

namespace nre {

struct FineMapOptions {
  // Side of the windows in fine cells.
  int window_size = 64;
  // The coarse mass of a window is divided by this. Appendix D.1 says 64, the
  // published code the window's size; with 1 a uniform coarse and a uniform
  // fine map give ln(height * width) of the fine grid, as they must. Measured
  // on fountain, each reference alone: median errors of 0.44 cm, 0.027 deg with
  // 1; 0.43 cm, 0.031 deg with 8; 0.60 cm, 0.039 deg with 64.
  double mass_divisor = 1.0;
  // Share of the points that may be anywhere, whatever their map says, because
  // they are hidden or look like something else: C becomes (1 - share) C +
  // share / |Omega^|. Cells that are hardly better than chance, of which wrong
  // maps have many, then hardly pull at the pose. 0: as published. Measured on
  // the door of lund_door (which no result is reported for), 0 to 90 % of the
  // points wrong: errors (geometric mean) 0.77 cm with 0; 0.76 with 0.5; 0.74
  // with 0.8; 0.70 with 0.95; 0.67 with 0.99.
  double wrong_share = 0.95;
};

// What the fine maps of a query are made of. Keeps references; all must
// outlive it.
struct FineMapInputs {
  const FeatureMap& coarse_features;
  const FeatureMap& fine_features;
  const std::vector<float>& coarse_descriptors;  // [num_rows, coarse channels]
  const std::vector<float>& fine_descriptors;    // [num_rows, fine channels]
  const FusedDescriptors& rows;
  const std::vector<float>& coarse_log_sum_exps;  // of CoarseMaps
  float coarse_softmax_scale;
  float fine_softmax_scale;
  int coarse_step = 1;  // of CoarseLogSumExps()
};

// The maps of D.1, steps 1 to 5: C_fine is the softmax within the window times
// the mass that the (untruncated) coarse correspondence map gives the window,
// coarse cells weighted by the area that they share with the window and the
// image, mixed with a uniform share; |Omega^| = 1 + height * width of the whole
// fine grid. Several descriptors of a point are fused as in
// ComputeCoarseMaps().
class FineMaps : public FineMapSource {
 public:
  FineMaps(const FineMapInputs& inputs, const FineMapOptions& options)
      : inputs_(inputs), options_(options) {}

  std::unique_ptr<LossMaps> Compute(
      const std::vector<Eigen::Vector2d>& xy_image) const override;

 private:
  FineMapInputs inputs_;
  FineMapOptions options_;
};

}  // namespace nre
