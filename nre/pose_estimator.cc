#include "nre/pose_estimator.h"

#include <algorithm>
#include <limits>

#include "nre/evidence.h"
#include "nre/gnc.h"
#include "nre/msac.h"
#include "nre/stopwatch.h"

namespace nre {
namespace {

std::vector<Eigen::Vector2d> ProjectAll(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const Rigid3d& cam_from_world) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  std::vector<Eigen::Vector2d> xys(points_in_world.size());
  for (size_t i = 0; i < xys.size(); ++i) {
    if (!camera.Project(
            cam_from_world * points_in_world[i], &xys[i], nullptr)) {
      xys[i].setConstant(kNone);
    }
  }
  return xys;
}

// The hypothesis with the lowest coarse cost after its own coarse GNC.
Rigid3d RefineCoarse(const Camera& camera,
                     const std::vector<Eigen::Vector3d>& points_in_world,
                     const LossMaps& maps,
                     const std::vector<PoseHypothesis>& hypotheses,
                     double* best_cost) {
  Rigid3d best;
  *best_cost = std::numeric_limits<double>::infinity();
  for (const PoseHypothesis& hypothesis : hypotheses) {
    Rigid3d pose = hypothesis.cam_from_world;
    RefinePoseGnc(camera, points_in_world, maps, GncOptions::Coarse(), &pose);
    const double cost = MeanNre(camera, points_in_world, maps, pose);
    if (cost < *best_cost) {
      *best_cost = cost;
      best = pose;
    }
  }
  return best;
}

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

bool NreEstimationOptions::Check() const {
  return max_num_points >= 3 && num_hypotheses > 0 && sampling_share > 0.0 &&
         sampling_share <= 1.0 && num_refined_hypotheses > 0;
}

PoseEstimate EstimatePose(const Camera& camera,
                          const std::vector<Eigen::Vector3d>& points_in_world,
                          const LossMaps& coarse,
                          const FineMapSource& fine,
                          const NreEstimationOptions& options,
                          uint64_t seed) {
  PoseEstimate estimate;
  Stopwatch stopwatch;

  MsacOptions msac_options;
  msac_options.num_hypotheses = options.num_hypotheses;
  msac_options.sampling_share = options.sampling_share;
  msac_options.max_num_poses = options.num_refined_hypotheses;
  const std::vector<PoseHypothesis> hypotheses =
      SamplePosesMsac(camera, points_in_world, coarse, msac_options, seed);
  estimate.msac_ms = stopwatch.LapMs();
  if (hypotheses.empty()) {
    estimate.reason = "no three loss maps gave a pose";
    return estimate;
  }
  estimate.msac_cost = coarse.geometry().LogCategories() -
                       hypotheses.front().score / points_in_world.size();

  Rigid3d pose = RefineCoarse(
      camera, points_in_world, coarse, hypotheses, &estimate.coarse_cost);
  estimate.coarse_gnc_ms = stopwatch.LapMs();

  const std::unique_ptr<LossMaps> fine_maps =
      fine.Compute(ProjectAll(camera, points_in_world, pose));
  estimate.fine_maps_ms = stopwatch.LapMs();

  RefinePoseGnc(camera, points_in_world, *fine_maps, GncOptions::Fine(), &pose);
  estimate.cam_from_world = pose;
  estimate.fine_cost = MeanNre(camera, points_in_world, *fine_maps, pose);
  FindSupport(camera, points_in_world, *fine_maps, &estimate);
  JudgeEvidence(camera, points_in_world, *fine_maps, &estimate);
  estimate.fine_gnc_ms = stopwatch.LapMs();
  return estimate;
}

}  // namespace nre
