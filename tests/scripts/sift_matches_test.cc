#include "scripts/benchmark/sift_matches.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "colmap_plugin/compat/reconstruction.h"
#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

RunResult MatchAll(const std::string& database) {
  const std::string matching =
      NRE_COLMAP_VERSION < 400 ? "--SiftMatching" : "--FeatureMatching";
  return RunColmapNre({"exhaustive_matcher",
                       "--database_path",
                       database,
                       matching + ".use_gpu",
                       "0"});
}

// COLMAP's own model from its own keypoints and matches.
TEST(SiftMatches, LieWhereTheirPointsProject) {
  const TestFolder folder;
  const RenderedScene scene(folder.path());
  const std::string path = folder / "sift.db";
  ASSERT_EQ(
      ExtractKeypoints(path, scene.image_path, "420,420,240,180").exit_code, 0);
  ASSERT_EQ(MatchAll(path).exit_code, 0);
  const RunResult mapper =
      MapKeypoints(path, scene.image_path, folder / "sparse");
  ASSERT_EQ(mapper.exit_code, 0) << mapper.output;
  colmap::Reconstruction model;
  ReadModel(folder / "sparse/0", &model);

  const Database database(path, Database::Mode::kReadOnly);
  const std::map<std::string, colmap::image_t> ids = ImageIdsByName(model);
  const auto matches_of = [&](const std::string& query,
                              const std::string& reference) {
    return SiftMatches(model, database, query, ids.at(reference));
  };
  for (const auto& [query, reference] :
       {std::pair("r0.png", "r1.png"), std::pair("r3.png", "r1.png")}) {
    const colmap::Image& image = model.Image(ids.at(query));
    const auto camera = CameraOf(model, image);
    const std::vector<PointMatch> matches = matches_of(query, reference);
    EXPECT_GT(matches.size(), 50);
    std::set<std::pair<double, double>> keypoints;
    int num_near = 0;
    for (const PointMatch& match : matches) {
      Eigen::Vector2d xy;
      num_near +=
          camera->Project(
              CamFromWorld(image) * match.point_in_world, &xy, nullptr) &&
          (xy - match.xy).norm() < 4.0;
      keypoints.insert({match.xy.x(), match.xy.y()});
    }
    EXPECT_GT(num_near, 0.8 * matches.size());
    EXPECT_GT(keypoints.size(), 0.9 * matches.size());
  }
  EXPECT_THROW(matches_of("r9.png", "r1.png"), InputError);

  // Keypoints that are off from the model's observations are none of them.
  PutPoints2DIntoCorner(model.Image(ids.at("r1.png")));
  EXPECT_TRUE(matches_of("r0.png", "r1.png").empty());
}

}  // namespace
}  // namespace nre
