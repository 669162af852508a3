// Rectangles of cells of a feature map, and what correlates with them.
#pragma once

#include <cstddef>

#include <Eigen/Core>

#include "s2d/feature_extractor.h"

namespace nre {

// First cell of a window of size x size cells that is centred on a position, in
// map coordinates; of one that is not finite, far outside of any map.
Eigen::Vector2i WindowOrigin(const Eigen::Vector2d& center, int size);

// The cells of a window that exist in the map.
struct Window {
  int x;
  int y;
  int width;
  int height;

  Window(const Eigen::Vector2i& origin, int size, const FeatureMap& features);

  bool IsEmpty() const { return width <= 0 || height <= 0; }
  size_t NumCells() const { return static_cast<size_t>(width) * height; }
};

// scale * <descriptor, feature> in the window's cells, row by row, into
// `logits` [window.NumCells()].
void Correlate(const float* descriptor,
               const FeatureMap& features,
               const Window& window,
               float scale,
               float* logits);

// ln sum exp of `num` > 0 logits.
double LogSumExp(const float* logits, size_t num);

// The cells of a map in every `step`-th column and row, from the first on, for
// sums over cells (they have lost their places), and how many of all there are
// for one of them. step: >= 1.
FeatureMap SampledCells(const FeatureMap& features, int step);
double CellsPerSampledCell(const FeatureMap& features, int step);

// Probability that the coarse correspondence map gives a window of fine cells
// (Germain et al., CVPR 2021, appendix D.1): the sum of the coarse cells',
// weighted by the area that they share with the window. The map is that of
// descriptors [num, coarse.channels], the most similar one in every cell, with
// this ln sum exp over all cells. If that was estimated from the SampledCells()
// of `step`, the estimate holds for the cells outside of the window only: those
// within, among which the peak of a right point is, are all there.
double CoarseMass(const float* descriptors,
                  size_t num,
                  const FeatureMap& coarse,
                  float softmax_scale,
                  float log_sum_exp,
                  const FeatureMap& fine,
                  const Window& window,
                  int step = 1);

}  // namespace nre
