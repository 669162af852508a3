// The coarse-to-fine NRE pose estimator (Germain et al., CVPR 2021, sections 5
// and D.1): P3P in MSAC over coarse loss maps, graduated non-convexity on the
// coarse and then on local fine maps, covariance and verdict.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/rigid3.h"

namespace nre {

enum class Verdict {
  kRegistered,  // the evidence supports the pose
  kRejected,    // a pose was found, but the evidence does not suffice
  kFailed,      // no pose could be computed
};

// "registered", "rejected" or "failed".
const char* VerdictName(Verdict verdict);

struct NreEstimationOptions {
  // Points that one estimate uses at most.
  int max_num_points = 1000;
  // P3P hypotheses of the sampling stage.
  int num_hypotheses = 5000;
  // Triplets are drawn among this share of the maps, the most peaked ones.
  double sampling_share = 0.25;
  // Hypotheses that go through the coarse GNC; the best of them goes on.
  int num_refined_hypotheses = 5;

  bool Check() const;
};

// Computes fine loss maps in windows around given positions of the query image.
class FineMapSource {
 public:
  virtual ~FineMapSource() = default;

  // One map per point, centred on xy_image[point] (image coordinates); a
  // non-finite position gives an uninformative map.
  virtual std::unique_ptr<LossMaps> Compute(
      const std::vector<Eigen::Vector2d>& xy_image) const = 0;
};

using Matrix6d = Eigen::Matrix<double, 6, 6>;

struct PoseEstimate {
  Verdict verdict = Verdict::kFailed;
  std::string reason;  // in words; empty if registered

  Rigid3d cam_from_world;
  // Of (rotation vector in rad, translation) of a left perturbation:
  // cam_from_world = [exp(w), t] * estimate.
  Matrix6d covariance = Matrix6d::Zero();

  // Mean NRE per point (Eq. 6) of the coarse maps after MSAC and after the
  // coarse GNC, and of the fine maps after the fine GNC; ln|Omega^| is chance.
  double msac_cost = 0.0;
  double coarse_cost = 0.0;
  double fine_cost = 0.0;

  // Points whose fine map has its peak where the pose projects the point.
  struct Support {
    size_t point = 0;    // index into the points given
    Eigen::Vector2d xy;  // sub-pixel peak, image coordinates
  };
  std::vector<Support> support;

  // log10 of the expected number of poses with as much support by chance; see
  // LogFalseAlarms() in nre/evidence.h.
  double log_false_alarms = 0.0;

  double msac_ms = 0.0;
  double coarse_gnc_ms = 0.0;
  double fine_maps_ms = 0.0;
  double fine_gnc_ms = 0.0;
};

// Covariance of the projection centre, in the world, from the estimate's.
Eigen::Matrix3d CenterCovariance(const PoseEstimate& estimate);

// Estimates the pose that explains all maps. `points_in_world` and the maps of
// `coarse` go together. Deterministic for a given seed.
PoseEstimate EstimatePose(const Camera& camera,
                          const std::vector<Eigen::Vector3d>& points_in_world,
                          const LossMaps& coarse,
                          const FineMapSource& fine,
                          const NreEstimationOptions& options,
                          uint64_t seed);

}  // namespace nre
