// Localizes query images against a COLMAP model that it never changes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "colmap_plugin/compat/colmap.h"
#include "colmap_plugin/controllers/reference_points.h"
#include "colmap_plugin/controllers/turned_query.h"
#include "colmap_plugin/io/lists.h"
#include "colmap_plugin/io/results.h"
#include "nre/pose_estimator.h"
#include "s2d/image.h"
#include "s2d/localization.h"
#include "s2d/visualization.h"

namespace nre {

// How queries may have been held; references are taken as their pixels are.
enum class QueryOrientations {
  // As the pixels are or, of a file that says so, as its EXIF tag says; where
  // that finds nothing, the turn that looks more like the references, if any.
  kAuto,
  kAll,  // any of the four turns
};

// "auto" or "all"; the other way round, throws InputError for other names.
const char* QueryOrientationsName(QueryOrientations orientations);
QueryOrientations ParseQueryOrientations(const std::string& name);

struct LocalizationOptions {
  NreEstimationOptions estimation;

  // How the descriptors of a point in several reference images make one map.
  Fusion fusion = Fusion::kMean;

  // Without a pairs file: reference images that are tried, evenly spread over
  // the names if the model has more; points and hypotheses of a trial; and how
  // many of the best are then used.
  int max_num_probed_references = 50;
  int num_probe_points = 200;
  int num_probe_hypotheses = 500;
  int num_references = 3;

  // Reference images whose descriptors are kept in memory.
  int max_num_cached_references = 100;

  // Estimates the focal length of every query, not only where it is unknown,
  // between these multiples of the image's larger side (COLMAP's defaults).
  bool estimate_focal_length = false;
  double min_focal_length_ratio = 0.1;
  double max_focal_length_ratio = 10.0;

  // Standard deviation of the focal lengths that are stated, as a share of
  // them. Negative: 0 where a registered image of the model has the same
  // camera, less than a per cent where it looks calibrated, and a few per cent
  // otherwise.
  double focal_length_std = -1.0;

  // Turns of a query's picture that are tried until one is registered.
  QueryOrientations query_orientations = QueryOrientations::kAuto;

  // Folder for pictures of each query's pose and loss maps, named
  // <query>.pose.jpg and <query>.maps.jpg; none are made if it is empty.
  std::string picture_path;

  // Queries that are worked on at once; -1: as many as there are cores.
  int num_threads = -1;
  uint64_t random_seed = 0;

  bool Check() const;
};

// The reference images of one query, best first.
struct QueryReferences {
  std::vector<colmap::image_t> image_ids;
  // False: they shall be chosen. True: these, even if none; others only where
  // two poses explain the query, to tell them apart.
  bool given = false;
  // Images that must not be used, as those that have the query's name.
  std::vector<colmap::image_t> excluded = {};
};

class LocalizationController {
 public:
  // Keeps the references to `model` and `preset`. `stop` (may be null) is
  // looked at between queries and between trials of reference images.
  LocalizationController(const colmap::Reconstruction& model,
                         const std::string& image_path,
                         const FeaturePreset& preset,
                         const LocalizationOptions& options,
                         const std::atomic<bool>* stop);

  // Results in the order of the queries, whatever the number of threads.
  // `references` is empty (all are chosen) or one per query. A query with an
  // error, or whose input is bad, becomes a failed result. A query whose name
  // is a model image's never has that image as a reference. `on_result` (may be
  // null) is called after each query, by one thread at a time. Throws
  // Interrupted, and what is not an InputError.
  std::vector<QueryResult> Run(
      const std::vector<Query>& queries,
      const std::vector<QueryReferences>& references,
      const std::function<void(const QueryResult&)>& on_result);

 private:
  View ViewOf(const Camera& camera,
              const std::vector<colmap::image_t>& references,
              double nearness = 1.0) const;
  // Which parts of references are used, if the query shows only a part.
  struct PartChoice {
    int num_parts = 1;                        // of each, the likeliest
    const Rigid3d* cam_from_world = nullptr;  // if not null: what it shows
  };

  // Of all of the reference or, if the query shows only a part, of parts: only
  // then are its features looked at. None if it does not show what the pose
  // shows.
  std::vector<std::shared_ptr<const ReferenceDescription>> Describe(
      colmap::image_t image_id,
      const ImageFeatures& features,
      const Camera& camera,
      const View& view,
      const PartChoice& choice);
  // The points of all references that can be used, which `result` receives.
  DescribedPoints Describe(const std::vector<colmap::image_t>& image_ids,
                           const ImageFeatures& features,
                           const Camera& camera,
                           const View& view,
                           const PartChoice& choice,
                           QueryResult* result);
  QueryResult LocalizeQuery(const Query& query,
                            const QueryReferences& references);
  // How often the query's picture is turned clockwise by a quarter, to be tried
  // in this order.
  std::vector<int> TurnsToTry(const Query& query,
                              const QueryReferences& references) const;
  // The references, or some of them if there are many.
  std::vector<colmap::image_t> SomeOf(const QueryReferences& references) const;
  // The turn in which the picture looks more like one of the references than it
  // does as it is; 0 if there is none. Throws InputError as Estimate() does.
  int LikelyTurn(const Query& query, const QueryReferences& references);
  // The mean gain of the peaks of loss maps, in nats, of the reference that has
  // most.
  double BestGain(const FeatureMap& coarse,
                  const Zoom& zoom,
                  const std::vector<colmap::image_t>& image_ids);
  // With the picture turned. `pictures` stay empty if none are wanted.
  QueryResult LocalizeTurned(const Query& query,
                             int num_quarters,
                             const QueryReferences& references,
                             bool search_focal_length,
                             QueryPictures* pictures);
  // With what is stated of the camera, and where the maps contradict it,
  // without.
  void Estimate(const TurnedQuery& turned,
                const QueryReferences& references,
                bool search_focal_length,
                QueryResult* result,
                QueryPictures* pictures);
  // With these priors. Chooses `references` if they are neither given nor
  // chosen yet. `result` has the camera to begin with; times are added.
  void EstimateWith(const Priors& priors,
                    const TurnedQuery& turned,
                    const Image& image,
                    QueryReferences* references,
                    QueryResult* result,
                    QueryPictures* pictures);
  // Always by the NRE, so that all methods see the same points. `warnings`
  // receives what is wrong with those that cannot be used.
  std::vector<colmap::image_t> ChooseReferences(
      const ImageFeatures& features,
      const Camera& camera,
      const Priors& priors,
      const std::string& query_name,
      const View& view,
      uint64_t seed,
      std::vector<std::string>* warnings);
  // Adds images that show what the estimate and its alternatives show. Returns
  // whether they may say more: false if there are none or, of an estimate
  // without alternatives, if they observe hardly any other points.
  bool AddReferences(const std::string& query_name,
                     const std::vector<colmap::image_t>& excluded,
                     const Camera& camera,
                     const QueryResult& result,
                     std::vector<colmap::image_t>* image_ids) const;
  Priors PriorsOf(const Query& query) const;
  // Of the nearest registered image, in model units.
  double DistanceFromCameras(const Eigen::Vector3d& position) const;
  // Whether a registered image of the model has the same intrinsics.
  bool IsCameraOfModel(const colmap::Camera& camera) const;
  // Those that are looked for.
  FocalLengthRange FocalLengths(const colmap::Camera& camera) const;
  // Makes unknown what an estimate with `priors` contradicts of the intrinsics
  // or, where it has no evidence and `search_focal_length` says so, a focal
  // length that may be wrong. Returns false if there is nothing like that.
  bool FreeIntrinsics(const colmap::Camera& camera,
                      const PoseEstimate& estimate,
                      bool search_focal_length,
                      Priors* priors) const;
  void WritePictures(const QueryPictures& pictures, QueryResult* result) const;
  void CheckStop() const;

  const colmap::Reconstruction& model_;
  std::string image_path_;
  const FeaturePreset& preset_;
  LocalizationOptions options_;
  const std::atomic<bool>* stop_;
  std::vector<colmap::image_t> registered_images_;  // by name
  double shared_angle_;                             // see DescribedPoints
  ReferenceCache cache_;
};

// The references that a pairs file gives to each query. Names that the model
// has no registered image of are left out and collected, once each, in
// `absent`.
std::vector<QueryReferences> ResolvePairs(const Pairs& pairs,
                                          const std::vector<Query>& queries,
                                          const colmap::Reconstruction& model,
                                          std::vector<std::string>* absent);

}  // namespace nre
