// What the estimator answers: a pose, what speaks for it, and a verdict.
#pragma once

#include <string>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/rigid3.h"

namespace nre {

enum class Verdict {
  kRegistered,  // the evidence supports the pose
  kRejected,    // a pose was found, but the evidence does not suffice
  kFailed,      // no pose could be computed
};

// "registered", "rejected" or "failed".
const char* VerdictName(Verdict verdict);

// Why a query is not registered.
enum class Reason {
  kNone,                    // it is registered
  kBadInput,                // the image, its camera or its references
  kNoPose,                  // no pose was found in the maps
  kTooLittleSupport,        // no more than chance may give
  kUndetermined,            // the maps have no minimum at the pose
  kTooUncertain,            // more than a registered pose may be
  kAmbiguous,               // another pose explains the query about as well
  kTooManyPoses,            // so many that they cannot be compared
  kMirrored,                // the picture is flipped left to right
  kContradictsPrior,        // of the position or of gravity
  kContradictsFocalLength,  // that was stated
  kContradictsLens,         // principal point or distortion that was stated
};

// The stable word of a reason: "too_uncertain", for example; empty for kNone.
const char* ReasonName(Reason reason);

using Matrix6d = Eigen::Matrix<double, 6, 6>;

struct PoseEstimate {
  Verdict verdict = Verdict::kFailed;
  Reason why = Reason::kNone;
  std::string reason;  // in words; empty if registered

  Rigid3d cam_from_world;
  // Of (rotation vector in rad, translation) of a left perturbation:
  // cam_from_world = [exp(w), t] * estimate.
  Matrix6d covariance = Matrix6d::Zero();

  // What `covariance` contains since the pose may be another minimum nearby;
  // see ScatterOfMinima() in nre/nearby_minima.h.
  Matrix6d scatter_of_minima = Matrix6d::Zero();

  // How the camera differs from the one given, if its intrinsics were unknown.
  // The covariance of the pose is that with unknown intrinsics.
  CameraCorrection correction;
  // Mean focal length in pixels and its standard deviation, 0 if it was known.
  double focal_length_px = 0.0;
  double focal_length_std_px = 0.0;

  // How much the maps contradict the intrinsics that were stated; see
  // ScoreIntrinsics() in nre/intrinsics.h.
  double focal_length_score = 0.0;
  double lens_score = 0.0;

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

  // Turns the verdict into `rejected`.
  void Reject(Reason because, const std::string& in_words) {
    verdict = Verdict::kRejected;
    why = because;
    reason = in_words;
  }
};

// Covariance of the projection centre, in the world, from the estimate's.
Eigen::Matrix3d CenterCovariance(const PoseEstimate& estimate);

}  // namespace nre
