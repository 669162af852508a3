#include "nre/joint_hessian.h"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

using Vector10d = Eigen::Matrix<double, 10, 1>;

// The sum of Eq. 9 where pose and intrinsics change, by an image that is
// scaled, shifted and distorted about the principal point.
double Eq9(const SyntheticQuery& query,
           const LossMaps& maps,
           double sigma,
           const Vector10d& change) {
  const Rigid3d pose = PerturbLeft(change.head<6>(), query.cam_from_world);
  const Eigen::Vector2d center = PrincipalPoint(query.camera);
  const double focal_length = query.camera.MeanFocalLength();
  double sum = 0.0;
  Eigen::Vector2d xy;
  for (size_t i = 0; i < query.points.size(); ++i) {
    EXPECT_TRUE(query.camera.Project(pose * query.points[i], &xy, nullptr));
    const Eigen::Vector2d d = xy - center;
    const double distortion =
        change[9] * d.squaredNorm() / (focal_length * focal_length);
    xy = center + change.segment<2>(7) +
         std::exp(change[6]) * (1.0 + distortion) * d;
    sum += maps.Smoothed(i, maps.geometry().map_from_image * xy, sigma, false)
               .value;
  }
  return sum;
}

TEST(JointHessian, IsThatOfEq9) {
  constexpr double kSigma = 4.0;
  Random random(4);
  const SyntheticQuery query(50, 20.0, &random);
  const auto maps = GaussianFineMaps(query.Observe(2.0, 0.0, &random), 2, 3.0)
                        .Compute(query.xys);
  Vector10d steps = Vector10d::Constant(1e-3);
  steps.segment<2>(7).setConstant(0.3);  // px
  const auto cost = [&](const Vector10d& change) {
    return Eq9(query, *maps, kSigma, change);
  };
  PointTerms terms;
  const Eigen::MatrixXd hessian = JointHessian(query.camera,
                                               query.points,
                                               *maps,
                                               kSigma,
                                               10,
                                               query.cam_from_world,
                                               &terms);
  ASSERT_EQ(hessian.rows(), 10);
  const Eigen::VectorXd gradient = terms.gradients.rowwise().sum();
  for (int i = 0; i < 10; ++i) {
    const Vector10d a = steps[i] * Vector10d::Unit(i);
    EXPECT_NEAR(gradient[i],
                (cost(a) - cost(-a)) / (2.0 * steps[i]),
                1e-3 * std::sqrt(hessian(i, i)))
        << i;
    for (int j = 0; j <= i; ++j) {
      const Vector10d b = steps[j] * Vector10d::Unit(j);
      const double difference =
          (cost(a + b) - cost(a - b) - cost(b - a) + cost(-a - b)) /
          (4.0 * steps[i] * steps[j]);
      // The projection's own curvature times the gradient is left out.
      EXPECT_NEAR(hessian(i, j),
                  difference,
                  0.05 * std::sqrt(hessian(i, i) * hessian(j, j)))
          << i << ", " << j;
    }
  }
}

TEST(JointHessian, OfFewerUnknownsIsAPartOfIt) {
  Random random(5);
  const SyntheticQuery query(50, 20.0, &random);
  const auto maps = GaussianFineMaps(query.Observe(2.0, 0.0, &random), 2, 1.0)
                        .Compute(query.xys);
  const auto hessian = [&](int num_unknowns) {
    return JointHessian(query.camera,
                        query.points,
                        *maps,
                        1.0,
                        num_unknowns,
                        query.cam_from_world);
  };
  const Eigen::MatrixXd all = hessian(10);
  for (const int size : {6, 7}) {
    EXPECT_TRUE(hessian(size).isApprox(all.topLeftCorner(size, size), 1e-12));
  }
}

}  // namespace
}  // namespace nre
