// The text files that name images: hloc's query lists, pairs files and poses,
// and COLMAP's image lists. Names may have blanks in them: a byte order mark,
// and blanks at the ends of lines, are ignored.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "colmap_plugin/compat/reconstruction.h"
#include "nre/priors.h"
#include "nre/rigid3.h"

namespace nre {

// One query image as the user describes it.
struct Query {
  std::string name;  // below the image path
  colmap::Camera camera;
  bool focal_length_unknown = false;  // that of `camera` is but a guess
  Priors priors;                      // of the pose
  std::string error;  // why it cannot be localized; empty if it can be tried

  // From a database; invalid if there is none.
  colmap::image_t image_id = colmap::kInvalidImageId;
  colmap::camera_t camera_id = colmap::kInvalidCameraId;
  std::optional<FrameIds> frame_ids;  // from a database of COLMAP 4
};

// Reads hloc's query list: `name MODEL W H p1 p2 ...` per line; blank lines and
// those that begin with # are skipped. All before the last word that is called
// like a camera model is the name. Of an unknown focal length the parameter is
// 0 or less, or all parameters are left out (see MakeColmapCamera). A line that
// is wrong becomes a query with an error. Throws InputError if the file
// cannot be read, or if it has no line that is right.
std::vector<Query> ReadQueryList(const std::string& path);

// Reads priors of poses: a JSON object per line with `name` and one or both of
// - `position` [x, y, z] of the camera's centre in the world, with its
//   `position_std`, a number or one per axis, or `position_covariance`, 3x3, in
//   model units;
// - `gravity` [x, y, z], which way is down in the camera's frame (x right, y
//   down, z forward), with `gravity_std_deg` and `world_down` [x, y, z], which
//   way that is in the world. Any lengths.
// Blank lines are skipped. Throws InputError, with the line, if the file cannot
// be read or anything else is found in it.
std::map<std::string, Priors> ReadPriors(const std::string& path);

// Reads one image name per line; blank lines and those that begin with # are
// skipped. Throws InputError if the file cannot be read or names nothing.
std::vector<std::string> ReadImageList(const std::string& path);

// The reference images that a pairs file lists for each query, best first.
using Pairs = std::map<std::string, std::vector<std::string>>;

// Reads hloc's pairs file: `query reference` per line. Names with blanks are
// separated by a tab, or in double quotes, in which a quote is written twice.
// Throws InputError, with the line, if it cannot be read or a line does not
// have two names.
Pairs ReadPairs(const std::string& path);

// Two images by name.
using ImagePair = std::pair<std::string, std::string>;

// The same as a list, by the first names.
std::vector<ImagePair> ReadImagePairs(const std::string& path);

// Returns the line of a pairs file; the names are in quotes only where one
// must.
std::string PairLine(const ImagePair& pair);

// Poses (cam_from_world) of images by name.
using Poses = std::map<std::string, Rigid3d>;

// Reads hloc's result file: `name qw qx qy qz tx ty tz` per line, all before
// the seven numbers being the name; blank lines and those that begin with # are
// skipped. Quaternions are normalised. Throws
// InputError, with the line, if it cannot be read, a line is not like that, the
// quaternion is zero, or a name comes twice. An empty file has no poses.
Poses ReadPoses(const std::string& path);

}  // namespace nre
