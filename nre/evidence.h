// What speaks for a pose: the points that support it, its covariance, and the
// verdict drawn from both.
#pragma once

#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/pose_estimator.h"

namespace nre {

// Points whose map has its peak this close (map cells) to their projection
// support a pose.
constexpr double kMaxSupportDistance = 1.0;

// Fills `estimate->support` for the pose of `estimate` from its fine maps. The
// peaks are refined by mean shift at sigma = 1 cell.
void FindSupport(const Camera& camera,
                 const std::vector<Eigen::Vector3d>& points_in_world,
                 const LossMaps& fine,
                 PoseEstimate* estimate);

// log10 of the expected number of poses that `num_support` of `num_points`
// points would support by chance, each with probability `chance`, if poses go
// through any `m` points: (N - m) C(N, k) C(k, m) chance^(k - m) (Moisan,
// Moulon, Monasse, "Automatic Homographic Registration of a Pair of Images,
// with A Contrario Elimination of Outliers", IPOL 2012). Three points fix a
// pose, four a pose and a focal length. At most 0, which is no evidence.
double LogFalseAlarms(int num_points,
                      int num_support,
                      double chance,
                      int m = 3);

// Fills covariance, focal length, evidence, verdict and reason of `estimate`
// from its pose, its support and its fine maps. `camera` has the focal length
// found, if `priors` say that it was unknown.
void JudgeEvidence(const Camera& camera,
                   const std::vector<Eigen::Vector3d>& points_in_world,
                   const LossMaps& fine,
                   PoseEstimate* estimate,
                   const Priors& priors = Priors());

}  // namespace nre
