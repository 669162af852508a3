// training_exporter from the command line to its file.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <opencv2/imgcodecs.hpp>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/training_pairs.h"
#include "s2d/image.h"
#include "s2d/safetensors.h"
#include "tests/colmap_plugin/plugin_testing.h"
#include "tests/testing/synthetic_scene.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// What is in a training set.
struct Contents {
  explicit Contents(const std::string& path) : file(ReadSafetensors(path)) {
    const std::vector<char> bytes = Values<char>("image_names");
    std::string name;
    for (const char c : bytes) {
      if (c == '\n') {
        names.push_back(name);
        name.clear();
      } else {
        name += c;
      }
    }
    pair_images = Values<int32_t>("pair_images");
    pair_offsets = Values<int64_t>("pair_offsets");
    reference = Values<float>("reference_positions");
    query = Values<float>("query_positions");
    visible = Values<uint8_t>("visible");
  }

  template <typename T>
  std::vector<T> Values(const std::string& name) const {
    const StoredTensor& tensor = file.tensors.at(name);
    std::vector<T> values((tensor.end - tensor.begin) / sizeof(T));
    if (!values.empty()) {
      std::memcpy(values.data(),
                  file.data.data() + tensor.begin,
                  values.size() * sizeof(T));
    }
    return values;
  }

  // Width, height and pixels.
  Image ImageAt(size_t index) const {
    const std::string name = "image/00000" + std::to_string(index);
    const StoredTensor& tensor = file.tensors.at(name);
    return {static_cast<int>(tensor.shape.at(1)),
            static_cast<int>(tensor.shape.at(0)),
            Values<uint8_t>(name)};
  }

  size_t NumPairs() const { return pair_offsets.size() - 1; }

  // Points of a pair, in the stored images.
  std::vector<PairPoint> Points(size_t pair) const {
    std::vector<PairPoint> points;
    for (int64_t i = pair_offsets[pair]; i < pair_offsets[pair + 1]; ++i) {
      points.push_back({reference[2 * i],
                        reference[2 * i + 1],
                        query[2 * i],
                        query[2 * i + 1],
                        visible[i] == 1});
    }
    return points;
  }

  SafetensorsView file;
  std::vector<std::string> names;
  std::vector<int32_t> pair_images;
  std::vector<int64_t> pair_offsets;
  std::vector<float> reference, query;
  std::vector<uint8_t> visible;
};

size_t NumVisible(const std::vector<PairPoint>& points) {
  return std::count_if(points.begin(), points.end(), [](const PairPoint& p) {
    return p.visible;
  });
}

void WriteImage(const std::string& path, const Image& image) {
  cv::Mat bgr(image.height, image.width, CV_8UC3);
  for (size_t i = 0; i < image.rgb.size(); ++i) {
    bgr.data[i] = image.rgb[i / 3 * 3 + 2 - i % 3];
  }
  ASSERT_TRUE(cv::imwrite(path, bgr));
}

Image MakePicture(int width, int height) {
  Image image{width, height, {}};
  for (int i = 0; i < 3 * width * height; ++i) {
    image.rgb.push_back(static_cast<uint8_t>(i * i / 7));
  }
  return image;
}

class TrainingExporter : public testing::Test {
 protected:
  TrainingExporter() : output_(folder_ / "set.safetensors") {}

  // Nothing half-written lies around.
  void TearDown() override {
    for (const std::string& name : List(folder_.path())) {
      EXPECT_THAT(name, Not(HasSubstr("tmp")));
    }
  }

  RunResult Export(std::vector<std::string> options,
                   const std::string& limit = "") const {
    options.insert(options.begin(),
                   {"training_exporter", "--output_path", output_});
    return RunColmapNre(options, "", limit);
  }

  void ExpectError(const std::vector<std::string>& options,
                   const std::string& message,
                   const std::string& limit = "") const {
    const RunResult result = Export(options, limit);
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_THAT(result.output, AllOf(HasSubstr("ERROR"), HasSubstr(message)));
    EXPECT_FALSE(fs::exists(output_));
  }

  const TestFolder folder_;
  const std::string output_;
};

TEST_F(TrainingExporter, Photographs) {
  const std::string photos = folder_ / "photos";
  fs::create_directories(photos + "/sub/deeper");
  const Image large = MakePicture(100, 61), small = MakePicture(30, 50);
  WriteImage(photos + "/b.png", large);
  WriteImage(photos + "/sub/deeper/a.PNG", small);
  WriteFile(photos + "/README.txt", "no picture");
  WriteFile(photos + "/broken.jpg", "no picture either");
  const RunResult result =
      Export({"--image_path", photos, "--max_image_size", "50"});
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("WARNING: broken.jpg"),
                    HasSubstr("1 of 3 images cannot be read"),
                    HasSubstr("Exported 2 images")));
  const Contents set(output_);
  EXPECT_EQ(set.file.metadata.at("format"), "colmap_nre training set");
  EXPECT_THAT(set.names, ElementsAre("b.png", "sub/deeper/a.PNG"));
  EXPECT_EQ(set.NumPairs(), 0);
  const Image first = set.ImageAt(0), second = set.ImageAt(1);
  EXPECT_EQ(first.width, 50);
  EXPECT_EQ(first.height, 31);
  EXPECT_EQ(first.rgb, ResizeImage(large, 50, 31).rgb);
  EXPECT_EQ(second.width, 30);
  EXPECT_EQ(second.rgb, small.rgb);
}

// Positions, visibility and numbers of points of all pairs of a model against
// its observations.
TEST_F(TrainingExporter, Model) {
  const RenderedScene scene(folder_ / "scene");
  const std::vector<std::string> inputs = {"--input_path",
                                           scene.model_path,
                                           "--image_path",
                                           scene.image_path,
                                           "--max_image_size",
                                           "240"};
  const RunResult result = Export(inputs);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const Contents set(output_);
  EXPECT_EQ(set.names, scene.reference_names);
  EXPECT_EQ(set.ImageAt(3).width, 240);
  EXPECT_EQ(set.ImageAt(3).height, 180);
  ASSERT_EQ(set.NumPairs(), 12);

  colmap::Reconstruction model;
  ReadModel(scene.model_path, &model);
  const auto project = [](const colmap::Image& image,
                          const Eigen::Vector3d& xyz) {
    const Eigen::Vector3d in_cam = CamFromWorld(image) * xyz;
    return Eigen::Vector2d(210.0 * in_cam.x() / in_cam.z() + 120.0,
                           210.0 * in_cam.y() / in_cam.z() + 90.0);
  };
  const auto is_inside = [](const Eigen::Vector2d& xy) {
    return xy.x() >= 0.0 && xy.x() < 240.0 && xy.y() >= 0.0 && xy.y() < 180.0;
  };
  std::set<std::pair<int, int>> pairs;
  size_t num_hidden = 0;
  for (size_t p = 0; p < set.NumPairs(); ++p) {
    const int r = set.pair_images[2 * p], q = set.pair_images[2 * p + 1];
    pairs.insert({r, q});
    const auto& reference = model.Image(1 + r);
    const auto& query = model.Image(1 + q);
    std::set<colmap::point3D_t> in_query;
    for (const auto& point : query.Points2D())
      in_query.insert(Point3DId(point));
    std::vector<PairPoint> expected;
    for (const auto& point : reference.Points2D()) {
      const Eigen::Vector3d& xyz = XYZ(model.Point3D(Point3DId(point)));
      const Eigen::Vector2d a = project(reference, xyz);
      const Eigen::Vector2d b = project(query, xyz);
      const bool visible = in_query.count(Point3DId(point)) > 0;
      if (is_inside(a) && (!visible || is_inside(b))) {
        expected.push_back({a.x(), a.y(), b.x(), b.y(), visible});
      }
    }
    std::vector<PairPoint> points = set.Points(p);
    const auto by_position = [](const PairPoint& a, const PairPoint& b) {
      const auto a_x = std::lround(100.0 * a.reference_x);
      const auto b_x = std::lround(100.0 * b.reference_x);
      return a_x != b_x ? a_x < b_x : a.reference_y < b.reference_y;
    };
    std::sort(points.begin(), points.end(), by_position);
    std::sort(expected.begin(), expected.end(), by_position);
    ASSERT_EQ(NumVisible(points), NumVisible(expected));
    ASSERT_EQ(points.size(), expected.size());
    for (size_t i = 0; i < points.size(); ++i) {
      EXPECT_NEAR(points[i].reference_x, expected[i].reference_x, 1e-3);
      EXPECT_NEAR(points[i].reference_y, expected[i].reference_y, 1e-3);
      EXPECT_NEAR(points[i].query_x, expected[i].query_x, 1e-3);
      EXPECT_NEAR(points[i].query_y, expected[i].query_y, 1e-3);
      EXPECT_EQ(points[i].visible, expected[i].visible);
      num_hidden += !points[i].visible;
    }
  }
  EXPECT_EQ(pairs.size(), 12);
  EXPECT_GT(num_hidden, 100);
  const std::string bytes = ReadFile(output_);

  const auto export_again = [&](const std::vector<std::string>& more) {
    fs::remove(output_);
    std::vector<std::string> options = inputs;
    options.insert(options.end(), more.begin(), more.end());
    const RunResult again = Export(options);
    EXPECT_EQ(again.exit_code, 0) << again.output;
  };
  export_again({"--num_threads", "1"});
  EXPECT_EQ(ReadFile(output_), bytes);

  export_again({"--max_points_per_pair", "40", "--max_pairs_per_image", "1"});
  const Contents few(output_);
  EXPECT_EQ(few.NumPairs(), 4);
  for (size_t p = 0; p < few.NumPairs(); ++p) {
    EXPECT_EQ(NumVisible(few.Points(p)), 40);
    EXPECT_LE(few.Points(p).size(), 80);
  }
  const std::vector<float> chosen = few.reference;
  export_again({"--max_points_per_pair",
                "40",
                "--max_pairs_per_image",
                "1",
                "--random_seed",
                "1"});
  EXPECT_NE(Contents(output_).reference, chosen);

  // A picture is missing, another has changed its size: the others remain.
  fs::remove(scene.image_path + "/r1.png");
  WriteImage(scene.image_path + "/r2.png", MakePicture(64, 48));
  fs::remove(output_);
  const RunResult with_two = Export(inputs);
  EXPECT_EQ(with_two.exit_code, 0);
  EXPECT_THAT(with_two.output,
              AllOf(HasSubstr("r1.png"),
                    HasSubstr("64x48 pixels"),
                    HasSubstr("2 of 4 images")));
  EXPECT_THAT(Contents(output_).names, ElementsAre("r0.png", "r3.png"));
  EXPECT_EQ(Contents(output_).NumPairs(), 2);

  fs::remove(output_);
  std::vector<std::string> too_many = inputs;
  too_many.insert(too_many.end(), {"--min_covisible_points", "900"});
  ExpectError(too_many, "No pair of images shares enough");
  WriteImage(scene.image_path + "/r0.png", MakePicture(64, 48));
  WriteImage(scene.image_path + "/r3.png", MakePicture(64, 48));
  ExpectError(inputs, "None of the 4 images can be read");
}

// What is for evaluation is in no pair and in no picture.
TEST_F(TrainingExporter, ExcludedImages) {
  const RenderedScene scene(folder_ / "scene");
  const std::vector<std::string> inputs = {
      "--input_path",
      scene.model_path,
      "--image_path",
      scene.image_path,
      "--excluded_image_list_path",
      folder_ / "list.txt",
  };
  WriteFile(folder_ / "list.txt", "# for evaluation\nr2.png\n");
  const RunResult result = Export(inputs);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const Contents set(output_);
  EXPECT_THAT(set.names, ElementsAre("r0.png", "r1.png", "r3.png"));
  EXPECT_EQ(set.NumPairs(), 6);
  fs::remove(output_);

  WriteFile(folder_ / "list.txt", "r0.png\nr1.png\nr2.png\nr3.png\n");
  ExpectError(inputs, "excludes all images");
  WriteFile(folder_ / "list.txt", "r2.jpg\n");
  ExpectError(inputs, "excludes r2.jpg, which is not among the 4 images");
  fs::remove(folder_ / "list.txt");
  ExpectError(inputs, "list.txt");
}

// The last images of a data set, by name.
std::set<std::string> LastImages(const std::string& folder,
                                 const std::string& prefix,
                                 size_t first) {
  const std::vector<std::string> names = List(folder);
  std::set<std::string> last;
  for (size_t i = first; i < names.size(); ++i) last.insert(prefix + names[i]);
  return last;
}

// The sets that weights are trained on, packed as s2d/weights/README.md says,
// hold none of the images that are for evaluation, and all others.
TEST_F(TrainingExporter, HeldOutImagesAreInNoTrainingSet) {
  const std::string data = std::string(NRE_SOURCE_DIR) + "/../shared/datasets";
  if (!fs::exists(data + "/lund_door") || !fs::exists(data + "/hololens")) {
    GTEST_SKIP() << "no data sets";
  }
  const std::string lists = std::string(NRE_SOURCE_DIR) + "/s2d/weights/";
  const auto expect_disjoint = [&](const std::set<std::string>& held_out,
                                   size_t num_others) {
    const Contents set(output_);
    EXPECT_EQ(set.names.size(), num_others);
    EXPECT_GT(set.NumPairs(), 0);
    for (const std::string& name : set.names) {
      EXPECT_EQ(held_out.count(name), 0) << name;
    }
    fs::remove(output_);
  };
  const RunResult model = Export({"--input_path",
                                  data + "/lund_door/model_txt",
                                  "--image_path",
                                  data + "/lund_door/images",
                                  "--excluded_image_list_path",
                                  lists + "held_out_lund_door.txt"});
  ASSERT_EQ(model.exit_code, 0) << model.output;
  expect_disjoint(LastImages(data + "/lund_door/images", "", 8), 8);
  const RunResult frames = Export({"--rgbd_path",
                                   data + "/hololens",
                                   "--excluded_image_list_path",
                                   lists + "held_out_hololens.txt"});
  ASSERT_EQ(frames.exit_code, 0) << frames.output;
  expect_disjoint(LastImages(data + "/hololens/color", "color/", 80), 80);
}

TEST_F(TrainingExporter, ModelsThatCannotBeUsed) {
  const RenderedScene scene(folder_ / "scene");
  const std::vector<std::string> inputs = {
      "--input_path", scene.model_path, "--image_path", scene.image_path};
  colmap::Reconstruction model;
  ReadModel(scene.model_path, &model);
  AddReferenceWithoutFocalLength(scene, &model);
  WriteModel(model, scene.model_path);
  const RunResult result = Export(inputs);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("r9.png"), HasSubstr("camera 7")));
  EXPECT_EQ(Contents(output_).names, scene.reference_names);
  fs::remove(output_);

  for (const auto& [_, image] : model.Images()) {
    PutPoints2DIntoCorner(image);
  }
  WriteModel(model, scene.model_path);
  ExpectError(inputs, "4 of the 4 images that observe points cannot be used");
  WriteModel(WithoutTracks(model), scene.model_path);
  ExpectError(inputs, "colmap point_triangulator --database_path");
}

// Frames of a rendered scene, whose surfaces say which points are the same and
// what hides them.
class RgbdExporter : public TrainingExporter {
 protected:
  static constexpr int kWidth = 240, kHeight = 180;

  RgbdExporter()
      : scene_(MakeStreetScene(7)),
        camera_(kWidth, kHeight, 210.0, 215.0, 121.5, 89.5),
        rgbd_(folder_ / "rgbd") {
    for (const char* name : {"color", "depth", "pose"}) {
      fs::create_directories(rgbd_ + "/" + name);
    }
    WriteFile(rgbd_ + "/K.txt", "210 0 121\n0 215 89\n0 0 1\n");
    // Depth maps are half as large.
    const PinholeCamera depth_camera(
        kWidth / 2, kHeight / 2, 105.0, 107.5, 60.75, 44.75);
    for (const double x : {-1.5, -0.3, 1.5}) {
      poses_.push_back(LookAt({x, -4.0, 2.0}, {0.0, 6.0, 2.0}));
      const std::string name = "00" + std::to_string(poses_.size());
      WriteImage(
          rgbd_ + "/color/" + name + ".png",
          Render(scene_, camera_, poses_.back(), MakeLighting("day"), 2).image);
      const RenderedView view =
          Render(scene_, depth_camera, poses_.back(), MakeLighting("day"), 2);
      cv::Mat depth(kHeight / 2, kWidth / 2, CV_16UC1);
      for (size_t i = 0; i < view.depth.size(); ++i) {
        depth.at<uint16_t>(i) =
            view.depth[i] < 60.0f ? std::lround(1000.0f * view.depth[i]) : 0;
      }
      cv::imwrite(rgbd_ + "/depth/" + name + ".png", depth);
      const Rigid3d world_from_cam = poses_.back().Inverse();
      Eigen::Matrix4d matrix = Eigen::Matrix4d::Identity();
      matrix.topLeftCorner<3, 3>() = world_from_cam.rotation.toRotationMatrix();
      matrix.topRightCorner<3, 1>() = world_from_cam.translation;
      std::ostringstream text;
      text.precision(12);
      text << matrix;
      WriteFile(rgbd_ + "/pose/" + name + ".txt", text.str());
    }
  }

  const Scene scene_;
  const PinholeCamera camera_;
  const std::string rgbd_;
  std::vector<Rigid3d> poses_;
};

TEST_F(RgbdExporter, PointsAreWhereTheSceneSays) {
  const RunResult result =
      Export({"--rgbd_path", rgbd_, "--max_image_size", "160"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const Contents set(output_);
  EXPECT_THAT(set.names,
              ElementsAre("color/001.png", "color/002.png", "color/003.png"));
  ASSERT_EQ(set.NumPairs(), 6);
  EXPECT_EQ(set.ImageAt(0).width, 160);
  EXPECT_EQ(set.ImageAt(0).height, 120);
  const double scale = 160.0 / kWidth;
  size_t num_visible = 0, num_outside = 0, num_occluded = 0;
  size_t num_wrong = 0, num_far = 0;
  for (size_t p = 0; p < set.NumPairs(); ++p) {
    const Rigid3d& reference = poses_[set.pair_images[2 * p]];
    const Rigid3d& query = poses_[set.pair_images[2 * p + 1]];
    for (const PairPoint& point : set.Points(p)) {
      Eigen::Vector3d bearing;
      ASSERT_TRUE(camera_.Unproject(
          Eigen::Vector2d(point.reference_x, point.reference_y) / scale,
          &bearing));
      RayHit hit;
      if (!CastRay(scene_,
                   ProjectionCenter(reference),
                   reference.rotation.conjugate() * bearing,
                   &hit)) {
        ++num_far;
        continue;
      }
      Eigen::Vector2d xy;
      ASSERT_TRUE(camera_.Project(query * hit.point, &xy, nullptr));
      const Eigen::Vector2d given(point.query_x, point.query_y);
      num_far += (given - scale * xy).norm() > 0.2;
      const bool visible =
          IsVisible(scene_, camera_, query, hit.point, nullptr);
      num_wrong += visible != point.visible;
      const bool inside = xy.x() >= 0.0 && xy.x() <= kWidth && xy.y() >= 0.0 &&
                          xy.y() <= kHeight;
      num_visible += visible;
      num_outside += !inside;
      num_occluded += inside && !visible;
    }
  }
  EXPECT_GT(num_visible, 3000);
  EXPECT_GT(num_outside, 300);
  EXPECT_GT(num_occluded, 100);
  const size_t num = set.visible.size();
  EXPECT_LT(num_wrong, num / 100);
  EXPECT_LT(num_far, num / 100);

  const std::string bytes = ReadFile(output_);
  fs::remove(output_);
  Export(
      {"--rgbd_path", rgbd_, "--max_image_size", "160", "--num_threads", "1"});
  EXPECT_EQ(ReadFile(output_), bytes);
}

TEST_F(RgbdExporter, FramesWithoutPose) {
  WriteFile(rgbd_ + "/pose/002.txt",
            "-inf -inf -inf -inf\n-inf -inf -inf -inf\n"
            "-inf -inf -inf -inf\n-inf -inf -inf -inf\n");
  const RunResult result = Export({"--rgbd_path", rgbd_});
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("1 frames have no finite pose"));
  EXPECT_THAT(Contents(output_).names,
              ElementsAre("color/001.png", "color/003.png"));
}

TEST_F(RgbdExporter, BadFolders) {
  const std::vector<std::string> options = {"--rgbd_path", rgbd_};
  const auto with = [&](const std::string& file,
                        const std::string& content,
                        const std::string& message) {
    const std::string path = rgbd_ + "/" + file;
    const std::string before = ReadFile(path);
    WriteFile(path, content);
    ExpectError(options, message);
    WriteFile(path, before);
  };
  with("K.txt", "210 0 121 0 215 89 0 0", "Expected 9 numbers");
  with("K.txt", "210 0 121 0 -215 89 0 0 1", "no intrinsics");
  with("pose/002.txt", "1 2 x", "pose/002.txt cannot be used");
  with("pose/002.txt", "1 0 0 0 0 2 0 0 0 0 1 0 0 0 0 1", "no rotation");
  with("depth/002.png", ReadFile(rgbd_ + "/color/002.png"), "one channel");
  cv::imwrite(folder_ / "d.png", cv::Mat(90, 121, CV_16UC1, cv::Scalar(5)));
  with("depth/003.png", ReadFile(folder_ / "d.png"), "121x90 pixels");

  ExpectError({"--rgbd_path", rgbd_, "--min_overlap", "0.99"}, "No pair");
  fs::remove(rgbd_ + "/depth/002.png");
  ExpectError(options, "1 of 3 frames");
  fs::remove_all(rgbd_ + "/color");
  ExpectError(options, "color does not exist");
}

TEST_F(TrainingExporter, BadUsage) {
  ExpectError({}, "Name what to export");
  ExpectError({"--image_path", "/nowhere"}, "/nowhere does not exist");
  ExpectError({"--input_path", folder_.path()}, "--image_path is missing");
  ExpectError({"--image_path", folder_.path(), "--rgbd_path", folder_.path()},
              "one source");
  ExpectError({"--image_path", folder_.path()}, "has no images");
  const std::string empty = folder_ / "empty";
  fs::create_directory(empty);
  ExpectError({"--image_path", empty, "--input_path", empty}, empty);
  ExpectError({"--image_path", folder_.path(), "--max_image_size", "0"},
              "out of its range");
  WriteFile(output_, "something of the user");
  const RunResult result = Export({"--image_path", folder_.path()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(ReadFile(output_), "something of the user");
}

TEST_F(TrainingExporter, NoPictureCanBeRead) {
  WriteFile(folder_ / "a.jpg", "no picture");
  WriteFile(folder_ / "b.jpg", "no picture");
  ExpectError({"--image_path", folder_.path()},
              "None of the 2 images can be read");
}

TEST_F(TrainingExporter, FullDisk) {
  fs::create_directory(folder_ / "photos");
  WriteImage(folder_ / "photos/a.png", MakePicture(200, 200));
  ExpectError({"--image_path", folder_ / "photos"},
              "room",
              "ulimit -f 40");  // blocks of at most 1 KB
}

// Image 0 observes 100 points, of which image i observes the first 10 i.
TEST(CovisiblePairsTest, SpreadFromTheLargestOverlapToTheSmallest) {
  colmap::Reconstruction model;
  std::vector<colmap::point3D_t> ids;
  for (int i = 0; i < 100; ++i) {
    ids.push_back(model.AddPoint3D({0.01 * i, 0.0, 4.0}, colmap::Track()));
  }
  const colmap::Camera camera =
      MakeColmapCamera("PINHOLE", 64, 48, {60, 60, 32, 24});
  std::vector<colmap::image_t> images;
  for (int i = 0; i <= 10; ++i) {
    std::vector<ImagePoint> points;
    for (int k = 0; k < (i == 0 ? 100 : 10 * i); ++k) {
      points.push_back({{1.0 * k, 2.0}, ids[k]});
    }
    images.push_back(20 - i);
    AddRegisteredImage(
        camera, 1, images.back(), std::to_string(i), Rigid3d(), points, &model);
  }
  TrainingPairOptions options;
  options.max_pairs_per_image = 3;
  options.min_covisible_points = 30;
  std::vector<size_t> queries;
  for (const auto& [reference, query] :
       CovisiblePairs(model, images, options)) {
    if (reference == 0) queries.push_back(query);
    EXPECT_GE(
        std::min(reference == 0 ? 10 : reference, query == 0 ? 10 : query), 3);
  }
  // Of 10, 9, 8, 7, 6, 5, 4 and 3.
  EXPECT_THAT(queries, ElementsAre(10, 8, 5));
  options.max_pairs_per_image = 100;
  EXPECT_EQ(CovisiblePairs(model, images, options).size(), 9 * 8);
}

}  // namespace
}  // namespace nre
