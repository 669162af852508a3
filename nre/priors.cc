#include "nre/priors.h"

#include <cmath>

#include <Eigen/Cholesky>
#include <Eigen/Geometry>
#include <ceres/autodiff_cost_function.h>

namespace nre {
namespace {

// L^T of the information matrix L L^T, so that |L^T x|^2 is Mahalanobis'.
Eigen::Matrix3d SqrtInformation(const Eigen::Matrix3d& covariance) {
  const Eigen::Matrix3d information = covariance.inverse();
  return information.llt().matrixU();
}

class PositionError {
 public:
  explicit PositionError(const PositionPrior& prior)
      : mean_(prior.mean),
        sqrt_information_(SqrtInformation(prior.covariance)) {}

  template <typename T>
  bool operator()(const T* rotation, const T* translation, T* residuals) const {
    const Eigen::Map<const Eigen::Quaternion<T>> q(rotation);
    const Eigen::Map<const Eigen::Matrix<T, 3, 1>> t(translation);
    const Eigen::Matrix<T, 3, 1> center = -(q.conjugate() * t);
    Eigen::Map<Eigen::Matrix<T, 3, 1>> r(residuals);
    r = sqrt_information_.cast<T>() * (center - mean_.cast<T>());
    return true;
  }

 private:
  Eigen::Vector3d mean_;
  Eigen::Matrix3d sqrt_information_;
};

// |r|^2 / 2 = (1 - cos(angle)) / sigma^2: grows up to 180 degrees.
class GravityError {
 public:
  explicit GravityError(const GravityPrior& prior) : prior_(prior) {}

  template <typename T>
  bool operator()(const T* rotation, T* residuals) const {
    const Eigen::Map<const Eigen::Quaternion<T>> q(rotation);
    Eigen::Map<Eigen::Matrix<T, 3, 1>> r(residuals);
    const Eigen::Matrix<T, 3, 1> down = q * prior_.down_in_world.cast<T>();
    r = (down - prior_.down_in_cam.cast<T>()) /
        T(prior_.stddev_deg * M_PI / 180.0);
    return true;
  }

 private:
  GravityPrior prior_;
};

bool IsUnit(const Eigen::Vector3d& v) {
  return std::abs(v.norm() - 1.0) < 1e-9;
}

}  // namespace

bool PositionPrior::Check() const {
  return mean.allFinite() && covariance.allFinite() &&
         (covariance - covariance.transpose()).norm() <=
             1e-9 * covariance.norm() &&
         covariance.llt().info() == Eigen::Success &&
         covariance.inverse().allFinite();
}

bool GravityPrior::Check() const {
  return IsUnit(down_in_cam) && IsUnit(down_in_world) && stddev_deg > 0.0 &&
         std::isfinite(stddev_deg);
}

bool Priors::Check() const {
  return (!focal_length || focal_length->Check()) &&
         (focal_length || !lens_unknown) && focal_length_std >= 0.0 &&
         std::isfinite(focal_length_std) && (!position || position->Check()) &&
         (!gravity || gravity->Check());
}

double PriorCost(const Priors& priors, const Rigid3d& cam_from_world) {
  double cost = 0.0;
  Eigen::Vector3d residuals;
  if (priors.position) {
    PositionError (*priors.position)(cam_from_world.rotation.coeffs().data(),
                                     cam_from_world.translation.data(),
                                     residuals.data());
    cost += 0.5 * residuals.squaredNorm();
  }
  if (priors.gravity) {
    GravityError (*priors.gravity)(cam_from_world.rotation.coeffs().data(),
                                   residuals.data());
    cost += 0.5 * residuals.squaredNorm();
  }
  return cost;
}

Eigen::Matrix<double, 6, 6> PriorHessian(
    const Priors& priors,
    const Rigid3d& cam_from_world,
    Eigen::Matrix<double, 6, 1>* gradient) {
  Eigen::Matrix<double, 6, 6> hessian = Eigen::Matrix<double, 6, 6>::Zero();
  if (gradient != nullptr) {
    gradient->setZero();
  }
  const Eigen::Matrix3d rotation = cam_from_world.rotation.toRotationMatrix();
  if (priors.position) {
    // The perturbation turns about the centre: only dt moves it, by -R^T dt.
    const Eigen::Matrix3d information = priors.position->covariance.inverse();
    hessian.bottomRightCorner<3, 3>() =
        rotation * information * rotation.transpose();
    if (gradient != nullptr) {
      gradient->tail<3>() =
          -rotation * (information * (ProjectionCenter(cam_from_world) -
                                      priors.position->mean));
    }
  }
  if (priors.gravity) {
    const Eigen::Vector3d down = rotation * priors.gravity->down_in_world;
    const double sigma = priors.gravity->stddev_deg * M_PI / 180.0;
    // d(exp(w) down) = w x down.
    hessian.topLeftCorner<3, 3>() =
        (Eigen::Matrix3d::Identity() - down * down.transpose()) /
        (sigma * sigma);
    if (gradient != nullptr) {
      gradient->head<3>() =
          priors.gravity->down_in_cam.cross(down) / (sigma * sigma);
    }
  }
  return hessian;
}

PriorDistances DistancesFromPriors(
    const Priors& priors,
    const Rigid3d& cam_from_world,
    const Eigen::Matrix<double, 6, 6>& covariance) {
  PriorDistances distances;
  const Eigen::Matrix3d rotation = cam_from_world.rotation.toRotationMatrix();
  if (priors.position) {
    const Eigen::Vector3d offset =
        ProjectionCenter(cam_from_world) - priors.position->mean;
    const Eigen::Matrix3d of_offset =
        rotation.transpose() * covariance.bottomRightCorner<3, 3>() * rotation +
        priors.position->covariance;
    distances.position = offset.dot(of_offset.llt().solve(offset));
  }
  if (priors.gravity) {
    const Eigen::Vector3d down = rotation * priors.gravity->down_in_world;
    const Eigen::Vector3d axis = priors.gravity->down_in_cam.cross(down);
    const double angle =
        std::atan2(axis.norm(), priors.gravity->down_in_cam.dot(down));
    const double sigma = priors.gravity->stddev_deg * M_PI / 180.0;
    // The turn that takes the prior to the pose; one about `down` is none.
    const Eigen::Quaterniond to_down =
        Eigen::Quaterniond::FromTwoVectors(Eigen::Vector3d::UnitZ(), down);
    const Eigen::Matrix<double, 3, 2> basis =
        to_down.toRotationMatrix().leftCols<2>();
    Eigen::Vector2d turn = basis.transpose() * axis;
    if (turn.norm() > 0.0) {
      turn *= angle / turn.norm();
    } else if (angle > 1.0) {
      turn << angle, 0.0;  // upside down
    }
    const Eigen::Matrix2d of_turn =
        basis.transpose() * covariance.topLeftCorner<3, 3>() * basis +
        sigma * sigma * Eigen::Matrix2d::Identity();
    distances.gravity = turn.dot(of_turn.llt().solve(turn));
  }
  return distances;
}

ceres::CostFunction* CreatePositionCost(const PositionPrior& prior) {
  return new ceres::AutoDiffCostFunction<PositionError, 3, 4, 3>(
      new PositionError(prior));
}

ceres::CostFunction* CreateGravityCost(const GravityPrior& prior) {
  return new ceres::AutoDiffCostFunction<GravityError, 3, 4>(
      new GravityError(prior));
}

}  // namespace nre
