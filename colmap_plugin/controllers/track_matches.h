// Matches that a model's tracks imply, for a database from which COLMAP is to
// go on: an image with keypoints, but without matches, ends its mapper.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "colmap_plugin/compat/colmap.h"
#include "colmap_plugin/io/database.h"

namespace nre {

// Names of images.
struct TrackMatchesProblems {
  // Their keypoints in the database are not the model's, or damaged, so that no
  // matches with them are written. COLMAP cannot go on from these two.
  std::vector<std::string> other_keypoints;
  // New ones that share fewer than kMinNumMatches points with any other image.
  std::vector<std::string> few_matches;
};

// COLMAP's Mapper.min_num_matches: pairs with fewer do not count.
constexpr size_t kMinNumMatches = 15;

// Writes, for each of the images (with a pose), matches with all others of the
// model that observe a point of its: both as they are and, with the essential
// matrix of the model's poses, as verified (config 2, CALIBRATED). A pair's
// matches that the database has already stay; a keypoint of theirs gets no
// second one.
TrackMatchesProblems WriteTrackMatches(
    const colmap::Reconstruction& model,
    const std::vector<colmap::image_t>& image_ids,
    Database* database);

}  // namespace nre
