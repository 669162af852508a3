// Reading the model whose images are references.
#pragma once

#include <string>
#include <vector>

#include "colmap_plugin/compat/colmap.h"

namespace nre {

// Reads a model as ReadModel() does and warns about points and images that are
// not used; returns these warnings. Throws InputError also if no image observes
// a point, or if most of what is observed contradicts the poses.
std::vector<std::string> ReadReferenceModel(const std::string& path,
                                            colmap::Reconstruction* model);

}  // namespace nre
