#include "s2d/training/generated_scenes.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "s2d/training/map_sampling.h"

namespace nre {
namespace {

using torch::Tensor;

constexpr int64_t kNumTextures = 6;
constexpr int64_t kTextureSize = 64;

at::Generator Generator(uint64_t seed) {
  return at::detail::createCPUGenerator(seed);
}

// Smooth enough to be the same in two pictures.
Tensor SmoothTextures() {
  return torch::upsample_bilinear2d(
      torch::rand({kNumTextures, 3, 8, 8}, Generator(1)),
      {kTextureSize, kTextureSize},
      /*align_corners=*/false);
}

SceneView ViewFrom(double x, double y, double z, double yaw) {
  SceneView view;
  const double c = std::cos(yaw);
  const double s = std::sin(yaw);
  // Right, down, forward, in world coordinates.
  view.rotation = torch::tensor({{s, -c, 0.0}, {0.0, 0.0, -1.0}, {c, s, 0.0}},
                                torch::kFloat64);
  view.translation =
      -view.rotation.mv(torch::tensor({x, y, z}, torch::kFloat64));
  view.focal_length = 70.0;
  view.height = 64;
  view.width = 128;
  return view;
}

double At(const Tensor& tensor, int64_t i, int64_t j) {
  return tensor[i][j].item<double>();
}

// The first hit of one ray, by the definition of a scene.
struct Hit {
  double inverse_depth = 0.0;
  int64_t rectangle = -1;
  double second = 0.0;  // inverse depth of what is behind it
};

Hit CastOneRay(const GeneratedScene& scene,
               const SceneView& view,
               double x,
               double y) {
  const Tensor ray = torch::tensor({(x - 0.5 * view.width) / view.focal_length,
                                    (y - 0.5 * view.height) / view.focal_length,
                                    1.0},
                                   torch::kFloat64);
  const Tensor direction = view.rotation.t().mv(ray);
  const Tensor origin = -view.rotation.t().mv(view.translation);
  // origin + s direction = center + u half_u + v half_v.
  const Tensor matrices = torch::stack(
      {direction.expand_as(scene.centers), -scene.half_us, -scene.half_vs}, 2);
  const Tensor solutions = torch::linalg_inv(matrices)
                               .bmm((scene.centers - origin).unsqueeze(2))
                               .squeeze(2);
  Hit hit;
  for (int64_t k = 0; k < scene.centers.size(0); ++k) {
    const double s = At(solutions, k, 0);
    const double u = std::abs(At(solutions, k, 1));
    const double v = std::abs(At(solutions, k, 2));
    const bool round = scene.round[k].item<double>() > 0.0;
    const double r = round ? std::hypot(u, v) : std::max(u, v);
    if (s <= 0.0 || r > 1.0 || r < scene.holes[k].item<double>()) continue;
    if (1.0 / s > hit.inverse_depth) {
      hit.second = hit.inverse_depth;
      hit.inverse_depth = 1.0 / s;
      hit.rectangle = k;
    } else {
      hit.second = std::max(hit.second, 1.0 / s);
    }
  }
  return hit;
}

void ExpectHitsOfBruteForce(const GeneratedScene& scene,
                            const SceneView& view) {
  const Tensor positions = torch::rand({100, 2}, Generator(7)) *
                           torch::tensor({static_cast<float>(view.width),
                                          static_cast<float>(view.height)});
  const RayHits hits = CastRays(scene, view, positions);
  int num_hits = 0, num_others = 0;
  for (int64_t i = 0; i < positions.size(0); ++i) {
    const Hit expected =
        CastOneRay(scene, view, At(positions, i, 0), At(positions, i, 1));
    const double found = hits.inverse_depths[i].item<double>();
    // Single precision may fall on the other side of an edge.
    if (std::abs(found - expected.inverse_depth) >
        1e-3 * expected.inverse_depth) {
      ++num_others;
      continue;
    }
    if (expected.rectangle < 0) continue;
    ++num_hits;
    // Two that coincide may be either.
    if (expected.second < 0.999 * expected.inverse_depth) {
      EXPECT_EQ(hits.rectangles[i].item<int64_t>(), expected.rectangle);
    }
  }
  EXPECT_GE(num_hits, 50);
  EXPECT_LE(num_others, 1);
}

TEST(CastRays, HitsWhatBruteForceHits) {
  const Tensor textures = SmoothTextures();
  Draws draws(Generator(3));
  const GeneratedScene room = GenerateRoom(kNumTextures, kTextureSize, &draws);
  const GeneratedScene street =
      GenerateStreet(kNumTextures, kTextureSize, &draws);
  // What is cut out is part of the test.
  EXPECT_GT(street.round.sum().item<double>(), 0.0);
  EXPECT_GT(street.holes.sum().item<double>(), 0.0);
  for (const double yaw : {0.1, 1.7, 4.0}) {
    ExpectHitsOfBruteForce(room, ViewFrom(0.2, -0.1, 1.3, yaw));
    ExpectHitsOfBruteForce(street, ViewFrom(1.0, 0.5, 1.6, yaw));
  }
}

TEST(CastRays, NothingThere) {
  Draws draws(Generator(3));
  const GeneratedScene street =
      GenerateStreet(kNumTextures, kTextureSize, &draws);
  SceneView view = ViewFrom(0.0, 0.0, 500.0, 0.0);
  // Straight up.
  view.rotation = torch::tensor(
      {{1.0, 0.0, 0.0}, {0.0, 1.0, 0.0}, {0.0, 0.0, 1.0}}, torch::kFloat64);
  view.translation = torch::tensor({0.0, 0.0, -500.0}, torch::kFloat64);
  const RayHits hits = CastRays(street, view, torch::rand({10, 2}));
  EXPECT_EQ(hits.inverse_depths.abs().max().item<double>(), 0.0);
}

TEST(TextureAtlas, InterpolatesAndRepeats) {
  const Tensor textures = torch::rand({2, 3, 4, 4}, Generator(1));
  const TextureAtlas atlas(textures);
  const Tensor positions =
      torch::tensor({{1.5f, 2.5f}, {2.0f, 2.5f}, {-0.5f, 0.5f}, {9.5f, 1.0f}});
  const Tensor found = atlas.Sample(
      torch::ones({4}, torch::kInt64), positions, torch::full({4}, 0.5f));
  const auto texel = [&](int64_t x, int64_t y) {
    return textures[1].select(2, x).select(1, y);
  };
  EXPECT_TRUE(torch::allclose(found[0], texel(1, 2)));
  EXPECT_TRUE(torch::allclose(found[1], 0.5 * (texel(1, 2) + texel(2, 2))));
  EXPECT_TRUE(torch::allclose(found[2], texel(3, 0)));
  EXPECT_TRUE(torch::allclose(found[3], 0.5 * (texel(1, 0) + texel(1, 1))));
}

TEST(TextureAtlas, AveragesWhatIsSmallInTheImage) {
  const Tensor textures = torch::rand({1, 3, 8, 8}, Generator(1));
  const TextureAtlas atlas(textures);
  const Tensor found = atlas.Sample(torch::zeros({2}, torch::kInt64),
                                    torch::tensor({{3.0f, 7.0f}, {2.0f, 2.0f}}),
                                    torch::tensor({100.0f, 4.0f}));
  EXPECT_TRUE(torch::allclose(found[0], textures[0].mean({1, 2})));
  const Tensor corner = textures[0].narrow(1, 0, 4).narrow(2, 0, 4);
  EXPECT_TRUE(torch::allclose(found[1], corner.mean({1, 2})));
}

TEST(Render, ShowsTheTextureOfWhatIsHit) {
  const Tensor textures = SmoothTextures();
  const TextureAtlas atlas(textures);
  Draws draws(Generator(5));
  GeneratedScene room = GenerateRoom(kNumTextures, kTextureSize, &draws);
  // Plain surfaces, each of its own colour.
  const int64_t num = room.centers.size(0);
  const Tensor white = torch::ones({1, 3, 4, 4});
  room.textures = torch::zeros({num}, torch::kInt64);
  room.colors = torch::rand({num, 3}, Generator(2), torch::kFloat64);
  const SceneView view = ViewFrom(0.2, -0.1, 1.3, 0.7);
  const Rendering rendering = Render(room, view, TextureAtlas(white));
  const Tensor positions = torch::tensor({{20.5f, 10.5f}, {100.5f, 60.5f}});
  const RayHits hits = CastRays(room, view, positions);
  for (int64_t i = 0; i < 2; ++i) {
    const int64_t x = static_cast<int64_t>(At(positions, i, 0));
    const int64_t y = static_cast<int64_t>(At(positions, i, 1));
    EXPECT_TRUE(torch::allclose(
        rendering.image.select(2, x).select(1, y),
        room.colors[hits.rectangles[i].item<int64_t>()].to(torch::kFloat32),
        1e-4));
    EXPECT_FLOAT_EQ(At(rendering.inverse_depths, y, x),
                    hits.inverse_depths[i].item<float>());
  }
}

SceneOptions SmallOptions() {
  SceneOptions options;
  options.height = 64;
  options.width = 128;
  options.num_points = 200;
  return options;
}

// The colours of both images where points are, [B, N, 3] each.
struct Colors {
  Tensor references;
  Tensor queries;
};

Colors ColorsOf(const TrainingPairs& pairs) {
  return {
      SampleFeatures(pairs.reference_images, pairs.reference_positions - 0.5),
      SampleFeatures(pairs.query_images, pairs.query_positions - 0.5)};
}

TEST(GeneratedPairs, PointsThatAreVisibleLookTheSame) {
  const TrainingPairs pairs =
      GeneratedPairs(16, SmoothTextures(), SmallOptions(), Generator(11));
  const Colors colors = ColorsOf(pairs);
  const Tensor differences = (colors.references - colors.queries).abs().mean(2);
  const double same =
      differences.masked_select(pairs.visible).median().item<double>();
  // Against those of other points.
  const Tensor others = (colors.references.roll(1, 1) - colors.queries)
                            .abs()
                            .mean(2)
                            .masked_select(pairs.visible);
  EXPECT_GT(pairs.visible.sum().item<int64_t>(), 500);
  EXPECT_LT(same, 0.02);
  EXPECT_GT(others.median().item<double>(), 4.0 * same);
  // Where they are visible, they are inside.
  const Tensor size = torch::tensor({128.0f, 64.0f});
  const Tensor inside =
      ((pairs.query_positions >= 0) & (pairs.query_positions <= size)).all(2);
  EXPECT_TRUE((inside | ~pairs.visible).all().item<bool>());
}

TEST(GeneratedPairs, OverlapsAreThoseWanted) {
  SceneOptions options = SmallOptions();
  const auto mean_overlap = [&](double min, double max) {
    options.min_overlap = min;
    options.max_overlap = max;
    const TrainingPairs pairs =
        GeneratedPairs(24, SmoothTextures(), options, Generator(5));
    return pairs.visible.to(torch::kFloat64).mean().item<double>();
  };
  EXPECT_NEAR(mean_overlap(0.02, 0.1), 0.06, 0.06);
  EXPECT_NEAR(mean_overlap(0.4, 0.6), 0.5, 0.12);
  EXPECT_GT(mean_overlap(0.9, 1.0), 0.75);
}

TEST(GeneratedPairs, TheSameForAnyNumberOfThreads) {
  const auto generate = [](int num_threads) {
    at::set_num_threads(num_threads);
    return GeneratedPairs(3, SmoothTextures(), SmallOptions(), Generator(2));
  };
  const TrainingPairs one = generate(1);
  const TrainingPairs two = generate(2);
  at::set_num_threads(1);
  EXPECT_TRUE(torch::equal(one.reference_images, two.reference_images));
  EXPECT_TRUE(torch::equal(one.query_images, two.query_images));
  EXPECT_TRUE(torch::equal(one.visible, two.visible));
  EXPECT_FALSE(torch::equal(one.reference_images[0], one.reference_images[1]));
}

TEST(GeneratedPairs, RefusesInvalidOptions) {
  SceneOptions options = SmallOptions();
  options.min_overlap = 0.7;
  options.max_overlap = 0.5;
  EXPECT_THROW(GeneratedPairs(1, SmoothTextures(), options, Generator(1)),
               c10::Error);
  EXPECT_THROW(TextureAtlas(torch::rand({1, 3, 6, 6})), c10::Error);
}

}  // namespace
}  // namespace nre
