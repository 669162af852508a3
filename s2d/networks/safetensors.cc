#include "s2d/networks/safetensors.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "nre/error.h"

namespace nre {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kMetadata[] = "__metadata__";
constexpr uint64_t kLengthBytes = 8;

// Bytes per element; 0 for a type that no network here has.
size_t ElementSize(const std::string& dtype) {
  if (dtype == "F64" || dtype == "I64") return 8;
  if (dtype == "F32" || dtype == "I32") return 4;
  if (dtype == "F16" || dtype == "BF16") return 2;
  if (dtype == "U8" || dtype == "I8" || dtype == "BOOL") return 1;
  return 0;
}

// `why` becomes part of the message.
[[noreturn]] void Refuse(const std::string& why) { throw InputError(why); }

StoredTensor ParseTensor(const std::string& name,
                         const Json& json,
                         size_t num_bytes) {
  StoredTensor tensor;
  json.at("dtype").get_to(tensor.dtype);
  json.at("shape").get_to(tensor.shape);
  const auto offsets = json.at("data_offsets").get<std::vector<size_t>>();
  size_t size = ElementSize(tensor.dtype);
  if (size == 0) Refuse(name + " has the unknown type " + tensor.dtype);
  for (const int64_t length : tensor.shape) {
    if (length < 0 || (length > 0 && size > num_bytes / length)) {
      Refuse(name + " is larger than the file");
    }
    size *= length;
  }
  if (offsets.size() != 2 || offsets[0] > offsets[1] ||
      offsets[1] > num_bytes || offsets[1] - offsets[0] != size) {
    Refuse("the place of " + name +
           " does not fit its shape or the file, which may be truncated");
  }
  tensor.begin = offsets[0];
  tensor.end = offsets[1];
  return tensor;
}

// Every byte belongs to one array.
void CheckCoverage(const Safetensors& file) {
  std::vector<std::pair<size_t, size_t>> extents;
  for (const auto& [name, tensor] : file.tensors) {
    extents.emplace_back(tensor.begin, tensor.end);
  }
  std::sort(extents.begin(), extents.end());
  size_t end = 0;
  for (const auto& extent : extents) {
    if (extent.first != end) Refuse("its arrays overlap or leave gaps");
    end = extent.second;
  }
  if (end != file.data.size()) Refuse("it is longer than its arrays");
}

Safetensors Parse(const std::vector<char>& bytes) {
  uint64_t header_size = 0;
  for (uint64_t i = 0; i < kLengthBytes && i < bytes.size(); ++i) {
    header_size |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[i]))
                   << (8 * i);
  }
  if (bytes.size() < kLengthBytes ||
      header_size > bytes.size() - kLengthBytes) {
    Refuse("its header is longer than the file");
  }
  Safetensors file;
  const char* header = bytes.data() + kLengthBytes;
  file.data.assign(header + header_size, bytes.data() + bytes.size());
  const Json json = Json::parse(header, header + header_size);
  for (const auto& [name, value] : json.items()) {
    if (name == kMetadata) {
      value.get_to(file.metadata);
    } else {
      file.tensors[name] = ParseTensor(name, value, file.data.size());
    }
  }
  CheckCoverage(file);
  return file;
}

}  // namespace

Safetensors ReadSafetensors(const std::string& path) {
  std::error_code error;
  std::ifstream stream(path, std::ios::binary);
  if (!stream || !std::filesystem::is_regular_file(path, error)) {
    throw InputError("The weights " + path +
                     " cannot be read. Expected a safetensors file.");
  }
  std::vector<char> bytes(std::filesystem::file_size(path));
  stream.read(bytes.data(), bytes.size());
  if (!stream) {
    throw InputError("The weights " + path + " cannot be read completely.");
  }
  std::string why;
  try {
    return Parse(bytes);
  } catch (const InputError& error) {
    why = error.what();
  } catch (const Json::exception&) {
    why = "its header is not one";
  }
  throw InputError("The weights " + path + " are no valid safetensors file: " +
                   why + ". Expected what scripts/convert_weights.py writes.");
}

void AddTensor(const std::string& name,
               const std::string& dtype,
               const std::vector<int64_t>& shape,
               const void* data,
               size_t bytes,
               Safetensors* file) {
  const size_t begin = file->data.size();
  file->data.resize(begin + bytes);
  if (bytes > 0) std::memcpy(file->data.data() + begin, data, bytes);
  file->tensors[name] = {dtype, shape, begin, begin + bytes};
}

void WriteSafetensors(const std::string& path, const Safetensors& file) {
  Json json = Json::object();
  if (!file.metadata.empty()) json[kMetadata] = file.metadata;
  for (const auto& [name, tensor] : file.tensors) {
    json[name] = {{"dtype", tensor.dtype},
                  {"shape", tensor.shape},
                  {"data_offsets", {tensor.begin, tensor.end}}};
  }
  std::string header = json.dump();
  // Keeps the arrays aligned.
  header.resize((header.size() + 7) / 8 * 8, ' ');
  char length[kLengthBytes];
  for (uint64_t i = 0; i < kLengthBytes; ++i) {
    length[i] = static_cast<char>(header.size() >> (8 * i));
  }
  const std::string temporary = path + ".tmp" + std::to_string(getpid());
  std::ofstream stream(temporary, std::ios::binary);
  stream.write(length, kLengthBytes);
  stream.write(header.data(), header.size());
  stream.write(file.data.data(), file.data.size());
  stream.close();
  if (!stream || std::rename(temporary.c_str(), path.c_str()) != 0) {
    std::remove(temporary.c_str());
    throw InputError("The weights cannot be written to " + path + ".");
  }
}

}  // namespace nre
