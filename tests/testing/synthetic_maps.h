// Seeded loss maps and poses with known truth, and Eq. 9 as plain sums.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include <Eigen/Core>
#include <Eigen/Geometry>
#include <ceres/rotation.h>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/pose_estimator.h"
#include "nre/rigid3.h"

namespace nre {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  double Uniform(double lower, double upper) {
    return std::uniform_real_distribution<double>(lower, upper)(engine_);
  }
  double Normal(double stddev) {
    return std::normal_distribution<double>(0.0, stddev)(engine_);
  }
  Eigen::Vector2d Uniform2(double lower, double upper);
  Eigen::Vector3d Uniform3(double lower, double upper);
  Eigen::Vector2d Normal2(double stddev);
  Eigen::Vector3d Normal3(double stddev);
  Eigen::Quaterniond Rotation();  // uniform
  Rigid3d Pose();                 // translation within 10 of the origin

 private:
  std::mt19937_64 engine_;
};

// [exp(rotation vector), translation] * pose: the left perturbation that
// PoseEstimate's covariance speaks of.
Rigid3d PerturbLeft(const Eigen::Matrix<double, 6, 1>& perturbation,
                    const Rigid3d& pose);

// A pose that is off by an angle and a distance of the centre, both in random
// directions.
Rigid3d MoveAway(const Rigid3d& pose,
                 double angle_rad,
                 double distance,
                 Random* random);

// One loss map of the whole grid as the weights ln|Omega^| - L.
struct WeightMap {
  int width = 0;
  int height = 0;
  std::vector<float> weights;

  WeightMap(int width, int height)
      : width(width), height(height), weights(width * height, 0.0f) {}

  float& operator()(int x, int y) { return weights[y * width + x]; }
  // Beyond the border lies what costs ln|Omega^|.
  double At(int x, int y) const {
    const bool inside = x >= 0 && y >= 0 && x < width && y < height;
    return inside ? weights[y * width + x] : 0.0;
  }
  double LogCategories() const { return std::log1p(1.0 * width * height); }
};

// A share of the cells with weights of up to ln|Omega^|, without any shape.
WeightMap RandomWeights(int width, int height, double share, Random* random);

// The map of a matcher that puts a Gaussian of `stddev` cells on `mean`.
WeightMap GaussianWeights(int width,
                          int height,
                          const Eigen::Vector2d& mean,
                          double stddev);

// All of equal size.
DenseLossMaps ToDense(const std::vector<WeightMap>& maps,
                      const MapFromImage& map_from_image);
SparseLossMaps ToSparse(const std::vector<WeightMap>& maps,
                        const MapFromImage& map_from_image);

// The term of Eq. 9, -sum_q weight(q) k_sigma(|q - p|), over all cells. T is
// double or a ceres::Jet.
template <typename T>
T SmoothedEnergy(const WeightMap& map,
                 const Eigen::Matrix<T, 2, 1>& p,
                 double sigma) {
  using std::exp;
  const double variance = sigma * sigma;
  T sum(0.0);
  for (int y = 0; y < map.height; ++y) {
    for (int x = 0; x < map.width; ++x) {
      const double weight = map.At(x, y);
      if (weight > 0.0) {
        const T dx = p.x() - T(x);
        const T dy = p.y() - T(y);
        sum -= weight * exp((dx * dx + dy * dy) / (-2.0 * variance));
      }
    }
  }
  return sum / (2.0 * M_PI * variance);
}

// 3D points that a camera sees at known positions.
struct SyntheticQuery {
  static constexpr int kWidth = 640;
  static constexpr int kHeight = 480;
  static constexpr double kFocalLength = 500.0;

  PinholeCamera camera{kWidth,
                       kHeight,
                       kFocalLength,
                       1.1 * kFocalLength,
                       0.49 * kWidth,
                       0.52 * kHeight};
  Rigid3d cam_from_world;
  std::vector<Eigen::Vector3d> points;  // world
  std::vector<Eigen::Vector2d> xys;     // image

  // Points at depths of 3 to 10, at least `margin_px` within the image.
  SyntheticQuery(int num_points, double margin_px, Random* random);

  // Adds a point at a position of the image.
  void Add(const Eigen::Vector2d& xy, double depth);

  // What a matcher may see: the positions with noise and, with a probability
  // of `wrong_share`, anything.
  std::vector<Eigen::Vector2d> Observe(double noise_px,
                                       double wrong_share,
                                       Random* random) const;

  // Geometry of maps of the whole image.
  static LossMaps::Geometry MapGeometry(int stride);
};

// The Eq. 9 of all points in the left perturbation (rotation vector,
// translation) of a pose, by brute force, for automatic differentiation.
class BruteForceEq9 {
 public:
  BruteForceEq9(const SyntheticQuery& query,
                const std::vector<WeightMap>& maps,
                const MapFromImage& map_from_image,
                double sigma,
                const Rigid3d& pose);

  template <typename T>
  bool operator()(const T* perturbation, T* cost) const {
    *cost = T(0.0);
    for (size_t i = 0; i < maps_.size(); ++i) {
      T x[3];
      const T y[3] = {T(in_cam_[i].x()), T(in_cam_[i].y()), T(in_cam_[i].z())};
      ceres::AngleAxisRotatePoint(perturbation, y, x);
      for (int k = 0; k < 3; ++k) x[k] += perturbation[3 + k];
      if (!(x[2] > T(0.0))) continue;
      const Eigen::Matrix<T, 2, 1> p(
          scale_.x() * (focal_.x() * x[0] / x[2] + center_.x()) + offset_.x(),
          scale_.y() * (focal_.y() * x[1] / x[2] + center_.y()) + offset_.y());
      *cost += SmoothedEnergy<T>(maps_[i], p, sigma_);
    }
    return true;
  }

  // Value and gradient at a perturbation.
  double Evaluate(const Eigen::Matrix<double, 6, 1>& perturbation,
                  Eigen::Matrix<double, 6, 1>* gradient) const;

 private:
  std::vector<WeightMap> maps_;
  std::vector<Eigen::Vector3d> in_cam_;
  Eigen::Vector2d focal_, center_, scale_, offset_;
  double sigma_;
};

// Coarse maps and fine maps of a matcher that puts a Gaussian of `stddev_cells`
// on one position per point.
SparseLossMaps MakeCoarseMaps(const std::vector<Eigen::Vector2d>& xys,
                              int stride,
                              double stddev_cells);

class GaussianFineMaps : public FineMapSource {
 public:
  GaussianFineMaps(const std::vector<Eigen::Vector2d>& xys,
                   int stride,
                   double stddev_cells)
      : xys_(xys), stride_(stride), stddev_cells_(stddev_cells) {}

  std::unique_ptr<LossMaps> Compute(
      const std::vector<Eigen::Vector2d>& xy_image) const override;

 private:
  std::vector<Eigen::Vector2d> xys_;
  int stride_;
  double stddev_cells_;
};

}  // namespace nre
