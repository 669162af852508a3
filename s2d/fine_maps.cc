#include "s2d/fine_maps.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <cblas.h>

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

}  // namespace

double FineMaps::CoarseMass(size_t point, const Eigen::Vector2i& origin) const {
  const FeatureMap& coarse = inputs_.coarse_features;
  const FeatureMap& fine = inputs_.fine_features;
  // The window's extent, clipped to the fine grid, in coarse cells. Cells of
  // both grids are squares around their centres.
  const auto to_coarse = [&](const Eigen::Vector2d& p) {
    return Eigen::Vector2d(coarse.map_from_image *
                           fine.map_from_image.ToImage(p));
  };
  const Eigen::Array2i end = (origin.array() + options_.window_size)
                                 .min(Eigen::Array2i(fine.width, fine.height));
  const Eigen::Vector2d lower = to_coarse(origin.cwiseMax(0).cast<double>() -
                                          Eigen::Vector2d::Constant(0.5));
  const Eigen::Vector2d upper =
      to_coarse(end.matrix().cast<double>() - Eigen::Vector2d::Constant(0.5));

  const int x_begin = std::max(0, static_cast<int>(std::floor(lower.x())));
  const int y_begin = std::max(0, static_cast<int>(std::floor(lower.y())));
  const int x_end =
      std::min(coarse.width, static_cast<int>(std::ceil(upper.x())) + 1);
  const int y_end =
      std::min(coarse.height, static_cast<int>(std::ceil(upper.y())) + 1);
  const float* descriptor =
      &inputs_.coarse_descriptors[point * coarse.channels];
  double mass = 0.0;
  for (int y = y_begin; y < y_end; ++y) {
    const double row_share = CellOverlap(y, lower.y(), upper.y());
    if (row_share == 0.0) {
      continue;
    }
    for (int x = x_begin; x < x_end; ++x) {
      const double share = row_share * CellOverlap(x, lower.x(), upper.x());
      if (share > 0.0) {
        const float similarity = cblas_sdot(
            coarse.channels, descriptor, 1, coarse.Descriptor(x, y), 1);
        mass += share * std::exp(inputs_.coarse_softmax_scale * similarity -
                                 inputs_.coarse_log_sum_exps[point]);
      }
    }
  }
  return mass;
}

std::unique_ptr<LossMaps> FineMaps::Compute(
    const std::vector<Eigen::Vector2d>& xy_image) const {
  const FeatureMap& features = inputs_.fine_features;
  const int size = options_.window_size;
  std::vector<Eigen::Vector2i> origins(xy_image.size());
  for (size_t i = 0; i < origins.size(); ++i) {
    origins[i] = WindowOrigin(features.map_from_image * xy_image[i], size);
  }
  const LossMaps::Geometry geometry{
      features.width, features.height, features.map_from_image};
  auto maps = std::make_unique<DenseLossMaps>(geometry, size, size, origins);
  const double log_categories = geometry.LogCategories();

  for (size_t i = 0; i < origins.size(); ++i) {
    const Eigen::Vector2i& origin = origins[i];
    // The window's cells that exist.
    const int x_begin = std::max(0, origin.x());
    const int x_end = std::min(features.width, origin.x() + size);
    const int y_begin = std::max(0, origin.y());
    const int y_end = std::min(features.height, origin.y() + size);
    if (x_begin >= x_end || y_begin >= y_end) {
      continue;
    }
    const float* descriptor = &inputs_.fine_descriptors[i * features.channels];
    float* const data = maps->Data(i);
    const auto row = [&](int y) {
      return data + static_cast<size_t>(y - origin.y()) * size +
             (x_begin - origin.x());
    };
    const int num_columns = x_end - x_begin;
    float maximum = -std::numeric_limits<float>::infinity();
    for (int y = y_begin; y < y_end; ++y) {
      cblas_sgemv(CblasRowMajor,
                  CblasNoTrans,
                  num_columns,
                  features.channels,
                  inputs_.fine_softmax_scale,
                  features.Descriptor(x_begin, y),
                  features.channels,
                  descriptor,
                  1,
                  0.0f,
                  row(y),
                  1);
      maximum =
          std::max(maximum, *std::max_element(row(y), row(y) + num_columns));
    }
    double sum = 0.0;
    for (int y = y_begin; y < y_end; ++y) {
      for (int k = 0; k < num_columns; ++k) {
        sum += std::exp(row(y)[k] - maximum);
      }
    }
    // ln|Omega^| - L = max(0, ln|Omega^| + ln C), ln C = logit - ln sum exp +
    // ln mass; no mass makes -infinity, hence an uninformative map.
    const float shift = static_cast<float>(
        log_categories - maximum - std::log(sum) +
        std::log(CoarseMass(i, origin) / options_.mass_divisor));
    for (int y = y_begin; y < y_end; ++y) {
      for (int k = 0; k < num_columns; ++k) {
        row(y)[k] = std::max(0.0f, row(y)[k] + shift);
      }
    }
  }
  return maps;
}

}  // namespace nre
