#include "tests/colmap_plugin/plugin_testing.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <sys/wait.h>

#include <gtest/gtest.h>
#include <opencv2/imgcodecs.hpp>
#include <sqlite3.h>
#include <stdlib.h>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "tests/testing/synthetic_scene.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

std::string Quote(const std::string& word) { return "'" + word + "'"; }

void WritePng(const std::string& path, const Image& image) {
  cv::Mat bgr(image.height, image.width, CV_8UC3);
  for (int i = 0; i < image.height * image.width; ++i) {
    for (int c = 0; c < 3; ++c) {
      bgr.data[3 * i + c] = image.rgb[3 * i + 2 - c];
    }
  }
  if (!cv::imwrite(path, bgr)) {
    throw std::runtime_error("cannot write " + path);
  }
}

}  // namespace

TestFolder::TestFolder() {
  std::string name =
      (fs::temp_directory_path() / "colmap_nre_test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    throw std::runtime_error("cannot create " + name);
  }
  path_ = name;
}

TestFolder::~TestFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

void WriteFile(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

std::map<std::string, std::string> Snapshot(const std::string& path) {
  std::map<std::string, std::string> contents;
  if (fs::is_regular_file(path)) {
    contents[path] = ReadFile(path);
    return contents;
  }
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    contents[entry.path().string()] =
        entry.is_regular_file() ? ReadFile(entry.path().string()) : "folder";
  }
  return contents;
}

std::vector<std::string> List(const std::string& path) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

colmap::Reconstruction MakeSmallModel() {
  colmap::Reconstruction model;
  std::vector<colmap::point3D_t> ids;
  std::vector<Eigen::Vector3d> xyzs;
  for (int i = 0; i < 6; ++i) {
    xyzs.emplace_back(0.3 * i - 0.8, 0.2 * (i % 3) - 0.2, 4.0 + 0.5 * (i % 2));
    ids.push_back(model.AddPoint3D(xyzs.back(), colmap::Track()));
  }
  const char* names[] = {"a.jpg", "b.jpg", "sub/c.jpg"};
  for (int i = 0; i < 3; ++i) {
    const colmap::Camera camera =
        MakeColmapCamera("PINHOLE", 64 + 16 * (i / 2), 48, {60, 60, 32, 24});
    Rigid3d pose;
    pose.translation = Eigen::Vector3d(0.2 * i, 0.0, 0.1 * i);
    const std::unique_ptr<Camera> projection = CreateCamera(camera);
    std::vector<ImagePoint> points;
    for (size_t j = 0; j < ids.size(); ++j) {
      Eigen::Vector2d xy;
      projection->Project(pose * xyzs[j], &xy, nullptr);
      points.push_back({xy, ids[j]});
      points.push_back({xy + Eigen::Vector2d(1, 1), colmap::kInvalidPoint3DId});
    }
    AddRegisteredImage(
        camera, 1 + i / 2, 1 + i, names[i], pose, points, &model);
  }
  return model;
}

RenderedScene::RenderedScene(const std::string& path)
    : image_path(path + "/images"),
      model_path(path + "/map"),
      query_list_path(path + "/queries.txt"),
      pairs_path(path + "/pairs.txt") {
  fs::create_directories(image_path);
  fs::create_directories(model_path);
  const Scene scene = MakeStreetScene(7);
  const int width = 480;
  const int height = 360;
  const std::vector<double> params = {420, 420, 240, 180};
  const colmap::Camera camera =
      MakeColmapCamera("PINHOLE", width, height, params);
  const std::unique_ptr<Camera> projection = CreateCamera(camera);
  const Eigen::Vector3d target(0, 6, 2);

  std::vector<Rigid3d> poses;
  std::vector<RenderedView> views;
  for (const double x : {-1.5, -0.5, 0.5, 1.5}) {
    poses.push_back(LookAt({x, -4.0 + 0.2 * x, 2.0}, target));
    views.push_back(
        Render(scene, *projection, poses.back(), MakeLighting("day"), 2));
    reference_names.push_back("r" + std::to_string(views.size() - 1) + ".png");
    WritePng(image_path + "/" + reference_names.back(), views.back().image);
  }

  colmap::Reconstruction model;
  std::vector<std::vector<ImagePoint>> points(views.size());
  for (size_t i = 0; i < views.size(); ++i) {
    for (const SurfacePoint& point : SampleSurfacePoints(
             views[i], *projection, poses[i], 250, 3, 100 + i)) {
      const colmap::point3D_t id = model.AddPoint3D(point.xyz, colmap::Track());
      for (size_t j = 0; j < views.size(); ++j) {
        Eigen::Vector2d xy = point.xy;
        if (j == i || IsVisible(scene, *projection, poses[j], point.xyz, &xy)) {
          points[j].push_back({xy, id});
        }
      }
    }
  }
  for (size_t i = 0; i < views.size(); ++i) {
    AddRegisteredImage(
        camera, 1, 1 + i, reference_names[i], poses[i], points[i], &model);
  }
  WriteModel(model, model_path);

  std::string query_list;
  std::string pairs;
  for (const double x : {-1.0, 1.0}) {
    query_poses.push_back(LookAt({x, -3.6, 2.1}, target));
    query_names.push_back("q" + std::to_string(query_poses.size() - 1) +
                          ".png");
    WritePng(
        image_path + "/" + query_names.back(),
        Render(scene, *projection, query_poses.back(), MakeLighting("day"), 2)
            .image);
    query_list += query_names.back() + " PINHOLE 480 360 420 420 240 180\n";
    for (const int reference : {x < 0 ? 1 : 2, x < 0 ? 0 : 3}) {
      pairs += query_names.back() + " " + reference_names[reference] + "\n";
    }
  }
  WriteFile(query_list_path, query_list);
  WriteFile(pairs_path, pairs);
}

void AddReferenceWithoutFocalLength(const RenderedScene& scene,
                                    colmap::Reconstruction* model) {
  const colmap::Image& image = model->Image(1);
  std::vector<ImagePoint> points;
  for (const auto& point : image.Points2D()) {
    points.push_back({XY(point), Point3DId(point)});
  }
  const Rigid3d pose = CamFromWorld(image);
  AddRegisteredImage(model->Camera(1), 7, 9, "r9.png", pose, points, model);
  // There is no setter that both versions of COLMAP have.
  auto& params =
      const_cast<std::vector<double>&>(CameraParams(model->Camera(7)));
  params[0] = params[1] = 0.0;
  fs::copy_file(scene.image_path + "/r0.png", scene.image_path + "/r9.png");
}

colmap::Reconstruction WithoutTracks(const colmap::Reconstruction& model) {
  colmap::Reconstruction bare;
  for (const colmap::image_t id : RegisteredImages(model)) {
    const colmap::Image& image = model.Image(id);
    AddRegisteredImage(
        MakeColmapCamera("PINHOLE", 480, 360, {420, 420, 240, 180}),
        1,
        id,
        image.Name(),
        CamFromWorld(image),
        {},
        &bare);
  }
  for (const auto& [_, point] : model.Points3D()) {
    bare.AddPoint3D(XYZ(point), colmap::Track());
  }
  return bare;
}

void PutPoints2DIntoCorner(const colmap::Image& image) {
  for (const auto& point : image.Points2D()) {
    const_cast<Eigen::Vector2d&>(XY(point)).setZero();
  }
}

std::string RunSql(const std::string& path, const std::string& sql) {
  sqlite3* database = nullptr;
  EXPECT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
  std::string answer;
  const auto callback = [](void* text, int, char** values, char**) {
    *static_cast<std::string*>(text) = values[0] == nullptr ? "" : values[0];
    return 0;
  };
  EXPECT_EQ(sqlite3_exec(database, sql.c_str(), callback, &answer, nullptr),
            SQLITE_OK)
      << sqlite3_errmsg(database);
  sqlite3_close(database);
  return answer;
}

std::string ColmapOnPath() {
  return "PATH=" + fs::path(NRE_COLMAP_EXECUTABLE).parent_path().string() +
         ":$PATH";
}

RunResult RunShell(const std::string& command) {
  RunResult result;
  FILE* pipe = popen(("( " + command + " ) 2>&1").c_str(), "r");
  if (pipe == nullptr) {
    throw std::runtime_error("cannot run " + command);
  }
  char buffer[4096];
  for (size_t n = 0; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    result.output.append(buffer, n);
  }
  const int status = pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

RunResult RunColmapNre(const std::vector<std::string>& arguments,
                       const std::string& environment,
                       const std::string& limit) {
  std::string command = limit.empty() ? "" : limit + "; ";
  command += environment + " " + Quote(NRE_EXECUTABLE);
  for (const std::string& argument : arguments) {
    command += " " + Quote(argument);
  }
  return RunShell(command);
}

RunResult ExtractKeypoints(const std::string& database_path,
                           const std::string& image_path,
                           const std::string& camera_params) {
  const std::string extraction =
      NRE_COLMAP_VERSION < 400 ? "--SiftExtraction" : "--FeatureExtraction";
  return RunColmapNre({"feature_extractor",
                       "--database_path",
                       database_path,
                       "--image_path",
                       image_path,
                       "--ImageReader.single_camera",
                       "1",
                       "--ImageReader.camera_model",
                       "PINHOLE",
                       "--ImageReader.camera_params",
                       camera_params,
                       "--SiftExtraction.max_num_features",
                       "2000",
                       extraction + ".use_gpu",
                       "0",
                       extraction + ".num_threads",
                       "2"});
}

RunResult MapKeypoints(const std::string& database_path,
                       const std::string& image_path,
                       const std::string& output_path) {
  fs::create_directory(output_path);
  return RunColmapNre({"mapper",
                       "--database_path",
                       database_path,
                       "--image_path",
                       image_path,
                       "--output_path",
                       output_path,
                       "--Mapper.ba_refine_focal_length",
                       "0",
                       "--Mapper.ba_refine_extra_params",
                       "0"});
}

}  // namespace nre
