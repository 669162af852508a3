// Graduated non-convexity: the pose that minimises the smoothed NRE (Eq. 9)
// while the smoothing shrinks.
#pragma once

#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/priors.h"
#include "nre/rigid3.h"

namespace nre {

struct GncOptions {
  // Standard deviations of the smoothing in map cells, descending, >= 0.5.
  std::vector<double> sigmas = {2.0, 1.0, 0.9, 0.8, 0.7, 0.6};
  // A level ends when the net gain of a step is at most this share of what
  // its improved and worsened maps moved (Zach & Bourmaud, "Descending,
  // lifting or smoothing", ECCV 2018).
  double min_gain_ratio = 0.1;
  // Steps per level at most, tried ones included. Nothing but convergence ends
  // the last level earlier.
  int max_num_iterations = 30;

  bool Check() const;

  static GncOptions Coarse() { return GncOptions(); }
  static GncOptions Fine();
};

struct GncSummary {
  int num_steps = 0;  // that were taken, at all levels together
  // Whether the last level ended because nothing moved any more. Not so where
  // the maps say nothing about the pose.
  bool converged = false;
  double cost = 0.0;  // Eq. 9 at the last sigma, <= 0
};

// The schedule's first sigma is where the pose may be off by about as many
// cells. Refines `cam_from_world` in place. `maps` and `points_in_world` go
// together.
//
// All levels take the IRLS steps of Eq. 9, with Levenberg's damping. IRLS
// converges linearly, so the last level takes Newton's step where the exact
// Hessian is positive definite and the step lowers the cost.
GncSummary RefinePoseGnc(const Camera& camera,
                         const std::vector<Eigen::Vector3d>& points_in_world,
                         const LossMaps& maps,
                         const GncOptions& options,
                         Rigid3d* cam_from_world);

// A pose, and how the camera's intrinsics are corrected if they are unknown.
struct CorrectedPose {
  Rigid3d cam_from_world;
  CameraCorrection correction;
};

// Minimises Eq. 9 plus PriorCost(), and refines what `priors` say is unknown of
// the intrinsics: the focal length, within its range, or with it principal
// point and radial distortion. What is known of `correction` is left as it is,
// and not used.
GncSummary RefinePoseGnc(const Camera& camera,
                         const std::vector<Eigen::Vector3d>& points_in_world,
                         const LossMaps& maps,
                         const GncOptions& options,
                         const Priors& priors,
                         CorrectedPose* pose);

// The same by Ceres on one NreCostFunction per point, by IRLS steps only, for a
// known lens. Many times slower; the reference for RefinePoseGnc().
GncSummary RefinePoseGncCeres(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    const GncOptions& options,
    const Priors& priors,
    CorrectedPose* pose);

// [exp(rotation vector), translation] * pose: the left perturbation that steps
// and covariances speak of.
Rigid3d PerturbPose(const Eigen::Matrix<double, 6, 1>& perturbation,
                    const Rigid3d& cam_from_world);

// Mean NRE per point (Eq. 6): ln|Omega^| for a point behind the camera.
double MeanNre(const Camera& camera,
               const std::vector<Eigen::Vector3d>& points_in_world,
               const LossMaps& maps,
               const Rigid3d& cam_from_world);

// Exact Hessian of the sum of Eq. 9 over all points at `sigma` (map cells),
// chained through the projection, for the left perturbation (rotation vector,
// translation) of cam_from_world. Its inverse is the pose's covariance.
Eigen::Matrix<double, 6, 6> PoseHessian(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    double sigma,
    const Rigid3d& cam_from_world);

}  // namespace nre
