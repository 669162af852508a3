#include "s2d/training/real_pairs.h"

#include <algorithm>
#include <cmath>
#include <limits>

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

// [num], uniform in [0, 1).
std::vector<double> Draw(int64_t num, at::Generator generator) {
  const torch::Tensor draws = torch::rand({num}, generator, torch::kFloat64);
  const double* data = draws.data_ptr<double>();
  return {data, data + num};
}

int64_t DrawIndex(int64_t num, at::Generator generator) {
  return torch::randint(num, {1}, generator, torch::kInt64).item<int64_t>();
}

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
                  at::Generator generator) {
  const std::vector<double> draws = Draw(3, generator);
  const double height = image.size(0), width = image.size(1);
  const double drawn =
      options.min_scale *
      std::pow(options.max_scale / options.min_scale, draws[0]);
  const double scale =
      std::max({drawn, options.height / height, options.width / width});
  const auto size = [&](int64_t resized, int64_t whole) {
    return std::clamp<int64_t>(std::llround(resized / scale), 1, whole);
  };
  const auto place = [&](double draw) {
    return 0.5 + options.max_shift * (2.0 * draw - 1.0);
  };
  Window window;
  window.width = size(options.width, image.size(1));
  window.height = size(options.height, image.size(0));
  window.x = Begin(
      center[0].item<double>(), place(draws[1]), window.width, image.size(1));
  window.y = Begin(
      center[1].item<double>(), place(draws[2]), window.height, image.size(0));
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

// [1, 3, height, width], 0 to 1.
torch::Tensor Resized(const torch::Tensor& image,
                      const Window& window,
                      const RealPairOptions& options) {
  const torch::Tensor pixels = image.narrow(0, window.y, window.height)
                                   .narrow(1, window.x, window.width)
                                   .permute({2, 0, 1})
                                   .unsqueeze(0)
                                   .to(torch::kFloat32,
                                       /*non_blocking=*/false,
                                       /*copy=*/true,
                                       torch::MemoryFormat::Contiguous);
  return torch::_upsample_bilinear2d_aa(pixels,
                                        {options.height, options.width},
                                        /*align_corners=*/false) /
         255.0;
}

CroppedPair Crop(const TrainingSet& set,
                 int64_t index,
                 const RealPairOptions& options,
                 at::Generator generator) {
  const StoredPair pair = set.Pair(index);
  CroppedPair cropped;
  cropped.reference_image = set.Image(pair.reference);
  cropped.query_image = set.Image(pair.query);
  const torch::Tensor candidates = pair.visible.nonzero().flatten();
  if (candidates.numel() == 0) return cropped;

  const torch::Tensor center =
      candidates[DrawIndex(candidates.numel(), generator)];
  const auto draw_window = [&](const torch::Tensor& image,
                               const torch::Tensor& positions) {
    return DrawWindow(
        image, positions[center.item<int64_t>()], options, generator);
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
                     at::Generator generator) {
  CroppedPair best;
  for (int64_t i = 0; i < options.max_attempts; ++i) {
    int64_t index = DrawIndex(num_pairs, generator);
    auto set = sets.begin();
    for (; index >= set->NumPairs(); ++set) index -= set->NumPairs();
    CroppedPair cropped = Crop(*set, index, options, generator);
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
                           at::Generator generator) {
  const torch::Tensor draws =
      torch::rand(visible.sizes(), generator, torch::kFloat64);
  return torch::argsort(draws - visible.to(torch::kFloat64))
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
  std::vector<torch::Tensor> reference_images, query_images;
  TrainingPairs pairs;
  pairs.reference_positions = torch::zeros({batch_size, num_points, 2});
  pairs.query_positions = torch::full({batch_size, num_points, 2},
                                      std::numeric_limits<float>::quiet_NaN());
  pairs.visible = torch::zeros({batch_size, num_points}, torch::kBool);
  for (int64_t i = 0; i < batch_size; ++i) {
    const CroppedPair pair = DrawPair(sets, num_pairs, options, generator);
    reference_images.push_back(
        Resized(pair.reference_image, pair.reference_window, options));
    query_images.push_back(
        Resized(pair.query_image, pair.query_window, options));
    const torch::Tensor chosen =
        ChoosePoints(pair.visible, num_points, generator);
    const auto fill = [&](const torch::Tensor& from, torch::Tensor to) {
      to[i].narrow(0, 0, chosen.numel()).copy_(from.index_select(0, chosen));
    };
    fill(pair.reference_positions, pairs.reference_positions);
    fill(pair.query_positions, pairs.query_positions);
    fill(pair.visible, pairs.visible);
  }
  pairs.reference_images = torch::cat(reference_images);
  pairs.query_images = torch::cat(query_images);
  return pairs;
}

}  // namespace nre
