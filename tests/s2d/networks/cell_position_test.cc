// Where the cells of the networks' outputs lie: NetworkLevels() against what
// LibTorch's gradients say. For ALIKE and XFeat, which upsample much larger
// cells, random weights do not say it: network_test asks the published ones.

#include <algorithm>
#include <cmath>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include "s2d/network_features.h"
#include "s2d/networks/module.h"
#include "tests/testing/seeded_weights.h"

namespace nre {
namespace {

struct Output {
  std::string network;
  NetworkLevel level;
};

void PrintTo(const Output& output, std::ostream* stream) {
  *stream << output.network << ", output " << output.level.output;
}

std::vector<Output> AllOutputs() {
  std::vector<Output> outputs;
  for (const char* network : {"compact_coarse",
                              "compact_fine",
                              "nre_coarse",
                              "nre_fine",
                              "s2dnet",
                              "vgg16",
                              "gnnet"}) {
    for (const NetworkLevel& level : NetworkLevels(network)) {
      outputs.push_back({network, level});
    }
  }
  return outputs;
}

class CellPositionTest : public testing::TestWithParam<Output> {};

// The squared gradient of a cell by the image, over random weights, lies evenly
// around the centre of the cell's receptive field.
TEST_P(CellPositionTest, GradientsLieAroundTheCell) {
  const auto& [network, level] = GetParam();
  const auto module = CreateNetworkModule(network);
  const Safetensors weights = SeededWeights(network);
  LoadWeights(View(weights), "", network, module.get());
  module->eval();
  for (torch::Tensor& weight : module->parameters()) {
    weight.requires_grad_(false);
  }
  // compact_coarse sees much of an image; what is cut off would count.
  const double num_cells = network == "compact_coarse" ? 48.0 : 20.0;
  const int size = std::max(96, static_cast<int>(num_cells * level.stride));
  constexpr int kNumProbes = 2;
  torch::manual_seed(0);
  at::set_num_threads(1);
  double sum = 0.0, sum_x = 0.0, sum_y = 0.0;
  int cell_x = 0, cell_y = 0;
  for (int i = 0; i < kNumProbes; ++i) {
    torch::Tensor image = torch::randn({1, 3, size, size});
    image.requires_grad_(true);
    const torch::Tensor features = module->Forward(image)[level.output];
    cell_x = static_cast<int>(features.size(3)) / 2;
    cell_y = static_cast<int>(features.size(2)) / 2;
    const torch::Tensor cell = features[0].select(2, cell_x).select(1, cell_y);
    cell.dot(torch::randn_like(cell)).backward();
    const torch::Tensor weight = image.grad().square().squeeze(0).sum(0);
    const torch::Tensor position = torch::arange(size) + 0.5;
    sum += weight.sum().item<double>();
    sum_x += weight.sum(0).dot(position).item<double>();
    sum_y += weight.sum(1).dot(position).item<double>();
  }
  const double x = level.first_center + cell_x * level.stride;
  const double y = level.first_center + cell_y * level.stride;
  // Random weights leave some scatter; a cell that was taken to lie at another
  // place of its first pixels would be off by half a stride.
  EXPECT_NEAR(sum_x / sum, x, 0.4 * level.stride);
  EXPECT_NEAR(sum_y / sum, y, 0.4 * level.stride);
}

// What is shifted is found as many cells further. By the largest stride within
// the networks: random weights do not make up for what pooling does between.
class ShiftTest : public testing::TestWithParam<const char*> {};

TEST_P(ShiftTest, FeaturesMoveAsTheImageDoes) {
  const auto module = CreateNetworkModule(GetParam());
  const Safetensors weights = SeededWeights(GetParam());
  LoadWeights(View(weights), "", GetParam(), module.get());
  module->eval();
  const torch::NoGradGuard no_grad;
  at::set_num_threads(1);
  torch::manual_seed(0);
  constexpr int64_t kSize = 512;
  constexpr int64_t kShift = 32;
  const torch::Tensor scene = torch::upsample_bilinear2d(
      torch::randn({1, 3, (kSize + kShift) / 4, (kSize + kShift) / 4}),
      {kSize + kShift, kSize + kShift},
      /*align_corners=*/false);
  for (const NetworkLevel& level : NetworkLevels(GetParam())) {
    SCOPED_TRACE(level.stride);
    const auto features = [&](int64_t shift) {
      return torch::nn::functional::normalize(module->Forward(
          scene.narrow(2, shift, kSize).narrow(3, shift, kSize))[level.output]);
    };
    const torch::Tensor before = features(0);
    const torch::Tensor after = features(kShift);
    const int64_t moved = kShift / static_cast<int64_t>(level.stride);
    // Cells away from the border, against those around where they came from.
    const int64_t margin = before.size(2) / 4;
    const int64_t num = before.size(2) - 2 * margin;
    const auto inner = [&](const torch::Tensor& t, int64_t x, int64_t y) {
      return t.narrow(2, margin + y, num).narrow(3, margin + x, num);
    };
    std::vector<torch::Tensor> similarities;
    int64_t expected = 0;
    for (int64_t y = -2; y <= 2; ++y) {
      for (int64_t x = -2; x <= 2; ++x) {
        if (x == 0 && y == 0) expected = similarities.size();
        similarities.push_back(
            (inner(after, 0, 0) * inner(before, moved + x, moved + y)).sum(1));
      }
    }
    const torch::Tensor found = torch::stack(similarities).argmax(0);
    EXPECT_GT((found == expected).to(torch::kFloat32).mean().item<double>(),
              0.8);
  }
}

INSTANTIATE_TEST_SUITE_P(All,
                         ShiftTest,
                         testing::Values("compact_coarse",
                                         "compact_fine",
                                         "alike_t",
                                         "alike_n",
                                         "alike_l",
                                         "xfeat"),
                         [](const auto& info) { return info.param; });

INSTANTIATE_TEST_SUITE_P(All,
                         CellPositionTest,
                         testing::ValuesIn(AllOutputs()));

}  // namespace
}  // namespace nre
