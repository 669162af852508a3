// Compares what the demo estimated with the truth, prints a table of errors and
// judges it.
//
//   demo_report TRUTH_FOLDER MODEL_FOLDER REPORT_FILE
//
// TRUTH_FOLDER is what render_scene wrote, MODEL_FOLDER a COLMAP model as text
// that holds the mapping images and the registered queries, REPORT_FILE the
// report.jsonl of the queries. The model's arbitrary frame and scale are
// aligned with the true one by a similarity transform over the centres of the
// mapping cameras.
//
// Exit code 0: all as it should be; 1: it is not; 2: something cannot be read.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <Eigen/Core>
#include <Eigen/Geometry>
#include <nlohmann/json.hpp>

#include "nre/camera.h"
#include "nre/rigid3.h"

namespace {

// A registered query further off than this is wrong. The scene is about 10 m
// deep, and the mapping cameras are 2 m apart.
constexpr double kMaxCenterError = 0.10;  // m
constexpr double kMaxRotationErrorDeg = 0.5;
// The mapping itself must be good, or the table says nothing.
constexpr double kMaxMappingRms = 0.03;  // m
// The hardest lights may cost a query, not more.
constexpr int kMaxNumMissing = 1;

struct ModelImage {
  nre::Rigid3d cam_from_world;
  int num_observations = 0;
  double mean_reprojection_error_px = 0.0;
};

using Poses = std::map<std::string, nre::Rigid3d>;
using ModelImages = std::map<std::string, ModelImage>;
using Points = std::unordered_map<uint64_t, Eigen::Vector3d>;

std::ifstream OpenText(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  return file;
}

nre::Rigid3d ReadPose(std::istream& text) {
  nre::Rigid3d pose;
  Eigen::Quaterniond& q = pose.rotation;
  Eigen::Vector3d& t = pose.translation;
  text >> q.w() >> q.x() >> q.y() >> q.z() >> t.x() >> t.y() >> t.z();
  q.normalize();
  return pose;
}

Poses ReadPoses(const std::string& path) {
  std::ifstream file = OpenText(path);
  Poses poses;
  std::string name;
  while (file >> name) poses[name] = ReadPose(file);
  return poses;
}

// Names in the file's order, each with the word that follows it.
std::vector<std::pair<std::string, std::string>> ReadNamesAndWords(
    const std::string& path) {
  std::ifstream file = OpenText(path);
  std::vector<std::pair<std::string, std::string>> pairs;
  std::string name, word;
  while (file >> name >> word) pairs.emplace_back(name, word);
  return pairs;
}

nre::PinholeCamera ReadCamera(const std::string& query_list_path) {
  std::ifstream file = OpenText(query_list_path);
  std::string name, model;
  int width, height;
  double fx, fy, cx, cy;
  file >> name >> model >> width >> height >> fx >> fy >> cx >> cy;
  if (!file) throw std::runtime_error(query_list_path + " is malformed");
  return {width, height, fx, fy, cx, cy};
}

Points ReadPoints(const std::string& path) {
  std::ifstream file = OpenText(path);
  Points points;
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream text(line);
    uint64_t id;
    Eigen::Vector3d xyz;
    text >> id >> xyz.x() >> xyz.y() >> xyz.z();
    points[id] = xyz;
  }
  return points;
}

// Observations of one image, from its second line: x y point3D_id ...
void ReadObservations(const std::string& line,
                      const nre::Camera& camera,
                      const Points& points,
                      ModelImage* image) {
  std::istringstream text(line);
  Eigen::Vector2d observed, projected;
  int64_t id;
  double sum = 0.0;
  while (text >> observed.x() >> observed.y() >> id) {
    if (id < 0) continue;
    const Eigen::Vector3d in_cam = image->cam_from_world * points.at(id);
    if (!camera.Project(in_cam, &projected, nullptr)) {
      throw std::runtime_error("an observed point is behind its camera");
    }
    sum += (projected - observed).norm();
    ++image->num_observations;
  }
  if (image->num_observations > 0) {
    image->mean_reprojection_error_px = sum / image->num_observations;
  }
}

ModelImages ReadModelImages(const std::string& folder,
                            const nre::Camera& camera) {
  const Points points = ReadPoints(folder + "/points3D.txt");
  std::ifstream file = OpenText(folder + "/images.txt");
  ModelImages images;
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream text(line);
    int image_id, camera_id;
    text >> image_id;
    ModelImage image;
    image.cam_from_world = ReadPose(text);
    std::string name;
    text >> camera_id >> name;
    std::getline(file, line);
    ReadObservations(line, camera, points, &image);
    images[name] = image;
  }
  return images;
}

// x_true = scale * rotation * x_model + translation.
struct Similarity {
  double scale = 1.0;
  Eigen::Quaterniond rotation;
  Eigen::Vector3d translation;

  nre::Rigid3d Apply(const nre::Rigid3d& cam_from_model) const {
    const Eigen::Quaterniond cam_from_true =
        cam_from_model.rotation * rotation.conjugate();
    const Eigen::Vector3d center =
        scale * (rotation * nre::ProjectionCenter(cam_from_model)) +
        translation;
    return {cam_from_true, -(cam_from_true * center)};
  }
};

Similarity Align(const ModelImages& images, const Poses& truth) {
  Eigen::Matrix3Xd from(3, truth.size());
  Eigen::Matrix3Xd to(3, truth.size());
  int column = 0;
  for (const auto& [name, pose] : truth) {
    const auto image = images.find(name);
    if (image == images.end()) continue;
    from.col(column) = nre::ProjectionCenter(image->second.cam_from_world);
    to.col(column++) = nre::ProjectionCenter(pose);
  }
  if (column < 3) throw std::runtime_error("too few mapping images registered");
  const Eigen::Matrix4d matrix =
      Eigen::umeyama(from.leftCols(column), to.leftCols(column));
  Similarity similarity;
  similarity.scale = matrix.col(0).head<3>().norm();
  similarity.rotation = Eigen::Quaterniond(
      Eigen::Matrix3d(matrix.topLeftCorner<3, 3>() / similarity.scale));
  similarity.translation = matrix.topRightCorner<3, 1>();
  return similarity;
}

// Whether the mapping cameras are where they should be.
bool CheckMapping(const ModelImages& images,
                  const Poses& truth,
                  const Similarity& true_from_model) {
  double sum = 0.0;
  size_t num_registered = 0;
  for (const auto& [name, pose] : truth) {
    const auto image = images.find(name);
    if (image == images.end()) continue;
    ++num_registered;
    const double error = nre::CenterError(
        true_from_model.Apply(image->second.cam_from_world), pose);
    sum += error * error;
  }
  const double rms = std::sqrt(sum / num_registered);
  std::printf(
      "Map: %zu of %zu mapping images, camera centres off by %.2f cm (RMS).\n",
      num_registered,
      truth.size(),
      100.0 * rms);
  return rms < kMaxMappingRms;
}

// Status and reason of every query.
std::map<std::string, std::pair<std::string, std::string>> ReadReport(
    const std::string& path) {
  std::ifstream file = OpenText(path);
  std::map<std::string, std::pair<std::string, std::string>> report;
  std::string line;
  while (std::getline(file, line)) {
    const nlohmann::json entry = nlohmann::json::parse(line);
    report[entry.at("name")] = {entry.at("status"), entry.value("reason", "")};
  }
  return report;
}

// Prints the table; returns whether every query came out as it should.
bool CheckQueries(const std::string& truth_folder,
                  const std::string& report_path,
                  const ModelImages& images,
                  const Similarity& true_from_model) {
  const Poses truth = ReadPoses(truth_folder + "/queries_gt.txt");
  const auto report = ReadReport(report_path);
  int num_missing = 0;
  int num_wrong = 0;
  std::printf("\n%-28s %-12s %-11s %10s %9s %7s %9s\n",
              "query",
              "light",
              "status",
              "centre cm",
              "rot. deg",
              "obs.",
              "repr. px");
  for (const auto& [name, light] :
       ReadNamesAndWords(truth_folder + "/lights.txt")) {
    const auto& [status, reason] = report.at(name);
    std::printf(
        "%-28s %-12s %-11s", name.c_str(), light.c_str(), status.c_str());
    const auto true_pose = truth.find(name);
    const bool elsewhere = true_pose == truth.end();
    if (status != "registered") {
      num_missing += !elsewhere;
      std::printf(
          " %s%s\n", elsewhere ? "(as it should be) " : "", reason.c_str());
      continue;
    }
    const ModelImage& image = images.at(name);
    if (elsewhere) {
      ++num_wrong;
      std::printf(" WRONG: it shows another scene\n");
      continue;
    }
    const nre::Rigid3d pose = true_from_model.Apply(image.cam_from_world);
    const double center = nre::CenterError(pose, true_pose->second);
    const double rotation_deg = nre::RotationErrorDeg(pose, true_pose->second);
    const bool wrong =
        !(center <= kMaxCenterError && rotation_deg <= kMaxRotationErrorDeg);
    num_wrong += wrong;
    std::printf(" %10.2f %9.3f %7d %9.2f%s\n",
                100.0 * center,
                rotation_deg,
                image.num_observations,
                image.mean_reprojection_error_px,
                wrong ? "  WRONG" : "");
  }
  const int num_queries = static_cast<int>(truth.size());
  std::printf("\n%d of %d queries of this scene registered, %d wrong.\n",
              num_queries - num_missing,
              num_queries,
              num_wrong);
  return num_wrong == 0 && num_missing <= kMaxNumMissing;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: demo_report TRUTH_FOLDER MODEL_FOLDER REPORT_FILE\n";
    return 2;
  }
  try {
    const std::string truth_folder = argv[1];
    const Poses mapping = ReadPoses(truth_folder + "/mapping_gt.txt");
    const ModelImages images =
        ReadModelImages(argv[2], ReadCamera(truth_folder + "/queries.txt"));
    const Similarity true_from_model = Align(images, mapping);
    const bool mapped = CheckMapping(images, mapping, true_from_model);
    const bool localized =
        CheckQueries(truth_folder, argv[3], images, true_from_model);
    return mapped && localized ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << "demo_report: " << error.what() << "\n";
    return 2;
  }
}
