#include "nre/camera.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "nre/vector_math.h"

namespace nre {
namespace {

// PinholeCamera::ProjectMany().
NRE_VECTOR_CLONES void ProjectPinhole(const double* xs_in_cam,
                                      const double* ys_in_cam,
                                      const double* zs_in_cam,
                                      int num,
                                      double fx,
                                      double fy,
                                      double cx,
                                      double cy,
                                      double* xs,
                                      double* ys) {
#pragma omp simd
  for (int i = 0; i < num; ++i) {
    const double z = zs_in_cam[i];
    const double inverse_depth = z > std::numeric_limits<double>::epsilon()
                                     ? 1.0 / z
                                     : std::numeric_limits<double>::quiet_NaN();
    xs[i] = fx * (xs_in_cam[i] * inverse_depth) + cx;
    ys[i] = fy * (ys_in_cam[i] * inverse_depth) + cy;
  }
}

}  // namespace

void Camera::ProjectMany(const double* xs_in_cam,
                         const double* ys_in_cam,
                         const double* zs_in_cam,
                         int num,
                         double* xs,
                         double* ys) const {
  Eigen::Vector2d xy;
  for (int i = 0; i < num; ++i) {
    if (!Project({xs_in_cam[i], ys_in_cam[i], zs_in_cam[i]}, &xy, nullptr)) {
      xy.setConstant(std::numeric_limits<double>::quiet_NaN());
    }
    xs[i] = xy.x();
    ys[i] = xy.y();
  }
}

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

void PinholeCamera::ProjectMany(const double* xs_in_cam,
                                const double* ys_in_cam,
                                const double* zs_in_cam,
                                int num,
                                double* xs,
                                double* ys) const {
  ProjectPinhole(
      xs_in_cam, ys_in_cam, zs_in_cam, num, fx_, fy_, cx_, cy_, xs, ys);
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

void ScaledCamera::ProjectMany(const double* xs_in_cam,
                               const double* ys_in_cam,
                               const double* zs_in_cam,
                               int num,
                               double* xs,
                               double* ys) const {
  camera_->ProjectMany(xs_in_cam, ys_in_cam, zs_in_cam, num, xs, ys);
  for (int i = 0; i < num; ++i) {
    xs[i] = principal_point_.x() + scale_ * (xs[i] - principal_point_.x());
    ys[i] = principal_point_.y() + scale_ * (ys[i] - principal_point_.y());
  }
}

bool ScaledCamera::Unproject(const Eigen::Vector2d& xy,
                             Eigen::Vector3d* bearing) const {
  return camera_->Unproject(principal_point_ + (xy - principal_point_) / scale_,
                            bearing);
}

// x_flipped = width - x, for a point whose own x is flipped as well.
bool FlippedCamera::Project(const Eigen::Vector3d& point_in_cam,
                            Eigen::Vector2d* xy,
                            Eigen::Matrix<double, 2, 3>* jacobian) const {
  const Eigen::Vector3d flipped(
      -point_in_cam.x(), point_in_cam.y(), point_in_cam.z());
  if (!camera_->Project(flipped, xy, jacobian)) {
    return false;
  }
  xy->x() = Width() - xy->x();
  if (jacobian != nullptr) {
    jacobian->col(0) *= -1.0;
    jacobian->row(0) *= -1.0;
  }
  return true;
}

bool FlippedCamera::Unproject(const Eigen::Vector2d& xy,
                              Eigen::Vector3d* bearing) const {
  if (!camera_->Unproject({Width() - xy.x(), xy.y()}, bearing)) {
    return false;
  }
  bearing->x() *= -1.0;
  return true;
}

Eigen::Vector2d PictureTurn::operator*(const Eigen::Vector2d& xy) const {
  switch (num_quarters_) {
    case 1:
      return {height_ - xy.y(), xy.x()};
    case 2:
      return {width_ - xy.x(), height_ - xy.y()};
    case 3:
      return {xy.y(), width_ - xy.x()};
    default:
      return xy;
  }
}

Eigen::Matrix3d PictureTurn::Rotation() const {
  constexpr double kCosines[] = {1.0, 0.0, -1.0, 0.0};
  const double cosine = kCosines[num_quarters_];
  const double sine = kCosines[(num_quarters_ + 3) % 4];
  Eigen::Matrix3d rotation;
  rotation << cosine, -sine, 0.0,  //
      sine, cosine, 0.0,           //
      0.0, 0.0, 1.0;
  return rotation;
}

bool TurnedCamera::Project(const Eigen::Vector3d& point_in_cam,
                           Eigen::Vector2d* xy,
                           Eigen::Matrix<double, 2, 3>* jacobian) const {
  const Eigen::Matrix3d rotation = turn_.Rotation();
  if (!camera_->Project(rotation.transpose() * point_in_cam, xy, jacobian)) {
    return false;
  }
  *xy = turn_ * *xy;
  if (jacobian != nullptr) {
    *jacobian =
        rotation.topLeftCorner<2, 2>() * *jacobian * rotation.transpose();
  }
  return true;
}

void TurnedCamera::ProjectMany(const double* xs_in_cam,
                               const double* ys_in_cam,
                               const double* zs_in_cam,
                               int num,
                               double* xs,
                               double* ys) const {
  // In blocks, whose points before the turn need no memory of their own.
  constexpr int kBlock = 256;
  const Eigen::Matrix2d rotation =
      turn_.Rotation().topLeftCorner<2, 2>().transpose();
  Eigen::Matrix<double, 2, kBlock, Eigen::RowMajor> before;
  for (int begin = 0; begin < num; begin += kBlock) {
    const int size = std::min(kBlock, num - begin);
    for (int i = 0; i < size; ++i) {
      before.col(i) = rotation * Eigen::Vector2d(xs_in_cam[begin + i],
                                                 ys_in_cam[begin + i]);
    }
    camera_->ProjectMany(before.row(0).data(),
                         before.row(1).data(),
                         zs_in_cam + begin,
                         size,
                         xs + begin,
                         ys + begin);
    for (int i = begin; i < begin + size; ++i) {
      const Eigen::Vector2d xy = turn_ * Eigen::Vector2d(xs[i], ys[i]);
      xs[i] = xy.x();
      ys[i] = xy.y();
    }
  }
}

bool TurnedCamera::Unproject(const Eigen::Vector2d& xy,
                             Eigen::Vector3d* bearing) const {
  if (!camera_->Unproject(turn_.Inverse() * xy, bearing)) {
    return false;
  }
  *bearing = turn_.Rotation() * *bearing;
  return true;
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
