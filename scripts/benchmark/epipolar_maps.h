// What maps are worth where only the relative pose of two images is known: a
// point of the one lies somewhere on a line in the other.
#pragma once

#include <cstddef>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/rigid3.h"
#include "scripts/calibration/map_quality.h"

namespace nre {

// The part of an epipolar line that a point in front of both cameras can have
// its image on, as image coordinates [2, N] of points less than a pixel apart,
// or two with a wide lens; with distortion it is a curve. `xy` is the point in
// the reference. Empty if the line misses the query's picture, or the camera
// cannot be inverted at `xy`.
Eigen::Matrix2Xd EpipolarLine(const Camera& reference,
                              const Camera& query,
                              const Rigid3d& query_from_reference,
                              const Eigen::Vector2d& xy);

// A point of the reference, and its line in the query.
struct EpipolarPoint {
  Eigen::Vector2d xy = Eigen::Vector2d::Zero();
  Eigen::Matrix2Xd line;
};

// Sums over the points of some pairs. A cell is near a line if its centre is
// within one unit of length, the cell of EvaluateEpipolar(), of it.
struct EpipolarStatistics {
  // min(-ln p, -ln p0) of each point: p is the probability that the
  // correspondence map gives all cells near the line together, p0 that of a
  // uniform map. So, as with the NRE, a map that says nothing costs the most.
  double nre = 0.0;
  double max_nre = 0.0;  // -ln p0
  // Shares of cells that are within one and two units of the line: how often a
  // cell drawn at random would be.
  double chance_1 = 0.0;
  double chance_2 = 0.0;
  // Distance of each point's highest cell from the line, in units; infinite
  // for a point without a descriptor.
  std::vector<double> errors;
};

// Whole maps of the points' descriptors; `cell_px` is the unit of length, in
// pixels of the query.
EpipolarStatistics EvaluateEpipolar(const std::vector<EpipolarPoint>& points,
                                    const PairFeatures& features,
                                    double scale,
                                    double cell_px);

}  // namespace nre
