#include "s2d/training/real_pairs.h"

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace nre {
namespace {

// A picture whose red is 200 x / width and whose green is 200 y / height at
// image coordinates x and y; blue has stripes of one pixel.
torch::Tensor Ramp(int64_t height, int64_t width) {
  const auto ramp = [](int64_t size) {
    return (torch::arange(size) + 0.5) * (200.0 / size);
  };
  const torch::Tensor red = ramp(width).expand({height, width});
  const torch::Tensor green = ramp(height).unsqueeze(1).expand({height, width});
  const torch::Tensor blue =
      ((torch::arange(width) % 2) * 255).expand({height, width});
  return torch::stack({red.round(), green.round(), blue}, 2)
      .to(torch::kUInt8)
      .contiguous();
}

struct TestPair {
  int32_t reference = 0;
  int32_t query = 0;
  torch::Tensor reference_positions;  // [N, 2]
  torch::Tensor query_positions;      // [N, 2]
  torch::Tensor visible;              // [N], uint8
};

TrainingSet MakeSet(const std::vector<torch::Tensor>& images,
                    const std::vector<TestPair>& pairs) {
  const std::string path = testing::TempDir() + "nre_real_pairs_test." +
                           std::to_string(getpid()) + ".safetensors";
  Safetensors file;
  file.metadata = {{"format", "colmap_nre training set"}, {"version", "1"}};
  const auto add = [&](const std::string& name,
                       const std::string& dtype,
                       const torch::Tensor& tensor) {
    AddTensor(name,
              dtype,
              tensor.sizes().vec(),
              tensor.data_ptr(),
              tensor.nbytes(),
              &file);
  };
  std::string names;
  for (size_t i = 0; i < images.size(); ++i) {
    add("image/00000" + std::to_string(i), "U8", images[i]);
    names += "name\n";
  }
  AddTensor("image_names",
            "U8",
            {static_cast<int64_t>(names.size())},
            names.data(),
            names.size(),
            &file);
  std::vector<int32_t> pair_images;
  std::vector<int64_t> offsets = {0};
  std::vector<torch::Tensor> reference_positions = {torch::zeros({0, 2})};
  std::vector<torch::Tensor> query_positions = {torch::zeros({0, 2})};
  std::vector<torch::Tensor> visible = {torch::zeros({0}, torch::kUInt8)};
  for (const TestPair& pair : pairs) {
    pair_images.insert(pair_images.end(), {pair.reference, pair.query});
    offsets.push_back(offsets.back() + pair.visible.numel());
    reference_positions.push_back(pair.reference_positions);
    query_positions.push_back(pair.query_positions);
    visible.push_back(pair.visible);
  }
  const int64_t num_pairs = pairs.size();
  add("pair_images",
      "I32",
      torch::tensor(pair_images, torch::kInt32).reshape({num_pairs, 2}));
  add("pair_offsets", "I64", torch::tensor(offsets, torch::kInt64));
  add("reference_positions", "F32", torch::cat(reference_positions));
  add("query_positions", "F32", torch::cat(query_positions));
  add("visible", "U8", torch::cat(visible));
  WriteSafetensors(path, file);
  const TrainingSet set(path);
  std::remove(path.c_str());  // its mapping stays
  return set;
}

at::Generator MakeGenerator(uint64_t seed) {
  return at::make_generator<at::CPUGeneratorImpl>(seed);
}

torch::Tensor Positions(int64_t num,
                        int64_t height,
                        int64_t width,
                        at::Generator generator) {
  return torch::rand({num, 2}, generator, torch::kFloat32) *
         torch::tensor({width, height}, torch::kFloat32);
}

// Image 0 is 300 x 200 pixels, image 1 180 x 240; the pair's points are at
// random places in either, every third is not visible.
TrainingSet RampSet(int64_t num_points) {
  const at::Generator generator = MakeGenerator(1);
  TestPair pair;
  pair.query = 1;
  pair.reference_positions = Positions(num_points, 200, 300, generator);
  pair.query_positions = Positions(num_points, 240, 180, generator);
  pair.visible = (torch::arange(num_points) % 3 != 0).to(torch::kUInt8);
  return MakeSet({Ramp(200, 300), Ramp(240, 180)}, {pair});
}

RealPairOptions SmallOptions() {
  RealPairOptions options;
  options.batch_size = 20;
  options.height = 96;
  options.width = 128;
  options.num_points = 100;
  options.min_scale = 0.7;
  options.max_scale = 1.8;
  return options;
}

// [N, 3]: the colours of image [3, H, W] at positions [N, 2], interpolated.
torch::Tensor Colors(const torch::Tensor& image,
                     const torch::Tensor& positions) {
  const auto color = [&](double x, double y) {
    const int64_t x0 = std::floor(x), y0 = std::floor(y);
    const double a = x - x0, b = y - y0;
    return (1 - b) * ((1 - a) * image.select(1, y0).select(1, x0) +
                      a * image.select(1, y0).select(1, x0 + 1)) +
           b * ((1 - a) * image.select(1, y0 + 1).select(1, x0) +
                a * image.select(1, y0 + 1).select(1, x0 + 1));
  };
  std::vector<torch::Tensor> colors;
  for (int64_t i = 0; i < positions.size(0); ++i) {
    colors.push_back(color(positions[i][0].item<double>() - 0.5,
                           positions[i][1].item<double>() - 0.5));
  }
  return torch::stack(colors);
}

// The colours say where in the stored image a position of a window is. Checks
// that this is one of `stored` for all, and returns which.
std::vector<int64_t> FindStored(const torch::Tensor& window,
                                const torch::Tensor& positions,
                                const torch::Tensor& stored,
                                double height,
                                double width,
                                std::vector<torch::Tensor>* shifts) {
  const torch::Tensor seen = Colors(window, positions).slice(1, 0, 2) *
                             (255.0 / 200.0) *
                             torch::tensor({width, height}, torch::kFloat32);
  const auto [distances, indices] = torch::cdist(seen, stored).min(1);
  // Colours are rounded to 0.75 pixels.
  EXPECT_LT(distances.max().item<double>(), 0.8);
  shifts->push_back(seen - stored.index_select(0, indices));
  return {indices.data_ptr<int64_t>(),
          indices.data_ptr<int64_t>() + indices.numel()};
}

TEST(RealPairsTest, PositionsFollowThePictures) {
  // Few enough to tell them apart by colour.
  const TrainingSet set = RampSet(60);
  const StoredPair stored = set.Pair(0);
  RealPairOptions options = SmallOptions();
  options.min_num_visible = 4;
  options.max_attempts = 100;
  const TrainingPairs pairs = CropRealPairs({set}, options, MakeGenerator(2));
  EXPECT_EQ(pairs.reference_images.sizes(),
            (std::vector<int64_t>{20, 3, 96, 128}));
  EXPECT_EQ(pairs.query_images.sizes(), pairs.reference_images.sizes());
  std::vector<torch::Tensor> reference_shifts, query_shifts;
  for (int64_t b = 0; b < options.batch_size; ++b) {
    // Away from the border, to interpolate.
    const auto inside = [](const torch::Tensor& positions) {
      return ((positions > 0.5) &
              (positions < torch::tensor({127.5, 95.5}, torch::kFloat32)))
          .all(1);
    };
    const torch::Tensor chosen =
        (pairs.visible[b] & inside(pairs.reference_positions[b]) &
         inside(pairs.query_positions[b]))
            .nonzero()
            .flatten();
    ASSERT_GE(chosen.numel(), 3);
    const auto reference =
        FindStored(pairs.reference_images[b],
                   pairs.reference_positions[b].index_select(0, chosen),
                   stored.reference_positions,
                   200,
                   300,
                   &reference_shifts);
    const auto query =
        FindStored(pairs.query_images[b],
                   pairs.query_positions[b].index_select(0, chosen),
                   stored.query_positions,
                   240,
                   180,
                   &query_shifts);
    EXPECT_EQ(reference, query);
    for (const int64_t i : query) EXPECT_TRUE(stored.visible[i].item<bool>());
  }
  // A convention that is half a pixel off would show.
  for (const auto& shifts : {reference_shifts, query_shifts}) {
    const torch::Tensor shift = torch::cat(shifts).mean(0);
    EXPECT_LT(shift.abs().max().item<double>(), 0.12) << shift;
  }
}

TEST(RealPairsTest, VisibleIsWhatBothWindowsShow) {
  const TrainingSet set = RampSet(1500);
  RealPairOptions options = SmallOptions();
  options.num_points = 1500;
  const TrainingPairs pairs = CropRealPairs({set}, options, MakeGenerator(3));
  const torch::Tensor size = torch::tensor({128.0, 96.0}, torch::kFloat32);
  const torch::Tensor query = pairs.query_positions;
  const torch::Tensor inside = ((query >= 0) & (query <= size)).all(2);
  EXPECT_FALSE((pairs.visible & ~inside).any().item<bool>());
  const torch::Tensor reference = pairs.reference_positions;
  EXPECT_TRUE(((reference >= 0) & (reference <= size)).all().item<bool>());
  const torch::Tensor is_point = ~query.isnan().any(2);
  EXPECT_FALSE(is_point.all().item<bool>());
  // A third of the points is not visible, wherever it is.
  const double share = (inside & pairs.visible).sum().item<double>() /
                       inside.sum().item<double>();
  EXPECT_NEAR(share, 2.0 / 3.0, 0.03);
  EXPECT_GT((is_point & ~inside).sum().item<int64_t>(), 1000);
  // Without a limit there are all points of the reference window: by area,
  // between 1500 / 1.8^2 and 1500 / 0.7^2 times 128 * 96 / (300 * 200).
  const torch::Tensor num = is_point.sum(1);
  EXPECT_GT(num.min().item<int64_t>(), 70);
  EXPECT_LT(num.max().item<int64_t>(), 690);
  EXPECT_GT(num.max().item<int64_t>(), 2 * num.min().item<int64_t>());
}

TEST(RealPairsTest, VisiblePointsComeFirst) {
  const TrainingSet set = RampSet(1500);
  const RealPairOptions options = SmallOptions();
  RealPairOptions unlimited = options;
  unlimited.num_points = 1500;
  unlimited.batch_size = 1;
  for (int seed = 0; seed < 10; ++seed) {
    RealPairOptions one = options;
    one.batch_size = 1;
    const TrainingPairs all =
        CropRealPairs({set}, unlimited, MakeGenerator(seed));
    const TrainingPairs few = CropRealPairs({set}, one, MakeGenerator(seed));
    EXPECT_TRUE(torch::equal(all.query_images, few.query_images));
    EXPECT_EQ(few.visible.sum().item<int64_t>(),
              std::min<int64_t>(100, all.visible.sum().item<int64_t>()));
    EXPECT_FALSE(few.query_positions.isnan().any().item<bool>());
  }
}

TEST(RealPairsTest, ShrinksWithoutAliasing) {
  const TrainingSet set = RampSet(1500);
  RealPairOptions options = SmallOptions();
  options.batch_size = 2;
  options.min_scale = options.max_scale = 0.6;
  const TrainingPairs pairs = CropRealPairs({set}, options, MakeGenerator(4));
  // Stripes of one pixel, 0 and 1, are nearly grey; without a filter they go
  // from 0 to 1.
  const torch::Tensor stripes =
      pairs.reference_images.select(1, 2).slice(2, 2, 126);
  EXPECT_NEAR(stripes.mean().item<double>(), 0.5, 0.02);
  EXPECT_LT((stripes - 0.5).abs().max().item<double>(), 0.3);
}

TEST(RealPairsTest, SmallImagesAreEnlarged) {
  const TrainingSet set = RampSet(200);
  RealPairOptions options = SmallOptions();
  options.batch_size = 2;
  options.height = 300;
  options.width = 400;
  options.min_scale = options.max_scale = 1.0;
  const TrainingPairs pairs = CropRealPairs({set}, options, MakeGenerator(5));
  // 300 x 200 pixels become 450 x 300, of which 400 are seen.
  const torch::Tensor green = pairs.reference_images[0][1] * 255.0;
  EXPECT_NEAR(green[0].mean().item<double>(), 0.5, 1.0);
  EXPECT_NEAR(green[299].mean().item<double>(), 199.5, 1.0);
  const torch::Tensor red = pairs.reference_images[0][0] * 255.0;
  EXPECT_NEAR((red.select(1, 399) - red.select(1, 0)).mean().item<double>(),
              200.0 * 400.0 / 450.0,
              2.0);
}

TEST(RealPairsTest, DrawsAgainWhereTooLittleIsShared) {
  const at::Generator generator = MakeGenerator(6);
  const auto make_pair = [&](int64_t num_visible) {
    TestPair pair;
    pair.reference = num_visible > 0 ? 1 : 0;
    pair.query = pair.reference;
    pair.reference_positions = Positions(300, 100, 130, generator);
    pair.query_positions = pair.reference_positions;
    pair.visible = (torch::arange(300) < num_visible).to(torch::kUInt8);
    return pair;
  };
  RealPairOptions options = SmallOptions();
  options.max_attempts = 30;
  const std::vector<torch::Tensor> images = {Ramp(100, 130), Ramp(100, 130)};
  const std::vector<TrainingSet> sets = {
      MakeSet(images, {make_pair(0), make_pair(3)}),
      MakeSet(images, {}),
      MakeSet(images, {make_pair(3), make_pair(300)})};
  const TrainingPairs pairs = CropRealPairs(sets, options, generator);
  EXPECT_GE(pairs.visible.sum(1).min().item<int64_t>(),
            options.min_num_visible);
  EXPECT_THROW(CropRealPairs({sets[1]}, options, generator), c10::Error);
  EXPECT_THROW(
      CropRealPairs({MakeSet(images, {make_pair(0)})}, options, generator),
      c10::Error);
  options.max_scale = 0.1;
  EXPECT_THROW(CropRealPairs(sets, options, generator), c10::Error);
}

TEST(RealPairsTest, SameSeedSamePairs) {
  const TrainingSet set = RampSet(500);
  const RealPairOptions options = SmallOptions();
  const auto crop = [&](uint64_t seed) {
    return CropRealPairs({set}, options, MakeGenerator(seed));
  };
  const TrainingPairs a = crop(7), b = crop(7), c = crop(8);
  EXPECT_TRUE(torch::equal(a.reference_images, b.reference_images));
  EXPECT_TRUE(torch::equal(a.query_images, b.query_images));
  EXPECT_TRUE(torch::equal(a.reference_positions, b.reference_positions));
  EXPECT_TRUE(torch::equal(a.visible, b.visible));
  EXPECT_FALSE(torch::equal(a.reference_images, c.reference_images));
  // Nor does one pair's draw repeat another's.
  EXPECT_FALSE(torch::equal(a.query_images[0], a.query_images[1]));
}

}  // namespace
}  // namespace nre
