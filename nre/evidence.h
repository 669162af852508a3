// What speaks for a pose: the points that support it, its covariance, and the
// verdict drawn from both.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/pose_estimator.h"

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
// a sigma of the radius. `priors`: whether the focal length was unknown.
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
using BlockGains = std::map<std::pair<int, int>, double>;
BlockGains ExplainBlocks(const Camera& camera,
                         const std::vector<Eigen::Vector3d>& points_in_world,
                         const LossMaps& fine,
                         const Rigid3d& cam_from_world);

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
};

// Turns the verdict `registered` of `pose` into `rejected` if `other`, a
// different pose, explains the query about as well.
void JudgeAlternative(const ExplainedPose& other, ExplainedPose* pose);

// A mirrored picture of a symmetric building, taken as it is, shows the map's
// symmetric parts, and so may have a pose that is supported well, but not by
// most of what is in view. Below this share of it, the picture should be tried
// flipped left to right (with FlippedCamera).
constexpr double kMaxMirroredSupport = 0.8;
bool MayBeMirrored(const PoseEstimate& estimate);

// Turns the verdict `registered` of `estimate` into `rejected` if `flipped`,
// the estimate from the flipped picture, has more evidence.
void JudgeMirrored(const PoseEstimate& flipped, PoseEstimate* estimate);

// Covariance of (rotation vector, translation) of a left perturbation of the
// pose at a minimum of Eq. 9, with H its exact Hessian at a sigma of one, two
// or four cells, if these are at most `max_sigma`: by the jackknife, from how
// the pose moves, by a Newton step, if one block of points is left out. These
// are points that lie close together in the image, whose errors are not
// independent. It holds whether or not the maps know how uncertain they are,
// and if few blocks, or only one, decide where the pose is: these the pose fits
// whether they are right or not, so that residuals tell too little of them
// (MacKinnon & White, "Some heteroskedasticity-consistent covariance matrix
// estimators with improved finite sample properties", 1985: HC3; Bell &
// McCaffrey, "Bias reduction in standard errors for linear regression with
// multi-stage samples", 2002, for dependent groups). A hundredth of H^-1 is
// added for what the maps do not determine at all, the sum is multiplied by
// `shared_errors.covariance_factor`, and s^2 H^-1 A A^T H^-1 is added to it for
// every quarter of the image: if all its points are displaced by d, the
// gradient changes by A d, and d ~ N(0, s^2 I) is what `shared_errors` speak
// of. Of the sigmas that one counts which determines the rotation best: a wide
// kernel blurs sharp maps, and with a narrow one the Hessian of ragged maps is
// hardly positive definite. Zero if at none it is so, of all blocks and without
// any one of them, or if there are too few blocks. With an unknown focal
// length, the last of seven rows is its logarithm. `posterior_variances`, if
// not null, receives the diagonal of H^-1 at the smallest sigma where H is
// positive definite, the variances if Eq. 9 were the logarithm of a
// probability; or zero.
Eigen::MatrixXd PoseCovariance(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& fine,
    const Priors& priors,
    const Rigid3d& cam_from_world,
    double max_sigma = 1.0,
    const SharedErrors& shared_errors = SharedErrors(),
    Eigen::VectorXd* posterior_variances = nullptr);

// Fills pose covariance and focal length of `estimate` from that of six or
// seven unknowns at its minimum, and its scatter of minima. `camera` has the
// focal length found.
void SetCovariance(const Camera& camera,
                   const Eigen::MatrixXd& covariance,
                   PoseEstimate* estimate);

// A registered pose has at most this many false alarms, as log10. Peaks are
// less independent than the formula takes them to be: the best of 126 generated
// queries that do not belong to their map, a mirrored facade, reaches -7.
constexpr double kMaxLogFalseAlarms = -12.0;

// A registered pose is at least so certain: less is of no use. Standard
// deviations, of all axes together.
constexpr double kMaxRotationStdDeg = 1.0;
constexpr double kMaxCenterStdShare = 0.05;  // of the supporting points' depth

// Fills covariance, focal length, verdict and reason of `estimate` from its
// pose, what FindSupport() found and its fine maps. `camera` has the focal
// length found, if `priors` say that it was unknown.
void JudgeEvidence(const Camera& camera,
                   const std::vector<Eigen::Vector3d>& points_in_world,
                   const LossMaps& fine,
                   PoseEstimate* estimate,
                   const Priors& priors = Priors(),
                   const SharedErrors& shared_errors = SharedErrors());

}  // namespace nre
