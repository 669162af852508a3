// What the estimator is asked: the pose of a camera that sees known points
// somewhere, as their loss maps say.
#pragma once

#include <memory>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/point_view.h"
#include "nre/priors.h"

namespace nre {

// Computes fine loss maps in windows around given positions of the query image.
class FineMapSource {
 public:
  virtual ~FineMapSource() = default;

  // Returns one map per point, centred on xy_image[point] (image coordinates);
  // a non-finite position gives an uninformative map.
  virtual std::unique_ptr<LossMaps> Compute(
      const std::vector<Eigen::Vector2d>& xy_image) const = 0;
};

// Errors of poses that the maps of one query do not show.
struct SharedErrors {
  // How much larger the squared errors of poses are than the scatter of the
  // maps' peaks says, since descriptors have errors that neighbours share. 1
  // for maps whose errors are their own.
  double covariance_factor = 1.0;
  // Standard deviation of a displacement, in x and in y, that all points in a
  // quarter of the image share since reference poses, cameras and 3D points are
  // not exact: as an angle (rad). However many points there are, they do not
  // average it out.
  double quarter_angle = 0.0;
};

// One view: a camera, the points that it may see and where. Keeps references;
// all must outlive it. `points_in_world`, the maps and `point_views` go
// together.
struct PoseProblem {
  const Camera& camera;
  const std::vector<Eigen::Vector3d>& points_in_world;  // [N]
  const LossMaps& coarse;                               // of N points
  const FineMapSource& fine;
  Priors priors = {};
  SharedErrors shared_errors = {};
  // How the points looked where their descriptors were taken, [N], or null; the
  // NRE does not try poses that would show them otherwise.
  const PointView* point_views = nullptr;
};

}  // namespace nre
