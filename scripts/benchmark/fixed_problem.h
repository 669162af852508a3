// The problem on which the estimator's speed is measured: generated, with a
// fixed seed, and hard enough to need all of its steps.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "nre/loss_maps.h"
#include "nre/rigid3.h"
#include "tests/testing/synthetic_maps.h"

namespace nre {

// 1000 points, 60 % of them with maps that are wrong throughout.
struct FixedProblem {
  SyntheticQuery query;
  // Of 80 x 60 cells of 8 pixels: a Gaussian of 1.2 cells on one position, 57
  // informative cells each.
  SparseLossMaps peaked;
  // The same over noise in half of all cells, 2400 each.
  SparseLossMaps noisy;
  // Windows of 64 x 64 cells of 2 pixels around the truth: a Gaussian of 1.5
  // cells over noise in half of the cells.
  std::unique_ptr<DenseLossMaps> fine;
  // Where refinement starts: off by about two coarse cells, or six fine ones.
  Rigid3d coarse_start;
  Rigid3d fine_start;
};

FixedProblem MakeFixedProblem();

// Passes everything on to other maps, and counts what Smoothed() has to do.
class CountingMaps : public LossMaps {
 public:
  explicit CountingMaps(const LossMaps& maps);

  size_t NumPoints() const override { return maps_.NumPoints(); }
  int CellsPerMap() const override { return maps_.CellsPerMap(); }
  size_t NumBytes() const override { return maps_.NumBytes(); }
  double Weight(size_t point, const Eigen::Vector2d& p) const override {
    return maps_.Weight(point, p);
  }
  void Rasterize(size_t point, Raster* raster) const override {
    maps_.Rasterize(point, raster);
  }
  Summary Summarize(size_t point) const override {
    return maps_.Summarize(point);
  }
  std::unique_ptr<LossMaps> Without(const std::vector<Eigen::Vector2d>& centers,
                                    double radius) const override {
    return maps_.Without(centers, radius);
  }
  SmoothedLoss Smoothed(size_t point,
                        const Eigen::Vector2d& p,
                        double sigma,
                        bool with_hessian) const override;

  // Since the beginning.
  size_t num_calls() const { return num_calls_; }
  // Cells within 5 sigma that a map keeps.
  size_t num_cells() const { return num_cells_; }
  // Values of the two axes of the kernel: calls of exp.
  size_t num_exps() const { return num_exps_; }

 private:
  const LossMaps& maps_;
  mutable Raster raster_;
  mutable size_t num_calls_ = 0;
  mutable size_t num_cells_ = 0;
  mutable size_t num_exps_ = 0;
};

}  // namespace nre
