#include "nre/pose_estimate.h"

namespace nre {

const char* VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kRegistered:
      return "registered";
    case Verdict::kRejected:
      return "rejected";
    case Verdict::kFailed:
      break;
  }
  return "failed";
}

const char* ReasonName(Reason reason) {
  switch (reason) {
    case Reason::kNone:
      break;
    case Reason::kBadInput:
      return "bad_input";
    case Reason::kNoPose:
      return "no_pose";
    case Reason::kTooLittleSupport:
      return "too_little_support";
    case Reason::kUndetermined:
      return "undetermined";
    case Reason::kTooUncertain:
      return "too_uncertain";
    case Reason::kAmbiguous:
      return "ambiguous";
    case Reason::kTooManyPoses:
      return "too_many_poses";
    case Reason::kMirrored:
      return "mirrored";
    case Reason::kContradictsPrior:
      return "contradicts_prior";
    case Reason::kContradictsFocalLength:
      return "contradicts_focal_length";
    case Reason::kContradictsLens:
      return "contradicts_lens";
  }
  return "";
}

Eigen::Matrix3d CenterCovariance(const PoseEstimate& estimate) {
  // The perturbation turns about the centre: only dt moves it, by -R^T dt.
  const Eigen::Matrix3d world_from_cam =
      estimate.cam_from_world.rotation.conjugate().toRotationMatrix();
  return world_from_cam * estimate.covariance.bottomRightCorner<3, 3>() *
         world_from_cam.transpose();
}

}  // namespace nre
