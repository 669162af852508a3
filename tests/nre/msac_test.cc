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

// The answer as its definition says: all scores in double precision, the best
// first, those near to a better one left out.
std::vector<PoseHypothesis> SampleExhaustively(const SyntheticQuery& query,
                                               const LossMaps& maps,
                                               const MsacOptions& options,
                                               uint64_t seed) {
  const size_t num = query.points.size();
  std::vector<double> peaks(num);
  std::vector<size_t> highest;
  for (size_t i = 0; i < num; ++i) {
    peaks[i] = maps.Summarize(i).weight;
    if (peaks[i] > 0.0) {
      highest.push_back(i);
    }
  }
  std::stable_sort(highest.begin(), highest.end(), [&](size_t a, size_t b) {
    return peaks[a] > peaks[b];
  });
  highest.resize(std::min<size_t>(highest.size(), 30));
  const auto distance = [&](const Rigid3d& a, const Rigid3d& b) {
    double sum = 0.0;
    for (const size_t i : highest) {
      Eigen::Vector2d xy_a, xy_b;
      const bool seen_a = query.camera.Project(a * query.points[i], &xy_a, {});
      const bool seen_b = query.camera.Project(b * query.points[i], &xy_b, {});
      const Eigen::Vector2d scale = maps.geometry().map_from_image.scale;
      if (seen_a && seen_b) {
        sum += std::min(100.0, (xy_a - xy_b).cwiseProduct(scale).norm());
      } else if (seen_a || seen_b) {
        sum += 100.0;
      }
    }
    return sum / highest.size();
  };

  std::vector<PoseHypothesis> all;
  for (const Rigid3d& pose :
       DrawHypotheses(query.camera, query.points, maps, options, seed)) {
    const double cost = MeanNre(query.camera, query.points, maps, pose);
    const double prior_cost =
        options.priors != nullptr ? PriorCost(*options.priors, pose) : 0.0;
    all.push_back(
        {pose, num * (maps.geometry().LogCategories() - cost) - prior_cost});
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return a.score > b.score;
  });
  std::vector<PoseHypothesis> chosen;
  for (const PoseHypothesis& hypothesis : all) {
    if (chosen.size() == static_cast<size_t>(options.max_num_poses) ||
        !(hypothesis.score > 0.0) ||
        hypothesis.score < options.min_score_share * all.front().score) {
      break;
    }
    const bool near =
        std::any_of(chosen.begin(), chosen.end(), [&](const auto& other) {
          return distance(other.cam_from_world, hypothesis.cam_from_world) <
                 options.min_distance_cells;
        });
    if (!near) {
      chosen.push_back(hypothesis);
    }
  }
  return chosen;
}

// Maps of a matcher that finds something everywhere: noise in all cells above
// which the positions hardly stand out.
std::vector<WeightMap> NoisyMaps(const std::vector<Eigen::Vector2d>& xys,
                                 Random* random) {
  const LossMaps::Geometry geometry = SyntheticQuery::MapGeometry(kStride);
  std::vector<WeightMap> maps;
  for (const Eigen::Vector2d& xy : xys) {
    maps.push_back(RandomWeights(geometry.width, geometry.height, 0.5, random));
    const WeightMap peak = GaussianWeights(
        geometry.width, geometry.height, geometry.map_from_image * xy, 1.0);
    for (size_t k = 0; k < peak.weights.size(); ++k) {
      maps.back().weights[k] =
          std::max(0.5f * maps.back().weights[k], peak.weights[k]);
    }
  }
  return maps;
}

// The i-th of `expected`. Poses that go through the same three peaks and
// nothing else have the same score, and rounding decides which comes first; a
// triplet that was drawn in two orders gives the same pose but for rounding.
void ExpectOneOf(const PoseHypothesis& pose,
                 const std::vector<PoseHypothesis>& expected,
                 size_t i) {
  const double tolerance = 1e-9 * pose.score;
  EXPECT_NEAR(pose.score, expected[i].score, tolerance);
  const bool tied_at_end = pose.score - expected.back().score < tolerance;
  EXPECT_TRUE(
      (tied_at_end && i > 0) ||
      std::any_of(expected.begin(),
                  expected.end(),
                  [&](const auto& other) {
                    return std::abs(other.score - pose.score) < tolerance &&
                           RotationErrorDeg(other.cam_from_world,
                                            pose.cam_from_world) < 1e-7 &&
                           CenterError(other.cam_from_world,
                                       pose.cam_from_world) < 1e-7;
                  }))
      << "pose " << i << " of " << expected.size();
}

TEST(SamplePosesMsac, GivesWhatExhaustiveScoringGives) {
  MsacOptions many;
  many.min_score_share = 0.2;
  many.max_num_poses = 20;
  MsacOptions all = many;
  all.min_score_share = 0.0;
  all.min_distance_cells = 1e-3;
  MsacOptions usual;
  Priors priors;
  MsacOptions guided = many;
  guided.priors = &priors;
  size_t num_poses = 0;
  for (const MsacOptions& preset : {usual, many, all, guided}) {
    MsacOptions options = preset;
    options.num_hypotheses = 400;
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      for (const double wrong_share : {0.0, 0.6, 0.9, 1.0}) {
        Random random(seed);
        // Wide of the border, so that poses see different points.
        const SyntheticQuery query(120, -100.0, &random);
        priors.position = PositionPrior();
        priors.position->mean = ProjectionCenter(query.cam_from_world);
        const std::vector<Eigen::Vector2d> observed =
            query.Observe(4.0, wrong_share, &random);
        const SparseLossMaps peaked = MakeCoarseMaps(observed, kStride, 1.0);
        const std::vector<WeightMap> weights = NoisyMaps(observed, &random);
        const MapFromImage& map_from_image = peaked.geometry().map_from_image;
        const SparseLossMaps noisy = ToSparse(weights, map_from_image);
        const DenseLossMaps dense = ToDense(weights, map_from_image);
        const auto windows = GaussianFineMaps(observed, 2, 3.0)
                                 .Compute(query.Observe(8.0, 0.1, &random));
        for (const LossMaps* maps : std::vector<const LossMaps*>{
                 &peaked, &noisy, &dense, windows.get()}) {
          const auto poses =
              SamplePosesMsac(query.camera, query.points, *maps, options, seed);
          const auto expected = SampleExhaustively(query, *maps, options, seed);
          SCOPED_TRACE(testing::Message()
                       << "max " << options.max_num_poses << ", distance "
                       << options.min_distance_cells << ", seed " << seed
                       << ", wrong " << wrong_share << ", "
                       << maps->CellsPerMap() << " cells");
          ASSERT_EQ(poses.size(), expected.size());
          for (size_t i = 0; i < poses.size(); ++i) {
            ExpectOneOf(poses[i], expected, i);
          }
          num_poses += poses.size();
        }
      }
    }
  }
  EXPECT_GT(num_poses, 1000u);
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

// Most maps agree on the camera turned upside down, which upright descriptors
// could not have seen.
TEST(SamplePosesMsac, PassesOverPosesThatWouldLookOtherwise) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Random random(seed);
    const SyntheticQuery query(100, 100.0, &random);
    Rigid3d turned;
    turned.rotation = Eigen::AngleAxisd(M_PI, Eigen::Vector3d::UnitZ()) *
                      query.cam_from_world.rotation;
    turned.translation = Eigen::AngleAxisd(M_PI, Eigen::Vector3d::UnitZ()) *
                         query.cam_from_world.translation;
    std::vector<Eigen::Vector2d> xys = query.xys;
    std::vector<PointView> views;
    for (size_t i = 0; i < xys.size(); ++i) {
      if (i % 5 < 3) {
        ASSERT_TRUE(
            query.camera.Project(turned * query.points[i], &xys[i], nullptr));
      }
      views.push_back(ViewOfPoint(query.cam_from_world, query.points[i]));
    }
    const SparseLossMaps maps = MakeCoarseMaps(xys, kStride, 1.0);
    MsacOptions options;
    options.num_hypotheses = 500;
    const auto best = [&] {
      const auto poses =
          SamplePosesMsac(query.camera, query.points, maps, options, seed);
      return poses.empty() ? Rigid3d() : poses.front().cam_from_world;
    };
    EXPECT_LT(RotationErrorDeg(best(), turned), 5.0);
    options.views = views.data();
    EXPECT_LT(RotationErrorDeg(best(), query.cam_from_world), 5.0);
  }
}

// Of the triplets that are drawn, more are right: with as many hypotheses, the
// pose is found among more wrong maps.
TEST(SamplePosesMsac, FindsMoreWhereItIsKnownHowPointsLooked) {
  int num_found[2] = {0, 0};
  constexpr int kNumSeeds = 30;
  for (uint64_t seed = 1; seed <= kNumSeeds; ++seed) {
    const Example example(200, 0.93, seed);
    std::vector<PointView> views;
    for (const Eigen::Vector3d& point : example.query.points) {
      views.push_back(ViewOfPoint(example.query.cam_from_world, point));
    }
    for (const bool with_views : {false, true}) {
      MsacOptions options;
      options.num_hypotheses = 2000;
      options.views = with_views ? views.data() : nullptr;
      const auto poses = example.Sample(options, seed);
      num_found[with_views] +=
          !poses.empty() &&
          RotationErrorDeg(poses.front().cam_from_world,
                           example.query.cam_from_world) < 5.0;
    }
  }
  RecordProperty("found_without", num_found[false]);
  RecordProperty("found_with", num_found[true]);
  EXPECT_GT(num_found[true], num_found[false] + kNumSeeds / 5);
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
