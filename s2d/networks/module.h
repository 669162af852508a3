// What the networks are to the code around them. Only for the networks'
// library: includes LibTorch.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <torch/nn.h>
#include <torch/types.h>

#include "s2d/networks/network.h"
#include "s2d/safetensors.h"

namespace nre {

// A network whose parameters are named as in the published checkpoints.
class NetworkModule : public torch::nn::Module {
 public:
  // Returns what Forward() takes of images [B, 3, height, width], 0 to 1: less
  // ImageNet's mean and divided by its standard deviation, unless a network was
  // trained otherwise. Channels come last in memory, as for the weights.
  virtual torch::Tensor NormalizedImages(const torch::Tensor& images) const;

  // images: [B, 3, height, width], from NormalizedImages(). Returns
  // [B, channels, height, width] each.
  virtual std::vector<torch::Tensor> Forward(torch::Tensor images) = 0;

  // The smallest height and width for which every layer has an output.
  virtual int MinImageSize() const = 0;

  // Whether bfloat16 is precise enough where the processor has it. Images come
  // in single precision nevertheless.
  virtual bool TakesBfloat16() const { return false; }

  // Makes inference faster, once and for all: there is no training afterwards,
  // and parameters are no longer those of the weights.
  virtual void Fold() {}
};

struct AlikeOptions {
  std::array<int, 4> channels;  // of the blocks at the strides 1, 2, 8 and 32
  int descriptor;               // channels
  bool two_heads;

  // Rows of the picture that are in memory in full resolution at a time, a
  // multiple of 32; the result does not depend on it.
  int64_t strip_rows = 32;
};
AlikeOptions AlikeT();
AlikeOptions AlikeN();
AlikeOptions AlikeL();

// One definition per file.
std::shared_ptr<NetworkModule> CreateAlike(const AlikeOptions& options);
std::shared_ptr<NetworkModule> CreateCompactCoarse();
std::shared_ptr<NetworkModule> CreateCompactFine();
std::shared_ptr<NetworkModule> CreateNreCoarse();
std::shared_ptr<NetworkModule> CreateNreFine();
std::shared_ptr<NetworkModule> CreateS2dNet();
std::shared_ptr<NetworkModule> CreateHypercolumns(bool with_pool);
std::shared_ptr<NetworkModule> CreateNetVlad();
std::shared_ptr<NetworkModule> CreateGnNet();
std::shared_ptr<NetworkModule> CreateXFeat();

// The network with this name, with weights as LibTorch initialises them.
// Throws InputError, naming those there are, for an unknown name.
std::shared_ptr<NetworkModule> CreateNetworkModule(const std::string& name);

// Whose weights a network takes: its own name, but NetVLAD shares S2DHM's file.
std::string WeightsOf(const std::string& network);

// Copies the weights in `file` (read from `path`, for messages) into `module`.
// Strict: throws InputError naming a key that is missing, left over or of
// another shape, and for the weights of another network than `network`.
void LoadWeights(const SafetensorsView& file,
                 const std::string& path,
                 const std::string& network,
                 torch::nn::Module* module);

// A module with its weights, on the CPU.
using ModuleLoader = std::function<std::shared_ptr<NetworkModule>()>;

// Runs a module on `device`; loads it once more for the CPU if memory is short
// there and options.device is kAuto.
std::unique_ptr<Network> WrapModule(const NetworkOptions& options,
                                    torch::Device device,
                                    ModuleLoader load);

// Throws InputError for kCuda where LibTorch can use no GPU.
torch::Device ChooseDevice(Device device);

// Convolutions' weights in the order that oneDNN and cuDNN read fastest.
void UseChannelsLast(torch::nn::Module* module);

// Repeats the last row and column, so that height and width are multiples of
// `size`.
torch::Tensor PadToWholeCells(const torch::Tensor& images, int64_t size);

}  // namespace nre
