#include "nre/feature_metric.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include <ceres/manifold.h>
#include <ceres/problem.h>
#include <ceres/solver.h>

#include "nre/error.h"

namespace nre {
namespace {

FeatureDistance DistanceToZero(const float* descriptor, int channels) {
  FeatureDistance distance;
  for (int c = 0; c < channels; ++c) {
    distance.squared += static_cast<double>(descriptor[c]) * descriptor[c];
  }
  return distance;
}

std::unique_ptr<ceres::LossFunction> CreateLoss(
    const FeatureMetricOptions& options) {
  if (options.loss == FeatureMetricLoss::kHuber) {
    return std::make_unique<ceres::HuberLoss>(options.scale);
  }
  return std::make_unique<BarronLoss>(options.scale, options.alpha);
}

}  // namespace

const char* FeatureMetricLossName(FeatureMetricLoss loss) {
  return loss == FeatureMetricLoss::kHuber ? "huber" : "barron";
}

FeatureMetricLoss ParseFeatureMetricLoss(const std::string& name) {
  for (const FeatureMetricLoss loss :
       {FeatureMetricLoss::kHuber, FeatureMetricLoss::kBarron}) {
    if (name == FeatureMetricLossName(loss)) {
      return loss;
    }
  }
  throw InputError("unknown feature-metric loss '" + name +
                   "'; there are: huber, barron");
}

bool FeatureMetricOptions::Check() const {
  return scale > 0.0 && std::isfinite(scale) && alpha <= 2.0 &&
         std::isfinite(alpha) && max_num_iterations > 0;
}

void BarronLoss::Evaluate(double s, double rho[3]) const {
  if (alpha_ == 2.0) {
    rho[0] = s;
    rho[1] = 1.0;
    rho[2] = 0.0;
    return;
  }
  const double squared_scale = scale_ * scale_;
  const double b = std::abs(alpha_ - 2.0);
  const double base = s / (squared_scale * b) + 1.0;
  rho[1] = std::pow(base, 0.5 * alpha_ - 1.0);
  rho[2] = (0.5 * alpha_ - 1.0) / (squared_scale * b) * rho[1] / base;
  // The limit for alpha -> 0.
  rho[0] = std::abs(alpha_) < 1e-9 ? b * squared_scale * std::log(base)
                                   : 2.0 * squared_scale * b / alpha_ *
                                         (std::pow(base, 0.5 * alpha_) - 1.0);
}

FeatureDistance CompareFeatures(const DenseFeatures& features,
                                const float* descriptor,
                                const Eigen::Vector2d& p) {
  // Written such that NaN fails.
  if (!(p.x() >= 1.0 && p.y() >= 1.0 && p.x() < features.width - 2.0 &&
        p.y() < features.height - 2.0)) {
    return DistanceToZero(descriptor, features.channels);
  }
  const int x = static_cast<int>(p.x());
  const int y = static_cast<int>(p.y());
  const double fx = p.x() - x;
  const double fy = p.y() - y;
  // The cells around p, and those next to them.
  const float* cell[4][4];
  for (int j = 0; j < 4; ++j) {
    for (int i = 0; i < 4; ++i) {
      cell[j][i] = features.At(x - 1 + i, y - 1 + j);
    }
  }
  double squared = 0.0, ex = 0.0, ey = 0.0, xx = 0.0, xy = 0.0, yy = 0.0;
#pragma omp simd reduction(+ : squared, ex, ey, xx, xy, yy)
  for (int c = 0; c < features.channels; ++c) {
    // Interpolated along x in each row at p.x - 1, p.x, p.x + 1.
    const auto lerp = [&](int j, int i) {
      return (1.0 - fx) * cell[j][i][c] + fx * cell[j][i + 1][c];
    };
    const double center = (1.0 - fy) * lerp(1, 1) + fy * lerp(2, 1);
    const double left = (1.0 - fy) * lerp(1, 0) + fy * lerp(2, 0);
    const double right = (1.0 - fy) * lerp(1, 2) + fy * lerp(2, 2);
    const double above = (1.0 - fy) * lerp(0, 1) + fy * lerp(1, 1);
    const double below = (1.0 - fy) * lerp(2, 1) + fy * lerp(3, 1);
    const double e = center - descriptor[c];
    const double dx = 0.5 * (right - left);
    const double dy = 0.5 * (below - above);
    squared += e * e;
    ex += dx * e;
    ey += dy * e;
    xx += dx * dx;
    xy += dx * dy;
    yy += dy * dy;
  }
  FeatureDistance distance;
  distance.squared = squared;
  distance.gradient << ex, ey;
  distance.gram << xx, xy, xy, yy;
  return distance;
}

FeatureMetricCostFunction::FeatureMetricCostFunction(
    const Camera* camera,
    const DenseFeatures* features,
    const float* descriptor,
    const Eigen::Vector3d& point_in_world)
    : camera_(camera),
      features_(features),
      descriptor_(descriptor),
      point_in_world_(point_in_world) {}

bool FeatureMetricCostFunction::Evaluate(double const* const* parameters,
                                         double* residuals,
                                         double** jacobians) const {
  const Eigen::Map<const Eigen::Quaterniond> rotation(parameters[0]);
  const Eigen::Map<const Eigen::Vector3d> translation(parameters[1]);
  const MapFromImage& map_from_image = features_->map_from_image;

  Eigen::Vector2d xy;
  Eigen::Matrix<double, 2, 3> projection_jacobian;
  const bool has_image =
      camera_->Project(rotation * point_in_world_ + translation,
                       &xy,
                       jacobians != nullptr ? &projection_jacobian : nullptr);
  const FeatureDistance distance =
      has_image ? CompareFeatures(*features_, descriptor_, map_from_image * xy)
                : DistanceToZero(descriptor_, features_->channels);

  // The gram matrix is A^T A with A = (a, b; 0, c). Where it is singular, so is
  // the gradient.
  constexpr double kTiny = 1e-12;
  Eigen::Matrix2d a = Eigen::Matrix2d::Zero();
  Eigen::Map<Eigen::Vector3d> r(residuals);
  r.setZero();
  if (distance.gram(0, 0) > kTiny) {
    a(0, 0) = std::sqrt(distance.gram(0, 0));
    a(0, 1) = distance.gram(0, 1) / a(0, 0);
    r[0] = distance.gradient.x() / a(0, 0);
  }
  const double rest = distance.gram(1, 1) - a(0, 1) * a(0, 1);
  if (rest > kTiny) {
    a(1, 1) = std::sqrt(rest);
    r[1] = (distance.gradient.y() - a(0, 1) * r[0]) / a(1, 1);
  }
  r[2] = std::sqrt(std::max(0.0, distance.squared - r.head<2>().squaredNorm()));

  if (jacobians == nullptr) {
    return true;
  }
  // Zero without information, even where a factor is not finite.
  Eigen::Matrix<double, 2, 3> from_cam = Eigen::Matrix<double, 2, 3>::Zero();
  Eigen::Matrix<double, 3, 4> by_rotation = Eigen::Matrix<double, 3, 4>::Zero();
  if (!a.isZero(0.0)) {
    from_cam = a * map_from_image.scale.asDiagonal() * projection_jacobian;
    by_rotation = RotationJacobian(rotation, point_in_world_);
  }
  if (jacobians[0] != nullptr) {
    Eigen::Map<Eigen::Matrix<double, 3, 4, Eigen::RowMajor>> j(jacobians[0]);
    j.setZero();
    j.topRows<2>() = from_cam * by_rotation;
  }
  if (jacobians[1] != nullptr) {
    Eigen::Map<Eigen::Matrix<double, 3, 3, Eigen::RowMajor>> j(jacobians[1]);
    j.setZero();
    j.topRows<2>() = from_cam;
  }
  return true;
}

double RefinePoseFeatureMetric(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const DenseFeatures& features,
    const float* descriptors,
    const std::vector<size_t>& use,
    const FeatureMetricOptions& options,
    Rigid3d* cam_from_world) {
  double* rotation = cam_from_world->rotation.coeffs().data();
  double* translation = cam_from_world->translation.data();
  const std::unique_ptr<ceres::LossFunction> loss = CreateLoss(options);

  ceres::EigenQuaternionManifold manifold;
  ceres::Problem::Options problem_options;
  problem_options.manifold_ownership = ceres::DO_NOT_TAKE_OWNERSHIP;
  problem_options.loss_function_ownership = ceres::DO_NOT_TAKE_OWNERSHIP;
  problem_options.disable_all_safety_checks = true;
  ceres::Problem problem(problem_options);
  problem.AddParameterBlock(rotation, 4, &manifold);
  problem.AddParameterBlock(translation, 3);
  for (const size_t i : use) {
    problem.AddResidualBlock(
        new FeatureMetricCostFunction(&camera,
                                      &features,
                                      &descriptors[i * features.channels],
                                      points_in_world[i]),
        loss.get(),
        rotation,
        translation);
  }
  ceres::Solver::Options solver_options;
  solver_options.linear_solver_type = ceres::DENSE_NORMAL_CHOLESKY;
  solver_options.num_threads = 1;
  solver_options.logging_type = ceres::SILENT;
  solver_options.max_num_iterations = options.max_num_iterations;
  ceres::Solver::Summary summary;
  ceres::Solve(solver_options, &problem, &summary);
  cam_from_world->rotation.normalize();
  return summary.final_cost;
}

}  // namespace nre
