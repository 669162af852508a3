#include "scripts/benchmark/model_pairs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/training_pairs.h"
#include "nre/error.h"
#include "nre/point_view.h"
#include "nre/pose_evaluation.h"

namespace nre {
namespace {

using PointIds = std::unordered_set<colmap::point3D_t>;

PointIds ObservedPoints(const colmap::Image& image) {
  PointIds ids;
  for (const auto& point : image.Points2D()) {
    if (point.HasPoint3D()) ids.insert(Point3DId(point));
  }
  return ids;
}

// By image.
using Observed = std::unordered_map<colmap::image_t, PointIds>;

ModelPair MakePair(const colmap::Reconstruction& model,
                   const Observed& observed,
                   colmap::image_t query_id,
                   colmap::image_t reference_id,
                   double metres_per_unit) {
  const colmap::Image& query = model.Image(query_id);
  const colmap::Image& reference = model.Image(reference_id);
  const Rigid3d query_pose = CamFromWorld(query);
  const Rigid3d reference_pose = CamFromWorld(reference);
  const PointIds& in_query = observed.at(query_id);
  const PointIds& in_reference = observed.at(reference_id);

  std::vector<double> depths, angles, ratios;
  for (const colmap::point3D_t id : in_query) {
    if (in_reference.count(id) == 0) continue;
    const Eigen::Vector3d& xyz = XYZ(model.Point3D(id));
    const PointView a = ViewOfPoint(query_pose, xyz);
    const PointView b = ViewOfPoint(reference_pose, xyz);
    depths.push_back(a.distance);
    angles.push_back(std::acos(std::clamp(a.ray.dot(b.ray), -1.0, 1.0)) *
                     180.0 / M_PI);
    ratios.push_back(b.distance / a.distance);
  }

  ModelPair pair;
  pair.query = query_id;
  pair.reference = reference_id;
  pair.query_name = query.Name();
  pair.reference_name = reference.Name();
  pair.num_shared_points = depths.size();
  pair.overlap =
      1.0 * depths.size() / std::max(in_query.size(), in_reference.size());
  pair.metres_per_unit =
      metres_per_unit > 0.0 ? metres_per_unit : kAssumedDepthM / Median(depths);
  pair.difficulties[kDistance] =
      pair.metres_per_unit * CenterError(query_pose, reference_pose);
  pair.difficulties[kAngle] = Median(angles);
  pair.difficulties[kZoom] = Median(ratios) *
                             CameraOf(model, query)->MeanFocalLength() /
                             CameraOf(model, reference)->MeanFocalLength();
  return pair;
}

void SetThirds(std::vector<ModelPair>* pairs) {
  for (int d = 0; d < kNumDifficulties; ++d) {
    std::vector<size_t> order(pairs->size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return (*pairs)[a].difficulties[d] < (*pairs)[b].difficulties[d];
    });
    for (size_t rank = 0; rank < order.size(); ++rank) {
      (*pairs)[order[rank]].thirds[d] =
          static_cast<int>(3 * rank / order.size());
    }
  }
}

void SortByName(std::vector<ModelPair>* pairs) {
  std::sort(
      pairs->begin(), pairs->end(), [](const ModelPair& a, const ModelPair& b) {
        return std::tie(a.query_name, a.reference_name) <
               std::tie(b.query_name, b.reference_name);
      });
}

// Puts first one pair of each stratum, then another one of each, and so on.
void OrderByStrata(uint64_t seed, std::vector<ModelPair>* pairs) {
  std::mt19937_64 random(seed);
  std::shuffle(pairs->begin(), pairs->end(), random);
  size_t counts[3][3] = {};
  std::vector<std::pair<size_t, size_t>> order;  // round and pair
  for (size_t i = 0; i < pairs->size(); ++i) {
    const auto& thirds = (*pairs)[i].thirds;
    order.emplace_back(counts[thirds[kDistance]][thirds[kZoom]]++, i);
  }
  std::sort(order.begin(), order.end());
  std::vector<ModelPair> ordered;
  for (const auto& [_, i] : order) ordered.push_back((*pairs)[i]);
  *pairs = std::move(ordered);
}

}  // namespace

void ModelPairOptions::Check() const {
  if (min_shared_points < 1) {
    throw InputError("min_shared_points is " +
                     std::to_string(min_shared_points) +
                     ": expected 1 or more");
  }
  if (!(metres_per_unit >= 0.0) || !std::isfinite(metres_per_unit)) {
    throw InputError("metres_per_unit is " + std::to_string(metres_per_unit) +
                     ": expected a positive number, or 0 if it is not known");
  }
}

std::vector<ModelPair> ModelPairs(const colmap::Reconstruction& model,
                                  const ModelPairOptions& options) {
  options.Check();
  TrainingPairOptions covisible;
  covisible.min_covisible_points = options.min_shared_points;
  covisible.max_pairs_per_image = std::numeric_limits<int>::max();
  const std::vector<colmap::image_t> ids = RegisteredImages(model);
  Observed observed;
  for (const colmap::image_t id : ids) {
    observed[id] = ObservedPoints(model.Image(id));
  }
  std::vector<ModelPair> pairs;
  for (const auto& [reference, query] : CovisiblePairs(model, ids, covisible)) {
    pairs.push_back(MakePair(
        model, observed, ids[query], ids[reference], options.metres_per_unit));
  }
  if (pairs.empty()) {
    throw InputError("the model has no pair of images with " +
                     std::to_string(options.min_shared_points) +
                     " points in common");
  }
  SortByName(&pairs);
  SetThirds(&pairs);
  return pairs;
}

PairSelection ParsePairSelection(const std::string& name) {
  if (name == "stratified") return PairSelection::kStratified;
  if (name == "widest") return PairSelection::kWidest;
  throw InputError("unknown selection of pairs '" + name +
                   "'; there are: stratified, widest");
}

std::vector<ModelPair> SelectPairs(std::vector<ModelPair> pairs,
                                   PairSelection selection,
                                   size_t max_num,
                                   uint64_t seed) {
  if (selection == PairSelection::kStratified) {
    OrderByStrata(seed, &pairs);
  } else {
    std::stable_sort(
        pairs.begin(), pairs.end(), [](const ModelPair& a, const ModelPair& b) {
          return a.difficulties[kAngle] > b.difficulties[kAngle];
        });
  }
  if (max_num > 0 && pairs.size() > max_num) pairs.resize(max_num);
  SortByName(&pairs);
  return pairs;
}

}  // namespace nre
