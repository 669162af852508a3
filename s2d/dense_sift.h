// Dense gradient-histogram descriptors: an extractor that needs no weights.
//
// Around every cell centre, histograms of gradient orientations are read off
// on rings, further out from coarser smoothing (DAISY: Tola, Lepetit, Fua,
// PAMI 2010), and concatenated. Against lighting the descriptor is the fourth
// root of the histograms at unit norm: RootSIFT (Arandjelovic, Zisserman, CVPR
// 2012) with a stronger root. Upright and of one scale. The choices are those
// with the lowest NRE, but for the fine descriptor's radius, which is that of
// the most accurate poses; see scripts/calibration.
#pragma once

#include <memory>
#include <vector>

#include "s2d/feature_extractor.h"

namespace nre {

// Places where histograms are read off: `segments` points, evenly spaced on a
// circle around the cell's centre. In pixels of the resized image; positions
// are rounded to whole cells.
struct DenseSiftRing {
  double radius = 0.0;  // 0 with one segment: the centre itself
  int segments = 1;
  double sigma = 1.0;  // Gaussian over which gradients are gathered
};

struct DenseSiftOptions {
  // The longer side of the image that is described; larger images are resized.
  int max_image_size = 1536;

  // Distance of the cells, pixels of the resized image. Cell (0, 0) covers,
  // and its receptive field is centred on, the first stride x stride pixels.
  int stride = 2;

  // Gaussian before the gradients, pixels of the resized image, against noise
  // and compression; 0: none.
  double blur_sigma = 1.0;

  // From the centre outwards, with ascending sigma. The channels are 8
  // orientations for every segment.
  std::vector<DenseSiftRing> rings = {
      {2.0, 4, 1.0}, {6.0, 4, 2.0}, {13.0, 6, 5.0}};

  // Patches whose gradients are weaker than this (root mean square over the
  // descriptor's histograms, in grey levels of 0..255 per pixel) get the zero
  // descriptor: after normalisation their noise would look like structure.
  double min_gradient = 0.15;

  // Subtracts the mean of the image's descriptors and normalises again. Being
  // non-negative, histograms are all alike to some degree; what they share
  // makes some places similar to everything, where wrong poses then find a
  // low cost for all points at once.
  bool center = true;

  int Channels() const;
  bool Check() const;

  // What the preset `dense_sift` uses; see scripts/calibration. Of an image of
  // 1536 x 1024 pixels the coarse map has 128 x 85 cells of 160 channels, the
  // fine one 768 x 512 cells of 112 channels.
  static DenseSiftOptions Coarse();
  static DenseSiftOptions Fine();
};

// Throws InputError for options that fail their Check(). Extract() throws
// InputError for an image that has no complete cell after the resize.
std::unique_ptr<FeatureExtractor> CreateDenseSift(
    const DenseSiftOptions& options);

}  // namespace nre
