// Dense features and the interface of everything that computes them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <Eigen/Core>

#include "nre/map_from_image.h"
#include "s2d/image.h"

namespace nre {

// Dense features H of logical shape [channels, height, width], stored channels
// last (all channels of a cell side by side). Every descriptor is zero or has
// unit L2 norm.
struct FeatureMap {
  int channels = 0;
  int height = 0;
  int width = 0;
  MapFromImage map_from_image;
  std::vector<float> data;  // [height, width, channels]

  const float* Descriptor(int x, int y) const {
    return &data[(static_cast<size_t>(y) * width + x) * channels];
  }

  // The descriptor at image coordinates, bilinearly interpolated and
  // normalised, into `descriptor` [channels]. Returns false for a position
  // outside of the cells' centres or without any structure (zero descriptor).
  bool Sample(const Eigen::Vector2d& xy_image, float* descriptor) const;
};

// Computes dense features of an image. Stateless: one extractor serves several
// threads.
class FeatureExtractor {
 public:
  virtual ~FeatureExtractor() = default;

  virtual int Channels() const = 0;

  // Throws InputError for an image that is too small for a single descriptor.
  virtual FeatureMap Extract(const Image& image) const = 0;
};

// A coarse and a fine extractor that go together, with the factor that turns
// their cosine similarities into the logits of a softmax (see
// scripts/calibration).
struct FeaturePreset {
  std::string name;
  std::unique_ptr<FeatureExtractor> coarse;
  std::unique_ptr<FeatureExtractor> fine;
  float coarse_softmax_scale = 0.0f;
  float fine_softmax_scale = 0.0f;
  // See MethodInputs; fitted on rendered scenes, see scripts/benchmark.
  double covariance_factor = 1.0;
};

// Throws InputError, naming the presets there are, for an unknown name.
FeaturePreset CreateFeaturePreset(const std::string& name);

}  // namespace nre
