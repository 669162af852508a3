// Gradients against central finite differences.
#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include <gtest/gtest.h>
#include <torch/types.h>

namespace nre {

using TensorFunction =
    std::function<torch::Tensor(const std::vector<torch::Tensor>&)>;

// Expects the gradient of the scalar function(inputs), inputs in double
// precision, to be that of central differences with this step.
inline void ExpectGradients(const TensorFunction& function,
                            const std::vector<torch::Tensor>& inputs,
                            double step = 1e-6,
                            double tolerance = 1e-7) {
  std::vector<torch::Tensor> leaves;
  for (const torch::Tensor& input : inputs) {
    ASSERT_EQ(input.scalar_type(), torch::kFloat64);
    leaves.push_back(input.clone().requires_grad_());
  }
  function(leaves).backward();

  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < leaves.size(); ++i) {
    ASSERT_TRUE(leaves[i].grad().defined()) << "input " << i;
    const torch::Tensor gradient = leaves[i].grad().flatten();
    torch::Tensor values = leaves[i].view(-1);
    for (int64_t j = 0; j < values.size(0); ++j) {
      const double value = values[j].item<double>();
      values[j] = value + step;
      const double after = function(leaves).item<double>();
      values[j] = value - step;
      const double before = function(leaves).item<double>();
      values[j] = value;
      const double expected = (after - before) / (2.0 * step);
      ASSERT_NEAR(gradient[j].item<double>(),
                  expected,
                  tolerance * (1.0 + std::abs(expected)))
          << "input " << i << ", element " << j;
    }
  }
}

// Of fixed numbers in double precision.
inline torch::Tensor Doubles(const std::vector<double>& values,
                             const std::vector<int64_t>& shape) {
  return torch::tensor(values, torch::kFloat64).reshape(shape);
}

inline torch::Tensor RandomDoubles(const std::vector<int64_t>& shape) {
  return torch::randn(shape, torch::kFloat64);
}

}  // namespace nre
