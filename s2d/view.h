// At which size a query and its references are looked at. Descriptors of one
// scale match only what has about the same size in both images. Where the
// cameras are known, a scene seen from the same distance has it if the focal
// lengths, in pixels of the resized images, are the same.
#pragma once

#include <vector>

#include "nre/camera.h"
#include "s2d/feature_extractor.h"
#include "s2d/image.h"

namespace nre {

// By how many half octaves, powers of sqrt(2), reference images are enlarged
// (> 0) or reduced (< 0) beyond what extractors do by themselves. In steps,
// since a reference has to be described anew for each.
struct Zoom {
  int coarse = 0;
  int fine = 0;
};

struct View {
  // Factors for FeatureExtractor::Extract() of the query.
  double coarse_scale = 1.0;
  double fine_scale = 1.0;
  Zoom zoom;  // of the references
};

// Every image as extractors see it by themselves: for a query whose focal
// length is not known.
View NaturalView(const FeaturePreset& preset, int width, int height);

// Both at the same focal length, the largest for which
// - the query is within its extractor's MaxScale() and enlarged at most twice;
// - the references (the median of them) are not enlarged either, nor larger
//   than the fine extractor sees them by itself.
// references: at least one.
View ChooseView(const FeaturePreset& preset,
                const Camera& query,
                const std::vector<const Camera*>& references);

// Features of a reference image at `zoom` half octaves.
FeatureMap ExtractReference(const FeatureExtractor& extractor,
                            const Image& image,
                            int zoom);

}  // namespace nre
