#include "tests/testing/synthetic_maps.h"

#include <algorithm>

#include <ceres/autodiff_first_order_function.h>

namespace nre {
namespace {

// ln|Omega^| + ln of a Gaussian density, truncated at zero.
class GaussianWeight {
 public:
  GaussianWeight(const Eigen::Vector2d& mean,
                 double stddev,
                 double log_categories)
      : mean_(mean),
        factor_(-0.5 / (stddev * stddev)),
        peak_(log_categories - std::log(2.0 * M_PI * stddev * stddev)) {}

  float operator()(int x, int y) const {
    const double squared_distance =
        (Eigen::Vector2d(x, y) - mean_).squaredNorm();
    return static_cast<float>(
        std::max(0.0, peak_ + factor_ * squared_distance));
  }

 private:
  Eigen::Vector2d mean_;
  double factor_;
  double peak_;
};

}  // namespace

Eigen::Vector2d Random::Uniform2(double lower, double upper) {
  const double x = Uniform(lower, upper);
  return {x, Uniform(lower, upper)};
}

Eigen::Vector3d Random::Uniform3(double lower, double upper) {
  const Eigen::Vector2d xy = Uniform2(lower, upper);
  return {xy.x(), xy.y(), Uniform(lower, upper)};
}

Eigen::Vector2d Random::Normal2(double stddev) {
  const double x = Normal(stddev);
  return {x, Normal(stddev)};
}

Eigen::Vector3d Random::Normal3(double stddev) {
  const Eigen::Vector2d xy = Normal2(stddev);
  return {xy.x(), xy.y(), Normal(stddev)};
}

Eigen::Quaterniond Random::Rotation() {
  const Eigen::Vector3d v = Normal3(1.0);
  return Eigen::Quaterniond(Normal(1.0), v.x(), v.y(), v.z()).normalized();
}

Rigid3d Random::Pose() {
  const Eigen::Quaterniond rotation = Rotation();
  return {rotation, Uniform3(-10.0, 10.0)};
}

Rigid3d PerturbLeft(const Eigen::Matrix<double, 6, 1>& perturbation,
                    const Rigid3d& pose) {
  const Eigen::Vector3d w = perturbation.head<3>();
  const double angle = w.norm();
  const Eigen::Vector3d axis =
      angle > 0.0 ? Eigen::Vector3d(w / angle) : Eigen::Vector3d::UnitX();
  const Eigen::Quaterniond rotation(Eigen::AngleAxisd(angle, axis));
  return Rigid3d{rotation, perturbation.tail<3>()} * pose;
}

Rigid3d MoveAway(const Rigid3d& pose,
                 double angle_rad,
                 double distance,
                 Random* random) {
  Eigen::Matrix<double, 6, 1> perturbation;
  perturbation << angle_rad * random->Normal3(1.0).normalized(),
      distance * random->Normal3(1.0).normalized();
  return PerturbLeft(perturbation, pose);
}

WeightMap RandomWeights(int width, int height, double share, Random* random) {
  WeightMap map(width, height);
  for (float& weight : map.weights) {
    if (random->Uniform(0.0, 1.0) < share) {
      weight = static_cast<float>(random->Uniform(0.0, map.LogCategories()));
    }
  }
  return map;
}

WeightMap GaussianWeights(int width,
                          int height,
                          const Eigen::Vector2d& mean,
                          double stddev) {
  WeightMap map(width, height);
  const GaussianWeight weight(mean, stddev, map.LogCategories());
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) map(x, y) = weight(x, y);
  }
  return map;
}

DenseLossMaps ToDense(const std::vector<WeightMap>& maps,
                      const MapFromImage& map_from_image) {
  const int width = maps.front().width;
  const int height = maps.front().height;
  DenseLossMaps result(
      {width, height, map_from_image},
      width,
      height,
      std::vector<Eigen::Vector2i>(maps.size(), Eigen::Vector2i::Zero()));
  for (size_t i = 0; i < maps.size(); ++i) {
    std::copy(maps[i].weights.begin(), maps[i].weights.end(), result.Data(i));
  }
  return result;
}

SparseLossMaps ToSparse(const std::vector<WeightMap>& maps,
                        const MapFromImage& map_from_image) {
  SparseLossMaps result(
      {maps.front().width, maps.front().height, map_from_image});
  for (const WeightMap& map : maps) result.AddPoint(map.weights.data());
  return result;
}

SyntheticQuery::SyntheticQuery(int num_points, double margin_px, Random* random)
    : cam_from_world(random->Pose()) {
  for (int i = 0; i < num_points; ++i) {
    const double x = random->Uniform(margin_px, kWidth - margin_px);
    const double y = random->Uniform(margin_px, kHeight - margin_px);
    Add({x, y}, random->Uniform(3.0, 10.0));
  }
}

void SyntheticQuery::Add(const Eigen::Vector2d& xy, double depth) {
  Eigen::Vector3d bearing;
  camera.Unproject(xy, &bearing);
  xys.push_back(xy);
  points.push_back(cam_from_world.Inverse() *
                   Eigen::Vector3d(bearing * (depth / bearing.z())));
}

std::vector<Eigen::Vector2d> SyntheticQuery::Observe(double noise_px,
                                                     double wrong_share,
                                                     Random* random) const {
  std::vector<Eigen::Vector2d> observed = xys;
  for (Eigen::Vector2d& xy : observed) {
    if (random->Uniform(0.0, 1.0) < wrong_share) {
      xy << random->Uniform(0.0, kWidth), random->Uniform(0.0, kHeight);
    } else {
      xy += random->Normal2(noise_px);
    }
  }
  return observed;
}

LossMaps::Geometry SyntheticQuery::MapGeometry(int stride) {
  return {kWidth / stride,
          kHeight / stride,
          MapFromImage::FromStride(Eigen::Vector2d::Constant(stride),
                                   Eigen::Vector2d::Constant(0.5 * stride),
                                   Eigen::Vector2d::Ones())};
}

BruteForceEq9::BruteForceEq9(const SyntheticQuery& query,
                             const std::vector<WeightMap>& maps,
                             const MapFromImage& map_from_image,
                             double sigma,
                             const Rigid3d& pose)
    : maps_(maps),
      scale_(map_from_image.scale),
      offset_(map_from_image.offset),
      sigma_(sigma) {
  for (const Eigen::Vector3d& point : query.points) {
    in_cam_.push_back(pose * point);
  }
  // The intrinsics, as what the camera does to two points.
  Eigen::Vector2d corner;
  query.camera.Project({0.0, 0.0, 1.0}, &center_, nullptr);
  query.camera.Project({1.0, 1.0, 1.0}, &corner, nullptr);
  focal_ = corner - center_;
}

double BruteForceEq9::Evaluate(const Eigen::Matrix<double, 6, 1>& perturbation,
                               Eigen::Matrix<double, 6, 1>* gradient) const {
  const ceres::AutoDiffFirstOrderFunction<BruteForceEq9, 6> function(
      new BruteForceEq9(*this));
  double cost;
  function.Evaluate(perturbation.data(), &cost, gradient->data());
  return cost;
}

SparseLossMaps MakeCoarseMaps(const std::vector<Eigen::Vector2d>& xys,
                              int stride,
                              double stddev_cells) {
  const LossMaps::Geometry geometry = SyntheticQuery::MapGeometry(stride);
  SparseLossMaps maps(geometry);
  for (const Eigen::Vector2d& xy : xys) {
    maps.AddPoint(GaussianWeights(geometry.width,
                                  geometry.height,
                                  geometry.map_from_image * xy,
                                  stddev_cells)
                      .weights.data());
  }
  return maps;
}

std::unique_ptr<LossMaps> GaussianFineMaps::Compute(
    const std::vector<Eigen::Vector2d>& xy_image) const {
  constexpr int kSize = 64;
  const LossMaps::Geometry geometry = SyntheticQuery::MapGeometry(stride_);
  std::vector<Eigen::Vector2i> origins;
  for (const Eigen::Vector2d& xy : xy_image) {
    // As in appendix D.1; far away where there is nothing to look at.
    const Eigen::Vector2d center = geometry.map_from_image * xy;
    const bool near = center.allFinite() && center.norm() < 1e6;
    origins.push_back(
        near ? Eigen::Vector2i(
                   (center.array() - 0.5 * kSize).round().matrix().cast<int>())
             : Eigen::Vector2i(-1000000, -1000000));
  }
  auto maps = std::make_unique<DenseLossMaps>(geometry, kSize, kSize, origins);
  for (size_t i = 0; i < origins.size(); ++i) {
    const GaussianWeight weight(geometry.map_from_image * xys_[i],
                                stddev_cells_,
                                geometry.LogCategories());
    float* cell = maps->Data(i);
    for (int y = origins[i].y(); y < origins[i].y() + kSize; ++y) {
      for (int x = origins[i].x(); x < origins[i].x() + kSize; ++x) {
        const bool exists =
            x >= 0 && y >= 0 && x < geometry.width && y < geometry.height;
        *cell++ = exists ? weight(x, y) : 0.0f;
      }
    }
  }
  return maps;
}

}  // namespace nre
