#include "s2d/view.h"

#include <algorithm>
#include <cmath>

#include "nre/pose_evaluation.h"

namespace nre {
namespace {

// Of the query: more pixels do not show more.
constexpr double kMaxMagnification = 2.0;

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

void MatchFocalLengths(const FeatureExtractor& extractor,
                       const Camera& query,
                       const std::vector<const Camera*>& references,
                       double max_reference_focal_length,
                       double* query_scale,
                       int* zoom) {
  const double max_scale = extractor.MaxScale(query.Width(), query.Height());
  const double max_focal_length =
      std::min(std::min(max_scale, kMaxMagnification) * query.MeanFocalLength(),
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
                const Camera& query,
                const std::vector<const Camera*>& references) {
  const double max_focal_length = NaturalFocalLength(*preset.fine, references);
  View view;
  MatchFocalLengths(*preset.coarse,
                    query,
                    references,
                    max_focal_length,
                    &view.coarse_scale,
                    &view.zoom.coarse);
  MatchFocalLengths(*preset.fine,
                    query,
                    references,
                    max_focal_length,
                    &view.fine_scale,
                    &view.zoom.fine);
  return view;
}

FeatureMap ExtractReference(const FeatureExtractor& extractor,
                            const Image& image,
                            int zoom) {
  return extractor.Extract(
      image,
      FactorOf(zoom) * extractor.NaturalScale(image.width, image.height));
}

}  // namespace nre
