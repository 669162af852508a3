// Real pairs for the estimator study: dense features of a query with a known
// pose and the described points of one reference image. COLMAP stays behind
// this header.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "nre/camera.h"
#include "nre/point_match.h"
#include "nre/rigid3.h"
#include "s2d/feature_preset.h"
#include "s2d/localization.h"

namespace nre {

struct RealPair {
  std::string name;  // scene, query, reference
  std::shared_ptr<const Camera> camera;
  MatchSolver lo_ransac;   // for that camera
  Rigid3d cam_from_world;  // the query's
  std::shared_ptr<const ImageFeatures> features;
  DescribedPoints points;  // all that the reference observes
  // What the scene's other reference images observe, as they see it.
  DescribedPoints others;
};

// Calls `visit` with the pairs of a scene's folder, query by query. The folder
// has images/ and either map/, queries.txt and queries_gt.txt, or a model
// model_txt/, all images of which are queries and references. Of other pairs
// nobody could say how many of the maps are wrong from the outset: only those
// count where at least half of the reference's points lie in the query's image
// and are seen there from within 60 degrees of the reference's direction.
// Throws InputError.
void ForEachRealPair(const std::string& folder,
                     const FeaturePreset& preset,
                     const std::function<void(const RealPair&)>& visit);

// COLMAP's LO-RANSAC for a pinhole camera.
MatchSolver PinholeLoRansac(
    int width, int height, double fx, double fy, double cx, double cy);

}  // namespace nre
