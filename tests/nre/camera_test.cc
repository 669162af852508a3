#include "nre/camera.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

const PinholeCamera kCamera(640, 480, 500.0, 520.0, 310.0, 250.0);

Eigen::Vector3d RandomPointInFront(Random* random) {
  Eigen::Vector3d x = random->Uniform3(-3.0, 3.0);
  x.z() = random->Uniform(0.5, 10.0);
  return x;
}

void ExpectSameCamera(const Camera& camera, const Camera& expected) {
  EXPECT_EQ(camera.Width(), expected.Width());
  EXPECT_EQ(camera.Height(), expected.Height());
  EXPECT_DOUBLE_EQ(camera.MeanFocalLength(), expected.MeanFocalLength());
  Random random(3);
  for (int i = 0; i < 100; ++i) {
    const Eigen::Vector3d x = RandomPointInFront(&random);
    Eigen::Vector2d xy, expected_xy;
    Eigen::Matrix<double, 2, 3> jacobian, expected_jacobian;
    ASSERT_TRUE(camera.Project(x, &xy, &jacobian));
    ASSERT_TRUE(expected.Project(x, &expected_xy, &expected_jacobian));
    EXPECT_LT((xy - expected_xy).norm(), 1e-9);
    EXPECT_LT((jacobian - expected_jacobian).norm(), 1e-9);
    Eigen::Vector3d bearing;
    ASSERT_TRUE(camera.Unproject(xy, &bearing));
    EXPECT_LT((bearing - x.normalized()).norm(), 1e-12);
  }
  Eigen::Vector2d xy;
  EXPECT_FALSE(camera.Project({0.1, 0.2, -1.0}, &xy, nullptr));
}

TEST(PinholeCamera, ProjectsAsItsIntrinsicsSay) {
  Eigen::Vector2d xy;
  ASSERT_TRUE(kCamera.Project({0.4, -0.6, 2.0}, &xy, nullptr));
  EXPECT_NEAR(xy.x(), 500.0 * 0.2 + 310.0, 1e-12);
  EXPECT_NEAR(xy.y(), 520.0 * -0.3 + 250.0, 1e-12);
  EXPECT_EQ(kCamera.MeanFocalLength(), 510.0);
}

TEST(PinholeCamera, JacobianIsThatOfTheProjection) {
  Random random(1);
  for (int i = 0; i < 100; ++i) {
    const Eigen::Vector3d x = RandomPointInFront(&random);
    Eigen::Vector2d xy;
    Eigen::Matrix<double, 2, 3> jacobian;
    ASSERT_TRUE(kCamera.Project(x, &xy, &jacobian));
    for (int k = 0; k < 3; ++k) {
      const Eigen::Vector3d step = 1e-5 * Eigen::Vector3d::Unit(k);
      Eigen::Vector2d after, before;
      ASSERT_TRUE(kCamera.Project(x + step, &after, nullptr));
      ASSERT_TRUE(kCamera.Project(x - step, &before, nullptr));
      EXPECT_LT((jacobian.col(k) - (after - before) / 2e-5).norm(),
                1e-6 * (1.0 + jacobian.norm()));
    }
  }
}

TEST(PinholeCamera, UnprojectInvertsProject) {
  Random random(2);
  for (int i = 0; i < 100; ++i) {
    const Eigen::Vector2d xy = random.Uniform2(-100.0, 800.0);
    Eigen::Vector3d bearing;
    ASSERT_TRUE(kCamera.Unproject(xy, &bearing));
    EXPECT_NEAR(bearing.norm(), 1.0, 1e-12);
    Eigen::Vector2d back;
    ASSERT_TRUE(kCamera.Project(7.0 * bearing, &back, nullptr));
    EXPECT_LT((back - xy).norm(), 1e-9);
  }
}

TEST(PinholeCamera, RefusesPointsWithoutAnImage) {
  const double kNaN = std::numeric_limits<double>::quiet_NaN();
  const double kInf = std::numeric_limits<double>::infinity();
  Eigen::Vector2d xy;
  for (const Eigen::Vector3d& x : {Eigen::Vector3d(1.0, 1.0, 0.0),
                                   Eigen::Vector3d(1.0, 1.0, -2.0),
                                   Eigen::Vector3d(0.0, 0.0, kNaN),
                                   Eigen::Vector3d(kNaN, 0.0, 1.0),
                                   Eigen::Vector3d(0.0, kInf, 1.0),
                                   Eigen::Vector3d(0.0, kInf, kInf),
                                   Eigen::Vector3d(1e300, 0.0, 1e-10)}) {
    EXPECT_FALSE(kCamera.Project(x, &xy, nullptr)) << x.transpose();
  }
}

TEST(CorrectedCamera, IsTheCameraWithAnotherFocalLength) {
  const CorrectedCamera camera(kCamera, {1.7});
  ExpectSameCamera(camera,
                   PinholeCamera(640, 480, 1.7 * 500.0, 1.7 * 520.0, 310, 250));
}

constexpr double kRadial = -0.08;
const CameraCorrection kCorrection = {1.2, {13.0, -7.0}, kRadial};

// That of COLMAP's SIMPLE_RADIAL, by hand.
TEST(CorrectedCamera, IsTheCameraWithAnotherLens) {
  const PinholeCamera given(640, 480, 500.0, 500.0, 310.0, 250.0);
  const CorrectedCamera camera(given, kCorrection);
  Random random(5);
  for (int i = 0; i < 100; ++i) {
    const Eigen::Vector3d x = RandomPointInFront(&random);
    const Eigen::Vector2d uv = x.hnormalized();
    const double distortion = kRadial * uv.squaredNorm();
    Eigen::Vector2d xy;
    if (1.0 + 3.0 * distortion <= 0.0) {
      // Farther out, the picture would turn back.
      EXPECT_FALSE(camera.Project(x, &xy, nullptr));
      continue;
    }
    ASSERT_TRUE(camera.Project(x, &xy, nullptr));
    const Eigen::Vector2d expected =
        600.0 * (1.0 + distortion) * uv + Eigen::Vector2d(323.0, 243.0);
    EXPECT_LT((xy - expected).norm(), 1e-9 * (1.0 + expected.norm()));
    Eigen::Vector3d bearing;
    ASSERT_TRUE(camera.Unproject(xy, &bearing));
    EXPECT_LT((bearing - x.normalized()).norm(), 1e-9);
    double xs, ys;
    camera.ProjectMany(&x.x(), &x.y(), &x.z(), 1, &xs, &ys);
    EXPECT_NEAR(xs, xy.x(), 1e-9);
    EXPECT_NEAR(ys, xy.y(), 1e-9);
  }
}

TEST(CorrectedCamera, DerivativesAreDifferences) {
  const CorrectedCamera camera(kCamera, kCorrection);
  Random random(6);
  for (int i = 0; i < 100; ++i) {
    const Eigen::Vector3d x = RandomPointInFront(&random);
    Eigen::Vector2d xy;
    Eigen::Matrix<double, 2, 3> jacobian;
    CorrectedCamera::ByCorrection by_correction;
    if (!camera.Project(x, &xy, &jacobian, &by_correction)) continue;
    const double tolerance = 1e-5 * (1.0 + jacobian.norm() + xy.norm());
    constexpr double kStep = 1e-6;
    for (int k = 0; k < 3; ++k) {
      Eigen::Vector2d after, before;
      const Eigen::Vector3d step = kStep * Eigen::Vector3d::Unit(k);
      ASSERT_TRUE(camera.Project(x + step, &after, nullptr));
      ASSERT_TRUE(camera.Project(x - step, &before, nullptr));
      EXPECT_LT((jacobian.col(k) - (after - before) / (2.0 * kStep)).norm(),
                tolerance);
    }
    for (int k = 0; k < 4; ++k) {
      const auto project = [&](double step) {
        CameraCorrection correction = kCorrection;
        if (k == 0) correction.focal_scale *= std::exp(step);
        if (k == 1 || k == 2) correction.shift[k - 1] += step;
        if (k == 3) correction.radial += step;
        Eigen::Vector2d position;
        EXPECT_TRUE(CorrectedCamera(kCamera, correction)
                        .Project(x, &position, nullptr));
        return position;
      };
      EXPECT_LT((by_correction.col(k) -
                 (project(kStep) - project(-kStep)) / (2.0 * kStep))
                    .norm(),
                tolerance);
    }
  }
}

TEST(FlippedCamera, IsTheCameraOfTheFlippedPicture) {
  ExpectSameCamera(FlippedCamera(kCamera),
                   PinholeCamera(640, 480, 500.0, 520.0, 640.0 - 310.0, 250.0));
}

// A row of pixels at the top stands on the right after a quarter turn.
TEST(TurnedCamera, IsTheCameraOfTheTurnedPicture) {
  const std::vector<PinholeCamera> expected = {
      kCamera,
      {480, 640, 520.0, 500.0, 480.0 - 250.0, 310.0},
      {640, 480, 500.0, 520.0, 640.0 - 310.0, 480.0 - 250.0},
      {480, 640, 520.0, 500.0, 250.0, 640.0 - 310.0}};
  for (int quarters = 0; quarters < 4; ++quarters) {
    SCOPED_TRACE(quarters);
    ExpectSameCamera(TurnedCamera(kCamera, quarters), expected[quarters]);
    ExpectSameCamera(TurnedCamera(kCamera, quarters - 4), expected[quarters]);
  }
}

TEST(PictureTurn, MovesWhatIsSeenWithThePixels) {
  Random random(7);
  for (int quarters = 0; quarters < 4; ++quarters) {
    const PictureTurn turn(quarters, kCamera.Width(), kCamera.Height());
    const TurnedCamera turned(kCamera, quarters);
    for (int i = 0; i < 20; ++i) {
      const Eigen::Vector3d x = RandomPointInFront(&random);
      Eigen::Vector2d xy, turned_xy;
      ASSERT_TRUE(kCamera.Project(x, &xy, nullptr));
      ASSERT_TRUE(turned.Project(turn.Rotation() * x, &turned_xy, nullptr));
      EXPECT_LT((turn * xy - turned_xy).norm(), 1e-9);
      EXPECT_LT((turn.Inverse() * turned_xy - xy).norm(), 1e-9);
    }
  }
}

// What has no ProjectMany() of its own.
class OtherCamera : public PinholeCamera {
 public:
  using PinholeCamera::PinholeCamera;

  void ProjectMany(const double* xs_in_cam,
                   const double* ys_in_cam,
                   const double* zs_in_cam,
                   int num,
                   double* xs,
                   double* ys) const override {
    Camera::ProjectMany(xs_in_cam, ys_in_cam, zs_in_cam, num, xs, ys);
  }
};

TEST(Camera, ProjectManyIsProject) {
  const OtherCamera other(640, 480, 500.0, 520.0, 310.0, 250.0);
  const double kNaN = std::numeric_limits<double>::quiet_NaN();
  Random random(3);
  constexpr int kNum = 1003;
  std::vector<double> x(kNum), y(kNum), z(kNum), u(kNum), v(kNum);
  for (int i = 0; i < kNum; ++i) {
    x[i] = random.Uniform(-5.0, 5.0);
    y[i] = random.Uniform(-5.0, 5.0);
    z[i] = random.Uniform(-3.0, 10.0);
  }
  z[5] = 0.0;
  z[6] = kNaN;
  x[7] = kNaN;
  y[8] = std::numeric_limits<double>::infinity();
  const CorrectedCamera scaled(kCamera, {1.7});
  const FlippedCamera flipped(kCamera);
  const TurnedCamera turned(kCamera, 1), turned_over(other, 2);
  for (const Camera* camera : std::vector<const Camera*>{
           &kCamera, &other, &scaled, &flipped, &turned, &turned_over}) {
    camera->ProjectMany(x.data(), y.data(), z.data(), kNum, u.data(), v.data());
    int num_seen = 0;
    for (int i = 0; i < kNum; ++i) {
      Eigen::Vector2d xy;
      if (camera->Project({x[i], y[i], z[i]}, &xy, nullptr)) {
        EXPECT_NEAR(u[i], xy.x(), 1e-12 * (1.0 + xy.norm()));
        EXPECT_NEAR(v[i], xy.y(), 1e-12 * (1.0 + xy.norm()));
        ++num_seen;
      } else {
        EXPECT_FALSE(std::isfinite(u[i]) && std::isfinite(v[i])) << i;
      }
    }
    EXPECT_GT(num_seen, kNum / 2);
    EXPECT_LT(num_seen, kNum);
  }
}

}  // namespace
}  // namespace nre
