// glog, which COLMAP and Ceres write their messages with.
#pragma once

#include <string>

namespace nre {

// Keeps glog silent, on the terminal and in files. When COLMAP gives up (a
// failed CHECK, LOG(FATAL)), calls `on_fatal` with its message, in the thread
// that gave up; `on_fatal` must end the process. To be called once, instead of
// InitializeColmap().
void SilenceColmapLogging(const char* program,
                          void (*on_fatal)(const std::string& message));

}  // namespace nre
