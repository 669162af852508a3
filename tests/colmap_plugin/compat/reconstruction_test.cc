#include "colmap_plugin/compat/reconstruction.h"

#include <csignal>
#include <filesystem>
#include <sys/resource.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/model_files.h"
#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Rigid3d SomePose() {
  Rigid3d pose;
  pose.rotation = Eigen::Quaterniond(0.9, 0.1, -0.2, 0.3).normalized();
  pose.translation = Eigen::Vector3d(1, 2, 3);
  return pose;
}

// Adds query.jpg as image 10 with camera 5; it observes the first and the third
// point.
void AddQuery(colmap::Reconstruction* model, colmap::camera_t camera_id = 5) {
  AddRegisteredImage(
      MakeColmapCamera("SIMPLE_RADIAL", 100, 80, {90, 50, 40, 0.1}),
      camera_id,
      10,
      "query.jpg",
      SomePose(),
      {{Eigen::Vector2d(1.5, 2.5), 1},
       {Eigen::Vector2d(3.5, 4.5), colmap::kInvalidPoint3DId},
       {Eigen::Vector2d(5.5, 6.5), 3}},
      model);
}

void ExpectQuery(const colmap::Reconstruction& model) {
  ASSERT_TRUE(model.ExistsImage(10));
  const colmap::Image& image = model.Image(10);
  EXPECT_EQ(image.Name(), "query.jpg");
  ASSERT_TRUE(HasPose(image));
  EXPECT_LT(RotationErrorDeg(CamFromWorld(image), SomePose()), 1e-10);
  EXPECT_LT(CenterError(CamFromWorld(image), SomePose()), 1e-12);
  EXPECT_EQ(image.CameraId(), 5);
  EXPECT_EQ(CameraModelIdOf(model.Camera(5)), 2);
  EXPECT_THAT(CameraParams(model.Camera(5)), ElementsAre(90, 50, 40, 0.1));
  ASSERT_EQ(image.NumPoints2D(), 3);
  EXPECT_EQ(image.NumPoints3D(), 2);
  EXPECT_EQ(XY(image.Point2D(2)), Eigen::Vector2d(5.5, 6.5));
  EXPECT_EQ(Point3DId(image.Point2D(2)), 3);
  EXPECT_FALSE(image.Point2D(1).HasPoint3D());
  const colmap::TrackElement& last =
      TrackOf(model.Point3D(3)).Elements().back();
  EXPECT_EQ(last.image_id, 10);
  EXPECT_EQ(last.point2D_idx, 2);
  EXPECT_EQ(TrackOf(model.Point3D(3)).Length(), 4);
  EXPECT_EQ(TrackOf(model.Point3D(2)).Length(), 3);
}

TEST(AddRegisteredImage, SurvivesWritingAndReading) {
  TestFolder folder;
  colmap::Reconstruction model = MakeSmallModel();
  AddQuery(&model);
  ExpectQuery(model);
  WriteModel(model, folder.path());
  EXPECT_EQ(List(folder.path()), [] {
    std::vector<std::string> names = ModelFileNames();
    std::sort(names.begin(), names.end());
    return names;
  }());

  colmap::Reconstruction again;
  ReadModel(folder.path(), &again);
  EXPECT_EQ(again.NumImages(), 4);
  EXPECT_EQ(again.NumRegImages(), 4);
  EXPECT_EQ(again.NumCameras(), 3);
  EXPECT_EQ(again.NumPoints3D(), 6);
  ExpectQuery(again);
}

TEST(AddRegisteredImage, SharesACameraThatIsThere) {
  colmap::Reconstruction model = MakeSmallModel();
  AddQuery(&model, 1);
  EXPECT_EQ(model.NumCameras(), 2);
  EXPECT_EQ(model.Image(10).CameraId(), 1);
  EXPECT_EQ(CameraModelIdOf(model.Camera(1)), 1);
}

TEST(AddRegisteredImage, KeepsTheMeanReprojectionErrorRight) {
  colmap::Reconstruction model = MakeSmallModel();
  const colmap::Camera camera =
      MakeColmapCamera("PINHOLE", 64, 48, {60, 60, 32, 24});
  Eigen::Vector2d xy;
  ASSERT_TRUE(
      CreateCamera(camera)->Project(XYZ(model.Point3D(1)), &xy, nullptr));
#if NRE_COLMAP_VERSION < 400
  model.Point3D(1).SetError(1.0);
#else
  model.Point3D(1).error = 1.0;
#endif
  AddRegisteredImage(camera,
                     1,
                     10,
                     "query.jpg",
                     Rigid3d(),
                     {{xy + Eigen::Vector2d(5, 0), 1}},
                     &model);
#if NRE_COLMAP_VERSION < 400
  EXPECT_NEAR(model.Point3D(1).Error(), (3.0 * 1.0 + 5.0) / 4.0, 1e-9);
#else
  EXPECT_NEAR(model.Point3D(1).error, (3.0 * 1.0 + 5.0) / 4.0, 1e-9);
#endif
  EXPECT_FALSE(model.Point3D(2).HasError());
}

#if NRE_COLMAP_VERSION >= 400

TEST(AddRegisteredImage, TakesIdsOfFrameAndRigThatAreFree) {
  colmap::Reconstruction model = MakeSmallModel();
  const colmap::Camera camera =
      MakeColmapCamera("PINHOLE", 64, 48, {60, 60, 32, 24});
  const auto add = [&](colmap::camera_t camera_id,
                       colmap::image_t image_id,
                       const FrameIds& frame_ids) {
    AddRegisteredImage(camera,
                       camera_id,
                       image_id,
                       std::to_string(image_id),
                       SomePose(),
                       {},
                       &model,
                       frame_ids);
    const colmap::frame_t frame_id = model.Image(image_id).FrameId();
    return std::make_pair(frame_id, model.Frame(frame_id).RigId());
  };
  using Ids = std::pair<colmap::frame_t, colmap::rig_t>;
  EXPECT_EQ(add(5, 10, {20, 30}), Ids(20, 30));
  EXPECT_EQ(add(6, 11, {20, 30}), Ids(21, 31));
  EXPECT_EQ(add(5, 12, {40, 50}), Ids(40, 30));
}

TEST(AddRegisteredImage, PoseIsTheCamerasNotTheRigs) {
  colmap::Camera camera = MakeColmapCamera("PINHOLE", 64, 48, {60, 60, 32, 24});
  colmap::Reconstruction model;
  colmap::Rig rig;
  rig.SetRigId(1);
  for (const colmap::camera_t camera_id : {1, 2}) {
    SetCameraId(camera_id, &camera);
    model.AddCamera(camera);
  }
  rig.AddRefSensor(colmap::sensor_t(colmap::SensorType::CAMERA, 1));
  rig.AddSensor(colmap::sensor_t(colmap::SensorType::CAMERA, 2),
                colmap::Rigid3d(Eigen::Quaterniond(0.8, 0.0, 0.6, 0.0),
                                Eigen::Vector3d(0.5, -1.0, 2.0)));
  model.AddRig(rig);
  for (const colmap::camera_t camera_id : {1, 2}) {
    AddRegisteredImage(camera,
                       camera_id,
                       camera_id,
                       std::to_string(camera_id),
                       SomePose(),
                       {},
                       &model);
    const Rigid3d pose = CamFromWorld(model.Image(camera_id));
    EXPECT_LT(RotationErrorDeg(pose, SomePose()), 1e-10);
    EXPECT_LT(CenterError(pose, SomePose()), 1e-12);
  }
  EXPECT_EQ(model.NumRigs(), 1);
}

#endif

TEST(Reconstruction, ListsAndIds) {
  const colmap::Reconstruction model = MakeSmallModel();
  EXPECT_THAT(RegisteredImages(model), ElementsAre(1, 2, 3));
  EXPECT_EQ(ImageIdsByName(model).at("sub/c.jpg"), 3);
  EXPECT_THAT(ImageIds(model), ElementsAre(1, 2, 3));
  EXPECT_THAT(CameraIds(model), ElementsAre(1, 2));
}

TEST(FreeIds, AreAboveThoseInUse) {
  FreeIds ids({1, 2, 7}, 100);
  EXPECT_EQ(ids.Take(), 8);
  EXPECT_EQ(ids.Take(), 9);
  EXPECT_EQ(FreeIds({}, 100).Take(), 1);
}

TEST(FreeIds, AreBelowWhereTheyEnd) {
  FreeIds ids({1, 3, 9, 12}, 10);
  for (const uint32_t id : {2, 4, 5, 6, 7, 8, 10}) {
    EXPECT_EQ(ids.Take(), id);
  }
  EXPECT_THROW(ids.Take(), InputError);
  EXPECT_EQ(FreeIds({4294967294u}, kMaxCameraId).Take(), 1);
  EXPECT_EQ(FreeIds({4294967295u}, 4294967295u).Take(), 1);
  EXPECT_EQ(FreeIds({1, 2147483646u}, kMaxImageId).Take(), 2);
}

TEST(ReadModel, ReadsTextAsBinary) {
  TestFolder folder;
  MakeSmallModel().WriteText(folder.path());
  colmap::Reconstruction model;
  ReadModel(folder.path(), &model);
  EXPECT_EQ(model.NumRegImages(), 3);
}

void ReplaceAll(const std::string& path,
                const std::string& from,
                const std::string& to) {
  std::string content = ReadFile(path);
  size_t position = content.find(from);
  ASSERT_NE(position, std::string::npos) << content;
  for (; position != std::string::npos;
       position = content.find(from, position + to.size())) {
    content.replace(position, from.size(), to);
  }
  WriteFile(path, content);
}

// But for names and the ids that text files do not have, both are the same.
void ExpectSameModel(const colmap::Reconstruction& model,
                     const colmap::Reconstruction& expected) {
  ASSERT_EQ(model.NumRegImages(), expected.NumRegImages());
  for (const auto& [id, camera] : expected.Cameras()) {
    EXPECT_EQ(CameraParams(model.Camera(id)), CameraParams(camera));
  }
  for (const auto& [id, image] : expected.Images()) {
    ASSERT_EQ(model.Image(id).NumPoints2D(), image.NumPoints2D());
    EXPECT_LT(CenterError(CamFromWorld(model.Image(id)), CamFromWorld(image)),
              1e-12);
    for (size_t i = 0; i < image.NumPoints2D(); ++i) {
      EXPECT_EQ(XY(model.Image(id).Point2D(i)), XY(image.Point2D(i)));
      EXPECT_EQ(Point3DId(model.Image(id).Point2D(i)),
                Point3DId(image.Point2D(i)));
    }
  }
  ASSERT_EQ(model.NumPoints3D(), expected.NumPoints3D());
  for (const auto& [id, point] : expected.Points3D()) {
    EXPECT_EQ(XYZ(model.Point3D(id)), XYZ(point));
    EXPECT_EQ(TrackOf(model.Point3D(id)).Length(), TrackOf(point).Length());
  }
}

std::vector<std::string> NamesOf(const colmap::Reconstruction& model) {
  std::vector<std::string> names;
  for (const auto& [name, _] : ImageIdsByName(model)) {
    names.push_back(name);
  }
  return names;
}

TEST(ReadModel, NamesWithBlanks) {
  TestFolder folder;
  colmap::Reconstruction written = MakeSmallModel();
  written.Image(1).SetName("a plan (1).jpg");
  written.Image(2).SetName("a plan  (2).jpg");
  const std::vector<std::string> names = {
      "a plan  (2).jpg", "a plan (1).jpg", "sub/c.jpg"};
  const std::string text = folder / "text";
  const std::string binary = folder / "binary";
  std::filesystem::create_directory(text);
  std::filesystem::create_directory(binary);
  written.WriteText(text);
  // As some exporters do.
  ReplaceAll(text + "/images.txt", "\n", " \r\n");
  ReplaceAll(text + "/cameras.txt", " 60", " 6.0e+001");
  WriteModel(written, binary);
  for (const std::string& path : {text, binary}) {
    colmap::Reconstruction model;
    ReadModel(path, &model);
    EXPECT_EQ(NamesOf(model), names) << path;
    ExpectSameModel(model, written);
  }
  // What was read is written.
  colmap::Reconstruction model, again;
  ReadModel(text, &model);
  WriteModel(model, binary);
  ReadModel(binary, &again);
  EXPECT_EQ(NamesOf(again), names);
}

// COLMAP itself reads neither, or reads them wrongly.
TEST(ReadModel, TextWithByteOrderMarksTabsAndSeveralBlanks) {
  TestFolder folder;
  const colmap::Reconstruction written = MakeSmallModel();
  written.WriteText(folder.path());
  for (const char* name : {"cameras.txt", "images.txt", "points3D.txt"}) {
    ReplaceAll(folder / name, " ", name[0] == 'i' ? "\t" : "  ");
    WriteFile(folder / name, "\xef\xbb\xbf" + ReadFile(folder / name));
  }
  const auto before = Snapshot(folder.path());
  colmap::Reconstruction model;
  ReadModel(folder.path(), &model);
  ExpectSameModel(model, written);
  EXPECT_THAT(NamesOf(model), ElementsAre("a.jpg", "b.jpg", "sub/c.jpg"));
  EXPECT_EQ(Snapshot(folder.path()), before);
}

TEST(ReadModel, PosesSuffice) {
  TestFolder folder;
  colmap::Reconstruction poses;
  AddRegisteredImage(MakeColmapCamera("PINHOLE", 64, 48, {60, 60, 32, 24}),
                     1,
                     1,
                     "a.jpg",
                     SomePose(),
                     {},
                     &poses);
  WriteModel(poses, folder.path());
  std::filesystem::create_directory(folder / "text");
  poses.WriteText(folder / "text");
  for (const std::string& path : {folder.path(), folder / "text"}) {
    colmap::Reconstruction model;
    ReadModel(path, &model);
    EXPECT_LT(CenterError(CamFromWorld(model.Image(1)), SomePose()), 1e-12);
  }
}

TEST(ReadModel, RefusesAnEmptyModel) {
  TestFolder folder;
  WriteModel(colmap::Reconstruction(), folder.path());
  colmap::Reconstruction model;
  try {
    ReadModel(folder.path(), &model);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("empty"));
  }
}

TEST(WriteModel, FullDiskIsNoticed) {
  TestFolder folder;
  const colmap::Reconstruction model = MakeSmallModel();
  WriteModel(model, folder.path());
  const auto size = std::filesystem::file_size(folder / "images.bin");

  rlimit old_limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const size_t limit : {size_t{0}, size_t{100}, size - 1}) {
    const rlimit small = {limit, old_limit.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    bool noticed = false;
    try {
      WriteModel(model, folder.path());
    } catch (const std::runtime_error&) {
      noticed = true;
    }
    setrlimit(RLIMIT_FSIZE, &old_limit);
    EXPECT_TRUE(noticed) << limit;
  }
  std::signal(SIGXFSZ, old_handler);
}

}  // namespace
}  // namespace nre
