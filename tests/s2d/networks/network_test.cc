#include "s2d/networks/network.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <unistd.h>

#include "nre/error.h"
#include "s2d/image.h"
#include "s2d/networks/levels.h"
#include "s2d/networks/module.h"
#include "s2d/safetensors.h"
#include "tests/testing/seeded_weights.h"

namespace nre {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

template <typename T>
std::vector<T> Values(const SafetensorsView& file, const std::string& name) {
  const StoredTensor& tensor = file.tensors.at(name);
  std::vector<T> values((tensor.end - tensor.begin) / sizeof(T));
  std::memcpy(values.data(),
              file.data.data() + tensor.begin,
              values.size() * sizeof(T));
  return values;
}

std::unique_ptr<Network> LoadOn(Device device,
                                const std::string& network,
                                const std::string& weights_path) {
  NetworkOptions options;
  options.name = network;
  options.weights_path = weights_path;
  options.device = device;
  return LoadNetwork(options);
}

// A weights file that is gone with this object.
class WeightsFile {
 public:
  explicit WeightsFile(const Safetensors& file) {
    WriteSafetensors(path_, file);
  }
  ~WeightsFile() { std::remove(path_.c_str()); }

  std::unique_ptr<Network> Load(const std::string& network) const {
    return LoadOn(Device::kCpu, network, path_);
  }

  const std::string& path() const { return path_; }

 private:
  const std::string path_ = testing::TempDir() + "nre_network_test." +
                            std::to_string(getpid()) + ".safetensors";
};

// Mean, standard deviation, minimum and maximum.
std::vector<double> Statistics(const std::vector<float>& values) {
  double sum = 0.0, squares = 0.0;
  double smallest = std::numeric_limits<double>::infinity();
  double largest = -smallest;
  for (const double value : values) {
    sum += value;
    squares += value * value;
    smallest = std::min(smallest, value);
    largest = std::max(largest, value);
  }
  const double mean = sum / values.size();
  return {mean,
          std::sqrt(squares / values.size() - mean * mean),
          smallest,
          largest};
}

// Runs the network, whose weights are the seeded ones unless another folder is
// named, and compares with what tests/data/network_reference.py computed from
// the papers' description, starting from torchvision's networks.
void ExpectReferenceOutputs(const std::string& name,
                            const Network& network,
                            const std::string& folder = NRE_SOURCE_DIR
                            "/tests/data/networks") {
  const SafetensorsView reference =
      ReadSafetensors(folder + "/" + name + ".safetensors");
  const std::vector<NetworkOutput> outputs = network.Run(SeededImage(131, 97));
  ASSERT_EQ(reference.tensors.size(), 4 * outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const NetworkOutput& output = outputs[i];
    const std::string suffix = "_" + std::to_string(i);
    SCOPED_TRACE("output " + std::to_string(i));
    ASSERT_EQ(
        Values<int64_t>(reference, "shape" + suffix),
        (std::vector<int64_t>{output.channels, output.height, output.width}));
    const auto statistics = Values<float>(reference, "stats" + suffix);
    const double tolerance =
        1e-4 * std::max(std::abs(statistics[2]), std::abs(statistics[3]));
    EXPECT_THAT(Statistics(output.data),
                testing::Pointwise(testing::DoubleNear(tolerance), statistics));
    const auto cells = Values<int64_t>(reference, "cells" + suffix);
    const auto values = Values<float>(reference, "values" + suffix);
    ASSERT_EQ(values.size(), cells.size() / 2 * output.channels);
    double largest = 0.0;
    for (size_t k = 0; k < cells.size() / 2; ++k) {
      const float* cell =
          &output.data[(cells[2 * k] * output.width + cells[2 * k + 1]) *
                       output.channels];
      for (int c = 0; c < output.channels; ++c) {
        largest = std::max<double>(
            largest, std::abs(cell[c] - values[k * output.channels + c]));
      }
    }
    EXPECT_LT(largest, tolerance);
    testing::Test::RecordProperty("largest_relative" + suffix,
                                  std::to_string(1e-4 * largest / tolerance));
  }
}

class NetworkReferenceTest : public testing::TestWithParam<std::string> {};

TEST_P(NetworkReferenceTest, AgreesWithTheReference) {
  const std::string network = GetParam();
  const WeightsFile weights(SeededWeights(network));
  ExpectReferenceOutputs(network, *weights.Load(network));
}

INSTANTIATE_TEST_SUITE_P(All,
                         NetworkReferenceTest,
                         testing::Values("nre_coarse",
                                         "nre_fine",
                                         "s2dnet",
                                         "s2dhm",
                                         "vgg16",
                                         "netvlad",
                                         "gnnet",
                                         "alike_t",
                                         "alike_n",
                                         "alike_l",
                                         "xfeat"),
                         [](const auto& info) { return info.param; });

// Runs a Python script of this repository; what it prints goes to a log that is
// shown if it fails.
void RunPython(const std::string& arguments, const std::string& log_path) {
  const std::string command = "OMP_NUM_THREADS=1 '" NRE_PYTHON "' '" +
                              std::string(NRE_SOURCE_DIR) + "'/" + arguments +
                              " >'" + log_path + "' 2>&1";
  const int status = std::system(command.c_str());
  std::ostringstream log;
  log << std::ifstream(log_path).rdbuf();
  ASSERT_EQ(status, 0) << command << "\n" << log.str();
}

// A folder that is gone with this object.
class Folder {
 public:
  Folder() { std::filesystem::create_directory(path_); }
  ~Folder() { std::filesystem::remove_all(path_); }

  std::string operator/(const std::string& name) const {
    return path_ + "/" + name;
  }
  const std::string& path() const { return path_; }

 private:
  const std::string path_ =
      testing::TempDir() + "nre_network_test." + std::to_string(getpid());
};

// From files in the layouts in which others published theirs, by the script
// that users run, to the features.
TEST(NetworkTest, ConvertedCheckpointsGiveTheReferenceOutputs) {
  const Folder folder;
  const std::string log_path = folder / "log";
  ASSERT_NO_FATAL_FAILURE(RunPython(
      "tests/data/network_reference.py --checkpoints '" + folder.path() + "'",
      log_path));
  const std::string weights_path = folder / "weights.safetensors";
  const std::pair<const char*, const char*> checkpoints[] = {
      {"nre_coarse", "coarse.pth"},
      {"nre_fine", "fine.pth"},
      {"s2dnet", "s2dnet_weights.pth"},
      {"s2dhm", "weights.pth.tar"},
      {"vgg16", "vgg16.pth"},
      {"gnnet", "gn_net.pth.tar"},
      {"alike_t", "alike-t.pth"},
      {"alike_n", "alike-n.pth"},
      {"alike_l", "alike-l.pth"},
      {"xfeat", "xfeat.pt"}};
  for (const auto& [network, checkpoint] : checkpoints) {
    SCOPED_TRACE(network);
    ASSERT_NO_FATAL_FAILURE(
        RunPython("scripts/convert_weights.py " + std::string(network) + " '" +
                      folder / checkpoint + "' '" + weights_path + "'",
                  log_path));
    const auto load = [&](const std::string& name) {
      return LoadOn(Device::kCpu, name, weights_path);
    };
    ExpectReferenceOutputs(network, *load(network));
    if (network == std::string("s2dhm")) {
      ExpectReferenceOutputs("netvlad", *load("netvlad"));
    }
  }
}

// Published weights, where they are at hand.
class PublishedWeightsTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string shared = NRE_SOURCE_DIR "/../shared/weights/";
    const std::string network = GetParam();
    std::string file = shared + "xfeat/xfeat_bn_folded.safetensors";
    if (network != "xfeat") {
      file = shared + "alike/alike-" + network.back() + ".pth";
    }
    if (!std::filesystem::exists(file)) GTEST_SKIP() << "no " << file;
    ASSERT_NO_FATAL_FAILURE(
        RunPython("scripts/convert_weights.py " + network + " '" + file +
                      "' '" + folder_ / (network + ".safetensors") + "'",
                  folder_ / "log"));
    network_ =
        LoadOn(Device::kCpu, network, folder_ / (network + ".safetensors"));
  }

  const Folder folder_;
  std::unique_ptr<Network> network_;
};

TEST_P(PublishedWeightsTest, AgreesWithTheReference) {
  const std::string network = GetParam();
  const std::string references = folder_ / "references";
  std::filesystem::create_directory(references);
  ASSERT_NO_FATAL_FAILURE(RunPython(
      "tests/data/network_reference.py --fixtures '" + references +
          "' --weights '" + folder_.path() + "' --networks " + network,
      folder_ / "log"));
  ExpectReferenceOutputs(network, *network_, references);
}

// A network's output as unit vectors, one in a row.
torch::Tensor UnitRows(const NetworkOutput& output) {
  return torch::nn::functional::normalize(
      torch::tensor(output.data)
          .view({int64_t{output.height} * output.width, output.channels}));
}

// A peak between cells, from three values.
torch::Tensor PeakOffset(const torch::Tensor& before,
                         const torch::Tensor& peak,
                         const torch::Tensor& after) {
  return 0.5 * (before - after) / (before - 2.0 * peak + after);
}

// Where cell (0, 0) lies, in x and in y, by what the cells describe: what lies
// at x in a picture lies at 0.75 x in the same picture at three quarters of its
// size, so that center + i * stride = 0.75 (center + k * stride).
std::array<double, 2> MeasuredCenter(const Network& network,
                                     const NetworkLevel& level,
                                     const Image& photograph) {
  const int stride = static_cast<int>(level.stride);
  const NetworkOutput large =
      network.Run(ResizeImage(photograph, 64 * stride, 96 * stride))
          .at(level.output);
  const NetworkOutput small =
      network.Run(ResizeImage(photograph, 48 * stride, 72 * stride))
          .at(level.output);
  const torch::Tensor similarity = UnitRows(large).matmul(UnitRows(small).t());
  const torch::Tensor best = similarity.argmax(1);
  const torch::Tensor x = best.remainder(small.width);
  const torch::Tensor y = torch::floor_divide(best, small.width);
  const torch::Tensor inside = torch::nonzero((x > 0) & (x < small.width - 1) &
                                              (y > 0) & (y < small.height - 1))
                                   .squeeze(1);
  const auto value = [&](int64_t offset) {
    return similarity.index({inside, best.index({inside}) + offset});
  };
  const auto median = [&](const torch::Tensor& in_large,
                          const torch::Tensor& in_small) {
    return (level.stride * (0.75 * in_large - in_small) / 0.25)
        .median()
        .item<double>();
  };
  return {median(inside.remainder(large.width),
                 x.index({inside}) + PeakOffset(value(-1), value(0), value(1))),
          median(torch::floor_divide(inside, large.width),
                 y.index({inside}) + PeakOffset(value(-small.width),
                                                value(0),
                                                value(small.width)))};
}

TEST_P(PublishedWeightsTest, CellsLieWhereTheySay) {
  const std::string path =
      NRE_SOURCE_DIR "/../shared/datasets/lund_door/images/DSC_0001.JPG";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const Image photograph = ReadImage(path);
  for (const NetworkLevel& level : NetworkLevels(GetParam())) {
    SCOPED_TRACE(level.stride);
    for (const double center : MeasuredCenter(*network_, level, photograph)) {
      // A wrong convention would be off by half a stride.
      EXPECT_NEAR(center, level.first_center, 0.25 * level.stride);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All,
    PublishedWeightsTest,
    testing::Values("alike_t", "alike_n", "alike_l", "xfeat"),
    [](const auto& info) { return info.param; });

void ExpectRefused(const Safetensors& weights,
                   const std::string& network,
                   const std::string& why) {
  const WeightsFile file(weights);
  EXPECT_THAT([&] { file.Load(network); },
              ThrowsMessage<InputError>(
                  AllOf(HasSubstr(file.path()),
                        HasSubstr(why),
                        HasSubstr("convert_weights.py " + network))));
}

TEST(NetworkTest, WeightsAreLoadedStrictly) {
  Safetensors weights = SeededWeights("nre_fine");
  ExpectRefused(weights, "nre_coarse", "their header says nre_fine");

  Safetensors changed = weights;
  changed.metadata.clear();
  ExpectRefused(changed, "nre_fine", "does not name a network");

  changed = weights;
  const float value = 0.0f;
  AddTensor("cnn.10.weight", "F32", {}, &value, sizeof(value), &changed);
  ExpectRefused(changed, "nre_fine", "cnn.10.weight is not part of it");

  changed = weights;
  changed.tensors["cnn.8.Weight"] = changed.tensors["cnn.8.weight"];
  changed.tensors.erase("cnn.8.weight");
  ExpectRefused(changed, "nre_fine", "cnn.8.weight is missing");

  changed = weights;
  changed.tensors["cnn.8.weight"].shape = {144, 576, 1, 1};
  ExpectRefused(changed,
                "nre_fine",
                "cnn.8.weight has the shape [144, 576, 1, 1], but "
                "[288, 288, 1, 1] was expected");

  changed = weights;
  changed.tensors["cnn.9.weight"].dtype = "I32";
  ExpectRefused(changed, "nre_fine", "cnn.9.weight has the type I32");
}

TEST(NetworkTest, AbsentGpu) {
  if (torch::cuda::is_available()) GTEST_SKIP() << "there is a GPU";
  const WeightsFile weights(SeededWeights("nre_fine"));
  EXPECT_THAT([&] { LoadOn(Device::kCuda, "nre_fine", weights.path()); },
              ThrowsMessage<InputError>(
                  AllOf(HasSubstr("no GPU"), HasSubstr("--device cpu"))));
  EXPECT_EQ(LoadOn(Device::kAuto, "nre_fine", weights.path())->DeviceName(),
            "cpu");
}

TEST(NetworkTest, MissingWeightsUnknownNetworkUnknownDevice) {
  NetworkOptions options;
  options.name = "nre_fine";
  options.weights_path = "/nowhere/nre_fine.safetensors";
  EXPECT_THAT([&] { LoadNetwork(options); },
              ThrowsMessage<InputError>(HasSubstr(options.weights_path)));
  options.name = "alexnet";
  EXPECT_THAT([&] { LoadNetwork(options); },
              ThrowsMessage<InputError>(
                  AllOf(HasSubstr("alexnet"), HasSubstr("nre_coarse"))));
  EXPECT_THAT([] { ParseDevice("tpu"); },
              ThrowsMessage<InputError>(HasSubstr("auto, cpu or cuda")));
  EXPECT_EQ(ParseDevice("auto"), Device::kAuto);
}

// Passes the image on, unless it was the first to be made: then memory is
// short.
class ShortOfMemory : public NetworkModule {
 public:
  explicit ShortOfMemory(bool is_first) : is_first_(is_first) {}

  std::vector<torch::Tensor> Forward(torch::Tensor image) override {
    TORCH_CHECK_WITH(OutOfMemoryError, !is_first_, "out of memory");
    return {image};
  }

  int MinImageSize() const override { return 1; }

 private:
  bool is_first_;
};

std::unique_ptr<Network> ShortOfMemoryAtFirst(Device device, int* num_loaded) {
  NetworkOptions options;
  options.device = device;
  return WrapModule(options, torch::kCPU, [num_loaded] {
    return std::make_shared<ShortOfMemory>((*num_loaded)++ == 0);
  });
}

TEST(NetworkTest, FallsBackFromAGpuWithoutMemoryWithAutoOnly) {
  int num_loaded = 0;
  const auto automatic = ShortOfMemoryAtFirst(Device::kAuto, &num_loaded);
  EXPECT_EQ(automatic->Run(SeededImage(5, 4)).front().width, 5);
  EXPECT_EQ(automatic->Run(SeededImage(5, 4)).front().channels, 3);
  EXPECT_EQ(num_loaded, 2);

  num_loaded = 0;
  const auto gpu = ShortOfMemoryAtFirst(Device::kCuda, &num_loaded);
  EXPECT_THAT([&] { gpu->Run(SeededImage(5, 4)); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("5 x 4 pixels"),
                                              HasSubstr("--device auto"))));
  EXPECT_EQ(num_loaded, 1);
}

TEST(NetworkTest, SmallImages) {
  const WeightsFile vgg16(SeededWeights("vgg16"));
  const auto network = vgg16.Load("vgg16");
  EXPECT_EQ(network->DeviceName(), "cpu");
  EXPECT_THAT([&] { network->Run(SeededImage(1, 200)); },
              ThrowsMessage<InputError>(
                  AllOf(HasSubstr("1 x 200"), HasSubstr("16 on either side"))));
  EXPECT_THROW(network->Run(SeededImage(200, 15)), InputError);
  EXPECT_EQ(network->Run(SeededImage(16, 16)).front().width, 4);

  const WeightsFile nre_fine(SeededWeights("nre_fine"));
  const auto output = nre_fine.Load("nre_fine")->Run(SeededImage(1, 3)).front();
  EXPECT_EQ(output.width, 1);
  EXPECT_EQ(output.height, 2);
}

}  // namespace
}  // namespace nre
