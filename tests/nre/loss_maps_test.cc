#include "nre/loss_maps.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <vector>

#include <ceres/jet.h>
#include <gtest/gtest.h>

#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// Eq. 6 of one point by the reprojection pmf of Eq. 3.
double BruteForceNre(const WeightMap& map, const Eigen::Vector2d& p) {
  const int x = static_cast<int>(std::floor(p.x()));
  const int y = static_cast<int>(std::floor(p.y()));
  const double fx = p.x() - x, fy = p.y() - y;
  const double w[2][2] = {{(1.0 - fx) * (1.0 - fy), (1.0 - fx) * fy},
                          {fx * (1.0 - fy), fx * fy}};
  double loss = 0.0;
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) {
      loss += w[i][j] * (map.LogCategories() - map.At(x + i, y + j));
    }
  }
  return loss;
}

// Value, gradient and Hessian of Eq. 9 by automatic differentiation, twice.
SmoothedLoss BruteForceSmoothed(const WeightMap& map,
                                const Eigen::Vector2d& p,
                                double sigma,
                                Eigen::Vector2d* gradient) {
  using Jet = ceres::Jet<double, 2>;
  using JetOfJet = ceres::Jet<Jet, 2>;
  Eigen::Matrix<JetOfJet, 2, 1> q;
  for (int k = 0; k < 2; ++k) {
    q[k].a = Jet(p[k], k);
    q[k].v[0] = Jet(k == 0 ? 1.0 : 0.0);
    q[k].v[1] = Jet(k == 1 ? 1.0 : 0.0);
  }
  const double variance = sigma * sigma;
  JetOfJet sum(Jet(0.0));
  for (int y = 0; y < map.height; ++y) {
    for (int x = 0; x < map.width; ++x) {
      const JetOfJet dx = q.x() - JetOfJet(Jet(x));
      const JetOfJet dy = q.y() - JetOfJet(Jet(y));
      const double norm = -map.At(x, y) / (2.0 * M_PI * variance);
      sum += JetOfJet(Jet(norm)) *
             exp((dx * dx + dy * dy) * JetOfJet(Jet(-0.5 / variance)));
    }
  }
  SmoothedLoss loss;
  loss.value = sum.a.a;
  *gradient = sum.a.v;
  loss.hessian << sum.v[0].v[0], sum.v[0].v[1], sum.v[1].v[0], sum.v[1].v[1];
  return loss;
}

// `actual` has the value, the gradient and the Hessian of brute force, up to
// the given shares of the largest that a map of `max_weight` can have.
void ExpectSmoothed(const SmoothedLoss& actual,
                    const WeightMap& map,
                    const Eigen::Vector2d& p,
                    double sigma,
                    double share) {
  Eigen::Vector2d gradient;
  const SmoothedLoss expected = BruteForceSmoothed(map, p, sigma, &gradient);
  const double tolerance = share * map.LogCategories();
  EXPECT_NEAR(actual.value, expected.value, tolerance);
  EXPECT_NEAR(actual.irls,
              -expected.value / (sigma * sigma),
              tolerance / sigma / sigma);
  EXPECT_LT((actual.Gradient() - gradient).norm(), tolerance / sigma);
  EXPECT_LT((actual.hessian - expected.hessian).norm(),
            4.0 * tolerance / (sigma * sigma));
}

// The same maps, dense and sparse.
struct BothMaps {
  DenseLossMaps dense;
  SparseLossMaps sparse;

  explicit BothMaps(const std::vector<WeightMap>& maps)
      : dense(ToDense(maps, MapFromImage())),
        sparse(ToSparse(maps, MapFromImage())) {}

  std::vector<const LossMaps*> All() const { return {&dense, &sparse}; }
};

std::vector<WeightMap> RandomMaps(int width, int height, Random* random) {
  std::vector<WeightMap> maps;
  for (const double share : {0.0, 0.02, 0.3, 1.0}) {
    maps.push_back(RandomWeights(width, height, share, random));
  }
  maps.push_back(WeightMap(width, height));
  maps.back()(width - 1, 0) = 2.0f;  // a single cell, in a corner
  return maps;
}

TEST(LossMaps, WeightInterpolatesAsEq3) {
  Random random(1);
  const std::vector<WeightMap> maps = RandomMaps(12, 7, &random);
  const BothMaps both(maps);
  std::vector<Eigen::Vector2d> positions;
  for (int i = 0; i < 2000; ++i) {
    positions.emplace_back(random.Uniform(-3.0, 14.0),
                           random.Uniform(-3.0, 9.0));
  }
  for (double y = -2.0; y <= 8.0; y += 0.5) {
    for (double x = -2.0; x <= 13.0; x += 0.5) positions.emplace_back(x, y);
  }
  for (const LossMaps* loss_maps : both.All()) {
    ASSERT_EQ(loss_maps->NumPoints(), maps.size());
    for (size_t i = 0; i < maps.size(); ++i) {
      for (const Eigen::Vector2d& p : positions) {
        const double log_categories = loss_maps->geometry().LogCategories();
        ASSERT_NEAR(log_categories - loss_maps->Weight(i, p),
                    BruteForceNre(maps[i], p),
                    1e-12)
            << "map " << i << " at " << p.transpose();
      }
    }
  }
}

TEST(LossMaps, PositionsWithoutCellsAreOut) {
  const WeightMap full = [] {
    WeightMap map(6, 5);
    std::fill(map.weights.begin(), map.weights.end(), 3.0f);
    return map;
  }();
  const BothMaps both({full});
  for (const LossMaps* maps : both.All()) {
    EXPECT_NEAR(maps->geometry().LogCategories(), std::log(31.0), 1e-12);
    for (const double bad : {kNaN, kInf, -kInf, 1e300, -1e300, 3e9, -7.0}) {
      for (const Eigen::Vector2d& p : {Eigen::Vector2d(bad, 2.0),
                                       Eigen::Vector2d(2.0, bad),
                                       Eigen::Vector2d(bad, bad)}) {
        EXPECT_EQ(maps->Weight(0, p), 0.0) << p.transpose();
        const SmoothedLoss loss = maps->Smoothed(0, p, 1.0, true);
        EXPECT_EQ(loss.value, 0.0) << p.transpose();
        EXPECT_EQ(loss.irls, 0.0);
        EXPECT_EQ(loss.Gradient().norm(), 0.0);
        EXPECT_EQ(loss.hessian.norm(), 0.0);
      }
    }
  }
}

TEST(LossMaps, RasterAddsWeights) {
  Random random(10);
  const std::vector<WeightMap> maps = RandomMaps(12, 7, &random);
  const BothMaps both(maps);
  DenseLossMaps windows({12, 7, MapFromImage()}, 4, 5, {{3, -2}, {9, 4}});
  for (int k = 0; k < 2 * 20; ++k) {
    windows.Data(0)[k] = static_cast<float>(random.Uniform(0.0, 4.0));
  }
  std::vector<double> xs = {kNaN, 1.0, kInf, -kInf, 1e300, -1e300, 3e9, -7.0};
  std::vector<double> ys = {1.0, kNaN, 2.0, 2.0, 2.0, -1e300, 2.0, 2.0};
  for (int i = 0; i < 1000; ++i) {
    xs.push_back(random.Uniform(-3.0, 15.0));
    ys.push_back(random.Uniform(-3.0, 10.0));
  }
  for (double y = -2.0; y <= 9.0; y += 0.5) {
    for (double x = -2.0; x <= 14.0; x += 0.5) {
      xs.push_back(x);
      ys.push_back(y);
    }
  }
  std::vector<const LossMaps*> all = both.All();
  all.push_back(&windows);
  LossMaps::Raster raster;  // of several sizes, one after the other
  for (const LossMaps* loss_maps : all) {
    for (size_t i = 0; i < loss_maps->NumPoints(); ++i) {
      loss_maps->Rasterize(i, &raster);
      std::vector<double> sums(xs.size(), 10.0);
      raster.AddWeights(
          xs.data(), ys.data(), static_cast<int>(xs.size()), sums.data());
      for (size_t k = 0; k < xs.size(); ++k) {
        ASSERT_NEAR(sums[k] - 10.0, loss_maps->Weight(i, {xs[k], ys[k]}), 2e-6)
            << "map " << i << " at " << xs[k] << " " << ys[k];
      }
    }
  }
}

// All cells of these maps lie within 5 sigma, so that nothing is cut off.
TEST(LossMaps, SmoothedIsEq9) {
  Random random(2);
  const std::vector<WeightMap> maps = RandomMaps(9, 7, &random);
  const BothMaps both(maps);
  for (const LossMaps* loss_maps : both.All()) {
    for (const double sigma : {3.0, 5.5, 100.0}) {
      for (size_t i = 0; i < maps.size(); ++i) {
        for (int k = 0; k < 20; ++k) {
          const Eigen::Vector2d p = random.Uniform2(-5.0, 13.0);
          ExpectSmoothed(
              loss_maps->Smoothed(i, p, sigma, true), maps[i], p, sigma, 1e-12);
        }
      }
    }
  }
}

TEST(LossMaps, SmoothedCutsOffNextToNothing) {
  Random random(3);
  const std::vector<WeightMap> maps = RandomMaps(40, 30, &random);
  const BothMaps both(maps);
  for (const LossMaps* loss_maps : both.All()) {
    for (const double sigma : {0.5, 0.6, 1.0, 2.0, 3.3}) {
      for (size_t i = 0; i < maps.size(); ++i) {
        for (int k = 0; k < 10; ++k) {
          const Eigen::Vector2d p = random.Uniform2(-8.0, 45.0);
          ExpectSmoothed(
              loss_maps->Smoothed(i, p, sigma, true), maps[i], p, sigma, 2e-5);
        }
      }
    }
  }
}

TEST(LossMaps, SmoothedDerivativesAreThoseOfItsValue) {
  Random random(4);
  const BothMaps both(RandomMaps(9, 7, &random));
  constexpr double kStep = 1e-4;
  constexpr double kSigma = 2.5;
  for (const LossMaps* maps : both.All()) {
    for (size_t i = 0; i < maps->NumPoints(); ++i) {
      const Eigen::Vector2d p = random.Uniform2(1.0, 7.0);
      const SmoothedLoss loss = maps->Smoothed(i, p, kSigma, true);
      for (int k = 0; k < 2; ++k) {
        const Eigen::Vector2d step = kStep * Eigen::Vector2d::Unit(k);
        const SmoothedLoss after = maps->Smoothed(i, p + step, kSigma, true);
        const SmoothedLoss before = maps->Smoothed(i, p - step, kSigma, true);
        EXPECT_NEAR(loss.Gradient()[k],
                    (after.value - before.value) / (2.0 * kStep),
                    1e-8);
        EXPECT_LT((loss.hessian.col(k) -
                   (after.Gradient() - before.Gradient()) / (2.0 * kStep))
                      .norm(),
                  1e-8);
      }
    }
  }
}

TEST(LossMaps, HessianIsOptional) {
  Random random(5);
  const BothMaps both({RandomWeights(9, 7, 0.5, &random)});
  for (const LossMaps* maps : both.All()) {
    const SmoothedLoss with = maps->Smoothed(0, {4.2, 3.1}, 1.0, true);
    const SmoothedLoss without = maps->Smoothed(0, {4.2, 3.1}, 1.0, false);
    EXPECT_EQ(with.value, without.value);
    EXPECT_EQ(with.Gradient(), without.Gradient());
  }
}

TEST(LossMaps, DenseAndSparseAgree) {
  Random random(6);
  const BothMaps both(RandomMaps(40, 30, &random));
  for (size_t i = 0; i < both.dense.NumPoints(); ++i) {
    for (const double sigma : {0.5, 0.6, 2.0, 8.0}) {
      for (int k = 0; k < 20; ++k) {
        const Eigen::Vector2d p = random.Uniform2(-8.0, 45.0);
        EXPECT_NEAR(both.dense.Weight(i, p), both.sparse.Weight(i, p), 1e-12);
        const SmoothedLoss a = both.dense.Smoothed(i, p, sigma, true);
        const SmoothedLoss b = both.sparse.Smoothed(i, p, sigma, true);
        EXPECT_NEAR(a.value, b.value, 1e-12);
        EXPECT_LT((a.Gradient() - b.Gradient()).norm(), 1e-11);
        EXPECT_LT((a.hessian - b.hessian).norm(), 1e-10);
      }
    }
    const LossMaps::Summary a = both.dense.Summarize(i);
    const LossMaps::Summary b = both.sparse.Summarize(i);
    EXPECT_EQ(a.peak, b.peak);
    EXPECT_EQ(a.weight, b.weight);
    EXPECT_NEAR(a.entropy, b.entropy, 1e-12);
  }
}

TEST(LossMaps, WithoutHidesWhatLiesNear) {
  constexpr double kRadius = 3.0;
  Random random(61);
  const std::vector<WeightMap> weights = RandomMaps(40, 30, &random);
  const BothMaps both(weights);
  std::vector<Eigen::Vector2d> centers(weights.size());
  for (Eigen::Vector2d& center : centers) center = random.Uniform2(-2.0, 32.0);
  centers.back().setConstant(std::numeric_limits<double>::quiet_NaN());
  const std::unique_ptr<LossMaps> dense = both.dense.Without(centers, kRadius);
  const std::unique_ptr<LossMaps> sparse =
      both.sparse.Without(centers, kRadius);
  ASSERT_EQ(sparse->NumPoints(), weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    for (int y = 0; y < 30; ++y) {
      for (int x = 0; x < 40; ++x) {
        const Eigen::Vector2d cell(x, y);
        const bool hidden =
            (cell - centers[i]).lpNorm<Eigen::Infinity>() <= kRadius;
        const double expected =
            hidden ? 0.0 : std::max(0.0, weights[i].At(x, y));
        ASSERT_EQ(dense->Weight(i, cell), expected);
        ASSERT_EQ(sparse->Weight(i, cell), expected);
      }
    }
  }
}

// A window that lies anywhere is the whole map with zeros elsewhere.
TEST(DenseLossMaps, WindowsLieAtTheirOrigins) {
  Random random(7);
  const LossMaps::Geometry geometry{40, 30, MapFromImage()};
  const std::vector<Eigen::Vector2i> origins = {
      {0, 0}, {11, 5}, {-4, 20}, {35, -3}, {100, 100}};
  DenseLossMaps windows(geometry, 9, 8, origins);
  std::vector<WeightMap> whole(origins.size(), WeightMap(40, 30));
  for (size_t i = 0; i < origins.size(); ++i) {
    EXPECT_EQ(windows.Origin(i), origins[i]);
    for (int y = 0; y < 8; ++y) {
      for (int x = 0; x < 9; ++x) {
        const Eigen::Vector2i cell = origins[i] + Eigen::Vector2i(x, y);
        if (cell.x() >= 0 && cell.y() >= 0 && cell.x() < 40 && cell.y() < 30) {
          const float weight = static_cast<float>(random.Uniform(0.0, 7.0));
          windows.Data(i)[9 * y + x] = weight;
          whole[i](cell.x(), cell.y()) = weight;
        }
      }
    }
  }
  const SparseLossMaps expected = ToSparse(whole, MapFromImage());
  EXPECT_EQ(windows.CellsPerMap(), 72);
  for (size_t i = 0; i < origins.size(); ++i) {
    for (int k = 0; k < 200; ++k) {
      const Eigen::Vector2d p = random.Uniform2(-6.0, 45.0);
      EXPECT_NEAR(windows.Weight(i, p), expected.Weight(i, p), 1e-12);
      EXPECT_NEAR(windows.Smoothed(i, p, 1.5, false).value,
                  expected.Smoothed(i, p, 1.5, false).value,
                  1e-12);
    }
    EXPECT_EQ(windows.Summarize(i).weight, expected.Summarize(i).weight);
    if (expected.Summarize(i).weight > 0.0) {
      EXPECT_EQ(windows.Summarize(i).peak, expected.Summarize(i).peak);
    }
    EXPECT_NEAR(
        windows.Summarize(i).entropy, expected.Summarize(i).entropy, 1e-12);
  }
}

TEST(SparseLossMaps, KeepsInformativeCellsOnly) {
  WeightMap map(5, 4);
  map(1, 0) = 2.0f;
  map(4, 3) = 1e-6f;
  map(2, 2) = -1.0f;
  map(3, 2) = std::numeric_limits<float>::quiet_NaN();
  SparseLossMaps maps({5, 4, MapFromImage()});
  EXPECT_EQ(maps.NumPoints(), 0u);
  maps.AddPoint(map.weights.data());
  EXPECT_EQ(maps.NumPoints(), 1u);
  EXPECT_EQ(maps.NumCells(0), 2u);
  EXPECT_EQ(maps.CellsPerMap(), 20);
  EXPECT_EQ(maps.Weight(0, {2.0, 2.0}), 0.0);
  EXPECT_EQ(maps.Weight(0, {3.0, 2.0}), 0.0);
  EXPECT_THROW(SparseLossMaps({70000, 1, MapFromImage()}),
               std::invalid_argument);
}

TEST(LossMaps, SummarizeFindsPeakAndEntropy) {
  Random random(8);
  const std::vector<WeightMap> maps = {
      RandomWeights(30, 20, 0.01, &random),
      RandomWeights(30, 20, 0.1, &random),
      GaussianWeights(30, 20, {9.2, 4.1}, 1.0),
      GaussianWeights(30, 20, {29.0, 0.0}, 4.0)};
  const BothMaps both(maps);
  for (size_t i = 0; i < maps.size(); ++i) {
    const auto peak =
        std::max_element(maps[i].weights.begin(), maps[i].weights.end());
    const int cell = static_cast<int>(peak - maps[i].weights.begin());
    // The whole correspondence map, what is truncated and `out` equal.
    const double categories = 1.0 + maps[i].weights.size();
    double mass = 0.0, num_rest = 1.0, entropy = 0.0;
    for (const float weight : maps[i].weights) {
      const double c = std::exp(static_cast<double>(weight)) / categories;
      if (weight > 0.0f) {
        mass += c;
        entropy -= c * std::log(c);
      } else {
        ++num_rest;
      }
    }
    // Random weights may hold more than all of the mass.
    if (mass < 1.0) {
      entropy -= (1.0 - mass) * std::log((1.0 - mass) / num_rest);
    }
    for (const LossMaps* loss_maps : both.All()) {
      const LossMaps::Summary summary = loss_maps->Summarize(i);
      EXPECT_EQ(summary.peak, Eigen::Vector2d(cell % 30, cell / 30));
      EXPECT_EQ(summary.weight, *peak);
      // A cell's probability is a float.
      EXPECT_NEAR(summary.entropy, entropy, 1e-6);
    }
  }
}

TEST(LossMaps, SummarizeOfExtremes) {
  WeightMap one_hot(30, 20);
  one_hot(7, 11) = static_cast<float>(one_hot.LogCategories());
  const BothMaps both({WeightMap(30, 20), one_hot});
  for (const LossMaps* maps : both.All()) {
    EXPECT_EQ(maps->Summarize(0).weight, 0.0);
    EXPECT_NEAR(maps->Summarize(0).entropy, std::log(601.0), 1e-9);
    EXPECT_EQ(maps->Summarize(1).peak, Eigen::Vector2d(7.0, 11.0));
    EXPECT_NEAR(maps->Summarize(1).entropy, 0.0, 1e-4);
  }
}

TEST(LossMaps, RefusesSigmaOutsideItsRange) {
  const BothMaps both({WeightMap(30, 20)});
  for (const LossMaps* maps : both.All()) {
    for (const double sigma : {0.49, 0.0, -1.0, 100.1, kNaN, kInf}) {
      EXPECT_THROW(maps->Smoothed(0, {5.0, 5.0}, sigma, false),
                   std::invalid_argument);
    }
    EXPECT_NO_THROW(maps->Smoothed(0, {5.0, 5.0}, 0.5, false));
    EXPECT_NO_THROW(maps->Smoothed(0, {5.0, 5.0}, 100.0, false));
  }
}

TEST(LossMaps, SmoothedEqualsNreOnAffineMaps) {
  Random random(9);
  std::vector<WeightMap> maps;
  for (int i = 0; i < 20; ++i) {
    maps.emplace_back(40, 30);
    const Eigen::Vector2d slope = random.Uniform2(-0.05, 0.05);
    for (int y = 0; y < 30; ++y) {
      for (int x = 0; x < 40; ++x) {
        maps.back()(x, y) = static_cast<float>(
            3.0 + slope.dot(Eigen::Vector2d(x - 20, y - 15)));
      }
    }
  }
  const BothMaps both(maps);
  for (const LossMaps* loss_maps : both.All()) {
    const double log_categories = loss_maps->geometry().LogCategories();
    double smoothed = 0.0, nre = 0.0;
    for (size_t i = 0; i < maps.size(); ++i) {
      const Eigen::Vector2d p(random.Uniform(5.0, 34.0),
                              random.Uniform(5.0, 24.0));
      const double term =
          loss_maps->Smoothed(i, p, 0.6, false).value + log_categories;
      const double exact = log_categories - loss_maps->Weight(i, p);
      EXPECT_NEAR(term, exact, 0.005 * exact);
      smoothed += term;
      nre += exact;
    }
    EXPECT_NEAR(smoothed, nre, 0.005 * nre);
  }
}

// Section 7.1: a one-hot correspondence map makes Eq. 9 the robust
// reprojection error of Eq. 11.
TEST(LossMaps, ReprojectionErrorIsASpecialCase) {
  Random random(10);
  WeightMap one_hot(40, 30);
  one_hot(17, 12) = static_cast<float>(one_hot.LogCategories());
  const BothMaps both({one_hot});
  for (const LossMaps* maps : both.All()) {
    for (const double sigma : {0.6, 1.0, 5.0}) {
      for (int k = 0; k < 50; ++k) {
        const Eigen::Vector2d error = sigma * random.Uniform2(-3.0, 3.0);
        const Eigen::Vector2d p = Eigen::Vector2d(17.0, 12.0) + error;
        const double kernel =
            std::exp(-error.squaredNorm() / (2.0 * sigma * sigma)) /
            (2.0 * M_PI * sigma * sigma);
        const SmoothedLoss loss = maps->Smoothed(0, p, sigma, true);
        EXPECT_NEAR(loss.value, -one_hot(17, 12) * kernel, 1e-12);
        // The mean shift leads straight to the correspondence.
        EXPECT_LT((loss.mean_shift + error).norm(), 1e-12 * sigma);
      }
    }
  }
}

}  // namespace
}  // namespace nre
