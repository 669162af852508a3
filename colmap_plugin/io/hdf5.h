// HDF5 files as far as we use them: arrays of numbers, read and written whole.
// Keeps the library's C interface to one file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nre {

// Row by row; T: float or int64_t.
template <typename T>
struct Hdf5Array {
  std::vector<int64_t> shape;
  std::vector<T> values;
};

// Types of numbers in a file.
enum class Hdf5Type { kFloat16, kFloat32, kInt32, kInt64 };

// A file. Paths in it have slashes between the groups and, at the end, the name
// of a group or an array; none at the front.
class Hdf5File {
 public:
  enum class Mode {
    kReadOnly,
    kCreate,  // a new file, complete after Close()
  };

  // Throws InputError if the file to be read does not exist or is not of HDF5,
  // and std::runtime_error if the new one cannot be created.
  Hdf5File(const std::string& path, Mode mode);
  ~Hdf5File();
  Hdf5File(const Hdf5File&) = delete;
  Hdf5File& operator=(const Hdf5File&) = delete;

  const std::string& path() const { return path_; }

  // Whether there is a group or an array at this path.
  bool Has(const std::string& path) const;

  // Paths of the groups, at any depth, in which an array has this name; sorted.
  // Throws InputError if the file is damaged.
  std::vector<std::string> GroupsWith(const std::string& name) const;

  // The array at this path, converted to T. Throws InputError if there is none,
  // it does not have `rank` dimensions (an empty one may have others), its
  // numbers are not of T's kind (integer or real; integers are also read as
  // reals), or the file is damaged.
  template <typename T>
  Hdf5Array<T> Read(const std::string& path, size_t rank) const;

  // Writes an array, creating the groups that its path needs. Throws InputError
  // if something has this path already, and std::runtime_error if the disk is
  // full.
  template <typename T>
  void Write(const std::string& path, const Hdf5Array<T>& array, Hdf5Type type);

  // Throws std::runtime_error if not all was written.
  void Close();

 private:
  std::string path_;
  int64_t file_ = -1;
};

}  // namespace nre
