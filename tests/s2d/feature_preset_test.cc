#include "s2d/feature_preset.h"

#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "nre/error.h"
#include "s2d/descriptor_comparison.h"
#include "s2d/safetensors.h"

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

// Copies of the weights that come with this software, with other headers.
class PresetHeaderTest : public testing::Test {
 protected:
  PresetHeaderTest() {
    std::filesystem::create_directories(options_.weights_path);
  }
  ~PresetHeaderTest() override {
    std::filesystem::remove_all(options_.weights_path);
  }

  std::string Path(const std::string& network) const {
    return options_.weights_path + "/" + network + ".safetensors";
  }

  // Entries with empty values are left out.
  void Write(const std::string& network, const StoredMetadata& entries) const {
    const SafetensorsView shipped =
        ReadSafetensors(std::string(NRE_SOURCE_DIR) + "/s2d/weights/" +
                        network + ".safetensors");
    Safetensors file{shipped.metadata,
                     shipped.tensors,
                     {shipped.data.begin(), shipped.data.end()}};
    for (const auto& [key, value] : entries) {
      file.metadata[key] = value;
      if (value.empty()) file.metadata.erase(key);
    }
    WriteSafetensors(Path(network), file);
  }

  FeaturePresetOptions options_{testing::TempDir() +
                                    "nre_feature_preset_test." +
                                    std::to_string(getpid()),
                                Device::kCpu};
};

TEST_F(PresetHeaderTest, TheHeaderDecides) {
  Write("compact_coarse", {{"softmax_scale", "7.25"}, {"unit_norm", "0"}});
  Write("compact_fine", {{"softmax_scale", "3e1"}, {"unit_norm", "1"}});
  const FeaturePreset preset = CreateFeaturePreset("compact_1s", options_);
  EXPECT_EQ(preset.coarse_softmax_scale, 7.25f);
  EXPECT_FALSE(preset.coarse->UnitNorm());
  EXPECT_EQ(preset.fine_softmax_scale, 30.0f);
  EXPECT_TRUE(preset.fine->UnitNorm());
}

// Files of earlier versions go on working.
TEST_F(PresetHeaderTest, WithoutEntriesThePresetDecides) {
  for (const char* network : {"compact_coarse", "compact_fine"}) {
    Write(network, {{"softmax_scale", ""}, {"unit_norm", ""}});
  }
  const FeaturePreset preset = CreateFeaturePreset("compact", options_);
  const FeaturePreset shipped = CreateFeaturePreset("compact");
  EXPECT_EQ(preset.coarse_softmax_scale, shipped.coarse_softmax_scale);
  EXPECT_EQ(preset.fine_softmax_scale, shipped.fine_softmax_scale);
  EXPECT_TRUE(preset.coarse->UnitNorm());
  EXPECT_TRUE(preset.fine->UnitNorm());
}

TEST_F(PresetHeaderTest, AHeaderThatMakesNoSenseIsRefused) {
  Write("compact_coarse", {});
  Write("compact_fine", {{"softmax_scale", "-1"}});
  EXPECT_THAT([&] { CreateFeaturePreset("compact", options_); },
              ThrowsMessage<InputError>(AllOf(HasSubstr(Path("compact_fine")),
                                              HasSubstr("softmax_scale '-1'"),
                                              HasSubstr("positive number"))));
}

// What is in force for those who name no weights.
TEST(FeaturePresetTest, CompactFactors) {
  const FeaturePreset preset = CreateFeaturePreset("compact");
  EXPECT_EQ(preset.coarse_softmax_scale, 1.5f * 24.0f);
  EXPECT_EQ(preset.fine_softmax_scale, 45.0f);
  for (const char* name : {"compact_coarse", "compact_fine"}) {
    const std::string path =
        std::string(NRE_SOURCE_DIR) + "/s2d/weights/" + name + ".safetensors";
    const DescriptorComparison header =
        ReadDescriptorComparison(ReadSafetensors(path).metadata, path);
    EXPECT_TRUE(header.softmax_scale.has_value()) << name;
    EXPECT_EQ(header.unit_norm, true) << name;
  }
}

TEST(FeaturePresetTest, CompactWeightsAreSmall) {
  uintmax_t size = 0;
  for (const char* name : {"compact_coarse", "compact_fine"}) {
    size += std::filesystem::file_size(std::string(NRE_SOURCE_DIR) +
                                       "/s2d/weights/" + name + ".safetensors");
  }
  EXPECT_LE(size, 6000000u);
}

TEST(FeaturePresetTest, OneScaleNeedsNothingEither) {
  const FeaturePreset one = CreateFeaturePreset("compact_1s");
  const FeaturePreset two = CreateFeaturePreset("compact");
  EXPECT_EQ(two.coarse->Channels(), 2 * one.coarse->Channels());
  EXPECT_GT(two.coarse_softmax_scale, one.coarse_softmax_scale);
  EXPECT_EQ(two.fine_softmax_scale, one.fine_softmax_scale);
}

// The message says what to get, where, and how to convert it.
TEST(FeaturePresetTest, MissingWeights) {
  EXPECT_THAT([] { CreateFeaturePreset("nre"); },
              ThrowsMessage<InputError>(
                  AllOf(HasSubstr("--weights_path"),
                        HasSubstr("github.com/germain-hug/NRE"),
                        HasSubstr("convert_weights.py nre_coarse"))));
  EXPECT_THAT([] { CreateFeaturePreset("alike"); },
              ThrowsMessage<InputError>(
                  AllOf(HasSubstr("models/alike-n.pth"),
                        HasSubstr("github.com/Shiaoming/ALIKE"),
                        HasSubstr("convert_weights.py alike_n"))));
  FeaturePresetOptions options;
  options.weights_path = "/nowhere";
  EXPECT_THAT([&] { CreateFeaturePreset("xfeat", options); },
              ThrowsMessage<InputError>(
                  AllOf(HasSubstr("/nowhere/xfeat.safetensors does not exist"),
                        HasSubstr("weights/xfeat.pt"),
                        HasSubstr("verlab/accelerated_features"))));
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
