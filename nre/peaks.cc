#include "nre/peaks.h"

#include <utility>
#include <vector>

namespace nre {

Eigen::Vector2d RefinePeak(const LossMaps& maps,
                           size_t point,
                           const Eigen::Vector2d& start,
                           double sigma) {
  constexpr int kMaxNumIterations = 20;
  Eigen::Vector2d p = start;
  for (int i = 0; i < kMaxNumIterations; ++i) {
    const Eigen::Vector2d shift =
        maps.Smoothed(point, p, sigma, false).mean_shift;
    p += shift;
    if (shift.norm() < 1e-3) {
      break;
    }
  }
  return p;
}

DenseLossMaps OneHotMaps(const LossMaps& maps) {
  std::vector<LossMaps::Summary> summaries(maps.NumPoints());
  std::vector<Eigen::Vector2i> cells(summaries.size());
  for (size_t i = 0; i < summaries.size(); ++i) {
    summaries[i] = maps.Summarize(i);
    cells[i] = summaries[i].peak.cast<int>();
  }
  DenseLossMaps one_hot(maps.geometry(), 1, 1, std::move(cells));
  for (size_t i = 0; i < summaries.size(); ++i) {
    if (summaries[i].weight > 0.0) {
      *one_hot.Data(i) = static_cast<float>(maps.geometry().LogCategories());
    }
  }
  return one_hot;
}

}  // namespace nre
