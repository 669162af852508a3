// What is known about a query's camera before its image is looked at.
#pragma once

#include <optional>

#include <Eigen/Core>
#include <ceres/cost_function.h>

#include "nre/rigid3.h"

namespace nre {

// That the focal length is unknown, but for its order of magnitude.
struct FocalLengthRange {
  double min_px = 0.0;
  double max_px = 0.0;
  // That of the camera given is about right, since it was found before: it is
  // refined, but not searched.
  bool found = false;

  bool Check() const { return min_px > 0.0 && max_px >= min_px; }
};

// Where the camera's centre is: a Gaussian in the world, in model units.
struct PositionPrior {
  Eigen::Vector3d mean = Eigen::Vector3d::Zero();
  Eigen::Matrix3d covariance = Eigen::Matrix3d::Identity();

  bool Check() const;  // finite, covariance symmetric and positive definite
};

// Which way is down. As angles go, the direction is a Gaussian of `stddev_deg`
// on the sphere (von Mises-Fisher with kappa = 1 / sigma^2).
struct GravityPrior {
  Eigen::Vector3d down_in_cam = Eigen::Vector3d::UnitY();     // unit length
  Eigen::Vector3d down_in_world = -Eigen::Vector3d::UnitZ();  // unit length
  double stddev_deg = 1.0;

  bool Check() const;
};

struct Priors {
  // Set if the focal length of the query's camera means nothing.
  std::optional<FocalLengthRange> focal_length;
  // Whether its principal point and its radial distortion are but guesses, too:
  // they are refined with the focal length. Not without an unknown one.
  bool lens_unknown = false;
  // Standard deviation of the stated focal length, as a share of it. The
  // covariance allows for it; the pose is that with the focal length as stated.
  double focal_length_std = 0.0;
  std::optional<PositionPrior> position;
  std::optional<GravityPrior> gravity;

  bool OfPose() const { return position.has_value() || gravity.has_value(); }
  bool Empty() const { return !focal_length.has_value() && !OfPose(); }
  // Of the problem: six of the pose, one of the focal length and three of the
  // lens (principal point, first radial distortion) if they are unknown.
  int NumUnknowns() const { return !focal_length ? 6 : lens_unknown ? 10 : 7; }
  bool Check() const;
};

// Minus the log-likelihood of the pose under position and gravity, in nats, up
// to a constant: 0 at their peaks.
double PriorCost(const Priors& priors, const Rigid3d& cam_from_world);

// Hessian of PriorCost (J^T J, exact where the cost is 0) for the left
// perturbation (rotation vector, translation) of cam_from_world. `gradient`, if
// not null, receives the exact gradient.
Eigen::Matrix<double, 6, 6> PriorHessian(
    const Priors& priors,
    const Rigid3d& cam_from_world,
    Eigen::Matrix<double, 6, 1>* gradient = nullptr);

// Mahalanobis' distances, squared, of a pose from the priors, where the pose
// has an error of its own: `covariance` of the left perturbation as above.
// Chi-square of three and of two degrees of freedom if both are right; 0
// without the prior.
struct PriorDistances {
  double position = 0.0;
  double gravity = 0.0;
};
PriorDistances DistancesFromPriors(
    const Priors& priors,
    const Rigid3d& cam_from_world,
    const Eigen::Matrix<double, 6, 6>& covariance);

// The same as cost functions of Ceres: parameters as NreCostFunction's, |r|^2 /
// 2 is the cost. The caller owns them. The first has the parameters rotation
// (4) and translation (3), the second only the rotation.
ceres::CostFunction* CreatePositionCost(const PositionPrior& prior);
ceres::CostFunction* CreateGravityCost(const GravityPrior& prior);

}  // namespace nre
