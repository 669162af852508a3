// What the networks' outputs are. Plain data, for those who link LibTorch and
// those who do not.
#pragma once

#include <string>
#include <vector>

namespace nre {

// Where the cells of one of a network's outputs lie, pixels of the image that
// the network sees (COLMAP convention).
struct NetworkLevel {
  int output = 0;  // index in Network::Run()'s result
  int channels = 0;
  double stride = 1.0;
  double first_center = 0.5;  // of cell (0, 0), x and y
};

// All outputs of a network that are dense features; none for another name.
inline std::vector<NetworkLevel> NetworkLevels(const std::string& network) {
  // Convolutions of stride 2 with padding leave the first cell on the first
  // pixel; after poolings it covers the first stride x stride pixels.
  if (network == "compact_coarse") return {{0, 96, 8.0, 4.0}};
  if (network == "compact_fine") return {{0, 32, 2.0, 1.0}};
  if (network == "nre_coarse") return {{0, 1280, 16.0, 0.5}};
  if (network == "nre_fine") return {{0, 288, 2.0, 0.5}};
  if (network == "s2dnet") {
    return {{0, 128, 1.0, 0.5}, {1, 128, 4.0, 2.0}, {2, 128, 16.0, 8.0}};
  }
  if (network == "s2dhm" || network == "vgg16") return {{0, 2048, 4.0, 2.0}};
  if (network == "gnnet") {
    return {{0, 128, 8.0, 4.0},
            {1, 128, 4.0, 2.0},
            {2, 128, 2.0, 1.0},
            {3, 128, 1.0, 0.5}};
  }
  if (network == "alike_t") return {{0, 64, 4.0, 2.0}, {1, 64, 2.0, 1.0}};
  if (network == "alike_n" || network == "alike_l") {
    return {{0, 128, 4.0, 2.0}, {1, 128, 2.0, 1.0}};
  }
  // Strides that are centred differently are summed; training put what the
  // descriptors say there, within half a pixel.
  if (network == "xfeat") return {{0, 64, 8.0, 3.5}};
  return {};
}

// The version of a network's architecture, which nre_trainer writes into the
// header of weights as `architecture`; weights of another are refused. To be
// raised when weights of before would not mean the same.
inline const char* ArchitectureVersion(const std::string& network) {
  return network == "compact_coarse" || network == "compact_fine" ? "2" : "1";
}

}  // namespace nre
