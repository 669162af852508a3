#include "s2d/training/photo_folder.h"

#include <filesystem>
#include <string>
#include <sys/wait.h>
#include <system_error>
#include <vector>

#include <spawn.h>
#include <unistd.h>

#include "nre/error.h"
#include "s2d/install_folder.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

// Returns the exit code; -1: it could not be run, or was killed.
int RunProgram(const std::string& program, std::vector<std::string> arguments) {
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  int status = 0;
  if (posix_spawn(
          &child, program.c_str(), nullptr, nullptr, argv.data(), environ) !=
          0 ||
      waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
    return -1;
  }
  return WEXITSTATUS(status);
}

}  // namespace

void PackPhotographs(const std::string& image_path, const std::string& path) {
  const std::string expected =
      "Expected --image_path, a folder of photographs, or --training_set_path "
      "with what colmap_nre training_exporter --image_path writes of one.";
  const std::string program =
      (fs::path(InstallFolder()) / "bin/colmap_nre").string();
  std::error_code error;
  if (!fs::exists(program, error)) {
    throw InputError("The photographs of " + image_path +
                     " cannot be packed: there is no " + program + ". " +
                     expected);
  }
  // What was there stays until there is something better.
  const std::string fresh = path + ".tmp";
  fs::remove(fresh, error);
  const int exit_code = RunProgram(program,
                                   {"training_exporter",
                                    "--image_path",
                                    image_path,
                                    "--output_path",
                                    fresh});
  if (exit_code != 0) {
    throw InputError("The photographs of " + image_path +
                     " cannot be packed: " + program + " training_exporter " +
                     (exit_code < 0 ? "did not run" : "said why, above") +
                     ". " + expected);
  }
  fs::rename(fresh, path, error);
  if (error) {
    throw InputError("The file " + path +
                     " cannot be written: " + error.message() + ".");
  }
}

}  // namespace nre
