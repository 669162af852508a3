#include <string>

#include <gtest/gtest.h>
#include <torch/types.h>

#include "s2d/network_features.h"
#include "s2d/networks/module.h"
#include "tests/testing/seeded_weights.h"

namespace nre {
namespace {

using torch::Tensor;

class CompactTest : public testing::TestWithParam<std::string> {
 protected:
  CompactTest() : module_(CreateNetworkModule(GetParam())) {
    LoadWeights(View(SeededWeights(GetParam())), "", GetParam(), module_.get());
    module_->eval();
  }

  Tensor Features(const Tensor& images) const {
    const torch::NoGradGuard no_grad;
    return module_->Forward(images).at(0);
  }

  std::shared_ptr<NetworkModule> module_;
};

// Smooth, with contrast everywhere.
Tensor Images() {
  torch::manual_seed(0);
  return torch::upsample_bilinear2d(
      torch::randn({2, 3, 24, 32}), {192, 256}, /*align_corners=*/false);
}

TEST_P(CompactTest, LightAndContrastHardlyMatter) {
  const Tensor images = Images();
  const Tensor features = Features(images);
  const Tensor ramp = torch::linspace(0.5, 1.5, 256);
  const auto difference = [&](const Tensor& changed) {
    return 1.0 - torch::cosine_similarity(features, Features(changed), 1)
                     .mean()
                     .item<double>();
  };
  // Against that of another image.
  const double other = difference(images.flip(3));
  EXPECT_LT(difference(0.01 * images - 3.0), 1e-3 * other);
  EXPECT_LT(difference(ramp * images + 5.0 * ramp), 0.1 * other);
}

TEST_P(CompactTest, CellsAreThoseThatTheImageHolds) {
  const NetworkLevel level = NetworkLevels(GetParam()).at(0);
  const int64_t stride = static_cast<int64_t>(level.stride);
  for (const int64_t width : {64, 65, 97, 127}) {
    const Tensor features = Features(torch::randn({1, 3, 70, width}));
    EXPECT_EQ(features.size(1), level.channels);
    EXPECT_EQ(features.size(2), 70 / stride);
    EXPECT_EQ(features.size(3), width / stride);
  }
}

// A batch is images side by side.
TEST_P(CompactTest, ImagesOfABatchDoNotMeet) {
  const Tensor images = Images();
  EXPECT_TRUE(torch::allclose(Features(images).narrow(0, 1, 1),
                              Features(images.narrow(0, 1, 1)),
                              1e-3,
                              1e-3));
}

// What inference makes of a network is the same function.
TEST_P(CompactTest, FoldingChangesNothing) {
  const Tensor images = Images();
  const Tensor before = Features(images);
  module_->Fold();
  for (const auto& item : module_->named_buffers()) {
    ADD_FAILURE() << item.key() << " is left of the batch normalisation";
  }
  EXPECT_TRUE(torch::allclose(before, Features(images), 1e-3, 1e-4));
}

// Where there are no instructions for it, too.
TEST_P(CompactTest, Bfloat16IsPreciseEnough) {
  EXPECT_TRUE(module_->TakesBfloat16());
  const Tensor images = Images();
  const Tensor before = Features(images);
  module_->Fold();
  module_->to(torch::kBFloat16);
  UseChannelsLast(module_.get());
  Tensor after;
  try {
    after = Features(images);
  } catch (const c10::Error& error) {
    GTEST_SKIP() << "oneDNN has no bfloat16 here: "
                 << error.what_without_backtrace();
  }
  EXPECT_EQ(after.scalar_type(), torch::kBFloat16);
  EXPECT_GT(torch::cosine_similarity(before, after.to(torch::kFloat32), 1)
                .min()
                .item<double>(),
            0.999);
}

INSTANTIATE_TEST_SUITE_P(All,
                         CompactTest,
                         testing::Values("compact_coarse", "compact_fine"));

TEST(Compact, AtMostThreeMillionParameters) {
  int64_t num = 0;
  for (const char* name : {"compact_coarse", "compact_fine"}) {
    for (const Tensor& parameter : CreateNetworkModule(name)->parameters()) {
      num += parameter.numel();
    }
  }
  EXPECT_LE(num, 3000000);
}

}  // namespace
}  // namespace nre
