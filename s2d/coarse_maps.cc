#include "s2d/coarse_maps.h"

#include <algorithm>
#include <cmath>

#include <cblas.h>

namespace nre {
namespace {

// Points per tile: enough for an efficient matrix product, few enough for its
// result to stay in the cache.
constexpr int kTileSize = 32;

// ln sum exp of logits.
float LogSumExp(const float* logits, int size) {
  const float maximum = *std::max_element(logits, logits + size);
  double sum = 0.0;
  for (int i = 0; i < size; ++i) {
    // Below, a cell adds less than float's precision to the sum of them all.
    const float difference = logits[i] - maximum;
    if (difference > -30.0f) {
      sum += std::exp(difference);
    }
  }
  return maximum + static_cast<float>(std::log(sum));
}

}  // namespace

CoarseMaps ComputeCoarseMaps(const std::vector<float>& descriptors,
                             const FeatureMap& features,
                             float softmax_scale) {
  const int channels = features.channels;
  const int num_cells = features.width * features.height;
  const int num_points = static_cast<int>(descriptors.size() / channels);
  CoarseMaps result{
      SparseLossMaps(
          {features.width, features.height, features.map_from_image}),
      {}};
  result.log_sum_exps.reserve(num_points);
  const float log_categories =
      static_cast<float>(result.maps.geometry().LogCategories());

  std::vector<float> tile(static_cast<size_t>(kTileSize) * num_cells);
  for (int begin = 0; begin < num_points; begin += kTileSize) {
    const int size = std::min(kTileSize, num_points - begin);
    cblas_sgemm(CblasRowMajor,
                CblasNoTrans,
                CblasTrans,
                size,
                num_cells,
                channels,
                softmax_scale,
                &descriptors[static_cast<size_t>(begin) * channels],
                channels,
                features.data.data(),
                channels,
                0.0f,
                tile.data(),
                num_cells);
    for (int i = 0; i < size; ++i) {
      float* logits = &tile[static_cast<size_t>(i) * num_cells];
      const float log_sum_exp = LogSumExp(logits, num_cells);
      // ln|Omega^| - L = max(0, ln|Omega^| + ln C).
      const float shift = log_categories - log_sum_exp;
      for (int k = 0; k < num_cells; ++k) {
        logits[k] = std::max(0.0f, logits[k] + shift);
      }
      result.maps.AddPoint(logits);
      result.log_sum_exps.push_back(log_sum_exp);
    }
  }
  return result;
}

}  // namespace nre
