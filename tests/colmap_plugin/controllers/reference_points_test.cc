#include "colmap_plugin/controllers/reference_points.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <opencv2/imgcodecs.hpp>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"
#include "tests/testing/synthetic_maps.h"
#include "tests/testing/synthetic_scene.h"

namespace nre {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Two channels: the image's first pixel's red, and 255 minus it.
class FirstPixelExtractor : public FeatureExtractor {
 public:
  explicit FirstPixelExtractor(std::atomic<int>* num_calls)
      : num_calls_(num_calls) {}

  int Channels() const override { return 2; }

  double Stride() const override { return 1.0; }

  double MaxScale(int /*width*/, int /*height*/) const override { return 1.0; }

  FeatureMap Extract(const Image& image, double /*scale*/) const override {
    ++*num_calls_;
    FeatureMap features;
    features.channels = 2;
    features.width = image.width;
    features.height = image.height;
    features.map_from_image = MapFromImage::FromStride(
        Eigen::Vector2d::Ones(), {0.5, 0.5}, Eigen::Vector2d::Ones());
    const Eigen::Vector2f descriptor =
        Eigen::Vector2f(image.rgb[0], 255 - image.rgb[0]).normalized();
    for (int i = 0; i < image.width * image.height; ++i) {
      features.data.push_back(descriptor.x());
      features.data.push_back(descriptor.y());
    }
    return features;
  }

 private:
  std::atomic<int>* num_calls_;
};

class ReferencePoints : public testing::Test {
 protected:
  ReferencePoints() : model_(MakeSmallModel()) {
    preset_.coarse = std::make_unique<FirstPixelExtractor>(&num_calls_);
    preset_.fine = std::make_unique<FirstPixelExtractor>(&num_calls_);
    std::filesystem::create_directory(folder_ / "sub");
    WriteImage("a.jpg", 64, 255);
    WriteImage("b.jpg", 64, 0);
    WriteImage("sub/c.jpg", 80, 255);
  }

  void WriteImage(const std::string& name, int width, int level) {
    cv::imwrite(folder_ / name, cv::Mat(48, width, CV_8UC1, cv::Scalar(level)));
  }

  std::string Error(colmap::image_t image_id) {
    ReferenceCache cache(model_, folder_.path(), preset_, 10);
    try {
      cache.Get(image_id);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }

  TestFolder folder_;
  std::atomic<int> num_calls_{0};
  colmap::Reconstruction model_;
  FeaturePreset preset_;
};

TEST_F(ReferencePoints, DescribesAllPointsOnce) {
  ReferenceCache cache(model_, folder_.path(), preset_, 10);
  const auto description = cache.Get(1);
  EXPECT_THAT(description->point3D_ids, ElementsAre(1, 2, 3, 4, 5, 6));
  ASSERT_EQ(description->coarse.size(), 12);
  EXPECT_NEAR(description->coarse[0], 1.0f, 1e-6f);
  EXPECT_NEAR(description->coarse[1], 0.0f, 1e-6f);
  EXPECT_EQ(num_calls_, 2);  // coarse and fine
  EXPECT_EQ(cache.Get(1), description);
  EXPECT_EQ(num_calls_, 2);
}

TEST_F(ReferencePoints, DescribedOnceForManyThreads) {
  ReferenceCache cache(model_, folder_.path(), preset_, 10);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&cache]() {
      for (const colmap::image_t id : {1, 2, 3}) {
        EXPECT_EQ(cache.Get(id)->point3D_ids.size(), 6);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(num_calls_, 6);
}

TEST_F(ReferencePoints, ForgetsTheLeastRecentlyUsed) {
  ReferenceCache cache(model_, folder_.path(), preset_, 2);
  cache.Get(1);
  cache.Get(2);
  cache.Get(1);
  cache.Get(3);  // in the place of 2
  EXPECT_EQ(num_calls_, 6);
  cache.Get(1);
  EXPECT_EQ(num_calls_, 6);
  cache.Get(2);
  EXPECT_EQ(num_calls_, 8);
}

TEST_F(ReferencePoints, PointsBehindTheCameraAreLeftOut) {
  // There is no setter that both versions of COLMAP have.
  const_cast<Eigen::Vector3d&>(XYZ(model_.Point3D(2))) = {0, 0, -5};
  ReferenceCache cache(model_, folder_.path(), preset_, 2);
  EXPECT_THAT(cache.Get(1)->point3D_ids, ElementsAre(1, 3, 4, 5, 6));
  EXPECT_THAT(CheckObservations(model_).points_behind, ElementsAre(2));
}

TEST_F(ReferencePoints, NothingIsWrongInASoundModel) {
  const ObservationCheck check = CheckObservations(model_);
  EXPECT_EQ(check.num_images, 3);
  EXPECT_EQ(check.num_points, 6);
  EXPECT_THAT(check.points_behind, IsEmpty());
  EXPECT_THAT(check.without_camera, IsEmpty());
  EXPECT_THAT(check.contradictory, IsEmpty());
}

// Three of six observations may be wrong, four may not; an error is one beyond
// 8 px. A point behind the camera is as wrong.
TEST_F(ReferencePoints, ObservationsThatContradictTheirPoints) {
  const colmap::Image& image = model_.Image(2);
  const auto move = [&](size_t point, double distance_px) {
    const_cast<Eigen::Vector2d&>(XY(image.Point2D(2 * point))).x() +=
        distance_px;
  };
  move(0, 7.9);
  move(1, 8.1);
  move(2, -100.0);
  const_cast<Eigen::Vector3d&>(XYZ(model_.Point3D(4))) = {0, 0, -5};
  EXPECT_EQ(Error(2), "");
  EXPECT_THAT(CheckObservations(model_).contradictory, IsEmpty());
  move(0, 0.2);
  EXPECT_THAT(Error(2),
              testing::AllOf(HasSubstr("reference image b.jpg"),
                             HasSubstr("contradict"),
                             HasSubstr("2 of 6"),
                             HasSubstr("8 px")));
  EXPECT_EQ(Error(1), "");
  EXPECT_THAT(CheckObservations(model_).contradictory, ElementsAre(Error(2)));
}

TEST_F(ReferencePoints, ErrorsMayGrowWithTheImage) {
  const auto error = [&](double distance_px) {
    colmap::Reconstruction model;
    const colmap::point3D_t id =
        model.AddPoint3D(Eigen::Vector3d(0, 0, 1), colmap::Track());
    AddRegisteredImage(
        MakeColmapCamera("PINHOLE", 4000, 3000, {3000, 3000, 2000, 1500}),
        1,
        1,
        "a.jpg",
        Rigid3d(),
        {{Eigen::Vector2d(2000 + distance_px, 1500), id}},
        &model);
    return CheckObservations(model).contradictory.size();
  };
  EXPECT_EQ(error(19.9), 0);
  EXPECT_EQ(error(20.1), 1);
}

TEST_F(ReferencePoints, CamerasThatCannotBeUsed) {
  const_cast<std::vector<double>&>(CameraParams(model_.Camera(2)))[0] = 0.0;
  EXPECT_THAT(Error(3),
              testing::AllOf(HasSubstr("sub/c.jpg"),
                             HasSubstr("camera 2"),
                             HasSubstr("focal length")));
  const ObservationCheck check = CheckObservations(model_);
  EXPECT_THAT(check.without_camera, ElementsAre(Error(3)));
  EXPECT_EQ(check.num_images, 2);
  EXPECT_EQ(check.num_points, 6);
}

TEST_F(ReferencePoints, PointsWithoutTracksAreNotCounted) {
  for (int i = 0; i < 10; ++i) {
    model_.AddPoint3D(Eigen::Vector3d(0, 0, -i), colmap::Track());
  }
  const ObservationCheck check = CheckObservations(model_);
  EXPECT_EQ(check.num_points, 6);
  EXPECT_THAT(check.points_behind, IsEmpty());
}

TEST_F(ReferencePoints, UnusableReferences) {
  std::filesystem::remove(folder_ / "a.jpg");
  EXPECT_THAT(Error(1), HasSubstr("a.jpg"));
  WriteFile(folder_ / "b.jpg", "no picture");
  EXPECT_THAT(Error(2), HasSubstr("b.jpg"));
  WriteImage("sub/c.jpg", 81, 0);
  EXPECT_THAT(
      Error(3),
      testing::AllOf(
          HasSubstr("sub/c.jpg"), HasSubstr("81x48"), HasSubstr("80x48")));
}

TEST_F(ReferencePoints, MeanOfDescriptorsIsNormalised) {
  ReferenceCache cache(model_, folder_.path(), preset_, 10);
  std::vector<colmap::point3D_t> ids;
  const DescribedPoints points = ChoosePoints(model_,
                                              {cache.Get(1), cache.Get(2)},
                                              preset_,
                                              Fusion::kMean,
                                              100,
                                              0,
                                              &ids);
  EXPECT_THAT(ids, ElementsAre(1, 2, 3, 4, 5, 6));
  ASSERT_EQ(points.size(), 6);
  EXPECT_EQ(points.xyz[3], XYZ(model_.Point3D(4)));
  ASSERT_EQ(points.views.size(), 6);
  const PointView mean =
      MeanView({ViewOfPoint(CamFromWorld(model_.Image(1)), points.xyz[3]),
                ViewOfPoint(CamFromWorld(model_.Image(2)), points.xyz[3])});
  EXPECT_TRUE(points.views[3].ray.isApprox(mean.ray));
  EXPECT_TRUE(points.views[3].up.isApprox(mean.up));
  EXPECT_DOUBLE_EQ(points.views[3].distance, mean.distance);
  for (const float value : points.coarse) {
    EXPECT_NEAR(value, std::sqrt(0.5f), 1e-6f);
  }
  EXPECT_EQ(points.fine, points.coarse);
}

// The descriptor of image 1 is (1, 0), that of image 2 (0, 1).
TEST_F(ReferencePoints, FusionsGetTheDescriptorsTheyNeed) {
  ReferenceCache cache(model_, folder_.path(), preset_, 10);
  std::vector<colmap::point3D_t> ids;
  const auto choose = [&](Fusion fusion) {
    return ChoosePoints(
        model_, {cache.Get(2), cache.Get(1)}, preset_, fusion, 100, 0, &ids);
  };
  const DescribedPoints nearest = choose(Fusion::kNearest);
  ASSERT_EQ(nearest.coarse.size(), 12);
  EXPECT_THAT(nearest.rows.begins, ElementsAre(0, 1, 2, 3, 4, 5, 6));
  for (size_t i = 0; i < 12; ++i) {
    EXPECT_NEAR(nearest.coarse[i], i % 2, 1e-6f);
  }
  for (const Fusion fusion : {Fusion::kMax, Fusion::kSum}) {
    const DescribedPoints points = choose(fusion);
    EXPECT_EQ(points.rows.fusion, fusion);
    EXPECT_THAT(points.rows.begins, ElementsAre(0, 2, 4, 6, 8, 10, 12));
    ASSERT_EQ(points.fine.size(), 24);
    for (size_t i = 0; i < 24; ++i) {
      EXPECT_NEAR(points.fine[i], i % 4 == 1 || i % 4 == 2, 1e-6f);
    }
  }
}

TEST_F(ReferencePoints, SubsetsDependOnTheSeedOnly) {
  ReferenceCache cache(model_, folder_.path(), preset_, 10);
  const auto a = cache.Get(1);
  const auto b = cache.Get(2);
  std::set<std::vector<colmap::point3D_t>> subsets;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<colmap::point3D_t> ids;
    std::vector<colmap::point3D_t> ids_of_other_order;
    EXPECT_EQ(
        ChoosePoints(model_, {a, b}, preset_, Fusion::kMean, 3, seed, &ids)
            .size(),
        3);
    ChoosePoints(
        model_, {b, a}, preset_, Fusion::kMean, 3, seed, &ids_of_other_order);
    EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
    EXPECT_EQ(ids, ids_of_other_order);
    subsets.insert(ids);
  }
  EXPECT_GT(subsets.size(), 5);
}

TEST_F(ReferencePoints, NoReferencesNoPoints) {
  std::vector<colmap::point3D_t> ids = {1};
  EXPECT_EQ(ChoosePoints(model_, {}, preset_, Fusion::kMean, 3, 0, &ids).size(),
            0);
  EXPECT_THAT(ids, IsEmpty());
}

TEST(ImagesThatShareView, AreRankedByThePointsInView) {
  colmap::Reconstruction model = MakeSmallModel();
  const std::unique_ptr<Camera> camera =
      CreateCamera(MakeColmapCamera("PINHOLE", 64, 48, {60, 60, 32, 24}));
  std::vector<colmap::point3D_t> ids;
  for (const auto& [id, _] : model.Points3D()) ids.push_back(id);
  const Rigid3d pose = CamFromWorld(model.Image(1));
  EXPECT_THAT(ImagesThatShareView(model, ids, *camera, pose),
              ElementsAre(1, 2, 3));
  // The first image observes one point less.
  model.DeleteObservation(1, 0);
  EXPECT_THAT(ImagesThatShareView(model, ids, *camera, pose),
              ElementsAre(2, 3, 1));
  Rigid3d away = pose;
  away.translation.z() -= 20.0;
  EXPECT_THAT(ImagesThatShareView(model, ids, *camera, away), IsEmpty());
  EXPECT_THAT(ImagesThatShareView(model, {}, *camera, pose), IsEmpty());
}

TEST(NumPointsInView, CountsEveryPointOnce) {
  colmap::Reconstruction model = MakeSmallModel();
  const std::unique_ptr<Camera> camera =
      CreateCamera(MakeColmapCamera("PINHOLE", 64, 48, {60, 60, 32, 24}));
  const Rigid3d pose = CamFromWorld(model.Image(1));
  const size_t num = model.NumPoints3D();
  EXPECT_EQ(NumPointsInView(model, {1, 2}, *camera, pose), num);
  model.DeleteObservation(1, 0);
  EXPECT_EQ(NumPointsInView(model, {1}, *camera, pose), num - 1);
  EXPECT_EQ(NumPointsInView(model, {1, 2}, *camera, pose), num);
  EXPECT_EQ(NumPointsInView(model, {}, *camera, pose), 0);
  Rigid3d away = pose;
  away.translation.z() -= 20.0;
  EXPECT_EQ(NumPointsInView(model, {1, 2}, *camera, away), 0);
}

// The point that the cameras of these poses see at `xys`, by least squares.
Eigen::Vector3d Triangulate(const Camera& camera,
                            const std::vector<Rigid3d>& poses,
                            const std::vector<Eigen::Vector2d>& xys,
                            const Eigen::Vector3d& start) {
  Eigen::Vector3d point = start;
  for (int iteration = 0; iteration < 5; ++iteration) {
    Eigen::Matrix3d hessian = Eigen::Matrix3d::Zero();
    Eigen::Vector3d gradient = Eigen::Vector3d::Zero();
    for (size_t i = 0; i < poses.size(); ++i) {
      Eigen::Vector2d xy;
      Eigen::Matrix<double, 2, 3> jacobian;
      camera.Project(poses[i] * point, &xy, &jacobian);
      jacobian = jacobian * poses[i].rotation.toRotationMatrix();
      hessian += jacobian.transpose() * jacobian;
      gradient += jacobian.transpose() * (xy - xys[i]);
    }
    point -= hessian.inverse() * gradient;
  }
  return point;
}

// A model of 30 images whose keypoints have noise, and, in each quarter of an
// image, an offset that they share.
colmap::Reconstruction ModelWithOffsets(double stddev_px, Random* random) {
  const colmap::Camera colmap_camera =
      MakeColmapCamera("PINHOLE", 600, 400, {500, 500, 300, 200});
  const std::unique_ptr<Camera> camera = CreateCamera(colmap_camera);
  constexpr double kNoisePx = 0.3;
  std::vector<Rigid3d> poses;
  std::vector<Eigen::Vector2d> offsets;  // four for each image
  for (int i = 0; i < 30; ++i) {
    poses.push_back(LookAt({i / 3.0 - 5.0, -6.0, random->Uniform(-2.0, 2.0)},
                           {0.0, 0.0, 0.0}));
    for (int k = 0; k < 4; ++k) {
      offsets.push_back(random->Normal2(stddev_px));
    }
  }
  colmap::Reconstruction model;
  std::vector<std::vector<ImagePoint>> points(poses.size());
  for (int n = 0; n < 1000; ++n) {
    const Eigen::Vector3d truth = random->Uniform3(-1.2, 1.2);
    std::vector<Eigen::Vector2d> xys(poses.size(), Eigen::Vector2d::Zero());
    for (size_t i = 0; i < poses.size(); ++i) {
      camera->Project(poses[i] * truth, &xys[i], nullptr);
      xys[i] += offsets[4 * i + 2 * (xys[i].y() > 200) + (xys[i].x() > 300)] +
                random->Normal2(kNoisePx);
    }
    const colmap::point3D_t id = model.AddPoint3D(
        Triangulate(*camera, poses, xys, truth), colmap::Track());
    for (size_t i = 0; i < poses.size(); ++i) {
      points[i].push_back({xys[i], id});
    }
  }
  for (size_t i = 0; i < poses.size(); ++i) {
    AddRegisteredImage(colmap_camera,
                       1,
                       1 + i,
                       std::to_string(i),
                       poses[i],
                       points[i],
                       &model);
  }
  return model;
}

TEST(SharedAngle, IsOneAndAHalfTimesWhatQuartersShare) {
  Random random(7);
  for (const double stddev_px : {0.1, 0.5}) {
    const colmap::Reconstruction model = ModelWithOffsets(stddev_px, &random);
    const double angle = SharedAngle(model, RegisteredImages(model));
    EXPECT_NEAR(angle * 500, 1.5 * stddev_px, 0.3 * stddev_px);
  }
}

// The errors of 2D points that have nothing to do with their 3D points.
TEST(SharedAngle, ContradictoryImagesDoNotCount) {
  Random random(7);
  const colmap::Reconstruction model = ModelWithOffsets(0.1, &random);
  const double angle = SharedAngle(model, RegisteredImages(model));
  PutPoints2DIntoCorner(model.Image(3));
  EXPECT_NEAR(SharedAngle(model, RegisteredImages(model)), angle, 0.1 * angle);
}

TEST(SharedAngle, IsNoneWhereErrorsAreTheirOwn) {
  Random random(8);
  const colmap::Reconstruction model = ModelWithOffsets(0.0, &random);
  EXPECT_LT(SharedAngle(model, RegisteredImages(model)) * 500, 0.03);
  EXPECT_EQ(SharedAngle(model, {}), 0.0);
  // Too few points to tell.
  EXPECT_EQ(SharedAngle(MakeSmallModel(), {1, 2, 3}), 0.0);
}

}  // namespace
}  // namespace nre
