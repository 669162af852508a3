#include "s2d/safetensors.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/stat.h>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "nre/error.h"

namespace nre {
namespace {

using Json = nlohmann::json;

constexpr char kMetadata[] = "__metadata__";
constexpr uint64_t kLengthBytes = 8;

// Bytes per element; 0 for a type that no file here has.
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
void CheckCoverage(const SafetensorsView& file) {
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

// Maps the whole file; empty for an empty one.
SafetensorsView Map(const std::string& path) {
  // A pipe must not make us wait.
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status;
  const bool is_file =
      file >= 0 && fstat(file, &status) == 0 && S_ISREG(status.st_mode);
  const size_t size = is_file ? status.st_size : 0;
  void* data = MAP_FAILED;
  if (size > 0) data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  const bool mapped = data != MAP_FAILED || (is_file && size == 0);
  if (file >= 0) close(file);
  if (!mapped) {
    throw InputError("The file " + path +
                     " cannot be read. Expected a safetensors file.");
  }
  SafetensorsView result;
  if (size > 0) {
    result.mapping = std::shared_ptr<const void>(
        data,
        [size](const void* begin) { munmap(const_cast<void*>(begin), size); });
    result.data = {static_cast<const char*>(data), size};
  }
  return result;
}

// Fills in what the header says of a mapped file.
void Parse(SafetensorsView* file) {
  const std::string_view bytes = file->data;
  uint64_t header_size = 0;
  for (uint64_t i = 0; i < kLengthBytes && i < bytes.size(); ++i) {
    header_size |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[i]))
                   << (8 * i);
  }
  if (bytes.size() < kLengthBytes ||
      header_size > bytes.size() - kLengthBytes) {
    Refuse("its header is longer than the file");
  }
  const std::string_view header = bytes.substr(kLengthBytes, header_size);
  file->data = bytes.substr(kLengthBytes + header_size);
  const Json json = Json::parse(header.begin(), header.end());
  for (const auto& [name, value] : json.items()) {
    if (name == kMetadata) {
      value.get_to(file->metadata);
    } else {
      file->tensors[name] = ParseTensor(name, value, file->data.size());
    }
  }
  CheckCoverage(*file);
}

std::string Header(const StoredMetadata& metadata,
                   const StoredTensors& tensors) {
  Json json = Json::object();
  if (!metadata.empty()) json[kMetadata] = metadata;
  for (const auto& [name, tensor] : tensors) {
    json[name] = {{"dtype", tensor.dtype},
                  {"shape", tensor.shape},
                  {"data_offsets", {tensor.begin, tensor.end}}};
  }
  return json.dump();
}

// Keeps the arrays aligned.
size_t PaddedHeaderSize(size_t size) { return (size + 7) / 8 * 8; }

}  // namespace

SafetensorsView ReadSafetensors(const std::string& path) {
  SafetensorsView file = Map(path);
  std::string why;
  try {
    Parse(&file);
    return file;
  } catch (const InputError& error) {
    why = error.what();
  } catch (const Json::exception&) {
    why = "its header is not one";
  }
  throw InputError("The file " + path + " is no valid safetensors file: " +
                   why + ". Expected a complete one: make or copy it again.");
}

size_t SafetensorsWriter::MaxHeaderSize(const StoredMetadata& metadata,
                                        size_t num_tensors) {
  constexpr size_t kMaxSize = 100'000'000;
  // A name of 64 characters that JSON leaves as they are, six numbers of at
  // most 20 digits, and what is around them.
  constexpr size_t kMaxEntry = 64 + 6 * 20 + 64;
  const size_t size = Header(metadata, {}).size() + num_tensors * kMaxEntry;
  if (size > kMaxSize) {
    throw InputError(std::to_string(num_tensors) +
                     " arrays are too many for one safetensors file, which "
                     "takes about " +
                     std::to_string(kMaxSize / kMaxEntry) +
                     ". Write several files.");
  }
  return size;
}

SafetensorsWriter::SafetensorsWriter(const std::string& path,
                                     size_t header_size)
    : path_(path),
      temporary_path_(path + ".tmp" + std::to_string(getpid())),
      header_size_(PaddedHeaderSize(header_size)),
      stream_(temporary_path_, std::ios::binary) {
  char length[kLengthBytes];
  for (uint64_t i = 0; i < kLengthBytes; ++i) {
    length[i] = static_cast<char>(header_size_ >> (8 * i));
  }
  Write(length, kLengthBytes);
  const std::string spaces(header_size_, ' ');
  Write(spaces.data(), spaces.size());
}

SafetensorsWriter::~SafetensorsWriter() {
  if (!finished_) std::remove(temporary_path_.c_str());
}

void SafetensorsWriter::Fail() const {
  const int error = errno;
  std::remove(temporary_path_.c_str());
  throw InputError("The file " + path_ + " cannot be written: " +
                   std::strerror(error) + ". Is the folder there, and room?");
}

void SafetensorsWriter::Write(const void* data, size_t bytes) {
  stream_.write(static_cast<const char*>(data), bytes);
  if (!stream_) Fail();
}

void SafetensorsWriter::CheckLastIsComplete() const {
  if (written_ != announced_) {
    throw std::logic_error("an array of " + path_ + " is not complete");
  }
}

void SafetensorsWriter::Begin(const std::string& name,
                              const std::string& dtype,
                              const std::vector<int64_t>& shape) {
  CheckLastIsComplete();
  size_t size = ElementSize(dtype);
  for (const int64_t length : shape) size *= length;
  const StoredTensor tensor{dtype, shape, written_, written_ + size};
  if (ElementSize(dtype) == 0 || !tensors_.emplace(name, tensor).second) {
    throw std::logic_error(name + " has an unknown type or comes twice");
  }
  announced_ += size;
}

void SafetensorsWriter::Append(const void* data, size_t bytes) {
  Write(data, bytes);
  written_ += bytes;
}

void SafetensorsWriter::Add(const std::string& name,
                            const std::string& dtype,
                            const std::vector<int64_t>& shape,
                            const void* data) {
  Begin(name, dtype, shape);
  Append(data, announced_ - written_);
}

void SafetensorsWriter::Finish(const StoredMetadata& metadata) {
  CheckLastIsComplete();
  const std::string header = Header(metadata, tensors_);
  if (header.size() > header_size_) {
    throw std::logic_error("the header of " + path_ + " has no room");
  }
  stream_.seekp(kLengthBytes);
  Write(header.data(), header.size());
  stream_.close();
  if (!stream_ || std::rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    Fail();
  }
  finished_ = true;
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

SafetensorsView View(const Safetensors& file) {
  return {file.metadata,
          file.tensors,
          std::string_view(file.data.data(), file.data.size()),
          nullptr};
}

void WriteSafetensors(const std::string& path, const Safetensors& file) {
  std::vector<std::pair<std::string, StoredTensor>> tensors(
      file.tensors.begin(), file.tensors.end());
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return a.second.begin < b.second.begin;
  });
  SafetensorsWriter writer(path, Header(file.metadata, file.tensors).size());
  for (const auto& [name, tensor] : tensors) {
    writer.Add(
        name, tensor.dtype, tensor.shape, file.data.data() + tensor.begin);
  }
  writer.Finish(file.metadata);
}

}  // namespace nre
