#include "nre/p3p.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>
#include <opencv2/calib3d.hpp>

#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

using Triplet = std::array<Eigen::Vector3d, 3>;

struct Problem {
  Rigid3d cam_from_world;  // truth
  Triplet bearings;
  Triplet points;  // world
};

Problem MakeProblem(const Rigid3d& cam_from_world, const Triplet& in_cam) {
  Problem problem{cam_from_world, {}, {}};
  for (int i = 0; i < 3; ++i) {
    problem.bearings[i] = in_cam[i].normalized();
    problem.points[i] = cam_from_world.Inverse() * in_cam[i];
  }
  return problem;
}

Problem RandomProblem(Random* random) {
  Triplet in_cam;
  for (Eigen::Vector3d& x : in_cam) {
    const Eigen::Vector2d uv = random->Uniform2(-0.8, 0.8);
    x = random->Uniform(1.0, 10.0) * Eigen::Vector3d(uv.x(), uv.y(), 1.0);
  }
  return MakeProblem(random->Pose(), in_cam);
}

std::vector<Rigid3d> Solve(const Problem& problem) {
  std::array<Rigid3d, 4> poses;
  const int num_poses = SolveP3P(problem.bearings, problem.points, &poses);
  EXPECT_GE(num_poses, 0);
  EXPECT_LE(num_poses, 4);
  return {poses.begin(), poses.begin() + num_poses};
}

// The larger of angle (rad) and distance of the centres in units of the
// scene's size, about 10.
double Error(const Rigid3d& a, const Rigid3d& b) {
  return std::max(RotationErrorDeg(a, b) * M_PI / 180.0,
                  0.1 * CenterError(a, b));
}

double SmallestError(const std::vector<Rigid3d>& poses, const Rigid3d& pose) {
  double error = std::numeric_limits<double>::infinity();
  for (const Rigid3d& other : poses) {
    error = std::min(error, Error(other, pose));
  }
  return error;
}

double BearingError(const Problem& problem, const Rigid3d& pose) {
  double error = 0.0;
  for (int i = 0; i < 3; ++i) {
    const Eigen::Vector3d bearing = (pose * problem.points[i]).normalized();
    error = std::max(error, (bearing - problem.bearings[i]).norm());
  }
  return error;
}

// OpenCV's poses that have all points in front of the camera and reproduce
// their image to 1e-6.
std::vector<Rigid3d> SolveByOpenCv(const Problem& problem, int method) {
  std::vector<cv::Point3d> points;
  std::vector<cv::Point2d> image_points;
  for (int i = 0; i < 3; ++i) {
    const Eigen::Vector3d& x = problem.points[i];
    const Eigen::Vector3d& b = problem.bearings[i];
    points.emplace_back(x.x(), x.y(), x.z());
    image_points.emplace_back(b.x() / b.z(), b.y() / b.z());
  }
  std::vector<cv::Mat> rotations, translations;
  cv::solveP3P(points,
               image_points,
               cv::Mat::eye(3, 3, CV_64F),
               cv::noArray(),
               rotations,
               translations,
               method);
  std::vector<Rigid3d> poses;
  for (size_t i = 0; i < rotations.size(); ++i) {
    const Eigen::Map<const Eigen::Vector3d> w(rotations[i].ptr<double>());
    const Eigen::Map<const Eigen::Vector3d> t(translations[i].ptr<double>());
    Eigen::Matrix<double, 6, 1> perturbation;
    perturbation << w, t;
    const Rigid3d pose = PerturbLeft(perturbation, Rigid3d());
    // A bearing that points backwards is far from the observed one.
    if (BearingError(problem, pose) < 1e-6) poses.push_back(pose);
  }
  return poses;
}

void ExpectFinite(const std::vector<Rigid3d>& poses) {
  for (const Rigid3d& pose : poses) {
    EXPECT_TRUE(pose.rotation.coeffs().allFinite());
    EXPECT_NEAR(pose.rotation.norm(), 1.0, 1e-9);
    EXPECT_TRUE(pose.translation.allFinite());
  }
}

TEST(P3P, RecoversThePoseWithoutNoise) {
  constexpr int kNumSamples = 100000;
  Random random(1);
  int num_recovered = 0;
  for (int i = 0; i < kNumSamples; ++i) {
    const Problem problem = RandomProblem(&random);
    if (SmallestError(Solve(problem), problem.cam_from_world) < 1e-6) {
      ++num_recovered;
    }
  }
  RecordProperty("num_recovered", num_recovered);
  EXPECT_GE(num_recovered, 0.999 * kNumSamples);
}

TEST(P3P, SolutionsReproduceTheBearings) {
  Random random(2);
  for (int i = 0; i < 20000; ++i) {
    const Problem problem = RandomProblem(&random);
    const std::vector<Rigid3d> poses = Solve(problem);
    ASSERT_FALSE(poses.empty());
    for (const Rigid3d& pose : poses) {
      ASSERT_LT(BearingError(problem, pose), 1e-9) << "sample " << i;
    }
  }
}

TEST(P3P, FindsThePosesThatOpenCvFinds) {
  constexpr int kNumSamples = 5000;
  Random random(3);
  int num_theirs = 0, num_missed = 0;
  int num_ours = 0, num_unknown = 0;
  for (int i = 0; i < kNumSamples; ++i) {
    const Problem problem = RandomProblem(&random);
    const std::vector<Rigid3d> ours = Solve(problem);
    std::vector<Rigid3d> theirs = SolveByOpenCv(problem, cv::SOLVEPNP_P3P);
    for (const Rigid3d& pose : SolveByOpenCv(problem, cv::SOLVEPNP_AP3P)) {
      theirs.push_back(pose);
    }
    for (const Rigid3d& pose : theirs) {
      ++num_theirs;
      if (SmallestError(ours, pose) > 1e-3) ++num_missed;
    }
    for (const Rigid3d& pose : ours) {
      ++num_ours;
      if (SmallestError(theirs, pose) > 1e-3) ++num_unknown;
    }
  }
  RecordProperty("num_theirs", num_theirs);
  RecordProperty("num_missed", num_missed);
  RecordProperty("num_ours", num_ours);
  RecordProperty("num_unknown", num_unknown);
  EXPECT_GE(num_theirs, kNumSamples);
  // Theirs near a double solution are only good to the root of a tolerance.
  EXPECT_LE(num_missed, 0.0005 * num_theirs);
  // Both of theirs lose some solutions.
  EXPECT_LE(num_unknown, 0.005 * num_ours);
}

TEST(P3P, RefusesPointsWithoutATriangle) {
  Random random(4);
  for (int i = 0; i < 1000; ++i) {
    Problem problem = RandomProblem(&random);
    Triplet& points = problem.points;
    const double share = random.Uniform(-2.0, 3.0);
    points[2] = points[0] + share * (points[1] - points[0]);
    EXPECT_TRUE(Solve(problem).empty()) << "collinear";
    points[i % 3] = points[(i + 1) % 3];
    EXPECT_TRUE(Solve(problem).empty()) << "coincident";
    points.fill(points[0]);
    EXPECT_TRUE(Solve(problem).empty()) << "all coincident";
  }
}

TEST(P3P, CoincidentBearingsGiveFinitePoses) {
  Random random(5);
  for (int i = 0; i < 1000; ++i) {
    Problem problem = RandomProblem(&random);
    problem.bearings[1] = problem.bearings[0];
    ExpectFinite(Solve(problem));
    problem.bearings[2] = problem.bearings[0];
    ExpectFinite(Solve(problem));
  }
}

TEST(P3P, NonFiniteInputGivesNoNonFinitePose) {
  const double kNaN = std::numeric_limits<double>::quiet_NaN();
  Random random(6);
  for (int i = 0; i < 100; ++i) {
    Problem problem = RandomProblem(&random);
    Problem other = problem;
    problem.bearings[i % 3][i % 2] = kNaN;
    ExpectFinite(Solve(problem));
    other.points[i % 3][i % 2] = kNaN;
    ExpectFinite(Solve(other));
  }
}

// Where the centre lies on the cylinder over the points' circumscribed circle,
// two solutions coincide: good to the root of the precision.
TEST(P3P, FindsThePoseOnTheDangerCylinder) {
  constexpr int kNumSamples = 5000;
  Random random(7);
  int num_recovered = 0;
  for (int i = 0; i < kNumSamples; ++i) {
    const double radius = random.Uniform(0.5, 3.0);
    const auto on_circle = [&] {
      const double angle = random.Uniform(0.0, 2.0 * M_PI);
      return Eigen::Vector3d(
          radius * std::cos(angle), radius * std::sin(angle), 0.0);
    };
    const Eigen::Vector3d center =
        on_circle() + Eigen::Vector3d(0.0, 0.0, random.Uniform(2.0, 6.0));
    // The camera looks along its z axis at points below it.
    const Eigen::Quaterniond down(
        Eigen::AngleAxisd(M_PI, Eigen::Vector3d::UnitX()));
    const Rigid3d cam_from_world{down, -(down * center)};
    Triplet in_cam;
    for (Eigen::Vector3d& x : in_cam) x = cam_from_world * on_circle();
    const Problem problem = MakeProblem(cam_from_world, in_cam);
    const std::vector<Rigid3d> poses = Solve(problem);
    ExpectFinite(poses);
    if (SmallestError(poses, cam_from_world) < 1e-3) ++num_recovered;
  }
  RecordProperty("num_recovered", num_recovered);
  EXPECT_GE(num_recovered, 0.9 * kNumSamples);
}

// Very far or near points, and points that are seen under tiny angles.
TEST(P3P, ExtremeScalesGiveFinitePoses) {
  Random random(8);
  for (const double scale : {1e-9, 1e-6, 1e6, 1e9}) {
    for (const double spread : {1.0, 1e-4, 1e-8}) {
      int num_recovered = 0;
      constexpr int kNumSamples = 200;
      for (int i = 0; i < kNumSamples; ++i) {
        const Eigen::Vector2d direction = random.Uniform2(-0.5, 0.5);
        Triplet in_cam;
        for (Eigen::Vector3d& x : in_cam) {
          const Eigen::Vector2d uv =
              direction + spread * random.Uniform2(-0.5, 0.5);
          x = scale * (1.0 + spread * random.Uniform(0.0, 1.0)) *
              Eigen::Vector3d(uv.x(), uv.y(), 1.0);
        }
        // A world of the same size, or the points lose their digits.
        Rigid3d cam_from_world = random.Pose();
        cam_from_world.translation *= scale;
        const Problem problem = MakeProblem(cam_from_world, in_cam);
        const std::vector<Rigid3d> poses = Solve(problem);
        ExpectFinite(poses);
        for (const Rigid3d& pose : poses) {
          const Rigid3d& truth = problem.cam_from_world;
          if (RotationErrorDeg(pose, truth) < 1e-4 &&
              CenterError(pose, truth) < 1e-5 * scale) {
            ++num_recovered;
            break;
          }
        }
      }
      // The scale alone is harmless.
      if (spread == 1.0) {
        EXPECT_GE(num_recovered, 0.99 * kNumSamples) << "scale " << scale;
      }
    }
  }
}

}  // namespace
}  // namespace nre
