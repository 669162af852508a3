// How good a set of estimated poses is: medians, recall and the area under the
// cumulative error curve, in which a query without a pose has an infinite
// error.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include <Eigen/Core>

#include "nre/rigid3.h"

namespace nre {

// The errors of one query's pose; infinite if it has none.
struct PoseError {
  double center = std::numeric_limits<double>::infinity();  // model units
  double rotation_deg = std::numeric_limits<double>::infinity();
};

// Both cam_from_world.
PoseError ErrorOfPose(const Rigid3d& estimate, const Rigid3d& truth);

// A pose is recalled if both of its errors are at most these.
struct PoseThreshold {
  // Model units; if `relative`, a share of the scene's depth in the query.
  double center = 0.0;
  bool relative = false;
  double rotation_deg = 0.0;

  // "0.25, 2 deg" or "5 %, 5 deg".
  std::string Name() const;
};

// Reads "0.25,2;5%,5": a centre error and a rotation error in degrees, with
// semicolons between thresholds. Throws InputError for anything else and for
// errors that are not positive.
std::vector<PoseThreshold> ParsePoseThresholds(const std::string& text);

// Distances of points [3, N], such as camera centres of a reconstruction, from
// the true ones, after the similarity that brings them nearest (Umeyama, PAMI
// 1991). In the units of the true ones.
Eigen::VectorXd AlignedDistances(const Eigen::Matrix3Xd& points,
                                 const Eigen::Matrix3Xd& true_points);

// The middle value, or the mean of the two in the middle (infinite if one of
// them is); NaN if there is none.
double Median(std::vector<double> values);

// Mean over `errors` of max(0, 1 - error / limit): the area below the share of
// queries with an error of at most x, x from 0 to `limit` > 0, as a share of
// the rectangle. NaN if there is none.
double AreaUnderCumulativeCurve(const std::vector<double>& errors,
                                double limit);

struct ThresholdScores {
  double recall = 0.0;        // share of the queries within both errors
  double center_auc = 0.0;    // area up to the threshold's centre error
  double rotation_auc = 0.0;  // area up to its rotation error
};

struct PoseEvaluation {
  size_t num_queries = 0;
  size_t num_registered = 0;  // queries that have a pose
  PoseError median;           // over all queries; infinite if most have no pose
  // Over the registered queries; NaN if there is none.
  PoseError median_registered;
  PoseError max_registered;
  std::vector<ThresholdScores> scores;  // in the order of the thresholds
};

// depths: [N], the depth of the scene in each query, positive; may be empty if
// no threshold is relative. Throws std::invalid_argument if it has another size
// than `errors`, or there is no query.
PoseEvaluation EvaluatePoses(const std::vector<PoseError>& errors,
                             const std::vector<double>& depths,
                             const std::vector<PoseThreshold>& thresholds);

}  // namespace nre
