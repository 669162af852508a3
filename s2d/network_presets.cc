#include "s2d/network_presets.h"

#include <filesystem>

#include "nre/error.h"
#include "s2d/descriptor_comparison.h"
#include "s2d/install_folder.h"
#include "s2d/safetensors.h"

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
                        const std::string& option,
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
    message += folder.empty() ? "expected " + option + ", a folder with " + file
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
                   "or in the folder " +
                   option + ".");
}

// The extractor as the header of its weights has it.
PresetExtractor AsTrained(PresetExtractor extractor) {
  const DescriptorComparison header = ReadDescriptorComparison(
      ReadSafetensors(extractor.weights_path).metadata, extractor.weights_path);
  extractor.unit_norm = header.unit_norm.value_or(extractor.unit_norm);
  extractor.softmax_scale =
      extractor.softmax_gain *
      header.softmax_scale.value_or(extractor.softmax_scale);
  return extractor;
}

}  // namespace

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
  const PresetExtractor compact_1s = {
      "compact_coarse", {0}, 8.0, 1024, true, 24.0f};
  const PresetExtractor compact_fine = {
      "compact_fine", {0}, 2.0, 1536, true, 45.0f};
  PresetExtractor compact_coarse = compact_1s;
  compact_coarse.scales = {1.0, 0.5};
  compact_coarse.softmax_gain = kTwoScalesGain;
  // On a picture of half the size, ALIKE costs a quarter and loses little.
  const auto alike = [&](const char* network) -> NetworkPreset {
    return {{network, {0}, 4.0, 512, true, kAlikeCoarse},
            {network, {1}, 2.0, 1536, true, kAlikeFine},
            kCautious};
  };
  // S2DNet's finest level says nothing about places 8 pixels apart.
  static const std::map<std::string, NetworkPreset> presets = {
      {"compact", {compact_coarse, compact_fine, 2.2}},
      {"compact_1s", {compact_1s, compact_fine, 2.2}},
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

NetworkPreset NetworkPresetWithWeights(const std::string& name,
                                       const std::string& folder,
                                       const std::string& option) {
  NetworkPreset preset = NetworkPresets().at(name);
  const bool need_folder = FindCheckpoint(preset.coarse.network) != nullptr ||
                           FindCheckpoint(preset.fine.network) != nullptr;
  for (PresetExtractor* extractor : {&preset.coarse, &preset.fine}) {
    extractor->weights_path =
        WeightsFile(name, extractor->network, folder, option, need_folder);
    *extractor = AsTrained(*extractor);
  }
  return preset;
}

}  // namespace nre
