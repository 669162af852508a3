#include "nre/vector_math.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

// As the hot loops do: in a function that exists once per kind of machine.
NRE_VECTOR_CLONES void ExpEight(const double* x, double* result) {
  Double8 vector;
  Load(x, &vector);
  Exp(vector, &vector);
  Store(vector, result);
}

NRE_VECTOR_CLONES double SumEightFloats(const float* x) {
  Double8 vector;
  LoadFloats(x, &vector);
  return Sum(vector);
}

TEST(VectorMath, ExpIsThatOfTheLibrary) {
  Random random(1);
  double x[kVectorSize], result[kVectorSize];
  for (const double range : {1e-12, 1e-3, 0.5, 1.0, 20.0, 700.0}) {
    for (int i = 0; i < 2000; ++i) {
      for (double& value : x) value = random.Uniform(-range, range);
      ExpEight(x, result);
      for (int k = 0; k < kVectorSize; ++k) {
        EXPECT_NEAR(result[k], std::exp(x[k]), 1e-15 * std::exp(x[k])) << x[k];
      }
    }
  }
  std::fill(x, x + kVectorSize, 0.0);
  ExpEight(x, result);
  EXPECT_EQ(result[3], 1.0);
}

TEST(VectorMath, SumAddsAllEight) {
  float x[kVectorSize + 1];
  for (int k = 0; k <= kVectorSize; ++k) {
    x[k] = static_cast<float>(1 << (3 * k));
  }
  // From an address that is not aligned.
  EXPECT_EQ(SumEightFloats(x + 1), 8.0 * ((1 << 24) - 1) / 7.0);
}

}  // namespace
}  // namespace nre
