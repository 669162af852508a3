// Folders of photographs as training sets.
#pragma once

#include <string>

namespace nre {

// Packs the photographs below a folder into a training set, whatever is at its
// path, by `colmap_nre training_exporter`: only it can decode pictures, which
// it names if they cannot be read. Says what it does. Throws InputError if
// there is no colmap_nre beside this executable, and if no picture can be read.
void PackPhotographs(const std::string& image_path, const std::string& path);

}  // namespace nre
