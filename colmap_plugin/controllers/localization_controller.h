// Localizes query images against a COLMAP model that it never changes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "colmap_plugin/compat/colmap.h"
#include "colmap_plugin/controllers/reference_points.h"
#include "colmap_plugin/io/lists.h"
#include "colmap_plugin/io/results.h"
#include "nre/pose_estimator.h"
#include "s2d/image.h"
#include "s2d/localization.h"

namespace nre {

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
              const std::vector<colmap::image_t>& references) const;
  // Which parts of references are used, if the query shows only a part.
  struct PartChoice {
    int num_parts = 1;                        // of each, the likeliest
    const Rigid3d* cam_from_world = nullptr;  // if not null: what it shows
  };

  // Of all of the reference or, if the query shows only a part, of parts. None
  // if it does not show what the pose shows.
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
  void Estimate(const Query& query,
                const QueryReferences& references,
                QueryResult* result);
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
  void DrawPictures(const Image& image,
                    const Camera& camera,
                    const ImageFeatures& features,
                    const DescribedPoints& points,
                    const QueryResult& result) const;
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
