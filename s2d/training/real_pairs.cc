#include "s2d/training/real_pairs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "s2d/training/random_draws.h"
#include "s2d/training/resampling.h"

namespace nre {
namespace {

// Of a stored image, in pixels.
struct Window {
  int64_t x = 0;
  int64_t y = 0;
  int64_t width = 0;
  int64_t height = 0;
};

// A pair with its windows and the points inside of the reference's, which are
// seen in both (`visible`) or not.
struct CroppedPair {
  torch::Tensor reference_image;  // as stored
  torch::Tensor query_image;
  Window reference_window;
  Window query_window;
  torch::Tensor reference_positions;  // [M, 2], in the resized window
  torch::Tensor query_positions;      // [M, 2]
  torch::Tensor visible;              // [M], bool
  int64_t num_visible = -1;           // -1: there is no pair yet
};

// One dimension of a window: `size` pixels of `image_size`, with `center` at
// `place` (0 to 1) of it.
int64_t Begin(double center, double place, int64_t size, int64_t image_size) {
  const int64_t begin = std::llround(center - place * size);
  return std::clamp<int64_t>(begin, 0, image_size - size);
}

// Around `center` [2] in `image` [H, W, 3].
Window DrawWindow(const torch::Tensor& image,
                  const torch::Tensor& center,
                  const RealPairOptions& options,
                  Draws* draws) {
  const double height = image.size(0), width = image.size(1);
  const double scale =
      std::max({draws->LogUniform(options.min_scale, options.max_scale),
                options.height / height,
                options.width / width});
  const auto size = [&](int64_t resized, int64_t whole) {
    return std::clamp<int64_t>(std::llround(resized / scale), 1, whole);
  };
  const auto begin = [&](int axis, int64_t size, int64_t whole) {
    const double place = 0.5 + options.max_shift * draws->Uniform(-1.0, 1.0);
    return Begin(center[axis].item<double>(), place, size, whole);
  };
  Window window;
  window.width = size(options.width, image.size(1));
  window.height = size(options.height, image.size(0));
  window.x = begin(0, window.width, image.size(1));
  window.y = begin(1, window.height, image.size(0));
  return window;
}

// Positions [M, 2] in the image become those in its resized window.
torch::Tensor ToWindow(const torch::Tensor& positions,
                       const Window& window,
                       const RealPairOptions& options) {
  const auto pair = [](double x, double y) {
    return torch::tensor({x, y}, torch::kFloat32);
  };
  return (positions - pair(window.x, window.y)) *
         pair(static_cast<double>(options.width) / window.width,
              static_cast<double>(options.height) / window.height);
}

// [M], bool.
torch::Tensor IsInWindow(const torch::Tensor& positions,
                         const RealPairOptions& options) {
  const torch::Tensor size =
      torch::tensor({options.width, options.height}, torch::kFloat32);
  return ((positions >= 0.0) & (positions < size)).all(1);
}

// [3, height, width], 0 to 1.
torch::Tensor CutOut(const torch::Tensor& image,
                     const Window& window,
                     const RealPairOptions& options) {
  return Resample(
      PhotoPart(image, window.x, window.y, window.width, window.height),
      options.height,
      options.width);
}

CroppedPair Crop(const TrainingSet& set,
                 int64_t index,
                 const RealPairOptions& options,
                 Draws* draws) {
  const StoredPair pair = set.Pair(index);
  CroppedPair cropped;
  cropped.reference_image = set.Image(pair.reference);
  cropped.query_image = set.Image(pair.query);
  const torch::Tensor candidates = pair.visible.nonzero().flatten();
  if (candidates.numel() == 0) return cropped;

  const int64_t center =
      candidates[draws->Index(candidates.numel())].item<int64_t>();
  const auto draw_window = [&](const torch::Tensor& image,
                               const torch::Tensor& positions) {
    return DrawWindow(image, positions[center], options, draws);
  };
  cropped.reference_window =
      draw_window(cropped.reference_image, pair.reference_positions);
  cropped.query_window = draw_window(cropped.query_image, pair.query_positions);

  const torch::Tensor reference_positions =
      ToWindow(pair.reference_positions, cropped.reference_window, options);
  const torch::Tensor inside =
      IsInWindow(reference_positions, options).nonzero().flatten();
  cropped.reference_positions = reference_positions.index_select(0, inside);
  cropped.query_positions =
      ToWindow(pair.query_positions.index_select(0, inside),
               cropped.query_window,
               options);
  cropped.visible = pair.visible.index_select(0, inside) &
                    IsInWindow(cropped.query_positions, options);
  cropped.num_visible = cropped.visible.sum().item<int64_t>();
  return cropped;
}

CroppedPair DrawPair(const std::vector<TrainingSet>& sets,
                     int64_t num_pairs,
                     const RealPairOptions& options,
                     Draws* draws) {
  CroppedPair best;
  for (int64_t i = 0; i < options.max_attempts; ++i) {
    int64_t index = draws->Index(num_pairs);
    auto set = sets.begin();
    for (; index >= set->NumPairs(); ++set) index -= set->NumPairs();
    CroppedPair cropped = Crop(*set, index, options, draws);
    if (cropped.num_visible > best.num_visible) best = std::move(cropped);
    if (best.num_visible >= options.min_num_visible) break;
  }
  TORCH_CHECK(best.num_visible >= 0,
              "hardly any pair has points that both of its images show");
  return best;
}

// At random, but those that are visible first.
torch::Tensor ChoosePoints(const torch::Tensor& visible,
                           int64_t max_num,
                           Draws* draws) {
  const torch::Tensor order = draws->UniformTensor(visible.sizes());
  return torch::argsort(order - visible.to(torch::kFloat32))
      .slice(0, 0, max_num);
}

}  // namespace

bool RealPairOptions::Check() const {
  return batch_size > 0 && height > 0 && width > 0 && num_points > 0 &&
         min_scale > 0.0 && max_scale >= min_scale &&
         std::isfinite(max_scale) && max_shift >= 0.0 && max_shift <= 0.5 &&
         min_num_visible >= 0 && max_attempts > 0;
}

TrainingPairs CropRealPairs(const std::vector<TrainingSet>& sets,
                            const RealPairOptions& options,
                            at::Generator generator) {
  TORCH_CHECK(options.Check(), "invalid RealPairOptions");
  const torch::NoGradGuard no_grad;
  int64_t num_pairs = 0;
  for (const TrainingSet& set : sets) num_pairs += set.NumPairs();
  TORCH_CHECK(num_pairs > 0, "the training sets have no pairs");

  const int64_t batch_size = options.batch_size;
  const int64_t num_points = options.num_points;
  const std::vector<int64_t> images = {
      batch_size, 3, options.height, options.width};
  TrainingPairs pairs;
  pairs.reference_images = torch::empty(images);
  pairs.query_images = torch::empty(images);
  pairs.reference_positions = torch::zeros({batch_size, num_points, 2});
  pairs.query_positions = torch::full({batch_size, num_points, 2},
                                      std::numeric_limits<float>::quiet_NaN());
  pairs.visible = torch::zeros({batch_size, num_points}, torch::kBool);
  const auto make = [&](int64_t i, Draws* draws) {
    const CroppedPair pair = DrawPair(sets, num_pairs, options, draws);
    pairs.reference_images[i].copy_(
        CutOut(pair.reference_image, pair.reference_window, options));
    pairs.query_images[i].copy_(
        CutOut(pair.query_image, pair.query_window, options));
    const torch::Tensor chosen = ChoosePoints(pair.visible, num_points, draws);
    const auto fill = [&](const torch::Tensor& from, torch::Tensor to) {
      to[i].narrow(0, 0, chosen.numel()).copy_(from.index_select(0, chosen));
    };
    fill(pair.reference_positions, pairs.reference_positions);
    fill(pair.query_positions, pairs.query_positions);
    fill(pair.visible, pairs.visible);
  };
  ForEachItem(batch_size, std::move(generator), /*in_parallel=*/true, make);
  return pairs;
}

}  // namespace nre
