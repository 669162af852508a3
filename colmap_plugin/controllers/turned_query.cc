#include "colmap_plugin/controllers/turned_query.h"

#include <utility>

#include "colmap_plugin/compat/absolute_pose.h"
#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/controllers/camera_image.h"

namespace nre {
namespace {

// A turned camera that owns the one of the file.
class OwningTurnedCamera : public TurnedCamera {
 public:
  OwningTurnedCamera(std::unique_ptr<Camera> camera, int num_quarters)
      : TurnedCamera(*camera, num_quarters), camera_(std::move(camera)) {}

 private:
  std::unique_ptr<Camera> camera_;
};

Rigid3d RotationOnly(const Eigen::Matrix3d& rotation) {
  return {Eigen::Quaterniond(rotation), Eigen::Vector3d::Zero()};
}

}  // namespace

TurnedQuery::TurnedQuery(const Query& query, int num_quarters)
    : query_(query),
      turn_(
          num_quarters, CameraWidth(query.camera), CameraHeight(query.camera)) {
  if (query_.priors.gravity) {
    query_.priors.gravity->down_in_cam =
        turn_.Rotation() * query_.priors.gravity->down_in_cam;
  }
}

Image TurnedQuery::ReadImage(const std::string& image_path) const {
  return TurnImage(ReadCameraImage(image_path,
                                   query_.name,
                                   CameraWidth(query_.camera),
                                   CameraHeight(query_.camera),
                                   "its camera is stated with"),
                   turn_.num_quarters());
}

std::unique_ptr<Camera> TurnedQuery::CreateCamera(
    const colmap::Camera& camera) const {
  std::unique_ptr<Camera> of_file = nre::CreateCamera(camera);
  if (turn_.num_quarters() == 0) return of_file;
  return std::make_unique<OwningTurnedCamera>(std::move(of_file),
                                              turn_.num_quarters());
}

MatchSolver TurnedQuery::LoRansac() const {
  return [this](const Camera&,
                std::vector<PointMatch> matches,
                double max_error_px,
                uint64_t seed) -> std::optional<Rigid3d> {
    if (turn_.num_quarters() == 0) {
      return SolveLoRansac(query_.camera, matches, max_error_px, seed);
    }
    for (PointMatch& match : matches) match.xy = turn_.Inverse() * match.xy;
    const std::optional<Rigid3d> pose =
        SolveLoRansac(query_.camera, matches, max_error_px, seed);
    if (!pose.has_value()) return {};
    return RotationOnly(turn_.Rotation()) * *pose;
  };
}

CameraCorrection TurnedQuery::TurnBack(
    const CameraCorrection& correction) const {
  CameraCorrection of_file = correction;
  const PictureTurn back = turn_.Inverse();
  of_file.shift = back * correction.shift - back * Eigen::Vector2d::Zero();
  return of_file;
}

void TurnedQuery::TurnBack(QueryResult* result) const {
  result->turned_deg = 90 * turn_.num_quarters();
  if (turn_.num_quarters() == 0) return;
  const PictureTurn back = turn_.Inverse();
  const Rigid3d cam_from_turned = RotationOnly(back.Rotation());
  PoseEstimate& estimate = result->estimate;
  estimate.cam_from_world = cam_from_turned * estimate.cam_from_world;
  for (Rigid3d& pose : estimate.alternatives) pose = cam_from_turned * pose;
  for (PoseEstimate::Support& support : estimate.support) {
    support.xy = back * support.xy;
  }
  // A left perturbation turns along.
  Matrix6d rotation = Matrix6d::Zero();
  rotation.topLeftCorner<3, 3>() = back.Rotation();
  rotation.bottomRightCorner<3, 3>() = back.Rotation();
  for (Matrix6d* covariance :
       {&estimate.covariance, &estimate.scatter_of_minima}) {
    *covariance = rotation * *covariance * rotation.transpose();
  }
}

}  // namespace nre
