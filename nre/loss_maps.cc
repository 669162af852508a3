#include "nre/loss_maps.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "nre/vector_math.h"

namespace nre {
namespace {

constexpr double kMinSigma = 0.5;
constexpr double kMaxSigma = 100.0;
constexpr double kRadiusInSigmas = 5.0;

// One axis of the separable Gaussian around p, at the cells [begin, end): as
// many calls of exp as a row and a column have cells, not as the map has.
struct KernelAxis {
  // 2 * 5 * kMaxSigma + 1, rounded up to whole vectors.
  static constexpr int kMaxSize = 1008;

  int begin = 0;
  int end = 0;
  // From `begin` on; zero beyond `end`, up to a whole vector.
  alignas(64) double k[kMaxSize];    // exp(-d^2 / (2 sigma^2))
  alignas(64) double kd[kMaxSize];   // times d = cell - p
  alignas(64) double kdd[kMaxSize];  // times d^2
};

// Cells within 5 sigma of p, clipped to [0, size).
NRE_ALWAYS_INLINE void FillAxis(double p,
                                double sigma,
                                int size,
                                KernelAxis* axis) {
  const double radius = kRadiusInSigmas * sigma;
  // Compared as doubles: p may be far beyond the range of an int.
  axis->begin =
      static_cast<int>(std::clamp<double>(std::ceil(p - radius), 0.0, size));
  axis->end = static_cast<int>(
      std::clamp<double>(std::floor(p + radius) + 1.0, axis->begin, size));
  const double factor = -0.5 / (sigma * sigma);
  Double8 d =
      Double8{0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0} + (axis->begin - p);
  for (int i = 0; i < axis->end - axis->begin; i += kVectorSize) {
    const Double8 exponent = factor * d * d;
    Double8 k;
    Exp(exponent, &k);
    const Double8 kd = k * d;
    Store(k, axis->k + i);
    Store(kd, axis->kd + i);
    Store(kd * d, axis->kdd + i);
    d += 8.0;
  }
  for (int i = axis->end - axis->begin; i % kVectorSize != 0; ++i) {
    axis->k[i] = axis->kd[i] = axis->kdd[i] = 0.0;
  }
}

// Sums of weight * k * {1, dx, dy, dx^2, dx dy, dy^2} over cells.
struct Moments {
  double m00 = 0.0, m10 = 0.0, m01 = 0.0, m20 = 0.0, m11 = 0.0, m02 = 0.0;

  SmoothedLoss ToLoss(double sigma, bool with_hessian) const {
    SmoothedLoss loss;
    if (!(m00 > 0.0)) {
      return loss;
    }
    const double variance = sigma * sigma;
    const double norm = 1.0 / (2.0 * M_PI * variance);
    loss.value = -norm * m00;
    loss.irls = norm * m00 / variance;
    loss.mean_shift << m10 / m00, m01 / m00;
    if (with_hessian) {
      loss.hessian << m00 - m20 / variance, -m11 / variance,  //
          -m11 / variance, m00 - m02 / variance;
      loss.hessian *= norm / variance;
    }
    return loss;
  }
};

// Adds the moments of kNum vectors of columns, side by side to hide the latency
// of the sums down the columns.
template <int kNum>
NRE_ALWAYS_INLINE void AddColumns(const float* cells,
                                  int row_stride,
                                  const KernelAxis& kx,
                                  const KernelAxis& ky,
                                  int column,
                                  Double8* moments) {
  Double8 s0[kNum] = {}, s1[kNum] = {}, s2[kNum] = {};
  const float* row = cells + column;
  for (int i = 0; i < ky.end - ky.begin; ++i, row += row_stride) {
    for (int v = 0; v < kNum; ++v) {
      Double8 weights;
      LoadFloats(row + v * kVectorSize, &weights);
      s0[v] += weights * ky.k[i];
      s1[v] += weights * ky.kd[i];
      s2[v] += weights * ky.kdd[i];
    }
  }
  for (int v = 0; v < kNum; ++v, column += kVectorSize) {
    Double8 k, kd, kdd;
    Load(kx.k + column, &k);
    Load(kx.kd + column, &kd);
    Load(kx.kdd + column, &kdd);
    moments[0] += k * s0[v];
    moments[1] += kd * s0[v];
    moments[2] += k * s1[v];
    moments[3] += kdd * s0[v];
    moments[4] += kd * s1[v];
    moments[5] += k * s2[v];
  }
}

// Moments of a dense window around a position in it. Reads its rows up to the
// end of a whole vector.
NRE_VECTOR_CLONES void DenseMoments(const float* window,
                                    int width,
                                    int height,
                                    double x,
                                    double y,
                                    double sigma,
                                    Moments* result) {
  KernelAxis kx, ky;
  FillAxis(x, sigma, width, &kx);
  FillAxis(y, sigma, height, &ky);
  const float* const cells =
      window + static_cast<size_t>(ky.begin) * width + kx.begin;
  const int num_columns = kx.end - kx.begin;
  Double8 moments[6] = {};
  int column = 0;
  for (; column + 3 * kVectorSize < num_columns; column += 4 * kVectorSize) {
    AddColumns<4>(cells, width, kx, ky, column, moments);
  }
  for (; column < num_columns; column += kVectorSize) {
    AddColumns<1>(cells, width, kx, ky, column, moments);
  }
  *result = {Sum(moments[0]),
             Sum(moments[1]),
             Sum(moments[2]),
             Sum(moments[3]),
             Sum(moments[4]),
             Sum(moments[5])};
}

// The same of a sparse map; the cells of row y are [row_begins[y],
// row_begins[y + 1]).
NRE_VECTOR_CLONES void SparseMoments(const uint32_t* row_begins,
                                     const uint16_t* xs,
                                     const float* weights,
                                     int width,
                                     int height,
                                     double x,
                                     double y,
                                     double sigma,
                                     Moments* result) {
  KernelAxis kx, ky;
  FillAxis(x, sigma, width, &kx);
  FillAxis(y, sigma, height, &ky);
  Moments& m = *result;
  for (int row = ky.begin; row < ky.end; ++row) {
    const uint16_t* end = xs + row_begins[row + 1];
    const uint16_t* it = xs + row_begins[row];
    if (it == end) {
      continue;
    }
    it = std::lower_bound(it, end, kx.begin);
    double s0 = 0.0, s1 = 0.0, s2 = 0.0;
    for (; it != end && *it < kx.end; ++it) {
      const int column = *it - kx.begin;
      const double weight = weights[it - xs];
      s0 += weight * kx.k[column];
      s1 += weight * kx.kd[column];
      s2 += weight * kx.kdd[column];
    }
    const int i = row - ky.begin;
    m.m00 += ky.k[i] * s0;
    m.m10 += ky.k[i] * s1;
    m.m20 += ky.k[i] * s2;
    m.m01 += ky.kd[i] * s0;
    m.m11 += ky.kd[i] * s1;
    m.m02 += ky.kdd[i] * s0;
  }
}

void CheckSigma(double sigma) {
  if (!(sigma >= kMinSigma && sigma <= kMaxSigma)) {
    throw std::invalid_argument(
        "The sigma of Eq. 9 must lie in [0.5, 100] "
        "map cells.");
  }
}

// Splits a position into its floor and fraction; false if it is not within
// one cell of [0, size).
bool SplitPosition(double p, int size, int* cell, double* fraction) {
  if (!(p > -1.0 && p < size)) {
    return false;
  }
  const double floor = std::floor(p);
  *cell = static_cast<int>(floor);
  *fraction = p - floor;
  return true;
}

// Whether a cell lies within `radius` of a position; false if that is not
// finite.
bool IsNear(int cell, double p, double radius) {
  return std::abs(cell - p) <= radius;
}

// Raster::AddWeights() for positions relative to the raster's origin.
NRE_VECTOR_CLONES void Interpolate(const float* weights,
                                   int width,
                                   int height,
                                   double x_origin,
                                   double y_origin,
                                   const double* xs,
                                   const double* ys,
                                   int num,
                                   double* sums) {
  const int stride = width + 3;
  const double x_end = width + 1.0;
  const double y_end = height + 1.0;
#pragma omp simd
  for (int i = 0; i < num; ++i) {
    // Positions in the padded raster; what lies beyond, and NaN, is moved to
    // the zeros around it.
    double x = xs[i] - x_origin;
    double y = ys[i] - y_origin;
    x = x > 0.0 ? x : 0.0;
    y = y > 0.0 ? y : 0.0;
    x = x < x_end ? x : x_end;
    y = y < y_end ? y : y_end;
    const int column = static_cast<int>(x);
    const int row = static_cast<int>(y);
    const float fx = static_cast<float>(x - column);
    const float fy = static_cast<float>(y - row);
    const int cell = row * stride + column;
    const float top = weights[cell] + fx * (weights[cell + 1] - weights[cell]);
    const float bottom =
        weights[cell + stride] +
        fx * (weights[cell + stride + 1] - weights[cell + stride]);
    sums[i] += top + fy * (bottom - top);
  }
}

// What a Summary needs to know of the weights of a map.
struct WeightSums {
  float maximum = 0.0f;
  size_t num_informative = 0;  // cells with a positive weight w
  double sum = 0.0;            // of exp(w), over these
  double weighted_sum = 0.0;   // of w exp(w)

  // With C = exp(w) / categories: -sum C ln C.
  double Entropy(double log_categories) const {
    const double categories = std::exp(log_categories);
    const double mass = sum / categories;
    double entropy = mass * log_categories - weighted_sum / categories;
    const double rest = 1.0 - mass;
    const double num_rest = categories - num_informative;
    if (rest > 0.0 && num_rest > 0.0) {
      entropy -= rest * std::log(rest / num_rest);
    }
    return entropy;
  }
};

NRE_VECTOR_CLONES void SumWeights(const float* weights,
                                  size_t size,
                                  WeightSums* result) {
  constexpr size_t kBlockSize = 8 * kVectorSize;
  alignas(64) float block[kBlockSize];
  Double8 sum{}, weighted_sum{};
  float maximum = 0.0f;
  size_t num_informative = 0;
  for (size_t begin = 0; begin < size; begin += kBlockSize) {
    const size_t num = std::min(kBlockSize, size - begin);
    int num_positive = 0;
#pragma omp simd reduction(max : maximum) reduction(+ : num_positive)
    for (size_t i = 0; i < num; ++i) {
      const float weight = weights[begin + i];
      block[i] = weight > 0.0f ? weight : 0.0f;
      num_positive += weight > 0.0f;
      maximum = weight > maximum ? weight : maximum;
    }
    std::fill(block + num, block + kBlockSize, 0.0f);
    num_informative += num_positive;
    for (size_t i = 0; i < kBlockSize; i += kVectorSize) {
      Double8 weight, relative;
      LoadFloats(block + i, &weight);
      Exp(weight, &relative);
      sum += relative - 1.0;  // nothing for a weight of zero
      weighted_sum += relative * weight;
    }
  }
  result->maximum = maximum;
  result->num_informative = num_informative;
  result->sum = Sum(sum) + num_informative;
  result->weighted_sum = Sum(weighted_sum);
}

}  // namespace

double LossMaps::Geometry::LogCategories() const {
  return std::log(1.0 + static_cast<double>(width) * height);
}

void LossMaps::Raster::AddWeights(const double* xs,
                                  const double* ys,
                                  int num,
                                  double* sums) const {
  Interpolate(weights.data(),
              width,
              height,
              origin.x() - 1.0,
              origin.y() - 1.0,
              xs,
              ys,
              num,
              sums);
}

DenseLossMaps::DenseLossMaps(const Geometry& geometry,
                             int window_width,
                             int window_height,
                             std::vector<Eigen::Vector2i> origins)
    : LossMaps(geometry),
      window_width_(window_width),
      window_height_(window_height),
      origins_(std::move(origins)),
      // Sums read whole vectors.
      weights_(origins_.size() * window_width * window_height + kVectorSize,
               0.0f) {}

size_t DenseLossMaps::NumBytes() const {
  return origins_.capacity() * sizeof(origins_[0]) +
         weights_.capacity() * sizeof(weights_[0]);
}

double DenseLossMaps::Weight(size_t point, const Eigen::Vector2d& p) const {
  const Eigen::Vector2i& origin = origins_[point];
  int x, y;
  double fx, fy;
  if (!SplitPosition(p.x() - origin.x(), window_width_, &x, &fx) ||
      !SplitPosition(p.y() - origin.y(), window_height_, &y, &fy)) {
    return 0.0;
  }
  const float* data = Data(point);
  const auto row = [&](int row_y) {
    if (row_y < 0 || row_y >= window_height_) {
      return 0.0;
    }
    const float* cells = data + static_cast<size_t>(row_y) * window_width_;
    const double left = x >= 0 ? cells[x] : 0.0;
    const double right = x + 1 < window_width_ ? cells[x + 1] : 0.0;
    return (1.0 - fx) * left + fx * right;
  };
  return (1.0 - fy) * row(y) + fy * row(y + 1);
}

void DenseLossMaps::Rasterize(size_t point, Raster* raster) const {
  raster->origin = origins_[point];
  raster->width = window_width_;
  raster->height = window_height_;
  const int stride = window_width_ + 3;
  raster->weights.assign(static_cast<size_t>(stride) * (window_height_ + 3),
                         0.0f);
  for (int y = 0; y < window_height_; ++y) {
    const float* row = Data(point) + static_cast<size_t>(y) * window_width_;
    std::copy(row,
              row + window_width_,
              &raster->weights[static_cast<size_t>(y + 1) * stride + 1]);
  }
}

SmoothedLoss DenseLossMaps::Smoothed(size_t point,
                                     const Eigen::Vector2d& p,
                                     double sigma,
                                     bool with_hessian) const {
  CheckSigma(sigma);
  if (!p.allFinite()) {
    return SmoothedLoss();
  }
  const Eigen::Vector2d local = p - origins_[point].cast<double>();
  Moments moments;
  DenseMoments(Data(point),
               window_width_,
               window_height_,
               local.x(),
               local.y(),
               sigma,
               &moments);
  return moments.ToLoss(sigma, with_hessian);
}

LossMaps::Summary DenseLossMaps::Summarize(size_t point) const {
  const float* weights = Data(point);
  WeightSums sums;
  SumWeights(weights, CellsPerMap(), &sums);
  Summary summary;
  summary.entropy = sums.Entropy(geometry_.LogCategories());
  if (sums.maximum > 0.0f) {
    const int peak = static_cast<int>(
        std::find(weights, weights + CellsPerMap(), sums.maximum) - weights);
    summary.weight = sums.maximum;
    summary.peak << origins_[point].x() + peak % window_width_,
        origins_[point].y() + peak / window_width_;
  }
  return summary;
}

std::unique_ptr<LossMaps> DenseLossMaps::Without(
    const std::vector<Eigen::Vector2d>& centers, double radius) const {
  auto maps = std::make_unique<DenseLossMaps>(*this);
  for (size_t i = 0; i < NumPoints(); ++i) {
    const Eigen::Vector2d center = centers[i] - origins_[i].cast<double>();
    float* cell = maps->Data(i);
    for (int y = 0; y < window_height_; ++y) {
      for (int x = 0; x < window_width_; ++x, ++cell) {
        if (IsNear(x, center.x(), radius) && IsNear(y, center.y(), radius)) {
          *cell = 0.0f;
        }
      }
    }
  }
  return maps;
}

SparseLossMaps::SparseLossMaps(const Geometry& geometry)
    : LossMaps(geometry), row_begins_(1, 0) {
  if (geometry.width > UINT16_MAX) {
    throw std::invalid_argument("A sparse loss map is at most 65535 wide.");
  }
}

void SparseLossMaps::AddPoint(const float* weights) {
  // The informative cells of a row, gathered without a branch: which ones are
  // cannot be predicted.
  std::vector<uint16_t> xs(geometry_.width);
  std::vector<float> kept(geometry_.width);
  for (int y = 0; y < geometry_.height; ++y, weights += geometry_.width) {
    int num = 0;
    for (int x = 0; x < geometry_.width; ++x) {
      xs[num] = static_cast<uint16_t>(x);
      kept[num] = weights[x];
      num += weights[x] > 0.0f;
    }
    xs_.insert(xs_.end(), xs.begin(), xs.begin() + num);
    weights_.insert(weights_.end(), kept.begin(), kept.begin() + num);
    row_begins_.push_back(static_cast<uint32_t>(xs_.size()));
  }
  ++num_points_;
}

size_t SparseLossMaps::NumCells(size_t point) const {
  const uint32_t* begins = RowBegins(point);
  return begins[geometry_.height] - begins[0];
}

size_t SparseLossMaps::NumBytes() const {
  return row_begins_.capacity() * sizeof(row_begins_[0]) +
         xs_.capacity() * sizeof(xs_[0]) +
         weights_.capacity() * sizeof(weights_[0]);
}

double SparseLossMaps::Weight(size_t point, const Eigen::Vector2d& p) const {
  int x, y;
  double fx, fy;
  if (!SplitPosition(p.x(), geometry_.width, &x, &fx) ||
      !SplitPosition(p.y(), geometry_.height, &y, &fy)) {
    return 0.0;
  }
  const uint32_t* begins = RowBegins(point);
  const auto row = [&](int row_y) {
    if (row_y < 0 || row_y >= geometry_.height) {
      return 0.0;
    }
    const uint16_t* end = xs_.data() + begins[row_y + 1];
    const uint16_t* it = std::lower_bound(xs_.data() + begins[row_y], end, x);
    double sum = 0.0;
    for (; it != end && *it <= x + 1; ++it) {
      sum += (*it == x ? 1.0 - fx : fx) * weights_[it - xs_.data()];
    }
    return sum;
  };
  return (1.0 - fy) * row(y) + fy * row(y + 1);
}

void SparseLossMaps::Rasterize(size_t point, Raster* raster) const {
  raster->origin.setZero();
  raster->width = geometry_.width;
  raster->height = geometry_.height;
  const int stride = geometry_.width + 3;
  raster->weights.assign(static_cast<size_t>(stride) * (geometry_.height + 3),
                         0.0f);
  const uint32_t* begins = RowBegins(point);
  for (int y = 0; y < geometry_.height; ++y) {
    float* row = &raster->weights[static_cast<size_t>(y + 1) * stride + 1];
    for (uint32_t i = begins[y]; i < begins[y + 1]; ++i) {
      row[xs_[i]] = weights_[i];
    }
  }
}

SmoothedLoss SparseLossMaps::Smoothed(size_t point,
                                      const Eigen::Vector2d& p,
                                      double sigma,
                                      bool with_hessian) const {
  CheckSigma(sigma);
  if (!p.allFinite()) {
    return SmoothedLoss();
  }
  Moments moments;
  SparseMoments(RowBegins(point),
                xs_.data(),
                weights_.data(),
                geometry_.width,
                geometry_.height,
                p.x(),
                p.y(),
                sigma,
                &moments);
  return moments.ToLoss(sigma, with_hessian);
}

LossMaps::Summary SparseLossMaps::Summarize(size_t point) const {
  const uint32_t* begins = RowBegins(point);
  const uint32_t* ends = begins + geometry_.height;
  WeightSums sums;
  SumWeights(weights_.data() + *begins, *ends - *begins, &sums);
  Summary summary;
  summary.entropy = sums.Entropy(geometry_.LogCategories());
  if (sums.maximum > 0.0f) {
    const auto begin = weights_.begin();
    const uint32_t peak = static_cast<uint32_t>(
        std::find(begin + *begins, begin + *ends, sums.maximum) - begin);
    summary.weight = sums.maximum;
    summary.peak << xs_[peak],
        std::upper_bound(begins, ends, peak) - begins - 1;
  }
  return summary;
}

std::unique_ptr<LossMaps> SparseLossMaps::Without(
    const std::vector<Eigen::Vector2d>& centers, double radius) const {
  auto maps = std::make_unique<SparseLossMaps>(geometry_);
  maps->row_begins_.reserve(row_begins_.size());
  maps->xs_.reserve(xs_.size());
  maps->weights_.reserve(weights_.size());
  for (size_t i = 0; i < num_points_; ++i) {
    const uint32_t* begins = RowBegins(i);
    for (int y = 0; y < geometry_.height; ++y) {
      const bool near_row = IsNear(y, centers[i].y(), radius);
      for (uint32_t k = begins[y]; k < begins[y + 1]; ++k) {
        if (!near_row || !IsNear(xs_[k], centers[i].x(), radius)) {
          maps->xs_.push_back(xs_[k]);
          maps->weights_.push_back(weights_[k]);
        }
      }
      maps->row_begins_.push_back(static_cast<uint32_t>(maps->xs_.size()));
    }
  }
  maps->num_points_ = num_points_;
  return maps;
}

}  // namespace nre
