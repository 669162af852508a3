// What is known about a query when it is done, and the two files that say so.
#pragma once

#include <string>
#include <vector>

#include "colmap_plugin/compat/colmap.h"
#include "nre/pose_estimator.h"
#include "nre/rigid3.h"

namespace nre {

struct QueryResult {
  std::string name;

  EstimationMethod method = EstimationMethod::kNre;

  // Verdict, reason, pose, covariance, costs and support; where the verdict is
  // `failed`, only the reason is meaningful.
  PoseEstimate estimate;

  // The camera, with what came out where its focal length, or also principal
  // point and radial distortion, were estimated.
  colmap::Camera camera;
  bool focal_length_estimated = false;
  bool lens_estimated = false;

  // Ids of the 3D points that the estimate's `support` indexes.
  std::vector<colmap::point3D_t> point3D_ids;

  // Names of the reference images whose points were used, best first.
  std::vector<std::string> references;

  // True if the references were chosen, not given.
  bool references_chosen = false;

  // By how much the picture was turned clockwise to be localized; everything
  // else is that of the picture as it is in its file.
  int turned_deg = 0;

  // What went wrong without ending the query, such as a reference image that
  // cannot be read.
  std::vector<std::string> warnings;

  double read_ms = 0.0;                 // reading the image
  double features_ms = 0.0;             // its dense features
  double choose_references_ms = 0.0;    // trying reference images
  double describe_references_ms = 0.0;  // descriptors not yet in the cache
  double coarse_maps_ms = 0.0;
  double pictures_ms = 0.0;
  double total_ms = 0.0;
};

// hloc's result file: `name qw qx qy qz tx ty tz` (cam_from_world) of the
// registered queries, in the order given, with all digits.
std::string FormatResults(const std::vector<QueryResult>& results);

// One JSON object per line and query, in the order given; bytes of names that
// are not UTF-8 are written as %80 to %FF (see EscapeBytes()). Fields:
// - name; status: registered, rejected or failed; reason: why it is not
//   registered, else empty; reason_code: the same as one stable word, see
//   ReasonName()
// - method: that of --NreEstimation.method
// - qvec (w, x, y, z), tvec: cam_from_world; camera_center: in the world; null
//   for failed queries, and so are the next three
// - covariance: 6x6, rows and columns are the rotation vector (rad) and the
//   translation (model units) of a left perturbation of cam_from_world
// - focal_length_px, focal_length_std_px: mean focal length and its standard
//   deviation, camera_model and camera_params: the camera with what was
//   estimated; null where it was given. The covariance allows for its error.
// - msac_cost, coarse_cost, fine_cost: mean NRE per point
// - log_false_alarms: log10 of how often chance would give as much support
// - num_support: points whose fine map has its peak where the pose says
// - num_points: 3D points used; references; references_chosen; warnings
// - turned_deg: by how much the picture was turned clockwise to be localized;
//   only if it was
// - timings in ms: read_ms, features_ms, choose_references_ms,
//   describe_references_ms, coarse_maps_ms, msac_ms, coarse_gnc_ms,
//   fine_maps_ms, fine_gnc_ms, alternatives_ms, refinement_ms, pictures_ms,
//   total_ms
std::string FormatReport(const std::vector<QueryResult>& results);

// One line of a report, as far as it says how a query ended.
struct QueryOutcome {
  std::string name;
  Verdict verdict = Verdict::kFailed;
  Rigid3d cam_from_world;  // unless failed
};

// Reads what FormatReport() has written. Throws InputError, with the line, if
// it cannot be read or a line is not like that.
std::vector<QueryOutcome> ReadReport(const std::string& path);

}  // namespace nre
