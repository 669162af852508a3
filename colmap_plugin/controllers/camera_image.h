// Image files and the cameras that took them.
#pragma once

#include <string>

#include "s2d/image.h"

namespace nre {

// Reads the image `name` below a folder. Throws InputError as ReadImage() does,
// and if the file has not the size in pixels that its camera has; `camera` says
// whose that is: "its camera in the model".
Image ReadCameraImage(const std::string& image_path,
                      const std::string& name,
                      int width,
                      int height,
                      const std::string& camera);

}  // namespace nre
