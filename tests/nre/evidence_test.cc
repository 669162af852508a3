#include "nre/evidence.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "nre/gnc.h"
#include "nre/joint_hessian.h"
#include "tests/testing/generated_maps.h"
#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

constexpr int kCoarseStride = 8;
constexpr int kFineStride = 2;

PoseEstimate Estimate(const SyntheticQuery& query,
                      const std::vector<Eigen::Vector2d>& observed,
                      uint64_t seed,
                      const Priors& priors = Priors()) {
  return EstimatePose({query.camera,
                       query.points,
                       MakeCoarseMaps(observed, kCoarseStride, 1.0),
                       GaussianFineMaps(observed, kFineStride, 1.0),
                       priors},
                      NreEstimationOptions(),
                      seed);
}

// A support, a covariance and a verdict for the pose at the end of the fine
// GNC, which starts at the truth.
PoseEstimate RefineAndJudge(const SyntheticQuery& query,
                            const std::vector<Eigen::Vector2d>& observed,
                            double stddev_cells) {
  const std::unique_ptr<LossMaps> fine =
      GaussianFineMaps(observed, kFineStride, stddev_cells).Compute(query.xys);
  PoseEstimate estimate;
  estimate.cam_from_world = query.cam_from_world;
  RefinePoseGnc(query.camera,
                query.points,
                *fine,
                GncOptions::Fine(),
                &estimate.cam_from_world);
  FindSupport(query.camera, query.points, *fine, &estimate);
  JudgeEvidence(query.camera, query.points, *fine, &estimate);
  return estimate;
}

double Choose(int n, int k) {
  double product = 1.0;
  for (int i = 1; i <= k; ++i) product *= (n - k + i) / static_cast<double>(i);
  return product;
}

TEST(LogFalseAlarms, IsTheProduct) {
  for (const int n : {5, 10, 20}) {
    for (int k = 4; k <= n; ++k) {
      for (const double chance : {1e-3, 1e-2, 0.1}) {
        const double expected =
            (n - 3) * Choose(n, k) * Choose(k, 3) * std::pow(chance, k - 3);
        EXPECT_NEAR(LogFalseAlarms(n, k, chance),
                    std::min(0.0, std::log10(expected)),
                    1e-9)
            << k << " of " << n;
      }
    }
  }
}

TEST(LogFalseAlarms, TheSampleItselfIsNoEvidence) {
  for (int k = 0; k <= 3; ++k) EXPECT_EQ(LogFalseAlarms(100, k, 1e-3), 0.0);
  EXPECT_EQ(LogFalseAlarms(3, 3, 1e-3), 0.0);
  EXPECT_EQ(LogFalseAlarms(0, 0, 1e-3), 0.0);
  // Large numbers stay finite.
  EXPECT_TRUE(std::isfinite(LogFalseAlarms(100000, 50000, 1e-3)));
}

TEST(JudgeEvidence, NeverRegistersRandomMaps) {
  constexpr int kNumSeeds = 200;
  double lowest = 0.0;
  size_t largest_support = 0;
  for (int seed = 0; seed < kNumSeeds; ++seed) {
    Random random(1000 + seed);
    const int num_points = 40 + seed / 2;
    const SyntheticQuery query(num_points, 20.0, &random);
    const PoseEstimate estimate =
        Estimate(query, query.Observe(0.0, 1.0, &random), seed);
    EXPECT_NE(estimate.verdict, Verdict::kRegistered) << "seed " << seed;
    EXPECT_FALSE(estimate.reason.empty());
    lowest = std::min(lowest, estimate.log_false_alarms);
    largest_support = std::max(largest_support, estimate.support.size());
  }
  RecordProperty("lowest_log_false_alarms", std::to_string(lowest));
  RecordProperty("largest_support", static_cast<int>(largest_support));
}

// A far or oblique camera projects everything to one place; maps that all peak
// there are no evidence, however many.
TEST(JudgeEvidence, NeverRegistersMapsThatPeakInOnePlace) {
  for (const double spread_px : {0.0, 5.0, 30.0}) {
    for (int seed = 0; seed < 5; ++seed) {
      Random random(2000 + seed);
      const SyntheticQuery query(150, 20.0, &random);
      const Eigen::Vector2d place(random.Uniform(50.0, 590.0),
                                  random.Uniform(50.0, 430.0));
      std::vector<Eigen::Vector2d> observed = query.xys;
      for (Eigen::Vector2d& xy : observed) {
        xy = place + random.Normal2(spread_px);
      }
      EXPECT_NE(Estimate(query, observed, seed).verdict, Verdict::kRegistered)
          << "seed " << seed << ", spread " << spread_px;
    }
  }
}

TEST(JudgeEvidence, RegistersGoodMaps) {
  for (int seed = 0; seed < 10; ++seed) {
    Random random(3000 + seed);
    const SyntheticQuery query(150, 20.0, &random);
    const PoseEstimate estimate =
        Estimate(query, query.Observe(1.0, 0.4, &random), seed);
    EXPECT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
    EXPECT_TRUE(estimate.reason.empty());
    EXPECT_LT(estimate.log_false_alarms, -6.0);
    EXPECT_LT(RotationErrorDeg(estimate.cam_from_world, query.cam_from_world),
              0.2);
  }
}

// Where the maps say how uncertain they are, the covariance says how much the
// pose scatters.
TEST(JudgeEvidence, CovarianceIsTheScatterOfRepeatedEstimates) {
  constexpr int kNumRuns = 150;
  constexpr double kStddevCells = 1.5;
  Random random(4000);
  const SyntheticQuery query(200, 30.0, &random);
  Eigen::Matrix3d scatter = Eigen::Matrix3d::Zero();
  Eigen::Matrix3d expected = Eigen::Matrix3d::Zero();
  double rotation_scatter = 0.0, rotation_expected = 0.0;
  for (int run = 0; run < kNumRuns; ++run) {
    const PoseEstimate estimate =
        RefineAndJudge(query,
                       query.Observe(kFineStride * kStddevCells, 0.0, &random),
                       kStddevCells);
    ASSERT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
    const Eigen::Vector3d offset = ProjectionCenter(estimate.cam_from_world) -
                                   ProjectionCenter(query.cam_from_world);
    scatter += offset * offset.transpose() / kNumRuns;
    expected += CenterCovariance(estimate) / kNumRuns;
    const double angle =
        RotationErrorDeg(estimate.cam_from_world, query.cam_from_world) * M_PI /
        180.0;
    rotation_scatter += angle * angle / kNumRuns;
    rotation_expected +=
        estimate.covariance.topLeftCorner<3, 3>().trace() / kNumRuns;
  }
  for (int k = 0; k < 3; ++k) {
    const double ratio = expected(k, k) / scatter(k, k);
    RecordProperty("center_ratio_" + std::to_string(k), std::to_string(ratio));
    EXPECT_GT(ratio, 0.5);
    EXPECT_LT(ratio, 2.0);
  }
  const double ratio = rotation_expected / rotation_scatter;
  RecordProperty("rotation_ratio", std::to_string(ratio));
  EXPECT_GT(ratio, 0.5);
  EXPECT_LT(ratio, 2.0);
}

TEST(JudgeEvidence, RejectsWhatFewPointsSupport) {
  for (const int num_points : {3, 4, 8, 11}) {
    Random random(5000 + num_points);
    const SyntheticQuery query(num_points, 20.0, &random);
    const PoseEstimate estimate = RefineAndJudge(query, query.xys, 1.0);
    EXPECT_EQ(estimate.verdict, Verdict::kRejected);
    EXPECT_FALSE(estimate.reason.empty());
  }
}

// Points that one plane through the centre holds leave the pose undetermined.
TEST(JudgeEvidence, RejectsAnUndeterminedPose) {
  Random random(6000);
  SyntheticQuery query(0, 0.0, &random);
  for (int i = 0; i < 60; ++i) {
    // All on one line of the image and at one depth: a line in space.
    query.Add({10.0 + 10.0 * i, 240.0}, 5.0);
  }
  const PoseEstimate estimate = RefineAndJudge(query, query.xys, 1.0);
  EXPECT_EQ(estimate.verdict, Verdict::kRejected);
  EXPECT_FALSE(estimate.reason.empty());
}

// A narrow view of points at similar depths, whose peaks are off by `noise_px`.
// `wide_std_deg` receives the rotation's standard deviation by the Hessian at
// the radius of the support.
PoseEstimate JudgeNarrowView(int num_points,
                             double width_px,
                             double noise_px,
                             uint64_t seed,
                             double* wide_std_deg) {
  Random random(seed);
  SyntheticQuery query(0, 0.0, &random);
  for (int i = 0; i < num_points; ++i) {
    query.Add({random.Uniform(250.0, 250.0 + width_px),
               random.Uniform(200.0, 200.0 + 0.7 * width_px)},
              random.Uniform(4.0, 5.0));
  }
  const std::vector<Eigen::Vector2d> observed =
      query.Observe(noise_px, 0.0, &random);
  const PoseEstimate estimate = RefineAndJudge(query, observed, 1.0);
  const std::unique_ptr<LossMaps> fine =
      GaussianFineMaps(observed, kFineStride, 1.0).Compute(query.xys);
  const Eigen::MatrixXd covariance = JointHessian(query.camera,
                                                  query.points,
                                                  *fine,
                                                  estimate.support_radius,
                                                  6,
                                                  estimate.cam_from_world)
                                         .inverse();
  *wide_std_deg =
      std::sqrt(covariance.diagonal().head<3>().sum()) * 180.0 / M_PI;
  return estimate;
}

// How well maps determine a pose does not depend on how far from it their peaks
// count as support: by a kernel as wide as that, these would not.
TEST(JudgeEvidence, RegistersWhatOnlyAWideKernelCannotTell) {
  for (int seed = 6200; seed < 6210; ++seed) {
    double wide_std_deg;
    const PoseEstimate estimate =
        JudgeNarrowView(120, 180.0, 3.0, seed, &wide_std_deg);
    EXPECT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
    EXPECT_GT(wide_std_deg, 1.2);
  }
}

// But scattered peaks of few points do not determine it.
TEST(JudgeEvidence, RejectsAnUncertainPose) {
  for (int seed = 6200; seed < 6210; ++seed) {
    double wide_std_deg;
    const PoseEstimate estimate =
        JudgeNarrowView(60, 120.0, 4.0, seed, &wide_std_deg);
    EXPECT_EQ(estimate.verdict, Verdict::kRejected);
    EXPECT_NE(estimate.reason.find("uncertain"), std::string::npos)
        << estimate.reason;
  }
}

TEST(FindSupport, ListsPointsWhosePeakIsNear) {
  Random random(7000);
  const SyntheticQuery query(60, 100.0, &random);
  std::vector<Eigen::Vector2d> observed = query.xys;
  std::vector<double> distances(observed.size());
  for (size_t i = 0; i < observed.size(); ++i) {
    // Clearly within or beyond the limit.
    distances[i] =
        i % 2 == 0 ? random.Uniform(0.0, 0.9) : random.Uniform(17.0, 25.0);
    observed[i] +=
        kFineStride * distances[i] * random.Normal2(1.0).normalized();
  }
  PoseEstimate estimate;
  estimate.cam_from_world = query.cam_from_world;
  estimate.support.resize(3);  // of an earlier pose
  const auto fine =
      GaussianFineMaps(observed, kFineStride, 1.0).Compute(query.xys);
  FindSupport(query.camera, query.points, *fine, &estimate);
  EXPECT_EQ(estimate.support_radius, 1.0);
  ASSERT_EQ(estimate.support.size(), observed.size() / 2);
  for (size_t k = 0; k < estimate.support.size(); ++k) {
    const PoseEstimate::Support& support = estimate.support[k];
    EXPECT_EQ(support.point, 2 * k);
    // The peak is found to a part of a cell.
    EXPECT_LT((support.xy - observed[support.point]).norm(), 0.1);
  }
}

// Peaks scatter around the projections, as where the query is blurred: the
// radius follows.
TEST(FindSupport, TakesTheRadiusThatThePeaksNeed) {
  const double scatters[] = {0.3, 1.0, 2.0};  // cells
  for (int k = 0; k < 3; ++k) {
    Random random(7100 + k);
    const SyntheticQuery query(300, 40.0, &random);
    std::vector<Eigen::Vector2d> observed = query.xys;
    for (size_t i = 0; i < observed.size(); ++i) {
      observed[i] += i % 2 == 0 ? random.Normal2(scatters[k] * kFineStride)
                                : random.Uniform2(-55.0, 55.0);
    }
    const auto fine =
        GaussianFineMaps(observed, kFineStride, 1.0).Compute(query.xys);
    PoseEstimate estimate;
    estimate.cam_from_world = query.cam_from_world;
    FindSupport(query.camera, query.points, *fine, &estimate);
    EXPECT_EQ(estimate.support_radius, kSupportRadii[k]);
    EXPECT_LT(estimate.log_false_alarms, -12.0);
    // The other half lies anywhere in windows of 64 x 64 cells.
    EXPECT_NEAR(estimate.chance,
                0.5 * M_PI * std::pow(estimate.support_radius, 2) / 55.0 / 55.0,
                0.02 * std::pow(estimate.support_radius, 2));
    JudgeEvidence(query.camera, query.points, *fine, &estimate);
    EXPECT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
  }
}

// Where many points crowd a few blocks, one of them is near by chance in most.
TEST(FindSupport, CrowdedPointsSupportByChance) {
  Random random(7200);
  SyntheticQuery query(0, 0.0, &random);
  for (int i = 0; i < 1200; ++i) {
    // 40 per block of 16 x 16 px.
    query.Add({100.0 + 16.0 * (i % 6) + random.Uniform(0.0, 16.0),
               100.0 + 16.0 * (i / 6 % 5) + random.Uniform(0.0, 16.0)},
              random.Uniform(3.0, 10.0));
  }
  std::vector<Eigen::Vector2d> observed = query.xys;
  for (Eigen::Vector2d& xy : observed) xy += random.Normal2(8.0 * kFineStride);
  const auto fine =
      GaussianFineMaps(observed, kFineStride, 1.0).Compute(query.xys);
  PoseEstimate estimate;
  estimate.cam_from_world = query.cam_from_world;
  FindSupport(query.camera, query.points, *fine, &estimate);
  EXPECT_GT(estimate.log_false_alarms, -2.0);
}

// Peaks that lie around the projections, but no more at them than beside them,
// as where the coarse maps, whose cells are so large, put a wrong pose on what
// looks alike.
TEST(JudgeEvidence, RejectsPeaksThatAreOnlyNear) {
  constexpr double kScatter = 6.0;  // cells
  for (int seed = 0; seed < 5; ++seed) {
    Random random(8000 + seed);
    const SyntheticQuery query(500, 30.0, &random);
    std::vector<Eigen::Vector2d> observed = query.xys;
    for (Eigen::Vector2d& xy : observed) {
      xy += random.Normal2(kScatter * kFineStride);
    }
    const auto fine =
        GaussianFineMaps(observed, kFineStride, 1.0).Compute(query.xys);
    PoseEstimate estimate;
    estimate.cam_from_world = query.cam_from_world;
    FindSupport(query.camera, query.points, *fine, &estimate);
    const double area = std::pow(estimate.support_radius, 2);
    // A distance from a normal distribution in two dimensions.
    const double near = std::exp(-0.5 * std::pow(4.0 / kScatter, 2)) -
                        std::exp(-0.5 * std::pow(8.0 / kScatter, 2));
    EXPECT_NEAR(estimate.chance, near * area / 48.0, 0.002 * area);
    JudgeEvidence(query.camera, query.points, *fine, &estimate);
    EXPECT_EQ(estimate.verdict, Verdict::kRejected);
    EXPECT_FALSE(estimate.reason.empty());
  }
}

TEST(LogSignTest, IsTheBinomialTail) {
  BlockGains a, b;
  // 12 blocks for the one only, 4 for the other only.
  for (int i = 0; i < 12; ++i) a[{i, 0}] = 9.0, b[{i, 0}] = 1.0;
  for (int i = 0; i < 4; ++i) a[{i, 1}] = 1.0, b[{i, 1}] = 9.0;
  // Where both gain about as much, and where one shows no points.
  for (int i = 0; i < 50; ++i) a[{i, 2}] = 9.0, b[{i, 2}] = 6.0;
  for (int i = 0; i < 50; ++i) b[{i, 3}] = 9.0;
  double expected = 0.0;
  for (int k = 12; k <= 16; ++k) expected += Choose(16, k) / std::pow(2.0, 16);
  EXPECT_NEAR(LogSignTest(a, b), std::log10(expected), 1e-9);
  EXPECT_NEAR(LogSignTest(a, a), 0.0, 1e-12);
}

TEST(ExplainBlocks, IsWhatThePointsOfABlockGain) {
  constexpr double kBlockPx = 12.0 * kFineStride;
  Random random(900);
  SyntheticQuery query(0, 0.0, &random);
  // In each block two points, of which, in the odd ones, one is elsewhere.
  std::vector<Eigen::Vector2d> observed;
  for (int i = 0; i < 10; ++i) {
    for (const double x : {0.25, 0.75}) {
      query.Add({(i + x) * kBlockPx, 2.5 * kBlockPx}, 5.0);
      observed.push_back(query.xys.back());
    }
    if (i % 2 == 1) observed.back().y() += kBlockPx;
  }
  const auto fine =
      GaussianFineMaps(observed, kFineStride, 1.0).Compute(query.xys);
  const BlockGains gains =
      ExplainBlocks(query.camera, query.points, *fine, query.cam_from_world);
  ASSERT_EQ(gains.size(), 10u);
  const double peak = fine->Summarize(0).weight;
  for (int i = 0; i < 10; ++i) {
    const auto gain = gains.find({i, 2});
    ASSERT_NE(gain, gains.end());
    EXPECT_NEAR(gain->second, i % 2 == 1 ? 0.5 * peak : peak, 0.1);
  }
}

TEST(ExplainBlocks, OfAFlippedPictureAreThoseOfThePictureAsItIs) {
  Random random(901);
  const SyntheticQuery query(300, 5.0, &random);
  const FlippedCamera flipped(query.camera);
  const Eigen::DiagonalMatrix<double, 3> mirror(-1.0, 1.0, 1.0);
  // What is at the same places of the picture once it is flipped back.
  std::vector<Eigen::Vector3d> points;
  std::vector<Eigen::Vector2d> flipped_xys;
  for (size_t i = 0; i < query.points.size(); ++i) {
    points.push_back(
        query.cam_from_world.Inverse() *
        Eigen::Vector3d(mirror * (query.cam_from_world * query.points[i])));
    flipped_xys.push_back(
        {SyntheticQuery::kWidth - query.xys[i].x(), query.xys[i].y()});
  }
  const auto gains = [&](const Camera& camera,
                         const std::vector<Eigen::Vector3d>& some,
                         const std::vector<Eigen::Vector2d>& xys,
                         bool is_flipped) {
    const auto fine = GaussianFineMaps(xys, kFineStride, 1.0).Compute(xys);
    return ExplainBlocks(camera, some, *fine, query.cam_from_world, is_flipped);
  };
  const BlockGains as_it_is =
      gains(query.camera, query.points, query.xys, false);
  const BlockGains of_flipped = gains(flipped, points, flipped_xys, true);
  ASSERT_EQ(of_flipped.size(), as_it_is.size());
  for (const auto& [block, gain] : as_it_is) {
    ASSERT_EQ(of_flipped.count(block), 1u);
    EXPECT_NEAR(of_flipped.at(block), gain, 0.5);
  }
}

TEST(MedianViewAngleDeg, IsTheMedianOfThePointsInTheImage) {
  Random random(902);
  SyntheticQuery query(0, 0.0, &random);
  std::vector<PointView> views;
  const auto add = [&](double x, double angle_deg) {
    query.Add({x, 200.0}, 5.0);
    PointView view = ViewOfPoint(query.cam_from_world, query.points.back());
    view.ray = Eigen::AngleAxisd(angle_deg * M_PI / 180.0, view.up) * view.ray;
    views.push_back(view);
  };
  const auto median = [&] {
    return MedianViewAngleDeg(
        query.camera, query.points, views, query.cam_from_world);
  };
  EXPECT_EQ(median(), 0.0);
  add(-50.0, 1.0);  // outside
  add(-60.0, 2.0);
  EXPECT_EQ(median(), 0.0);
  add(100.0, 50.0);
  add(300.0, 10.0);
  add(500.0, 30.0);
  EXPECT_NEAR(median(), 30.0, 1e-6);
}

// A pose that fits a bit better flipped: fewer blocks tell for it than chance
// may, and the flipped one is nearer to the references' viewpoints.
class JudgeMirroredTest : public testing::Test {
 protected:
  JudgeMirroredTest() {
    SetEvidence(50.0, 0.18, &pose_);
    SetEvidence(60.0, 0.25, &flipped_);
    pose_.view_angle_deg = 40.0;
    flipped_.view_angle_deg = 25.0;
    AddBlocks(4, 9.0, 1.0);
    AddBlocks(10, 1.0, 9.0);
    AddBlocks(100, 6.0, 9.0);
  }

  static void SetEvidence(double evidence, double share, ExplainedPose* pose) {
    pose->estimate.verdict = Verdict::kRegistered;
    pose->estimate.log_false_alarms = -evidence;
    pose->estimate.num_in_view = 400;
    pose->estimate.support.resize(static_cast<size_t>(share * 400));
  }

  void AddBlocks(int num, double gain, double flipped_gain) {
    for (int i = 0; i < num; ++i) {
      const int column = static_cast<int>(pose_.gains.size());
      pose_.gains[{column, 0}] = gain;
      flipped_.gains[{column, 0}] = flipped_gain;
    }
  }

  Reason Judge() {
    JudgeMirrored(flipped_, &pose_);
    return pose_.estimate.why;
  }

  ExplainedPose pose_, flipped_;
};

TEST_F(JudgeMirroredTest, KeepsAPoseThatFlippedIsOnlyNearer) {
  EXPECT_EQ(Judge(), Reason::kNone);
  EXPECT_EQ(pose_.estimate.verdict, Verdict::kRegistered);
}

TEST_F(JudgeMirroredTest, RejectsWhatFlippedIsHardlyNearer) {
  flipped_.view_angle_deg = 35.0;
  EXPECT_EQ(Judge(), Reason::kMirrored);
  EXPECT_EQ(pose_.estimate.verdict, Verdict::kRejected);
}

TEST_F(JudgeMirroredTest, RejectsWhatManyBlocksContradict) {
  AddBlocks(20, 1.0, 9.0);
  EXPECT_EQ(Judge(), Reason::kMirrored);
}

TEST_F(JudgeMirroredTest, RejectsWhatFlippedHasFarMoreEvidence) {
  SetEvidence(80.0, 0.25, &flipped_);
  EXPECT_EQ(Judge(), Reason::kMirrored);
}

TEST_F(JudgeMirroredTest, RejectsWhatFlippedMostOfTheViewSupports) {
  SetEvidence(60.0, 0.55, &flipped_);
  EXPECT_EQ(Judge(), Reason::kMirrored);
}

TEST_F(JudgeMirroredTest, KeepsWhatFitsBetterAsItIs) {
  SetEvidence(49.0, 0.55, &flipped_);
  flipped_.view_angle_deg = 40.0;
  EXPECT_EQ(Judge(), Reason::kNone);
}

PoseEstimate Estimate(const GeneratedQuery& query,
                      uint64_t seed,
                      const Priors& priors = Priors()) {
  return EstimatePose(
      {query.camera(), query.points(), query.coarse_maps(), query, priors},
      NreEstimationOptions(),
      seed);
}

// Two poses, each with about half of the points for it.
TEST(EstimatePose, RegistersNoneOfTwoEquallyGoodPoses) {
  GeneratedMapsOptions options;
  options.num_points = 200;
  options.wrong_share = 0.5;
  options.multi_modal = options.diffuse = options.biased = 0.0;
  options.agreeing_share = 1.0;
  for (int seed = 0; seed < 5; ++seed) {
    const PoseEstimate estimate = Estimate(GeneratedQuery(options, seed), seed);
    EXPECT_EQ(estimate.verdict, Verdict::kRejected);
    EXPECT_NE(estimate.reason.find("another pose"), std::string::npos)
        << estimate.reason;
  }
}

TEST(EstimatePose, RegistersTheClearlyBetterOfTwoPoses) {
  GeneratedMapsOptions options;
  options.num_points = 200;
  options.wrong_share = 0.25;
  options.multi_modal = options.diffuse = options.biased = 0.0;
  options.agreeing_share = 1.0;
  for (int seed = 0; seed < 5; ++seed) {
    const GeneratedQuery query(options, seed);
    const PoseEstimate estimate = Estimate(query, seed);
    EXPECT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
    EXPECT_LT(RotationErrorDeg(estimate.cam_from_world, query.cam_from_world()),
              0.2);
  }
}

// A facade of equal bays: every point looks as it does in all of these places.
using Places = std::vector<std::vector<Eigen::Vector2d>>;

class RepeatedFineMaps : public FineMapSource {
 public:
  explicit RepeatedFineMaps(const Places& places) : places_(places) {}

  std::unique_ptr<LossMaps> Compute(
      const std::vector<Eigen::Vector2d>& xy_image) const override {
    std::vector<Eigen::Vector2d> nearest;
    for (size_t i = 0; i < places_.size(); ++i) {
      nearest.push_back(*std::min_element(places_[i].begin(),
                                          places_[i].end(),
                                          [&](const auto& a, const auto& b) {
                                            return (a - xy_image[i]).norm() <
                                                   (b - xy_image[i]).norm();
                                          }));
    }
    return GaussianFineMaps(nearest, kFineStride, 1.0).Compute(xy_image);
  }

 private:
  const Places places_;
};

SparseLossMaps RepeatedCoarseMaps(const Places& places) {
  const LossMaps::Geometry geometry =
      SyntheticQuery::MapGeometry(kCoarseStride);
  std::vector<WeightMap> maps;
  for (const std::vector<Eigen::Vector2d>& of_point : places) {
    WeightMap map(geometry.width, geometry.height);
    for (const Eigen::Vector2d& xy : of_point) {
      const WeightMap one = GaussianWeights(
          geometry.width, geometry.height, geometry.map_from_image * xy, 1.0);
      for (size_t k = 0; k < one.weights.size(); ++k) {
        map.weights[k] = std::max(map.weights[k], one.weights[k]);
      }
    }
    maps.push_back(map);
  }
  return ToSparse(maps, geometry.map_from_image);
}

struct EqualBays {
  static constexpr int kNumBays = 7;
  static constexpr double kBayPx = 90.0;
  static constexpr double kDepth = 8.0;

  explicit EqualBays(uint64_t seed) : random(seed), query(0, 20.0, &random) {
    for (int i = 0; i < 300; ++i) {
      // So wide that all poses see as much.
      const double margin = 0.5 * (kNumBays - 1) * kBayPx;
      const Eigen::Vector2d xy(random.Uniform(-margin, query.kWidth + margin),
                               random.Uniform(20.0, query.kHeight - 20.0));
      query.Add(xy, kDepth);
      places.emplace_back();
      for (int bay = 0; bay < kNumBays; ++bay) {
        places.back().push_back(xy +
                                Eigen::Vector2d(bay * kBayPx - margin, 0.0));
      }
    }
  }

  PoseEstimate Estimate(const Priors& priors, uint64_t seed) const {
    return EstimatePose({query.camera,
                         query.points,
                         RepeatedCoarseMaps(places),
                         RepeatedFineMaps(places),
                         priors},
                        NreEstimationOptions(),
                        seed);
  }

  Random random;
  SyntheticQuery query;
  Places places;
};

TEST(EstimatePose, FindsThePosesOfAllEqualBays) {
  const PoseEstimate estimate = EqualBays(6400).Estimate(Priors(), 0);
  EXPECT_EQ(estimate.verdict, Verdict::kRejected);
  EXPECT_EQ(estimate.why, Reason::kAmbiguous) << estimate.reason;
  EXPECT_EQ(estimate.alternatives.size(), EqualBays::kNumBays - 1);
}

// The camera's centre is known to `stddev` model units, and which way is down
// to `stddev_deg`; not at all where that is 0.
Priors PriorsOf(const Rigid3d& pose, double stddev, double stddev_deg) {
  Priors priors;
  if (stddev > 0.0) {
    priors.position = PositionPrior();
    priors.position->mean = ProjectionCenter(pose);
    priors.position->covariance *= stddev * stddev;
  }
  if (stddev_deg > 0.0) {
    priors.gravity = GravityPrior();
    priors.gravity->down_in_cam = pose.rotation * priors.gravity->down_in_world;
    priors.gravity->stddev_deg = stddev_deg;
  }
  return priors;
}

// Bays are 1.4 units wide.
TEST(EstimatePose, LoosePriorsTellNoEqualBaysApart) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const EqualBays bays(6400 + seed);
    for (const auto& [stddev, stddev_deg] :
         {std::make_pair(10.0, 0.0), std::make_pair(0.0, 30.0)}) {
      const PoseEstimate estimate = bays.Estimate(
          PriorsOf(bays.query.cam_from_world, stddev, stddev_deg), seed);
      EXPECT_EQ(estimate.verdict, Verdict::kRejected) << seed;
      EXPECT_EQ(estimate.why, Reason::kAmbiguous) << estimate.reason;
    }
  }
}

TEST(EstimatePose, ATightPriorTellsEqualBaysApart) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const EqualBays bays(6400 + seed);
    const Rigid3d& truth = bays.query.cam_from_world;
    const PoseEstimate estimate =
        bays.Estimate(PriorsOf(truth, 0.1, 0.0), seed);
    EXPECT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
    EXPECT_LT(CenterError(estimate.cam_from_world, truth), 0.1);
  }
}

TEST(EstimatePose, AnEmptyPriorTellsNoEquallyGoodPosesApart) {
  GeneratedMapsOptions options;
  options.num_points = 200;
  options.wrong_share = 0.5;
  options.multi_modal = options.diffuse = options.biased = 0.0;
  options.agreeing_share = 1.0;
  for (int seed = 0; seed < 5; ++seed) {
    const GeneratedQuery query(options, seed);
    const PoseEstimate estimate =
        Estimate(query, seed, PriorsOf(query.cam_from_world(), 1e3, 0.0));
    EXPECT_EQ(estimate.verdict, Verdict::kRejected);
    EXPECT_EQ(estimate.why, Reason::kAmbiguous) << estimate.reason;
  }
}

// As where a position is in other coordinates than the model.
TEST(EstimatePose, NamesAPriorThatIsFarAway) {
  Random random(6500);
  const SyntheticQuery query(150, 20.0, &random);
  const std::vector<Eigen::Vector2d> observed =
      query.Observe(1.0, 0.4, &random);
  Priors priors = PriorsOf(query.cam_from_world, 5.0, 0.0);
  priors.position->mean += Eigen::Vector3d(5e5, 5e6, 400.0);
  const PoseEstimate estimate = Estimate(query, observed, 1, priors);
  EXPECT_EQ(estimate.verdict, Verdict::kRejected);
  EXPECT_EQ(estimate.why, Reason::kContradictsPrior) << estimate.reason;
  // It is the pose that the image alone gives.
  EXPECT_LT(CenterError(estimate.cam_from_world, query.cam_from_world), 0.1);
}

// The left perturbation that leads from one pose to the other.
Eigen::Matrix<double, 6, 1> Perturbation(const Rigid3d& from,
                                         const Rigid3d& to) {
  const Rigid3d difference = to * from.Inverse();
  const Eigen::AngleAxisd rotation(difference.rotation);
  Eigen::Matrix<double, 6, 1> perturbation;
  perturbation << rotation.angle() * rotation.axis(), difference.translation;
  return perturbation;
}

// e^T C^-1 e of the left perturbation e that leads from a pose to the true one.
double NormalisedErrorSquared(const Rigid3d& pose,
                              const Rigid3d& truth,
                              const Eigen::MatrixXd& covariance) {
  const Eigen::Matrix<double, 6, 1> error = Perturbation(pose, truth);
  return error.dot(covariance.llt().solve(error));
}

// On maps of every kind, a third of them wrong.
TEST(PoseCovariance, NormalisedErrorSquaredHasMeanSix) {
  constexpr int kNumSeeds = 40;
  GeneratedMapsOptions options;
  options.num_points = 300;
  options.wrong_share = 0.33;
  double sum = 0.0;
  for (int seed = 0; seed < kNumSeeds; ++seed) {
    const GeneratedQuery query(options, 100 + seed);
    Rigid3d pose = query.cam_from_world();
    std::vector<Eigen::Vector2d> xys(query.points().size());
    for (size_t i = 0; i < xys.size(); ++i) {
      query.camera().Project(pose * query.points()[i], &xys[i], nullptr);
    }
    const std::unique_ptr<LossMaps> fine = query.Compute(xys);
    RefinePoseGnc(
        query.camera(), query.points(), *fine, GncOptions::Fine(), &pose);
    const Eigen::MatrixXd covariance =
        PoseCovariance(query.camera(), query.points(), *fine, Priors(), pose);
    sum += NormalisedErrorSquared(pose, query.cam_from_world(), covariance);
  }
  RecordProperty("mean", std::to_string(sum / kNumSeeds));
  EXPECT_NEAR(sum / kNumSeeds, 6.0, 1.5);
}

// Against poses that are optimised without one block after the other.
TEST(PoseCovariance, IsTheJackknifeOverBlocks) {
  constexpr double kBlockCells = 8.0;
  Random random(6200);
  const SyntheticQuery query(60, 20.0, &random);
  const std::unique_ptr<LossMaps> fine =
      GaussianFineMaps(query.Observe(1.0, 0.0, &random), kFineStride, 1.0)
          .Compute(query.xys);
  GncOptions options;
  options.sigmas = {1.0};
  const auto refine = [&](const std::vector<Eigen::Vector3d>& points,
                          const LossMaps& maps) {
    Rigid3d pose = query.cam_from_world;
    RefinePoseGnc(query.camera, points, maps, options, &pose);
    return pose;
  };
  const Rigid3d pose = refine(query.points, *fine);

  std::map<std::pair<int, int>, std::vector<size_t>> blocks;
  for (size_t i = 0; i < query.points.size(); ++i) {
    Eigen::Vector2d xy;
    query.camera.Project(pose * query.points[i], &xy, nullptr);
    const Eigen::Vector2d block =
        fine->geometry().map_from_image * xy / kBlockCells;
    blocks[{std::floor(block.x()), std::floor(block.y())}].push_back(i);
  }
  Eigen::MatrixXd expected = Eigen::MatrixXd::Zero(6, 6);
  for (const auto& [_, left_out] : blocks) {
    std::vector<Eigen::Vector3d> points = query.points;
    for (const size_t i : left_out) {
      // Behind the camera, where a point's term is constant.
      points[i] = pose.Inverse() * Eigen::Vector3d(0.0, 0.0, -1.0);
    }
    const Eigen::Matrix<double, 6, 1> difference =
        Perturbation(pose, refine(points, *fine));
    expected += difference * difference.transpose();
  }
  expected *= (blocks.size() - 1.0) / blocks.size();
  const Eigen::MatrixXd covariance =
      PoseCovariance(query.camera, query.points, *fine, Priors(), pose);
  ASSERT_FALSE(covariance.isZero(0.0));
  for (int i = 0; i < 6; ++i) {
    EXPECT_NEAR(covariance(i, i) / expected(i, i), 1.0, 0.15) << i;
  }
}

// All points lie on a plane that is seen in a small part of the image, and
// hardly tell turning from moving, but for those in one place in front of it,
// which are found somewhere else.
TEST(PoseCovariance, KnowsThatAPoseRestsOnOnePlace) {
  constexpr double kDepth = 10.0;
  constexpr int kNumInFront = 3;
  for (int seed = 0; seed < 5; ++seed) {
    Random random(6300 + seed);
    SyntheticQuery query(60, 20.0, &random);
    const double focal_length = query.camera.MeanFocalLength();
    for (size_t i = 0; i < query.points.size(); ++i) {
      const bool in_front = i < kNumInFront;
      const Eigen::Vector2d xy(random.Uniform(-50.0, 50.0),
                               random.Uniform(-50.0, 50.0));
      const double depth = in_front ? 0.5 * kDepth : kDepth;
      const Eigen::Vector3d ray(
          (in_front ? 0.02 * xy.x() : xy.x()) / focal_length,
          (in_front ? 0.02 * xy.y() : xy.y()) / focal_length,
          1.0);
      query.points[i] = query.cam_from_world.Inverse() * (depth * ray);
      query.camera.Project(
          query.cam_from_world * query.points[i], &query.xys[i], nullptr);
    }
    std::vector<Eigen::Vector2d> observed = query.Observe(0.3, 0.0, &random);
    for (int i = 0; i < kNumInFront; ++i) observed[i].x() += 4.0;
    const std::unique_ptr<LossMaps> fine =
        GaussianFineMaps(observed, kFineStride, 1.0).Compute(query.xys);
    Rigid3d pose = query.cam_from_world;
    RefinePoseGnc(query.camera, query.points, *fine, GncOptions::Fine(), &pose);
    const double error_deg = RotationErrorDeg(pose, query.cam_from_world);
    const Eigen::MatrixXd covariance =
        PoseCovariance(query.camera, query.points, *fine, Priors(), pose);
    EXPECT_GT(error_deg, 0.3);
    if (!covariance.isZero(0.0)) {
      EXPECT_GT(
          std::sqrt(covariance.topLeftCorner<3, 3>().trace()) * 180.0 / M_PI,
          0.5 * error_deg);
    }
  }
}

// Maps that are off by as much in all of a quarter of the image.
TEST(PoseCovariance, KnowsWhatQuartersOfTheImageShare) {
  constexpr int kNumSeeds = 60;
  constexpr double kStddevPx = 1.0;
  double sum = 0.0, sum_without = 0.0;
  for (int seed = 0; seed < kNumSeeds; ++seed) {
    Random random(6000 + seed);
    const SyntheticQuery query(1000, 20.0, &random);
    std::vector<Eigen::Vector2d> observed = query.Observe(0.5, 0.0, &random);
    std::vector<Eigen::Vector2d> offsets;
    for (int k = 0; k < 4; ++k) offsets.push_back(random.Normal2(kStddevPx));
    for (size_t i = 0; i < observed.size(); ++i) {
      observed[i] += offsets[2 * (query.xys[i].y() > 0.5 * query.kHeight) +
                             (query.xys[i].x() > 0.5 * query.kWidth)];
    }
    const std::unique_ptr<LossMaps> fine =
        GaussianFineMaps(observed, kFineStride, 1.0).Compute(query.xys);
    Rigid3d pose = query.cam_from_world;
    RefinePoseGnc(query.camera, query.points, *fine, GncOptions::Fine(), &pose);
    const auto normalised = [&](const SharedErrors& shared_errors) {
      return NormalisedErrorSquared(pose,
                                    query.cam_from_world,
                                    PoseCovariance(query.camera,
                                                   query.points,
                                                   *fine,
                                                   Priors(),
                                                   pose,
                                                   1.0,
                                                   shared_errors));
    };
    SharedErrors shared_errors;
    shared_errors.quarter_angle = kStddevPx / query.camera.MeanFocalLength();
    sum += normalised(shared_errors);
    sum_without += normalised(SharedErrors());
  }
  RecordProperty("mean", std::to_string(sum / kNumSeeds));
  RecordProperty("mean_without", std::to_string(sum_without / kNumSeeds));
  EXPECT_NEAR(sum / kNumSeeds, 6.0, 1.5);
  EXPECT_GT(sum_without / kNumSeeds, 60.0);
}

TEST(PoseCovariance, IsProportionalToItsFactor) {
  Random random(6100);
  const SyntheticQuery query(200, 20.0, &random);
  const std::unique_ptr<LossMaps> fine =
      GaussianFineMaps(query.Observe(1.0, 0.0, &random), kFineStride, 1.0)
          .Compute(query.xys);
  const auto covariance = [&](double factor) {
    SharedErrors shared_errors;
    shared_errors.covariance_factor = factor;
    return PoseCovariance(query.camera,
                          query.points,
                          *fine,
                          Priors(),
                          query.cam_from_world,
                          1.0,
                          shared_errors);
  };
  EXPECT_TRUE(covariance(2.5).isApprox(2.5 * covariance(1.0), 1e-9));
}

// With the figures of a part of a photograph of fountain, registered 0.45 m off
// with a lens that it does not have.
TEST(ExplainsMore, ALensOfItsOwnOnlyBeyondChance) {
  const auto estimate = [](Verdict verdict, int support, int in_view) {
    PoseEstimate e;
    e.verdict = verdict;
    e.log_false_alarms = -1000.0;
    e.support.resize(support);
    e.num_in_view = in_view;
    return e;
  };
  PoseEstimate stated = estimate(Verdict::kRejected, 1165, 1237);
  stated.lens_score = 18.4;
  const double gain = MinLensGain(stated);
  const PoseEstimate freed = estimate(Verdict::kRegistered, 768, 809);
  EXPECT_TRUE(ExplainsMore(freed, stated, 0.0));
  EXPECT_FALSE(ExplainsMore(freed, stated, gain));
  // As with a lens that is another.
  const PoseEstimate poor = estimate(Verdict::kRejected, 1065, 1237);
  EXPECT_TRUE(ExplainsMore(freed, poor, gain));
  EXPECT_FALSE(ExplainsMore(poor, freed, 0.0));
  EXPECT_FALSE(
      ExplainsMore(estimate(Verdict::kRejected, 800, 809), poor, gain));
  // Or with one that is contradicted beyond all doubt.
  stated.lens_score = 57.0;
  EXPECT_TRUE(ExplainsMore(freed, stated, MinLensGain(stated)));
}

}  // namespace
}  // namespace nre
