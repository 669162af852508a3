#include "s2d/fine_maps.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

#include "nre/vector_math.h"
#include "s2d/window.h"

namespace nre {
namespace {

// Adds `share` of ln|Omega^| - L for ln|Omega^| + ln C = logit + shift, with C
// mixed with a uniform share of `wrong_share`, to the weights.
NRE_ALWAYS_INLINE void AddMixed(const Float16& logits,
                                float shift,
                                float wrong_share,
                                float share,
                                Float16* weights) {
  Float16 gains = logits + shift;
  gains = gains > 0.0f ? gains : 0.0f;
  Exp(gains, &gains);
  gains = (1.0f - wrong_share) * gains + wrong_share;
  Log(gains, &gains);
  *weights += share * gains;
}

// The same of `num` cells.
NRE_VECTOR_CLONES void AddMixedWeights(const float* logits,
                                       int num,
                                       float shift,
                                       float wrong_share,
                                       float share,
                                       float* weights) {
  Float16 some, sums;
  int i = 0;
  for (; i + kFloatVectorSize <= num; i += kFloatVectorSize) {
    Load(logits + i, &some);
    Load(weights + i, &sums);
    AddMixed(some, shift, wrong_share, share, &sums);
    std::memcpy(weights + i, &sums, sizeof(sums));
  }
  if (i < num) {
    const size_t bytes = sizeof(float) * (num - i);
    some = sums = Float16{};
    std::memcpy(&some, logits + i, bytes);
    std::memcpy(&sums, weights + i, bytes);
    AddMixed(some, shift, wrong_share, share, &sums);
    std::memcpy(weights + i, &sums, bytes);
  }
}

// Points by where their windows are: neighbours read the same features, which
// are then in the cache.
std::vector<size_t> ByPlace(const std::vector<Eigen::Vector2i>& origins,
                            int size) {
  std::vector<std::tuple<int, int, size_t>> places;
  for (size_t i = 0; i < origins.size(); ++i) {
    places.emplace_back(origins[i].y() / size, origins[i].x(), i);
  }
  std::sort(places.begin(), places.end());
  std::vector<size_t> order;
  for (const auto& place : places) order.push_back(std::get<2>(place));
  return order;
}

}  // namespace

std::unique_ptr<LossMaps> FineMaps::Compute(
    const std::vector<Eigen::Vector2d>& xy_image) const {
  const FeatureMap& coarse = inputs_.coarse_features;
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
  for (const size_t i : ByPlace(origins, size)) {
    const Eigen::Vector2i& origin = origins[i];
    const Window window(origin, size, features);
    if (window.IsEmpty()) {
      continue;
    }
    logits.resize(window.NumCells());
    other_logits.resize(window.NumCells());
    const auto correlate = [&](size_t row, std::vector<float>* out) {
      Correlate(&inputs_.fine_descriptors[row * features.channels],
                features,
                window,
                inputs_.fine_softmax_scale,
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
      const double mass =
          CoarseMass(&inputs_.coarse_descriptors[begin * coarse.channels],
                     rows_per_softmax,
                     coarse,
                     inputs_.coarse_softmax_scale,
                     coarse_log_sum_exp,
                     features,
                     window,
                     inputs_.coarse_step);
      const float shift = static_cast<float>(
          log_categories - LogSumExp(logits.data(), logits.size()) +
          std::log(mass / options_.mass_divisor));
      float* row = maps->Data(i) +
                   static_cast<size_t>(window.y - origin.y()) * size +
                   (window.x - origin.x());
      const float* logit = logits.data();
      for (int y = 0; y < window.height; ++y, row += size) {
        AddMixedWeights(logit, window.width, shift, wrong_share, share, row);
        logit += window.width;
      }
    }
  }
  return maps;
}

}  // namespace nre
