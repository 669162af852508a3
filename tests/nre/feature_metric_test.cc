#include "nre/feature_metric.h"

#include <cmath>
#include <limits>
#include <vector>

#include <ceres/manifold.h>
#include <gtest/gtest.h>

#include "nre/error.h"
#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

constexpr int kChannels = 7;

// Features of a query at stride 2, with the storage behind the view.
struct Features {
  LossMaps::Geometry geometry = SyntheticQuery::MapGeometry(2);
  std::vector<float> data;

  template <typename Function>  // (x, y, channel) -> feature
  explicit Features(const Function& function) {
    for (int y = 0; y < geometry.height; ++y) {
      for (int x = 0; x < geometry.width; ++x) {
        for (int c = 0; c < kChannels; ++c) {
          data.push_back(static_cast<float>(function(x, y, c)));
        }
      }
    }
  }

  DenseFeatures View() const {
    return {data.data(),
            kChannels,
            geometry.height,
            geometry.width,
            geometry.map_from_image};
  }

  // Bilinear interpolation.
  double At(const Eigen::Vector2d& p, int channel) const {
    const int x = static_cast<int>(std::floor(p.x()));
    const int y = static_cast<int>(std::floor(p.y()));
    double sum = 0.0;
    for (int j = 0; j < 2; ++j) {
      for (int i = 0; i < 2; ++i) {
        sum += (1.0 - std::abs(p.x() - x - i)) *
               (1.0 - std::abs(p.y() - y - j)) *
               View().At(x + i, y + j)[channel];
      }
    }
    return sum;
  }
};

// Linear in the position, so that interpolation and differences are exact:
// channel c grows by kSlope[c] per cell.
const double kSlopes[kChannels][2] = {{0.01, 0.0},
                                      {0.0, 0.01},
                                      {0.004, -0.003},
                                      {-0.002, 0.005},
                                      {0.0, 0.0},
                                      {0.006, 0.006},
                                      {-0.003, 0.001}};
double Linear(double x, double y, int c) {
  return kSlopes[c][0] * x + kSlopes[c][1] * y + 0.1 * c;
}

std::vector<float> DescriptorsAt(const Features& features,
                                 const std::vector<Eigen::Vector2d>& xys) {
  std::vector<float> descriptors;
  for (const Eigen::Vector2d& xy : xys) {
    const Eigen::Vector2d p = features.geometry.map_from_image * xy;
    for (int c = 0; c < kChannels; ++c) {
      descriptors.push_back(static_cast<float>(Linear(p.x(), p.y(), c)));
    }
  }
  return descriptors;
}

TEST(BarronLoss, ClosedForms) {
  const double c2 = 0.3 * 0.3;
  for (const double s : {0.0, 1e-4, 0.05, 0.5, 4.0}) {
    const auto value = [&](double alpha) {
      double rho[3];
      BarronLoss(0.3, alpha).Evaluate(s, rho);
      return rho[0];
    };
    EXPECT_DOUBLE_EQ(value(2.0), s);
    EXPECT_NEAR(value(1.0), 2.0 * c2 * (std::sqrt(s / c2 + 1.0) - 1.0), 1e-12);
    EXPECT_NEAR(value(0.0), 2.0 * c2 * std::log(0.5 * s / c2 + 1.0), 1e-12);
    EXPECT_NEAR(value(-2.0), 4.0 * s / (s / c2 + 4.0), 1e-12);  // Geman-McClure
    EXPECT_NEAR(value(1e-6), value(0.0), 1e-5);
    EXPECT_NEAR(value(2.0 - 1e-7), s, 1e-5);
    for (const double alpha : {2.0, 1.0, 0.5, 0.0, -1.0, -2.0, -10.0}) {
      if (s == 0.0) continue;
      const BarronLoss loss(0.3, alpha);
      const double step = 1e-5 * s;
      double rho[3], before[3], after[3];
      loss.Evaluate(s, rho);
      loss.Evaluate(s - step, before);
      loss.Evaluate(s + step, after);
      EXPECT_NEAR(rho[1], (after[0] - before[0]) / (2.0 * step), 1e-6);
      EXPECT_NEAR(rho[2],
                  (after[1] - before[1]) / (2.0 * step),
                  1e-6 * (1.0 + std::abs(rho[2])));
    }
  }
}

TEST(CompareFeatures, InterpolatesAndDiffers) {
  Random random(1);
  const Features features(
      [&](int, int, int) { return random.Uniform(-1.0, 1.0); });
  std::vector<float> descriptor;
  for (int c = 0; c < kChannels; ++c) {
    descriptor.push_back(static_cast<float>(random.Uniform(-1.0, 1.0)));
  }
  for (int i = 0; i < 200; ++i) {
    const Eigen::Vector2d p(
        random.Uniform(1.0, features.geometry.width - 2.0),
        random.Uniform(1.0, features.geometry.height - 2.0));
    double squared = 0.0;
    Eigen::Vector2d gradient = Eigen::Vector2d::Zero();
    Eigen::Matrix2d gram = Eigen::Matrix2d::Zero();
    for (int c = 0; c < kChannels; ++c) {
      const double e = features.At(p, c) - descriptor[c];
      // The interpolated central differences are the interpolated function's
      // own differences over one cell to each side.
      const Eigen::Vector2d difference(
          0.5 * (features.At(p + Eigen::Vector2d::UnitX(), c) -
                 features.At(p - Eigen::Vector2d::UnitX(), c)),
          0.5 * (features.At(p + Eigen::Vector2d::UnitY(), c) -
                 features.At(p - Eigen::Vector2d::UnitY(), c)));
      squared += e * e;
      gradient += e * difference;
      gram += difference * difference.transpose();
    }
    const FeatureDistance distance =
        CompareFeatures(features.View(), descriptor.data(), p);
    EXPECT_NEAR(distance.squared, squared, 1e-10);
    EXPECT_LT((distance.gradient - gradient).norm(), 1e-10);
    EXPECT_LT((distance.gram - gram).norm(), 1e-10);
  }
}

TEST(CompareFeatures, CountsAsZeroOutside) {
  const Features features(Linear);
  const std::vector<float> descriptor(kChannels, 0.5f);
  const double width = features.geometry.width;
  for (const Eigen::Vector2d& p :
       {Eigen::Vector2d(0.9, 50.0),
        Eigen::Vector2d(50.0, -3.0),
        Eigen::Vector2d(width - 2.0, 50.0),
        Eigen::Vector2d(1e300, 1e300),
        Eigen::Vector2d(std::numeric_limits<double>::quiet_NaN(), 50.0)}) {
    const FeatureDistance distance =
        CompareFeatures(features.View(), descriptor.data(), p);
    EXPECT_DOUBLE_EQ(distance.squared, 0.25 * kChannels);
    EXPECT_TRUE(distance.gradient.isZero(0.0));
    EXPECT_TRUE(distance.gram.isZero(0.0));
  }
}

using Vector6d = Eigen::Matrix<double, 6, 1>;

// Against all channels' residuals, differentiated numerically by the pose.
TEST(FeatureMetricCostFunction, HasTheNormalEquationsOfAllChannels) {
  Random random(2);
  const SyntheticQuery query(30, 20.0, &random);
  const Features features(Linear);
  const DenseFeatures view = features.View();
  const std::vector<float> descriptors = DescriptorsAt(features, query.xys);
  const ceres::EigenQuaternionManifold manifold;
  const auto residuals = [&](size_t i, const Rigid3d& pose) {
    Eigen::Vector2d xy;
    EXPECT_TRUE(query.camera.Project(pose * query.points[i], &xy, nullptr));
    const Eigen::Vector2d p = view.map_from_image * xy;
    Eigen::VectorXd e(kChannels);
    for (int c = 0; c < kChannels; ++c) {
      e[c] = Linear(p.x(), p.y(), c) - descriptors[i * kChannels + c];
    }
    return e;
  };
  const auto plus = [&](const Rigid3d& pose, const Vector6d& delta) {
    Rigid3d result;
    manifold.Plus(pose.rotation.coeffs().data(),
                  delta.data(),
                  result.rotation.coeffs().data());
    result.translation = pose.translation + delta.tail<3>();
    return result;
  };
  for (size_t i = 0; i < query.points.size(); ++i) {
    const Rigid3d pose = MoveAway(query.cam_from_world, 0.003, 0.02, &random);
    const FeatureMetricCostFunction cost(
        &query.camera, &view, &descriptors[i * kChannels], query.points[i]);
    const double* parameters[] = {pose.rotation.coeffs().data(),
                                  pose.translation.data()};
    Eigen::Vector3d r;
    Eigen::Matrix<double, 3, 4, Eigen::RowMajor> by_rotation;
    Eigen::Matrix<double, 3, 3, Eigen::RowMajor> by_translation;
    double* jacobians[] = {by_rotation.data(), by_translation.data()};
    ASSERT_TRUE(cost.Evaluate(parameters, r.data(), jacobians));
    Eigen::Matrix<double, 4, 3, Eigen::RowMajor> plus_jacobian;
    manifold.PlusJacobian(parameters[0], plus_jacobian.data());
    Eigen::Matrix<double, 3, 6> j;
    j << by_rotation * plus_jacobian, by_translation;

    const Eigen::VectorXd e = residuals(i, pose);
    Eigen::MatrixXd all(kChannels, 6);
    constexpr double kStep = 1e-6;
    for (int k = 0; k < 6; ++k) {
      const Vector6d step = kStep * Vector6d::Unit(k);
      all.col(k) =
          (residuals(i, plus(pose, step)) - residuals(i, plus(pose, -step))) /
          (2.0 * kStep);
    }
    // The features are floats.
    EXPECT_NEAR(r.squaredNorm(), e.squaredNorm(), 1e-5);
    EXPECT_LT((j.transpose() * r - all.transpose() * e).norm(),
              1e-4 * (1.0 + all.norm() * e.norm()));
    EXPECT_LT((j.transpose() * j - all.transpose() * all).norm(),
              1e-4 * all.squaredNorm());

    Eigen::Vector3d r_only;
    ASSERT_TRUE(cost.Evaluate(parameters, r_only.data(), nullptr));
    EXPECT_EQ(r, r_only);
  }
}

TEST(FeatureMetricCostFunction, BehindTheCamera) {
  Random random(3);
  const SyntheticQuery query(1, 20.0, &random);
  const Features features(Linear);
  const DenseFeatures view = features.View();
  const std::vector<float> descriptor(kChannels, 0.5f);
  const FeatureMetricCostFunction cost(
      &query.camera,
      &view,
      descriptor.data(),
      query.cam_from_world.Inverse() * Eigen::Vector3d(0.0, 0.0, -2.0));
  const double* parameters[] = {query.cam_from_world.rotation.coeffs().data(),
                                query.cam_from_world.translation.data()};
  Eigen::Vector3d r;
  Eigen::Matrix<double, 3, 4, Eigen::RowMajor> by_rotation;
  Eigen::Matrix<double, 3, 3, Eigen::RowMajor> by_translation;
  double* jacobians[] = {by_rotation.data(), by_translation.data()};
  ASSERT_TRUE(cost.Evaluate(parameters, r.data(), jacobians));
  EXPECT_NEAR(r.squaredNorm(), 0.25 * kChannels, 1e-12);
  EXPECT_TRUE(by_rotation.isZero(0.0));
  EXPECT_TRUE(by_translation.isZero(0.0));
}

class RefinePoseFeatureMetricTest : public testing::Test {
 protected:
  RefinePoseFeatureMetricTest()
      : query_(100, 30.0, &random_),
        features_(Linear),
        descriptors_(DescriptorsAt(features_, query_.xys)) {
    for (size_t i = 0; i < query_.points.size(); ++i) use_.push_back(i);
  }

  double Refine(const FeatureMetricOptions& options, Rigid3d* pose) const {
    return RefinePoseFeatureMetric(query_.camera,
                                   query_.points,
                                   features_.View(),
                                   descriptors_.data(),
                                   use_,
                                   options,
                                   pose);
  }

  Random random_{4};
  SyntheticQuery query_;
  Features features_;
  std::vector<float> descriptors_;
  std::vector<size_t> use_;
};

// On linear features the distance is zero at the true pose and nowhere else.
TEST_F(RefinePoseFeatureMetricTest, FindsTheTruePoseOnLinearFeatures) {
  FeatureMetricOptions huber;
  huber.loss = FeatureMetricLoss::kHuber;
  for (const FeatureMetricOptions& options : {FeatureMetricOptions(), huber}) {
    Rigid3d pose = MoveAway(query_.cam_from_world, 0.02, 0.05, &random_);
    const double cost = Refine(options, &pose);
    EXPECT_LT(RotationErrorDeg(pose, query_.cam_from_world), 1e-3);
    EXPECT_LT(CenterError(pose, query_.cam_from_world), 1e-4);
    EXPECT_LT(cost, 1e-6);
    EXPECT_NEAR(pose.rotation.norm(), 1.0, 1e-15);
  }
}

TEST_F(RefinePoseFeatureMetricTest, BarronsLossIgnoresWrongDescriptors) {
  for (size_t i = 0; i < 20 * kChannels; ++i) {
    descriptors_[i] += static_cast<float>(random_.Normal(3.0));
  }
  const Rigid3d start = MoveAway(query_.cam_from_world, 0.01, 0.02, &random_);
  FeatureMetricOptions square;
  square.alpha = 2.0;
  Rigid3d robust_pose = start, square_pose = start;
  Refine(FeatureMetricOptions(), &robust_pose);
  Refine(square, &square_pose);
  EXPECT_LT(CenterError(robust_pose, query_.cam_from_world), 0.02);
  EXPECT_LT(CenterError(robust_pose, query_.cam_from_world),
            0.2 * CenterError(square_pose, query_.cam_from_world));
}

TEST_F(RefinePoseFeatureMetricTest, StaysWithoutPoints) {
  use_.clear();
  Rigid3d pose = query_.cam_from_world;
  EXPECT_EQ(Refine(FeatureMetricOptions(), &pose), 0.0);
  EXPECT_LT(RotationErrorDeg(pose, query_.cam_from_world), 1e-10);
  EXPECT_EQ(pose.translation, query_.cam_from_world.translation);
}

TEST(FeatureMetricOptions, Check) {
  EXPECT_TRUE(FeatureMetricOptions().Check());
  const auto check = [](auto change) {
    FeatureMetricOptions options;
    change(&options);
    return options.Check();
  };
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInf = std::numeric_limits<double>::infinity();
  for (const double bad : {0.0, -1.0, kNan, kInf}) {
    EXPECT_FALSE(check([&](auto* o) { o->scale = bad; }));
  }
  for (const double bad : {2.1, kNan, -kInf}) {
    EXPECT_FALSE(check([&](auto* o) { o->alpha = bad; }));
  }
  EXPECT_FALSE(check([](auto* o) { o->max_num_iterations = 0; }));
}

TEST(FeatureMetricLoss, Names) {
  for (const FeatureMetricLoss loss :
       {FeatureMetricLoss::kHuber, FeatureMetricLoss::kBarron}) {
    EXPECT_EQ(ParseFeatureMetricLoss(FeatureMetricLossName(loss)), loss);
  }
  EXPECT_THROW(ParseFeatureMetricLoss("l2"), InputError);
}

}  // namespace
}  // namespace nre
