#include "colmap_plugin/io/hdf5.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <type_traits>

// The functions of 1.10 under their plain names, whatever the version.
#define H5_USE_110_API
#include <hdf5.h>

#include "nre/error.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

static_assert(sizeof(hid_t) == sizeof(int64_t), "HDF5 1.10 or newer");

// An identifier of the library, closed at the end; negative if what made it
// failed.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Handle() {
    if (id_ >= 0) {
      close_(id_);
    }
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  operator hid_t() const { return id_; }
  bool ok() const { return id_ >= 0; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

[[noreturn]] void FailToRead(const std::string& file,
                             const std::string& path,
                             const std::string& why) {
  throw InputError("The HDF5 file " + file + " cannot be used: `" + path +
                   "` " + why + ".");
}

[[noreturn]] void FailToWrite(const std::string& file) {
  throw std::runtime_error("The HDF5 file " + file +
                           " could not be written completely. Is the disk "
                           "full?");
}

// IEEE's half precision, which the library converts but does not name.
hid_t MakeFloat16() {
  const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  // Sign bit, exponent (begin, bits), mantissa (begin, bits).
  H5Tset_fields(type, 15, 10, 5, 0, 10);
  H5Tset_ebias(type, 15);
  H5Tset_size(type, 2);
  return type;
}

hid_t MakeStoredType(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::kFloat16:
      return MakeFloat16();
    case Hdf5Type::kFloat32:
      return H5Tcopy(H5T_IEEE_F32LE);
    case Hdf5Type::kInt32:
      return H5Tcopy(H5T_STD_I32LE);
    case Hdf5Type::kInt64:
      return H5Tcopy(H5T_STD_I64LE);
  }
  return -1;
}

template <typename T>
hid_t NativeType();
template <>
hid_t NativeType<float>() {
  return H5T_NATIVE_FLOAT;
}
template <>
hid_t NativeType<int64_t>() {
  return H5T_NATIVE_INT64;
}

template <typename T>
bool IsReadable(H5T_class_t kind) {
  return kind == H5T_INTEGER || (kind == H5T_FLOAT && std::is_same_v<T, float>);
}

int64_t NumValues(const std::vector<int64_t>& shape) {
  return std::accumulate(
      shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

// The extents of a dataset; empty if they cannot be read, as those of a scalar.
std::vector<int64_t> ShapeOf(hid_t dataset) {
  const Handle space(H5Dget_space(dataset), &H5Sclose);
  std::vector<hsize_t> extents(std::max(0, H5Sget_simple_extent_ndims(space)));
  H5Sget_simple_extent_dims(space, extents.data(), nullptr);
  return {extents.begin(), extents.end()};
}

struct Search {
  std::string suffix;  // of the paths looked for
  std::vector<std::string> groups;
};

// A H5L_iterate_t. No exception may pass through the library.
herr_t Visit(hid_t root,
             const char* link,
             const H5L_info_t* /*info*/,
             void* data) noexcept {
  auto* search = static_cast<Search*>(data);
  const std::string path = link;
  if (path.size() <= search->suffix.size() ||
      path.compare(path.size() - search->suffix.size(),
                   std::string::npos,
                   search->suffix) != 0) {
    return 0;
  }
  const Handle object(H5Oopen(root, link, H5P_DEFAULT), &H5Oclose);
  if (object.ok() && H5Iget_type(object) == H5I_DATASET) {
    search->groups.push_back(
        path.substr(0, path.size() - search->suffix.size()));
  }
  return object.ok() ? 0 : -1;
}

hid_t Open(const std::string& path) {
  if (!fs::is_regular_file(path)) {
    throw InputError("The HDF5 file " + path + " does not exist.");
  }
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  if (file < 0) {
    throw InputError(
        "The HDF5 file " + path + " cannot be read. " +
        (H5Fis_hdf5(path.c_str()) > 0
             ? "It is damaged or incomplete, or another program is writing to "
               "it."
             : "It is not of this format, or you may not read it."));
  }
  return file;
}

hid_t Create(const std::string& path) {
  const hid_t file =
      H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT);
  if (file < 0) {
    throw std::runtime_error("The file " + path + " cannot be created.");
  }
  return file;
}

}  // namespace

Hdf5File::Hdf5File(const std::string& path, Mode mode) : path_(path) {
  // What could not be written for lack of space must not be tried again when
  // the program ends: 1.10 crashes then.
  H5dont_atexit();
  // The library prints whatever fails, also what we only try.
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  file_ = mode == Mode::kReadOnly ? Open(path) : Create(path);
}

Hdf5File::~Hdf5File() {
  if (file_ >= 0) {
    H5Fclose(file_);
  }
}

bool Hdf5File::Has(const std::string& path) const {
  // The library asks for the groups on the way to be there.
  for (size_t end = 0; end != std::string::npos;) {
    end = path.find('/', end + 1);
    if (H5Lexists(file_, path.substr(0, end).c_str(), H5P_DEFAULT) <= 0) {
      return false;
    }
  }
  return true;
}

std::vector<std::string> Hdf5File::GroupsWith(const std::string& name) const {
  Search search{"/" + name, {}};
  if (H5Lvisit(file_, H5_INDEX_NAME, H5_ITER_INC, &Visit, &search) < 0) {
    throw InputError("The HDF5 file " + path_ +
                     " is damaged: its groups cannot be listed.");
  }
  std::sort(search.groups.begin(), search.groups.end());
  return search.groups;
}

template <typename T>
Hdf5Array<T> Hdf5File::Read(const std::string& path, size_t rank) const {
  if (!Has(path)) {
    FailToRead(path_, path, "is missing");
  }
  const Handle dataset(H5Dopen2(file_, path.c_str(), H5P_DEFAULT), &H5Dclose);
  const Handle type(dataset.ok() ? H5Dget_type(dataset) : -1, &H5Tclose);
  if (!type.ok()) {
    FailToRead(path_, path, "is not a dataset, or damaged");
  }
  if (!IsReadable<T>(H5Tget_class(type))) {
    FailToRead(path_,
               path,
               std::is_same_v<T, float> ? "does not have numbers"
                                        : "does not have integers");
  }
  Hdf5Array<T> array;
  array.shape = ShapeOf(dataset);
  const bool is_empty = NumValues(array.shape) == 0;
  if (array.shape.size() != rank && !is_empty) {
    FailToRead(path_,
               path,
               "has " + std::to_string(array.shape.size()) +
                   " dimensions instead of " + std::to_string(rank));
  }
  array.values.resize(NumValues(array.shape));
  if (!array.values.empty() && H5Dread(dataset,
                                       NativeType<T>(),
                                       H5S_ALL,
                                       H5S_ALL,
                                       H5P_DEFAULT,
                                       array.values.data()) < 0) {
    FailToRead(path_, path, "is damaged or incomplete");
  }
  return array;
}

template <typename T>
void Hdf5File::Write(const std::string& path,
                     const Hdf5Array<T>& array,
                     Hdf5Type type) {
  if (Has(path)) {
    FailToRead(path_, path, "is there already");
  }
  const std::vector<hsize_t> extents(array.shape.begin(), array.shape.end());
  const Handle space(
      H5Screate_simple(
          static_cast<int>(extents.size()), extents.data(), nullptr),
      &H5Sclose);
  const Handle stored(MakeStoredType(type), &H5Tclose);
  const Handle links(H5Pcreate(H5P_LINK_CREATE), &H5Pclose);
  H5Pset_create_intermediate_group(links, 1);
  H5Pset_char_encoding(links, H5T_CSET_UTF8);
  const Handle dataset(
      H5Dcreate2(
          file_, path.c_str(), stored, space, links, H5P_DEFAULT, H5P_DEFAULT),
      &H5Dclose);
  if (!dataset.ok() ||
      (!array.values.empty() && H5Dwrite(dataset,
                                         NativeType<T>(),
                                         H5S_ALL,
                                         H5S_ALL,
                                         H5P_DEFAULT,
                                         array.values.data()) < 0)) {
    FailToWrite(path_);
  }
}

void Hdf5File::Close() {
  const bool flushed = H5Fflush(file_, H5F_SCOPE_LOCAL) >= 0;
  const bool closed = H5Fclose(file_) >= 0;
  file_ = -1;
  if (!flushed || !closed) {
    FailToWrite(path_);
  }
}

template Hdf5Array<float> Hdf5File::Read(const std::string&, size_t) const;
template Hdf5Array<int64_t> Hdf5File::Read(const std::string&, size_t) const;
template void Hdf5File::Write(const std::string&,
                              const Hdf5Array<float>&,
                              Hdf5Type);
template void Hdf5File::Write(const std::string&,
                              const Hdf5Array<int64_t>&,
                              Hdf5Type);

}  // namespace nre
