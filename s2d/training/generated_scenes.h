// Scenes made of textured rectangles, seen by any number of cameras, with exact
// depths and poses: training data without end. Only for training: includes
// LibTorch.
//
// World coordinates are metres, z up. Poses are cam_from_world; cameras look
// along +z, y down, have square pixels, and the principal point in the image's
// middle.
#pragma once

#include <ATen/core/Generator.h>
#include <torch/types.h>

#include "s2d/training/random_draws.h"
#include "s2d/training/training_pairs.h"

namespace nre {

// K rectangles, of which parts may be cut out. On the CPU, double precision.
struct GeneratedScene {
  torch::Tensor centers;  // [K, 3]
  // Half of either side, orthogonal to each other, [K, 3].
  torch::Tensor half_us;
  torch::Tensor half_vs;
  // In the rectangle [-1, 1]^2, (u, v) is there if r >= hole and r <= 1, where
  // r = sqrt(u^2 + v^2) for what is round, the larger of |u| and |v| else. [K].
  torch::Tensor round;  // 0 or 1
  torch::Tensor holes;  // 0: none
  // What is on it: texture `textures` [K] (int64), shifted by
  // texture_origins [K, 2] texels, multiplied by colors [K, 3].
  torch::Tensor textures;
  torch::Tensor texture_origins;
  torch::Tensor texels_per_metre;  // [K]
  torch::Tensor colors;
  // Behind everything: [2, 3], above and below.
  torch::Tensor sky;
};

struct SceneView {
  torch::Tensor rotation;     // [3, 3], cam_from_world, double
  torch::Tensor translation;  // [3]
  double focal_length = 0.0;  // pixels
  int64_t height = 0;         // of the image
  int64_t width = 0;
};

// What rays through P image positions meet first.
struct RayHits {
  torch::Tensor inverse_depths;  // [P], 1 / z in the camera; 0: nothing
  torch::Tensor rectangles;      // [P], int64
  torch::Tensor us;              // [P], in the rectangle
  torch::Tensor vs;
};

// positions: [P, 2], image coordinates; on their device, single precision.
RayHits CastRays(const GeneratedScene& scene,
                 const SceneView& view,
                 const torch::Tensor& positions);

// Textures and all their smaller versions.
class TextureAtlas {
 public:
  // textures: [T, 3, S, S], 0 to 1; S a power of two.
  explicit TextureAtlas(const torch::Tensor& textures);

  int64_t NumTextures() const { return num_textures_; }

  // S.
  int64_t Size() const { return size_; }

  // The textures' device, single precision.
  torch::TensorOptions Options() const { return texels_.options(); }

  // Texels of textures [P] at positions [P, 2], repeated beyond the border; of
  // the version in which neighbouring texels are about one pixel apart, where
  // texels_per_pixel [P] of the largest one are. Returns [P, 3].
  torch::Tensor Sample(const torch::Tensor& textures,
                       const torch::Tensor& positions,
                       const torch::Tensor& texels_per_pixel) const;

 private:
  torch::Tensor texels_;         // [T * texels of all levels, 3]
  torch::Tensor level_sizes_;    // [L]
  torch::Tensor level_offsets_;  // [L]
  int64_t num_textures_ = 0;
  int64_t size_ = 0;
  int64_t texels_per_texture_ = 0;
};

struct Rendering {
  torch::Tensor image;           // [3, H, W], 0 to 1
  torch::Tensor inverse_depths;  // [H, W]
};

Rendering Render(const GeneratedScene& scene,
                 const SceneView& view,
                 const TextureAtlas& atlas);

struct SceneOptions {
  // Of the images.
  int64_t height = 256;
  int64_t width = 256;

  int64_t num_points = 512;

  // The wanted share of the reference image's surface that the query image
  // sees, drawn evenly between these. What comes closest of some cameras is
  // taken, so a few pairs lie beyond.
  double min_overlap = 0.02;
  double max_overlap = 1.0;

  // Horizontal fields of view.
  double min_fov_deg = 30.0;
  double max_fov_deg = 95.0;

  // The share of scenes that are streets; the others are rooms.
  double street_share = 0.5;

  bool Check() const;
};

// A room or a street: walls, boxes, pictures on walls, cut-outs.
GeneratedScene GenerateRoom(int64_t num_textures,
                            int64_t texture_size,
                            Draws* draws);
GeneratedScene GenerateStreet(int64_t num_textures,
                              int64_t texture_size,
                              Draws* draws);

// One scene per pair; on the textures' device. textures: [T, 3, S, S], 0 to 1.
TrainingPairs GeneratedPairs(int64_t num_pairs,
                             const torch::Tensor& textures,
                             const SceneOptions& options,
                             at::Generator generator);

}  // namespace nre
