// The estimator's stages where more than the pose is unknown, or where
// something is known about the pose beforehand.
#pragma once

#include <cstdint>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/pose_estimator.h"
#include "nre/priors.h"
#include "nre/rigid3.h"

namespace nre {

// What the points' terms of Eq. 9 contribute, one after the other.
struct PointTerms {
  Eigen::MatrixXd gradients;  // [6 or 7, N]
  // Derivatives of the gradients by where the map lies (map cells), [6 or 7,
  // 2 N], up to their sign.
  Eigen::MatrixXd by_displacement;
  Eigen::MatrixXd hessians;  // [6, 6 N] or [7, 7 N]
};

// Exact Hessian of the sum of Eq. 9 over all points at `sigma` (map cells) plus
// PriorHessian(), for the left perturbation (rotation vector, translation) of
// cam_from_world and, if it is unknown, ln of the focal length: [6, 6] or [7,
// 7]. `camera` has the focal length found. `terms` may be null.
Eigen::MatrixXd JointHessian(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    double sigma,
    const Priors& priors,
    const Rigid3d& cam_from_world,
    PointTerms* terms = nullptr);

// EstimatePose() with priors that are not empty. Poses are sampled by MSAC, of
// a few focal lengths all over the range if it is unknown, and the best of all
// are refined on the coarse maps. With an unknown focal length, that of the
// best of these, or the one found before, is then sampled from, with all
// hypotheses. A pose that the fine maps alone would have elsewhere than the
// priors say is rejected.
PoseEstimate EstimatePoseJointly(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& coarse,
    const FineMapSource& fine,
    const NreEstimationOptions& options,
    const Priors& priors,
    const SharedErrors& shared_errors,
    uint64_t seed);

}  // namespace nre
