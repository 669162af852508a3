// Random numbers for training data. Only for training: includes LibTorch.
#pragma once

#include <cstdint>
#include <functional>

#include <ATen/core/Generator.h>
#include <torch/types.h>

namespace nre {

// Numbers and tensors (on the CPU, float32) drawn from a generator of the CPU.
class Draws {
 public:
  explicit Draws(at::Generator generator);

  double Uniform();  // in [0, 1)
  double Uniform(double min, double max);
  double LogUniform(double min, double max);  // 0 < min <= max
  double Normal();
  bool Chance(double probability);
  int64_t Index(int64_t size);  // in [0, size)
  double Sign();                // -1 or 1

  torch::Tensor UniformTensor(at::IntArrayRef sizes);  // in [0, 1)
  torch::Tensor NormalTensor(at::IntArrayRef sizes);

 private:
  at::Generator generator_;
};

// Calls make(i, draws) for 0 <= i < num, in parallel (unless told), without
// gradients. Each has draws of its own, seeded from the generator, and its
// tensor operations run in one thread, so that the result does not depend on
// the number of threads.
void ForEachItem(int64_t num,
                 at::Generator generator,
                 bool in_parallel,
                 const std::function<void(int64_t, Draws*)>& make);

}  // namespace nre
