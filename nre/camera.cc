#include "nre/camera.h"

#include <limits>
#include <stdexcept>

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

ScaledCamera::ScaledCamera(const Camera& camera, double scale)
    : ScaledCamera(camera, PrincipalPoint(camera), scale) {}

bool ScaledCamera::Project(const Eigen::Vector3d& point_in_cam,
                           Eigen::Vector2d* xy,
                           Eigen::Matrix<double, 2, 3>* jacobian) const {
  if (!camera_->Project(point_in_cam, xy, jacobian)) {
    return false;
  }
  *xy = principal_point_ + scale_ * (*xy - principal_point_);
  if (jacobian != nullptr) {
    *jacobian *= scale_;
  }
  return xy->allFinite();
}

bool ScaledCamera::Unproject(const Eigen::Vector2d& xy,
                             Eigen::Vector3d* bearing) const {
  return camera_->Unproject(principal_point_ + (xy - principal_point_) / scale_,
                            bearing);
}

std::vector<Eigen::Vector2d> ProjectAll(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const Rigid3d& cam_from_world) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  std::vector<Eigen::Vector2d> xys(points_in_world.size());
  for (size_t i = 0; i < xys.size(); ++i) {
    if (!camera.Project(
            cam_from_world * points_in_world[i], &xys[i], nullptr)) {
      xys[i].setConstant(kNone);
    }
  }
  return xys;
}

Eigen::Vector2d PrincipalPoint(const Camera& camera) {
  Eigen::Vector2d xy;
  if (!camera.Project(Eigen::Vector3d::UnitZ(), &xy, nullptr)) {
    throw std::invalid_argument("The camera does not see its optical axis.");
  }
  return xy;
}

}  // namespace nre
