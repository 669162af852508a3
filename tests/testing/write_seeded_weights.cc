// Writes a weights file per network into a folder, for tests of the commands:
// write_seeded_weights FOLDER NETWORK...

#include <cstdio>
#include <exception>
#include <filesystem>

#include "tests/testing/seeded_weights.h"

int main(int argc, char** argv) {
  try {
    if (argc < 3) {
      std::fprintf(stderr, "usage: write_seeded_weights FOLDER NETWORK...\n");
      return 1;
    }
    std::filesystem::create_directories(argv[1]);
    for (int i = 2; i < argc; ++i) {
      nre::WriteSafetensors(
          std::string(argv[1]) + "/" + argv[i] + ".safetensors",
          nre::SeededWeights(argv[i]));
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "write_seeded_weights: %s\n", error.what());
    return 1;
  }
  return 0;
}
