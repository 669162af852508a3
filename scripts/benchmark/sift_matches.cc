#include "scripts/benchmark/sift_matches.h"

#include <optional>
#include <set>
#include <utility>

#include "nre/error.h"

namespace nre {
namespace {

constexpr double kMaxDistancePx = 1.0;

colmap::image_t IdInDatabase(const Database& database,
                             const std::string& name) {
  const Query image = database.ReadQueries({name}).front();
  if (image.image_id == colmap::kInvalidImageId) {
    throw InputError("the database with SIFT matches has no image " + name);
  }
  return image.image_id;
}

// The 3D point whose observation is nearest to the keypoint.
std::optional<colmap::point3D_t> PointAt(const colmap::Image& image,
                                         const Eigen::Vector2d& keypoint) {
  std::optional<colmap::point3D_t> nearest;
  double distance = kMaxDistancePx;
  for (const auto& point : image.Points2D()) {
    if (point.HasPoint3D() && (XY(point) - keypoint).norm() <= distance) {
      distance = (XY(point) - keypoint).norm();
      nearest = Point3DId(point);
    }
  }
  return nearest;
}

}  // namespace

std::vector<PointMatch> SiftMatches(const colmap::Reconstruction& model,
                                    const Database& database,
                                    const std::string& query_name,
                                    colmap::image_t reference_id) {
  const colmap::Image& reference = model.Image(reference_id);
  const colmap::image_t query_in_database = IdInDatabase(database, query_name);
  const colmap::image_t reference_in_database =
      IdInDatabase(database, reference.Name());
  const auto query_keypoints = database.ReadKeypoints(query_in_database);
  const auto reference_keypoints =
      database.ReadKeypoints(reference_in_database);
  // A keypoint with several orientations is there as often.
  std::set<std::pair<std::pair<double, double>, colmap::point3D_t>> seen;
  std::vector<PointMatch> matches;
  for (const auto& [of_query, of_reference] : database.ReadMatches(
           query_in_database, reference_in_database, Database::Matches::kRaw)) {
    const Eigen::Vector2d& xy = query_keypoints.at(of_query);
    const auto point = PointAt(reference, reference_keypoints.at(of_reference));
    if (point && seen.insert({{xy.x(), xy.y()}, *point}).second) {
      matches.push_back({XYZ(model.Point3D(*point)), xy});
    }
  }
  return matches;
}

}  // namespace nre
