#include "s2d/training/random_draws.h"

#include <cmath>
#include <mutex>
#include <utility>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

namespace nre {
namespace {

uint64_t Draw64Bits(at::Generator generator) {
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return at::check_generator<at::CPUGeneratorImpl>(generator)->random64();
}

}  // namespace

Draws::Draws(at::Generator generator) : generator_(std::move(generator)) {}

double Draws::Uniform() {
  return static_cast<double>(Draw64Bits(generator_) >> 11) * 0x1p-53;
}

double Draws::Uniform(double min, double max) {
  return min + (max - min) * Uniform();
}

double Draws::LogUniform(double min, double max) {
  return std::exp(Uniform(std::log(min), std::log(max)));
}

double Draws::Normal() {
  // Box and Muller's transform.
  const double radius = std::sqrt(-2.0 * std::log(1.0 - Uniform()));
  return radius * std::cos(2.0 * M_PI * Uniform());
}

bool Draws::Chance(double probability) { return Uniform() < probability; }

int64_t Draws::Index(int64_t size) {
  return static_cast<int64_t>(Uniform() * static_cast<double>(size));
}

double Draws::Sign() { return Chance(0.5) ? 1.0 : -1.0; }

torch::Tensor Draws::UniformTensor(at::IntArrayRef sizes) {
  return torch::rand(sizes, generator_);
}

torch::Tensor Draws::NormalTensor(at::IntArrayRef sizes) {
  return torch::randn(sizes, generator_);
}

void ForEachItem(int64_t num,
                 at::Generator generator,
                 bool in_parallel,
                 const std::function<void(int64_t, Draws*)>& make) {
  std::vector<uint64_t> seeds(num);
  for (uint64_t& seed : seeds) seed = Draw64Bits(generator);
  const auto make_range = [&](int64_t begin, int64_t end) {
    const torch::NoGradGuard no_grad;
    for (int64_t i = begin; i < end; ++i) {
      Draws draws(at::detail::createCPUGenerator(seeds[i]));
      make(i, &draws);
    }
  };
  if (in_parallel) {
    at::parallel_for(0, num, /*grain_size=*/1, make_range);
  } else {
    make_range(0, num);
  }
}

}  // namespace nre
