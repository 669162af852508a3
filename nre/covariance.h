// How well the maps determine a pose, and whether they contradict the camera
// that it was found with.
#pragma once

#include <utility>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/pose_problem.h"
#include "nre/priors.h"
#include "nre/rigid3.h"

namespace nre {

// Points within a block of so many map cells see the same patch of the query;
// together they are one piece of evidence.
constexpr double kBlockCells = 8.0;

// The block (column, row) that a position on the map falls into.
using Block = std::pair<int, int>;
Block BlockOf(const Eigen::Vector2d& p, double cells = kBlockCells);

// Covariance of (rotation vector, translation) of a left perturbation of the
// pose at a minimum of Eq. 9, with H its exact Hessian at a sigma of one, two
// or four cells, if these are at most `max_sigma`: by the jackknife, from how
// the pose moves, by a Newton step, if one block of points is left out. These
// are points that lie close together in the image, whose errors are not
// independent. It holds whether or not the maps know how uncertain they are,
// and if few blocks, or only one, decide where the pose is: these the pose fits
// whether they are right or not, so that residuals tell too little of them
// (MacKinnon & White, "Some heteroskedasticity-consistent covariance matrix
// estimators with improved finite sample properties", 1985: HC3; Bell &
// McCaffrey, "Bias reduction in standard errors for linear regression with
// multi-stage samples", 2002, for dependent groups). A hundredth of H^-1 is
// added for what the maps do not determine at all, the sum is multiplied by
// `shared_errors.covariance_factor`, and s^2 H^-1 A A^T H^-1 is added to it for
// every quarter of the image: if all its points are displaced by d, the
// gradient changes by A d, and d ~ N(0, s^2 I) is what `shared_errors` speak
// of. Of the sigmas that one counts which determines the rotation best: a wide
// kernel blurs sharp maps, and with a narrow one the Hessian of ragged maps is
// hardly positive definite. Zero if at none it is so, of all blocks and without
// any one of them, or if there are too few blocks. With unknown intrinsics
// there are seven or ten rows, in the order of JointHessian(); seven also if a
// stated focal length has a standard deviation, which then counts as a prior's.
// So `camera` is as it was found. `posterior_variances`, if not null, receives
// the diagonal of H^-1 at the smallest sigma where H is positive definite, the
// variances if Eq. 9 were the logarithm of a probability; or zero.
Eigen::MatrixXd PoseCovariance(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& fine,
    const Priors& priors,
    const Rigid3d& cam_from_world,
    double max_sigma = 1.0,
    const SharedErrors& shared_errors = SharedErrors(),
    Eigen::VectorXd* posterior_variances = nullptr);

// How much the maps contradict the intrinsics of a camera that a pose was found
// with: Rao's score test. What Eq. 9 would gain, to first order, from other
// intrinsics, the pose following, is squared and divided by its variance: that
// of the sum over the blocks, as in PoseCovariance(), with the same errors that
// points share, and of intrinsics that are off by a few hundredths of a per
// cent. Chi-squared where the intrinsics are as right as that, or less where
// they are better. One pass over the maps.
struct IntrinsicsScores {
  double focal_length = 0.0;  // 1 degree of freedom; 0 if it is unknown
  // Principal point and radial distortion, whatever the focal length is: 3
  // degrees of freedom; 0 if they are unknown.
  double lens = 0.0;
};

// The scores of the pose at `sigma` (map cells) or, where the maps do not
// determine it, at one, two or four cells; 0 if they do not then either.
IntrinsicsScores ScoreIntrinsics(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& fine,
    const Priors& priors,
    const Rigid3d& cam_from_world,
    double sigma,
    const SharedErrors& shared_errors = SharedErrors());

}  // namespace nre
