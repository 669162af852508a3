#include "s2d/training/training_data.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "nre/error.h"
#include "s2d/training/tensor_files.h"

namespace nre {
namespace {

using Colour = std::array<int, 3>;

constexpr Colour kRed = {200, 0, 0};
constexpr Colour kGreen = {0, 200, 0};
constexpr Colour kBlue = {0, 0, 200};
constexpr int64_t kSetImageSize = 96;

class TrainingDataTest : public testing::Test {
 protected:
  TrainingDataTest() { at::set_num_threads(1); }
  ~TrainingDataTest() override {
    for (const std::string& path : paths_) std::remove(path.c_str());
  }

  // Writes a set of pictures of one colour each. With pairs: each with the
  // next, with points that show the same positions.
  std::string WriteSet(const std::vector<Colour>& colours, bool with_pairs) {
    TensorFile file;
    file.metadata = {{"format", "colmap_nre training set"}, {"version", "1"}};
    std::string names;
    for (size_t i = 0; i < colours.size(); ++i) {
      char key[32];
      std::snprintf(key, sizeof(key), "image/%06d", static_cast<int>(i));
      file.tensors[key] =
          torch::tensor({colours[i][0], colours[i][1], colours[i][2]})
              .to(torch::kUInt8)
              .expand({kSetImageSize, kSetImageSize, 3})
              .contiguous();
      names += "name\n";
    }
    file.tensors["image_names"] =
        torch::from_blob(
            names.data(), {static_cast<int64_t>(names.size())}, torch::kUInt8)
            .clone();
    const int64_t num_pairs = with_pairs ? colours.size() - 1 : 0;
    const torch::Tensor axis = torch::arange(1.0f, kSetImageSize, 4.0f);
    const torch::Tensor grid =
        torch::cartesian_prod({axis, axis}).repeat({num_pairs, 1});
    const int64_t num_points = axis.numel() * axis.numel();
    const torch::Tensor first = torch::arange(num_pairs, torch::kInt32);
    file.tensors["pair_images"] = torch::stack({first, first + 1}, 1);
    file.tensors["pair_offsets"] =
        torch::arange(num_pairs + 1, torch::kInt64) * num_points;
    file.tensors["reference_positions"] = grid;
    file.tensors["query_positions"] = grid;
    file.tensors["visible"] = torch::ones({grid.size(0)}, torch::kUInt8);
    paths_.push_back(testing::TempDir() + "nre_training_data_test." +
                     std::to_string(getpid()) + "." +
                     std::to_string(paths_.size()) + ".safetensors");
    WriteTensorFile(paths_.back(), file);
    return paths_.back();
  }

  static TrainingDataOptions SmallOptions() {
    TrainingDataOptions options;
    options.batch_size = 4;
    options.image_size = 64;
    options.num_points = 8;
    return options;
  }

  std::vector<std::string> paths_;
};

TrainingPairs Training(TrainingData* data, int64_t number, double appearance) {
  return data->Batch(DataSplit::kTraining, number, appearance, torch::kCPU);
}

TrainingPairs Validation(TrainingData* data,
                         int64_t number,
                         double appearance) {
  return data->Batch(DataSplit::kValidation, number, appearance, torch::kCPU);
}

bool Equal(const TrainingPairs& a, const TrainingPairs& b) {
  const auto equal = [&](torch::Tensor TrainingPairs::*member) {
    return torch::allclose(a.*member,
                           b.*member,
                           /*rtol=*/0.0,
                           /*atol=*/0.0,
                           /*equal_nan=*/true);
  };
  return torch::equal(a.visible, b.visible) &&
         equal(&TrainingPairs::reference_images) &&
         equal(&TrainingPairs::query_images) &&
         equal(&TrainingPairs::reference_positions) &&
         equal(&TrainingPairs::query_positions);
}

// [B, 3, H, W] -> [B], the share of pixels of this colour.
torch::Tensor ShareOf(const torch::Tensor& images, const Colour& colour) {
  const torch::Tensor values =
      torch::tensor({colour[0], colour[1], colour[2]}).view({3, 1, 1}) / 255.0f;
  return ((images - values).abs().amax(1) < 0.01f)
      .to(torch::kFloat32)
      .mean({1, 2});
}

TEST_F(TrainingDataTest, BatchesAreOfTheirShapes) {
  TrainingDataOptions options = SmallOptions();
  options.set_paths = {WriteSet(std::vector<Colour>(4, kRed), false),
                       WriteSet({kGreen, kGreen}, true)};
  TrainingData data(options, 1);
  for (int64_t i = 0; i < 4; ++i) {
    for (const TrainingPairs& pairs :
         {Training(&data, i, 1.0), Validation(&data, i, 1.0)}) {
      const std::vector<int64_t> images = {4, 3, 64, 64}, points = {4, 8, 2};
      EXPECT_EQ(pairs.reference_images.sizes(), images);
      EXPECT_EQ(pairs.query_images.sizes(), images);
      EXPECT_EQ(pairs.reference_positions.sizes(), points);
      EXPECT_EQ(pairs.query_positions.sizes(), points);
      EXPECT_EQ(pairs.visible.sizes(), torch::IntArrayRef({4, 8}));
      for (const auto& tensor : {pairs.reference_images, pairs.query_images}) {
        EXPECT_GE(tensor.min().item<float>(), 0.0f);
        EXPECT_LE(tensor.max().item<float>(), 1.0f);
      }
      const torch::Tensor visible =
          pairs.query_positions.index({pairs.visible});
      EXPECT_TRUE(((visible >= 0.0f) & (visible <= 64.0f)).all().item<bool>());
    }
  }
}

TEST_F(TrainingDataTest, BatchesDependOnSeedAndNumberOnly) {
  TrainingDataOptions options = SmallOptions();
  options.set_paths = {WriteSet({kRed, kBlue, kGreen}, false),
                       WriteSet({kGreen, kRed}, true)};
  TrainingData data(options, 1);
  std::vector<TrainingPairs> training, validation;
  for (int64_t i = 0; i < 6; ++i) {
    training.push_back(Training(&data, i, 0.7));
    validation.push_back(Validation(&data, i, 0.7));
  }
  // In another order, by another object, with more threads.
  at::set_num_threads(3);
  TrainingData again(options, 1);
  for (int64_t i = 5; i >= 0; --i) {
    EXPECT_TRUE(Equal(Training(&again, i, 0.7), training[i])) << i;
  }
  for (int64_t i = 0; i < 6; i += 5) {
    EXPECT_TRUE(Equal(Validation(&again, i, 0.7), validation[i])) << i;
  }
  at::set_num_threads(1);
  EXPECT_FALSE(Equal(training[0], training[1]));
  EXPECT_FALSE(Equal(validation[0], validation[1]));
  EXPECT_FALSE(Equal(training[0], validation[0]));
  TrainingData other(options, 2);
  EXPECT_FALSE(Equal(Training(&other, 0, 0.7), training[0]));
}

TEST_F(TrainingDataTest, SourcesHaveTheirShares) {
  TrainingDataOptions options = SmallOptions();
  options.batch_size = 8;
  options.image_size = 32;
  options.procedural_share = 1.0;
  options.generated_share = 0.5;
  options.homography_share = 1.0;
  options.real_share = 0.5;
  options.set_paths = {WriteSet(std::vector<Colour>(2, kRed), false),
                       WriteSet({kGreen, kGreen}, true)};
  TrainingData data(options, 1);
  double homographies = 0.0, real = 0.0;
  constexpr int kNumBatches = 40;
  for (int64_t i = 0; i < kNumBatches; ++i) {
    const torch::Tensor images = Training(&data, i, 0.0).query_images;
    homographies += (ShareOf(images, kRed) > 0.5f).sum().item<double>();
    real += (ShareOf(images, kGreen) > 0.5f).sum().item<double>();
  }
  const double num = kNumBatches * 8;
  // Five standard deviations.
  EXPECT_NEAR(homographies / num, 0.5, 5.0 * std::sqrt(0.25 / num));
  EXPECT_NEAR(real / num, 0.25, 5.0 * std::sqrt(0.19 / num));

  // A share of 0 is none, and so is one of a source without data.
  options.homography_share = 0.0;
  options.generated_share = 0.0;
  TrainingData only_real(options, 1);
  EXPECT_TRUE(
      (ShareOf(Training(&only_real, 0, 0.0).query_images, kGreen) > 0.99f)
          .all()
          .item<bool>());
  options.homography_share = 0.5;
  options.set_paths.pop_back();
  TrainingData only_homographies(options, 1);
  EXPECT_TRUE(
      (ShareOf(Training(&only_homographies, 0, 0.0).query_images, kRed) > 0.5f)
          .all()
          .item<bool>());
  options.set_paths = {};
  EXPECT_THAT([&] { TrainingData(options, 1); },
              testing::ThrowsMessage<InputError>(
                  testing::HasSubstr("nothing to train on")));
}

// Every tenth photograph is for validation, and for nothing else.
TEST_F(TrainingDataTest, ValidationHasPhotographsOfItsOwn) {
  std::vector<Colour> colours(20, kGreen);
  colours[0] = colours[10] = kRed;
  TrainingDataOptions options = SmallOptions();
  options.procedural_share = 0.0;
  options.set_paths = {WriteSet(colours, false)};
  TrainingData data(options, 1);
  for (int64_t i = 0; i < 8; ++i) {
    const TrainingPairs training = Training(&data, i, 0.0);
    const TrainingPairs validation = Validation(&data, i, 0.0);
    for (const auto member :
         {&TrainingPairs::reference_images, &TrainingPairs::query_images}) {
      // Scenes have light and shade, and a sky of any colour.
      const auto share = [&](const TrainingPairs& pairs, int64_t channel) {
        const torch::Tensor bright = pairs.*member > 0.05f;
        return (bright.select(1, channel) & (bright.sum(1) == 1))
            .to(torch::kFloat32)
            .mean()
            .item<float>();
      };
      EXPECT_GT(share(training, 1), 0.2f);
      EXPECT_LT(share(training, 0), 0.002f);
      EXPECT_GT(share(validation, 0), 0.2f);
      EXPECT_LT(share(validation, 1), 0.002f);
    }
  }
}

TEST_F(TrainingDataTest, AppearanceChangesImagesOnly) {
  TrainingData data(SmallOptions(), 1);
  for (int64_t i = 0; i < 3; ++i) {
    const TrainingPairs plain = Validation(&data, i, 0.0);
    const TrainingPairs changed = Validation(&data, i, 1.0);
    EXPECT_FALSE(torch::equal(plain.query_images, changed.query_images));
    EXPECT_TRUE(torch::equal(plain.reference_images, changed.reference_images));
    TrainingPairs restored = changed;
    restored.query_images = plain.query_images;
    EXPECT_TRUE(Equal(plain, restored));

    const TrainingPairs training = Training(&data, i, 0.0);
    restored = Training(&data, i, 1.0);
    EXPECT_FALSE(
        torch::equal(training.reference_images, restored.reference_images));
    restored.query_images = training.query_images;
    restored.reference_images = training.reference_images;
    EXPECT_TRUE(Equal(training, restored));
  }
  // Photographs of one colour show what becomes of an image.
  TrainingDataOptions options = SmallOptions();
  options.generated_share = 0.0;
  options.set_paths = {WriteSet({kRed, kRed, kRed}, true)};
  TrainingData red(options, 1);
  EXPECT_EQ(ShareOf(Training(&red, 0, 0.0).reference_images, kRed)
                .min()
                .item<float>(),
            1.0f);
}

TEST_F(TrainingDataTest, OptionsAreChecked) {
  const auto valid = [](auto change) {
    TrainingDataOptions options;
    change(&options);
    return options.Check();
  };
  using O = TrainingDataOptions;
  EXPECT_TRUE(valid([](O*) {}));
  EXPECT_FALSE(valid([](O* o) { o->batch_size = 0; }));
  EXPECT_FALSE(valid([](O* o) { o->image_size = 48; }));
  EXPECT_TRUE(valid([](O* o) { o->min_image_size = 256; }));
  EXPECT_FALSE(valid([](O* o) { o->min_image_size = 288; }));
  EXPECT_FALSE(valid([](O* o) { o->min_image_size = 48; }));
  EXPECT_FALSE(valid([](O* o) { o->min_image_size = -32; }));
  EXPECT_FALSE(valid([](O* o) { o->num_points = 0; }));
  EXPECT_TRUE(valid([](O* o) { o->magnified_share = 1.0; }));
  EXPECT_FALSE(valid([](O* o) { o->magnified_share = 1.1; }));
  EXPECT_FALSE(valid([](O* o) { o->magnified_share = -0.1; }));
  EXPECT_FALSE(valid([](O* o) { o->min_overlap = -0.1; }));
  EXPECT_FALSE(valid([](O* o) { o->max_overlap = 1.1; }));
  EXPECT_FALSE(valid([](O* o) { o->min_overlap = 0.9, o->max_overlap = 0.8; }));
  EXPECT_FALSE(valid([](O* o) { o->generated_share = -1.0; }));
  EXPECT_FALSE(valid([](O* o) { o->homography_share = NAN; }));
  EXPECT_FALSE(valid([](O* o) { o->procedural_share = 1.1; }));
}

TEST_F(TrainingDataTest, BatchesOfTrainingHaveSizesOfTheirOwn) {
  TrainingDataOptions options = SmallOptions();
  options.image_size = 96;
  options.min_image_size = 32;
  options.set_paths = {WriteSet({kRed, kRed, kGreen}, false),
                       WriteSet({kRed, kRed, kRed}, true)};
  TrainingData data(options, 0);
  std::set<int64_t> sizes;
  for (int64_t i = 0; i < 20; ++i) {
    const TrainingPairs batch = Training(&data, i, 1.0);
    const int64_t size = batch.query_images.size(3);
    sizes.insert(size);
    EXPECT_EQ(batch.query_images.sizes(),
              (std::vector<int64_t>{4, 3, size, size}));
    EXPECT_EQ(batch.reference_images.sizes(), batch.query_images.sizes());
    const torch::Tensor seen =
        batch.query_positions.masked_select(batch.visible.unsqueeze(2));
    EXPECT_TRUE(((seen >= 0.0) & (seen <= size)).all().item<bool>());
    EXPECT_EQ(Validation(&data, i, 0.0).query_images.size(3), 96);
  }
  EXPECT_EQ(sizes, (std::set<int64_t>{32, 64, 96}));
}

// Positions follow, and details of single pixels are lost.
TEST_F(TrainingDataTest, MagnifiedImagesKeepTheirPoints) {
  TrainingDataOptions options = SmallOptions();
  options.image_size = 96;
  options.min_overlap = options.max_overlap = 1.0;
  TrainingData plain(options, 3);
  options.magnified_share = 1.0;
  TrainingData magnified(options, 3);
  // The mean difference of neighbouring pixels, relative to that of pixels at a
  // distance of four.
  const auto sharpness = [](const torch::Tensor& images) {
    const auto difference = [&](int64_t step) {
      return (images.slice(3, step) - images.slice(3, 0, -step))
          .abs()
          .mean()
          .item<double>();
    };
    return difference(1) / difference(4);
  };
  double sharpness_ratio = 0.0;
  constexpr int kNumBatches = 8;
  for (int64_t i = 0; i < kNumBatches; ++i) {
    const TrainingPairs batch = Training(&magnified, i, 0.0);
    EXPECT_EQ(batch.query_images.sizes(), (std::vector<int64_t>{4, 3, 96, 96}));
    EXPECT_GE(batch.query_images.min().item<float>(), 0.0f);
    EXPECT_LE(batch.query_images.max().item<float>(), 1.0f);
    const torch::Tensor seen =
        batch.query_positions.masked_select(batch.visible.unsqueeze(2));
    EXPECT_TRUE(((seen >= 0.0) & (seen <= 96.0)).all().item<bool>());
    EXPECT_GT(seen.max().item<float>(), 64.0f);
    sharpness_ratio += sharpness(batch.query_images) /
                       sharpness(Training(&plain, i, 0.0).query_images) /
                       kNumBatches;
    EXPECT_TRUE(
        Equal(Validation(&plain, i, 0.0), Validation(&magnified, i, 0.0)));
  }
  EXPECT_LT(sharpness_ratio, 0.9);
}

// Gradients of an image around positions, against those all over it.
TEST_F(TrainingDataTest, PointsAreWhereThereIsSomethingToSee) {
  TrainingDataOptions options;
  options.batch_size = 8;
  options.image_size = 128;
  options.num_points = 100;
  TrainingData data(options, 0);
  const TrainingPairs batch =
      data.Batch(DataSplit::kTraining, 0, 0.0, torch::kCPU);
  const torch::Tensor grey = batch.reference_images.mean(1);
  const torch::Tensor steps = grey.diff(1, 2).abs();
  const torch::Tensor cells =
      batch.reference_positions.floor().clamp(0, 126).to(torch::kInt64);
  const torch::Tensor at_points = steps.flatten(1).gather(
      1, cells.select(2, 1) * steps.size(2) + cells.select(2, 0));
  EXPECT_GT(at_points.masked_select(batch.visible).mean().item<double>(),
            1.15 * steps.mean().item<double>());
}

TEST_F(TrainingDataTest, ValidationSetsAreValidatedOnOnly) {
  TrainingDataOptions options = SmallOptions();
  options.set_paths = {WriteSet(std::vector<Colour>(12, kRed), false),
                       WriteSet({kRed, kRed}, true)};
  options.validation_set_paths = {WriteSet({kGreen, kGreen, kGreen}, true)};
  // Nothing of the validation sets is trained on, whatever the shares are.
  options.procedural_share = 0.0;
  options.generated_share = 0.0;
  TrainingData data(options, 1);
  for (int64_t i = 0; i < 6; ++i) {
    for (const auto member :
         {&TrainingPairs::reference_images, &TrainingPairs::query_images}) {
      EXPECT_EQ(ShareOf(Validation(&data, i, 0.0).*member, kGreen)
                    .min()
                    .item<float>(),
                1.0f);
      EXPECT_EQ(
          ShareOf(Training(&data, i, 0.0).*member, kGreen).max().item<float>(),
          0.0f);
    }
  }
}

TEST_F(TrainingDataTest, SetsOfBothKindsAreRefused) {
  const std::string training = WriteSet({kRed, kGreen}, true);
  const std::string copy = WriteSet({kBlue, kGreen, kBlue}, true);
  const std::string photos = WriteSet({kBlue}, false);
  const auto refusal = [&](const std::string& validation) {
    TrainingDataOptions options = SmallOptions();
    options.set_paths = {training};
    options.validation_set_paths = {validation};
    try {
      TrainingData(options, 1);
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  using testing::HasSubstr;
  EXPECT_THAT(refusal(training),
              testing::AllOf(HasSubstr(training), HasSubstr("trained on")));
  // Another file, with a picture that is in both.
  EXPECT_THAT(refusal(copy),
              testing::AllOf(HasSubstr(copy), HasSubstr("trained on")));
  EXPECT_THAT(refusal(photos), HasSubstr("has no pairs"));
  EXPECT_EQ(refusal(WriteSet({kBlue, kBlue}, true)), "");
}

TEST_F(TrainingDataTest, HomographiesAreOfThePhotographsThatAreSet) {
  TrainingDataOptions options = SmallOptions();
  options.generated_share = 1.0;
  options.homography_share = 1.0;
  options.procedural_share = 1.0;
  options.magnified_share = 0.5;
  options.set_paths = {WriteSet(std::vector<Colour>(12, kRed), false)};
  TrainingData data(options, 1);
  ASSERT_EQ(data.TrainingPhotos().size(), 10);  // without every tenth
  EXPECT_EQ(data.TrainingPhotos()[0].name, "name");
  // Two other ones: a red one, and one whose colours say where they are.
  torch::Tensor places = torch::zeros({100, 120, 3}, torch::kUInt8);
  places.select(2, 1).copy_(torch::arange(120).expand({100, 120}) * 2);
  data.SetHomographyPhotos({data.TrainingPhotos()[0].pixels, places});
  int num_red = 0, num_places = 0, num_others = 0;
  for (int64_t i = 0; i < 12; ++i) {
    const TrainingPairs batch = Training(&data, i, 0.0);
    ASSERT_EQ(batch.photos.sizes(), torch::IntArrayRef({4}));
    const torch::Tensor red = ShareOf(batch.reference_images, kRed);
    for (int64_t b = 0; b < 4; ++b) {
      const int64_t photo = batch.photos[b].item<int64_t>();
      num_others += photo == -1;
      if (photo == 0) {
        ++num_red;
        EXPECT_EQ(red[b].item<float>(), 1.0f);
      } else if (photo == 1) {
        // The middle's colour, also of enlarged images.
        ++num_places;
        const int64_t size = batch.reference_images.size(3);
        const double x =
            batch.photo_from_reference[b][0][0].item<double>() * 0.5 * size +
            batch.photo_from_reference[b][0][2].item<double>();
        const double green = 255.0 * batch.reference_images[b][1][size / 2]
                                         .slice(0, size / 2 - 1, size / 2 + 1)
                                         .mean()
                                         .item<double>();
        EXPECT_NEAR(green, 2.0 * (x - 0.5), 2.0);
      }
    }
  }
  EXPECT_GT(num_red, 0);
  EXPECT_GT(num_places, 0);
  EXPECT_GT(num_others, 0);
}

}  // namespace
}  // namespace nre
