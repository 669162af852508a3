#include "s2d/training/training_pairs.h"

namespace nre {

TrainingPairs Concatenate(std::vector<TrainingPairs> parts) {
  for (TrainingPairs& part : parts) {
    if (part.photos.defined()) continue;
    const int64_t num = part.visible.size(0);
    part.photos = torch::full({num}, -1, torch::kInt64);
    part.photo_from_reference = torch::zeros({num, 3, 3}, torch::kFloat64);
    part.photo_from_query = part.photo_from_reference;
  }
  const auto join = [&](torch::Tensor TrainingPairs::*member) {
    std::vector<torch::Tensor> tensors;
    for (const TrainingPairs& part : parts) tensors.push_back(part.*member);
    return torch::cat(tensors);
  };
  return {join(&TrainingPairs::reference_images),
          join(&TrainingPairs::query_images),
          join(&TrainingPairs::reference_positions),
          join(&TrainingPairs::query_positions),
          join(&TrainingPairs::visible),
          join(&TrainingPairs::photos),
          join(&TrainingPairs::photo_from_reference),
          join(&TrainingPairs::photo_from_query)};
}

}  // namespace nre
