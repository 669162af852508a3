// Teachers of a distillation: feature presets of networks
// (s2d/network_presets.h), as the estimator uses them, but in LibTorch alone.
// Only for training: includes LibTorch.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <torch/types.h>

#include "s2d/network_presets.h"

namespace nre {

class NetworkModule;

// Dense features of a photograph, and how their descriptors are compared.
struct TeacherMap {
  torch::Tensor features;  // [C, H, W]

  // [2, 2], double precision: map coordinates are image coordinates times the
  // first row (x, y) plus the second.
  torch::Tensor map_from_image;

  // Turns inner products into the logits of a softmax.
  double softmax_scale = 1.0;

  // Whether descriptors have unit norm, so that interpolated ones are
  // normalised.
  bool unit_norm = true;
};

// Map coordinates of image positions [N, 2], in double precision.
torch::Tensor MapPositions(const TeacherMap& map,
                           const torch::Tensor& positions);

// Descriptors at image positions [N, 2], interpolated bilinearly, beyond the
// border those at the border, anywhere for NaN; of unit norm if map.unit_norm.
// Returns [N, C], single precision, on the device of the positions.
torch::Tensor SampleTeacher(const TeacherMap& map,
                            const torch::Tensor& positions);

// One network's part of a preset, with its weights.
class TeacherExtractor {
 public:
  // Throws InputError as LoadWeights() does.
  TeacherExtractor(const PresetExtractor& preset, torch::Device device);

  // Features of a photograph, uint8 [H, W, 3], as FeatureExtractor::Extract()
  // of the preset has them (but for the filter of the resize): on the CPU, in
  // half precision. Takes() says whether it is large enough.
  TeacherMap Extract(const torch::Tensor& photo) const;

  // Whether a photograph of this size, in pixels, is large enough.
  bool Takes(int64_t height, int64_t width) const;

  // At least the bytes of the features of a window of this size, all or a part
  // of a photograph of that size, in pixels; cells that it shares included.
  int64_t MaxBytes(int64_t photo_height,
                   int64_t photo_width,
                   int64_t height,
                   int64_t width) const;

  double softmax_scale() const { return preset_.softmax_scale; }
  bool unit_norm() const { return preset_.unit_norm; }

  // Says which network and weights these are: two with the same one have the
  // same features and compare descriptors in the same way.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  TeacherMap ExtractAt(const torch::Tensor& image, double scale) const;
  double ImageScale(int64_t height, int64_t width) const;

  PresetExtractor preset_;
  torch::Device device_;
  std::shared_ptr<NetworkModule> module_;
  std::string fingerprint_;
};

struct Teacher {
  std::string name;  // of the preset
  TeacherExtractor coarse;
  TeacherExtractor fine;
};

struct TeacherOptions {
  // Presets of networks.
  std::vector<std::string> names;

  // Folders with <network>.safetensors: one for all, or one for each; empty, or
  // none: the weights that come with this software.
  std::vector<std::string> weights_paths;

  // Throws InputError for an unknown preset or one without a network, and for
  // another number of folders.
  void Check() const;
};

// Throws InputError as Check() and NetworkPresetWithWeights(), and for weights
// that are not the networks'.
std::vector<Teacher> LoadTeachers(const TeacherOptions& options,
                                  torch::Device device);

}  // namespace nre
