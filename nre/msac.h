// Initial poses by M-estimator sample consensus on loss maps (Germain et al.,
// CVPR 2021, section 5.1).
#pragma once

#include <cstdint>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/point_view.h"
#include "nre/priors.h"
#include "nre/rigid3.h"

namespace nre {

struct MsacOptions {
  // Triplets that are drawn.
  int num_hypotheses = 5000;
  // Triplets are drawn among this share of the maps, those with the lowest
  // entropy, with weights that grow as the entropy falls.
  double sampling_share = 0.25;
  // Distinct poses that are returned at most.
  int max_num_poses = 5;
  // A pose is returned only if its score is at least this share of the best:
  // refinement lifts a hypothesis of three quantised peaks by about as much.
  double min_score_share = 0.7;
  // Two poses are distinct if they project points, on average over the 30 with
  // the highest peaks, at least this far apart (map cells; a point that only
  // one of the poses sees counts 100).
  double min_distance_cells = 3.0;
  // Their cost is taken from a pose's score; null: none. Not their owner.
  const Priors* priors = nullptr;
  // One per point, or null: poses that do not show their three points as these
  // are passed over, and others are drawn instead. Not their owner.
  const PointView* views = nullptr;

  bool Check() const;
};

struct PoseHypothesis {
  Rigid3d cam_from_world;
  // Sum of ln|Omega^| - L over all points (Eq. 6, its sign turned), less the
  // cost of the priors.
  double score = 0.0;
};

// The poses of all triplets that are drawn, up to four of each, in their order.
// Empty if no triplet gave a pose. Deterministic for a given seed.
std::vector<Rigid3d> DrawHypotheses(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    const MsacOptions& options,
    uint64_t seed);

// The best distinct ones of these poses: the best one, the best of those that
// are distinct from it, and so on. Every hypothesis is scored on the maps
// themselves, there is no inlier threshold; all of them together, one map after
// the other, those with the highest peaks first. A hypothesis is dropped once
// the remaining peaks cannot lift it any more to where it would be returned:
// the result is that of scoring all of them to the end.
std::vector<PoseHypothesis> SamplePosesMsac(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    const MsacOptions& options,
    uint64_t seed);

}  // namespace nre
