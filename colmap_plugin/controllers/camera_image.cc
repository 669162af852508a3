#include "colmap_plugin/controllers/camera_image.h"

#include <filesystem>

#include "nre/error.h"

namespace nre {

Image ReadCameraImage(const std::string& image_path,
                      const std::string& name,
                      int width,
                      int height,
                      const std::string& camera) {
  Image image = ReadImage((std::filesystem::path(image_path) / name).string());
  if (image.width != width || image.height != height) {
    throw InputError("its file has " + std::to_string(image.width) + "x" +
                     std::to_string(image.height) + " pixels, but " + camera +
                     " " + std::to_string(width) + "x" +
                     std::to_string(height));
  }
  return image;
}

}  // namespace nre
