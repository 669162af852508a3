// What speaks for a pose: the points that support it, its covariance, and the
// verdict drawn from both.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/covariance.h"
#include "nre/loss_maps.h"
#include "nre/point_view.h"
#include "nre/pose_estimate.h"
#include "nre/pose_problem.h"

namespace nre {

// Whether the image shows the point: in front of it, within its borders.
// `image_point`, px, is where.
bool IsInImage(const Camera& camera,
               const Rigid3d& cam_from_world,
               const Eigen::Vector3d& point,
               Eigen::Vector2d* image_point);

// Points whose map has its peak this close (map cells) to their projection
// support a pose: a cell, or more where blur spreads the peaks of a right pose.
constexpr double kSupportRadii[] = {1.0, 2.0, 4.0};

// Around its projection by a wrong pose, the peak of a map may lie anywhere,
// but lies near more often than far, since the coarse maps put the pose where
// things look alike. How often it lies between these distances (map cells)
// tells how often it would be nearer by chance. For all radii the same ring:
// one farther out would miss what the coarse maps, whose cells are about as
// large, bring near.
constexpr double kMinChanceDistance = 4.0;
constexpr double kMaxChanceDistance = 8.0;

// Fills `estimate->support`, `num_in_view`, `support_radius`, `chance` and
// `log_false_alarms` for the pose of `estimate` from its fine maps. Of the
// radii it takes the one with the fewest false alarms, and counts these three
// times for the choice. Points that lie close together in the image count once,
// and as supporting if one of them does. The peaks are refined by mean shift at
// a sigma of the radius. `priors`: what was unknown of the intrinsics.
void FindSupport(const Camera& camera,
                 const std::vector<Eigen::Vector3d>& points_in_world,
                 const LossMaps& fine,
                 PoseEstimate* estimate,
                 const Priors& priors = Priors());

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

// What a pose explains of the query, block by block (column, row): the mean of
// its points' ln|Omega^| - L within three cells of their projections, in nats.
// `is_flipped`: camera, maps and pose are those of the query flipped left to
// right, but the blocks are those of the query as it is.
using BlockGains = std::map<std::pair<int, int>, double>;
BlockGains ExplainBlocks(const Camera& camera,
                         const std::vector<Eigen::Vector3d>& points_in_world,
                         const LossMaps& fine,
                         const Rigid3d& cam_from_world,
                         bool is_flipped = false);

// log10 of the probability that pose `a` explains at least as many of the
// blocks that only one of two poses explains, if both are equally good: the
// sign test. A block tells the poses apart if both show points there, and one
// gains far more from them: not if it only gains a bit more, as everywhere
// where it sees a repeated structure from the side that the map does. log10(1)
// where nothing tells the poses apart.
double LogSignTest(const BlockGains& a, const BlockGains& b);

// With less than this share of a pose's support, another one cannot be taken
// for it: most of the query would be left unexplained.
constexpr double kMinAlternativeSupport = 0.5;

// A pose with what it explains.
struct ExplainedPose {
  PoseEstimate estimate;
  BlockGains gains;
  double view_angle_deg = 0.0;  // MedianViewAngleDeg(), for JudgeMirrored()
};

// Turns the verdict `registered` of `pose` into `rejected` if `other`, a
// different pose, explains the query about as well.
void JudgeAlternative(const ExplainedPose& other, ExplainedPose* pose);

// The same if `contradicted`, a pose that the priors contradict, explains it
// clearly better: then they may be wrong.
void JudgeContradicted(const ExplainedPose& contradicted, ExplainedPose* pose);

// A mirrored picture of a symmetric building, taken as it is, shows the map's
// symmetric parts, and so may have a pose that is supported well, but not by
// most of what is in view. Below this share of it, the picture should be tried
// flipped left to right (with FlippedCamera).
constexpr double kMaxMirroredSupport = 0.8;
bool MayBeMirrored(const PoseEstimate& estimate);

// Median angle (degrees) between the ray to a point by the pose and that of
// its view, over the points that the image shows; 0 if it shows none. `views`:
// one a point.
double MedianViewAngleDeg(const Camera& camera,
                          const std::vector<Eigen::Vector3d>& points_in_world,
                          const std::vector<PointView>& views,
                          const Rigid3d& cam_from_world);

// A symmetric building that is seen from its left also fits, flipped, a pose on
// its right. If that is so much nearer (degrees) to where the references saw
// it, it is found better by their descriptors although it is wrong: but not
// with more than so much of the evidence, and not by most of what is in view,
// as true mirrored pictures do. See scripts/benchmark/README.md.
constexpr double kMinNearerAngleDeg = 10.0;
constexpr double kMaxNearerEvidence = 1.5;
constexpr double kMaxNearerSupport = 0.5;

// Whether `flipped`, the estimate from the flipped picture, has more evidence
// than `estimate`, which is registered.
bool FitsBetterFlipped(const PoseEstimate& flipped,
                       const PoseEstimate& estimate);

// Turns the verdict `registered` of `pose` into `rejected` if the flipped
// picture fits better, unless that may be because its pose is nearer to the
// references' viewpoints and the blocks do not clearly tell for it
// (LogSignTest()). `flipped`: its blocks are those of the picture as it is.
void JudgeMirrored(const ExplainedPose& flipped, ExplainedPose* pose);

// Fills pose covariance and focal length of `estimate` from PoseCovariance() at
// its minimum, and its scatter of minima. `camera` is as it was found.
void SetCovariance(const Camera& camera,
                   const Eigen::MatrixXd& covariance,
                   PoseEstimate* estimate);

// A registered pose has at most this many false alarms, as log10. Peaks are
// less independent than the formula takes them to be: the best of 126 generated
// queries that do not belong to their map, a mirrored facade, reaches -7.
constexpr double kMaxLogFalseAlarms = -12.0;

// Whether the estimate has a pose with so few.
inline bool HasEvidence(const PoseEstimate& estimate) {
  return estimate.verdict != Verdict::kFailed &&
         estimate.log_false_alarms <= kMaxLogFalseAlarms;
}

// Whether `other`, an estimate of the same query with other points and more
// unknowns, explains more of it: a share of what it has in view that is larger
// by more than `num_std` standard deviations of the difference, and is
// registered or at least the only one with evidence.
bool ExplainsMore(const PoseEstimate& other,
                  const PoseEstimate& estimate,
                  double num_std);

// A registered pose is at least so certain: less is of no use. Standard
// deviations, of all axes together.
constexpr double kMaxRotationStdDeg = 1.0;
constexpr double kMaxCenterStdShare = 0.05;  // of the supporting points' depth

// The maps contradict what was stated of the intrinsics if the scores of
// ScoreIntrinsics() are larger. By chi-squared, one in ten thousand and one in
// 300 queries whose intrinsics are right have larger ones; what is known
// exactly, from the model, is believed longer, since blur by motion looks like
// another lens.
constexpr double kMaxFocalLengthScore = 15.0;
constexpr double kMaxLensScore = 14.0;
constexpr double kMaxExactFocalLengthScore = 25.0;
constexpr double kMaxExactLensScore = 40.0;
// Where the focal length is estimated: of a camera whose focal length is
// unknown, or was contradicted, the rest is worth less. The picture may be a
// part of another, and few points of it fit with a wrong centre, turned. By
// chi-squared, one in 50 right ones has a larger score; see
// scripts/benchmark/README.md for real ones.
constexpr double kMaxUnstatedLensScore = 10.0;

// By how many standard deviations a lens that is not the stated one must
// explain more than that, which `estimate` contradicts (ExplainsMore()). A
// narrow part of a picture fits many lenses nearly as well, with poses that are
// far apart; but what is contradicted more than even the model's own cameras
// may be is not so by chance.
double MinLensGain(const PoseEstimate& estimate);

// Fills covariance, focal length, scores, verdict and reason of `estimate` from
// its pose, what FindSupport() found and its fine maps. `camera` is as it was
// found.
void JudgeEvidence(const Camera& camera,
                   const std::vector<Eigen::Vector3d>& points_in_world,
                   const LossMaps& fine,
                   PoseEstimate* estimate,
                   const Priors& priors = Priors(),
                   const SharedErrors& shared_errors = SharedErrors());

// Fills the scores of `estimate`. Returns false, and rejects it, if the maps
// contradict what was stated of the intrinsics. `camera` is as it was found.
bool JudgeIntrinsics(const Camera& camera,
                     const std::vector<Eigen::Vector3d>& points_in_world,
                     const LossMaps& fine,
                     const Priors& priors,
                     const SharedErrors& shared_errors,
                     PoseEstimate* estimate);

// Turns the verdict into `rejected` if the pose that the fine maps alone have
// nearby is not where the priors of the pose say. Maps that do not determine a
// pose contradict nothing. `camera` is as it was found.
void JudgePriors(const Camera& camera,
                 const std::vector<Eigen::Vector3d>& points_in_world,
                 const LossMaps& fine,
                 const Priors& priors,
                 const SharedErrors& shared_errors,
                 PoseEstimate* estimate);

}  // namespace nre
