#include "s2d/localization.h"

#include "nre/evidence.h"
#include "nre/stopwatch.h"
#include "s2d/coarse_maps.h"
#include "s2d/fine_maps.h"
#include "s2d/magsac.h"

namespace nre {
namespace {

DenseFeatures View(const FeatureMap& features) {
  return {features.data.data(),
          features.channels,
          features.height,
          features.width,
          features.map_from_image};
}

// One fine descriptor per point, the first.
std::vector<float> FirstFine(const DescribedPoints& points, size_t channels) {
  std::vector<float> first;
  for (size_t i = 0; i < points.size(); ++i) {
    const auto row = points.fine.begin() + points.rows.Begin(i) * channels;
    first.insert(first.end(), row, row + channels);
  }
  return first;
}

}  // namespace

PoseEstimate Localize(const FeaturePreset& preset,
                      const QueryFeatures& query,
                      const Camera& camera,
                      const DescribedPoints& points,
                      const NreEstimationOptions& options,
                      uint64_t seed,
                      const MatchSolver& lo_ransac,
                      double* coarse_maps_ms,
                      const Priors& priors) {
  Stopwatch stopwatch;
  const CoarseMaps coarse = ComputeCoarseMaps(
      points.coarse, points.rows, query.coarse, preset.coarse_softmax_scale);
  if (coarse_maps_ms != nullptr) {
    *coarse_maps_ms = stopwatch.LapMs();
  }
  const FineMaps fine({query.coarse,
                       query.fine,
                       points.coarse,
                       points.fine,
                       points.rows,
                       coarse.log_sum_exps,
                       preset.coarse_softmax_scale,
                       preset.fine_softmax_scale},
                      FineMapOptions());
  const std::vector<float> first_fine = FirstFine(points, query.fine.channels);
  const MethodInputs inputs = {
      lo_ransac,
      SolveMagsac,
      View(query.fine),
      first_fine.data(),
      preset.covariance_factor,
      points.views.empty() ? nullptr : points.views.data()};
  return EstimatePose(
      camera, points.xyz, coarse.maps, fine, options, seed, inputs, priors);
}

void RejectMirrored(const FeaturePreset& preset,
                    const std::function<QueryFeatures()>& flipped_features,
                    const Camera& camera,
                    const DescribedPoints& points,
                    const NreEstimationOptions& options,
                    uint64_t seed,
                    const Priors& priors,
                    PoseEstimate* estimate) {
  if (!MayBeMirrored(camera, points.xyz, *estimate)) {
    return;
  }
  NreEstimationOptions nre_options = options;
  nre_options.method = EstimationMethod::kNre;
  JudgeMirrored(Localize(preset,
                         flipped_features(),
                         FlippedCamera(camera),
                         points,
                         nre_options,
                         seed,
                         nullptr,
                         nullptr,
                         priors),
                estimate);
}

}  // namespace nre
