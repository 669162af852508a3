// Seeded feature maps without an image behind them.
#pragma once

#include <vector>

#include "s2d/feature_extractor.h"
#include "tests/testing/synthetic_maps.h"

namespace nre {

// `num` unit vectors of random direction, side by side.
std::vector<float> RandomDescriptors(int num, int channels, Random* random);

// Every cell has a descriptor of its own.
FeatureMap RandomFeatures(int width,
                          int height,
                          int channels,
                          const MapFromImage& map_from_image,
                          Random* random);

// softmax_scale * <descriptor, feature> of all cells, in double, row by row.
std::vector<double> BruteForceLogits(const float* descriptor,
                                     const FeatureMap& features,
                                     double softmax_scale);

// ln sum exp in double.
double BruteForceLogSumExp(const std::vector<double>& logits);

}  // namespace nre
