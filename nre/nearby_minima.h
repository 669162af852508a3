// Other minima near a pose that its maps hardly determine. A query that covers
// a small angle moves its points hardly differently when it turns and when it
// moves sideways: along this valley of Eq. 6 lie many minima about as deep.
#pragma once

#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/pose_estimate.h"
#include "nre/priors.h"
#include "nre/rigid3.h"

namespace nre {

struct NearbyMinimum {
  Rigid3d cam_from_world;
  double cost = 0.0;  // Eq. 6 summed over the points, and PriorCost(), nats
};

// `cam_from_world`, which is one of them, and the other minima that GNC reaches
// from starts along the two directions in which the fine maps determine it
// least, by up to eight times what a registered pose may be off, and from
// sampled poses. None where the maps determine it well, so that this costs
// little for all but a few queries. What `priors` say of the pose counts; the
// camera is taken as it was found. Deterministic.
// Deeper ones are not better: of blurred pictures, GNC's own is more exact.
std::vector<NearbyMinimum> FindNearbyMinima(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& fine,
    const Priors& priors,
    const Rigid3d& cam_from_world);

// Second moments of a left perturbation about the first of the minima, if the
// truth were at one of them: in the mean of all, weighted by their likelihoods,
// exp(-cost / covariance_factor).
Matrix6d ScatterOfMinima(const std::vector<NearbyMinimum>& minima,
                         double covariance_factor);

}  // namespace nre
