#include "s2d/training/homographies.h"

#include <cmath>
#include <limits>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "s2d/training/textures.h"

namespace nre {
namespace {

using torch::Tensor;

TrainingPairs Draw(const std::vector<Tensor>& photos,
                   const HomographyOptions& options,
                   uint64_t seed = 1) {
  return HomographyPairs(photos, options, at::detail::createCPUGenerator(seed));
}

HomographyOptions SmallOptions() {
  HomographyOptions options;
  options.batch_size = 40;
  options.height = 72;
  options.width = 96;
  options.num_points = 50;
  return options;
}

// Colours say where they are: x and y, smoothly, from 0 to 200.
Tensor PositionPhoto(int64_t height, int64_t width) {
  const Tensor x = torch::linspace(20.0, 220.0, width).expand({height, width});
  const Tensor y =
      torch::linspace(20.0, 220.0, height).unsqueeze(1).expand({height, width});
  return torch::stack({x, y, 255.0 - x}, 2).round().to(torch::kUInt8);
}

// The images' colours at positions: [B, N, 3].
Tensor Sample(const Tensor& images, const Tensor& positions) {
  const Tensor size = torch::tensor({images.size(3), images.size(2)});
  return at::grid_sampler(
             images, (positions / size * 2.0 - 1.0).unsqueeze(1), 0, 1, false)
      .squeeze(2)
      .transpose(1, 2);
}

double Share(const Tensor& mask) {
  return mask.to(torch::kFloat64).mean().item<double>();
}

bool SameImagesAndPositions(const TrainingPairs& a, const TrainingPairs& b) {
  return a.reference_images.equal(b.reference_images) &&
         a.query_images.equal(b.query_images) &&
         a.reference_positions.equal(b.reference_positions) &&
         a.query_positions.nan_to_num(-1e6).equal(
             b.query_positions.nan_to_num(-1e6)) &&
         a.visible.equal(b.visible);
}

TEST(HomographyPairs, HavePointsWhereTheyAreSeen) {
  const HomographyOptions options = SmallOptions();
  const TrainingPairs pairs = Draw({PositionPhoto(300, 400)}, options);
  EXPECT_EQ(pairs.query_images.sizes(), at::IntArrayRef({40, 3, 72, 96}));
  EXPECT_GE(pairs.query_images.min().item<float>(), 0.0f);
  EXPECT_LE(pairs.query_images.max().item<float>(), 1.0f);
  const Tensor size = torch::tensor({96.0f, 72.0f});
  EXPECT_TRUE(
      ((pairs.reference_positions >= 0.0) & (pairs.reference_positions < size))
          .all()
          .item<bool>());
  EXPECT_TRUE(pairs.visible.equal(
      ((pairs.query_positions >= 0.0) & (pairs.query_positions < size))
          .all(2)));
  EXPECT_GE(Share(pairs.visible), options.min_visible - 0.03);
  EXPECT_LT(Share(pairs.visible), 1.0);
  // Within a few pixels of the photograph (2 pixels of 400 to a grey level),
  // however much it is enlarged; away from the photograph's border, whose
  // reflection is mixed in.
  const Tensor reference =
      Sample(pairs.reference_images, pairs.reference_positions) * 255.0;
  const Tensor query =
      Sample(pairs.query_images, pairs.query_positions.nan_to_num(0.0)) * 255.0;
  const Tensor counts =
      pairs.visible & (reference > 28.0).all(2) & (reference < 212.0).all(2);
  EXPECT_GT(Share(counts), 0.5);
  const Tensor errors = (query - reference).abs().amax(2).masked_select(counts);
  EXPECT_LT(errors.quantile(0.99).item<float>(), 1.0f);
  EXPECT_LT(errors.mean().item<float>(), 0.35f);
}

// The exact test: dots in a photograph are found where positions say.
TEST(HomographyPairs, MoveDotsAsTheyMovePositions) {
  HomographyOptions options = SmallOptions();
  options.batch_size = 20;
  options.height = options.width = 128;
  options.num_points = 400;
  options.min_shrinking = options.max_shrinking = 2.0;
  Tensor photo = torch::zeros({500, 500, 3});
  const Tensor line = torch::arange(500, torch::kFloat32) + 0.5;
  for (double cy = 25; cy < 500; cy += 50) {
    for (double cx = 25; cx < 500; cx += 50) {
      const Tensor squared =
          (line - cx).square() + (line - cy).square().unsqueeze(1);
      photo += (squared * (-0.5 / 16.0)).exp().unsqueeze(2);
    }
  }
  const TrainingPairs pairs =
      Draw({(photo * 255.0).round().clamp(0, 255).to(torch::kUInt8)}, options);
  // Each pair's homography, from its points, by the direct linear transform.
  int64_t num_found = 0;
  for (int64_t i = 0; i < options.batch_size; ++i) {
    const Tensor use = pairs.visible[i].nonzero().flatten();
    if (use.numel() < 50) continue;
    const Tensor r =
        pairs.reference_positions[i].index_select(0, use).to(torch::kFloat64) /
            64.0 -
        1.0;
    const Tensor q =
        pairs.query_positions[i].index_select(0, use).to(torch::kFloat64) /
            64.0 -
        1.0;
    const Tensor one = torch::ones({use.numel(), 1}, torch::kFloat64);
    const Tensor rh = torch::cat({r, one}, 1), zero = torch::zeros_like(rh);
    const Tensor rows =
        torch::cat({torch::cat({rh, zero, -q.narrow(1, 0, 1) * rh}, 1),
                    torch::cat({zero, rh, -q.narrow(1, 1, 1) * rh}, 1)});
    const Tensor h = std::get<2>(at::linalg_svd(rows, false))[8].view({3, 3});
    const auto apply = [&](const Tensor& xy) {
      const Tensor mapped =
          (torch::cat({xy / 64.0 - 1.0, one.narrow(0, 0, xy.size(0))}, 1))
              .mm(h.t());
      return (mapped.narrow(1, 0, 2) / mapped.narrow(1, 2, 1) + 1.0) * 64.0;
    };
    // Each bright maximum of the reference image, where a dot is whole.
    const auto centroid = [](const Tensor& image, double x, double y) {
      const int64_t x0 = std::lround(x - 4.5), y0 = std::lround(y - 4.5);
      const Tensor window = image.narrow(0, y0, 9).narrow(1, x0, 9);
      const Tensor weights = (window - window.min()).to(torch::kFloat64);
      const Tensor offsets = torch::arange(9, torch::kFloat64) + 0.5;
      const double sum = weights.sum().item<double>();
      return torch::tensor(
          {x0 + (weights * offsets).sum().item<double>() / sum,
           y0 + (weights * offsets.unsqueeze(1)).sum().item<double>() / sum},
          torch::kFloat64);
    };
    const Tensor reference = pairs.reference_images[i][0];
    const Tensor query = pairs.query_images[i][0];
    const Tensor peaks =
        ((reference == at::max_pool2d(reference.view({1, 1, 128, 128}), 9, 1, 4)
                           .view({128, 128})) &
         (reference > 0.8))
            .nonzero();
    for (int64_t k = 0; k < peaks.size(0); ++k) {
      const double y = peaks[k][0].item<double>() + 0.5;
      const double x = peaks[k][1].item<double>() + 0.5;
      if (std::min(x, y) < 6 || std::max(x, y) > 122) continue;
      const Tensor dot = centroid(reference, x, y);
      const Tensor expected = apply(dot.unsqueeze(0))[0];
      const double qx = expected[0].item<double>();
      const double qy = expected[1].item<double>();
      if (std::min(qx, qy) < 6 || std::max(qx, qy) > 122) continue;
      const Tensor found = centroid(query, qx, qy);
      EXPECT_LT((found - expected).abs().max().item<double>(), 0.3)
          << i << ": " << expected << found;
      ++num_found;
    }
  }
  EXPECT_GT(num_found, 60);
}

// Scales and turns, from the points' distances and directions.
TEST(HomographyPairs, CoverTheRanges) {
  HomographyOptions options = SmallOptions();
  options.batch_size = 200;
  options.height = options.width = 16;
  options.max_perspective = 0.0;
  options.max_stretch = 1.0;
  options.any_rotation_probability = 0.0;
  const TrainingPairs pairs = Draw({PositionPhoto(60, 60)}, options);
  const auto chord = [](const Tensor& positions) {
    return positions.select(1, 1) - positions.select(1, 0);
  };
  const Tensor r = chord(pairs.reference_positions);
  const Tensor q = chord(pairs.query_positions);
  const Tensor scale = (q.norm(2, 1) / r.norm(2, 1)).log();
  EXPECT_LE(scale.abs().max().item<double>(), std::log(2.5) + 1e-3);
  EXPECT_GT(scale.max().item<double>(), std::log(2.2));
  EXPECT_LT(scale.min().item<double>(), -std::log(2.2));
  const Tensor angle = torch::atan2(r.select(1, 0) * q.select(1, 1) -
                                        r.select(1, 1) * q.select(1, 0),
                                    (r * q).sum(1)) *
                       (180.0 / M_PI);
  EXPECT_LE(angle.abs().max().item<double>(), 30.1);
  EXPECT_GT(angle.max().item<double>(), 25.0);
  EXPECT_LT(angle.min().item<double>(), -25.0);
}

TEST(HomographyPairs, FiltersWhatItShrinks) {
  // Stripes of single pixels, 6 of which become one.
  Tensor photo = torch::zeros({600, 600, 3}, torch::kUInt8);
  photo.slice(1, 0, 600, 2).fill_(255);
  HomographyOptions options = SmallOptions();
  options.min_shrinking = options.max_shrinking = 3.0;
  options.max_scale_change = options.max_stretch = 1.0;
  options.max_shift = options.max_perspective = 0.0;
  const TrainingPairs pairs = Draw({photo}, options);
  const auto deviation = [](const Tensor& images) {
    return (images - 0.5).abs().mean().item<double>();
  };
  EXPECT_LT(deviation(pairs.reference_images), 0.1);
  EXPECT_LT(deviation(pairs.query_images.narrow(2, 20, 32).narrow(3, 30, 36)),
            0.05);
}

TEST(HomographyPairs, ShowTheSameWithoutAnyChange) {
  HomographyOptions options = SmallOptions();
  options.max_scale_change = options.max_stretch = 1.0;
  options.max_rotation_deg = options.any_rotation_probability = 0.0;
  options.max_shift = options.max_perspective = 0.0;
  const Tensor texture =
      ProceduralTextures(1, 200, at::detail::createCPUGenerator(3))[0];
  const Tensor photo =
      (texture * 255.0).round().to(torch::kUInt8).permute({1, 2, 0});
  const TrainingPairs pairs = Draw({photo.contiguous()}, options);
  EXPECT_TRUE(pairs.visible.all().item<bool>());
  EXPECT_LT((pairs.query_positions - pairs.reference_positions)
                .abs()
                .max()
                .item<double>(),
            1e-4);
  const double error = (pairs.query_images - pairs.reference_images)
                           .square()
                           .mean()
                           .item<double>();
  EXPECT_LT(error, 0.1 * texture.flatten(1).var(1).mean().item<double>());
}

TEST(HomographyPairs, DependOnTheGeneratorOnly) {
  const std::vector<Tensor> photos = {PositionPhoto(120, 90),
                                      PositionPhoto(40, 200)};
  const HomographyOptions options = SmallOptions();
  const TrainingPairs pairs = Draw(photos, options);
  const int num_threads = at::get_num_threads();
  for (const int num : {1, 2, 5}) {
    at::set_num_threads(num);
    EXPECT_TRUE(SameImagesAndPositions(pairs, Draw(photos, options))) << num;
  }
  at::set_num_threads(num_threads);
  EXPECT_FALSE(SameImagesAndPositions(pairs, Draw(photos, options, 2)));
}

TEST(HomographyPairs, TakesSmallPhotographsAndRefusesOthers) {
  HomographyOptions options = SmallOptions();
  for (const int64_t size : {1, 2, 30}) {
    const TrainingPairs pairs = Draw({PositionPhoto(size, 50)}, options);
    EXPECT_TRUE(pairs.query_images.isfinite().all().item<bool>());
    EXPECT_TRUE(pairs.reference_images.isfinite().all().item<bool>());
  }
  EXPECT_THROW(Draw({}, options), c10::Error);
  EXPECT_THROW(Draw({torch::zeros({8, 8, 3})}, options), c10::Error);
  options.batch_size = 0;
  EXPECT_THROW(Draw({PositionPhoto(9, 9)}, options), c10::Error);
}

TEST(HomographyOptions, AreChecked) {
  EXPECT_TRUE(HomographyOptions().Check());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto expect_bad = [](double HomographyOptions::*field, double value) {
    HomographyOptions options;
    options.*field = value;
    EXPECT_FALSE(options.Check()) << value;
  };
  for (const double value : {-1.0, nan}) {
    expect_bad(&HomographyOptions::min_shrinking, value);
    expect_bad(&HomographyOptions::max_shrinking, value);
    expect_bad(&HomographyOptions::max_scale_change, value);
    expect_bad(&HomographyOptions::max_stretch, value);
    expect_bad(&HomographyOptions::max_rotation_deg, value);
    expect_bad(&HomographyOptions::any_rotation_probability, value);
    expect_bad(&HomographyOptions::max_perspective, value);
    expect_bad(&HomographyOptions::max_shift, value);
    expect_bad(&HomographyOptions::min_visible, value);
  }
  expect_bad(&HomographyOptions::max_perspective, 1.0);
  expect_bad(&HomographyOptions::min_visible, 1.1);
  for (const auto field : {&HomographyOptions::batch_size,
                           &HomographyOptions::height,
                           &HomographyOptions::width,
                           &HomographyOptions::num_points}) {
    HomographyOptions options;
    options.*field = 0;
    EXPECT_FALSE(options.Check());
  }
}

// Positions of both images are the same places of the photograph.
TEST(HomographyPairs, SayWhereTheirPhotographsAre) {
  const std::vector<Tensor> photos = {PositionPhoto(300, 400),
                                      PositionPhoto(200, 200)};
  const TrainingPairs pairs = Draw(photos, SmallOptions());
  EXPECT_EQ(pairs.photos.min().item<int64_t>(), 0);
  EXPECT_EQ(pairs.photos.max().item<int64_t>(), 1);
  const auto in_photo = [](const Tensor& photo_from_image,
                           const Tensor& positions) {
    const Tensor mapped =
        torch::cat({positions.to(torch::kFloat64),
                    torch::ones({positions.size(0), positions.size(1), 1},
                                torch::kFloat64)},
                   2)
            .matmul(photo_from_image.transpose(1, 2));
    return mapped.slice(2, 0, 2) / mapped.slice(2, 2, 3);
  };
  const Tensor reference =
      in_photo(pairs.photo_from_reference, pairs.reference_positions);
  const Tensor query = in_photo(pairs.photo_from_query, pairs.query_positions);
  const Tensor errors = (reference - query).abs().amax(2);
  EXPECT_LT(errors.masked_select(pairs.visible).max().item<double>(), 1e-3);
  // The colour there is that of the reference image, in 256 steps of 2 pixels.
  const Tensor colours =
      Sample(pairs.reference_images, pairs.reference_positions) * 255.0;
  for (int64_t i = 0; i < pairs.photos.size(0); ++i) {
    const Tensor& photo = photos[pairs.photos[i].item<int64_t>()];
    const Tensor x =
        20.0 + 200.0 * (reference[i].select(1, 0) - 0.5) / (photo.size(1) - 1);
    EXPECT_LT((colours[i].select(1, 0) - x).abs().median().item<double>(), 1.5)
        << i;
  }
}

}  // namespace
}  // namespace nre
