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

// As a tracker has it, or ARKit: cameras and poses, but no points.
TEST_F(PoseEvaluator, ModelOfPosesOnlyAsTruth) {
  fs::create_directory(folder_ / "poses");
  WriteFile(folder_ / "poses/cameras.txt", "1 PINHOLE 64 48 60 60 32 24\n");
  WriteFile(folder_ / "poses/images.txt",
            "1 1 0 0 0 0 0 0 1 a\n\n2 1 0 0 0 0 0 -1 1 b c.jpg\n\n");
  WriteFile(folder_ / "poses/points3D.txt", "");
  WriteFile(folder_ / "results.txt",
            "a 1 0 0 0 0 0 0.3\nb c.jpg 1 0 0 0 0.1 0 -1\n");
  colmap::Reconstruction model;
  ReadModel(folder_ / "poses", &model);
  fs::create_directory(folder_ / "binary");
  WriteModel(model, folder_ / "binary");
  for (const std::string truth : {"poses", "binary"}) {
    const RunResult result =
        Run({"--result_paths", folder_ / "results.txt"}, truth);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_THAT(Squeezed(result.output),
                AllOf(HasSubstr("registered 2"),
                      HasSubstr("recall at 0.25, 2 deg 50.0 %"),
                      HasSubstr("recall at 0.5, 5 deg 100.0 %"),
                      Not(HasSubstr("WARNING"))));
    ExpectError(
        Run({"--result_paths", folder_ / "results.txt", "--thresholds", "5%,1"},
            truth),
        "no points in the query a");
  }
}

// hloc names queries by the last part of their names, and gives those that it
// could not localize the pose of the first image retrieved.
TEST_F(PoseEvaluator, ResultsOfHloc) {
  fs::create_directory(folder_ / "model");
  WriteModel(MakeSmallModel(), folder_ / "model");
  WriteFile(folder_ / "gt_q.txt",
            "q/1.jpg 1 0 0 0 0 0 0\nq/2.jpg 1 0 0 0 0 0 0\n"
            "q/3.jpg 1 0 0 0 0 0 0\nn/3.jpg 1 0 0 0 0 0 0\n");
  // b.jpg of the model is at (0.2, 0, 0.1) in its camera.
  WriteFile(folder_ / "hloc.txt",
            "1.jpg 1.0 0.0 0.0 0.0 0.01 0.0 0.0\n"
            "2.jpg 1.0 0.0 0.0 0.0 0.2 0.0 0.1\n"
            "3.jpg 1.0 0.0 0.0 0.0 0.01 0.0 0.0\n");
  std::vector<std::string> arguments = {"--result_paths", folder_ / "hloc.txt"};
  RunResult result = Run(arguments, "gt_q.txt");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(Squeezed(result.output),
              AllOf(HasSubstr("hloc has 2 names without folders"),
                    HasSubstr("end like that: q/1.jpg, q/2.jpg.\n"),
                    HasSubstr("end of several with a true pose: 3.jpg."),
                    HasSubstr("registered 2\n"),
                    HasSubstr("missing 2\n"),
                    Not(HasSubstr("exactly the pose"))));
  arguments.insert(arguments.end(), {"--model_path", folder_ / "model"});
  result = Run(arguments, "gt_q.txt");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("hloc has 1 queries with exactly the pose of an "
                              "image of the model: q/2.jpg that of b.jpg."),
                    HasSubstr("registered")));
}

// The report has escaped bytes where the other files have the bytes.
TEST_F(PoseEvaluator, NamesInAnotherEncoding) {
  WriteFile(folder_ / "latin.txt", "caf\xe9.jpg 1 0 0 0 0 0 0\n");
  WriteFile(folder_ / "report.jsonl",
            "{\"name\":\"caf%E9.jpg\",\"status\":\"registered\","
            "\"qvec\":[1,0,0,0],\"tvec\":[0,0,0.1]}\n");
  const RunResult result =
      Run({"--result_paths",
           folder_ / "report.jsonl" + "," + (folder_ / "latin.txt")},
          "latin.txt");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(Squeezed(result.output),
              AllOf(HasSubstr("registered 1 1\n"), Not(HasSubstr("WARNING"))));
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
