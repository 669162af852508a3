#include "nre/pose_evaluation.h"

#include <cmath>

#include <gtest/gtest.h>

#include "nre/error.h"

namespace nre {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Worked out by hand: five queries, one of them without a pose.
//   centre  0.1  0.3  0.4  2.0  inf
//   deg     1.0  1.0  4.0  8.0  inf
const std::vector<PoseError> kErrors = {
    {0.4, 4.0}, {0.1, 1.0}, PoseError(), {2.0, 8.0}, {0.3, 1.0}};

TEST(PoseEvaluation, AsWorkedOutByHand) {
  const PoseEvaluation evaluation =
      EvaluatePoses(kErrors, {}, ParsePoseThresholds("0.25,2;0.5,5;5,10"));
  EXPECT_EQ(evaluation.num_queries, 5);
  EXPECT_EQ(evaluation.num_registered, 4);
  EXPECT_EQ(evaluation.median.center, 0.4);
  EXPECT_EQ(evaluation.median.rotation_deg, 4.0);
  EXPECT_DOUBLE_EQ(evaluation.median_registered.center, 0.35);
  EXPECT_DOUBLE_EQ(evaluation.median_registered.rotation_deg, 2.5);
  EXPECT_EQ(evaluation.max_registered.center, 2.0);
  EXPECT_EQ(evaluation.max_registered.rotation_deg, 8.0);
  ASSERT_EQ(evaluation.scores.size(), 3);
  EXPECT_DOUBLE_EQ(evaluation.scores[0].recall, 1.0 / 5.0);
  EXPECT_DOUBLE_EQ(evaluation.scores[1].recall, 3.0 / 5.0);
  EXPECT_DOUBLE_EQ(evaluation.scores[2].recall, 4.0 / 5.0);
  // (1 - 0.1 / 0.25) / 5
  EXPECT_DOUBLE_EQ(evaluation.scores[0].center_auc, 0.12);
  // (1 - 0.1 / 0.5 + 1 - 0.3 / 0.5 + 1 - 0.4 / 0.5) / 5
  EXPECT_DOUBLE_EQ(evaluation.scores[1].center_auc, 0.28);
  // (4 - (0.1 + 0.3 + 0.4 + 2) / 5) / 5
  EXPECT_DOUBLE_EQ(evaluation.scores[2].center_auc, 0.688);
  // (1 - 1 / 2 + 1 - 1 / 2) / 5
  EXPECT_DOUBLE_EQ(evaluation.scores[0].rotation_auc, 0.2);
  // (4 - (1 + 1 + 4 + 8) / 10) / 5
  EXPECT_DOUBLE_EQ(evaluation.scores[2].rotation_auc, 0.52);
}

// Both errors must be small, each by itself is not enough; the limits count.
TEST(PoseEvaluation, RecallNeedsBothErrors) {
  const std::vector<PoseError> errors = {
      {0.5, 2.0}, {0.5, 2.1}, {0.6, 2.0}, {0.0, 0.0}};
  EXPECT_EQ(EvaluatePoses(errors, {}, {{0.5, false, 2.0}}).scores[0].recall,
            0.5);
}

TEST(PoseEvaluation, RelativeToTheDepth) {
  // Shares of the depth: 0.04, 0.01, inf, 0.04, 0.1.
  const std::vector<double> depths = {10.0, 10.0, 5.0, 50.0, 3.0};
  const PoseEvaluation evaluation =
      EvaluatePoses(kErrors, depths, ParsePoseThresholds("5%,5;5%,10"));
  EXPECT_DOUBLE_EQ(evaluation.scores[0].recall, 0.4);
  EXPECT_DOUBLE_EQ(evaluation.scores[1].recall, 0.6);
  // (0.2 + 0.8 + 0.2) / 5
  EXPECT_DOUBLE_EQ(evaluation.scores[0].center_auc, 0.24);
  EXPECT_THROW(EvaluatePoses(kErrors, {}, {{0.05, true, 5.0}}),
               std::invalid_argument);
  EXPECT_THROW(EvaluatePoses(kErrors, {1.0}, {{0.05, false, 5.0}}),
               std::invalid_argument);
  EXPECT_THROW(EvaluatePoses({}, {}, {}), std::invalid_argument);
}

TEST(PoseEvaluation, NoneRegistered) {
  const PoseEvaluation evaluation =
      EvaluatePoses({PoseError(), PoseError()}, {}, {{1.0, false, 1.0}});
  EXPECT_EQ(evaluation.num_registered, 0);
  EXPECT_EQ(evaluation.median.center, kInfinity);
  EXPECT_TRUE(std::isnan(evaluation.median_registered.center));
  EXPECT_TRUE(std::isnan(evaluation.max_registered.rotation_deg));
  EXPECT_EQ(evaluation.scores[0].recall, 0.0);
  EXPECT_EQ(evaluation.scores[0].center_auc, 0.0);
}

TEST(PoseEvaluation, MedianOfEvenNumbers) {
  EXPECT_EQ(Median({4.0, 1.0, 3.0, 2.0}), 2.5);
  EXPECT_EQ(Median({4.0}), 4.0);
  EXPECT_EQ(Median({1.0, kInfinity}), kInfinity);
  EXPECT_TRUE(std::isnan(Median({})));
}

// The area is that below the steps of the curve, summed up finely.
TEST(PoseEvaluation, AreaIsThatBelowTheCurve) {
  const std::vector<double> errors = {0.7, 0.02, 0.31, kInfinity, 1.3, 0.31};
  const double limit = 0.8;
  const int num_steps = 100000;
  double area = 0.0;
  for (int i = 0; i < num_steps; ++i) {
    const double x = limit * (i + 0.5) / num_steps;
    int count = 0;
    for (const double error : errors) count += error <= x;
    area += static_cast<double>(count) / errors.size() / num_steps;
  }
  EXPECT_NEAR(AreaUnderCumulativeCurve(errors, limit), area, 1e-5);
}

TEST(PoseEvaluation, ErrorsOfAPose) {
  // A camera at (0, 0, 3), then at (3, 4, 3) and turned by 30 deg.
  Rigid3d truth;
  truth.translation = {0.0, 0.0, -3.0};
  Rigid3d estimate;
  estimate.rotation = Eigen::AngleAxisd(M_PI / 6.0, Eigen::Vector3d::UnitZ());
  estimate.translation = -(estimate.rotation * Eigen::Vector3d(3.0, 4.0, 3.0));
  EXPECT_NEAR(ErrorOfPose(estimate, truth).center, 5.0, 1e-12);
  EXPECT_NEAR(ErrorOfPose(estimate, truth).rotation_deg, 30.0, 1e-12);
}

TEST(PoseThresholds, AreRead) {
  const std::vector<PoseThreshold> thresholds =
      ParsePoseThresholds("0.25, 2; 5%,5.5 ;1e-3 % , 10");
  ASSERT_EQ(thresholds.size(), 3);
  EXPECT_EQ(thresholds[0].center, 0.25);
  EXPECT_FALSE(thresholds[0].relative);
  EXPECT_EQ(thresholds[0].rotation_deg, 2.0);
  EXPECT_EQ(thresholds[0].Name(), "0.25, 2 deg");
  EXPECT_DOUBLE_EQ(thresholds[1].center, 0.05);
  EXPECT_TRUE(thresholds[1].relative);
  EXPECT_EQ(thresholds[1].Name(), "5 %, 5.5 deg");
  EXPECT_DOUBLE_EQ(thresholds[2].center, 1e-5);
  for (const char* wrong : {"",
                            ";",
                            "1",
                            "1,",
                            "a,1",
                            "1,2,3",
                            "1,2x",
                            "0,1",
                            "1,-1",
                            "1,2%",
                            "1;2",
                            "nan,1",
                            "%,1"}) {
    EXPECT_THROW(ParsePoseThresholds(wrong), InputError) << wrong;
  }
}

TEST(AlignedDistances, ASimilarityCostsNothing) {
  Eigen::Matrix3Xd points = Eigen::Matrix3Xd::Random(3, 8);
  const Eigen::Quaterniond rotation =
      Eigen::Quaterniond(0.4, -0.3, 0.8, 0.1).normalized();
  Eigen::Matrix3Xd moved = 2.5 * (rotation.toRotationMatrix() * points);
  moved.colwise() += Eigen::Vector3d(1, 2, 3);
  EXPECT_LT(AlignedDistances(points, moved).maxCoeff(), 1e-12);
  // One of many that is off, in the units of the second.
  points = Eigen::Matrix3Xd::Random(3, 1000);
  moved = 2.5 * points;
  moved(0, 7) += 0.01;
  const Eigen::VectorXd distances = AlignedDistances(points, moved);
  EXPECT_NEAR(distances(7), 0.01, 1e-4);
  EXPECT_LT(distances(8), 1e-4);
}

}  // namespace
}  // namespace nre
