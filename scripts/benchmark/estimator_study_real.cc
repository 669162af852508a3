#include "scripts/benchmark/estimator_study_real.h"

#include <cmath>
#include <filesystem>
#include <vector>

#include "colmap_plugin/compat/absolute_pose.h"
#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/colmap.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/reference_points.h"
#include "colmap_plugin/io/lists.h"
#include "nre/error.h"
#include "s2d/image.h"

namespace nre {
namespace {

struct StudyQuery {
  std::string name;
  colmap::Camera camera;
  Rigid3d cam_from_world;
};

std::vector<StudyQuery> ListedQueries(const std::string& folder) {
  const Poses poses = ReadPoses(folder + "/queries_gt.txt");
  std::vector<StudyQuery> queries;
  for (const Query& query : ReadQueryList(folder + "/queries.txt")) {
    const auto pose = poses.find(query.name);
    if (pose == poses.end()) {
      throw InputError(folder + "/queries_gt.txt has no pose of " + query.name);
    }
    queries.push_back({query.name, query.camera, pose->second});
  }
  return queries;
}

std::vector<StudyQuery> AllImages(const colmap::Reconstruction& model) {
  std::vector<StudyQuery> queries;
  for (const colmap::image_t image_id : RegisteredImages(model)) {
    const colmap::Image& image = model.Image(image_id);
    queries.push_back(
        {image.Name(), model.Camera(image.CameraId()), CamFromWorld(image)});
  }
  return queries;
}

MatchSolver LoRansac(const colmap::Camera& camera) {
  return [camera](const Camera&,
                  const std::vector<PointMatch>& matches,
                  double max_error_px,
                  uint64_t seed) {
    return SolveLoRansac(camera, matches, max_error_px, seed);
  };
}

// Whether the query shows what the reference shows, and from about there.
bool ShowsTheSame(const RealPair& pair) {
  constexpr double kMinShare = 0.5;
  constexpr double kMaxAngleDeg = 60.0;
  const double min_cos = std::cos(kMaxAngleDeg * M_PI / 180.0);
  const Eigen::Vector3d center = ProjectionCenter(pair.cam_from_world);
  size_t num_shown = 0;
  Eigen::Vector2d xy;
  for (size_t i = 0; i < pair.points.size(); ++i) {
    const Eigen::Vector3d& point = pair.points.xyz[i];
    num_shown +=
        pair.camera->Project(pair.cam_from_world * point, &xy, nullptr) &&
        xy.x() >= 0.0 && xy.x() <= pair.camera->Width() && xy.y() >= 0.0 &&
        xy.y() <= pair.camera->Height() &&
        pair.points.views[i].ray.dot((point - center).normalized()) > min_cos;
  }
  return num_shown >= kMinShare * pair.points.size();
}

}  // namespace

MatchSolver PinholeLoRansac(
    int width, int height, double fx, double fy, double cx, double cy) {
  return LoRansac(MakeColmapCamera("PINHOLE", width, height, {fx, fy, cx, cy}));
}

void ForEachRealPair(const std::string& folder,
                     const FeaturePreset& preset,
                     const std::function<void(const RealPair&)>& visit) {
  constexpr size_t kAll = 1000000;
  const bool has_list = std::filesystem::exists(folder + "/queries.txt");
  const std::string scene = std::filesystem::path(folder).filename().string();
  colmap::Reconstruction model;
  ReadModel(folder + (has_list ? "/map" : "/model_txt"), &model);
  ReferenceCache cache(model, folder + "/images", preset, kAll);
  const auto describe = [&](const std::vector<colmap::image_t>& image_ids) {
    std::vector<std::shared_ptr<const ReferenceDescription>> references;
    for (const colmap::image_t image_id : image_ids) {
      references.push_back(cache.Get(image_id));
    }
    std::vector<colmap::point3D_t> ids;
    return ChoosePoints(
        model, references, preset, Fusion::kMean, kAll, 0, &ids);
  };

  for (const StudyQuery& query :
       has_list ? ListedQueries(folder) : AllImages(model)) {
    const Image image = ReadImage(folder + "/images/" + query.name);
    RealPair pair;
    pair.camera = CreateCamera(query.camera);
    pair.lo_ransac = LoRansac(query.camera);
    pair.cam_from_world = query.cam_from_world;
    pair.features = std::make_shared<ImageFeatures>(ImageFeatures{
        preset.coarse->Extract(image), preset.fine->Extract(image)});
    std::vector<colmap::image_t> image_ids;
    for (const colmap::image_t image_id : RegisteredImages(model)) {
      if (model.Image(image_id).Name() != query.name) {
        image_ids.push_back(image_id);
      }
    }
    for (size_t i = 0; i < image_ids.size(); ++i) {
      pair.name =
          scene + " " + query.name + " " + model.Image(image_ids[i]).Name();
      pair.points = describe({image_ids[i]});
      // One other image is enough to take wrong descriptors from.
      pair.others = describe({image_ids[(i + 1) % image_ids.size()]});
      if (ShowsTheSame(pair)) {
        visit(pair);
      }
    }
  }
}

}  // namespace nre
