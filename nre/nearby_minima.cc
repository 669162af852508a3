#include "nre/nearby_minima.h"

#include <algorithm>
#include <cmath>

#include <Eigen/Eigenvalues>
#include <Eigen/Geometry>

#include "nre/evidence.h"
#include "nre/gnc.h"
#include "nre/msac.h"
#include "nre/pose_evaluation.h"

namespace nre {
namespace {

using Vector6d = Eigen::Matrix<double, 6, 1>;

// Smoothing (fine cells) at which the cost's curvature tells how well a pose is
// determined.
constexpr double kSigma = 2.0;

// The maps determine a pose well if its cost rises by so much (nats, of all
// points together) where it is off by as much as is accepted.
constexpr double kWellDetermined = 50.0;

// Minima are the same if they differ by less than this share of what is
// accepted.
constexpr double kSame = 0.1;

constexpr int kNumDirections = 2;
constexpr double kSteps[] = {-8.0, -4.0, -2.0, -1.0, 1.0, 2.0, 4.0, 8.0};

// The valley bends, but poses through three peaks lie all along it. They show
// the points at hardly other places, and must still count as distinct.
MsacOptions SamplingAlongTheValley(const Priors& priors) {
  MsacOptions options;
  options.priors = &priors;
  options.num_hypotheses = 500;
  options.sampling_share = 1.0;
  options.max_num_poses = 10;
  options.min_distance_cells = 0.3;
  return options;
}

// Median distance of the points in the image; 0 if there are none.
double DepthInView(const Camera& camera,
                   const std::vector<Eigen::Vector3d>& points_in_world,
                   const Rigid3d& cam_from_world) {
  std::vector<double> depths;
  Eigen::Vector2d xy;
  for (const Eigen::Vector3d& point : points_in_world) {
    if (IsInImage(camera, cam_from_world, point, &xy)) {
      depths.push_back((cam_from_world * point).norm());
    }
  }
  return depths.empty() ? 0.0 : Median(depths);
}

// The left perturbation that leads from one pose to the other.
Vector6d Difference(const Rigid3d& from, const Rigid3d& to) {
  const Rigid3d step = to * from.Inverse();
  const Eigen::AngleAxisd turn(step.rotation);
  Vector6d difference;
  difference << turn.angle() * turn.axis(), step.translation;
  return difference;
}

}  // namespace

std::vector<NearbyMinimum> FindNearbyMinima(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& fine,
    const Priors& priors,
    const Rigid3d& cam_from_world) {
  Priors of_pose = priors;
  of_pose.focal_length.reset();
  of_pose.lens_unknown = false;
  const auto at = [&](const Rigid3d& pose) {
    return NearbyMinimum{
        pose,
        points_in_world.size() * MeanNre(camera, points_in_world, fine, pose) +
            PriorCost(of_pose, pose)};
  };
  std::vector<NearbyMinimum> minima = {at(cam_from_world)};
  const double depth = DepthInView(camera, points_in_world, cam_from_world);
  if (depth == 0.0) {
    return minima;
  }
  Vector6d accepted;
  accepted << Eigen::Vector3d::Constant(kMaxRotationStdDeg * M_PI / 180.0),
      Eigen::Vector3d::Constant(kMaxCenterStdShare * depth);
  const Eigen::SelfAdjointEigenSolver<Matrix6d> curvatures(
      accepted.asDiagonal() *
      (PoseHessian(camera, points_in_world, fine, kSigma, cam_from_world) +
       PriorHessian(of_pose, cam_from_world)) *
      accepted.asDiagonal());
  std::vector<Rigid3d> starts;
  for (int k = 0; k < kNumDirections; ++k) {
    if (0.5 * curvatures.eigenvalues()[k] > kWellDetermined) break;
    const Vector6d direction =
        accepted.asDiagonal() * curvatures.eigenvectors().col(k);
    for (const double step : kSteps) {
      starts.push_back(PerturbPose(step * direction, cam_from_world));
    }
  }
  if (!starts.empty()) {
    for (const PoseHypothesis& hypothesis :
         SamplePosesMsac(camera,
                         points_in_world,
                         fine,
                         SamplingAlongTheValley(of_pose),
                         0)) {
      starts.push_back(hypothesis.cam_from_world);
    }
  }
  GncOptions options;
  options.sigmas = {1.0, 0.8, 0.6};
  for (const Rigid3d& start : starts) {
    CorrectedPose refined = {start, {}};
    const bool converged =
        RefinePoseGnc(camera, points_in_world, fine, options, of_pose, &refined)
            .converged;
    const Rigid3d& pose = refined.cam_from_world;
    const auto is_same = [&](const NearbyMinimum& minimum) {
      return Difference(minimum.cam_from_world, pose)
                 .cwiseQuotient(accepted)
                 .norm() < kSame;
    };
    if (converged && std::none_of(minima.begin(), minima.end(), is_same)) {
      minima.push_back(at(pose));
    }
  }
  return minima;
}

Matrix6d ScatterOfMinima(const std::vector<NearbyMinimum>& minima,
                         double covariance_factor) {
  double lowest = minima.front().cost;
  for (const NearbyMinimum& minimum : minima) {
    lowest = std::min(lowest, minimum.cost);
  }
  Matrix6d scatter = Matrix6d::Zero();
  double sum = 0.0;
  for (const NearbyMinimum& minimum : minima) {
    const double weight = std::exp((lowest - minimum.cost) / covariance_factor);
    const Vector6d difference =
        Difference(minima.front().cam_from_world, minimum.cam_from_world);
    scatter += weight * difference * difference.transpose();
    sum += weight;
  }
  return scatter / sum;
}

}  // namespace nre
