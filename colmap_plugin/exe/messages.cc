#include "colmap_plugin/exe/messages.h"

#include <filesystem>
#include <iostream>

#include "nre/error.h"

namespace nre {

void Warn(const std::string& message) {
  std::cerr << "WARNING: " << message << std::endl;
}

void WarnIfAny(const std::string& message) {
  if (!message.empty()) {
    Warn(message);
  }
}

std::string FirstFew(const std::vector<std::string>& names) {
  constexpr size_t kFew = 3;
  std::string text;
  for (size_t i = 0; i < names.size() && i < kFew; ++i) {
    text += (i == 0 ? "" : ", ") + names[i];
  }
  if (names.size() > kFew) {
    text += " and " + std::to_string(names.size() - kFew) + " more";
  }
  return text;
}

void Require(const std::string& value, const std::string& name) {
  if (value.empty()) {
    throw InputError("--" + name + " is missing.");
  }
}

void CheckImagePath(const std::string& image_path) {
  std::error_code error;
  if (!std::filesystem::is_directory(image_path, error)) {
    throw InputError("The image folder " + image_path +
                     (error == std::errc::permission_denied
                          ? " may not be read."
                          : " does not exist."));
  }
}

}  // namespace nre
