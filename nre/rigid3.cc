#include "nre/rigid3.h"

#include <cmath>

namespace nre {

double RotationErrorDeg(const Rigid3d& a, const Rigid3d& b) {
  const Eigen::Quaterniond difference = a.rotation * b.rotation.conjugate();
  // atan2 keeps its precision for tiny angles, where acos(w) loses it.
  const double angle_rad =
      2.0 * std::atan2(difference.vec().norm(), std::abs(difference.w()));
  return angle_rad * 180.0 / M_PI;
}

double CenterError(const Rigid3d& a, const Rigid3d& b) {
  return (ProjectionCenter(a) - ProjectionCenter(b)).norm();
}

}  // namespace nre
