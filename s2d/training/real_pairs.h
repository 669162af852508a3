// Training data from pairs of real images: windows of them, resized at random.
// Only for training: includes LibTorch.
#pragma once

#include <vector>

#include <ATen/core/Generator.h>

#include "s2d/training/training_pairs.h"
#include "s2d/training/training_set.h"

namespace nre {

struct RealPairOptions {
  int64_t batch_size = 8;  // pairs
  int64_t height = 256;    // of the windows, after resizing
  int64_t width = 256;
  int64_t num_points = 256;  // of each pair

  // Each image is resized by a factor of its own from this range, uniform in
  // its logarithm: scales differ by up to max_scale / min_scale, on top of what
  // the images have. An image that would be smaller than the window is resized
  // by the factor that makes it fit.
  double min_scale = 0.5;
  double max_scale = 1.25;

  // A point that both images show lies at most this share of the window's size
  // from its middle (where the images' borders let it).
  double max_shift = 0.25;

  // Another pair is drawn instead of one whose windows share fewer points; the
  // best of max_attempts draws is taken.
  int64_t min_num_visible = 32;
  int64_t max_attempts = 10;

  bool Check() const;
};

// Draws pairs, each of all the sets' pairs as likely as any other, and a window
// of either image around a common point. Images are shrunk with a filter
// against aliasing. Of each pair's points that are inside of the reference
// window, num_points at random: those visible in both windows first, then
// others, whose query positions are where they would be; rows that are left
// have query positions NaN. On the CPU, in single precision. Throws c10::Error
// if the sets have no pairs or the options fail their Check().
TrainingPairs CropRealPairs(const std::vector<TrainingSet>& sets,
                            const RealPairOptions& options,
                            at::Generator generator);

}  // namespace nre
