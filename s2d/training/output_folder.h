// Folders that only one training at a time writes to.
#pragma once

#include <string>

namespace nre {

// A folder to write to, locked for as long as this is there.
class OutputFolder {
 public:
  // Makes the folder if need be. Throws InputError, naming the option that the
  // folder is of, if it cannot be made or another process has it.
  OutputFolder(const std::string& path, const std::string& option);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::string& path() const { return path_; }

  // The path of a file in it.
  std::string File(const std::string& name) const;

  // Removes what a training that was killed was writing.
  void RemoveTemporaryFiles() const;

 private:
  std::string path_;
  int file_ = -1;
};

}  // namespace nre
