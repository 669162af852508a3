#include "s2d/training/training_set.h"

#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "nre/error.h"

namespace nre {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

template <typename T>
void Add(const std::string& name,
         const std::string& dtype,
         const std::vector<int64_t>& shape,
         const std::vector<T>& values,
         Safetensors* file) {
  AddTensor(name, dtype, shape, values.data(), values.size() * sizeof(T), file);
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Three images of 3 x 2, 5 x 1 and 4 x 7 pixels, and the pairs (0, 2) with
// three points, (2, 1) with none and (1, 0) with one.
struct Contents {
  StoredMetadata metadata = {{"format", "colmap_nre training set"},
                             {"version", "1"},
                             {"source", "a test"}};
  std::vector<std::vector<int64_t>> image_shapes = {
      {2, 3, 3}, {1, 5, 3}, {7, 4, 3}};
  std::string names = "a.jpg\nsub/b c.jpg\nd.png\n";
  std::vector<int32_t> pair_images = {0, 2, 2, 1, 1, 0};
  std::vector<int64_t> pair_offsets = {0, 3, 3, 4};
  std::vector<float> reference_positions = {
      0.5f, 0.5f, 3.0f, 2.0f, 1.0f, 1.0f, 4.5f, 0.5f};
  std::vector<float> query_positions = {
      0.0f, 7.0f, kNan, 1e9f, 3.5f, 6.5f, 2.5f, 1.5f};
  std::vector<uint8_t> visible = {1, 0, 1, 1};
  std::string left_out;  // an array
};

// The value of a picture's byte.
uint8_t Byte(size_t image, size_t i) { return 100 * image + i; }

void WriteContents(const std::string& path, const Contents& contents) {
  Safetensors file;
  file.metadata = contents.metadata;
  for (size_t i = 0; i < contents.image_shapes.size(); ++i) {
    std::vector<uint8_t> bytes;
    int64_t size = 1;
    for (const int64_t length : contents.image_shapes[i]) size *= length;
    for (int64_t k = 0; k < size; ++k) bytes.push_back(Byte(i, k));
    Add("image/00000" + std::to_string(i),
        "U8",
        contents.image_shapes[i],
        bytes,
        &file);
  }
  const auto size = [](const auto& values) {
    return static_cast<int64_t>(values.size());
  };
  Add("image_names",
      "U8",
      {size(contents.names)},
      std::vector<char>(contents.names.begin(), contents.names.end()),
      &file);
  Add("pair_images",
      "I32",
      {size(contents.pair_images) / 2, 2},
      contents.pair_images,
      &file);
  Add("pair_offsets",
      "I64",
      {size(contents.pair_offsets)},
      contents.pair_offsets,
      &file);
  Add("reference_positions",
      "F32",
      {size(contents.reference_positions) / 2, 2},
      contents.reference_positions,
      &file);
  Add("query_positions",
      "F32",
      {size(contents.query_positions) / 2, 2},
      contents.query_positions,
      &file);
  Add("visible", "U8", {size(contents.visible)}, contents.visible, &file);
  if (!contents.left_out.empty()) {
    // The writer closes the gap.
    file.tensors.erase(contents.left_out);
  }
  WriteSafetensors(path, file);
}

class TrainingSetTest : public testing::Test {
 protected:
  ~TrainingSetTest() override { std::remove(path_.c_str()); }

  void ExpectRefused(const std::function<void(Contents*)>& spoil,
                     const std::string& why) const {
    Contents contents;
    spoil(&contents);
    WriteContents(path_, contents);
    EXPECT_THAT(
        [&] { TrainingSet set(path_); },
        ThrowsMessage<InputError>(AllOf(
            HasSubstr(path_), HasSubstr(why), HasSubstr("training_exporter"))));
  }

  const std::string path_ = testing::TempDir() + "nre_training_set_test." +
                            std::to_string(getpid()) + ".safetensors";
};

TEST_F(TrainingSetTest, HasWhatTheFileHas) {
  WriteContents(path_, {});
  const TrainingSet set(path_);
  EXPECT_EQ(set.NumImages(), 3);
  EXPECT_EQ(set.ImageName(1), "sub/b c.jpg");
  const torch::Tensor image = set.Image(2);
  EXPECT_EQ(image.sizes(), (std::vector<int64_t>{7, 4, 3}));
  EXPECT_EQ(image.scalar_type(), torch::kUInt8);
  // Row 1, column 2, blue.
  EXPECT_EQ(image[1][2][2].item<int>(), Byte(2, 4 * 3 + 2 * 3 + 2));
  EXPECT_EQ(set.Image(0)[0][0][0].item<int>(), 0);

  ASSERT_EQ(set.NumPairs(), 3);
  const StoredPair pair = set.Pair(0);
  EXPECT_EQ(pair.reference, 0);
  EXPECT_EQ(pair.query, 2);
  EXPECT_EQ(pair.reference_positions.sizes(), (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(pair.reference_positions[1][0].item<float>(), 3.0f);
  EXPECT_TRUE(std::isnan(pair.query_positions[1][0].item<float>()));
  EXPECT_EQ(pair.query_positions[2][1].item<float>(), 6.5f);
  EXPECT_TRUE(torch::equal(pair.visible, torch::tensor({true, false, true})));
  EXPECT_EQ(set.Pair(1).visible.numel(), 0);
  EXPECT_EQ(set.Pair(2).query, 0);
  EXPECT_EQ(set.Pair(2).query_positions[0][0].item<float>(), 2.5f);

  EXPECT_THROW(set.Image(3), c10::Error);
  EXPECT_THROW(set.Pair(3), c10::Error);
  EXPECT_THROW(set.Pair(-1), c10::Error);
}

TEST_F(TrainingSetTest, ImagesOutliveTheSet) {
  WriteContents(path_, {});
  std::optional<TrainingSet> set(path_);
  std::remove(path_.c_str());
  const torch::Tensor image = set->Image(1);
  set.reset();
  EXPECT_EQ(image[0][4][2].item<int>(), Byte(1, 14));
}

TEST_F(TrainingSetTest, PhotographsWithoutPairs) {
  Contents contents;
  contents.pair_images.clear();
  contents.pair_offsets = {0};
  contents.reference_positions.clear();
  contents.query_positions.clear();
  contents.visible.clear();
  WriteContents(path_, contents);
  const TrainingSet set(path_);
  EXPECT_EQ(set.NumImages(), 3);
  EXPECT_EQ(set.NumPairs(), 0);
}

TEST_F(TrainingSetTest, RefusesWhatIsWrong) {
  for (const std::string name : {"image/000001",
                                 "image_names",
                                 "pair_images",
                                 "pair_offsets",
                                 "reference_positions",
                                 "query_positions",
                                 "visible"}) {
    ExpectRefused([&](Contents* c) { c->left_out = name; },
                  name + " is missing");
  }
  ExpectRefused([](Contents* c) { c->metadata.erase("format"); },
                "does not say that it is");
  ExpectRefused([](Contents* c) { c->metadata["version"] = "2"; },
                "the version '2', not 1");
  ExpectRefused(
      [](Contents* c) {
        c->image_shapes[1] = {15, 1, 1};
      },
      "image/000001 has another");
  ExpectRefused(
      [](Contents* c) {
        c->image_shapes[1] = {0, 5, 3};
      },
      "image/000001 is empty");
  ExpectRefused([](Contents* c) { c->names = "a\nb\n"; }, "more images");
  ExpectRefused([](Contents* c) { c->names = "a\nb\nc\nd\n"; },
                "image/000003 is missing");
  ExpectRefused([](Contents* c) { c->names = "a\nb\nc"; }, "does not end");
  ExpectRefused([](Contents* c) { c->pair_images[3] = 3; }, "index 3 of 3");
  ExpectRefused([](Contents* c) { c->pair_images[3] = -1; }, "index -1");
  ExpectRefused([](Contents* c) { c->pair_images.resize(4); }, "pair_offsets");
  ExpectRefused([](Contents* c) { c->pair_offsets = {0, 3, 2, 4}; }, "ascend");
  ExpectRefused([](Contents* c) { c->pair_offsets[0] = 1; }, "ascend");
  ExpectRefused([](Contents* c) { c->pair_offsets[3] = 5; },
                "reference_positions has another");
  ExpectRefused([](Contents* c) { c->query_positions.resize(6); },
                "query_positions has another");
  ExpectRefused([](Contents* c) { c->visible.push_back(1); }, "visible has");
  ExpectRefused([](Contents* c) { c->visible[0] = 2; },
                "neither 0 nor 1 in pair 0");
  ExpectRefused([](Contents* c) { c->visible[1] = 1; },
                "visible points of pair 0 are outside");
  // Width and height are not mistaken for each other: image 1 is 5 x 1.
  ExpectRefused([](Contents* c) { c->reference_positions[7] = 4.5f; },
                "visible points of pair 2 are outside");
}

TEST_F(TrainingSetTest, OtherFiles) {
  EXPECT_THAT([] { TrainingSet set("/nowhere/set.safetensors"); },
              ThrowsMessage<InputError>(HasSubstr("/nowhere/set")));
  Safetensors weights;
  weights.metadata["network"] = "s2dnet";
  WriteSafetensors(path_, weights);
  EXPECT_THAT([&] { TrainingSet set(path_); },
              ThrowsMessage<InputError>(HasSubstr("no training set")));
}

}  // namespace
}  // namespace nre
