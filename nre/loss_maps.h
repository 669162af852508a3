// Loss maps L (Eq. 7) of all points of a query, stored flat, as the weights
// ln|Omega^| - L >= 0, and the two costs that read them: the bilinear NRE
// (Eq. 6) and its Gaussian-smoothed form (Eq. 9). Equations are those of
// Germain, Lepetit, Bourmaud, "Neural Reprojection Error", CVPR 2021.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <Eigen/Core>

#include "nre/map_from_image.h"

namespace nre {

// One term of Eq. 9 at a map position p, with w_q = weight(q) k_sigma /
// sigma^2.
struct SmoothedLoss {
  double value = 0.0;  // E(p) = -sum_q weight(q) k_sigma(|q - p|), <= 0
  double irls = 0.0;   // W = sum_q w_q = -E / sigma^2
  Eigen::Vector2d mean_shift = Eigen::Vector2d::Zero();  // q_mean - p
  Eigen::Matrix2d hessian = Eigen::Matrix2d::Zero();     // exact d2E / dp2

  // dE / dp.
  Eigen::Vector2d Gradient() const { return -irls * mean_shift; }
};

// The loss maps of N points. Map coordinates: cell (0, 0) of the whole map is
// centred on (0, 0). Everything that is not stored costs ln|Omega^|.
class LossMaps {
 public:
  // The whole map that |Omega^| = 1 + height * width speaks of, and where it
  // lies in the image.
  struct Geometry {
    int width = 0;
    int height = 0;
    MapFromImage map_from_image;

    double LogCategories() const;  // ln|Omega^|
  };

  explicit LossMaps(const Geometry& geometry) : geometry_(geometry) {}
  virtual ~LossMaps() = default;

  const Geometry& geometry() const { return geometry_; }

  virtual size_t NumPoints() const = 0;

  // Number of cells of one point's map that may be informative.
  virtual int CellsPerMap() const = 0;

  // Memory that the maps take.
  virtual size_t NumBytes() const = 0;

  // ln|Omega^| - L(p), L interpolated bilinearly as in Eq. 3 and 6, where a
  // missing neighbour costs ln|Omega^|. 0 for a non-finite or far position.
  virtual double Weight(size_t point, const Eigen::Vector2d& p) const = 0;

  // A dense copy of a map or a window, with zeros around it, to look up many
  // positions without a branch.
  struct Raster {
    Eigen::Vector2i origin;  // whole-map cell of the first cell
    int width = 0;
    int height = 0;
    // [height + 3, width + 3], row by row: one row and one column before the
    // first cell, two after the last.
    std::vector<float> weights;

    // Adds what Weight() returns for positions (xs[i], ys[i]), i < num, to
    // sums[i], up to the rounding of a float.
    void AddWeights(const double* xs,
                    const double* ys,
                    int num,
                    double* sums) const;
  };
  virtual void Rasterize(size_t point, Raster* raster) const = 0;

  // The point's term of Eq. 9, summed over the cells within 5 sigma, for
  // 0.5 <= sigma <= 100 cells (below, the sampled kernel no longer sums to
  // one; throws std::invalid_argument). Zero for a non-finite position. The
  // Hessian is only computed if asked for.
  virtual SmoothedLoss Smoothed(size_t point,
                                const Eigen::Vector2d& p,
                                double sigma,
                                bool with_hessian) const = 0;

  struct Summary {
    // The cell with the lowest loss and its weight ln|Omega^| - L; weight 0
    // for a map that is uninformative everywhere.
    Eigen::Vector2d peak = Eigen::Vector2d::Zero();
    double weight = 0.0;
    // Of the correspondence map, in nats, with the mass of the truncated cells
    // taken as uniform; ln|Omega^| for an uninformative map.
    double entropy = 0.0;
  };
  virtual Summary Summarize(size_t point) const = 0;

  // The same maps, but without information within `radius` cells (in x and in
  // y) of centers[point], which may lie anywhere or not be finite.
  virtual std::unique_ptr<LossMaps> Without(
      const std::vector<Eigen::Vector2d>& centers, double radius) const = 0;

 protected:
  Geometry geometry_;
};

// Windows of equal size, one per point, somewhere in the whole map (or all of
// it). For fine maps, where a good part of the window is informative.
class DenseLossMaps : public LossMaps {
 public:
  // All weights start at zero. `origins`: whole-map cell of each window's
  // first cell; a window may stick out of the map.
  DenseLossMaps(const Geometry& geometry,
                int window_width,
                int window_height,
                std::vector<Eigen::Vector2i> origins);

  int window_width() const { return window_width_; }
  int window_height() const { return window_height_; }
  const Eigen::Vector2i& Origin(size_t point) const { return origins_[point]; }

  // Weights of one point, [window_height, window_width], row by row; finite.
  float* Data(size_t point) { return &weights_[point * CellsPerMap()]; }
  const float* Data(size_t point) const {
    return &weights_[point * CellsPerMap()];
  }

  size_t NumPoints() const override { return origins_.size(); }
  int CellsPerMap() const override { return window_width_ * window_height_; }
  size_t NumBytes() const override;
  double Weight(size_t point, const Eigen::Vector2d& p) const override;
  void Rasterize(size_t point, Raster* raster) const override;
  SmoothedLoss Smoothed(size_t point,
                        const Eigen::Vector2d& p,
                        double sigma,
                        bool with_hessian) const override;
  Summary Summarize(size_t point) const override;
  std::unique_ptr<LossMaps> Without(const std::vector<Eigen::Vector2d>& centers,
                                    double radius) const override;

 private:
  int window_width_;
  int window_height_;
  std::vector<Eigen::Vector2i> origins_;
  std::vector<float> weights_;  // [N, window_height, window_width]
};

// Only the cells with L < ln|Omega^|, row by row. For coarse maps, where few
// cells of a large map are informative: all points of a query fit the cache.
class SparseLossMaps : public LossMaps {
 public:
  explicit SparseLossMaps(const Geometry& geometry);

  // Appends the map of the next point: weights of the whole map, [height,
  // width], row by row; cells with weight <= 0 are dropped.
  void AddPoint(const float* weights);

  // Number of cells that are kept for a point.
  size_t NumCells(size_t point) const;

  size_t NumPoints() const override { return num_points_; }
  int CellsPerMap() const override {
    return geometry_.width * geometry_.height;
  }
  size_t NumBytes() const override;
  double Weight(size_t point, const Eigen::Vector2d& p) const override;
  void Rasterize(size_t point, Raster* raster) const override;
  SmoothedLoss Smoothed(size_t point,
                        const Eigen::Vector2d& p,
                        double sigma,
                        bool with_hessian) const override;
  Summary Summarize(size_t point) const override;
  std::unique_ptr<LossMaps> Without(const std::vector<Eigen::Vector2d>& centers,
                                    double radius) const override;

 private:
  // The cells of row y of a point are [RowBegin(y), RowBegin(y + 1)).
  const uint32_t* RowBegins(size_t point) const {
    return &row_begins_[point * geometry_.height];
  }

  size_t num_points_ = 0;
  std::vector<uint32_t> row_begins_;  // [N * height + 1], into the cells
  std::vector<uint16_t> xs_;          // ascending within a row
  std::vector<float> weights_;
};

}  // namespace nre
