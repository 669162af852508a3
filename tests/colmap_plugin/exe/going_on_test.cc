// What COLMAP, of either version, makes of the model and the database that
// nre_image_registrator writes.

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/io/database.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

void Must(const RunResult& result) {
  if (result.exit_code != 0) throw std::runtime_error(result.output);
}

// A model that COLMAP's mapper made of four pictures, to which two queries were
// added: the first has keypoints of COLMAP's besides ours. Made once.
class RegisteredScene {
 public:
  RegisteredScene() : scene(folder_.path()) {
    const std::string before = folder_ / "before.db";
    Must(ExtractKeypoints(before, scene.image_path, "420,420,240,180"));
    for (const char* table : {"keypoints", "descriptors"}) {
      RunSql(before,
             std::string("DELETE FROM ") + table +
                 " WHERE image_id IN (SELECT image_id FROM images WHERE name = "
                 "'q1.png');");
    }
    WriteFile(folder_ / "references.txt", "r0.png\nr1.png\nr2.png\nr3.png\n");
    Must(RunColmapNre({"s2d_matcher",
                       "--database_path",
                       before,
                       "--image_path",
                       scene.image_path,
                       "--image_list_path",
                       folder_ / "references.txt",
                       "--features",
                       "dense_sift",
                       "--in_place",
                       "1"}));
    Must(MapKeypoints(before, scene.image_path, folder_ / "sparse"));
    WriteFile(folder_ / "queries.txt", "q0.png\nq1.png\n");
    Must(RunColmapNre({"nre_image_registrator",
                       "--input_path",
                       folder_ / "sparse/0",
                       "--image_path",
                       scene.image_path,
                       "--database_path",
                       before,
                       "--image_list_path",
                       folder_ / "queries.txt",
                       "--pairs_path",
                       scene.pairs_path,
                       "--features",
                       "dense_sift",
                       "--output_path",
                       model_path,
                       "--output_database_path",
                       database_path}));
  }

 private:
  TestFolder folder_;

 public:
  RenderedScene scene;
  std::string model_path = folder_ / "registered";
  std::string database_path = folder_ / "after.db";
};

class GoingOn : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(NRE_COLMAP_EXECUTABLE)) {
      GTEST_SKIP() << "no colmap executable";
    }
    static const RegisteredScene scene;
    scene_ = &scene;
    fs::copy_file(scene.database_path, database_path_);
    ReadModel(scene.model_path, &before_);
  }

  size_t NumPointsOf(const colmap::Reconstruction& model) const {
    return model.Image(ImageIdsByName(model).at("q0.png")).NumPoints3D();
  }

  // All images are there, and the query observes what it did, but for outliers.
  void ExpectContinued(const std::string& model_path) const {
    colmap::Reconstruction model;
    ReadModel(model_path, &model);
    EXPECT_EQ(RegisteredImages(model).size(), 6);
    EXPECT_GT(NumPointsOf(model), 0.8 * NumPointsOf(before_));
  }

  TestFolder folder_;
  std::string database_path_ = folder_ / "database.db";
  const RegisteredScene* scene_ = nullptr;
  colmap::Reconstruction before_;
};

TEST_F(GoingOn, TheColmapThatWeAreBuiltWith) {
  for (const std::string command :
       {"mapper", "point_triangulator", "bundle_adjuster"}) {
    SCOPED_TRACE(command);
    const std::string output = folder_ / command;
    fs::create_directory(output);
    std::vector<std::string> arguments = {
        command, "--input_path", scene_->model_path, "--output_path", output};
    if (command != "bundle_adjuster") {
      arguments.insert(arguments.end(),
                       {"--database_path",
                        database_path_,
                        "--image_path",
                        scene_->scene.image_path});
    }
    const RunResult result = RunColmapNre(arguments, ColmapOnPath());
    ASSERT_EQ(result.exit_code, 0) << result.output;
    ExpectContinued(output);
  }
}

TEST_F(GoingOn, TheColmapOfToday) {
  const std::string python = NRE_PYCOLMAP_PYTHON;
  if (python.empty()) {
    GTEST_SKIP() << "no pycolmap: NRE_PYCOLMAP_PYTHON is not set";
  }
  const RunResult result = RunShell(
      python + " " NRE_SOURCE_DIR "/tests/data/going_on.py " + database_path_ +
      " " + scene_->scene.image_path + " " + scene_->model_path + " " +
      (folder_ / "pycolmap") + " 2>" + (folder_ / "log"));
  ASSERT_EQ(result.exit_code, 0) << ReadFile(folder_ / "log");
  const nlohmann::json seen = nlohmann::json::parse(result.output);
  for (const char* command :
       {"mapper", "point_triangulator", "bundle_adjuster"}) {
    SCOPED_TRACE(command);
    EXPECT_EQ(seen.at(command).at("images"), 6);
    EXPECT_GT(seen.at(command).at("query_points").get<size_t>(),
              0.8 * NumPointsOf(before_));
  }
}

}  // namespace
}  // namespace nre
