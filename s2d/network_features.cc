#include "s2d/network_features.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "nre/error.h"
#include "nre/vector_math.h"

namespace nre {
namespace {

// Scales `num` values to this norm; zero remains zero.
NRE_VECTOR_CLONES void Normalize(int num, float norm, float* values) {
  float squared_norm = 0.0f;
#pragma omp simd reduction(+ : squared_norm)
  for (int c = 0; c < num; ++c) squared_norm += values[c] * values[c];
  const float scale =
      squared_norm > 0.0f ? norm / std::sqrt(squared_norm) : 0.0f;
#pragma omp simd
  for (int c = 0; c < num; ++c) values[c] *= scale;
}

// The same of channels of every cell, from `first` on.
void NormalizeCells(int first, int num, float norm, FeatureMap* map) {
  for (size_t i = first; i < map->data.size(); i += map->channels) {
    Normalize(num, norm, &map->data[i]);
  }
}

// Two neighbouring cells and the second one's share.
struct Neighbours {
  int first;
  int second;
  float share;
};

// Those around the positions of `size` cells of `to` in `from`, which has
// `from_size`, along an axis; beyond its border, the cell at the border.
std::vector<Neighbours> FindNeighbours(const MapFromImage& to,
                                       int size,
                                       const MapFromImage& from,
                                       int from_size,
                                       int axis) {
  std::vector<Neighbours> all(size);
  for (int i = 0; i < size; ++i) {
    const double x =
        std::clamp((from * to.ToImage(Eigen::Vector2d::Constant(i)))[axis],
                   0.0,
                   from_size - 1.0);
    const int first = std::min(static_cast<int>(x), std::max(from_size - 2, 0));
    all[i] = {first,
              std::min(first + 1, from_size - 1),
              static_cast<float>(x - first)};
  }
  return all;
}

// Writes `from`, as it is at the cells of `map`, to the channels that begin at
// `offset`.
void Interpolate(const FeatureMap& from, int offset, FeatureMap* map) {
  const auto columns = FindNeighbours(
      map->map_from_image, map->width, from.map_from_image, from.width, 0);
  const auto rows = FindNeighbours(
      map->map_from_image, map->height, from.map_from_image, from.height, 1);
  for (int y = 0; y < map->height; ++y) {
    const Neighbours& row = rows[y];
    for (int x = 0; x < map->width; ++x) {
      const Neighbours& column = columns[x];
      const float* d00 = from.Descriptor(column.first, row.first);
      const float* d10 = from.Descriptor(column.second, row.first);
      const float* d01 = from.Descriptor(column.first, row.second);
      const float* d11 = from.Descriptor(column.second, row.second);
      float* out =
          &map->data[(static_cast<size_t>(y) * map->width + x) * map->channels +
                     offset];
      for (int c = 0; c < from.channels; ++c) {
        const float top = d00[c] + column.share * (d10[c] - d00[c]);
        const float bottom = d01[c] + column.share * (d11[c] - d01[c]);
        out[c] = top + row.share * (bottom - top);
      }
    }
  }
}

// Returns all maps at the cells of the first, side by side, with equal weights:
// inner products are the means of theirs.
FeatureMap Concatenated(const std::vector<FeatureMap>& maps) {
  FeatureMap all = maps[0];
  all.channels = 0;
  for (const FeatureMap& map : maps) all.channels += map.channels;
  all.data.assign(static_cast<size_t>(all.height) * all.width * all.channels,
                  0.0f);
  const float weight = std::sqrt(1.0f / maps.size());
  int offset = 0;
  for (const FeatureMap& map : maps) {
    Interpolate(map, offset, &all);
    if (all.unit_norm) NormalizeCells(offset, map.channels, weight, &all);
    offset += map.channels;
  }
  if (!all.unit_norm) {
    for (float& value : all.data) value *= weight;
  }
  return all;
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
    return channels * static_cast<int>(options_.scales.size());
  }

  double Stride() const override { return options_.stride; }

  bool UnitNorm() const override { return options_.unit_norm; }

  double MaxScale(int width, int height) const override {
    return static_cast<double>(options_.max_image_size) /
           std::max(width, height);
  }

  FeatureMap Extract(const Image& image, double scale) const override {
    const auto size = [&](int full, double factor, int min_size) {
      return std::max(min_size, static_cast<int>(std::lround(factor * full)));
    };
    const int min_size = network_->MinImageSize();
    CheckSize(image,
              size(image.width, scale, 1),
              size(image.height, scale, 1),
              min_size);
    std::vector<FeatureMap> maps;
    for (const double relative : options_.scales) {
      // A small image may be too small for the network at another scale.
      maps.push_back(ExtractAt(image,
                               size(image.width, relative * scale, min_size),
                               size(image.height, relative * scale, min_size)));
    }
    return maps.size() == 1 ? std::move(maps[0]) : Concatenated(maps);
  }

 private:
  FeatureMap ExtractAt(const Image& image, int width, int height) const {
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
                         ? Single(options_.levels[0], resize, &outputs)
                         : Combined(width, height, resize, &outputs);
    map.unit_norm = options_.unit_norm;
    if (map.unit_norm) NormalizeCells(0, map.channels, 1.0f, &map);
    return map;
  }

  // Takes a level out of the outputs.
  static FeatureMap Single(const NetworkLevel& level,
                           const Eigen::Vector2d& resize,
                           std::vector<NetworkOutput>* outputs) {
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

  FeatureMap Combined(int width,
                      int height,
                      const Eigen::Vector2d& resize,
                      std::vector<NetworkOutput>* outputs) const {
    const double stride = options_.stride;
    FeatureMap map;
    for (const NetworkLevel& level : options_.levels) {
      map.channels += level.channels;
    }
    map.height = std::max(1, static_cast<int>(height / stride));
    map.width = std::max(1, static_cast<int>(width / stride));
    map.data.resize(static_cast<size_t>(map.height) * map.width * map.channels);
    map.map_from_image =
        MapFromImage::FromStride(Eigen::Vector2d::Constant(stride),
                                 Eigen::Vector2d::Constant(0.5 * stride),
                                 resize);
    int offset = 0;
    for (const NetworkLevel& level : options_.levels) {
      Interpolate(Single(level, resize, outputs), offset, &map);
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
  for (const double scale : scales) {
    if (!(scale > 0.0 && scale <= 1.0)) return false;
  }
  return !levels.empty() && !scales.empty() && stride > 0.0 &&
         max_image_size >= 1;
}

std::unique_ptr<FeatureExtractor> CreateNetworkFeatures(
    std::shared_ptr<const Network> network,
    const NetworkFeaturesOptions& options) {
  if (!options.Check()) {
    throw InputError(
        "the options of a network's features are invalid: "
        "expected levels with positive strides and sizes, and scales from 0 "
        "to 1");
  }
  return std::make_unique<NetworkFeatures>(std::move(network), options);
}

}  // namespace nre
