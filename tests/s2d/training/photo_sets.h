// Photographs of textures, and training sets of them.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>

#include "s2d/training/tensor_files.h"
#include "s2d/training/textures.h"

namespace nre {

// uint8 [height, width, 3] each.
inline std::vector<torch::Tensor> TexturedPhotos(int64_t num,
                                                 int64_t height,
                                                 int64_t width,
                                                 uint64_t seed = 1) {
  const torch::Tensor textures =
      ProceduralTextures(
          num, std::max(height, width), at::detail::createCPUGenerator(seed))
          .slice(2, 0, height)
          .slice(3, 0, width);
  std::vector<torch::Tensor> photos;
  for (int64_t i = 0; i < num; ++i) {
    photos.push_back((textures[i] * 255.0)
                         .round()
                         .to(torch::kUInt8)
                         .permute({1, 2, 0})
                         .contiguous());
  }
  return photos;
}

// With pairs: each photograph with itself, with a grid of points.
inline void WritePhotoSet(const std::string& path,
                          const std::vector<torch::Tensor>& photos,
                          bool with_pairs) {
  TensorFile file;
  file.metadata = {{"format", "colmap_nre training set"}, {"version", "1"}};
  std::string names;
  for (size_t i = 0; i < photos.size(); ++i) {
    char key[32];
    std::snprintf(key, sizeof(key), "image/%06zu", i);
    file.tensors[key] = photos[i];
    names += "photo" + std::to_string(i) + "\n";
  }
  file.tensors["image_names"] =
      torch::from_blob(
          names.data(), {static_cast<int64_t>(names.size())}, torch::kUInt8)
          .clone();
  const int64_t num_pairs = with_pairs ? photos.size() : 0;
  const torch::Tensor grid =
      torch::cartesian_prod({torch::arange(2.0f, photos[0].size(1), 8.0f),
                             torch::arange(2.0f, photos[0].size(0), 8.0f)});
  const torch::Tensor index = torch::arange(num_pairs, torch::kInt32);
  file.tensors["pair_images"] = torch::stack({index, index}, 1);
  file.tensors["pair_offsets"] =
      torch::arange(num_pairs + 1, torch::kInt64) * grid.size(0);
  file.tensors["reference_positions"] = grid.repeat({num_pairs, 1});
  file.tensors["query_positions"] = file.tensors["reference_positions"];
  file.tensors["visible"] =
      torch::ones({num_pairs * grid.size(0)}, torch::kUInt8);
  WriteTensorFile(path, file);
}

}  // namespace nre
