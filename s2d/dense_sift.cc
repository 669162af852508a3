#include "s2d/dense_sift.h"

#include <algorithm>
#include <cmath>

#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "nre/error.h"
#include "nre/vector_math.h"
#include "s2d/resize.h"

namespace nre {
namespace {

// Orientations of a histogram. Fixed, so that a histogram is one vector.
constexpr int kBins = 8;

// Gaussians are cut off at this many sigmas.
constexpr double kGaussianExtent = 2.5;

// Histograms of gradient orientations, [height, width, kBins].
struct Histograms {
  int height = 0;
  int width = 0;
  std::vector<float> data;

  Histograms(int height, int width)
      : height(height),
        width(width),
        data(static_cast<size_t>(height) * width * kBins) {}

  float* Row(int y) { return &data[static_cast<size_t>(y) * width * kBins]; }
  const float* Row(int y) const {
    return &data[static_cast<size_t>(y) * width * kBins];
  }
};

// One histogram of the descriptor: which smoothing level, and at which offset
// from the cell, in cells.
struct Sample {
  int level;
  int dx;
  int dy;
};

// Normalised Gaussian over the pixels of a cell of `stride` and `margin` pixels
// on both of its sides, around the cell's centre.
std::vector<float> GaussianWeights(double sigma, int stride, int margin) {
  std::vector<float> weights(stride + 2 * margin);
  const double center = 0.5 * (weights.size() - 1.0);
  double sum = 0.0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double t = (i - center) / sigma;
    weights[i] = static_cast<float>(std::exp(-0.5 * t * t));
    sum += weights[i];
  }
  for (float& weight : weights) weight = static_cast<float>(weight / sum);
  return weights;
}

int GaussianMargin(double sigma, int stride) {
  const double half = kGaussianExtent * sigma - 0.5 * (stride - 1);
  return std::max(0, static_cast<int>(std::ceil(half)));
}

// Gradients of row y of the image [height, width], by central differences with
// the border repeated, spread over the orientations: |g| max(0, cos angle)^16,
// where the angle is between the gradient and the bin's direction.
NRE_VECTOR_CLONES
void OrientationRow(
    const float* image, int height, int width, int y, float* row) {
  float cosines[kBins], sines[kBins];
  for (int b = 0; b < kBins; ++b) {
    cosines[b] = static_cast<float>(std::cos(2.0 * M_PI * b / kBins));
    sines[b] = static_cast<float>(std::sin(2.0 * M_PI * b / kBins));
  }
  const float* center = image + static_cast<size_t>(y) * width;
  const float* above = image + static_cast<size_t>(std::max(y - 1, 0)) * width;
  const float* below =
      image + static_cast<size_t>(std::min(y + 1, height - 1)) * width;
  for (int x = 0; x < width; ++x) {
    const float gx = 0.5f * (center[std::min(x + 1, width - 1)] -
                             center[std::max(x - 1, 0)]);
    const float gy = 0.5f * (below[x] - above[x]);
    const float norm = std::sqrt(gx * gx + gy * gy);
    const float inverse_norm = 1.0f / (norm + 1e-12f);
    for (int b = 0; b < kBins; ++b) {
      const float cosine =
          inverse_norm * std::max(0.0f, cosines[b] * gx + sines[b] * gy);
      const float power2 = cosine * cosine;
      const float power4 = power2 * power2;
      const float power8 = power4 * power4;
      row[x * kBins + b] = norm * power8 * power8;
    }
  }
}

NRE_VECTOR_CLONES
void Scale(float scale, int size, float* values) {
  for (int i = 0; i < size; ++i) values[i] *= scale;
}

// sum[i] += weight * values[i].
NRE_VECTOR_CLONES
void AddScaled(float weight, const float* values, int size, float* sum) {
  for (int i = 0; i < size; ++i) sum[i] += weight * values[i];
}

// Convolves a row of histograms that has the weights' margin on both sides.
NRE_VECTOR_CLONES
void ConvolveRow(const float* padded,
                 const float* weights,
                 int num_weights,
                 int stride,
                 int width,
                 float* out) {
  for (int x = 0; x < width; ++x) {
    const float* in = padded + static_cast<size_t>(x) * stride * kBins;
    float sum[kBins] = {};
    for (int k = 0; k < num_weights; ++k) {
      for (int b = 0; b < kBins; ++b) sum[b] += weights[k] * in[k * kBins + b];
    }
    for (int b = 0; b < kBins; ++b) out[x * kBins + b] = sum[b];
  }
}

// Repeats the first and last histogram of a row into the margins.
void FillMargins(int width, int margin, float* padded) {
  float* first = padded + margin * kBins;
  float* end = first + static_cast<size_t>(width) * kBins;
  for (int i = 0; i < margin; ++i) {
    for (int b = 0; b < kBins; ++b) {
      padded[i * kBins + b] = first[b];
      end[i * kBins + b] = end[b - kBins];
    }
  }
}

// Smooths rows of histograms and keeps one for every `stride` rows and columns:
// row y of the result is centred on the input's rows stride * y ... stride * y
// + stride - 1. `input_row(y)` gives the rows of the input, ascending, each at
// most (stride + 2 margins) rows after the smallest that is needed.
template <typename InputRow>
Histograms Smooth(const InputRow& input_row,
                  int in_height,
                  int in_width,
                  double sigma,
                  int stride) {
  Histograms out(in_height / stride, in_width / stride);
  const int margin = GaussianMargin(sigma, stride);
  const std::vector<float> weights = GaussianWeights(sigma, stride, margin);
  const int num_weights = static_cast<int>(weights.size());
  const int row_size = in_width * kBins;
  std::vector<float> padded(static_cast<size_t>(in_width + 2 * margin) * kBins);
  for (int y = 0; y < out.height; ++y) {
    float* sum = &padded[margin * kBins];
    std::fill_n(sum, row_size, 0.0f);
    for (int k = 0; k < num_weights; ++k) {
      const int y_in = std::clamp(stride * y + k - margin, 0, in_height - 1);
      AddScaled(weights[k], input_row(y_in), row_size, sum);
    }
    FillMargins(in_width, margin, padded.data());
    ConvolveRow(padded.data(),
                weights.data(),
                num_weights,
                stride,
                out.width,
                out.Row(y));
  }
  return out;
}

// The first level, from the image. Rows of orientations are computed once and
// kept as long as the Gaussian reaches them, so that they stay in the cache.
Histograms FirstLevel(const cv::Mat& image, double sigma, int stride) {
  const int capacity = stride + 2 * GaussianMargin(sigma, stride);
  Histograms rows(capacity, image.cols);
  int num_done = 0;
  const auto input_row = [&](int y) {
    for (; num_done <= y; ++num_done) {
      OrientationRow(image.ptr<float>(),
                     image.rows,
                     image.cols,
                     num_done,
                     rows.Row(num_done % capacity));
    }
    return rows.Row(y % capacity);
  };
  return Smooth(input_row, image.rows, image.cols, sigma, stride);
}

// Concatenates the histograms of a row of cells, [width, samples, kBins].
// `rows`: for every sample the row of its level.
NRE_VECTOR_CLONES
void GatherRow(const Sample* samples,
               const float* const* rows,
               int num_samples,
               int width,
               float* out) {
  for (int x = 0; x < width; ++x) {
    for (int s = 0; s < num_samples; ++s) {
      const int x_in = std::min(std::max(x + samples[s].dx, 0), width - 1);
      const float* in = rows[s] + x_in * kBins;
      for (int b = 0; b < kBins; ++b) out[b] = in[b];
      out += kBins;
    }
  }
}

NRE_VECTOR_CLONES
float SquaredNorm(const float* values, int size) {
  float sum[kBins] = {};
  for (int i = 0; i < size; i += kBins) {
    for (int b = 0; b < kBins; ++b) sum[b] += values[i + b] * values[i + b];
  }
  float total = 0.0f;
  for (int b = 0; b < kBins; ++b) total += sum[b];
  return total;
}

// values = sqrt(sqrt(values)).
NRE_VECTOR_CLONES
void FourthRoot(int size, float* values) {
  for (int i = 0; i < size; ++i) values[i] = std::sqrt(std::sqrt(values[i]));
}

// Gives the descriptors [width, channels] unit norm, or zero where the root
// mean square norm of their histograms is below `min_gradient`.
void NormalizeRow(int width, int channels, float min_gradient, float* row) {
  const float min_squared_norm = std::max(
      1e-20f,
      min_gradient * min_gradient * static_cast<float>(channels / kBins));
  for (int x = 0; x < width; ++x) {
    float* values = row + static_cast<size_t>(x) * channels;
    if (SquaredNorm(values, channels) < min_squared_norm) {
      std::fill_n(values, channels, 0.0f);
      continue;
    }
    FourthRoot(channels, values);
    Scale(1.0f / std::sqrt(SquaredNorm(values, channels)), channels, values);
  }
}

NRE_VECTOR_CLONES
void AddTo(const float* values, int size, float* sums) {
  for (int i = 0; i < size; ++i) sums[i] += values[i];
}

NRE_VECTOR_CLONES
void SubtractAndNormalize(const float* mean, int size, float* values) {
  for (int i = 0; i < size; ++i) values[i] -= mean[i];
  const float scale =
      1.0f / std::sqrt(std::max(1e-12f, SquaredNorm(values, size)));
  for (int i = 0; i < size; ++i) values[i] *= scale;
}

// See DenseSiftOptions::center. Zero descriptors have no part in the mean and
// stay zero.
void CenterDescriptors(FeatureMap* map) {
  const int channels = map->channels;
  std::vector<double> sum(channels, 0.0);
  std::vector<float> row_sum(channels);
  size_t num_descriptors = 0;
  const auto is_zero = [channels](const float* values) {
    return std::all_of(
        values, values + channels, [](float value) { return value == 0.0f; });
  };
  // Row by row, so that float suffices within a row.
  for (int y = 0; y < map->height; ++y) {
    std::fill(row_sum.begin(), row_sum.end(), 0.0f);
    for (int x = 0; x < map->width; ++x) {
      const float* values = map->Descriptor(x, y);
      num_descriptors += !is_zero(values);
      AddTo(values, channels, row_sum.data());
    }
    for (int c = 0; c < channels; ++c) sum[c] += row_sum[c];
  }
  if (num_descriptors == 0) return;
  std::vector<float> mean(channels);
  for (int c = 0; c < channels; ++c) {
    mean[c] = static_cast<float>(sum[c] / num_descriptors);
  }
  for (size_t i = 0; i < map->data.size(); i += channels) {
    float* values = &map->data[i];
    if (!is_zero(values)) {
      SubtractAndNormalize(mean.data(), channels, values);
    }
  }
}

class DenseSift : public FeatureExtractor {
 public:
  explicit DenseSift(const DenseSiftOptions& options) : options_(options) {
    int level = -1;
    double sigma = 0.0;
    for (const DenseSiftRing& ring : options_.rings) {
      if (ring.sigma > sigma) {
        ++level;
        sigma = ring.sigma;
        sigmas_.push_back(sigma);
      }
      for (int i = 0; i < ring.segments; ++i) {
        const double angle = 2.0 * M_PI * i / ring.segments;
        const double cells = ring.radius / options_.stride;
        samples_.push_back(
            {level,
             static_cast<int>(std::lround(cells * std::cos(angle))),
             static_cast<int>(std::lround(cells * std::sin(angle)))});
      }
    }
  }

  int Channels() const override { return options_.Channels(); }

  double Stride() const override { return options_.stride; }

  double MaxScale(int width, int height) const override {
    return static_cast<double>(options_.max_image_size) /
           std::max(width, height);
  }

  FeatureMap Extract(const Image& image, double scale) const override {
    const cv::Size size(static_cast<int>(std::lround(scale * image.width)),
                        static_cast<int>(std::lround(scale * image.height)));
    const int stride = options_.stride;
    CheckSize(image, size.width, size.height, stride);
    const cv::Mat seen = SeenImage(image, size);
    const std::vector<Histograms> levels = ComputeLevels(seen);
    FeatureMap map;
    map.channels = Channels();
    map.height = levels[0].height;
    map.width = levels[0].width;
    map.map_from_image = MapFromImage::FromStride(
        Eigen::Vector2d::Constant(stride),
        Eigen::Vector2d::Constant(0.5 * stride),
        {static_cast<double>(seen.cols) / image.width,
         static_cast<double>(seen.rows) / image.height});
    Describe(levels, &map);
    if (options_.center) CenterDescriptors(&map);
    return map;
  }

 private:
  // Luma in [0, 255], resized and blurred as the options say.
  cv::Mat SeenImage(const Image& image, const cv::Size& size) const {
    std::vector<float> gray = image.Gray();
    cv::Mat seen =
        255.0f * cv::Mat(image.height, image.width, CV_32F, gray.data());
    if (size != seen.size()) seen = Resized(seen, size);
    if (options_.blur_sigma > 0.0) {
      cv::GaussianBlur(seen,
                       seen,
                       cv::Size(),
                       options_.blur_sigma,
                       options_.blur_sigma,
                       cv::BORDER_REPLICATE);
    }
    return seen;
  }

  // Every level is smoothed from the one before, at the cells only.
  std::vector<Histograms> ComputeLevels(const cv::Mat& image) const {
    std::vector<Histograms> levels;
    levels.push_back(FirstLevel(image, sigmas_[0], options_.stride));
    for (size_t i = 1; i < sigmas_.size(); ++i) {
      const Histograms& last = levels.back();
      const double sigma =
          std::sqrt(sigmas_[i] * sigmas_[i] - sigmas_[i - 1] * sigmas_[i - 1]);
      Histograms next = Smooth([&last](int y) { return last.Row(y); },
                               last.height,
                               last.width,
                               sigma / options_.stride,
                               1);
      levels.push_back(std::move(next));
    }
    return levels;
  }

  void Describe(const std::vector<Histograms>& levels, FeatureMap* map) const {
    const size_t row_size = static_cast<size_t>(map->width) * map->channels;
    map->data.resize(map->height * row_size);
    std::vector<const float*> rows(samples_.size());
    for (int y = 0; y < map->height; ++y) {
      for (size_t s = 0; s < samples_.size(); ++s) {
        const int y_in = std::clamp(y + samples_[s].dy, 0, map->height - 1);
        rows[s] = levels[samples_[s].level].Row(y_in);
      }
      float* out = &map->data[y * row_size];
      GatherRow(samples_.data(),
                rows.data(),
                static_cast<int>(samples_.size()),
                map->width,
                out);
      NormalizeRow(map->width,
                   map->channels,
                   static_cast<float>(options_.min_gradient),
                   out);
    }
  }

  DenseSiftOptions options_;
  std::vector<double> sigmas_;   // of the levels, ascending
  std::vector<Sample> samples_;  // of a descriptor
};

}  // namespace

int DenseSiftOptions::Channels() const {
  int segments = 0;
  for (const DenseSiftRing& ring : rings) segments += ring.segments;
  return kBins * segments;
}

bool DenseSiftOptions::Check() const {
  if (max_image_size < 1 || stride < 1 || !(blur_sigma >= 0.0) ||
      !(min_gradient >= 0.0) || rings.empty()) {
    return false;
  }
  double sigma = 0.0;
  for (const DenseSiftRing& ring : rings) {
    if (!(ring.radius >= 0.0) || ring.segments < 1 || !(ring.sigma > 0.0) ||
        ring.sigma < sigma) {
      return false;
    }
    sigma = ring.sigma;
  }
  return true;
}

DenseSiftOptions DenseSiftOptions::Coarse() {
  DenseSiftOptions options;
  options.max_image_size = 512;
  options.stride = 4;
  options.rings = {{5.0, 4, 3.0}, {14.0, 8, 5.0}, {34.0, 8, 12.0}};
  return options;
}

DenseSiftOptions DenseSiftOptions::Fine() {
  DenseSiftOptions options;
  options.max_image_size = 1536;
  options.stride = 2;
  options.rings = {{2.0, 4, 1.0}, {6.0, 4, 2.0}, {13.0, 6, 5.0}};
  return options;
}

std::unique_ptr<FeatureExtractor> CreateDenseSift(
    const DenseSiftOptions& options) {
  if (!options.Check()) {
    throw InputError(
        "the options of the dense SIFT extractor are invalid: expected "
        "positive sizes and rings with ascending sigma");
  }
  return std::make_unique<DenseSift>(options);
}

}  // namespace nre
