#include "nre/point_view.h"

#include <cmath>

namespace nre {
namespace {

// The part of a vector that is orthogonal to a unit vector.
Eigen::Vector3d Across(const Eigen::Vector3d& vector,
                       const Eigen::Vector3d& ray) {
  return vector - vector.dot(ray) * ray;
}

const Eigen::Vector3d kUpInCam(0.0, -1.0, 0.0);  // y points down

}  // namespace

PointView ViewOfPoint(const Rigid3d& cam_from_world,
                      const Eigen::Vector3d& point_in_world) {
  const Eigen::Vector3d in_cam = cam_from_world * point_in_world;
  const Eigen::Vector3d ray = in_cam.normalized();
  const Eigen::Quaterniond world_from_cam = cam_from_world.rotation.conjugate();
  return {world_from_cam * ray,
          world_from_cam * Across(kUpInCam, ray).normalized(),
          in_cam.norm()};
}

PointView MeanView(const std::vector<PointView>& views) {
  PointView sum{Eigen::Vector3d::Zero(), Eigen::Vector3d::Zero(), 0.0};
  for (const PointView& view : views) {
    sum.ray += view.ray;
    sum.up += view.up;
    sum.distance += std::log(view.distance) / views.size();
  }
  return {sum.ray.normalized(), sum.up.normalized(), std::exp(sum.distance)};
}

bool IsSeenAlike(const PointView& view,
                 const Eigen::Vector3d& point_in_world,
                 const Eigen::Matrix3d& rotation,
                 const Eigen::Vector3d& translation) {
  static const double kMinRayCos = std::cos(kMaxViewAngleDeg * M_PI / 180.0);
  static const double kMinRollCos = std::cos(kMaxViewRollDeg * M_PI / 180.0);
  const Eigen::Vector3d in_cam = rotation * point_in_world + translation;
  const double distance = in_cam.norm();
  if (!(distance < kMaxViewScale * view.distance &&
        view.distance < kMaxViewScale * distance)) {
    return false;
  }
  const Eigen::Vector3d ray = in_cam / distance;
  if (!(ray.dot(rotation * view.ray) > kMinRayCos)) {
    return false;
  }
  const Eigen::Vector3d up = Across(rotation * view.up, ray);
  const Eigen::Vector3d upright = Across(kUpInCam, ray);
  return up.dot(upright) >= kMinRollCos * up.norm() * upright.norm();
}

}  // namespace nre
