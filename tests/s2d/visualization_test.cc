#include "s2d/visualization.h"

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

namespace nre {
namespace {

constexpr int kWidth = 64;
constexpr int kHeight = 48;

PinholeCamera TestCamera() {
  return {kWidth, kHeight, 50.0, 50.0, 0.5 * kWidth, 0.5 * kHeight};
}

Image GrayImage() {
  Image image;
  image.width = kWidth;
  image.height = kHeight;
  image.rgb.assign(3 * kWidth * kHeight, 128);
  return image;
}

// Points that project to (16, 24), (32, 24) and (48, 24), and one behind the
// camera.
std::vector<Eigen::Vector3d> TestPoints() {
  return {{-1.6, 0.0, 5.0}, {0.0, 0.0, 5.0}, {1.6, 0.0, 5.0}, {0.0, 0.0, -1.0}};
}

PoseEstimate TestEstimate() {
  PoseEstimate estimate;
  estimate.verdict = Verdict::kRegistered;
  estimate.support = {{0, {16.0, 24.0}}, {2, {48.0, 24.2}}};
  return estimate;
}

// Whole maps with one cell per pixel, which peak at (32, 24) with the weights
// 1, 3, 2 and 4: at the second point's reprojection only.
DenseLossMaps TestMaps() {
  LossMaps::Geometry geometry;
  geometry.width = kWidth;
  geometry.height = kHeight;
  geometry.map_from_image.offset.setConstant(-0.5);
  DenseLossMaps maps(geometry, kWidth, kHeight, {4, Eigen::Vector2i(0, 0)});
  const float weights[] = {1.0f, 3.0f, 2.0f, 4.0f};
  for (size_t i = 0; i < 4; ++i) {
    for (const int y : {23, 24}) {
      for (const int x : {31, 32}) maps.Data(i)[y * kWidth + x] = weights[i];
    }
  }
  return maps;
}

bool HasColor(const Image& image) {
  for (size_t i = 0; i < image.rgb.size(); i += 3) {
    if (std::abs(image.rgb[i] - image.rgb[i + 1]) > 60) return true;
  }
  return false;
}

TEST(DrawReprojections, MarksTheSupport) {
  const Image picture = DrawReprojections(
      GrayImage(), TestCamera(), TestPoints(), TestEstimate(), "query");
  EXPECT_EQ(picture.width, 1600);
  EXPECT_GT(picture.height, 1200);
  EXPECT_EQ(picture.rgb.size(), 3u * picture.width * picture.height);
  EXPECT_TRUE(HasColor(picture));
}

TEST(DrawReprojections, ShowsAFailedQueryWithoutMarks) {
  PoseEstimate failed;
  failed.reason = "no points";
  EXPECT_FALSE(HasColor(
      DrawReprojections(GrayImage(), TestCamera(), {}, failed, "query")));
}

TEST(ChooseShownPoints, OrdersByAgreementWithThePose) {
  const std::vector<size_t> shown = ChooseShownPoints(
      TestMaps(), TestCamera(), TestPoints(), TestEstimate(), 8);
  // The point behind the camera has no reprojection to show.
  EXPECT_EQ(shown, (std::vector<size_t>{1, 0, 2}));
  EXPECT_EQ(ChooseShownPoints(
                TestMaps(), TestCamera(), TestPoints(), TestEstimate(), 1),
            std::vector<size_t>{1});
}

TEST(ChooseShownPoints, OrdersByPeaksWithoutAPose) {
  EXPECT_EQ(ChooseShownPoints(
                TestMaps(), TestCamera(), TestPoints(), PoseEstimate(), 2),
            (std::vector<size_t>{3, 0}));
}

TEST(DrawLossMaps, DrawsAnyNumberOfPoints) {
  const DenseLossMaps maps = TestMaps();
  for (const std::vector<size_t>& shown :
       {std::vector<size_t>{}, {1}, {0, 1, 2, 3}}) {
    const Image sheet = DrawLossMaps(GrayImage(),
                                     TestCamera(),
                                     TestPoints(),
                                     TestEstimate(),
                                     maps,
                                     shown.size() == 4 ? &maps : nullptr,
                                     shown,
                                     "query");
    EXPECT_EQ(sheet.rgb.size(), 3u * sheet.width * sheet.height);
    EXPECT_EQ(HasColor(sheet), !shown.empty());
  }
}

TEST(WriteImage, WritesWhatReadImageReads) {
  const std::string path =
      (std::filesystem::temp_directory_path() /
       ("nre_visualization_test_" + std::to_string(getpid()) + ".png"))
          .string();
  Image image = GrayImage();
  image.rgb[0] = 200;
  WriteImage(path, image);
  EXPECT_EQ(ReadImage(path).rgb, image.rgb);
  std::filesystem::remove(path);
}

TEST(WriteImage, NamesThePathThatCannotBeWritten) {
  for (const char* path : {"/nonexistent/a.png", "/tmp/a.nothing"}) {
    try {
      WriteImage(path, GrayImage());
      FAIL() << path;
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace nre
