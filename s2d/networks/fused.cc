#include "s2d/networks/fused.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "nre/vector_math.h"

namespace nre {
namespace {

using torch::Tensor;

constexpr int64_t kColors = 3;
constexpr auto kChannelsLast = torch::MemoryFormat::ChannelsLast;

// Where a pixel lies between two cells' centres.
struct Between {
  int64_t first, second;
  float share;  // of the second
};

Between BetweenCells(int64_t pixel, int64_t size, int64_t num_cells) {
  const double position = std::clamp(
      (pixel + 0.5) / static_cast<double>(size) - 0.5, 0.0, num_cells - 1.0);
  const auto first = static_cast<int64_t>(position);
  return {first,
          std::min(first + 1, num_cells - 1),
          static_cast<float>(position - static_cast<double>(first))};
}

std::vector<Between> AllBetween(int64_t size, int64_t num_cells) {
  std::vector<Between> all;
  for (int64_t i = 0; i < size * num_cells; ++i) {
    all.push_back(BetweenCells(i, size, num_cells));
  }
  return all;
}

// (1 - share) a + share b, as single precision.
template <typename T>
NRE_ALWAYS_INLINE void Mix(
    const T* a, const T* b, float share, int64_t num, float* mixed) {
  for (int64_t i = 0; i < num; ++i) {
    const float value = static_cast<float>(a[i]);
    mixed[i] = value + share * (static_cast<float>(b[i]) - value);
  }
}

NRE_VECTOR_CLONES void MixRows(
    const float* a, const float* b, float share, int64_t num, float* mixed) {
  Mix(a, b, share, num, mixed);
}

NRE_VECTOR_CLONES void MixRows(const at::BFloat16* a,
                               const at::BFloat16* b,
                               float share,
                               int64_t num,
                               float* mixed) {
  Mix(a, b, share, num, mixed);
}

// Rounds to the nearest, ties to even; nothing here is NaN but what was.
NRE_ALWAYS_INLINE at::BFloat16 Rounded(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  bits += 0x7fff + ((bits >> 16) & 1);
  return at::BFloat16(static_cast<uint16_t>(bits >> 16),
                      at::BFloat16::from_bits());
}
NRE_ALWAYS_INLINE void Store(float value, float* target) { *target = value; }
NRE_ALWAYS_INLINE void Store(float value, at::BFloat16* target) {
  *target = Rounded(value);
}

// A row of sum: two pixels lie between the same two cells.
template <typename T>
NRE_ALWAYS_INLINE void AddRow(const float* mixed,
                              int64_t width,
                              int64_t channels,
                              T* sum) {
  for (int64_t x = 0; x < 2 * width; ++x) {
    const int64_t near = x / 2;
    const int64_t far =
        std::clamp<int64_t>(x % 2 == 0 ? near - 1 : near + 1, 0, width - 1);
    const float* a = mixed + near * channels;
    const float* b = mixed + far * channels;
    T* pixel = sum + x * channels;
    for (int64_t c = 0; c < channels; ++c) {
      const float value =
          static_cast<float>(pixel[c]) + 0.75f * a[c] + 0.25f * b[c];
      Store(value > 0.0f ? value : 0.0f, &pixel[c]);
    }
  }
}

NRE_VECTOR_CLONES void AddMixed(const float* mixed,
                                int64_t width,
                                int64_t channels,
                                float* sum) {
  AddRow(mixed, width, channels, sum);
}

NRE_VECTOR_CLONES void AddMixed(const float* mixed,
                                int64_t width,
                                int64_t channels,
                                at::BFloat16* sum) {
  AddRow(mixed, width, channels, sum);
}

template <typename T>
void AddUpsampled(const Tensor& x, Tensor* sum) {
  const int64_t channels = x.size(1), height = x.size(2), width = x.size(3);
  const int64_t row = width * channels;
  std::vector<float> mixed(row);
  for (int64_t b = 0; b < x.size(0); ++b) {
    const T* from = x.data_ptr<T>() + b * height * row;
    T* to = sum->data_ptr<T>() + b * 4 * height * row;
    for (int64_t y = 0; y < 2 * height; ++y) {
      const Between between = BetweenCells(y, 2, height);
      MixRows(from + between.first * row,
              from + between.second * row,
              between.share,
              row,
              mixed.data());
      AddMixed(mixed.data(), width, channels, to + 2 * y * row);
    }
  }
}

// A row of pixels of C channels; shift and scale: of a row of cells.
template <typename T>
NRE_ALWAYS_INLINE void ShiftAndScaleRow(const float* pixels,
                                        const Between* between,
                                        int64_t width,
                                        int64_t channels,
                                        const float* shift,
                                        const float* scale,
                                        T* row) {
  for (int64_t x = 0; x < width; ++x) {
    const Between& cells = between[x];
    const float factor =
        scale[cells.first] +
        cells.share * (scale[cells.second] - scale[cells.first]);
    const float* a = shift + cells.first * channels;
    const float* b = shift + cells.second * channels;
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = x * channels + c;
      Store((pixels[i] - (a[c] + cells.share * (b[c] - a[c]))) * factor,
            &row[i]);
    }
  }
}

template <typename T>
void ShiftAndScaleAll(const Tensor& images,
                      const Tensor& shift,
                      const Tensor& scale,
                      int64_t size,
                      Tensor* result) {
  const int64_t channels = images.size(1);
  const int64_t height = images.size(2), width = images.size(3);
  const int64_t rows = shift.size(2), columns = shift.size(3);
  const std::vector<Between> between = AllBetween(size, columns);
  std::vector<float> shift_row(columns * channels), scale_row(columns);
  for (int64_t i = 0; i < images.size(0) * height; ++i) {
    const int64_t b = i / height;
    const Between vertically = BetweenCells(i % height, size, rows);
    const auto mix = [&](const Tensor& cells, std::vector<float>* row) {
      const auto num = static_cast<int64_t>(row->size());
      const float* data = cells.data_ptr<float>() + b * rows * num;
      MixRows(data + vertically.first * num,
              data + vertically.second * num,
              vertically.share,
              num,
              row->data());
    };
    mix(shift, &shift_row);
    mix(scale, &scale_row);
    ShiftAndScaleRow(images.data_ptr<float>() + i * width * channels,
                     between.data(),
                     width,
                     channels,
                     shift_row.data(),
                     scale_row.data(),
                     result->data_ptr<T>() + i * width * channels);
  }
}

// A row of pixels, to the sums of its cells.
void AddSums(const float* pixel,
             int64_t size,
             int64_t columns,
             double* values,
             double* squares) {
  for (int64_t column = 0; column < columns; ++column, values += kColors) {
    double red = 0.0, green = 0.0, blue = 0.0, square = 0.0;
    for (int64_t i = 0; i < size; ++i, pixel += kColors) {
      const double r = pixel[0], g = pixel[1], b = pixel[2];
      red += r;
      green += g;
      blue += b;
      square += r * r + g * g + b * b;
    }
    values[0] += red;
    values[1] += green;
    values[2] += blue;
    squares[column] += square;
  }
}

}  // namespace

CellSums SumCells(const Tensor& images, int64_t size) {
  TORCH_CHECK(images.size(1) == kColors, "expected three channels");
  const Tensor pixels = images.contiguous(kChannelsLast);
  const int64_t height = images.size(2), columns = images.size(3) / size;
  const auto zeros = [&](int64_t num) {
    return torch::zeros({images.size(0), height / size, columns, num},
                        torch::kFloat64);
  };
  const Tensor values = zeros(kColors), squares = zeros(1);
  const float* pixel = pixels.data_ptr<float>();
  for (int64_t i = 0; i < images.size(0) * height; ++i) {
    AddSums(pixel,
            size,
            columns,
            values.data_ptr<double>() + i / size * columns * kColors,
            squares.data_ptr<double>() + i / size * columns);
    pixel += columns * size * kColors;
  }
  return {values.permute({0, 3, 1, 2}), squares.permute({0, 3, 1, 2})};
}

Tensor ShiftAndScale(const Tensor& images,
                     const Tensor& shift,
                     const Tensor& scale,
                     int64_t size,
                     torch::Dtype dtype) {
  Tensor result = torch::empty(
      images.sizes(), torch::dtype(dtype).memory_format(kChannelsLast));
  const Tensor pixels = images.contiguous(kChannelsLast);
  const Tensor shifts = shift.contiguous(kChannelsLast);
  const Tensor scales = scale.contiguous();
  if (dtype == torch::kBFloat16) {
    ShiftAndScaleAll<at::BFloat16>(pixels, shifts, scales, size, &result);
  } else {
    ShiftAndScaleAll<float>(pixels, shifts, scales, size, &result);
  }
  return result;
}

void AddUpsampledAndRectify(const Tensor& x, Tensor* sum) {
  TORCH_CHECK(CanFuse(x) && CanFuse(*sum), "expected channels last, CPU");
  if (x.scalar_type() == torch::kBFloat16) {
    AddUpsampled<at::BFloat16>(x, sum);
  } else {
    AddUpsampled<float>(x, sum);
  }
}

bool CanFuse(const Tensor& x) {
  return !(torch::GradMode::is_enabled() && x.requires_grad()) &&
         x.device().is_cpu() && x.is_contiguous(kChannelsLast) &&
         (x.scalar_type() == torch::kFloat32 ||
          x.scalar_type() == torch::kBFloat16);
}

}  // namespace nre
