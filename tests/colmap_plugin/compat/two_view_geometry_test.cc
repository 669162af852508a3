#include "colmap_plugin/compat/two_view_geometry.h"

#include <random>

#include <Eigen/Geometry>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "colmap_plugin/compat/camera.h"
#include "nre/error.h"

namespace nre {
namespace {

using testing::IsEmpty;

// Two views of random points, of whose matches every third is wrong.
class VerifyMatchesTest : public testing::Test {
 protected:
  VerifyMatchesTest() {
    std::mt19937 random(5);
    std::uniform_real_distribution<double> uniform(-1.0, 1.0);
    const Eigen::Quaterniond rotation(
        Eigen::AngleAxisd(0.2, Eigen::Vector3d(1, 2, 3).normalized()));
    const Eigen::Vector3d translation(1.0, 0.1, -0.2);
    cross_ << 0.0, -translation.z(), translation.y(), translation.z(), 0.0,
        -translation.x(), -translation.y(), translation.x(), 0.0;
    essential_ = cross_ * rotation.toRotationMatrix();
    for (uint32_t i = 0; i < 90; ++i) {
      const Eigen::Vector3d xyz(
          2.0 * uniform(random), 2.0 * uniform(random), 6.0 + uniform(random));
      keypoints1_.push_back(Project(xyz));
      keypoints2_.push_back(
          i % 3 == 0 ? Eigen::Vector2d(320.0 * (1.0 + uniform(random)),
                                       240.0 * (1.0 + uniform(random)))
                     : Project(rotation * xyz + translation));
      matches_.emplace_back(i, i);
    }
  }

  static Eigen::Vector2d Project(const Eigen::Vector3d& xyz) {
    return 500.0 * xyz.hnormalized() + Eigen::Vector2d(320.0, 240.0);
  }

  TwoViewGeometry Verify(const KeypointMatches& matches,
                         const VerificationOptions& options = {},
                         uint64_t seed = 1) const {
    return VerifyMatches(
        camera_, keypoints1_, camera_, keypoints2_, matches, options, seed);
  }

  const colmap::Camera camera_ =
      MakeColmapCamera("SIMPLE_PINHOLE", 640, 480, {500, 320, 240});
  std::vector<Eigen::Vector2d> keypoints1_;
  std::vector<Eigen::Vector2d> keypoints2_;
  KeypointMatches matches_;
  Eigen::Matrix3d cross_;
  Eigen::Matrix3d essential_;
};

TEST_F(VerifyMatchesTest, InliersAndEssentialMatrix) {
  const TwoViewGeometry geometry = Verify(matches_);
  size_t num_right = 0;
  for (const auto& [i, j] : geometry.inliers) {
    EXPECT_EQ(i, j);
    num_right += i % 3 != 0;
  }
  EXPECT_EQ(num_right, 60);
  // A wrong match may lie on its epipolar line.
  EXPECT_LE(geometry.inliers.size(), 65);
  EXPECT_EQ(geometry.config, 2);  // CALIBRATED
  ASSERT_TRUE(geometry.E.has_value());
  Eigen::Matrix3d estimate = geometry.E->normalized();
  if (estimate.cwiseProduct(essential_).sum() < 0.0) estimate = -estimate;
  // Of matches within 4 px, some of them wrong.
  EXPECT_LT((estimate - essential_.normalized()).norm(), 0.05);
  EXPECT_GT((estimate.transpose() - essential_.normalized()).norm(), 0.2);

  const TwoViewGeometry inverse = Inverse(geometry);
  EXPECT_EQ(*inverse.E, geometry.E->transpose());
  EXPECT_EQ(inverse.inliers.size(), geometry.inliers.size());
}

TEST_F(VerifyMatchesTest, AnUnknownFocalLengthGivesAFundamentalMatrix) {
  const TwoViewGeometry geometry = VerifyMatches(ScaleFocalLength(camera_, 1.3),
                                                 keypoints1_,
                                                 camera_,
                                                 keypoints2_,
                                                 matches_,
                                                 {},
                                                 1);
  EXPECT_EQ(geometry.config, 3);  // UNCALIBRATED
  EXPECT_TRUE(geometry.F.has_value());
  EXPECT_FALSE(geometry.E.has_value());
  EXPECT_GE(geometry.inliers.size(), 60);
}

TEST_F(VerifyMatchesTest, TooFewMatches) {
  const KeypointMatches few(matches_.begin(), matches_.begin() + 14);
  EXPECT_THAT(Verify(few).inliers, IsEmpty());
  KeypointMatches wrong;
  for (uint32_t i = 0; i < 90; ++i) {
    wrong.emplace_back(i, (7 * i + 11) % 90);
  }
  VerificationOptions options;
  options.max_error_px = 0.5;
  EXPECT_THAT(Verify(wrong, options).inliers, IsEmpty());
}

TEST_F(VerifyMatchesTest, TheSameSeedGivesTheSameResult) {
  KeypointMatches wrong = matches_;
  for (size_t i = 0; i < 40; ++i) {
    wrong.emplace_back(i, i + 7);
  }
  const TwoViewGeometry once = Verify(wrong, {}, 3);
  Verify(matches_, {}, 4);
  const TwoViewGeometry again = Verify(wrong, {}, 3);
  EXPECT_EQ(once.inliers, again.inliers);
  EXPECT_EQ(*once.E, *again.E);
}

TEST_F(VerifyMatchesTest, BadOptions) {
  VerificationOptions options;
  options.max_error_px = 0.0;
  EXPECT_THROW(Verify(matches_, options), InputError);
}

}  // namespace
}  // namespace nre
