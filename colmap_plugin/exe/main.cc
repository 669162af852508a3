// The executable colmap_nre: our commands, those of the libcolmap it is linked
// to, and any other by the `colmap` on the PATH.

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <string>

#include <unistd.h>

#include "colmap_plugin/compat/commands.h"
#include "colmap_plugin/exe/commands.h"
#include "colmap_plugin/exe/process.h"

namespace {

namespace fs = std::filesystem;

struct Command {
  std::string name;
  nre::CommandFunction function;
  std::string description;
};

const Command kOurCommands[] = {
    {"hloc_matches_exporter",
     &nre::RunHlocMatchesExporter,
     "keypoints and matches from a database into files of hloc"},
    {"hloc_matches_importer",
     &nre::RunHlocMatchesImporter,
     "keypoints and matches from files of hloc into a database"},
    {"nre_image_registrator",
     &nre::RunNreImageRegistrator,
     "registers new images into an existing model"},
    {"nre_localizer",
     &nre::RunNreLocalizer,
     "poses of query images, without a new model"},
    {"pose_evaluator",
     &nre::RunPoseEvaluator,
     "compares poses with the truth: recall, medians, error curves"},
    {"s2d_matcher",
     &nre::RunS2dMatcher,
     "sparse-to-dense matches into a database, for COLMAP's tools"},
    {"training_exporter",
     &nre::RunTrainingExporter,
     "models, RGB-D frames or photographs into a training set"},
};

void PrintVersion() {
  std::cout << "colmap_nre " << NRE_VERSION << " with " << nre::ColmapVersion()
            << "\n";
}

void PrintHelp() {
  PrintVersion();
  std::cout << "\nUsage: colmap_nre <command> [options]\n"
               "       colmap_nre <command> -h\n\nCommands:\n";
  for (const Command& command : kOurCommands) {
    std::cout << "  " << command.name
              << std::string(24 - command.name.size(), ' ')
              << command.description << "\n";
  }
  std::cout << "  help, version\n\nCommands of " << nre::ColmapVersion()
            << ":\n ";
  for (const auto& [name, _] : nre::ColmapCommands()) {
    std::cout << " " << name;
  }
  std::cout << "\n\nAny other command is handed to the colmap on the PATH.\n";
}

// The first executable `colmap` on the PATH that is not this program (which may
// be linked under that name); empty if there is none.
fs::path FindColmap() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  std::string folder;
  while (std::getline(folders, folder, ':')) {
    const fs::path candidate =
        fs::path(folder.empty() ? "." : folder) / "colmap";
    std::error_code error;
    if (fs::is_regular_file(candidate, error) &&
        access(candidate.c_str(), X_OK) == 0 &&
        !fs::equivalent(candidate, "/proc/self/exe", error)) {
      return candidate;
    }
  }
  return {};
}

int RunColmap(char** argv) {
  const std::string command = argv[1];
  const fs::path colmap = FindColmap();
  if (colmap.empty()) {
    std::cerr << "ERROR: '" << command
              << "' is none of the commands of colmap_nre (see: colmap_nre "
                 "help), and there is no colmap on the PATH to hand it to.\n";
    return nre::kExitBadInput;
  }
  argv[0] = const_cast<char*>(colmap.c_str());
  execv(colmap.c_str(), argv);
  std::cerr << "ERROR: " << colmap.string()
            << " cannot be run: " << std::strerror(errno) << "\n";
  return nre::kExitFault;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "help";
  if (name == "help" || name == "-h" || name == "--help") {
    PrintHelp();
    return nre::kExitDone;
  }
  if (name == "version" || name == "-v" || name == "--version") {
    PrintVersion();
    return nre::kExitDone;
  }
  // As COLMAP does, argv[0] of a command is the program.
  char** command_argv = argv + 1;
  for (const Command& command : kOurCommands) {
    if (name == command.name) {
      command_argv[0] = argv[0];
      return command.function(argc - 1, command_argv);
    }
  }
  for (const auto& [colmap_name, function] : nre::ColmapCommands()) {
    if (name == colmap_name) {
      nre::InitializeColmap(argv);
      command_argv[0] = argv[0];
      return function(argc - 1, command_argv);
    }
  }
  return RunColmap(argv);
}
