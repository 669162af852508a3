#include "s2d/dense_sift.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "nre/error.h"

namespace nre {
namespace {

// Waves of many directions and lengths, a function of the plane: values in
// about [-1, 1].
class Texture {
 public:
  Texture() {
    std::mt19937 random(3);
    std::uniform_real_distribution<double> uniform(0.0, 1.0);
    for (Wave& wave : waves_) {
      const double angle = 2.0 * M_PI * uniform(random);
      const double length = 8.0 * std::pow(10.0, uniform(random));
      wave.frequency = 2.0 * M_PI / length *
                       Eigen::Vector2d(std::cos(angle), std::sin(angle));
      wave.phase = 2.0 * M_PI * uniform(random);
    }
  }

  double operator()(const Eigen::Vector2d& xy) const {
    double sum = 0.0;
    for (const Wave& wave : waves_) {
      sum += std::sin(wave.frequency.dot(xy) + wave.phase);
    }
    return sum / 10.0;
  }

 private:
  struct Wave {
    Eigen::Vector2d frequency;
    double phase;
  };
  Wave waves_[40];
};

// Gray image whose pixel centred on p (COLMAP's convention) shows
// gray(first + step * p), rounded and clipped to 0..255.
template <typename Gray>
Image Render(int width,
             int height,
             const Gray& gray,
             const Eigen::Vector2d& first = Eigen::Vector2d::Zero(),
             double step = 1.0) {
  Image image;
  image.width = width;
  image.height = height;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const double value = gray(
          Eigen::Vector2d(first + step * Eigen::Vector2d(x + 0.5, y + 0.5)));
      image.rgb.insert(
          image.rgb.end(),
          3,
          static_cast<uint8_t>(std::lround(std::clamp(value, 0.0, 255.0))));
    }
  }
  return image;
}

float Dot(const float* a, const float* b, int size) {
  float sum = 0.0f;
  for (int i = 0; i < size; ++i) sum += a[i] * b[i];
  return sum;
}

double GrayTexture(const Eigen::Vector2d& xy) {
  static const Texture texture;
  return 110.0 + 50.0 * texture(xy);
}

struct NamedOptions {
  const char* name;
  DenseSiftOptions options;
};

class DenseSiftTest : public testing::TestWithParam<NamedOptions> {};

INSTANTIATE_TEST_SUITE_P(
    Preset,
    DenseSiftTest,
    testing::Values(NamedOptions{"Coarse", DenseSiftOptions::Coarse()},
                    NamedOptions{"Fine", DenseSiftOptions::Fine()}),
    [](const auto& info) { return info.param.name; });

TEST_P(DenseSiftTest, ShiftByOneStrideMovesFeaturesByOneCell) {
  DenseSiftOptions options = GetParam().options;
  options.center = false;  // the mean of the image moves as well
  const auto extractor = CreateDenseSift(options);
  const FeatureMap base = extractor->Extract(Render(360, 320, GrayTexture));
  ASSERT_EQ(base.channels, options.Channels());
  ASSERT_EQ(base.width, 360 / options.stride);
  ASSERT_EQ(base.height, 320 / options.stride);
  const int margin = 100 / options.stride;  // the border's reach
  for (const Eigen::Vector2i& cells :
       {Eigen::Vector2i(1, 0), Eigen::Vector2i(0, 1), Eigen::Vector2i(2, 3)}) {
    const FeatureMap moved = extractor->Extract(
        Render(360, 320, GrayTexture, (options.stride * cells).cast<double>()));
    float worst = 1.0f;
    for (int y = margin; y < base.height - margin; ++y) {
      for (int x = margin; x < base.width - margin; ++x) {
        worst = std::min(worst,
                         Dot(moved.Descriptor(x, y),
                             base.Descriptor(x + cells.x(), y + cells.y()),
                             base.channels));
      }
    }
    EXPECT_GT(worst, 0.9999f) << cells.transpose();
  }
}

TEST_P(DenseSiftTest, DescriptorsAreUnitOrZero) {
  // Texture at the left, nothing at the right.
  const auto half = [](const Eigen::Vector2d& xy) {
    return xy.x() < 200.0 ? GrayTexture(xy) : 110.0;
  };
  const FeatureMap map =
      CreateDenseSift(GetParam().options)->Extract(Render(500, 240, half));
  int num_zero = 0;
  for (int y = 0; y < map.height; ++y) {
    for (int x = 0; x < map.width; ++x) {
      const float* values = map.Descriptor(x, y);
      const float squared_norm = Dot(values, values, map.channels);
      if (squared_norm == 0.0f) {
        ++num_zero;
        EXPECT_GT(x, map.width * 0.4);
      } else {
        ASSERT_NEAR(squared_norm, 1.0f, 1e-4f);
      }
    }
  }
  EXPECT_GT(num_zero, 0.2 * map.width * map.height);
  const float* last = map.Descriptor(map.width - 1, map.height / 2);
  EXPECT_EQ(Dot(last, last, map.channels), 0.0f);
}

TEST_P(DenseSiftTest, FlatImageHasZeroDescriptors) {
  const FeatureMap map =
      CreateDenseSift(GetParam().options)
          ->Extract(Render(100, 80, [](const auto&) { return 90.0; }));
  EXPECT_TRUE(std::all_of(
      map.data.begin(), map.data.end(), [](float v) { return v == 0.0f; }));
}

TEST_P(DenseSiftTest, AffineLightingChangesLittle) {
  const auto extractor = CreateDenseSift(GetParam().options);
  const FeatureMap base = extractor->Extract(Render(300, 240, GrayTexture));
  const FeatureMap lit =
      extractor->Extract(Render(300, 240, [](const Eigen::Vector2d& xy) {
        return 20.0 + 0.5 * GrayTexture(xy);
      }));
  double sum = 0.0;
  for (int y = 0; y < base.height; ++y) {
    for (int x = 0; x < base.width; ++x) {
      sum += Dot(base.Descriptor(x, y), lit.Descriptor(x, y), base.channels);
    }
  }
  // Not one: the levels of gray are rounded.
  EXPECT_GT(sum / (base.width * base.height), 0.97);
}

TEST_P(DenseSiftTest, MapFromImageFollowsTheResize) {
  // One texture in images of different sizes, one of them resized (by
  // different factors along x and y, as 901 pixels do not divide).
  DenseSiftOptions options = GetParam().options;
  options.max_image_size = 300;
  const auto extractor = CreateDenseSift(options);
  const FeatureMap small = extractor->Extract(
      Render(300, 200, GrayTexture, Eigen::Vector2d::Zero(), 1.0));
  const FeatureMap large = extractor->Extract(
      Render(901, 600, GrayTexture, Eigen::Vector2d::Zero(), 1.0 / 3.0));
  ASSERT_EQ(large.width, small.width);
  ASSERT_EQ(large.height, small.height);
  EXPECT_NEAR(
      large.map_from_image.scale.x(), 300.0 / 901.0 / options.stride, 1e-12);
  EXPECT_NEAR(
      large.map_from_image.scale.y(), 200.0 / 600.0 / options.stride, 1e-12);
  EXPECT_NEAR(large.map_from_image.offset.x(), -0.5, 1e-12);

  const int channels = small.channels;
  std::vector<float> a(channels), b(channels), beside(channels);
  const Eigen::Vector2d cell(3.0 * options.stride, 3.0 * options.stride);
  double sum = 0.0, sum_beside = 0.0;
  int num = 0;
  for (double y = 50.0; y < 150.0; y += 7.3) {
    for (double x = 50.0; x < 250.0; x += 7.3) {
      ASSERT_TRUE(small.Sample({x, y}, a.data()));
      ASSERT_TRUE(large.Sample({3.0 * x, 3.0 * y}, b.data()));
      ASSERT_TRUE(large.Sample(Eigen::Vector2d(3.0 * x, 3.0 * y) + 0.5 * cell,
                               beside.data()));
      sum += Dot(a.data(), b.data(), channels);
      sum_beside += Dot(a.data(), beside.data(), channels);
      ++num;
    }
  }
  EXPECT_GT(sum / num, 0.97);
  // Half a cell off would be seen.
  EXPECT_LT(sum_beside / num, sum / num - 0.01);
}

TEST_P(DenseSiftTest, BlobIsFoundWhereItIs) {
  // A blob is symmetric: its descriptor equals itself with all directions
  // turned by 180 degrees only at its centre. Cell (20, 15) is centred there.
  const DenseSiftOptions options = GetParam().options;
  const Eigen::Vector2d center = options.stride * Eigen::Vector2d(20.5, 15.5);
  DenseSiftOptions ring_options = options;
  ring_options.center = false;
  ring_options.rings = {{2.0 * options.stride, 4, 1.0 * options.stride}};
  const FeatureMap map =
      CreateDenseSift(ring_options)
          ->Extract(Render(41 * options.stride,
                           31 * options.stride,
                           [&](const Eigen::Vector2d& xy) {
                             const double r2 = (xy - center).squaredNorm();
                             return 40.0 + 180.0 * std::exp(-r2 / 200.0);
                           }));
  const auto asymmetry = [&map](int x, int y) {
    const float* values = map.Descriptor(x, y);
    float sum = 0.0f;
    for (int segment = 0; segment < 4; ++segment) {
      for (int bin = 0; bin < 8; ++bin) {
        const float difference =
            values[8 * segment + bin] -
            values[8 * ((segment + 2) % 4) + (bin + 4) % 8];
        sum += difference * difference;
      }
    }
    return sum;
  };
  EXPECT_LT(asymmetry(20, 15), 1e-3f);
  for (const int step : {-1, 1}) {
    EXPECT_GT(asymmetry(20 + step, 15), 10.0f * asymmetry(20, 15) + 1e-3f);
    EXPECT_GT(asymmetry(20, 15 + step), 10.0f * asymmetry(20, 15) + 1e-3f);
  }
}

TEST_P(DenseSiftTest, SmallImages) {
  const DenseSiftOptions options = GetParam().options;
  const auto extractor = CreateDenseSift(options);
  const auto extract = [&](int width, int height) {
    return extractor->Extract(Render(width, height, GrayTexture));
  };
  EXPECT_THROW(extract(0, 0), InputError);
  EXPECT_THROW(extract(1, 1), InputError);
  EXPECT_THROW(extract(1, 100), InputError);
  EXPECT_THROW(extract(100, 1), InputError);
  EXPECT_THROW(extract(4000, 2), InputError);  // a row is left after the resize
  const FeatureMap cell = extract(options.stride, options.stride);
  EXPECT_EQ(cell.width, 1);
  EXPECT_EQ(cell.height, 1);
  const FeatureMap strip = extract(options.stride, 100);
  EXPECT_EQ(strip.width, 1);
  EXPECT_EQ(strip.height, 100 / options.stride);
  for (const FeatureMap& map : {cell, strip}) {
    EXPECT_TRUE(std::all_of(map.data.begin(), map.data.end(), [](float v) {
      return std::isfinite(v);
    }));
  }
}

TEST(DenseSiftOptionsTest, Check) {
  EXPECT_TRUE(DenseSiftOptions().Check());
  EXPECT_TRUE(DenseSiftOptions::Coarse().Check());
  EXPECT_TRUE(DenseSiftOptions::Fine().Check());
  const auto fails = [](void (*change)(DenseSiftOptions*)) {
    DenseSiftOptions options;
    change(&options);
    EXPECT_THROW(CreateDenseSift(options), InputError);
    return !options.Check();
  };
  EXPECT_TRUE(fails([](auto* options) { options->stride = 0; }));
  EXPECT_TRUE(fails([](auto* options) { options->max_image_size = 0; }));
  EXPECT_TRUE(fails([](auto* options) { options->blur_sigma = -1.0; }));
  EXPECT_TRUE(fails([](auto* options) { options->min_gradient = -1.0; }));
  EXPECT_TRUE(fails([](auto* options) { options->rings.clear(); }));
  EXPECT_TRUE(fails([](auto* options) { options->rings[0].sigma = 0.0; }));
  EXPECT_TRUE(fails([](auto* options) { options->rings[1].sigma = 0.1; }));
  EXPECT_TRUE(fails([](auto* options) { options->rings[0].segments = 0; }));
}

}  // namespace
}  // namespace nre
