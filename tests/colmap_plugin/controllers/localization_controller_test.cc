#include "colmap_plugin/controllers/localization_controller.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/parallel.h"
#include "s2d/image.h"
#include "tests/colmap_plugin/plugin_testing.h"
#include "tests/testing/synthetic_scene.h"

namespace nre {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class LocalizationControllerTest : public testing::Test {
 protected:
  LocalizationControllerTest()
      : scene_(folder_.path()), preset_(CreateFeaturePreset("dense_sift")) {
    ReadModel(scene_.model_path, &model_);
    queries_ = ReadQueryList(scene_.query_list_path);
    options_.num_threads = 2;
  }

  std::vector<QueryResult> Run(
      const std::vector<QueryReferences>& references = {}) {
    LocalizationController controller(
        model_, scene_.image_path, preset_, options_, &stop_);
    return controller.Run(
        queries_, references, [this](const QueryResult&) { ++num_reported_; });
  }

  QueryReferences Given(const std::vector<colmap::image_t>& ids) const {
    return {ids, true};
  }

  void ExpectRight(const std::vector<QueryResult>& results) const {
    ASSERT_EQ(results.size(), queries_.size());
    for (size_t i = 0; i < results.size(); ++i) {
      EXPECT_EQ(results[i].name, queries_[i].name);
      ASSERT_EQ(results[i].estimate.verdict, Verdict::kRegistered)
          << results[i].estimate.reason;
      EXPECT_LT(CenterError(results[i].estimate.cam_from_world,
                            scene_.query_poses[i]),
                0.1);
      EXPECT_LT(RotationErrorDeg(results[i].estimate.cam_from_world,
                                 scene_.query_poses[i]),
                1.0);
      EXPECT_GT(results[i].estimate.support.size(), 50);
      const NreEstimationOptions& estimation = options_.estimation;
      EXPECT_LE(
          results[i].point3D_ids.size(),
          static_cast<size_t>(std::max(estimation.max_num_points,
                                       estimation.max_num_refinement_points)));
    }
  }

  TestFolder folder_;
  RenderedScene scene_;
  FeaturePreset preset_;
  colmap::Reconstruction model_;
  std::vector<Query> queries_;
  LocalizationOptions options_;
  std::atomic<bool> stop_{false};
  int num_reported_ = 0;
};

TEST_F(LocalizationControllerTest, WithGivenReferences) {
  const std::vector<QueryResult> results =
      Run({Given({2, 1, 2}), Given({3, 4})});
  ExpectRight(results);
  EXPECT_EQ(num_reported_, 2);
  EXPECT_THAT(results[0].references, ElementsAre("r1.png", "r0.png"));
  EXPECT_FALSE(results[0].references_chosen);
  EXPECT_THAT(results[0].warnings, IsEmpty());
}

// Keeps the pictures that are looked at, in their order.
class RecordingExtractor : public FeatureExtractor {
 public:
  RecordingExtractor(std::unique_ptr<FeatureExtractor> extractor,
                     std::vector<Image>* pictures)
      : extractor_(std::move(extractor)), pictures_(pictures) {}

  int Channels() const override { return extractor_->Channels(); }
  double Stride() const override { return extractor_->Stride(); }
  double MaxScale(int width, int height) const override {
    return extractor_->MaxScale(width, height);
  }
  FeatureMap Extract(const Image& image, double scale) const override {
    pictures_->push_back(image);
    return extractor_->Extract(image, scale);
  }

 private:
  std::unique_ptr<FeatureExtractor> extractor_;
  std::vector<Image>* pictures_;
};

// So that the features of the query are not in memory meanwhile.
TEST_F(LocalizationControllerTest, ReferencesAreDescribedBeforeTheQuery) {
  std::vector<Image> pictures;
  preset_.fine =
      std::make_unique<RecordingExtractor>(std::move(preset_.fine), &pictures);
  queries_.resize(1);
  options_.num_threads = 1;
  ExpectRight(Run({Given({2, 1})}));
  std::vector<std::vector<uint8_t>> seen, expected;
  for (const Image& picture : pictures) seen.push_back(picture.rgb);
  for (const char* name : {"/r1.png", "/r0.png", "/q0.png"}) {
    expected.push_back(ReadImage(scene_.image_path + name).rgb);
  }
  EXPECT_TRUE(seen == expected) << pictures.size() << " pictures";
}

// A fifth of the picture, or the whole one with a sixteenth of its pixels.
TEST_F(LocalizationControllerTest, CroppedAndTinyQueries) {
  const cv::Mat picture = cv::imread(scene_.image_path + "/q0.png");
  cv::imwrite(scene_.image_path + "/crop.png", picture({140, 100, 220, 150}));
  cv::Mat tiny;
  cv::resize(picture, tiny, {120, 90}, 0.0, 0.0, cv::INTER_AREA);
  cv::imwrite(scene_.image_path + "/tiny.png", tiny);
  WriteFile(scene_.query_list_path,
            "crop.png PINHOLE 220 150 420 420 100 80\n"
            "tiny.png PINHOLE 120 90 105 105 60 45\n");
  queries_ = ReadQueryList(scene_.query_list_path);
  for (const std::vector<QueryReferences>& references :
       {std::vector<QueryReferences>{Given({2, 1}), Given({2, 1})}, {}}) {
    const std::vector<QueryResult> results = Run(references);
    for (const QueryResult& result : results) {
      ASSERT_EQ(result.estimate.verdict, Verdict::kRegistered)
          << result.name << ": " << result.estimate.reason;
      EXPECT_LT(
          CenterError(result.estimate.cam_from_world, scene_.query_poses[0]),
          0.1);
      EXPECT_LT(RotationErrorDeg(result.estimate.cam_from_world,
                                 scene_.query_poses[0]),
                1.0);
    }
    // The points of a part, and of both pictures.
    EXPECT_LT(2 * results[0].point3D_ids.size(), results[1].point3D_ids.size());
  }
}

// From a third of the references' distance, and from three times that.
TEST_F(LocalizationControllerTest, QueriesFromNearAndFar) {
  const PinholeCamera camera(480, 360, 420, 420, 240, 180);
  const Rigid3d poses[] = {LookAt({0.3, 2.9, 2.2}, {0.0, 6.0, 2.0}),
                           LookAt({-0.4, -24.0, 2.0}, {0.0, 6.0, 2.0})};
  const char* names[] = {"near.png", "far.png"};
  const Scene scene = MakeStreetScene(7);
  std::string list;
  for (int i = 0; i < 2; ++i) {
    WriteImage(scene_.image_path + "/" + names[i],
               Render(scene, camera, poses[i], MakeLighting("day"), 2).image);
    list += std::string(names[i]) + " PINHOLE 480 360 420 420 240 180\n";
  }
  WriteFile(scene_.query_list_path, list);
  queries_ = ReadQueryList(scene_.query_list_path);
  const std::vector<QueryResult> results = Run({Given({2, 3}), Given({2, 3})});
  for (int i = 0; i < 2; ++i) {
    const PoseEstimate& estimate = results[i].estimate;
    ASSERT_EQ(estimate.verdict, Verdict::kRegistered)
        << names[i] << ": " << estimate.reason;
    EXPECT_LT(CenterError(estimate.cam_from_world, poses[i]), 0.1);
    EXPECT_LT(RotationErrorDeg(estimate.cam_from_world, poses[i]), 1.0);
  }
}

// Writes the picture as a JPEG file with an EXIF orientation.
void WriteTagged(const std::string& path,
                 const cv::Mat& picture,
                 char orientation) {
  std::vector<uint8_t> jpeg;
  cv::imencode(".jpg", picture, jpeg, {cv::IMWRITE_JPEG_QUALITY, 98});
  std::string exif(
      "\xff\xe1\0\x22"  // a segment of 34 bytes
      "Exif\0\0MM\0*\0\0\0\x8"
      // One entry, the orientation, a short.
      "\0\1\1\x12\0\3\0\0\0\1\0?\0\0\0\0\0\0",
      36);
  exif[exif.find('?')] = orientation;
  const std::string bytes(jpeg.begin(), jpeg.end());
  WriteFile(path, bytes.substr(0, 2) + exif + bytes.substr(2));
}

// Phones store what they saw lying on their side; editors forget to clear the
// tag of what they have turned.
TEST_F(LocalizationControllerTest,
       QueriesAreTurnedAsTheirExifTagOrTheirLookSays) {
  // The principal point is not in the middle, so that it must turn along.
  const cv::Mat upright =
      cv::imread(scene_.image_path + "/q0.png")({0, 0, 460, 350});
  cv::Mat lying, overhead;
  cv::rotate(upright, lying, cv::ROTATE_90_COUNTERCLOCKWISE);
  cv::rotate(upright, overhead, cv::ROTATE_180);
  WriteTagged(scene_.image_path + "/phone.jpg", lying, 6);
  WriteTagged(scene_.image_path + "/overhead.jpg", overhead, 3);
  WriteTagged(scene_.image_path + "/stale.jpg", upright, 6);
  cv::imwrite(scene_.image_path + "/untagged.png", lying);
  cv::Mat noise(upright.size(), CV_8UC3);
  cv::randu(noise, 0, 256);
  cv::imwrite(scene_.image_path + "/stranger.png", noise);
  WriteFile(scene_.query_list_path,
            "phone.jpg PINHOLE 350 460 420 420 180 220\n"
            "overhead.jpg PINHOLE 460 350 420 420 220 170\n"
            "stale.jpg PINHOLE 460 350 420 420 240 180\n"
            "untagged.png PINHOLE 350 460 420 420 180 220\n"
            "stranger.png PINHOLE 460 350 420 420 240 180\n");
  queries_ = ReadQueryList(scene_.query_list_path);
  options_.estimation.max_num_points = 500;
  options_.estimation.max_num_refinement_points = 500;
  const std::vector<QueryReferences> references(5, Given({2, 1}));
  const auto expect_right = [&](const QueryResult& result, int turned_deg) {
    SCOPED_TRACE(result.name);
    EXPECT_EQ(result.turned_deg, turned_deg);
    ASSERT_EQ(result.estimate.verdict, Verdict::kRegistered)
        << result.estimate.reason;
    // What turns the picture upright turns the camera.
    const Rigid3d file_from_upright = {
        Eigen::Quaterniond(Eigen::AngleAxisd(-turned_deg * M_PI / 180.0,
                                             Eigen::Vector3d::UnitZ())),
        Eigen::Vector3d::Zero()};
    const Rigid3d& pose = result.estimate.cam_from_world;
    const Rigid3d truth = file_from_upright * scene_.query_poses[0];
    EXPECT_LT(CenterError(pose, truth), 0.1);
    EXPECT_LT(RotationErrorDeg(pose, truth), 1.0);
    // Keypoints are those of the file.
    const auto query =
        std::find_if(queries_.begin(), queries_.end(), [&](const Query& query) {
          return query.name == result.name;
        });
    const std::unique_ptr<Camera> camera = CreateCamera(query->camera);
    for (const PoseEstimate::Support& support : result.estimate.support) {
      Eigen::Vector2d xy;
      ASSERT_TRUE(camera->Project(
          pose * XYZ(model_.Point3D(result.point3D_ids[support.point])),
          &xy,
          nullptr));
      EXPECT_LT((xy - support.xy).norm(), 5.0);
    }
  };
  const std::vector<QueryResult> results = Run(references);
  expect_right(results[0], 90);
  expect_right(results[1], 180);
  expect_right(results[2], 0);
  expect_right(results[3], 90);
  EXPECT_NE(results[4].estimate.verdict, Verdict::kRegistered);
  EXPECT_EQ(results[4].turned_deg, 0);

  options_.query_orientations = QueryOrientations::kAll;
  queries_ = {queries_[3]};
  expect_right(Run({references[0]})[0], 90);

  // References with the same tag: as they are held, not upright.
  options_.query_orientations = QueryOrientations::kAuto;
  for (const std::string& name : scene_.reference_names) {
    const std::string path = scene_.image_path + "/" + name;
    WriteTagged(path, cv::imread(path), 6);
  }
  queries_ = ReadQueryList(scene_.query_list_path);
  queries_ = {queries_[2]};
  expect_right(Run({references[0]})[0], 0);
}

// A quarter of the pixels of the references: the view follows from the focal
// length that was found.
TEST_F(LocalizationControllerTest,
       UnknownFocalLengthsAreLookedAtLikeKnownOnes) {
  const cv::Mat picture = cv::imread(scene_.image_path + "/q0.png");
  cv::Mat small;
  cv::resize(picture, small, {240, 180}, 0.0, 0.0, cv::INTER_AREA);
  cv::imwrite(scene_.image_path + "/known.png", small);
  cv::imwrite(scene_.image_path + "/unknown.png", small);
  WriteFile(scene_.query_list_path,
            "known.png PINHOLE 240 180 210 210 120 90\n"
            "unknown.png PINHOLE 240 180 0 0 120 90\n");
  queries_ = ReadQueryList(scene_.query_list_path);
  const std::vector<QueryResult> results = Run({Given({2, 1}), Given({2, 1})});
  const PoseEstimate& known = results[0].estimate;
  const PoseEstimate& unknown = results[1].estimate;
  ASSERT_EQ(unknown.verdict, Verdict::kRegistered) << unknown.reason;
  EXPECT_FALSE(results[0].focal_length_estimated);
  EXPECT_TRUE(results[1].focal_length_estimated);
  EXPECT_NEAR(unknown.focal_length_px, 210.0, 1.0);
  EXPECT_DOUBLE_EQ(CameraParams(results[1].camera)[0], unknown.focal_length_px);
  // The guess was 1.2 times the larger side.
  EXPECT_NEAR(
      unknown.correction.focal_scale, unknown.focal_length_px / 288.0, 1e-9);
  EXPECT_LT(CenterError(unknown.cam_from_world, scene_.query_poses[0]), 0.05);
  EXPECT_LT(RotationErrorDeg(unknown.cam_from_world, scene_.query_poses[0]),
            0.3);
  EXPECT_EQ(results[0].point3D_ids, results[1].point3D_ids);
  EXPECT_NEAR(unknown.support.size(),
              known.support.size(),
              0.05 * known.support.size());
}

// Stated 7 % too long, or of a part whose principal point is not its centre, or
// of a lens that distorts: what the picture says is used, and said.
TEST_F(LocalizationControllerTest, WhatThePictureContradictsIsEstimated) {
  const cv::Mat picture = cv::imread(scene_.image_path + "/q0.png");
  cv::imwrite(scene_.image_path + "/part.png", picture({0, 0, 380, 290}));
  cv::Mat map_x(picture.size(), CV_32F), map_y(picture.size(), CV_32F), lens;
  for (int y = 0; y < picture.rows; ++y) {
    for (int x = 0; x < picture.cols; ++x) {
      const double u = (x + 0.5 - 240.0) / 420.0, v = (y + 0.5 - 180.0) / 420.0;
      // The inverse of r (1 - 0.1 r^2), nearly.
      const double r2 = u * u + v * v;
      const double factor = 1.0 + 0.1 * r2 + 0.03 * r2 * r2;
      map_x.at<float>(y, x) = 420.0 * factor * u + 240.0 - 0.5;
      map_y.at<float>(y, x) = 420.0 * factor * v + 180.0 - 0.5;
    }
  }
  cv::remap(picture, lens, map_x, map_y, cv::INTER_CUBIC);
  cv::imwrite(scene_.image_path + "/lens.png", lens);
  cv::imwrite(scene_.image_path + "/long.png", picture);
  WriteFile(scene_.query_list_path,
            "long.png PINHOLE 480 360 449.4 449.4 240 180\n"
            "part.png PINHOLE 380 290 420 420 190 145\n"
            "lens.png PINHOLE 480 360 420 420 240 180\n");
  queries_ = ReadQueryList(scene_.query_list_path);
  const std::vector<QueryReferences> references(3, Given({2, 1}));
  const std::vector<QueryResult> results = Run(references);
  for (const QueryResult& result : results) {
    const Rigid3d& pose = result.estimate.cam_from_world;
    if (result.estimate.verdict == Verdict::kRegistered) {
      EXPECT_LT(CenterError(pose, scene_.query_poses[0]), 0.15) << result.name;
      EXPECT_LT(RotationErrorDeg(pose, scene_.query_poses[0]), 1.5)
          << result.name;
      EXPECT_THAT(result.warnings,
                  ElementsAre(HasSubstr("contradicts its camera as stated")));
      EXPECT_TRUE(result.focal_length_estimated);
    } else {
      EXPECT_TRUE(result.estimate.why == Reason::kContradictsFocalLength ||
                  result.estimate.why == Reason::kContradictsLens)
          << result.name << ": " << result.estimate.reason;
    }
  }
  EXPECT_EQ(results[0].estimate.verdict, Verdict::kRegistered);
  EXPECT_NEAR(CameraParams(results[0].camera)[0], 420.0, 3.0);
  EXPECT_EQ(ReadQueryList(scene_.query_list_path).size(), 3u);
}

// As UTM coordinates beside a local model.
TEST_F(LocalizationControllerTest, APositionInOtherCoordinatesIsNamed) {
  queries_.resize(1);
  PositionPrior prior;
  prior.mean << 500123.0, 5321000.0, 412.0;
  prior.covariance *= 25.0;
  queries_[0].priors.position = prior;
  const QueryResult result = Run({Given({2, 1})})[0];
  EXPECT_EQ(result.estimate.verdict, Verdict::kRejected);
  EXPECT_EQ(result.estimate.why, Reason::kContradictsPrior);
  EXPECT_THAT(result.estimate.reason, HasSubstr("position prior lies 5.3444"));
}

// hloc marks calibrated cameras as guesses when it makes a database.
TEST_F(LocalizationControllerTest, CamerasOfTheModelAreKnown) {
  queries_[0].focal_length_unknown = true;
  const std::vector<QueryResult> results = Run({Given({2, 1}), Given({3, 4})});
  ExpectRight(results);
  EXPECT_FALSE(results[0].focal_length_estimated);
}

// With 21 supporting points at full size, which are no more than chance.
TEST_F(LocalizationControllerTest, NoisyQueryIsLookedAtAgain) {
  const cv::Mat picture = cv::imread(scene_.image_path + "/q0.png");
  cv::Mat noise(picture.size(), CV_16SC3), noisy;
  cv::RNG(0).fill(noise, cv::RNG::NORMAL, 0, 220);
  cv::add(picture, noise, noisy, cv::noArray(), CV_8UC3);
  cv::imwrite(scene_.image_path + "/q0.png", noisy);
  queries_.resize(1);
  ExpectRight(Run({Given({2, 1})}));
}

// With a sixth of what its reference observes, a small part of the picture is
// four degrees off, which other images' points mend.
TEST_F(LocalizationControllerTest, UncertainPosesGetMoreReferences) {
  const cv::Mat picture = cv::imread(scene_.image_path + "/q0.png");
  cv::imwrite(scene_.image_path + "/crop.png", picture({140, 100, 220, 150}));
  WriteFile(scene_.query_list_path,
            "crop.png PINHOLE 220 150 420 420 100 80\n");
  queries_ = ReadQueryList(scene_.query_list_path);
  const size_t num_points = model_.Image(1).NumPoints2D();
  for (size_t i = 0; i < num_points; ++i) {
    if (i % 6 != 0 && model_.Image(1).Point2D(i).HasPoint3D()) {
      model_.DeleteObservation(1, i);
    }
  }
  const QueryResult result = Run({Given({1})})[0];
  EXPECT_THAT(result.references, ElementsAre("r0.png", "r1.png", "r2.png"));
  ASSERT_EQ(result.estimate.verdict, Verdict::kRegistered)
      << result.estimate.reason;
  EXPECT_LT(CenterError(result.estimate.cam_from_world, scene_.query_poses[0]),
            0.03);

  QueryReferences no_others = Given({1});
  no_others.excluded = {2, 3, 4};
  const QueryResult alone = Run({no_others})[0];
  EXPECT_THAT(alone.references, ElementsAre("r0.png"));
  EXPECT_EQ(alone.estimate.verdict, Verdict::kRejected);
  EXPECT_THAT(alone.estimate.reason, HasSubstr("too uncertain"));
}

// Half of one query beside half of the other: what more of the map shows does
// not decide between their poses either.
TEST_F(LocalizationControllerTest, TwoPosesAreComparedWithMoreReferences) {
  const cv::Mat left = cv::imread(scene_.image_path + "/q0.png");
  cv::Mat both = cv::imread(scene_.image_path + "/q1.png");
  const cv::Rect half(0, 0, both.cols / 2, both.rows);
  left(half).copyTo(both(half));
  cv::imwrite(scene_.image_path + "/q0.png", both);
  queries_.resize(1);
  QueryReferences references = Given({1, 4});
  QueryResult result = Run({references})[0];
  EXPECT_EQ(result.estimate.verdict, Verdict::kRejected);
  EXPECT_THAT(result.estimate.reason, HasSubstr("another pose"));
  EXPECT_EQ(result.estimate.alternatives.size(), 1);
  EXPECT_THAT(result.references,
              ElementsAre("r0.png", "r3.png", "r1.png", "r2.png"));
  references.excluded = {2};
  result = Run({references})[0];
  EXPECT_THAT(result.references, ElementsAre("r0.png", "r3.png", "r2.png"));
}

TEST_F(LocalizationControllerTest, WithChosenReferences) {
  const std::vector<QueryResult> results = Run();
  ExpectRight(results);
  EXPECT_TRUE(results[0].references_chosen);
  EXPECT_EQ(results[0].references.size(), 3);
  options_.max_num_probed_references = 1;
  EXPECT_THAT(Run()[0].references, ElementsAre("r0.png"));
}

TEST_F(LocalizationControllerTest, TheSameForAnyNumberOfThreads) {
  options_.estimation.max_num_points = 300;
  const std::vector<QueryResult> two = Run({Given({2, 1}), Given({3, 4})});
  options_.num_threads = 1;
  const std::vector<QueryResult> one = Run({Given({2, 1}), Given({3, 4})});
  EXPECT_EQ(FormatResults(one), FormatResults(two));
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].point3D_ids, two[i].point3D_ids);
    EXPECT_EQ(one[i].estimate.covariance, two[i].estimate.covariance);
    EXPECT_EQ(one[i].estimate.support.size(), two[i].estimate.support.size());
  }
}

TEST_F(LocalizationControllerTest, EveryMethodWithAnyNumberOfThreads) {
  options_.estimation.max_num_points = 500;
  for (const EstimationMethod method : {EstimationMethod::kRe,
                                        EstimationMethod::kLoRansac,
                                        EstimationMethod::kMagsac,
                                        EstimationMethod::kFpr}) {
    options_.estimation.method = method;
    options_.num_threads = 2;
    const std::vector<QueryResult> two = Run({Given({2, 1}), Given({3, 4})});
    SCOPED_TRACE(EstimationMethodName(method));
    ExpectRight(two);
    EXPECT_EQ(two[0].method, method);
    options_.num_threads = 1;
    EXPECT_EQ(FormatResults(Run({Given({2, 1}), Given({3, 4})})),
              FormatResults(two));
  }
}

// Which do not depend on the method, or they would not be comparable.
TEST_F(LocalizationControllerTest, EveryMethodSeesTheSamePoints) {
  queries_.resize(1);
  const QueryResult nre = Run()[0];
  options_.estimation.method = EstimationMethod::kMagsac;
  const QueryResult magsac = Run()[0];
  EXPECT_EQ(nre.references, magsac.references);
  EXPECT_EQ(nre.point3D_ids, magsac.point3D_ids);
}

TEST_F(LocalizationControllerTest, BadQueriesFailAlone) {
  Query absent = queries_[0];
  absent.name = "absent.png";
  Query broken = queries_[0];
  broken.name = "broken.png";
  WriteFile(scene_.image_path + "/broken.png",
            ReadFile(scene_.image_path + "/q0.png").substr(0, 5000));
  Query resized = queries_[0];
  resized.camera = MakeColmapCamera("PINHOLE", 481, 360, {420, 420, 240, 180});
  Query bad = queries_[0];
  bad.error = "no intrinsics";
  queries_.insert(queries_.end(), {absent, broken, resized, bad});
  const std::vector<QueryResult> results =
      Run(std::vector<QueryReferences>(queries_.size(), Given({2, 3})));
  ASSERT_EQ(results.size(), 6);
  EXPECT_EQ(results[0].estimate.verdict, Verdict::kRegistered);
  EXPECT_EQ(results[1].estimate.verdict, Verdict::kRegistered);
  for (int i = 2; i < 6; ++i) {
    EXPECT_EQ(results[i].estimate.verdict, Verdict::kFailed);
  }
  EXPECT_THAT(results[2].estimate.reason, HasSubstr("absent.png"));
  EXPECT_THAT(results[3].estimate.reason, HasSubstr("broken.png"));
  EXPECT_THAT(results[4].estimate.reason,
              testing::AllOf(HasSubstr("480x360"), HasSubstr("481x360")));
  EXPECT_EQ(results[5].estimate.reason, "no intrinsics");
}

TEST_F(LocalizationControllerTest, UnusableReferences) {
  std::filesystem::remove(scene_.image_path + "/r0.png");
  const std::vector<QueryResult> results = Run({Given({1, 2}), Given({1})});
  EXPECT_EQ(results[0].estimate.verdict, Verdict::kRegistered);
  EXPECT_THAT(results[0].references, ElementsAre("r1.png"));
  EXPECT_THAT(results[0].warnings, ElementsAre(HasSubstr("r0.png")));
  EXPECT_EQ(results[1].estimate.verdict, Verdict::kFailed);
  EXPECT_THAT(results[1].estimate.reason, HasSubstr("r0.png"));
  // None is left out silently when they are chosen either.
  EXPECT_THAT(Run()[0].references, testing::Not(testing::Contains("r0.png")));
}

TEST_F(LocalizationControllerTest, UnusableReferencesAmongTheChosen) {
  std::filesystem::remove(scene_.image_path + "/r0.png");
  cv::imwrite(scene_.image_path + "/r3.png", cv::Mat(48, 64, CV_8UC3));
  for (const QueryResult& result : Run()) {
    EXPECT_EQ(result.estimate.verdict, Verdict::kRegistered);
    EXPECT_THAT(
        result.warnings,
        ElementsAre(HasSubstr("r0.png"),
                    AllOf(HasSubstr("r3.png"), HasSubstr("64x48 pixels"))));
  }
}

TEST_F(LocalizationControllerTest, ACameraOfOneReferenceThatCannotBeUsed) {
  AddReferenceWithoutFocalLength(scene_, &model_);
  const auto warning = ElementsAre(AllOf(
      HasSubstr("r9.png"), HasSubstr("camera 7"), HasSubstr("focal length")));
  const std::vector<QueryResult> chosen = Run();
  ExpectRight(chosen);
  EXPECT_THAT(chosen[0].warnings, warning);
  const std::vector<QueryResult> given = Run({Given({9, 1, 2}), Given({3, 4})});
  ExpectRight(given);
  EXPECT_THAT(given[0].references, ElementsAre("r0.png", "r1.png"));
  EXPECT_THAT(given[0].warnings, warning);
  EXPECT_THAT(given[1].warnings, IsEmpty());
  // As if it were the query's.
  EXPECT_THAT(Run({Given({9}), Given({9})})[0].estimate.reason,
              HasSubstr("reference image r9.png"));
}

TEST_F(LocalizationControllerTest, ContradictoryReferencesAreLeftOut) {
  PutPoints2DIntoCorner(model_.Image(1));
  const auto warning =
      ElementsAre(AllOf(HasSubstr("r0.png"), HasSubstr("contradict")));
  const std::vector<QueryResult> chosen = Run();
  ExpectRight(chosen);
  EXPECT_THAT(chosen[0].warnings, warning);
  const std::vector<QueryResult> given = Run({Given({1, 2}), Given({3, 4})});
  ExpectRight(given);
  EXPECT_THAT(given[0].references, ElementsAre("r1.png"));
  EXPECT_THAT(given[0].warnings, warning);
}

TEST_F(LocalizationControllerTest, AnImageIsNeverItsOwnReference) {
  queries_ = {queries_[0], queries_[0]};
  queries_[0].name = queries_[1].name = "r1.png";
  const std::vector<QueryResult> given = Run({Given({2, 1}), Given({2})});
  EXPECT_THAT(given[0].references, ElementsAre("r0.png"));
  EXPECT_EQ(given[1].estimate.verdict, Verdict::kFailed);
  EXPECT_THAT(given[1].estimate.reason, HasSubstr("itself"));
  EXPECT_THAT(Run()[0].references, testing::Not(testing::Contains("r1.png")));
}

TEST_F(LocalizationControllerTest, StopsWhenAsked) {
  stop_ = true;
  EXPECT_THROW(Run(), Interrupted);
  EXPECT_EQ(num_reported_, 0);
}

TEST_F(LocalizationControllerTest, Pictures) {
  std::filesystem::create_directory(folder_ / "pictures");
  options_.picture_path = folder_ / "pictures";
  ExpectRight(Run({Given({2, 1}), Given({3, 4})}));
  EXPECT_THAT(List(folder_ / "pictures"),
              ElementsAre("q0.png.maps.jpg",
                          "q0.png.pose.jpg",
                          "q1.png.maps.jpg",
                          "q1.png.pose.jpg"));
}

TEST_F(LocalizationControllerTest, PairsOfAbsentImages) {
  const Pairs pairs = {{"q0.png", {"x.png", "r3.png", "y.png", "r0.png"}},
                       {"q1.png", {"x.png"}},
                       {"other.png", {"z.png"}}};
  std::vector<std::string> absent;
  const std::vector<QueryReferences> references =
      ResolvePairs(pairs, queries_, model_, &absent);
  EXPECT_THAT(absent, ElementsAre("x.png", "y.png"));
  ASSERT_EQ(references.size(), 2);
  EXPECT_THAT(references[0].image_ids, ElementsAre(4, 1));
  EXPECT_THAT(references[1].image_ids, IsEmpty());
  EXPECT_TRUE(references[1].given);
  const std::vector<QueryResult> results = Run(references);
  EXPECT_EQ(results[1].estimate.verdict, Verdict::kFailed);
  EXPECT_THAT(results[1].estimate.reason, HasSubstr("pairs file"));
}

TEST(LocalizationOptions, Check) {
  EXPECT_TRUE(LocalizationOptions().Check());
  LocalizationOptions options;
  options.num_threads = 0;
  EXPECT_FALSE(options.Check());
  options = LocalizationOptions();
  options.estimation.max_num_points = 2;
  EXPECT_FALSE(options.Check());
}

}  // namespace
}  // namespace nre
