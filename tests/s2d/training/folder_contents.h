// What a training has written.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

namespace nre {

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// All that is in a folder, by name; nothing if there is none.
inline std::map<std::string, std::string> Contents(
    const std::filesystem::path& folder) {
  std::map<std::string, std::string> contents;
  if (!std::filesystem::exists(folder)) return contents;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    contents[entry.path().filename().string()] = ReadFile(entry.path());
  }
  return contents;
}

}  // namespace nre
