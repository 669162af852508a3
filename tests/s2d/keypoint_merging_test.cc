#include "s2d/keypoint_merging.h"

#include <algorithm>
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
  const std::vector<Eigen::Vector2d> existing = {{10.0, 10.0}, {12.0, 10.0}};
  const MergedKeypoints merged = MergeDetections(
      existing,
      {{{10.9, 10.0}, 1.0f}, {{11.1, 10.0}, 1.0f}, {{10.0, 11.6}, 1.0f}},
      Radii(1.5, 2.0));
  EXPECT_EQ(merged.keypoint_of_detection, (std::vector<size_t>{0, 1, 2}));
  ASSERT_EQ(merged.keypoints.size(), 3);
  EXPECT_EQ(merged.keypoints[0], existing[0]);
  EXPECT_EQ(merged.keypoints[1], existing[1]);
  EXPECT_NEAR(
      (merged.keypoints[2] - Eigen::Vector2d(10.0, 11.6)).norm(), 0.0, 1e-6);
}

TEST(KeypointMergingTest, MergesAroundTheBestAndTakesTheWeightedMean) {
  // A chain: the outer ones are too far from each other, and the best one, in
  // the middle, takes both.
  const MergedKeypoints merged = MergeDetections(
      {},
      {{{0.0, 5.0}, 1.0f}, {{1.5, 5.0}, 2.0f}, {{3.0, 5.0}, 1.0f}},
      Radii(1.0, 2.0));
  EXPECT_EQ(merged.keypoint_of_detection, (std::vector<size_t>{0, 0, 0}));
  EXPECT_NEAR(merged.keypoints[0].x(), (0.0 + 2.0 * 1.5 + 3.0) / 4.0, 1e-6);
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
  std::vector<Eigen::Vector2d> existing(100);
  for (Eigen::Vector2d& xy : existing) xy = {place(random), place(random)};
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
    if (std::none_of(existing.begin(), existing.end(), within(1.5)) &&
        std::none_of(centers.begin(), centers.end(), within(2.5))) {
      centers.push_back(detection.xy);
    }
  }
  EXPECT_EQ(merged.keypoints.size(), existing.size() + centers.size());
  EXPECT_GT(centers.size(), 50);

  std::vector<Detection> reversed(detections.rbegin(), detections.rend());
  const MergedKeypoints again = MergeDetections(existing, reversed, options);
  ASSERT_EQ(again.keypoints.size(), merged.keypoints.size());
  for (size_t i = 0; i < merged.keypoints.size(); ++i) {
    EXPECT_NEAR((again.keypoints[i] - merged.keypoints[i]).norm(), 0.0, 1e-9);
  }
  for (size_t i = 0; i < detections.size(); ++i) {
    EXPECT_EQ(again.keypoint_of_detection[detections.size() - 1 - i],
              merged.keypoint_of_detection[i]);
  }
}

TEST(KeypointMergingTest, ZeroRadiiMergeOnlyWhatIsEqual) {
  const MergedKeypoints merged = MergeDetections(
      {{1.0, 1.0}},
      {{{1.0, 1.0}, 1.0f}, {{2.0, 2.0}, 1.0f}, {{2.0, 2.0}, 1.0f}},
      Radii(0.0, 0.0));
  EXPECT_EQ(merged.keypoint_of_detection, (std::vector<size_t>{0, 1, 1}));
}

TEST(KeypointMergingTest, InvalidOptions) {
  EXPECT_THROW(MergeDetections({}, {}, Radii(-1.0, 1.0)), InputError);
  EXPECT_TRUE(MergeDetections({}, {}, Radii(1.0, 1.0)).keypoints.empty());
}

}  // namespace
}  // namespace nre
