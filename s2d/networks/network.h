// Networks that turn an image into dense features. LibTorch stays behind this
// interface, in a shared library of its own that is loaded when the first
// network is asked for: commands that need none do not wait for LibTorch.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nre/error.h"
#include "s2d/image.h"

namespace nre {

enum class Device {
  kAuto,  // a GPU that is there and has enough memory, else the CPU
  kCpu,
  kCuda,
};

// "auto", "cpu" or "cuda"; throws InputError for anything else.
inline Device ParseDevice(const std::string& name) {
  if (name == "auto") return Device::kAuto;
  if (name == "cpu") return Device::kCpu;
  if (name == "cuda") return Device::kCuda;
  throw InputError("Unknown device " + name + "; expected auto, cpu or cuda.");
}

struct NetworkOptions {
  // Which network: see network.cc.
  std::string name;

  // Safetensors file with its weights.
  std::string weights_path;

  // A GPU computes in half precision, the CPU in single precision, or, where
  // the processor has the instructions and the network allows for it, in
  // bfloat16.
  Device device = Device::kAuto;
};

// One output of a network for one image, [height, width, channels].
struct NetworkOutput {
  int channels = 0;
  int height = 0;
  int width = 0;
  std::vector<float> data;
};

// Stateless: one network serves several threads.
class Network {
 public:
  virtual ~Network() = default;

  // Of its shorter side, in pixels.
  virtual int MinImageSize() const = 0;

  // The network's outputs; which they are and where their cells lie is said
  // where the network is defined. Throws InputError for an image
  // that is too small, and if the GPU that was asked for runs out of memory.
  virtual std::vector<NetworkOutput> Run(const Image& image) const = 0;

  // "cpu" or "cuda".
  virtual std::string DeviceName() const = 0;
};

// Throws InputError if the network is unknown, the weights are missing,
// truncated or not this network's, or if the device is not there.
std::unique_ptr<Network> LoadNetwork(const NetworkOptions& options);

}  // namespace nre
