#include "s2d/training/appearance.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "s2d/training/textures.h"

namespace nre {
namespace {

using torch::Tensor;

Tensor Change(const Tensor& images,
              const AppearanceOptions& options,
              uint64_t seed = 1) {
  return ChangeAppearance(
      images, options, at::detail::createCPUGenerator(seed));
}

Tensor Pictures(int64_t num) {
  return ProceduralTextures(num, 48, at::detail::createCPUGenerator(9));
}

// Only one effect, of one amount, always.
AppearanceOptions Only(AppearanceEffect AppearanceOptions::*effect,
                       double amount) {
  AppearanceOptions options;
  for (AppearanceEffect* other : options.Effects()) other->probability = 0.0;
  options.*effect = {1.0, amount, amount};
  return options;
}

// A picture with an edge between two values, half and half.
Tensor Edge(double left, double right, int64_t size = 64) {
  Tensor image = torch::full({1, 3, size, size}, left);
  image.narrow(3, size / 2, size / 2).fill_(right);
  return image;
}

Tensor ToLight(const Tensor& values) { return values.pow(2.2); }

double Deviation(const Tensor& values) { return values.std().item<double>(); }
double Mean(const Tensor& values) { return values.mean().item<double>(); }
double Min(const Tensor& values) { return values.min().item<double>(); }
double Max(const Tensor& values) { return values.max().item<double>(); }

TEST(ChangeAppearance, GivesImages) {
  const Tensor pictures = Pictures(60);
  const Tensor copy = pictures.clone();
  const Tensor changed = Change(pictures, {});
  EXPECT_TRUE(pictures.equal(copy));
  EXPECT_EQ(changed.sizes(), pictures.sizes());
  EXPECT_GE(Min(changed), 0.0);
  EXPECT_LE(Max(changed), 1.0);
  const Tensor sizes = Change(torch::rand({2, 3, 5, 31}), {});
  EXPECT_EQ(sizes.sizes(), at::IntArrayRef({2, 3, 5, 31}));
}

TEST(ChangeAppearance, StaysWithinRangeWhateverTheEffects) {
  AppearanceOptions options;
  for (AppearanceEffect* effect : options.Effects()) effect->probability = 1.0;
  const Tensor changed = Change(Pictures(40), options);
  EXPECT_GE(Min(changed), 0.0);
  EXPECT_LE(Max(changed), 1.0);
  for (AppearanceEffect* effect : options.Effects()) {
    effect->probability = 0.0;
  }
  // Values become light and values again.
  EXPECT_TRUE(Change(Pictures(4), options).allclose(Pictures(4), 1e-4, 5e-4));
}

TEST(ChangeAppearance, DependsOnTheGeneratorOnly) {
  const Tensor pictures = Pictures(24);
  const Tensor changed = Change(pictures, {});
  const int num_threads = at::get_num_threads();
  for (const int num : {1, 2, 5}) {
    at::set_num_threads(num);
    EXPECT_TRUE(changed.equal(Change(pictures, {}))) << num;
  }
  at::set_num_threads(num_threads);
  EXPECT_FALSE(changed.equal(Change(pictures, {}, 2)));
}

TEST(ChangeAppearance, IsScaledByStrength) {
  const Tensor pictures = Pictures(60);
  AppearanceOptions options;
  options.strength = 0.0;
  EXPECT_TRUE(Change(pictures, options).equal(pictures));
  double last = 0.0;
  for (const double strength : {0.05, 0.5, 1.0}) {
    options.strength = strength;
    const double change = Mean((Change(pictures, options) - pictures).abs());
    EXPECT_GT(change, 1.2 * last) << strength;
    last = change;
  }
}

TEST(ChangeAppearance, AppliesEffectsAsOftenAsTold) {
  AppearanceOptions options = Only(&AppearanceOptions::exposure, 1.0);
  options.exposure.probability = 0.3;
  const Tensor changed = Change(torch::full({600, 3, 4, 4}, 0.3), options);
  const Tensor differs = (changed - 0.3).abs().amax({1, 2, 3}) > 0.01;
  EXPECT_NEAR(Mean(differs.to(torch::kFloat64)), 0.3, 0.06);
}

TEST(ChangeAppearance, DrawsAmountsUniformlyInTheirLogarithm) {
  AppearanceOptions options = Only(&AppearanceOptions::noise, 0.1);
  options.noise = {1.0, 0.001, 0.1};
  const Tensor changed = Change(torch::full({200, 3, 24, 24}, 0.5), options);
  const Tensor logs = changed.flatten(1).std(1).log10();
  EXPECT_NEAR(Mean(logs), -2.0, 0.15);
  EXPECT_NEAR(Deviation(logs), 2.0 / std::sqrt(12.0), 0.08);
  EXPECT_GT(Min(logs), -3.1);
  EXPECT_LT(Max(logs), -0.9);
}

TEST(ChangeAppearance, Occludes) {
  const Tensor pictures = torch::rand({100, 3, 40, 40});
  const Tensor changed =
      Change(pictures, Only(&AppearanceOptions::occlusion, 0.3));
  const Tensor hidden =
      ((changed - pictures).abs() > 1e-3).any(1).to(torch::kFloat64);
  // One to three of about 0.3 x 0.3 sides, some partly outside.
  EXPECT_GT(Mean(hidden), 0.06);
  EXPECT_LT(Mean(hidden), 0.2);
  EXPECT_LT(Max(hidden.mean({1, 2})), 0.4);
  // Some show another picture, at its place.
  const Tensor others = (changed.unsqueeze(1) - pictures.unsqueeze(0))
                            .abs()
                            .amax(2)
                            .lt(1e-3)
                            .to(torch::kFloat64)
                            .mean({2, 3})
                            .fill_diagonal_(0.0);
  EXPECT_GT(Max(others), 0.05);
}

TEST(ChangeAppearance, CastsShadows) {
  const Tensor changed = Change(torch::full({50, 3, 48, 48}, 0.8),
                                Only(&AppearanceOptions::shadow, 2.0));
  const Tensor factors = ToLight(changed) / std::pow(0.8, 2.2);
  EXPECT_NEAR(Min(factors), 0.25, 1e-3);
  EXPECT_NEAR(Max(factors), 1.0, 1e-3);
  const Tensor shaded = factors.lt(0.6).to(torch::kFloat64).mean({1, 2, 3});
  EXPECT_GT(Mean(shaded), 0.05);
  EXPECT_LT(Mean(shaded), 0.7);
}

TEST(ChangeAppearance, AddsFog) {
  const Tensor edge = Edge(0.1, 0.9).expand({50, -1, -1, -1});
  const Tensor changed = Change(edge, Only(&AppearanceOptions::fog, 1.0));
  const Tensor step = ToLight(changed).mean({1, 2});
  const Tensor contrast = step.select(1, 63) - step.select(1, 0);
  const double original = std::pow(0.9, 2.2) - std::pow(0.1, 2.2);
  // Between exp(-1) and 1 of the light gets through.
  EXPECT_GE(Min(contrast), original * 0.35);
  EXPECT_LE(Max(contrast), original * 1.01);
  EXPECT_LT(Mean(contrast), original * 0.85);
  EXPECT_GT(Min(changed.flatten(1).amin(1)), 0.1);
}

TEST(ChangeAppearance, MakesNight) {
  AppearanceOptions options = Only(&AppearanceOptions::night, 0.01);
  options.lights_probability = 0.0;
  const Tensor white = torch::full({100, 3, 32, 32}, 1.0);
  const Tensor changed = Change(white, options);
  // With any gain up to 100^0.9; noisy and rounded to 256 values.
  const Tensor brightness = ToLight(changed).mean({1, 2, 3});
  EXPECT_LT(Min(brightness), 0.012);
  EXPECT_LT(Max(brightness), 0.65);
  EXPECT_GT(Max(brightness), 0.2);
  EXPECT_TRUE((changed * 255.0).allclose((changed * 255.0).round(), 0.0, 0.1));
  const Tensor noise = ToLight(changed).std({2, 3}).mean(1) / brightness;
  EXPECT_GT(Min(noise), 0.02);
  // Lights brighten places.
  options.lights_probability = 1.0;
  const Tensor lit = Change(white, options);
  EXPECT_GT(Mean(lit), Mean(changed) + 0.05);
  const auto unevenness = [](const Tensor& images) {
    return Mean(at::avg_pool2d(images, 8).flatten(2).std(2));
  };
  EXPECT_GT(unevenness(lit), 3.0 * unevenness(changed));
}

TEST(ChangeAppearance, BlursLikeAGaussian) {
  const Tensor edge = Edge(0.2, 0.8);
  const Tensor light =
      ToLight(Change(edge, Only(&AppearanceOptions::blur, 3.0)))[0][1][20];
  const double dark = std::pow(0.2, 2.2), bright = std::pow(0.8, 2.2);
  for (int64_t x = 0; x < 64; ++x) {
    const double share = 0.5 * std::erfc(-(x + 0.5 - 32.0) / 3.0 / M_SQRT2);
    EXPECT_NEAR(light[x].item<double>(), dark + (bright - dark) * share, 3e-3);
  }
}

TEST(ChangeAppearance, BlursByMotion) {
  // A dot becomes a line of unit sum, whose variance is length^2 / 12 along it
  // and about that of bilinear interpolation across.
  Tensor dot = torch::zeros({20, 3, 65, 65});
  dot.select(2, 32).select(2, 32).fill_(1.0);
  const Tensor light =
      ToLight(Change(dot, Only(&AppearanceOptions::motion, 20.0)))
          .select(1, 0)
          .to(torch::kFloat64);
  const Tensor sum = light.sum({1, 2});
  EXPECT_TRUE(sum.allclose(torch::ones_like(sum), 0.0, 0.01));
  const Tensor line = torch::arange(65, torch::kFloat64) - 32.0;
  const Tensor x = line, y = line.unsqueeze(1);
  const auto moment = [&](const Tensor& values) {
    return (light * values).sum({1, 2});
  };
  EXPECT_LT(Max(moment(x.expand({65, 65})).abs()), 0.1);
  const Tensor xx = moment(x * x.expand({65, 65})), yy = moment(y * y);
  const Tensor xy = moment(x * y);
  const Tensor root = (0.25 * (xx - yy).square() + xy.square()).sqrt();
  const Tensor along = 0.5 * (xx + yy) + root, across = 0.5 * (xx + yy) - root;
  EXPECT_NEAR(Mean(along), 400.0 / 12.0, 0.8);
  EXPECT_LT(Max(across), 0.5);
  // In many directions.
  EXPECT_LT(Min(xx), 10.0);
  EXPECT_LT(Min(yy), 10.0);
}

TEST(ChangeAppearance, Vignettes) {
  const Tensor changed = Change(torch::full({5, 3, 64, 64}, 0.9),
                                Only(&AppearanceOptions::vignetting, 0.6));
  const Tensor factors = ToLight(changed) / std::pow(0.9, 2.2);
  EXPECT_TRUE(factors.select(2, 0)
                  .select(2, 0)
                  .sub(0.4)
                  .abs()
                  .lt(0.05)
                  .all()
                  .item<bool>());
  EXPECT_TRUE(factors.select(2, 32).select(2, 32).gt(0.99).all().item<bool>());
}

TEST(ChangeAppearance, ExposesEitherWay) {
  const Tensor changed = Change(torch::full({40, 3, 4, 4}, 0.4),
                                Only(&AppearanceOptions::exposure, 1.5));
  const Tensor stops = (ToLight(changed) / std::pow(0.4, 2.2)).log2();
  EXPECT_TRUE(stops.abs().allclose(torch::tensor(1.5f), 0.0, 1e-3));
  EXPECT_LT(std::abs(Mean(stops)), 1.0);
}

TEST(ChangeAppearance, CastsColours) {
  const Tensor changed = Change(torch::full({40, 3, 4, 4}, 0.4),
                                Only(&AppearanceOptions::colour_cast, 0.8));
  const Tensor stops = (ToLight(changed) / std::pow(0.4, 2.2)).log2();
  const Tensor spread = std::get<0>(stops.max(1)) - std::get<0>(stops.min(1));
  EXPECT_LT(Max(stops.mean(1).abs()), 1e-3);
  EXPECT_LT(Max(spread), 1.6);
  EXPECT_GT(Max(spread), 1.2);
  EXPECT_NEAR(Deviation(spread.select(1, 0).select(1, 0)), 0.35, 0.15);
}

TEST(ChangeAppearance, HasShotNoise) {
  const Tensor light = ToLight(
      Change(Edge(0.4, 0.8, 128), Only(&AppearanceOptions::shot_noise, 1e-3)));
  for (const auto& [begin, value] : {std::pair(0, 0.4), std::pair(64, 0.8)}) {
    const double expected = std::pow(value, 2.2);
    const Tensor part = light.narrow(3, begin, 64);
    EXPECT_NEAR(Mean(part), expected, 1e-3);
    EXPECT_NEAR(Deviation(part), std::sqrt(1e-3 * expected), 1e-3);
  }
}

TEST(ChangeAppearance, HasNoiseOfOneOrAllChannels) {
  const Tensor noise = Change(torch::full({40, 3, 32, 32}, 0.5),
                              Only(&AppearanceOptions::noise, 0.05)) -
                       0.5;
  EXPECT_NEAR(Deviation(noise), 0.05, 1e-3);
  const Tensor grey =
      (noise - noise.mean(1, true)).abs().amax({1, 2, 3}) < 1e-5;
  const double share = Mean(grey.to(torch::kFloat64));
  EXPECT_NEAR(share, 0.5, 0.25);
}

TEST(ChangeAppearance, ChangesContrastGammaAndColour) {
  const Tensor edge = Edge(0.4, 0.6).expand({30, -1, -1, -1});
  const Tensor contrast =
      Change(edge, Only(&AppearanceOptions::contrast, std::log(2.0)));
  const Tensor step = contrast.select(3, 63) - contrast.select(3, 0);
  EXPECT_NEAR(Max(step), 0.4, 1e-3);
  EXPECT_NEAR(Min(step), 0.1, 1e-3);
  EXPECT_NEAR(Mean(contrast), 0.5, 1e-3);

  const Tensor gamma =
      Change(edge, Only(&AppearanceOptions::gamma, std::log(2.0)));
  EXPECT_NEAR(Max(gamma), std::sqrt(0.6), 1e-3);
  EXPECT_NEAR(Min(gamma), 0.16, 1e-3);

  const Tensor pictures = Pictures(5);
  const Tensor grey =
      Change(pictures, Only(&AppearanceOptions::desaturation, 1.0));
  const Tensor luma =
      (pictures * torch::tensor({0.299f, 0.587f, 0.114f}).view({3, 1, 1}))
          .sum(1, true);
  EXPECT_TRUE(grey.allclose(luma.expand_as(grey), 0.0, 2e-3));
}

TEST(ChangeAppearance, LowersTheResolution) {
  // What is left of stripes that are finer than the coarse pixels.
  Tensor stripes = torch::zeros({1, 3, 64, 64});
  stripes.slice(3, 0, 64, 2).fill_(1.0);
  const Tensor changed =
      Change(stripes, Only(&AppearanceOptions::low_resolution, 4.0));
  EXPECT_LT(Deviation(changed), 0.05);
  EXPECT_NEAR(Mean(changed), 0.5, 1e-3);
  // An edge stays where it is.
  const Tensor edge =
      Change(Edge(0.0, 1.0), Only(&AppearanceOptions::low_resolution, 4.0));
  const Tensor profile = edge[0][0][30];
  EXPECT_NEAR(Mean(profile), 0.5, 1e-3);
  EXPECT_LT(Max((profile + profile.flip(0) - 1.0).abs()), 1e-3);
}

TEST(ChangeAppearance, CompressesAsJpeg) {
  const Tensor pictures = Pictures(10);
  double last = 0.0;
  for (const double loss : {5.0, 50.0, 95.0}) {
    const double error =
        Mean((Change(pictures, Only(&AppearanceOptions::jpeg, loss)) - pictures)
                 .square());
    EXPECT_GT(error, 1.5 * last);
    last = error;
  }
}

TEST(AppearanceOptions, AreChecked) {
  EXPECT_TRUE(AppearanceOptions().Check());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto check = [](double AppearanceEffect::*field, double value) {
    for (size_t i = 0; i < AppearanceOptions().Effects().size(); ++i) {
      AppearanceOptions options;
      options.Effects()[i]->*field = value;
      EXPECT_FALSE(options.Check()) << i << " " << value;
    }
  };
  for (const double value : {-0.1, 1.1, nan}) {
    check(&AppearanceEffect::probability, value);
    AppearanceOptions options;
    options.strength = value;
    EXPECT_FALSE(options.Check());
    options = {};
    options.lights_probability = value;
    EXPECT_FALSE(options.Check());
  }
  for (const double value : {-0.1, 0.0, nan}) {
    check(&AppearanceEffect::weakest, value);
    check(&AppearanceEffect::strongest, value);
  }
  AppearanceOptions options;
  options.jpeg.strongest = 100.0;
  EXPECT_FALSE(options.Check());
  EXPECT_THROW(Change(Pictures(1), options), c10::Error);
  options = {};
  options.low_resolution.weakest = 0.9;
  EXPECT_FALSE(options.Check());
  options = {};
  options.desaturation.strongest = 1.1;
  EXPECT_FALSE(options.Check());
}

TEST(ChangeAppearance, RefusesOtherShapes) {
  EXPECT_THROW(Change(torch::rand({3, 8, 8}), {}), c10::Error);
  EXPECT_THROW(Change(torch::rand({2, 1, 8, 8}), {}), c10::Error);
  EXPECT_THROW(Change(torch::rand({2, 3, 8, 8}, torch::kFloat64), {}),
               c10::Error);
}

}  // namespace
}  // namespace nre
