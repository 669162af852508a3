#include <set>

#include "nre/error.h"
#include "s2d/networks/levels.h"
#include "s2d/networks/module.h"

namespace nre {
namespace {

std::string ShapeName(torch::IntArrayRef shape) {
  std::string name = "[";
  for (const int64_t length : shape) {
    name += (name.size() > 1 ? ", " : "") + std::to_string(length);
  }
  return name + "]";
}

torch::Dtype TorchType(const StoredTensor& tensor) {
  if (tensor.dtype == "F64") return torch::kFloat64;
  if (tensor.dtype == "F32") return torch::kFloat32;
  if (tensor.dtype == "F16") return torch::kFloat16;
  if (tensor.dtype == "I64") return torch::kInt64;
  throw InputError("has the type " + tensor.dtype +
                   ", but F64, F32, F16 or I64 was expected");
}

void Copy(const SafetensorsView& file,
          const StoredTensor& stored,
          torch::Tensor* tensor) {
  if (torch::IntArrayRef(stored.shape) != tensor->sizes()) {
    throw InputError("has the shape " + ShapeName(stored.shape) + ", but " +
                     ShapeName(tensor->sizes()) + " was expected");
  }
  // Not written to: from_blob() takes no const.
  void* data = const_cast<char*>(file.data.data()) + stored.begin;
  tensor->copy_(torch::from_blob(data, stored.shape, TorchType(stored)));
}

}  // namespace

void LoadWeights(const SafetensorsView& file,
                 const std::string& path,
                 const std::string& network,
                 torch::nn::Module* module) {
  const auto refuse = [&](const std::string& why) {
    throw InputError("The weights " + path + " are not those of " + network +
                     ": " + why + ". Expected is what " +
                     "scripts/convert_weights.py " + network +
                     " or nre_trainer writes.");
  };
  const auto name = file.metadata.find("network");
  if (name == file.metadata.end() || name->second != network) {
    refuse(name == file.metadata.end() ? "their header does not name a network"
                                       : "their header says " + name->second);
  }
  // Files of before there was such an entry, and converted ones, have none.
  const auto architecture = file.metadata.find("architecture");
  if (architecture != file.metadata.end() &&
      architecture->second != ArchitectureVersion(network)) {
    refuse("their header says architecture version " + architecture->second +
           ", this software has version " + ArchitectureVersion(network));
  }
  const torch::NoGradGuard no_grad;
  std::set<std::string> expected;
  const auto load = [&](const std::string& key, torch::Tensor tensor) {
    expected.insert(key);
    const auto stored = file.tensors.find(key);
    if (stored == file.tensors.end()) refuse(key + " is missing");
    try {
      Copy(file, stored->second, &tensor);
    } catch (const InputError& error) {
      refuse(key + " " + error.what());
    }
  };
  for (const auto& item : module->named_parameters()) {
    load(item.key(), item.value());
  }
  for (const auto& item : module->named_buffers()) {
    load(item.key(), item.value());
  }
  for (const auto& [key, tensor] : file.tensors) {
    if (expected.count(key) == 0) refuse(key + " is not part of it");
  }
}

}  // namespace nre
