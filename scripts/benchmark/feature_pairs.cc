#include "scripts/benchmark/feature_pairs.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <sstream>
#include <utility>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/colmap.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/seeds.h"
#include "colmap_plugin/controllers/training_pairs.h"
#include "colmap_plugin/io/lists.h"
#include "colmap_plugin/io/text_files.h"
#include "nre/error.h"
#include "nre/point_view.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

// An image with a pose and no points of its own.
struct PosedImage {
  std::string name;
  std::shared_ptr<const Camera> camera;
  Rigid3d cam_from_world;
};

std::map<std::string, std::shared_ptr<const Camera>> ReadCameras(
    const std::string& path) {
  std::map<std::string, std::shared_ptr<const Camera>> cameras;
  for (const Query& query : ReadQueryList(path)) {
    if (!query.error.empty()) throw InputError(path + ": " + query.error);
    cameras[query.name] = CreateCamera(query.camera);
  }
  return cameras;
}

std::vector<PosedImage> ReadPosedImages(const std::string& cameras_path,
                                        const std::string& poses_path) {
  const auto cameras = ReadCameras(cameras_path);
  std::vector<PosedImage> images;
  for (const auto& [name, pose] : ReadPoses(poses_path)) {
    const auto camera = cameras.find(name);
    if (camera == cameras.end()) {
      throw InputError(cameras_path + " has no camera of " + name);
    }
    images.push_back({name, camera->second, pose});
  }
  return images;
}

class PairMaker {
 public:
  PairMaker(const FeatureStudySet& set, const FeaturePairOptions& options)
      : set_(set), options_(options) {}

  std::vector<FeaturePair> Make() {
    if (Has("queries_gt.txt")) {
      AddQueriesOutsideOfModel();
    } else if (Has("pairs_gt.txt")) {
      AddPairsOfRelativePoses();
    } else if (Has("poses.txt")) {
      AddPairsOfPoses();
    } else {
      AddPairsOfModel();
    }
    Thin();
    return std::move(pairs_);
  }

 private:
  std::string Path(const std::string& name) const {
    return (fs::path(set_.folder) / name).string();
  }
  bool Has(const std::string& name) const { return fs::exists(Path(name)); }

  std::shared_ptr<const colmap::Reconstruction> Model() const {
    auto model = std::make_shared<colmap::Reconstruction>();
    ReadModel(Path(Has("map") ? "map" : "model_txt"), model.get());
    return model;
  }

  FeaturePair NewPair(const std::string& reference,
                      const std::string& query) const {
    FeaturePair pair;
    pair.set = set_.Name();
    pair.reference = reference;
    pair.query = query;
    pair.reference_path = Path("images/" + reference);
    pair.query_path = Path("images/" + query);
    return pair;
  }

  // The same for every run and every kind of features.
  static std::mt19937 RandomOf(const FeaturePair& pair) {
    return std::mt19937(static_cast<uint32_t>(
        MixSeeds(HashOfName(pair.reference), HashOfName(pair.query))));
  }

  void AddIfEnough(FeaturePair pair, std::vector<PointPair> points) {
    if (static_cast<int>(points.size()) < options_.min_points_per_pair) return;
    std::mt19937 random = RandomOf(pair);
    KeepRandom(options_.max_points_per_pair, &random, &points);
    pair.points = [points] { return points; };
    pairs_.push_back(std::move(pair));
  }

  void AddQueriesOutsideOfModel() {
    const auto queries =
        ReadPosedImages(Path("queries.txt"), Path("queries_gt.txt"));
    const auto model = Model();
    for (const colmap::image_t id : RegisteredImages(*model)) {
      const colmap::Image& reference = model->Image(id);
      for (const PosedImage& query : queries) {
        AddIfEnough(NewPair(reference.Name(), query.name),
                    ProjectedPoints(*model, reference, query));
      }
    }
  }

  // What the reference observes and the query shows.
  std::vector<PointPair> ProjectedPoints(const colmap::Reconstruction& model,
                                         const colmap::Image& reference,
                                         const PosedImage& query) const {
    const double min_cos = std::cos(options_.max_angle_deg * M_PI / 180.0);
    const Rigid3d reference_from_world = CamFromWorld(reference);
    const Camera& camera = *query.camera;
    std::vector<PointPair> points;
    for (const auto& observation : reference.Points2D()) {
      if (!observation.HasPoint3D()) continue;
      const Eigen::Vector3d& xyz = XYZ(model.Point3D(Point3DId(observation)));
      Eigen::Vector2d xy;
      if (camera.Project(query.cam_from_world * xyz, &xy, nullptr) &&
          xy.x() >= 0.0 && xy.y() >= 0.0 && xy.x() <= camera.Width() &&
          xy.y() <= camera.Height() &&
          ViewOfPoint(reference_from_world, xyz)
                  .ray.dot(ViewOfPoint(query.cam_from_world, xyz).ray) >=
              min_cos) {
        points.push_back({XY(observation), xy});
      }
    }
    return points;
  }

  bool IsHeldOut(size_t index) const {
    const std::string& text = set_.held_out;
    if (text.rfind("every", 0) == 0)
      return index % std::stoul(text.substr(5)) == 0;
    const size_t dash = text.find('-');
    return index >= std::stoul(text.substr(0, dash)) &&
           index <= std::stoul(text.substr(dash + 1));
  }

  void AddPairsOfModel() {
    const auto model = Model();
    const std::vector<colmap::image_t> ids = RegisteredImages(*model);
    for (size_t i = 0; i < ids.size(); ++i) {
      for (size_t j = 0; j < ids.size(); ++j) {
        const bool is_pair =
            set_.held_out.empty() ? i != j : !IsHeldOut(i) && IsHeldOut(j);
        if (is_pair) AddPairOfModel(*model, ids[i], ids[j]);
      }
    }
  }

  void AddPairOfModel(const colmap::Reconstruction& model,
                      colmap::image_t reference,
                      colmap::image_t query) {
    TrainingPairOptions options;
    options.min_covisible_points = options_.min_points_per_pair;
    options.max_points_per_pair = options_.max_points_per_pair;
    std::vector<PointPair> points;
    for (const PairPoint& p :
         ModelPairPoints(model, reference, query, options)) {
      if (p.visible) {
        points.push_back(
            {{p.reference_x, p.reference_y}, {p.query_x, p.query_y}});
      }
    }
    AddIfEnough(
        NewPair(model.Image(reference).Name(), model.Image(query).Name()),
        points);
  }

  void AddPairsOfRelativePoses() {
    const auto cameras = ReadCameras(Path("cameras.txt"));
    const auto camera_of = [&](const std::string& name) {
      const auto camera = cameras.find(name);
      if (camera == cameras.end()) {
        throw InputError(Path("cameras.txt") + " has no camera of " + name);
      }
      return camera->second;
    };
    for (const TextLine& line : ReadLines(Path("pairs_gt.txt"), "pairs")) {
      std::istringstream words(line.text);
      PosedImage image0, image1;
      Eigen::Quaterniond& q = image1.cam_from_world.rotation;
      Eigen::Vector3d& t = image1.cam_from_world.translation;
      words >> image0.name >> image1.name >> q.w() >> q.x() >> q.y() >> q.z() >>
          t.x() >> t.y() >> t.z();
      if (!words || q.norm() == 0.0) {
        throw InputError(Path("pairs_gt.txt") + ", line " +
                         std::to_string(line.number) +
                         ": expected two names and a pose");
      }
      q.normalize();
      image0.camera = camera_of(image0.name);
      image1.camera = camera_of(image1.name);
      AddEpipolarPair(image0, image1);
      AddEpipolarPair(image1, image0);
    }
  }

  void AddPairsOfPoses() {
    // By name, so that the dates of a camera are in order.
    const auto images = ReadPosedImages(Path("cameras.txt"), Path("poses.txt"));
    std::map<std::string, int> num_dates;
    std::vector<std::pair<std::string, int>> cameras_and_dates;
    for (const PosedImage& image : images) {
      const std::string camera = image.name.substr(0, image.name.find('_'));
      cameras_and_dates.emplace_back(camera, num_dates[camera]++);
    }
    for (size_t i = 0; i < images.size(); ++i) {
      for (size_t j = 0; j < images.size(); ++j) {
        if (cameras_and_dates[i].first != cameras_and_dates[j].first &&
            cameras_and_dates[i].second != cameras_and_dates[j].second) {
          AddEpipolarPair(images[i], images[j]);
        }
      }
    }
  }

  void AddEpipolarPair(const PosedImage& reference, const PosedImage& query) {
    FeaturePair pair = NewPair(reference.name, query.name);
    pair.epipolar = true;
    pair.epipolar_points = [reference,
                            query,
                            path = pair.reference_path,
                            random = RandomOf(pair),
                            max_num = options_.max_points_per_pair] {
      constexpr double kMinLength = 0.1;
      const double min_length_px =
          kMinLength * std::max(query.camera->Width(), query.camera->Height());
      const Rigid3d query_from_reference =
          query.cam_from_world * reference.cam_from_world.Inverse();
      const Eigen::Matrix2Xd corners = FindCorners(path);
      std::vector<EpipolarPoint> points;
      for (const auto& xy : corners.colwise()) {
        EpipolarPoint point = {
            xy,
            EpipolarLine(
                *reference.camera, *query.camera, query_from_reference, xy)};
        const Eigen::Index num = point.line.cols();
        if (num > 0 && (point.line.col(num - 1) - point.line.col(0)).norm() >=
                           min_length_px) {
          points.push_back(std::move(point));
        }
      }
      std::mt19937 engine = random;
      KeepRandom(max_num, &engine, &points);
      return points;
    };
    pairs_.push_back(std::move(pair));
  }

  void Thin() {
    if (pairs_.empty()) {
      throw InputError(set_.folder + " has no pairs of images with " +
                       std::to_string(options_.min_points_per_pair) +
                       " points in common");
    }
    const size_t max_num = options_.max_pairs;
    if (max_num == 0 || pairs_.size() <= max_num) return;
    std::vector<FeaturePair> kept;
    for (size_t i = 0; i < max_num; ++i) {
      kept.push_back(pairs_[i * pairs_.size() / max_num]);
    }
    pairs_ = std::move(kept);
  }

  FeatureStudySet set_;
  FeaturePairOptions options_;
  std::vector<FeaturePair> pairs_;
};

}  // namespace

std::string FeatureStudySet::Name() const {
  const fs::path path = fs::path(folder).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

FeatureStudySet ParseFeatureStudySet(const std::string& text) {
  const size_t colon = text.find(':');
  FeatureStudySet set;
  set.folder = text.substr(0, colon);
  if (colon != std::string::npos) set.held_out = text.substr(colon + 1);
  const auto are_digits = [](const std::string& digits) {
    return !digits.empty() && digits.size() < 9 &&
           digits.find_first_not_of("0123456789") == std::string::npos;
  };
  const std::string& held_out = set.held_out;
  const size_t dash = held_out.find('-');
  const bool is_range = dash != std::string::npos &&
                        are_digits(held_out.substr(0, dash)) &&
                        are_digits(held_out.substr(dash + 1));
  const bool is_every = held_out.rfind("every", 0) == 0 &&
                        are_digits(held_out.substr(5)) &&
                        std::stoi(held_out.substr(5)) > 1;
  if (set.folder.empty() || !(held_out.empty() || is_range || is_every)) {
    throw InputError("the set " + text +
                     " is none: expected FOLDER, FOLDER:FIRST-LAST or "
                     "FOLDER:everyN with N > 1");
  }
  return set;
}

void FeaturePairOptions::Check() const {
  if (min_points_per_pair < 1 || max_points_per_pair < min_points_per_pair) {
    throw InputError("min_points_per_pair and max_points_per_pair are " +
                     std::to_string(min_points_per_pair) + " and " +
                     std::to_string(max_points_per_pair) +
                     ": expected 1 at least, and no more than the maximum");
  }
  if (max_pairs < 0) {
    throw InputError("max_pairs is " + std::to_string(max_pairs) +
                     ": expected 0 or more");
  }
  if (!(max_angle_deg > 0.0 && max_angle_deg <= 180.0)) {
    throw InputError("max_angle_deg is " + std::to_string(max_angle_deg) +
                     ": expected more than 0 and at most 180");
  }
}

std::vector<FeaturePair> FeaturePairs(const FeatureStudySet& set,
                                      const FeaturePairOptions& options) {
  options.Check();
  return PairMaker(set, options).Make();
}

}  // namespace nre
