// Cameras as the estimator sees them: an abstract projection with Jacobian.
#pragma once

#include <optional>
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

// How a camera's image differs from what its parameters say: its focal length
// is `focal_scale` times as long, its principal point lies elsewhere by `shift`
// (px), and it has a radial distortion on top of its own.
struct CameraCorrection {
  double focal_scale = 1.0;
  Eigen::Vector2d shift = Eigen::Vector2d::Zero();
  double radial = 0.0;  // 1 + radial r^2, r in focal lengths of the camera

  bool IsNone() const {
    return focal_scale == 1.0 && shift.isZero(0.0) && radial == 0.0;
  }
};

// A corrected camera. In all of COLMAP's models but the panorama an image
// position is the principal point c plus the focal length(s) times a distorted
// normalised position, so that a correction is one of the image:
// c + shift + focal_scale (1 + radial |xy - c|^2 / f^2) (xy - c), with f the
// mean focal length of the camera given. The ratio of fx and fy stays.
class CorrectedCamera : public Camera {
 public:
  // d(xy) by ln(focal_scale), shift and radial.
  using ByCorrection = Eigen::Matrix<double, 2, 4>;

  // Keeps the reference. focal_scale > 0; `camera` must see the point (0, 0,
  // 1): its principal point.
  CorrectedCamera(const Camera& camera, const CameraCorrection& correction);
  CorrectedCamera(const Camera& camera,
                  const Eigen::Vector2d& principal_point,
                  const CameraCorrection& correction);

  int Width() const override { return camera_->Width(); }
  int Height() const override { return camera_->Height(); }
  double MeanFocalLength() const override {
    return correction_.focal_scale * camera_->MeanFocalLength();
  }
  // Nothing has an image beyond where the distortion turns back.
  bool Project(const Eigen::Vector3d& point_in_cam,
               Eigen::Vector2d* xy,
               Eigen::Matrix<double, 2, 3>* jacobian) const override;
  bool Project(const Eigen::Vector3d& point_in_cam,
               Eigen::Vector2d* xy,
               Eigen::Matrix<double, 2, 3>* jacobian,
               ByCorrection* by_correction) const;
  void ProjectMany(const double* xs_in_cam,
                   const double* ys_in_cam,
                   const double* zs_in_cam,
                   int num,
                   double* xs,
                   double* ys) const override;
  bool Unproject(const Eigen::Vector2d& xy,
                 Eigen::Vector3d* bearing) const override;

 private:
  // The position that corresponds to `xy` of the camera given. Returns false
  // for one that has none.
  bool Correct(const Eigen::Vector2d& xy, Eigen::Vector2d* corrected) const;

  const Camera* camera_;
  Eigen::Vector2d principal_point_;
  CameraCorrection correction_;
  double radial_per_px2_;
};

// The camera, corrected if there is anything to correct. Keeps the reference.
class CameraOf {
 public:
  CameraOf(const Camera& camera, const CameraCorrection& correction)
      : camera_(&camera) {
    if (!correction.IsNone()) {
      corrected_.emplace(camera, correction);
    }
  }
  operator const Camera&() const {
    return corrected_ ? static_cast<const Camera&>(*corrected_) : *camera_;
  }

 private:
  const Camera* camera_;
  std::optional<CorrectedCamera> corrected_;
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

// A picture that is turned clockwise by so many quarters of a full turn: image
// coordinates and points in its camera's frame before and after. What it turns
// to the top is then the top of the camera's frame.
class PictureTurn {
 public:
  // `num_quarters`: any number; `width` and `height`: of the picture before.
  PictureTurn(int num_quarters, int width, int height)
      : num_quarters_(((num_quarters % 4) + 4) % 4),
        width_(width),
        height_(height) {}

  int num_quarters() const { return num_quarters_; }

  // Of the picture after.
  int Width() const { return num_quarters_ % 2 == 0 ? width_ : height_; }
  int Height() const { return num_quarters_ % 2 == 0 ? height_ : width_; }

  PictureTurn Inverse() const { return {-num_quarters_, Width(), Height()}; }

  Eigen::Vector2d operator*(const Eigen::Vector2d& xy) const;

  // turned_from_cam: about the optical axis.
  Eigen::Matrix3d Rotation() const;

 private:
  int num_quarters_;  // 0 to 3
  int width_;
  int height_;
};

// The camera of a turned picture, whatever the model: distortion turns along.
class TurnedCamera : public Camera {
 public:
  // Keeps the reference to the camera of the picture as it was.
  TurnedCamera(const Camera& camera, int num_quarters)
      : camera_(&camera),
        turn_(num_quarters, camera.Width(), camera.Height()) {}

  int Width() const override { return turn_.Width(); }
  int Height() const override { return turn_.Height(); }
  double MeanFocalLength() const override { return camera_->MeanFocalLength(); }
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
  const Camera* camera_;
  PictureTurn turn_;
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
