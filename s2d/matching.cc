#include "s2d/matching.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "nre/error.h"
#include "s2d/correlation.h"
#include "s2d/window.h"

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

// The maximum of the correlation around a cell, in map coordinates: that of the
// quadratic function with the central differences of the 3x3 cells, as of
// SIFT's keypoints (Brown, Lowe, BMVC 2002). The cell itself at the border of
// the map and where there is no maximum near.
Eigen::Vector2d RefineCell(const float* descriptor,
                           const FeatureMap& features,
                           const Eigen::Vector2i& cell) {
  const Eigen::Vector2d center = cell.cast<double>();
  if (cell.x() == 0 || cell.x() + 1 == features.width || cell.y() == 0 ||
      cell.y() + 1 == features.height) {
    return center;
  }
  double c[3][3];  // [y][x]
  for (int y = 0; y < 3; ++y) {
    for (int x = 0; x < 3; ++x) {
      c[y][x] = Correlation(
          descriptor, features, cell + Eigen::Vector2i(x - 1, y - 1));
    }
  }
  const Eigen::Vector2d gradient(0.5 * (c[1][2] - c[1][0]),
                                 0.5 * (c[2][1] - c[0][1]));
  const double xx = c[1][0] - 2.0 * c[1][1] + c[1][2];
  const double yy = c[0][1] - 2.0 * c[1][1] + c[2][1];
  const double xy = 0.25 * (c[0][0] - c[0][2] - c[2][0] + c[2][2]);
  const double determinant = xx * yy - xy * xy;
  if (!(xx < 0.0 && determinant > 0.0)) return center;
  const Eigen::Vector2d offset(
      (xy * gradient.y() - yy * gradient.x()) / determinant,
      (xy * gradient.x() - xx * gradient.y()) / determinant);
  return center + offset.cwiseMax(-1.0).cwiseMin(1.0);
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

// Positions with a descriptor, and where these are in the other image.
struct Search {
  DescribedPositions described;
  CorrelationSummary summary;
  std::vector<bool> passed;  // the ratio test
};

Search SearchAllCells(const Eigen::Matrix2Xd& positions,
                      const FeatureMap& features1,
                      const FeatureMap& features2,
                      const MatchingOptions& options) {
  // Cells around a better mode are among the best too, but are none.
  const double cells_per_mode =
      std::ceil(4.0 * options.mode_distance * options.mode_distance);
  CorrelationOptions correlation;
  correlation.softmax_scale = options.softmax_scale;
  correlation.top_k =
      options.max_num_modes == 1
          ? 1
          : static_cast<int>(options.max_num_modes * cells_per_mode);
  Search search;
  search.described = DescribePositions(positions, features1);
  search.summary = SummarizeCorrelations(search.described.descriptors.data(),
                                         search.described.positions.size(),
                                         features2,
                                         correlation);
  search.passed =
      PassRatioTest(search.described, search.summary, features2, options);
  return search;
}

// The way back: the best match of every match, whatever it is worth.
MatchingOptions WithoutTests(MatchingOptions options) {
  options.max_num_modes = 1;
  options.max_ratio = 0.0;
  options.min_probability = 0.0;
  options.max_cycle_error_px = std::numeric_limits<double>::infinity();
  return options;
}

// Keeps matches whose own best match in the first image is near the keypoint,
// and corrects them. `match_back` is given positions in the second image.
template <typename MatchBack>
void CheckCycles(const Eigen::Matrix2Xd& keypoints,
                 const FeatureMap& features1,
                 const FeatureMap& features2,
                 const MatchingOptions& options,
                 const MatchBack& match_back,
                 std::vector<DenseMatch>* matches) {
  if (std::isinf(options.max_cycle_error_px) || matches->empty()) return;
  Eigen::Matrix2Xd positions(2, matches->size());
  for (size_t i = 0; i < matches->size(); ++i) {
    positions.col(i) = (*matches)[i].xy;
  }
  // Errors are alike in cells, whatever the size of the images.
  const Eigen::Vector2d correction =
      options.cycle_correction * features1.map_from_image.scale.cwiseQuotient(
                                     features2.map_from_image.scale);
  std::vector<DenseMatch> kept;
  for (const DenseMatch& back : match_back(positions, WithoutTests(options))) {
    DenseMatch match = (*matches)[back.keypoint];
    const Eigen::Vector2d error = back.xy - keypoints.col(match.keypoint);
    if (error.norm() <= options.max_cycle_error_px) {
      match.xy -= correction.cwiseProduct(error);
      kept.push_back(match);
    }
  }
  *matches = std::move(kept);
}

// Sorts the matches of a keypoint, those from `begin` on, best first, without
// those that windows found twice.
void SortModes(const FeatureMap& features,
               const MatchingOptions& options,
               size_t begin,
               std::vector<DenseMatch>* matches) {
  const auto first = matches->begin() + begin;
  std::stable_sort(
      first, matches->end(), [](const DenseMatch& a, const DenseMatch& b) {
        return a.probability > b.probability;
      });
  auto end = first;
  for (auto match = first; match != matches->end(); ++match) {
    const bool is_apart = std::none_of(first, end, [&](const DenseMatch& mode) {
      return features.map_from_image.scale.cwiseProduct(match->xy - mode.xy)
                 .norm() < options.mode_distance;
    });
    if (is_apart) *end++ = *match;
  }
  matches->erase(end, matches->end());
}

void CheckOptions(const MatchingOptions& options) {
  if (!options.Check()) {
    throw InputError(
        "the options of the matching are invalid: expected "
        "positive scales and distances, shares within 0 and 1");
  }
}

// Finds the best fine cell in windows around coarse positions.
class WindowSearch {
 public:
  WindowSearch(const ImageFeatures& features, const MatchingOptions& options)
      : coarse_(features.coarse), fine_(features.fine), options_(options) {
    const double fine_per_coarse =
        fine_.map_from_image.scale.x() / coarse_.map_from_image.scale.x();
    size_ = std::max(
        1,
        static_cast<int>(std::lround(options.window_size * fine_per_coarse)));
    logits_.resize(static_cast<size_t>(size_) * size_);
  }

  // Into `match` its position and probability; false if there is no fine cell.
  bool Find(const Eigen::Vector2d& center,  // of the image
            const float* coarse_descriptor,
            const float* fine_descriptor,
            float coarse_log_sum_exp,
            DenseMatch* match) {
    const Window window(
        WindowOrigin(fine_.map_from_image * center, size_), size_, fine_);
    if (window.IsEmpty()) return false;
    const size_t num = window.NumCells();
    Correlate(
        fine_descriptor, fine_, window, options_.softmax_scale, logits_.data());
    const int best = static_cast<int>(
        std::max_element(logits_.begin(), logits_.begin() + num) -
        logits_.begin());
    match->xy = fine_.map_from_image.ToImage(RefineCell(
        fine_descriptor,
        fine_,
        {window.x + best % window.width, window.y + best / window.width}));
    const double mass = CoarseMass(coarse_descriptor,
                                   1,
                                   coarse_,
                                   options_.coarse_softmax_scale,
                                   coarse_log_sum_exp,
                                   fine_,
                                   window);
    match->probability = static_cast<float>(
        mass * std::exp(logits_[best] - LogSumExp(logits_.data(), num)));
    return true;
  }

 private:
  const FeatureMap& coarse_;
  const FeatureMap& fine_;
  const MatchingOptions& options_;
  int size_;  // fine cells
  std::vector<float> logits_;
};

}  // namespace

bool MatchingOptions::Check() const {
  return std::isfinite(softmax_scale) && softmax_scale > 0.0f &&
         std::isfinite(coarse_softmax_scale) && coarse_softmax_scale > 0.0f &&
         std::isfinite(window_size) && window_size > 0.0 &&
         max_num_modes >= 1 && std::isfinite(mode_distance) &&
         mode_distance >= 1.0 && max_ratio >= 0.0 && max_ratio < 1.0 &&
         ratio_rank >= 0.0 && ratio_rank <= 1.0 && min_probability >= 0.0 &&
         min_probability <= 1.0 && max_cycle_error_px >= 0.0 &&
         cycle_correction >= 0.0 && cycle_correction <= 1.0;
}

std::vector<DenseMatch> MatchDensely(const Eigen::Matrix2Xd& keypoints,
                                     const FeatureMap& features1,
                                     const FeatureMap& features2,
                                     const MatchingOptions& options) {
  CheckOptions(options);
  const auto& [described, summary, passed] =
      SearchAllCells(keypoints, features1, features2, options);
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
  CheckCycles(
      keypoints,
      features1,
      features2,
      options,
      [&](const Eigen::Matrix2Xd& positions,
          const MatchingOptions& back_options) {
        return MatchDensely(positions, features2, features1, back_options);
      },
      &matches);
  return matches;
}

std::vector<DenseMatch> MatchCoarseToFine(const Eigen::Matrix2Xd& keypoints,
                                          const ImageFeatures& features1,
                                          const ImageFeatures& features2,
                                          const MatchingOptions& options) {
  CheckOptions(options);
  MatchingOptions coarse_options = options;
  coarse_options.softmax_scale = options.coarse_softmax_scale;
  const auto& [described, summary, passed] = SearchAllCells(
      keypoints, features1.coarse, features2.coarse, coarse_options);
  WindowSearch windows(features2, options);
  std::vector<float> fine_descriptor(features1.fine.channels);
  std::vector<DenseMatch> matches;
  for (size_t i = 0; i < described.positions.size(); ++i) {
    DenseMatch match;
    match.keypoint = described.positions[i];
    match.entropy = summary.entropies[i];
    if (!passed[i] || !features1.fine.Sample(keypoints.col(match.keypoint),
                                             fine_descriptor.data())) {
      continue;
    }
    const float* coarse_descriptor =
        described.Descriptor(i, features1.coarse.channels);
    const size_t begin = matches.size();
    for (const int mode : Modes(summary, i, features2.coarse, options)) {
      const int cell = summary.cells[i * summary.top_k + mode];
      const Eigen::Vector2d center = features2.coarse.map_from_image.ToImage(
          RefineCell(coarse_descriptor,
                     features2.coarse,
                     Cell(features2.coarse, cell)));
      if (windows.Find(center,
                       coarse_descriptor,
                       fine_descriptor.data(),
                       summary.log_sum_exps[i],
                       &match) &&
          match.probability >= options.min_probability) {
        matches.push_back(match);
      }
    }
    SortModes(features2.fine, options, begin, &matches);
  }
  CheckCycles(
      keypoints,
      features1.fine,
      features2.fine,
      options,
      [&](const Eigen::Matrix2Xd& positions,
          const MatchingOptions& back_options) {
        return MatchCoarseToFine(positions, features2, features1, back_options);
      },
      &matches);
  return matches;
}

}  // namespace nre
