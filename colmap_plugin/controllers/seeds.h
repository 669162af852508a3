// Numbers that are the same on every platform and in every run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace nre {

// A well-mixed 64-bit number from two others.
uint64_t MixSeeds(uint64_t a, uint64_t b);

// FNV-1a.
uint64_t HashOfBytes(const void* data, size_t size);
inline uint64_t HashOfName(const std::string& name) {
  return HashOfBytes(name.data(), name.size());
}

}  // namespace nre
