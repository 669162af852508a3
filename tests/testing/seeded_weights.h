// Weights and an image that C++ and tests/data/network_reference.py draw alike,
// so that fixtures need not hold them.
#pragma once

#include <string>

#include "s2d/image.h"
#include "s2d/safetensors.h"

namespace nre {

// What scripts/convert_weights.py would write for `network` if its checkpoint
// had these weights.
Safetensors SeededWeights(const std::string& network);

Image SeededImage(int width, int height);

}  // namespace nre
