#include "s2d/window.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <cblas.h>

#include "nre/vector_math.h"

namespace nre {
namespace {

// Part of the interval [begin, end] that the unit cell around `cell` covers.
double CellOverlap(int cell, double begin, double end) {
  return std::max(0.0, std::min(end, cell + 0.5) - std::max(begin, cell - 0.5));
}

// A window without any cell in the map.
constexpr int kOutside = std::numeric_limits<int>::min() / 2;

// Sum of exp(logit - maximum), of floats that are added up in short blocks.
NRE_VECTOR_CLONES double SumExp(const float* logits,
                                size_t num,
                                float maximum) {
  constexpr float kMin = -87.0f;  // of Exp()
  constexpr size_t kBlockSize = 64 * kFloatVectorSize;
  double sum = 0.0;
  size_t i = 0;
  while (i + kFloatVectorSize <= num) {
    const size_t end = std::min(num, i + kBlockSize);
    Float16 sums = {};
    for (; i + kFloatVectorSize <= end; i += kFloatVectorSize) {
      Float16 exponents, terms;
      Load(logits + i, &exponents);
      exponents -= maximum;
      exponents = exponents < kMin ? kMin : exponents;
      Exp(exponents, &terms);
      sums += terms;
    }
    sum += Sum(sums);
  }
  for (; i < num; ++i) sum += std::exp(logits[i] - maximum);
  return sum;
}

NRE_VECTOR_CLONES float MaxOf(const float* values, size_t num) {
  float max = values[0];
#pragma omp simd reduction(max : max)
  for (size_t i = 0; i < num; ++i) max = values[i] > max ? values[i] : max;
  return max;
}

}  // namespace

Eigen::Vector2i WindowOrigin(const Eigen::Vector2d& center, int size) {
  constexpr double kFar = 1e6;
  if (!center.allFinite() || center.cwiseAbs().maxCoeff() > kFar) {
    return Eigen::Vector2i::Constant(kOutside);
  }
  const double half = 0.5 * (size - 1);
  return (center.array() - half).round().cast<int>();
}

Window::Window(const Eigen::Vector2i& origin,
               int size,
               const FeatureMap& features)
    : x(std::max(0, origin.x())),
      y(std::max(0, origin.y())),
      width(std::min(features.width, origin.x() + size) - x),
      height(std::min(features.height, origin.y() + size) - y) {}

void Correlate(const float* descriptor,
               const FeatureMap& features,
               const Window& window,
               float scale,
               float* logits) {
  for (int y = 0; y < window.height; ++y) {
    cblas_sgemv(CblasRowMajor,
                CblasNoTrans,
                window.width,
                features.channels,
                scale,
                features.Descriptor(window.x, window.y + y),
                features.channels,
                descriptor,
                1,
                0.0f,
                logits + static_cast<size_t>(y) * window.width,
                1);
  }
}

double LogSumExp(const float* logits, size_t num) {
  const float maximum = MaxOf(logits, num);
  return maximum + std::log(SumExp(logits, num, maximum));
}

FeatureMap SampledCells(const FeatureMap& features, int step) {
  FeatureMap sampled;
  sampled.channels = features.channels;
  sampled.unit_norm = features.unit_norm;
  sampled.width = (features.width + step - 1) / step;
  sampled.height = (features.height + step - 1) / step;
  sampled.data.reserve(static_cast<size_t>(sampled.width) * sampled.height *
                       sampled.channels);
  for (int y = 0; y < features.height; y += step) {
    for (int x = 0; x < features.width; x += step) {
      const float* descriptor = features.Descriptor(x, y);
      sampled.data.insert(
          sampled.data.end(), descriptor, descriptor + features.channels);
    }
  }
  return sampled;
}

double CellsPerSampledCell(const FeatureMap& features, int step) {
  const double num_sampled =
      std::ceil(static_cast<double>(features.width) / step) *
      std::ceil(static_cast<double>(features.height) / step);
  return features.width * features.height / num_sampled;
}

double CoarseMass(const float* descriptors,
                  size_t num,
                  const FeatureMap& coarse,
                  float softmax_scale,
                  float log_sum_exp,
                  const FeatureMap& fine,
                  const Window& window,
                  int step) {
  // The window's extent in coarse cells. Cells of both grids are squares around
  // their centres.
  const auto to_coarse = [&](int x, int y) {
    return Eigen::Vector2d(
        coarse.map_from_image *
        fine.map_from_image.ToImage(Eigen::Vector2d(x - 0.5, y - 0.5)));
  };
  const Eigen::Vector2d lower = to_coarse(window.x, window.y);
  const Eigen::Vector2d upper =
      to_coarse(window.x + window.width, window.y + window.height);

  const int x_begin = std::max(0, static_cast<int>(std::floor(lower.x())));
  const int y_begin = std::max(0, static_cast<int>(std::floor(lower.y())));
  const int x_end =
      std::min(coarse.width, static_cast<int>(std::ceil(upper.x())) + 1);
  const int y_end =
      std::min(coarse.height, static_cast<int>(std::ceil(upper.y())) + 1);
  double mass = 0.0;
  double sampled_mass = 0.0;
  for (int y = y_begin; y < y_end; ++y) {
    const double row_share = CellOverlap(y, lower.y(), upper.y());
    if (row_share == 0.0) {
      continue;
    }
    for (int x = x_begin; x < x_end; ++x) {
      const double share = row_share * CellOverlap(x, lower.x(), upper.x());
      if (share > 0.0) {
        float similarity = -std::numeric_limits<float>::infinity();
        for (size_t i = 0; i < num; ++i) {
          similarity = std::max(similarity,
                                cblas_sdot(coarse.channels,
                                           descriptors + i * coarse.channels,
                                           1,
                                           coarse.Descriptor(x, y),
                                           1));
        }
        const double probability =
            share * std::exp(softmax_scale * similarity - log_sum_exp);
        mass += probability;
        if (x % step == 0 && y % step == 0) sampled_mass += probability;
      }
    }
  }
  if (step == 1) return mass;
  const double outside =
      std::max(0.0, 1.0 - CellsPerSampledCell(coarse, step) * sampled_mass);
  return mass / (mass + outside);
}

}  // namespace nre
