#include "nre/pose_methods.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nre/error.h"
#include "nre/gnc.h"
#include "nre/peaks.h"
#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

using testing::HasSubstr;

constexpr EstimationMethod kAllMethods[] = {EstimationMethod::kNre,
                                            EstimationMethod::kRe,
                                            EstimationMethod::kLoRansac,
                                            EstimationMethod::kMagsac,
                                            EstimationMethod::kFpr};

class OneHotFineMaps : public FineMapSource {
 public:
  explicit OneHotFineMaps(const FineMapSource& source) : source_(source) {}

  std::unique_ptr<LossMaps> Compute(
      const std::vector<Eigen::Vector2d>& xy_image) const override {
    return std::make_unique<DenseLossMaps>(
        OneHotMaps(*source_.Compute(xy_image)));
  }

 private:
  const FineMapSource& source_;
};

// On a map of 13 x 10 cells, the first sigmas smooth everything away.
TEST(NreMethod, CoarseRefinementDoesNotLeadAway) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Random random(seed);
    const SyntheticQuery query(60, 20.0, &random);
    const SparseLossMaps coarse =
        MakeCoarseMaps(query.Observe(10.0, 0.4, &random), 48, 1.0);
    const GaussianFineMaps fine(query.xys, 2, 1.0);
    const std::unique_ptr<PoseMethod> method =
        CreatePoseMethod({query.camera, query.points, coarse, fine},
                         NreEstimationOptions(),
                         {},
                         seed);
    const std::vector<CorrectedPose> sampled = method->Sample(coarse);
    ASSERT_FALSE(sampled.empty());
    const auto cost = [&](const CorrectedPose& pose) {
      return MeanNre(query.camera, query.points, coarse, pose.cam_from_world);
    };
    EXPECT_LE(cost(method->RefineCoarse(coarse, sampled)),
              cost(sampled.front()));
  }
}

TEST(ReMethod, IsTheNreOfOneHotMaps) {
  Random random(1);
  const SyntheticQuery query(200, 20.0, &random);
  const std::vector<Eigen::Vector2d> observed =
      query.Observe(1.0, 0.5, &random);
  const SparseLossMaps coarse = MakeCoarseMaps(observed, 8, 1.0);
  const GaussianFineMaps fine(observed, 2, 0.8);
  NreEstimationOptions re;
  re.method = EstimationMethod::kRe;
  re.coarse_max_error_cells = 0.6;
  re.max_error_cells = 0.6;
  const PoseEstimate a =
      EstimatePose({query.camera, query.points, coarse, fine}, re, 1);
  NreEstimationOptions nre;
  nre.sampling_share = 1.0;
  const PoseEstimate b = EstimatePose(
      {query.camera, query.points, OneHotMaps(coarse), OneHotFineMaps(fine)},
      nre,
      1);
  ASSERT_NE(a.verdict, Verdict::kFailed) << a.reason;
  EXPECT_EQ(a.cam_from_world.rotation.coeffs(),
            b.cam_from_world.rotation.coeffs());
  EXPECT_EQ(a.cam_from_world.translation, b.cam_from_world.translation);
  // But it is judged by the whole maps.
  EXPECT_EQ(a.verdict, Verdict::kRegistered) << a.reason;
  EXPECT_NE(a.fine_cost, b.fine_cost);
}

TEST(ReMethod, FindsThePose) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Random random(seed);
    const SyntheticQuery query(300, 20.0, &random);
    const std::vector<Eigen::Vector2d> observed =
        query.Observe(1.0, 0.5, &random);
    NreEstimationOptions options;
    options.method = EstimationMethod::kRe;
    const PoseEstimate estimate =
        EstimatePose({query.camera,
                      query.points,
                      MakeCoarseMaps(observed, 8, 1.0),
                      GaussianFineMaps(observed, 2, 0.8)},
                     options,
                     seed);
    ASSERT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
    EXPECT_LT(RotationErrorDeg(estimate.cam_from_world, query.cam_from_world),
              0.1);
    EXPECT_LT(CenterError(estimate.cam_from_world, query.cam_from_world), 0.02);
  }
}

// What a solver is given, and what becomes of its answers.
class MatchMethodTest : public testing::Test {
 protected:
  MatchMethodTest() : query_(50, 20.0, &random_) {
    options_.method = EstimationMethod::kMagsac;
  }

  PoseEstimate Estimate(const MatchSolver& solver) {
    MethodInputs inputs;
    inputs.magsac = solver;
    return EstimatePose({query_.camera,
                         query_.points,
                         MakeCoarseMaps(query_.xys, 8, 1.0),
                         GaussianFineMaps(query_.xys, 2, 0.8)},
                        options_,
                        7,
                        inputs);
  }

  Random random_{3};
  SyntheticQuery query_;
  NreEstimationOptions options_;
};

TEST_F(MatchMethodTest, SolvesOnCoarseAndOnFinePeaks) {
  options_.coarse_max_error_cells = 1.5;
  options_.max_error_cells = 2.0;
  std::vector<double> max_errors, worst;
  const PoseEstimate estimate =
      Estimate([&](const Camera& camera,
                   const std::vector<PointMatch>& matches,
                   double max_error_px,
                   uint64_t seed) {
        EXPECT_EQ(seed, 7);
        EXPECT_EQ(matches.size(), 50);
        max_errors.push_back(max_error_px);
        worst.push_back(0.0);
        for (const PointMatch& match : matches) {
          Eigen::Vector2d xy;
          EXPECT_TRUE(camera.Project(
              query_.cam_from_world * match.point_in_world, &xy, nullptr));
          worst.back() = std::max(worst.back(), (xy - match.xy).norm());
        }
        return std::make_optional(query_.cam_from_world);
      });
  // In pixels; the last looks for another pose as good.
  EXPECT_EQ(max_errors, (std::vector<double>{12.0, 4.0, 12.0}));
  ASSERT_EQ(worst.size(), 3);
  // Refined far below a cell of 8 and of 2 pixels.
  EXPECT_LT(worst[0], 1.0);
  EXPECT_LT(worst[1], 0.25);
  EXPECT_EQ(estimate.verdict, Verdict::kRegistered) << estimate.reason;
  EXPECT_EQ(estimate.cam_from_world.translation,
            query_.cam_from_world.translation);
}

TEST_F(MatchMethodTest, FailsWithTheSolver) {
  int num_calls = 0;
  PoseEstimate estimate = Estimate(
      [&](const Camera&, const std::vector<PointMatch>&, double, uint64_t) {
        ++num_calls;
        return std::optional<Rigid3d>();
      });
  EXPECT_EQ(num_calls, 1);
  EXPECT_EQ(estimate.verdict, Verdict::kFailed);
  EXPECT_THAT(estimate.reason, HasSubstr("magsac found no pose in the coarse"));
  estimate = Estimate(
      [&](const Camera&, const std::vector<PointMatch>&, double, uint64_t) {
        return num_calls-- > 0 ? std::make_optional(query_.cam_from_world)
                               : std::nullopt;
      });
  EXPECT_EQ(estimate.verdict, Verdict::kFailed);
  EXPECT_THAT(estimate.reason, HasSubstr("magsac found no pose in the fine"));
}

TEST_F(MatchMethodTest, ASolverThatIsLackingIsAnError) {
  EXPECT_THROW(Estimate(nullptr), std::invalid_argument);
  options_.method = EstimationMethod::kFpr;
  EXPECT_THROW(Estimate(nullptr), std::invalid_argument);
}

// No method needs a solver or more than three maps to say so.
TEST(EstimatePose, EveryMethodFailsOnTooLittle) {
  MethodInputs inputs;
  inputs.lo_ransac = inputs.magsac =
      [](const Camera&, const std::vector<PointMatch>&, double, uint64_t) {
        ADD_FAILURE() << "there is nothing to solve";
        return std::optional<Rigid3d>();
      };
  const std::vector<float> zeros(100);
  inputs.fine_features = {zeros.data(), 1, 5, 20, MapFromImage()};
  inputs.fine_descriptors = zeros.data();
  Random random(4);
  for (const EstimationMethod method : kAllMethods) {
    NreEstimationOptions options;
    options.method = method;
    for (const int num_points : {0, 2, 50}) {
      const SyntheticQuery query(num_points, 20.0, &random);
      // Enough points, but nothing in their maps.
      const LossMaps::Geometry geometry = SyntheticQuery::MapGeometry(8);
      const SparseLossMaps uninformative =
          num_points == 50
              ? ToSparse(std::vector<WeightMap>(
                             50, WeightMap(geometry.width, geometry.height)),
                         geometry.map_from_image)
              : MakeCoarseMaps(query.xys, 8, 1.0);
      const PoseEstimate estimate =
          EstimatePose({query.camera,
                        query.points,
                        uninformative,
                        GaussianFineMaps(query.xys, 2, 0.8)},
                       options,
                       1,
                       inputs);
      EXPECT_EQ(estimate.verdict, Verdict::kFailed);
      EXPECT_THAT(estimate.reason,
                  HasSubstr(std::string(EstimationMethodName(method)) +
                            " found no pose"));
    }
  }
}

TEST(EstimationMethod, Names) {
  for (const EstimationMethod method : kAllMethods) {
    EXPECT_EQ(ParseEstimationMethod(EstimationMethodName(method)), method);
  }
  try {
    ParseEstimationMethod("ransac");
    FAIL();
  } catch (const InputError& error) {
    for (const EstimationMethod method : kAllMethods) {
      EXPECT_THAT(error.what(), HasSubstr(EstimationMethodName(method)));
    }
  }
}

}  // namespace
}  // namespace nre
