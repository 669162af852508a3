#include "s2d/feature_preset.h"

#include <filesystem>
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

// With the weights that come with this software.
TEST(FeaturePresetTest, CompactNeedsNothing) {
  const FeaturePreset preset = CreateFeaturePreset("compact");
  Image image;
  image.width = 70;
  image.height = 50;
  image.rgb.resize(3 * 70 * 50);
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = i * i % 251;
  const FeatureMap coarse = preset.coarse->Extract(image);
  EXPECT_EQ(coarse.width, 8);
  EXPECT_EQ(coarse.height, 6);
  const FeatureMap fine = preset.fine->Extract(image);
  EXPECT_EQ(fine.width, 35);
  EXPECT_EQ(fine.height, 25);
  EXPECT_TRUE(fine.unit_norm);
}

TEST(FeaturePresetTest, CompactWeightsAreSmall) {
  uintmax_t size = 0;
  for (const char* name : {"compact_coarse", "compact_fine"}) {
    size += std::filesystem::file_size(std::string(NRE_SOURCE_DIR) +
                                       "/s2d/weights/" + name + ".safetensors");
  }
  EXPECT_LE(size, 6000000u);
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
  EXPECT_THAT(
      [&] { CreateFeaturePreset("compact", options); },
      ThrowsMessage<InputError>(
          AllOf(HasSubstr("/nowhere/compact_coarse.safetensors does not exist"),
                HasSubstr("s2d/weights"))));
}

}  // namespace
}  // namespace nre
