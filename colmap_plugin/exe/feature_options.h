// The options of all commands that compute dense features.
#pragma once

#include <string>

#include "colmap_plugin/exe/options.h"
#include "s2d/feature_preset.h"

namespace nre {

struct FeatureOptions {
  std::string features = kDefaultFeatures;
  std::string weights_path;
  std::string device = "auto";
};

void AddFeatureOptions(FeatureOptions* options, OptionParser* parser);

// Throws InputError for an unknown preset or device, and for missing weights.
FeaturePreset CreateFeaturePreset(const FeatureOptions& options);

}  // namespace nre
