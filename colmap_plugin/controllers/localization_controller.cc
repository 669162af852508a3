#include "colmap_plugin/controllers/localization_controller.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <tuple>

#include "colmap_plugin/compat/absolute_pose.h"
#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/camera_image.h"
#include "colmap_plugin/controllers/parallel.h"
#include "colmap_plugin/controllers/seeds.h"
#include "nre/error.h"
#include "nre/evidence.h"
#include "nre/stopwatch.h"
#include "s2d/coarse_maps.h"
#include "s2d/image.h"
#include "s2d/visualization.h"

namespace nre {
namespace {

// That are described, for all stages.
size_t NumPointsOf(const NreEstimationOptions& options) {
  return std::max(options.max_num_points, options.max_num_refinement_points);
}

// A chosen reference has at least this share of the best one's evidence: what
// looks too different adds noise to the points' descriptors.
constexpr double kMinEvidenceShare = 0.5;

// So many images tell how far the model's images are off.
constexpr size_t kMaxNumImages = 100;

// Of each reference, where the likeliest ones of a query that shows a part led
// to no pose.
constexpr int kNumParts = 3;

// Where several poses explain a query, or the one that does is too uncertain,
// so many more references are used for each of them.
constexpr size_t kNumAddedReferences = 2;

// What they must add to the points that an uncertain pose shows: the same
// points, seen again, say nothing new, but another estimate from them may seem
// to be certain by chance.
constexpr double kMinAddedPoints = 0.25;

// And so many points, if that is more than the search takes.
constexpr int kNumComparedPoints = 4000;

bool Contains(const std::vector<colmap::image_t>& image_ids,
              colmap::image_t image_id) {
  return std::count(image_ids.begin(), image_ids.end(), image_id) > 0;
}

void AddOnce(const std::string& warning, std::vector<std::string>* warnings) {
  if (std::count(warnings->begin(), warnings->end(), warning) == 0) {
    warnings->push_back(warning);
  }
}

// At most `count` elements, evenly spread over all of them.
std::vector<colmap::image_t> SpreadEvenly(
    const std::vector<colmap::image_t>& all, size_t count) {
  if (all.size() <= count) {
    return all;
  }
  std::vector<colmap::image_t> some;
  for (size_t i = 0; i < count; ++i) {
    some.push_back(all[i * all.size() / count]);
  }
  return some;
}

// Keeps the reference to the camera.
MatchSolver LoRansac(const colmap::Camera& camera) {
  return [&camera](const Camera&,
                   const std::vector<PointMatch>& matches,
                   double max_error_px,
                   uint64_t seed) {
    return SolveLoRansac(camera, matches, max_error_px, seed);
  };
}

}  // namespace

bool LocalizationOptions::Check() const {
  return estimation.Check() && max_num_probed_references > 0 &&
         num_probe_points >= 3 && num_probe_hypotheses > 0 &&
         num_references > 0 && max_num_cached_references > 0 &&
         min_focal_length_ratio > 0.0 &&
         max_focal_length_ratio >= min_focal_length_ratio &&
         (num_threads == -1 || num_threads > 0);
}

LocalizationController::LocalizationController(
    const colmap::Reconstruction& model,
    const std::string& image_path,
    const FeaturePreset& preset,
    const LocalizationOptions& options,
    const std::atomic<bool>* stop)
    : model_(model),
      image_path_(image_path),
      preset_(preset),
      options_(options),
      stop_(stop),
      registered_images_(RegisteredImages(model)),
      shared_angle_(
          SharedAngle(model, SpreadEvenly(registered_images_, kMaxNumImages))),
      cache_(model, image_path, preset, options.max_num_cached_references) {}

std::vector<QueryResult> LocalizationController::Run(
    const std::vector<Query>& queries,
    const std::vector<QueryReferences>& references,
    const std::function<void(const QueryResult&)>& on_result) {
  std::vector<QueryResult> results(queries.size());
  std::mutex mutex;
  ParallelFor(queries.size(), options_.num_threads, [&](size_t i) {
    CheckStop();
    results[i] = LocalizeQuery(
        queries[i], references.empty() ? QueryReferences() : references[i]);
    std::lock_guard<std::mutex> lock(mutex);
    if (on_result != nullptr) {
      on_result(results[i]);
    }
  });
  return results;
}

QueryResult LocalizationController::LocalizeQuery(
    const Query& query, const QueryReferences& references) {
  QueryResult result;
  result.name = query.name;
  result.method = options_.estimation.method;
  Stopwatch stopwatch;
  try {
    if (!query.error.empty()) {
      throw InputError(query.error);
    }
    Estimate(query, references, &result);
  } catch (const InputError& error) {
    result.estimate = PoseEstimate();
    result.estimate.verdict = Verdict::kFailed;
    result.estimate.reason = error.what();
  }
  result.total_ms = stopwatch.LapMs();
  return result;
}

void LocalizationController::Estimate(const Query& query,
                                      const QueryReferences& given,
                                      QueryResult* result) {
  std::unique_ptr<Camera> camera = CreateCamera(query.camera);
  const uint64_t seed = MixSeeds(options_.random_seed, HashOfName(query.name));
  const Priors priors = PriorsOf(query);
  result->focal_length_estimated = priors.focal_length.has_value();

  std::vector<colmap::image_t> image_ids;
  for (const colmap::image_t image_id : given.image_ids) {
    if (model_.Image(image_id).Name() != query.name &&
        std::count(image_ids.begin(), image_ids.end(), image_id) == 0) {
      image_ids.push_back(image_id);
    }
  }
  if (given.given && image_ids.empty()) {
    throw InputError(
        "the pairs file gives it no reference image of the model other than "
        "itself");
  }

  Stopwatch stopwatch;
  const Image image = ReadCameraImage(image_path_,
                                      query.name,
                                      camera->Width(),
                                      camera->Height(),
                                      "its camera is stated with");
  result->read_ms = stopwatch.LapMs();
  View view =
      priors.focal_length.has_value()
          ? NaturalView(preset_, image.width, image.height)
          : ViewOf(*camera, given.given ? image_ids : registered_images_);
  const auto extract = [&](const Image& picture) {
    return ImageFeatures{preset_.coarse->Extract(picture, view.coarse_scale),
                         preset_.fine->Extract(picture, view.fine_scale)};
  };
  ImageFeatures features = extract(image);
  result->features_ms = stopwatch.LapMs();

  if (!given.given) {
    image_ids = ChooseReferences(
        features, *camera, priors, query.name, view, seed, &result->warnings);
    result->references_chosen = true;
    result->choose_references_ms = stopwatch.LapMs();
  }

  const auto set_focal_length = [&](double scale) {
    camera = CreateCamera(ScaleFocalLength(query.camera, scale));
  };
  DescribedPoints points;
  const auto look = [&](const NreEstimationOptions& estimation,
                        const Priors& all_priors,
                        const PartChoice& choice = PartChoice()) {
    points = Describe(image_ids, features, *camera, view, choice, result);
    result->describe_references_ms += stopwatch.LapMs();
    double coarse_maps_ms = 0.0;
    result->estimate = Localize(preset_,
                                features,
                                *camera,
                                points,
                                estimation,
                                seed,
                                LoRansac(query.camera),
                                &coarse_maps_ms,
                                all_priors);
    result->coarse_maps_ms += coarse_maps_ms;
    stopwatch.LapMs();
  };
  Priors priors_of_look = priors;
  double found_scale = 1.0;
  if (priors.focal_length) {
    // A first look finds the focal length, from which the view follows.
    NreEstimationOptions search = options_.estimation;
    search.max_num_refinement_points = 0;
    look(search, priors);
    if (result->estimate.verdict != Verdict::kFailed) {
      priors_of_look.focal_length->found = true;
      found_scale = result->estimate.focal_scale;
      set_focal_length(found_scale);
      view = ViewOf(*camera, image_ids);
      features = extract(image);
      result->features_ms += stopwatch.LapMs();
    }
  }
  if (!priors.focal_length || priors_of_look.focal_length->found) {
    look(options_.estimation, priors_of_look);
  }
  if (result->estimate.verdict == Verdict::kRejected &&
      result->estimate.log_false_alarms > kMaxLogFalseAlarms &&
      !view.shows_part) {
    // Noise and blur spare larger structures. A small query has none.
    view = WithCoarserDetails(view);
    features.fine = preset_.fine->Extract(image, view.fine_scale);
    result->features_ms += stopwatch.LapMs();
    look(options_.estimation, priors_of_look);
  }
  const auto has_evidence = [&] {
    return result->estimate.verdict != Verdict::kFailed &&
           result->estimate.log_false_alarms <= kMaxLogFalseAlarms;
  };
  if (view.shows_part) {
    if (!has_evidence()) {
      look(options_.estimation, priors_of_look, {kNumParts});
    }
    if (has_evidence()) {
      // Now it is known what the references show of it.
      const Rigid3d pose = result->estimate.cam_from_world;
      look(options_.estimation, priors_of_look, {0, &pose});
    }
  }
  const bool is_uncertain =
      has_evidence() && result->estimate.verdict == Verdict::kRejected;
  if ((is_uncertain || !result->estimate.alternatives.empty()) &&
      AddReferences(query.name, given.excluded, *camera, *result, &image_ids)) {
    NreEstimationOptions estimation = options_.estimation;
    estimation.max_num_points =
        std::max(estimation.max_num_points, kNumComparedPoints);
    const Rigid3d pose = result->estimate.cam_from_world;
    const bool is_known = result->estimate.alternatives.empty();
    look(estimation, priors_of_look, {1, is_known ? &pose : nullptr});
  }
  if (priors.focal_length) {
    result->estimate.focal_scale *= found_scale;
    set_focal_length(result->estimate.focal_scale);
  }
  RejectMirrored(
      preset_,
      [&] { return extract(FlipLeftRight(image)); },
      *camera,
      points,
      options_.estimation,
      seed,
      priors,
      &result->estimate);
  result->camera_params = CameraParams(
      ScaleFocalLength(query.camera, result->estimate.focal_scale));
  if (!options_.picture_path.empty() && points.size() > 0) {
    DrawPictures(image, *camera, features, points, *result);
    result->pictures_ms = stopwatch.LapMs();
  }
}

DescribedPoints LocalizationController::Describe(
    const std::vector<colmap::image_t>& image_ids,
    const ImageFeatures& features,
    const Camera& camera,
    const View& view,
    const PartChoice& choice,
    QueryResult* result) {
  std::vector<std::shared_ptr<const ReferenceDescription>> references;
  result->references.clear();
  std::string problem;
  for (const colmap::image_t image_id : image_ids) {
    CheckStop();
    try {
      const auto descriptions =
          Describe(image_id, features, camera, view, choice);
      references.insert(
          references.end(), descriptions.begin(), descriptions.end());
      if (!descriptions.empty()) {
        result->references.push_back(model_.Image(image_id).Name());
      }
    } catch (const InputError& error) {
      AddOnce(error.what(), &result->warnings);
      if (problem.empty()) problem = error.what();
    }
  }
  if (references.empty()) {
    throw InputError(problem.empty()
                         ? "no reference image shows what it seems to show"
                         : problem);
  }
  DescribedPoints points = ChoosePoints(model_,
                                        references,
                                        preset_,
                                        options_.fusion,
                                        NumPointsOf(options_.estimation),
                                        options_.random_seed,
                                        &result->point3D_ids);
  points.shared_angle = shared_angle_;
  return points;
}

View LocalizationController::ViewOf(
    const Camera& camera,
    const std::vector<colmap::image_t>& references) const {
  std::vector<std::unique_ptr<Camera>> cameras;
  std::vector<const Camera*> pointers;
  std::string problem;
  for (const colmap::image_t image_id : references) {
    const colmap::Image& image = model_.Image(image_id);
    try {
      cameras.push_back(CameraOf(model_, image));
      pointers.push_back(cameras.back().get());
    } catch (const InputError& error) {
      // It is left out when it should be described.
      problem = CannotBeUsed(image, error.what());
    }
  }
  if (pointers.empty()) {
    throw InputError(problem);
  }
  return ChooseView(preset_, camera, pointers);
}

std::vector<std::shared_ptr<const ReferenceDescription>>
LocalizationController::Describe(colmap::image_t image_id,
                                 const ImageFeatures& features,
                                 const Camera& camera,
                                 const View& view,
                                 const PartChoice& choice) {
  if (!view.shows_part) {
    return {cache_.Get(image_id, view.zoom)};
  }
  const std::shared_ptr<const ReferenceDescription> all =
      cache_.Get(image_id, {view.zoom.coarse, 0});
  const std::unique_ptr<Camera> reference =
      CameraOf(model_, model_.Image(image_id));
  std::vector<ImagePart> parts;
  if (choice.cam_from_world != nullptr) {
    std::vector<Eigen::Vector3d> points;
    for (const colmap::point3D_t id : all->point3D_ids) {
      points.push_back(XYZ(model_.Point3D(id)));
    }
    const std::optional<ImagePart> part =
        PartInView(points, all->xy, camera, *choice.cam_from_world, *reference);
    if (part) parts.push_back(*part);
  } else {
    const CoarseMaps maps = ComputeCoarseMaps(all->coarse,
                                              FusedDescriptors(),
                                              features.coarse,
                                              preset_.coarse_softmax_scale);
    parts = FindParts(maps.maps, all->xy, camera, *reference, choice.num_parts);
  }
  std::vector<std::shared_ptr<const ReferenceDescription>> descriptions;
  for (const ImagePart& part : parts) {
    descriptions.push_back(cache_.DescribePart(image_id, view.zoom, part));
  }
  return descriptions;
}

bool LocalizationController::AddReferences(
    const std::string& query_name,
    const std::vector<colmap::image_t>& excluded,
    const Camera& camera,
    const QueryResult& result,
    std::vector<colmap::image_t>* image_ids) const {
  const PoseEstimate& estimate = result.estimate;
  const std::vector<colmap::image_t> before = *image_ids;
  std::vector<Rigid3d> poses = estimate.alternatives;
  poses.push_back(estimate.cam_from_world);
  for (const Rigid3d& pose : poses) {
    size_t num_wanted = kNumAddedReferences;
    for (const colmap::image_t image_id :
         ImagesThatShareView(model_, result.point3D_ids, camera, pose)) {
      if (num_wanted > 0 && !Contains(*image_ids, image_id) &&
          !Contains(excluded, image_id) &&
          model_.Image(image_id).Name() != query_name) {
        image_ids->push_back(image_id);
        --num_wanted;
      }
    }
  }
  const auto num_points = [&](const std::vector<colmap::image_t>& ids) {
    return NumPointsInView(model_, ids, camera, estimate.cam_from_world);
  };
  return image_ids->size() > before.size() &&
         (!estimate.alternatives.empty() ||
          num_points(*image_ids) >=
              (1.0 + kMinAddedPoints) * num_points(before));
}

Priors LocalizationController::PriorsOf(const Query& query) const {
  Priors priors = query.priors;
  if (query.focal_length_unknown || options_.estimate_focal_length) {
    if (!HasFocalLength(query.camera)) {
      throw InputError(
          "its camera model has no focal length that could be estimated");
    }
    const double size =
        std::max(CameraWidth(query.camera), CameraHeight(query.camera));
    priors.focal_length = {options_.min_focal_length_ratio * size,
                           options_.max_focal_length_ratio * size};
  }
  if (!priors.Empty() && options_.estimation.method != EstimationMethod::kNre) {
    throw InputError(
        priors.focal_length
            ? "its focal length is unknown, and only --NreEstimation.method "
              "nre can estimate it: give it (in a database, with "
              "prior_focal_length = 1)"
            : "it has priors, which only --NreEstimation.method nre can use");
  }
  return priors;
}

void LocalizationController::DrawPictures(const Image& image,
                                          const Camera& camera,
                                          const ImageFeatures& features,
                                          const DescribedPoints& points,
                                          const QueryResult& result) const {
  const std::string title =
      result.name + ": " + VerdictName(result.estimate.verdict);
  const QueryPictures pictures = DrawQuery(
      image, camera, preset_, features, points, result.estimate, title);
  const std::filesystem::path path =
      std::filesystem::path(options_.picture_path) / result.name;
  std::filesystem::create_directories(path.parent_path());
  WriteImage(path.string() + ".pose.jpg", pictures.reprojections);
  WriteImage(path.string() + ".maps.jpg", pictures.loss_maps);
}

std::vector<colmap::image_t> LocalizationController::ChooseReferences(
    const ImageFeatures& features,
    const Camera& camera,
    const Priors& priors,
    const std::string& query_name,
    const View& view,
    uint64_t seed,
    std::vector<std::string>* warnings) {
  NreEstimationOptions estimation = options_.estimation;
  estimation.method = EstimationMethod::kNre;
  estimation.max_num_points = options_.num_probe_points;
  estimation.max_num_refinement_points = 0;
  estimation.num_hypotheses =
      std::min(estimation.num_hypotheses, options_.num_probe_hypotheses);
  estimation.max_num_hypotheses = estimation.num_hypotheses;

  // The fewer false alarms, the more a reference explains; where none explains
  // more than chance, the coarse cost decides.
  struct Trial {
    double log_false_alarms;
    double coarse_cost;
    colmap::image_t image_id;
  };
  std::vector<Trial> trials;
  std::string problem = "the model has no reference image other than itself";
  for (const colmap::image_t image_id :
       SpreadEvenly(registered_images_, options_.max_num_probed_references)) {
    CheckStop();
    if (model_.Image(image_id).Name() == query_name) {
      continue;
    }
    try {
      std::vector<colmap::point3D_t> point3D_ids;
      const DescribedPoints points =
          ChoosePoints(model_,
                       Describe(image_id, features, camera, view, PartChoice()),
                       preset_,
                       options_.fusion,
                       estimation.max_num_points,
                       options_.random_seed,
                       &point3D_ids);
      const PoseEstimate estimate = Localize(preset_,
                                             features,
                                             camera,
                                             points,
                                             estimation,
                                             seed,
                                             nullptr,
                                             nullptr,
                                             priors);
      if (estimate.verdict == Verdict::kFailed) {
        problem = estimate.reason;
      } else {
        trials.push_back(
            {estimate.log_false_alarms, estimate.coarse_cost, image_id});
      }
    } catch (const InputError& error) {
      problem = error.what();
      AddOnce(problem, warnings);
    }
  }
  if (trials.empty()) {
    throw InputError("no reference image can be used: " + problem);
  }
  std::stable_sort(
      trials.begin(), trials.end(), [](const Trial& a, const Trial& b) {
        return std::tie(a.log_false_alarms, a.coarse_cost) <
               std::tie(b.log_false_alarms, b.coarse_cost);
      });
  std::vector<colmap::image_t> best;
  const double max_log_false_alarms =
      kMinEvidenceShare * trials.front().log_false_alarms;
  for (const Trial& trial : trials) {
    if (best.size() < static_cast<size_t>(options_.num_references) &&
        trial.log_false_alarms <= max_log_false_alarms) {
      best.push_back(trial.image_id);
    }
  }
  return best;
}

void LocalizationController::CheckStop() const {
  if (stop_ != nullptr && *stop_) {
    throw Interrupted();
  }
}

std::vector<QueryReferences> ResolvePairs(const Pairs& pairs,
                                          const std::vector<Query>& queries,
                                          const colmap::Reconstruction& model,
                                          std::vector<std::string>* absent) {
  const std::map<std::string, colmap::image_t> image_ids =
      ImageIdsByName(model);
  std::set<std::string> absent_names;
  std::vector<QueryReferences> all;
  for (const Query& query : queries) {
    QueryReferences references;
    references.given = true;
    const auto names = pairs.find(query.name);
    if (names != pairs.end()) {
      for (const std::string& name : names->second) {
        const auto image_id = image_ids.find(name);
        if (image_id == image_ids.end() ||
            !HasPose(model.Image(image_id->second))) {
          absent_names.insert(name);
        } else {
          references.image_ids.push_back(image_id->second);
        }
      }
    }
    all.push_back(references);
  }
  absent->assign(absent_names.begin(), absent_names.end());
  return all;
}

}  // namespace nre
