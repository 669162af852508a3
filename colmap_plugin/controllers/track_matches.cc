#include "colmap_plugin/controllers/track_matches.h"

#include <algorithm>
#include <map>
#include <set>

#include "nre/error.h"

namespace nre {
namespace {

// COLMAP's TwoViewGeometry::CALIBRATED.
constexpr int kCalibrated = 2;

// Those of the database; none if they are damaged.
std::vector<Eigen::Vector2d> ReadKeypoints(const Database& database,
                                           colmap::image_t image_id) {
  try {
    return database.ReadKeypoints(image_id);
  } catch (const InputError&) {
    return std::vector<Eigen::Vector2d>();
  }
}

// Whether the 2D points of an image are the keypoints that the database has of
// it, which are of single precision.
bool HasSameKeypoints(const colmap::Image& image, const Database& database) {
  constexpr double kMaxDistance = 0.01;
  const std::vector<Query> found = database.ReadQueries({image.Name()});
  if (found[0].image_id != image.ImageId()) return false;
  const std::vector<Eigen::Vector2d> keypoints =
      ReadKeypoints(database, image.ImageId());
  if (keypoints.size() != image.NumPoints2D()) return false;
  for (size_t i = 0; i < keypoints.size(); ++i) {
    if (!((keypoints[i] - XY(image.Point2D(i))).norm() <= kMaxDistance)) {
      return false;
    }
  }
  return true;
}

// Of each image that observes points of this one: the indices of their 2D
// points, those of this one first.
std::map<colmap::image_t, KeypointMatches> MatchesOfTracks(
    const colmap::Reconstruction& model, const colmap::Image& image) {
  std::map<colmap::image_t, KeypointMatches> matches;
  for (size_t i = 0; i < image.NumPoints2D(); ++i) {
    const colmap::Point2D& point = image.Point2D(i);
    if (!point.HasPoint3D()) continue;
    for (const auto& element :
         TrackOf(model.Point3D(Point3DId(point))).Elements()) {
      if (element.image_id != image.ImageId()) {
        matches[element.image_id].emplace_back(i, element.point2D_idx);
      }
    }
  }
  return matches;
}

// Adds matches of keypoints that are not matched yet.
void AddUnmatched(const KeypointMatches& more, KeypointMatches* matches) {
  std::set<uint32_t> used1, used2;
  for (const auto& [i, j] : *matches) {
    used1.insert(i);
    used2.insert(j);
  }
  for (const auto& [i, j] : more) {
    if (used1.insert(i).second && used2.insert(j).second) {
      matches->emplace_back(i, j);
    }
  }
}

// x2^T E x1 = 0 for what two cameras see of one point.
Eigen::Matrix3d EssentialMatrix(const Rigid3d& cam2_from_cam1) {
  const Eigen::Vector3d t = cam2_from_cam1.translation.normalized();
  Eigen::Matrix3d cross;
  cross << 0, -t.z(), t.y(), t.z(), 0, -t.x(), -t.y(), t.x(), 0;
  return cross * cam2_from_cam1.rotation.toRotationMatrix();
}

// Returns the number of verified matches that the pair then has.
size_t WritePair(const colmap::Image& image1,
                 const colmap::Image& image2,
                 const KeypointMatches& of_tracks,
                 Database* database) {
  const colmap::image_t id1 = image1.ImageId();
  const colmap::image_t id2 = image2.ImageId();
  KeypointMatches raw =
      database->ReadMatches(id1, id2, Database::Matches::kRaw);
  AddUnmatched(of_tracks, &raw);
  TwoViewGeometry geometry;
  geometry.config = kCalibrated;
  geometry.inliers =
      database->ReadMatches(id1, id2, Database::Matches::kVerified);
  AddUnmatched(of_tracks, &geometry.inliers);
  geometry.E =
      EssentialMatrix(CamFromWorld(image2) * CamFromWorld(image1).Inverse());
  database->WriteMatches(id1, id2, raw, geometry);
  return geometry.inliers.size();
}

}  // namespace

TrackMatchesProblems WriteTrackMatches(
    const colmap::Reconstruction& model,
    const std::vector<colmap::image_t>& image_ids,
    Database* database) {
  TrackMatchesProblems problems;
  std::map<colmap::image_t, bool> is_usable;
  const auto usable = [&](const colmap::Image& image) {
    const auto [found, is_new] = is_usable.emplace(image.ImageId(), false);
    if (is_new) {
      found->second = HasPose(image) && HasSameKeypoints(image, *database);
      if (!found->second) problems.other_keypoints.push_back(image.Name());
    }
    return found->second;
  };
  for (const colmap::image_t image_id : image_ids) {
    const colmap::Image& image = model.Image(image_id);
    if (!usable(image)) continue;
    size_t most = 0;
    for (const auto& [other_id, matches] : MatchesOfTracks(model, image)) {
      const colmap::Image& other = model.Image(other_id);
      const size_t num_matches =
          usable(other) ? WritePair(image, other, matches, database)
                        : matches.size();
      most = std::max(most, num_matches);
    }
    if (most < kMinNumMatches) problems.few_matches.push_back(image.Name());
  }
  return problems;
}

}  // namespace nre
