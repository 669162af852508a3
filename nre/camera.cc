#include "nre/camera.h"

#include <limits>

namespace nre {

PinholeCamera::PinholeCamera(
    int width, int height, double fx, double fy, double cx, double cy)
    : width_(width), height_(height), fx_(fx), fy_(fy), cx_(cx), cy_(cy) {}

bool PinholeCamera::Project(const Eigen::Vector3d& point_in_cam,
                            Eigen::Vector2d* xy,
                            Eigen::Matrix<double, 2, 3>* jacobian) const {
  if (!(point_in_cam.z() > std::numeric_limits<double>::epsilon())) {
    return false;
  }
  const double inverse_depth = 1.0 / point_in_cam.z();
  const double u = point_in_cam.x() * inverse_depth;
  const double v = point_in_cam.y() * inverse_depth;
  *xy << fx_ * u + cx_, fy_ * v + cy_;
  if (jacobian != nullptr) {
    *jacobian << fx_ * inverse_depth, 0.0, -fx_ * u * inverse_depth,  //
        0.0, fy_ * inverse_depth, -fy_ * v * inverse_depth;
  }
  return xy->allFinite();
}

bool PinholeCamera::Unproject(const Eigen::Vector2d& xy,
                              Eigen::Vector3d* bearing) const {
  *bearing = Eigen::Vector3d((xy.x() - cx_) / fx_, (xy.y() - cy_) / fy_, 1.0)
                 .normalized();
  return true;
}

}  // namespace nre
