#include "nre/pose_estimator.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "nre/error.h"
#include "nre/evidence.h"
#include "nre/gnc.h"
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

// A GNC that starts where its minimum is a cell away, or less. Returns false if
// it does not converge.
bool RefineNearby(const PoseProblem& problem,
                  const LossMaps& maps,
                  CorrectedPose* pose) {
  GncOptions options;
  options.sigmas = {1.0, 0.8, 0.6};
  return RefinePoseGnc(problem.camera,
                       problem.points_in_world,
                       maps,
                       options,
                       problem.priors,
                       pose)
      .converged;
}

// What is known of the camera only.
Priors WithoutPose(Priors priors) {
  priors.position.reset();
  priors.gravity.reset();
  return priors;
}

// The stages of an estimate, for one query.
class Estimator {
 public:
  Estimator(const PoseProblem& problem,
            const MethodInputs& inputs,
            uint64_t seed)
      : problem_(problem),
        points_(problem.points_in_world),
        inputs_(inputs),
        seed_(seed) {}

  // An estimate with its verdict, from these of the coarse maps, which `priors`
  // help to find; those of the problem judge it. Fails early if the sampled
  // pose gains, on the mean of the maps, less than `min_gain`.
  ExplainedPose Run(const NreEstimationOptions& options,
                    const LossMaps& coarse,
                    const Priors& priors,
                    double min_gain) const {
    PoseProblem searched = problem_;
    searched.priors = priors;
    const std::unique_ptr<PoseMethod> method =
        CreatePoseMethod(searched, options, inputs_, seed_);
    ExplainedPose explained;
    PoseEstimate& estimate = explained.estimate;
    const auto no_pose = [&](const char* maps) {
      estimate.why = Reason::kNoPose;
      estimate.reason = std::string(EstimationMethodName(options.method)) +
                        " found no pose in the " + maps + " loss maps";
      return explained;
    };
    Stopwatch stopwatch;

    const std::vector<CorrectedPose> sampled = method->Sample(coarse);
    estimate.msac_ms = stopwatch.LapMs();
    if (sampled.empty()) {
      return no_pose("coarse");
    }
    estimate.msac_cost = Cost(coarse, sampled.front());
    if (Gain(coarse, estimate.msac_cost) < min_gain) {
      return no_pose("coarse");
    }

    CorrectedPose pose = method->RefineCoarse(coarse, sampled);
    estimate.coarse_cost = Cost(coarse, pose);
    estimate.coarse_gnc_ms = stopwatch.LapMs();

    const std::unique_ptr<LossMaps> fine_maps = problem_.fine.Compute(
        ProjectAll(CameraOf(problem_.camera, pose.correction),
                   points_,
                   pose.cam_from_world));
    estimate.fine_maps_ms = stopwatch.LapMs();

    if (!method->RefineFine(*fine_maps, &pose)) {
      return no_pose("fine");
    }
    Judge(options, *fine_maps, pose, &explained);
    if (problem_.priors.OfPose() && !priors.OfPose() && HasEvidence(estimate) &&
        !IsContradicted(explained) &&
        RefineNearby(problem_, *fine_maps, &pose)) {
      Judge(options, *fine_maps, pose, &explained);
    }
    estimate.fine_gnc_ms = stopwatch.LapMs();
    return explained;
  }

  // Looks for other poses in what the coarse maps say beside the estimate. The
  // one that is clearly better becomes the estimate, and it is registered only
  // if it is clearly better than all others, and these are not too many to be
  // looked at. Poses that the priors contradict are no others, but none that
  // they do not may be clearly worse than these.
  void CompareWithAlternatives(const NreEstimationOptions& options,
                               ExplainedPose* best) const {
    std::vector<ExplainedPose> others = FindAlternatives(options, *best);
    const bool too_many = others.size() == kMaxNumAlternatives;
    if (IsContradicted(*best)) {
      const auto other = std::find_if(
          others.begin(), others.end(), [](const ExplainedPose& pose) {
            return pose.estimate.verdict == Verdict::kRegistered;
          });
      if (other == others.end()) {
        return;
      }
      std::swap(*best, *other);
    }
    for (ExplainedPose& other : others) {
      if (!IsContradicted(other)) {
        JudgeAlternative(*best, &other);
      }
      if (other.estimate.verdict == Verdict::kRegistered) {
        std::swap(other, *best);
      }
    }
    for (const ExplainedPose& other : others) {
      if (IsContradicted(other)) {
        JudgeContradicted(other, best);
      } else {
        JudgeAlternative(other, best);
        best->estimate.alternatives.push_back(other.estimate.cam_from_world);
      }
    }
    if (too_many && best->estimate.verdict == Verdict::kRegistered) {
      best->estimate.Reject(Reason::kTooManyPoses,
                            "too many other poses explain the query");
    }
  }

 private:
  static bool IsContradicted(const ExplainedPose& pose) {
    return pose.estimate.why == Reason::kContradictsPrior;
  }

  // Other poses with at least half of the support, whatever their verdict. They
  // are those of the image alone: priors would pull them away.
  std::vector<ExplainedPose> FindAlternatives(NreEstimationOptions options,
                                              const ExplainedPose& best) const {
    for (int* num : {&options.num_hypotheses, &options.max_num_hypotheses}) {
      *num = std::max(1, static_cast<int>(kAlternativeSamples * *num));
    }
    const double min_gain =
        kMinAlternativeShare * Gain(problem_.coarse, best.estimate.msac_cost);
    std::vector<ExplainedPose> others;
    std::unique_ptr<LossMaps> rest;
    const LossMaps* maps = &problem_.coarse;
    std::vector<std::vector<Eigen::Vector2d>> known = {
        ProjectToMaps(best.estimate)};
    while (others.size() < kMaxNumAlternatives) {
      rest = maps->Without(known.back(), kOwnCells);
      maps = rest.get();
      ExplainedPose other =
          Run(options, *maps, WithoutPose(problem_.priors), min_gain);
      const PoseEstimate& estimate = other.estimate;
      if (estimate.verdict == Verdict::kFailed ||
          estimate.support.size() <
              kMinAlternativeSupport * best.estimate.support.size()) {
        break;
      }
      // What is left around a known pose may lead back to it.
      const std::vector<Eigen::Vector2d> projections = ProjectToMaps(estimate);
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
    return others;
  }

  // Support, covariance and verdict of the pose.
  void Judge(const NreEstimationOptions& options,
             const LossMaps& fine,
             const CorrectedPose& pose,
             ExplainedPose* explained) const {
    PoseEstimate* estimate = &explained->estimate;
    estimate->cam_from_world = pose.cam_from_world;
    estimate->correction = pose.correction;
    estimate->fine_cost = Cost(fine, pose);
    const CameraOf camera(problem_.camera, estimate->correction);
    const Priors& priors = problem_.priors;
    FindSupport(camera, points_, fine, estimate, priors);
    const bool has_evidence = estimate->log_false_alarms <= kMaxLogFalseAlarms;
    if (options.method == EstimationMethod::kNre && has_evidence) {
      estimate->scatter_of_minima = ScatterOfMinima(
          FindNearbyMinima(
              camera, points_, fine, priors, estimate->cam_from_world),
          problem_.shared_errors.covariance_factor);
    }
    JudgeEvidence(
        camera, points_, fine, estimate, priors, problem_.shared_errors);
    if (has_evidence) {
      JudgePriors(
          camera, points_, fine, priors, problem_.shared_errors, estimate);
    }
    explained->gains =
        ExplainBlocks(camera, points_, fine, estimate->cam_from_world);
  }

  std::vector<Eigen::Vector2d> ProjectToMaps(
      const PoseEstimate& estimate) const {
    std::vector<Eigen::Vector2d> projections =
        ProjectAll(CameraOf(problem_.camera, estimate.correction),
                   points_,
                   estimate.cam_from_world);
    for (Eigen::Vector2d& projection : projections) {
      projection = problem_.coarse.geometry().map_from_image * projection;
    }
    return projections;
  }

  double Cost(const LossMaps& maps, const CorrectedPose& pose) const {
    return MeanNre(CameraOf(problem_.camera, pose.correction),
                   points_,
                   maps,
                   pose.cam_from_world);
  }

  static double Gain(const LossMaps& maps, double cost) {
    return maps.geometry().LogCategories() - cost;
  }

  const PoseProblem& problem_;
  const std::vector<Eigen::Vector3d>& points_;
  const MethodInputs& inputs_;
  const uint64_t seed_;
};

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

PoseEstimate EstimatePose(const PoseProblem& problem,
                          const NreEstimationOptions& options,
                          uint64_t seed,
                          const MethodInputs& inputs) {
  if (!problem.priors.Empty() && options.method != EstimationMethod::kNre) {
    throw std::invalid_argument("Only the NRE knows what to do with priors.");
  }
  const Estimator estimator(problem, inputs, seed);
  ExplainedPose best =
      estimator.Run(options, problem.coarse, problem.priors, 0.0);
  if (problem.priors.OfPose() && !HasEvidence(best.estimate)) {
    // Priors that the image contradicts keep its pose from being found.
    ExplainedPose without = estimator.Run(
        options, problem.coarse, WithoutPose(problem.priors), 0.0);
    if (HasEvidence(without.estimate)) {
      best = std::move(without);
    }
  }
  if (best.estimate.verdict == Verdict::kRegistered ||
      best.estimate.why == Reason::kContradictsPrior) {
    Stopwatch stopwatch;
    estimator.CompareWithAlternatives(options, &best);
    best.estimate.alternatives_ms = stopwatch.LapMs();
  }
  return best.estimate;
}

bool RefineOnMorePoints(const PoseProblem& problem, PoseEstimate* estimate) {
  const std::vector<Eigen::Vector3d>& points = problem.points_in_world;
  const std::vector<Eigen::Vector2d> before =
      ProjectAll(CameraOf(problem.camera, estimate->correction),
                 points,
                 estimate->cam_from_world);
  const std::unique_ptr<LossMaps> maps = problem.fine.Compute(before);
  CorrectedPose pose = {estimate->cam_from_world, estimate->correction};
  if (!RefineNearby(problem, *maps, &pose)) {
    return false;
  }
  PoseEstimate refined = *estimate;
  refined.cam_from_world = pose.cam_from_world;
  refined.correction = pose.correction;
  const CameraOf camera(problem.camera, pose.correction);
  FindSupport(camera, points, *maps, &refined, problem.priors);
  const std::vector<Eigen::Vector2d> after =
      ProjectAll(camera, points, refined.cam_from_world);
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
  SetCovariance(camera,
                PoseCovariance(camera,
                               points,
                               *maps,
                               problem.priors,
                               refined.cam_from_world,
                               estimate->support_radius,
                               problem.shared_errors),
                &refined);
  refined.fine_cost = MeanNre(camera, points, *maps, refined.cam_from_world);
  if (refined.covariance.isZero(0.0)) {
    return false;
  }
  JudgeIntrinsics(
      camera, points, *maps, problem.priors, problem.shared_errors, &refined);
  *estimate = refined;
  return true;
}

}  // namespace nre
