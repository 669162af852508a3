// Files of named arrays that hold no code: safetensors
// (https://github.com/huggingface/safetensors).
//
// 8 bytes: length of the header, little-endian; the header, a JSON object
// {"<name>": {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]},
// ..., "__metadata__": {"<key>": "<value>", ...}}; then the arrays, row by row,
// without gaps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace nre {

struct StoredTensor {
  std::string dtype;  // "F32", "F16", "I64", ...
  std::vector<int64_t> shape;
  size_t begin = 0;  // bytes of Safetensors::data
  size_t end = 0;
};

struct Safetensors {
  std::map<std::string, std::string> metadata;
  std::map<std::string, StoredTensor> tensors;
  std::vector<char> data;
};

// Throws InputError naming the file if it is missing, truncated or not of this
// format; whatever it holds, nothing beyond its own size is allocated.
Safetensors ReadSafetensors(const std::string& path);

// Appends an array; `bytes` at `data` must be what dtype and shape ask for.
void AddTensor(const std::string& name,
               const std::string& dtype,
               const std::vector<int64_t>& shape,
               const void* data,
               size_t bytes,
               Safetensors* file);

// Under a temporary name that is renamed at the end. Throws InputError if the
// file cannot be written.
void WriteSafetensors(const std::string& path, const Safetensors& file);

}  // namespace nre
