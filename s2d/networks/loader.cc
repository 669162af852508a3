// LoadNetwork(): finds the networks' library and its entry. In the library of
// the room, which does not link LibTorch.

#include <filesystem>

#include <dlfcn.h>

#include "nre/error.h"
#include "s2d/install_folder.h"
#include "s2d/networks/network.h"

namespace nre {
namespace {

using LoadFunction = Network*(const NetworkOptions*);

constexpr char kLibrary[] = "libnre_networks.so";

std::string PathOfLibrary() {
  namespace fs = std::filesystem;
  const fs::path path = fs::path(InstallFolder()) / "lib" / kLibrary;
  std::error_code error;
  return fs::exists(path, error) ? path.string() : kLibrary;
}

LoadFunction* FindLoadFunction() {
  // Never unloaded: LibTorch does not bear it.
  void* library = dlopen(PathOfLibrary().c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw InputError(std::string("The networks' library cannot be loaded: ") +
                     dlerror() +
                     ". Expected in the folder lib/ beside the "
                     "executable's, or where the system looks for libraries.");
  }
  void* function = dlsym(library, "nre_load_network");
  if (function == nullptr) {
    throw InputError(std::string(kLibrary) +
                     " is of another version of colmap_nre. Install both "
                     "together.");
  }
  return reinterpret_cast<LoadFunction*>(function);
}

}  // namespace

std::unique_ptr<Network> LoadNetwork(const NetworkOptions& options) {
  static LoadFunction* const load = FindLoadFunction();
  return std::unique_ptr<Network>(load(&options));
}

}  // namespace nre
