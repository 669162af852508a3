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

// Exact Hessian of the sum of Eq. 9 over all points at `sigma` (map cells) plus
// PriorHessian(), for the left perturbation (rotation vector, translation) of
// cam_from_world and, if it is unknown, ln of the focal length: [6, 6] or [7,
// 7]. `camera` has the focal length found. `gradients`, if not null, receives
// the gradient of every point's term, [6 or 7, N].
Eigen::MatrixXd JointHessian(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    double sigma,
    const Priors& priors,
    const Rigid3d& cam_from_world,
    Eigen::MatrixXd* gradients = nullptr);

// EstimatePose() with priors that are not empty. Poses are sampled by MSAC, of
// a few focal lengths all over the range if it is unknown, and the best of all
// are refined on the coarse maps. With an unknown focal length, that of the
// best of these, or the one found before, is then sampled from, with all
// hypotheses. A pose that the fine maps alone would have elsewhere than the
// priors say is rejected. `covariance_factor`: see MethodInputs.
PoseEstimate EstimatePoseJointly(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& coarse,
    const FineMapSource& fine,
    const NreEstimationOptions& options,
    const Priors& priors,
    double covariance_factor,
    uint64_t seed);

}  // namespace nre
