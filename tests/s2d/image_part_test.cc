#include "s2d/image_part.h"

#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace nre {
namespace {

// A query that shows the pixels from (x, y) on of a reference of 640 x 480
// pixels and f = 500, with a focal length `zoom` times as long.
class Parts : public testing::Test {
 protected:
  static constexpr int kWidth = 112, kHeight = 80, kStride = 4;

  // `share` of the keypoints in view have their peak where they belong, two
  // cells off at most. All others have one too, anywhere but preferably in one
  // place, as where the query has the only structure that stands out.
  ImagePart Find(double x, double y, double zoom, double share) {
    return FindSeveral(x, y, zoom, share, 1).front();
  }

  std::vector<ImagePart> FindSeveral(
      double x, double y, double zoom, double share, int max_num_parts) {
    const PinholeCamera reference(640, 480, 500, 500, 320, 240);
    const PinholeCamera query(
        kWidth, kHeight, 500 * zoom, 500 * zoom, kWidth / 2, kHeight / 2);
    const int columns = kWidth / kStride, rows = kHeight / kStride;
    const MapFromImage map_from_image =
        MapFromImage::FromStride(Eigen::Vector2d::Constant(kStride),
                                 Eigen::Vector2d::Constant(0.5 * kStride),
                                 Eigen::Vector2d::Ones());
    SparseLossMaps maps({columns, rows, map_from_image});
    Eigen::Matrix2Xd keypoints(2, 2000);
    for (int i = 0; i < keypoints.cols(); ++i) {
      // More of them on the left.
      const double u = Uniform();
      keypoints.col(i) << 640.0 * u * u, 480.0 * Uniform();
      const Eigen::Vector2d xy =
          zoom * (keypoints.col(i) - Eigen::Vector2d(x, y));
      Eigen::Vector2d peak = map_from_image * xy + Jitter();
      const bool in_view = peak.x() >= 0 && peak.y() >= 0 &&
                           peak.x() < columns && peak.y() < rows;
      if (!in_view || Uniform() > share) {
        peak = Uniform() < 0.3
                   ? Eigen::Vector2d(20.0, 5.0)
                   : Eigen::Vector2d(columns * Uniform(), rows * Uniform());
      }
      std::vector<float> weights(rows * columns);
      weights[static_cast<int>(peak.y()) * columns +
              static_cast<int>(peak.x())] = 5.0f;
      maps.AddPoint(weights.data());
    }
    return FindParts(maps, keypoints, query, reference, max_num_parts);
  }

  double Uniform() { return (engine_() >> 11) * 0x1.0p-53; }

  Eigen::Vector2d Jitter() {
    return {4.0 * Uniform() - 2.0, 4.0 * Uniform() - 2.0};
  }

  std::mt19937_64 engine_{0};
};

TEST_F(Parts, AreAroundWhatTheQueryShows) {
  for (const double x : {80.0, 250.0, 400.0}) {
    const ImagePart part = Find(x, 180.0, 1.0, 0.7);
    EXPECT_NEAR(part.x, x - 14.0, 8.0);
    EXPECT_NEAR(part.y, 180.0 - 10.0, 8.0);
    EXPECT_NEAR(part.width, 140.0, 1.0);
    EXPECT_NEAR(part.height, 100.0, 1.0);
  }
}

TEST_F(Parts, OfAnotherFocalLength) {
  const ImagePart part = Find(300.0, 200.0, 2.0, 0.7);
  EXPECT_NEAR(part.x, 300.0 - 7.0, 4.0);
  EXPECT_NEAR(part.y, 200.0 - 5.0, 4.0);
  EXPECT_NEAR(part.width, 70.0, 1.0);
  EXPECT_NEAR(part.height, 50.0, 1.0);
}

TEST_F(Parts, EndAtTheBorder) {
  const ImagePart upper = Find(-30.0, -10.0, 1.0, 0.9);
  EXPECT_EQ(upper.x, 0);
  EXPECT_EQ(upper.y, 0);
  EXPECT_NEAR(upper.width, 140.0 - 44.0, 8.0);
  EXPECT_NEAR(upper.height, 100.0 - 20.0, 8.0);
  const ImagePart lower = Find(560.0, 420.0, 1.0, 0.9);
  EXPECT_EQ(lower.x + lower.width, 640);
  EXPECT_EQ(lower.y + lower.height, 480);
  EXPECT_NEAR(lower.x, 546.0, 8.0);
}

// Where few peaks are right, the part is among the likeliest.
TEST_F(Parts, AreTheLikeliestOnes) {
  const std::vector<ImagePart> parts = FindSeveral(250.0, 180.0, 1.0, 0.7, 4);
  ASSERT_EQ(parts.size(), 4);
  EXPECT_NEAR(parts[0].x, 236.0, 8.0);
  EXPECT_NEAR(parts[0].y, 170.0, 8.0);
  for (size_t i = 0; i < parts.size(); ++i) {
    for (size_t k = 0; k < i; ++k) {
      const Eigen::Vector2d a(parts[i].x + 0.5 * parts[i].width,
                              parts[i].y + 0.5 * parts[i].height);
      const Eigen::Vector2d b(parts[k].x + 0.5 * parts[k].width,
                              parts[k].y + 0.5 * parts[k].height);
      // Half the query, but for what the border cuts off.
      EXPECT_GT((a - b).cwiseAbs().maxCoeff(), 20.0);
    }
  }
  const ImagePart first = FindSeveral(250.0, 180.0, 1.0, 0.7, 1).front();
  EXPECT_NEAR(first.x, parts[0].x, 4.0);
}

TEST(PartInView, IsAroundWhatThePoseShows) {
  const PinholeCamera reference(640, 480, 500, 500, 320, 240);
  // The pixels [200, 300) x [150, 230) of the reference, at twice the size.
  const PinholeCamera query(200, 160, 1000, 1000, 240, 180);
  std::vector<Eigen::Vector3d> points;
  Eigen::Matrix2Xd keypoints(2, 20000);
  std::mt19937_64 engine(1);
  std::uniform_real_distribution<double> x(0.0, 640.0), y(0.0, 480.0);
  for (int i = 0; i < keypoints.cols(); ++i) {
    keypoints.col(i) << x(engine), y(engine);
    const Eigen::Vector2d ray =
        (keypoints.col(i) - Eigen::Vector2d(320, 240)) / 500.0;
    points.push_back(5.0 * ray.homogeneous());
  }
  const std::optional<ImagePart> part =
      PartInView(points, keypoints, query, Rigid3d(), reference);
  ASSERT_TRUE(part.has_value());
  EXPECT_NEAR(part->x, 200.0 - 12.5, 3.0);
  EXPECT_NEAR(part->y, 150.0 - 10.0, 3.0);
  EXPECT_NEAR(part->width, 125.0, 4.0);
  EXPECT_NEAR(part->height, 100.0, 4.0);

  Rigid3d away;
  away.translation.z() = -10.0;
  EXPECT_FALSE(PartInView(points, keypoints, query, away, reference));
}

// Some part is found, whatever there is.
TEST_F(Parts, OfNothing) {
  const PinholeCamera camera(64, 48, 60, 60, 32, 24);
  const SparseLossMaps maps({16, 12, MapFromImage()});
  const ImagePart part = FindParts(maps, {}, camera, camera, 3).front();
  EXPECT_GT(part.width, 0);
  EXPECT_GT(part.height, 0);
  EXPECT_LE(part.x + part.width, 64);
  EXPECT_LE(part.y + part.height, 48);
}

TEST(CutOut, HasThePixelsOfThePart) {
  Image image;
  image.width = 4;
  image.height = 3;
  for (int i = 0; i < 36; ++i) image.rgb.push_back(static_cast<uint8_t>(i));
  const Image crop = CutOut(image, {1, 1, 2, 2});
  EXPECT_EQ(crop.width, 2);
  EXPECT_EQ(crop.height, 2);
  EXPECT_EQ(
      crop.rgb,
      (std::vector<uint8_t>{15, 16, 17, 18, 19, 20, 27, 28, 29, 30, 31, 32}));
}

}  // namespace
}  // namespace nre
