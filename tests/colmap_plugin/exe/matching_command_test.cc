// s2d_matcher, from the command line to what COLMAP makes of its matches.

#include <chrono>
#include <csignal>
#include <filesystem>
#include <sys/wait.h>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/io/database.h"
#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// The pictures and database of a rendered scene, made once: COLMAP's keypoints
// of the references, none of the queries.
class MatchedScene {
 public:
  MatchedScene() : scene(folder_.path()), database_path(folder_ / "database") {
    const RunResult result =
        ExtractKeypoints(database_path, scene.image_path, "420,420,240,180");
    if (result.exit_code != 0) throw std::runtime_error(result.output);
    for (const char* table : {"keypoints", "descriptors"}) {
      RunSql(database_path,
             std::string("DELETE FROM ") + table +
                 " WHERE image_id IN (SELECT image_id FROM images WHERE name "
                 "LIKE 'q%');");
    }
  }

 private:
  TestFolder folder_;

 public:
  RenderedScene scene;
  std::string database_path;
};

const MatchedScene& SharedScene() {
  static const MatchedScene scene;
  return scene;
}

class S2dMatcher : public testing::Test {
 protected:
  S2dMatcher()
      : scene_(SharedScene().scene),
        database_(folder_ / "database.db"),
        output_(folder_ / "output.db") {
    fs::copy_file(SharedScene().database_path, database_);
    WriteFile(folder_ / "references.txt", "r0.png\nr1.png\nr2.png\nr3.png\n");
    before_ = ReadFile(database_);
  }

  std::vector<std::string> Arguments(
      const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"s2d_matcher",
                                          "--database_path",
                                          database_,
                                          "--image_path",
                                          scene_.image_path,
                                          "--log_level",
                                          "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  RunResult Match(const std::vector<std::string>& more) const {
    return RunColmapNre(Arguments(more));
  }

  // All references, into a copy.
  RunResult MatchReferences(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"--output_database_path",
                                          output_,
                                          "--image_list_path",
                                          folder_ / "references.txt"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Match(arguments);
  }

  // One message, nothing written.
  void ExpectError(const RunResult& result, const std::string& message) {
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_THAT(result.output, HasSubstr(message));
    EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1)
        << result.output;
    EXPECT_FALSE(fs::exists(output_));
    for (const std::string& name : List(folder_.path())) {
      EXPECT_THAT(name, Not(HasSubstr("tmp")));
    }
  }

  // Opens it as COLMAP does, and checks all of it.
  void ExpectIntact(const std::string& path) {
    const RunResult result = RunColmapNre(
        {"database_creator", "--database_path", path}, ColmapOnPath());
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_EQ(RunSql(path, "PRAGMA integrity_check;"), "ok");
  }

  TestFolder folder_;
  const RenderedScene& scene_;
  std::string database_;
  std::string output_;
  std::string before_;
};

TEST_F(S2dMatcher, MatchesAreThoseOfTheScene) {
  const RunResult result = MatchReferences({"--both_directions", "1"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("[12/12]"), HasSubstr("6 pairs, 6 of them")));
  EXPECT_EQ(ReadFile(database_), before_);
  EXPECT_THAT(List(folder_.path()),
              ElementsAre("database.db", "output.db", "references.txt"));

  const Database input(database_, Database::Mode::kReadOnly);
  const Database output(output_, Database::Mode::kReadOnly);
  colmap::Reconstruction model;
  ReadModel(scene_.model_path, &model);
  const std::vector<Query> images = output.ReadQueries(scene_.reference_names);
  for (const Query& image : images) {
    const auto existing = input.ReadKeypoints(image.image_id);
    const auto keypoints = output.ReadKeypoints(image.image_id);
    ASSERT_GE(keypoints.size(), existing.size());
    EXPECT_TRUE(
        std::equal(existing.begin(), existing.end(), keypoints.begin()));
  }
  // The matches of neighbours lie on the epipolar lines of the true poses.
  const auto ids = ImageIdsByName(model);
  const Rigid3d pose1 = CamFromWorld(model.Image(ids.at("r1.png")));
  const Rigid3d pose2 = CamFromWorld(model.Image(ids.at("r2.png")));
  const auto keypoints1 = output.ReadKeypoints(images[1].image_id);
  const auto keypoints2 = output.ReadKeypoints(images[2].image_id);
  const auto matches =
      output.ReadMatches(images[1].image_id, images[2].image_id);
  size_t num_near = 0;
  const auto bearing = [](const Eigen::Vector2d& xy) {
    return Eigen::Vector3d(
        (xy.x() - 240.0) / 420.0, (xy.y() - 180.0) / 420.0, 1);
  };
  for (const auto& [i, j] : matches) {
    const Eigen::Vector3d ray1 =
        pose2.rotation * (pose1.rotation.inverse() * bearing(keypoints1[i]));
    const Eigen::Vector3d center1 = pose2 * ProjectionCenter(pose1);
    const Eigen::Vector3d line = center1.cross(ray1);
    const double distance_px = 420.0 *
                               std::abs(line.dot(bearing(keypoints2[j]))) /
                               line.head<2>().norm();
    num_near += distance_px < 1.5;
  }
  EXPECT_GE(matches.size(), 200);
  EXPECT_GE(num_near, 0.95 * matches.size());
}

TEST_F(S2dMatcher, TheSameWhateverTheNumberOfThreads) {
  ASSERT_EQ(MatchReferences({"--num_threads", "1"}).exit_code, 0);
  const std::string other = folder_ / "other.db";
  ASSERT_EQ(Match({"--output_database_path",
                   other,
                   "--image_list_path",
                   folder_ / "references.txt",
                   "--num_threads",
                   "3"})
                .exit_code,
            0);
  const Database one(output_, Database::Mode::kReadOnly);
  const Database three(other, Database::Mode::kReadOnly);
  const std::vector<Query> images = one.ReadQueries(scene_.reference_names);
  for (size_t i = 0; i < images.size(); ++i) {
    const auto id1 = images[i].image_id;
    EXPECT_EQ(one.ReadKeypoints(id1), three.ReadKeypoints(id1));
    for (size_t j = 0; j < i; ++j) {
      const auto id2 = images[j].image_id;
      EXPECT_EQ(one.ReadMatches(id1, id2), three.ReadMatches(id1, id2));
    }
  }
}

TEST_F(S2dMatcher, AnInterruptedCommandGoesOn) {
  const std::string raw = folder_ / "raw";
  // Found, but not yet written: as if it had been interrupted in between.
  ASSERT_EQ(MatchReferences({"--raw_matches_path", raw}).exit_code, 0);
  EXPECT_TRUE(fs::exists(raw));
  RunSql(raw, "DELETE FROM pairs WHERE name1 = 'r0.png';");
  const std::string once = ReadFile(output_);
  fs::remove(output_);
  const RunResult again = MatchReferences({"--raw_matches_path", raw});
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.output,
              AllOf(HasSubstr("3 of 6 pairs had been matched before"),
                    HasSubstr("r1.png in r2.png: "),
                    HasSubstr("matched before")));
  EXPECT_EQ(ReadFile(output_), once);
  fs::remove(output_);
  ExpectError(
      MatchReferences(
          {"--raw_matches_path", raw, "--Matching.max_cycle_error_cells", "7"}),
      "was made with other options");
}

TEST_F(S2dMatcher, InPlace) {
  const RunResult result =
      Match({"--in_place", "1", "--pairs_path", [&] {
               WriteFile(folder_ / "pairs.txt", "r1.png r2.png\n");
               return folder_ / "pairs.txt";
             }()});
  EXPECT_EQ(result.exit_code, 0) << result.output;
  ExpectIntact(database_);
  EXPECT_EQ(RunSql(database_, "SELECT COUNT(*) FROM two_view_geometries"), "1");
  EXPECT_THAT(List(folder_.path()),
              ElementsAre("database.db", "pairs.txt", "references.txt"));
}

// Killed at many moments, of which most fall into the search, and some into the
// transaction.
TEST_F(S2dMatcher, KilledAtAnyMoment) {
  const std::string raw = folder_ / "raw";
  ASSERT_EQ(MatchReferences({"--raw_matches_path", raw}).exit_code, 0);
  const std::string num_pairs = RunSql(output_, "SELECT COUNT(*) FROM matches");
  const std::string num_keypoints =
      RunSql(database_, "SELECT SUM(rows) FROM keypoints");
  const std::string all_keypoints =
      RunSql(output_, "SELECT SUM(rows) FROM keypoints");
  ASSERT_NE(num_keypoints, all_keypoints);

  bool was_killed = true;
  for (int delay_ms = 10; was_killed; delay_ms += 15) {
    ASSERT_LT(delay_ms, 10000);
    // All pairs have been found, so that what is left is soon written.
    std::vector<std::string> arguments = Arguments({"--in_place",
                                                    "1",
                                                    "--image_list_path",
                                                    folder_ / "references.txt",
                                                    "--raw_matches_path",
                                                    raw});
    std::vector<char*> argv = {const_cast<char*>(NRE_EXECUTABLE)};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      const int null = open("/dev/null", O_WRONLY);
      dup2(null, 1);
      dup2(null, 2);
      execv(NRE_EXECUTABLE, argv.data());
      _exit(99);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    was_killed = WIFSIGNALED(status);

    ExpectIntact(database_);
    const std::string pairs = RunSql(database_, "SELECT COUNT(*) FROM matches");
    const std::string keypoints =
        RunSql(database_, "SELECT SUM(rows) FROM keypoints");
    const bool is_done = pairs == num_pairs;
    EXPECT_EQ(pairs, is_done ? num_pairs : "0") << delay_ms << " ms";
    EXPECT_EQ(keypoints, is_done ? all_keypoints : num_keypoints);
    if (is_done) break;
  }
}

TEST_F(S2dMatcher, AnInterruptKeepsWhatWasFound) {
  std::string command = NRE_EXECUTABLE;
  for (const std::string& argument : Arguments({"--output_database_path",
                                                output_,
                                                "--both_directions",
                                                "1",
                                                "--num_threads",
                                                "1",
                                                "--image_list_path",
                                                folder_ / "references.txt"})) {
    command += " '" + argument + "'";
  }
  // (A shell's background jobs ignore SIGINT.)
  const std::string log = folder_ / "log";
  const RunResult result =
      RunShell(command + " 2> " + log +
               " & for i in $(seq 1000); do grep -q '\\[1/12\\]' " + log +
               " && break; sleep 0.01; done; kill -TERM $!; wait $!; rc=$?; "
               "cat " +
               log + "; exit $rc");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_FALSE(fs::exists(output_));
  EXPECT_TRUE(fs::exists(output_ + ".raw_matches"));
  EXPECT_THAT(result.output,
              HasSubstr("the same command goes on from the pairs in"));
}

// An image that is found out only when its turn comes: before anything was
// found, and after.
TEST_F(S2dMatcher, AFailureLeavesNothingButWhatIsWorthKeeping) {
  RunSql(database_,
         "INSERT INTO cameras SELECT 9, model, 100, 100, params, "
         "prior_focal_length FROM cameras LIMIT 1;");
  const auto match = [&](const std::string& image_of_other_size) {
    RunSql(database_,
           "UPDATE images SET camera_id = 1; UPDATE images SET camera_id = 9 "
           "WHERE name = '" +
               image_of_other_size + "';");
    return MatchReferences({"--num_threads", "1", "--features", "dense_sift"});
  };
  ExpectError(match("r0.png"), "The image r0.png cannot be matched");
  EXPECT_THAT(List(folder_.path()),
              ElementsAre("database.db", "references.txt"));

  const std::string raw = output_ + ".raw_matches";
  const RunResult late = match("r3.png");
  EXPECT_EQ(late.exit_code, 1);
  EXPECT_THAT(late.output,
              AllOf(HasSubstr("The image r3.png cannot be matched"),
                    HasSubstr("goes on from the pairs in " + raw)));
  EXPECT_FALSE(fs::exists(output_));
  EXPECT_TRUE(fs::exists(raw));
  EXPECT_THAT(match("none").output, HasSubstr("had been matched before"));
  EXPECT_TRUE(fs::exists(output_));
  EXPECT_FALSE(fs::exists(raw));
}

// COLMAP's own image_registrator puts a query without any keypoints into a
// model that COLMAP's own mapper made.
TEST_F(S2dMatcher, TheStockRegistratorUsesItsMatches) {
  ASSERT_EQ(Match({"--in_place",
                   "1",
                   "--both_directions",
                   "1",
                   "--image_list_path",
                   folder_ / "references.txt"})
                .exit_code,
            0);
  const RunResult mapper =
      MapKeypoints(database_, scene_.image_path, folder_ / "sparse");
  ASSERT_EQ(mapper.exit_code, 0) << mapper.output;
  colmap::Reconstruction model;
  ReadModel(folder_ / "sparse/0", &model);
  EXPECT_EQ(RegisteredImages(model).size(), 4);

  // hloc's order, the query first, which has no keypoints.
  ASSERT_EQ(
      Match({"--in_place", "1", "--pairs_path", scene_.pairs_path}).exit_code,
      0);
  fs::create_directory(folder_ / "registered");
  const RunResult registrator = RunColmapNre({"image_registrator",
                                              "--database_path",
                                              database_,
                                              "--input_path",
                                              folder_ / "sparse/0",
                                              "--output_path",
                                              folder_ / "registered"},
                                             ColmapOnPath());
  ASSERT_EQ(registrator.exit_code, 0) << registrator.output;
  colmap::Reconstruction registered;
  ReadModel(folder_ / "registered", &registered);
  const auto ids = ImageIdsByName(registered);
  ASSERT_EQ(RegisteredImages(registered).size(), 6);

  // Distances between cameras, up to the model's scale, are the scene's.
  const auto center = [&](const std::string& name) {
    return ProjectionCenter(CamFromWorld(registered.Image(ids.at(name))));
  };
  colmap::Reconstruction truth;
  ReadModel(scene_.model_path, &truth);
  const auto true_ids = ImageIdsByName(truth);
  const auto true_center = [&](const std::string& name) {
    return ProjectionCenter(CamFromWorld(truth.Image(true_ids.at(name))));
  };
  const double scale = (true_center("r3.png") - true_center("r0.png")).norm() /
                       (center("r3.png") - center("r0.png")).norm();
  for (int q = 0; q < 2; ++q) {
    for (const std::string& name : scene_.reference_names) {
      EXPECT_NEAR(
          scale * (center(scene_.query_names[q]) - center(name)).norm(),
          (ProjectionCenter(scene_.query_poses[q]) - true_center(name)).norm(),
          0.05);
    }
  }
}

TEST_F(S2dMatcher, BadDatabases) {
  const auto match = [&] { return MatchReferences(); };
  fs::remove(database_);
  ExpectError(match(), "does not exist");

  const auto restore = [&] { WriteFile(database_, before_); };
  WriteFile(database_, "This is a text, and rather a long one, at that.");
  ExpectError(match(), "not a database");
  restore();
  RunSql(database_, "PRAGMA user_version = 5010000;");
  ExpectError(match(), "COLMAP 5");
  restore();
  RunSql(database_,
         "DROP TABLE two_view_geometries; CREATE TABLE inlier_matches (pair_id "
         "INTEGER);");
  ExpectError(match(), "database_creator");
  restore();
  RunSql(database_, "DELETE FROM keypoints;");
  ExpectError(match(), "has no keypoints");
  restore();
  RunSql(database_, "DELETE FROM images WHERE name = 'r2.png';");
  ExpectError(match(), "r2.png");
  restore();
  WriteFile(folder_ / "references.txt", "r1.png\nabsent.png\n");
  ExpectError(match(), "absent.png");
  RunSql(database_,
         "UPDATE images SET name = 'absent.png' WHERE name = 'r2.png'");
  ExpectError(match(), "lacks 1 images: absent.png");
}

TEST_F(S2dMatcher, LockedDatabase) {
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(database_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr),
            SQLITE_OK);
  ExpectError(Match({"--in_place", "1"}), "locked by another program");
  sqlite3_close(other);
}

// Root may write everything, so that another user is needed, who must be able
// to run the program.
TEST_F(S2dMatcher, ReadOnlyDatabase) {
  std::string command;
  if (geteuid() == 0) {
    fs::copy_file(NRE_EXECUTABLE, folder_ / "colmap_nre");
    fs::permissions(folder_.path(), fs::perms(0755));
    command = "setpriv --reuid=65534 --regid=65534 --clear-groups " +
              (folder_ / "colmap_nre");
  } else {
    command = NRE_EXECUTABLE;
  }
  fs::permissions(database_, fs::perms(0444));
  ExpectError(RunShell(command + " s2d_matcher --database_path " + database_ +
                       " --image_path " + folder_.path() + " --in_place 1" +
                       " --features dense_sift"),  // needs no weights
              "may not be written");
}

TEST_F(S2dMatcher, BadUsage) {
  ExpectError(Match({}), "Say where to write");
  ExpectError(Match({"--in_place", "1", "--output_database_path", output_}),
              "Say where to write");
  ExpectError(MatchReferences({"--features", "sift"}), "dense_sift");
  ExpectError(MatchReferences({"--Matching.max_ratio", "2"}),
              "out of its range");
  ExpectError(MatchReferences({"--pairs_path", scene_.pairs_path}),
              "either --pairs_path or --image_list_path");
  WriteFile(folder_ / "pairs.txt", "r1.png r1.png\n");
  ExpectError(Match({"--output_database_path",
                     output_,
                     "--pairs_path",
                     folder_ / "pairs.txt"}),
              "with itself");
}

}  // namespace
}  // namespace nre
