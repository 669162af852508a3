// Reconstruction from photographs with laser-surveyed poses, fountain-P11 and
// Herz-Jesus-P25 (Strecha et al., CVPR 2008): COLMAP's keypoints, our matches,
// COLMAP's mapper. The data are no part of the repository; without them the
// tests are skipped.

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <Eigen/Core>
#include <gtest/gtest.h>

#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/io/evaluation.h"
#include "colmap_plugin/io/lists.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

// Images are matched with so many that follow them.
constexpr size_t kNumNeighbours = 6;

class RealMatching : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    data_ = std::string(NRE_SOURCE_DIR) + "/../shared/datasets/" + GetParam();
    if (!fs::exists(data_)) {
      GTEST_SKIP() << "skipped: there is no " << data_;
    }
  }

  // Of all images: those of the map, and the queries.
  Poses TruePoses() const {
    Poses poses = ReadPoses(data_ + "/queries_gt.txt");
    colmap::Reconstruction map;
    ReadModel(data_ + "/map", &map);
    poses.merge(PosesOf(map));
    return poses;
  }

  std::string CameraParams() const {
    const Query query = ReadQueryList(data_ + "/queries.txt").front();
    std::string text;
    for (const double param : nre::CameraParams(query.camera)) {
      text += (text.empty() ? "" : ",") + std::to_string(param);
    }
    return text;
  }

  std::string data_;
  TestFolder folder_;
};

TEST_P(RealMatching, TheStockMapperReconstructsAllImages) {
  const Poses truth = TruePoses();
  const std::string images = data_ + "/images";
  const std::string database = folder_ / "database.db";
  const RunResult extraction =
      ExtractKeypoints(database, images, CameraParams());
  ASSERT_EQ(extraction.exit_code, 0) << extraction.output;

  std::string pairs;
  for (auto first = truth.begin(); first != truth.end(); ++first) {
    auto second = std::next(first);
    for (size_t i = 0; i < kNumNeighbours && second != truth.end(); ++i) {
      pairs += first->first + " " + (second++)->first + "\n";
    }
  }
  WriteFile(folder_ / "pairs.txt", pairs);
  const RunResult matching = RunColmapNre({"s2d_matcher",
                                           "--database_path",
                                           database,
                                           "--image_path",
                                           images,
                                           "--pairs_path",
                                           folder_ / "pairs.txt",
                                           "--both_directions",
                                           "1",
                                           "--in_place",
                                           "1",
                                           "--log_level",
                                           "0"});
  ASSERT_EQ(matching.exit_code, 0) << matching.output;
  const RunResult mapper = MapKeypoints(database, images, folder_ / "sparse");
  ASSERT_EQ(mapper.exit_code, 0) << mapper.output;
  EXPECT_EQ(List(folder_ / "sparse").size(), 1);

  colmap::Reconstruction model;
  ReadModel(folder_ / "sparse/0", &model);
  const Eigen::VectorXd errors = AlignedCenterErrors(model, truth);
  ASSERT_EQ(static_cast<size_t>(errors.size()), truth.size());
  std::printf(
      "%s: centres off by %.2f cm at most, %.2f on the mean; %zu "
      "points, %.2f px\n",
      GetParam().c_str(),
      100.0 * errors.maxCoeff(),
      100.0 * errors.mean(),
      static_cast<size_t>(model.NumPoints3D()),
      model.ComputeMeanReprojectionError());
  EXPECT_LT(errors.maxCoeff(), 0.02);
  EXPECT_LT(model.ComputeMeanReprojectionError(), 1.0);
}

INSTANTIATE_TEST_SUITE_P(Scenes,
                         RealMatching,
                         testing::Values("fountain", "herzjesu"));

}  // namespace
}  // namespace nre
