// Maps and queries for the verdict study: generated ones for tuning, real ones
// for checking.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "colmap_plugin/compat/colmap.h"
#include "colmap_plugin/controllers/localization_controller.h"
#include "colmap_plugin/io/lists.h"
#include "nre/rigid3.h"

namespace nre {

// One query, and what is known about it.
struct StudyQuery {
  std::string kind;  // the row of the table
  Query query;
  QueryReferences references;
  // Empty for a query that does not belong to the map.
  std::optional<Rigid3d> cam_from_world;
  // Shows nothing that tells the right pose from another one: rejecting it is
  // right.
  bool ambiguous = false;
};

// A map and its queries; all images lie below one folder.
struct StudyScene {
  std::string name;
  // Whether the verdict may be tuned on it.
  bool for_tuning = false;
  // Model units per metre; where the unit is not known, so that ten metres are
  // the median depth of what the reference images see.
  double units_per_m = 1.0;
  std::string image_path;
  colmap::Reconstruction model;
  std::vector<StudyQuery> queries;
};

// Which queries: all, or about one of `thin_out`; of all scenes, or only those
// for "tuning", for "checking", or the scene of this name.
struct StudySelection {
  int thin_out = 1;
  std::string only;

  bool Has(const std::string& name, bool for_tuning) const {
    return only.empty() || only == name ||
           only == (for_tuning ? "tuning" : "checking");
  }
};

// Rendered streets and repeated facades. Images are written below `work_path`
// unless they are there already.
std::vector<std::unique_ptr<StudyScene>> GeneratedScenes(
    const std::string& work_path, const StudySelection& selection);

// Those of fountain, herzjesu, lund_door and hololens that are in
// `dataset_path`, with each other's images, `photos`, `sacre_coeur`,
// `nre_sample` and patterns as queries that do not belong.
std::vector<std::unique_ptr<StudyScene>> RealScenes(
    const std::string& dataset_path,
    const std::string& work_path,
    const StudySelection& selection);

}  // namespace nre
