#include "s2d/coarse_maps.h"

#include <algorithm>
#include <cmath>

#include <cblas.h>

#include "s2d/correlation.h"
#include "s2d/window.h"

namespace nre {
namespace {

// Descriptors per tile: enough for an efficient matrix product, few enough for
// its result to stay in the cache.
constexpr int kTileSize = 32;

// Turns logits into ln|Omega^| - L = max(0, ln|Omega^| + ln C), in place;
// returns their ln sum exp.
float TruncatedSoftmax(float log_categories, int size, float* logits) {
  const float log_sum_exp = static_cast<float>(LogSumExp(logits, size));
  const float shift = log_categories - log_sum_exp;
  for (int i = 0; i < size; ++i) {
    logits[i] = std::max(0.0f, logits[i] + shift);
  }
  return log_sum_exp;
}

// Combines the similarities (kMax) or weights (kSum) of a point's rows, which
// come one after the other. `fused` and `row`: [size].
void Fuse(Fusion fusion,
          const float* row,
          bool is_first,
          size_t num_rows,
          std::vector<float>* fused) {
  const size_t size = fused->size();
  float* out = fused->data();
  if (fusion == Fusion::kMax) {
    for (size_t i = 0; i < size; ++i) {
      out[i] = is_first ? row[i] : std::max(out[i], row[i]);
    }
  } else {
    const float share = 1.0f / num_rows;
    for (size_t i = 0; i < size; ++i) {
      out[i] = (is_first ? 0.0f : out[i]) + share * row[i];
    }
  }
}

}  // namespace

CoarseMaps ComputeCoarseMaps(const std::vector<float>& descriptors,
                             const FusedDescriptors& rows,
                             const FeatureMap& features,
                             float softmax_scale) {
  const int channels = features.channels;
  const int num_cells = features.width * features.height;
  const size_t num_rows = descriptors.size() / channels;
  CoarseMaps result{
      SparseLossMaps(
          {features.width, features.height, features.map_from_image}),
      {}};
  const float log_categories =
      static_cast<float>(result.maps.geometry().LogCategories());

  std::vector<float> tile(static_cast<size_t>(kTileSize) * num_cells);
  std::vector<float> fused;
  size_t point = 0;
  for (size_t begin = 0; begin < num_rows; begin += kTileSize) {
    const int size =
        static_cast<int>(std::min<size_t>(kTileSize, num_rows - begin));
    cblas_sgemm(CblasRowMajor,
                CblasNoTrans,
                CblasTrans,
                size,
                num_cells,
                channels,
                softmax_scale,
                &descriptors[begin * channels],
                channels,
                features.data.data(),
                channels,
                0.0f,
                tile.data(),
                num_cells);
    for (int i = 0; i < size; ++i) {
      const size_t row = begin + i;
      const size_t rows_of_point = rows.End(point) - rows.Begin(point);
      const bool is_last = row + 1 == rows.End(point);
      float* map = &tile[static_cast<size_t>(i) * num_cells];
      const bool max_first = rows.RowsPerSoftmax(point) > 1;
      if (!max_first) {
        result.log_sum_exps.push_back(
            TruncatedSoftmax(log_categories, num_cells, map));
      }
      if (rows_of_point > 1) {
        fused.resize(num_cells);
        Fuse(rows.fusion, map, row == rows.Begin(point), rows_of_point, &fused);
        map = fused.data();
      }
      if (is_last) {
        if (max_first) {
          result.log_sum_exps.push_back(
              TruncatedSoftmax(log_categories, num_cells, map));
        }
        result.maps.AddPoint(map);
        ++point;
      }
    }
  }
  return result;
}

std::vector<float> CoarseLogSumExps(const std::vector<float>& descriptors,
                                    const FusedDescriptors& rows,
                                    const FeatureMap& features,
                                    float softmax_scale,
                                    int step) {
  if (step > 1) {
    std::vector<float> sums = CoarseLogSumExps(
        descriptors, rows, SampledCells(features, step), softmax_scale);
    const float log_share =
        static_cast<float>(std::log(CellsPerSampledCell(features, step)));
    for (float& sum : sums) sum += log_share;
    return sums;
  }
  if (rows.fusion == Fusion::kMax) {
    return ComputeCoarseMaps(descriptors, rows, features, softmax_scale)
        .log_sum_exps;
  }
  return SummarizeCorrelations(descriptors.data(),
                               descriptors.size() / features.channels,
                               features,
                               {softmax_scale})
      .log_sum_exps;
}

}  // namespace nre
