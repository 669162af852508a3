#include "colmap_plugin/io/database.h"

#include <csignal>
#include <filesystem>
#include <sys/resource.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/commands.h"
#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// The tables as COLMAP makes them (those columns that we use), with camera 4,
// image 7 "a.jpg" with two keypoints and descriptors, image 8 "b.jpg" without,
// and image 9 "c.jpg" with a camera model that nobody knows.
void CreateDatabase(const std::string& path) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
  const char* sql =
      "CREATE TABLE cameras (camera_id INTEGER PRIMARY KEY, model INTEGER, "
      "width INTEGER, height INTEGER, params BLOB, prior_focal_length "
      "INTEGER);"
      "CREATE TABLE images (image_id INTEGER PRIMARY KEY, name TEXT, camera_id "
      "INTEGER);"
      "CREATE TABLE keypoints (image_id INTEGER PRIMARY KEY, rows INTEGER, "
      "cols INTEGER, data BLOB);"
      "CREATE TABLE descriptors (image_id INTEGER PRIMARY KEY, rows INTEGER, "
      "cols INTEGER, data BLOB);"
      // SIMPLE_PINHOLE f = 500, cx = 320, cy = 240.
      "INSERT INTO cameras VALUES (4, 0, 640, 480, "
      "x'0000000000407F4000000000000074400000000000006E40', 1);"
      "INSERT INTO cameras VALUES (5, 99, 640, 480, x'', 1);"
      "INSERT INTO cameras VALUES (6, 0, 640, 480, "
      "x'0000000000407F4000000000000074400000000000006E40', 0);"
      "INSERT INTO images VALUES (7, 'a.jpg', 4), (8, 'b.jpg', 4), "
      "(9, 'c.jpg', 5), (10, 'd.jpg', 6);"
      // (1, 2, scale 1, orientation 0), (3, 4, 1, 0).
      "INSERT INTO keypoints VALUES (7, 2, 4, "
      "x'0000803F000000400000803F00000000"
      "00004040000080400000803F00000000');"
      "INSERT INTO descriptors VALUES (7, 2, 3, x'010203040506');"
      // Keypoints 0 and 1 of image 7 match 5 and 2 of image 8.
      "CREATE TABLE two_view_geometries (pair_id INTEGER PRIMARY KEY, rows "
      "INTEGER, cols INTEGER, data BLOB, config INTEGER, F BLOB, E BLOB, H "
      "BLOB, qvec BLOB, tvec BLOB);"
      "INSERT INTO two_view_geometries(pair_id, rows, cols, data) VALUES "
      "(7 * 2147483647 + 8, 2, 2, x'00000000050000000100000002000000'), "
      "(7 * 2147483647 + 9, 2, 2, x'0000000005000000');"
      "CREATE TABLE matches (pair_id INTEGER PRIMARY KEY, rows INTEGER, cols "
      "INTEGER, data BLOB);"
      "INSERT INTO matches VALUES (7 * 2147483647 + 8, 1, 2, "
      "x'0100000003000000');"
      "PRAGMA user_version = 3800;";
  ASSERT_EQ(sqlite3_exec(database, sql, nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(database);
}

class DatabaseTest : public testing::Test {
 protected:
  DatabaseTest() : path_(folder_ / "data#base?.db") { CreateDatabase(path_); }

  std::string Error(const std::string& path) const {
    try {
      Database database(path, Database::Mode::kReadOnly);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }

  TestFolder folder_;
  std::string path_;
};

TEST_F(DatabaseTest, QueriesKeepTheirIds) {
  const Database database(path_, Database::Mode::kReadOnly);
  const std::vector<Query> queries =
      database.ReadQueries({"b.jpg", "c.jpg", "absent.jpg"});
  ASSERT_EQ(queries.size(), 3);
  EXPECT_EQ(queries[0].name, "b.jpg");
  EXPECT_EQ(queries[0].error, "");
  EXPECT_EQ(queries[0].image_id, 8);
  EXPECT_EQ(queries[0].camera_id, 4);
  EXPECT_EQ(CameraWidth(queries[0].camera), 640);
  EXPECT_THAT(CameraParams(queries[0].camera), ElementsAre(500, 320, 240));
  EXPECT_THAT(queries[1].error, HasSubstr("99"));
  EXPECT_THAT(queries[2].error, HasSubstr("no image of this name"));
}

TEST_F(DatabaseTest, GuessedFocalLengthsAreUnknown) {
  const Database database(path_, Database::Mode::kReadOnly);
  const std::vector<Query> queries = database.ReadQueries({"a.jpg", "d.jpg"});
  EXPECT_FALSE(queries[0].focal_length_unknown);
  EXPECT_EQ(queries[1].error, "");
  EXPECT_TRUE(queries[1].focal_length_unknown);
  EXPECT_THAT(database.ReadCameraIds(), ElementsAre(4, 5, 6));
}

TEST_F(DatabaseTest, NewerCameraModelsAreNamed) {
  RunSql(path_, "UPDATE cameras SET model = 16 WHERE camera_id = 5;");
  const Database database(path_, Database::Mode::kReadOnly);
  const std::string error = database.ReadQueries({"c.jpg"})[0].error;
  if (FindCameraModel(16) == nullptr) {
    EXPECT_THAT(
        error,
        testing::AllOf(
            HasSubstr("camera 5"), HasSubstr("EUCM"), HasSubstr("COLMAP 4.1")));
  } else {
    EXPECT_THAT(error, HasSubstr("EUCM has 6 parameters"));
  }
}

TEST_F(DatabaseTest, IdsBeyondThoseOfColmap) {
  // The first would be cut down to image 7, the last to camera 4.
  RunSql(path_,
         "INSERT INTO images VALUES (4294967303, 'e.jpg', 4), "
         "(2147483647, 'f.jpg', 4), (2147483646, 'g.jpg', 4), "
         "(11, 'h.jpg', 4294967300);"
         "INSERT INTO cameras SELECT 4294967300, model, width, height, params, "
         "prior_focal_length FROM cameras WHERE camera_id = 4;");
  const Database database(path_, Database::Mode::kReadOnly);
  const std::vector<Query> queries =
      database.ReadQueries({"e.jpg", "f.jpg", "g.jpg", "h.jpg"});
  EXPECT_THAT(queries[0].error, HasSubstr("image id"));
  EXPECT_THAT(queries[1].error, HasSubstr("image id"));
  EXPECT_EQ(queries[2].error, "");
  EXPECT_EQ(queries[2].image_id, 2147483646);
  EXPECT_THAT(queries[3].error, HasSubstr("camera id"));
}

TEST_F(DatabaseTest, FramesAreThoseOfColmap4) {
  const auto frame_ids = [&](const std::string& name) {
    const Database database(path_, Database::Mode::kReadOnly);
    return database.ReadQueries({name})[0].frame_ids;
  };
  EXPECT_FALSE(frame_ids("a.jpg").has_value());
  // Frame 20 has one image, 21 has two. A sensor of type 1 is no camera.
  RunSql(path_,
         "CREATE TABLE frames (frame_id INTEGER PRIMARY KEY, rig_id INTEGER);"
         "CREATE TABLE frame_data (frame_id INTEGER, data_id INTEGER, "
         "sensor_id INTEGER, sensor_type INTEGER);"
         "INSERT INTO frames VALUES (20, 3), (21, 3), (22, 2);"
         "INSERT INTO frame_data VALUES (22, 7, 1, 1), (20, 7, 4, 0), "
         "(21, 8, 4, 0), (21, 10, 5, 0);");
  ASSERT_TRUE(frame_ids("a.jpg").has_value());
  EXPECT_EQ(frame_ids("a.jpg")->frame_id, 20);
  EXPECT_EQ(frame_ids("a.jpg")->rig_id, 3);
  ASSERT_TRUE(frame_ids("b.jpg").has_value());
  EXPECT_EQ(frame_ids("b.jpg")->frame_id, 22 + 8);
}

TEST_F(DatabaseTest, ReadingTouchesNothing) {
  const auto before = Snapshot(folder_.path());
  {
    const Database database(path_, Database::Mode::kReadOnly);
    EXPECT_EQ(database.ReadKeypoints(7).size(), 2);
    EXPECT_EQ(Snapshot(folder_.path()), before);
  }
  EXPECT_EQ(Snapshot(folder_.path()), before);
}

TEST_F(DatabaseTest, MatchesOfEitherImageFirst) {
  const Database database(path_, Database::Mode::kReadOnly);
  EXPECT_THAT(database.ReadMatches(7, 8),
              ElementsAre(std::pair(0u, 5u), std::pair(1u, 2u)));
  EXPECT_THAT(database.ReadMatches(8, 7),
              ElementsAre(std::pair(5u, 0u), std::pair(2u, 1u)));
  EXPECT_THAT(database.ReadMatches(8, 10), IsEmpty());
  EXPECT_THROW(database.ReadMatches(7, 9), InputError);
}

TEST_F(DatabaseTest, RawMatches) {
  const Database database(path_, Database::Mode::kReadOnly);
  EXPECT_THAT(database.ReadMatches(7, 8, Database::Matches::kRaw),
              ElementsAre(std::pair(1u, 3u)));
  EXPECT_THAT(database.ReadImageNames(),
              ElementsAre("a.jpg", "b.jpg", "c.jpg", "d.jpg"));
}

// Doubles as SQLite shows a blob of them.
std::string Hex(const std::vector<double>& values) {
  std::string text;
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(double); ++i) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02X", bytes[i]);
    text += digits;
  }
  return text;
}

TEST_F(DatabaseTest, MatchesAreWrittenWithTheSmallerIdFirst) {
  const KeypointMatches matches = {{0, 1}, {2, 3}, {4, 5}};
  TwoViewGeometry geometry;
  geometry.config = 3;
  geometry.inliers = {{2, 3}};
  geometry.F.emplace();
  *geometry.F << 1, 2, 3, 4, 5, 6, 7, 8, 9;
  geometry.H = Eigen::Vector3d(1, 2, 4).asDiagonal();
  Database database(path_, Database::Mode::kReadWrite);
  database.WriteMatches(7, 8, matches, geometry);
  database.WriteMatches(10, 9, matches, geometry);
  database.Commit();

  const Database again(path_, Database::Mode::kReadOnly);
  for (const auto& [id1, id2] : {std::pair(7, 8), std::pair(10, 9)}) {
    EXPECT_EQ(again.ReadMatches(id1, id2, Database::Matches::kRaw), matches);
    EXPECT_EQ(again.ReadMatches(id1, id2), geometry.inliers);
  }
  const auto column = [&](const std::string& name, int id1, int id2) {
    return RunSql(
        path_,
        "SELECT " + name + " FROM two_view_geometries WHERE pair_id = " +
            std::to_string(id1) + " * 2147483647 + " + std::to_string(id2));
  };
  EXPECT_EQ(column("config", 7, 8), "3");
  // Row by row; that of the other direction is the transpose.
  EXPECT_EQ(column("hex(F)", 7, 8), Hex({1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(column("hex(F)", 9, 10), Hex({1, 4, 7, 2, 5, 8, 3, 6, 9}));
  EXPECT_EQ(column("hex(H)", 9, 10), Hex({1, 0, 0, 0, 0.5, 0, 0, 0, 0.25}));
  EXPECT_EQ(column("E", 7, 8), "");
}

TEST_F(DatabaseTest, PairsThatHaveMatches) {
  RunSql(path_,
         "INSERT INTO matches VALUES (1 * 2147483647 + 2147483646, 1, 2, "
         "x'0100000003000000'), (2 * 2147483647 + 3, 0, 2, x'');"
         "DELETE FROM two_view_geometries WHERE pair_id = 7 * 2147483647 + 9");
  const Database database(path_, Database::Mode::kReadOnly);
  EXPECT_THAT(database.ReadMatchedPairs(Database::Matches::kRaw),
              ElementsAre(std::pair(1u, 2147483646u), std::pair(7u, 8u)));
  EXPECT_THAT(database.ReadMatchedPairs(Database::Matches::kVerified),
              ElementsAre(std::pair(7u, 8u)));
}

TEST_F(DatabaseTest, SiftDescriptors) {
  RunSql(path_,
         "INSERT INTO descriptors VALUES (8, 2, 128, zeroblob(256)), "
         "(9, 2, 128, zeroblob(255)), (10, 2, 512, zeroblob(1024))");
  const Database database(path_, Database::Mode::kReadOnly);
  EXPECT_EQ(database.ReadSiftDescriptors(8), std::vector<uint8_t>(256, 0));
  EXPECT_THROW(database.ReadSiftDescriptors(9), InputError);
  EXPECT_THAT(database.ReadSiftDescriptors(10), IsEmpty());
  EXPECT_THAT(database.ReadSiftDescriptors(11), IsEmpty());
}

TEST_F(DatabaseTest, KeypointsAreAppended) {
  Database database(path_, Database::Mode::kReadWrite);
  EXPECT_THAT(database.ReadKeypoints(7),
              ElementsAre(Eigen::Vector2d(1, 2), Eigen::Vector2d(3, 4)));
  EXPECT_THAT(database.ReadKeypoints(8), IsEmpty());
  database.AppendKeypoints(7, {Eigen::Vector2d(5.5, 6.5)});
  database.AppendKeypoints(8, {Eigen::Vector2d(7, 8), Eigen::Vector2d(9, 10)});
  database.AppendKeypoints(8, std::vector<Eigen::Vector2d>());
  database.Commit();

  const Database again(path_, Database::Mode::kReadOnly);
  EXPECT_THAT(again.ReadKeypoints(7),
              ElementsAre(Eigen::Vector2d(1, 2),
                          Eigen::Vector2d(3, 4),
                          Eigen::Vector2d(5.5, 6.5)));
  EXPECT_THAT(again.ReadKeypoints(8),
              ElementsAre(Eigen::Vector2d(7, 8), Eigen::Vector2d(9, 10)));
  EXPECT_EQ(RunSql(path_, "SELECT cols FROM keypoints WHERE image_id = 8"),
            "6");
  // A descriptor of zeros for the new keypoint, the old ones as they were.
  EXPECT_EQ(
      RunSql(path_, "SELECT hex(data) FROM descriptors WHERE image_id = 7"),
      "010203040506000000");
  EXPECT_EQ(RunSql(path_, "SELECT rows FROM descriptors WHERE image_id = 7"),
            "3");
  EXPECT_EQ(RunSql(path_, "SELECT count(*) FROM descriptors"), "1");
}

TEST_F(DatabaseTest, NothingIsWrittenWithoutCommit) {
  const std::string before = ReadFile(path_);
  {
    Database database(path_, Database::Mode::kReadWrite);
    database.AppendKeypoints(8, {Eigen::Vector2d(7, 8)});
  }
  EXPECT_EQ(ReadFile(path_), before);
}

TEST_F(DatabaseTest, MatchesOfKeypointsThatAreNotThere) {
  const Database database(path_, Database::Mode::kReadOnly);
  database.CheckIndices(7, 8, {});
  database.CheckIndices(7, 7, {{0, 1}, {1, 0}});
  for (const auto& match : {std::pair(0u, 2u), std::pair(2u, 0u)}) {
    EXPECT_THROW(database.CheckIndices(7, 7, {match}), InputError);
  }
  EXPECT_THROW(database.CheckIndices(7, 8, {{0, 0}}), InputError);
}

// With a log, as COLMAP's databases have it, the commit has room and the
// database has not.
TEST_F(DatabaseTest, CopiesNoticeAFullDisk) {
  RunSql(path_,
         "CREATE TABLE filler (data BLOB);"
         "INSERT INTO filler VALUES (zeroblob(200000));");
  ASSERT_EQ(RunSql(path_, "PRAGMA journal_mode = WAL;"), "wal");
  const std::string copy_path = folder_ / "copy.db";
  CopyDatabase(path_, copy_path);

  rlimit old_limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {std::filesystem::file_size(copy_path) + 40000,
                        old_limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const auto write = [&] {
    Database database(copy_path, Database::Mode::kReadWrite);
    database.AppendKeypoints(
        8, std::vector<Eigen::Vector2d>(4000, Eigen::Vector2d(1, 2)));
    database.Commit();
  };
  EXPECT_THROW(write(), std::runtime_error);
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);

  write();
  EXPECT_EQ(RunSql(copy_path, "SELECT rows FROM keypoints WHERE image_id = 8;"),
            "4000");
  EXPECT_EQ(RunSql(path_, "PRAGMA journal_mode;"), "wal");
}

TEST_F(DatabaseTest, TwoSlashesAtTheFront) {
  EXPECT_EQ(Error("/" + path_), "");
}

TEST_F(DatabaseTest, BadFiles) {
  EXPECT_THAT(Error(folder_ / "absent.db"), HasSubstr("does not exist"));
  WriteFile(folder_ / "text.db", "this is no database, by no means at all");
  EXPECT_THAT(Error(folder_ / "text.db"), HasSubstr("not a database"));
  WriteFile(folder_ / "empty.db", "");
  EXPECT_THAT(Error(folder_ / "empty.db"), HasSubstr("no such table"));
  WriteFile(path_ + "-wal", "changes");
  EXPECT_THAT(Error(path_), HasSubstr("unsaved changes"));
  EXPECT_THROW(CopyDatabase(path_, folder_ / "copy.db"), InputError);
}

TEST_F(DatabaseTest, UnknownVersion) {
  RunSql(path_, "PRAGMA user_version = 4010100");
  EXPECT_EQ(Error(path_), "");
  RunSql(path_, "PRAGMA user_version = 5000000");
  EXPECT_THAT(Error(path_), HasSubstr("COLMAP 5"));
}

TEST_F(DatabaseTest, LockedByAnother) {
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr),
            SQLITE_OK);
  try {
    Database database(path_, Database::Mode::kReadWrite);
    ADD_FAILURE() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("locked by another program"));
  }
  sqlite3_close(other);
  Database database(path_, Database::Mode::kReadWrite);
}

TEST_F(DatabaseTest, DamagedKeypointsAreAnError) {
  RunSql(path_, "UPDATE keypoints SET rows = 3");
  const Database database(path_, Database::Mode::kReadOnly);
  EXPECT_THROW(database.ReadKeypoints(7), InputError);
}

// The table `images` of a database that 4.2.1 has made.
constexpr char kNewImages[] =
    "CREATE TABLE images (image_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, "
    "name TEXT NOT NULL UNIQUE, camera_id INTEGER NOT NULL);";

TEST(CheckThatColmapCanUse, NewDatabasesByTheirColumns) {
  if (ImageColumnsOfColmap().empty()) {
    GTEST_SKIP() << "this COLMAP can use all";
  }
  const TestFolder folder;
  const auto error = [&](const std::string& sql) -> std::string {
    std::filesystem::remove(folder / "db");
    RunSql(folder / "db", sql + "PRAGMA journal_mode = WAL;");
    const auto before = Snapshot(folder.path());
    std::string message;
    try {
      CheckThatColmapCanUse(folder / "db");
    } catch (const InputError& e) {
      message = e.what();
    }
    EXPECT_EQ(Snapshot(folder.path()), before);
    return message;
  };
  const std::string images = kNewImages;
  EXPECT_THAT(error(images + "PRAGMA user_version = 4020100;"),
              HasSubstr("was made by COLMAP 4.2.1."));
  // The version tells nothing once 3.8 has tried to open it, or if a newer one
  // has opened an old database, which 3.8 can use still.
  for (const std::string version : {"3800", "3900"}) {
    EXPECT_THAT(error(images + "PRAGMA user_version = " + version + ";"),
                HasSubstr("COLMAP 3.9 or newer"));
  }
  std::string migrated = images;
  for (const std::string& column : ImageColumnsOfColmap()) {
    migrated += "ALTER TABLE images ADD COLUMN " + column + " REAL;";
  }
  EXPECT_EQ(error(migrated + "PRAGMA user_version = 4020100;"), "");
  EXPECT_EQ(error(""), "");
  CheckThatColmapCanUse(folder / "absent");
}

}  // namespace
}  // namespace nre
