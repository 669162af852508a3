// feature_study on a rendered scene, whose truth is exact.

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

std::string PoseLine(const std::string& name, const Rigid3d& pose) {
  std::ostringstream line;
  line.precision(17);
  line << name << ' ' << pose.rotation.w() << ' ' << pose.rotation.x() << ' '
       << pose.rotation.y() << ' ' << pose.rotation.z() << ' '
       << pose.translation.transpose() << '\n';
  return line.str();
}

// In any order.
std::set<std::string> LinesOf(const std::string& path) {
  std::istringstream stream(ReadFile(path));
  std::set<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.insert(line);
  return lines;
}

class FeatureStudyTest : public testing::Test {
 protected:
  FeatureStudyTest() : scene_(folder_.path()) {}

  // The truth of the queries, the poses of all in a certain order.
  void WriteTruth(size_t first, size_t second) {
    WriteFile(folder_ / "queries_gt.txt",
              PoseLine("q0.png", scene_.query_poses[first]) +
                  PoseLine("q1.png", scene_.query_poses[second]));
  }

  RunResult RunStudy(const std::string& output, const std::string& more = "") {
    return RunShell(std::string(NRE_FEATURE_STUDY) +
                    " --features dense_sift --max_points 60 --set '" +
                    folder_.path() + "' --output_path '" + folder_ / output +
                    "' " + more);
  }

  // Mean share of the points within two cells over the pairs.
  double ShareWithin2(const std::string& output, const std::string& maps) {
    std::istringstream lines(ReadFile(folder_ / output + "/pairs.tsv"));
    double sum = 0.0;
    int num = 0;
    for (std::string line; std::getline(lines, line);) {
      const std::vector<std::string> words = SplitTabs(line);
      if (words.at(1) != maps) continue;
      sum += std::stod(words.at(9));
      ++num;
    }
    EXPECT_GT(num, 0) << maps;
    return sum / num;
  }

  TestFolder folder_;
  RenderedScene scene_;
};

TEST_F(FeatureStudyTest, FindsPointsWhereTheTruthSaysAndNotElsewhere) {
  WriteTruth(0, 1);
  const RunResult right = RunStudy("right");
  ASSERT_EQ(right.exit_code, 0) << right.output;
  EXPECT_GT(ShareWithin2("right", "coarse"), 0.85);
  EXPECT_GT(ShareWithin2("right", "fine"), 0.85);
  EXPECT_THAT(right.output, HasSubstr("dense_sift | 8 | 480 |"));
  WriteTruth(1, 0);
  const RunResult wrong = RunStudy("wrong");
  ASSERT_EQ(wrong.exit_code, 0) << wrong.output;
  // Both queries look at the same place, which is found with either pose.
  EXPECT_LT(ShareWithin2("wrong", "coarse"), 0.4);
}

TEST_F(FeatureStudyTest, GoesOnFromWhatIsDone) {
  WriteTruth(0, 1);
  ASSERT_EQ(RunStudy("out", "--max_pairs 1").exit_code, 0);
  const std::string path = folder_ / "out/pairs.tsv";
  const std::string one_pair = ReadFile(path);
  // A kill in the middle of a line.
  WriteFile(path, one_pair + "set\tcoarse\tdense_s");
  const RunResult all = RunStudy("out");
  ASSERT_EQ(all.exit_code, 0) << all.output;
  const std::set<std::string> all_pairs = LinesOf(path);
  ASSERT_EQ(RunStudy("anew").exit_code, 0);
  EXPECT_TRUE(LinesOf(folder_ / "anew/pairs.tsv") == all_pairs);
  EXPECT_EQ(all_pairs.size(), 1 + 2 * 8);  // coarse and fine
  // What is done stays as it is, even if it were another result now.
  WriteTruth(1, 0);
  ASSERT_EQ(RunStudy("out").exit_code, 0);
  EXPECT_TRUE(LinesOf(path) == all_pairs);
  // Other points are another table.
  const RunResult other = RunStudy("out", "--max_points 50");
  EXPECT_NE(other.exit_code, 0);
  EXPECT_THAT(other.output, HasSubstr("other options"));
}

TEST_F(FeatureStudyTest, MeasuresByEpipolarLinesWhereThereAreNoPoints) {
  const Rigid3d pose = scene_.query_poses[1] * scene_.query_poses[0].Inverse();
  WriteFile(folder_ / "cameras.txt", ReadFile(scene_.query_list_path));
  WriteFile(folder_ / "pairs_gt.txt", "q0.png " + PoseLine("q1.png", pose));
  const RunResult result = RunStudy("out");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_GT(ShareWithin2("out", "epipolar"), 0.7);
  EXPECT_THAT(result.output, HasSubstr("dense_sift | 2 | 120 |"));
}

TEST_F(FeatureStudyTest, RefusesWhatIsNotThere) {
  WriteTruth(0, 1);
  RunResult result = RunStudy("out", "--features nonsense");
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr("unknown feature preset 'nonsense'"));
  result = RunStudy("out", "--set /nowhere");
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr("/nowhere"));
  result = RunStudy("out", "--set /nowhere:7th");
  EXPECT_THAT(result.output, HasSubstr("expected FOLDER"));
}

}  // namespace
}  // namespace nre
