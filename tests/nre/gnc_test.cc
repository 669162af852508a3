#include "nre/gnc.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <Eigen/Cholesky>
#include <ceres/autodiff_first_order_function.h>
#include <ceres/gradient_problem.h>
#include <ceres/gradient_problem_solver.h>
#include <gtest/gtest.h>

#include "nre/pose_estimator.h"
#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

using Vector6d = Eigen::Matrix<double, 6, 1>;

// The pose near `start` that minimises Eq. 9, by a general optimiser.
Rigid3d MinimizeByBfgs(const SyntheticQuery& query,
                       const std::vector<WeightMap>& maps,
                       const MapFromImage& map_from_image,
                       double sigma,
                       const Rigid3d& start) {
  Rigid3d pose = start;
  // Started afresh at what was found, in case the line search gave up early.
  for (int round = 0; round < 3; ++round) {
    const ceres::GradientProblem problem(
        new ceres::AutoDiffFirstOrderFunction<BruteForceEq9, 6>(
            new BruteForceEq9(query, maps, map_from_image, sigma, pose)));
    ceres::GradientProblemSolver::Options options;
    options.logging_type = ceres::SILENT;
    options.max_num_iterations = 200;
    options.function_tolerance = 1e-16;
    options.gradient_tolerance = 1e-12;
    options.parameter_tolerance = 1e-14;
    Vector6d perturbation = Vector6d::Zero();
    ceres::GradientProblemSolver::Summary summary;
    ceres::Solve(options, problem, perturbation.data(), &summary);
    pose = PerturbLeft(perturbation, pose);
  }
  return pose;
}

// The mean distance, in map cells, of two poses' projections.
double ProjectionDistance(const SyntheticQuery& query,
                          const LossMaps& maps,
                          const Rigid3d& a,
                          const Rigid3d& b) {
  double sum = 0.0;
  for (const Eigen::Vector3d& point : query.points) {
    Eigen::Vector2d xy_a, xy_b;
    if (!query.camera.Project(a * point, &xy_a, nullptr) ||
        !query.camera.Project(b * point, &xy_b, nullptr)) {
      return std::numeric_limits<double>::infinity();
    }
    sum +=
        (xy_a - xy_b).cwiseProduct(maps.geometry().map_from_image.scale).norm();
  }
  return sum / query.points.size();
}

TEST(GncOptions, CheckRefusesWhatIsNoSchedule) {
  EXPECT_TRUE(GncOptions().Check());
  EXPECT_TRUE(GncOptions::Coarse().Check());
  EXPECT_TRUE(GncOptions::Fine().Check());
  EXPECT_EQ(GncOptions::Coarse().sigmas,
            std::vector<double>({2.0, 1.0, 0.9, 0.8, 0.7, 0.6}));
  EXPECT_EQ(GncOptions::Fine().sigmas.front(), 8.0);
  EXPECT_EQ(GncOptions::Fine().sigmas.back(), 0.6);
  const double kNaN = std::numeric_limits<double>::quiet_NaN();
  for (const std::vector<double>& sigmas : std::vector<std::vector<double>>{
           {}, {0.4}, {2.0, 0.4}, {1.0, 2.0}, {kNaN}, {2.0, kNaN}, {-1.0}}) {
    GncOptions options;
    options.sigmas = sigmas;
    EXPECT_FALSE(options.Check()) << testing::PrintToString(sigmas);
  }
  GncOptions options;
  options.max_num_iterations = 0;
  EXPECT_FALSE(options.Check());
  options = GncOptions();
  options.min_gain_ratio = -0.1;
  EXPECT_FALSE(options.Check());
  options.min_gain_ratio = kNaN;
  EXPECT_FALSE(options.Check());
}

TEST(RefinePoseGnc, FindsTheMinimumOfEq9) {
  const LossMaps::Geometry geometry = SyntheticQuery::MapGeometry(16);
  for (const uint64_t seed : {1, 2, 3, 4}) {
    Random random(seed);
    const SyntheticQuery query(40, 40.0, &random);
    std::vector<WeightMap> maps;
    for (const Eigen::Vector2d& xy : query.Observe(12.0, 0.2, &random)) {
      maps.push_back(GaussianWeights(
          geometry.width, geometry.height, geometry.map_from_image * xy, 0.8));
    }
    const SparseLossMaps loss_maps = ToSparse(maps, geometry.map_from_image);
    for (const double sigma : {1.0, 2.0}) {
      GncOptions options;
      options.sigmas = {sigma};
      options.max_num_iterations = 1000;
      Rigid3d pose = MoveAway(query.cam_from_world, 0.01, 0.05, &random);
      const GncSummary summary =
          RefinePoseGnc(query.camera, query.points, loss_maps, options, &pose);
      EXPECT_TRUE(summary.converged);
      EXPECT_GT(summary.num_steps, 0);
      EXPECT_NEAR(pose.rotation.norm(), 1.0, 1e-12);
      const Rigid3d oracle =
          MinimizeByBfgs(query, maps, geometry.map_from_image, sigma, pose);
      EXPECT_LT(RotationErrorDeg(pose, oracle) * M_PI / 180.0, 1e-6)
          << "seed " << seed << ", sigma " << sigma;
      EXPECT_LT(CenterError(pose, oracle), 5e-6);  // points are about 5 away
    }
  }
}

// What makes a problem of refinement hard.
struct Difficulty {
  const char* name;
  int num_points;
  double noise_px;
  double wrong_share;
  int num_wrong_modes;  // that every map has besides
  double margin_px;     // negative: points beyond the image's border
  double behind_share;  // of points behind the camera
  double start_rad;
  double start_distance;
};

// Both ways through Eq. 9, from the same start to convergence.
TEST(RefinePoseGnc, DenseAndCeresFindTheSamePose) {
  const LossMaps::Geometry geometry = SyntheticQuery::MapGeometry(16);
  const Difficulty difficulties[] = {
      {"easy", 100, 4.0, 0.1, 0, 20.0, 0.0, 0.01, 0.05},
      {"wrong maps", 200, 8.0, 0.7, 0, 20.0, 0.0, 0.02, 0.05},
      {"many modes", 200, 8.0, 0.3, 3, 20.0, 0.0, 0.02, 0.05},
      {"borders", 150, 8.0, 0.4, 1, -40.0, 0.0, 0.02, 0.05},
      {"behind", 150, 8.0, 0.4, 1, 0.0, 0.3, 0.02, 0.05},
      {"few points", 8, 4.0, 0.0, 1, 20.0, 0.0, 0.005, 0.02},
      {"all at once", 200, 16.0, 0.6, 2, -20.0, 0.2, 0.03, 0.1}};
  double worst_rad = 0.0, worst_distance = 0.0;
  for (const Difficulty& difficulty : difficulties) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      SCOPED_TRACE(std::string(difficulty.name) + ", seed " +
                   std::to_string(seed));
      Random random(seed);
      SyntheticQuery query(
          difficulty.num_points, difficulty.margin_px, &random);
      const std::vector<Eigen::Vector2d> observed =
          query.Observe(difficulty.noise_px, difficulty.wrong_share, &random);
      std::vector<WeightMap> maps;
      for (size_t i = 0; i < observed.size(); ++i) {
        maps.push_back(GaussianWeights(geometry.width,
                                       geometry.height,
                                       geometry.map_from_image * observed[i],
                                       random.Uniform(0.5, 1.5)));
        for (int k = 0; k < difficulty.num_wrong_modes; ++k) {
          const WeightMap mode = GaussianWeights(
              geometry.width,
              geometry.height,
              geometry.map_from_image * (query.xys[i] + random.Normal2(80.0)),
              random.Uniform(0.5, 1.5));
          for (size_t j = 0; j < mode.weights.size(); ++j) {
            maps.back().weights[j] =
                std::max(maps.back().weights[j], 0.9f * mode.weights[j]);
          }
        }
        if (random.Uniform(0.0, 1.0) < difficulty.behind_share) {
          query.points[i] = query.cam_from_world.Inverse() *
                            Eigen::Vector3d(random.Uniform(-2.0, 2.0),
                                            random.Uniform(-2.0, 2.0),
                                            random.Uniform(-5.0, 0.05));
        }
      }
      const SparseLossMaps loss_maps = ToSparse(maps, geometry.map_from_image);
      const Rigid3d start = MoveAway(query.cam_from_world,
                                     difficulty.start_rad,
                                     difficulty.start_distance,
                                     &random);
      GncOptions options;
      options.max_num_iterations = 5000;
      Rigid3d dense = start;
      CorrectedPose by_ceres = {start, {}};
      const GncSummary summary =
          RefinePoseGnc(query.camera, query.points, loss_maps, options, &dense);
      const GncSummary reference_summary = RefinePoseGncCeres(
          query.camera, query.points, loss_maps, options, Priors(), &by_ceres);
      const Rigid3d& reference = by_ceres.cam_from_world;
      EXPECT_TRUE(summary.converged);
      EXPECT_TRUE(reference_summary.converged);
      EXPECT_NEAR(
          summary.cost, reference_summary.cost, 1e-6 * std::abs(summary.cost));
      constexpr double kMeanDepth = 6.5;
      const double rad = RotationErrorDeg(dense, reference) * M_PI / 180.0;
      const double distance = CenterError(dense, reference) / kMeanDepth;
      EXPECT_LT(rad, 1e-6);
      EXPECT_LT(distance, 1e-6);
      EXPECT_LT(summary.num_steps, reference_summary.num_steps);
      worst_rad = std::max(worst_rad, rad);
      worst_distance = std::max(worst_distance, distance);
    }
  }
  RecordProperty("worst_rad", std::to_string(1e6 * worst_rad) + "e-6");
  RecordProperty("worst_distance",
                 std::to_string(1e6 * worst_distance) + "e-6");
}

// The same with more unknowns and with priors, which pull at the pose.
TEST(RefinePoseGnc, DenseAndCeresFindTheSameFocalLength) {
  Priors of_pose, focal, all;
  focal.focal_length = {100.0, 2000.0};
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Random random(seed);
    const SyntheticQuery query(150, 20.0, &random);
    const std::vector<Eigen::Vector2d> observed =
        query.Observe(2.0, 0.4, &random);
    const auto maps = GaussianFineMaps(observed, 4, 1.0).Compute(query.xys);
    of_pose.position = PositionPrior();
    of_pose.position->mean =
        ProjectionCenter(query.cam_from_world) + random.Normal3(0.05);
    of_pose.position->covariance *= 1e-3;
    of_pose.gravity = GravityPrior();
    of_pose.gravity->down_in_cam =
        (query.cam_from_world.rotation * of_pose.gravity->down_in_world +
         random.Normal3(0.01))
            .normalized();
    of_pose.gravity->stddev_deg = 0.5;
    all = of_pose;
    all.focal_length = focal.focal_length;
    const CorrectedPose start = {
        MoveAway(query.cam_from_world, 0.005, 0.02, &random), {1.01}};
    for (const Priors& priors : {of_pose, focal, all}) {
      GncOptions options;
      options.max_num_iterations = 5000;
      CorrectedPose dense = start, reference = start;
      if (!priors.focal_length) {
        dense.correction.focal_scale = reference.correction.focal_scale = 1.0;
      }
      const GncSummary summary = RefinePoseGnc(
          query.camera, query.points, *maps, options, priors, &dense);
      const GncSummary reference_summary = RefinePoseGncCeres(
          query.camera, query.points, *maps, options, priors, &reference);
      EXPECT_TRUE(summary.converged);
      EXPECT_TRUE(reference_summary.converged);
      EXPECT_NEAR(
          summary.cost, reference_summary.cost, 1e-6 * std::abs(summary.cost));
      EXPECT_LT(
          RotationErrorDeg(dense.cam_from_world, reference.cam_from_world) *
              M_PI / 180.0,
          1e-6);
      EXPECT_LT(CenterError(dense.cam_from_world, reference.cam_from_world),
                6.5e-6);  // points are that far on average
      EXPECT_NEAR(
          dense.correction.focal_scale, reference.correction.focal_scale, 1e-6);
      EXPECT_EQ(dense.correction.focal_scale == 1.0, !priors.focal_length);
    }
  }
}

TEST(RefinePoseGnc, TheFocalLengthStaysInItsRange) {
  Random random(1);
  const SyntheticQuery query(150, 20.0, &random);
  const auto maps = GaussianFineMaps(query.xys, 2, 0.8).Compute(query.xys);
  const double true_focal_length = query.camera.MeanFocalLength();
  Priors priors;
  priors.focal_length = {1.005 * true_focal_length, 2.0 * true_focal_length};
  CorrectedPose pose = {query.cam_from_world, {1.01}};
  RefinePoseGnc(
      query.camera, query.points, *maps, GncOptions::Fine(), priors, &pose);
  EXPECT_GE(pose.correction.focal_scale, 1.005);
  EXPECT_LT(pose.correction.focal_scale, 1.01);
  priors.focal_length->min_px = 0.5 * true_focal_length;
  RefinePoseGnc(
      query.camera, query.points, *maps, GncOptions::Fine(), priors, &pose);
  EXPECT_NEAR(pose.correction.focal_scale, 1.0, 1e-3);
}

TEST(RefinePoseGnc, ConvergesFromSeveralCellsAway) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Random random(seed);
    const SyntheticQuery query(150, 20.0, &random);
    const std::vector<Eigen::Vector2d> observed =
        query.Observe(0.0, 0.3, &random);

    // Coarse, from some cells of 8 pixels.
    const SparseLossMaps coarse = MakeCoarseMaps(observed, 8, 1.0);
    Rigid3d pose = MoveAway(query.cam_from_world, 0.04, 0.15, &random);
    EXPECT_GT(ProjectionDistance(query, coarse, pose, query.cam_from_world),
              1.0);
    RefinePoseGnc(
        query.camera, query.points, coarse, GncOptions::Coarse(), &pose);
    EXPECT_LT(ProjectionDistance(query, coarse, pose, query.cam_from_world),
              0.1)
        << "coarse, seed " << seed;

    // Fine, from many cells of 2 pixels.
    const GaussianFineMaps source(observed, 2, 1.0);
    pose = MoveAway(query.cam_from_world, 0.02, 0.05, &random);
    std::vector<Eigen::Vector2d> xys(query.points.size());
    for (size_t i = 0; i < xys.size(); ++i) {
      ASSERT_TRUE(
          query.camera.Project(pose * query.points[i], &xys[i], nullptr));
    }
    const auto fine = source.Compute(xys);
    EXPECT_GT(ProjectionDistance(query, *fine, pose, query.cam_from_world),
              2.0);
    // The cost falls from stage to stage.
    double cost = MeanNre(query.camera, query.points, *fine, pose);
    const double first_cost = cost;
    for (const double sigma : GncOptions::Fine().sigmas) {
      GncOptions stage;
      stage.sigmas = {sigma};
      RefinePoseGnc(query.camera, query.points, *fine, stage, &pose);
      const double next = MeanNre(query.camera, query.points, *fine, pose);
      EXPECT_LT(next, cost + 0.01) << "sigma " << sigma;
      cost = next;
    }
    EXPECT_LT(cost, first_cost - 1.0);
    EXPECT_LT(ProjectionDistance(query, *fine, pose, query.cam_from_world), 0.1)
        << "fine, seed " << seed;
  }
}

// The steps of the default schedule leave little to gain: the minimum, where
// any number of steps would lead, is much nearer than the truth.
TEST(RefinePoseGnc, DefaultNumberOfStepsSuffices) {
  double rest = 0.0, error = 0.0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Random random(seed);
    const SyntheticQuery query(100, 40.0, &random);
    const GaussianFineMaps source(query.Observe(3.0, 0.3, &random), 2, 1.5);
    const auto fine = source.Compute(query.xys);
    Rigid3d pose = MoveAway(query.cam_from_world, 0.005, 0.02, &random);
    GncOptions options = GncOptions::Fine();
    RefinePoseGnc(query.camera, query.points, *fine, options, &pose);
    Rigid3d converged = pose;
    options.sigmas = {options.sigmas.back()};
    options.max_num_iterations = 1000;
    RefinePoseGnc(query.camera, query.points, *fine, options, &converged);
    rest += ProjectionDistance(query, *fine, pose, converged);
    error += ProjectionDistance(query, *fine, query.cam_from_world, converged);
  }
  RecordProperty("rest_share", std::to_string(rest / error));
  EXPECT_LT(rest, 0.1 * error);
}

TEST(RefinePoseGnc, LeavesThePoseWithoutInformation) {
  Random random(5);
  const SyntheticQuery query(10, 20.0, &random);
  const LossMaps::Geometry geometry = SyntheticQuery::MapGeometry(16);
  const SparseLossMaps maps = ToSparse(
      std::vector<WeightMap>(10, WeightMap(geometry.width, geometry.height)),
      geometry.map_from_image);
  Rigid3d pose = query.cam_from_world;
  RefinePoseGnc(query.camera, query.points, maps, GncOptions::Coarse(), &pose);
  EXPECT_LT(RotationErrorDeg(pose, query.cam_from_world), 1e-9);
  EXPECT_LT(CenterError(pose, query.cam_from_world), 1e-9);
}

TEST(MeanNre, IsEq6PerPoint) {
  Random random(6);
  SyntheticQuery query(20, 0.0, &random);
  const LossMaps::Geometry geometry = SyntheticQuery::MapGeometry(16);
  std::vector<WeightMap> maps;
  for (size_t i = 0; i < query.points.size(); ++i) {
    maps.push_back(
        RandomWeights(geometry.width, geometry.height, 0.5, &random));
  }
  const SparseLossMaps loss_maps = ToSparse(maps, geometry.map_from_image);
  double expected = 0.0;
  for (size_t i = 0; i < query.points.size(); ++i) {
    expected += geometry.LogCategories() -
                loss_maps.Weight(i, geometry.map_from_image * query.xys[i]);
  }
  EXPECT_NEAR(
      MeanNre(query.camera, query.points, loss_maps, query.cam_from_world),
      expected / query.points.size(),
      1e-9);

  // What is not in front of the camera costs ln|Omega^|, neither zero nor more.
  const Rigid3d turned = PerturbLeft(
      (Vector6d() << M_PI, 0, 0, 0, 0, 0).finished(), query.cam_from_world);
  EXPECT_EQ(MeanNre(query.camera, query.points, loss_maps, turned),
            geometry.LogCategories());
  EXPECT_EQ(MeanNre(query.camera, {}, SparseLossMaps(geometry), turned),
            geometry.LogCategories());
}

// Maps that are symmetric about their point's projection: there the gradient
// of every term vanishes, and with it what PoseHessian neglects, the
// projection's second derivative.
TEST(PoseHessian, IsThatOfEq9) {
  Random random(7);
  const LossMaps::Geometry geometry = SyntheticQuery::MapGeometry(16);
  SyntheticQuery query(0, 0.0, &random);
  std::vector<WeightMap> maps;
  for (int i = 0; i < 25; ++i) {
    const Eigen::Vector2i cell(12 + (3 * i) % 16, 10 + (5 * i) % 11);
    query.Add(geometry.map_from_image.ToImage(cell.cast<double>()),
              random.Uniform(3.0, 10.0));
    maps.emplace_back(geometry.width, geometry.height);
    for (int y = -8; y <= 8; ++y) {
      for (int x = -8; x <= 8; ++x) {
        const float weight = static_cast<float>(random.Uniform(0.0, 7.0));
        for (const int sign : {-1, 1}) {
          const Eigen::Vector2i q = cell + sign * Eigen::Vector2i(x, y);
          maps.back()(q.x(), q.y()) = weight;
        }
      }
    }
  }
  // Everything that is informative lies within 5 sigma.
  constexpr double kSigma = 1.7;
  constexpr double kStep = 1e-5;
  const BruteForceEq9 eq9(
      query, maps, geometry.map_from_image, kSigma, query.cam_from_world);
  Matrix6d expected;
  for (int k = 0; k < 6; ++k) {
    Vector6d after, before;
    eq9.Evaluate(kStep * Vector6d::Unit(k), &after);
    eq9.Evaluate(-kStep * Vector6d::Unit(k), &before);
    expected.col(k) = (after - before) / (2.0 * kStep);
  }
  const Matrix6d hessian = PoseHessian(query.camera,
                                       query.points,
                                       ToSparse(maps, geometry.map_from_image),
                                       kSigma,
                                       query.cam_from_world);
  EXPECT_LT((hessian - expected).norm(), 1e-6 * expected.norm());
  EXPECT_LT((hessian - hessian.transpose()).norm(), 1e-9 * expected.norm());
}

TEST(PoseHessian, IgnoresPointsWithoutAnImage) {
  Random random(8);
  SyntheticQuery query(20, 20.0, &random);
  const SparseLossMaps maps = MakeCoarseMaps(query.xys, 16, 1.0);
  const auto hessian = [&] {
    return PoseHessian(
        query.camera, query.points, maps, 1.0, query.cam_from_world);
  };
  Matrix6d without = hessian();
  query.points[3] =
      query.cam_from_world.Inverse() * Eigen::Vector3d(0.1, 0.2, -4.0);
  EXPECT_GT((hessian() - without).norm(), 1.0);
  without = hessian();
  query.points[3].setConstant(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(hessian(), without);
}

TEST(CenterCovariance, IsTheScatterOfPerturbedCentres) {
  Random random(9);
  PoseEstimate estimate;
  estimate.cam_from_world = random.Pose();
  Matrix6d root;
  for (int k = 0; k < 36; ++k) root(k) = random.Normal(1e-3);
  estimate.covariance = root * root.transpose();

  constexpr int kNumSamples = 20000;
  const Eigen::Vector3d center = ProjectionCenter(estimate.cam_from_world);
  Eigen::Matrix3d scatter = Eigen::Matrix3d::Zero();
  for (int i = 0; i < kNumSamples; ++i) {
    Vector6d unit;
    unit << random.Normal3(1.0), random.Normal3(1.0);
    const Eigen::Vector3d offset =
        ProjectionCenter(PerturbLeft(root * unit, estimate.cam_from_world)) -
        center;
    scatter += offset * offset.transpose() / kNumSamples;
  }
  EXPECT_LT((CenterCovariance(estimate) - scatter).norm(),
            0.05 * scatter.norm());
}

}  // namespace
}  // namespace nre
