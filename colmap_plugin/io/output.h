// Output that is either there completely or not at all.
#pragma once

#include <filesystem>
#include <string>

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

// A new output folder. Write into path(), then Commit(); without Commit()
// nothing stays.
class OutputFolder {
 public:
  // `input_path`: the model that is read; the output may not be there or inside
  // of it. Throws InputError for that, and if `output_path` is a file, a folder
  // that is not empty, or has no parent folder.
  OutputFolder(const std::string& output_path, const std::string& input_path);

  std::string path() const { return temporary_.path().string(); }

  // Throws std::runtime_error, and leaves nothing behind, if that fails.
  void Commit();

 private:
  std::filesystem::path final_path_;
  TemporaryFolder temporary_;
};

// A new output file. Same contract as OutputFolder; files that a library puts
// beside path() while it writes are not published.
class OutputFile {
 public:
  // Throws InputError if `output_path` exists or has no parent folder.
  explicit OutputFile(const std::string& output_path);

  std::string path() const;
  void Commit();

  // Takes back a Commit().
  void Revert();

 private:
  std::filesystem::path final_path_;
  TemporaryFolder temporary_;
};

// Writes a text file; throws std::runtime_error, naming the path, unless all of
// it was handed to the operating system.
void WriteTextFile(const std::string& path, const std::string& text);

}  // namespace nre
