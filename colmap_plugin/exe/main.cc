// The executable colmap_nre: our commands, those of the libcolmap it is linked
// to, and any other by the `colmap` on the PATH, or else by that one's.

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include <boost/program_options.hpp>
#include <unistd.h>

#include "colmap_plugin/compat/commands.h"
#include "colmap_plugin/exe/commands.h"
#include "colmap_plugin/exe/process.h"
#include "colmap_plugin/io/database.h"

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
  std::cout
      << "\n\nAny other command is handed to the colmap on the PATH, or to "
         "the one that this program was built with.\n";
}

bool CanRun(const fs::path& program) {
  std::error_code error;
  return fs::is_regular_file(program, error) &&
         access(program.c_str(), X_OK) == 0 &&
         !fs::equivalent(program, "/proc/self/exe", error);
}

// The executable of the COLMAP that this program is linked to. It need not be
// there.
const fs::path kLinkedColmap = NRE_COLMAP_EXECUTABLE;

// The first executable `colmap` on the PATH that is not this program (which may
// be linked under that name), or else that of the linked COLMAP; empty if there
// is none.
fs::path FindColmap() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  std::string folder;
  while (std::getline(folders, folder, ':')) {
    const fs::path candidate =
        fs::path(folder.empty() ? "." : folder) / "colmap";
    if (CanRun(candidate)) {
      return candidate;
    }
  }
  return CanRun(kLinkedColmap) ? kLinkedColmap : fs::path();
}

// The databases that a command of COLMAP is going to open.
std::vector<fs::path> DatabasesOf(int argc, char** argv) {
  namespace po = boost::program_options;
  const char* const names[] = {
      "database_path", "database_path1", "database_path2"};
  po::options_description options;
  for (const char* name : names) {
    options.add_options()(name, po::value<std::string>());
  }
  options.add_options()("workspace_path", po::value<std::string>());
  options.add_options()("project_path", po::value<std::string>());
  po::variables_map values[2];  // of the command line, of the project file
  try {
    po::store(po::command_line_parser(argc, argv)
                  .options(options)
                  .allow_unregistered()
                  .run(),
              values[0]);
    if (values[0].count("project_path") > 0) {
      std::ifstream file(values[0]["project_path"].as<std::string>());
      po::store(po::parse_config_file(file, options, true), values[1]);
    }
  } catch (const po::error&) {
    // COLMAP finds it, too, and says so.
  }
  std::vector<fs::path> databases;
  for (const po::variables_map& map : values) {
    for (const char* name : names) {
      if (map.count(name) > 0) {
        databases.push_back(map[name].as<std::string>());
      }
    }
    if (map.count("workspace_path") > 0) {
      // That of automatic_reconstructor.
      databases.push_back(fs::path(map["workspace_path"].as<std::string>()) /
                          "database.db");
    }
  }
  return databases;
}

// Whether the linked COLMAP can use the databases of one of its commands; says
// why not.
bool CanUseDatabases(int argc, char** argv) {
  try {
    for (const fs::path& database : DatabasesOf(argc, argv)) {
      nre::CheckThatColmapCanUse(database.string());
    }
    return true;
  } catch (const std::exception& error) {
    std::cerr << "ERROR: " << error.what() << "\n";
    return false;
  }
}

int RunColmap(int argc, char** argv) {
  const std::string command = argv[1];
  const fs::path colmap = FindColmap();
  if (colmap.empty()) {
    std::cerr << "ERROR: '" << command
              << "' is none of the commands of colmap_nre (see: colmap_nre "
                 "help), and there is no colmap on the PATH, nor where it was "
                 "built, to hand it to.\n";
    return nre::kExitBadInput;
  }
  std::error_code error;
  if (fs::equivalent(colmap, kLinkedColmap, error) &&
      !CanUseDatabases(argc - 1, argv + 1)) {
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
      command_argv[0] = argv[0];
      if (!CanUseDatabases(argc - 1, command_argv)) {
        return nre::kExitBadInput;
      }
      nre::InitializeColmap(argv);
      return function(argc - 1, command_argv);
    }
  }
  return RunColmap(argc, argv);
}
