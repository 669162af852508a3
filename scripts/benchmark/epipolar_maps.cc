#include "scripts/benchmark/epipolar_maps.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "s2d/window.h"

namespace nre {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Distance of a position from the points of a line.
double DistanceFrom(const Eigen::Matrix2Xd& line, const Eigen::Vector2d& xy) {
  return std::sqrt((line.colwise() - xy).colwise().squaredNorm().minCoeff());
}

// Distances of cells' centres from a line, in pixels, [height, width] row by
// row; infinite beyond `max_px`.
std::vector<double> DistancesOfCells(const Eigen::Matrix2Xd& line,
                                     const FeatureMap& map,
                                     double max_px) {
  std::vector<double> distances(static_cast<size_t>(map.width) * map.height,
                                kInfinity);
  const Eigen::Vector2d reach = max_px * map.map_from_image.scale;
  for (const auto& xy : line.colwise()) {
    const Eigen::Vector2d center = map.map_from_image * xy;
    const Eigen::Array2i begin =
        (center - reach).array().ceil().cast<int>().max(0);
    const Eigen::Array2i last =
        (center + reach)
            .array()
            .floor()
            .cast<int>()
            .min(Eigen::Array2i(map.width - 1, map.height - 1));
    for (int y = begin.y(); y <= last.y(); ++y) {
      for (int x = begin.x(); x <= last.x(); ++x) {
        const double distance =
            (map.map_from_image.ToImage(Eigen::Vector2d(x, y)) - xy).norm();
        double& least = distances[static_cast<size_t>(y) * map.width + x];
        if (distance <= max_px) least = std::min(least, distance);
      }
    }
  }
  return distances;
}

}  // namespace

Eigen::Matrix2Xd EpipolarLine(const Camera& reference,
                              const Camera& query,
                              const Rigid3d& query_from_reference,
                              const Eigen::Vector2d& xy) {
  constexpr double kStepPx = 0.5;  // in the picture's middle
  Eigen::Vector3d ray;
  if (!reference.Unproject(xy, &ray)) return {};
  // Seen from the query, the point moves from the reference's centre (depth
  // 0) to its vanishing point, along a great circle.
  const Eigen::Vector3d begin = query_from_reference.translation.normalized();
  const Eigen::Vector3d end = query_from_reference.rotation * ray;
  const double angle = std::atan2(begin.cross(end).norm(), begin.dot(end));
  const Eigen::Vector3d across =
      begin.cross(end).cross(begin).normalized();  // 90 degrees from begin
  const int num_steps =
      static_cast<int>(std::ceil(angle * query.MeanFocalLength() / kStepPx));
  Eigen::Matrix2Xd line(2, num_steps + 1);
  Eigen::Index num = 0;
  for (int i = 0; i <= num_steps; ++i) {
    const double a = angle * i / std::max(1, num_steps);
    Eigen::Vector2d point;
    if (query.Project(
            std::cos(a) * begin + std::sin(a) * across, &point, nullptr) &&
        point.x() >= 0.0 && point.y() >= 0.0 && point.x() <= query.Width() &&
        point.y() <= query.Height()) {
      line.col(num++) = point;
    }
  }
  line.conservativeResize(2, num);
  return line;
}

EpipolarStatistics EvaluateEpipolar(const std::vector<EpipolarPoint>& points,
                                    const PairFeatures& features,
                                    double scale,
                                    double cell_px) {
  EpipolarStatistics statistics;
  const FeatureMap& map = features.map2;
  const Window whole(
      Eigen::Vector2i(0, 0), std::max(map.width, map.height), map);
  std::vector<float> descriptor(map.channels), logits(whole.NumCells());
  for (const EpipolarPoint& point : points) {
    const std::vector<double> distances =
        DistancesOfCells(point.line, map, 2.0 * cell_px);
    const auto share_within = [&](double cells) {
      return 1.0 *
             std::count_if(distances.begin(),
                           distances.end(),
                           [&](double d) { return d <= cells * cell_px; }) /
             distances.size();
    };
    const double chance = share_within(1.0);
    statistics.chance_1 += chance;
    statistics.chance_2 += share_within(2.0);
    statistics.max_nre -= std::log(chance);
    if (!features.map1.Sample(point.xy, descriptor.data())) {
      statistics.nre -= std::log(chance);
      statistics.errors.push_back(kInfinity);
      continue;
    }
    Correlate(descriptor.data(),
              map,
              whole,
              static_cast<float>(scale),
              logits.data());
    const double log_sum_exp = LogSumExp(logits.data(), logits.size());
    double probability = 0.0;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (distances[i] <= cell_px) {
        probability += std::exp(logits[i] - log_sum_exp);
      }
    }
    statistics.nre -= std::log(std::max(probability, chance));
    const size_t best =
        std::max_element(logits.begin(), logits.end()) - logits.begin();
    const Eigen::Vector2d best_cell(best % map.width, best / map.width);
    statistics.errors.push_back(
        DistanceFrom(point.line, map.map_from_image.ToImage(best_cell)) /
        cell_px);
  }
  return statistics;
}

}  // namespace nre
