#include "scripts/benchmark/epipolar_maps.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <Eigen/Geometry>
#include <Eigen/LU>
#include <gtest/gtest.h>

#include "tests/testing/synthetic_features.h"

namespace nre {
namespace {

constexpr double kFocalLength = 300.0;

Eigen::Matrix3d Intrinsics() {
  Eigen::Matrix3d K;
  K << kFocalLength, 0.0, 160.0, 0.0, kFocalLength, 120.0, 0.0, 0.0, 1.0;
  return K;
}

PinholeCamera MakeCamera() {
  return PinholeCamera(320, 240, kFocalLength, kFocalLength, 160.0, 120.0);
}

// Aside, and turned a little.
Rigid3d Sideways() {
  return {Eigen::Quaterniond(Eigen::AngleAxisd(
              0.1, Eigen::Vector3d(0.3, 1.0, 0.2).normalized())),
          Eigen::Vector3d(-1.0, 0.2, 0.1)};
}

// The line l = F x with unit normal.
Eigen::Vector3d LineByFundamentalMatrix(const Rigid3d& pose,
                                        const Eigen::Vector2d& xy) {
  Eigen::Matrix3d cross;
  const Eigen::Vector3d& t = pose.translation;
  cross << 0.0, -t.z(), t.y(), t.z(), 0.0, -t.x(), -t.y(), t.x(), 0.0;
  const Eigen::Matrix3d inverse = Intrinsics().inverse();
  const Eigen::Vector3d line = inverse.transpose() * cross *
                               pose.rotation.toRotationMatrix() * inverse *
                               xy.homogeneous();
  return line / line.head<2>().norm();
}

TEST(EpipolarLine, IsThatOfTheFundamentalMatrixAndHasAllPoints) {
  const PinholeCamera camera = MakeCamera();
  const Rigid3d pose = Sideways();
  Random random(1);
  int num_seen = 0;
  for (int i = 0; i < 200; ++i) {
    const Eigen::Vector3d point(random.Uniform(-2.0, 2.0),
                                random.Uniform(-2.0, 2.0),
                                random.Uniform(1.0, 20.0));
    Eigen::Vector2d xy1, xy2;
    if (!camera.Project(point, &xy1, nullptr) ||
        !camera.Project(pose * point, &xy2, nullptr) || xy2.x() < 0.0 ||
        xy2.y() < 0.0 || xy2.x() > 320.0 || xy2.y() > 240.0) {
      continue;
    }
    ++num_seen;
    const Eigen::Matrix2Xd line = EpipolarLine(camera, camera, pose, xy1);
    ASSERT_GT(line.cols(), 0);
    EXPECT_LT((line.colwise() - xy2).colwise().norm().minCoeff(), 0.6);
    const Eigen::Vector3d expected = LineByFundamentalMatrix(pose, xy1);
    for (const auto& xy : line.colwise()) {
      EXPECT_NEAR(expected.dot(xy.homogeneous()), 0.0, 1e-6);
    }
  }
  EXPECT_GT(num_seen, 50);
}

TEST(EpipolarLine, EndsAtEpipoleAndVanishingPoint) {
  // Forwards: the epipole is in the picture's middle, and what is seen right
  // of it stays there.
  const PinholeCamera camera = MakeCamera();
  Rigid3d forwards;
  forwards.translation = Eigen::Vector3d(0.0, 0.0, -1.0);
  const Eigen::Vector2d xy(200.0, 120.0);
  const Eigen::Matrix2Xd line = EpipolarLine(camera, camera, forwards, xy);
  ASSERT_GT(line.cols(), 0);
  EXPECT_NEAR(line.row(0).minCoeff(), 200.0, 1.0);
  EXPECT_NEAR(line.row(0).maxCoeff(), 320.0, 1.0);
  // Behind the query nothing is seen.
  Rigid3d around;
  around.rotation = Eigen::AngleAxisd(M_PI, Eigen::Vector3d::UnitY());
  around.translation = Eigen::Vector3d(0.0, 0.0, -1.0);
  EXPECT_EQ(EpipolarLine(camera, camera, around, xy).cols(), 0);
}

class EpipolarMapsTest : public testing::Test {
 protected:
  EpipolarMapsTest() : random_(2) {
    const MapFromImage map = {{0.125, 0.125}, {-0.5, -0.5}};
    features_.map1 = RandomFeatures(40, 30, 24, map, &random_);
    features_.map2 = RandomFeatures(40, 30, 24, map, &random_);
    point_.xy = CellCenter(20, 15);
    const PinholeCamera camera = MakeCamera();
    point_.line = EpipolarLine(camera, camera, Sideways(), point_.xy);
  }

  Eigen::Vector2d CellCenter(int x, int y) const {
    return features_.map1.map_from_image.ToImage(Eigen::Vector2d(x, y));
  }

  double Distance(int x, int y) const {
    return std::abs(LineByFundamentalMatrix(Sideways(), point_.xy)
                        .dot(CellCenter(x, y).homogeneous()));
  }

  // Puts the descriptor of the point at a cell of the query.
  void PutAt(int x, int y) {
    float* to = &features_.map2.data[24 * (y * 40 + x)];
    std::copy_n(features_.map1.Descriptor(20, 15), 24, to);
  }

  Random random_;
  PairFeatures features_;
  EpipolarPoint point_;
};

TEST_F(EpipolarMapsTest, ErrorIsTheBestCellsDistanceFromTheLine) {
  // The line ends at the vanishing point, away from these cells.
  const PairFeatures features = features_;
  for (const int y : {3, 9, 22}) {
    features_ = features;
    const int x = 12;
    PutAt(x, y);
    const EpipolarStatistics statistics =
        EvaluateEpipolar({point_}, features_, 60.0, 8.0);
    EXPECT_NEAR(statistics.errors.at(0), Distance(x, y) / 8.0, 0.05) << y;
  }
}

TEST_F(EpipolarMapsTest, ChanceIsTheShareOfCellsNearTheLine) {
  int num_1 = 0, num_2 = 0;
  for (int y = 0; y < 30; ++y) {
    for (int x = 0; x < 40; ++x) {
      // A part of the line, left of the vanishing point.
      const Eigen::Vector2d xy = CellCenter(x, y);
      const double distance =
          (point_.line.colwise() - xy).colwise().norm().minCoeff();
      num_1 += distance <= 8.0;
      num_2 += distance <= 16.0;
    }
  }
  const EpipolarStatistics statistics =
      EvaluateEpipolar({point_}, features_, 60.0, 8.0);
  EXPECT_NEAR(statistics.chance_1, num_1 / 1200.0, 1e-9);
  EXPECT_NEAR(statistics.chance_2, num_2 / 1200.0, 1e-9);
  EXPECT_NEAR(statistics.max_nre, -std::log(num_1 / 1200.0), 1e-9);
}

TEST_F(EpipolarMapsTest, NreIsOfTheProbabilityNearTheLine) {
  // A map that says nothing costs the most.
  EpipolarStatistics statistics =
      EvaluateEpipolar({point_}, features_, 1e-6, 8.0);
  EXPECT_NEAR(statistics.nre, statistics.max_nre, 1e-3);
  EXPECT_GT(statistics.nre, 1.0);
  // One that is sure and right costs nothing.
  int y = 0;
  while (Distance(12, y) > 4.1) ++y;
  PutAt(12, y);
  statistics = EvaluateEpipolar({point_}, features_, 200.0, 8.0);
  EXPECT_NEAR(statistics.nre, 0.0, 1e-3);
}

TEST_F(EpipolarMapsTest, PointsWithoutDescriptorCostTheMost) {
  point_.xy = Eigen::Vector2d(-100.0, 0.0);
  const EpipolarStatistics statistics =
      EvaluateEpipolar({point_}, features_, 60.0, 8.0);
  EXPECT_EQ(statistics.nre, statistics.max_nre);
  EXPECT_TRUE(std::isinf(statistics.errors.at(0)));
}

}  // namespace
}  // namespace nre
