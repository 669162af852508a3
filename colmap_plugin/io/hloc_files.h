// hloc's HDF5 files: features of images and matches of pairs of them. hloc is
// at github.com/cvg/Hierarchical-Localization; hloc/utils/io.py reads them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "colmap_plugin/compat/two_view_geometry.h"
#include "colmap_plugin/io/hdf5.h"
#include "colmap_plugin/io/lists.h"

namespace nre {

// What a features file has of an image.
struct HlocFeatures {
  int width = 0;  // of the image; both 0 if the file does not have its size
  int height = 0;
  std::vector<Eigen::Vector2d> keypoints;  // [N], image coordinates as COLMAP's
  // [D, N], those of the keypoints in columns; empty if there are none. Not
  // read.
  Hdf5Array<float> descriptors;
};

// A features file. An image's group has its path, so that slashes nest groups:
// - `keypoints` [N, 2]: hloc's image coordinates, in which the centre of the
//   top-left pixel is (0, 0), so that COLMAP's are 0.5 larger. Written in
//   single precision; hloc's own are in half precision, with steps of 1 px
//   beyond 1024. Where a dense matcher found none, [0].
// - `descriptors` [D, N], written in half precision as hloc does.
// - `image_size` (width, height), integers.
class HlocFeaturesFile {
 public:
  // See Hdf5File.
  HlocFeaturesFile(const std::string& path, Hdf5File::Mode mode)
      : file_(path, mode) {}

  const std::string& path() const { return file_.path(); }

  // Names of all images, sorted. Throws InputError if there are none.
  std::vector<std::string> ImageNames() const;

  // Throws InputError if the file does not have the image, it is damaged, or
  // has keypoints that are not finite.
  HlocFeatures Read(const std::string& image_name) const;

  // Throws InputError if the image is there already, and std::runtime_error if
  // the disk is full.
  void Write(const std::string& image_name, const HlocFeatures& features);

  // Throws std::runtime_error if not all was written.
  void Close() { file_.Close(); }

 private:
  Hdf5File file_;
};

// A matches file. A pair's group is called `a/b`, in old files `a_b`, with each
// / in the images' names a and b replaced by -. It has
// - `matches0` [N of a]: index of b's keypoint that each of a's matches, or -1.
//   Dense matchers write fewer: up to the last that matches, [0] if none does;
//   the keypoints are numbered as pairs are matched;
// - `matching_scores0`, as many.
class HlocMatchesFile {
 public:
  HlocMatchesFile(const std::string& path, Hdf5File::Mode mode)
      : file_(path, mode) {}

  const std::string& path() const { return file_.path(); }

  // All pairs, as pairs of the given images. Throws InputError if there are
  // none, or if the images' names do not tell which images a pair is of.
  std::vector<ImagePair> Pairs(
      const std::vector<std::string>& image_names) const;

  // Matches of two images with so many keypoints; the file may have the pair in
  // either order. Throws InputError if it has it in none, is damaged, or does
  // not belong to images with so many keypoints.
  KeypointMatches Read(const ImagePair& pair,
                       size_t num_keypoints1,
                       size_t num_keypoints2) const;

  // Writes matches with a score of 1. A keypoint of the first image can have
  // but one, and the rest are left out: returns how many. Throws InputError if
  // a pair of this name is there already, and std::runtime_error if the disk is
  // full.
  size_t Write(const ImagePair& pair,
               size_t num_keypoints1,
               const KeypointMatches& matches);

  // Throws std::runtime_error if not all was written.
  void Close() { file_.Close(); }

 private:
  Hdf5File file_;
};

}  // namespace nre
