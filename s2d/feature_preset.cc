#include "s2d/feature_preset.h"

#include <utility>
#include <vector>

#include "nre/error.h"
#include "s2d/dense_sift.h"
#include "s2d/network_features.h"
#include "s2d/network_presets.h"

namespace nre {
namespace {

std::unique_ptr<FeatureExtractor> CreateExtractor(
    const PresetExtractor& extractor, std::shared_ptr<const Network> network) {
  const std::vector<NetworkLevel> levels = NetworkLevels(extractor.network);
  NetworkFeaturesOptions options;
  for (const int level : extractor.levels) {
    options.levels.push_back(levels.at(level));
  }
  options.stride = extractor.stride;
  options.max_image_size = extractor.max_image_size;
  options.unit_norm = extractor.unit_norm;
  options.scales = extractor.scales;
  return CreateNetworkFeatures(std::move(network), options);
}

FeaturePreset CreateDenseSiftPreset() {
  FeaturePreset preset;
  preset.coarse = CreateDenseSift(DenseSiftOptions::Coarse());
  preset.fine = CreateDenseSift(DenseSiftOptions::Fine());
  // The minima of the mean NRE over 6994 points of two data sets, found by
  // calibrate_temperature; see scripts/calibration/README.md.
  preset.coarse_softmax_scale = 40.0f;
  preset.fine_softmax_scale = 22.0f;
  preset.covariance_factor = 1.2;
  return preset;
}

FeaturePreset CreateNetworkPreset(const std::string& name,
                                  const FeaturePresetOptions& options) {
  const auto load = [&](const PresetExtractor& extractor) {
    NetworkOptions network_options;
    network_options.name = extractor.network;
    network_options.weights_path = extractor.weights_path;
    network_options.device = options.device;
    return std::shared_ptr<const Network>(LoadNetwork(network_options));
  };
  const NetworkPreset networks =
      NetworkPresetWithWeights(name, options.weights_path, "--weights_path");
  const PresetExtractor& coarse = networks.coarse;
  const PresetExtractor& fine = networks.fine;
  const std::shared_ptr<const Network> coarse_network = load(coarse);
  const bool share = coarse.network == fine.network;
  FeaturePreset preset;
  preset.coarse = CreateExtractor(coarse, coarse_network);
  preset.fine = CreateExtractor(fine, share ? coarse_network : load(fine));
  preset.coarse_softmax_scale = coarse.softmax_scale;
  preset.fine_softmax_scale = fine.softmax_scale;
  preset.covariance_factor = networks.covariance_factor;
  return preset;
}

}  // namespace

std::string FeaturePresetNames() {
  std::string names = "dense_sift";
  for (const auto& [name, networks] : NetworkPresets()) names += ", " + name;
  return names;
}

FeaturePreset CreateFeaturePreset(const std::string& name,
                                  const FeaturePresetOptions& options) {
  const bool is_network = NetworkPresets().count(name) > 0;
  if (!is_network && name != "dense_sift") {
    throw InputError("unknown feature preset '" + name +
                     "'; there are: " + FeaturePresetNames());
  }
  FeaturePreset preset =
      is_network ? CreateNetworkPreset(name, options) : CreateDenseSiftPreset();
  preset.name = name;
  return preset;
}

}  // namespace nre
