// The colmap:: types that the plugin works with, and one spelling for what
// COLMAP 3.8 and 4.1 spell differently. The files of this folder are the only
// ones that look at NRE_COLMAP_VERSION (308 or 401).
//
// To be included before the other rooms' headers: COLMAP 3.8 specialises
// std::vector for some Eigen types. For the same reason, no function that
// passes a std::vector<Eigen::Vector2d> is called across the rooms.
#pragma once

#if NRE_COLMAP_VERSION < 400
// clang-format off
#include <base/reconstruction.h>
// clang-format on
#include <base/camera_models.h>
#include <util/version.h>
#else
#include <colmap/scene/reconstruction.h>
#include <colmap/sensor/models.h>
#include <colmap/util/version.h>
#endif

#include <string>
#include <vector>

#include "nre/rigid3.h"

namespace nre {

#if NRE_COLMAP_VERSION < 400

inline int CameraModelIdOf(const colmap::Camera& camera) {
  return camera.ModelId();
}
inline int CameraWidth(const colmap::Camera& camera) {
  return static_cast<int>(camera.Width());
}
inline int CameraHeight(const colmap::Camera& camera) {
  return static_cast<int>(camera.Height());
}
inline const std::vector<double>& CameraParams(const colmap::Camera& camera) {
  return camera.Params();
}
inline void SetCameraId(colmap::camera_t camera_id, colmap::Camera* camera) {
  camera->SetCameraId(camera_id);
}

inline bool HasPose(const colmap::Image& image) { return image.IsRegistered(); }

// The image must have a pose.
inline Rigid3d CamFromWorld(const colmap::Image& image) {
  const Eigen::Vector4d& q = image.Qvec();
  return {Eigen::Quaterniond(q(0), q(1), q(2), q(3)).normalized(),
          image.Tvec()};
}

inline const Eigen::Vector2d& XY(const colmap::Point2D& point) {
  return point.XY();
}
inline colmap::point3D_t Point3DId(const colmap::Point2D& point) {
  return point.Point3DId();
}
inline const Eigen::Vector3d& XYZ(const colmap::Point3D& point) {
  return point.XYZ();
}
inline const colmap::Track& TrackOf(const colmap::Point3D& point) {
  return point.Track();
}

#else

inline int CameraModelIdOf(const colmap::Camera& camera) {
  return static_cast<int>(camera.model_id);
}
inline int CameraWidth(const colmap::Camera& camera) {
  return static_cast<int>(camera.width);
}
inline int CameraHeight(const colmap::Camera& camera) {
  return static_cast<int>(camera.height);
}
inline const std::vector<double>& CameraParams(const colmap::Camera& camera) {
  return camera.params;
}
inline void SetCameraId(colmap::camera_t camera_id, colmap::Camera* camera) {
  camera->camera_id = camera_id;
}

inline bool HasPose(const colmap::Image& image) { return image.HasPose(); }

// The image must have a pose.
inline Rigid3d CamFromWorld(const colmap::Image& image) {
  const colmap::Rigid3d pose = image.CamFromWorld();
  return {Eigen::Quaterniond(pose.rotation()).normalized(),
          Eigen::Vector3d(pose.translation())};
}

inline const Eigen::Vector2d& XY(const colmap::Point2D& point) {
  return point.xy;
}
inline colmap::point3D_t Point3DId(const colmap::Point2D& point) {
  return point.point3D_id;
}
inline const Eigen::Vector3d& XYZ(const colmap::Point3D& point) {
  return point.xyz;
}
inline const colmap::Track& TrackOf(const colmap::Point3D& point) {
  return point.track;
}

#endif

}  // namespace nre
