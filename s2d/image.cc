#include "s2d/image.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <sys/stat.h>

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "nre/error.h"
#include "s2d/jpeg_end.h"
#include "s2d/resize.h"

namespace nre {
namespace {

std::vector<uint8_t> ReadFile(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) {
    throw InputError("cannot read the image " + path + ": " +
                     std::strerror(errno) + "; check the path");
  }
  if (!S_ISREG(status.st_mode)) {
    throw InputError("cannot read the image " + path +
                     ": it is not a file; expected an image file");
  }
  if (status.st_size == 0) {
    throw InputError("cannot decode the image " + path +
                     ": the file is empty; restore or remove it");
  }
  std::vector<uint8_t> bytes(status.st_size);
  std::ifstream file(path, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(bytes.data()), bytes.size())) {
    throw InputError("cannot read the image " + path +
                     "; check its permissions");
  }
  return bytes;
}

// Ends a JPEG file that has no end-of-image marker where its picture does:
// without it, OpenCV loses the last rows.
void EndJpeg(const std::string& path, std::vector<uint8_t>* bytes) {
  const std::optional<size_t> end = FindPictureEnd(*bytes);
  if (!end.has_value()) {
    throw InputError("cannot decode the image " + path +
                     ": the JPEG file ends before its image does; "
                     "restore or remove it");
  }
  bytes->resize(*end);
  bytes->insert(bytes->end(), {0xFF, 0xD9});
}

// Empty if it cannot be decoded.
cv::Mat Decode(const std::vector<uint8_t>& bytes, int flags) {
  try {
    return cv::imdecode(bytes, flags);
  } catch (const cv::Exception&) {
    return {};
  }
}

}  // namespace

std::vector<float> Image::Gray() const {
  std::vector<float> gray(static_cast<size_t>(width) * height);
  for (size_t i = 0; i < gray.size(); ++i) {
    const uint8_t* pixel = &rgb[3 * i];
    gray[i] = (0.299f * pixel[0] + 0.587f * pixel[1] + 0.114f * pixel[2]) *
              (1.0f / 255.0f);
  }
  return gray;
}

Image ResizeImage(const Image& image, int width, int height) {
  if (width == image.width && height == image.height) return image;
  Image resized{width, height, {}};
  resized.rgb.resize(static_cast<size_t>(3) * width * height);
  // Only read: cv::Mat takes no const.
  const cv::Mat from(image.height,
                     image.width,
                     CV_8UC3,
                     const_cast<uint8_t*>(image.rgb.data()));
  cv::Mat to(height, width, CV_8UC3, resized.rgb.data());
  Resized(from, to.size()).copyTo(to);
  return resized;
}

Image FlipLeftRight(const Image& image) {
  Image flipped = image;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const size_t from = 3 * (static_cast<size_t>(y) * image.width + x);
      const size_t to = 3 * (static_cast<size_t>(y + 1) * image.width - 1 - x);
      std::copy_n(&image.rgb[from], 3, &flipped.rgb[to]);
    }
  }
  return flipped;
}

Image TurnImage(const Image& image, int num_quarters) {
  if (num_quarters == 0) return image;
  const bool is_lying = num_quarters != 2;
  Image turned{is_lying ? image.height : image.width,
               is_lying ? image.width : image.height,
               std::vector<uint8_t>(image.rgb.size())};
  // Only read: cv::Mat takes no const.
  const cv::Mat from(image.height,
                     image.width,
                     CV_8UC3,
                     const_cast<uint8_t*>(image.rgb.data()));
  cv::Mat to(turned.height, turned.width, CV_8UC3, turned.rgb.data());
  constexpr cv::RotateFlags kTurns[] = {
      cv::ROTATE_90_CLOCKWISE, cv::ROTATE_180, cv::ROTATE_90_COUNTERCLOCKWISE};
  cv::rotate(from, to, kTurns[num_quarters - 1]);
  return turned;
}

Image16 ReadImage16(const std::string& path) {
  const cv::Mat decoded = Decode(ReadFile(path), cv::IMREAD_UNCHANGED);
  if (decoded.empty() || decoded.type() != CV_16UC1) {
    throw InputError("cannot decode the image " + path +
                     ": expected a PNG or TIFF file with one channel of 16 "
                     "bits");
  }
  Image16 image{decoded.cols, decoded.rows, {}};
  image.values.assign(decoded.begin<uint16_t>(), decoded.end<uint16_t>());
  return image;
}

Image ReadImage(const std::string& path) {
  std::vector<uint8_t> bytes = ReadFile(path);
  if (IsJpeg(bytes) && !HasEndOfImage(bytes)) EndJpeg(path, &bytes);
  const cv::Mat bgr =
      Decode(bytes, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
  if (bgr.empty() || bgr.type() != CV_8UC3) {
    throw InputError("cannot decode the image " + path +
                     ": expected a complete JPEG, PNG, TIFF or other image "
                     "file that OpenCV reads");
  }
  Image image;
  image.width = bgr.cols;
  image.height = bgr.rows;
  image.rgb.resize(3 * bgr.total());
  cv::Mat rgb(bgr.rows, bgr.cols, CV_8UC3, image.rgb.data());
  cv::cvtColor(bgr, rgb, cv::COLOR_BGR2RGB);
  return image;
}

}  // namespace nre
