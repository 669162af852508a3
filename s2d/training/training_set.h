// Packed training sets: the pictures of photographs or scenes, resized and
// decoded, and what is known of pairs of them, in one file that is mapped into
// memory. `colmap_nre training_exporter` writes them. Only for training:
// includes LibTorch.
//
// A safetensors file (s2d/safetensors.h) with the metadata
//   format   "colmap_nre training set"
//   version  "1"
//   source   what it was made from, for people
// and, for I images and P pairs of them with M points altogether, the arrays
//   image/000000, ...    U8  [H, W, 3]  RGB, sizes may differ
//   image_names          U8  [bytes]    I names, each with a newline behind it
//   pair_images          I32 [P, 2]     indices: reference, query
//   pair_offsets         I64 [P + 1]    pair p has the points from
//                                       pair_offsets[p] to [p + 1]
//   reference_positions  F32 [M, 2]     image coordinates, x and y, of the
//   query_positions      F32 [M, 2]     pictures as stored
//   visible              U8  [M]        1: the point is seen in both pictures,
//                                       which its positions are inside of.
//                                       0: the query picture is not known to
//                                       show it: the point, which the reference
//                                       shows, is hidden, beyond the border, or
//                                       was not found there.
// Single photographs have no pairs: P = M = 0.
#pragma once

#include <string>
#include <vector>

#include <torch/types.h>

#include "s2d/safetensors.h"

namespace nre {

// A pair with N points, on the CPU.
struct StoredPair {
  int64_t reference = 0;              // index of its image
  int64_t query = 0;                  // index of its image
  torch::Tensor reference_positions;  // [N, 2], single precision
  torch::Tensor query_positions;      // [N, 2], single precision
  torch::Tensor visible;              // [N], bool
};

// Copies share the mapping, and so do images, which outlive this.
class TrainingSet {
 public:
  // Throws InputError for a file that cannot be read and for anything in it
  // that is not as above.
  explicit TrainingSet(const std::string& path);

  const std::string& path() const { return path_; }
  int64_t NumImages() const { return images_.size(); }
  int64_t NumPairs() const { return pair_offsets_.size() - 1; }

  // [H, W, 3], uint8, RGB; of the file itself: not to be written to. Throws
  // c10::Error, as Pair(), for an index that is out of range.
  torch::Tensor Image(int64_t index) const;
  const std::string& ImageName(int64_t index) const;

  StoredPair Pair(int64_t index) const;

 private:
  void ReadImages();
  void ReadPairs();
  void CheckPair(int64_t index) const;

  std::string path_;
  SafetensorsView file_;
  std::vector<StoredTensor> images_;
  std::vector<std::string> names_;
  std::vector<int32_t> pair_images_;   // [P, 2]
  std::vector<int64_t> pair_offsets_;  // [P + 1]
  const char* reference_positions_ = nullptr;
  const char* query_positions_ = nullptr;
  const char* visible_ = nullptr;
};

}  // namespace nre
