#include "colmap_plugin/io/output.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <mutex>
#include <set>
#include <stdexcept>

#include <fcntl.h>
#include <unistd.h>

#include "nre/error.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

// Guards the set below and every rename, so that an emergency exit finds a
// folder either temporary or published.
std::mutex g_mutex;
bool g_publishing_allowed = true;

std::set<fs::path>& TemporaryPaths() {
  static auto* paths = new std::set<fs::path>;  // outlives everything
  return *paths;
}

fs::path CreateTemporaryFolder(const fs::path& final_path) {
  std::lock_guard<std::mutex> lock(g_mutex);
  for (int i = 0; i < 1000; ++i) {
    fs::path path = final_path;
    path += ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(i);
    std::error_code error;
    if (fs::create_directory(path, error)) {
      TemporaryPaths().insert(path);
      return path;
    }
    if (error) {
      throw std::runtime_error("The folder " + path.string() +
                               " cannot be created: " + error.message() + ".");
    }
  }
  throw std::runtime_error("No temporary folder can be created beside " +
                           final_path.string() + ".");
}

void FlushToDisk(const fs::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool flushed = file >= 0 && fsync(file) == 0;
  const int error = errno;
  if (file >= 0) {
    close(file);
  }
  if (!flushed) {
    throw std::runtime_error("The file " + path.string() +
                             " could not be written: " + std::strerror(error) +
                             ".");
  }
}

// The path with links resolved and without a slash at its end.
fs::path Normalized(const fs::path& path) {
  fs::path normalized = fs::weakly_canonical(fs::absolute(path));
  return normalized.has_filename() ? normalized : normalized.parent_path();
}

bool IsSameOrInside(const fs::path& path, const fs::path& folder) {
  for (fs::path ancestor = path;; ancestor = ancestor.parent_path()) {
    if (ancestor == folder) {
      return true;
    }
    if (ancestor == ancestor.parent_path()) {
      return false;
    }
  }
}

// The normalized path of an output, if it may be there.
fs::path CheckedPath(const std::string& output_path,
                     const std::vector<std::string>& others) {
  if (output_path.empty()) {
    throw InputError("The name of an output is empty.");
  }
  const fs::path path = Normalized(output_path);
  for (const std::string& other : others) {
    if (IsSameOrInside(path, Normalized(other))) {
      throw InputError("The output " + output_path + " is, or is inside of, " +
                       other +
                       ". Inputs are never changed, and every output has a "
                       "place of its own. Choose another one.");
    }
  }
  if (!fs::is_directory(path.parent_path())) {
    throw InputError("The output " + output_path +
                     " cannot be created: its parent folder does not exist. "
                     "Create it first.");
  }
  return path;
}

fs::path CheckedFolder(const std::string& output_path,
                       const std::vector<std::string>& others) {
  const fs::path path = CheckedPath(output_path, others);
  if (fs::exists(path) && !fs::is_directory(path)) {
    throw InputError("The output folder " + output_path + " is a file.");
  }
  if (fs::exists(path) && !fs::is_empty(path)) {
    throw InputError("The output folder " + output_path +
                     " is not empty, and nothing is ever overwritten. Choose a "
                     "new one.");
  }
  return path;
}

fs::path CheckedFile(const std::string& output_path,
                     const std::vector<std::string>& others) {
  const fs::path path = CheckedPath(output_path, others);
  if (fs::exists(path)) {
    throw InputError("The output file " + output_path +
                     " exists already, and nothing is ever overwritten. Choose "
                     "a new one.");
  }
  return path;
}

}  // namespace

TemporaryFolder::TemporaryFolder(const fs::path& final_path)
    : path_(CreateTemporaryFolder(final_path)) {}

TemporaryFolder::~TemporaryFolder() {
  std::lock_guard<std::mutex> lock(g_mutex);
  if (TemporaryPaths().erase(path_) > 0) {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
}

void TemporaryFolder::Publish(const fs::path& source, const fs::path& target) {
  if (fs::is_directory(source)) {
    for (const fs::directory_entry& entry :
         fs::recursive_directory_iterator(source)) {
      FlushToDisk(entry.path());
    }
  }
  FlushToDisk(source);

  std::lock_guard<std::mutex> lock(g_mutex);
  if (!g_publishing_allowed) {
    throw std::runtime_error("Interrupted before the output was written.");
  }
  if (std::rename(source.c_str(), target.c_str()) != 0) {
    throw std::runtime_error(
        "The output " + target.string() +
        " cannot be put into place: " + std::strerror(errno) + ".");
  }
  if (source == path_) {
    TemporaryPaths().erase(path_);
  }
}

void RemoveTemporaryFolders() {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_publishing_allowed = false;
  for (const fs::path& path : TemporaryPaths()) {
    std::error_code ignored;
    // Another thread may put a file into it meanwhile.
    for (int i = 0; i < 10 && fs::exists(path, ignored); ++i) {
      fs::remove_all(path, ignored);
    }
  }
  TemporaryPaths().clear();
}

Output::Output(const fs::path& final_path, const fs::path& file_name)
    : final_path_(final_path),
      temporary_(final_path),
      source_(file_name.empty() ? temporary_.path()
                                : temporary_.path() / file_name) {}

OutputFolder::OutputFolder(const std::string& output_path,
                           const std::vector<std::string>& others)
    : Output(CheckedFolder(output_path, others), {}) {}

OutputFile::OutputFile(const std::string& output_path,
                       const std::vector<std::string>& others)
    : Output(CheckedFile(output_path, others),
             Normalized(output_path).filename()) {}

void CommitAll(const std::vector<Output*>& outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    try {
      outputs[i]->temporary_.Publish(outputs[i]->source_,
                                     outputs[i]->final_path_);
    } catch (...) {
      for (size_t j = 0; j < i; ++j) {
        std::error_code ignored;
        fs::remove_all(outputs[j]->final_path_, ignored);
      }
      throw;
    }
  }
}

void WriteTextFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) {
    throw std::runtime_error("The file " + path +
                             " could not be written completely. Is the disk "
                             "full?");
  }
}

}  // namespace nre
