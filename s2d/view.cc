#include "s2d/view.h"

#include <algorithm>
#include <cmath>

#include "nre/pose_evaluation.h"
#include "s2d/image_part.h"

namespace nre {
namespace {

// Of the query by the coarse extractor: more pixels do not show more. And of
// references of which parts are used: a small query has few cells, with which
// the part is found.
constexpr double kMaxCoarseMagnification = 2.0;

// Of the query by the fine extractor: its cells are then half a pixel. And of
// parts of references, where more makes poses less exact.
constexpr double kMaxFineMagnification = 4.0;
constexpr double kMaxPartMagnification = 3.0;

// A query that covers a smaller solid angle, as a share of the references'.
constexpr double kMaxPartShare = 0.25;

// Focal lengths of the references may be so much larger than the query's, for
// the sake of details that half an octave less would lose.
constexpr double kTolerance = 1.1;

double FactorOf(int zoom) { return std::exp2(0.5 * zoom); }

// Median focal length of images as the extractor sees them by itself.
double NaturalFocalLength(const FeatureExtractor& extractor,
                          const std::vector<const Camera*>& cameras) {
  std::vector<double> focal_lengths;
  for (const Camera* camera : cameras) {
    focal_lengths.push_back(
        camera->MeanFocalLength() *
        extractor.NaturalScale(camera->Width(), camera->Height()));
  }
  return Median(focal_lengths);
}

double MedianFocalLength(const std::vector<const Camera*>& cameras) {
  std::vector<double> focal_lengths;
  for (const Camera* camera : cameras) {
    focal_lengths.push_back(camera->MeanFocalLength());
  }
  return Median(focal_lengths);
}

// About the solid angle that the image covers.
double AreaOf(const Camera& camera) {
  const double focal_length = camera.MeanFocalLength();
  return camera.Width() / focal_length * (camera.Height() / focal_length);
}

bool ShowsPart(const Camera& query,
               const std::vector<const Camera*>& references) {
  std::vector<double> areas;
  for (const Camera* camera : references) {
    areas.push_back(AreaOf(*camera));
  }
  return AreaOf(query) < kMaxPartShare * Median(areas);
}

// Of parts of the references, seen by the fine extractor.
double MaxPartFocalLength(const FeaturePreset& preset,
                          const Camera& query,
                          const std::vector<const Camera*>& references) {
  const double max_scale = preset.fine->MaxScale(
      static_cast<int>(std::ceil(kPartMargin * query.Width())),
      static_cast<int>(std::ceil(kPartMargin * query.Height())));
  return std::min(max_scale * query.MeanFocalLength(),
                  kMaxPartMagnification * MedianFocalLength(references));
}

void MatchFocalLengths(const FeatureExtractor& extractor,
                       const Camera& query,
                       const std::vector<const Camera*>& references,
                       double max_magnification,
                       double max_reference_focal_length,
                       double* query_scale,
                       int* zoom) {
  const double max_scale = extractor.MaxScale(query.Width(), query.Height());
  const double max_focal_length =
      std::min(std::min(max_scale, max_magnification) * query.MeanFocalLength(),
               max_reference_focal_length);
  const double natural = NaturalFocalLength(extractor, references);
  *zoom = static_cast<int>(
      std::floor(2.0 * std::log2(kTolerance * max_focal_length / natural)));
  *query_scale =
      std::min(max_scale, FactorOf(*zoom) * natural / query.MeanFocalLength());
}

}  // namespace

View NaturalView(const FeaturePreset& preset, int width, int height) {
  return {preset.coarse->NaturalScale(width, height),
          preset.fine->NaturalScale(width, height),
          {}};
}

View ChooseView(const FeaturePreset& preset,
                const Camera& camera,
                const std::vector<const Camera*>& references,
                double nearness) {
  const CorrectedCamera query(camera, {nearness});
  const double max_focal_length = NaturalFocalLength(*preset.fine, references);
  View view;
  view.nearness = nearness;
  view.shows_part = ShowsPart(query, references);
  double max_coarse_focal_length = max_focal_length;
  double max_fine_focal_length = max_focal_length;
  if (view.shows_part) {
    max_coarse_focal_length *= kMaxCoarseMagnification;
    max_fine_focal_length = std::max(
        max_focal_length, MaxPartFocalLength(preset, query, references));
  }
  MatchFocalLengths(*preset.coarse,
                    query,
                    references,
                    kMaxCoarseMagnification,
                    max_coarse_focal_length,
                    &view.coarse_scale,
                    &view.zoom.coarse);
  MatchFocalLengths(
      *preset.fine,
      query,
      references,
      view.shows_part ? kMaxPartMagnification : kMaxFineMagnification,
      max_fine_focal_length,
      &view.fine_scale,
      &view.zoom.fine);
  return view;
}

View WithCoarserDetails(const View& view) {
  View coarser = view;
  coarser.fine_scale /= FactorOf(2);
  coarser.zoom.fine -= 2;
  return coarser;
}

double ReferenceScale(const FeatureExtractor& extractor,
                      int width,
                      int height,
                      int zoom) {
  return FactorOf(zoom) * extractor.NaturalScale(width, height);
}

}  // namespace nre
