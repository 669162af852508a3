// pose_evaluator from the command line to its files.

#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "colmap_plugin/compat/reconstruction.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// With one blank where there are several.
std::string Squeezed(const std::string& text) {
  return std::regex_replace(text, std::regex(" +"), " ");
}

class PoseEvaluator : public testing::Test {
 protected:
  PoseEvaluator() {
    WriteFile(folder_ / "gt.txt", "a 1 0 0 0 0 0 0\nb 1 0 0 0 0 0 -1\n");
    WriteFile(folder_ / "one.txt", "a 1 0 0 0 0 0 0.1\n");
    WriteFile(folder_ / "two.txt",
              "a 1 0 0 0 0 0 0\nb 1 0 0 0 3 0 -1\nx/y 1 0 0 0 0 0 0\n");
  }

  // Nothing half-written lies around.
  void TearDown() override {
    for (const std::string& name : List(folder_.path())) {
      EXPECT_THAT(name, Not(HasSubstr("tmp")));
    }
  }

  RunResult Run(const std::vector<std::string>& more,
                const std::string& truth = "gt.txt") {
    std::vector<std::string> arguments = {
        "pose_evaluator", "--gt_path", folder_ / truth};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunColmapNre(arguments);
  }

  void ExpectError(const RunResult& result, const std::string& what) {
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_THAT(Squeezed(result.output),
                AllOf(HasSubstr("ERROR"), HasSubstr(what)));
    EXPECT_FALSE(fs::exists(folder_ / "out"));
  }

  std::string Both() {
    return folder_ / "one.txt" + "," + (folder_ / "two.txt");
  }

  TestFolder folder_;
};

TEST_F(PoseEvaluator, TablesAndCurves) {
  const RunResult result =
      Run({"--result_paths", Both(), "--output_path", folder_ / "out"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(Squeezed(result.output),
              AllOf(HasSubstr("two has results for 1 images"),
                    HasSubstr(": x/y\n"),
                    HasSubstr("recall at 0.25, 2 deg 50.0 % 50.0 %"),
                    HasSubstr("recall at 5, 10 deg 50.0 % 100.0 %")));
  EXPECT_THAT(List(folder_ / "out"),
              ElementsAre("curves.png",
                          "curves.svg",
                          "errors.csv",
                          "evaluation.csv",
                          "evaluation.txt"));
  EXPECT_THAT(result.output,
              HasSubstr(ReadFile(folder_ / "out/evaluation.txt")));
  EXPECT_THAT(ReadFile(folder_ / "out/errors.csv"),
              HasSubstr("\none,b,missing,inf,inf\ntwo,a,registered,0,0\n"));
  EXPECT_THAT(ReadFile(folder_ / "out/curves.svg"), HasSubstr(">two</text>"));
}

// Everything is 10 % of the depth of about 4.
TEST_F(PoseEvaluator, ModelAsTruth) {
  const colmap::Reconstruction model = MakeSmallModel();
  fs::create_directory(folder_ / "model");
  WriteModel(model, folder_ / "model");
  const RunResult all = Run(
      {"--result_paths", folder_ / "model.txt", "--thresholds", "9%,1;11%,1"},
      "model");
  ExpectError(all, "model.txt");
  // a.jpg is at the origin, b.jpg at (-0.2, 0, -0.1).
  WriteFile(folder_ / "poses.txt", "a.jpg 1 0 0 0 0.425 0 0\n");
  const RunResult result = Run(
      {"--result_paths", folder_ / "poses.txt", "--thresholds", "9%,1;11%,1"},
      "model");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(Squeezed(result.output),
              AllOf(HasSubstr("3 queries"),
                    HasSubstr("recall at 9 %, 1 deg 0.0 %"),
                    HasSubstr("recall at 11 %, 1 deg 33.3 %")));
  // Only the queries of a list; the depth is that of a model without them.
  WriteFile(folder_ / "gt_q.txt", "q 1 0 0 0 0 0 0\nr 1 0 0 0 0 0 0\n");
  WriteFile(folder_ / "poses.txt", "q 1 0 0 0 0.425 0 0\n");
  WriteFile(folder_ / "list.txt", "q PINHOLE 64 48 60 60 32 24\n");
  std::vector<std::string> arguments = {
      "--result_paths", folder_ / "poses.txt", "--thresholds", "9%,1;11%,1"};
  ExpectError(Run(arguments, "gt_q.txt"), "--model_path");
  arguments.insert(arguments.end(), {"--model_path", folder_ / "model"});
  ExpectError(Run(arguments, "gt_q.txt"), "--query_list_path");
  arguments.insert(arguments.end(),
                   {"--query_list_path", folder_ / "list.txt"});
  const RunResult listed = Run(arguments, "gt_q.txt");
  ASSERT_EQ(listed.exit_code, 0) << listed.output;
  EXPECT_THAT(Squeezed(listed.output),
              AllOf(HasSubstr("1 queries"),
                    HasSubstr("recall at 9 %, 1 deg 0.0 %"),
                    HasSubstr("recall at 11 %, 1 deg 100.0 %")));
}

// It has poses, but of other queries: all of the list's are missing.
TEST_F(PoseEvaluator, NoneOfTheListIsRegistered) {
  WriteFile(folder_ / "list.txt", "b PINHOLE 64 48 60 60 32 24\n");
  const RunResult result = Run(
      {"--result_paths", Both(), "--query_list_path", folder_ / "list.txt"});
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(
      Squeezed(result.output),
      AllOf(HasSubstr("1 queries one two\n"), HasSubstr(" missing 1 0\n")));
}

TEST_F(PoseEvaluator, NamesOfTheMethods) {
  EXPECT_THAT(
      Squeezed(Run({"--result_paths", Both(), "--names", "A,B B"}).output),
      HasSubstr("2 queries A B B\n"));
  ExpectError(Run({"--result_paths", Both(), "--names", "A"}), "2");
  // Files of the same name are told apart by their paths.
  fs::create_directory(folder_ / "other");
  fs::copy(folder_ / "one.txt", folder_ / "other/one.txt");
  EXPECT_THAT(Run({"--result_paths",
                   folder_ / "one.txt" + "," + (folder_ / "other/one.txt")})
                  .output,
              HasSubstr(folder_ / "other/one.txt"));
}

TEST_F(PoseEvaluator, BadUsage) {
  ExpectError(RunColmapNre({"pose_evaluator"}), "--gt_path");
  ExpectError(Run({}), "--result_paths");
  ExpectError(Run({"--result_paths", folder_ / "absent"}), "absent");
  ExpectError(Run({"--result_paths", Both()}, "absent"), "absent");
  ExpectError(Run({"--result_paths", Both(), "--thresholds", "1;2"}),
              "threshold");
  ExpectError(Run({"--result_paths",
                   folder_ / "absent",
                   "--output_path",
                   folder_ / "out"}),
              "absent");
  WriteFile(folder_ / "empty.txt", "");
  ExpectError(Run({"--result_paths", Both()}, "empty.txt"), "no poses");
  WriteFile(folder_ / "list.txt", "z PINHOLE 64 48 60 60 32 24\n");
  ExpectError(Run({"--result_paths",
                   Both(),
                   "--query_list_path",
                   folder_ / "list.txt"}),
              "z");
  ExpectError(Run({"--result_paths", Both(), "--output_path", folder_.path()}),
              "not empty");
}

}  // namespace
}  // namespace nre
