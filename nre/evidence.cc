#include "nre/evidence.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>
#include <utility>

#include <Eigen/Cholesky>

#include "nre/joint_estimation.h"
#include "nre/peaks.h"

namespace nre {
namespace {

// At most this many false alarms, as log10, in all the queries of a lifetime.
constexpr double kMaxLogFalseAlarms = -6.0;

// Fewer are no evidence, however unlikely: they may all lie on one object.
constexpr int kMinSupport = 12;

// A pose that is less certain than this is of no use.
constexpr double kMaxRotationStdDeg = 1.0;
constexpr double kMaxCenterStdShare = 0.05;  // of the supporting points' depth

// Points within a block of so many map cells see the same patch of the query;
// together they are one piece of evidence.
constexpr double kBlockCells = 8.0;

double LogBinomial(int n, int k) {
  return std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0);
}

// Number of different blocks that positions on the map fall into.
class BlockCounter {
 public:
  void Add(const Eigen::Vector2d& p) {
    blocks_.insert({static_cast<int>(std::floor(p.x() / kBlockCells)),
                    static_cast<int>(std::floor(p.y() / kBlockCells))});
  }

  int Count() const { return static_cast<int>(blocks_.size()); }

 private:
  std::set<std::pair<int, int>> blocks_;
};

}  // namespace

void FindSupport(const Camera& camera,
                 const std::vector<Eigen::Vector3d>& points_in_world,
                 const LossMaps& fine,
                 PoseEstimate* estimate) {
  const MapFromImage& map_from_image = fine.geometry().map_from_image;
  estimate->support.clear();
  Eigen::Vector2d xy;
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    const Eigen::Vector3d x = estimate->cam_from_world * points_in_world[i];
    if (!camera.Project(x, &xy, nullptr)) {
      continue;
    }
    const Eigen::Vector2d p = map_from_image * xy;
    const LossMaps::Summary summary = fine.Summarize(i);
    // The peak is a whole cell, its refinement may come nearer.
    if (summary.weight <= 0.0 ||
        (summary.peak - p).norm() > kMaxSupportDistance + 1.0) {
      continue;
    }
    const Eigen::Vector2d peak = RefinePeak(fine, i, summary.peak);
    if ((peak - p).norm() <= kMaxSupportDistance) {
      estimate->support.push_back({i, map_from_image.ToImage(peak)});
    }
  }
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

void JudgeEvidence(const Camera& camera,
                   const std::vector<Eigen::Vector3d>& points_in_world,
                   const LossMaps& fine,
                   PoseEstimate* estimate,
                   const Priors& priors) {
  const MapFromImage& map_from_image = fine.geometry().map_from_image;
  const auto reject = [&](const std::string& reason) {
    estimate->verdict = Verdict::kRejected;
    estimate->reason = reason;
  };

  estimate->focal_length_px = camera.MeanFocalLength();
  BlockCounter all_blocks, support_blocks;
  Eigen::Vector2d xy;
  for (const Eigen::Vector3d& point : points_in_world) {
    if (camera.Project(estimate->cam_from_world * point, &xy, nullptr) &&
        xy.x() >= 0.0 && xy.x() <= camera.Width() && xy.y() >= 0.0 &&
        xy.y() <= camera.Height()) {
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
  const double chance =
      M_PI * kMaxSupportDistance * kMaxSupportDistance / fine.CellsPerMap();
  estimate->log_false_alarms =
      LogFalseAlarms(std::max(all_blocks.Count(), num_support),
                     num_support,
                     chance,
                     priors.focal_length ? 4 : 3);
  if (num_support < kMinSupport ||
      estimate->log_false_alarms > kMaxLogFalseAlarms) {
    std::ostringstream reason;
    reason << "only " << num_support << " of " << all_blocks.Count()
           << " visible places support the pose, no more than chance may";
    return reject(reason.str());
  }

  const Eigen::MatrixXd hessian = JointHessian(
      camera, points_in_world, fine, 1.0, priors, estimate->cam_from_world);
  const Eigen::LLT<Eigen::MatrixXd> cholesky(hessian);
  if (cholesky.info() != Eigen::Success) {
    return reject(
        "the maps do not determine the pose: the Hessian of their cost is not "
        "positive definite");
  }
  const Eigen::MatrixXd joint_covariance =
      cholesky.solve(Eigen::MatrixXd::Identity(hessian.rows(), hessian.cols()));
  estimate->covariance = joint_covariance.topLeftCorner<6, 6>();
  if (priors.focal_length) {
    estimate->focal_length_std_px =
        estimate->focal_length_px * std::sqrt(joint_covariance(6, 6));
  }
  const Matrix6d& covariance = estimate->covariance;
  const double rotation_std_deg =
      std::sqrt(covariance.topLeftCorner<3, 3>().trace()) * 180.0 / M_PI;
  const double center_std = std::sqrt(CenterCovariance(*estimate).trace());
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
