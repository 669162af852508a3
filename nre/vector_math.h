// Arithmetic on eight doubles or sixteen floats at a time, for the hot loops.
// Meant to be inlined into functions with target_clones: the compiler makes of
// it what the clone's machine has (AVX-512, AVX2, SSE2). By pointer and
// reference only, since how vectors are passed by value depends on the target.
#pragma once

#include <cstdint>
#include <cstring>

// One function for any x86-64 and two for what the machine turns out to have.
// Named by level: "arch=haswell" would be chosen on a Haswell and on no other.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__)
#define NRE_VECTOR_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define NRE_VECTOR_CLONES
#endif

#define NRE_ALWAYS_INLINE inline __attribute__((always_inline))

namespace nre {

constexpr int kVectorSize = 8;

using Double8 = double __attribute__((vector_size(64)));
using Int8x64 = int64_t __attribute__((vector_size(64)));
using Float8 = float __attribute__((vector_size(32)));

constexpr int kFloatVectorSize = 16;

using Float16 = float __attribute__((vector_size(64)));
using Int16x32 = int32_t __attribute__((vector_size(64)));

// Eight floats from anywhere, as doubles.
NRE_ALWAYS_INLINE void LoadFloats(const float* source, Double8* target) {
  Float8 floats;
  std::memcpy(&floats, source, sizeof(floats));
  *target = __builtin_convertvector(floats, Double8);
}

NRE_ALWAYS_INLINE void Load(const double* source, Double8* target) {
  std::memcpy(target, source, sizeof(*target));
}

NRE_ALWAYS_INLINE void Store(const Double8& source, double* target) {
  std::memcpy(target, &source, sizeof(source));
}

NRE_ALWAYS_INLINE double Sum(const Double8& x) {
  return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

// exp(x) for |x| <= 700, to about 2e-16 of its value.
//
// x = n ln 2 + r with |r| <= ln 2 / 2, and Taylor's polynomial of exp(r): its
// first neglected term is r^13 / 13! < 2e-16.
NRE_ALWAYS_INLINE void Exp(const Double8& x, Double8* result) {
  // Adding it leaves round(x / ln 2) in the low bits of the sum.
  constexpr double kShift = 0x1.8p52;
  constexpr double kLn2High = 0x1.62e42fee00000p-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  const Double8 shifted = x * 1.4426950408889634 + kShift;
  const Double8 n = shifted - kShift;
  const Double8 r = (x - n * kLn2High) - n * kLn2Low;
  Double8 sum = r * (1.0 / 479001600.0) + 1.0 / 39916800.0;
  sum = sum * r + 1.0 / 3628800.0;
  sum = sum * r + 1.0 / 362880.0;
  sum = sum * r + 1.0 / 40320.0;
  sum = sum * r + 1.0 / 5040.0;
  sum = sum * r + 1.0 / 720.0;
  sum = sum * r + 1.0 / 120.0;
  sum = sum * r + 1.0 / 24.0;
  sum = sum * r + 1.0 / 6.0;
  sum = sum * r + 0.5;
  sum = sum * r + 1.0;
  sum = sum * r + 1.0;
  Int8x64 exponent;
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  exponent = (exponent + 1023) << 52;
  Double8 power;
  std::memcpy(&power, &exponent, sizeof(power));
  *result = sum * power;
}

NRE_ALWAYS_INLINE void Load(const float* source, Float16* target) {
  std::memcpy(target, source, sizeof(*target));
}

NRE_ALWAYS_INLINE float Sum(const Float16& x) {
  float sum = 0.0f;
  for (int i = 0; i < kFloatVectorSize; ++i) sum += x[i];
  return sum;
}

NRE_ALWAYS_INLINE float Max(const Float16& x) {
  float max = x[0];
  for (int i = 1; i < kFloatVectorSize; ++i) max = max < x[i] ? x[i] : max;
  return max;
}

// exp(x) for |x| <= 87, to about 2e-7 of its value; as for doubles.
NRE_ALWAYS_INLINE void Exp(const Float16& x, Float16* result) {
  constexpr float kShift = 0x1.8p23f;
  constexpr float kLn2High = 0x1.63p-1f;
  constexpr float kLn2Low = -0x1.bd0106p-13f;
  const Float16 shifted = x * 1.44269504f + kShift;
  const Float16 n = shifted - kShift;
  const Float16 r = (x - n * kLn2High) - n * kLn2Low;
  Float16 sum = r * (1.0f / 5040.0f) + 1.0f / 720.0f;
  sum = sum * r + 1.0f / 120.0f;
  sum = sum * r + 1.0f / 24.0f;
  sum = sum * r + 1.0f / 6.0f;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  Int16x32 exponent;
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  exponent = (exponent + 127) << 23;
  Float16 power;
  std::memcpy(&power, &exponent, sizeof(power));
  *result = sum * power;
}

// ln x for normal x > 0, to about 1e-7 or, of |ln x| > 1, 1e-7 of its value.
//
// x = 2^n (1 + f) with 1 + f within a factor sqrt(2) of 1, and the polynomial
// of the Cephes library's logf().
NRE_ALWAYS_INLINE void Log(const Float16& x, Float16* result) {
  constexpr int32_t kSqrtHalf = 0x3f3504f3;  // the bits of sqrt(1 / 2)
  constexpr float kLn2High = 0x1.63p-1f;
  constexpr float kLn2Low = -0x1.bd0106p-13f;
  Int16x32 bits;
  std::memcpy(&bits, &x, sizeof(bits));
  bits -= kSqrtHalf;
  const Float16 n = __builtin_convertvector(bits >> 23, Float16);
  bits = (bits & 0x007fffff) + kSqrtHalf;
  Float16 f;
  std::memcpy(&f, &bits, sizeof(f));
  f -= 1.0f;
  Float16 sum = f * 7.0376836292e-2f - 1.1514610310e-1f;
  sum = sum * f + 1.1676998740e-1f;
  sum = sum * f - 1.2420140846e-1f;
  sum = sum * f + 1.4249322787e-1f;
  sum = sum * f - 1.6668057665e-1f;
  sum = sum * f + 2.0000714765e-1f;
  sum = sum * f - 2.4999993993e-1f;
  sum = sum * f + 3.3333331174e-1f;
  const Float16 square = f * f;
  *result =
      n * kLn2High + (f + (f * square * sum - 0.5f * square + n * kLn2Low));
}

}  // namespace nre
