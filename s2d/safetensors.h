// Files of named arrays that hold no code: safetensors
// (https://github.com/huggingface/safetensors). Network weights and training
// sets are such files.
//
// 8 bytes: length of the header, little-endian; the header, a JSON object
// {"<name>": {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]},
// ..., "__metadata__": {"<key>": "<value>", ...}}, with spaces behind it; then
// the arrays, row by row, without gaps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nre {

struct StoredTensor {
  std::string dtype;  // "F32", "F16", "I64", ...
  std::vector<int64_t> shape;
  size_t begin = 0;  // bytes of the data
  size_t end = 0;
};

using StoredMetadata = std::map<std::string, std::string>;
using StoredTensors = std::map<std::string, StoredTensor>;

// A file to read from. If it is mapped into memory, only what is looked at is
// read.
struct SafetensorsView {
  StoredMetadata metadata;
  StoredTensors tensors;
  std::string_view data;
  std::shared_ptr<const void> mapping;  // keeps data there; copies share it
};

// Throws InputError naming the file if it is missing, truncated or not of this
// format; whatever it holds, nothing beyond the size of its header is
// allocated. The file may be replaced afterwards, but not changed in place.
SafetensorsView ReadSafetensors(const std::string& path);

// Writes a file array by array; only the header is kept in memory.
class SafetensorsWriter {
 public:
  // An upper bound of the header for `num_tensors` arrays with names of at most
  // 64 characters and at most 4 dimensions. Throws InputError if it is more
  // than the 100 MB that readers of the format take: about 400,000 arrays.
  static size_t MaxHeaderSize(const StoredMetadata& metadata,
                              size_t num_tensors);

  // Begins under a temporary name, and leaves `header_size` bytes to the
  // header. All functions throw InputError if the file cannot be written.
  SafetensorsWriter(const std::string& path, size_t header_size);

  // Removes what is not finished.
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // Begins an array, with a name of its own, and appends to it what makes up
  // all that dtype and shape ask for.
  void Begin(const std::string& name,
             const std::string& dtype,
             const std::vector<int64_t>& shape);
  void Append(const void* data, size_t bytes);

  // A whole array.
  void Add(const std::string& name,
           const std::string& dtype,
           const std::vector<int64_t>& shape,
           const void* data);

  // Writes the header and gives the file its name.
  void Finish(const StoredMetadata& metadata);

 private:
  void Write(const void* data, size_t bytes);
  void CheckLastIsComplete() const;
  [[noreturn]] void Fail() const;

  std::string path_;
  std::string temporary_path_;
  size_t header_size_;
  std::ofstream stream_;
  StoredTensors tensors_;
  size_t written_ = 0;    // bytes of arrays
  size_t announced_ = 0;  // by Begin()
  bool finished_ = false;
};

// A file in memory, to be written.
struct Safetensors {
  StoredMetadata metadata;
  StoredTensors tensors;
  std::vector<char> data;
};

// To read from it as from a written one, as long as it is there.
SafetensorsView View(const Safetensors& file);

// Appends an array; `bytes` at `data` must be what dtype and shape ask for.
void AddTensor(const std::string& name,
               const std::string& dtype,
               const std::vector<int64_t>& shape,
               const void* data,
               size_t bytes,
               Safetensors* file);

// As SafetensorsWriter does, with no more header than needed.
void WriteSafetensors(const std::string& path, const Safetensors& file);

}  // namespace nre
