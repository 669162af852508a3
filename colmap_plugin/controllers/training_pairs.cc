#include "colmap_plugin/controllers/training_pairs.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/parallel.h"
#include "colmap_plugin/controllers/seeds.h"

namespace nre {
namespace {

// A query that shares something with a reference.
struct Candidate {
  double overlap = 0.0;
  size_t index = 0;
};

// At most `max_num`, spread evenly from the largest overlap to the smallest.
std::vector<size_t> SpreadOverOverlaps(std::vector<Candidate> candidates,
                                       size_t max_num) {
  std::sort(candidates.begin(),
            candidates.end(),
            [](const Candidate& a, const Candidate& b) {
              return a.overlap != b.overlap ? a.overlap > b.overlap
                                            : a.index < b.index;
            });
  const size_t num = std::min(max_num, candidates.size());
  std::vector<size_t> chosen;
  for (size_t i = 0; i < num; ++i) {
    chosen.push_back(candidates[i * candidates.size() / num].index);
  }
  return chosen;
}

bool IsInside(const Camera& camera, const Eigen::Vector2d& xy) {
  return xy.x() >= 0.0 && xy.x() < camera.Width() && xy.y() >= 0.0 &&
         xy.y() < camera.Height();
}

// Projects the point, if its projection leads back to it: beyond the picture's
// border, models of distortion may fold over.
bool ProjectInvertibly(const Camera& camera,
                       const Eigen::Vector3d& point_in_cam,
                       Eigen::Vector2d* xy) {
  constexpr double kMaxDistance = 1e-3;  // of unit vectors
  Eigen::Vector3d bearing;
  return camera.Project(point_in_cam, xy, nullptr) && xy->allFinite() &&
         camera.Unproject(*xy, &bearing) &&
         (bearing - point_in_cam.normalized()).norm() < kMaxDistance;
}

// The first max_points_per_pair visible points, and as many others at most;
// nothing if there are too few visible ones.
std::vector<PairPoint> LimitPoints(const std::vector<PairPoint>& points,
                                   const TrainingPairOptions& options) {
  const int num_visible = static_cast<int>(
      std::count_if(points.begin(), points.end(), [](const PairPoint& point) {
        return point.visible;
      }));
  if (num_visible < options.min_covisible_points) return {};
  int num_left[2];
  num_left[0] = num_left[1] =
      std::min(num_visible, options.max_points_per_pair);
  std::vector<PairPoint> kept;
  for (const PairPoint& point : points) {
    if (num_left[point.visible]-- > 0) kept.push_back(point);
  }
  return kept;
}

PairPoint MakePoint(const Eigen::Vector2d& reference,
                    const Eigen::Vector2d& query,
                    bool visible) {
  return {reference.x(), reference.y(), query.x(), query.y(), visible};
}

// Where an image observes points.
std::unordered_map<colmap::point3D_t, Eigen::Vector2d> Observations(
    const colmap::Image& image) {
  std::unordered_map<colmap::point3D_t, Eigen::Vector2d> observations;
  for (const auto& point : image.Points2D()) {
    if (point.HasPoint3D()) observations.emplace(Point3DId(point), XY(point));
  }
  return observations;
}

// What the depth map says of a position.
enum class Depth { kUnknown, kInFront, kAtPoint, kBehind };

// Compares the depth around a position inside of the map with that of a point
// there: kInFront if the map has something before the point. kUnknown also
// where the four pixels around it do not agree with each other.
Depth CompareDepth(const RgbdFrame& frame,
                   const Eigen::Vector2d& xy,
                   double depth,
                   double tolerance) {
  const int x0 = std::clamp(
      static_cast<int>(std::floor(xy.x() - 0.5)), 0, frame.width - 1);
  const int y0 = std::clamp(
      static_cast<int>(std::floor(xy.y() - 0.5)), 0, frame.height - 1);
  const int x1 = std::min(x0 + 1, frame.width - 1);
  const int y1 = std::min(y0 + 1, frame.height - 1);
  double smallest = HUGE_VAL, largest = 0.0;
  for (const int y : {y0, y1}) {
    for (const int x : {x0, x1}) {
      const double value =
          frame.depth[static_cast<size_t>(y) * frame.width + x];
      smallest = std::min(smallest, value);
      largest = std::max(largest, value);
    }
  }
  if (!(smallest > 0.0)) return Depth::kUnknown;
  const double margin = tolerance * depth;
  if (largest < depth - margin) return Depth::kInFront;
  if (smallest > depth + margin) return Depth::kBehind;
  if (smallest >= depth - margin && largest <= depth + margin) {
    return Depth::kAtPoint;
  }
  return Depth::kUnknown;
}

// The point at a pixel of a depth map; false if its depth is unknown or it lies
// at an edge.
bool PixelToWorld(const RgbdFrame& frame,
                  const Camera& camera,
                  const Eigen::Vector2d& xy,
                  double tolerance,
                  Eigen::Vector3d* xyz) {
  const size_t pixel =
      static_cast<size_t>(xy.y()) * frame.width + static_cast<size_t>(xy.x());
  const double depth = frame.depth[pixel];
  Eigen::Vector3d bearing;
  if (!(depth > 0.0) ||
      CompareDepth(frame, xy, depth, tolerance) != Depth::kAtPoint ||
      !camera.Unproject(xy, &bearing)) {
    return false;
  }
  *xyz = frame.cam_from_world.Inverse() * (bearing * (depth / bearing.z()));
  return true;
}

// What is needed of a frame to find its overlap with others.
struct FrameSketch {
  RgbdFrame frame;                      // with few of its pixels
  std::vector<Eigen::Vector3d> points;  // in the world
};

// Keeps every `step`-th pixel in both directions.
RgbdFrame Subsample(const RgbdFrame& frame, int step) {
  RgbdFrame result;
  result.cam_from_world = frame.cam_from_world;
  result.width = (frame.width + step - 1) / step;
  result.height = (frame.height + step - 1) / step;
  for (int y = 0; y < frame.height; y += step) {
    for (int x = 0; x < frame.width; x += step) {
      result.depth.push_back(
          frame.depth[static_cast<size_t>(y) * frame.width + x]);
    }
  }
  return result;
}

constexpr int kSketchWidth = 128;
constexpr int kPointsAcross = 20;

FrameSketch MakeSketch(const RgbdFrame& frame, const Camera& camera) {
  FrameSketch sketch;
  const double spacing = std::max(
      1.0,
      std::max(frame.width, frame.height) / static_cast<double>(kPointsAcross));
  for (double y = 0.5 * spacing; y < frame.height; y += spacing) {
    for (double x = 0.5 * spacing; x < frame.width; x += spacing) {
      const Eigen::Vector2d xy(std::floor(x) + 0.5, std::floor(y) + 0.5);
      const double depth =
          frame.depth[static_cast<size_t>(xy.y()) * frame.width +
                      static_cast<size_t>(xy.x())];
      Eigen::Vector3d bearing;
      if (depth > 0.0 && camera.Unproject(xy, &bearing)) {
        sketch.points.push_back(frame.cam_from_world.Inverse() *
                                (bearing * (depth / bearing.z())));
      }
    }
  }
  sketch.frame = Subsample(
      frame, std::max(1, std::max(frame.width, frame.height) / kSketchWidth));
  return sketch;
}

// The share of the reference's points that the query shows.
double Overlap(const FrameSketch& reference,
               const FrameSketch& query,
               const Camera& camera,
               double tolerance) {
  const Eigen::Matrix3d rotation =
      query.frame.cam_from_world.rotation.toRotationMatrix();
  const double x_scale =
      static_cast<double>(query.frame.width) / camera.Width();
  const double y_scale =
      static_cast<double>(query.frame.height) / camera.Height();
  int num_seen = 0;
  for (const Eigen::Vector3d& point : reference.points) {
    const Eigen::Vector3d in_cam =
        rotation * point + query.frame.cam_from_world.translation;
    Eigen::Vector2d xy;
    if (!camera.Project(in_cam, &xy, nullptr) || !IsInside(camera, xy)) {
      continue;
    }
    const int x = static_cast<int>(xy.x() * x_scale);
    const int y = static_cast<int>(xy.y() * y_scale);
    const double depth =
        query.frame.depth[static_cast<size_t>(y) * query.frame.width + x];
    num_seen += std::abs(depth - in_cam.z()) <= tolerance * in_cam.z();
  }
  return num_seen /
         std::max<double>(1.0, static_cast<double>(reference.points.size()));
}

}  // namespace

bool TrainingPairOptions::Check() const {
  return max_pairs_per_image >= 1 && min_covisible_points >= 1 &&
         max_points_per_pair >= min_covisible_points &&
         max_reprojection_error_px > 0.0 && min_overlap > 0.0 &&
         min_overlap <= 1.0 && depth_tolerance > 0.0 && depth_tolerance < 1.0;
}

std::vector<IndexPair> CovisiblePairs(
    const colmap::Reconstruction& model,
    const std::vector<colmap::image_t>& images,
    const TrainingPairOptions& options) {
  std::unordered_map<colmap::image_t, size_t> indices;
  for (size_t i = 0; i < images.size(); ++i) indices[images[i]] = i;
  std::vector<IndexPair> pairs;
  for (size_t i = 0; i < images.size(); ++i) {
    std::map<size_t, int> counts;
    for (const auto& [id, _] : Observations(model.Image(images[i]))) {
      std::unordered_set<size_t> observers;  // each once
      for (const auto& element : TrackOf(model.Point3D(id)).Elements()) {
        const auto index = indices.find(element.image_id);
        if (index != indices.end() && index->second != i &&
            observers.insert(index->second).second) {
          ++counts[index->second];
        }
      }
    }
    std::vector<Candidate> candidates;
    for (const auto& [index, count] : counts) {
      if (count >= options.min_covisible_points) {
        candidates.push_back({static_cast<double>(count), index});
      }
    }
    for (const size_t index : SpreadOverOverlaps(std::move(candidates),
                                                 options.max_pairs_per_image)) {
      pairs.emplace_back(i, index);
    }
  }
  return pairs;
}

std::vector<PairPoint> ModelPairPoints(const colmap::Reconstruction& model,
                                       colmap::image_t reference,
                                       colmap::image_t query,
                                       const TrainingPairOptions& options) {
  const colmap::Image& reference_image = model.Image(reference);
  const colmap::Image& query_image = model.Image(query);
  const auto reference_camera = CameraOf(model, reference_image);
  const auto query_camera = CameraOf(model, query_image);
  const Rigid3d reference_from_world = CamFromWorld(reference_image);
  const Rigid3d query_from_world = CamFromWorld(query_image);
  const auto in_reference = Observations(reference_image);
  const auto in_query = Observations(query_image);
  const auto is_close = [&](const Eigen::Vector2d& a,
                            const Eigen::Vector2d& b) {
    return (a - b).norm() <= options.max_reprojection_error_px;
  };

  const uint64_t seed =
      MixSeeds(options.random_seed, MixSeeds(reference, query));
  std::vector<std::pair<uint64_t, colmap::point3D_t>> order;
  for (const auto& [id, _] : in_reference) {
    order.emplace_back(MixSeeds(seed, id), id);
  }
  std::sort(order.begin(), order.end());
  std::vector<PairPoint> points;
  for (const auto& [_, id] : order) {
    const Eigen::Vector3d& xyz = XYZ(model.Point3D(id));
    Eigen::Vector2d reference_xy, query_xy;
    if (!reference_camera->Project(
            reference_from_world * xyz, &reference_xy, nullptr) ||
        !IsInside(*reference_camera, reference_xy) ||
        !is_close(reference_xy, in_reference.at(id)) ||
        !ProjectInvertibly(*query_camera, query_from_world * xyz, &query_xy)) {
      continue;
    }
    const auto observed = in_query.find(id);
    if (observed == in_query.end()) {
      points.push_back(MakePoint(reference_xy, query_xy, false));
    } else if (IsInside(*query_camera, query_xy) &&
               is_close(query_xy, observed->second)) {
      points.push_back(MakePoint(reference_xy, query_xy, true));
    }
  }
  return LimitPoints(points, options);
}

std::vector<IndexPair> OverlappingPairs(const RgbdFolder& folder,
                                        const std::vector<size_t>& frames,
                                        const TrainingPairOptions& options,
                                        int num_threads,
                                        const std::function<void()>& on_frame) {
  std::mutex mutex;
  std::vector<FrameSketch> sketches(frames.size());
  ParallelFor(frames.size(), num_threads, [&](size_t i) {
    sketches[i] =
        MakeSketch(folder.ReadFrame(frames[i]), folder.depth_camera());
    std::lock_guard<std::mutex> lock(mutex);
    on_frame();
  });
  std::vector<std::vector<size_t>> queries(frames.size());
  ParallelFor(frames.size(), num_threads, [&](size_t i) {
    std::vector<Candidate> candidates;
    for (size_t j = 0; j < frames.size(); ++j) {
      if (j == i) continue;
      const double overlap = Overlap(sketches[i],
                                     sketches[j],
                                     folder.depth_camera(),
                                     options.depth_tolerance);
      if (overlap >= options.min_overlap) candidates.push_back({overlap, j});
    }
    queries[i] =
        SpreadOverOverlaps(std::move(candidates), options.max_pairs_per_image);
    std::lock_guard<std::mutex> lock(mutex);
    on_frame();
  });
  std::vector<IndexPair> pairs;
  for (size_t i = 0; i < frames.size(); ++i) {
    for (const size_t j : queries[i]) pairs.emplace_back(i, j);
  }
  return pairs;
}

std::vector<PairPoint> RgbdPairPoints(const RgbdFolder& folder,
                                      const RgbdFrame& reference,
                                      const RgbdFrame& query,
                                      const TrainingPairOptions& options) {
  // Draws for each point that is wanted.
  constexpr uint64_t kNumDraws = 8;
  const Camera& camera = folder.depth_camera();
  const Eigen::Array2d factors(folder.x_factor(), folder.y_factor());
  const uint64_t num_pixels = reference.depth.size();
  const uint64_t num_draws =
      std::min<uint64_t>(num_pixels, kNumDraws * options.max_points_per_pair);
  std::unordered_set<uint64_t> drawn;
  std::vector<PairPoint> points;
  for (uint64_t i = 0; i < num_draws; ++i) {
    const uint64_t pixel = MixSeeds(options.random_seed, i) % num_pixels;
    if (!drawn.insert(pixel).second) continue;
    const Eigen::Vector2d reference_xy(pixel % reference.width + 0.5,
                                       pixel / reference.width + 0.5);
    Eigen::Vector3d xyz;
    if (!PixelToWorld(
            reference, camera, reference_xy, options.depth_tolerance, &xyz)) {
      continue;
    }
    const Eigen::Vector3d in_query = query.cam_from_world * xyz;
    Eigen::Vector2d query_xy;
    if (!camera.Project(in_query, &query_xy, nullptr)) continue;
    bool visible = false;
    if (IsInside(camera, query_xy)) {
      const Depth depth =
          CompareDepth(query, query_xy, in_query.z(), options.depth_tolerance);
      if (depth == Depth::kUnknown || depth == Depth::kBehind) continue;
      visible = depth == Depth::kAtPoint;
    }
    points.push_back(MakePoint((reference_xy.array() * factors).matrix(),
                               (query_xy.array() * factors).matrix(),
                               visible));
  }
  return LimitPoints(points, options);
}

}  // namespace nre
