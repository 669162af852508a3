#include "colmap_plugin/controllers/turned_query.h"

#include <gtest/gtest.h>

#include "colmap_plugin/compat/camera.h"

namespace nre {
namespace {

Query MakeQuery() {
  Query query;
  query.name = "a.jpg";
  query.camera = MakeColmapCamera(
      "OPENCV", 640, 480, {500, 520, 330, 235, -0.1, 0.03, 0.004, -0.007});
  return query;
}

Rigid3d MakePose() {
  return {Eigen::Quaterniond(0.9, 0.1, -0.2, 0.3).normalized(),
          Eigen::Vector3d(0.3, -0.2, 0.5)};
}

// Points that the file's camera sees at the pose.
std::vector<Eigen::Vector3d> MakePoints(const Rigid3d& cam_from_world) {
  std::vector<Eigen::Vector3d> points;
  for (int i = 0; i < 40; ++i) {
    points.push_back(cam_from_world.Inverse() *
                     Eigen::Vector3d(0.3 * (i % 7) - 0.9,
                                     0.3 * (i % 5) - 0.6,
                                     3.0 + 0.2 * (i % 4)));
  }
  return points;
}

Eigen::Vector2d ImageOf(const Camera& camera,
                        const Rigid3d& cam_from_world,
                        const Eigen::Vector3d& point) {
  Eigen::Vector2d xy;
  EXPECT_TRUE(camera.Project(cam_from_world * point, &xy, nullptr));
  return xy;
}

// exp(w), t of a left perturbation.
Rigid3d Perturbed(const Rigid3d& pose, const Eigen::Matrix<double, 6, 1>& by) {
  const Eigen::Vector3d w = by.head<3>();
  const Rigid3d perturbation = {
      Eigen::Quaterniond(Eigen::AngleAxisd(w.norm(), w.normalized())),
      by.tail<3>()};
  return perturbation * pose;
}

class TurnedQueryTest : public testing::TestWithParam<int> {};

TEST_P(TurnedQueryTest, WhatIsFoundInTheTurnedPictureIsTurnedBack) {
  const Query query = MakeQuery();
  const TurnedQuery turned(query, GetParam());
  const std::unique_ptr<Camera> file_camera = CreateCamera(query.camera);
  const std::unique_ptr<Camera> turned_camera =
      turned.CreateCamera(query.camera);
  EXPECT_EQ(turned_camera->Width(), GetParam() % 2 == 0 ? 640 : 480);

  // The pose in the turned picture: about the axis, so that it sees the same.
  const Rigid3d turned_from_cam = {
      Eigen::Quaterniond(
          Eigen::AngleAxisd(0.5 * M_PI * GetParam(), Eigen::Vector3d::UnitZ())),
      Eigen::Vector3d::Zero()};
  const Rigid3d pose = MakePose();
  const std::vector<Eigen::Vector3d> points = MakePoints(pose);
  QueryResult result;
  result.estimate.cam_from_world = turned_from_cam * pose;
  result.estimate.alternatives = {turned_from_cam * pose};
  for (size_t i = 0; i < points.size(); ++i) {
    result.estimate.support.push_back(
        {i,
         ImageOf(*turned_camera, result.estimate.cam_from_world, points[i])});
  }
  // One standard deviation along one direction.
  Eigen::Matrix<double, 6, 1> direction;
  direction << 1e-3, -2e-3, 3e-3, 0.04, 0.05, -0.06;
  result.estimate.covariance = direction * direction.transpose();
  result.estimate.scatter_of_minima = 0.5 * result.estimate.covariance;
  const Rigid3d turned_neighbour =
      Perturbed(result.estimate.cam_from_world, direction);

  turned.TurnBack(&result);
  EXPECT_EQ(result.turned_deg, 90 * GetParam());
  const PoseEstimate& estimate = result.estimate;
  EXPECT_LT(CenterError(estimate.cam_from_world, pose), 1e-12);
  EXPECT_LT(RotationErrorDeg(estimate.cam_from_world, pose), 1e-5);
  EXPECT_LT(RotationErrorDeg(estimate.alternatives[0], pose), 1e-5);
  for (size_t i = 0; i < points.size(); ++i) {
    EXPECT_LT((estimate.support[i].xy - ImageOf(*file_camera, pose, points[i]))
                  .norm(),
              1e-9);
  }
  // The neighbour is one standard deviation away in the file's frame, too.
  const Rigid3d neighbour = turned_from_cam.Inverse() * turned_neighbour;
  const Rigid3d perturbation = neighbour * pose.Inverse();
  const Eigen::AngleAxisd rotation(perturbation.rotation);
  Eigen::Matrix<double, 6, 1> expected;
  expected << rotation.angle() * rotation.axis(), perturbation.translation;
  EXPECT_LT((estimate.covariance - expected * expected.transpose()).norm(),
            1e-9);
  EXPECT_LT((2.0 * estimate.scatter_of_minima - estimate.covariance).norm(),
            1e-12);
}

TEST_P(TurnedQueryTest, ColmapsEstimatorSeesTheFile) {
  const TurnedQuery turned(MakeQuery(), GetParam());
  const std::unique_ptr<Camera> camera =
      turned.CreateCamera(turned.query().camera);
  const Rigid3d pose = MakePose();  // of the turned picture
  std::vector<PointMatch> matches;
  for (const Eigen::Vector3d& point : MakePoints(pose)) {
    matches.push_back({point, ImageOf(*camera, pose, point)});
  }
  const std::optional<Rigid3d> found =
      turned.LoRansac()(*camera, matches, 2.0, 7);
  ASSERT_TRUE(found.has_value());
  EXPECT_LT(CenterError(*found, pose), 1e-5);
  EXPECT_LT(RotationErrorDeg(*found, pose), 1e-4);
}

TEST_P(TurnedQueryTest, GravityAndIntrinsicsTurnAlong) {
  Query query = MakeQuery();
  const Rigid3d pose = MakePose();
  const Eigen::Vector3d down_in_world = Eigen::Vector3d(1, 2, 3).normalized();
  query.priors.gravity =
      GravityPrior{pose.rotation * down_in_world, down_in_world, 1.0};
  const TurnedQuery turned(query, GetParam());
  QueryResult result;
  result.estimate.cam_from_world = pose;
  TurnedQuery(query, (4 - GetParam()) % 4).TurnBack(&result);
  EXPECT_LT(PriorCost(turned.query().priors, result.estimate.cam_from_world),
            1e-9);
  // A correction of the turned picture is that of the file, turned.
  const CameraCorrection correction = {1.5, {20.0, -7.0}, 0.0};
  const std::unique_ptr<Camera> given = turned.CreateCamera(query.camera);
  const CorrectedCamera expected(*given, correction);
  const std::unique_ptr<Camera> corrected = turned.CreateCamera(
      CorrectIntrinsics(query.camera, turned.TurnBack(correction)));
  EXPECT_NEAR(corrected->MeanFocalLength(), 1.5 * 510.0, 1e-9);
  for (const Eigen::Vector3d& point : MakePoints(pose)) {
    EXPECT_LT(
        (ImageOf(*corrected, pose, point) - ImageOf(expected, pose, point))
            .norm(),
        1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Quarters, TurnedQueryTest, testing::Range(0, 4));

}  // namespace
}  // namespace nre
