// The file that keeps the matches of pairs as they are found, so that an
// interrupted command goes on where it was: SQLite, one transaction a pair.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

struct sqlite3;

namespace nre {

// Where a keypoint of the first image was found in the second.
struct RawMatch {
  uint32_t keypoint = 0;
  float x = 0.0f;  // image coordinates
  float y = 0.0f;
  float score = 0.0f;
};

class RawMatchFile {
 public:
  // Opens the file, or creates it. `settings` says how the matches are found.
  // Throws InputError if it is another kind of file, or of other settings.
  RawMatchFile(const std::string& path, const std::string& settings);
  // Removes the file if it was not there before and has no pair.
  ~RawMatchFile();
  RawMatchFile(const RawMatchFile&) = delete;
  RawMatchFile& operator=(const RawMatchFile&) = delete;

  size_t NumPairs() const;

  // Whether there are the matches of a pair, the first image of which had the
  // keypoints with this hash.
  bool Has(const std::string& name1,
           const std::string& name2,
           uint64_t keypoints_hash) const;

  void Write(const std::string& name1,
             const std::string& name2,
             uint64_t keypoints_hash,
             const std::vector<RawMatch>& matches);

  // Those of a pair that there is.
  std::vector<RawMatch> Read(const std::string& name1,
                             const std::string& name2) const;

 private:
  void CreateOrCheck(const std::string& settings);
  void Execute(const char* sql) const;
  void Close();

  std::string path_;
  bool is_new_ = false;  // was not there before
  sqlite3* database_ = nullptr;
};

}  // namespace nre
