// Writes packed training sets: see s2d/training/training_set.h.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "s2d/image.h"
#include "s2d/safetensors.h"

namespace nre {

// A point that the reference image of a pair shows: image coordinates in both.
struct PairPoint {
  double reference_x = 0.0;
  double reference_y = 0.0;
  double query_x = 0.0;
  double query_y = 0.0;
  bool visible = false;  // in both images
};

// Images, then pairs, go to the disk as they come.
class TrainingSetWriter {
 public:
  // A new file; `source` says what it is made from. What does not fit into it
  // right away lies beside it until the end. All functions throw InputError if
  // it cannot be written.
  TrainingSetWriter(const std::string& path,
                    const std::string& source,
                    size_t max_num_images);
  ~TrainingSetWriter();

  // Returns the image's index.
  int32_t AddImage(const std::string& name, const Image& image);

  int32_t NumImages() const { return num_images_; }

  // Positions are in the images as added; those that are visible must be
  // inside.
  void AddPair(int32_t reference,
               int32_t query,
               const std::vector<PairPoint>& points);

  // Nothing is there under `path` without this.
  void Finish();

 private:
  // An array that grows while others do.
  class GrowingArray {
   public:
    explicit GrowingArray(const std::string& path);
    ~GrowingArray();

    void Append(const void* data, size_t bytes);
    void CopyTo(SafetensorsWriter* writer);

   private:
    [[noreturn]] void Fail() const;

    std::string path_;
    std::fstream stream_;
  };

  StoredMetadata metadata_;
  SafetensorsWriter writer_;
  GrowingArray reference_positions_;
  GrowingArray query_positions_;
  GrowingArray visible_;
  std::string names_;
  int32_t num_images_ = 0;
  std::vector<int32_t> pair_images_;
  std::vector<int64_t> pair_offsets_ = {0};
};

}  // namespace nre
