#include "tests/testing/camera_trial.h"

#include <vector>

#include "nre/pose_estimator.h"
#include "tests/testing/synthetic_maps.h"

namespace nre {

CameraTrial RunCameraTrial(const Camera& true_camera,
                           const Camera& camera,
                           uint64_t seed) {
  constexpr int kNumPoints = 150;
  Random random(seed);
  SyntheticQuery query(0, 0.0, &random);
  while (query.points.size() < kNumPoints) {
    const Eigen::Vector2d xy(random.Uniform(0.0, SyntheticQuery::kWidth),
                             random.Uniform(0.0, SyntheticQuery::kHeight));
    const double distance = random.Uniform(3.0, 10.0);
    Eigen::Vector3d bearing;
    if (true_camera.Unproject(xy, &bearing)) {
      query.xys.push_back(xy);
      query.points.push_back(query.cam_from_world.Inverse() *
                             Eigen::Vector3d(distance * bearing));
    }
  }
  const std::vector<Eigen::Vector2d> observed =
      query.Observe(1.0, 0.4, &random);
  NreEstimationOptions options;
  options.num_hypotheses = 500;
  const PoseEstimate estimate =
      EstimatePose({camera,
                    query.points,
                    MakeCoarseMaps(observed, 8, 1.0),
                    GaussianFineMaps(observed, 2, 0.8)},
                   options,
                   seed);
  return {estimate.verdict == Verdict::kRegistered,
          RotationErrorDeg(estimate.cam_from_world, query.cam_from_world),
          CenterError(estimate.cam_from_world, query.cam_from_world)};
}

}  // namespace nre
