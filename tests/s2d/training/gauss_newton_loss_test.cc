#include "s2d/training/gauss_newton_loss.h"

#include <cmath>

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "nre/feature_metric.h"
#include "s2d/training/map_sampling.h"
#include "tests/s2d/training/gradient_check.h"

namespace nre {
namespace {

using torch::Tensor;

const double kLogTwoPi = std::log(2.0 * std::acos(-1.0));

GaussNewtonLossOptions Options(double error_weight,
                               double determinant_weight,
                               double epsilon = 1e-9) {
  GaussNewtonLossOptions options;
  options.error_weight = error_weight;
  options.determinant_weight = determinant_weight;
  options.epsilon = epsilon;
  return options;
}

// F(x, y) = (2 x, 3 y + 1) on 6 x 5 cells.
Tensor LinearFeatures() {
  const Tensor x = torch::arange(5, torch::kFloat64).view({1, 5});
  const Tensor y = torch::arange(6, torch::kFloat64).view({6, 1});
  return torch::stack({2.0 * x.expand({6, 5}), 3.0 * y.expand({6, 5}) + 1.0})
      .unsqueeze(0);
}

TEST(GaussNewtonLoss, IsThatOfHandComputedCases) {
  const Tensor positions = Doubles({2.0, 3.0, 2.0, 3.0, 1.5, 3.25}, {1, 3, 2});
  // At the border, too, a step on linear features is exact.
  const Tensor starts = Doubles({2.4, 2.1, 2.0, 3.0, 0.0, 5.0}, {1, 3, 2});
  const Tensor exact = SampleFeatures(LinearFeatures(), positions);
  const auto loss = [&](const Tensor& targets, double w1, double w2) {
    return GaussNewtonLoss(
        targets, LinearFeatures(), positions, starts, Options(w1, w2));
  };
  EXPECT_LT(loss(exact, 1.0, 0.0).abs().max().item<double>(), 1e-12);
  // A target that is off by (1, -2) moves mu by J^-1 (1, -2): e1 = 5 / 2.
  const Tensor off = exact + Doubles({1.0, -2.0}, {2});
  EXPECT_TRUE(
      loss(off, 1.0, 0.0).allclose(torch::full({1, 3}, 2.5, torch::kFloat64)));
  // |H| = (2 * 3)^2.
  const double e2 = kLogTwoPi - std::log(6.0);
  EXPECT_TRUE(
      loss(exact, 0.0, 1.0).allclose(torch::full({1, 3}, e2, torch::kFloat64)));
  EXPECT_TRUE(
      loss(off, 3.0, 0.5)
          .allclose(torch::full({1, 3}, 7.5 + 0.5 * e2, torch::kFloat64)));
}

struct Problem {
  Tensor targets = RandomDoubles({2, 5, 4});
  Tensor features = RandomDoubles({2, 4, 6, 7});
  Tensor positions =
      torch::rand({2, 5, 2}, torch::kFloat64) * Doubles({6.0, 5.0}, {2});
  Tensor starts = DrawStarts(positions, 1.0, at::detail::createCPUGenerator(1));
};

// The algorithm as it is written, with matrices.
TEST(GaussNewtonLoss, IsThatOfTheAlgorithm) {
  torch::manual_seed(1);
  const Problem problem;
  constexpr double kEpsilon = 0.3;
  const Tensor losses = GaussNewtonLoss(problem.targets,
                                        problem.features,
                                        problem.positions,
                                        problem.starts,
                                        Options(1.0, 0.4, kEpsilon));
  for (int64_t b = 0; b < 2; ++b) {
    const Tensor features = problem.features.narrow(0, b, 1);
    const auto sample = [&](double x, double y) {
      return SampleFeatures(features, Doubles({x, y}, {1, 1, 2})).flatten();
    };
    for (int64_t i = 0; i < 5; ++i) {
      const double x =
          std::clamp(problem.starts[b][i][0].item<double>(), 0.0, 6.0);
      const double y =
          std::clamp(problem.starts[b][i][1].item<double>(), 0.0, 5.0);
      const double x_after = std::min(x + 1.0, 6.0);
      const double x_before = std::max(x - 1.0, 0.0);
      const double y_after = std::min(y + 1.0, 5.0);
      const double y_before = std::max(y - 1.0, 0.0);
      const Tensor jacobian = torch::stack(
          {(sample(x_after, y) - sample(x_before, y)) / (x_after - x_before),
           (sample(x, y_after) - sample(x, y_before)) / (y_after - y_before)},
          1);
      const Tensor residual = sample(x, y) - problem.targets[b][i];
      const Tensor hessian = jacobian.t().matmul(jacobian) +
                             kEpsilon * torch::eye(2, torch::kFloat64);
      const Tensor mu =
          Doubles({x, y}, {2}) -
          torch::inverse(hessian).matmul(jacobian.t().matmul(residual));
      const Tensor error = problem.positions[b][i] - mu;
      const double e1 = 0.5 * error.dot(hessian.matmul(error)).item<double>();
      const double e2 =
          kLogTwoPi - 0.5 * std::log(torch::det(hessian).item<double>());
      EXPECT_NEAR(losses[b][i].item<double>(), e1 + 0.4 * e2, 1e-10);
    }
  }
}

TEST(GaussNewtonLoss, HasTheGradientOfFiniteDifferences) {
  torch::manual_seed(2);
  const Problem problem;
  const Tensor weights = RandomDoubles({2, 5});
  ExpectGradients(
      [&](const std::vector<Tensor>& inputs) {
        return (weights * GaussNewtonLoss(inputs[0],
                                          inputs[1],
                                          problem.positions,
                                          problem.starts,
                                          Options(1.0, 0.4, 1e-3)))
            .sum();
      },
      {problem.targets, problem.features});
}

// J^T J is that of the estimator that the features are trained for.
TEST(GaussNewtonLoss, HasTheHessianOfFeatureMetricRefinement) {
  torch::manual_seed(3);
  const Tensor features = torch::randn({1, 8, 9, 10});
  const Tensor cells = features[0].permute({1, 2, 0}).contiguous();
  DenseFeatures view;
  view.data = cells.data_ptr<float>();
  view.channels = 8;
  view.height = 9;
  view.width = 10;
  const Tensor target = torch::randn({1, 1, 8});
  for (int i = 0; i < 20; ++i) {
    const Tensor start =
        torch::rand({2}, torch::kFloat64) * Doubles({7.0, 6.0}, {2}) + 1.0;
    const Eigen::Vector2d p(start[0].item<double>(), start[1].item<double>());
    const FeatureDistance expected =
        CompareFeatures(view, target.data_ptr<float>(), p);
    const Eigen::Vector2d step = expected.gram.inverse() * expected.gradient;
    const auto loss = [&](double w1, double w2) {
      return GaussNewtonLoss(target,
                             features,
                             start.view({1, 1, 2}),
                             start.view({1, 1, 2}),
                             Options(w1, w2))
          .item<double>();
    };
    EXPECT_NEAR(loss(0.0, 1.0),
                kLogTwoPi - 0.5 * std::log(expected.gram.determinant()),
                1e-4);
    const double e1 = 0.5 * step.dot(expected.gram * step);
    EXPECT_NEAR(loss(1.0, 0.0), e1, 1e-4 * (1.0 + e1));
  }
}

// Flat, along both axes or one, or along both with parallel derivatives.
TEST(GaussNewtonLoss, IsFiniteForSingularHessians) {
  const Tensor x = torch::arange(5, torch::kFloat32).view({1, 5});
  const Tensor y = torch::arange(5, torch::kFloat32).view({5, 1});
  const Tensor zero = torch::zeros({5, 5});
  for (const Tensor& slope : {zero, zero + x, zero + y, 1e3 * (x + 7.0 * y)}) {
    const Tensor features =
        torch::stack({slope, 0.3 * slope}).unsqueeze(0).requires_grad_();
    const Tensor targets = torch::ones({1, 1, 2}).requires_grad_();
    const Tensor loss = GaussNewtonLoss(targets,
                                        features,
                                        torch::full({1, 1, 2}, 2.2),
                                        torch::full({1, 1, 2}, 1.7),
                                        GaussNewtonLossOptions());
    EXPECT_TRUE(loss.isfinite().all().item<bool>());
    loss.sum().backward();
    EXPECT_TRUE(features.grad().isfinite().all().item<bool>());
    EXPECT_TRUE(targets.grad().isfinite().all().item<bool>());
  }
  const Tensor flat = GaussNewtonLoss(torch::zeros({1, 1, 2}),
                                      torch::ones({1, 2, 5, 5}),
                                      torch::full({1, 1, 2}, 2.0),
                                      torch::full({1, 1, 2}, 1.0),
                                      Options(1.0, 1.0, 1e-4));
  EXPECT_NEAR(flat.item<double>(), 1e-4 + kLogTwoPi - std::log(1e-4), 1e-5);
}

TEST(GaussNewtonLoss, IsFiniteAnywhere) {
  torch::manual_seed(4);
  for (const int64_t size : {1, 2, 4}) {
    const Tensor features = torch::randn({1, 3, size, size}).requires_grad_();
    const Tensor positions =
        torch::tensor({-5.0f, 2.0f, NAN, 1.0f, INFINITY, -INFINITY, 1e30f, 0.f})
            .view({1, 4, 2})
            .to(torch::kFloat64);
    const Tensor losses = GaussNewtonLoss(torch::randn({1, 4, 3}),
                                          features,
                                          positions,
                                          positions,
                                          GaussNewtonLossOptions());
    EXPECT_EQ(losses.scalar_type(), torch::kFloat32);
    EXPECT_TRUE(losses.isfinite().all().item<bool>());
    losses.sum().backward();
    EXPECT_TRUE(features.grad().isfinite().all().item<bool>());
  }
}

TEST(DrawStarts, StaysInTheVicinity) {
  const Tensor positions = torch::full({1, 2000, 2}, 7.0f);
  const auto draw = [&](uint64_t seed) {
    return DrawStarts(positions, 1.5, at::detail::createCPUGenerator(seed));
  };
  const Tensor offsets = draw(1) - positions;
  EXPECT_LE(offsets.abs().max().item<float>(), 1.5f);
  EXPECT_GT(offsets.amax(1).min().item<float>(), 1.45f);
  EXPECT_LT(offsets.amin(1).max().item<float>(), -1.45f);
  EXPECT_LT(offsets.mean(1).abs().max().item<float>(), 0.1f);
  EXPECT_TRUE(draw(1).equal(draw(1)));
  EXPECT_FALSE(draw(1).equal(draw(2)));
}

}  // namespace
}  // namespace nre
