// What the networks cost: time, memory, and the share of the machine's matrix
// product that they reach. One thread, random weights. See README.md.
//
//   network_benchmark [--smoke] [NETWORK ...]

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <malloc.h>
#include <torch/types.h>
#include <torch/version.h>
#include <unistd.h>

#include "s2d/freed_memory.h"
#include "s2d/networks/network.h"
#include "s2d/safetensors.h"
#include "tests/testing/seeded_weights.h"

namespace nre {
namespace {

struct Size {
  int width;
  int height;
};

// CPU seconds: other load on the machine hardly changes them.
double Seconds(const std::function<void()>& function) {
  const std::clock_t begin = std::clock();
  function();
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

double Best(int num, const std::function<void()>& function) {
  double best = Seconds(function);
  for (int i = 1; i < num; ++i) best = std::min(best, Seconds(function));
  return best;
}

// Floating-point operations per second of LibTorch's matrix product.
double SgemmRate() {
  constexpr int kSize = 2048;
  const torch::InferenceMode guard;
  const torch::Tensor a = torch::rand({kSize, kSize});
  const torch::Tensor b = torch::rand({kSize, kSize});
  const double seconds = Best(5, [&] { torch::mm(a, b); });
  return 2.0 * std::pow(kSize, 3) / seconds;
}

// Of the convolutions that ran.
double num_operations = 0.0;

// Two per weight and place where the kernel is applied.
std::unique_ptr<at::ObserverContext> CountConvolution(
    const at::RecordFunction& function) {
  const auto inputs = function.inputs();
  const auto input = inputs[0].toTensor().sizes();
  const auto weight = inputs[1].toTensor().sizes();
  const auto stride = inputs[3].toIntVector();
  const auto padding = inputs[4].toIntVector();
  // One value may stand for both axes.
  const auto of_axis = [](const std::vector<int64_t>& values, int i) {
    return values.size() == 1 ? values[0] : values[i];
  };
  double operations = 2.0 * inputs[1].toTensor().numel();
  for (int i = 0; i < 2; ++i) {
    operations *= (input[2 + i] + 2 * of_axis(padding, i) - weight[2 + i]) /
                      of_axis(stride, i) +
                  1;
  }
  num_operations += operations;
  return nullptr;
}

// Of this process, MiB. Linux only.
double PeakMemory() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word == "VmHWM:") {
      double kilobytes = 0.0;
      status >> kilobytes;
      return kilobytes / 1024.0;
    }
  }
  return NAN;
}

void ResetPeakMemory() {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << 5;
}

// Loads `network` with random weights.
std::unique_ptr<Network> Load(const std::string& network, double* load_ms) {
  const std::string path =
      (std::filesystem::temp_directory_path() /
       ("nre_network_benchmark." + std::to_string(getpid()) + ".safetensors"))
          .string();
  WriteSafetensors(path, SeededWeights(network));
  NetworkOptions options;
  options.name = network;
  options.weights_path = path;
  options.device = Device::kCpu;
  std::unique_ptr<Network> loaded;
  *load_ms = 1e3 * Seconds([&] { loaded = LoadNetwork(options); });
  std::filesystem::remove(path);
  return loaded;
}

void Report(const Network& network,
            const std::string& name,
            const Size& size,
            int num_repetitions,
            double sgemm_rate) {
  const Image image = SeededImage(size.width, size.height);
  ResetPeakMemory();
  const double before = PeakMemory();
  num_operations = 0.0;
  network.Run(image);
  const double operations = num_operations;
  const double memory = PeakMemory() - before;
  const double seconds = Best(num_repetitions, [&] { network.Run(image); });
  std::printf(
      "%-14s %4d x %-4d %8.0f ms %8.0f GFLOP %6.0f GFLOP/s %4.0f %% "
      "%6.0f MiB\n",
      name.c_str(),
      size.width,
      size.height,
      1e3 * seconds,
      1e-9 * operations,
      1e-9 * operations / seconds,
      100.0 * operations / seconds / sgemm_rate,
      memory);
  std::fflush(stdout);
}

struct Options {
  bool smoke = false;  // one small image per network, to see that it runs
  std::vector<std::string> networks;
};

Options ParseOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--smoke") {
      options.smoke = true;
    } else if (argument.rfind("--", 0) == 0) {
      throw std::runtime_error("unknown option " + argument +
                               "; expected --smoke or networks");
    } else {
      options.networks.push_back(argument);
    }
  }
  if (options.networks.empty()) {
    options.networks = {"compact_coarse",
                        "compact_fine",
                        "vgg16",
                        "netvlad",
                        "s2dnet",
                        "nre_coarse",
                        "nre_fine",
                        "gnnet"};
  }
  return options;
}

void Run(const Options& options) {
  KeepFreedMemory();  // as colmap_nre does
  at::set_num_threads(1);
  at::addGlobalCallback(
      at::RecordFunctionCallback([](const at::RecordFunction& function)
                                     -> std::unique_ptr<at::ObserverContext> {
        return std::string(function.name()) == "aten::convolution"
                   ? CountConvolution(function)
                   : nullptr;
      })
          .needsInputs(true)
          .scopes({at::RecordScope::FUNCTION}));
  const double sgemm_rate = SgemmRate();
  std::printf("LibTorch %s, 1 thread; sgemm: %.0f GFLOP/s\n",
              TORCH_VERSION,
              1e-9 * sgemm_rate);
  const std::vector<Size> sizes =
      options.smoke ? std::vector<Size>{{160, 120}}
                    : std::vector<Size>{{640, 480}, {1600, 1200}};
  for (const std::string& name : options.networks) {
    double load_ms = 0.0;
    const auto network = Load(name, &load_ms);
    std::printf("%-14s loaded in %.0f ms\n", name.c_str(), load_ms);
    for (const Size& size : sizes) {
      Report(*network, name, size, options.smoke ? 1 : 5, sgemm_rate);
    }
  }
}

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  try {
    nre::Run(nre::ParseOptions(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "network_benchmark: %s\n", error.what());
    return 1;
  }
  return 0;
}
