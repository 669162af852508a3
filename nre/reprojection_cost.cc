#include "nre/reprojection_cost.h"

#include <ceres/loss_function.h>
#include <ceres/manifold.h>
#include <ceres/problem.h>
#include <ceres/solver.h>

namespace nre {

ReprojectionCostFunction::ReprojectionCostFunction(const Camera* camera,
                                                   const PointMatch* match)
    : camera_(camera), match_(match) {}

bool ReprojectionCostFunction::Evaluate(double const* const* parameters,
                                        double* residuals,
                                        double** jacobians) const {
  const Eigen::Map<const Eigen::Quaterniond> rotation(parameters[0]);
  const Eigen::Map<const Eigen::Vector3d> translation(parameters[1]);
  Eigen::Vector2d xy;
  Eigen::Matrix<double, 2, 3> projection_jacobian;
  if (!camera_->Project(
          rotation * match_->point_in_world + translation,
          &xy,
          jacobians != nullptr ? &projection_jacobian : nullptr)) {
    return false;
  }
  Eigen::Map<Eigen::Vector2d> r(residuals);
  r = xy - match_->xy;
  if (jacobians == nullptr) {
    return true;
  }
  if (jacobians[0] != nullptr) {
    Eigen::Map<Eigen::Matrix<double, 2, 4, Eigen::RowMajor>> j(jacobians[0]);
    j = projection_jacobian *
        RotationJacobian(rotation, match_->point_in_world);
  }
  if (jacobians[1] != nullptr) {
    Eigen::Map<Eigen::Matrix<double, 2, 3, Eigen::RowMajor>> j(jacobians[1]);
    j = projection_jacobian;
  }
  return true;
}

int RefinePoseReprojection(const Camera& camera,
                           const std::vector<PointMatch>& matches,
                           double max_error_px,
                           double loss_scale_px,
                           Rigid3d* cam_from_world) {
  double* rotation = cam_from_world->rotation.coeffs().data();
  double* translation = cam_from_world->translation.data();
  ceres::CauchyLoss loss(loss_scale_px);
  ceres::EigenQuaternionManifold manifold;
  ceres::Problem::Options problem_options;
  problem_options.manifold_ownership = ceres::DO_NOT_TAKE_OWNERSHIP;
  problem_options.loss_function_ownership = ceres::DO_NOT_TAKE_OWNERSHIP;
  problem_options.disable_all_safety_checks = true;
  ceres::Problem problem(problem_options);
  problem.AddParameterBlock(rotation, 4, &manifold);
  problem.AddParameterBlock(translation, 3);
  Eigen::Vector2d xy;
  for (const PointMatch& match : matches) {
    if (camera.Project(*cam_from_world * match.point_in_world, &xy, nullptr) &&
        (xy - match.xy).norm() <= max_error_px) {
      problem.AddResidualBlock(new ReprojectionCostFunction(&camera, &match),
                               &loss,
                               rotation,
                               translation);
    }
  }
  const int num_used = problem.NumResidualBlocks();
  if (num_used < 3) {
    return num_used;
  }
  ceres::Solver::Options solver_options;
  solver_options.linear_solver_type = ceres::DENSE_NORMAL_CHOLESKY;
  solver_options.num_threads = 1;
  solver_options.logging_type = ceres::SILENT;
  ceres::Solver::Summary summary;
  ceres::Solve(solver_options, &problem, &summary);
  cam_from_world->rotation.normalize();
  return num_used;
}

}  // namespace nre
