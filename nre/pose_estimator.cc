#include "nre/pose_estimator.h"

#include <stdexcept>

#include "nre/error.h"
#include "nre/evidence.h"
#include "nre/gnc.h"
#include "nre/joint_estimation.h"
#include "nre/pose_methods.h"
#include "nre/stopwatch.h"

namespace nre {
namespace {

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
  return max_num_points >= 3 && num_hypotheses > 0 && max_num_hypotheses > 0 &&
         sampling_share > 0.0 && sampling_share <= 1.0 &&
         num_refined_hypotheses > 0 && IsMaxError(coarse_max_error_cells) &&
         IsMaxError(max_error_cells) && fpr_start != EstimationMethod::kFpr &&
         fpr.Check();
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
    return EstimatePoseJointly(
        camera, points_in_world, coarse, fine, options, priors, seed);
  }
  const std::unique_ptr<PoseMethod> method =
      CreatePoseMethod(camera, points_in_world, options, inputs, seed);
  const auto no_pose = [&](const char* maps) {
    return std::string(EstimationMethodName(options.method)) +
           " found no pose in the " + maps + " loss maps";
  };
  PoseEstimate estimate;
  Stopwatch stopwatch;

  const std::vector<Rigid3d> sampled = method->Sample(coarse);
  estimate.msac_ms = stopwatch.LapMs();
  if (sampled.empty()) {
    estimate.reason = no_pose("coarse");
    return estimate;
  }
  estimate.msac_cost =
      MeanNre(camera, points_in_world, coarse, sampled.front());

  Rigid3d pose = method->RefineCoarse(coarse, sampled);
  estimate.coarse_cost = MeanNre(camera, points_in_world, coarse, pose);
  estimate.coarse_gnc_ms = stopwatch.LapMs();

  const std::unique_ptr<LossMaps> fine_maps =
      fine.Compute(ProjectAll(camera, points_in_world, pose));
  estimate.fine_maps_ms = stopwatch.LapMs();

  if (!method->RefineFine(*fine_maps, &pose)) {
    estimate.reason = no_pose("fine");
    return estimate;
  }
  estimate.cam_from_world = pose;
  estimate.fine_cost = MeanNre(camera, points_in_world, *fine_maps, pose);
  FindSupport(camera, points_in_world, *fine_maps, &estimate);
  JudgeEvidence(camera, points_in_world, *fine_maps, &estimate);
  estimate.fine_gnc_ms = stopwatch.LapMs();
  return estimate;
}

}  // namespace nre
