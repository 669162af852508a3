// At which size a query and its references are looked at, and whether only a
// part of them is. Descriptors of one scale match only what has about the same
// size in both images. Where the cameras are known, a scene seen from the same
// distance has it if the focal lengths, in pixels of the resized images, are
// the same.
#pragma once

#include <vector>

#include "nre/camera.h"
#include "s2d/feature_preset.h"

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
  // The query shows so little that only the part of each reference should be
  // used that FindPart() finds: among the points of all of it, a thousand
  // peaks that are wrong would outweigh the few that are right.
  bool shows_part = false;
  // How many times nearer to the scene the query is taken to be than its
  // references are: it shows things as a camera with so many times its focal
  // length would from where they are.
  double nearness = 1.0;
};

// Every image as extractors see it by themselves: for a query whose focal
// length is not known.
View NaturalView(const FeaturePreset& preset, int width, int height);

// Both at the same focal length, the largest for which
// - the query is within its extractor's MaxScale() and enlarged at most twice
//   by the coarse and four times by the fine extractor;
// - the references (the median of them) are no larger than the fine extractor
//   sees them by itself. Where parts of them are used, the coarse extractor
//   sees them up to twice as large, and the fine extractor enlarges the parts
//   and the query up to three times, within its MaxScale(): descriptors should
//   cover a small part of a small picture, and not mostly what is beyond its
//   border.
// references: at least one. nearness: > 0.
View ChooseView(const FeaturePreset& preset,
                const Camera& query,
                const std::vector<const Camera*>& references,
                double nearness = 1.0);

// The same for the coarse extractor, and half the size for the fine one.
View WithCoarserDetails(const View& view);

// The factor for FeatureExtractor::Extract() of a reference of this size, and
// of any part of it, at `zoom` half octaves.
double ReferenceScale(const FeatureExtractor& extractor,
                      int width,
                      int height,
                      int zoom);

}  // namespace nre
