// Batches of training pairs from all sources. Only for training: includes
// LibTorch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <torch/types.h>

#include "s2d/training/training_pairs.h"

namespace nre {

struct TrainingDataOptions {
  // Training sets. Those with pairs are real models; the pictures of the others
  // are textures of generated scenes, and seen through homographies. Without
  // any, textures are procedural.
  std::vector<std::string> set_paths;

  // Training sets with pairs that validation takes instead of generated scenes.
  // No picture of theirs may be in set_paths.
  std::vector<std::string> validation_set_paths;

  // How likely a pair is of each source, relative to the others; what has no
  // data is left out.
  double generated_share = 1.0;
  double homography_share = 0.5;
  double real_share = 0.5;

  // Of textures on generated scenes, the share that is procedural although
  // there are pictures.
  double procedural_share = 0.3;

  int64_t batch_size = 8;  // pairs
  // Of the images, both sides. In training, each batch has a size of its own
  // between min_image_size (0: image_size) and this. Multiples of 32.
  int64_t image_size = 256;
  int64_t min_image_size = 0;
  int64_t num_points = 256;  // of each pair

  // The share of training batches whose images are up to three times enlarged,
  // as those of small queries and the parts of references that show the same.
  double magnified_share = 0.0;

  // The share of the reference image that the query of a generated scene sees.
  double min_overlap = 0.05;
  double max_overlap = 1.0;

  bool Check() const;
};

// What a batch is for: validation sees no textures of training, and pictures of
// sets without pairs are used for one only.
enum class DataSplit {
  kTraining,
  // Pairs of the validation sets; without any, generated scenes, overlap 30 to
  // 100 %.
  kValidation,
};

// A picture of a training set without pairs.
struct TrainingPhoto {
  std::string name;
  torch::Tensor pixels;  // uint8 [H, W, 3], of the file itself: not written to
};

class TrainingData {
 public:
  // Throws InputError for sets that cannot be read or hold nothing of use, and
  // for validation sets without pairs or with a picture of the training sets.
  TrainingData(const TrainingDataOptions& options, uint64_t seed);
  ~TrainingData();

  // The batch with this number: always the same for the same arguments, options
  // and seed, whatever the number of threads. appearance: how much that of the
  // images changes, 0 to 1; one of a pair's images changes half as much as the
  // other, in validation not at all. On `device`.
  TrainingPairs Batch(DataSplit split,
                      int64_t number,
                      double appearance,
                      torch::Device device);

  // Those that training may see.
  const std::vector<TrainingPhoto>& TrainingPhotos() const;

  // From now on, homographies are of these photographs, uint8 [H, W, 3], which
  // TrainingPairs::photos counts; at least one.
  void SetHomographyPhotos(std::vector<torch::Tensor> photos);

 private:
  struct Sources;

  // Of generated scenes' surfaces, [T, 3, S, S].
  torch::Tensor Textures(DataSplit split, int64_t number);

  TrainingDataOptions options_;
  uint64_t seed_;
  std::unique_ptr<Sources> sources_;
};

}  // namespace nre
