// Images in memory and how files become images.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nre {

// 8-bit RGB, [height, width, 3], row by row.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;

  // Luma (Rec. 601) in [0, 1], [height, width].
  std::vector<float> Gray() const;
};

Image FlipLeftRight(const Image& image);

// Clockwise by so many quarters of a full turn, 0 to 3.
Image TurnImage(const Image& image, int num_quarters);

// As Resized() in s2d/resize.h does.
Image ResizeImage(const Image& image, int width, int height);

// Reads an image file as COLMAP does, so that COLMAP's keypoints and
// intrinsics apply: the EXIF orientation is ignored (pixels stay as stored),
// 16-bit channels are scaled to 8 bits, grey is repeated in all channels,
// alpha is dropped. A JPEG file may lack its end marker, or have anything in
// its place, as long as all rows are there. Throws InputError naming the file
// if it is missing or cannot be decoded completely.
Image ReadImage(const std::string& path);

// One channel of 16 bits, [height, width], row by row: depth maps.
struct Image16 {
  int width = 0;
  int height = 0;
  std::vector<uint16_t> values;
};

// Throws InputError as ReadImage() does, and for a file of other channels.
Image16 ReadImage16(const std::string& path);

}  // namespace nre
