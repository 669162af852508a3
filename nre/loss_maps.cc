#include "nre/loss_maps.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace nre {
namespace {

constexpr double kMinSigma = 0.5;
constexpr double kMaxSigma = 100.0;
constexpr double kRadiusInSigmas = 5.0;

// One axis of the separable Gaussian around p, at the cells [begin, end).
struct KernelAxis {
  // 2 * 5 * kMaxSigma + 1, rounded up.
  static constexpr int kMaxSize = 1024;

  int begin = 0;
  int end = 0;
  std::array<double, kMaxSize> k;  // exp(-d^2 / (2 sigma^2))
  std::array<double, kMaxSize> d;  // cell - p

  // Cells within 5 sigma of p, clipped to [lower, upper).
  KernelAxis(double p, double sigma, int lower, int upper) {
    const double radius = kRadiusInSigmas * sigma;
    // Compared as doubles: p may be far beyond the range of an int.
    begin = static_cast<int>(
        std::clamp<double>(std::ceil(p - radius), lower, upper));
    end = static_cast<int>(
        std::clamp<double>(std::floor(p + radius) + 1.0, begin, upper));
    // k(d + 1) = k(d) r(d) with r(d + 1) = r(d) q: three calls of exp for all.
    const double inverse = 1.0 / (sigma * sigma);
    const double d0 = begin - p;
    const double q = std::exp(-inverse);
    double value = std::exp(-0.5 * d0 * d0 * inverse);
    double ratio = std::exp(-(d0 + 0.5) * inverse);
    for (int i = 0; i < end - begin; ++i) {
      k[i] = value;
      d[i] = d0 + i;
      value *= ratio;
      ratio *= q;
    }
  }
};

// Sums of weight * k * {1, dx, dy, dx^2, dx dy, dy^2} over cells.
struct Moments {
  double m00 = 0.0, m10 = 0.0, m01 = 0.0, m20 = 0.0, m11 = 0.0, m02 = 0.0;

  void AddRow(double s0, double s1, double s2, double ky, double dy) {
    m00 += ky * s0;
    m10 += ky * s1;
    m20 += ky * s2;
    m01 += ky * dy * s0;
    m11 += ky * dy * s1;
    m02 += ky * dy * dy * s0;
  }

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

__attribute__((target_clones("arch=haswell", "default"))) void RowSums(
    const float* weights,
    const double* k,
    const double* d,
    int size,
    double* sums) {
  double s0 = 0.0, s1 = 0.0, s2 = 0.0;
#pragma omp simd reduction(+ : s0, s1, s2)
  for (int i = 0; i < size; ++i) {
    const double t = weights[i] * k[i];
    s0 += t;
    s1 += t * d[i];
    s2 += t * d[i] * d[i];
  }
  sums[0] = s0;
  sums[1] = s1;
  sums[2] = s2;
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

// Collects a Summary from the informative cells of a map.
class Summarizer {
 public:
  void Add(int x, int y, float weight) {
    const double relative = std::exp(weight);
    sum_ += relative;
    weighted_sum_ += relative * weight;
    ++num_cells_;
    if (weight > summary_.weight) {
      summary_.weight = weight;
      summary_.peak << x, y;
    }
  }

  // With C = exp(weight) / categories: -sum C ln C.
  LossMaps::Summary Finish(double log_categories) {
    const double categories = std::exp(log_categories);
    const double mass = sum_ / categories;
    summary_.entropy = mass * log_categories - weighted_sum_ / categories;
    const double rest = 1.0 - mass;
    const double num_rest = categories - num_cells_;
    if (rest > 0.0 && num_rest > 0.0) {
      summary_.entropy -= rest * std::log(rest / num_rest);
    }
    return summary_;
  }

 private:
  double sum_ = 0.0;
  double weighted_sum_ = 0.0;
  double num_cells_ = 0.0;
  LossMaps::Summary summary_;
};

}  // namespace

double LossMaps::Geometry::LogCategories() const {
  return std::log(1.0 + static_cast<double>(width) * height);
}

DenseLossMaps::DenseLossMaps(const Geometry& geometry,
                             int window_width,
                             int window_height,
                             std::vector<Eigen::Vector2i> origins)
    : LossMaps(geometry),
      window_width_(window_width),
      window_height_(window_height),
      origins_(std::move(origins)),
      weights_(origins_.size() * window_width * window_height, 0.0f) {}

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

SmoothedLoss DenseLossMaps::Smoothed(size_t point,
                                     const Eigen::Vector2d& p,
                                     double sigma,
                                     bool with_hessian) const {
  CheckSigma(sigma);
  if (!p.allFinite()) {
    return SmoothedLoss();
  }
  const Eigen::Vector2d local = p - origins_[point].cast<double>();
  const KernelAxis kx(local.x(), sigma, 0, window_width_);
  const KernelAxis ky(local.y(), sigma, 0, window_height_);
  const float* data = Data(point) + kx.begin;
  Moments moments;
  for (int y = ky.begin; y < ky.end; ++y) {
    double sums[3];
    RowSums(data + static_cast<size_t>(y) * window_width_,
            kx.k.data(),
            kx.d.data(),
            kx.end - kx.begin,
            sums);
    const int i = y - ky.begin;
    moments.AddRow(sums[0], sums[1], sums[2], ky.k[i], ky.d[i]);
  }
  return moments.ToLoss(sigma, with_hessian);
}

LossMaps::Summary DenseLossMaps::Summarize(size_t point) const {
  Summarizer summarizer;
  const float* cell = Data(point);
  const Eigen::Vector2i& origin = origins_[point];
  for (int y = 0; y < window_height_; ++y) {
    for (int x = 0; x < window_width_; ++x, ++cell) {
      if (*cell > 0.0f) {
        summarizer.Add(origin.x() + x, origin.y() + y, *cell);
      }
    }
  }
  return summarizer.Finish(geometry_.LogCategories());
}

SparseLossMaps::SparseLossMaps(const Geometry& geometry)
    : LossMaps(geometry), row_begins_(1, 0) {
  if (geometry.width > UINT16_MAX) {
    throw std::invalid_argument("A sparse loss map is at most 65535 wide.");
  }
}

void SparseLossMaps::AddPoint(const float* weights) {
  for (int y = 0; y < geometry_.height; ++y, weights += geometry_.width) {
    for (int x = 0; x < geometry_.width; ++x) {
      if (weights[x] > 0.0f) {
        xs_.push_back(static_cast<uint16_t>(x));
        weights_.push_back(weights[x]);
      }
    }
    row_begins_.push_back(static_cast<uint32_t>(xs_.size()));
  }
  ++num_points_;
}

size_t SparseLossMaps::NumCells(size_t point) const {
  const uint32_t* begins = RowBegins(point);
  return begins[geometry_.height] - begins[0];
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

SmoothedLoss SparseLossMaps::Smoothed(size_t point,
                                      const Eigen::Vector2d& p,
                                      double sigma,
                                      bool with_hessian) const {
  CheckSigma(sigma);
  if (!p.allFinite()) {
    return SmoothedLoss();
  }
  const KernelAxis kx(p.x(), sigma, 0, geometry_.width);
  const KernelAxis ky(p.y(), sigma, 0, geometry_.height);
  const uint32_t* begins = RowBegins(point);
  Moments moments;
  for (int y = ky.begin; y < ky.end; ++y) {
    double s0 = 0.0, s1 = 0.0, s2 = 0.0;
    const uint16_t* end = xs_.data() + begins[y + 1];
    const uint16_t* it =
        std::lower_bound(xs_.data() + begins[y], end, kx.begin);
    for (; it != end && *it < kx.end; ++it) {
      const int column = *it - kx.begin;
      const double t = weights_[it - xs_.data()] * kx.k[column];
      s0 += t;
      s1 += t * kx.d[column];
      s2 += t * kx.d[column] * kx.d[column];
    }
    moments.AddRow(s0, s1, s2, ky.k[y - ky.begin], ky.d[y - ky.begin]);
  }
  return moments.ToLoss(sigma, with_hessian);
}

LossMaps::Summary SparseLossMaps::Summarize(size_t point) const {
  Summarizer summarizer;
  const uint32_t* begins = RowBegins(point);
  for (int y = 0; y < geometry_.height; ++y) {
    for (uint32_t i = begins[y]; i < begins[y + 1]; ++i) {
      summarizer.Add(xs_[i], y, weights_[i]);
    }
  }
  return summarizer.Finish(geometry_.LogCategories());
}

}  // namespace nre
