#include "colmap_plugin/io/results.h"

#include <cstring>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/io/lists.h"
#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

std::vector<QueryResult> SomeResults() {
  QueryResult registered;
  registered.name = "day/1.jpg";
  registered.method = EstimationMethod::kLoRansac;
  registered.estimate.verdict = Verdict::kRegistered;
  registered.estimate.cam_from_world.rotation =
      Eigen::Quaterniond(1, 2, 3, 4).normalized();
  registered.estimate.cam_from_world.translation = {1.0 / 3.0, -2e-9, 5};
  registered.estimate.covariance = Matrix6d::Identity() * 0.5;
  registered.estimate.covariance(0, 5) = 0.25;
  registered.focal_length_estimated = true;
  registered.estimate.focal_length_px = 500.5;
  registered.estimate.focal_length_std_px = 1.25;
  registered.camera =
      MakeColmapCamera("SIMPLE_PINHOLE", 640, 480, {500.5, 320, 240});
  registered.estimate.fine_cost = 7.5;
  registered.estimate.log_false_alarms = -18.5;
  registered.estimate.support.resize(2);
  registered.point3D_ids = {10, 11, 12};
  registered.references = {"a", "b"};
  registered.total_ms = 12.5;
  QueryResult rejected = registered;
  rejected.name = "2.jpg";
  rejected.estimate.verdict = Verdict::kRejected;
  rejected.estimate.reason = "too little";
  rejected.focal_length_estimated = false;
  QueryResult failed;
  failed.name = "3.jpg";
  failed.estimate.reason = "a \"quoted\" word and \xff";
  failed.warnings = {"careful"};
  failed.turned_deg = 270;
  return {registered, rejected, failed};
}

TEST(Results, OnlyRegisteredQueriesWithAllDigits) {
  const std::vector<QueryResult> results = SomeResults();
  std::istringstream text(FormatResults(results));
  std::string name;
  double qw, qx, qy, qz, tx, ty, tz;
  ASSERT_TRUE(text >> name >> qw >> qx >> qy >> qz >> tx >> ty >> tz);
  EXPECT_EQ(name, "day/1.jpg");
  const Rigid3d& pose = results[0].estimate.cam_from_world;
  EXPECT_EQ(qw, pose.rotation.w());
  EXPECT_EQ(qx, pose.rotation.x());
  EXPECT_EQ(qy, pose.rotation.y());
  EXPECT_EQ(qz, pose.rotation.z());
  EXPECT_EQ(Eigen::Vector3d(tx, ty, tz), pose.translation);
  EXPECT_FALSE(text >> name);
  EXPECT_EQ(FormatResults({}), "");
}

TEST(Report, EveryQueryHasALine) {
  const std::vector<QueryResult> results = SomeResults();
  std::istringstream text(FormatReport(results));
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(text, line);) {
    lines.push_back(nlohmann::json::parse(line));
  }
  ASSERT_EQ(lines.size(), 3);

  EXPECT_EQ(lines[0]["name"], "day/1.jpg");
  EXPECT_EQ(lines[0]["status"], "registered");
  EXPECT_EQ(lines[0]["reason"], "");
  EXPECT_EQ(lines[0]["method"], "lo_ransac");
  const Rigid3d& pose = results[0].estimate.cam_from_world;
  EXPECT_EQ(lines[0]["qvec"][0], pose.rotation.w());
  EXPECT_EQ(lines[0]["qvec"][3], pose.rotation.z());
  EXPECT_EQ(lines[0]["tvec"][2], 5.0);
  EXPECT_EQ(lines[0]["camera_center"][1], ProjectionCenter(pose).y());
  EXPECT_EQ(lines[0]["covariance"].size(), 6);
  EXPECT_EQ(lines[0]["covariance"][0][5], 0.25);
  EXPECT_EQ(lines[0]["focal_length_px"], 500.5);
  EXPECT_EQ(lines[0]["focal_length_std_px"], 1.25);
  EXPECT_EQ(lines[0]["camera_params"], (std::vector<double>{500.5, 320, 240}));
  EXPECT_TRUE(lines[1]["focal_length_px"].is_null());
  EXPECT_TRUE(lines[1]["camera_params"].is_null());
  EXPECT_EQ(lines[0]["fine_cost"], 7.5);
  EXPECT_EQ(lines[0]["log_false_alarms"], -18.5);
  EXPECT_EQ(lines[0]["num_support"], 2);
  EXPECT_EQ(lines[0]["num_points"], 3);
  EXPECT_EQ(lines[0]["references"], (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(lines[0]["total_ms"], 12.5);

  EXPECT_EQ(lines[1]["status"], "rejected");
  EXPECT_EQ(lines[1]["reason"], "too little");
  EXPECT_TRUE(lines[1]["qvec"].is_array());

  EXPECT_EQ(lines[2]["status"], "failed");
  EXPECT_EQ(lines[2]["method"], "nre");
  EXPECT_TRUE(lines[2]["qvec"].is_null());
  EXPECT_TRUE(lines[2]["covariance"].is_null());
  EXPECT_TRUE(lines[2]["fine_cost"].is_null());
  EXPECT_EQ(lines[2]["warnings"][0], "careful");
  EXPECT_EQ(lines[2]["turned_deg"], 270);
  EXPECT_FALSE(lines[0].contains("turned_deg"));
}

TEST(Report, IsReadBack) {
  const std::vector<QueryResult> results = SomeResults();
  const TestFolder folder;
  WriteFile(folder / "report.jsonl", FormatReport(results));
  const std::vector<QueryOutcome> outcomes =
      ReadReport(folder / "report.jsonl");
  ASSERT_EQ(outcomes.size(), 3);
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(outcomes[i].name, results[i].name);
    EXPECT_EQ(outcomes[i].verdict, results[i].estimate.verdict);
  }
  EXPECT_TRUE(outcomes[0].cam_from_world.rotation.isApprox(
      results[0].estimate.cam_from_world.rotation, 1e-15));
  EXPECT_EQ(outcomes[0].cam_from_world.translation,
            results[0].estimate.cam_from_world.translation);
  EXPECT_THROW(ReadReport(folder.path()), InputError);
}

TEST(Results, NamesWithBlanksAreReadBack) {
  std::vector<QueryResult> results = {SomeResults()[0], SomeResults()[0]};
  results[0].name = "a plan  (2).jpg";
  results[1].name = "frame 1 0";
  const TestFolder folder;
  WriteFile(folder / "results.txt", FormatResults(results));
  const Poses poses = ReadPoses(folder / "results.txt");
  ASSERT_EQ(poses.size(), 2);
  for (const QueryResult& result : results) {
    EXPECT_EQ(poses.at(result.name).translation,
              result.estimate.cam_from_world.translation);
  }
}

TEST(Report, NamesInAnotherEncodingAreReadBack) {
  std::vector<QueryResult> results = SomeResults();
  results[0].name = "caf\xe9.jpg";
  results[0].references = {"caf\xe9/1.jpg"};
  results[1].name = "caf%E9.jpg";
  results[2].name = "caf\xc3\xa9 100%.jpg";
  results[2].estimate.reason = "no \xe9";
  const std::string report = FormatReport(results);
  std::istringstream text(report);
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(text, line);) {
    lines.push_back(nlohmann::json::parse(line));
  }
  EXPECT_EQ(lines.at(0)["name"], "caf%E9.jpg");
  EXPECT_EQ(lines[0]["references"][0], "caf%E9/1.jpg");
  EXPECT_EQ(lines[1]["name"], "caf%25E9.jpg");
  EXPECT_EQ(lines[2]["name"], "caf\xc3\xa9 100%.jpg");
  EXPECT_EQ(lines[2]["reason"], "no %E9");

  const TestFolder folder;
  WriteFile(folder / "report.jsonl", "\xef\xbb\xbf" + report);
  const std::vector<QueryOutcome> outcomes =
      ReadReport(folder / "report.jsonl");
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(outcomes.at(i).name, results[i].name);
  }
}

}  // namespace
}  // namespace nre
