// Tensors in safetensors files. Only for training: includes LibTorch.
#pragma once

#include <map>
#include <string>

#include <torch/types.h>

#include "s2d/safetensors.h"

namespace nre {

using NamedTensors = std::map<std::string, torch::Tensor>;

struct TensorFile {
  StoredMetadata metadata;
  NamedTensors tensors;
};

// Types: float64, float32, float16, bfloat16, int64, int32, uint8. Throws
// InputError as ReadSafetensors() and WriteSafetensors(); a file is written
// under a temporary name first.
void WriteTensorFile(const std::string& path, const TensorFile& file);
TensorFile ReadTensorFile(const std::string& path);

}  // namespace nre
