// What COLMAP's SIFT knows of a query: its matches with a reference image, and
// the 3D points that this one observes.
#pragma once

#include <string>
#include <vector>

#include "colmap_plugin/compat/colmap.h"
#include "colmap_plugin/io/database.h"
#include "nre/point_match.h"

namespace nre {

// Returns the query's keypoints that match one of the reference's, as the
// matcher left them (before COLMAP's own geometric verification), where that
// one is an observation of a 3D point of the model: they lie within a pixel of
// each other, since the database need not be the one that the model was made
// from. Throws InputError if the database has not both images.
std::vector<PointMatch> SiftMatches(const colmap::Reconstruction& model,
                                    const Database& database,
                                    const std::string& query_name,
                                    colmap::image_t reference_id);

}  // namespace nre
