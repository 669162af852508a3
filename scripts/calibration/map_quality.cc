#include "scripts/calibration/map_quality.h"

#include <cmath>
#include <limits>

#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "s2d/image.h"
#include "s2d/window.h"

namespace nre {
namespace {

constexpr int kFineWindow = 64;           // cells
constexpr int kFineWindowMaxOffset = 16;  // cells

// Inner products of a descriptor with the cells of a window.
using Cosines =
    Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Cosines Correlate(const FeatureMap& map,
                  const Eigen::VectorXf& descriptor,
                  const Window& window) {
  Cosines cosines(window.height, window.width);
  Correlate(descriptor.data(), map, window, 1.0f, cosines.data());
  return cosines;
}

Window WholeMap(const FeatureMap& map) {
  return {Eigen::Vector2i(0, 0), std::max(map.width, map.height), map};
}

double LogSumExpOf(const Cosines& cosines, double scale) {
  const Cosines logits = static_cast<float>(scale) * cosines;
  return LogSumExp(logits.data(), logits.size());
}

// Adds a point with its cosines and its true position in them. The
// correspondence map is their softmax times exp(log_mass).
void AddPoint(const Cosines& cosines,
              const Eigen::Vector2d& truth,
              double log_mass,
              double log_categories,
              const std::vector<double>& scales,
              MapStatistics* statistics) {
  Eigen::Index peak_y, peak_x;
  cosines.maxCoeff(&peak_y, &peak_x);
  statistics->errors.push_back(
      (Eigen::Vector2d(peak_x, peak_y) - truth).lpNorm<Eigen::Infinity>());
  statistics->log_categories += log_categories;

  const int x0 = static_cast<int>(std::floor(truth.x()));
  const int y0 = static_cast<int>(std::floor(truth.y()));
  for (size_t k = 0; k < scales.size(); ++k) {
    const double log_sum_exp = LogSumExpOf(cosines, scales[k]) - log_mass;
    for (const int x : {x0, x0 + 1}) {
      for (const int y : {y0, y0 + 1}) {
        double loss = log_categories;
        if (x >= 0 && y >= 0 && x < cosines.cols() && y < cosines.rows()) {
          loss = std::min(loss, log_sum_exp - scales[k] * cosines(y, x));
        }
        statistics->nre[k] += loss * (1.0 - std::abs(truth.x() - x)) *
                              (1.0 - std::abs(truth.y() - y));
      }
    }
  }
}

void AddUndescribedPoint(double log_categories, MapStatistics* statistics) {
  for (double& nre : statistics->nre) nre += log_categories;
  statistics->log_categories += log_categories;
  statistics->errors.push_back(std::numeric_limits<double>::infinity());
}

// A window of the map, off the truth by a random number of cells.
Window RandomWindow(const FeatureMap& map,
                    const Eigen::Vector2d& truth,
                    std::mt19937* random) {
  std::uniform_int_distribution<int> offset(-kFineWindowMaxOffset,
                                            kFineWindowMaxOffset);
  const int dx = offset(*random);
  const int dy = offset(*random);
  return {WindowOrigin(truth + Eigen::Vector2d(dx, dy), kFineWindow),
          kFineWindow,
          map};
}

}  // namespace

double PairFeatures::LogCategories() const {
  return std::log(1.0 + static_cast<double>(map2.width) * map2.height);
}

size_t MapStatistics::BestScale() const {
  return std::min_element(nre.begin(), nre.end()) - nre.begin();
}

double MapStatistics::ShareWithin(double cells) const {
  const auto is_within = [&](double error) { return error <= cells; };
  return 1.0 * std::count_if(errors.begin(), errors.end(), is_within) /
         errors.size();
}

void MapStatistics::Add(const MapStatistics& other) {
  nre.resize(other.nre.size());
  for (size_t k = 0; k < nre.size(); ++k) nre[k] += other.nre[k];
  log_categories += other.log_categories;
  errors.insert(errors.end(), other.errors.begin(), other.errors.end());
}

MapStatistics EvaluateCoarse(const std::vector<PointPair>& points,
                             const PairFeatures& features,
                             const std::vector<double>& scales) {
  MapStatistics statistics(scales.size());
  const FeatureMap& map = features.map2;
  Eigen::VectorXf descriptor(map.channels);
  for (const PointPair& point : points) {
    if (!features.map1.Sample(point.xy1, descriptor.data())) {
      AddUndescribedPoint(features.LogCategories(), &statistics);
      continue;
    }
    AddPoint(Correlate(map, descriptor, WholeMap(map)),
             map.map_from_image * point.xy2,
             0.0,
             features.LogCategories(),
             scales,
             &statistics);
  }
  return statistics;
}

MapStatistics EvaluateFine(const std::vector<PointPair>& points,
                           const PairFeatures& coarse,
                           double coarse_scale,
                           const PairFeatures& fine,
                           const std::vector<double>& scales,
                           std::mt19937* random) {
  MapStatistics statistics(scales.size());
  Eigen::VectorXf descriptor(fine.map2.channels);
  Eigen::VectorXf coarse_descriptor(coarse.map2.channels);
  for (const PointPair& point : points) {
    const Eigen::Vector2d truth = fine.map2.map_from_image * point.xy2;
    const Window window = RandomWindow(fine.map2, truth, random);
    if (window.IsEmpty() || !fine.map1.Sample(point.xy1, descriptor.data()) ||
        !coarse.map1.Sample(point.xy1, coarse_descriptor.data())) {
      AddUndescribedPoint(fine.LogCategories(), &statistics);
      continue;
    }
    const double mass = CoarseMass(
        coarse_descriptor.data(),
        1,
        coarse.map2,
        static_cast<float>(coarse_scale),
        static_cast<float>(LogSumExpOf(
            Correlate(coarse.map2, coarse_descriptor, WholeMap(coarse.map2)),
            coarse_scale)),
        fine.map2,
        window);
    AddPoint(Correlate(fine.map2, descriptor, window),
             truth - Eigen::Vector2d(window.x, window.y),
             std::log(mass),
             fine.LogCategories(),
             scales,
             &statistics);
  }
  return statistics;
}

Eigen::Matrix2Xd FindCorners(const std::string& path) {
  constexpr int kMaxNum = 1000;
  constexpr double kMinQuality = 0.01;  // relative to the best
  constexpr double kMinDistancePx = 5.0;
  const Image image = ReadImage(path);
  std::vector<float> gray = image.Gray();
  std::vector<cv::Point2f> corners;
  cv::goodFeaturesToTrack(
      cv::Mat(image.height, image.width, CV_32F, gray.data()),
      corners,
      kMaxNum,
      kMinQuality,
      kMinDistancePx);
  Eigen::Matrix2Xd xys(2, corners.size());
  for (size_t i = 0; i < corners.size(); ++i) {
    // OpenCV has the first pixel's centre at (0, 0).
    xys.col(i) << corners[i].x + 0.5, corners[i].y + 0.5;
  }
  return xys;
}

}  // namespace nre
