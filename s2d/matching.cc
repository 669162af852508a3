#include "s2d/matching.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "nre/error.h"
#include "s2d/correlation.h"

namespace nre {
namespace {

Eigen::Vector2i Cell(const FeatureMap& features, int index) {
  return {index % features.width, index / features.width};
}

double Correlation(const float* descriptor,
                   const FeatureMap& features,
                   const Eigen::Vector2i& cell) {
  const float* other = features.Descriptor(cell.x(), cell.y());
  double sum = 0.0;
  for (int c = 0; c < features.channels; ++c) sum += descriptor[c] * other[c];
  return sum;
}

// Offset of the top of the parabola through values at -1, 0 and 1, at most half
// a cell; 0 if the middle one is no maximum.
double ParabolaTop(double before, double at, double after) {
  const double curvature = 2.0 * at - before - after;
  if (!(curvature > 0.0)) return 0.0;
  return std::clamp(0.5 * (after - before) / curvature, -0.5, 0.5);
}

// The maximum of the correlation around a cell, in map coordinates.
Eigen::Vector2d RefineCell(const float* descriptor,
                           const FeatureMap& features,
                           const Eigen::Vector2i& cell) {
  Eigen::Vector2d refined = cell.cast<double>();
  const double at = Correlation(descriptor, features, cell);
  const Eigen::Vector2i size(features.width, features.height);
  for (int axis = 0; axis < 2; ++axis) {
    if (cell[axis] == 0 || cell[axis] + 1 == size[axis]) continue;
    Eigen::Vector2i before = cell, after = cell;
    --before[axis];
    ++after[axis];
    refined[axis] += ParabolaTop(Correlation(descriptor, features, before),
                                 at,
                                 Correlation(descriptor, features, after));
  }
  return refined;
}

// Which of the described keypoints pass the ratio test.
std::vector<bool> PassRatioTest(const DescribedPositions& described,
                                const CorrelationSummary& summary,
                                const FeatureMap& features,
                                const MatchingOptions& options) {
  const size_t num = described.positions.size();
  std::vector<bool> passed(num, true);
  if (options.max_ratio == 0.0) return passed;
  std::vector<float> min_logits(num);
  for (size_t i = 0; i < num; ++i) {
    min_logits[i] = static_cast<float>(options.max_ratio) *
                    summary.logits[i * summary.top_k];
  }
  const std::vector<int> counts = CountCellsAbove(min_logits,
                                                  described.descriptors.data(),
                                                  features,
                                                  options.softmax_scale);
  const double max_count =
      options.ratio_rank * features.width * features.height;
  for (size_t i = 0; i < num; ++i) {
    // Ratios say nothing about maxima that are not positive.
    passed[i] =
        summary.logits[i * summary.top_k] > 0.0f && counts[i] <= max_count;
  }
  return passed;
}

// Which of a map's best cells are apart from better ones.
std::vector<int> Modes(const CorrelationSummary& summary,
                       size_t i,
                       const FeatureMap& features,
                       const MatchingOptions& options) {
  std::vector<int> modes;
  for (int k = 0; k < summary.top_k; ++k) {
    const int cell = summary.cells[i * summary.top_k + k];
    if (cell < 0 || static_cast<int>(modes.size()) == options.max_num_modes) {
      break;
    }
    const bool is_apart =
        std::none_of(modes.begin(), modes.end(), [&](int mode) {
          const int other = summary.cells[i * summary.top_k + mode];
          return (Cell(features, cell) - Cell(features, other))
                     .cast<double>()
                     .norm() < options.mode_distance;
        });
    if (is_apart) modes.push_back(k);
  }
  return modes;
}

// Keeps matches whose own best match in the first image is near the keypoint.
void CheckCycles(const std::vector<Eigen::Vector2d>& keypoints,
                 const FeatureMap& features1,
                 const FeatureMap& features2,
                 const MatchingOptions& options,
                 std::vector<DenseMatch>* matches) {
  std::vector<Eigen::Vector2d> positions;
  for (const DenseMatch& match : *matches) positions.push_back(match.xy);
  const DescribedPositions described = DescribePositions(positions, features2);
  CorrelationOptions correlation;
  correlation.softmax_scale = options.softmax_scale;
  const CorrelationSummary summary =
      SummarizeCorrelations(described.descriptors.data(),
                            described.positions.size(),
                            features1,
                            correlation);
  std::vector<DenseMatch> kept;
  for (size_t i = 0; i < described.positions.size(); ++i) {
    const DenseMatch& match = (*matches)[described.positions[i]];
    const Eigen::Vector2d back = features1.map_from_image.ToImage(
        RefineCell(described.Descriptor(i, features1.channels),
                   features1,
                   Cell(features1, summary.cells[i])));
    if ((back - keypoints[match.keypoint]).norm() <=
        options.max_cycle_error_px) {
      kept.push_back(match);
    }
  }
  *matches = std::move(kept);
}

}  // namespace

bool MatchingOptions::Check() const {
  return std::isfinite(softmax_scale) && softmax_scale > 0.0f &&
         max_num_modes >= 1 && mode_distance >= 1.0 && max_ratio >= 0.0 &&
         max_ratio < 1.0 && ratio_rank >= 0.0 && ratio_rank <= 1.0 &&
         min_probability >= 0.0 && min_probability <= 1.0 &&
         max_cycle_error_px >= 0.0;
}

std::vector<DenseMatch> MatchDensely(
    const std::vector<Eigen::Vector2d>& keypoints,
    const FeatureMap& features1,
    const FeatureMap& features2,
    const MatchingOptions& options) {
  if (!options.Check()) {
    throw InputError(
        "the options of the matching are invalid: expected "
        "positive scales and distances, shares within 0 and 1");
  }
  // Cells around a better mode are among the best too, but are none.
  const double cells_per_mode =
      std::ceil(4.0 * options.mode_distance * options.mode_distance);
  CorrelationOptions correlation;
  correlation.softmax_scale = options.softmax_scale;
  correlation.top_k =
      options.max_num_modes == 1
          ? 1
          : static_cast<int>(options.max_num_modes * cells_per_mode);
  const DescribedPositions described = DescribePositions(keypoints, features1);
  const CorrelationSummary summary =
      SummarizeCorrelations(described.descriptors.data(),
                            described.positions.size(),
                            features2,
                            correlation);
  const std::vector<bool> passed =
      PassRatioTest(described, summary, features2, options);
  std::vector<DenseMatch> matches;
  for (size_t i = 0; i < described.positions.size(); ++i) {
    if (!passed[i] || summary.Probability(i, 0) < options.min_probability) {
      continue;
    }
    for (const int mode : Modes(summary, i, features2, options)) {
      const int cell = summary.cells[i * summary.top_k + mode];
      DenseMatch match;
      match.keypoint = described.positions[i];
      match.xy = features2.map_from_image.ToImage(
          RefineCell(described.Descriptor(i, features2.channels),
                     features2,
                     Cell(features2, cell)));
      match.probability = summary.Probability(i, mode);
      match.entropy = summary.entropies[i];
      matches.push_back(match);
    }
  }
  if (std::isfinite(options.max_cycle_error_px) && !matches.empty()) {
    CheckCycles(keypoints, features1, features2, options, &matches);
  }
  return matches;
}

}  // namespace nre
