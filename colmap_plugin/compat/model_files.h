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
};

// Names of the files that this COLMAP writes for a binary model.
const std::vector<std::string>& ModelFileNames();

// True if `path` has any file of a model, binary or text.
bool HoldsModel(const std::string& path);

// Walks through every record of the model in the folder `path` (binary files
// win over text files, as in COLMAP). Throws InputError, naming the file and
// what is wrong with it, if
// - a file is missing, ends too early or goes on after its last record,
// - an id or name is used twice, an image has no such camera, a track no such
//   image or 2D point, a 2D point no such 3D point,
// - there are frames (of COLMAP 4), but not of exactly these images,
// - a camera model is unknown, or a number is not finite.
ModelFilesSummary CheckModelFiles(const std::string& path);

// COLMAP reads text models as it writes them: one blank between two words, and
// no byte order mark. Returns a copy like that of a text model which is not, in
// a temporary folder; null if it need not be copied.
std::unique_ptr<TemporaryFolder> CopyUnlessPlain(const std::string& path);

}  // namespace nre
