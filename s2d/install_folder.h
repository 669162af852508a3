// Where what was installed, or built, beside this code is.
#pragma once

#include <string>

namespace nre {

// The folder that has bin/, lib/ and share/: the parent of the one that holds
// the executable or library of this code, links followed.
std::string InstallFolder();

}  // namespace nre
