// Coarse and fine loss maps of a query whose pose is known, of every kind that
// a matcher may give: sharp, with several modes, diffuse, biased and wholly
// wrong. For the controlled experiment on estimators
// (scripts/benchmark/estimator_study) and its tests.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/pose_estimator.h"
#include "nre/rigid3.h"
#include "tests/testing/synthetic_maps.h"

namespace nre {

struct GeneratedMapsOptions {
  int num_points = 400;

  // Points whose map says nothing about where they are. Its shape is drawn as
  // that of any other: nothing tells that it is wrong.
  double wrong_share = 0.0;
  // Of the wrong ones, those whose maps agree on one wrong pose, as where a
  // structure is repeated.
  double agreeing_share = 0.0;

  // Shapes of the maps, by weight.
  double sharp = 0.35;
  // 2 to 6 places far from each other, each with up to 2 more close by; the
  // truth is one of them, often not the likeliest.
  double multi_modal = 0.35;
  // Blurred by several cells, half of them along one direction only, as on an
  // edge.
  double diffuse = 0.2;
  // Sharp, but 1 to 4 coarse cells off.
  double biased = 0.1;

  // Probabilities are raised to this power and normalised again. With 1 they
  // are calibrated, biased and wrong maps aside: the truth is at each place as
  // often as the map says. Above, maps are too sure, below not sure enough.
  double sharpness = 1.0;

  bool Check() const;
};

// Where a point may be, and how likely. Means and standard deviations are in
// pixels of the image; coarse and fine descriptors see the same place with
// errors of their own.
struct GeneratedMode {
  double probability = 1.0;
  Eigen::Vector2d coarse_mean, fine_mean;
  Eigen::Matrix2d coarse_information, fine_information;  // inverse covariances
};

// The maps' grids are those that `dense_sift` gives for an image of this size:
// 128 x 85 coarse and 768 x 512 fine cells, the latter in windows of 64 x 64.
class GeneratedQuery : public FineMapSource {
 public:
  static constexpr int kWidth = 1536;
  static constexpr int kHeight = 1024;
  static constexpr double kFocalLength = 1300.0;
  // Points lie 4 to 12 away from the camera.
  static constexpr double kMinDepth = 4.0;
  static constexpr double kMaxDepth = 12.0;

  // Throws std::invalid_argument for options that fail their Check().
  GeneratedQuery(const GeneratedMapsOptions& options, uint64_t seed);

  const Camera& camera() const { return camera_; }
  const Rigid3d& cam_from_world() const { return cam_from_world_; }
  // The pose that wrong maps agree on.
  const Rigid3d& wrong_cam_from_world() const { return wrong_cam_from_world_; }
  const std::vector<Eigen::Vector3d>& points() const { return points_; }
  bool IsWrong(size_t point) const { return is_wrong_[point]; }
  const std::vector<GeneratedMode>& Modes(size_t point) const {
    return modes_[point];
  }
  const SparseLossMaps& coarse_maps() const { return coarse_maps_; }
  // The untruncated coarse correspondence map C, row by row, sum 1.
  const std::vector<float>& CoarseProbabilities(size_t point) const {
    return coarse_probabilities_[point];
  }

  // Appendix D.1, as FineMaps in s2d does it.
  std::unique_ptr<LossMaps> Compute(
      const std::vector<Eigen::Vector2d>& xy_image) const override;

 private:
  void AddPoint(const GeneratedMapsOptions& options, Random* random);
  std::vector<float> ComputeCoarse(const std::vector<GeneratedMode>& modes,
                                   double sharpness) const;
  double CoarseMass(size_t point, const Eigen::Vector2i& origin) const;

  PinholeCamera camera_;
  double sharpness_;
  Rigid3d cam_from_world_, wrong_cam_from_world_;
  std::vector<Eigen::Vector3d> points_;
  std::vector<bool> is_wrong_;
  std::vector<std::vector<GeneratedMode>> modes_;
  std::vector<std::vector<float>> coarse_probabilities_;
  SparseLossMaps coarse_maps_;
};

}  // namespace nre
