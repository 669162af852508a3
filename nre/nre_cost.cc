#include "nre/nre_cost.h"

#include <algorithm>
#include <cmath>

#include <Eigen/Geometry>

#include "nre/rigid3.h"

namespace nre {
namespace {

// The term of one point at a pose.
struct Term {
  const LossMaps& maps;
  const Eigen::Vector3d& point_in_world;
  Eigen::Quaterniond rotation;
  SmoothedLoss loss;   // zero for a point without an image
  double root = 0.0;   // sqrt(W)
  Eigen::Vector2d xy;  // only if root > 0, as the next
  Eigen::Matrix<double, 2, 3> projection_jacobian;

  Term(const Camera& camera,
       const LossMaps& maps,
       size_t point,
       const Eigen::Vector3d& point_in_world,
       double sigma,
       double const* const* pose,
       bool with_jacobian)
      : maps(maps), point_in_world(point_in_world), rotation(pose[0]) {
    const Eigen::Map<const Eigen::Vector3d> translation(pose[1]);
    if (camera.Project(rotation * point_in_world + translation,
                       &xy,
                       with_jacobian ? &projection_jacobian : nullptr)) {
      loss = maps.Smoothed(
          point, maps.geometry().map_from_image * xy, sigma, false);
      root = std::sqrt(loss.irls);
    }
  }

  void Residuals(double* residuals) const {
    Eigen::Map<Eigen::Vector3d> r(residuals);
    r.head<2>() = -root * loss.mean_shift;
    r[2] = std::sqrt(
        std::max(0.0,
                 2.0 * (NreCostFunction::CostOffset(maps) + loss.value) -
                     r.head<2>().squaredNorm()));
  }

  // Zero without information, even where a factor is not finite.
  void PoseJacobians(double** jacobians) const {
    Eigen::Matrix<double, 2, 3> from_cam = Eigen::Matrix<double, 2, 3>::Zero();
    Eigen::Matrix<double, 3, 4> by_rotation =
        Eigen::Matrix<double, 3, 4>::Zero();
    if (root > 0.0) {
      from_cam = root * maps.geometry().map_from_image.scale.asDiagonal() *
                 projection_jacobian;
      by_rotation = RotationJacobian(rotation, point_in_world);
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
  }
};

}  // namespace

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
  const Term term(*camera_,
                  *maps_,
                  point_,
                  point_in_world_,
                  *sigma_,
                  parameters,
                  jacobians != nullptr);
  term.Residuals(residuals);
  if (jacobians != nullptr) {
    if (accepted_value_ != nullptr) {
      *accepted_value_ = term.loss.value;
    }
    term.PoseJacobians(jacobians);
  }
  return true;
}

NreFocalCostFunction::NreFocalCostFunction(
    const Camera* camera,
    const Eigen::Vector2d& principal_point,
    const LossMaps* maps,
    size_t point,
    const Eigen::Vector3d& point_in_world,
    const double* sigma,
    double* accepted_value)
    : camera_(camera),
      principal_point_(principal_point),
      maps_(maps),
      point_(point),
      point_in_world_(point_in_world),
      sigma_(sigma),
      accepted_value_(accepted_value) {}

bool NreFocalCostFunction::Evaluate(double const* const* parameters,
                                    double* residuals,
                                    double** jacobians) const {
  const CorrectedCamera camera(
      *camera_, principal_point_, {std::exp(parameters[2][0])});
  const Term term(camera,
                  *maps_,
                  point_,
                  point_in_world_,
                  *sigma_,
                  parameters,
                  jacobians != nullptr);
  term.Residuals(residuals);
  if (jacobians != nullptr) {
    if (accepted_value_ != nullptr) {
      *accepted_value_ = term.loss.value;
    }
    term.PoseJacobians(jacobians);
    if (jacobians[2] != nullptr) {
      Eigen::Map<Eigen::Vector3d> j(jacobians[2]);
      j.setZero();
      if (term.root > 0.0) {
        j.head<2>() =
            term.root * maps_->geometry().map_from_image.scale.cwiseProduct(
                            term.xy - principal_point_);
      }
    }
  }
  return true;
}

}  // namespace nre
