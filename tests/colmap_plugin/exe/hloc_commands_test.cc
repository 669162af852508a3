// hloc_matches_exporter and hloc_matches_importer from the command line to
// their files.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <Eigen/Geometry>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "colmap_plugin/io/database.h"
#include "colmap_plugin/io/hloc_files.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr auto kRead = Hdf5File::Mode::kReadOnly;
constexpr auto kCreate = Hdf5File::Mode::kCreate;

// The image `id` sees the point i as keypoint (7 * i + id) % kNumPoints.
constexpr uint32_t kNumPoints = 60;
uint32_t KeypointOf(uint32_t point, colmap::image_t id) {
  return (7 * point + id) % kNumPoints;
}

// Matches of the points with an index of `first` or more.
KeypointMatches MatchesOf(colmap::image_t id1,
                          colmap::image_t id2,
                          uint32_t first = 0) {
  KeypointMatches matches;
  for (uint32_t i = first; i < kNumPoints; ++i) {
    matches.emplace_back(KeypointOf(i, id1), KeypointOf(i, id2));
  }
  std::sort(matches.begin(), matches.end());
  return matches;
}

// The images a.jpg (id 2), sub/b.jpg (1) and c.jpg (3) of random points, in two
// databases made by COLMAP: full.db has keypoints, matches of the pairs 1-2 and
// 2-3, and these without the first ten as verified; bare.db has none of these.
class HlocCommands : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(NRE_COLMAP_EXECUTABLE)) {
      GTEST_SKIP() << "no colmap executable";
    }
    std::mt19937 random(7);
    std::uniform_real_distribution<double> uniform(-1.0, 1.0);
    for (uint32_t i = 0; i < kNumPoints; ++i) {
      const Eigen::Vector3d xyz(
          2.0 * uniform(random), 2.0 * uniform(random), 6.0 + uniform(random));
      for (const colmap::image_t id : {1, 2, 3}) {
        keypoints_[id].resize(kNumPoints);
        const Eigen::Vector3d in_cam =
            Eigen::AngleAxisd(0.1 * id, Eigen::Vector3d::UnitX()) * xyz +
            Eigen::Vector3d(0.5 * id, 0.0, 0.1 * id);
        const Eigen::Vector2f xy =
            (500.0 * in_cam.hnormalized() + Eigen::Vector2d(320.0, 240.0))
                .cast<float>();
        keypoints_[id][KeypointOf(i, id)] = xy.cast<double>();
      }
    }
    for (const std::string& path : {full_, bare_}) {
      const std::string command = NRE_COLMAP_EXECUTABLE
                                  " database_creator --database_path " +
                                  path + " >/dev/null 2>&1";
      ASSERT_EQ(std::system(command.c_str()), 0);
      RunSql(path,
             // SIMPLE_PINHOLE f = 500, cx = 320, cy = 240.
             "INSERT INTO cameras(camera_id, model, width, height, params, "
             "prior_focal_length) VALUES (4, 0, 640, 480, "
             "x'0000000000407F4000000000000074400000000000006E40', 1);"
             "INSERT INTO images(image_id, name, camera_id) VALUES "
             "(1, 'sub/b.jpg', 4), (2, 'a.jpg', 4), (3, 'c.jpg', 4);");
    }
    Database database(full_, Database::Mode::kReadWrite);
    for (const auto& [id, keypoints] : keypoints_) {
      database.AppendKeypoints(id, keypoints);
    }
    database.WriteMatches(1, 2, MatchesOf(1, 2), Verified(MatchesOf(1, 2, 10)));
    database.WriteMatches(2, 3, MatchesOf(2, 3), Verified(MatchesOf(2, 3, 10)));
    database.Commit();
  }

  // Nothing half-written lies around.
  void TearDown() override {
    for (const std::string& name : List(folder_.path())) {
      EXPECT_THAT(name, Not(HasSubstr("tmp")));
    }
  }

  static TwoViewGeometry Verified(const KeypointMatches& inliers) {
    TwoViewGeometry geometry;
    geometry.config = 2;
    geometry.inliers = inliers;
    return geometry;
  }

  RunResult Export(const std::vector<std::string>& more = {},
                   const std::string& limit = "") {
    std::vector<std::string> arguments = {"hloc_matches_exporter",
                                          "--database_path",
                                          full_,
                                          "--output_path",
                                          hloc_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunColmapNre(arguments, "", limit);
  }

  // From the folder that Export() writes.
  RunResult Import(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"hloc_matches_importer",
                                          "--features_path",
                                          hloc_ + "/features.h5",
                                          "--matches_path",
                                          hloc_ + "/matches.h5"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunColmapNre(arguments);
  }
  RunResult ImportInto(const std::string& path) {
    return Import({"--database_path", path, "--in_place", "1"});
  }

  // The database and the other files are as they were.
  void ExpectImportError(const std::string& what,
                         const std::vector<std::string>& more = {}) {
    const auto before = Snapshot(folder_.path());
    std::vector<std::string> arguments = {
        "--database_path", bare_, "--in_place", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const RunResult result = Import(arguments);
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_THAT(result.output, AllOf(HasSubstr("ERROR"), HasSubstr(what)));
    EXPECT_EQ(Snapshot(folder_.path()), before);
  }

  void WriteFeatures(const std::map<std::string, size_t>& num_keypoints,
                     int width = 640) {
    fs::create_directory(hloc_);
    fs::remove(hloc_ + "/features.h5");
    HlocFeaturesFile file(hloc_ + "/features.h5", kCreate);
    for (const auto& [name, num] : num_keypoints) {
      HlocFeatures features;
      features.width = width;
      features.height = 480;
      features.keypoints.assign(num, Eigen::Vector2d(1.0, 2.0));
      file.Write(name, features);
    }
    file.Close();
  }
  void WriteMatches(const ImagePair& pair,
                    size_t num_keypoints1,
                    const KeypointMatches& matches) {
    fs::remove(hloc_ + "/matches.h5");
    HlocMatchesFile file(hloc_ + "/matches.h5", kCreate);
    file.Write(pair, num_keypoints1, matches);
    file.Close();
  }

  TestFolder folder_;
  std::string full_ = folder_ / "full.db";
  std::string bare_ = folder_ / "bare.db";
  std::string hloc_ = folder_ / "hloc";
  std::map<colmap::image_t, std::vector<Eigen::Vector2d>> keypoints_;
};

TEST_F(HlocCommands, ThereAndBack) {
  const std::string before = ReadFile(full_);
  const RunResult exported = Export();
  ASSERT_EQ(exported.exit_code, 0) << exported.output;
  EXPECT_THAT(exported.output,
              HasSubstr("3 images and 100 matches of 2 pairs"));
  EXPECT_EQ(ReadFile(full_), before);
  EXPECT_THAT(List(hloc_),
              ElementsAre("features.h5", "matches.h5", "pairs.txt"));
  EXPECT_EQ(ReadFile(hloc_ + "/pairs.txt"), "sub/b.jpg a.jpg\na.jpg c.jpg\n");

  const std::string bare = ReadFile(bare_);
  const std::string copy = folder_ / "copy.db";
  const RunResult imported =
      Import({"--database_path", bare_, "--output_database_path", copy});
  ASSERT_EQ(imported.exit_code, 0) << imported.output;
  EXPECT_THAT(imported.output,
              HasSubstr("keypoints of 3 of 3 images (the database has the "
                        "others) and 100 matches of 2 pairs; verified: 100 of "
                        "2 pairs"));
  EXPECT_EQ(ReadFile(bare_), bare);
  const Database database(copy, Database::Mode::kReadOnly);
  for (const auto& [id, keypoints] : keypoints_) {
    const std::vector<Eigen::Vector2d> again = database.ReadKeypoints(id);
    ASSERT_EQ(again.size(), keypoints.size());
    for (size_t i = 0; i < again.size(); ++i) {
      EXPECT_LT((again[i] - keypoints[i]).norm(), 1e-6);
    }
  }
  for (const auto kind :
       {Database::Matches::kRaw, Database::Matches::kVerified}) {
    EXPECT_EQ(database.ReadMatches(1, 2, kind), MatchesOf(1, 2, 10));
    EXPECT_EQ(database.ReadMatches(2, 3, kind), MatchesOf(2, 3, 10));
    EXPECT_THAT(database.ReadMatches(1, 3, kind), IsEmpty());
  }
}

TEST_F(HlocCommands, RawMatches) {
  const RunResult exported = Export({"--raw_matches", "1"});
  ASSERT_EQ(exported.exit_code, 0) << exported.output;
  EXPECT_EQ(HlocMatchesFile(hloc_ + "/matches.h5", kRead)
                .Read({"a.jpg", "c.jpg"}, kNumPoints, kNumPoints),
            MatchesOf(2, 3));
}

TEST_F(HlocCommands, NamesWithBlanksThereAndBack) {
  for (const std::string& path : {full_, bare_}) {
    RunSql(path,
           "UPDATE images SET name = 'my sub/b (1).jpg' WHERE image_id = 1;"
           "UPDATE images SET name = 'a  \"2\".jpg' WHERE image_id = 2;");
  }
  const RunResult exported = Export();
  ASSERT_EQ(exported.exit_code, 0) << exported.output;
  EXPECT_THAT(exported.output, HasSubstr("Names with blanks are in quotes"));
  EXPECT_EQ(ReadFile(hloc_ + "/pairs.txt"),
            "\"my sub/b (1).jpg\" \"a  \"\"2\"\".jpg\"\n"
            "\"a  \"\"2\"\".jpg\" \"c.jpg\"\n");
  const RunResult imported = Import({"--database_path",
                                     bare_,
                                     "--in_place",
                                     "1",
                                     "--pairs_path",
                                     hloc_ + "/pairs.txt"});
  ASSERT_EQ(imported.exit_code, 0) << imported.output;
  const Database database(bare_, Database::Mode::kReadOnly);
  EXPECT_EQ(database.ReadMatches(1, 2), MatchesOf(1, 2, 10));
  EXPECT_EQ(database.ReadMatches(2, 3), MatchesOf(2, 3, 10));
}

// Keypoints that the database has already are left alone, and matches of theirs
// are replaced.
TEST_F(HlocCommands, SameKeypointsInPlace) {
  ASSERT_EQ(Export().exit_code, 0);
  const RunResult imported = ImportInto(full_);
  ASSERT_EQ(imported.exit_code, 0) << imported.output;
  EXPECT_THAT(imported.output, HasSubstr("keypoints of 0 of 3 images"));
  const Database database(full_, Database::Mode::kReadOnly);
  EXPECT_EQ(database.ReadKeypoints(1), keypoints_[1]);
  EXPECT_EQ(database.ReadMatches(1, 2, Database::Matches::kRaw),
            MatchesOf(1, 2, 10));
}

TEST_F(HlocCommands, OtherKeypoints) {
  ASSERT_EQ(Export().exit_code, 0);
  {
    Database database(bare_, Database::Mode::kReadWrite);
    std::vector<Eigen::Vector2d> moved = keypoints_[3];
    moved[5].x() += 0.009;
    moved[8].x() += 0.02;
    database.AppendKeypoints(3, moved);
    database.Commit();
  }
  ExpectImportError("keypoint 8 is 0.0");
  {
    Database database(bare_, Database::Mode::kReadWrite);
    database.AppendKeypoints(3, {Eigen::Vector2d(1, 2)});
    database.Commit();
  }
  ExpectImportError("60 instead of 61");
}

TEST_F(HlocCommands, OnlySomePairs) {
  ASSERT_EQ(Export().exit_code, 0);
  RunSql(bare_, "DELETE FROM images WHERE name = 'c.jpg'");
  ExpectImportError("does not have the image c.jpg");
  // The other way round, and again.
  WriteFile(folder_ / "pairs.txt", "a.jpg sub/b.jpg\nsub/b.jpg a.jpg\n");
  const RunResult imported = Import({"--database_path",
                                     bare_,
                                     "--in_place",
                                     "1",
                                     "--pairs_path",
                                     folder_ / "pairs.txt"});
  ASSERT_EQ(imported.exit_code, 0) << imported.output;
  EXPECT_THAT(imported.output, HasSubstr("50 matches of 1 pairs"));
  const Database database(bare_, Database::Mode::kReadOnly);
  EXPECT_EQ(database.ReadMatches(1, 2), MatchesOf(1, 2, 10));

  WriteFile(folder_ / "pairs.txt", "a.jpg a.jpg\n");
  ExpectImportError("with itself", {"--pairs_path", folder_ / "pairs.txt"});
  RunSql(bare_,
         "INSERT INTO images(image_id, name, camera_id) VALUES "
         "(3, 'c.jpg', 4)");
  WriteFile(folder_ / "pairs.txt", "c.jpg sub/b.jpg\n");
  ExpectImportError("no matches of c.jpg and sub/b.jpg",
                    {"--pairs_path", folder_ / "pairs.txt"});
}

// A keypoint may have several matches in one direction; what still does not fit
// is left out.
TEST_F(HlocCommands, SeveralMatchesOfAKeypoint) {
  const KeypointMatches matches = {{0, 4}, {0, 5}, {0, 6}, {1, 4}, {2, 7}};
  {
    Database database(full_, Database::Mode::kReadWrite);
    database.WriteMatches(1, 2, matches, Verified(matches));
    database.Commit();
  }
  const RunResult exported = Export();
  ASSERT_EQ(exported.exit_code, 0) << exported.output;
  EXPECT_THAT(exported.output, HasSubstr("WARNING: 1 matches are left out"));
  EXPECT_EQ(ReadFile(hloc_ + "/pairs.txt"), "a.jpg sub/b.jpg\na.jpg c.jpg\n");
  EXPECT_THAT(HlocMatchesFile(hloc_ + "/matches.h5", kRead)
                  .Read({"sub/b.jpg", "a.jpg"}, kNumPoints, kNumPoints),
              ElementsAre(std::pair(0u, 4u),
                          std::pair(0u, 5u),
                          std::pair(0u, 6u),
                          std::pair(2u, 7u)));
}

TEST_F(HlocCommands, DescriptorsOfUnitLength) {
  // 60 rows of 128: the first is 3 and 4, the second is zero.
  std::string hex = "0304" + std::string(2 * 126, '0');
  hex += std::string(2 * 128, '0');
  for (int i = 0; i < 58 * 128; ++i) {
    hex += "07";
  }
  RunSql(full_,
         // COLMAP 4 has a column for what kind they are; 0: SIFT.
         (NRE_COLMAP_VERSION < 400
              ? "INSERT INTO descriptors(image_id, rows, cols, data) "
              : "INSERT INTO descriptors(type, image_id, rows, cols, data) "
                "SELECT 0, * FROM (") +
             std::string("VALUES (2, 60, 128, x'") + hex + "'), (3, 60, 2, x'" +
             std::string(4 * 60, '1') + "')" +
             (NRE_COLMAP_VERSION < 400 ? ";" : ");"));
  const RunResult exported = Export();
  ASSERT_EQ(exported.exit_code, 0) << exported.output;
  const Hdf5File file(hloc_ + "/features.h5", kRead);
  const Hdf5Array<float> descriptors = file.Read<float>("a.jpg/descriptors", 2);
  EXPECT_THAT(descriptors.shape, ElementsAre(128, 60));
  const auto value = [&](int row, int keypoint) {
    return descriptors.values[row * 60 + keypoint];
  };
  EXPECT_NEAR(value(0, 0), 0.6, 3e-4);
  EXPECT_NEAR(value(1, 0), 0.8, 3e-4);
  EXPECT_EQ(value(2, 0), 0.0f);
  EXPECT_EQ(value(0, 1), 0.0f);
  EXPECT_NEAR(value(127, 59), 1.0 / std::sqrt(128.0), 3e-5);
  EXPECT_FALSE(file.Has("c.jpg/descriptors"));
  EXPECT_FALSE(file.Has("sub/b.jpg/descriptors"));
}

TEST_F(HlocCommands, BadExports) {
  const auto expect_error = [&](const RunResult& result,
                                const std::string& what) {
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_THAT(result.output, AllOf(HasSubstr("ERROR"), HasSubstr(what)));
    EXPECT_FALSE(fs::exists(hloc_));
  };
  expect_error(RunColmapNre({"hloc_matches_exporter"}), "--database_path");
  expect_error(
      RunColmapNre({"hloc_matches_exporter", "--database_path", full_}),
      "--output_path");
  RunSql(full_, "DELETE FROM images WHERE image_id = 3");
  expect_error(Export(), "matches of image 3");
  {
    const KeypointMatches matches = {{60, 0}};
    Database database(full_, Database::Mode::kReadWrite);
    database.WriteMatches(1, 2, matches, Verified(matches));
    database.Commit();
  }
  expect_error(Export(), "keypoints that it does not have");
  RunSql(full_, "DELETE FROM two_view_geometries");
  expect_error(Export(), "no verified matches");
  RunSql(full_, "DELETE FROM matches");
  expect_error(Export({"--raw_matches", "1"}), "no matches");
  fs::create_directory(hloc_);
  WriteFile(hloc_ + "/some", "thing");
  const RunResult result = Export();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, HasSubstr("not empty"));
}

// The library must neither crash then nor say so itself.
TEST_F(HlocCommands, FullDisk) {
  for (const char* limit : {"ulimit -f 1", "ulimit -f 4", "ulimit -f 12"}) {
    const RunResult result = Export({}, limit);
    EXPECT_EQ(result.exit_code, 2) << limit << result.output;
    EXPECT_THAT(result.output, HasSubstr("could not be written completely"));
    EXPECT_THAT(result.output, Not(HasSubstr("HDF5-DIAG")));
    EXPECT_FALSE(fs::exists(hloc_));
  }
}

// They number keypoints as they match pairs: `matches0` ends with the last of
// its own, and an image that nothing matches has an empty list.
TEST_F(HlocCommands, FilesOfDenseMatchers) {
  fs::create_directory(hloc_);
  {
    Hdf5File file(hloc_ + "/features.h5", kCreate);
    const std::map<colmap::image_t, std::string> names = {{2, "a.jpg"},
                                                          {1, "sub/b.jpg"}};
    for (const auto& [id, name] : names) {
      Hdf5Array<float> array{{kNumPoints + 1, 2}, {}};
      for (const Eigen::Vector2d& xy : keypoints_[id]) {
        array.values.push_back(static_cast<float>(xy.x() - 0.5));
        array.values.push_back(static_cast<float>(xy.y() - 0.5));
      }
      array.values.resize(2 * (kNumPoints + 1), 3.0f);  // of a later pair
      file.Write(name + "/keypoints", array, Hdf5Type::kFloat32);
    }
    file.Write(
        "c.jpg/keypoints", Hdf5Array<float>{{0}, {}}, Hdf5Type::kFloat32);
    file.Close();
  }
  {
    Hdf5Array<int64_t> matches0{{kNumPoints},
                                std::vector<int64_t>(kNumPoints, -1)};
    for (const auto& [i, j] : MatchesOf(2, 1)) matches0.values[i] = j;
    Hdf5File file(hloc_ + "/matches.h5", kCreate);
    file.Write("a.jpg/sub-b.jpg/matches0", matches0, Hdf5Type::kInt32);
    file.Write(
        "a.jpg/c.jpg/matches0", Hdf5Array<int64_t>{{0}, {}}, Hdf5Type::kInt32);
    file.Close();
  }
  const RunResult imported = ImportInto(bare_);
  ASSERT_EQ(imported.exit_code, 0) << imported.output;
  const Database database(bare_, Database::Mode::kReadOnly);
  EXPECT_EQ(database.NumKeypoints(2), kNumPoints + 1);
  EXPECT_EQ(database.NumKeypoints(3), 0);
  EXPECT_EQ(database.ReadMatches(2, 1), MatchesOf(2, 1));
  EXPECT_THAT(database.ReadMatches(2, 3), IsEmpty());
}

TEST_F(HlocCommands, BadImports) {
  const RunResult result = Import({"--database_path", bare_});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, HasSubstr("--output_database_path"));
  ExpectImportError("out of its range",
                    {"--TwoViewGeometry.max_error_px", "0"});
  ExpectImportError("features.h5 does not exist");
  WriteFeatures({{"a.jpg", 4}, {"sub/b.jpg", 5}});
  ExpectImportError("matches.h5 does not exist");
  WriteMatches({"a.jpg", "sub/b.jpg"}, 4, {{0, 5}});
  ExpectImportError("names keypoint 5 of sub/b.jpg, which has 5");
  WriteMatches({"a.jpg", "sub/b.jpg"}, 5, {{0, 4}});
  ExpectImportError("is for 5 keypoints, but a.jpg has 4");
  WriteMatches({"a.jpg", "c.jpg"}, 4, {{0, 4}});
  ExpectImportError("`a.jpg/c.jpg` is not a pair of images");
  WriteMatches({"a.jpg", "a.jpg"}, 4, {{0, 3}});
  ExpectImportError("pairs the image a.jpg with itself");
  WriteFile(hloc_ + "/matches.h5", "damaged");
  ExpectImportError("matches.h5 cannot be read");

  WriteMatches({"a.jpg", "sub/b.jpg"}, 4, {{0, 4}});
  WriteFeatures({{"a.jpg", 4}, {"sub/b.jpg", 5}}, 600);
  ExpectImportError("a.jpg has 600 x 480 pixels");
  WriteFeatures({{"a.jpg", 4}, {"sub/b.jpg", 5}, {"x/d.jpg", 1}});
  ExpectImportError("does not have the image x/d.jpg");
  WriteFeatures({{"y/a.jpg", 4}, {"y/b.jpg", 5}});
  WriteMatches({"y/a.jpg", "y/b.jpg"}, 4, {{0, 4}});
  ExpectImportError("has none of the images");
}

}  // namespace
}  // namespace nre
