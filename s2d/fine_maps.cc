#include "s2d/fine_maps.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

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

// First cell of a window that is centred on a position.
Eigen::Vector2i WindowOrigin(const Eigen::Vector2d& center, int window_size) {
  constexpr double kFar = 1e6;
  if (!center.allFinite() || center.cwiseAbs().maxCoeff() > kFar) {
    return Eigen::Vector2i::Constant(kOutside);
  }
  const double half = 0.5 * (window_size - 1);
  return (center.array() - half).round().cast<int>();
}

// The cells of a window that exist in the map.
struct Window {
  int x;
  int y;
  int width;
  int height;

  Window(const Eigen::Vector2i& origin, int size, const FeatureMap& features)
      : x(std::max(0, origin.x())),
        y(std::max(0, origin.y())),
        width(std::min(features.width, origin.x() + size) - x),
        height(std::min(features.height, origin.y() + size) - y) {}

  bool IsEmpty() const { return width <= 0 || height <= 0; }
  size_t NumCells() const { return static_cast<size_t>(width) * height; }
};

// scale * <descriptor, feature> in the window's cells, row by row.
void Correlate(const FeatureMap& features,
               const Window& window,
               float scale,
               const float* descriptor,
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

// Sum of exp(logit - maximum).
NRE_VECTOR_CLONES double SumExp(const float* logits,
                                size_t num,
                                float maximum) {
  constexpr double kMin = -700.0;  // of Exp()
  Double8 sums = {};
  size_t i = 0;
  for (; i + kVectorSize <= num; i += kVectorSize) {
    Double8 exponents, terms;
    LoadFloats(logits + i, &exponents);
    exponents -= maximum;
    exponents = exponents < kMin ? kMin : exponents;
    Exp(exponents, &terms);
    sums += terms;
  }
  double sum = Sum(sums);
  for (; i < num; ++i) {
    sum += std::exp(static_cast<double>(logits[i]) - maximum);
  }
  return sum;
}

double LogSumExp(const std::vector<float>& logits) {
  const float maximum = *std::max_element(logits.begin(), logits.end());
  return maximum + std::log(SumExp(logits.data(), logits.size(), maximum));
}

// ln|Omega^| - L for ln|Omega^| + ln C = `gain`, with C mixed with a uniform
// share of `wrong_share`.
float MixedWeight(float gain, float wrong_share) {
  return gain > 0.0f
             ? std::log((1.0f - wrong_share) * std::exp(gain) + wrong_share)
             : 0.0f;
}

}  // namespace

double FineMaps::CoarseMass(size_t begin,
                            size_t end,
                            float log_sum_exp,
                            const Eigen::Vector2i& origin) const {
  const FeatureMap& coarse = inputs_.coarse_features;
  const FeatureMap& fine = inputs_.fine_features;
  // The window's extent, clipped to the fine grid, in coarse cells. Cells of
  // both grids are squares around their centres.
  const auto to_coarse = [&](const Eigen::Vector2d& p) {
    return Eigen::Vector2d(coarse.map_from_image *
                           fine.map_from_image.ToImage(p));
  };
  const Eigen::Array2i corner =
      (origin.array() + options_.window_size)
          .min(Eigen::Array2i(fine.width, fine.height));
  const Eigen::Vector2d lower = to_coarse(origin.cwiseMax(0).cast<double>() -
                                          Eigen::Vector2d::Constant(0.5));
  const Eigen::Vector2d upper = to_coarse(corner.matrix().cast<double>() -
                                          Eigen::Vector2d::Constant(0.5));

  const int x_begin = std::max(0, static_cast<int>(std::floor(lower.x())));
  const int y_begin = std::max(0, static_cast<int>(std::floor(lower.y())));
  const int x_end =
      std::min(coarse.width, static_cast<int>(std::ceil(upper.x())) + 1);
  const int y_end =
      std::min(coarse.height, static_cast<int>(std::ceil(upper.y())) + 1);
  double mass = 0.0;
  for (int y = y_begin; y < y_end; ++y) {
    const double row_share = CellOverlap(y, lower.y(), upper.y());
    if (row_share == 0.0) {
      continue;
    }
    for (int x = x_begin; x < x_end; ++x) {
      const double share = row_share * CellOverlap(x, lower.x(), upper.x());
      if (share > 0.0) {
        float similarity = -std::numeric_limits<float>::infinity();
        for (size_t row = begin; row < end; ++row) {
          similarity = std::max(
              similarity,
              cblas_sdot(coarse.channels,
                         &inputs_.coarse_descriptors[row * coarse.channels],
                         1,
                         coarse.Descriptor(x, y),
                         1));
        }
        mass += share * std::exp(inputs_.coarse_softmax_scale * similarity -
                                 log_sum_exp);
      }
    }
  }
  return mass;
}

std::unique_ptr<LossMaps> FineMaps::Compute(
    const std::vector<Eigen::Vector2d>& xy_image) const {
  const FeatureMap& features = inputs_.fine_features;
  const FusedDescriptors& rows = inputs_.rows;
  const int size = options_.window_size;
  std::vector<Eigen::Vector2i> origins(xy_image.size());
  for (size_t i = 0; i < origins.size(); ++i) {
    origins[i] = WindowOrigin(features.map_from_image * xy_image[i], size);
  }
  const LossMaps::Geometry geometry{
      features.width, features.height, features.map_from_image};
  auto maps = std::make_unique<DenseLossMaps>(geometry, size, size, origins);
  const double log_categories = geometry.LogCategories();
  const float wrong_share = static_cast<float>(options_.wrong_share);

  std::vector<float> logits, other_logits;
  for (size_t i = 0; i < origins.size(); ++i) {
    const Eigen::Vector2i& origin = origins[i];
    const Window window(origin, size, features);
    if (window.IsEmpty()) {
      continue;
    }
    logits.resize(window.NumCells());
    other_logits.resize(window.NumCells());
    const auto correlate = [&](size_t row, std::vector<float>* out) {
      Correlate(features,
                window,
                inputs_.fine_softmax_scale,
                &inputs_.fine_descriptors[row * features.channels],
                out->data());
    };
    const size_t rows_per_softmax = rows.RowsPerSoftmax(i);
    const float share =
        static_cast<float>(rows_per_softmax) / (rows.End(i) - rows.Begin(i));
    for (size_t begin = rows.Begin(i); begin < rows.End(i);
         begin += rows_per_softmax) {
      const size_t end = begin + rows_per_softmax;
      correlate(begin, &logits);
      for (size_t row = begin + 1; row < end; ++row) {
        correlate(row, &other_logits);
        for (size_t k = 0; k < logits.size(); ++k) {
          logits[k] = std::max(logits[k], other_logits[k]);
        }
      }
      const float coarse_log_sum_exp =
          inputs_.coarse_log_sum_exps[rows.fusion == Fusion::kMax ? i : begin];
      // ln C = logit - ln sum exp + ln mass; no mass makes -infinity, hence an
      // uninformative map.
      const float shift = static_cast<float>(
          log_categories - LogSumExp(logits) +
          std::log(CoarseMass(begin, end, coarse_log_sum_exp, origin) /
                   options_.mass_divisor));
      float* row = maps->Data(i) +
                   static_cast<size_t>(window.y - origin.y()) * size +
                   (window.x - origin.x());
      const float* logit = logits.data();
      for (int y = 0; y < window.height; ++y, row += size) {
        for (int x = 0; x < window.width; ++x) {
          row[x] += share * MixedWeight(*logit++ + shift, wrong_share);
        }
      }
    }
  }
  return maps;
}

}  // namespace nre
