#include "s2d/keypoint_merging.h"

#include <algorithm>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "nre/error.h"

namespace nre {
namespace {

MergingOptions Radii(double snap, double merge) {
  MergingOptions options;
  options.snap_radius_px = snap;
  options.merge_radius_px = merge;
  return options;
}

TEST(KeypointMergingTest, SnapsToTheNearestExistingKeypoint) {
  const Eigen::Matrix2Xd existing =
      (Eigen::Matrix2d() << 10.0, 12.0, 10.0, 10.0).finished();
  const MergedKeypoints merged = MergeDetections(
      existing,
      {{{10.9, 10.0}, 1.0f}, {{11.1, 10.0}, 1.0f}, {{10.0, 11.6}, 1.0f}},
      Radii(1.5, 2.0));
  EXPECT_EQ(merged.keypoint_of_detection, (std::vector<size_t>{0, 1, 2}));
  ASSERT_EQ(merged.keypoints.cols(), 3);
  EXPECT_EQ(merged.keypoints.col(0), existing.col(0));
  EXPECT_EQ(merged.keypoints.col(1), existing.col(1));
  EXPECT_NEAR((merged.keypoints.col(2) - Eigen::Vector2d(10.0, 11.6)).norm(),
              0.0,
              1e-6);
}

TEST(KeypointMergingTest, MergesAroundTheBestAndTakesTheWeightedMean) {
  // A chain: the outer ones are too far from each other, and the best one, in
  // the middle, takes both.
  const MergedKeypoints merged = MergeDetections(
      {},
      {{{0.0, 5.0}, 1.0f}, {{1.5, 5.0}, 2.0f}, {{3.0, 5.0}, 1.0f}},
      Radii(1.0, 2.0));
  EXPECT_EQ(merged.keypoint_of_detection, (std::vector<size_t>{0, 0, 0}));
  EXPECT_NEAR(merged.keypoints.col(0).x(), (0.0 + 2.0 * 1.5 + 3.0) / 4.0, 1e-6);
  // With the best at one end, the other end is a keypoint of its own.
  const MergedKeypoints apart = MergeDetections(
      {},
      {{{0.0, 5.0}, 3.0f}, {{1.5, 5.0}, 2.0f}, {{3.0, 5.0}, 1.0f}},
      Radii(1.0, 2.0));
  EXPECT_EQ(apart.keypoint_of_detection, (std::vector<size_t>{0, 0, 1}));
}

// Against all pairs, and in any order.
TEST(KeypointMergingTest, IsWhatComparingAllPairsGives) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> place(-20.0, 60.0);
  Eigen::Matrix2Xd existing(2, 100);
  for (double& coordinate : existing.reshaped()) coordinate = place(random);
  std::vector<Detection> detections(800);
  for (size_t i = 0; i < detections.size(); ++i) {
    detections[i] = {{place(random), place(random)},
                     static_cast<float>(1 + i * 7 % 800)};
  }
  const MergingOptions options = Radii(1.5, 2.5);
  const MergedKeypoints merged = MergeDetections(existing, detections, options);

  std::vector<Detection> sorted = detections;
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.score > b.score;
  });
  std::vector<Eigen::Vector2d> centers;
  for (const Detection& detection : sorted) {
    const auto within = [&](double radius) {
      return [&detection, radius](const Eigen::Vector2d& xy) {
        return (xy - detection.xy).norm() <= radius;
      };
    };
    if (std::none_of(existing.colwise().begin(),
                     existing.colwise().end(),
                     within(1.5)) &&
        std::none_of(centers.begin(), centers.end(), within(2.5))) {
      centers.push_back(detection.xy);
    }
  }
  EXPECT_EQ(merged.keypoints.cols(), existing.cols() + centers.size());
  EXPECT_GT(centers.size(), 50);

  std::vector<Detection> reversed(detections.rbegin(), detections.rend());
  const MergedKeypoints again = MergeDetections(existing, reversed, options);
  ASSERT_EQ(again.keypoints.cols(), merged.keypoints.cols());
  for (Eigen::Index i = 0; i < merged.keypoints.cols(); ++i) {
    EXPECT_NEAR(
        (again.keypoints.col(i) - merged.keypoints.col(i)).norm(), 0.0, 1e-9);
  }
  for (size_t i = 0; i < detections.size(); ++i) {
    EXPECT_EQ(again.keypoint_of_detection[detections.size() - 1 - i],
              merged.keypoint_of_detection[i]);
  }
}

TEST(KeypointMergingTest, ZeroRadiiMergeOnlyWhatIsEqual) {
  const MergedKeypoints merged = MergeDetections(
      Eigen::Vector2d(1.0, 1.0),
      {{{1.0, 1.0}, 1.0f}, {{2.0, 2.0}, 1.0f}, {{2.0, 2.0}, 1.0f}},
      Radii(0.0, 0.0));
  EXPECT_EQ(merged.keypoint_of_detection, (std::vector<size_t>{0, 1, 1}));
}

TEST(KeypointMergingTest, KeypointsThatAreNowhere) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  Eigen::Matrix2Xd existing(2, 3);
  existing << kNan, 1e300, 1.0, 0.0, -1e300, 1.0;
  const MergedKeypoints merged =
      MergeDetections(existing, {{{1.0, 1.2}, 1.0f}}, Radii(1.0, 1.0));
  EXPECT_EQ(merged.keypoint_of_detection, (std::vector<size_t>{2}));
}

TEST(KeypointMergingTest, InvalidOptions) {
  EXPECT_THROW(MergeDetections({}, {}, Radii(-1.0, 1.0)), InputError);
  EXPECT_EQ(MergeDetections({}, {}, Radii(1.0, 1.0)).keypoints.cols(), 0);
}

}  // namespace
}  // namespace nre
