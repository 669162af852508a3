#include "s2d/image.h"

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <unistd.h>

#include "nre/error.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

class ReadImageTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name =
        (fs::temp_directory_path() / "nre_image_test_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }

  void TearDown() override { fs::remove_all(folder_); }

  std::string Write(const std::string& name,
                    const std::vector<uint8_t>& bytes) const {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return path;
  }

  std::string Encode(const std::string& name, const cv::Mat& image) const {
    std::vector<uint8_t> bytes;
    EXPECT_TRUE(cv::imencode(fs::path(name).extension(), image, bytes));
    return Write(name, bytes);
  }

  // The message of the InputError that reading throws; empty if there is none.
  static std::string Error(const std::string& path) {
    try {
      ReadImage(path);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }

  fs::path folder_;
};

// 5 x 3 pixels, all different, in OpenCV's order of channels.
template <typename Pixel>
cv::Mat Gradient(int type, const Pixel& pixel) {
  cv::Mat image(3, 5, type);
  for (int y = 0; y < image.rows; ++y) {
    for (int x = 0; x < image.cols; ++x) {
      using Value = decltype(pixel(x, y));
      image.at<Value>(y, x) = pixel(x, y);
    }
  }
  return image;
}

const uint8_t* PixelAt(const Image& image, int x, int y) {
  return &image.rgb[3 * (y * image.width + x)];
}

// Something that JPEG needs several kilobytes for.
std::vector<uint8_t> NoisyJpeg() {
  cv::Mat image(64, 96, CV_8UC3);
  cv::theRNG().state = 1;
  cv::randu(image, 0, 255);
  std::vector<uint8_t> bytes;
  cv::imencode(".jpg", image, bytes);
  return bytes;
}

// Puts an EXIF segment with orientation 6 (turn by 90 degrees) and an
// end-of-image marker, as thumbnails have, behind the start of a JPEG file.
std::vector<uint8_t> WithExif(const std::vector<uint8_t>& jpeg) {
  const std::vector<uint8_t> exif = {
      0xFF, 0xE1, 0x00, 0x26,                          // segment of 38 bytes
      'E',  'x',  'i',  'f',  0x00, 0x00,              //
      'M',  'M',  0x00, 0x2A, 0x00, 0x00, 0x00, 0x08,  // TIFF header
      0x00, 0x01,                                      // one entry:
      0x01, 0x12, 0x00, 0x03, 0x00, 0x00, 0x00, 0x01,  // orientation, short
      0x00, 0x06, 0x00, 0x00,                          // its value
      0x00, 0x00, 0x00, 0x00,                          // no further directory
      0xFF, 0xD9, 0xFF, 0xD9};
  std::vector<uint8_t> bytes(jpeg.begin(), jpeg.begin() + 2);
  bytes.insert(bytes.end(), exif.begin(), exif.end());
  bytes.insert(bytes.end(), jpeg.begin() + 2, jpeg.end());
  return bytes;
}

TEST_F(ReadImageTest, ColorIsRgb) {
  const auto path = Encode("a.png", Gradient(CV_8UC3, [](int x, int y) {
                             return cv::Vec3b(10 * x, 10 * y, 200);
                           }));
  const Image image = ReadImage(path);
  EXPECT_EQ(image.width, 5);
  EXPECT_EQ(image.height, 3);
  ASSERT_EQ(image.rgb.size(), 45u);
  EXPECT_EQ(PixelAt(image, 4, 2)[0], 200);
  EXPECT_EQ(PixelAt(image, 4, 2)[1], 20);
  EXPECT_EQ(PixelAt(image, 4, 2)[2], 40);
}

TEST_F(ReadImageTest, GrayIsRepeated) {
  const auto path = Encode("a.png", Gradient(CV_8UC1, [](int x, int y) {
                             return static_cast<uint8_t>(50 * y + 10 * x);
                           }));
  const Image image = ReadImage(path);
  ASSERT_EQ(image.rgb.size(), 45u);
  for (int c = 0; c < 3; ++c) EXPECT_EQ(PixelAt(image, 3, 2)[c], 130);
}

TEST_F(ReadImageTest, SixteenBitsAreScaled) {
  const auto gray = Encode("gray.png", Gradient(CV_16UC1, [](int x, int) {
                             return static_cast<uint16_t>(257 * 60 * x);
                           }));
  EXPECT_EQ(PixelAt(ReadImage(gray), 3, 1)[0], 180);
  EXPECT_EQ(PixelAt(ReadImage(gray), 3, 1)[2], 180);
  const auto color = Encode("color.png", Gradient(CV_16UC3, [](int x, int y) {
                              return cv::Vec3w(257 * 9, 257 * x, 257 * y);
                            }));
  const Image image = ReadImage(color);
  EXPECT_EQ(PixelAt(image, 4, 2)[0], 2);
  EXPECT_EQ(PixelAt(image, 4, 2)[1], 4);
  EXPECT_EQ(PixelAt(image, 4, 2)[2], 9);
}

TEST_F(ReadImageTest, AlphaIsDropped) {
  const auto path = Encode("a.png", Gradient(CV_8UC4, [](int x, int y) {
                             return cv::Vec4b(x, y, 77, x == 0 ? 0 : 128);
                           }));
  const Image image = ReadImage(path);
  ASSERT_EQ(image.rgb.size(), 45u);
  EXPECT_EQ(PixelAt(image, 0, 1)[0], 77);
  EXPECT_EQ(PixelAt(image, 4, 1)[0], 77);
  EXPECT_EQ(PixelAt(image, 4, 1)[2], 4);
}

TEST_F(ReadImageTest, ExifOrientationIsIgnored) {
  const std::string path = Write("a.jpg", WithExif(NoisyJpeg()));
  // The file does say it: OpenCV turns the image unless told otherwise.
  ASSERT_EQ(cv::imread(path).cols, 64);
  const Image image = ReadImage(path);
  EXPECT_EQ(image.width, 96);
  EXPECT_EQ(image.height, 64);
}

TEST_F(ReadImageTest, TruncatedJpegIsAnError) {
  for (const bool with_exif : {false, true}) {
    const std::vector<uint8_t> bytes =
        with_exif ? WithExif(NoisyJpeg()) : NoisyJpeg();
    EXPECT_EQ(Error(Write("whole.jpg", bytes)), "");
    for (const double share : {0.01, 0.1, 0.5, 0.9, 0.999}) {
      const auto size = static_cast<size_t>(share * bytes.size());
      const auto path = Write("cut.jpg", {bytes.begin(), bytes.begin() + size});
      EXPECT_NE(Error(path).find(path), std::string::npos) << share;
    }
    // The end marker and one byte of the last row.
    EXPECT_NE(Error(Write("cut.jpg", {bytes.begin(), bytes.end() - 3})), "");
  }
}

// As OpenCV writes them: the flags of cv::imencode().
struct Encoding {
  const char* name;
  std::vector<int> flags;
};

std::vector<Encoding> Encodings() {
  return {{"baseline", {}},
          {"restarts", {cv::IMWRITE_JPEG_RST_INTERVAL, 5}},
          {"progressive", {cv::IMWRITE_JPEG_PROGRESSIVE, 1}}};
}

// The last bytes of a scan are of the last pixels, so that these tell whether
// all was decoded.
TEST_F(ReadImageTest, WithoutAnEndMarkerAJpegIsReadAsWithIt) {
  cv::Mat noise(61, 93, CV_8UC3);  // not whole blocks
  cv::randu(noise, 0, 255);
  std::string trailer("\0\0\0\x18", 4);
  trailer += "ftypmp42";
  for (int i = 0; i < 100000; ++i) trailer += static_cast<char>(i % 251);
  for (const Encoding& encoding : Encodings()) {
    std::vector<uint8_t> bytes;
    cv::imencode(".jpg", noise, bytes, encoding.flags);
    const Image whole = ReadImage(Write("whole.jpg", bytes));
    std::vector<uint8_t> ended(bytes.begin(), bytes.end() - 2);
    EXPECT_EQ(ReadImage(Write("ended.jpg", ended)).rgb, whole.rgb)
        << encoding.name;
    ended.push_back(0xFF);
    EXPECT_EQ(ReadImage(Write("half.jpg", ended)).rgb, whole.rgb)
        << encoding.name;
    ended.pop_back();
    ended.insert(ended.end(), trailer.begin(), trailer.end());
    EXPECT_EQ(ReadImage(Write("trailer.jpg", ended)).rgb, whole.rgb)
        << encoding.name;
    ended.resize(bytes.size() - 2);
    ended.resize(2 * bytes.size());
    EXPECT_EQ(ReadImage(Write("filled.jpg", ended)).rgb, whole.rgb)
        << encoding.name;
    // Zeros are no substitute for rows.
    std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + bytes.size() / 2);
    cut.resize(2 * bytes.size());
    EXPECT_NE(Error(Write("cut.jpg", cut)), "") << encoding.name;
  }
}

// Every row is there, but not as exact as it was: as if it were cut off.
TEST_F(ReadImageTest, AProgressiveJpegThatLacksScansIsAnError) {
  cv::Mat noise(64, 96, CV_8UC3);
  cv::randu(noise, 0, 255);
  std::vector<uint8_t> bytes;
  cv::imencode(".jpg", noise, bytes, {cv::IMWRITE_JPEG_PROGRESSIVE, 1});
  int num_scans = 0;
  for (size_t i = 1; i + 1 < bytes.size(); ++i) {
    if (bytes[i] == 0xFF && bytes[i + 1] == 0xDA && ++num_scans > 1) {
      EXPECT_NE(Error(Write("cut.jpg", {bytes.begin(), bytes.begin() + i})), "")
          << num_scans;
    }
  }
  EXPECT_GE(num_scans, 5);
}

TEST_F(ReadImageTest, BytesAfterTheJpegAreAllowed) {
  std::vector<uint8_t> bytes = NoisyJpeg();
  bytes.insert(bytes.end(), 100, 0x55);
  EXPECT_EQ(Error(Write("a.jpg", bytes)), "");
}

TEST_F(ReadImageTest, ProgressiveJpeg) {
  cv::Mat noise(64, 96, CV_8UC3);
  cv::randu(noise, 0, 255);
  std::vector<uint8_t> bytes;
  cv::imencode(".jpg", noise, bytes, {cv::IMWRITE_JPEG_PROGRESSIVE, 1});
  EXPECT_EQ(Error(Write("a.jpg", bytes)), "");
  bytes.resize(bytes.size() / 2);
  EXPECT_NE(Error(Write("a.jpg", bytes)), "");
}

TEST_F(ReadImageTest, TruncatedPngIsAnError) {
  cv::Mat noise(64, 96, CV_8UC3);
  cv::randu(noise, 0, 255);
  std::vector<uint8_t> bytes;
  cv::imencode(".png", noise, bytes);
  EXPECT_EQ(Error(Write("whole.png", bytes)), "");
  for (const double share : {0.001, 0.1, 0.5, 0.9, 0.999}) {
    const auto size = static_cast<size_t>(share * bytes.size());
    const auto path = Write("cut.png", {bytes.begin(), bytes.begin() + size});
    EXPECT_NE(Error(path).find(path), std::string::npos) << share;
  }
}

TEST_F(ReadImageTest, MissingFolderEmptyOrForeign) {
  const std::string missing = (folder_ / "missing.jpg").string();
  EXPECT_NE(Error(missing).find(missing), std::string::npos);
  EXPECT_NE(Error(missing).find("No such file"), std::string::npos);
  EXPECT_NE(Error(folder_.string()).find("not a file"), std::string::npos);
  EXPECT_NE(Error(Write("empty.jpg", {})).find("empty"), std::string::npos);
  EXPECT_NE(Error(Write("text.jpg", {'h', 'e', 'l', 'l', 'o'})), "");
}

TEST(ImageTest, GrayIsLuma) {
  Image image;
  image.width = 4;
  image.height = 1;
  image.rgb = {255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255};
  const std::vector<float> gray = image.Gray();
  ASSERT_EQ(gray.size(), 4u);
  EXPECT_NEAR(gray[0], 0.299f, 1e-6f);
  EXPECT_NEAR(gray[1], 0.587f, 1e-6f);
  EXPECT_NEAR(gray[2], 0.114f, 1e-6f);
  EXPECT_NEAR(gray[3], 1.0f, 1e-6f);
}

TEST(FlipLeftRight, ReversesRows) {
  Image image;
  image.width = 3;
  image.height = 2;
  image.rgb = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19};
  const Image flipped = FlipLeftRight(image);
  EXPECT_EQ(flipped.width, 3);
  EXPECT_EQ(flipped.height, 2);
  const std::vector<uint8_t> expected = {
      7, 8, 9, 4, 5, 6, 1, 2, 3, 17, 18, 19, 14, 15, 16, 11, 12, 13};
  EXPECT_EQ(flipped.rgb, expected);
}

TEST(TurnImage, TheTopRowIsTheRightColumnAfterAQuarter) {
  Image image;
  image.width = 3;
  image.height = 2;
  for (uint8_t i = 1; i <= 6; ++i) image.rgb.insert(image.rgb.end(), 3, i);
  const auto reds = [](const Image& image) {
    std::vector<int> reds;
    for (size_t i = 0; i < image.rgb.size(); i += 3) {
      reds.push_back(image.rgb[i]);
    }
    return reds;
  };
  const Image quarter = TurnImage(image, 1);
  EXPECT_EQ(quarter.width, 2);
  EXPECT_EQ(quarter.height, 3);
  EXPECT_EQ(reds(quarter), (std::vector<int>{4, 1, 5, 2, 6, 3}));
  EXPECT_EQ(reds(TurnImage(image, 2)), (std::vector<int>{6, 5, 4, 3, 2, 1}));
  EXPECT_EQ(reds(TurnImage(image, 3)), (std::vector<int>{3, 6, 2, 5, 1, 4}));
  EXPECT_EQ(reds(TurnImage(image, 0)), reds(image));
}

}  // namespace
}  // namespace nre
