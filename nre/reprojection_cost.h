// The reprojection error of matches, for any camera.
#pragma once

#include <vector>

#include <Eigen/Core>
#include <ceres/sized_cost_function.h>

#include "nre/camera.h"
#include "nre/point_match.h"
#include "nre/rigid3.h"

namespace nre {

// Projection minus match, in pixels. Parameters as those of NreCostFunction.
// Evaluate() returns false, and Ceres refuses the step, where the point has no
// image.
class ReprojectionCostFunction : public ceres::SizedCostFunction<2, 4, 3> {
 public:
  // Keeps the pointers.
  ReprojectionCostFunction(const Camera* camera, const PointMatch* match);

  bool Evaluate(double const* const* parameters,
                double* residuals,
                double** jacobians) const override;

 private:
  const Camera* camera_;
  const PointMatch* match_;
};

// Minimises the matches' reprojection errors with a Cauchy loss of this scale,
// in place. Of the matches, only those within `max_error_px` of their
// projections at the start are used. Returns their number; with fewer than
// three, nothing is done.
int RefinePoseReprojection(const Camera& camera,
                           const std::vector<PointMatch>& matches,
                           double max_error_px,
                           double loss_scale_px,
                           Rigid3d* cam_from_world);

}  // namespace nre
