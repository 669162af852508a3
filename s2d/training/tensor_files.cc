#include "s2d/training/tensor_files.h"

#include "nre/error.h"

namespace nre {
namespace {

struct TypeName {
  torch::Dtype type;
  const char* name;
};

constexpr TypeName kTypes[] = {
    {torch::kFloat64, "F64"},
    {torch::kFloat32, "F32"},
    {torch::kFloat16, "F16"},
    {torch::kBFloat16, "BF16"},
    {torch::kInt64, "I64"},
    {torch::kInt32, "I32"},
    {torch::kUInt8, "U8"},
};

std::string NameOf(torch::Dtype type) {
  for (const TypeName& known : kTypes) {
    if (known.type == type) return known.name;
  }
  TORCH_CHECK(false, "tensors of this type have no name in files");
}

torch::Dtype TypeOf(const std::string& name, const std::string& path) {
  for (const TypeName& known : kTypes) {
    if (known.name == name) return known.type;
  }
  throw InputError("The file " + path + " holds numbers of the type " + name +
                   ", which nothing here writes.");
}

}  // namespace

void WriteTensorFile(const std::string& path, const TensorFile& file) {
  Safetensors stored;
  stored.metadata = file.metadata;
  for (const auto& [name, tensor] : file.tensors) {
    const torch::Tensor flat = tensor.detach().to(torch::kCPU).contiguous();
    AddTensor(name,
              NameOf(flat.scalar_type()),
              flat.sizes().vec(),
              flat.data_ptr(),
              flat.nbytes(),
              &stored);
  }
  WriteSafetensors(path, stored);
}

TensorFile ReadTensorFile(const std::string& path) {
  const SafetensorsView view = ReadSafetensors(path);
  TensorFile file;
  file.metadata = view.metadata;
  for (const auto& [name, stored] : view.tensors) {
    // Not written to: from_blob() takes no const.
    void* data = const_cast<char*>(view.data.data()) + stored.begin;
    file.tensors[name] =
        torch::from_blob(data, stored.shape, TypeOf(stored.dtype, path))
            .clone();
  }
  return file;
}

}  // namespace nre
