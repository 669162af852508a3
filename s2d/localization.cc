#include "s2d/localization.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "nre/evidence.h"
#include "nre/stopwatch.h"
#include "s2d/coarse_maps.h"
#include "s2d/fine_maps.h"
#include "s2d/magsac.h"

namespace nre {
namespace {

DenseFeatures AsDenseFeatures(const FeatureMap& features) {
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
                               const ImageFeatures& query,
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

PoseProblem ProblemOf(const FeaturePreset& preset,
                      const Camera& camera,
                      const DescribedPoints& points,
                      const LossMaps& coarse,
                      const FineMaps& fine,
                      const Priors& priors) {
  return {camera,
          points.xyz,
          coarse,
          fine,
          priors,
          {preset.covariance_factor, points.shared_angle},
          points.views.empty() ? nullptr : points.views.data()};
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

// `num` of `num_all` indices.
std::vector<size_t> SpreadEvenly(size_t num_all, size_t num) {
  std::vector<size_t> indices;
  for (size_t k = 0; k < num; ++k) {
    indices.push_back(k * num_all / num);
  }
  return indices;
}

// Of an estimate from the points `some`.
void IndexAmongAll(const std::vector<size_t>& some, PoseEstimate* estimate) {
  for (PoseEstimate::Support& support : estimate->support) {
    support.point = some[support.point];
  }
}

// With all of the points.
PoseEstimate Search(const FeaturePreset& preset,
                    const ImageFeatures& query,
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
      lo_ransac, SolveMagsac, AsDenseFeatures(query.fine), first_fine.data()};
  return EstimatePose(
      ProblemOf(preset, camera, points, coarse.maps, fine, priors),
      options,
      seed,
      inputs);
}

// The points that Localize() finds the pose with.
DescribedPoints SearchedPoints(const DescribedPoints& points,
                               size_t max_num_points,
                               const ImageFeatures& query) {
  return Subset(
      points,
      SpreadEvenly(points.size(), std::min(points.size(), max_num_points)),
      query.coarse.channels,
      query.fine.channels);
}

// The estimate with what JudgeMirrored() asks of it.
ExplainedPose Explain(const FeaturePreset& preset,
                      const ImageFeatures& query,
                      const Camera& camera,
                      const DescribedPoints& points,
                      const PoseEstimate& estimate,
                      bool is_flipped) {
  const Rigid3d& pose = estimate.cam_from_world;
  const std::vector<float> log_sum_exps = CoarseLogSumExps(
      points.coarse, points.rows, query.coarse, preset.coarse_softmax_scale);
  const FineMaps source(InputsOfFineMaps(preset, query, points, log_sum_exps),
                        FineMapOptions());
  const std::unique_ptr<LossMaps> fine =
      source.Compute(ProjectAll(camera, points.xyz, pose));
  ExplainedPose explained = {
      estimate, ExplainBlocks(camera, points.xyz, *fine, pose, is_flipped)};
  if (!points.views.empty()) {
    explained.view_angle_deg =
        MedianViewAngleDeg(camera, points.xyz, points.views, pose);
  }
  return explained;
}

// Of the coarse maps of thousands of points, the refinement needs how sure
// their windows are, for which every so many cells in x and y do: on fountain
// and herzjesu poses differ by 0.01 cm at most from those of all cells.
constexpr int kRefinementStep = 3;

// On small windows, since the pose is known to a fraction of a cell.
void Refine(const FeaturePreset& preset,
            const ImageFeatures& query,
            const Camera& camera,
            const DescribedPoints& points,
            const Priors& priors,
            PoseEstimate* estimate) {
  FineMapOptions options;
  options.window_size = 32;
  const std::vector<float> log_sum_exps =
      CoarseLogSumExps(points.coarse,
                       points.rows,
                       query.coarse,
                       preset.coarse_softmax_scale,
                       kRefinementStep);
  FineMapInputs inputs = InputsOfFineMaps(preset, query, points, log_sum_exps);
  inputs.coarse_step = kRefinementStep;
  const FineMaps fine(inputs, options);
  // Not looked at.
  const SparseLossMaps coarse(
      {query.coarse.width, query.coarse.height, query.coarse.map_from_image});
  RefineOnMorePoints(ProblemOf(preset, camera, points, coarse, fine, priors),
                     estimate);
}

}  // namespace

DescribedPoints Subset(const DescribedPoints& points,
                       const std::vector<size_t>& indices,
                       size_t coarse_channels,
                       size_t fine_channels) {
  DescribedPoints subset;
  subset.rows.fusion = points.rows.fusion;
  subset.shared_angle = points.shared_angle;
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
                      const ImageFeatures& query,
                      const Camera& camera,
                      const DescribedPoints& points,
                      const NreEstimationOptions& options,
                      uint64_t seed,
                      const MatchSolver& lo_ransac,
                      double* coarse_maps_ms,
                      const Priors& priors) {
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
  const size_t max_num_points = options.max_num_points;
  PoseEstimate estimate;
  if (points.size() <= max_num_points) {
    estimate = search(points);
  } else {
    const std::vector<size_t> some =
        SpreadEvenly(points.size(), max_num_points);
    estimate = search(
        Subset(points, some, query.coarse.channels, query.fine.channels));
    IndexAmongAll(some, &estimate);
  }
  if (estimate.verdict == Verdict::kRegistered &&
      options.method == EstimationMethod::kNre &&
      options.max_num_refinement_points > 0 &&
      (points.size() > max_num_points || priors.focal_length)) {
    Stopwatch stopwatch;
    Refine(preset, query, camera, points, priors, &estimate);
    estimate.refinement_ms = stopwatch.LapMs();
  }
  return estimate;
}

void RejectMirrored(const FeaturePreset& preset,
                    const ImageFeatures& features,
                    const std::function<ImageFeatures()>& flipped_features,
                    const Camera& camera,
                    const DescribedPoints& points,
                    const NreEstimationOptions& options,
                    uint64_t seed,
                    const Priors& priors,
                    PoseEstimate* estimate) {
  if (!MayBeMirrored(*estimate)) {
    return;
  }
  NreEstimationOptions nre_options = options;
  nre_options.method = EstimationMethod::kNre;
  // The evidence is that of the search.
  nre_options.max_num_refinement_points = 0;
  const ImageFeatures flipped = flipped_features();
  const FlippedCamera flipped_camera(camera);
  const PoseEstimate pose = Localize(preset,
                                     flipped,
                                     flipped_camera,
                                     points,
                                     nre_options,
                                     seed,
                                     nullptr,
                                     nullptr,
                                     priors);
  if (!FitsBetterFlipped(pose, *estimate)) {
    return;
  }
  const DescribedPoints some =
      SearchedPoints(points, options.max_num_points, features);
  ExplainedPose as_it_is =
      Explain(preset, features, camera, some, *estimate, /*is_flipped=*/false);
  JudgeMirrored(Explain(preset,
                        flipped,
                        CameraOf(flipped_camera, pose.correction),
                        some,
                        pose,
                        /*is_flipped=*/true),
                &as_it_is);
  *estimate = std::move(as_it_is.estimate);
}

}  // namespace nre
