#include "colmap_plugin/io/evaluation.h"

#include <cmath>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "colmap_plugin/compat/camera.h"
#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string Error(const std::function<void()>& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

// Three cameras without rotation, at the origin, at x = 1 and at x = 2.
std::vector<TrueQuery> ThreeQueries() {
  std::vector<TrueQuery> queries;
  for (const char* name : {"a.jpg", "b.jpg", "c.jpg"}) {
    TrueQuery query;
    query.name = name;
    query.cam_from_world.translation.x() = -1.0 * queries.size();
    queries.push_back(query);
  }
  return queries;
}

const std::vector<PoseThreshold> kThresholds = {{0.25, false, 2.0}};

class Evaluation : public testing::Test {
 protected:
  MethodResult Evaluate(const std::string& content) {
    WriteFile(folder_ / "file", content);
    return EvaluateResultFile(
        folder_ / "file", "method", {ThreeQueries(), {}, {}}, kThresholds);
  }

  TestFolder folder_;
};

TEST_F(Evaluation, HlocFile) {
  // b is off by 0.2 and, by its quaternion of length 2, not turned.
  const MethodResult method = Evaluate(
      "# comment\nb.jpg 2 0 0 0 -1.2 0 0\n"
      "a.jpg 0.8660254037844386 0 0 0.5 0 0 0\nd.jpg 1 0 0 0 0 0 0\n");
  EXPECT_EQ(method.name, "method");
  EXPECT_THAT(method.statuses,
              ElementsAre("registered", "registered", "missing"));
  EXPECT_EQ(method.errors[0].center, 0.0);
  EXPECT_NEAR(method.errors[0].rotation_deg, 60.0, 1e-9);
  EXPECT_NEAR(method.errors[1].center, 0.2, 1e-12);
  EXPECT_EQ(method.errors[1].rotation_deg, 0.0);
  EXPECT_TRUE(std::isinf(method.errors[2].center));
  EXPECT_THAT(method.without_truth, ElementsAre("d.jpg"));
  EXPECT_EQ(method.evaluation.num_registered, 2);
  EXPECT_DOUBLE_EQ(method.evaluation.scores[0].recall, 1.0 / 3.0);
}

// A rejected pose does not count, however right.
TEST_F(Evaluation, Report) {
  const MethodResult method = Evaluate(
      R"({"name":"a.jpg","status":"failed","qvec":null,"tvec":null}
{"name":"b.jpg","status":"rejected","qvec":[1,0,0,0],"tvec":[-1,0,0]}
{"name":"c.jpg","status":"registered","qvec":[1,0,0,0],"tvec":[-2,0,0.1]}
)");
  EXPECT_THAT(method.statuses, ElementsAre("failed", "rejected", "registered"));
  EXPECT_TRUE(std::isinf(method.errors[1].center));
  EXPECT_NEAR(method.errors[2].center, 0.1, 1e-12);
  EXPECT_TRUE(method.without_truth.empty());
}

TEST_F(Evaluation, NoPosesAtAll) {
  const MethodResult method = Evaluate("");
  EXPECT_THAT(method.statuses, ElementsAre("missing", "missing", "missing"));
  EXPECT_EQ(method.evaluation.scores[0].recall, 0.0);
}

TEST_F(Evaluation, BadFiles) {
  const auto error = [&](const std::string& content) {
    return Error([&] { Evaluate(content); });
  };
  EXPECT_THAT(error("a.jpg 1 0 0 0 0 0\n"),
              AllOf(HasSubstr("line 1"), HasSubstr("qw")));
  EXPECT_THAT(error("a.jpg 1 0 0 0 0 0 x\n"), HasSubstr("'x'"));
  EXPECT_THAT(error("a.jpg 0 0 0 0 0 0 0\n"), HasSubstr("zero"));
  EXPECT_THAT(error("a.jpg 1 0 0 0 0 0 0\na.jpg 1 0 0 0 0 0 0\n"),
              AllOf(HasSubstr("line 2"), HasSubstr("already")));
  EXPECT_THAT(error("day/a.jpg 1 0 0 0 0 0 0\n"),
              AllOf(HasSubstr("day/a.jpg"), HasSubstr("Names")));
  EXPECT_THAT(error("{\"name\":\"a.jpg\"}\n"),
              AllOf(HasSubstr("line 1"), HasSubstr("status")));
  EXPECT_THAT(error("{\"name\":\"a.jpg\",\"status\":\"good\"}\n"),
              HasSubstr("good"));
  EXPECT_THAT(error("{\"name\":\n"), HasSubstr("line 1"));
  const std::string failed = "{\"name\":\"a.jpg\",\"status\":\"failed\"}\n";
  EXPECT_THAT(error(failed + failed), HasSubstr("twice"));
  EXPECT_THAT(
      Error([&] {
        EvaluateResultFile(
            folder_ / "absent", "", {ThreeQueries(), {}, {}}, kThresholds);
      }),
      HasSubstr("cannot be read"));
}

class LastParts : public testing::Test {
 protected:
  LastParts() {
    for (const char* name :
         {"day/a.jpg", "day/b.jpg", "night/b.jpg", "c.jpg"}) {
      truth_.queries.push_back({name, Rigid3d()});
    }
    truth_.other_names = {"map/d.jpg", "map/c.jpg", "map/e.jpg"};
  }

  MethodResult Evaluate(const std::vector<std::string>& names) {
    std::string content;
    for (const std::string& name : names) {
      content += name + " 1 0 0 0 0 0 0\n";
    }
    WriteFile(folder_ / "file", content);
    return EvaluateResultFile(folder_ / "file", "method", truth_, kThresholds);
  }

  TestFolder folder_;
  Truth truth_;
};

TEST_F(LastParts, MatchWhereThereIsOneSuchName) {
  const MethodResult method =
      Evaluate({"a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "map/e.jpg"});
  EXPECT_THAT(method.statuses,
              ElementsAre("registered", "missing", "missing", "registered"));
  EXPECT_THAT(method.by_last_part, ElementsAre("day/a.jpg", "map/d.jpg"));
  EXPECT_THAT(method.ambiguous, ElementsAre("b.jpg"));
  EXPECT_THAT(method.without_truth,
              ElementsAre("b.jpg", "e.jpg", "map/d.jpg", "map/e.jpg"));
}

TEST_F(LastParts, WholeNamesWin) {
  const MethodResult method =
      Evaluate({"a.jpg", "day/a.jpg", "day/b.jpg", "other/a.jpg"});
  EXPECT_THAT(method.statuses,
              ElementsAre("registered", "registered", "missing", "missing"));
  EXPECT_TRUE(method.by_last_part.empty());
  EXPECT_THAT(method.without_truth, ElementsAre("a.jpg", "other/a.jpg"));
}

TEST_F(LastParts, OtherFoldersAreOtherImages) {
  truth_.other_names.clear();
  EXPECT_THAT(Error([&] { Evaluate({"other/a.jpg"}); }), HasSubstr("Names"));
}

// hloc writes the first reference's pose for a query that failed, with the
// digits and the sign that its library happens to give.
TEST(PosesOfReferences, AreNamed) {
  Rigid3d pose;
  pose.rotation = Eigen::Quaterniond(0.5, 0.5, -0.5, 0.5);
  pose.translation = {1.0, 2.0, 100.0};
  Rigid3d near = pose;
  near.translation.x() += 1e-5;
  const Truth truth = {{{"q1", pose}, {"q2", pose}, {"q3", pose}, {"q4", pose}},
                       {},
                       {{"q1", pose}, {"r1", near}, {"r2", pose}}};
  const TestFolder folder;
  WriteFile(folder / "file",
            "q2 -1 -1 1 -1 1 2.00000000000001 100\nq3 1 1 -1 1 1.00002 2 100\n"
            "q4 1 1 -1 1 1.00001 2 100\n");
  MethodResult method =
      EvaluateResultFile(folder / "file", "method", truth, kThresholds);
  EXPECT_THAT(method.with_pose_of_reference,
              ElementsAre(ImagePair("q2", "q1"), ImagePair("q4", "r1")));
  // Its own pose is no sign of anything.
  WriteFile(folder / "file", "q1 1 1 -1 1 1 2 100\n");
  Truth own = truth;
  own.references.erase("r2");
  method = EvaluateResultFile(folder / "file", "method", own, kThresholds);
  EXPECT_TRUE(method.with_pose_of_reference.empty());
}

TEST_F(Evaluation, Tables) {
  const std::vector<TrueQuery> queries = ThreeQueries();
  std::vector<MethodResult> methods = {
      Evaluate("a.jpg 1 0 0 0 0 0 0\nb.jpg 1 0 0 0 -1 0 0.5\n"), Evaluate("")};
  methods[1].name = "none, \"really\"";
  const std::string table = FormatEvaluation(methods, kThresholds);
  EXPECT_THAT(table,
              AllOf(HasSubstr("3 queries                             method  "
                              "none, \"really\"\n"),
                    HasSubstr("  missing                                  1"
                              "               3\n"),
                    HasSubstr("  recall at 0.25, 2 deg               33.3 %"
                              "           0.0 %\n"),
                    HasSubstr("  largest centre error                   0.5"
                              "               -\n")));
  EXPECT_EQ(
      FormatEvaluationCsv(methods, kThresholds),
      "method,queries,registered,rejected,failed,missing,median_center_error,"
      "median_rotation_error_deg,registered_median_center_error,"
      "registered_median_rotation_error_deg,registered_max_center_error,"
      "registered_max_rotation_error_deg,recall_0.25_2deg,center_auc_0.25,"
      "rotation_auc_2deg\n"
      "method,3,2,0,0,1,0.5,0,0.25,0,0.5,0,0.33333333333333331,"
      "0.33333333333333331,0.66666666666666663\n"
      "\"none, \"\"really\"\"\",3,0,0,0,3,inf,inf,nan,nan,nan,nan,0,0,0\n");
  EXPECT_EQ(FormatErrorsCsv({methods[0]}, queries),
            "method,query,status,center_error,rotation_error_deg\n"
            "method,a.jpg,registered,0,0\n"
            "method,b.jpg,registered,0.5,0\n"
            "method,c.jpg,missing,inf,inf\n");
}

TEST(SceneDepth, OfTheObservedAndOfTheVisiblePoints) {
  // Points at z = 4, 4.5, 4, ..., x from -0.8 to 0.7 in steps of 0.3.
  const colmap::Reconstruction model = MakeSmallModel();
  Rigid3d pose;
  pose.translation.z() = 1.0;
  EXPECT_DOUBLE_EQ(MedianSceneDepth(model, "a.jpg", pose, nullptr).value(),
                   5.25);
  EXPECT_FALSE(MedianSceneDepth(model, "q.jpg", pose, nullptr).has_value());
  // Sees x / z up to 1 / 12: x = -0.2 (4 deep) and 0.1 (4.5 deep).
  const colmap::Camera camera =
      MakeColmapCamera("PINHOLE", 10, 48, {60, 60, 5, 24});
  EXPECT_DOUBLE_EQ(MedianSceneDepth(model, "q.jpg", Rigid3d(), &camera).value(),
                   4.25);
  pose.translation.z() = -10.0;
  EXPECT_FALSE(MedianSceneDepth(model, "a.jpg", pose, nullptr).has_value());
}

}  // namespace
}  // namespace nre
