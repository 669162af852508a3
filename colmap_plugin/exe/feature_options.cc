#include "colmap_plugin/exe/feature_options.h"

#include "s2d/freed_memory.h"

namespace nre {

void AddFeatureOptions(FeatureOptions* options, OptionParser* parser) {
  parser->Add("features",
              &options->features,
              "preset of dense features: " + FeaturePresetNames());
  parser->AddPath("weights_path",
                  &options->weights_path,
                  "folder with the weights of networks: "
                  "<network>.safetensors, see the README");
  parser->Add("device", &options->device, "of networks: auto, cpu, cuda");
}

FeaturePreset CreateFeaturePreset(const FeatureOptions& options) {
  KeepFreedMemory();  // features of every image take as much as of the last
  return CreateFeaturePreset(
      options.features, {options.weights_path, ParseDevice(options.device)});
}

}  // namespace nre
