// 90 % intervals, by drawing what was measured again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "scripts/benchmark/quantile.h"

namespace nre {

// A value with its 90 % interval.
struct Estimate {
  double value = 0.0;
  double lower = 0.0;
  double upper = 0.0;
};

constexpr size_t kNumResamples = 2000;

// Returns [1 + kNumResamples][num], how often each of `num` is drawn if as many
// are drawn at random; the first one has all once.
inline std::vector<std::vector<int>> DrawResamples(size_t num, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::vector<int>> draws(1 + kNumResamples, std::vector<int>(num));
  draws[0].assign(num, 1);
  for (size_t r = 1; r < draws.size(); ++r) {
    for (size_t i = 0; i < num; ++i) ++draws[r][random() % num];
  }
  return draws;
}

// Returns the estimate whose value is the first of the values; the others are
// those of resamples.
inline Estimate WithInterval(const std::vector<double>& values) {
  const std::vector<double> resampled(values.begin() + 1, values.end());
  return {values[0], Quantile(resampled, 0.05), Quantile(resampled, 0.95)};
}

}  // namespace nre
