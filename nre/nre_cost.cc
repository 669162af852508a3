#include "nre/nre_cost.h"

#include <algorithm>
#include <cmath>

#include <Eigen/Geometry>

#include "nre/rigid3.h"

namespace nre {
NreCostFunction::NreCostFunction(const Camera* camera,
                                 const LossMaps* maps,
                                 size_t point,
                                 const Eigen::Vector3d& point_in_world,
                                 const double* sigma,
                                 double* accepted_value)
    : camera_(camera),
      maps_(maps),
      point_(point),
      point_in_world_(point_in_world),
      sigma_(sigma),
      accepted_value_(accepted_value) {}

double NreCostFunction::CostOffset(const LossMaps& maps) {
  return 2.1 * maps.geometry().LogCategories();
}

bool NreCostFunction::Evaluate(double const* const* parameters,
                               double* residuals,
                               double** jacobians) const {
  const Eigen::Map<const Eigen::Quaterniond> rotation(parameters[0]);
  const Eigen::Map<const Eigen::Vector3d> translation(parameters[1]);
  const MapFromImage& map_from_image = maps_->geometry().map_from_image;

  SmoothedLoss loss;
  Eigen::Vector2d xy;
  Eigen::Matrix<double, 2, 3> projection_jacobian;
  if (camera_->Project(rotation * point_in_world_ + translation,
                       &xy,
                       jacobians != nullptr ? &projection_jacobian : nullptr)) {
    loss = maps_->Smoothed(point_, map_from_image * xy, *sigma_, false);
  }

  const double root = std::sqrt(loss.irls);
  Eigen::Map<Eigen::Vector3d> r(residuals);
  r.head<2>() = -root * loss.mean_shift;
  r[2] = std::sqrt(std::max(
      0.0,
      2.0 * (CostOffset(*maps_) + loss.value) - r.head<2>().squaredNorm()));

  if (jacobians == nullptr) {
    return true;
  }
  if (accepted_value_ != nullptr) {
    *accepted_value_ = loss.value;
  }
  // Zero without information, even where a factor is not finite.
  Eigen::Matrix<double, 2, 3> from_cam = Eigen::Matrix<double, 2, 3>::Zero();
  Eigen::Matrix<double, 3, 4> by_rotation = Eigen::Matrix<double, 3, 4>::Zero();
  if (root > 0.0) {
    from_cam = root * map_from_image.scale.asDiagonal() * projection_jacobian;
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

}  // namespace nre
