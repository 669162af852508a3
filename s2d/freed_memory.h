// What becomes of memory that is freed.
#pragma once

#include <malloc.h>

namespace nre {

// Keeps the memory of freed images and tensors for the next ones, in all of the
// process: by default, glibc returns large blocks to the system, and to fault
// them in again can take as long as a network's layer.
inline void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

}  // namespace nre
