#include "colmap_plugin/controllers/track_matches.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr auto kRaw = Database::Matches::kRaw;
constexpr auto kVerified = Database::Matches::kVerified;

// The small model, whose images 1 to 3 all observe six points as their 2D
// points 0, 2, ..., 10, and a database with its keypoints.
class TrackMatchesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(NRE_COLMAP_EXECUTABLE)) {
      GTEST_SKIP() << "no colmap executable";
    }
    ASSERT_EQ(std::system((NRE_COLMAP_EXECUTABLE
                           " database_creator --database_path " +
                           path_ + " >/dev/null 2>&1")
                              .c_str()),
              0);
    RunSql(path_,
           // PINHOLE 60 60 32 24.
           "INSERT INTO cameras(camera_id, model, width, height, params, "
           "prior_focal_length) VALUES (1, 1, 64, 48, "
           "x'0000000000004E400000000000004E4000000000000040400000000000003840'"
           ", 1);"
           "INSERT INTO images(image_id, name, camera_id) VALUES "
           "(1, 'a.jpg', 1), (2, 'b.jpg', 1), (3, 'sub/c.jpg', 1);");
    Database database(path_, Database::Mode::kReadWrite);
    for (const colmap::image_t id : {1, 2, 3}) {
      std::vector<Eigen::Vector2d> keypoints;
      for (const auto& point : model_.Image(id).Points2D()) {
        keypoints.push_back(XY(point));
      }
      database.AppendKeypoints(id, keypoints);
    }
    database.Commit();
  }

  TrackMatchesProblems Write(const std::vector<colmap::image_t>& image_ids) {
    Database database(path_, Database::Mode::kReadWrite);
    const TrackMatchesProblems problems =
        WriteTrackMatches(model_, image_ids, &database);
    database.Commit();
    return problems;
  }

  KeypointMatches Read(colmap::image_t id1,
                       colmap::image_t id2,
                       Database::Matches matches) const {
    return Database(path_, Database::Mode::kReadOnly)
        .ReadMatches(id1, id2, matches);
  }

  // Of the pair with ids 1 and 3, row by row.
  Eigen::Matrix3d ReadEssentialMatrix() const {
    sqlite3* database = nullptr;
    sqlite3_open(path_.c_str(), &database);
    sqlite3_stmt* statement = nullptr;
    sqlite3_prepare_v2(database,
                       "SELECT E FROM two_view_geometries WHERE pair_id = "
                       "2147483647 + 3;",
                       -1,
                       &statement,
                       nullptr);
    Eigen::Matrix<double, 3, 3, Eigen::RowMajor> matrix;
    matrix.setZero();
    if (sqlite3_step(statement) == SQLITE_ROW &&
        sqlite3_column_bytes(statement, 0) == sizeof(double) * 9) {
      std::memcpy(
          matrix.data(), sqlite3_column_blob(statement, 0), sizeof(double) * 9);
    }
    sqlite3_finalize(statement);
    sqlite3_close(database);
    return matrix;
  }

  TestFolder folder_;
  std::string path_ = folder_ / "database.db";
  colmap::Reconstruction model_ = MakeSmallModel();
};

TEST_F(TrackMatchesTest, PairsThatObserveThePointsAreVerified) {
  const TrackMatchesProblems problems = Write({3});
  EXPECT_THAT(problems.other_keypoints, IsEmpty());
  EXPECT_THAT(problems.few_matches, ElementsAre("sub/c.jpg"));  // six
  const auto matches = ElementsAre(
      Pair(0, 0), Pair(2, 2), Pair(4, 4), Pair(6, 6), Pair(8, 8), Pair(10, 10));
  for (const auto kind : {kRaw, kVerified}) {
    EXPECT_THAT(Read(1, 3, kind), matches);
    EXPECT_THAT(Read(2, 3, kind), matches);
    EXPECT_THAT(Read(1, 2, kind), IsEmpty());
  }
  EXPECT_EQ(RunSql(path_,
                   "SELECT COUNT(*) FROM two_view_geometries WHERE config = 2"),
            "2");
  // The points of the pair lie on its epipolar lines.
  const Eigen::Matrix3d essential = ReadEssentialMatrix();
  EXPECT_NEAR(essential.norm(), std::sqrt(2.0), 1e-9);
  for (const auto& [id, point] : model_.Points3D()) {
    const Eigen::Vector3d x1 = CamFromWorld(model_.Image(1)) * XYZ(point);
    const Eigen::Vector3d x3 = CamFromWorld(model_.Image(3)) * XYZ(point);
    EXPECT_NEAR(x3.dot(essential * x1), 0.0, 1e-9) << id;
  }
}

TEST_F(TrackMatchesTest, MatchesThatAreThereStay) {
  {
    Database database(path_, Database::Mode::kReadWrite);
    TwoViewGeometry geometry;
    geometry.config = 6;
    geometry.inliers = {{4, 3}};
    database.WriteMatches(1, 3, {{4, 3}, {1, 10}}, geometry);
    database.Commit();
  }
  Write({3});
  EXPECT_THAT(Read(1, 3, kRaw),
              ElementsAre(Pair(4, 3),
                          Pair(1, 10),
                          Pair(0, 0),
                          Pair(2, 2),
                          Pair(6, 6),
                          Pair(8, 8)));
  EXPECT_THAT(Read(1, 3, kVerified),
              ElementsAre(Pair(4, 3),
                          Pair(0, 0),
                          Pair(2, 2),
                          Pair(6, 6),
                          Pair(8, 8),
                          Pair(10, 10)));
}

TEST_F(TrackMatchesTest, ImagesWithOtherKeypointsAreLeftOut) {
  RunSql(
      path_,
      "UPDATE keypoints SET rows = 11, data = substr(data, 1, 11 * cols * 4) "
      "WHERE image_id = 1;"
      "UPDATE images SET name = 'x.jpg' WHERE image_id = 2;");
  const TrackMatchesProblems problems = Write({3});
  EXPECT_THAT(problems.other_keypoints, ElementsAre("a.jpg", "b.jpg"));
  EXPECT_THAT(Read(1, 3, kVerified), IsEmpty());
  EXPECT_THAT(Read(2, 3, kVerified), IsEmpty());
  // Its own must be the same, too.
  RunSql(path_, "UPDATE keypoints SET data = zeroblob(length(data))");
  EXPECT_THAT(Write({3}).other_keypoints, ElementsAre("sub/c.jpg"));
}

}  // namespace
}  // namespace nre
