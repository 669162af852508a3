#include "s2d/training/teachers.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

#include "nre/error.h"
#include "s2d/networks/levels.h"
#include "s2d/networks/module.h"
#include "s2d/training/content_hash.h"
#include "s2d/training/network_loss.h"
#include "s2d/training/resampling.h"

namespace nre {
namespace {

using torch::Tensor;

Tensor UnitNorm(const Tensor& features, int64_t dim) {
  return features / features.norm(2, {dim}, /*keepdim=*/true).clamp_min(1e-6);
}

// TeacherMap::map_from_image of an image [3, H, W] that was resized to these
// pixels before the network saw it.
Tensor MapFromImageOf(const NetworkLevel& level,
                      const Tensor& image,
                      int64_t height,
                      int64_t width) {
  const Tensor resize =
      torch::tensor({static_cast<double>(width) / image.size(2),
                     static_cast<double>(height) / image.size(1)},
                    torch::kFloat64);
  const Tensor offset = MapPositions(level, torch::zeros_like(resize));
  return torch::stack({MapPositions(level, resize) - offset, offset});
}

// Where the cells of a map are, image coordinates [H W, 2].
Tensor CellPositions(const Tensor& map_from_image,
                     int64_t height,
                     int64_t width) {
  const auto axis = [](int64_t size) {
    return torch::arange(static_cast<double>(size), torch::kFloat64);
  };
  const Tensor y = axis(height).unsqueeze(1).expand({height, width});
  const Tensor x = axis(width).unsqueeze(0).expand({height, width});
  return (torch::stack({x, y}, 2).view({-1, 2}) - map_from_image[1]) /
         map_from_image[0];
}

// All maps at the cells of a grid, side by side.
TeacherMap AtCells(const std::vector<TeacherMap>& maps,
                   const Tensor& map_from_image,
                   int64_t height,
                   int64_t width) {
  const Tensor positions = CellPositions(map_from_image, height, width);
  std::vector<Tensor> features;
  for (const TeacherMap& map : maps) {
    features.push_back(SampleTeacher(map, positions));
  }
  TeacherMap all = maps[0];
  all.features = torch::cat(features, 1).t().reshape({-1, height, width});
  all.map_from_image = map_from_image;
  return all;
}

std::string Fingerprint(const PresetExtractor& preset,
                        const SafetensorsView& weights) {
  std::ostringstream text;
  text << preset.network << " levels";
  for (const int level : preset.levels) text << " " << level;
  text << " scales";
  for (const double scale : preset.scales) text << " " << scale;
  text << " pixels " << preset.max_image_size << " unit_norm "
       << preset.unit_norm << " softmax_scale " << preset.softmax_scale
       << " weights " << std::hex
       << ContentHash(weights.data.data(), weights.data.size());
  return text.str();
}

}  // namespace

Tensor MapPositions(const TeacherMap& map, const Tensor& positions) {
  const Tensor affine = map.map_from_image.to(positions.device());
  return positions.to(torch::kFloat64) * affine[0] + affine[1];
}

Tensor SampleTeacher(const TeacherMap& map, const Tensor& positions) {
  const torch::Device device = positions.device();
  const Tensor cells = torch::nan_to_num(MapPositions(map, positions), 0.0);
  // Only what is sampled is widened: positions are those of a part.
  Tensor features = map.features;
  for (const int64_t dim : {1, 2}) {
    const int64_t last = features.size(dim) - 1;
    Tensor along = cells.select(1, 2 - dim).clamp_(0.0, last);
    if (along.numel() == 0) continue;
    const auto first = static_cast<int64_t>(along.min().item<double>());
    const auto end =
        static_cast<int64_t>(std::ceil(along.max().item<double>())) + 1;
    along.sub_(static_cast<double>(first));
    features = features.narrow(dim, first, end - first);
  }
  features = features.to(device, torch::kFloat32);
  const auto steps = [&](int64_t dim) {
    return static_cast<double>(std::max<int64_t>(1, features.size(dim) - 1));
  };
  // From the first cell's centre, -1, to the last one's, 1.
  const Tensor grid =
      cells * torch::tensor({2.0 / steps(2), 2.0 / steps(1)}, torch::kFloat64)
                  .to(device) -
      1.0;
  constexpr int64_t kBilinear = 0, kBorder = 1;
  const Tensor samples =
      at::grid_sampler(features.unsqueeze(0),
                       grid.to(torch::kFloat32).view({1, 1, -1, 2}),
                       kBilinear,
                       kBorder,
                       /*align_corners=*/true)
          .view({features.size(0), -1})
          .t();
  return map.unit_norm ? UnitNorm(samples, 1) : samples;
}

TeacherExtractor::TeacherExtractor(const PresetExtractor& preset,
                                   torch::Device device)
    : preset_(preset), device_(device) {
  const SafetensorsView weights = ReadSafetensors(preset.weights_path);
  module_ = CreateNetworkModule(preset.network);
  LoadWeights(
      weights, preset.weights_path, WeightsOf(preset.network), module_.get());
  module_->eval();
  module_->to(device);
  UseChannelsLast(module_.get());
  fingerprint_ = Fingerprint(preset, weights);
}

double TeacherExtractor::ImageScale(int64_t height, int64_t width) const {
  return std::min(
      1.0,
      preset_.max_image_size / static_cast<double>(std::max(height, width)));
}

bool TeacherExtractor::Takes(int64_t height, int64_t width) const {
  const double scale = ImageScale(height, width);
  return std::lround(scale * std::min(height, width)) >=
         module_->MinImageSize();
}

int64_t TeacherExtractor::MaxBytes(int64_t photo_height,
                                   int64_t photo_width,
                                   int64_t height,
                                   int64_t width) const {
  const double scale = ImageScale(photo_height, photo_width) / preset_.stride;
  // Padded convolutions have a cell more than fits, windows two.
  const auto cells = [&](int64_t size) {
    return std::lround(scale * size) + 3;
  };
  const auto levels = NetworkLevels(preset_.network);
  int64_t channels = 0;
  for (const int level : preset_.levels) channels += levels.at(level).channels;
  return sizeof(at::Half) * channels * preset_.scales.size() * cells(height) *
         cells(width);
}

TeacherMap TeacherExtractor::Extract(const Tensor& photo) const {
  const torch::NoGradGuard no_grad;
  const int64_t height = photo.size(0), width = photo.size(1);
  const Tensor image = PhotoPart(photo, 0, 0, width, height);
  const double scale = ImageScale(height, width);
  std::vector<TeacherMap> maps;
  for (const double relative : preset_.scales) {
    maps.push_back(ExtractAt(image, relative * scale));
  }
  TeacherMap map = maps[0];
  if (maps.size() > 1) {
    map = AtCells(
        maps, map.map_from_image, map.features.size(1), map.features.size(2));
    map.features = map.features / std::sqrt(static_cast<double>(maps.size()));
  }
  map.features = map.features.to(torch::kFloat16).contiguous();
  return map;
}

// `image`: [3, H, W].
TeacherMap TeacherExtractor::ExtractAt(const Tensor& image,
                                       double scale) const {
  const auto resized = [&](int64_t size) {
    return std::max<int64_t>(std::lround(scale * size),
                             module_->MinImageSize());
  };
  const int64_t height = resized(image.size(1));
  const int64_t width = resized(image.size(2));
  const std::vector<Tensor> outputs =
      module_->Forward(module_->NormalizedImages(
          Resample(image, height, width).unsqueeze(0).to(device_)));
  const std::vector<NetworkLevel> levels = NetworkLevels(preset_.network);
  std::vector<TeacherMap> maps;
  for (const int index : preset_.levels) {
    const NetworkLevel& level = levels.at(index);
    maps.push_back({outputs.at(level.output)
                        .squeeze(0)
                        .to(torch::kCPU, torch::kFloat32)
                        .contiguous(),
                    MapFromImageOf(level, image, height, width),
                    preset_.softmax_scale,
                    /*unit_norm=*/false});
  }
  TeacherMap map = maps[0];
  if (maps.size() > 1) {
    // As NetworkFeaturesOptions::stride has it.
    NetworkLevel grid;
    grid.stride = preset_.stride;
    grid.first_center = 0.5 * preset_.stride;
    const auto cells = [&](int64_t size) {
      return std::max<int64_t>(1, static_cast<int64_t>(size / grid.stride));
    };
    map = AtCells(maps,
                  MapFromImageOf(grid, image, height, width),
                  cells(height),
                  cells(width));
  }
  map.unit_norm = preset_.unit_norm;
  if (map.unit_norm) map.features = UnitNorm(map.features, 0);
  return map;
}

void TeacherOptions::Check() const {
  std::string known;
  for (const auto& [name, preset] : NetworkPresets()) {
    known += (known.empty() ? "" : ", ") + name;
  }
  for (const std::string& name : names) {
    if (NetworkPresets().count(name) == 0) {
      throw InputError("'" + name + "' is no teacher. Expected --teacher, " +
                       "features of networks, separated by commas: " + known +
                       ".");
    }
  }
  if (weights_paths.size() > 1 && weights_paths.size() != names.size()) {
    throw InputError("There are " + std::to_string(names.size()) +
                     " teachers and " + std::to_string(weights_paths.size()) +
                     " folders with weights. Expected --teacher_weights_path, "
                     "one folder for all, or one for each.");
  }
}

std::vector<Teacher> LoadTeachers(const TeacherOptions& options,
                                  torch::Device device) {
  options.Check();
  std::vector<Teacher> teachers;
  for (size_t i = 0; i < options.names.size(); ++i) {
    const auto& folders = options.weights_paths;
    const std::string folder = folders.empty()       ? ""
                               : folders.size() == 1 ? folders[0]
                                                     : folders[i];
    const NetworkPreset preset = NetworkPresetWithWeights(
        options.names[i], folder, "--teacher_weights_path");
    teachers.push_back({options.names[i],
                        TeacherExtractor(preset.coarse, device),
                        TeacherExtractor(preset.fine, device)});
  }
  return teachers;
}

}  // namespace nre
