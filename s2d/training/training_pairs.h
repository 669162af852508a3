// What every source of training data gives: generated scenes, homographies of
// photographs, pairs of real images. Only for training: includes LibTorch.
#pragma once

#include <vector>

#include <torch/types.h>

namespace nre {

// B pairs of a reference and a query image, with N points of each pair.
// Positions are image coordinates (the centre of the first pixel is
// (0.5, 0.5)), wherever the point is: a query position may be outside.
struct TrainingPairs {
  torch::Tensor reference_images;     // [B, 3, H, W], RGB, 0 to 1
  torch::Tensor query_images;         // [B, 3, H, W]
  torch::Tensor reference_positions;  // [B, N, 2], inside the image
  torch::Tensor query_positions;      // [B, N, 2]
  // [B, N], bool: inside both images, and not hidden by anything in the query
  // image. Where it is false, the positions may be anything, NaN too.
  torch::Tensor visible;

  // Where pairs of photographs come from, on the CPU; undefined: there are none
  // among these. [B], int64: which photograph; -1: of another source. [B, 3,
  // 3], double precision: what takes (x, y, 1) in the images to the
  // photograph's image coordinates, times what is then the third coordinate;
  // not positive: not seen.
  torch::Tensor photos = {};
  torch::Tensor photo_from_reference = {};
  torch::Tensor photo_from_query = {};
};

// The pairs of all parts, which have as many points and images of one size.
TrainingPairs Concatenate(std::vector<TrainingPairs> parts);

}  // namespace nre
