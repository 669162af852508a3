// How a point looked where its descriptor was taken, and whether a pose would
// show it alike. Dense descriptors are upright and of one scale, so that no map
// has its peak at the right place if the query shows the point upside down,
// from behind or ten times as large: poses that do need not be tried.
#pragma once

#include <vector>

#include <Eigen/Core>

#include "nre/rigid3.h"

namespace nre {

struct PointView {
  // Unit vectors in the world: from the camera to the point, and upwards in the
  // image there, orthogonal to that.
  Eigen::Vector3d ray = Eigen::Vector3d::UnitZ();
  Eigen::Vector3d up = -Eigen::Vector3d::UnitY();
  double distance = 0.0;  // from the camera, model units
};

PointView ViewOfPoint(const Rigid3d& cam_from_world,
                      const Eigen::Vector3d& point_in_world);

// What stands for several views of a point: the means of their directions and
// the geometric mean of their distances.
PointView MeanView(const std::vector<PointView>& views);

// More than descriptors bear, so that no pose that they can find is lost.
constexpr double kMaxViewAngleDeg = 120.0;  // between the rays
constexpr double kMaxViewRollDeg = 60.0;    // of the picture around the point
constexpr double kMaxViewScale = 5.0;       // ratio of the distances

// Whether a camera at cam_from_world = [rotation, translation] sees the point
// within these limits of `view`.
bool IsSeenAlike(const PointView& view,
                 const Eigen::Vector3d& point_in_world,
                 const Eigen::Matrix3d& rotation,
                 const Eigen::Vector3d& translation);

}  // namespace nre
