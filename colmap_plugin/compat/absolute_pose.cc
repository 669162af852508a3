#include "colmap_plugin/compat/absolute_pose.h"

#include <memory>
#include <vector>

#if NRE_COLMAP_VERSION < 400
#include <estimators/absolute_pose.h>
#include <estimators/pose.h>
#include <optim/loransac.h>
#include <util/random.h>
#else
#include <colmap/estimators/pose.h>
#endif

#include "colmap_plugin/compat/camera.h"
#include "nre/camera.h"

namespace nre {
namespace {

// Enough for 90 % of wrong matches.
constexpr double kConfidence = 0.9999;
constexpr int kMinNumTrials = 100;
constexpr int kMaxNumTrials = 20000;

// Scale of the refinement's loss, as a share of the inlier threshold.
constexpr double kLossScaleShare = 1.0 / 6.0;

// COLMAP's containers of the matches that it can use.
struct Matches {
  std::vector<Eigen::Vector2d> xys;         // image
  std::vector<Eigen::Vector2d> normalized;  // on the plane z = 1
  std::vector<Eigen::Vector3d> points;      // world

  Matches(const Camera& camera, const std::vector<PointMatch>& matches) {
    Eigen::Vector3d bearing;
    for (const PointMatch& match : matches) {
      if (!camera.Unproject(match.xy, &bearing) ||
          (NRE_COLMAP_VERSION < 400 && !(bearing.z() > 1e-3))) {
        continue;
      }
      xys.push_back(match.xy);
      normalized.push_back(bearing.hnormalized());
      points.push_back(match.point_in_world);
    }
  }
};

colmap::RANSACOptions RansacOptions(double max_error) {
  colmap::RANSACOptions options;
  options.max_error = max_error;
  options.confidence = kConfidence;
  options.min_num_trials = kMinNumTrials;
  options.max_num_trials = kMaxNumTrials;
  // Does not cut the number of trials shorter than the two above.
  options.min_inlier_ratio = 0.01;
  return options;
}

colmap::AbsolutePoseRefinementOptions RefinementOptions(double loss_scale_px) {
  colmap::AbsolutePoseRefinementOptions options;
  options.gradient_tolerance = 1e-3;
  options.loss_function_scale = loss_scale_px;
  options.refine_focal_length = false;
  options.refine_extra_params = false;
  options.print_summary = false;
  return options;
}

}  // namespace

std::optional<Rigid3d> SolveFocalLoRansac(
    const std::vector<PointMatch>& matches,
    double max_error_px,
    colmap::Camera* camera) {
  if (matches.size() < 4) {
    return std::nullopt;
  }
  std::vector<Eigen::Vector2d> xys;
  std::vector<Eigen::Vector3d> points;
  for (const PointMatch& match : matches) {
    xys.push_back(match.xy);
    points.push_back(match.point_in_world);
  }
  colmap::AbsolutePoseEstimationOptions options;
  options.estimate_focal_length = true;
  options.ransac_options = RansacOptions(max_error_px);
  colmap::AbsolutePoseRefinementOptions refinement = RefinementOptions(1.0);
  refinement.refine_focal_length = true;
  size_t num_inliers = 0;
  std::vector<char> inlier_mask;
#if NRE_COLMAP_VERSION < 400
  options.num_threads = 1;
  options.min_focal_length_ratio = 0.1;
  options.max_focal_length_ratio = 10.0;
  Eigen::Vector4d qvec;
  Eigen::Vector3d tvec;
  if (!colmap::EstimateAbsolutePose(options,
                                    xys,
                                    points,
                                    &qvec,
                                    &tvec,
                                    camera,
                                    &num_inliers,
                                    &inlier_mask) ||
      !colmap::RefineAbsolutePose(
          refinement, inlier_mask, xys, points, &qvec, &tvec, camera)) {
    return std::nullopt;
  }
  return Rigid3d{
      Eigen::Quaterniond(qvec(0), qvec(1), qvec(2), qvec(3)).normalized(),
      tvec};
#else
  colmap::Rigid3d pose;
  if (!colmap::EstimateAbsolutePose(
          options, xys, points, &pose, camera, &num_inliers, &inlier_mask) ||
      !colmap::RefineAbsolutePose(
          refinement, inlier_mask, xys, points, &pose, camera)) {
    return std::nullopt;
  }
  return Rigid3d{Eigen::Quaterniond(pose.rotation()).normalized(),
                 Eigen::Vector3d(pose.translation())};
#endif
}

#if NRE_COLMAP_VERSION < 400

// What EstimateAbsolutePose does with a known focal length, but in this thread:
// there the random numbers are those of a thread of its own, which cannot be
// seeded.
std::optional<Rigid3d> SolveLoRansac(const colmap::Camera& camera,
                                     const std::vector<PointMatch>& matches,
                                     double max_error_px,
                                     uint64_t seed) {
  const std::unique_ptr<Camera> projection = CreateCamera(camera);
  const Matches all(*projection, matches);
  if (all.xys.size() < 4) {
    return std::nullopt;
  }
  colmap::SetPRNGSeed(static_cast<unsigned>(seed ^ (seed >> 32)));
  colmap::LORANSAC<colmap::P3PEstimator, colmap::EPNPEstimator> ransac(
      RansacOptions(max_error_px / projection->MeanFocalLength()));
  const auto report = ransac.Estimate(all.normalized, all.points);
  if (!report.success || !report.model.allFinite()) {
    return std::nullopt;
  }
  const Eigen::Quaterniond rotation(
      Eigen::Matrix3d(report.model.leftCols<3>()));
  Eigen::Vector4d qvec(rotation.w(), rotation.x(), rotation.y(), rotation.z());
  Eigen::Vector3d tvec = report.model.col(3);
  colmap::Camera fixed_camera = camera;
  if (!colmap::RefineAbsolutePose(
          RefinementOptions(kLossScaleShare * max_error_px),
          report.inlier_mask,
          all.xys,
          all.points,
          &qvec,
          &tvec,
          &fixed_camera)) {
    return std::nullopt;
  }
  return Rigid3d{
      Eigen::Quaterniond(qvec(0), qvec(1), qvec(2), qvec(3)).normalized(),
      tvec};
}

#else

std::optional<Rigid3d> SolveLoRansac(const colmap::Camera& camera,
                                     const std::vector<PointMatch>& matches,
                                     double max_error_px,
                                     uint64_t seed) {
  const Matches all(*CreateCamera(camera), matches);
  if (all.xys.size() < 4) {
    return std::nullopt;
  }
  colmap::AbsolutePoseEstimationOptions options;
  options.ransac_options = RansacOptions(max_error_px);
  options.ransac_options.random_seed =
      static_cast<int>((seed ^ (seed >> 32)) & 0x7fffffff);
  colmap::Camera fixed_camera = camera;
  colmap::Rigid3d pose;
  size_t num_inliers = 0;
  std::vector<char> inlier_mask;
  if (!colmap::EstimateAbsolutePose(options,
                                    all.xys,
                                    all.points,
                                    &pose,
                                    &fixed_camera,
                                    &num_inliers,
                                    &inlier_mask) ||
      !colmap::RefineAbsolutePose(
          RefinementOptions(kLossScaleShare * max_error_px),
          inlier_mask,
          all.xys,
          all.points,
          &pose,
          &fixed_camera)) {
    return std::nullopt;
  }
  return Rigid3d{Eigen::Quaterniond(pose.rotation()).normalized(),
                 Eigen::Vector3d(pose.translation())};
}

#endif

}  // namespace nre
