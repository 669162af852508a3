#include "nre/gnc.h"

#include <cmath>
#include <memory>

#include <ceres/iteration_callback.h>
#include <ceres/manifold.h>
#include <ceres/problem.h>
#include <ceres/solver.h>

#include "nre/nre_cost.h"

namespace nre {
namespace {

// Ends a level of the schedule by the gain-ratio test.
class GainRatioTest : public ceres::IterationCallback {
 public:
  GainRatioTest(const std::vector<double>* values, double min_gain_ratio)
      : values_(values), min_gain_ratio_(min_gain_ratio) {}

  ceres::CallbackReturnType operator()(
      const ceres::IterationSummary& summary) override {
    if (!summary.step_is_successful) {
      return ceres::SOLVER_CONTINUE;
    }
    bool passed = true;
    if (!previous_.empty()) {
      double net = 0.0, moved = 0.0;
      for (size_t i = 0; i < values_->size(); ++i) {
        const double gain = previous_[i] - (*values_)[i];
        net += gain;
        moved += std::abs(gain);
      }
      passed = net > min_gain_ratio_ * moved;
    }
    previous_ = *values_;
    return passed ? ceres::SOLVER_CONTINUE
                  : ceres::SOLVER_TERMINATE_SUCCESSFULLY;
  }

 private:
  const std::vector<double>* values_;
  double min_gain_ratio_;
  std::vector<double> previous_;  // empty before the first evaluation
};

}  // namespace

bool GncOptions::Check() const {
  if (sigmas.empty() || max_num_iterations < 1 || !(min_gain_ratio >= 0.0)) {
    return false;
  }
  for (size_t i = 0; i < sigmas.size(); ++i) {
    if (!(sigmas[i] >= 0.5) || (i > 0 && sigmas[i] > sigmas[i - 1])) {
      return false;
    }
  }
  return true;
}

GncOptions GncOptions::Fine() {
  GncOptions options;
  options.sigmas = {8.0, 4.0, 2.0, 1.0, 0.9, 0.8, 0.7, 0.6};
  return options;
}

int RefinePoseGnc(const Camera& camera,
                  const std::vector<Eigen::Vector3d>& points_in_world,
                  const LossMaps& maps,
                  const GncOptions& options,
                  Rigid3d* cam_from_world) {
  double sigma = options.sigmas.front();
  std::vector<double> values(points_in_world.size(), 0.0);
  double* rotation = cam_from_world->rotation.coeffs().data();
  double* translation = cam_from_world->translation.data();

  ceres::EigenQuaternionManifold manifold;
  ceres::Problem::Options problem_options;
  problem_options.manifold_ownership = ceres::DO_NOT_TAKE_OWNERSHIP;
  problem_options.disable_all_safety_checks = true;
  ceres::Problem problem(problem_options);
  problem.AddParameterBlock(rotation, 4, &manifold);
  problem.AddParameterBlock(translation, 3);
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    problem.AddResidualBlock(
        new NreCostFunction(
            &camera, &maps, i, points_in_world[i], &sigma, &values[i]),
        nullptr,
        rotation,
        translation);
  }

  ceres::Solver::Options solver_options;
  solver_options.linear_solver_type = ceres::DENSE_NORMAL_CHOLESKY;
  solver_options.num_threads = 1;
  solver_options.logging_type = ceres::SILENT;
  solver_options.max_num_iterations = options.max_num_iterations;
  // The offset of the cost is many times larger than what is left to gain.
  solver_options.function_tolerance = 1e-12;
  solver_options.parameter_tolerance = 1e-10;

  int num_steps = 0;
  for (size_t level = 0; level < options.sigmas.size(); ++level) {
    sigma = options.sigmas[level];
    GainRatioTest gain_ratio_test(&values, options.min_gain_ratio);
    solver_options.callbacks.clear();
    if (level + 1 < options.sigmas.size()) {
      solver_options.callbacks.push_back(&gain_ratio_test);
    }
    ceres::Solver::Summary summary;
    ceres::Solve(solver_options, &problem, &summary);
    num_steps += summary.num_successful_steps;
  }
  cam_from_world->rotation.normalize();
  return num_steps;
}

double MeanNre(const Camera& camera,
               const std::vector<Eigen::Vector3d>& points_in_world,
               const LossMaps& maps,
               const Rigid3d& cam_from_world) {
  const double log_categories = maps.geometry().LogCategories();
  if (points_in_world.empty()) {
    return log_categories;
  }
  const MapFromImage& map_from_image = maps.geometry().map_from_image;
  double sum = 0.0;
  Eigen::Vector2d xy;
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    if (camera.Project(cam_from_world * points_in_world[i], &xy, nullptr)) {
      sum += maps.Weight(i, map_from_image * xy);
    }
  }
  return log_categories - sum / points_in_world.size();
}

Eigen::Matrix<double, 6, 6> PoseHessian(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    double sigma,
    const Rigid3d& cam_from_world) {
  const MapFromImage& map_from_image = maps.geometry().map_from_image;
  Eigen::Matrix<double, 6, 6> hessian = Eigen::Matrix<double, 6, 6>::Zero();
  Eigen::Vector2d xy;
  Eigen::Matrix<double, 2, 3> projection_jacobian;
  Eigen::Matrix<double, 3, 6> point_jacobian;
  point_jacobian.rightCols<3>().setIdentity();
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    const Eigen::Vector3d x = cam_from_world * points_in_world[i];
    if (!camera.Project(x, &xy, &projection_jacobian)) {
      continue;
    }
    const SmoothedLoss loss =
        maps.Smoothed(i, map_from_image * xy, sigma, true);
    // d(exp(w) x + t) = -[x]_x dw + dt.
    point_jacobian.leftCols<3>() << 0.0, x.z(), -x.y(), -x.z(), 0.0, x.x(),
        x.y(), -x.x(), 0.0;
    const Eigen::Matrix<double, 2, 6> jacobian =
        map_from_image.scale.asDiagonal() * projection_jacobian *
        point_jacobian;
    hessian += jacobian.transpose() * loss.hessian * jacobian;
  }
  return hessian;
}

}  // namespace nre
