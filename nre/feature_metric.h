// Feature-metric pose refinement: Eq. 12 of Germain et al., CVPR 2021, with
// the derivatives of Xue, Jiang, Chen, "Leveraging Pixel Correspondences for
// Sparse-to-Dense Feature-Metric Localization".
#pragma once

#include <string>
#include <vector>

#include <Eigen/Core>
#include <ceres/loss_function.h>
#include <ceres/sized_cost_function.h>

#include "nre/camera.h"
#include "nre/map_from_image.h"
#include "nre/rigid3.h"

namespace nre {

// A view of dense features, [height, width, channels]; does not own them.
struct DenseFeatures {
  const float* data = nullptr;
  int channels = 0;
  int height = 0;
  int width = 0;
  MapFromImage map_from_image;

  const float* At(int x, int y) const {
    return &data[(static_cast<size_t>(y) * width + x) * channels];
  }
};

enum class FeatureMetricLoss { kHuber, kBarron };

// "huber" or "barron"; the other way round, throws InputError for other names.
const char* FeatureMetricLossName(FeatureMetricLoss loss);
FeatureMetricLoss ParseFeatureMetricLoss(const std::string& name);

struct FeatureMetricOptions {
  FeatureMetricLoss loss = FeatureMetricLoss::kBarron;
  // Distance of descriptors (unit norm) at which the loss stops being
  // quadratic. Of losses and scales from 0.1 to 1, this was the best on the
  // data that CreatePoseMethod() names, Huber's with 0.1 as good.
  double scale = 0.25;
  // Shape of Barron's loss, <= 2: 2 is the square, 1 Charbonnier, 0 Cauchy,
  // -2 Geman-McClure.
  double alpha = -2.0;
  int max_num_iterations = 50;

  bool Check() const;
};

// Barron's general and adaptive robust loss (CVPR 2019, Eq. 8), times
// 2 scale^2 and of the squared distance, as Ceres wants it: rho(s) -> s for
// small s.
class BarronLoss : public ceres::LossFunction {
 public:
  // scale > 0, alpha <= 2, finite.
  BarronLoss(double scale, double alpha) : scale_(scale), alpha_(alpha) {}

  void Evaluate(double s, double rho[3]) const override;

 private:
  double scale_;
  double alpha_;
};

// The descriptor's distance |H_q(p) - h| and its derivatives at a position of
// the map: features are interpolated bilinearly, and so are their central
// differences, which take the place of the gradient.
struct FeatureDistance {
  double squared = 0.0;                                // |e|^2
  Eigen::Vector2d gradient = Eigen::Vector2d::Zero();  // (dH/dp)^T e
  Eigen::Matrix2d gram = Eigen::Matrix2d::Zero();      // (dH/dp)^T dH/dp
};

// `descriptor`: [channels]. Beyond the cells whose neighbours all exist, the
// features count as zero.
FeatureDistance CompareFeatures(const DenseFeatures& features,
                                const float* descriptor,
                                const Eigen::Vector2d& p);

// One term of Eq. 12 as a Ceres cost function. Parameters as those of
// NreCostFunction. Instead of
// e, which has as many numbers as there are channels, and D = dH/dp with D^T D
// = A^T A (A: 2 x 2, by Cholesky), there are three residuals,
//   r = (A^-T D^T e, sqrt(|e|^2 - |A^-T D^T e|^2)),
// the last with a zero Jacobian row. |r|^2, J^T r and J^T J are those of e.
// Behind the camera the features count as zero, too.
class FeatureMetricCostFunction : public ceres::SizedCostFunction<3, 4, 3> {
 public:
  // Keeps the pointers.
  FeatureMetricCostFunction(const Camera* camera,
                            const DenseFeatures* features,
                            const float* descriptor,
                            const Eigen::Vector3d& point_in_world);

  bool Evaluate(double const* const* parameters,
                double* residuals,
                double** jacobians) const override;

 private:
  const Camera* camera_;
  const DenseFeatures* features_;
  const float* descriptor_;
  Eigen::Vector3d point_in_world_;
};

// Minimises Eq. 12 over the pose by Levenberg-Marquardt on the manifold, in
// place, with the points `use` (indices). `descriptors`: [N, channels].
// Returns the final cost, sum rho / 2.
double RefinePoseFeatureMetric(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const DenseFeatures& features,
    const float* descriptors,
    const std::vector<size_t>& use,
    const FeatureMetricOptions& options,
    Rigid3d* cam_from_world);

}  // namespace nre
