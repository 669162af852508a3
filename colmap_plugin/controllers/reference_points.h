// Descriptors of the model's 3D points, taken from its reference images.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "colmap_plugin/compat/colmap.h"
#include "colmap_plugin/controllers/lru_cache.h"
#include "s2d/image_part.h"
#include "s2d/localization.h"
#include "s2d/view.h"

namespace nre {

// The 3D points that one reference image observes, with their descriptors
// there.
struct ReferenceDescription {
  std::vector<colmap::point3D_t> point3D_ids;  // [N], ascending
  Eigen::Matrix2Xd xy;                         // [2, N], keypoints
  std::vector<float> coarse;                   // [N, coarse channels]
  std::vector<float> fine;                     // [N, fine channels]
  std::vector<PointView> views;                // [N]
};

// The sentence that says why an image cannot be a reference.
std::string CannotBeUsed(const colmap::Image& image, const std::string& why);

// Describes reference images when they are needed for the first time, and
// forgets the least recently used ones. Serves several threads at once: each
// image is described by one of them while the others wait.
class ReferenceCache {
 public:
  // Keeps the references to `model` and `preset`. Holds `max_num_images` >= 1
  // descriptions.
  ReferenceCache(const colmap::Reconstruction& model,
                 std::string image_path,
                 const FeaturePreset& preset,
                 size_t max_num_images);

  // Points behind the camera and points whose descriptor cannot be sampled are
  // left out. Throws InputError, naming the image, if it cannot be read, its
  // size is not its camera's, that camera cannot be used, or its observations
  // contradict its points (see ObservationCheck).
  std::shared_ptr<const ReferenceDescription> Get(colmap::image_t image_id,
                                                  const Zoom& zoom = {});

  // The same of a part of the image, described as an image of its own; the
  // keypoints' coordinates remain those of all of it. Not kept.
  std::shared_ptr<const ReferenceDescription> DescribePart(
      colmap::image_t image_id, const Zoom& zoom, const ImagePart& part) const;

 private:
  using Key = std::tuple<colmap::image_t, int, int>;  // image and zoom
  using Description = std::shared_ptr<const ReferenceDescription>;

  // `part`: null for all of the image.
  Description Describe(colmap::image_t image_id,
                       const Zoom& zoom,
                       const ImagePart* part) const;

  const colmap::Reconstruction& model_;
  std::string image_path_;
  const FeaturePreset& preset_;
  LruCache<Key, ReferenceDescription> cache_;
};

// Chooses at most `max_num_points` of the points that the references observe, a
// random subset that depends on `seed` only. A point that several of them
// observe gets the descriptors that `fusion` needs: of the first of them
// (kNearest; so the references are best given in order), their mean (kMean), or
// all. `point3D_ids` receives the ids, ascending.
DescribedPoints ChoosePoints(
    const colmap::Reconstruction& model,
    const std::vector<std::shared_ptr<const ReferenceDescription>>& references,
    const FeaturePreset& preset,
    Fusion fusion,
    size_t max_num_points,
    uint64_t seed,
    std::vector<colmap::point3D_t>* point3D_ids);

// The registered images that observe any of these 3D points where the pose
// shows them, most of them first (then by id).
std::vector<colmap::image_t> ImagesThatShareView(
    const colmap::Reconstruction& model,
    const std::vector<colmap::point3D_t>& point3D_ids,
    const Camera& camera,
    const Rigid3d& cam_from_world);

// How many 3D points the pose shows that any of the images observe.
size_t NumPointsInView(const colmap::Reconstruction& model,
                       const std::vector<colmap::image_t>& image_ids,
                       const Camera& camera,
                       const Rigid3d& cam_from_world);

// SharedErrors::quarter_angle of queries of this model: how far the points of a
// quarter of an image are off together. A query should be off as its reference
// images are, since it is seen by such a camera, and was put where their poses
// were: so by the means of their reprojection errors over quarters of the given
// images. 0 where these are no larger than the errors' scatter explains, or if
// no points have three observations or more.
double SharedAngle(const colmap::Reconstruction& model,
                   const std::vector<colmap::image_t>& image_ids);

// What a model's observations are worth. Only registered images count.
struct ObservationCheck {
  size_t num_images = 0;  // that observe points
  size_t num_points = 0;  // that are observed
  // Points behind every camera that observes them, ascending; never used.
  std::vector<colmap::point3D_t> points_behind;
  // Sentences on images that cannot be references, by name; the same that
  // ReferenceCache throws. Their cameras cannot be used.
  std::vector<std::string> without_camera;
  // Fewer than half of their observations lie near the projections of their
  // points: within 8 px or 0.5 % of the width, whatever is more.
  std::vector<std::string> contradictory;
};

// Projects every observed point into every image that observes it.
ObservationCheck CheckObservations(const colmap::Reconstruction& model);

}  // namespace nre
