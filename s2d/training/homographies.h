// Training data from single photographs: each is seen twice, as if it were a
// picture on a wall. Only for training: includes LibTorch.
#pragma once

#include <vector>

#include <ATen/core/Generator.h>
#include <torch/types.h>

#include "s2d/training/training_pairs.h"

namespace nre {

struct HomographyOptions {
  int64_t batch_size = 8;  // pairs
  int64_t height = 256;    // of the images
  int64_t width = 256;
  int64_t num_points = 256;  // of each pair

  // Pixels of the photograph to one of the reference image's, uniform in its
  // logarithm. If a photograph is too small for that, all of it is shown that
  // has the images' shape.
  double min_shrinking = 0.7;
  double max_shrinking = 3.0;

  // The query image's scale differs by up to that, either way, uniform in its
  // logarithm; so does, in addition, that along some axis.
  double max_scale_change = 2.5;
  double max_stretch = 1.5;

  // Rotation in the image plane, either way; any rotation now and then.
  double max_rotation_deg = 30.0;
  double any_rotation_probability = 0.05;

  // Scales within the query image vary, as of a slanted plane, by factors of up
  // to 1 - that and 1 + that of depth. Below 1.
  double max_perspective = 0.4;

  // How far the middle may move, in halves of the shorter side.
  double max_shift = 0.5;

  // At least this share of the points is drawn among the visible ones, if there
  // are enough.
  double min_visible = 0.75;

  bool Check() const;
};

// Draws a photograph, uint8 [H, W, 3] on the CPU, and a homography for each
// pair. Where the query image sees beyond the photograph it shows a mirror
// image or one colour. Shrunk images are filtered against aliasing. Images have
// the light of the photograph: see appearance.h. Query positions are NaN for
// points that would be behind the camera. The pairs say which photograph they
// are of, and where in it. The same pairs come of the same
// generator, whatever the number of threads; on the CPU, in single precision.
// Throws c10::Error for invalid options and other tensors.
TrainingPairs HomographyPairs(const std::vector<torch::Tensor>& photos,
                              const HomographyOptions& options,
                              at::Generator generator);

}  // namespace nre
