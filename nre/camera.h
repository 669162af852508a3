// Cameras as the estimator sees them: an abstract projection with Jacobian.
#pragma once

#include <vector>

#include <Eigen/Core>

#include "nre/rigid3.h"

namespace nre {

// Any central camera. Image coordinates are COLMAP's: pixels, the centre of
// the top-left pixel is (0.5, 0.5). Implementations are immutable and may be
// used by several threads at once.
class Camera {
 public:
  virtual ~Camera() = default;

  // Size of the image in pixels.
  virtual int Width() const = 0;
  virtual int Height() const = 0;

  // Mean focal length in pixels; converts between angles and pixels.
  virtual double MeanFocalLength() const = 0;

  // Projects a point given in the camera's frame to image coordinates.
  // `jacobian`, if not null, receives d(xy) / d(point_in_cam). Returns false,
  // and leaves the outputs undefined, for a point that has no image: on or
  // behind the camera's plane, or where the model's projection is not finite.
  virtual bool Project(const Eigen::Vector3d& point_in_cam,
                       Eigen::Vector2d* xy,
                       Eigen::Matrix<double, 2, 3>* jacobian) const = 0;

  // Project() for `num` points, coordinate by coordinate; not finite for a
  // point that has no image.
  virtual void ProjectMany(const double* xs_in_cam,
                           const double* ys_in_cam,
                           const double* zs_in_cam,
                           int num,
                           double* xs,
                           double* ys) const;

  // The unit-length viewing direction of image coordinates, in the camera's
  // frame. Returns false where the model cannot be inverted.
  virtual bool Unproject(const Eigen::Vector2d& xy,
                         Eigen::Vector3d* bearing) const = 0;
};

// Pinhole camera without distortion (COLMAP's PINHOLE).
class PinholeCamera : public Camera {
 public:
  PinholeCamera(
      int width, int height, double fx, double fy, double cx, double cy);

  int Width() const override { return width_; }
  int Height() const override { return height_; }
  double MeanFocalLength() const override { return 0.5 * (fx_ + fy_); }
  bool Project(const Eigen::Vector3d& point_in_cam,
               Eigen::Vector2d* xy,
               Eigen::Matrix<double, 2, 3>* jacobian) const override;
  void ProjectMany(const double* xs_in_cam,
                   const double* ys_in_cam,
                   const double* zs_in_cam,
                   int num,
                   double* xs,
                   double* ys) const override;
  bool Unproject(const Eigen::Vector2d& xy,
                 Eigen::Vector3d* bearing) const override;

 private:
  int width_;
  int height_;
  double fx_, fy_, cx_, cy_;
};

// A camera with another focal length. In all of COLMAP's models but the
// panorama an image position is the principal point plus the focal length(s)
// times a distorted normalised position, so that another focal length scales
// the image about the principal point; the ratio of fx and fy and the
// distortion stay.
class ScaledCamera : public Camera {
 public:
  // Keeps the reference. Its focal length is `scale` > 0 times that of
  // `camera`, which must see the point (0, 0, 1): its principal point.
  ScaledCamera(const Camera& camera, double scale);
  ScaledCamera(const Camera& camera,
               const Eigen::Vector2d& principal_point,
               double scale)
      : camera_(&camera), principal_point_(principal_point), scale_(scale) {}

  int Width() const override { return camera_->Width(); }
  int Height() const override { return camera_->Height(); }
  double MeanFocalLength() const override {
    return scale_ * camera_->MeanFocalLength();
  }
  bool Project(const Eigen::Vector3d& point_in_cam,
               Eigen::Vector2d* xy,
               Eigen::Matrix<double, 2, 3>* jacobian) const override;
  void ProjectMany(const double* xs_in_cam,
                   const double* ys_in_cam,
                   const double* zs_in_cam,
                   int num,
                   double* xs,
                   double* ys) const override;
  bool Unproject(const Eigen::Vector2d& xy,
                 Eigen::Vector3d* bearing) const override;

  // d(xy) / d(ln scale) at an image position.
  Eigen::Vector2d LogScaleJacobian(const Eigen::Vector2d& xy) const {
    return xy - principal_point_;
  }

 private:
  const Camera* camera_;
  Eigen::Vector2d principal_point_;
  double scale_;
};

// The camera of a picture that is flipped left to right.
class FlippedCamera : public Camera {
 public:
  // Keeps the reference to the camera of the picture as it was.
  explicit FlippedCamera(const Camera& camera) : camera_(&camera) {}

  int Width() const override { return camera_->Width(); }
  int Height() const override { return camera_->Height(); }
  double MeanFocalLength() const override { return camera_->MeanFocalLength(); }
  bool Project(const Eigen::Vector3d& point_in_cam,
               Eigen::Vector2d* xy,
               Eigen::Matrix<double, 2, 3>* jacobian) const override;
  bool Unproject(const Eigen::Vector2d& xy,
                 Eigen::Vector3d* bearing) const override;

 private:
  const Camera* camera_;
};

// Image coordinates of world points; NaN for points that have no image.
std::vector<Eigen::Vector2d> ProjectAll(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const Rigid3d& cam_from_world);

// The image of the optical axis. Throws std::invalid_argument if the camera
// has none.
Eigen::Vector2d PrincipalPoint(const Camera& camera);

}  // namespace nre
