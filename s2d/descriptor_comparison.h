// How descriptors of a network are compared, as the header of its weights says.
#pragma once

#include <optional>
#include <string>

#include "s2d/safetensors.h"

namespace nre {

// What is not set is not in the header: files of earlier versions have neither.
struct DescriptorComparison {
  // The factor that turns inner products into the logits of a softmax, for all
  // outputs of the network.
  std::optional<float> softmax_scale;

  // Whether descriptors are normalised before.
  std::optional<bool> unit_norm;
};

// Returns what is in the metadata of the weights at `path`. Throws InputError,
// naming file, entry and what was expected, unless softmax_scale is a finite
// positive number and unit_norm is 0 or 1.
DescriptorComparison ReadDescriptorComparison(const StoredMetadata& metadata,
                                              const std::string& path);

// Adds what is set to the metadata, for ReadDescriptorComparison().
void AddDescriptorComparison(const DescriptorComparison& comparison,
                             StoredMetadata* metadata);

}  // namespace nre
