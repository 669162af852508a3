#include <cstdint>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include "s2d/networks/levels.h"
#include "s2d/networks/module.h"
#include "tests/testing/seeded_weights.h"

namespace nre {
namespace {

using torch::Tensor;

// With the seeded weights, so many rows in memory at a time.
std::shared_ptr<NetworkModule> Create(const std::string& name,
                                      int64_t strip_rows) {
  AlikeOptions options = name == "alike_t"   ? AlikeT()
                         : name == "alike_n" ? AlikeN()
                                             : AlikeL();
  options.strip_rows = strip_rows;
  const auto module = CreateAlike(options);
  LoadWeights(View(SeededWeights(name)), "", name, module.get());
  module->eval();
  return module;
}

class AlikeTest : public testing::TestWithParam<const char*> {
 protected:
  AlikeTest() { at::set_num_threads(1); }

  const torch::NoGradGuard no_grad_;
};

TEST_P(AlikeTest, StripsAreThoseOfTheWhole) {
  torch::manual_seed(0);
  const Tensor images = torch::rand({2, 3, 200, 150});
  const std::vector<Tensor> whole =
      Create(GetParam(), 1 << 20)->Forward(images);
  for (const int64_t strip_rows : {32, 64, 96}) {
    const std::vector<Tensor> strips =
        Create(GetParam(), strip_rows)->Forward(images);
    ASSERT_EQ(strips.size(), whole.size());
    for (size_t i = 0; i < whole.size(); ++i) {
      ASSERT_EQ(strips[i].sizes(), whole[i].sizes());
      const double largest = whole[i].abs().max().item<double>();
      EXPECT_LT((strips[i] - whole[i]).abs().max().item<double>(),
                1e-5 * largest);
    }
  }
}

TEST_P(AlikeTest, CellsAreThoseThatTheImageHolds) {
  const auto module = Create(GetParam(), 32);
  for (const int64_t width : {8, 64, 65, 97, 127}) {
    const std::vector<Tensor> outputs =
        module->Forward(torch::rand({1, 3, 70, width}));
    for (const NetworkLevel& level : NetworkLevels(GetParam())) {
      const Tensor& output = outputs.at(level.output);
      const int64_t stride = static_cast<int64_t>(level.stride);
      EXPECT_EQ(output.size(1), level.channels);
      EXPECT_EQ(output.size(2), 70 / stride);
      EXPECT_EQ(output.size(3), width / stride);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All,
                         AlikeTest,
                         testing::Values("alike_t", "alike_n", "alike_l"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace nre
