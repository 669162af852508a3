#include "colmap_plugin/compat/camera.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <random>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nre/error.h"
#include "tests/testing/camera_trial.h"

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

bool IsDistorted(const CameraModelInfo& model) {
  return model.name != "SIMPLE_PINHOLE" && model.name != "PINHOLE" &&
         model.name != "EQUIRECTANGULAR";
}

// With a distortion of tens of pixels in the corners, where the names are those
// of polynomials; the others are strong already.
std::vector<double> StrongParams(const CameraModelInfo& model) {
  std::vector<double> params = PlausibleParams(model);
  std::istringstream names(model.params_info);
  size_t i = 0;
  for (std::string name; std::getline(names, name, ','); ++i) {
    name.erase(0, name.find_first_not_of(' '));
    if (name == "k" || name == "k1") {
      params[i] = -0.12;
    } else if (name == "k2") {
      params[i] = 0.03;
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

// Also where the distortion is largest.
TEST_P(AllCameraModels, JacobianAgreesWithDifferencesAtTheBorder) {
  int num_points = 0;
  for (const double x : {0.0, 80.0, 320.0, 600.0, 640.0}) {
    for (const double y : {0.0, 240.0, 480.0}) {
      Eigen::Vector3d bearing;
      if (!camera_->Unproject({x, y}, &bearing)) {
        continue;
      }
      ++num_points;
      Eigen::Vector2d xy;
      Eigen::Matrix<double, 2, 3> jacobian;
      ASSERT_TRUE(camera_->Project(4.0 * bearing, &xy, &jacobian));
      for (int i = 0; i < 3; ++i) {
        const Eigen::Vector3d step = 1e-5 * Eigen::Vector3d::Unit(i);
        Eigen::Vector2d plus, minus;
        ASSERT_TRUE(camera_->Project(4.0 * bearing + step, &plus, nullptr));
        ASSERT_TRUE(camera_->Project(4.0 * bearing - step, &minus, nullptr));
        EXPECT_LT((jacobian.col(i) - (plus - minus) / 2e-5).norm(),
                  1e-6 * (1.0 + jacobian.norm()))
            << GetParam().name << " " << x << " " << y;
      }
    }
  }
  EXPECT_EQ(num_points, 15);
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

// What CorrectedCamera relies on.
TEST_P(AllCameraModels, AnotherFocalLengthScalesTheImage) {
  const colmap::Camera camera =
      MakeColmapCamera(GetParam().name, 640, 480, PlausibleParams(GetParam()));
  if (!HasFocalLength(camera)) {
    EXPECT_EQ(GetParam().name, "EQUIRECTANGULAR");
    return;
  }
  const std::unique_ptr<Camera> expected =
      CreateCamera(ScaleFocalLength(camera, 1.6));
  const CorrectedCamera scaled(*camera_, {1.6});
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

// The distortion of a lens that lies on its side, written in COLMAP's terms:
// the two tangential ones change places, and one its sign.
TEST(TurnedCamera, TangentialDistortionTurnsAlong) {
  const std::unique_ptr<Camera> camera = CreateCamera(MakeColmapCamera(
      "OPENCV", 640, 480, {500, 520, 330, 235, -0.1, 0.03, 0.004, -0.007}));
  const std::unique_ptr<Camera> expected = CreateCamera(MakeColmapCamera(
      "OPENCV", 480, 640, {520, 500, 245, 330, -0.1, 0.03, -0.007, -0.004}));
  const TurnedCamera turned(*camera, 1);
  for (const Eigen::Vector3d& point : RandomPoints(50)) {
    Eigen::Vector2d xy, expected_xy;
    Eigen::Matrix<double, 2, 3> jacobian, expected_jacobian;
    ASSERT_TRUE(turned.Project(point, &xy, &jacobian));
    ASSERT_TRUE(expected->Project(point, &expected_xy, &expected_jacobian));
    EXPECT_LT((xy - expected_xy).norm(), 1e-9);
    EXPECT_LT((jacobian - expected_jacobian).norm(),
              1e-9 * expected_jacobian.norm());
    Eigen::Vector3d bearing;
    ASSERT_TRUE(turned.Unproject(xy, &bearing));
    EXPECT_LT((bearing - point.normalized()).norm(), 1e-9);
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

// Sorted errors of trials with a camera.
struct TrialErrors {
  std::vector<double> rotation_deg;
  std::vector<double> center;

  explicit TrialErrors(const Camera& camera) {
    for (uint64_t seed = 1; seed <= 15; ++seed) {
      const CameraTrial trial = RunCameraTrial(camera, camera, seed);
      EXPECT_TRUE(trial.registered) << seed;
      rotation_deg.push_back(trial.rotation_error_deg);
      center.push_back(trial.center_error);
    }
    std::sort(rotation_deg.begin(), rotation_deg.end());
    std::sort(center.begin(), center.end());
  }
};

// As with a pinhole camera of about the same focal length, and far from it
// where the distortion is ignored.
TEST_P(AllCameraModels, PosesAreAsAccurateAsAPinholes) {
  static const TrialErrors pinhole(
      PinholeCamera(640, 480, 500.0, 510.0, 330.0, 235.0));
  const std::vector<double> params = StrongParams(GetParam());
  const std::unique_ptr<Camera> camera =
      CreateCamera(MakeColmapCamera(GetParam().name, 640, 480, params));
  const TrialErrors errors(*camera);
  const auto ratio = [](const std::vector<double>& a,
                        const std::vector<double>& b) {
    return a[a.size() / 2] / b[b.size() / 2];
  };
  const double rotation = ratio(errors.rotation_deg, pinhole.rotation_deg);
  const double center = ratio(errors.center, pinhole.center);
  std::printf("%s: median errors %.2f and %.2f times a pinhole's\n",
              GetParam().name.c_str(),
              rotation,
              center);
  EXPECT_LT(rotation, 1.6);
  EXPECT_LT(center, 1.6);
  EXPECT_LT(errors.rotation_deg.back(), 2.0 * pinhole.rotation_deg.back());
  EXPECT_LT(errors.center.back(), 2.0 * pinhole.center.back());

  if (IsDistorted(GetParam())) {
    const PinholeCamera undistorted(
        640, 480, params[0], params[0], 330.0, 235.0);
    EXPECT_GT(RunCameraTrial(*camera, undistorted, 1).center_error,
              2.0 * pinhole.center.back());
  }
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

TEST(MakeColmapCamera, SaysWhichColmapHasNewerModels) {
  const std::pair<const char*, const char*> models[] = {
      {"RAD_TAN_THIN_PRISM_FISHEYE", "COLMAP 3.11"},
      {"SIMPLE_DIVISION", "COLMAP 4.0"},
      {"DIVISION", "COLMAP 4.0"},
      {"SIMPLE_FISHEYE", "COLMAP 4.0"},
      {"FISHEYE", "COLMAP 4.0"},
      {"EUCM", "COLMAP 4.1"},
      {"EQUIRECTANGULAR", "COLMAP 4.1"}};
  int id = 11;
  for (const auto& [name, version] : models) {
    if (FindCameraModel(name) == nullptr) {
      EXPECT_THAT(ErrorOf(name, 640, {}), HasSubstr(version));
      EXPECT_THAT(NewerCameraModel(id),
                  testing::AllOf(HasSubstr(name), HasSubstr(version)));
    } else {
      EXPECT_EQ(NewerCameraModel(name), "");
      EXPECT_EQ(NewerCameraModel(id), "");
    }
    ++id;
  }
  EXPECT_EQ(NewerCameraModel("PINHOLE"), "");
  EXPECT_EQ(NewerCameraModel(99), "");
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

// What EXIF data and guesses give is in the middle and undistorted.
TEST(LooksCalibrated, AsItsPrincipalPointOrDistortionSays) {
  const auto looks_calibrated = [](const std::string& model,
                                   const std::vector<double>& params) {
    return LooksCalibrated(MakeColmapCamera(model, 641, 480, params));
  };
  EXPECT_FALSE(looks_calibrated("SIMPLE_PINHOLE", {500, 320.5, 240}));
  EXPECT_FALSE(looks_calibrated("PINHOLE", {500, 510, 320, 240}));
  EXPECT_FALSE(looks_calibrated("SIMPLE_RADIAL", {500, 320.5, 240, 0}));
  EXPECT_FALSE(looks_calibrated("OPENCV", {500, 510, 320, 240, 0, 0, 0, 0}));
  EXPECT_TRUE(looks_calibrated("SIMPLE_PINHOLE", {500, 323, 240}));
  EXPECT_TRUE(looks_calibrated("PINHOLE", {500, 500, 320, 238}));
  EXPECT_TRUE(looks_calibrated("SIMPLE_RADIAL", {500, 320.5, 240, -0.01}));
  EXPECT_TRUE(looks_calibrated("OPENCV", {500, 510, 320, 240, 0, 0, 0, 1e-4}));
}

}  // namespace
}  // namespace nre
