#include "s2d/exif.h"

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "s2d/image.h"

namespace nre {
namespace {

class QuartersToUprightTest : public testing::Test {
 protected:
  QuartersToUprightTest() {
    std::string name =
        (std::filesystem::temp_directory_path() / "nre_exif_test_XXXXXX")
            .string();
    folder_ = mkdtemp(name.data());
    path_ = (folder_ / "a.jpg").string();
  }
  ~QuartersToUprightTest() override { std::filesystem::remove_all(folder_); }

  // Writes a picture of 32 x 16 pixels, bright at its top left, with an EXIF
  // orientation in either order of bytes.
  void Write(uint8_t orientation, bool big_endian) const {
    cv::Mat picture(16, 32, CV_8UC3, cv::Scalar::all(0));
    picture(cv::Rect(0, 0, 16, 8)).setTo(cv::Scalar::all(255));
    std::vector<uint8_t> bytes;
    cv::imencode(".jpg", picture, bytes);
    // A segment of 34 bytes with one entry: the orientation, a short.
    std::string exif = big_endian ? std::string(
                                        "\xff\xe1\0\x22"
                                        "Exif\0\0MM\0*\0\0\0\x8\0\1"
                                        "\1\x12\0\3\0\0\0\1\0?\0\0\0\0\0\0",
                                        36)
                                  : std::string(
                                        "\xff\xe1\0\x22"
                                        "Exif\0\0II*\0\x8\0\0\0\1\0"
                                        "\x12\1\3\0\1\0\0\0?\0\0\0\0\0\0\0",
                                        36);
    exif[exif.find('?')] = static_cast<char>(orientation);
    const std::string jpeg(bytes.begin(), bytes.end());
    std::ofstream(path_, std::ios::binary)
        << jpeg.substr(0, 2) << exif << jpeg.substr(2);
  }

  std::filesystem::path folder_;
  std::string path_;
};

// OpenCV is the oracle: it turns, and mirrors, a picture as its tag says.
TEST_F(QuartersToUprightTest, TurnsLikeOpenCvButForTheMirror) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    for (const bool big_endian : {false, true}) {
      SCOPED_TRACE(orientation);
      Write(static_cast<uint8_t>(orientation), big_endian);
      cv::Mat upright = cv::imread(path_);
      const bool is_mirrored = orientation == 2 || orientation == 4 ||
                               orientation == 5 || orientation == 7;
      if (is_mirrored) cv::flip(upright, upright, 1);
      const Image turned =
          TurnImage(ReadImage(path_), QuartersToUpright(path_));
      ASSERT_EQ(turned.width, upright.cols);
      ASSERT_EQ(turned.height, upright.rows);
      for (int y = 4; y < turned.height; y += 8) {
        for (int x = 4; x < turned.width; x += 8) {
          EXPECT_NEAR(turned.rgb[3 * (y * turned.width + x)],
                      upright.at<cv::Vec3b>(y, x)[0],
                      10)
              << x << ", " << y;
        }
      }
    }
  }
}

TEST_F(QuartersToUprightTest, WithoutAUsableTagTheFileIsUpright) {
  for (const uint8_t orientation : {0, 1, 9, 255}) {
    Write(orientation, true);
    EXPECT_EQ(QuartersToUpright(path_), 0);
  }
  cv::imwrite(path_, cv::Mat(16, 32, CV_8UC3, cv::Scalar::all(7)));
  EXPECT_EQ(QuartersToUpright(path_), 0);
  std::ofstream(path_, std::ios::binary) << "no picture";
  EXPECT_EQ(QuartersToUpright(path_), 0);
  EXPECT_EQ(QuartersToUpright((folder_ / "absent.jpg").string()), 0);
  EXPECT_EQ(QuartersToUpright(folder_.string()), 0);
}

}  // namespace
}  // namespace nre
