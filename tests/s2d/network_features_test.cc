#include "s2d/network_features.h"

#include <array>
#include <cmath>
#include <random>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nre/error.h"

namespace nre {
namespace {

constexpr int kChannels = 3;

// Levels of random values with the strides of max poolings, cell (0, 0)
// covering the first stride x stride pixels; remembers what it saw.
class FakeNetwork : public Network {
 public:
  explicit FakeNetwork(std::vector<int> strides)
      : strides_(std::move(strides)) {}

  std::vector<NetworkOutput> Run(const Image& image) const override {
    last_seen_ = image;
    std::mt19937 random(1);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    last_outputs_.clear();
    for (const int stride : strides_) {
      NetworkOutput output;
      output.channels = kChannels;
      output.height = image.height / stride;
      output.width = image.width / stride;
      output.data.resize(kChannels * output.height * output.width);
      for (float& value : output.data) value = uniform(random);
      last_outputs_.push_back(output);
    }
    return last_outputs_;
  }

  int MinImageSize() const override { return 4; }

  std::string DeviceName() const override { return "none"; }

  const Image& last_seen() const { return last_seen_; }
  const NetworkOutput& last_output(int i) const { return last_outputs_[i]; }

 private:
  std::vector<int> strides_;
  mutable Image last_seen_;
  mutable std::vector<NetworkOutput> last_outputs_;
};

NetworkLevel PooledLevel(int output, int stride) {
  return {output, kChannels, static_cast<double>(stride), 0.5 * stride};
}

Image GrayImage(int width, int height) {
  return {width, height, std::vector<uint8_t>(3 * width * height, 100)};
}

TEST(NetworkFeaturesTest, ASingleLevelIsTakenAsItIs) {
  const auto network = std::make_shared<FakeNetwork>(std::vector<int>{1, 4});
  NetworkFeaturesOptions options;
  options.levels = {PooledLevel(1, 4)};
  const auto features = CreateNetworkFeatures(network, options);
  EXPECT_EQ(features->Channels(), kChannels);
  EXPECT_FALSE(features->UnitNorm());
  const FeatureMap map = features->Extract(GrayImage(40, 24), 1.0);
  EXPECT_EQ(map.width, 10);
  EXPECT_EQ(map.height, 6);
  EXPECT_FALSE(map.unit_norm);
  EXPECT_EQ(map.data, network->last_output(1).data);
  EXPECT_NEAR(
      (map.map_from_image.ToImage({0.0, 0.0}) - Eigen::Vector2d(2, 2)).norm(),
      0.0,
      1e-12);
}

TEST(NetworkFeaturesTest, ResizesAndTellsPositionsInTheImageBefore) {
  const auto network = std::make_shared<FakeNetwork>(std::vector<int>{4});
  NetworkFeaturesOptions options;
  options.levels = {PooledLevel(0, 4)};
  options.max_image_size = 50;
  const auto features = CreateNetworkFeatures(network, options);
  EXPECT_NEAR(features->NaturalScale(100, 61), 0.5, 1e-12);
  EXPECT_EQ(features->NaturalScale(40, 30), 1.0);
  const FeatureMap map = features->Extract(GrayImage(100, 61));
  EXPECT_EQ(network->last_seen().width, 50);
  EXPECT_EQ(network->last_seen().height, 31);  // 30.5
  // Cell (0, 0) is centred on (2, 2) of 50 x 31 pixels.
  const Eigen::Vector2d xy = map.map_from_image.ToImage({0.0, 0.0});
  EXPECT_NEAR(xy.x(), 4.0, 1e-12);
  EXPECT_NEAR(xy.y(), 2.0 * 61 / 31, 1e-12);
}

TEST(NetworkFeaturesTest, NormalizesWhereTheLogitsAreCosines) {
  const auto network = std::make_shared<FakeNetwork>(std::vector<int>{2});
  NetworkFeaturesOptions options;
  options.levels = {PooledLevel(0, 2)};
  options.unit_norm = true;
  const FeatureMap map =
      CreateNetworkFeatures(network, options)->Extract(GrayImage(8, 8), 1.0);
  EXPECT_TRUE(map.unit_norm);
  const std::vector<float>& raw = network->last_output(0).data;
  for (size_t i = 0; i < map.data.size(); i += kChannels) {
    const float norm = std::hypot(raw[i], raw[i + 1], raw[i + 2]);
    for (int c = 0; c < kChannels; ++c) {
      EXPECT_NEAR(map.data[i + c], raw[i + c] / norm, 1e-6f);
    }
  }
}

// Bilinear interpolation of channel c of a pooled level at an image position.
double At(const NetworkOutput& output, int stride, double x, double y, int c) {
  const auto clamp = [](double v, int size) {
    return std::min(std::max(v, 0.0), size - 1.0);
  };
  x = clamp(x / stride - 0.5, output.width);
  y = clamp(y / stride - 0.5, output.height);
  double sum = 0.0;
  for (int v = 0; v < output.height; ++v) {
    for (int u = 0; u < output.width; ++u) {
      const double weight = std::max(0.0, 1.0 - std::abs(x - u)) *
                            std::max(0.0, 1.0 - std::abs(y - v));
      sum += weight * output.data[(v * output.width + u) * kChannels + c];
    }
  }
  return sum;
}

// The correlation with a combined descriptor is the sum of the levels'
// correlation maps, upsampled.
TEST(NetworkFeaturesTest, CombinedLevelsCorrelateAsUpsampledMapsDo) {
  const std::vector<int> strides = {1, 4, 16};
  const auto network = std::make_shared<FakeNetwork>(strides);
  NetworkFeaturesOptions options;
  options.levels = {PooledLevel(0, 1), PooledLevel(1, 4), PooledLevel(2, 16)};
  options.stride = 2.0;
  const auto features = CreateNetworkFeatures(network, options);
  EXPECT_EQ(features->Channels(), 3 * kChannels);
  const FeatureMap map = features->Extract(GrayImage(67, 50), 1.0);
  ASSERT_EQ(map.width, 33);
  ASSERT_EQ(map.height, 25);
  const std::vector<float> descriptor = {
      0.3f, -1.0f, 0.5f, 2.0f, 0.1f, -0.7f, 1.0f, 1.5f, -0.2f};
  for (const Eigen::Vector2i& cell : {Eigen::Vector2i(0, 0),
                                      Eigen::Vector2i(32, 24),
                                      Eigen::Vector2i(7, 11)}) {
    const Eigen::Vector2d xy = map.map_from_image.ToImage(cell.cast<double>());
    EXPECT_NEAR(xy.x(), 2.0 * cell.x() + 1.0, 1e-12);
    double expected = 0.0, correlation = 0.0;
    for (int l = 0; l < 3; ++l) {
      for (int c = 0; c < kChannels; ++c) {
        expected += descriptor[l * kChannels + c] *
                    At(network->last_output(l), strides[l], xy.x(), xy.y(), c);
      }
    }
    for (size_t c = 0; c < descriptor.size(); ++c) {
      correlation += descriptor[c] * map.Descriptor(cell.x(), cell.y())[c];
    }
    EXPECT_NEAR(correlation, expected, 1e-5);
  }
}

// Features of two channels that depend on where a cell lies in the image as a
// whole, whatever its size.
class SmoothNetwork : public Network {
 public:
  std::vector<NetworkOutput> Run(const Image& image) const override {
    NetworkOutput output;
    output.channels = 2;
    output.width = image.width / 4;
    output.height = image.height / 4;
    for (int y = 0; y < output.height; ++y) {
      for (int x = 0; x < output.width; ++x) {
        const auto value = Feature((4.0 * x + 2.0) / image.width,
                                   (4.0 * y + 2.0) / image.height);
        // Smaller images have longer descriptors.
        for (const float v : value)
          output.data.push_back(v * 1e4 / image.width);
      }
    }
    widths_.push_back(image.width);
    return {output};
  }

  static std::array<float, 2> Feature(double x, double y) {
    const double angle = 3.0 * x - 2.0 * y;
    return {static_cast<float>(std::cos(angle)),
            static_cast<float>(std::sin(angle))};
  }

  int MinImageSize() const override { return 16; }
  std::string DeviceName() const override { return "none"; }
  const std::vector<int>& widths() const { return widths_; }

 private:
  mutable std::vector<int> widths_;
};

TEST(NetworkFeaturesTest, ScalesAreConcatenatedWithEqualWeights) {
  const auto network = std::make_shared<SmoothNetwork>();
  NetworkFeaturesOptions options;
  options.levels = {{0, 2, 4.0, 2.0}};
  options.stride = 4.0;
  options.unit_norm = true;
  options.scales = {1.0, 0.5};
  const auto features = CreateNetworkFeatures(network, options);
  EXPECT_EQ(features->Channels(), 4);
  const FeatureMap map = features->Extract(GrayImage(163, 121), 1.0);
  EXPECT_THAT(network->widths(), testing::ElementsAre(163, 82));
  ASSERT_EQ(map.channels, 4);
  ASSERT_EQ(map.width, 40);
  ASSERT_EQ(map.height, 30);
  EXPECT_TRUE(map.unit_norm);
  for (int y = 0; y < map.height; ++y) {
    for (int x = 0; x < map.width; ++x) {
      const auto expected =
          SmoothNetwork::Feature((4.0 * x + 2.0) / 163, (4.0 * y + 2.0) / 121);
      const float* descriptor = map.Descriptor(x, y);
      // At the border, the smaller picture has no cell that far out.
      const bool inner = x > 0 && y > 0 && x < 38 && y < 28;
      for (int c = 0; c < 4; ++c) {
        EXPECT_NEAR(descriptor[c],
                    std::sqrt(0.5f) * expected[c % 2],
                    c < 2   ? 1e-6
                    : inner ? 1e-3
                            : 0.1);
      }
    }
  }
  const Eigen::Vector2d first = map.map_from_image.ToImage({0.0, 0.0});
  EXPECT_NEAR((first - Eigen::Vector2d(2, 2)).norm(), 0.0, 1e-12);
}

// What is large enough for the network is so at all scales.
TEST(NetworkFeaturesTest, SmallImagesKeepTheSmallestSizeAtOtherScales) {
  const auto network = std::make_shared<SmoothNetwork>();
  NetworkFeaturesOptions options;
  options.levels = {{0, 2, 4.0, 2.0}};
  options.stride = 4.0;
  options.scales = {1.0, 0.5};
  const FeatureMap map =
      CreateNetworkFeatures(network, options)->Extract(GrayImage(20, 40), 1.0);
  EXPECT_THAT(network->widths(), testing::ElementsAre(20, 16));
  EXPECT_EQ(map.width, 5);
  EXPECT_EQ(map.height, 10);
}

// A user knows the size of the file, not that of the picture as it is resized.
TEST(NetworkFeaturesTest, AnImageThatIsTooSmallIsNamedByItsOwnSize) {
  const auto network = std::make_shared<FakeNetwork>(std::vector<int>{4});
  NetworkFeaturesOptions options;
  options.levels = {PooledLevel(0, 4)};
  const auto features = CreateNetworkFeatures(network, options);
  const auto error = [&](int width, int height, double scale) -> std::string {
    try {
      features->Extract(GrayImage(width, height), scale);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(error(2, 40, 2.0), "");
  EXPECT_EQ(error(2, 40, 1.5),
            "the image is too small for features: it has 2 x 40 pixels, "
            "resized to 3 x 60, expected at least 4 x 4");
  EXPECT_EQ(error(40, 3, 1.0),
            "the image is too small for features: it has 40 x 3 pixels, "
            "expected at least 4 x 4");
}

TEST(NetworkFeaturesTest, InvalidOptions) {
  const auto network = std::make_shared<FakeNetwork>(std::vector<int>{2});
  NetworkFeaturesOptions options;
  EXPECT_THROW(CreateNetworkFeatures(network, options), InputError);
  options.levels = {PooledLevel(0, 2)};
  EXPECT_TRUE(options.Check());
  options.max_image_size = 0;
  EXPECT_FALSE(options.Check());
  options.max_image_size = 10;
  options.levels[0].stride = 0.0;
  EXPECT_FALSE(options.Check());
  options.levels[0].stride = 2.0;
  options.scales = {1.0, 1.5};
  EXPECT_FALSE(options.Check());
  options.scales = {};
  EXPECT_FALSE(options.Check());
}

}  // namespace
}  // namespace nre
