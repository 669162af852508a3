#include "s2d/training/output_folder.h"

#include <cerrno>
#include <filesystem>
#include <sys/file.h>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "nre/error.h"

namespace nre {

namespace fs = std::filesystem;

OutputFolder::OutputFolder(const std::string& path, const std::string& option)
    : path_(path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || !fs::is_directory(path)) {
    throw InputError("The folder " + path + " cannot be made: " +
                     (error ? error.message() : "it is a file") +
                     ". Expected " + option + ", a folder to write to.");
  }
  file_ = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // File systems without locks give other errors.
  if (file_ >= 0 && flock(file_, LOCK_EX | LOCK_NB) != 0 &&
      errno == EWOULDBLOCK) {
    close(file_);
    throw InputError("Another nre_trainer writes to " + path +
                     ". Expected another " + option + ", or wait for it.");
  }
}

OutputFolder::~OutputFolder() {
  if (file_ >= 0) close(file_);
}

std::string OutputFolder::File(const std::string& name) const {
  return (fs::path(path_) / name).string();
}

void OutputFolder::RemoveTemporaryFiles() const {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(path_, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.find(".safetensors.tmp") != std::string::npos ||
        name == "metrics.jsonl.tmp") {
      fs::remove(entry.path(), ignored);
    }
  }
}

}  // namespace nre
