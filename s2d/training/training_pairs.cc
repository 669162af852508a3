#include "s2d/training/training_pairs.h"

namespace nre {

TrainingPairs Concatenate(const std::vector<TrainingPairs>& parts) {
  const auto join = [&](torch::Tensor TrainingPairs::*member) {
    std::vector<torch::Tensor> tensors;
    for (const TrainingPairs& part : parts) tensors.push_back(part.*member);
    return torch::cat(tensors);
  };
  return {join(&TrainingPairs::reference_images),
          join(&TrainingPairs::query_images),
          join(&TrainingPairs::reference_positions),
          join(&TrainingPairs::query_positions),
          join(&TrainingPairs::visible)};
}

}  // namespace nre
