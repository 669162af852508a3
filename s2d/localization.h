// Pose of one query from the descriptors of known 3D points: coarse maps,
// estimator, fine maps.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/pose_estimator.h"
#include "s2d/feature_preset.h"
#include "s2d/fusion.h"

namespace nre {

// 3D points with their descriptors in a preset's coarse and fine features.
struct DescribedPoints {
  std::vector<Eigen::Vector3d> xyz;  // [N], world
  std::vector<float> coarse;         // [num_rows, coarse channels]
  std::vector<float> fine;           // [num_rows, fine channels]
  FusedDescriptors rows;
  std::vector<PointView> views;  // [N]; empty: not known
  // SharedErrors::quarter_angle of poses from these points.
  double shared_angle = 0.0;

  size_t size() const { return xyz.size(); }
};

// The points with these indices.
DescribedPoints Subset(const DescribedPoints& points,
                       const std::vector<size_t>& indices,
                       size_t coarse_channels,
                       size_t fine_channels);

// Of more than `options.max_num_points` points, every k-th serves to find the
// pose; a registered one is then refined on all of them (but by the NRE only),
// as is one with a focal length that was unknown, however many there are. The
// estimate's `support[i].point` indexes `points`. Feature-metric refinement
// takes the first descriptor of a point that has several. `lo_ransac` is needed
// by methods that use it, and may else be null. `coarse_maps_ms`, if not null,
// receives the time of the coarse maps. `priors`: see EstimatePose().
PoseEstimate Localize(const FeaturePreset& preset,
                      const ImageFeatures& query,
                      const Camera& camera,
                      const DescribedPoints& points,
                      const NreEstimationOptions& options,
                      uint64_t seed,
                      const MatchSolver& lo_ransac,
                      double* coarse_maps_ms,
                      const Priors& priors = Priors());

// Rejects the estimate of a query that seems to be mirrored: where the support
// is small (MayBeMirrored() in nre/evidence.h), the flipped picture is tried,
// and fits better, for which the references' viewpoints do not account
// (JudgeMirrored()). Descriptors of a flipped picture are not those of the
// picture: `flipped_features` are extracted only if they are needed. `features`
// and `camera` are those of the query as it was; these, `points` and the rest
// as given to Localize(). The NRE is used whatever the method.
void RejectMirrored(const FeaturePreset& preset,
                    const ImageFeatures& features,
                    const std::function<ImageFeatures()>& flipped_features,
                    const Camera& camera,
                    const DescribedPoints& points,
                    const NreEstimationOptions& options,
                    uint64_t seed,
                    const Priors& priors,
                    PoseEstimate* estimate);

}  // namespace nre
