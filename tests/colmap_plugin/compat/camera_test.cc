#include "colmap_plugin/compat/camera.h"

#include <limits>
#include <random>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nre/error.h"

namespace nre {
namespace {

using testing::HasSubstr;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Plausible values by the names in the model's description.
std::vector<double> PlausibleParams(const CameraModelInfo& model) {
  std::vector<double> params;
  std::istringstream names(model.params_info);
  for (std::string name; std::getline(names, name, ',');) {
    name.erase(0, name.find_first_not_of(' '));
    if (name[0] == 'f') {
      params.push_back(500.0 + 10.0 * params.size());
    } else if (name == "cx" || name == "cy") {
      params.push_back(name == "cx" ? 330.0 : 235.0);
    } else if (name == "omega") {
      params.push_back(0.9);
    } else if (name == "alpha" || name == "beta") {
      params.push_back(name == "alpha" ? 0.6 : 1.1);
    } else if (name == "w" || name == "h") {
      params.push_back(name == "w" ? 640.0 : 480.0);
    } else {
      params.push_back(0.01 - 0.003 * (params.size() % 4));
    }
  }
  return params;
}

class AllCameraModels : public testing::TestWithParam<CameraModelInfo> {
 protected:
  AllCameraModels()
      : camera_(CreateCamera(MakeColmapCamera(
            GetParam().name, 640, 480, PlausibleParams(GetParam())))) {}

  std::unique_ptr<Camera> camera_;
};

std::vector<Eigen::Vector3d> RandomPoints(int count) {
  std::mt19937 engine(3);
  std::uniform_real_distribution<double> offset(-0.5, 0.5);
  std::uniform_real_distribution<double> depth(0.5, 20.0);
  std::vector<Eigen::Vector3d> points;
  for (int i = 0; i < count; ++i) {
    points.push_back(depth(engine) *
                     Eigen::Vector3d(offset(engine), offset(engine), 1.0));
  }
  return points;
}

TEST_P(AllCameraModels, JacobianAgreesWithDifferences) {
  for (const Eigen::Vector3d& point : RandomPoints(50)) {
    Eigen::Vector2d xy;
    Eigen::Matrix<double, 2, 3> jacobian;
    ASSERT_TRUE(camera_->Project(point, &xy, &jacobian));
    const double step = 1e-6 * point.z();
    for (int i = 0; i < 3; ++i) {
      Eigen::Vector2d plus;
      Eigen::Vector2d minus;
      ASSERT_TRUE(camera_->Project(
          point + step * Eigen::Vector3d::Unit(i), &plus, nullptr));
      ASSERT_TRUE(camera_->Project(
          point - step * Eigen::Vector3d::Unit(i), &minus, nullptr));
      const Eigen::Vector2d difference = (plus - minus) / (2.0 * step);
      EXPECT_NEAR((jacobian.col(i) - difference).norm(), 0.0, 1e-3)
          << GetParam().name << " " << point.transpose();
    }
  }
}

TEST_P(AllCameraModels, ProjectsAsColmapAndTheSameWithAndWithoutJacobian) {
  const colmap::Camera colmap_camera =
      MakeColmapCamera(GetParam().name, 640, 480, PlausibleParams(GetParam()));
  for (const Eigen::Vector3d& point : RandomPoints(20)) {
    Eigen::Vector2d xy;
    Eigen::Vector2d xy_with_jacobian;
    Eigen::Matrix<double, 2, 3> jacobian;
    ASSERT_TRUE(camera_->Project(point, &xy, nullptr));
    ASSERT_TRUE(camera_->Project(point, &xy_with_jacobian, &jacobian));
    EXPECT_NEAR((xy - xy_with_jacobian).norm(), 0.0, 1e-9);
#if NRE_COLMAP_VERSION < 400
    const Eigen::Vector2d expected =
        colmap_camera.WorldToImage(point.hnormalized());
#else
    const Eigen::Vector2d expected = *colmap_camera.ImgFromCam(point);
#endif
    EXPECT_NEAR((xy - expected).norm(), 0.0, 1e-9);
  }
}

TEST_P(AllCameraModels, UnprojectInvertsProject) {
  for (const Eigen::Vector3d& point : RandomPoints(50)) {
    Eigen::Vector2d xy;
    Eigen::Vector3d bearing;
    ASSERT_TRUE(camera_->Project(point, &xy, nullptr));
    ASSERT_TRUE(camera_->Unproject(xy, &bearing));
    EXPECT_NEAR((bearing - point.normalized()).norm(), 0.0, 1e-5);
  }
}

TEST_P(AllCameraModels, PointsWithoutAnImageAreRefused) {
  Eigen::Vector2d xy;
  Eigen::Matrix<double, 2, 3> jacobian;
  EXPECT_FALSE(camera_->Project(Eigen::Vector3d::Zero(), &xy, nullptr));
  EXPECT_FALSE(camera_->Project({kNan, 0, 1}, &xy, nullptr));
  EXPECT_FALSE(camera_->Project({kNan, 0, 1}, &xy, &jacobian));
  EXPECT_FALSE(camera_->Project({0, 0, kNan}, &xy, &jacobian));
  EXPECT_FALSE(camera_->Project({kInf, 0, 1}, &xy, &jacobian));
  if (GetParam().name != "EQUIRECTANGULAR") {  // sees everything
    EXPECT_FALSE(camera_->Project({0.1, 0.2, -1}, &xy, nullptr));
    EXPECT_FALSE(camera_->Project({0.1, 0.2, -1}, &xy, &jacobian));
    EXPECT_FALSE(camera_->Project({0.1, 0.2, 0}, &xy, &jacobian));
  }
  Eigen::Vector3d bearing;
  EXPECT_FALSE(camera_->Unproject({kNan, 10}, &bearing));
}

// What ScaledCamera relies on.
TEST_P(AllCameraModels, AnotherFocalLengthScalesTheImage) {
  const colmap::Camera camera =
      MakeColmapCamera(GetParam().name, 640, 480, PlausibleParams(GetParam()));
  if (!HasFocalLength(camera)) {
    EXPECT_EQ(GetParam().name, "EQUIRECTANGULAR");
    return;
  }
  const std::unique_ptr<Camera> expected =
      CreateCamera(ScaleFocalLength(camera, 1.6));
  const ScaledCamera scaled(*camera_, 1.6);
  EXPECT_NEAR(scaled.MeanFocalLength(), expected->MeanFocalLength(), 1e-9);
  for (const Eigen::Vector3d& point : RandomPoints(50)) {
    Eigen::Vector2d xy, expected_xy;
    Eigen::Matrix<double, 2, 3> jacobian, expected_jacobian;
    ASSERT_TRUE(scaled.Project(point, &xy, &jacobian));
    ASSERT_TRUE(expected->Project(point, &expected_xy, &expected_jacobian));
    EXPECT_LT((xy - expected_xy).norm(), 1e-8);
    EXPECT_LT((jacobian - expected_jacobian).norm(),
              1e-8 * expected_jacobian.norm());
  }
}

TEST_P(AllCameraModels, FocalLengthMayBeMissing) {
  const auto make = [&](const std::vector<double>& params, bool* unknown) {
    return MakeColmapCamera(GetParam().name, 640, 480, params, unknown);
  };
  bool unknown = true;
  const std::vector<double> params = PlausibleParams(GetParam());
  const colmap::Camera known = make(params, &unknown);
  EXPECT_FALSE(unknown);
  EXPECT_EQ(CameraParams(known), params);
  if (!HasFocalLength(known)) {
    EXPECT_THROW(make({}, &unknown), InputError);
    return;
  }
  const colmap::Camera guess = make({}, &unknown);
  EXPECT_TRUE(unknown);
  EXPECT_NEAR(CreateCamera(guess)->MeanFocalLength(), 1.2 * 640, 1e-9);
  EXPECT_EQ(PrincipalPoint(*CreateCamera(guess)), Eigen::Vector2d(320, 240));
  const colmap::Camera zero =
      make(CameraParams(ScaleFocalLength(known, 0.0)), &unknown);
  EXPECT_TRUE(unknown);
  EXPECT_NEAR(CreateCamera(zero)->MeanFocalLength(), 1.2 * 640, 1e-9);
  EXPECT_EQ(CameraParams(zero).back(), params.back());
}

TEST_P(AllCameraModels, WrongNumberOfParametersIsRefused) {
  std::vector<double> params = PlausibleParams(GetParam());
  params.pop_back();
  EXPECT_THROW(MakeColmapCamera(GetParam().name, 640, 480, params), InputError);
}

INSTANTIATE_TEST_SUITE_P(
    Camera,
    AllCameraModels,
    testing::ValuesIn(CameraModels()),
    [](const testing::TestParamInfo<CameraModelInfo>& info) {
      return info.param.name;
    });

TEST(MakeColmapCamera, KeepsWhatItIsGiven) {
  const colmap::Camera camera =
      MakeColmapCamera("OPENCV", 640, 480, {500, 510, 320, 240, 1, 2, 3, 4});
  EXPECT_EQ(CameraWidth(camera), 640);
  EXPECT_EQ(CameraHeight(camera), 480);
  EXPECT_EQ(CameraModelIdOf(camera), 4);
  EXPECT_THAT(CameraParams(camera),
              testing::ElementsAre(500, 510, 320, 240, 1, 2, 3, 4));
  EXPECT_DOUBLE_EQ(CreateCamera(camera)->MeanFocalLength(), 505.0);
  EXPECT_EQ(CreateCamera(camera)->Width(), 640);
  EXPECT_EQ(CreateCamera(camera)->Height(), 480);
}

std::string ErrorOf(const std::string& model,
                    int width,
                    const std::vector<double>& params) {
  try {
    MakeColmapCamera(model, width, 480, params);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(MakeColmapCamera, SaysWhatIsWrong) {
  EXPECT_THAT(ErrorOf("PINHOL", 640, {500, 500, 320, 240}),
              testing::AllOf(HasSubstr("PINHOL"), HasSubstr("OPENCV")));
  EXPECT_THAT(ErrorOf("PINHOLE", 640, {500, 320, 240}),
              HasSubstr("fx, fy, cx, cy"));
  EXPECT_THAT(ErrorOf("PINHOLE", 0, {500, 500, 320, 240}), HasSubstr("0x480"));
  EXPECT_THAT(ErrorOf("PINHOLE", 640, {500, kNan, 320, 240}),
              HasSubstr("not finite"));
  EXPECT_THAT(ErrorOf("PINHOLE", 640, {500, 0, 320, 240}),
              HasSubstr("focal length"));
  EXPECT_THAT(ErrorOf("SIMPLE_RADIAL", 640, {-500, 320, 240, 0}),
              HasSubstr("focal length"));
}

}  // namespace
}  // namespace nre
