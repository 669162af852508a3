#include "nre/msac.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "nre/gnc.h"
#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

constexpr int kStride = 8;

// A query and the coarse maps of a matcher that is wholly wrong for a share of
// the points.
struct Example {
  SyntheticQuery query;
  SparseLossMaps maps;

  Example(int num_points, double wrong_share, uint64_t seed)
      : Example(num_points, wrong_share, Random(seed)) {}

  std::vector<PoseHypothesis> Sample(const MsacOptions& options,
                                     uint64_t seed) const {
    return SamplePosesMsac(query.camera, query.points, maps, options, seed);
  }

 private:
  Example(int num_points, double wrong_share, Random random)
      : query(num_points, 20.0, &random),
        maps(MakeCoarseMaps(
            query.Observe(0.0, wrong_share, &random), kStride, 1.0)) {}
};

// Mean distance of projections in cells, at most 100 for each point; negative
// if one of the poses does not see all points.
double ProjectionDistance(const SyntheticQuery& query,
                          const Rigid3d& a,
                          const Rigid3d& b) {
  double sum = 0.0;
  for (const Eigen::Vector3d& point : query.points) {
    Eigen::Vector2d xy_a, xy_b;
    if (!query.camera.Project(a * point, &xy_a, nullptr) ||
        !query.camera.Project(b * point, &xy_b, nullptr)) {
      return -1.0;
    }
    sum += std::min((xy_a - xy_b).norm() / kStride, 100.0);
  }
  return sum / query.points.size();
}

void ExpectSamePoses(const std::vector<PoseHypothesis>& a,
                     const std::vector<PoseHypothesis>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].score, b[i].score);
    EXPECT_EQ(a[i].cam_from_world.rotation.coeffs(),
              b[i].cam_from_world.rotation.coeffs());
    EXPECT_EQ(a[i].cam_from_world.translation, b[i].cam_from_world.translation);
  }
}

TEST(MsacOptions, CheckRefusesNonsense) {
  EXPECT_TRUE(MsacOptions().Check());
  const double kNaN = std::numeric_limits<double>::quiet_NaN();
  const auto check = [](auto change) {
    MsacOptions options;
    change(&options);
    return options.Check();
  };
  EXPECT_FALSE(check([](auto* o) { o->num_hypotheses = 0; }));
  EXPECT_FALSE(check([](auto* o) { o->max_num_poses = 0; }));
  for (const double bad : {-0.1, 1.1, kNaN}) {
    EXPECT_FALSE(check([&](auto* o) { o->sampling_share = bad; }));
    EXPECT_FALSE(check([&](auto* o) { o->min_score_share = bad; }));
  }
  EXPECT_FALSE(check([](auto* o) { o->sampling_share = 0.0; }));
  EXPECT_FALSE(check([](auto* o) { o->min_distance_cells = -1.0; }));
  EXPECT_FALSE(check([&](auto* o) { o->min_distance_cells = kNaN; }));
}

TEST(SamplePosesMsac, RecoversThePoseFromThirtyPercentOfTheMaps) {
  double worst = 0.0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Example example(200, 0.7, seed);
    const auto poses = example.Sample(MsacOptions(), seed);
    ASSERT_FALSE(poses.empty());
    const double distance = ProjectionDistance(example.query,
                                               poses.front().cam_from_world,
                                               example.query.cam_from_world);
    EXPECT_GE(distance, 0.0) << "seed " << seed;
    EXPECT_LT(distance, 2.0) << "seed " << seed;
    worst = std::max(worst, distance);
  }
  RecordProperty("worst_distance_cells", std::to_string(worst));
}

TEST(SamplePosesMsac, ScoreIsEq6WithItsSignTurned) {
  const Example example(60, 0.5, 1);
  for (const PoseHypothesis& pose : example.Sample(MsacOptions(), 2)) {
    const double cost = MeanNre(example.query.camera,
                                example.query.points,
                                example.maps,
                                pose.cam_from_world);
    EXPECT_NEAR(pose.score,
                60.0 * (example.maps.geometry().LogCategories() - cost),
                1e-9);
  }
}

TEST(SamplePosesMsac, OneSeedOneResult) {
  const Example example(100, 0.6, 3);
  const auto poses = example.Sample(MsacOptions(), 7);
  ExpectSamePoses(poses, example.Sample(MsacOptions(), 7));
  const auto others = example.Sample(MsacOptions(), 8);
  EXPECT_NE(poses.front().score, others.front().score);
}

// Without a share of the best score to reach, and with room for all poses,
// every hypothesis is scored to the end.
TEST(SamplePosesMsac, EarlyTerminationLosesNothing) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const Example example(100, 0.6, seed);
    MsacOptions options;
    options.num_hypotheses = 500;
    options.max_num_poses = 3;
    MsacOptions exhaustive = options;
    exhaustive.min_score_share = 0.0;
    exhaustive.max_num_poses = 100000;
    const auto poses = example.Sample(options, seed);
    auto expected = example.Sample(exhaustive, seed);
    ASSERT_GE(expected.size(), poses.size());
    ASSERT_FALSE(poses.empty());
    expected.resize(1);
    ExpectSamePoses({poses.front()}, expected);
    EXPECT_LE(poses.size(), 3u);
    EXPECT_GE(poses.back().score,
              options.min_score_share * poses.front().score);
  }
}

TEST(SamplePosesMsac, PosesAreSortedAndDistinct) {
  int num_pairs = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    // Few points, and nothing but chance: many poses are equally bad.
    const Example example(25, 1.0, seed);
    MsacOptions options;
    options.num_hypotheses = 1000;
    options.min_score_share = 0.2;
    options.max_num_poses = 10;
    const auto poses = example.Sample(options, seed);
    EXPECT_GT(poses.size(), 1u);
    for (size_t i = 0; i < poses.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        EXPECT_GE(poses[j].score, poses[i].score);
        const double distance = ProjectionDistance(
            example.query, poses[i].cam_from_world, poses[j].cam_from_world);
        if (distance >= 0.0) {
          ++num_pairs;
          EXPECT_GE(distance, options.min_distance_cells);
        }
      }
    }
  }
  EXPECT_GT(num_pairs, 10);
}

TEST(SamplePosesMsac, TooLittleGivesNothing) {
  const MsacOptions options;
  EXPECT_TRUE(Example(0, 0.0, 1).Sample(options, 1).empty());
  EXPECT_TRUE(Example(2, 0.0, 1).Sample(options, 1).empty());

  // Many points, but only two of them with any information.
  Example example(50, 0.0, 1);
  SparseLossMaps maps(example.maps.geometry());
  std::vector<float> weights(maps.CellsPerMap(), 0.0f);
  for (int i = 0; i < 50; ++i) {
    weights[0] = i < 2 ? 5.0f : 0.0f;
    maps.AddPoint(weights.data());
  }
  example.maps = maps;
  EXPECT_TRUE(example.Sample(options, 1).empty());

  // Collinear points.
  Example collinear(20, 0.0, 1);
  for (size_t i = 0; i < 20; ++i) {
    collinear.query.points[i] = Eigen::Vector3d(1.0 * i, 2.0, 3.0);
  }
  EXPECT_TRUE(collinear.Sample(options, 1).empty());
}

}  // namespace
}  // namespace nre
