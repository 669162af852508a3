#include "nre/joint_estimation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include <Eigen/Cholesky>

#include "nre/evidence.h"
#include "nre/gnc.h"
#include "nre/msac.h"
#include "nre/stopwatch.h"

namespace nre {
namespace {

// Sampled focal lengths differ by this factor: the coarse GNC reaches half of
// it, and more, from either side.
constexpr double kFocalStep = 1.25;

// Hypotheses of one sampled focal length at least, and how many of its poses
// are kept.
constexpr int kMinNumFocalHypotheses = 200;
constexpr int kNumFocalPoses = 2;

// A prior that the maps contradict more than this is wrong, or the pose is: one
// in a thousand right ones (chi-square, three and two degrees of freedom).
constexpr double kMaxPositionDistance = 16.27;
constexpr double kMaxGravityDistance = 13.82;

// Rejects the estimate if the pose that the fine maps alone have nearby is not
// where the priors say. Maps that do not determine a pose contradict nothing.
void JudgePriors(const Camera& camera,
                 const std::vector<Eigen::Vector3d>& points_in_world,
                 const LossMaps& fine,
                 const Priors& priors,
                 double covariance_factor,
                 FocalPose pose,
                 PoseEstimate* estimate) {
  Priors of_maps;
  of_maps.focal_length = priors.focal_length;
  RefinePoseGnc(
      camera, points_in_world, fine, GncOptions::Coarse(), of_maps, &pose);
  const Eigen::MatrixXd hessian =
      JointHessian(ScaledCamera(camera, pose.focal_scale),
                   points_in_world,
                   fine,
                   1.0,
                   of_maps,
                   pose.cam_from_world);
  const Eigen::LLT<Eigen::MatrixXd> cholesky(hessian);
  if (cholesky.info() != Eigen::Success) {
    return;
  }
  const Matrix6d covariance =
      covariance_factor *
      cholesky.solve(Eigen::MatrixXd::Identity(hessian.rows(), hessian.cols()))
          .topLeftCorner<6, 6>();
  const PriorDistances distances =
      DistancesFromPriors(priors, pose.cam_from_world, covariance);
  const bool position = distances.position > kMaxPositionDistance;
  if (position || distances.gravity > kMaxGravityDistance) {
    std::ostringstream reason;
    reason << "the image contradicts the prior of its "
           << (position ? "position" : "gravity") << " by "
           << std::sqrt(position ? distances.position : distances.gravity)
           << " standard deviations";
    estimate->verdict = Verdict::kRejected;
    estimate->reason = reason.str();
  }
}

// Scales that sample the range evenly in ln f.
std::vector<double> SampleFocalScales(const FocalLengthRange& range,
                                      const Camera& camera) {
  const double log_range = std::log(range.max_px / range.min_px);
  const int num_samples =
      1 + static_cast<int>(std::ceil(log_range / std::log(kFocalStep)));
  std::vector<double> scales;
  for (int i = 0; i < num_samples; ++i) {
    // Centres of equal parts.
    scales.push_back(range.min_px *
                     std::exp(log_range * (i + 0.5) / num_samples) /
                     camera.MeanFocalLength());
  }
  return scales;
}

struct ScoredPose {
  FocalPose pose;
  double score;
};

// The stage up to the coarse GNC.
class CoarseStage {
 public:
  CoarseStage(const Camera& camera,
              const std::vector<Eigen::Vector3d>& points_in_world,
              const LossMaps& coarse,
              const Priors& priors,
              PoseEstimate* estimate)
      : camera_(camera),
        points_(points_in_world),
        coarse_(coarse),
        priors_(priors),
        estimate_(estimate) {}

  // Samples poses, the same number of each focal length.
  void Sample(const MsacOptions& options,
              const std::vector<double>& focal_scales,
              uint64_t seed) {
    Stopwatch stopwatch;
    sampled_.clear();
    for (size_t i = 0; i < focal_scales.size(); ++i) {
      for (const PoseHypothesis& hypothesis :
           SamplePosesMsac(ScaledCamera(camera_, focal_scales[i]),
                           points_,
                           coarse_,
                           options,
                           seed + i)) {
        sampled_.push_back(
            {{hypothesis.cam_from_world, focal_scales[i]}, hypothesis.score});
      }
    }
    std::stable_sort(sampled_.begin(),
                     sampled_.end(),
                     [](const ScoredPose& a, const ScoredPose& b) {
                       return a.score > b.score;
                     });
    estimate_->msac_ms += stopwatch.LapMs();
  }

  // Refines the best of the sampled poses.
  void Refine(size_t max_num_poses) {
    Stopwatch stopwatch;
    sampled_.resize(std::min(sampled_.size(), max_num_poses));
    for (ScoredPose& sampled : sampled_) {
      if (sampled.score > best_score_) {
        best_score_ = sampled.score;
        estimate_->msac_cost = Cost(sampled.pose);
      }
      RefinePoseGnc(camera_,
                    points_,
                    coarse_,
                    GncOptions::Coarse(),
                    priors_,
                    &sampled.pose);
      const double cost = Cost(sampled.pose);
      const double total_cost = points_.size() * cost +
                                PriorCost(priors_, sampled.pose.cam_from_world);
      if (total_cost < best_total_cost_) {
        best_total_cost_ = total_cost;
        estimate_->coarse_cost = cost;
        best_ = sampled.pose;
      }
    }
    estimate_->coarse_gnc_ms += stopwatch.LapMs();
  }

  bool Found() const { return std::isfinite(best_total_cost_); }
  const FocalPose& Best() const { return best_; }

 private:
  double Cost(const FocalPose& pose) const {
    return MeanNre(ScaledCamera(camera_, pose.focal_scale),
                   points_,
                   coarse_,
                   pose.cam_from_world);
  }

  const Camera& camera_;
  const std::vector<Eigen::Vector3d>& points_;
  const LossMaps& coarse_;
  const Priors& priors_;
  PoseEstimate* estimate_;
  std::vector<ScoredPose> sampled_;  // best first
  FocalPose best_;
  double best_score_ = -std::numeric_limits<double>::infinity();
  double best_total_cost_ = std::numeric_limits<double>::infinity();
};

}  // namespace

Eigen::MatrixXd JointHessian(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    double sigma,
    const Priors& priors,
    const Rigid3d& cam_from_world,
    PointTerms* terms) {
  const int size = priors.focal_length ? 7 : 6;
  if (terms != nullptr) {
    terms->gradients.setZero(size, points_in_world.size());
    terms->by_displacement.setZero(size, 2 * points_in_world.size());
    terms->hessians.setZero(size, size * points_in_world.size());
  }
  const Eigen::Vector2d principal_point =
      priors.focal_length ? PrincipalPoint(camera) : Eigen::Vector2d::Zero();
  const MapFromImage& map_from_image = maps.geometry().map_from_image;
  Eigen::Matrix<double, 7, 7> hessian = Eigen::Matrix<double, 7, 7>::Zero();
  Eigen::Vector2d xy;
  Eigen::Matrix<double, 2, 3> projection_jacobian;
  Eigen::Matrix<double, 2, 7> jacobian;
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    const Eigen::Vector3d x = cam_from_world * points_in_world[i];
    if (!camera.Project(x, &xy, &projection_jacobian)) {
      continue;
    }
    const SmoothedLoss loss =
        maps.Smoothed(i, map_from_image * xy, sigma, true);
    if (!(loss.irls > 0.0)) {
      continue;
    }
    // d(exp(w) x + t) = w x x + dt.
    for (int row = 0; row < 2; ++row) {
      const Eigen::Vector3d by_point = projection_jacobian.row(row);
      jacobian.row(row) << x.cross(by_point).transpose(), by_point.transpose(),
          (xy - principal_point)[row];
    }
    jacobian = map_from_image.scale.asDiagonal() * jacobian.eval();
    hessian += jacobian.transpose() * loss.hessian * jacobian;
    if (terms != nullptr) {
      const auto by_pose = jacobian.leftCols(size).transpose();
      terms->gradients.col(i) = by_pose * loss.Gradient();
      terms->by_displacement.middleCols<2>(2 * i) = by_pose * loss.hessian;
      terms->hessians.middleCols(size * i, size) =
          by_pose * loss.hessian * jacobian.leftCols(size);
    }
  }
  hessian.topLeftCorner<6, 6>() += PriorHessian(priors, cam_from_world);
  return hessian.topLeftCorner(size, size);
}

PoseEstimate EstimatePoseJointly(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& coarse,
    const FineMapSource& fine,
    const NreEstimationOptions& options,
    const Priors& priors,
    const SharedErrors& shared_errors,
    uint64_t seed) {
  MsacOptions msac_options;
  msac_options.num_hypotheses = options.num_hypotheses;
  msac_options.sampling_share = options.sampling_share;
  msac_options.max_num_poses = options.num_refined_hypotheses;
  msac_options.priors = &priors;

  PoseEstimate estimate;
  CoarseStage stage(camera, points_in_world, coarse, priors, &estimate);
  if (priors.focal_length && !priors.focal_length->found) {
    const std::vector<double> scales =
        SampleFocalScales(*priors.focal_length, camera);
    MsacOptions focal_options = msac_options;
    focal_options.num_hypotheses =
        std::max(kMinNumFocalHypotheses,
                 options.num_hypotheses / static_cast<int>(scales.size()));
    focal_options.max_num_poses = kNumFocalPoses;
    stage.Sample(focal_options, scales, seed);
    stage.Refine(options.num_refined_hypotheses);
  }
  stage.Sample(msac_options, {stage.Best().focal_scale}, seed);
  stage.Refine(options.num_refined_hypotheses);
  if (!stage.Found()) {
    estimate.reason = "no three loss maps gave a pose";
    return estimate;
  }

  Stopwatch stopwatch;
  FocalPose pose = stage.Best();
  const std::unique_ptr<LossMaps> fine_maps =
      fine.Compute(ProjectAll(ScaledCamera(camera, pose.focal_scale),
                              points_in_world,
                              pose.cam_from_world));
  estimate.fine_maps_ms = stopwatch.LapMs();

  RefinePoseGnc(
      camera, points_in_world, *fine_maps, GncOptions::Fine(), priors, &pose);
  const ScaledCamera scaled(camera, pose.focal_scale);
  estimate.cam_from_world = pose.cam_from_world;
  estimate.focal_scale = pose.focal_scale;
  estimate.fine_cost =
      MeanNre(scaled, points_in_world, *fine_maps, pose.cam_from_world);
  FindSupport(scaled, points_in_world, *fine_maps, &estimate, priors);
  JudgeEvidence(
      scaled, points_in_world, *fine_maps, &estimate, priors, shared_errors);
  if (priors.OfPose() && estimate.verdict == Verdict::kRegistered) {
    JudgePriors(camera,
                points_in_world,
                *fine_maps,
                priors,
                shared_errors.covariance_factor,
                pose,
                &estimate);
  }
  estimate.fine_gnc_ms = stopwatch.LapMs();
  return estimate;
}

}  // namespace nre
