// The whole localization on photographs with laser-surveyed poses: fountain-P11
// and Herz-Jesus-P25 (Strecha et al., CVPR 2008). The data are no part of the
// repository; without them the tests are skipped.

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <Eigen/Geometry>
#include <gtest/gtest.h>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/colmap.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/localization_controller.h"
#include "colmap_plugin/io/lists.h"
#include "nre/pose_evaluation.h"
#include "nre/rigid3.h"
#include "s2d/feature_preset.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

// Registered poses farther from the truth are wrong.
constexpr double kWrongCenterM = 0.5;
constexpr double kWrongRotationDeg = 5.0;

std::string SceneFolder(const std::string& scene) {
  return std::string(NRE_SOURCE_DIR) + "/../shared/datasets/" + scene;
}

class RealScenes : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(SceneFolder(GetParam()))) {
      GTEST_SKIP() << "skipped: there is no " << SceneFolder(GetParam());
    }
    folder_ = SceneFolder(GetParam());
    ReadModel(folder_ + "/map", &model_);
    queries_ = ReadQueryList(folder_ + "/queries.txt");
    truth_ = ReadPoses(folder_ + "/queries_gt.txt");
    ASSERT_EQ(truth_.size(), queries_.size());
  }

  // Localizes queries of this scene, or of `other`, in this scene's map.
  std::vector<QueryResult> Localize(
      const std::string& image_path,
      const std::vector<Query>& queries,
      const std::vector<QueryReferences>& references) {
    LocalizationController controller(
        model_, image_path, preset_, LocalizationOptions(), nullptr);
    return controller.Run(queries, references, nullptr);
  }

  void ExpectAllRight(const std::vector<QueryResult>& results) {
    std::vector<double> center_errors, rotation_errors;
    for (const QueryResult& result : results) {
      EXPECT_EQ(result.estimate.verdict, Verdict::kRegistered)
          << result.name << ": " << result.estimate.reason;
      const Rigid3d& pose = result.estimate.cam_from_world;
      center_errors.push_back(CenterError(pose, truth_.at(result.name)));
      rotation_errors.push_back(RotationErrorDeg(pose, truth_.at(result.name)));
      EXPECT_LT(center_errors.back(), 0.05) << result.name;
      EXPECT_LT(rotation_errors.back(), 0.25) << result.name;
    }
    std::printf("%s: median errors %.2f cm, %.4f deg\n",
                GetParam().c_str(),
                100.0 * Median(center_errors),
                Median(rotation_errors));
    EXPECT_LE(Median(center_errors), 0.01);
    EXPECT_LE(Median(rotation_errors), 0.06);
  }

  std::string folder_;
  colmap::Reconstruction model_;
  std::vector<Query> queries_;
  Poses truth_;
  FeaturePreset preset_ = CreateFeaturePreset(kDefaultFeatures);
};

TEST_P(RealScenes, NearestTwoReferences) {
  std::vector<std::string> absent;
  const std::vector<QueryReferences> references = ResolvePairs(
      ReadPairs(folder_ + "/pairs_nearest2.txt"), queries_, model_, &absent);
  EXPECT_TRUE(absent.empty());
  ExpectAllRight(Localize(folder_ + "/images", queries_, references));
}

// Far references need not suffice, but they must not mislead.
TEST_P(RealScenes, EachReferenceAlone) {
  std::vector<Query> queries;
  std::vector<QueryReferences> references;
  for (const Query& query : queries_) {
    for (const colmap::image_t image_id : RegisteredImages(model_)) {
      queries.push_back(query);
      references.push_back({{image_id}, true});
    }
  }
  int num_registered = 0;
  double max_center_error = 0.0, max_rotation_error = 0.0;
  for (const QueryResult& result :
       Localize(folder_ + "/images", queries, references)) {
    if (result.estimate.verdict == Verdict::kRegistered) {
      ++num_registered;
      const Rigid3d& pose = result.estimate.cam_from_world;
      const double center_error = CenterError(pose, truth_.at(result.name));
      const double rotation_error =
          RotationErrorDeg(pose, truth_.at(result.name));
      EXPECT_LT(center_error, kWrongCenterM)
          << result.name << " from " << result.references.front();
      EXPECT_LT(rotation_error, kWrongRotationDeg)
          << result.name << " from " << result.references.front();
      max_center_error = std::max(max_center_error, center_error);
      max_rotation_error = std::max(max_rotation_error, rotation_error);
    }
  }
  std::printf(
      "%s: registered from %d of %zu single references, the worst off "
      "by %.1f cm, %.2f deg\n",
      GetParam().c_str(),
      num_registered,
      queries.size(),
      100.0 * max_center_error,
      max_rotation_error);
  EXPECT_GT(num_registered, static_cast<int>(queries.size()) / 2);
}

TEST_P(RealScenes, QueriesOfTheOtherSceneAreNotRegistered) {
  const std::string other =
      SceneFolder(GetParam() == "fountain" ? "herzjesu" : "fountain");
  // Their names are also names of this map's images, which would be left out
  // as references to themselves.
  std::vector<Query> queries = ReadQueryList(other + "/queries.txt");
  const TestFolder folder;
  std::filesystem::create_directory_symlink(other + "/images",
                                            folder / "other");
  for (const colmap::image_t image_id : RegisteredImages(model_)) {
    const std::string name = model_.Image(image_id).Name();
    std::filesystem::create_symlink(folder_ + "/images/" + name, folder / name);
  }
  for (Query& query : queries) {
    query.name = "other/" + query.name;
  }
  for (const QueryResult& result : Localize(folder.path(), queries, {})) {
    EXPECT_EQ(result.estimate.verdict, Verdict::kRejected) << result.name;
  }
}

// The errors of an image's observations, in pixels.
std::vector<double> ReprojectionErrors(const colmap::Reconstruction& model,
                                       colmap::image_t image_id) {
  const colmap::Image& image = model.Image(image_id);
  const std::unique_ptr<Camera> camera =
      CreateCamera(model.Camera(image.CameraId()));
  std::vector<double> errors;
  for (const colmap::Point2D& point : image.Points2D()) {
    if (point.HasPoint3D()) {
      Eigen::Vector2d xy;
      EXPECT_TRUE(camera->Project(
          CamFromWorld(image) * XYZ(model.Point3D(Point3DId(point))),
          &xy,
          nullptr));
      errors.push_back((xy - XY(point)).norm());
    }
  }
  return errors;
}

Eigen::Vector3d Center(const colmap::Reconstruction& model,
                       colmap::image_t id) {
  return ProjectionCenter(CamFromWorld(model.Image(id)));
}

// The similarity transform that brings the cameras of `map` together. Bundle
// adjustment holds two cameras only: the others turn and scale about these, by
// up to 2 cm.
Eigen::Affine3d AlignMaps(const colmap::Reconstruction& map,
                          const colmap::Reconstruction& from,
                          const colmap::Reconstruction& to) {
  const std::vector<colmap::image_t> ids = RegisteredImages(map);
  Eigen::Matrix3Xd from_centers(3, ids.size()), to_centers(3, ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    from_centers.col(i) = Center(from, ids[i]);
    to_centers.col(i) = Center(to, ids[i]);
  }
  return Eigen::Affine3d(Eigen::umeyama(from_centers, to_centers));
}

// Chosen references, through the executable, and then COLMAP's own commands on
// what comes out.
TEST_P(RealScenes, RegisteredModelGoesThroughColmap) {
  const TestFolder folder;
  const RunResult run = RunColmapNre({"nre_image_registrator",
                                      "--input_path",
                                      folder_ + "/map",
                                      "--image_path",
                                      folder_ + "/images",
                                      "--query_list_path",
                                      folder_ + "/queries.txt",
                                      "--output_path",
                                      folder / "out"});
  ASSERT_EQ(run.exit_code, 0) << run.output;

  const Poses poses = ReadPoses(folder / "out/results.txt");
  std::vector<QueryResult> results;
  for (const auto& [name, pose] : poses) {
    QueryResult result;
    result.name = name;
    result.estimate.verdict = Verdict::kRegistered;
    result.estimate.cam_from_world = pose;
    results.push_back(result);
  }
  ASSERT_EQ(results.size(), queries_.size());
  ExpectAllRight(results);

  const auto colmap = [&](const std::string& arguments) {
    const std::string command = std::string("'") + NRE_COLMAP_EXECUTABLE +
                                "' " + arguments + " >'" + (folder / "log") +
                                "' 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0) << ReadFile(folder / "log");
  };
  const std::string out = "'" + (folder / "out") + "'";
  std::filesystem::create_directory(folder / "adjusted");
  std::filesystem::create_directory(folder / "text");
  colmap("model_analyzer --path " + out);
  colmap("model_converter --output_type TXT --input_path " + out +
         " --output_path '" + (folder / "text") + "'");
  colmap(
      "bundle_adjuster --BundleAdjustment.refine_focal_length 0"
      " --BundleAdjustment.refine_principal_point 0"
      " --BundleAdjustment.refine_extra_params 0 --input_path " +
      out + " --output_path '" + (folder / "adjusted") + "'");

  colmap::Reconstruction model, adjusted;
  ReadModel(folder / "out", &model);
  ReadModel(folder / "adjusted", &adjusted);
  const std::map<std::string, colmap::image_t> ids = ImageIdsByName(model);
  const Eigen::Affine3d from_adjusted = AlignMaps(model_, adjusted, model);
  for (const Query& query : queries_) {
    const colmap::image_t id = ids.at(query.name);
    const std::vector<double> errors = ReprojectionErrors(model, id);
    ASSERT_GE(errors.size(), 100u) << query.name;
    double sum = 0.0;
    for (const double error : errors) {
      sum += error;
    }
    EXPECT_LT(sum / errors.size(), 1.0) << query.name;
    const double moved =
        (from_adjusted * Center(adjusted, id) - Center(model, id)).norm();
    EXPECT_LE(moved, 0.01) << query.name;
    std::printf("%s: %zu observations, %.2f px, moved by %.2f cm\n",
                query.name.c_str(),
                errors.size(),
                sum / errors.size(),
                100.0 * moved);
  }
}

INSTANTIATE_TEST_SUITE_P(Scenes,
                         RealScenes,
                         testing::Values("fountain", "herzjesu"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace nre
