// Derivatives of Eq. 9 by the pose and the camera's intrinsics together.
#pragma once

#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/rigid3.h"

namespace nre {

// What the points' terms of Eq. 9 contribute, one after the other, for M
// unknowns.
struct PointTerms {
  Eigen::MatrixXd gradients;  // [M, N]
  // Derivatives of the gradients by where the map lies (map cells), [M, 2 N],
  // up to their sign.
  Eigen::MatrixXd by_displacement;
  Eigen::MatrixXd hessians;  // [M, M N]
};

// Exact Hessian, [M, M], of the sum of Eq. 9 over all points at `sigma` (map
// cells) for the first M = `num_unknowns`, 6, 7 or 10, of: the left
// perturbation (rotation vector, translation) of cam_from_world, ln of the
// focal length, the principal point (px) and the radial distortion on top of
// the camera's own (see CorrectedCamera). `camera` is as it was found. `terms`
// may be null.
Eigen::MatrixXd JointHessian(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    double sigma,
    int num_unknowns,
    const Rigid3d& cam_from_world,
    PointTerms* terms = nullptr);

}  // namespace nre
