// Rigid transforms between coordinate frames, named target_from_source.
#pragma once

#include <Eigen/Core>
#include <Eigen/Geometry>

namespace nre {

// x_target = rotation * x_source + translation. The rotation is a unit
// quaternion; lengths are model units.
struct Rigid3d {
  Eigen::Quaterniond rotation = Eigen::Quaterniond::Identity();
  Eigen::Vector3d translation = Eigen::Vector3d::Zero();

  Eigen::Vector3d operator*(const Eigen::Vector3d& point) const {
    return rotation * point + translation;
  }

  Rigid3d Inverse() const {
    const Eigen::Quaterniond inverse = rotation.conjugate();
    return {inverse, -(inverse * translation)};
  }
};

// c_from_a = c_from_b * b_from_a.
inline Rigid3d operator*(const Rigid3d& c_from_b, const Rigid3d& b_from_a) {
  return {(c_from_b.rotation * b_from_a.rotation).normalized(),
          c_from_b.rotation * b_from_a.translation + c_from_b.translation};
}

// The camera's centre in the world, for a cam_from_world transform.
inline Eigen::Vector3d ProjectionCenter(const Rigid3d& cam_from_world) {
  return cam_from_world.Inverse().translation;
}

// d(q x) / dq for a unit quaternion in Eigen's order (x, y, z, w), with q x =
// x + 2 w (v x x) + 2 v x (v x x) as Eigen computes it.
Eigen::Matrix<double, 3, 4> RotationJacobian(const Eigen::Quaterniond& q,
                                             const Eigen::Vector3d& x);

// Angle of the rotation between two poses, in degrees, in [0, 180].
double RotationErrorDeg(const Rigid3d& a, const Rigid3d& b);

// Distance of the projection centres of two cam_from_world poses.
double CenterError(const Rigid3d& a, const Rigid3d& b);

}  // namespace nre
