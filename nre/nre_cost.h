// The smoothed NRE of one point as a Ceres cost function.
#pragma once

#include <cstddef>

#include <Eigen/Core>
#include <ceres/sized_cost_function.h>

#include "nre/camera.h"
#include "nre/loss_maps.h"

namespace nre {

// One term E of Eq. 9 (Germain et al., CVPR 2021). Parameters: the rotation of
// cam_from_world as a quaternion in Eigen's order (x, y, z, w), assumed of
// unit norm, and its translation.
//
// With W and q_mean of SmoothedLoss, the IRLS step of the whole map is that of
// the mean-shift residual sqrt(W) (p - q_mean). So that Ceres sees the true
// cost and not its majoriser, the residuals are
//   r = (sqrt(W) (p - q_mean), sqrt(2 (c + E) - W |p - q_mean|^2)),
// the last with a zero Jacobian row and c = CostOffset(). Then |r|^2 / 2 =
// c + E, J^T r is its exact gradient and J^T J the IRLS matrix. Without any
// cell in reach, or behind the camera, r = (0, 0, sqrt(2 c)) and J = 0.
class NreCostFunction : public ceres::SizedCostFunction<3, 4, 3> {
 public:
  // Keeps the pointers. `sigma` (map cells) is read at every evaluation, so
  // that a schedule needs no new problem. `accepted_value`, if not null,
  // receives E of every evaluation with Jacobians, which Ceres makes at
  // accepted steps only.
  NreCostFunction(const Camera* camera,
                  const LossMaps* maps,
                  size_t point,
                  const Eigen::Vector3d& point_in_world,
                  const double* sigma,
                  double* accepted_value);

  bool Evaluate(double const* const* parameters,
                double* residuals,
                double** jacobians) const override;

  // 2.1 ln|Omega^|: more than -E + W |p - q_mean|^2 / 2 can be.
  static double CostOffset(const LossMaps& maps);

 private:
  const Camera* camera_;
  const LossMaps* maps_;
  size_t point_;
  Eigen::Vector3d point_in_world_;
  const double* sigma_;
  double* accepted_value_;
};

// The same with a third parameter: ln(f / f0), where f0 is the focal length of
// `camera` and f the one sought (see CorrectedCamera).
class NreFocalCostFunction : public ceres::SizedCostFunction<3, 4, 3, 1> {
 public:
  // As above; also keeps `principal_point`, that of the camera.
  NreFocalCostFunction(const Camera* camera,
                       const Eigen::Vector2d& principal_point,
                       const LossMaps* maps,
                       size_t point,
                       const Eigen::Vector3d& point_in_world,
                       const double* sigma,
                       double* accepted_value);

  bool Evaluate(double const* const* parameters,
                double* residuals,
                double** jacobians) const override;

 private:
  const Camera* camera_;
  Eigen::Vector2d principal_point_;
  const LossMaps* maps_;
  size_t point_;
  Eigen::Vector3d point_in_world_;
  const double* sigma_;
  double* accepted_value_;
};

}  // namespace nre
