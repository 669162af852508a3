// The loss that shapes features for feature-metric PnP. Only for training:
// includes LibTorch. Words, coordinates and the letters of shapes as in
// map_sampling.h.
#pragma once

#include <ATen/core/Generator.h>
#include <torch/types.h>

namespace nre {

struct GaussNewtonLossOptions {
  // Added to the diagonal of J^T J, so that it can be inverted, however flat
  // the features. The gradients by J are at most of the order of 1 /
  // sqrt(epsilon) each. 1e-9 in the report's code.
  double epsilon = 1e-9;

  // Weights of e1 and e2 below. 1 and 2/7 in the report and its code's class,
  // whose scripts have 1 and 1, as GN-Net.
  double error_weight = 1.0;
  double determinant_weight = 2.0 / 7.0;

  bool Check() const;
};

// The Gauss-Newton loss (von Stumberg et al., "GN-Net", RA-L 2020, Algorithm 1;
// Xue, Jiang, Chen, "Leveraging Pixel Correspondences for Sparse-to-Dense
// Feature-Metric Localization", 3.4 and slides) of each point: minus the
// log-likelihood of the true position u under the normal distribution that one
// Gauss-Newton step from x_s predicts,
//   r = F(x_s) - f,  J = dF / dx at x_s,  H = J^T J + epsilon I,
//   mu = x_s - H^-1 J^T r,
//   e1 = 1/2 (u - mu)^T H (u - mu),  e2 = ln(2 pi) - 1/2 ln |H|.
// F is interpolated bilinearly, J are central differences of that (over two
// cells, one at the border), as in the feature-metric pose refinement
// (nre/feature_metric.h). The gradient flows through r and J, not through
// positions.
//
// targets: f, [B, N, C]; features: F, [B, C, H, W]; positions: u, [B, N, 2];
// starts: x_s, [B, N, 2]. Positions and starts are clamped to the map; leave
// points that are not inside (IsInside()) out of the mean. Descriptors are
// taken as they are: give unit-norm ones if these are what is compared later.
// Returns [B, N].
//
// The report's code (github.com/zimengjiang/gn_net) differs: it normalises the
// descriptors of r, but differentiates features that are not normalised; swaps
// the neighbours (x0, y1) and (x1, y0) when it interpolates and gets zero at
// whole coordinates; clamps |H| at 1e-16, which stops the gradient of flat
// features; and sums over points. The report weights this loss by 0.5 against
// the contrastive one, its code by 0.003 to 0.3.
torch::Tensor GaussNewtonLoss(const torch::Tensor& targets,
                              const torch::Tensor& features,
                              const torch::Tensor& positions,
                              const torch::Tensor& starts,
                              const GaussNewtonLossOptions& options);

// Positions to start from: each coordinate of positions [B, N, 2] moved by a
// uniform draw from [-vicinity, vicinity] cells of the map at hand (the
// report: 1 "pixel"; its code: 1 cell at every level). generator: of the CPU,
// so that the draw does not depend on the device.
torch::Tensor DrawStarts(const torch::Tensor& positions,
                         double vicinity,
                         at::Generator generator);

}  // namespace nre
