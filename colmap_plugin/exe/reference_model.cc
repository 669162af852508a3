#include "colmap_plugin/exe/reference_model.h"

#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/reference_points.h"
#include "colmap_plugin/exe/messages.h"
#include "nre/error.h"

namespace nre {
namespace {

// More than these say no more.
constexpr size_t kMaxNumWarnings = 10;

std::string SentenceOnPointsBehind(const ObservationCheck& check) {
  return std::to_string(check.points_behind.size()) + " of " +
         std::to_string(check.num_points) +
         " points lie behind every camera that observes them (for example "
         "point " +
         std::to_string(check.points_behind.front()) + ")";
}

// Throws InputError if nothing or too little of the model can be used.
void CheckUse(const std::string& path,
              const colmap::Reconstruction& model,
              const ObservationCheck& check) {
  if (check.num_points == 0 && !check.without_camera.empty()) {
    throw InputError(
        "No image of the model in " + path +
        " can be used. The first: " + check.without_camera.front() + ".");
  }
  if (check.num_points == 0) {
    throw InputError(
        "No image of the model in " + path + " observes a 3D point: it has " +
        std::to_string(model.NumRegImages()) + " images and " +
        std::to_string(model.NumPoints3D()) +
        " points without tracks. Match the images (colmap feature_extractor "
        "and one of its matchers) and triangulate first: colmap "
        "point_triangulator --database_path <database> --image_path <images> "
        "--input_path " +
        path + " --output_path <new folder>");
  }
  if (check.points_behind.size() == check.num_points) {
    throw InputError(SentenceOnPointsBehind(check) +
                     ". The model's poses cannot be cam_from_world, as "
                     "COLMAP's are.");
  }
  if (2 * check.contradictory.size() > check.num_images) {
    throw InputError(
        std::to_string(check.contradictory.size()) + " of the " +
        std::to_string(check.num_images) +
        " images that observe points cannot be used. The first: " +
        check.contradictory.front() +
        ". Expected cameras, poses and 2D points of one reconstruction, as "
        "COLMAP writes them. If the poses are right, triangulate again: colmap "
        "point_triangulator.");
  }
}

}  // namespace

std::vector<std::string> ReadReferenceModel(const std::string& path,
                                            colmap::Reconstruction* model) {
  WarnIfAny(ReadModel(path, model));
  const ObservationCheck check = CheckObservations(*model);
  CheckUse(path, *model, check);
  std::vector<std::string> warnings = check.without_camera;
  warnings.insert(
      warnings.end(), check.contradictory.begin(), check.contradictory.end());
  if (warnings.size() > kMaxNumWarnings) {
    const size_t num_others = warnings.size() - kMaxNumWarnings;
    warnings.resize(kMaxNumWarnings);
    warnings.push_back(std::to_string(num_others) +
                       " more images of the model cannot be used either.");
  }
  if (!check.points_behind.empty()) {
    warnings.push_back(SentenceOnPointsBehind(check) + " and are not used.");
  }
  for (const std::string& warning : warnings) {
    Warn(warning);
  }
  return warnings;
}

}  // namespace nre
