#include "s2d/networks/network.h"

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>

#include <ATen/Parallel.h>
#include <torch/cuda.h>

#include "nre/error.h"
#include "s2d/networks/module.h"

namespace nre {
namespace {

// The names are those of the files that scripts/convert_weights.py writes.
const std::map<std::string, std::function<std::shared_ptr<NetworkModule>()>>&
Networks() {
  static const std::map<std::string,
                        std::function<std::shared_ptr<NetworkModule>()>>
      networks = {
          {"compact_coarse", CreateCompactCoarse},
          {"compact_fine", CreateCompactFine},
          {"nre_coarse", CreateNreCoarse},
          {"nre_fine", CreateNreFine},
          {"s2dnet", CreateS2dNet},
          {"s2dhm", [] { return CreateHypercolumns(true); }},
          {"vgg16", [] { return CreateHypercolumns(false); }},
          {"netvlad", CreateNetVlad},
          {"gnnet", CreateGnNet},
          {"alike_t", [] { return CreateAlike(AlikeT()); }},
          {"alike_n", [] { return CreateAlike(AlikeN()); }},
          {"alike_l", [] { return CreateAlike(AlikeL()); }},
          {"xfeat", CreateXFeat},
      };
  return networks;
}

// Converts into the output itself: a tensor in between would be as large.
NetworkOutput ToOutput(const torch::Tensor& tensor) {
  const torch::Tensor cells = tensor.squeeze(0).permute({1, 2, 0});
  NetworkOutput output;
  output.height = static_cast<int>(cells.size(0));
  output.width = static_cast<int>(cells.size(1));
  output.channels = static_cast<int>(cells.size(2));
  output.data.resize(cells.numel());
  torch::from_blob(output.data.data(), cells.sizes(), torch::kFloat32)
      .copy_(cells);
  return output;
}

// [1, 3, height, width], 0 to 1, on the CPU.
torch::Tensor Pixels(const Image& image) {
  // Not written to: from_blob() takes no const.
  return torch::from_blob(const_cast<uint8_t*>(image.rgb.data()),
                          {1, image.height, image.width, 3},
                          torch::kUInt8)
             .permute({0, 3, 1, 2})
             .to(torch::kFloat32) /
         255.0f;
}

// Whether convolutions in bfloat16 are faster than in single precision: the
// processor has instructions for them, and oneDNN was not told otherwise.
bool HasFastBfloat16() {
#if defined(__x86_64__)
  static const bool has = [] {
    if (!__builtin_cpu_supports("avx512bf16")) return false;
    const torch::InferenceMode guard;
    const auto ones = [](at::IntArrayRef shape) {
      return torch::ones(shape, torch::kBFloat16)
          .contiguous(torch::MemoryFormat::ChannelsLast);
    };
    try {
      torch::conv2d(ones({1, 16, 32, 32}), ones({16, 16, 3, 3}));
    } catch (const std::exception&) {
      return false;
    }
    return true;
  }();
  return has;
#else
  return false;
#endif
}

// What a module computes in on `device`.
torch::Dtype Precision(const NetworkModule& module, torch::Device device) {
  if (device.is_cuda()) return torch::kFloat16;
  return module.TakesBfloat16() && HasFastBfloat16() ? torch::kBFloat16
                                                     : torch::kFloat32;
}

class LibTorchNetwork : public Network {
 public:
  LibTorchNetwork(const NetworkOptions& options,
                  torch::Device device,
                  ModuleLoader load)
      : options_(options),
        device_(device),
        load_(std::move(load)),
        module_(Load(device)) {}

  std::vector<NetworkOutput> Run(const Image& image) const override {
    // Queries run side by side; one must not depend on how many.
    at::set_num_threads(1);
    const std::string size = std::to_string(image.width) + " x " +
                             std::to_string(image.height) + " pixels";
    const int min_size = MinImageSize();
    if (std::min(image.width, image.height) < min_size) {
      throw InputError("The image has " + size + ", but the network " +
                       options_.name + " needs " + std::to_string(min_size) +
                       " on either side.");
    }
    try {
      return Run(image, module_.get(), device_);
    } catch (const c10::OutOfMemoryError&) {
      if (options_.device != Device::kAuto) {
        throw InputError("The GPU has not enough memory for an image of " +
                         size + ". Expected --device cpu or --device auto.");
      }
    }
    std::call_once(have_cpu_module_,
                   [this] { cpu_module_ = Load(torch::kCPU); });
    return Run(image, cpu_module_.get(), torch::kCPU);
  }

  int MinImageSize() const override { return module_->MinImageSize(); }

  std::string DeviceName() const override {
    return device_.is_cuda() ? "cuda" : "cpu";
  }

 private:
  std::shared_ptr<NetworkModule> Load(torch::Device device) const {
    auto module = load_();
    module->eval();
    module->Fold();
    module->to(device, Precision(*module, device));
    UseChannelsLast(module.get());
    return module;
  }

  std::vector<NetworkOutput> Run(const Image& image,
                                 NetworkModule* module,
                                 torch::Device device) const {
    const torch::InferenceMode guard;
    torch::Tensor input =
        module->NormalizedImages(Pixels(image))
            .to(device, device.is_cuda() ? torch::kFloat16 : torch::kFloat32);
    std::vector<NetworkOutput> outputs;
    for (const torch::Tensor& tensor : module->Forward(std::move(input))) {
      outputs.push_back(ToOutput(tensor));
    }
    return outputs;
  }

  NetworkOptions options_;
  torch::Device device_;
  ModuleLoader load_;
  std::shared_ptr<NetworkModule> module_;
  // For images that are too large for the GPU.
  mutable std::once_flag have_cpu_module_;
  mutable std::shared_ptr<NetworkModule> cpu_module_;
};

}  // namespace

std::shared_ptr<NetworkModule> CreateNetworkModule(const std::string& name) {
  const auto network = Networks().find(name);
  if (network != Networks().end()) return network->second();
  std::string names;
  for (const auto& [known, create] : Networks()) {
    names += (names.empty() ? "" : ", ") + known;
  }
  throw InputError("Unknown network " + name + "; there are: " + names + ".");
}

std::string WeightsOf(const std::string& network) {
  return network == "netvlad" ? "s2dhm" : network;
}

torch::Device ChooseDevice(Device device) {
  if (device == Device::kCpu || !torch::cuda::is_available()) {
    if (device == Device::kCuda) {
      throw InputError(
          "There is no GPU that LibTorch can use. Expected "
          "--device cpu or --device auto.");
    }
    return torch::kCPU;
  }
  return torch::kCUDA;
}

void UseChannelsLast(torch::nn::Module* module) {
  for (torch::Tensor& parameter : module->parameters()) {
    if (parameter.dim() == 4) {
      parameter.set_data(
          parameter.contiguous(torch::MemoryFormat::ChannelsLast));
    }
  }
}

torch::Tensor NetworkModule::NormalizedImages(
    const torch::Tensor& images) const {
  const auto channels = [&](float red, float green, float blue) {
    return torch::tensor({red, green, blue})
        .to(images.options())
        .view({3, 1, 1});
  };
  return ((images - channels(0.485f, 0.456f, 0.406f)) /
          channels(0.229f, 0.224f, 0.225f))
      .contiguous(torch::MemoryFormat::ChannelsLast);
}

torch::Tensor PadToWholeCells(const torch::Tensor& images, int64_t size) {
  const int64_t bottom = (size - images.size(2) % size) % size;
  const int64_t right = (size - images.size(3) % size) % size;
  if (bottom == 0 && right == 0) return images;
  return torch::replication_pad2d(images, {0, right, 0, bottom});
}

std::unique_ptr<Network> WrapModule(const NetworkOptions& options,
                                    torch::Device device,
                                    ModuleLoader load) {
  return std::make_unique<LibTorchNetwork>(options, device, std::move(load));
}

}  // namespace nre

// The library's entry.
extern "C" nre::Network* nre_load_network(const nre::NetworkOptions* options) {
  const auto load = [options = *options] {
    auto module = nre::CreateNetworkModule(options.name);
    nre::LoadWeights(nre::ReadSafetensors(options.weights_path),
                     options.weights_path,
                     nre::WeightsOf(options.name),
                     module.get());
    return module;
  };
  return nre::WrapModule(*options, nre::ChooseDevice(options->device), load)
      .release();
}
