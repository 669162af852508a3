// Dense features and the interface of everything that computes them.
#pragma once

#include <algorithm>
#include <vector>

#include <Eigen/Core>

#include "nre/map_from_image.h"
#include "s2d/image.h"

namespace nre {

// Dense features H of logical shape [channels, height, width], stored channels
// last (all channels of a cell side by side).
struct FeatureMap {
  int channels = 0;
  int height = 0;
  int width = 0;
  MapFromImage map_from_image;
  // Whether every descriptor has unit L2 norm or is zero.
  bool unit_norm = true;
  std::vector<float> data;  // [height, width, channels]

  const float* Descriptor(int x, int y) const {
    return &data[(static_cast<size_t>(y) * width + x) * channels];
  }

  // The descriptor at image coordinates, bilinearly interpolated and, if these
  // features have unit norm, normalised, into `descriptor` [channels]. Returns
  // false for a position outside of the cells' centres or without any structure
  // (zero descriptor).
  bool Sample(const Eigen::Vector2d& xy_image, float* descriptor) const;
};

// Dense features of an image by the two extractors of a preset.
struct ImageFeatures {
  FeatureMap coarse;
  FeatureMap fine;
};

// Descriptors of those positions that have one.
struct DescribedPositions {
  std::vector<size_t> positions;   // indices
  std::vector<float> descriptors;  // [positions.size(), channels]

  const float* Descriptor(size_t i, int channels) const {
    return &descriptors[i * channels];
  }
};

// By FeatureMap::Sample() at image coordinates [2, N].
DescribedPositions DescribePositions(const Eigen::Matrix2Xd& xys,
                                     const FeatureMap& features);

// Throws InputError if an image that is resized to these pixels has less than
// `min_size` on either side. Names its own size, which is what a user knows.
void CheckSize(const Image& image, int width, int height, int min_size);

// Computes dense features of an image. Stateless: one extractor serves several
// threads.
class FeatureExtractor {
 public:
  virtual ~FeatureExtractor() = default;

  virtual int Channels() const = 0;

  // Distance of neighbouring cells, in pixels of the image as it is resized.
  virtual double Stride() const = 0;

  // FeatureMap::unit_norm of what is extracted.
  virtual bool UnitNorm() const { return true; }

  // The largest factor by which an image of this size should be resized before
  // its features are computed, if they are kept; it bounds their number.
  virtual double MaxScale(int width, int height) const = 0;

  // Features of the image as it is after a resize by `scale` > 0; positions are
  // those of the image before. Throws InputError for an image that is then too
  // small for a single descriptor.
  virtual FeatureMap Extract(const Image& image, double scale) const = 0;

  // What an image is resized by if nothing else is known: only if it is too
  // large.
  double NaturalScale(int width, int height) const {
    return std::min(1.0, MaxScale(width, height));
  }
  FeatureMap Extract(const Image& image) const {
    return Extract(image, NaturalScale(image.width, image.height));
  }
};

}  // namespace nre
