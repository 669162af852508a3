#include "nre/camera.h"

#include <algorithm>
#include <cmath>
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

CorrectedCamera::CorrectedCamera(const Camera& camera,
                                 const CameraCorrection& correction)
    : CorrectedCamera(camera, PrincipalPoint(camera), correction) {}

CorrectedCamera::CorrectedCamera(const Camera& camera,
                                 const Eigen::Vector2d& principal_point,
                                 const CameraCorrection& correction)
    : camera_(&camera),
      principal_point_(principal_point),
      correction_(correction),
      radial_per_px2_(correction.radial /
                      (camera.MeanFocalLength() * camera.MeanFocalLength())) {}

bool CorrectedCamera::Correct(const Eigen::Vector2d& xy,
                              Eigen::Vector2d* corrected) const {
  const Eigen::Vector2d from_center = xy - principal_point_;
  const double distortion = radial_per_px2_ * from_center.squaredNorm();
  *corrected = principal_point_ + correction_.shift +
               correction_.focal_scale * (1.0 + distortion) * from_center;
  return 1.0 + 3.0 * distortion > 0.0 && corrected->allFinite();
}

bool CorrectedCamera::Project(const Eigen::Vector3d& point_in_cam,
                              Eigen::Vector2d* xy,
                              Eigen::Matrix<double, 2, 3>* jacobian) const {
  return Project(point_in_cam, xy, jacobian, nullptr);
}

bool CorrectedCamera::Project(const Eigen::Vector3d& point_in_cam,
                              Eigen::Vector2d* xy,
                              Eigen::Matrix<double, 2, 3>* jacobian,
                              ByCorrection* by_correction) const {
  Eigen::Vector2d given;
  if (!camera_->Project(point_in_cam, &given, jacobian) ||
      !Correct(given, xy)) {
    return false;
  }
  const Eigen::Vector2d from_center = given - principal_point_;
  const double distortion = radial_per_px2_ * from_center.squaredNorm();
  if (jacobian != nullptr) {
    if (radial_per_px2_ != 0.0) {
      *jacobian =
          ((1.0 + distortion) * Eigen::Matrix2d::Identity() +
           2.0 * radial_per_px2_ * from_center * from_center.transpose()) *
          jacobian->eval();
    }
    *jacobian *= correction_.focal_scale;
  }
  if (by_correction != nullptr) {
    const double focal_length = camera_->MeanFocalLength();
    by_correction->col(0) =
        correction_.focal_scale * (1.0 + distortion) * from_center;
    by_correction->middleCols<2>(1).setIdentity();
    by_correction->col(3) = correction_.focal_scale *
                            from_center.squaredNorm() /
                            (focal_length * focal_length) * from_center;
  }
  return true;
}

void CorrectedCamera::ProjectMany(const double* xs_in_cam,
                                  const double* ys_in_cam,
                                  const double* zs_in_cam,
                                  int num,
                                  double* xs,
                                  double* ys) const {
  camera_->ProjectMany(xs_in_cam, ys_in_cam, zs_in_cam, num, xs, ys);
  Eigen::Vector2d corrected;
  for (int i = 0; i < num; ++i) {
    if (!Correct({xs[i], ys[i]}, &corrected)) {
      corrected.setConstant(std::numeric_limits<double>::quiet_NaN());
    }
    xs[i] = corrected.x();
    ys[i] = corrected.y();
  }
}

bool CorrectedCamera::Unproject(const Eigen::Vector2d& xy,
                                Eigen::Vector3d* bearing) const {
  constexpr int kMaxNumSteps = 50;
  constexpr double kTolerance = 1e-12;
  const Eigen::Vector2d distorted =
      (xy - principal_point_ - correction_.shift) / correction_.focal_scale;
  const double radius = distorted.norm();
  if (radial_per_px2_ == 0.0 || radius == 0.0) {
    return camera_->Unproject(principal_point_ + distorted, bearing);
  }
  // Newton's steps for r (1 + k r^2) = radius.
  double r = radius;
  for (int i = 0; i < kMaxNumSteps; ++i) {
    const double slope = 1.0 + 3.0 * radial_per_px2_ * r * r;
    const double step = (r + radial_per_px2_ * r * r * r - radius) / slope;
    r -= step;
    if (!(slope > 0.0)) {
      return false;
    }
    if (std::abs(step) <= kTolerance * radius) {
      return camera_->Unproject(principal_point_ + r / radius * distorted,
                                bearing);
    }
  }
  return false;
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
