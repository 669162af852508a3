#include "s2d/correlation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <cblas.h>

#include "nre/error.h"
#include "nre/vector_math.h"

namespace nre {
namespace {

// Of a tile of maps: its logits stay in the second-level cache, and the matrix
// product is as fast as one of everything.
constexpr size_t kTileRows = 512;
constexpr int kTileCells = 512;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Calls use(row, first cell, number of cells, logits) for tiles of every row;
// those of a row come in ascending order.
template <typename Use>
void ForEachTile(const float* descriptors,
                 size_t num,
                 const FeatureMap& features,
                 float softmax_scale,
                 const Use& use) {
  const int num_cells = features.width * features.height;
  const int channels = features.channels;
  std::vector<float> logits(std::min(num, kTileRows) * kTileCells);
  for (size_t begin = 0; begin < num; begin += kTileRows) {
    const int rows = static_cast<int>(std::min(kTileRows, num - begin));
    for (int cell = 0; cell < num_cells; cell += kTileCells) {
      const int cells = std::min(kTileCells, num_cells - cell);
      cblas_sgemm(CblasRowMajor,
                  CblasNoTrans,
                  CblasTrans,
                  rows,
                  cells,
                  channels,
                  softmax_scale,
                  descriptors + begin * channels,
                  channels,
                  &features.data[static_cast<size_t>(cell) * channels],
                  channels,
                  0.0f,
                  logits.data(),
                  cells);
      for (int i = 0; i < rows; ++i) {
        use(begin + i, cell, cells, &logits[static_cast<size_t>(i) * cells]);
      }
    }
  }
}

NRE_VECTOR_CLONES float MaxOf(const float* values, int num) {
  Float16 maxima = Float16{} - kInfinity;
  int i = 0;
  for (; i + kFloatVectorSize <= num; i += kFloatVectorSize) {
    Float16 vector;
    Load(values + i, &vector);
    maxima = maxima < vector ? vector : maxima;
  }
  float max = Max(maxima);
  for (; i < num; ++i) max = std::max(max, values[i]);
  return max;
}

// Sums of exp(v - shift) and of its products with v - shift, and the maximum.
struct PartialSums {
  float sum = 0.0f;
  float weighted = 0.0f;
  float max = -kInfinity;
};

// Right if the maximum is at most 80 above the shift.
NRE_VECTOR_CLONES void SumExps(const float* values,
                               int num,
                               float shift,
                               PartialSums* result) {
  constexpr float kMax = 87.0f;  // of Exp()
  Float16 sums = {}, products = {}, maxima = Float16{} - kInfinity;
  int i = 0;
  for (; i + kFloatVectorSize <= num; i += kFloatVectorSize) {
    Float16 exponents, terms;
    Load(values + i, &exponents);
    maxima = maxima < exponents ? exponents : maxima;
    exponents -= shift;
    exponents = exponents < -kMax ? -kMax : exponents;
    Exp(exponents, &terms);
    sums += terms;
    products += terms * exponents;
  }
  *result = {Sum(sums), Sum(products), Max(maxima)};
  for (; i < num; ++i) {
    const float exponent = std::max(-kMax, values[i] - shift);
    const float term = std::exp(exponent);
    result->sum += term;
    result->weighted += term * exponent;
    result->max = std::max(result->max, values[i]);
  }
}

NRE_VECTOR_CLONES int CountAbove(const float* values, int num, float min) {
  int count = 0;
#pragma omp simd reduction(+ : count)
  for (int i = 0; i < num; ++i) count += values[i] >= min;
  return count;
}

// A softmax whose logits come piece by piece.
struct RunningSoftmax {
  float max = -kInfinity;
  double sum = 0.0;       // of exp(logit - max)
  double weighted = 0.0;  // of exp(logit - max) (logit - max)

  // Returns the maximum of these.
  float Add(const float* logits, int num) {
    if (sum == 0.0) max = MaxOf(logits, num);
    PartialSums sums;
    SumExps(logits, num, max, &sums);
    if (sums.max > max + 80.0f) {
      MoveMax(sums.max);
      SumExps(logits, num, max, &sums);
    }
    sum += sums.sum;
    weighted += sums.weighted;
    if (sums.max > max) MoveMax(sums.max);
    return sums.max;
  }

 private:
  void MoveMax(float new_max) {
    const double step = static_cast<double>(max) - new_max;
    const double factor = std::exp(step);
    weighted = factor * (weighted + step * sum);
    sum *= factor;
    max = new_max;
  }
};

// Inserts what is better than the last of the best, which are in order.
void UpdateBest(const float* values,
                int first_cell,
                int num,
                int top_k,
                int* cells,
                float* logits) {
  for (int i = 0; i < num; ++i) {
    if (!(values[i] > logits[top_k - 1])) continue;
    int k = top_k - 1;
    for (; k > 0 && values[i] > logits[k - 1]; --k) {
      logits[k] = logits[k - 1];
      cells[k] = cells[k - 1];
    }
    logits[k] = values[i];
    cells[k] = first_cell + i;
  }
}

}  // namespace

bool CorrelationOptions::Check() const {
  return std::isfinite(softmax_scale) && softmax_scale > 0.0f && top_k >= 1;
}

float CorrelationSummary::Probability(size_t i, int k) const {
  return std::exp(logits[i * top_k + k] - log_sum_exps[i]);
}

CorrelationSummary SummarizeCorrelations(const float* descriptors,
                                         size_t num,
                                         const FeatureMap& features,
                                         const CorrelationOptions& options) {
  if (!options.Check()) {
    throw InputError(
        "the options of a correlation are invalid: expected a "
        "positive softmax_scale and top_k");
  }
  const int top_k = options.top_k;
  CorrelationSummary summary;
  summary.top_k = top_k;
  summary.cells.assign(num * top_k, -1);
  summary.logits.assign(num * top_k, -kInfinity);
  std::vector<RunningSoftmax> softmaxes(num);
  ForEachTile(
      descriptors,
      num,
      features,
      options.softmax_scale,
      [&](size_t row, int cell, int cells, const float* logits) {
        const float max = softmaxes[row].Add(logits, cells);
        float* best = &summary.logits[row * top_k];
        if (max > best[top_k - 1]) {
          UpdateBest(
              logits, cell, cells, top_k, &summary.cells[row * top_k], best);
        }
      });
  for (const RunningSoftmax& softmax : softmaxes) {
    summary.log_sum_exps.push_back(
        static_cast<float>(softmax.max + std::log(softmax.sum)));
    summary.entropies.push_back(static_cast<float>(
        std::log(softmax.sum) - softmax.weighted / softmax.sum));
  }
  return summary;
}

std::vector<int> CountCellsAbove(const std::vector<float>& min_logits,
                                 const float* descriptors,
                                 const FeatureMap& features,
                                 float softmax_scale) {
  std::vector<int> counts(min_logits.size(), 0);
  ForEachTile(descriptors,
              min_logits.size(),
              features,
              softmax_scale,
              [&](size_t row, int, int cells, const float* logits) {
                counts[row] += CountAbove(logits, cells, min_logits[row]);
              });
  return counts;
}

}  // namespace nre
