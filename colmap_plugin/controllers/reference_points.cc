#include "colmap_plugin/controllers/reference_points.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/camera_image.h"
#include "colmap_plugin/controllers/seeds.h"
#include "nre/error.h"
#include "nre/evidence.h"
#include "s2d/image.h"

namespace nre {
namespace {

struct Keypoint {
  colmap::point3D_t point3D_id = colmap::kInvalidPoint3DId;
  Eigen::Vector2d xy = Eigen::Vector2d::Zero();
  Eigen::Vector2d projection = Eigen::Vector2d::Zero();  // of the point
};

// What an image observes, beside what it should.
struct Observations {
  std::vector<Keypoint> in_front;  // of points in front of the camera
  size_t num = 0;                  // all
  size_t num_right = 0;            // near the projections of their points
  double max_error_px = 0.0;       // what is near
};

Observations Observe(const colmap::Reconstruction& model,
                     const colmap::Image& image) {
  // Well beyond the errors of the worst models that are of any use.
  constexpr double kMaxErrorPx = 8.0;
  constexpr double kMaxErrorOfWidth = 0.005;
  const std::unique_ptr<Camera> camera = CameraOf(model, image);
  const Rigid3d cam_from_world = CamFromWorld(image);
  Observations observations;
  observations.max_error_px =
      std::max(kMaxErrorPx, kMaxErrorOfWidth * camera->Width());
  for (const auto& point : image.Points2D()) {
    if (!point.HasPoint3D()) {
      continue;
    }
    ++observations.num;
    const colmap::point3D_t id = Point3DId(point);
    Eigen::Vector2d xy;
    if (camera->Project(
            cam_from_world * XYZ(model.Point3D(id)), &xy, nullptr)) {
      observations.in_front.push_back({id, XY(point), xy});
      observations.num_right +=
          (xy - XY(point)).norm() <= observations.max_error_px;
    }
  }
  return observations;
}

// Says why, if fewer than half of the observations are where their points are;
// empty otherwise. Descriptors from there are those of something else.
std::string Contradiction(const Observations& observations) {
  if (2 * observations.num_right >= observations.num) {
    return "";
  }
  std::ostringstream text;
  text << "its 2D points contradict its 3D points: " << observations.num_right
       << " of " << observations.num << " lie within "
       << observations.max_error_px
       << " px of the projections of their points, so that pose, camera and 2D "
          "points do not belong together";
  return text.str();
}

// The image's observations of points in front of it, by ascending point; one
// for each point. Throws InputError if they cannot be used.
std::vector<Keypoint> UsableKeypoints(const colmap::Reconstruction& model,
                                      const colmap::Image& image) {
  Observations observations = Observe(model, image);
  const std::string contradiction = Contradiction(observations);
  if (!contradiction.empty()) {
    throw InputError(contradiction);
  }
  std::vector<Keypoint> keypoints = std::move(observations.in_front);
  std::stable_sort(keypoints.begin(),
                   keypoints.end(),
                   [](const Keypoint& a, const Keypoint& b) {
                     return a.point3D_id < b.point3D_id;
                   });
  keypoints.erase(std::unique(keypoints.begin(),
                              keypoints.end(),
                              [](const Keypoint& a, const Keypoint& b) {
                                return a.point3D_id == b.point3D_id;
                              }),
                  keypoints.end());
  return keypoints;
}

// Descriptors at the keypoints, in the image that begins at `origin`; `sampled`
// is cleared where there is none.
std::vector<float> SampleAll(const FeatureMap& features,
                             const Eigen::Vector2d& origin,
                             const std::vector<Keypoint>& keypoints,
                             std::vector<bool>* sampled) {
  std::vector<float> descriptors(keypoints.size() * features.channels);
  for (size_t i = 0; i < keypoints.size(); ++i) {
    if (!features.Sample(keypoints[i].xy - origin,
                         &descriptors[i * features.channels])) {
      (*sampled)[i] = false;
    }
  }
  return descriptors;
}

void AppendRow(const std::vector<float>& from,
               size_t row,
               size_t channels,
               std::vector<float>* to) {
  const auto begin = from.begin() + row * channels;
  to->insert(to->end(), begin, begin + channels);
}

// Where a point is described.
struct Source {
  colmap::point3D_t point3D_id = colmap::kInvalidPoint3DId;
  size_t reference = 0;
  size_t row = 0;
};

using References = std::vector<std::shared_ptr<const ReferenceDescription>>;

const float* Row(const References& references,
                 std::vector<float> ReferenceDescription::*member,
                 size_t channels,
                 const Source& source) {
  return &((*references[source.reference]).*member)[source.row * channels];
}

// Appends the mean of the descriptors in [begin, end), normalised if they have
// unit norm; false if they cancel out.
bool AppendMean(const References& references,
                std::vector<float> ReferenceDescription::*member,
                const FeatureExtractor& extractor,
                const Source* begin,
                const Source* end,
                std::vector<float>* descriptors) {
  const size_t channels = extractor.Channels();
  const size_t offset = descriptors->size();
  descriptors->resize(offset + channels, 0.0f);
  float* mean = &(*descriptors)[offset];
  for (const Source* source = begin; source != end; ++source) {
    const float* row = Row(references, member, channels, *source);
    for (size_t c = 0; c < channels; ++c) {
      mean[c] += row[c];
    }
  }
  float squared_norm = 0.0f;
  for (size_t c = 0; c < channels; ++c) {
    squared_norm += mean[c] * mean[c];
  }
  const float norm = std::sqrt(squared_norm);
  const float min_norm = extractor.UnitNorm() ? 1e-3f : 0.0f;
  if (!(norm > min_norm)) {
    descriptors->resize(offset);
    return false;
  }
  const float divisor = extractor.UnitNorm() ? norm : end - begin;
  for (size_t c = 0; c < channels; ++c) {
    mean[c] /= divisor;
  }
  return true;
}

// Appends the rows of a point, observed in [begin, end), that `fusion` needs,
// and returns their number; 0 if its descriptors cancel out.
size_t AppendPoint(const References& references,
                   const FeaturePreset& preset,
                   Fusion fusion,
                   const Source* begin,
                   const Source* end,
                   DescribedPoints* points) {
  const size_t coarse_channels = preset.coarse->Channels();
  const size_t fine_channels = preset.fine->Channels();
  if (fusion == Fusion::kMean) {
    if (!AppendMean(references,
                    &ReferenceDescription::coarse,
                    *preset.coarse,
                    begin,
                    end,
                    &points->coarse)) {
      return 0;
    }
    if (!AppendMean(references,
                    &ReferenceDescription::fine,
                    *preset.fine,
                    begin,
                    end,
                    &points->fine)) {
      points->coarse.resize(points->coarse.size() - coarse_channels);
      return 0;
    }
    return 1;
  }
  if (fusion == Fusion::kNearest) {
    end = begin + 1;
  }
  for (const Source* source = begin; source != end; ++source) {
    const ReferenceDescription& reference = *references[source->reference];
    AppendRow(reference.coarse, source->row, coarse_channels, &points->coarse);
    AppendRow(reference.fine, source->row, fine_channels, &points->fine);
  }
  return end - begin;
}

// Adds, for each quarter of the image with enough points, an unbiased estimate
// of the variance (rad^2, of x and y each) of what their reprojection errors
// have in common.
void AddSharedVariances(const colmap::Reconstruction& model,
                        const colmap::Image& image,
                        double* sum,
                        int* num_quarters) {
  // With fewer observations, little is left of what they are off by.
  constexpr size_t kMinTrackLength = 3;
  constexpr int kMinNumPoints = 20;
  struct Quarter {
    int num_points = 0;
    Eigen::Vector2d sum = Eigen::Vector2d::Zero();
    double sum_squares = 0.0;
  };
  Quarter quarters[4];
  const std::unique_ptr<Camera> camera = CameraOf(model, image);
  for (const Keypoint& keypoint : UsableKeypoints(model, image)) {
    const size_t length = TrackOf(model.Point3D(keypoint.point3D_id)).Length();
    if (length < kMinTrackLength) {
      continue;
    }
    // The point took three of its observations' degrees of freedom.
    const double gain = std::sqrt(2.0 * length / (2.0 * length - 3.0));
    const Eigen::Vector2d residual =
        gain / camera->MeanFocalLength() * (keypoint.xy - keypoint.projection);
    Quarter& quarter = quarters[2 * (2.0 * keypoint.xy.y() > camera->Height()) +
                                (2.0 * keypoint.xy.x() > camera->Width())];
    ++quarter.num_points;
    quarter.sum += residual;
    quarter.sum_squares += residual.squaredNorm();
  }
  for (const Quarter& quarter : quarters) {
    const double n = quarter.num_points;
    if (n >= kMinNumPoints) {
      // The mean's square less what the scatter contributes to it.
      const double mean_square = (quarter.sum / n).squaredNorm();
      const double of_scatter =
          (quarter.sum_squares / n - mean_square) / (n - 1.0);
      *sum += 0.5 * (mean_square - of_scatter);
      ++*num_quarters;
    }
  }
}

}  // namespace

std::string CannotBeUsed(const colmap::Image& image, const std::string& why) {
  return "the reference image " + image.Name() + " cannot be used: " + why;
}

ReferenceCache::ReferenceCache(const colmap::Reconstruction& model,
                               std::string image_path,
                               const FeaturePreset& preset,
                               size_t max_num_images)
    : model_(model),
      image_path_(std::move(image_path)),
      preset_(preset),
      cache_(max_num_images) {}

std::shared_ptr<const ReferenceDescription> ReferenceCache::Get(
    colmap::image_t image_id, const Zoom& zoom) {
  return cache_.Get({image_id, zoom.coarse, zoom.fine},
                    [&] { return Describe(image_id, zoom, nullptr); });
}

ReferenceCache::Description ReferenceCache::DescribePart(
    colmap::image_t image_id, const Zoom& zoom, const ImagePart& part) const {
  return Describe(image_id, zoom, &part);
}

ReferenceCache::Description ReferenceCache::Describe(
    colmap::image_t image_id, const Zoom& zoom, const ImagePart* part) const {
  const colmap::Image& image = model_.Image(image_id);
  try {
    std::vector<Keypoint> keypoints = UsableKeypoints(model_, image);
    const colmap::Camera& camera = model_.Camera(image.CameraId());
    Image pixels = ReadCameraImage(image_path_,
                                   image.Name(),
                                   CameraWidth(camera),
                                   CameraHeight(camera),
                                   "its camera in the model");
    const double coarse_scale = ReferenceScale(
        *preset_.coarse, pixels.width, pixels.height, zoom.coarse);
    const double fine_scale =
        ReferenceScale(*preset_.fine, pixels.width, pixels.height, zoom.fine);
    Eigen::Vector2d origin = Eigen::Vector2d::Zero();
    if (part != nullptr) {
      pixels = CutOut(pixels, *part);
      origin = {part->x, part->y};
      keypoints.erase(std::remove_if(keypoints.begin(),
                                     keypoints.end(),
                                     [&](const Keypoint& keypoint) {
                                       return !part->Contains(keypoint.xy);
                                     }),
                      keypoints.end());
    }
    std::vector<bool> sampled(keypoints.size(), true);
    // One after the other: dense features are large.
    const std::vector<float> coarse =
        SampleAll(preset_.coarse->Extract(pixels, coarse_scale),
                  origin,
                  keypoints,
                  &sampled);
    const std::vector<float> fine = SampleAll(
        preset_.fine->Extract(pixels, fine_scale), origin, keypoints, &sampled);

    auto description = std::make_shared<ReferenceDescription>();
    description->xy.resize(2, std::count(sampled.begin(), sampled.end(), true));
    const Rigid3d cam_from_world = CamFromWorld(image);
    for (size_t i = 0; i < keypoints.size(); ++i) {
      if (sampled[i]) {
        description->xy.col(description->point3D_ids.size()) = keypoints[i].xy;
        description->point3D_ids.push_back(keypoints[i].point3D_id);
        AppendRow(coarse, i, preset_.coarse->Channels(), &description->coarse);
        AppendRow(fine, i, preset_.fine->Channels(), &description->fine);
        description->views.push_back(ViewOfPoint(
            cam_from_world, XYZ(model_.Point3D(keypoints[i].point3D_id))));
      }
    }
    return description;
  } catch (const InputError& error) {
    throw InputError((part == nullptr ? "" : "a part of ") +
                     CannotBeUsed(image, error.what()));
  }
}

DescribedPoints ChoosePoints(
    const colmap::Reconstruction& model,
    const std::vector<std::shared_ptr<const ReferenceDescription>>& references,
    const FeaturePreset& preset,
    Fusion fusion,
    size_t max_num_points,
    uint64_t seed,
    std::vector<colmap::point3D_t>* point3D_ids) {
  std::vector<Source> sources;
  for (size_t r = 0; r < references.size(); ++r) {
    for (size_t i = 0; i < references[r]->point3D_ids.size(); ++i) {
      sources.push_back({references[r]->point3D_ids[i], r, i});
    }
  }
  std::stable_sort(
      sources.begin(), sources.end(), [](const Source& a, const Source& b) {
        return a.point3D_id < b.point3D_id;
      });

  // The points with the smallest hashes are the random subset.
  std::vector<std::pair<uint64_t, colmap::point3D_t>> hashes;
  for (size_t i = 0; i < sources.size(); ++i) {
    const colmap::point3D_t id = sources[i].point3D_id;
    if (i == 0 || id != sources[i - 1].point3D_id) {
      hashes.emplace_back(MixSeeds(seed, id), id);
    }
  }
  if (hashes.size() > max_num_points) {
    std::nth_element(
        hashes.begin(), hashes.begin() + max_num_points, hashes.end());
    hashes.resize(max_num_points);
  }
  std::unordered_set<colmap::point3D_t> chosen;
  for (const auto& [_, id] : hashes) {
    chosen.insert(id);
  }

  DescribedPoints points;
  points.rows.fusion = fusion;
  points.rows.begins.push_back(0);
  point3D_ids->clear();
  for (size_t begin = 0, end = 0; begin < sources.size(); begin = end) {
    const colmap::point3D_t id = sources[begin].point3D_id;
    for (end = begin; end < sources.size() && sources[end].point3D_id == id;) {
      ++end;
    }
    if (chosen.count(id) == 0) {
      continue;
    }
    const size_t num_rows = AppendPoint(references,
                                        preset,
                                        fusion,
                                        sources.data() + begin,
                                        sources.data() + end,
                                        &points);
    if (num_rows > 0) {
      points.rows.begins.push_back(points.rows.begins.back() + num_rows);
      points.xyz.push_back(XYZ(model.Point3D(id)));
      std::vector<PointView> views;
      for (size_t i = begin; i < end; ++i) {
        views.push_back(
            references[sources[i].reference]->views[sources[i].row]);
      }
      points.views.push_back(MeanView(views));
      point3D_ids->push_back(id);
    }
  }
  return points;
}

std::vector<colmap::image_t> ImagesThatShareView(
    const colmap::Reconstruction& model,
    const std::vector<colmap::point3D_t>& point3D_ids,
    const Camera& camera,
    const Rigid3d& cam_from_world) {
  std::map<colmap::image_t, int> counts;
  for (const colmap::point3D_t id : point3D_ids) {
    const auto& point = model.Point3D(id);
    Eigen::Vector2d xy;
    if (!IsInImage(camera, cam_from_world, XYZ(point), &xy)) {
      continue;
    }
    for (const auto& element : TrackOf(point).Elements()) {
      ++counts[element.image_id];
    }
  }
  std::vector<std::pair<int, colmap::image_t>> ranked;
  for (const auto& [image_id, count] : counts) {
    if (HasPose(model.Image(image_id))) {
      ranked.emplace_back(-count, image_id);
    }
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<colmap::image_t> image_ids;
  for (const auto& [_, image_id] : ranked) {
    image_ids.push_back(image_id);
  }
  return image_ids;
}

size_t NumPointsInView(const colmap::Reconstruction& model,
                       const std::vector<colmap::image_t>& image_ids,
                       const Camera& camera,
                       const Rigid3d& cam_from_world) {
  std::unordered_set<colmap::point3D_t> in_view;
  for (const colmap::image_t image_id : image_ids) {
    for (const auto& point : model.Image(image_id).Points2D()) {
      Eigen::Vector2d xy;
      if (point.HasPoint3D() && IsInImage(camera,
                                          cam_from_world,
                                          XYZ(model.Point3D(Point3DId(point))),
                                          &xy)) {
        in_view.insert(Point3DId(point));
      }
    }
  }
  return in_view.size();
}

double SharedAngle(const colmap::Reconstruction& model,
                   const std::vector<colmap::image_t>& image_ids) {
  // Poses of queries have errors of their own, and those of the points, which
  // hide a part of the references'. Fitted; see scripts/benchmark/README.md.
  constexpr double kRatio = 1.5;
  double variance = 0.0;
  int num_quarters = 0;
  for (const colmap::image_t image_id : image_ids) {
    try {
      AddSharedVariances(
          model, model.Image(image_id), &variance, &num_quarters);
    } catch (const InputError&) {
      // The image cannot be used, which is said when it should be.
    }
  }
  return kRatio *
         std::sqrt(std::max(0.0, variance / std::max(1, num_quarters)));
}

ObservationCheck CheckObservations(const colmap::Reconstruction& model) {
  ObservationCheck check;
  std::unordered_map<colmap::point3D_t, bool> in_front;  // of any camera
  for (const colmap::image_t image_id : RegisteredImages(model)) {
    const colmap::Image& image = model.Image(image_id);
    try {
      const Observations observations = Observe(model, image);
      check.num_images += observations.num > 0;
      const std::string contradiction = Contradiction(observations);
      if (!contradiction.empty()) {
        check.contradictory.push_back(CannotBeUsed(image, contradiction));
      }
      for (const Keypoint& keypoint : observations.in_front) {
        in_front[keypoint.point3D_id] = true;
      }
    } catch (const InputError& error) {
      check.without_camera.push_back(CannotBeUsed(image, error.what()));
      continue;
    }
    for (const auto& point : image.Points2D()) {
      if (point.HasPoint3D()) {
        in_front.emplace(Point3DId(point), false);
      }
    }
  }
  check.num_points = in_front.size();
  for (const auto& [id, is_in_front] : in_front) {
    if (!is_in_front) {
      check.points_behind.push_back(id);
    }
  }
  std::sort(check.points_behind.begin(), check.points_behind.end());
  return check;
}

}  // namespace nre
