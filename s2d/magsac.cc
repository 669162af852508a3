#include "s2d/magsac.h"

#include <cmath>

#include <Eigen/Geometry>
#include <opencv2/calib3d.hpp>
#include <opencv2/core.hpp>

#include "nre/reprojection_cost.h"

namespace nre {
namespace {

// Scale of the final refinement's loss, as a share of the largest error.
constexpr double kLossScaleShare = 1.0 / 6.0;

// What OpenCV is given: the positions on the plane z = 1, in pixels of the mean
// focal length; the points, of which OpenCV keeps seven digits, around their
// mean and of about unit size.
struct Problem {
  std::vector<cv::Point3d> points;
  std::vector<cv::Point2d> xys;
  cv::Matx33d intrinsics;
  Eigen::Vector3d mean = Eigen::Vector3d::Zero();
  double size = 1.0;

  Problem(const Camera& camera, const std::vector<PointMatch>& matches) {
    const double f = camera.MeanFocalLength();
    intrinsics = cv::Matx33d::diag({f, f, 1.0});
    std::vector<Eigen::Vector3d> in_world;
    Eigen::Vector3d bearing;
    for (const PointMatch& match : matches) {
      if (camera.Unproject(match.xy, &bearing) && bearing.z() > 1e-3) {
        xys.emplace_back(f * bearing.x() / bearing.z(),
                         f * bearing.y() / bearing.z());
        in_world.push_back(match.point_in_world);
        mean += match.point_in_world;
      }
    }
    if (in_world.empty()) {
      return;
    }
    mean /= in_world.size();
    double sum = 0.0;
    for (const Eigen::Vector3d& point : in_world) {
      sum += (point - mean).norm();
    }
    if (sum > 0.0) {
      size = sum / in_world.size();
    }
    for (const Eigen::Vector3d& point : in_world) {
      const Eigen::Vector3d p = (point - mean) / size;
      points.emplace_back(p.x(), p.y(), p.z());
    }
  }

  // x_cam / size = R (x - mean) / size + t.
  std::optional<Rigid3d> ToPose(const cv::Vec3d& rvec,
                                const cv::Vec3d& tvec) const {
    const Eigen::Vector3d w(rvec[0], rvec[1], rvec[2]);
    const Eigen::Vector3d t(tvec[0], tvec[1], tvec[2]);
    if (!w.allFinite() || !t.allFinite()) {
      return std::nullopt;
    }
    const double angle = w.norm();
    Rigid3d pose;
    if (angle > 0.0) {
      pose.rotation = Eigen::AngleAxisd(angle, w / angle);
    }
    pose.translation = size * t - pose.rotation * mean;
    return pose;
  }
};

cv::UsacParams Params(double max_error_px, uint64_t seed) {
  cv::UsacParams params;
  params.score = cv::SCORE_METHOD_MAGSAC;
  params.loMethod = cv::LOCAL_OPTIM_SIGMA;
  params.loIterations = 10;
  params.loSampleSize = 50;
  params.sampler = cv::SAMPLING_UNIFORM;
  params.confidence = 0.9999;
  params.maxIterations = 20000;
  params.threshold = max_error_px;
  // Not parallel: the result would depend on the number of threads. The state
  // is this call's own.
  params.isParallel = false;
  params.randomGeneratorState =
      static_cast<int>((seed ^ (seed >> 32)) & 0x7fffffff);
  return params;
}

}  // namespace

std::optional<Rigid3d> SolveMagsac(const Camera& camera,
                                   const std::vector<PointMatch>& matches,
                                   double max_error_px,
                                   uint64_t seed) {
  const Problem problem(camera, matches);
  // Three points have several poses, and OpenCV asks for one more.
  if (problem.points.size() < 4) {
    return std::nullopt;
  }
  cv::Vec3d rvec, tvec;
  cv::Mat inliers;
  try {
    cv::Mat intrinsics(problem.intrinsics);
    if (!cv::solvePnPRansac(problem.points,
                            problem.xys,
                            intrinsics,
                            cv::noArray(),
                            rvec,
                            tvec,
                            inliers,
                            Params(max_error_px, seed))) {
      return std::nullopt;
    }
  } catch (const cv::Exception&) {
    return std::nullopt;  // degenerate points
  }
  std::optional<Rigid3d> pose = problem.ToPose(rvec, tvec);
  if (pose.has_value()) {
    RefinePoseReprojection(
        camera, matches, max_error_px, kLossScaleShare * max_error_px, &*pose);
  }
  return pose;
}

}  // namespace nre
