// The ways to a pose that EstimatePose() can take: the NRE, and the baselines
// that users compare it with.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "nre/gnc.h"
#include "nre/loss_maps.h"
#include "nre/pose_estimator.h"
#include "nre/pose_problem.h"

namespace nre {

// The stages of an estimate that differ from method to method. The maps are
// those of the points and camera that the method was created with.
class PoseMethod {
 public:
  virtual ~PoseMethod() = default;

  // Poses from the coarse maps, best first; empty if there is none.
  virtual std::vector<CorrectedPose> Sample(const LossMaps& coarse) const = 0;

  // The best of the sampled poses, refined on the coarse maps.
  virtual CorrectedPose RefineCoarse(
      const LossMaps& coarse,
      const std::vector<CorrectedPose>& sampled) const = 0;

  // Refines the pose, around whose projections the fine maps lie, in place.
  // Returns false if the fine maps give no pose.
  virtual bool RefineFine(const LossMaps& fine, CorrectedPose* pose) const = 0;
};

// Keeps the references. Throws std::invalid_argument if `inputs` lacks what
// the method needs. Only the NRE heeds the problem's priors.
std::unique_ptr<PoseMethod> CreatePoseMethod(
    const PoseProblem& problem,
    const NreEstimationOptions& options,
    const MethodInputs& inputs,
    uint64_t seed);

}  // namespace nre
