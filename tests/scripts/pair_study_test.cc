// pair_study on a rendered scene, whose truth is exact, and on photographs.

#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scripts/benchmark/resumable_table.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

using testing::HasSubstr;

// In any order, without the columns.
std::set<std::string> LinesOf(const std::string& path) {
  std::istringstream stream(ReadFile(path));
  std::set<std::string> lines;
  std::string line;
  std::getline(stream, line);
  while (std::getline(stream, line)) lines.insert(line);
  return lines;
}

class PairStudyTest : public testing::Test {
 protected:
  PairStudyTest() : scene_(folder_.path()) {}

  RunResult RunStudy(const std::string& results, const std::string& more = "") {
    return RunShell(
        std::string(NRE_PAIR_STUDY) +
        " --features dense_sift --metres_per_unit 1 --model_path '" +
        scene_.model_path + "' --image_path '" + scene_.image_path +
        "' --results '" + folder_ / results + "' " + more);
  }

  TestFolder folder_;
  RenderedScene scene_;
};

TEST_F(PairStudyTest, LocalizesOneImageInAnotherBySeveralMethods) {
  const RunResult result =
      RunStudy("out.tsv", "--methods nre,lo_ransac --max_num_pairs 5");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const std::set<std::string> lines = LinesOf(folder_ / "out.tsv");
  EXPECT_EQ(lines.size(), 2 * 5);
  int num_right = 0;
  for (const std::string& line : lines) {
    const std::vector<std::string> words = SplitTabs(line);
    ASSERT_EQ(words.size(), 8) << line;
    EXPECT_NE(words[2], words[3]);
    num_right += words[4] == "registered" && std::stod(words[6]) < 0.1 &&
                 std::stod(words[7]) < 1.0;
  }
  EXPECT_GE(num_right, 9);
  EXPECT_THAT(result.output, HasSubstr("| dense_sift, nre | 5 |"));
  EXPECT_THAT(result.output, HasSubstr("| dense_sift, lo_ransac | 5 |"));
}

TEST_F(PairStudyTest, GoesOnFromWhatIsDone) {
  ASSERT_EQ(RunStudy("out.tsv", "--max_num_pairs 1").exit_code, 0);
  const std::string path = folder_ / "out.tsv";
  const std::set<std::string> one = LinesOf(path);
  ASSERT_EQ(one.size(), 1);
  // Another result is made up, and a line cut off: the one stays as it is, the
  // other is none.
  std::string changed = ReadFile(path);
  const size_t verdict = changed.find("registered");
  ASSERT_NE(verdict, std::string::npos) << changed;
  changed.replace(verdict, 10, "rejected");
  WriteFile(path, changed + "dense_sift\tnre\tr");
  const RunResult more =
      RunStudy("out.tsv", "--max_num_pairs 3 --num_threads 2");
  ASSERT_EQ(more.exit_code, 0) << more.output;
  ASSERT_EQ(RunStudy("anew.tsv", "--max_num_pairs 3").exit_code, 0);
  std::set<std::string> expected = LinesOf(folder_ / "anew.tsv");
  EXPECT_EQ(expected.size(), 3);
  ASSERT_EQ(expected.erase(*one.begin()), 1);  // whatever the threads
  std::string made_up = *one.begin();
  expected.insert(made_up.replace(made_up.find("registered"), 10, "rejected"));
  EXPECT_EQ(LinesOf(path), expected);
  // Another seed is another table.
  const RunResult other = RunStudy("out.tsv", "--random_seed 1");
  EXPECT_NE(other.exit_code, 0);
  EXPECT_THAT(other.output, HasSubstr("other options"));
}

TEST_F(PairStudyTest, ListsThePairs) {
  const std::string list = folder_ / "list.txt";
  ASSERT_EQ(
      RunStudy("none.tsv", "--max_num_pairs 5 --list_path " + list).exit_code,
      0);
  std::istringstream words(ReadFile(list));
  std::set<std::string> pairs;
  for (std::string query, reference; words >> query >> reference;) {
    EXPECT_NE(query, reference);
    pairs.insert(query + reference);
  }
  EXPECT_EQ(pairs.size(), 5);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "none.tsv"));
}

TEST_F(PairStudyTest, RefusesWhatIsNotThere) {
  RunResult result = RunStudy("out.tsv", "--image_path /nowhere");
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr("there is no /nowhere/r0.png"));
  result = RunStudy("out.tsv", "--methods guessing");
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr("guessing"));
  result = RunStudy("out.tsv", "--min_shared_points 100000");
  EXPECT_THAT(result.output, HasSubstr("no pair of images with 100000"));
  result = RunStudy("out.tsv", "--nonsense 1");
  EXPECT_THAT(result.output, HasSubstr("usage: pair_study"));
}

// SIFT's part of the script, and the tables of real pictures.
TEST(PairStudy, ComparesWithSiftOnPhotographs) {
  const std::string scene =
      std::string(NRE_SOURCE_DIR) + "/../shared/datasets/fountain";
  if (!std::filesystem::exists(scene)) {
    GTEST_SKIP() << "skipped: there is no " << scene;
  }
  const TestFolder folder;
  const std::string colmap =
      std::filesystem::path(NRE_COLMAP_EXECUTABLE).parent_path().parent_path();
  const RunResult result = RunShell(
      "PAIR_STUDY='" NRE_PAIR_STUDY "' COLMAP_ROOT='" + colmap + "' '" +
      NRE_SOURCE_DIR + "/scripts/benchmark/pair_study.sh' '" + scene +
      "/map' '" + scene + "/images' '" + folder / "out" +
      "' --max_num_pairs 2 --metres_per_unit 1 --methods nre,sift --features "
      "dense_sift");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("| SIFT, magsac | 2 | 0.00 [0.00"));
  EXPECT_THAT(result.output, HasSubstr("| dense_sift, nre | 2 |"));
  EXPECT_EQ(LinesOf(folder / "out/results.tsv").size(), 4);
}

}  // namespace
}  // namespace nre
