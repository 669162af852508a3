#include "s2d/feature_preset.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nre/error.h"

namespace nre {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(FeaturePresetTest, DenseSift) {
  const FeaturePreset preset = CreateFeaturePreset("dense_sift");
  EXPECT_EQ(preset.name, "dense_sift");
  ASSERT_NE(preset.coarse, nullptr);
  ASSERT_NE(preset.fine, nullptr);
  EXPECT_GT(preset.coarse_softmax_scale, 0.0f);
  EXPECT_GT(preset.fine_softmax_scale, 0.0f);
}

TEST(FeaturePresetTest, UnknownNameIsAnErrorThatTellsTheKnownOnes) {
  try {
    CreateFeaturePreset("no_such_preset");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("dense_sift"), std::string::npos);
  }
}

// The message says what to get, where, and how to convert it.
TEST(FeaturePresetTest, MissingWeights) {
  EXPECT_THAT([] { CreateFeaturePreset("nre"); },
              ThrowsMessage<InputError>(
                  AllOf(HasSubstr("--weights_path"),
                        HasSubstr("github.com/germain-hug/NRE"),
                        HasSubstr("convert_weights.py nre_coarse"))));
  FeaturePresetOptions options;
  options.weights_path = "/nowhere";
  EXPECT_THAT([&] { CreateFeaturePreset("s2dnet", options); },
              ThrowsMessage<InputError>(
                  AllOf(HasSubstr("/nowhere/s2dnet.safetensors does not exist"),
                        HasSubstr("S2DNet-Minimal"))));
}

}  // namespace
}  // namespace nre
