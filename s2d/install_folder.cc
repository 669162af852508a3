#include "s2d/install_folder.h"

#include <filesystem>

#include <dlfcn.h>

namespace nre {

std::string InstallFolder() {
  Dl_info info;
  namespace fs = std::filesystem;
  std::error_code error =
      std::make_error_code(std::errc::no_such_file_or_directory);
  fs::path self;
  if (dladdr(reinterpret_cast<const void*>(&InstallFolder), &info) != 0 &&
      info.dli_fname != nullptr) {
    self = fs::canonical(info.dli_fname, error);
  }
  if (error) self = fs::canonical("/proc/self/exe", error);
  return self.parent_path().parent_path().string();
}

}  // namespace nre
