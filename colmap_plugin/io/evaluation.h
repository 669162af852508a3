// Result files against the truth: what they say about each query, and the
// tables made of it.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "colmap_plugin/compat/colmap.h"
#include "colmap_plugin/io/lists.h"
#include "nre/pose_evaluation.h"

namespace nre {

// A query whose true pose is known.
struct TrueQuery {
  std::string name;
  Rigid3d cam_from_world;
  double depth = 0.0;  // of the scene; 0 if nobody asks for it
};

// What is known.
struct Truth {
  std::vector<TrueQuery> queries;
  std::set<std::string> other_names;  // of images with a pose, not evaluated
  Poses references;                   // of the model, which may have queries
};

// What one result file says about the queries.
struct MethodResult {
  std::string name;  // of the method, for people
  // Per query, in their order: registered, rejected or failed, as a report
  // says, or missing: the file does not name it (hloc's names no others).
  std::vector<std::string> statuses;
  std::vector<PoseError> errors;           // infinite unless registered
  std::vector<std::string> without_truth;  // other queries that it names
  // Those among them that are the last part of several true names.
  std::vector<std::string> ambiguous;
  // Queries that it calls by the last part of their names.
  std::vector<std::string> by_last_part;
  // Queries that it gives exactly the pose of a reference, and that one: so
  // hloc ends where it could not localize a query.
  std::vector<ImagePair> with_pose_of_reference;
  PoseEvaluation evaluation;
};

// Reads hloc's result file or one of our report.jsonl, whichever it is, and
// compares it with the truth; of a report only the registered poses count. A
// name without folders, as hloc writes it, is that of the image with a true
// pose whose name ends like that, if there is but one. Throws InputError if the
// file is neither, names a query twice, or names queries but none that is
// known.
MethodResult EvaluateResultFile(const std::string& path,
                                const std::string& name,
                                const Truth& truth,
                                const std::vector<PoseThreshold>& thresholds);

// The median depth of the points that a query sees: those that the model's
// image of this name observes or, if the model has none and `camera` is given,
// those that lie in the picture that the camera takes from the pose, whatever
// may be in front of them. Nothing if there is no such point.
std::optional<double> MedianSceneDepth(const colmap::Reconstruction& model,
                                       const std::string& query_name,
                                       const Rigid3d& cam_from_world,
                                       const colmap::Camera* camera);

// Poses of a model's registered images.
Poses PosesOf(const colmap::Reconstruction& model);

// Distances of the centres of a model's registered images from those of their
// true poses, which must be there, after the similarity that brings them
// nearest (see AlignedDistances()).
Eigen::VectorXd AlignedCenterErrors(const colmap::Reconstruction& model,
                                    const Poses& true_poses);

// For people: one column per method.
std::string FormatEvaluation(const std::vector<MethodResult>& methods,
                             const std::vector<PoseThreshold>& thresholds);

// CSV, one line per method.
std::string FormatEvaluationCsv(const std::vector<MethodResult>& methods,
                                const std::vector<PoseThreshold>& thresholds);

// CSV, one line per method and query: method, query, status, center_error,
// rotation_error_deg and, if the depths are known, scene_depth. Errors of
// queries that are not registered are `inf`.
std::string FormatErrorsCsv(const std::vector<MethodResult>& methods,
                            const std::vector<TrueQuery>& queries);

}  // namespace nre
