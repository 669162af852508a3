// What teachers say of photographs, computed once and kept on disk. Only for
// training: includes LibTorch.
//
// The folder has a safetensors file per photograph, 000000.safetensors, ... in
// the order of the photographs that were chosen. Its metadata say of which
// teachers, photographs and options it is; for each window w (of which the seed
// says where it is) and teacher t it has
//   w/coarse/t         F16 [C, H, W]  features, if coarse ones were asked for
//   w/coarse/t/affine  F64 [2, 2]     TeacherMap::map_from_image, of
//   coordinates
//                                     in the window
// and w/fine/t likewise. Without fine features the only window is the whole
// photograph.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include <torch/types.h>

#include "s2d/training/teachers.h"
#include "s2d/training/training_data.h"

namespace nre {

struct TeacherCacheOptions {
  // A folder, made if it is not there.
  std::string path;

  // Which features are wanted: of students with a stride of 4 or more, and with
  // less.
  bool coarse = true;
  bool fine = false;

  // Fine features are kept for windows of the photographs only, of at most so
  // many pixels on either side: one of each photograph or, if there is room,
  // up to max_windows.
  int64_t window_size = 256;
  int64_t max_windows = 4;

  // Of all files together. If not all photographs fit, some at random are left
  // out.
  int64_t max_bytes = 2'000'000'000;

  uint64_t seed = 0;

  bool Check() const;
};

// A photograph, or a window of one, as teachers see it.
struct TaughtPhoto {
  torch::Tensor pixels;  // uint8 [H, W, 3], a view
  // Of each teacher, in image coordinates of `pixels`; none if it was not asked
  // for. Half precision, of the files themselves: not written to.
  std::vector<TeacherMap> coarse;
  std::vector<TeacherMap> fine;
};

// Computes what the cache lacks, saying how far it is, and returns all of it;
// nothing if `*interrupted` is set before it is complete: the next call goes on
// where this one stopped, to the same bytes on the CPU with the same number of
// threads. Photographs that are too small for a teacher are left out, and said.
// Throws InputError for a cache of other teachers, photographs or options,
// which stays as it is, for files that cannot be read or written, if no
// photograph is large enough, and if not even one fits in max_bytes.
std::optional<std::vector<TaughtPhoto>> TeachPhotos(
    const std::vector<TrainingPhoto>& photos,
    const std::vector<Teacher>& teachers,
    const TeacherCacheOptions& options,
    const std::atomic<bool>* interrupted);

}  // namespace nre
