// How surely and how exactly maps show points whose places are known: what
// calibrate_temperature and feature_study count. See README.md here.
#pragma once

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include "s2d/feature_extractor.h"

namespace nre {

// A scene point in two images, image coordinates.
struct PointPair {
  Eigen::Vector2d xy1 = Eigen::Vector2d::Zero();
  Eigen::Vector2d xy2 = Eigen::Vector2d::Zero();
};

// Keeps `max_num` of the items at most, chosen at random.
template <typename T>
void KeepRandom(size_t max_num, std::mt19937* random, std::vector<T>* items) {
  const size_t num = std::min(max_num, items->size());
  for (size_t i = 0; i < num; ++i) {
    std::swap((*items)[i],
              (*items)[std::uniform_int_distribution<size_t>(
                  i, items->size() - 1)(*random)]);
  }
  items->resize(num);
}

// Features of one kind of both images of a pair.
struct PairFeatures {
  FeatureMap map1;
  FeatureMap map2;

  // ln|Omega^| of the maps in the second image.
  double LogCategories() const;
};

// Sums over the points of some pairs.
struct MapStatistics {
  std::vector<double> nre;      // by scale
  double log_categories = 0.0;  // of ln|Omega^|
  // Distance of each point's highest cell from the truth, in cells, in x or y,
  // whichever is larger; infinite for a point without a descriptor.
  std::vector<double> errors;

  explicit MapStatistics(size_t num_scales = 0) : nre(num_scales) {}

  size_t NumPoints() const { return errors.size(); }
  size_t BestScale() const;
  double ShareWithin(double cells) const;
  void Add(const MapStatistics& other);
};

// Whole maps of the points' descriptors. The NRE of a point is
// min(ln|Omega^|, -ln C) interpolated bilinearly at the truth, C being the
// softmax of scale * <descriptor, feature>; a point without a descriptor costs
// ln|Omega^|.
MapStatistics EvaluateCoarse(const std::vector<PointPair>& points,
                             const PairFeatures& features,
                             const std::vector<double>& scales);

// Fine maps as the estimator makes them (appendix D.1), but without its share
// of wrong points: windows of 64 x 64 cells around the truth, off by up to 16
// cells in x and y at random, whose softmax is multiplied by the window's
// coarse mass at `coarse_scale`.
MapStatistics EvaluateFine(const std::vector<PointPair>& points,
                           const PairFeatures& coarse,
                           double coarse_scale,
                           const PairFeatures& fine,
                           const std::vector<double>& scales,
                           std::mt19937* random);

// Image coordinates [2, N] of the best thousand corners of a picture at most.
// Throws InputError if it cannot be read.
Eigen::Matrix2Xd FindCorners(const std::string& path);

}  // namespace nre
