// From training to inference: what was trained is what a preset uses.

#include <filesystem>
#include <fstream>
#include <string>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "s2d/feature_preset.h"
#include "s2d/training/trainer.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

class TrainedPresetTest : public testing::Test {
 protected:
  TrainedPresetTest() {
    fs::create_directories(folder_);
    at::set_num_threads(1);
  }
  ~TrainedPresetTest() override { fs::remove_all(folder_); }

  // Trains for a second and leaves the weights in the folder; returns the
  // factor that was learned.
  float Train(const std::string& network, NetworkLossOptions loss) const {
    TrainerOptions options;
    options.network = network;
    options.output_path = (folder_ / (network + ".training")).string();
    options.loss = loss;
    options.data.image_size = 64;
    options.data.batch_size = 2;
    options.data.num_points = 16;
    options.num_iterations = 3;
    options.num_warmup_iterations = 0;
    options.learning_rate = 0.05;
    options.softmax_scale = 11.0;
    options.log_every = 1;
    options.num_validation_batches = 1;
    nre::Train(options, nullptr);
    const fs::path output = options.output_path;
    fs::rename(output / (network + ".safetensors"),
               folder_ / (network + ".safetensors"));
    std::ifstream metrics(output / "metrics.jsonl");
    float learned = 0.0f;
    for (std::string line; std::getline(metrics, line);) {
      learned = nlohmann::json::parse(line).value("softmax_scale", learned);
    }
    return learned;
  }

  const fs::path folder_ = testing::TempDir() + "nre_trained_preset_test." +
                           std::to_string(getpid());
};

TEST_F(TrainedPresetTest, FactorAndNormAreThoseOfTraining) {
  NetworkLossOptions loss;
  loss.unit_norm = false;
  const float coarse = Train("compact_coarse", loss);
  loss.unit_norm = true;
  const float fine = Train("compact_fine", loss);
  EXPECT_NE(coarse, 11.0f);
  const FeaturePreset preset =
      CreateFeaturePreset("compact_1s", {folder_.string(), Device::kCpu});
  EXPECT_FLOAT_EQ(preset.coarse_softmax_scale, coarse);
  EXPECT_FLOAT_EQ(preset.fine_softmax_scale, fine);
  EXPECT_FALSE(preset.coarse->UnitNorm());
  EXPECT_TRUE(preset.fine->UnitNorm());
}

// It learns no factor: the preset's stays.
TEST_F(TrainedPresetTest, TheContrastiveLossSaysNothingOfTheFactor) {
  NetworkLossOptions loss;
  loss.kind = LossKind::kContrastive;
  Train("compact_coarse", loss);
  Train("compact_fine", loss);
  const FeaturePreset preset =
      CreateFeaturePreset("compact_1s", {folder_.string(), Device::kCpu});
  EXPECT_EQ(preset.coarse_softmax_scale, 24.0f);
  EXPECT_EQ(preset.fine_softmax_scale, 45.0f);
}

}  // namespace
}  // namespace nre
