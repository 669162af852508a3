#include "nre/evidence.h"

#include <Eigen/Cholesky>

#include "nre/gnc.h"

namespace nre {
namespace {

// Farther from its projection (map cells) a peak is no support.
constexpr double kMaxDistance = 1.5;

// Local maximum of the smoothed weights near `start`.
Eigen::Vector2d MeanShift(const LossMaps& maps,
                          size_t point,
                          const Eigen::Vector2d& start) {
  constexpr double kSigma = 1.0;
  constexpr int kMaxNumIterations = 20;
  Eigen::Vector2d p = start;
  for (int i = 0; i < kMaxNumIterations; ++i) {
    const Eigen::Vector2d shift =
        maps.Smoothed(point, p, kSigma, false).mean_shift;
    p += shift;
    if (shift.norm() < 1e-3) {
      break;
    }
  }
  return p;
}

}  // namespace

void FindSupport(const Camera& camera,
                 const std::vector<Eigen::Vector3d>& points_in_world,
                 const LossMaps& fine,
                 PoseEstimate* estimate) {
  const MapFromImage& map_from_image = fine.geometry().map_from_image;
  estimate->support.clear();
  Eigen::Vector2d xy;
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    const Eigen::Vector3d x = estimate->cam_from_world * points_in_world[i];
    if (!camera.Project(x, &xy, nullptr)) {
      continue;
    }
    const Eigen::Vector2d p = map_from_image * xy;
    const LossMaps::Summary summary = fine.Summarize(i);
    if (summary.weight <= 0.0 ||
        (summary.peak - p).norm() > kMaxDistance + 1.0) {
      continue;
    }
    const Eigen::Vector2d peak = MeanShift(fine, i, summary.peak);
    if ((peak - p).norm() <= kMaxDistance) {
      estimate->support.push_back({i, map_from_image.ToImage(peak)});
    }
  }
}

void JudgeEvidence(const Camera& camera,
                   const std::vector<Eigen::Vector3d>& points_in_world,
                   const LossMaps& fine,
                   PoseEstimate* estimate) {
  const Matrix6d hessian =
      PoseHessian(camera, points_in_world, fine, 1.0, estimate->cam_from_world);
  const Eigen::LLT<Matrix6d> cholesky(hessian);
  if (cholesky.info() != Eigen::Success) {
    estimate->verdict = Verdict::kRejected;
    estimate->reason =
        "the pose is not determined by the maps (the cost's "
        "Hessian is not positive definite)";
    return;
  }
  estimate->covariance = cholesky.solve(Matrix6d::Identity());
  estimate->verdict = Verdict::kRegistered;
}

}  // namespace nre
