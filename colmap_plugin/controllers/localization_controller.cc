#include "colmap_plugin/controllers/localization_controller.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <tuple>
#include <utility>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/parallel.h"
#include "colmap_plugin/controllers/seeds.h"
#include "nre/error.h"
#include "nre/evidence.h"
#include "nre/stopwatch.h"
#include "s2d/coarse_maps.h"
#include "s2d/exif.h"
#include "s2d/image.h"

namespace nre {
namespace {

// That are described, for all stages.
size_t NumPointsOf(const NreEstimationOptions& options) {
  return std::max(options.max_num_points, options.max_num_refinement_points);
}

// A chosen reference has at least this share of the best one's evidence: what
// looks too different adds noise to the points' descriptors.
constexpr double kMinEvidenceShare = 0.5;

// Where a query shows nothing that it should, it may be so many times nearer to
// the scene than its references are, or farther from it: descriptors match only
// what has about the same size. With 2 and 1/2 fewer are registered, see
// scripts/benchmark/README.md.
constexpr double kNearness[] = {3.0, 1.0 / 3.0};

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

// Standard deviations of focal lengths that are stated for images whose camera
// is none of the model's, as shares: of EXIF data, and of a calibration.
constexpr double kGuessedFocalLengthStd = 0.03;
constexpr double kCalibratedFocalLengthStd = 0.003;

bool ContradictsStatement(Reason why) {
  return why == Reason::kContradictsPrior ||
         why == Reason::kContradictsFocalLength ||
         why == Reason::kContradictsLens;
}

// Whether the first says more about the query.
bool IsBetter(const PoseEstimate& a, const PoseEstimate& b) {
  return std::tie(a.verdict, a.log_false_alarms) <
         std::tie(b.verdict, b.log_false_alarms);
}

// The most frequent of numbers from 0 to 3; of several, the smallest.
int MostFrequent(const std::vector<int>& numbers) {
  int counts[4] = {};
  for (const int number : numbers) ++counts[number];
  return static_cast<int>(std::max_element(counts, counts + 4) - counts);
}

}  // namespace

const char* QueryOrientationsName(QueryOrientations orientations) {
  return orientations == QueryOrientations::kAll ? "all" : "auto";
}

QueryOrientations ParseQueryOrientations(const std::string& name) {
  for (const auto orientations :
       {QueryOrientations::kAuto, QueryOrientations::kAll}) {
    if (name == QueryOrientationsName(orientations)) return orientations;
  }
  throw InputError("unknown orientations of queries '" + name +
                   "'; there are: auto, all");
}

bool LocalizationOptions::Check() const {
  return estimation.Check() && max_num_probed_references > 0 &&
         num_probe_points >= 3 && num_probe_hypotheses > 0 &&
         num_references > 0 && max_num_cached_references > 0 &&
         min_focal_length_ratio > 0.0 && std::isfinite(focal_length_std) &&
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
  Stopwatch stopwatch;
  QueryResult best;
  QueryPictures best_pictures;
  std::vector<int> turns = TurnsToTry(query, references);
  const auto try_all = [&](bool search_focal_length) {
    for (const int turn : turns) {
      if (best.estimate.verdict == Verdict::kRegistered) break;
      QueryPictures pictures;
      QueryResult result = LocalizeTurned(
          query, turn, references, search_focal_length, &pictures);
      if (best.name.empty() || IsBetter(result.estimate, best.estimate)) {
        best = std::move(result);
        best_pictures = std::move(pictures);
      }
    }
  };
  // Of a picture that may lie on its side, all turns are tried before its focal
  // length is searched.
  try_all(turns.size() == 1);
  if (turns.size() > 1 && !HasEvidence(best.estimate)) {
    try_all(true);
  }
  if (turns.size() == 1 && best.estimate.why != Reason::kBadInput &&
      !HasEvidence(best.estimate)) {
    try {
      turns = {LikelyTurn(query, references)};
    } catch (const InputError&) {
      // What was found as it is is the answer.
    }
    if (turns[0] != 0) try_all(true);
  }
  WritePictures(best_pictures, &best);
  best.total_ms = stopwatch.LapMs();
  return best;
}

std::vector<int> LocalizationController::TurnsToTry(
    const Query& query, const QueryReferences& references) const {
  const auto quarters = [&](const std::string& name) {
    return QuartersToUpright(
        (std::filesystem::path(image_path_) / name).string());
  };
  std::vector<int> turns = {0};
  const int upright = quarters(query.name);
  if (upright != 0) {
    // References whose pixels lie on their side as well are no help upright.
    std::vector<int> of_references;
    for (const colmap::image_t image_id : SomeOf(references)) {
      of_references.push_back(quarters(model_.Image(image_id).Name()));
    }
    const int turn = (upright - MostFrequent(of_references) + 4) % 4;
    turns =
        turn == 0 ? std::vector<int>{0, upright} : std::vector<int>{turn, 0};
  }
  if (options_.query_orientations == QueryOrientations::kAll) {
    for (const int turn : {1, 3, 2}) {
      if (std::count(turns.begin(), turns.end(), turn) == 0) {
        turns.push_back(turn);
      }
    }
  }
  return turns;
}

std::vector<colmap::image_t> LocalizationController::SomeOf(
    const QueryReferences& references) const {
  constexpr size_t kNumReferences = 20;
  return SpreadEvenly(
      references.given ? references.image_ids : registered_images_,
      kNumReferences);
}

int LocalizationController::LikelyTurn(const Query& query,
                                       const QueryReferences& references) {
  // In nats. Turns of pictures that do not belong differ by less, the right
  // turn of one that does by one or two.
  constexpr double kMinMoreGain = 0.5;
  const std::vector<colmap::image_t> image_ids = SomeOf(references);
  const bool has_focal_length = !PriorsOf(query).focal_length.has_value();
  std::vector<double> gains;
  for (int turn = 0; turn < 4; ++turn) {
    const TurnedQuery turned(query, turn);
    const Image image = turned.ReadImage(image_path_);
    const View view =
        has_focal_length ? ViewOf(*turned.CreateCamera(query.camera), image_ids)
                         : NaturalView(preset_, image.width, image.height);
    gains.push_back(
        BestGain(preset_.coarse->Extract(image, view.coarse_scale),
                 {view.zoom.coarse, view.shows_part ? 0 : view.zoom.fine},
                 image_ids));
  }
  const auto best = std::max_element(gains.begin(), gains.end());
  return *best >= gains[0] + kMinMoreGain
             ? static_cast<int>(best - gains.begin())
             : 0;
}

double LocalizationController::BestGain(
    const FeatureMap& coarse,
    const Zoom& zoom,
    const std::vector<colmap::image_t>& image_ids) {
  double best = 0.0;
  for (const colmap::image_t image_id : image_ids) {
    CheckStop();
    try {
      std::vector<colmap::point3D_t> point3D_ids;
      const DescribedPoints points = ChoosePoints(model_,
                                                  {cache_.Get(image_id, zoom)},
                                                  preset_,
                                                  options_.fusion,
                                                  options_.num_probe_points,
                                                  options_.random_seed,
                                                  &point3D_ids);
      const SparseLossMaps maps =
          ComputeCoarseMaps(
              points.coarse, points.rows, coarse, preset_.coarse_softmax_scale)
              .maps;
      double sum = 0.0;
      for (size_t i = 0; i < points.size(); ++i) {
        sum += maps.Summarize(i).weight;
      }
      best = std::max(best, sum / std::max<size_t>(1, points.size()));
    } catch (const InputError&) {
      continue;  // it is left out, which has been said
    }
  }
  return best;
}

QueryResult LocalizationController::LocalizeTurned(
    const Query& query,
    int num_quarters,
    const QueryReferences& references,
    bool search_focal_length,
    QueryPictures* pictures) {
  QueryResult result;
  result.name = query.name;
  result.method = options_.estimation.method;
  try {
    if (!query.error.empty()) {
      throw InputError(query.error);
    }
    const TurnedQuery turned(query, num_quarters);
    Estimate(turned, references, search_focal_length, &result, pictures);
    turned.TurnBack(&result);
  } catch (const InputError& error) {
    result.estimate = PoseEstimate();
    result.estimate.verdict = Verdict::kFailed;
    result.estimate.why = Reason::kBadInput;
    result.estimate.reason = error.what();
  }
  return result;
}

void LocalizationController::Estimate(const TurnedQuery& turned,
                                      const QueryReferences& given,
                                      bool search_focal_length,
                                      QueryResult* result,
                                      QueryPictures* pictures) {
  const Query& query = turned.query();
  result->camera = query.camera;
  QueryReferences references = given;
  references.image_ids.clear();
  for (const colmap::image_t image_id : given.image_ids) {
    if (model_.Image(image_id).Name() != query.name &&
        !Contains(references.image_ids, image_id)) {
      references.image_ids.push_back(image_id);
    }
  }
  if (given.given && references.image_ids.empty()) {
    throw InputError(
        "the pairs file gives it no reference image of the model other than "
        "itself");
  }
  Stopwatch stopwatch;
  const Image image = turned.ReadImage(image_path_);
  result->read_ms = stopwatch.LapMs();

  Priors priors = PriorsOf(query);
  const Priors stated = priors;
  EstimateWith(priors, turned, image, &references, result, pictures);
  // What is stated of a camera is evidence, not a fact: what the maps
  // contradict of it is estimated.
  QueryResult attempt = *result;
  QueryPictures attempt_pictures;
  while (FreeIntrinsics(
      query.camera, attempt.estimate, search_focal_length, &priors)) {
    attempt.camera = query.camera;
    if (!given.given && !HasEvidence(attempt.estimate)) {
      references.image_ids.clear();  // were chosen in vain
    }
    try {
      EstimateWith(
          priors, turned, image, &references, &attempt, &attempt_pictures);
    } catch (const InputError&) {
      break;  // what was found before is the answer
    }
    if (ExplainsMore(
            attempt.estimate,
            result->estimate,
            attempt.lens_estimated ? MinLensGain(result->estimate) : 0.0)) {
      *result = attempt;
      *pictures = attempt_pictures;
    }
  }
  if (result->estimate.why == Reason::kContradictsPrior && priors.position) {
    // Coordinates of another system are recognised by it.
    std::ostringstream distance;
    distance << "; the position prior lies "
             << DistanceFromCameras(priors.position->mean)
             << " model units from the nearest camera of the model";
    result->estimate.reason += distance.str();
  }
  if (result->estimate.verdict == Verdict::kRegistered &&
      result->focal_length_estimated && !stated.focal_length) {
    result->warnings.push_back("the image contradicts its camera as stated, " +
                               DescribeCamera(query.camera) +
                               "; it is registered with " +
                               DescribeCamera(result->camera));
  }
}

Priors LocalizationController::PriorsOf(const Query& query) const {
  Priors priors = query.priors;
  const bool is_known = IsCameraOfModel(query.camera);
  if (options_.focal_length_std >= 0.0) {
    priors.focal_length_std = options_.focal_length_std;
  } else if (!is_known) {
    priors.focal_length_std = LooksCalibrated(query.camera)
                                  ? kCalibratedFocalLengthStd
                                  : kGuessedFocalLengthStd;
  }
  if ((query.focal_length_unknown && !is_known) ||
      options_.estimate_focal_length) {
    if (!HasFocalLength(query.camera)) {
      throw InputError(
          "its camera model has no focal length that could be estimated");
    }
    priors.focal_length = FocalLengths(query.camera);
  }
  if (!HasFocalLength(query.camera)) {
    priors.focal_length_std = 0.0;
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

double LocalizationController::DistanceFromCameras(
    const Eigen::Vector3d& position) const {
  double distance = std::numeric_limits<double>::infinity();
  for (const colmap::image_t image_id : registered_images_) {
    distance = std::min(
        distance,
        (ProjectionCenter(CamFromWorld(model_.Image(image_id))) - position)
            .norm());
  }
  return distance;
}

bool LocalizationController::IsCameraOfModel(
    const colmap::Camera& camera) const {
  return std::any_of(registered_images_.begin(),
                     registered_images_.end(),
                     [&](colmap::image_t image_id) {
                       return HaveSameIntrinsics(
                           camera,
                           model_.Camera(model_.Image(image_id).CameraId()));
                     });
}

FocalLengthRange LocalizationController::FocalLengths(
    const colmap::Camera& camera) const {
  const double size = std::max(CameraWidth(camera), CameraHeight(camera));
  return {options_.min_focal_length_ratio * size,
          options_.max_focal_length_ratio * size};
}

bool LocalizationController::FreeIntrinsics(const colmap::Camera& camera,
                                            const PoseEstimate& estimate,
                                            bool search_focal_length,
                                            Priors* priors) const {
  if (options_.estimation.method != EstimationMethod::kNre ||
      !HasFocalLength(camera) || estimate.verdict == Verdict::kRegistered) {
    return false;
  }
  const bool may_be_wrong = priors->focal_length_std > 0.0;
  // Where intrinsics are wrong, the maps may have no minimum at all.
  const bool contradicts_lens =
      estimate.why == Reason::kContradictsLens ||
      (may_be_wrong && estimate.why == Reason::kUndetermined);
  if (!priors->focal_length) {
    priors->focal_length = FocalLengths(camera);
    return contradicts_lens ||
           estimate.why == Reason::kContradictsFocalLength ||
           (may_be_wrong && (estimate.why == Reason::kTooUncertain ||
                             (search_focal_length && !HasEvidence(estimate))));
  }
  if (!priors->lens_unknown && HasRadialDistortion(camera)) {
    priors->lens_unknown = true;
    return contradicts_lens;
  }
  return false;
}

void LocalizationController::EstimateWith(const Priors& priors,
                                          const TurnedQuery& turned,
                                          const Image& image,
                                          QueryReferences* references,
                                          QueryResult* result,
                                          QueryPictures* pictures) {
  const Query& query = turned.query();
  std::unique_ptr<Camera> camera = turned.CreateCamera(query.camera);
  const uint64_t seed = MixSeeds(options_.random_seed, HashOfName(query.name));
  result->focal_length_estimated = priors.focal_length.has_value();
  result->lens_estimated = priors.lens_unknown;

  Stopwatch stopwatch;
  View view = priors.focal_length.has_value()
                  ? NaturalView(preset_, image.width, image.height)
                  : ViewOf(*camera,
                           references->given ? references->image_ids
                                             : registered_images_);
  const auto extract = [&](const Image& picture) {
    return ImageFeatures{preset_.coarse->Extract(picture, view.coarse_scale),
                         preset_.fine->Extract(picture, view.fine_scale)};
  };
  // Of the view. Extracted when they are needed: they are large, and references
  // are described by networks that need much memory, too.
  ImageFeatures features;
  const auto need_features = [&] {
    if (!features.coarse.data.empty()) return;
    features = extract(image);
    result->features_ms += stopwatch.LapMs();
  };

  if (!references->given && references->image_ids.empty()) {
    need_features();
    references->image_ids = ChooseReferences(
        features, *camera, priors, query.name, view, seed, &result->warnings);
    result->references_chosen = true;
    result->choose_references_ms += stopwatch.LapMs();
  }
  std::vector<colmap::image_t> image_ids = references->image_ids;

  // What was found becomes the camera.
  const auto adopt_intrinsics = [&] {
    result->camera = CorrectIntrinsics(
        result->camera, turned.TurnBack(result->estimate.correction));
    camera = turned.CreateCamera(result->camera);
  };
  DescribedPoints points;
  const auto look = [&](const NreEstimationOptions& estimation,
                        const Priors& all_priors,
                        const PartChoice& choice = PartChoice()) {
    if (view.shows_part) need_features();
    points = Describe(image_ids, features, *camera, view, choice, result);
    result->describe_references_ms += stopwatch.LapMs();
    need_features();
    double coarse_maps_ms = 0.0;
    result->estimate = Localize(preset_,
                                features,
                                *camera,
                                points,
                                estimation,
                                seed,
                                turned.LoRansac(),
                                &coarse_maps_ms,
                                all_priors);
    result->coarse_maps_ms += coarse_maps_ms;
    stopwatch.LapMs();
  };
  Priors priors_of_look = priors;
  if (priors.focal_length) {
    // A first look finds the intrinsics, from which the view follows.
    NreEstimationOptions search = options_.estimation;
    search.max_num_refinement_points = 0;
    look(search, priors);
    if (result->estimate.verdict != Verdict::kFailed) {
      priors_of_look.focal_length->found = true;
      adopt_intrinsics();
      view = ViewOf(*camera, image_ids);
      features = {};
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
    features.fine = {};
    features.fine = preset_.fine->Extract(image, view.fine_scale);
    result->features_ms += stopwatch.LapMs();
    look(options_.estimation, priors_of_look);
  }
  const auto has_evidence = [&] { return HasEvidence(result->estimate); };
  if (view.shows_part && !has_evidence()) {
    look(options_.estimation, priors_of_look, {kNumParts});
  }
  const auto look_from = [&](double nearness) {
    const QueryResult before = *result;
    const View view_before = view;
    ImageFeatures features_before = std::exchange(features, {});
    DescribedPoints points_before = std::exchange(points, {});
    try {
      view = ViewOf(*camera, image_ids, nearness);
      look(options_.estimation, priors_of_look);
      if (has_evidence()) return;
    } catch (const InputError&) {
      // What was found before is the answer.
    }
    view = view_before;
    features = std::move(features_before);
    points = std::move(points_before);
    result->estimate = before.estimate;
    result->references = before.references;
    result->point3D_ids = before.point3D_ids;
  };
  for (const double nearness : kNearness) {
    if (!has_evidence() && !priors.focal_length) look_from(nearness);
  }
  if (view.shows_part && has_evidence()) {
    // Now it is known what the references show of it.
    const Rigid3d pose = result->estimate.cam_from_world;
    look(options_.estimation, priors_of_look, {0, &pose});
  }
  const bool is_uncertain = has_evidence() &&
                            result->estimate.verdict == Verdict::kRejected &&
                            !ContradictsStatement(result->estimate.why);
  if ((is_uncertain || !result->estimate.alternatives.empty()) &&
      AddReferences(
          query.name, references->excluded, *camera, *result, &image_ids)) {
    NreEstimationOptions estimation = options_.estimation;
    estimation.max_num_points =
        std::max(estimation.max_num_points, kNumComparedPoints);
    const Rigid3d pose = result->estimate.cam_from_world;
    const bool is_known = result->estimate.alternatives.empty();
    look(estimation, priors_of_look, {1, is_known ? &pose : nullptr});
  }
  if (priors.focal_length) {
    adopt_intrinsics();
    result->estimate.correction = {
        camera->MeanFocalLength() /
        CreateCamera(query.camera)->MeanFocalLength()};
  }
  RejectMirrored(
      preset_,
      features,
      [&] { return extract(FlipLeftRight(image)); },
      *camera,
      points,
      options_.estimation,
      seed,
      priors,
      &result->estimate);
  if (!options_.picture_path.empty() && points.size() > 0) {
    *pictures =
        DrawQuery(image,
                  *camera,
                  preset_,
                  features,
                  points,
                  result->estimate,
                  result->name + ": " + VerdictName(result->estimate.verdict));
    result->pictures_ms += stopwatch.LapMs();
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
    const std::vector<colmap::image_t>& references,
    double nearness) const {
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
  return ChooseView(preset_, camera, pointers, nearness);
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
    parts = FindParts(maps.maps,
                      all->xy,
                      CorrectedCamera(camera, {view.nearness}),
                      *reference,
                      choice.num_parts);
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

void LocalizationController::WritePictures(const QueryPictures& pictures,
                                           QueryResult* result) const {
  if (pictures.reprojections.rgb.empty()) return;
  Stopwatch stopwatch;
  const std::filesystem::path path =
      std::filesystem::path(options_.picture_path) / result->name;
  std::filesystem::create_directories(path.parent_path());
  WriteImage(path.string() + ".pose.jpg", pictures.reprojections);
  WriteImage(path.string() + ".maps.jpg", pictures.loss_maps);
  result->pictures_ms += stopwatch.LapMs();
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
