// Checks the files of a COLMAP model before COLMAP reads them: 3.8 aborts, runs
// out of memory or returns garbage on files that are truncated or damaged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "colmap_plugin/io/output.h"

namespace nre {

struct ModelFilesSummary {
  bool binary = false;
  size_t num_cameras = 0;
  size_t num_images = 0;
  size_t num_points = 0;
  size_t num_observations = 0;
  // Of a text model, by image id: COLMAP cuts names at the first blank.
  std::map<uint32_t, std::string> names_with_blanks;

  // What is left of images and points that somebody deleted from the files:
  // observations of points and elements of tracks.
  size_t num_observations_of_gone_points = 0;
  size_t num_track_elements_of_gone_images = 0;
  // Of text: 2D points with 18446744073709551615 instead of -1, and whether the
  // last image has no line of 2D points.
  size_t num_written_out_nones = 0;
  bool last_line_is_missing = false;

  // True if there is any of these, on which COLMAP fails.
  bool NeedsRepair() const;
};

// Names of the files that this COLMAP writes for a binary model.
const std::vector<std::string>& ModelFileNames();

// True if `path` has any file of a model, binary or text.
bool HoldsModel(const std::string& path);

// Walks through every record of the model in the folder `path` (binary files
// win over text files, as in COLMAP). Throws InputError, naming the file and
// what is wrong with it, if
// - a file is missing, ends too early or goes on after its last record,
// - an id or name is used twice or means none, an image has no such camera, a
//   track no such 2D point,
// - a track has no such image or a 2D point no such 3D point, unless that may
// be
//   left out: images and tracks agree on everything else,
// - there are frames (of COLMAP 4), but not of exactly these images,
// - a camera model is unknown, or a number is not finite.
ModelFilesSummary CheckModelFiles(const std::string& path);

// Writes a model that CheckModelFiles() accepts, without what COLMAP fails on,
// into an existing empty folder. Throws std::runtime_error if the disk is full.
void RepairModelFiles(const std::string& path,
                      const std::string& repaired_path);

// COLMAP reads text models as it writes them: one blank between two words, and
// no byte order mark. Returns a copy like that of a text model which is not, in
// a temporary folder; null if it need not be copied.
std::unique_ptr<TemporaryFolder> CopyUnlessPlain(const std::string& path);

}  // namespace nre
