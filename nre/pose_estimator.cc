#include "nre/pose_estimator.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "nre/error.h"
#include "nre/evidence.h"
#include "nre/gnc.h"
#include "nre/joint_estimation.h"
#include "nre/nearby_minima.h"
#include "nre/pose_methods.h"
#include "nre/stopwatch.h"

namespace nre {
namespace {

// What explains less than this share of what the best pose explains of the
// coarse maps cannot be taken for it.
constexpr double kMinAlternativeShare = 0.2;

// Another pose that explains so much is found with this share of the samples.
constexpr double kAlternativeSamples = 0.1;

// A facade of equal bays has as many poses as bays. Whoever stops at the first
// few may take the best of these for the best of all.
constexpr size_t kMaxNumAlternatives = 16;

// Cells of the fine maps that the refinement on more points may move any point
// by. The verdict is that of the pose before.
constexpr double kMaxRefinementCells = 8.0;

// Cells of the coarse maps around a pose's projections that are its own.
constexpr double kOwnCells = 3.0;

// The stages of an estimate, for one query.
class Estimator {
 public:
  Estimator(const Camera& camera,
            const std::vector<Eigen::Vector3d>& points_in_world,
            const FineMapSource& fine,
            const MethodInputs& inputs,
            const Priors& priors,
            uint64_t seed)
      : camera_(camera),
        points_(points_in_world),
        fine_(fine),
        inputs_(inputs),
        priors_(priors),
        seed_(seed) {}

  // An estimate with its verdict. Fails early if the sampled pose gains, on
  // the mean of the maps, less than `min_gain`.
  ExplainedPose Run(const NreEstimationOptions& options,
                    const LossMaps& coarse,
                    double min_gain) const {
    const std::unique_ptr<PoseMethod> method =
        CreatePoseMethod(camera_, points_, options, inputs_, seed_);
    const auto no_pose = [&](const char* maps) {
      return std::string(EstimationMethodName(options.method)) +
             " found no pose in the " + maps + " loss maps";
    };
    ExplainedPose explained;
    PoseEstimate& estimate = explained.estimate;
    Stopwatch stopwatch;

    const std::vector<Rigid3d> sampled = method->Sample(coarse);
    estimate.msac_ms = stopwatch.LapMs();
    if (sampled.empty()) {
      estimate.reason = no_pose("coarse");
      return explained;
    }
    estimate.msac_cost = MeanNre(camera_, points_, coarse, sampled.front());
    if (Gain(coarse, estimate.msac_cost) < min_gain) {
      estimate.reason = no_pose("coarse");
      return explained;
    }

    Rigid3d pose = method->RefineCoarse(coarse, sampled);
    estimate.coarse_cost = MeanNre(camera_, points_, coarse, pose);
    estimate.coarse_gnc_ms = stopwatch.LapMs();

    const std::unique_ptr<LossMaps> fine_maps =
        fine_.Compute(ProjectAll(camera_, points_, pose));
    estimate.fine_maps_ms = stopwatch.LapMs();

    if (!method->RefineFine(*fine_maps, &pose)) {
      estimate.reason = no_pose("fine");
      return explained;
    }
    estimate.cam_from_world = pose;
    estimate.fine_cost = MeanNre(camera_, points_, *fine_maps, pose);
    FindSupport(camera_, points_, *fine_maps, &estimate, priors_);
    if (options.method == EstimationMethod::kNre &&
        estimate.log_false_alarms <= kMaxLogFalseAlarms) {
      estimate.scatter_of_minima =
          ScatterOfMinima(FindNearbyMinima(camera_, points_, *fine_maps, pose),
                          inputs_.shared_errors.covariance_factor);
    }
    JudgeEvidence(camera_,
                  points_,
                  *fine_maps,
                  &estimate,
                  priors_,
                  inputs_.shared_errors);
    explained.gains = ExplainBlocks(camera_, points_, *fine_maps, pose);
    estimate.fine_gnc_ms = stopwatch.LapMs();
    return explained;
  }

  // Looks for other poses in what the coarse maps say beside the estimate. The
  // one that is clearly better becomes the estimate, and it is registered only
  // if it is clearly better than all others, and these are not too many to be
  // looked at.
  void CompareWithAlternatives(NreEstimationOptions options,
                               const LossMaps& coarse,
                               ExplainedPose* best) const {
    for (int* num : {&options.num_hypotheses, &options.max_num_hypotheses}) {
      *num = std::max(1, static_cast<int>(kAlternativeSamples * *num));
    }
    const double min_gain =
        kMinAlternativeShare * Gain(coarse, best->estimate.msac_cost);
    std::vector<ExplainedPose> others;
    std::unique_ptr<LossMaps> rest;
    const LossMaps* maps = &coarse;
    std::vector<std::vector<Eigen::Vector2d>> known = {
        ProjectToMaps(coarse, best->estimate.cam_from_world)};
    while (others.size() < kMaxNumAlternatives) {
      rest = maps->Without(known.back(), kOwnCells);
      maps = rest.get();
      ExplainedPose other = Run(options, *maps, min_gain);
      const PoseEstimate& estimate = other.estimate;
      if (estimate.verdict == Verdict::kFailed ||
          estimate.support.size() <
              kMinAlternativeSupport * best->estimate.support.size()) {
        break;
      }
      // What is left around a known pose may lead back to it.
      const std::vector<Eigen::Vector2d> projections =
          ProjectToMaps(coarse, estimate.cam_from_world);
      const auto is_other = [&](const std::vector<Eigen::Vector2d>& own) {
        size_t num_same = 0;
        for (const PoseEstimate::Support& support : estimate.support) {
          num_same +=
              (projections[support.point] - own[support.point]).norm() <=
              kOwnCells;
        }
        return 2 * num_same < estimate.support.size();
      };
      if (!std::all_of(known.begin(), known.end(), is_other)) {
        break;
      }
      known.push_back(projections);
      others.push_back(std::move(other));
    }
    for (ExplainedPose& other : others) {
      JudgeAlternative(*best, &other);
      if (other.estimate.verdict == Verdict::kRegistered) {
        std::swap(other, *best);
      }
    }
    for (const ExplainedPose& other : others) {
      JudgeAlternative(other, best);
      best->estimate.alternatives.push_back(other.estimate.cam_from_world);
    }
    if (others.size() == kMaxNumAlternatives &&
        best->estimate.verdict == Verdict::kRegistered) {
      best->estimate.verdict = Verdict::kRejected;
      best->estimate.reason = "too many other poses explain the query";
    }
  }

 private:
  std::vector<Eigen::Vector2d> ProjectToMaps(
      const LossMaps& maps, const Rigid3d& cam_from_world) const {
    std::vector<Eigen::Vector2d> projections =
        ProjectAll(camera_, points_, cam_from_world);
    for (Eigen::Vector2d& projection : projections) {
      projection = maps.geometry().map_from_image * projection;
    }
    return projections;
  }

  static double Gain(const LossMaps& maps, double cost) {
    return maps.geometry().LogCategories() - cost;
  }

  const Camera& camera_;
  const std::vector<Eigen::Vector3d>& points_;
  const FineMapSource& fine_;
  const MethodInputs& inputs_;
  const Priors& priors_;
  const uint64_t seed_;
};

// A GNC that starts where its minimum is a cell away, or less. Returns false if
// it does not converge.
bool RefineNearby(const Camera& camera,
                  const std::vector<Eigen::Vector3d>& points_in_world,
                  const LossMaps& maps,
                  const Priors& priors,
                  FocalPose* pose) {
  GncOptions options;
  options.sigmas = {1.0, 0.8, 0.6};
  return RefinePoseGnc(camera, points_in_world, maps, options, priors, pose)
      .converged;
}

// 0 or a width that the smoothed maps of `re` accept.
bool IsMaxError(double cells) {
  return cells == 0.0 || (cells >= 0.5 && cells <= 100.0);
}

constexpr EstimationMethod kMethods[] = {EstimationMethod::kNre,
                                         EstimationMethod::kRe,
                                         EstimationMethod::kLoRansac,
                                         EstimationMethod::kMagsac,
                                         EstimationMethod::kFpr};

}  // namespace

const char* VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kRegistered:
      return "registered";
    case Verdict::kRejected:
      return "rejected";
    case Verdict::kFailed:
      break;
  }
  return "failed";
}

const char* EstimationMethodName(EstimationMethod method) {
  switch (method) {
    case EstimationMethod::kNre:
      return "nre";
    case EstimationMethod::kRe:
      return "re";
    case EstimationMethod::kLoRansac:
      return "lo_ransac";
    case EstimationMethod::kMagsac:
      return "magsac";
    case EstimationMethod::kFpr:
      break;
  }
  return "fpr";
}

EstimationMethod ParseEstimationMethod(const std::string& name) {
  std::string names;
  for (const EstimationMethod method : kMethods) {
    if (name == EstimationMethodName(method)) {
      return method;
    }
    names +=
        (names.empty() ? "" : ", ") + std::string(EstimationMethodName(method));
  }
  throw InputError("unknown method '" + name + "'; there are: " + names);
}

bool NreEstimationOptions::Check() const {
  return max_num_points >= 3 && max_num_refinement_points >= 0 &&
         num_hypotheses > 0 && max_num_hypotheses > 0 && sampling_share > 0.0 &&
         sampling_share <= 1.0 && num_refined_hypotheses > 0 &&
         IsMaxError(coarse_max_error_cells) && IsMaxError(max_error_cells) &&
         fpr_start != EstimationMethod::kFpr && fpr.Check();
}

PoseEstimate EstimatePose(const Camera& camera,
                          const std::vector<Eigen::Vector3d>& points_in_world,
                          const LossMaps& coarse,
                          const FineMapSource& fine,
                          const NreEstimationOptions& options,
                          uint64_t seed,
                          const MethodInputs& inputs,
                          const Priors& priors) {
  if (!priors.Empty()) {
    if (options.method != EstimationMethod::kNre) {
      throw std::invalid_argument("Only the NRE knows what to do with priors.");
    }
    if (priors.OfPose() || !priors.focal_length->found) {
      return EstimatePoseJointly(camera,
                                 points_in_world,
                                 coarse,
                                 fine,
                                 options,
                                 priors,
                                 inputs.shared_errors,
                                 seed);
    }
  }
  const Estimator estimator(
      camera, points_in_world, fine, inputs, priors, seed);
  ExplainedPose best = estimator.Run(options, coarse, 0.0);
  if (best.estimate.verdict == Verdict::kRegistered) {
    Stopwatch stopwatch;
    estimator.CompareWithAlternatives(options, coarse, &best);
    best.estimate.alternatives_ms = stopwatch.LapMs();
  }
  return best.estimate;
}

bool RefineOnMorePoints(const Camera& camera,
                        const std::vector<Eigen::Vector3d>& points_in_world,
                        const FineMapSource& fine,
                        const SharedErrors& shared_errors,
                        const Priors& priors,
                        PoseEstimate* estimate) {
  const std::vector<Eigen::Vector2d> before =
      ProjectAll(ScaledCamera(camera, estimate->focal_scale),
                 points_in_world,
                 estimate->cam_from_world);
  const std::unique_ptr<LossMaps> maps = fine.Compute(before);
  FocalPose pose = {estimate->cam_from_world, estimate->focal_scale};
  if (!RefineNearby(camera, points_in_world, *maps, priors, &pose)) {
    return false;
  }
  PoseEstimate refined = *estimate;
  refined.cam_from_world = pose.cam_from_world;
  refined.focal_scale = pose.focal_scale;
  const ScaledCamera scaled(camera, pose.focal_scale);
  FindSupport(scaled, points_in_world, *maps, &refined, priors);
  const std::vector<Eigen::Vector2d> after =
      ProjectAll(scaled, points_in_world, refined.cam_from_world);
  const double max_move_px =
      kMaxRefinementCells / maps->geometry().map_from_image.scale.mean();
  for (const PoseEstimate::Support& support : refined.support) {
    // Written such that NaN fails.
    if (!((after[support.point] - before[support.point]).norm() <=
          max_move_px)) {
      return false;
    }
  }
  // What speaks for the pose is what was found without knowing it.
  refined.chance = estimate->chance;
  refined.log_false_alarms = estimate->log_false_alarms;
  SetCovariance(scaled,
                PoseCovariance(scaled,
                               points_in_world,
                               *maps,
                               priors,
                               refined.cam_from_world,
                               estimate->support_radius,
                               shared_errors),
                &refined);
  refined.fine_cost =
      MeanNre(scaled, points_in_world, *maps, refined.cam_from_world);
  if (refined.covariance.isZero(0.0)) {
    return false;
  }
  *estimate = refined;
  return true;
}

}  // namespace nre
