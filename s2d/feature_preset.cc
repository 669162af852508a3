#include "s2d/feature_preset.h"

#include <filesystem>
#include <map>
#include <utility>
#include <vector>

#include "nre/error.h"
#include "s2d/dense_sift.h"
#include "s2d/descriptor_comparison.h"
#include "s2d/install_folder.h"
#include "s2d/network_features.h"

namespace nre {
namespace {

// The published file with a network's weights, and where it is.
struct Checkpoint {
  const char* network;
  const char* file;
  const char* source;
};

constexpr Checkpoint kCheckpoints[] = {
    {"nre_coarse", "weights/coarse.pth", "github.com/germain-hug/NRE"},
    {"nre_fine", "weights/fine.pth", "github.com/germain-hug/NRE"},
    {"s2dnet",
     "s2dnet_weights.pth",
     "the README of github.com/germain-hug/S2DNet-Minimal"},
    {"s2dhm",
     "checkpoints/robotcar/weights.pth.tar",
     "github.com/germain-hug/S2DHM"},
    {"vgg16",
     "vgg16-397923af.pth",
     "torchvision (VGG16_Weights.IMAGENET1K_V1)"},
    {"gnnet", "checkpoint.pth", "training by github.com/zimengjiang/gn_net"},
    {"alike_t", "models/alike-t.pth", "github.com/Shiaoming/ALIKE"},
    {"alike_n", "models/alike-n.pth", "github.com/Shiaoming/ALIKE"},
    {"alike_l", "models/alike-l.pth", "github.com/Shiaoming/ALIKE"},
    {"xfeat", "weights/xfeat.pt", "github.com/verlab/accelerated_features"},
};

// A network's part of a preset. Every network normalises its input by
// ImageNet's mean and standard deviation.
struct Extractor {
  const char* network;
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
};

struct NetworkPreset {
  Extractor coarse;
  Extractor fine;
  double covariance_factor = 1.0;  // fitted for `compact` only
};

const std::map<std::string, NetworkPreset>& NetworkPresets() {
  // The logits of the NRE's networks and S2DNet are plain inner products, as
  // they were trained. The factors of the others, which were not trained for a
  // softmax, are guesses: whoever has their weights finds better ones by
  // scripts/calibration.
  constexpr float kTrained = 1.0f;
  constexpr float kCoarseGuess = 40.0f;
  constexpr float kFineGuess = 20.0f;
  // Found by scripts/calibration.
  constexpr float kTwoScalesGain = 1.5f;
  constexpr float kAlikeCoarse = 48.0f;
  constexpr float kAlikeFine = 57.0f;
  constexpr float kXFeatCoarse = 42.0f;
  // Not fitted: that of `compact`, rather than none.
  constexpr double kCautious = 2.2;
  const Extractor compact_coarse = {
      "compact_coarse", {0}, 8.0, 1024, true, 24.0f};
  const Extractor compact_fine = {"compact_fine", {0}, 2.0, 1536, true, 45.0f};
  Extractor compact_2s = compact_coarse;
  compact_2s.scales = {1.0, 0.5};
  compact_2s.softmax_gain = kTwoScalesGain;
  // On a picture of half the size, ALIKE costs a quarter and loses little.
  const auto alike = [&](const char* network) -> NetworkPreset {
    return {{network, {0}, 4.0, 512, true, kAlikeCoarse},
            {network, {1}, 2.0, 1536, true, kAlikeFine},
            kCautious};
  };
  // S2DNet's finest level says nothing about places 8 pixels apart.
  static const std::map<std::string, NetworkPreset> presets = {
      {"compact", {compact_coarse, compact_fine, 2.2}},
      {"compact_2s", {compact_2s, compact_fine, 2.2}},
      {"alike", alike("alike_n")},
      {"alike_t", alike("alike_t")},
      {"alike_l", alike("alike_l")},
      {"xfeat",
       {{"xfeat", {0}, 8.0, 1024, true, kXFeatCoarse},
        compact_fine,
        kCautious}},
      {"nre",
       {{"nre_coarse", {0}, 16.0, 1600, false, kTrained},
        {"nre_fine", {0}, 2.0, 1600, false, kTrained}}},
      {"s2dnet",
       {{"s2dnet", {1, 2}, 8.0, 1024, false, kTrained},
        {"s2dnet", {0, 1, 2}, 2.0, 1024, false, kTrained}}},
      {"s2dhm",
       {{"s2dhm", {0}, 4.0, 512, true, kCoarseGuess},
        {"s2dhm", {0}, 4.0, 1024, true, kFineGuess}}},
      {"vgg16",
       {{"vgg16", {0}, 4.0, 512, true, kCoarseGuess},
        {"vgg16", {0}, 4.0, 1024, true, kFineGuess}}},
      {"gnnet",
       {{"gnnet", {0}, 8.0, 1024, true, kCoarseGuess},
        {"gnnet", {2}, 2.0, 1024, true, kFineGuess}}},
  };
  return presets;
}

std::unique_ptr<FeatureExtractor> CreateExtractor(
    const Extractor& extractor, std::shared_ptr<const Network> network) {
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

// Nothing for networks whose weights come with this software.
const Checkpoint* FindCheckpoint(const std::string& network) {
  for (const Checkpoint& checkpoint : kCheckpoints) {
    if (network == checkpoint.network) return &checkpoint;
  }
  return nullptr;
}

// The weights in `folder` or, if it is empty, those that come with this
// software; these also for a network that has some, in a preset that has others
// without, if they are not in the folder.
std::string WeightsFile(const std::string& preset,
                        const std::string& network,
                        const std::string& folder,
                        bool others_need_folder) {
  namespace fs = std::filesystem;
  const std::string file = network + ".safetensors";
  const std::string shipped =
      (fs::path(InstallFolder()) / "share/colmap_nre/weights" / file).string();
  const std::string path =
      folder.empty() ? shipped : (fs::path(folder) / file).string();
  std::error_code error;
  if (fs::exists(path, error)) return path;
  const Checkpoint* checkpoint = FindCheckpoint(network);
  if (checkpoint == nullptr && others_need_folder) return shipped;
  std::string message = "The features " + preset + " need weights: ";
  if (checkpoint != nullptr) {
    message += folder.empty() ? "expected --weights_path, a folder with " + file
                              : path + " does not exist";
    message += std::string(". Get ") + checkpoint->file + " from " +
               checkpoint->source +
               " and convert it: scripts/convert_weights.py " + network + " " +
               checkpoint->file + " " +
               (folder.empty() ? "FOLDER/" + file : path);
    throw InputError(message + ".");
  }
  throw InputError(message + path + " does not exist. Expected the file " +
                   file +
                   " of s2d/weights in the source of this software, installed "
                   "or in the folder --weights_path.");
}

// The extractor as the header of its weights has it.
Extractor AsTrained(Extractor extractor, const std::string& weights_path) {
  const DescriptorComparison header = ReadDescriptorComparison(
      ReadSafetensors(weights_path).metadata, weights_path);
  extractor.unit_norm = header.unit_norm.value_or(extractor.unit_norm);
  extractor.softmax_scale =
      extractor.softmax_gain *
      header.softmax_scale.value_or(extractor.softmax_scale);
  return extractor;
}

FeaturePreset CreateNetworkPreset(const std::string& name,
                                  const NetworkPreset& networks,
                                  const FeaturePresetOptions& options) {
  const bool need_folder = FindCheckpoint(networks.coarse.network) != nullptr ||
                           FindCheckpoint(networks.fine.network) != nullptr;
  const auto weights = [&](const Extractor& extractor) {
    return WeightsFile(
        name, extractor.network, options.weights_path, need_folder);
  };
  const auto load = [&](const Extractor& extractor) {
    NetworkOptions network_options;
    network_options.name = extractor.network;
    network_options.weights_path = weights(extractor);
    network_options.device = options.device;
    return std::shared_ptr<const Network>(LoadNetwork(network_options));
  };
  const Extractor coarse = AsTrained(networks.coarse, weights(networks.coarse));
  const Extractor fine = AsTrained(networks.fine, weights(networks.fine));
  const std::shared_ptr<const Network> coarse_network = load(coarse);
  const bool share = std::string(coarse.network) == fine.network;
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
  const auto networks = NetworkPresets().find(name);
  if (networks == NetworkPresets().end() && name != "dense_sift") {
    throw InputError("unknown feature preset '" + name +
                     "'; there are: " + FeaturePresetNames());
  }
  FeaturePreset preset =
      networks == NetworkPresets().end()
          ? CreateDenseSiftPreset()
          : CreateNetworkPreset(name, networks->second, options);
  preset.name = name;
  return preset;
}

}  // namespace nre
