#include "nre/rigid3.h"

#include <cmath>

namespace nre {

Eigen::Matrix<double, 3, 4> RotationJacobian(const Eigen::Quaterniond& q,
                                             const Eigen::Vector3d& x) {
  const Eigen::Vector3d v = q.vec();
  Eigen::Matrix3d cross_x;
  cross_x << 0.0, -x.z(), x.y(), x.z(), 0.0, -x.x(), -x.y(), x.x(), 0.0;
  Eigen::Matrix<double, 3, 4> jacobian;
  // v x (v x x) = v (v.x) - x (v.v).
  jacobian.leftCols<3>() =
      2.0 * (-q.w() * cross_x + v * x.transpose() - 2.0 * x * v.transpose());
  jacobian.leftCols<3>().diagonal().array() += 2.0 * v.dot(x);
  jacobian.col(3) = 2.0 * v.cross(x);
  return jacobian;
}

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
