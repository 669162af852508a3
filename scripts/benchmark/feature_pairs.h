// The pairs of a reference and a query image that feature_study looks at.
// COLMAP stays behind this header.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "nre/camera.h"
#include "nre/rigid3.h"
#include "scripts/benchmark/epipolar_maps.h"
#include "scripts/calibration/map_quality.h"

namespace nre {

// A folder with images/ and what is known about them, the first of these that
// is there:
// - queries_gt.txt, queries.txt and map/: queries that are not in the model;
// - pairs_gt.txt and cameras.txt: pairs with cam1_from_cam0;
// - poses.txt and cameras.txt: images CAMERA_DATE with poses, but no points;
// - map/ or model_txt/: a COLMAP model, whose held-out images are the queries.
struct FeatureStudySet {
  std::string folder;
  // Of a model: "8-11", by the images' names in order, or "every3", beginning
  // with the first. Empty: every image is query and reference.
  std::string held_out;

  std::string Name() const;
};

// Reads "FOLDER" or "FOLDER:HELD_OUT".
FeatureStudySet ParseFeatureStudySet(const std::string& text);

struct FeaturePairOptions {
  // Points of a pair, chosen at random; pairs with fewer than the minimum are
  // left out.
  int max_points_per_pair = 300;
  int min_points_per_pair = 20;
  // Pairs of a set, spread evenly over all; 0: all.
  int max_pairs = 0;
  // Of queries that are not in the model: between the directions from which
  // reference and query look at a point. What hides it is not known.
  double max_angle_deg = 60.0;

  // Throws InputError, naming option and value.
  void Check() const;
};

struct FeaturePair {
  std::string set;
  std::string reference;  // names of the images
  std::string query;
  std::string reference_path;
  std::string query_path;

  // Points that both images show, or, for `epipolar` pairs, corners of the
  // reference with their lines in the query. Computed when called, the same
  // each time.
  bool epipolar = false;
  std::function<std::vector<PointPair>()> points;
  std::function<std::vector<EpipolarPoint>()> epipolar_points;
};

// All pairs of a set, by the references' names. Points are
// - of images of the model: what both observe, where it projects to;
// - of queries that are not in the model: what the reference observes and the
//   query's picture shows by its pose, from about the same side;
// - of pairs of a known relative pose: corners whose epipolar line crosses at
//   least a tenth of the query's longer side.
// Of images with poses, pairs differ in both camera and date: the camera is
// the name up to the first _, the date the rank of the name within the camera.
// Throws InputError for anything that cannot be read, and for a set without
// pairs.
std::vector<FeaturePair> FeaturePairs(const FeatureStudySet& set,
                                      const FeaturePairOptions& options);

}  // namespace nre
