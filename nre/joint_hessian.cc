#include "nre/joint_hessian.h"

namespace nre {
namespace {

template <int kSize>
Eigen::MatrixXd HessianOfEq9(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    double sigma,
    const Rigid3d& cam_from_world,
    PointTerms* terms) {
  if (terms != nullptr) {
    terms->gradients.setZero(kSize, points_in_world.size());
    terms->by_displacement.setZero(kSize, 2 * points_in_world.size());
    terms->hessians.setZero(kSize, kSize * points_in_world.size());
  }
  const Eigen::Vector2d principal_point =
      kSize > 6 ? PrincipalPoint(camera) : Eigen::Vector2d::Zero();
  const double focal_length = camera.MeanFocalLength();
  const MapFromImage& map_from_image = maps.geometry().map_from_image;
  using Hessian = Eigen::Matrix<double, kSize, kSize>;
  Hessian sum = Hessian::Zero();
  Eigen::Vector2d xy;
  Eigen::Matrix<double, 2, 3> projection_jacobian;
  Eigen::Matrix<double, 2, 10> jacobian;
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    const Eigen::Vector3d x = cam_from_world * points_in_world[i];
    if (!camera.Project(x, &xy, &projection_jacobian)) {
      continue;
    }
    const SmoothedLoss loss =
        maps.Smoothed(i, map_from_image * xy, sigma, true);
    if (!(loss.irls > 0.0)) {
      continue;
    }
    const Eigen::Vector2d from_center = xy - principal_point;
    const double radius2 =
        from_center.squaredNorm() / (focal_length * focal_length);
    // d(exp(w) x + t) = w x x + dt.
    for (int row = 0; row < 2; ++row) {
      const Eigen::Vector3d by_point = projection_jacobian.row(row);
      jacobian.row(row) << x.cross(by_point).transpose(), by_point.transpose(),
          from_center[row], row == 0, row == 1, radius2 * from_center[row];
    }
    jacobian = map_from_image.scale.asDiagonal() * jacobian.eval();
    const Eigen::Matrix<double, 2, kSize> by_unknowns =
        jacobian.leftCols<kSize>();
    const Eigen::Matrix<double, kSize, 2> by_displacement =
        by_unknowns.transpose() * loss.hessian;
    const Hessian hessian = by_displacement * by_unknowns;
    sum += hessian;
    if (terms != nullptr) {
      terms->gradients.col(i) = by_unknowns.transpose() * loss.Gradient();
      terms->by_displacement.middleCols<2>(2 * i) = by_displacement;
      terms->hessians.middleCols<kSize>(kSize * i) = hessian;
    }
  }
  return sum;
}

}  // namespace

Eigen::MatrixXd JointHessian(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    double sigma,
    int num_unknowns,
    const Rigid3d& cam_from_world,
    PointTerms* terms) {
  const auto of_points = num_unknowns == 6   ? HessianOfEq9<6>
                         : num_unknowns == 7 ? HessianOfEq9<7>
                                             : HessianOfEq9<10>;
  return of_points(camera, points_in_world, maps, sigma, cam_from_world, terms);
}

}  // namespace nre
