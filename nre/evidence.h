// What speaks for a pose: the points that support it, its covariance, and the
// verdict drawn from both.
#pragma once

#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/pose_estimator.h"

namespace nre {

// Fills `estimate->support` for the pose of `estimate` from its fine maps: the
// points whose map peaks within 1.5 cells of their projection. The peak is
// refined by mean shift at sigma = 1 cell.
void FindSupport(const Camera& camera,
                 const std::vector<Eigen::Vector3d>& points_in_world,
                 const LossMaps& fine,
                 PoseEstimate* estimate);

// Fills covariance, verdict and reason of `estimate` from its pose, its
// support and its fine maps.
void JudgeEvidence(const Camera& camera,
                   const std::vector<Eigen::Vector3d>& points_in_world,
                   const LossMaps& fine,
                   PoseEstimate* estimate);

}  // namespace nre
