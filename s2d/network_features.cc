#include "s2d/network_features.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "nre/error.h"

namespace nre {
namespace {

void NormalizeCells(FeatureMap* map) {
  const size_t channels = map->channels;
  for (size_t i = 0; i < map->data.size(); i += channels) {
    float squared_norm = 0.0f;
    for (size_t c = 0; c < channels; ++c) {
      squared_norm += map->data[i + c] * map->data[i + c];
    }
    const float scale =
        squared_norm > 0.0f ? 1.0f / std::sqrt(squared_norm) : 0.0f;
    for (size_t c = 0; c < channels; ++c) map->data[i + c] *= scale;
  }
}

// Two neighbouring cells and the second one's share.
struct Neighbours {
  int first;
  int second;
  float share;
};

// Around the position of each of `size` cells of the common grid in a level,
// one axis; beyond its border, the cell at the border.
std::vector<Neighbours> FindNeighbours(double grid_stride,
                                       int size,
                                       const NetworkLevel& level,
                                       int level_size) {
  std::vector<Neighbours> all(size);
  for (int i = 0; i < size; ++i) {
    const double x = std::clamp(
        ((i + 0.5) * grid_stride - level.first_center) / level.stride,
        0.0,
        level_size - 1.0);
    const int first =
        std::min(static_cast<int>(x), std::max(level_size - 2, 0));
    all[i] = {first,
              std::min(first + 1, level_size - 1),
              static_cast<float>(x - first)};
  }
  return all;
}

// Writes a level to the channels that begin at `offset`.
void Interpolate(const NetworkOutput& output,
                 const NetworkLevel& level,
                 double grid_stride,
                 int offset,
                 FeatureMap* map) {
  const auto columns =
      FindNeighbours(grid_stride, map->width, level, output.width);
  const auto rows =
      FindNeighbours(grid_stride, map->height, level, output.height);
  const auto cell = [&](int x, int y) {
    return &output.data[(static_cast<size_t>(y) * output.width + x) *
                        output.channels];
  };
  for (int y = 0; y < map->height; ++y) {
    const Neighbours& row = rows[y];
    for (int x = 0; x < map->width; ++x) {
      const Neighbours& column = columns[x];
      const float* d00 = cell(column.first, row.first);
      const float* d10 = cell(column.second, row.first);
      const float* d01 = cell(column.first, row.second);
      const float* d11 = cell(column.second, row.second);
      float* out =
          &map->data[(static_cast<size_t>(y) * map->width + x) * map->channels +
                     offset];
      for (int c = 0; c < output.channels; ++c) {
        const float top = d00[c] + column.share * (d10[c] - d00[c]);
        const float bottom = d01[c] + column.share * (d11[c] - d01[c]);
        out[c] = top + row.share * (bottom - top);
      }
    }
  }
}

class NetworkFeatures : public FeatureExtractor {
 public:
  NetworkFeatures(std::shared_ptr<const Network> network,
                  const NetworkFeaturesOptions& options)
      : network_(std::move(network)), options_(options) {}

  int Channels() const override {
    int channels = 0;
    for (const NetworkLevel& level : options_.levels) {
      channels += level.channels;
    }
    return channels;
  }

  double Stride() const override { return options_.stride; }

  bool UnitNorm() const override { return options_.unit_norm; }

  double MaxScale(int width, int height) const override {
    return static_cast<double>(options_.max_image_size) /
           std::max(width, height);
  }

  FeatureMap Extract(const Image& image, double scale) const override {
    const int width =
        std::max(1, static_cast<int>(std::lround(scale * image.width)));
    const int height =
        std::max(1, static_cast<int>(std::lround(scale * image.height)));
    CheckSize(image, width, height, network_->MinImageSize());
    std::vector<NetworkOutput> outputs =
        network_->Run(ResizeImage(image, width, height));
    for (const NetworkLevel& level : options_.levels) {
      if (outputs.at(level.output).channels != level.channels) {
        throw std::logic_error("a network's output is not what was expected");
      }
    }
    const Eigen::Vector2d resize(static_cast<double>(width) / image.width,
                                 static_cast<double>(height) / image.height);
    FeatureMap map = options_.levels.size() == 1
                         ? Single(&outputs, resize)
                         : Combined(outputs, width, height, resize);
    map.unit_norm = options_.unit_norm;
    if (map.unit_norm) NormalizeCells(&map);
    return map;
  }

 private:
  FeatureMap Single(std::vector<NetworkOutput>* outputs,
                    const Eigen::Vector2d& resize) const {
    const NetworkLevel& level = options_.levels[0];
    NetworkOutput& output = (*outputs)[level.output];
    FeatureMap map;
    map.channels = output.channels;
    map.height = output.height;
    map.width = output.width;
    map.data = std::move(output.data);
    map.map_from_image =
        MapFromImage::FromStride(Eigen::Vector2d::Constant(level.stride),
                                 Eigen::Vector2d::Constant(level.first_center),
                                 resize);
    return map;
  }

  FeatureMap Combined(const std::vector<NetworkOutput>& outputs,
                      int width,
                      int height,
                      const Eigen::Vector2d& resize) const {
    const double stride = options_.stride;
    FeatureMap map;
    map.channels = Channels();
    map.height = std::max(1, static_cast<int>(height / stride));
    map.width = std::max(1, static_cast<int>(width / stride));
    map.data.resize(static_cast<size_t>(map.height) * map.width * map.channels);
    map.map_from_image =
        MapFromImage::FromStride(Eigen::Vector2d::Constant(stride),
                                 Eigen::Vector2d::Constant(0.5 * stride),
                                 resize);
    int offset = 0;
    for (const NetworkLevel& level : options_.levels) {
      Interpolate(outputs[level.output], level, stride, offset, &map);
      offset += level.channels;
    }
    return map;
  }

  std::shared_ptr<const Network> network_;
  NetworkFeaturesOptions options_;
};

}  // namespace

bool NetworkFeaturesOptions::Check() const {
  for (const NetworkLevel& level : levels) {
    if (level.output < 0 || level.channels < 1 || !(level.stride > 0.0) ||
        !std::isfinite(level.first_center)) {
      return false;
    }
  }
  return !levels.empty() && stride > 0.0 && max_image_size >= 1;
}

std::unique_ptr<FeatureExtractor> CreateNetworkFeatures(
    std::shared_ptr<const Network> network,
    const NetworkFeaturesOptions& options) {
  if (!options.Check()) {
    throw InputError(
        "the options of a network's features are invalid: "
        "expected levels with positive strides and sizes");
  }
  return std::make_unique<NetworkFeatures>(std::move(network), options);
}

}  // namespace nre
