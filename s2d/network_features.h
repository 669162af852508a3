// Dense features from the outputs of a network.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "s2d/feature_extractor.h"
#include "s2d/networks/levels.h"
#include "s2d/networks/network.h"

namespace nre {

struct NetworkFeaturesOptions {
  // Several levels are interpolated bilinearly at the cells of a common grid
  // and concatenated: correlations of such descriptors are the sums of the
  // levels' correlations, upsampled (S2DNet, thesis 3.5.2.2), but no map of
  // any level is ever computed in full.
  std::vector<NetworkLevel> levels;

  // Of the common grid, whose cell (0, 0) covers the first stride x stride
  // pixels; a single level keeps its own.
  double stride = 1.0;

  // Relative to its full size, the sizes at which the network sees the image.
  // Descriptors of several are interpolated at the cells of the first and
  // concatenated with equal weights: inner products are the means of theirs.
  std::vector<double> scales = {1.0};

  // The longer side of the image that the network sees; larger images are
  // resized. Bounds time and memory.
  int max_image_size = 1024;

  // Whether descriptors are normalised. The logits of some networks are the
  // inner products of descriptors as they are.
  bool unit_norm = false;

  bool Check() const;
};

// Throws InputError for options that fail their Check(). Extract() throws what
// Network::Run() does.
std::unique_ptr<FeatureExtractor> CreateNetworkFeatures(
    std::shared_ptr<const Network> network,
    const NetworkFeaturesOptions& options);

}  // namespace nre
