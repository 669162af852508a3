// Pairs of coarse and fine extractors that go together.
#pragma once

#include <memory>
#include <string>

#include "s2d/feature_extractor.h"
#include "s2d/networks/network.h"

namespace nre {

// A coarse and a fine extractor, with the factor that turns the inner products
// of their descriptors into the logits of a softmax: what the header of a
// network's weights says (see s2d/descriptor_comparison.h), or else what
// scripts/calibration found.
struct FeaturePreset {
  std::string name;
  std::unique_ptr<FeatureExtractor> coarse;
  std::unique_ptr<FeatureExtractor> fine;
  float coarse_softmax_scale = 0.0f;
  float fine_softmax_scale = 0.0f;
  // See SharedErrors; fitted on rendered scenes, see scripts/benchmark.
  double covariance_factor = 1.0;
};

struct FeaturePresetOptions {
  // Folder with <network>.safetensors of the networks that a preset uses.
  // Empty: those that come with this software, which only `compact` has.
  std::string weights_path;

  Device device = Device::kAuto;
};

// What commands use unless they are told otherwise.
constexpr char kDefaultFeatures[] = "compact";

// The presets that there are, separated by commas; network_presets.cc has their
// table.
std::string FeaturePresetNames();

// Throws InputError, naming the presets there are, for an unknown name, for
// weights that are missing, with where to get them and how to convert them, and
// for weights that cannot be used.
FeaturePreset CreateFeaturePreset(
    const std::string& name,
    const FeaturePresetOptions& options = FeaturePresetOptions());

}  // namespace nre
