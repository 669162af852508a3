// The presets of features that networks compute: which networks, how their
// outputs become descriptors, and where their weights are. Plain data, for
// those who link LibTorch and those who do not.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace nre {

// A network's part of a preset.
struct PresetExtractor {
  std::string network;
  std::vector<int> levels;  // of NetworkLevels()
  double stride;            // of the descriptors
  int max_image_size;

  // Where the header of the weights does not say it.
  bool unit_norm;
  float softmax_scale;

  // See NetworkFeaturesOptions; with several, softmax_scale, which is that of
  // one, is multiplied by the gain.
  std::vector<double> scales = {1.0};
  float softmax_gain = 1.0f;

  // Of NetworkPresetWithWeights(): the file with the network's weights.
  std::string weights_path = {};
};

struct NetworkPreset {
  PresetExtractor coarse;
  PresetExtractor fine;
  double covariance_factor = 1.0;  // fitted for `compact` only
};

// All presets of networks, by name.
const std::map<std::string, NetworkPreset>& NetworkPresets();

// The preset with this name, which is one of NetworkPresets(), with the files
// of its weights in `folder` (empty: those that come with this software), and
// what their headers say of unit norm and softmax factor; the gain is applied.
// Throws InputError for weights that are missing, with where to get them and
// how to convert them, and for headers that make no sense. `option`: what names
// the folder on the command line, for messages.
NetworkPreset NetworkPresetWithWeights(const std::string& name,
                                       const std::string& folder,
                                       const std::string& option);

}  // namespace nre
