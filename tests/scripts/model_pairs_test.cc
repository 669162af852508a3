#include "scripts/benchmark/model_pairs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "nre/error.h"

namespace nre {
namespace {

constexpr int kNumImages = 6;
constexpr int kNumPoints = 240;

// Cameras that all look along z, of which each sees some of the points.
struct World {
  std::vector<Eigen::Vector3d> points;
  std::vector<Eigen::Vector3d> centers;
  std::vector<double> focal_lengths;
  bool sees[kNumImages][kNumPoints] = {};
  colmap::Reconstruction model;

  explicit World(double unit) {
    std::mt19937 random(5);
    const auto uniform = [&](double min, double max) {
      return min + (max - min) * random() / 4294967296.0;
    };
    std::vector<colmap::point3D_t> ids;
    for (int j = 0; j < kNumPoints; ++j) {
      points.push_back(unit * Eigen::Vector3d(uniform(-3, 3),
                                              uniform(-2, 2),
                                              uniform(8, 14)));
      ids.push_back(model.AddPoint3D(points[j], colmap::Track()));
    }
    for (int i = 0; i < kNumImages; ++i) {
      centers.push_back(unit * Eigen::Vector3d(uniform(-2, 2),
                                               uniform(-1, 1),
                                               uniform(-3, 4)));
      focal_lengths.push_back(uniform(300, 900));
      std::vector<ImagePoint> observed;
      const double share = uniform(0.3, 0.8);
      for (int j = 0; j < kNumPoints; ++j) {
        sees[i][j] = uniform(0, 1) < share;
        // What is not a point, too.
        observed.push_back({Eigen::Vector2d(j, i),
                            sees[i][j] ? ids[j] : colmap::kInvalidPoint3DId});
      }
      Rigid3d pose;
      pose.translation = -centers[i];
      AddRegisteredImage(
          MakeColmapCamera(
              "SIMPLE_PINHOLE", 640, 480, {focal_lengths[i], 320, 240}),
          1 + i,
          1 + i,
          Name(i),
          pose,
          observed,
          &model);
    }
  }

  // Not in the order of the ids.
  static std::string Name(int i) {
    return std::to_string((i * 5) % kNumImages) + ".jpg";
  }
  std::vector<int> Shared(int i, int k) const {
    std::vector<int> shared;
    for (int j = 0; j < kNumPoints; ++j) {
      if (sees[i][j] && sees[k][j]) shared.push_back(j);
    }
    return shared;
  }
  int NumSeen(int i) const {
    return static_cast<int>(std::count(sees[i], sees[i] + kNumPoints, true));
  }
};

double MedianOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return 0.5 * (values[(n - 1) / 2] + values[n / 2]);
}

double DegreesBetween(const Eigen::Vector3d& a, const Eigen::Vector3d& b) {
  return std::atan2(a.cross(b).norm(), a.dot(b)) * 180.0 / M_PI;
}

TEST(ModelPairs, AreThoseOfASearchThroughAll) {
  const World world(1.0);
  for (const int min_shared : {1, 60}) {
    const std::vector<ModelPair> pairs =
        ModelPairs(world.model, {min_shared, 2.0});
    size_t num_expected = 0;
    for (int q = 0; q < kNumImages; ++q) {
      for (int r = 0; r < kNumImages; ++r) {
        const std::vector<int> shared = world.Shared(q, r);
        if (q == r || static_cast<int>(shared.size()) < min_shared) continue;
        ++num_expected;
        const auto pair =
            std::find_if(pairs.begin(), pairs.end(), [&](const ModelPair& p) {
              return p.query_name == World::Name(q) &&
                     p.reference_name == World::Name(r);
            });
        ASSERT_NE(pair, pairs.end());
        EXPECT_EQ(static_cast<int>(pair->query), 1 + q);
        EXPECT_EQ(static_cast<int>(pair->reference), 1 + r);
        EXPECT_EQ(pair->num_shared_points, shared.size());
        EXPECT_DOUBLE_EQ(pair->overlap,
                         std::min(1.0 * shared.size() / world.NumSeen(q),
                                  1.0 * shared.size() / world.NumSeen(r)));
        std::vector<double> angles, zooms;
        for (const int j : shared) {
          const Eigen::Vector3d from_q = world.points[j] - world.centers[q];
          const Eigen::Vector3d from_r = world.points[j] - world.centers[r];
          angles.push_back(DegreesBetween(from_q, from_r));
          zooms.push_back(world.focal_lengths[q] / from_q.norm() /
                          (world.focal_lengths[r] / from_r.norm()));
        }
        EXPECT_NEAR(pair->difficulties[kDistance],
                    2.0 * (world.centers[q] - world.centers[r]).norm(),
                    1e-9);
        EXPECT_NEAR(pair->difficulties[kAngle], MedianOf(angles), 1e-6);
        EXPECT_NEAR(pair->difficulties[kZoom], MedianOf(zooms), 1e-9);
      }
    }
    EXPECT_EQ(pairs.size(), num_expected);
    EXPECT_TRUE(std::is_sorted(
        pairs.begin(), pairs.end(), [](const auto& a, const auto& b) {
          return std::pair(a.query_name, a.reference_name) <
                 std::pair(b.query_name, b.reference_name);
        }));
  }
  // Some have more than 60 points in common, others fewer.
  EXPECT_LT(ModelPairs(world.model, {60, 2.0}).size(),
            ModelPairs(world.model, {1, 2.0}).size());
}

TEST(ModelPairs, AreCutIntoThirds) {
  const World world(1.0);
  const std::vector<ModelPair> pairs = ModelPairs(world.model, {1, 1.0});
  ASSERT_EQ(pairs.size(), kNumImages * (kNumImages - 1));
  for (int d = 0; d < kNumDifficulties; ++d) {
    std::vector<double> values[3];
    for (const ModelPair& pair : pairs) {
      values[pair.thirds[d]].push_back(pair.difficulties[d]);
    }
    for (int third = 0; third < 3; ++third) {
      EXPECT_EQ(values[third].size(), pairs.size() / 3);
    }
    for (int third = 0; third < 2; ++third) {
      EXPECT_LE(*std::max_element(values[third].begin(), values[third].end()),
                *std::min_element(values[third + 1].begin(),
                                  values[third + 1].end()));
    }
  }
}

TEST(ModelPairs, WithoutMetresTheQueryIsSixtyAway) {
  const World world(1.0), larger(7.0);
  const std::vector<ModelPair> pairs = ModelPairs(world.model, {50, 0.0});
  const std::vector<ModelPair> larger_pairs =
      ModelPairs(larger.model, {50, 0.0});
  ASSERT_EQ(pairs.size(), larger_pairs.size());
  for (size_t i = 0; i < pairs.size(); ++i) {
    const int query = static_cast<int>(pairs[i].query) - 1;
    const int reference = static_cast<int>(pairs[i].reference) - 1;
    std::vector<double> depths_m;
    for (const int j : world.Shared(query, reference)) {
      depths_m.push_back(pairs[i].metres_per_unit *
                         (world.points[j] - world.centers[query]).norm());
    }
    EXPECT_NEAR(MedianOf(depths_m), 60.0, 1e-9);
    EXPECT_NEAR(
        pairs[i].metres_per_unit, 7.0 * larger_pairs[i].metres_per_unit, 1e-9);
    EXPECT_NEAR(pairs[i].difficulties[kDistance],
                larger_pairs[i].difficulties[kDistance],
                1e-9);
  }
}

TEST(ModelPairs, RefusesWhatMakesNoSense) {
  const World world(1.0);
  EXPECT_THROW(ModelPairs(world.model, {0, 1.0}), InputError);
  EXPECT_THROW(ModelPairs(world.model, {1, -1.0}), InputError);
  EXPECT_THROW(
      ModelPairs(world.model, {1, std::numeric_limits<double>::quiet_NaN()}),
      InputError);
  EXPECT_THROW(ModelPairs(world.model, {kNumPoints, 1.0}), InputError);
  EXPECT_THROW(ParsePairSelection("all"), InputError);
}

// `num` pairs of each third of distance with each third of zoom, but only one
// of the last of them.
std::vector<ModelPair> Strata(int num) {
  std::vector<ModelPair> pairs;
  for (int i = 0; i < 9 * num; ++i) {
    ModelPair pair;
    pair.query_name = std::to_string(i);
    pair.thirds[kDistance] = i % 3;
    pair.thirds[kZoom] = i / 3 % 3;
    pair.difficulties[kAngle] = (7 * i) % (9 * num);
    if (i % 9 < 8 || i < 9) pairs.push_back(pair);
  }
  return pairs;
}

std::set<std::string> Names(const std::vector<ModelPair>& pairs) {
  std::set<std::string> names;
  for (const ModelPair& pair : pairs) names.insert(pair.query_name);
  return names;
}

TEST(SelectPairs, DrawsAsManyOfEachStratum) {
  const std::vector<ModelPair> all = Strata(10);
  const auto draw = [&](size_t num, uint64_t seed) {
    return SelectPairs(all, PairSelection::kStratified, num, seed);
  };
  const std::vector<ModelPair> drawn = draw(33, 1);
  EXPECT_EQ(Names(drawn).size(), 33);
  int counts[3][3] = {};
  for (const ModelPair& pair : drawn) {
    ++counts[pair.thirds[kDistance]][pair.thirds[kZoom]];
  }
  for (int i = 0; i < 9; ++i) {
    EXPECT_EQ(counts[i % 3][i / 3], i < 8 ? 4 : 1);
  }
  EXPECT_EQ(Names(draw(33, 1)), Names(drawn));
  EXPECT_NE(Names(draw(33, 2)), Names(drawn));
  // A larger number contains a smaller.
  const std::set<std::string> more = Names(draw(50, 1)), some = Names(drawn);
  EXPECT_TRUE(
      std::includes(more.begin(), more.end(), some.begin(), some.end()));
  EXPECT_EQ(draw(0, 1).size(), all.size());
  EXPECT_EQ(draw(1000, 1).size(), all.size());
}

TEST(SelectPairs, TakesTheWidest) {
  const std::vector<ModelPair> widest =
      SelectPairs(Strata(10), PairSelection::kWidest, 5, 0);
  ASSERT_EQ(widest.size(), 5);
  for (const ModelPair& pair : Strata(10)) {
    EXPECT_EQ(Names(widest).count(pair.query_name) > 0,
              pair.difficulties[kAngle] >= 85 - 0.5)
        << pair.query_name << " " << pair.difficulties[kAngle];
  }
}

}  // namespace
}  // namespace nre
