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
};

// The pairs of all parts, which have as many points and images of one size.
TrainingPairs Concatenate(const std::vector<TrainingPairs>& parts);

}  // namespace nre
