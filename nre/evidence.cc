#include "nre/evidence.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

#include <Eigen/Cholesky>

#include "nre/joint_estimation.h"
#include "nre/peaks.h"

namespace nre {
namespace {

// A pose is told from another one if chance tells so at most this often, as
// log10. Between poses of repeated structures, where the wrong one was found
// first, it is about zero.
constexpr double kMaxLogSignTest = -3.0;

// Fewer are no evidence, however unlikely: they may all lie on one object.
constexpr int kMinSupport = 12;

// Two poses are compared in blocks of so many map cells. One explains a block
// that the other does not if it gains so much more (nats a point).
constexpr double kComparedCells = 12.0;
constexpr double kMinGainDifference = 4.0;

// Points within a block of so many map cells see the same patch of the query;
// together they are one piece of evidence.
constexpr double kBlockCells = 8.0;

double LogBinomial(int n, int k) {
  return std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0);
}

using Block = std::pair<int, int>;

// The block that a position on the map falls into.
Block BlockOf(const Eigen::Vector2d& p, double cells = kBlockCells) {
  return {static_cast<int>(std::floor(p.x() / cells)),
          static_cast<int>(std::floor(p.y() / cells))};
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

// How well the maps determine a pose at one sigma; zero where they do not.
struct Uncertainty {
  Eigen::MatrixXd covariance;
  Eigen::VectorXd posterior_variances;  // the diagonal of H^-1
};

// The sum of a block's terms of Eq. 9.
struct BlockTerms {
  Eigen::VectorXd gradient;
  Eigen::MatrixXd hessian;
};

// H C H, with C the jackknife's covariance of the pose: of where a Newton step
// on all blocks but one leads, for each of them. Empty if the others do not
// determine the pose.
std::optional<Eigen::MatrixXd> JackknifeScatter(
    const Eigen::MatrixXd& hessian, const std::map<Block, BlockTerms>& blocks) {
  Eigen::MatrixXd scatter =
      Eigen::MatrixXd::Zero(hessian.rows(), hessian.rows());
  for (const auto& [_, block] : blocks) {
    const Eigen::LLT<Eigen::MatrixXd> others(hessian - block.hessian);
    if (others.info() != Eigen::Success) {
      return std::nullopt;
    }
    const Eigen::VectorXd step = hessian * others.solve(block.gradient);
    scatter += step * step.transpose();
  }
  const double num_blocks = static_cast<double>(blocks.size());
  return (num_blocks - 1.0) / num_blocks * scatter;
}

Uncertainty UncertaintyAt(double sigma,
                          const Camera& camera,
                          const std::vector<Eigen::Vector3d>& points_in_world,
                          const LossMaps& fine,
                          const Priors& priors,
                          const Rigid3d& cam_from_world,
                          const SharedErrors& shared_errors) {
  constexpr double kUndeterminedShare = 0.01;
  PointTerms terms;
  const Eigen::MatrixXd hessian = JointHessian(
      camera, points_in_world, fine, sigma, priors, cam_from_world, &terms);
  const Eigen::Index size = hessian.rows();
  const Eigen::MatrixXd zero = Eigen::MatrixXd::Zero(size, size);
  Uncertainty uncertainty = {zero, zero.diagonal()};
  const Eigen::LLT<Eigen::MatrixXd> cholesky(hessian);
  if (cholesky.info() != Eigen::Success) {
    return uncertainty;
  }
  uncertainty.posterior_variances =
      cholesky.solve(Eigen::MatrixXd::Identity(size, size)).diagonal();
  const MapFromImage& map_from_image = fine.geometry().map_from_image;
  std::map<Block, BlockTerms> blocks;
  std::vector<Eigen::MatrixXd> quarters(4, Eigen::MatrixXd::Zero(size, 2));
  Eigen::Vector2d xy;
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    if (!terms.gradients.col(i).isZero(0.0) &&
        camera.Project(cam_from_world * points_in_world[i], &xy, nullptr)) {
      BlockTerms& block = blocks
                              .try_emplace(BlockOf(map_from_image * xy),
                                           BlockTerms{zero.col(0), zero})
                              .first->second;
      block.gradient += terms.gradients.col(i);
      block.hessian += terms.hessians.middleCols(size * i, size);
      quarters[2 * (2.0 * xy.y() > camera.Height()) +
               (2.0 * xy.x() > camera.Width())] +=
          terms.by_displacement.middleCols<2>(2 * i);
    }
  }
  if (static_cast<Eigen::Index>(blocks.size()) <= size) {
    return uncertainty;
  }
  const std::optional<Eigen::MatrixXd> jackknife =
      JackknifeScatter(hessian, blocks);
  if (!jackknife) {
    return uncertainty;
  }
  Eigen::MatrixXd scatter = *jackknife;
  // A prior's gradient scatters as much as its information says.
  scatter.topLeftCorner<6, 6>() += PriorHessian(priors, cam_from_world);
  // H^-1 H H^-1 = H^-1.
  scatter += kUndeterminedShare * hessian;
  scatter *= shared_errors.covariance_factor;
  const double displacement = shared_errors.quarter_angle *
                              camera.MeanFocalLength() *
                              map_from_image.scale.mean();
  for (const Eigen::MatrixXd& quarter : quarters) {
    scatter += displacement * displacement * quarter * quarter.transpose();
  }
  const Eigen::MatrixXd half = cholesky.solve(scatter);
  uncertainty.covariance = cholesky.solve(half.transpose());
  return uncertainty;
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
  // Points that fix a pose, and a focal length.
  const int m = priors.focal_length ? 4 : 3;
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
                         const Rigid3d& cam_from_world) {
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
    Sum& sum = sums[BlockOf(p, kComparedCells)];
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
  estimate->verdict = Verdict::kRejected;
  estimate->reason = reason.str();
}

bool MayBeMirrored(const PoseEstimate& estimate) {
  return estimate.verdict == Verdict::kRegistered &&
         estimate.support.size() < kMaxMirroredSupport * estimate.num_in_view;
}

void JudgeMirrored(const PoseEstimate& flipped, PoseEstimate* estimate) {
  if (estimate->verdict == Verdict::kRegistered &&
      flipped.verdict != Verdict::kFailed &&
      flipped.log_false_alarms < estimate->log_false_alarms) {
    estimate->verdict = Verdict::kRejected;
    estimate->reason =
        "the picture is mirrored: flipped left to right, it fits the map "
        "better";
  }
}

Eigen::MatrixXd PoseCovariance(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& fine,
    const Priors& priors,
    const Rigid3d& cam_from_world,
    double max_sigma,
    const SharedErrors& shared_errors,
    Eigen::VectorXd* posterior_variances) {
  Uncertainty best;
  for (const double sigma : kSupportRadii) {
    if (sigma > max_sigma) break;
    Uncertainty at_sigma = UncertaintyAt(sigma,
                                         camera,
                                         points_in_world,
                                         fine,
                                         priors,
                                         cam_from_world,
                                         shared_errors);
    if (best.covariance.size() == 0) {
      best = std::move(at_sigma);
      continue;
    }
    if (best.posterior_variances.isZero(0.0)) {
      best.posterior_variances = at_sigma.posterior_variances;
    }
    const auto turn = [](const Uncertainty& u) {
      return u.covariance.topLeftCorner<3, 3>().trace();
    };
    if (turn(at_sigma) > 0.0 &&
        (turn(best) == 0.0 || turn(at_sigma) < turn(best))) {
      best.covariance = std::move(at_sigma.covariance);
    }
  }
  if (posterior_variances != nullptr) {
    *posterior_variances = best.posterior_variances;
  }
  return best.covariance;
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
  const auto reject = [&](const std::string& reason) {
    estimate->verdict = Verdict::kRejected;
    estimate->reason = reason;
  };

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
    return reject(reason.str());
  }

  if (estimate->covariance.isZero(0.0)) {
    return reject(
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
    return reject(reason.str());
  }
  estimate->verdict = Verdict::kRegistered;
  estimate->reason.clear();
}

Eigen::Matrix3d CenterCovariance(const PoseEstimate& estimate) {
  // The perturbation turns about the centre: only dt moves it, by -R^T dt.
  const Eigen::Matrix3d world_from_cam =
      estimate.cam_from_world.rotation.conjugate().toRotationMatrix();
  return world_from_cam * estimate.covariance.bottomRightCorner<3, 3>() *
         world_from_cam.transpose();
}

}  // namespace nre
