// Absolute pose from three points.
#pragma once

#include <array>

#include <Eigen/Core>

#include "nre/rigid3.h"

namespace nre {

// All poses cam_from_world (at most four) that put three world points, in
// front of the camera, on three unit-length bearings of the camera's frame.
// Returns their number; 0 for collinear or coincident points.
//
// The squared distances of the points give three quadratic forms in the
// depths. Eliminating the scale leaves two conics, whose common points lie on
// the line pair of a degenerate member of their pencil (a cubic's root), as in
// Persson & Nordberg, "Lambda Twist", ECCV 2018, and Ding et al., "Revisiting
// the P3P Problem", CVPR 2023; the pair is split as in Richter-Gebert,
// "Perspectives on Projective Geometry", section 11.1. Depths are polished by
// Newton steps on the distances.
int SolveP3P(const std::array<Eigen::Vector3d, 3>& bearings,
             const std::array<Eigen::Vector3d, 3>& points_in_world,
             std::array<Rigid3d, 4>* cams_from_world);

}  // namespace nre
