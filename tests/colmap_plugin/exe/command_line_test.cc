// Runs of the built executable, from the command line to the files.

#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <limits>
#include <sstream>
#include <sys/wait.h>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sqlite3.h>
#include <unistd.h>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/commands.h"
#include "colmap_plugin/compat/model_files.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/io/database.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<nlohmann::json> ReadReport(const std::string& folder) {
  std::istringstream text(ReadFile(folder + "/report.jsonl"));
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(text, line);) {
    lines.push_back(nlohmann::json::parse(line));
  }
  return lines;
}

// The report without the times.
std::string TimelessReport(const std::string& folder) {
  std::string text;
  for (nlohmann::json line : ReadReport(folder)) {
    for (auto field = line.begin(); field != line.end();) {
      const std::string& key = field.key();
      const bool is_time =
          key.size() > 3 && key.compare(key.size() - 3, 3, "_ms") == 0;
      field = is_time ? line.erase(field) : std::next(field);
    }
    text += line.dump() + "\n";
  }
  return text;
}

void WriteExecutable(const std::string& path, const std::string& script) {
  WriteFile(path, script);
  fs::permissions(path, fs::perms::owner_all);
}

TEST(CommandLine, HelpAndVersion) {
  const RunResult help = RunColmapNre({"help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.output,
              AllOf(HasSubstr("nre_image_registrator"),
                    HasSubstr("nre_localizer"),
                    HasSubstr("feature_extractor")));
  EXPECT_EQ(RunColmapNre({}).output, help.output);
  EXPECT_EQ(RunColmapNre({"-h"}).output, help.output);
  const RunResult version = RunColmapNre({"version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.output, HasSubstr("with COLMAP"));
  for (const char* command : {"nre_localizer", "nre_image_registrator"}) {
    const RunResult command_help = RunColmapNre({command, "-h"});
    EXPECT_EQ(command_help.exit_code, 0);
    EXPECT_THAT(command_help.output,
                AllOf(HasSubstr("--input_path"),
                      HasSubstr("--NreEstimation.max_num_points"),
                      HasSubstr("--NreEstimation.method arg (=nre)")));
  }
}

TEST(CommandLine, CommandsOfTheLinkedColmap) {
  const RunResult result = RunColmapNre({"feature_extractor", "-h"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr("--database_path"));
}

TEST(CommandLine, OtherCommandsGoToTheColmapOnThePath) {
  TestFolder folder;
  WriteExecutable(folder / "colmap",
                  "#!/bin/sh\necho \"called: $@\"\nexit 42\n");
  const RunResult result =
      RunColmapNre({"model_sharpener", "--a", "b c"}, "PATH=" + folder.path());
  EXPECT_EQ(result.exit_code, 42);
  EXPECT_THAT(result.output, HasSubstr("called: model_sharpener --a b c"));
}

TEST(CommandLine, NoColmapOnThePath) {
  TestFolder folder;
  // This program under the name of the other does not call itself for ever.
  fs::create_symlink(NRE_EXECUTABLE, folder / "colmap");
  const RunResult result =
      RunColmapNre({"model_sharpener"}, "PATH=" + folder.path());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, HasSubstr("model_sharpener"));
  if (fs::exists(NRE_COLMAP_EXECUTABLE)) {
    // The COLMAP that this one was built with is asked.
    EXPECT_THAT(result.output, HasSubstr("not recognized"));
    const RunResult known =
        RunColmapNre({"model_converter", "-h"}, "PATH=" + folder.path());
    EXPECT_EQ(known.exit_code, 0) << known.output;
    EXPECT_THAT(known.output, HasSubstr("--output_type"));
  } else {
    EXPECT_THAT(result.output, HasSubstr("no colmap on the PATH"));
  }
}

// 3.8 would say "SQL logic error" and leave a log that keeps others out.
TEST(CommandLine, DatabasesThatTheLinkedColmapCannotUse) {
  if (ImageColumnsOfColmap().empty() || !fs::exists(NRE_COLMAP_EXECUTABLE)) {
    GTEST_SKIP() << "this COLMAP can use all, or is not there";
  }
  TestFolder folder;
  const std::string database = folder / "database.db";
  RunSql(database,
         "CREATE TABLE images (image_id INTEGER PRIMARY KEY AUTOINCREMENT NOT "
         "NULL, name TEXT NOT NULL UNIQUE, camera_id INTEGER NOT NULL);"
         "PRAGMA user_version = 4020100; PRAGMA journal_mode = WAL;");
  fs::create_directory(folder / "model");
  WriteModel(MakeSmallModel(), folder / "model");
  fs::create_directory(folder / "out");
  WriteFile(folder / "project.ini", "database_path=" + database + "\n");
  const auto before = Snapshot(folder.path());
  const std::string model = folder / "model";
  const std::string out = folder / "out";
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{
           {"mapper",
            "--database_path",
            database,
            "--image_path",
            ".",
            "--output_path",
            out},
           {"point_triangulator",
            "--database_path=" + database,
            "--image_path=.",
            "--input_path=" + model,
            "--output_path=" + out},
           {"exhaustive_matcher", "--project_path", folder / "project.ini"},
           {"automatic_reconstructor",
            "--image_path",
            ".",
            "--workspace_path",
            folder.path()},
           {"image_registrator",
            "--database_path",
            database,
            "--input_path",
            model,
            "--output_path",
            out}}) {
    for (const std::string& environment :
         {std::string("PATH=/nowhere"), ColmapOnPath()}) {
      const RunResult result = RunColmapNre(command, environment);
      EXPECT_EQ(result.exit_code, 1) << command[0];
      EXPECT_THAT(result.output,
                  AllOf(HasSubstr("ERROR: The database " + database),
                        HasSubstr("run it with COLMAP 4.2.1")));
      EXPECT_EQ(Snapshot(folder.path()), before) << command[0];
    }
  }
}

class Commands : public testing::Test {
 protected:
  Commands()
      : scene_(MakeInput()),
        before_(Snapshot(folder_ / "in")),
        output_path_(folder_ / "out") {}

  // Whatever happened: the input is as it was, and nothing half-written lies
  // around.
  void TearDown() override {
    EXPECT_TRUE(Snapshot(folder_ / "in") == before_) << "the input has changed";
    for (const std::string& name : List(folder_.path())) {
      EXPECT_THAT(name, Not(HasSubstr("tmp"))) << "a temporary folder is left";
    }
  }

  RenderedScene MakeInput() {
    fs::create_directory(folder_ / "in");
    return RenderedScene(folder_ / "in");
  }

  // Call after deliberate changes of the input.
  void InputIsReady() { before_ = Snapshot(folder_ / "in"); }

  std::vector<std::string> Arguments(
      const std::string& command,
      const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {command,
                                          "--input_path",
                                          scene_.model_path,
                                          "--image_path",
                                          scene_.image_path,
                                          "--output_path",
                                          output_path_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  std::vector<std::string> WithList(
      const std::string& command,
      const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = Arguments(command,
                                                   {"--query_list_path",
                                                    scene_.query_list_path,
                                                    "--pairs_path",
                                                    scene_.pairs_path});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  void ExpectError(const RunResult& result, const std::string& what) const {
    EXPECT_EQ(result.exit_code, 1) << result.output;
    EXPECT_THAT(result.output, AllOf(HasSubstr("ERROR"), HasSubstr(what)));
    EXPECT_FALSE(fs::exists(output_path_));
  }

  TestFolder folder_;
  RenderedScene scene_;
  std::map<std::string, std::string> before_;
  std::string output_path_;
};

TEST_F(Commands, RegistratorAddsTheQueries) {
  const RunResult result = RunColmapNre(WithList("nre_image_registrator"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("2 queries: 2 registered"));
  std::vector<std::string> files = ModelFileNames();
  files.insert(files.end(), {"report.jsonl", "results.txt"});
  EXPECT_THAT(List(output_path_), testing::UnorderedElementsAreArray(files));

  colmap::Reconstruction model;
  ReadModel(output_path_, &model);
  EXPECT_EQ(model.NumRegImages(), 6);
  EXPECT_EQ(model.NumCameras(), 3);
  for (size_t i = 0; i < scene_.query_names.size(); ++i) {
    const auto id = ImageIdsByName(model).at(scene_.query_names[i]);
    EXPECT_EQ(id, 5 + i);
    const colmap::Image& image = model.Image(id);
    EXPECT_EQ(image.CameraId(), 2 + i);
    EXPECT_LT(CenterError(CamFromWorld(image), scene_.query_poses[i]), 0.1);
    EXPECT_LT(RotationErrorDeg(CamFromWorld(image), scene_.query_poses[i]), 1);
    EXPECT_GE(image.NumPoints3D(), 100);
  }
  const std::vector<nlohmann::json> report = ReadReport(output_path_);
  ASSERT_EQ(report.size(), 2);
  EXPECT_EQ(report[1]["name"], "q1.png");
  EXPECT_EQ(report[1]["references"],
            (std::vector<std::string>{"r2.png", "r3.png"}));
  EXPECT_EQ(ReadFile(output_path_ + "/results.txt").substr(0, 7), "q0.png ");

  if (fs::exists(NRE_COLMAP_EXECUTABLE)) {
    const std::string command = std::string(NRE_COLMAP_EXECUTABLE) +
                                " model_analyzer --path " + output_path_ +
                                " >/dev/null 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0);
  }
}

// In pictures, a text model, a query list, pairs and results, all of which
// pose_evaluator reads again.
TEST_F(Commands, NamesWithBlanks) {
  const std::string model_path = folder_ / "in/text";
  colmap::Reconstruction model;
  ReadModel(scene_.model_path, &model);
  const auto rename = [&](const std::string& name) {
    const std::string renamed =
        "plan " + name.substr(1, 1) + " (" + name.substr(0, 1) + ").png";
    fs::rename(scene_.image_path + "/" + name,
               scene_.image_path + "/" + renamed);
    return renamed;
  };
  for (const std::string& name : scene_.reference_names) {
    model.Image(ImageIdsByName(model).at(name)).SetName(rename(name));
  }
  fs::create_directory(model_path);
  model.WriteText(model_path);
  std::string list, pairs, truth;
  for (size_t i = 0; i < 2; ++i) {
    const std::string name = rename(scene_.query_names[i]);
    list += name + " PINHOLE 480 360 420 420 240 180\n";
    pairs += name + "\tplan " + std::to_string(1 + i) + " (r).png\n";
    const Rigid3d& pose = scene_.query_poses[i];
    std::ostringstream line;
    line << name;
    for (const double value : {pose.rotation.w(),
                               pose.rotation.x(),
                               pose.rotation.y(),
                               pose.rotation.z(),
                               pose.translation.x(),
                               pose.translation.y(),
                               pose.translation.z()}) {
      line << ' ' << value;
    }
    truth += line.str() + "\n";
  }
  WriteFile(scene_.query_list_path, list);
  WriteFile(scene_.pairs_path, pairs);
  WriteFile(folder_ / "in/truth.txt", truth);
  scene_.model_path = model_path;
  InputIsReady();
  const RunResult result = RunColmapNre(WithList("nre_image_registrator"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(ReadReport(output_path_)[1]["references"],
            (std::vector<std::string>{"plan 2 (r).png"}));
  colmap::Reconstruction registered;
  ReadModel(output_path_, &registered);
  EXPECT_EQ(ImageIdsByName(registered).count("plan 1 (q).png"), 1);
  for (const std::string file : {"/results.txt", "/report.jsonl"}) {
    const RunResult evaluation = RunColmapNre({"pose_evaluator",
                                               "--gt_path",
                                               folder_ / "in/truth.txt",
                                               "--result_paths",
                                               output_path_ + file});
    EXPECT_EQ(evaluation.exit_code, 0) << evaluation.output;
    EXPECT_THAT(evaluation.output,
                AllOf(testing::ContainsRegex("recall at 0.25, 2 deg +100.0 %"),
                      Not(HasSubstr("WARNING"))));
  }
}

// The rendered queries have PINHOLE 420 420 240 180.
TEST_F(Commands, UnknownFocalLengthsAreEstimated) {
  WriteFile(scene_.query_list_path,
            "q0.png PINHOLE 480 360 0 0 240 180\n"
            "q1.png SIMPLE_PINHOLE 480 360 840 240 180\n");
  InputIsReady();
  const RunResult result = RunColmapNre(
      WithList("nre_image_registrator", {"--estimate_focal_length", "1"}));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  colmap::Reconstruction model;
  ReadModel(output_path_, &model);
  for (const nlohmann::json& line : ReadReport(output_path_)) {
    EXPECT_NEAR(line["focal_length_px"].get<double>(), 420.0, 4.2);
    EXPECT_LT(line["focal_length_std_px"].get<double>(), 4.2);
    EXPECT_GT(line["focal_length_std_px"].get<double>(), 0.04);
    const colmap::Image& image =
        model.Image(ImageIdsByName(model).at(line["name"]));
    const std::vector<double>& params =
        CameraParams(model.Camera(image.CameraId()));
    EXPECT_EQ(line["camera_params"], params);
    EXPECT_NEAR(params[0], line["focal_length_px"].get<double>(), 1e-9);
    const size_t i = line["name"] == "q0.png" ? 0 : 1;
    EXPECT_LT(CenterError(CamFromWorld(image), scene_.query_poses[i]), 0.1);
    EXPECT_LT(RotationErrorDeg(CamFromWorld(image), scene_.query_poses[i]),
              0.3);
  }
}

TEST_F(Commands, PriorsOfPoses) {
  const auto line = [&](size_t i, const Eigen::Vector3d& offset) {
    const Eigen::Vector3d center =
        ProjectionCenter(scene_.query_poses[i]) + offset;
    return nlohmann::json{{"name", scene_.query_names[i]},
                          {"position", {center.x(), center.y(), center.z()}},
                          {"position_std", 0.05}}
               .dump() +
           "\n";
  };
  WriteFile(folder_ / "in/priors.jsonl",
            line(0, Eigen::Vector3d::Zero()) +
                line(1, Eigen::Vector3d(1.0, 0.0, 0.0)) +
                R"({"name": "z.png", "position": [0, 0, 0], )"
                R"("position_std": 1})");
  InputIsReady();
  const std::vector<std::string> arguments =
      WithList("nre_localizer", {"--priors_path", folder_ / "in/priors.jsonl"});
  const RunResult result = RunColmapNre(arguments);
  EXPECT_EQ(result.exit_code, 3) << result.output;
  EXPECT_THAT(result.output, HasSubstr("z.png"));
  const std::vector<nlohmann::json> report = ReadReport(output_path_);
  EXPECT_EQ(report[0]["status"], "registered");
  EXPECT_EQ(report[1]["status"], "rejected") << report[1]["reason"];

  WriteFile(folder_ / "in/priors.jsonl", "q0.png 1 2 3\n");
  InputIsReady();
  fs::remove_all(output_path_);
  const RunResult bad = RunColmapNre(arguments);
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_THAT(bad.output, HasSubstr("line 1: not a JSON object"));
}

TEST_F(Commands, BaselinesNeedAFocalLength) {
  WriteFile(scene_.query_list_path, "q0.png PINHOLE 480 360\n");
  InputIsReady();
  const RunResult result =
      RunColmapNre(WithList("nre_localizer", {"--NreEstimation.method", "re"}));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.output, HasSubstr("focal length is unknown"));
}

TEST_F(Commands, SameFilesForAnyNumberOfThreadsAndAnyRun) {
  for (const std::string threads : {"1", "2", "-1"}) {
    const RunResult result = RunColmapNre(
        WithList("nre_image_registrator",
                 {"--num_threads", threads, "--random_seed", "3"}));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    fs::rename(output_path_, folder_ / ("out" + threads));
  }
  for (const std::string other : {"out2", "out-1"}) {
    for (const std::string& name : List(folder_ / "out1")) {
      if (name != "report.jsonl") {
        EXPECT_TRUE(ReadFile(folder_ / ("out1/" + name)) ==
                    ReadFile(folder_ / (other + "/" + name)))
            << name;
      }
    }
    EXPECT_EQ(TimelessReport(folder_ / "out1"),
              TimelessReport(folder_ / other));
  }
}

TEST_F(Commands, LocalizerWritesResultsAndPictures) {
  const RunResult result = RunColmapNre(WithList(
      "nre_localizer",
      {"--visualization_path", folder_ / "pictures", "--log_level", "2"}));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("q1.png: registered"));
  EXPECT_THAT(List(output_path_), ElementsAre("report.jsonl", "results.txt"));
  EXPECT_EQ(List(folder_ / "pictures").size(), 4);
}

TEST_F(Commands, ProjectFileAndCommandLine) {
  WriteFile(folder_ / "project.ini",
            "num_references=1\nlog_level=0\n[NreEstimation]\nmax_num_points="
            "100\nmax_num_refinement_points=200\nnum_hypotheses=1000\n");
  const RunResult result =
      RunColmapNre(Arguments("nre_localizer",
                             {"--query_list_path",
                              scene_.query_list_path,
                              "--project_path",
                              folder_ / "project.ini",
                              "--NreEstimation.max_num_refinement_points",
                              "150"}));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const std::vector<nlohmann::json> report = ReadReport(output_path_);
  EXPECT_EQ(report[0]["num_points"], 150);
  EXPECT_EQ(report[0]["references"].size(), 1);
  EXPECT_EQ(report[0]["references_chosen"], true);
}

TEST_F(Commands, BadUsage) {
  ExpectError(RunColmapNre({"nre_localizer"}), "--input_path");
  ExpectError(RunColmapNre(WithList("nre_localizer", {"--nonsense", "1"})),
              "--nonsense");
  ExpectError(RunColmapNre(WithList("nre_localizer", {"--num_threads", "0"})),
              "out of its range");
  ExpectError(RunColmapNre(WithList("nre_localizer", {"--num_threads", "x"})),
              "num_threads");
  ExpectError(RunColmapNre(WithList("nre_localizer",
                                    {"--NreEstimation.method", "ransac"})),
              "nre, re, lo_ransac, magsac, fpr");
  ExpectError(RunColmapNre(WithList("nre_localizer",
                                    {"--NreEstimation.fpr_start", "fpr"})),
              "fpr_start");
  ExpectError(RunColmapNre(WithList("nre_localizer",
                                    {"--NreEstimation.fpr_loss", "l1"})),
              "huber, barron");
  ExpectError(RunColmapNre(WithList("nre_localizer", {"--features", "magic"})),
              "magic");
  ExpectError(RunColmapNre(WithList("nre_localizer",
                                    {"--project_path", folder_ / "absent"})),
              "project file");
  ExpectError(RunColmapNre(Arguments("nre_localizer")), "--query_list_path");
  ExpectError(
      RunColmapNre(WithList("nre_localizer", {"--output_database_path", "x"})),
      "output_database_path");
  ExpectError(RunColmapNre(Arguments("nre_localizer",
                                     {"--database_path", folder_ / "x"})),
              "--image_list_path");
}

TEST_F(Commands, BadModels) {
  const std::vector<std::string> arguments = WithList("nre_image_registrator");
  // A truncated file.
  const std::string images = scene_.model_path + "/images.bin";
  const std::string content = ReadFile(images);
  WriteFile(images, content.substr(0, content.size() / 2));
  InputIsReady();
  ExpectError(RunColmapNre(arguments), "images.bin");
  // NaN in a pose.
  std::string nan_content = content;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::memcpy(&nan_content[8 + 4], &nan, sizeof(nan));
  WriteFile(images, nan_content);
  InputIsReady();
  ExpectError(RunColmapNre(arguments), "not finite");
  // A missing file.
  fs::remove(images);
  InputIsReady();
  ExpectError(RunColmapNre(arguments), "no complete COLMAP model");
  // An empty model.
  WriteModel(colmap::Reconstruction(), scene_.model_path);
  InputIsReady();
  ExpectError(RunColmapNre(arguments), "empty");
  // Every point behind every camera.
  colmap::Reconstruction model = MakeSmallModel();
  for (const auto& [id, point] : model.Points3D()) {
    const_cast<Eigen::Vector3d&>(XYZ(point)).z() = -5.0;
  }
  WriteModel(model, scene_.model_path);
  WriteFile(scene_.image_path + "/a.jpg", "");
  InputIsReady();
  ExpectError(RunColmapNre(arguments), "behind every camera");
}

TEST_F(Commands, APointBehindEveryCameraIsReported) {
  colmap::Reconstruction model;
  ReadModel(scene_.model_path, &model);
  const_cast<Eigen::Vector3d&>(XYZ(model.Point3D(1))) = {0, -100, 2};
  WriteModel(model, scene_.model_path);
  InputIsReady();
  const RunResult result = RunColmapNre(WithList("nre_localizer"));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("WARNING"),
                    HasSubstr("behind every camera"),
                    HasSubstr("point 1)")));
}

// How often a text is part of another.
size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) {
    ++count;
  }
  return count;
}

TEST_F(Commands, ReferencesThatCannotBeUsedAreNamedOnce) {
  colmap::Reconstruction model;
  ReadModel(scene_.model_path, &model);
  AddReferenceWithoutFocalLength(scene_, &model);
  PutPoints2DIntoCorner(model.Image(1));
  WriteModel(model, scene_.model_path);
  fs::remove(scene_.image_path + "/r3.png");
  InputIsReady();
  const RunResult result = RunColmapNre(Arguments(
      "nre_localizer", {"--query_list_path", scene_.query_list_path}));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  for (const std::string name : {"r0.png", "r3.png", "r9.png"}) {
    EXPECT_EQ(Count(result.output, "WARNING: the reference image " + name), 1)
        << result.output;
  }
  for (const nlohmann::json& line : ReadReport(output_path_)) {
    EXPECT_EQ(line["status"], "registered");
    EXPECT_EQ(line["references"].size(), 2);
    EXPECT_EQ(line["warnings"].size(), 3);
  }
}

TEST_F(Commands, ModelsWithoutObservations) {
  colmap::Reconstruction model;
  ReadModel(scene_.model_path, &model);
  WriteModel(WithoutTracks(model), scene_.model_path);
  InputIsReady();
  for (const std::string command : {"nre_localizer", "nre_image_registrator"}) {
    const RunResult result = RunColmapNre(WithList(command));
    ExpectError(result, "No image of the model");
    EXPECT_THAT(result.output,
                AllOf(HasSubstr("4 images and 1000 points without tracks"),
                      HasSubstr("colmap point_triangulator --database_path"),
                      Not(HasSubstr("cam_from_world"))));
  }
}

TEST_F(Commands, ModelsWhose2DPointsContradictThe3DPoints) {
  colmap::Reconstruction model;
  ReadModel(scene_.model_path, &model);
  for (const colmap::image_t id : {1, 2, 3}) {
    PutPoints2DIntoCorner(model.Image(id));
  }
  WriteModel(model, scene_.model_path);
  InputIsReady();
  const RunResult result = RunColmapNre(WithList("nre_localizer"));
  ExpectError(result, "3 of the 4 images");
  EXPECT_THAT(result.output, HasSubstr("contradict"));
}

TEST_F(Commands, PointsWithoutTracksStayInTheModel) {
  colmap::Reconstruction model;
  ReadModel(scene_.model_path, &model);
  const size_t num_points = model.NumPoints3D();
  Eigen::Vector3d last;
  for (int i = 0; i < 5000; ++i) {
    last = Eigen::Vector3d::Random() * 50.0;
    model.AddPoint3D(last, colmap::Track());
  }
  WriteModel(model, scene_.model_path);
  InputIsReady();
  const RunResult result = RunColmapNre(WithList("nre_image_registrator"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, Not(HasSubstr("WARNING")));
  colmap::Reconstruction registered;
  ReadModel(output_path_, &registered);
  EXPECT_EQ(registered.NumPoints3D(), num_points + 5000);
  EXPECT_EQ(XYZ(registered.Point3D(num_points + 5000)), last);
}

TEST_F(Commands, ModelsFromWhichAnImageWasDeleted) {
  colmap::Reconstruction model;
  ReadModel(scene_.model_path, &model);
  fs::remove_all(scene_.model_path);
  fs::create_directory(scene_.model_path);
  model.WriteText(scene_.model_path);
  const std::string path = scene_.model_path + "/images.txt";
  const std::string images = ReadFile(path);
  const size_t begin = images.find("\n1 ") + 1;
  const size_t end = images.find('\n', images.find('\n', begin) + 1) + 1;
  WriteFile(path, images.substr(0, begin) + images.substr(end));
  for (const std::string name : {"/rigs.txt", "/frames.txt"}) {
    fs::remove(scene_.model_path + name);
  }
  InputIsReady();
  const RunResult result = RunColmapNre(WithList("nre_image_registrator"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("observations by images that are gone"),
                    HasSubstr("r0.png")));  // of the pairs file
  colmap::Reconstruction registered;
  EXPECT_EQ(ReadModel(output_path_, &registered), "");
  EXPECT_EQ(registered.NumRegImages(), 5);
}

TEST_F(Commands, NewIdsAreFreeWhereTheModelHasTheLargest) {
  colmap::Reconstruction model;
  ReadModel(scene_.model_path, &model);
  AddRegisteredImage(model.Camera(1),
                     kMaxCameraId,
                     4294967294u,
                     "r9.png",
                     Rigid3d(),
                     {},
                     &model);
  WriteModel(model, scene_.model_path);
  InputIsReady();
  const RunResult result = RunColmapNre(WithList("nre_image_registrator"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  colmap::Reconstruction registered;
  ReadModel(output_path_, &registered);
  EXPECT_EQ(registered.NumRegImages(), 7);
  for (const size_t i : {0, 1}) {
    const colmap::Image& image = registered.Image(5 + i);
    EXPECT_EQ(image.Name(), scene_.query_names[i]);
    EXPECT_EQ(image.CameraId(), 2 + i);
  }
}

TEST_F(Commands, BadWeightsAndDevices) {
  const auto expect_error = [&](const std::vector<std::string>& options,
                                const std::string& what) {
    const RunResult result = RunColmapNre(WithList("nre_localizer", options));
    ExpectError(result, what);
    EXPECT_EQ(result.output.find("ERROR"), result.output.rfind("ERROR"))
        << result.output;
    EXPECT_THAT(result.output, Not(HasSubstr("queries:")));
  };
  expect_error({"--features", "nre"}, "expected --weights_path");

  const std::string weights = folder_ / "in/weights";
  const std::string coarse = weights + "/nre_coarse.safetensors";
  fs::create_directory(weights);
  InputIsReady();
  const std::vector<std::string> with_weights = {
      "--features", "nre", "--weights_path", weights};
  expect_error(with_weights,
               coarse +
                   " does not exist. Get weights/coarse.pth from "
                   "github.com/germain-hug/NRE and convert it: "
                   "scripts/convert_weights.py nre_coarse weights/coarse.pth " +
                   coarse);

  // A header of 100 bytes that ends after 4.
  WriteFile(coarse, std::string("\x64\0\0\0\0\0\0\0{\"a\"", 12));
  InputIsReady();
  expect_error(with_weights, coarse + " is no valid safetensors file");

  expect_error({"--features", "sift"}, "unknown feature preset 'sift'");
  expect_error({"--query_orientations", "up"}, "there are: auto, all");
  std::vector<std::string> with_device = with_weights;
  with_device.insert(with_device.end(), {"--device", "tpu"});
  expect_error(with_device, "auto, cpu or cuda");
}

TEST_F(Commands, BadPlacesForTheOutput) {
  output_path_ = scene_.model_path;
  RunResult result = RunColmapNre(WithList("nre_image_registrator"));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, HasSubstr("never changed"));

  output_path_ = folder_ / "other";
  fs::create_directory(output_path_);
  WriteModel(MakeSmallModel(), output_path_);
  const auto before = Snapshot(output_path_);
  result = RunColmapNre(WithList("nre_image_registrator"));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output, HasSubstr("not empty"));
  EXPECT_TRUE(Snapshot(output_path_) == before);
}

TEST_F(Commands, BadLists) {
  ExpectError(RunColmapNre(Arguments("nre_localizer",
                                     {"--query_list_path", folder_ / "no"})),
              "query list");
  WriteFile(folder_ / "list", "q0.png\n");
  ExpectError(RunColmapNre(Arguments("nre_localizer",
                                     {"--query_list_path", folder_ / "list"})),
              "no intrinsics");
  WriteFile(folder_ / "pairs", "q0.png\n");
  ExpectError(RunColmapNre(Arguments("nre_localizer",
                                     {"--query_list_path",
                                      scene_.query_list_path,
                                      "--pairs_path",
                                      folder_ / "pairs"})),
              "line 1");
  std::vector<std::string> arguments = WithList("nre_localizer");
  arguments[4] = folder_ / "in/map";  // of the images
  ExpectError(RunColmapNre(arguments), "none of the model's images");
}

TEST_F(Commands, BadQueriesFailAndTheOthersGoOn) {
  WriteFile(scene_.image_path + "/broken.png", "no picture");
  WriteFile(scene_.query_list_path,
            "q0.png PINHOLE 480 360 420 420 240 180\n"
            "q1.png\n"
            "r0.png PINHOLE 480 360 420 420 240 180\n"
            "broken.png PINHOLE 480 360 420 420 240 180\n"
            "absent.png PINHOLE 480 360 420 420 240 180\n"
            "unknown.png FISHY 480 360 420 420 240 180\n"
            "../images/q1.png PINHOLE 480 360 420 420 240 180\n");
  WriteFile(scene_.pairs_path,
            "q0.png nowhere.png\nq0.png r1.png\nbroken.png r1.png\n"
            "absent.png nowhere.png\n");
  InputIsReady();
  const RunResult result = RunColmapNre(WithList("nre_image_registrator"));
  EXPECT_EQ(result.exit_code, 3) << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("7 queries: 1 registered, 0 rejected, 6 failed"),
                    HasSubstr("nowhere.png"),
                    HasSubstr("already"),
                    HasSubstr("FISHY"),
                    HasSubstr("below the image folder")));
  const std::vector<nlohmann::json> report = ReadReport(output_path_);
  ASSERT_EQ(report.size(), 7);
  EXPECT_EQ(report[0]["status"], "registered");
  for (size_t i = 1; i < 7; ++i) {
    EXPECT_EQ(report[i]["status"], "failed");
    EXPECT_NE(report[i]["reason"], "");
  }
  colmap::Reconstruction model;
  ReadModel(output_path_, &model);
  EXPECT_EQ(model.NumRegImages(), 5);
}

TEST_F(Commands, NothingRegisteredIsStillAnOutput) {
  WriteFile(scene_.query_list_path,
            "absent.png PINHOLE 480 360 420 420 240 180\n");
  InputIsReady();
  const RunResult result = RunColmapNre(Arguments(
      "nre_image_registrator", {"--query_list_path", scene_.query_list_path}));
  EXPECT_EQ(result.exit_code, 3) << result.output;
  colmap::Reconstruction before;
  colmap::Reconstruction after;
  ReadModel(scene_.model_path, &before);
  ReadModel(output_path_, &after);
  EXPECT_EQ(after.NumRegImages(), before.NumRegImages());
  EXPECT_EQ(after.NumCameras(), before.NumCameras());
  EXPECT_EQ(after.NumPoints3D(), before.NumPoints3D());
  EXPECT_EQ(after.ComputeNumObservations(), before.ComputeNumObservations());
  EXPECT_EQ(ReadFile(output_path_ + "/results.txt"), "");
}

TEST_F(Commands, FullDiskLeavesNothing) {
  // In blocks of 512 bytes: too little for the model, for the report.
  for (const char* limit : {"ulimit -f 20", "ulimit -f 1"}) {
    const RunResult result =
        RunColmapNre(WithList("nre_image_registrator"), "", limit);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output,
                AllOf(HasSubstr("ERROR"), HasSubstr("disk full")));
    EXPECT_FALSE(fs::exists(output_path_));
  }
  const RunResult result =
      RunColmapNre(WithList("nre_localizer"), "", "ulimit -f 1");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_THAT(result.output, HasSubstr("report.jsonl"));
  EXPECT_FALSE(fs::exists(output_path_));
}

// Starts the command, interrupts it `num_signals` times once its temporary
// output is there, and returns its exit code.
int RunAndInterrupt(const std::vector<std::string>& arguments,
                    const TestFolder& folder,
                    const std::string& log_path,
                    int num_signals) {
  std::vector<char*> argv = {const_cast<char*>(NRE_EXECUTABLE)};
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    const int log = open(log_path.c_str(), O_CREAT | O_WRONLY, 0600);
    dup2(log, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  const auto is_working = [&folder]() {
    for (const std::string& name : List(folder.path())) {
      if (name.find(".tmp-") != std::string::npos) {
        return true;
      }
    }
    return false;
  };
  for (int i = 0; i < 1000 && !is_working(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  for (int i = 0; i < num_signals; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    kill(child, SIGINT);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(Commands, InterruptedHalfWay) {
  // Many trials of references, so that there is something to interrupt.
  EXPECT_EQ(RunAndInterrupt(Arguments("nre_image_registrator",
                                      {"--query_list_path",
                                       scene_.query_list_path,
                                       "--num_probe_hypotheses",
                                       "50000",
                                       "--num_probe_points",
                                       "1000",
                                       "--num_threads",
                                       "1"}),
                            folder_,
                            folder_ / "log",
                            1),
            2)
      << ReadFile(folder_ / "log");
  EXPECT_THAT(ReadFile(folder_ / "log"),
              HasSubstr("Interrupted; nothing was written."));
  EXPECT_FALSE(fs::exists(output_path_));
}

TEST_F(Commands, InterruptedTwice) {
  // One step that takes for ever.
  EXPECT_EQ(RunAndInterrupt(
                WithList("nre_image_registrator",
                         {"--NreEstimation.num_hypotheses", "2000000000"}),
                folder_,
                folder_ / "log",
                2),
            2)
      << ReadFile(folder_ / "log");
  EXPECT_FALSE(fs::exists(output_path_));
}

// A database with the queries (ids 21, 22, camera 9; 21 has two keypoints) and
// a third image, made by the COLMAP that is installed, if it is.
class DatabaseCommands : public Commands {
 protected:
  void SetUp() override {
    if (!fs::exists(NRE_COLMAP_EXECUTABLE)) {
      GTEST_SKIP() << "no colmap executable";
    }
    database_path_ = folder_ / "in/database.db";
    const std::string command = std::string(NRE_COLMAP_EXECUTABLE) +
                                " database_creator --database_path " +
                                database_path_ + " >/dev/null 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0);
    sqlite3* database = nullptr;
    sqlite3_open(database_path_.c_str(), &database);
    char* message = nullptr;
    sqlite3_exec(
        database,
        // PINHOLE 420 420 240 180.
        "INSERT INTO cameras(camera_id, model, width, height, params, "
        "prior_focal_length) VALUES (9, 1, 480, 360, "
        "x'0000000000407A400000000000407A400000000000006E400000000000806640', "
        "1);"
        "INSERT INTO images(image_id, name, camera_id) VALUES "
        "(21, 'q0.png', 9), (22, 'q1.png', 9);"
        "INSERT INTO keypoints(image_id, rows, cols, data) VALUES (21, 2, 2, "
        "x'0000803F000000400000404000008040');",
        nullptr,
        nullptr,
        &message);
    ASSERT_EQ(message, nullptr) << message;
    sqlite3_close(database);
    WriteFile(folder_ / "in/list.txt", "q0.png\nq1.png\nunknown.png\n");
    InputIsReady();
  }

  std::vector<std::string> WithDatabase(
      const std::string& command,
      const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = Arguments(command,
                                                   {"--database_path",
                                                    database_path_,
                                                    "--image_list_path",
                                                    folder_ / "in/list.txt",
                                                    "--pairs_path",
                                                    scene_.pairs_path});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  std::string database_path_;
};

TEST_F(DatabaseCommands, IdsAreKeptAndKeypointsGoIntoTheCopy) {
  const std::string copy_path = folder_ / "copy.db";
  const RunResult result = RunColmapNre(WithDatabase(
      "nre_image_registrator", {"--output_database_path", copy_path}));
  ASSERT_EQ(result.exit_code, 3) << result.output;
  EXPECT_THAT(
      result.output,
      AllOf(HasSubstr("2 registered"),
            HasSubstr("unknown.png"),
            HasSubstr("does not have the model's keypoints of 4 images")));

  colmap::Reconstruction model;
  ReadModel(output_path_, &model);
  ASSERT_TRUE(model.ExistsImage(21));
  ASSERT_TRUE(model.ExistsImage(22));
  EXPECT_EQ(model.Image(21).Name(), "q0.png");
  EXPECT_EQ(model.Image(21).CameraId(), 9);
  EXPECT_EQ(model.Image(22).CameraId(), 9);
  EXPECT_EQ(model.NumCameras(), 2);
  // The keypoints that were there come first and observe nothing.
  EXPECT_EQ(XY(model.Image(21).Point2D(1)), Eigen::Vector2d(3, 4));
  EXPECT_FALSE(model.Image(21).Point2D(1).HasPoint3D());
  EXPECT_TRUE(model.Image(21).Point2D(2).HasPoint3D());

  const Database copy(copy_path, Database::Mode::kReadOnly);
  for (const colmap::image_t id : {21, 22}) {
    const colmap::Image& image = model.Image(id);
    const std::vector<Eigen::Vector2d> keypoints = copy.ReadKeypoints(id);
    ASSERT_EQ(keypoints.size(), image.NumPoints2D());
    for (size_t i = 0; i < keypoints.size(); ++i) {
      EXPECT_LT((keypoints[i] - XY(image.Point2D(i))).norm(), 1e-3);
    }
  }
  EXPECT_THAT(List(folder_.path()), ElementsAre("copy.db", "in", "out"));
}

// Two queries that share a camera whose focal length is COLMAP's guess.
TEST_F(DatabaseCommands, UnknownFocalLengthsAreEstimated) {
  sqlite3* database = nullptr;
  sqlite3_open(database_path_.c_str(), &database);
  sqlite3_exec(database,
               "UPDATE cameras SET prior_focal_length = 0, params = "
               "x'00000000000082400000000000008240"
               "0000000000006E400000000000806640';",  // 576 576 240 180
               nullptr,
               nullptr,
               nullptr);
  sqlite3_close(database);
  InputIsReady();
  const RunResult result = RunColmapNre(WithDatabase("nre_image_registrator"));
  ASSERT_EQ(result.exit_code, 3) << result.output;
  EXPECT_THAT(result.output, HasSubstr("2 registered"));
  colmap::Reconstruction model;
  ReadModel(output_path_, &model);
  EXPECT_EQ(model.Image(21).CameraId(), 9);
  EXPECT_EQ(model.Image(22).CameraId(), 10);
  for (const colmap::image_t id : {21, 22}) {
    const std::vector<double>& params =
        CameraParams(model.Camera(model.Image(id).CameraId()));
    EXPECT_NEAR(params[0], 420.0, 4.2);
    EXPECT_DOUBLE_EQ(params[1], params[0]);
    EXPECT_EQ(params[2], 240.0);
  }
}

TEST_F(DatabaseCommands, CopyMustBeNew) {
  ExpectError(
      RunColmapNre(WithDatabase("nre_image_registrator",
                                {"--output_database_path", database_path_})),
      "exists already");
}

TEST_F(DatabaseCommands, DatabaseOfAnotherModel) {
  sqlite3* database = nullptr;
  sqlite3_open(database_path_.c_str(), &database);
  sqlite3_exec(database,
               "PRAGMA foreign_keys=OFF;"
               "UPDATE images SET image_id = 2 WHERE image_id = 22;",
               nullptr,
               nullptr,
               nullptr);
  sqlite3_close(database);
  InputIsReady();
  const RunResult result = RunColmapNre(WithDatabase("nre_image_registrator"));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("1 registered"), HasSubstr("belong together")));
}

// The database's camera is right. The model's, which has its id, but another
// focal length, is another camera.
TEST_F(DatabaseCommands, PosesNeedNoIdsOfTheModel) {
  colmap::Reconstruction model;
  ReadModel(scene_.model_path, &model);
  AddRegisteredImage(
      MakeColmapCamera("PINHOLE", 480, 360, {900, 900, 240, 180}),
      9,
      21,
      "other.png",
      Rigid3d(),
      {},
      &model);
  WriteModel(model, scene_.model_path);
  InputIsReady();
  const RunResult result = RunColmapNre(WithDatabase("nre_localizer"));
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("2 registered"),
                    HasSubstr("WARNING: q0.png: its image id"),
                    HasSubstr("as the database has them")));
  const std::vector<nlohmann::json> report = ReadReport(output_path_);
  for (const size_t i : {0, 1}) {
    const std::vector<double> center = report[i]["camera_center"];
    EXPECT_LT((Eigen::Vector3d(center[0], center[1], center[2]) -
               ProjectionCenter(scene_.query_poses[i]))
                  .norm(),
              0.1);
  }
}

TEST_F(DatabaseCommands, NoDatabase) {
  WriteFile(folder_ / "text.db", "this is no database, by no means at all");
  std::vector<std::string> arguments = Arguments("nre_localizer",
                                                 {"--image_list_path",
                                                  folder_ / "in/list.txt",
                                                  "--database_path",
                                                  folder_ / "text.db"});
  ExpectError(RunColmapNre(arguments), "text.db");
  arguments.back() = folder_ / "absent.db";
  ExpectError(RunColmapNre(arguments), "absent.db");
}

}  // namespace
}  // namespace nre
