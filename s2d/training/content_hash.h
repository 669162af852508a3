// Tells whether contents are the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace nre {

// FNV-1a, in words of 8 bytes. `hash`: that of what comes before.
inline uint64_t ContentHash(const void* data,
                            size_t num_bytes,
                            uint64_t hash = 0xcbf29ce484222325) {
  const char* bytes = static_cast<const char*>(data);
  for (size_t i = 0; i < num_bytes; i += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word,
                bytes + i,
                num_bytes - i < sizeof(word) ? num_bytes - i : sizeof(word));
    // The high bits must reach the low ones, too.
    hash = (hash ^ word) * 0x100000001b3;
    hash ^= hash >> 32;
  }
  return (hash ^ num_bytes) * 0x100000001b3;
}

}  // namespace nre
