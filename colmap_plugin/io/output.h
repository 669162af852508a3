// Output that is either there completely or not at all.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace nre {

// A folder under a temporary name beside `final_path`, on the same file system.
// Removed on destruction, and by RemoveTemporaryFolders().
class TemporaryFolder {
 public:
  // Throws std::runtime_error if it cannot be created.
  explicit TemporaryFolder(const std::filesystem::path& final_path);
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  // Flushes what is at `source` (the folder or something in it) to the disk and
  // renames it to `target`. Throws std::runtime_error if that fails.
  void Publish(const std::filesystem::path& source,
               const std::filesystem::path& target);

 private:
  std::filesystem::path path_;
};

// Removes the temporary folders of this process and keeps it from publishing
// any more. For the last moments of a process that does not unwind its stack.
void RemoveTemporaryFolders();

// A new file or folder. Write to path(), then CommitAll(); without it nothing
// stays.
class Output {
 public:
  std::string path() const { return source_.string(); }

 protected:
  // `file_name`: of the file in the temporary folder; empty for a folder.
  Output(const std::filesystem::path& final_path,
         const std::filesystem::path& file_name);

 private:
  friend void CommitAll(const std::vector<Output*>& outputs);

  std::filesystem::path final_path_;
  TemporaryFolder temporary_;
  std::filesystem::path source_;
};

// A new output folder.
class OutputFolder : public Output {
 public:
  // `others`: the inputs and the other outputs; this one may not be there or
  // inside of them. Throws InputError for that, and if `output_path` is a file,
  // a folder that is not empty, or has no parent folder.
  OutputFolder(const std::string& output_path,
               const std::vector<std::string>& others);
};

// A new output file. What a library puts beside path() while it writes is not
// published.
class OutputFile : public Output {
 public:
  // As above; throws InputError if `output_path` exists.
  OutputFile(const std::string& output_path,
             const std::vector<std::string>& others);
};

// Puts all outputs into place, or none: throws std::runtime_error if one cannot
// be.
void CommitAll(const std::vector<Output*>& outputs);

// Writes a text file; throws std::runtime_error, naming the path, unless all of
// it was handed to the operating system.
void WriteTextFile(const std::string& path, const std::string& text);

}  // namespace nre
