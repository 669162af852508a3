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

FineMapInputs InputsOfFineMaps(const FeaturePreset& preset,
                               const QueryFeatures& query,
                               const DescribedPoints& points,
                               const std::vector<float>& coarse_log_sum_exps) {
  return {query.coarse,
          query.fine,
          points.coarse,
          points.fine,
          points.rows,
          coarse_log_sum_exps,
          preset.coarse_softmax_scale,
          preset.fine_softmax_scale};
}

void AppendRows(const std::vector<float>& from,
                size_t begin,
                size_t end,
                size_t channels,
                std::vector<float>* to) {
  to->insert(to->end(),
             from.begin() + begin * channels,
             from.begin() + end * channels);
}

// Localize() with all points in all stages.
PoseEstimate Search(const FeaturePreset& preset,
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
  const FineMaps fine(
      InputsOfFineMaps(preset, query, points, coarse.log_sum_exps),
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

// On small windows, since the pose is known to a fraction of a cell.
void Refine(const FeaturePreset& preset,
            const QueryFeatures& query,
            const Camera& camera,
            const DescribedPoints& points,
            PoseEstimate* estimate) {
  FineMapOptions options;
  options.window_size = 32;
  const CoarseMaps coarse = ComputeCoarseMaps(
      points.coarse, points.rows, query.coarse, preset.coarse_softmax_scale);
  RefineOnMorePoints(
      camera,
      points.xyz,
      FineMaps(InputsOfFineMaps(preset, query, points, coarse.log_sum_exps),
               options),
      preset.covariance_factor,
      estimate);
}

}  // namespace

DescribedPoints Subset(const DescribedPoints& points,
                       const std::vector<size_t>& indices,
                       size_t coarse_channels,
                       size_t fine_channels) {
  DescribedPoints subset;
  subset.rows.fusion = points.rows.fusion;
  subset.rows.begins.push_back(0);
  for (const size_t point : indices) {
    const size_t begin = points.rows.Begin(point);
    const size_t end = points.rows.End(point);
    AppendRows(points.coarse, begin, end, coarse_channels, &subset.coarse);
    AppendRows(points.fine, begin, end, fine_channels, &subset.fine);
    subset.rows.begins.push_back(subset.rows.begins.back() + end - begin);
    subset.xyz.push_back(points.xyz[point]);
    if (!points.views.empty()) {
      subset.views.push_back(points.views[point]);
    }
  }
  return subset;
}

PoseEstimate Localize(const FeaturePreset& preset,
                      const QueryFeatures& query,
                      const Camera& camera,
                      const DescribedPoints& points,
                      const NreEstimationOptions& options,
                      uint64_t seed,
                      const MatchSolver& lo_ransac,
                      double* coarse_maps_ms,
                      const Priors& priors) {
  const size_t num = points.size();
  const size_t max_num = options.max_num_points;
  const auto search = [&](const DescribedPoints& some) {
    return Search(preset,
                  query,
                  camera,
                  some,
                  options,
                  seed,
                  lo_ransac,
                  coarse_maps_ms,
                  priors);
  };
  if (num <= max_num) {
    return search(points);
  }
  std::vector<size_t> indices;
  for (size_t k = 0; k < max_num; ++k) {
    indices.push_back(k * num / max_num);
  }
  PoseEstimate estimate = search(
      Subset(points, indices, query.coarse.channels, query.fine.channels));
  for (PoseEstimate::Support& support : estimate.support) {
    support.point = indices[support.point];
  }
  if (estimate.verdict == Verdict::kRegistered &&
      options.method == EstimationMethod::kNre && priors.Empty() &&
      options.max_num_refinement_points > 0) {
    Stopwatch stopwatch;
    Refine(preset, query, camera, points, &estimate);
    estimate.refinement_ms = stopwatch.LapMs();
  }
  return estimate;
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
  if (options.method != EstimationMethod::kNre) {
    // Their support is not that of a refined pose.
    nre_options.method = EstimationMethod::kNre;
    nre_options.max_num_refinement_points = 0;
  }
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
