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
#include "nre/feature_metric.h"
#include "nre/loss_maps.h"
#include "nre/point_match.h"
#include "nre/point_view.h"
#include "nre/priors.h"
#include "nre/rigid3.h"

namespace nre {

enum class Verdict {
  kRegistered,  // the evidence supports the pose
  kRejected,    // a pose was found, but the evidence does not suffice
  kFailed,      // no pose could be computed
};

// "registered", "rejected" or "failed".
const char* VerdictName(Verdict verdict);

enum class EstimationMethod {
  kNre,       // the Neural Reprojection Error of the whole maps
  kRe,        // the same with the peak cells only (Eq. 11)
  kLoRansac,  // COLMAP's LO-RANSAC and refinement on the peaks
  kMagsac,    // OpenCV's MAGSAC++ on the peaks
  kFpr,       // feature-metric refinement (Eq. 12) of another method's pose
};

// "nre", "re", "lo_ransac", "magsac" or "fpr"; the other way round, throws
// InputError for other names.
const char* EstimationMethodName(EstimationMethod method);
EstimationMethod ParseEstimationMethod(const std::string& name);

struct NreEstimationOptions {
  // The baselines see the same maps of the same points as the NRE.
  EstimationMethod method = EstimationMethod::kNre;
  // Points that a pose is searched with at most, and points that a registered
  // one is refined on at the end (by the NRE; 0: it is not): more points make
  // it more exact, but not easier to find.
  int max_num_points = 1000;
  int max_num_refinement_points = 10000;
  // P3P hypotheses of the sampling stage, and how many there are where fewer
  // left too small a chance of several without a wrong peak.
  int num_hypotheses = 5000;
  int max_num_hypotheses = 40000;
  // Triplets are drawn among this share of the maps, the most peaked ones.
  double sampling_share = 0.25;
  // Hypotheses that go through the coarse GNC; the best of them goes on. Twice
  // as many where more had to be sampled.
  int num_refined_hypotheses = 5;

  // Of the baselines. How far, in map cells, a right match is off on the coarse
  // and on the fine maps: the last sigma of `re`, the thresholds of `lo_ransac`
  // and `magsac`; 0: what was best for the method on other data.
  double coarse_max_error_cells = 0.0;
  double max_error_cells = 0.0;
  // Where `fpr` starts, any other method, and how it goes on.
  EstimationMethod fpr_start = EstimationMethod::kLoRansac;
  FeatureMetricOptions fpr;

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

  // What `covariance` contains since the pose may be another minimum nearby;
  // see ScatterOfMinima() in nre/nearby_minima.h.
  Matrix6d scatter_of_minima = Matrix6d::Zero();

  // The camera's focal length as a multiple of what was given, its mean in
  // pixels and the standard deviation of that, 0 if it was known. The
  // covariance of the pose is that with the focal length unknown.
  double focal_scale = 1.0;
  double focal_length_px = 0.0;
  double focal_length_std_px = 0.0;

  // Mean NRE per point (Eq. 6) of the coarse maps after sampling and after the
  // coarse refinement, and of the fine maps after the fine one (MSAC and GNC,
  // or what the method has instead); ln|Omega^| is chance.
  double msac_cost = 0.0;
  double coarse_cost = 0.0;
  double fine_cost = 0.0;

  // Points whose fine map has its peak where the pose projects the point: at
  // most `support_radius` fine cells away, see FindSupport() in nre/evidence.h.
  struct Support {
    size_t point = 0;    // index into the points given
    Eigen::Vector2d xy;  // sub-pixel peak, image coordinates
  };
  std::vector<Support> support;
  double support_radius = 1.0;
  size_t num_in_view = 0;  // of the points that might have supported it

  // Other poses with at least half of the support, whatever the verdict between
  // them.
  std::vector<Rigid3d> alternatives;

  // How often chance puts the peak of a map so near to the projection of its
  // point, as FindSupport() finds it in the maps themselves.
  double chance = 1.0;

  // log10 of the expected number of poses with as much support by chance; see
  // LogFalseAlarms() in nre/evidence.h.
  double log_false_alarms = 0.0;

  double msac_ms = 0.0;
  double coarse_gnc_ms = 0.0;
  double fine_maps_ms = 0.0;
  double fine_gnc_ms = 0.0;
  double alternatives_ms = 0.0;  // looking for other poses as good
  double refinement_ms = 0.0;    // on more points
};

// Covariance of the projection centre, in the world, from the estimate's.
Eigen::Matrix3d CenterCovariance(const PoseEstimate& estimate);

// Errors of poses that the maps of one query do not show.
struct SharedErrors {
  // How much larger the squared errors of poses are than the scatter of the
  // maps' peaks says, since descriptors have errors that neighbours share. 1
  // for maps whose errors are their own.
  double covariance_factor = 1.0;
  // Standard deviation of a displacement, in x and in y, that all points in a
  // quarter of the image share since reference poses, cameras and 3D points are
  // not exact: as an angle (rad). However many points there are, they do not
  // average it out.
  double quarter_angle = 0.0;
};

// What some methods need beside the maps.
struct MethodInputs {
  MatchSolver lo_ransac;
  MatchSolver magsac;
  // For `fpr`: features of the query, and one descriptor per point.
  DenseFeatures fine_features;
  const float* fine_descriptors = nullptr;  // [N, channels]
  SharedErrors shared_errors;
  // How the points looked where their descriptors were taken, [N], or null; the
  // NRE does not try poses that would show them otherwise.
  const PointView* views = nullptr;
};

// Estimates the pose that explains all maps, and the focal length if `priors`
// say that it is unknown. One that was found before is held, unless there are
// priors of the pose; but covariance and verdict are those of a pose whose
// focal length is unknown, and RefineOnMorePoints() refines both.
// `points_in_world` and the maps of `coarse` go together. Deterministic for a
// given seed. Whatever the method, its coarse pose says where the fine maps
// lie, and costs, support, covariance and verdict are those of its pose on the
// whole maps. Throws std::invalid_argument if `inputs` lacks what the method
// needs, or if a baseline gets priors.
PoseEstimate EstimatePose(const Camera& camera,
                          const std::vector<Eigen::Vector3d>& points_in_world,
                          const LossMaps& coarse,
                          const FineMapSource& fine,
                          const NreEstimationOptions& options,
                          uint64_t seed,
                          const MethodInputs& inputs = MethodInputs(),
                          const Priors& priors = Priors());

// Refines a registered estimate on the fine maps of more points than it was
// found with, or of the same ones, by a GNC that goes no farther than a few
// cells. `camera` and `priors` are those that it was found with. Pose, focal
// length if it is unknown, fine cost, support (which then indexes
// `points_in_world`) and covariance become those on these maps, the evidence
// stays. Returns false, and changes nothing, where the refinement does not
// converge nearby.
bool RefineOnMorePoints(const Camera& camera,
                        const std::vector<Eigen::Vector3d>& points_in_world,
                        const FineMapSource& fine,
                        const SharedErrors& shared_errors,
                        const Priors& priors,
                        PoseEstimate* estimate);

}  // namespace nre
