// What we read from and write to a COLMAP database. The columns used here have
// been the same since COLMAP 3.6, so that this is plain SQL: opening a database
// through COLMAP would migrate it, and 3.8 cannot open one of 4.x.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "colmap_plugin/compat/two_view_geometry.h"
#include "colmap_plugin/io/lists.h"

struct sqlite3;

namespace nre {

// A connection to a database. Errors of SQLite are InputErrors that name the
// file; those of the disk are std::runtime_errors.
class Database {
 public:
  enum class Mode {
    kReadOnly,   // never touches the file, nor anything beside it
    kReadWrite,  // in one transaction, until Commit()
  };

  // Throws InputError if there is no such file, it is not a COLMAP database or
  // one of a version that nobody here knows. For reading only, also if another
  // program has left changes of it in a journal beside it; for writing, if it
  // is locked or may not be written.
  Database(const std::string& path, Mode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // The queries with these names, with their cameras and ids. The focal length
  // of a camera whose prior_focal_length is 0 is but a guess of COLMAP's, and
  // so it is unknown. An image that the database lacks, or whose camera is not
  // usable, becomes a query with an error.
  std::vector<Query> ReadQueries(const std::vector<std::string>& names) const;

  std::set<uint32_t> ReadCameraIds() const;

  size_t NumKeypoints(colmap::image_t image_id) const;

  // Image coordinates [N] of an image's keypoints; empty if it has none.
  std::vector<Eigen::Vector2d> ReadKeypoints(colmap::image_t image_id) const;

  // Names of all images, sorted.
  std::vector<std::string> ReadImageNames() const;

  // Indices of the keypoints of two images that match, those of the first image
  // first; none if the pair was not matched.
  enum class Matches { kRaw, kVerified };
  KeypointMatches ReadMatches(colmap::image_t image_id1,
                              colmap::image_t image_id2,
                              Matches matches = Matches::kVerified) const;

  // Throws InputError unless both images have the keypoints that match: those
  // of keypoints that were there before may be left in a database.
  void CheckIndices(colmap::image_t image_id1,
                    colmap::image_t image_id2,
                    const KeypointMatches& matches) const;

  // The pairs of images that have matches, the one with the smaller id first.
  std::vector<std::pair<colmap::image_t, colmap::image_t>> ReadMatchedPairs(
      Matches matches) const;

  // SIFT descriptors of an image's keypoints, kSiftSize bytes each; empty if it
  // has none, or others.
  static constexpr size_t kSiftSize = 128;
  std::vector<uint8_t> ReadSiftDescriptors(colmap::image_t image_id) const;

  // Appends keypoints to those of an image, so that the indices in its matches
  // stay right. If it has descriptors, one of zeros, which matches nothing, is
  // appended for each.
  void AppendKeypoints(colmap::image_t image_id,
                       const std::vector<Eigen::Vector2d>& keypoints);

  // Throws InputError if the tables of matches are those of another version.
  void CheckMatchTables() const;

  // Writes matches of the keypoints of two different images, and what remains
  // of them after geometric verification; replaces those that there are.
  void WriteMatches(colmap::image_t image_id1,
                    colmap::image_t image_id2,
                    const KeypointMatches& matches,
                    const TwoViewGeometry& geometry);

  // Ends the transaction and closes the database. Throws std::runtime_error if
  // not everything could be written.
  void Commit();

 private:
  void Execute(const std::string& sql) const;

  std::string path_;
  sqlite3* database_ = nullptr;
};

// Copies a database to a new file, which may be written even if the database
// may not, and which has all that is committed in it, never in a log beside it.
// Throws std::runtime_error if that fails, and InputError if another program
// has left changes in a journal beside the database.
void CopyDatabase(const std::string& path, const std::string& copy_path);

// Throws InputError, with the version that can, if a COLMAP made the database
// whose layout the one that this program is linked to cannot use. That one
// would find out too late, and leave a log beside the database that keeps
// others from reading it. A file that is not there, or has no tables, is fine.
void CheckThatColmapCanUse(const std::string& path);

}  // namespace nre
