#include "nre/vector_math.h"

#include <algorithm>
#include <cmath>
#include <cstring>

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

NRE_VECTOR_CLONES void ExpSixteen(const float* x, float* result) {
  Float16 vector;
  Load(x, &vector);
  Exp(vector, &vector);
  std::memcpy(result, &vector, sizeof(vector));
}

NRE_VECTOR_CLONES void SumAndMaxOfSixteen(const float* x,
                                          float* sum,
                                          float* max) {
  Float16 vector;
  Load(x, &vector);
  *sum = Sum(vector);
  *max = Max(vector);
}

TEST(VectorMath, ExpOfFloats) {
  Random random(1);
  float x[kFloatVectorSize], result[kFloatVectorSize];
  for (const double range : {1e-6, 1e-3, 0.5, 1.0, 20.0, 87.0}) {
    for (int i = 0; i < 2000; ++i) {
      for (float& value : x) {
        value = static_cast<float>(random.Uniform(-range, range));
      }
      ExpSixteen(x, result);
      for (int k = 0; k < kFloatVectorSize; ++k) {
        const double expected = std::exp(static_cast<double>(x[k]));
        EXPECT_NEAR(result[k], expected, 2.5e-7 * expected) << x[k];
      }
    }
  }
}

NRE_VECTOR_CLONES void LogSixteen(const float* x, float* result) {
  Float16 vector;
  Load(x, &vector);
  Log(vector, &vector);
  std::memcpy(result, &vector, sizeof(vector));
}

TEST(VectorMath, LogOfFloats) {
  Random random(1);
  float x[kFloatVectorSize], result[kFloatVectorSize];
  // Of 1 + t and of exp(t), |t| up to the range.
  for (const double range : {1e-6, 1e-3, 0.5, 1.0, 20.0, 87.0}) {
    for (int i = 0; i < 2000; ++i) {
      for (float& value : x) {
        const double t = random.Uniform(-range, range);
        value = static_cast<float>(range < 1.0 ? 1.0 + t : std::exp(t));
      }
      LogSixteen(x, result);
      for (int k = 0; k < kFloatVectorSize; ++k) {
        const double expected = std::log(static_cast<double>(x[k]));
        EXPECT_NEAR(
            result[k], expected, 1.2e-7 * std::max(1.0, std::abs(expected)))
            << x[k];
      }
    }
  }
  std::fill(x, x + kFloatVectorSize, 1.0f);
  LogSixteen(x, result);
  EXPECT_EQ(result[3], 0.0f);
}

TEST(VectorMath, SumAndMaxOfFloats) {
  float x[kFloatVectorSize];
  for (int i = 0; i < kFloatVectorSize; ++i) {
    std::fill(x, x + kFloatVectorSize, -2.0f);
    x[i] = 7.0f;
    float sum = 0.0f, max = 0.0f;
    SumAndMaxOfSixteen(x, &sum, &max);
    EXPECT_EQ(sum, 7.0f - 2.0f * (kFloatVectorSize - 1));
    EXPECT_EQ(max, 7.0f);
  }
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
