// Teachers against the presets that the estimator uses.
#include "s2d/training/teachers.h"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "nre/error.h"
#include "s2d/feature_preset.h"
#include "s2d/safetensors.h"
#include "tests/s2d/training/photo_sets.h"
#include "tests/testing/seeded_weights.h"

namespace nre {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;
using torch::Tensor;

class TeachersTest : public testing::Test {
 protected:
  TeachersTest() {
    at::set_num_threads(1);
    fs::create_directories(folder_);
  }
  ~TeachersTest() override { fs::remove_all(folder_); }

  Teacher Load(const std::string& name, const std::string& folder = "") const {
    return LoadTeachers({{name}, {folder}}, torch::kCPU).at(0);
  }

  const std::string folder_ =
      testing::TempDir() + "nre_teachers_test." + std::to_string(getpid());
};

Image ToImage(const Tensor& photo) {
  Image image;
  image.height = photo.size(0);
  image.width = photo.size(1);
  const uint8_t* data = photo.data_ptr<uint8_t>();
  image.rgb.assign(data, data + photo.numel());
  return image;
}

// Expects the same cells in the same places, and descriptors with cosines of at
// least this on average.
void ExpectSame(const TeacherMap& teacher,
                const FeatureMap& preset,
                double mean_cosine) {
  ASSERT_EQ(teacher.features.sizes(),
            torch::IntArrayRef({preset.channels, preset.height, preset.width}));
  EXPECT_EQ(teacher.features.scalar_type(), torch::kFloat16);
  EXPECT_EQ(teacher.unit_norm, preset.unit_norm);
  for (const Eigen::Vector2d& xy :
       {Eigen::Vector2d(0.0, 0.0), Eigen::Vector2d(33.0, 17.5)}) {
    const Eigen::Vector2d expected = preset.map_from_image * xy;
    const Tensor place = MapPositions(
        teacher, torch::tensor({xy.x(), xy.y()}, torch::kFloat64).view({1, 2}));
    EXPECT_NEAR(place[0][0].item<double>(), expected.x(), 1e-9);
    EXPECT_NEAR(place[0][1].item<double>(), expected.y(), 1e-9);
  }
  const Tensor expected =
      torch::from_blob(const_cast<float*>(preset.data.data()),
                       {preset.height, preset.width, preset.channels});
  const Tensor features =
      teacher.features.permute({1, 2, 0}).to(torch::kFloat32);
  const Tensor cosine =
      (features * expected).sum(2) /
      (features.norm(2, {2}) * expected.norm(2, {2})).clamp_min(1e-12);
  EXPECT_GT(cosine.mean().item<double>(), mean_cosine);
  EXPECT_LT((features.norm(2, {2}) / expected.norm(2, {2}) - 1.0)
                .abs()
                .max()
                .item<double>(),
            0.01);
}

TEST_F(TeachersTest, SeeWhatThePresetSees) {
  const Tensor photo = TexturedPhotos(1, 100, 140)[0];
  const Teacher teacher = Load("compact_1s");
  const FeaturePreset preset = CreateFeaturePreset("compact_1s");
  EXPECT_EQ(teacher.name, "compact_1s");
  ExpectSame(teacher.coarse.Extract(photo),
             preset.coarse->Extract(ToImage(photo)),
             0.9999);
  ExpectSame(teacher.fine.Extract(photo),
             preset.fine->Extract(ToImage(photo)),
             0.9999);
  EXPECT_EQ(teacher.coarse.softmax_scale(), preset.coarse_softmax_scale);
  EXPECT_EQ(teacher.fine.softmax_scale(), preset.fine_softmax_scale);
}

// The photograph is resized by another filter.
TEST_F(TeachersTest, SeeSeveralScales) {
  const Tensor photo = TexturedPhotos(1, 128, 192)[0];
  const Teacher teacher = Load("compact");
  const FeaturePreset preset = CreateFeaturePreset("compact");
  ExpectSame(teacher.coarse.Extract(photo),
             preset.coarse->Extract(ToImage(photo)),
             0.9);
  EXPECT_EQ(teacher.coarse.softmax_scale(), preset.coarse_softmax_scale);
}

// Larger ones than the preset takes are resized.
TEST_F(TeachersTest, SeeLargePhotographsSmaller) {
  const Tensor photo = TexturedPhotos(1, 40, 1100)[0];
  const Teacher teacher = Load("compact_1s");
  const FeaturePreset preset = CreateFeaturePreset("compact_1s");
  ExpectSame(teacher.coarse.Extract(photo),
             preset.coarse->Extract(ToImage(photo)),
             0.9);
}

TEST_F(TeachersTest, CombineLevelsAsThePresetDoes) {
  WriteSafetensors(folder_ + "/s2dnet.safetensors", SeededWeights("s2dnet"));
  const Tensor photo = TexturedPhotos(1, 64, 96)[0];
  const Teacher teacher = Load("s2dnet", folder_);
  const FeaturePreset preset =
      CreateFeaturePreset("s2dnet", {folder_, Device::kCpu});
  ExpectSame(teacher.coarse.Extract(photo),
             preset.coarse->Extract(ToImage(photo)),
             0.9999);
  ExpectSame(teacher.fine.Extract(photo),
             preset.fine->Extract(ToImage(photo)),
             0.9999);
}

TEST_F(TeachersTest, TakeNoMoreThanTheySay) {
  for (const auto& [height, width] :
       {std::pair(64, 96), std::pair(71, 45), std::pair(40, 1100)}) {
    const Tensor photo = TexturedPhotos(1, height, width)[0];
    const Teacher teacher = Load("compact");
    for (const auto* extractor : {&teacher.coarse, &teacher.fine}) {
      EXPECT_TRUE(extractor->Takes(height, width));
      EXPECT_GE(
          extractor->MaxBytes(height, width, height, width),
          static_cast<int64_t>(extractor->Extract(photo).features.nbytes()));
      EXPECT_FALSE(extractor->Takes(8, width));
    }
  }
}

// SampleTeacher() against FeatureMap::Sample().
TEST_F(TeachersTest, AreInterpolatedAsFeaturesAre) {
  // Teachers compute in single precision, presets in bfloat16 on processors
  // that have it, which is no matter of interpolation. Read by oneDNN at its
  // first use: ctest runs every test in a process of its own.
  setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);
  const Tensor photo = TexturedPhotos(1, 80, 64)[0];
  const TeacherMap teacher = Load("compact_1s").coarse.Extract(photo);
  const FeatureMap preset =
      CreateFeaturePreset("compact_1s").coarse->Extract(ToImage(photo));
  std::vector<float> expected(preset.channels);
  for (const Eigen::Vector2d& xy :
       {Eigen::Vector2d(12.0, 36.0), Eigen::Vector2d(17.3, 61.9)}) {
    ASSERT_TRUE(preset.Sample(xy, expected.data()));
    const Tensor sampled = SampleTeacher(
        teacher, torch::tensor({xy.x(), xy.y()}, torch::kFloat64).view({1, 2}));
    for (int c = 0; c < preset.channels; ++c) {
      EXPECT_NEAR(sampled[0][c].item<double>(), expected[c], 2e-3);
    }
  }
}

TEST_F(TeachersTest, NamesAndFoldersAreChecked) {
  const auto load = [](const TeacherOptions& options) {
    return [options] { LoadTeachers(options, torch::kCPU); };
  };
  EXPECT_THAT(load({{"compact", "none_such"}, {}}),
              ThrowsMessage<InputError>(AllOf(HasSubstr("'none_such'"),
                                              HasSubstr("--teacher"),
                                              HasSubstr("compact_1s"))));
  // Has no network.
  EXPECT_THAT(load({{"dense_sift"}, {}}),
              ThrowsMessage<InputError>(HasSubstr("'dense_sift'")));
  EXPECT_THAT(
      load({{"compact"}, {"a", "b"}}),
      ThrowsMessage<InputError>(AllOf(HasSubstr("1 teachers and 2 folders"),
                                      HasSubstr("--teacher_weights_path"))));
  // What is missing, where from, and what to do.
  EXPECT_THAT(load({{"alike"}, {}}),
              ThrowsMessage<InputError>(
                  AllOf(HasSubstr("--teacher_weights_path"),
                        HasSubstr("alike_n.safetensors"),
                        HasSubstr("scripts/convert_weights.py alike_n"))));
  EXPECT_THAT(load({{"compact", "compact"}, {"", folder_}}),
              ThrowsMessage<InputError>(AllOf(
                  HasSubstr(folder_), HasSubstr("--teacher_weights_path"))));
}

TEST_F(TeachersTest, OtherArchitecturesAreRefused) {
  for (const char* network : {"compact_coarse", "compact_fine"}) {
    const std::string file = std::string(network) + ".safetensors";
    TensorFile weights =
        ReadTensorFile(std::string(NRE_SOURCE_DIR) + "/s2d/weights/" + file);
    weights.metadata["architecture"] = "2";
    WriteTensorFile(folder_ + "/" + file, weights);
  }
  Load("compact", folder_);
  const std::string path = folder_ + "/compact_fine.safetensors";
  TensorFile weights = ReadTensorFile(path);
  weights.metadata["architecture"] = "7";
  WriteTensorFile(path, weights);
  EXPECT_THAT([&] { Load("compact", folder_); },
              ThrowsMessage<InputError>(
                  AllOf(HasSubstr(path),
                        HasSubstr("architecture version 7"),
                        HasSubstr("this software has version 2"))));
}

}  // namespace
}  // namespace nre
