#include "nre/evidence.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include <Eigen/Cholesky>

#include "nre/gnc.h"
#include "nre/joint_hessian.h"
#include "nre/peaks.h"

namespace nre {
namespace {

// A pose is told from another one if chance tells so at most this often, as
// log10. Between poses of repeated structures, where the wrong one was found
// first, it is about zero.
constexpr double kMaxLogSignTest = -3.0;

// Fewer are no evidence, however unlikely: they may all lie on one object.
constexpr int kMinSupport = 12;

// A prior that the maps contradict more than this is wrong, or the pose is: one
// in a thousand right ones (chi-square, three and two degrees of freedom).
constexpr double kMaxPositionDistance = 16.27;
constexpr double kMaxGravityDistance = 13.82;

// Two poses are compared in blocks of so many map cells. One explains a block
// that the other does not if it gains so much more (nats a point).
constexpr double kComparedCells = 12.0;
constexpr double kMinGainDifference = 4.0;

double LogBinomial(int n, int k) {
  return std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0);
}

// Number of different blocks that positions on the map fall into.
class BlockCounter {
 public:
  void Add(const Eigen::Vector2d& p) { blocks_.insert(BlockOf(p)); }

  int Count() const { return static_cast<int>(blocks_.size()); }

 private:
  std::set<Block> blocks_;
};

// A point that a pose shows, where the peak of its map may be near.
struct PointInView {
  size_t point;
  Eigen::Vector2d p;     // its projection, on the map
  Eigen::Vector2d peak;  // the cell
};

// Support, chance and false alarms with one radius. `block_sizes`: number of
// points in view per block.
void FindSupportWithin(double radius,
                       const LossMaps& fine,
                       const std::vector<PointInView>& candidates,
                       const std::map<Block, int>& block_sizes,
                       size_t num_in_view,
                       int m,
                       PoseEstimate* estimate) {
  estimate->support_radius = radius;
  estimate->support.clear();
  std::set<Block> support_blocks;
  int num_near = 0;
  for (const PointInView& candidate : candidates) {
    const Eigen::Vector2d peak =
        RefinePeak(fine, candidate.point, candidate.peak, radius);
    const double distance = (peak - candidate.p).norm();
    if (distance <= radius) {
      estimate->support.push_back(
          {candidate.point, fine.geometry().map_from_image.ToImage(peak)});
      support_blocks.insert(BlockOf(candidate.p));
    }
    num_near += distance > kMinChanceDistance && distance <= kMaxChanceDistance;
  }
  // Peaks per area around the projections, or all over a map if that is more.
  const double area = radius * radius;
  constexpr double kNearArea = kMaxChanceDistance * kMaxChanceDistance -
                               kMinChanceDistance * kMinChanceDistance;
  const double near_share = (num_near + 1.0) / std::max<size_t>(num_in_view, 1);
  estimate->chance = std::min(1.0,
                              std::max(near_share * area / kNearArea,
                                       M_PI * area / fine.CellsPerMap()));
  // A block supports the pose if one of its points does.
  double block_chance = 0.0;
  for (const auto& [_, size] : block_sizes) {
    block_chance += (1.0 - std::pow(1.0 - estimate->chance, size)) /
                    static_cast<double>(block_sizes.size());
  }
  estimate->log_false_alarms =
      LogFalseAlarms(static_cast<int>(block_sizes.size()),
                     static_cast<int>(support_blocks.size()),
                     block_chance,
                     m);
}

// Whether the flipped picture may fit better only since its pose is nearer to
// the references' viewpoints.
bool MayOnlyBeNearer(const ExplainedPose& flipped, const ExplainedPose& pose) {
  const PoseEstimate& estimate = flipped.estimate;
  return flipped.view_angle_deg < pose.view_angle_deg - kMinNearerAngleDeg &&
         estimate.support.size() < kMaxNearerSupport * estimate.num_in_view &&
         -estimate.log_false_alarms <
             kMaxNearerEvidence * -pose.estimate.log_false_alarms &&
         LogSignTest(flipped.gains, pose.gains) > kMaxLogSignTest;
}

}  // namespace

bool IsInImage(const Camera& camera,
               const Rigid3d& cam_from_world,
               const Eigen::Vector3d& point,
               Eigen::Vector2d* image_point) {
  return camera.Project(cam_from_world * point, image_point, nullptr) &&
         image_point->x() >= 0.0 && image_point->x() <= camera.Width() &&
         image_point->y() >= 0.0 && image_point->y() <= camera.Height();
}

void FindSupport(const Camera& camera,
                 const std::vector<Eigen::Vector3d>& points_in_world,
                 const LossMaps& fine,
                 PoseEstimate* estimate,
                 const Priors& priors) {
  // Points that fix all unknowns.
  const int m = (priors.NumUnknowns() + 1) / 2;
  const MapFromImage& map_from_image = fine.geometry().map_from_image;
  // The peak is a whole cell, its refinement may come nearer.
  constexpr double kRefinement = 4.0;
  estimate->num_in_view = 0;
  std::vector<PointInView> candidates;
  std::map<Block, int> block_sizes;
  Eigen::Vector2d xy;
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    if (!IsInImage(camera, estimate->cam_from_world, points_in_world[i], &xy)) {
      continue;
    }
    const Eigen::Vector2d p = map_from_image * xy;
    ++estimate->num_in_view;
    ++block_sizes[BlockOf(p)];
    const LossMaps::Summary summary = fine.Summarize(i);
    const double distance = (summary.peak - p).norm();
    if (summary.weight > 0.0 && distance <= kMaxChanceDistance + kRefinement) {
      candidates.push_back({i, p, summary.peak});
    }
  }
  PoseEstimate best;
  for (const double radius : kSupportRadii) {
    PoseEstimate found;
    FindSupportWithin(radius,
                      fine,
                      candidates,
                      block_sizes,
                      estimate->num_in_view,
                      m,
                      &found);
    if (radius == kSupportRadii[0] ||
        found.log_false_alarms < best.log_false_alarms) {
      best = std::move(found);
    }
  }
  estimate->support = std::move(best.support);
  estimate->support_radius = best.support_radius;
  estimate->chance = best.chance;
  estimate->log_false_alarms =
      std::min(0.0,
               best.log_false_alarms +
                   std::log10(static_cast<double>(std::size(kSupportRadii))));
}

double LogFalseAlarms(int num_points, int num_support, double chance, int m) {
  if (num_support <= m) {
    return 0.0;
  }
  const double log_false_alarms = std::log(std::max(1, num_points - m)) +
                                  LogBinomial(num_points, num_support) +
                                  LogBinomial(num_support, m) +
                                  (num_support - m) * std::log(chance);
  return std::min(0.0, log_false_alarms / std::log(10.0));
}

BlockGains ExplainBlocks(const Camera& camera,
                         const std::vector<Eigen::Vector3d>& points_in_world,
                         const LossMaps& fine,
                         const Rigid3d& cam_from_world,
                         bool is_flipped) {
  constexpr int kNearCells = 3;
  struct Sum {
    double gain = 0.0;
    int num_points = 0;
  };
  std::map<Block, Sum> sums;
  Eigen::Vector2d xy;
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    if (!IsInImage(camera, cam_from_world, points_in_world[i], &xy)) {
      continue;
    }
    const Eigen::Vector2d p = fine.geometry().map_from_image * xy;
    double gain = 0.0;
    for (int dy = -kNearCells; dy <= kNearCells; ++dy) {
      for (int dx = -kNearCells; dx <= kNearCells; ++dx) {
        gain = std::max(gain, fine.Weight(i, p + Eigen::Vector2d(dx, dy)));
      }
    }
    if (is_flipped) {
      xy.x() = camera.Width() - xy.x();
    }
    Sum& sum =
        sums[BlockOf(fine.geometry().map_from_image * xy, kComparedCells)];
    sum.gain += gain;
    ++sum.num_points;
  }
  BlockGains gains;
  for (const auto& [block, sum] : sums) {
    gains[block] = sum.gain / sum.num_points;
  }
  return gains;
}

double LogSignTest(const BlockGains& a, const BlockGains& b) {
  int num_a = 0, num = 0;
  for (const auto& [block, gain] : a) {
    const auto other = b.find(block);
    if (other != b.end() &&
        std::abs(gain - other->second) > kMinGainDifference) {
      ++num;
      num_a += gain > other->second;
    }
  }
  double log_sum = -std::numeric_limits<double>::infinity();
  for (int k = num_a; k <= num; ++k) {
    const double log_term = LogBinomial(num, k) - num * std::log(2.0);
    const double larger = std::max(log_sum, log_term);
    log_sum = larger + std::log(std::exp(log_sum - larger) +
                                std::exp(log_term - larger));
  }
  return log_sum / std::log(10.0);
}

void JudgeAlternative(const ExplainedPose& other, ExplainedPose* pose) {
  PoseEstimate* estimate = &pose->estimate;
  if (estimate->verdict != Verdict::kRegistered ||
      other.estimate.support.size() <
          kMinAlternativeSupport * estimate->support.size() ||
      LogSignTest(pose->gains, other.gains) <= kMaxLogSignTest) {
    return;
  }
  const Rigid3d& other_pose = other.estimate.cam_from_world;
  std::ostringstream reason;
  reason << "another pose, off by "
         << CenterError(estimate->cam_from_world, other_pose)
         << " model units and "
         << RotationErrorDeg(estimate->cam_from_world, other_pose)
         << " deg, explains the query about as well";
  estimate->Reject(Reason::kAmbiguous, reason.str());
}

void JudgeContradicted(const ExplainedPose& contradicted, ExplainedPose* pose) {
  if (pose->estimate.verdict == Verdict::kRegistered &&
      LogSignTest(contradicted.gains, pose->gains) <= kMaxLogSignTest) {
    pose->estimate.Reject(Reason::kContradictsPrior,
                          contradicted.estimate.reason);
  }
}

bool MayBeMirrored(const PoseEstimate& estimate) {
  return estimate.verdict == Verdict::kRegistered &&
         estimate.support.size() < kMaxMirroredSupport * estimate.num_in_view;
}

bool ExplainsMore(const PoseEstimate& other,
                  const PoseEstimate& estimate,
                  double num_std) {
  if (other.verdict != Verdict::kRegistered &&
      !(HasEvidence(other) && !HasEvidence(estimate))) {
    return false;
  }
  const auto num_in_view = [](const PoseEstimate& e) {
    return std::max(1.0, static_cast<double>(e.num_in_view));
  };
  const double n = num_in_view(other), m = num_in_view(estimate);
  const double all = (other.support.size() + estimate.support.size()) / (n + m);
  const double std = std::sqrt(all * (1.0 - all) * (1.0 / n + 1.0 / m));
  return other.support.size() / n - estimate.support.size() / m > num_std * std;
}

double MinLensGain(const PoseEstimate& estimate) {
  return estimate.lens_score > kMaxExactLensScore ? 0.0 : 3.0;
}

double MedianViewAngleDeg(const Camera& camera,
                          const std::vector<Eigen::Vector3d>& points_in_world,
                          const std::vector<PointView>& views,
                          const Rigid3d& cam_from_world) {
  std::vector<double> angles;
  Eigen::Vector2d xy;
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    const Eigen::Vector3d& point = points_in_world[i];
    if (IsInImage(camera, cam_from_world, point, &xy)) {
      const double cosine =
          ViewOfPoint(cam_from_world, point).ray.dot(views[i].ray);
      angles.push_back(std::acos(std::clamp(cosine, -1.0, 1.0)));
    }
  }
  if (angles.empty()) {
    return 0.0;
  }
  const auto median = angles.begin() + angles.size() / 2;
  std::nth_element(angles.begin(), median, angles.end());
  return *median * 180.0 / M_PI;
}

bool FitsBetterFlipped(const PoseEstimate& flipped,
                       const PoseEstimate& estimate) {
  return estimate.verdict == Verdict::kRegistered &&
         flipped.verdict != Verdict::kFailed &&
         flipped.log_false_alarms < estimate.log_false_alarms;
}

void JudgeMirrored(const ExplainedPose& flipped, ExplainedPose* pose) {
  if (FitsBetterFlipped(flipped.estimate, pose->estimate) &&
      !MayOnlyBeNearer(flipped, *pose)) {
    pose->estimate.Reject(Reason::kMirrored,
                          "the picture is mirrored: flipped left to right, it "
                          "fits the map better");
  }
}

void SetCovariance(const Camera& camera,
                   const Eigen::MatrixXd& covariance,
                   PoseEstimate* estimate) {
  estimate->covariance = covariance.topLeftCorner<6, 6>();
  if (!covariance.isZero(0.0)) {
    estimate->covariance += estimate->scatter_of_minima;
  }
  estimate->focal_length_px = camera.MeanFocalLength();
  estimate->focal_length_std_px =
      covariance.rows() > 6
          ? estimate->focal_length_px * std::sqrt(covariance(6, 6))
          : 0.0;
}

void JudgeEvidence(const Camera& camera,
                   const std::vector<Eigen::Vector3d>& points_in_world,
                   const LossMaps& fine,
                   PoseEstimate* estimate,
                   const Priors& priors,
                   const SharedErrors& shared_errors) {
  const MapFromImage& map_from_image = fine.geometry().map_from_image;
  Eigen::VectorXd posterior;
  SetCovariance(camera,
                PoseCovariance(camera,
                               points_in_world,
                               fine,
                               priors,
                               estimate->cam_from_world,
                               estimate->support_radius,
                               shared_errors,
                               &posterior),
                estimate);

  BlockCounter all_blocks, support_blocks;
  Eigen::Vector2d xy;
  for (const Eigen::Vector3d& point : points_in_world) {
    if (IsInImage(camera, estimate->cam_from_world, point, &xy)) {
      all_blocks.Add(map_from_image * xy);
    }
  }
  std::vector<double> depths;
  for (const PoseEstimate::Support& support : estimate->support) {
    support_blocks.Add(map_from_image * support.xy);
    depths.push_back(
        (estimate->cam_from_world * points_in_world[support.point]).norm());
  }
  const int num_support = support_blocks.Count();
  if (num_support < kMinSupport ||
      estimate->log_false_alarms > kMaxLogFalseAlarms) {
    std::ostringstream reason;
    reason << "only " << num_support << " of " << all_blocks.Count()
           << " visible places support the pose, no more than chance may";
    return estimate->Reject(Reason::kTooLittleSupport, reason.str());
  }

  if (!JudgeIntrinsics(
          camera, points_in_world, fine, priors, shared_errors, estimate)) {
    return;
  }

  if (estimate->covariance.isZero(0.0)) {
    return estimate->Reject(
        Reason::kUndetermined,
        "the maps do not determine the pose: the Hessian of their cost, or "
        "of all but one place's, is not positive definite");
  }
  // Where the maps hardly determine the pose, its scatter is not to be trusted.
  const auto trace = [&](int first) {
    return std::max(estimate->covariance.diagonal().segment<3>(first).sum(),
                    posterior.segment<3>(first).sum());
  };
  const double rotation_std_deg = std::sqrt(trace(0)) * 180.0 / M_PI;
  const double center_std = std::sqrt(trace(3));
  std::nth_element(
      depths.begin(), depths.begin() + depths.size() / 2, depths.end());
  const double depth = depths[depths.size() / 2];
  if (!(rotation_std_deg <= kMaxRotationStdDeg) ||
      !(center_std <= kMaxCenterStdShare * depth)) {
    std::ostringstream reason;
    reason << "the pose is too uncertain: standard deviations of "
           << rotation_std_deg << " deg and " << center_std
           << " model units, at most " << kMaxRotationStdDeg << " deg and "
           << kMaxCenterStdShare * depth << " are accepted";
    return estimate->Reject(Reason::kTooUncertain, reason.str());
  }
  estimate->verdict = Verdict::kRegistered;
  estimate->why = Reason::kNone;
  estimate->reason.clear();
}

bool JudgeIntrinsics(const Camera& camera,
                     const std::vector<Eigen::Vector3d>& points_in_world,
                     const LossMaps& fine,
                     const Priors& priors,
                     const SharedErrors& shared_errors,
                     PoseEstimate* estimate) {
  const IntrinsicsScores scores = ScoreIntrinsics(camera,
                                                  points_in_world,
                                                  fine,
                                                  priors,
                                                  estimate->cam_from_world,
                                                  estimate->support_radius,
                                                  shared_errors);
  estimate->focal_length_score = scores.focal_length;
  estimate->lens_score = scores.lens;
  const bool is_exact = !priors.focal_length && priors.focal_length_std == 0.0;
  if (scores.focal_length >
      (is_exact ? kMaxExactFocalLengthScore : kMaxFocalLengthScore)) {
    estimate->Reject(Reason::kContradictsFocalLength,
                     "the image contradicts the focal length that was stated");
    return false;
  }
  const double max_lens_score = priors.focal_length ? kMaxUnstatedLensScore
                                : is_exact          ? kMaxExactLensScore
                                                    : kMaxLensScore;
  if (scores.lens > max_lens_score) {
    estimate->Reject(Reason::kContradictsLens,
                     "the image contradicts the principal point or the "
                     "distortion that was stated");
    return false;
  }
  return true;
}

void JudgePriors(const Camera& camera,
                 const std::vector<Eigen::Vector3d>& points_in_world,
                 const LossMaps& fine,
                 const Priors& priors,
                 const SharedErrors& shared_errors,
                 PoseEstimate* estimate) {
  if (!priors.OfPose() || estimate->verdict == Verdict::kFailed) {
    return;
  }
  Priors of_maps;
  of_maps.focal_length = priors.focal_length;
  of_maps.lens_unknown = priors.lens_unknown;
  CorrectedPose pose = {estimate->cam_from_world, {}};
  RefinePoseGnc(
      camera, points_in_world, fine, GncOptions::Coarse(), of_maps, &pose);
  const Eigen::MatrixXd hessian =
      JointHessian(CameraOf(camera, pose.correction),
                   points_in_world,
                   fine,
                   1.0,
                   of_maps.NumUnknowns(),
                   pose.cam_from_world);
  const Eigen::LLT<Eigen::MatrixXd> cholesky(hessian);
  if (cholesky.info() != Eigen::Success) {
    return;
  }
  const Matrix6d covariance =
      shared_errors.covariance_factor *
      cholesky.solve(Eigen::MatrixXd::Identity(hessian.rows(), hessian.cols()))
          .topLeftCorner<6, 6>();
  const PriorDistances distances =
      DistancesFromPriors(priors, pose.cam_from_world, covariance);
  const bool position = distances.position > kMaxPositionDistance;
  if (position || distances.gravity > kMaxGravityDistance) {
    std::ostringstream reason;
    reason << "the image contradicts the prior of its "
           << (position ? "position" : "gravity") << " by "
           << std::sqrt(position ? distances.position : distances.gravity)
           << " standard deviations";
    estimate->Reject(Reason::kContradictsPrior, reason.str());
  }
}

}  // namespace nre
