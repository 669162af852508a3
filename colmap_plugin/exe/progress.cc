#include "colmap_plugin/exe/progress.h"

#include <algorithm>
#include <cstdio>

#include <unistd.h>

namespace nre {

Progress::Progress(const std::string& what, size_t total)
    : what_(what),
      total_(total),
      is_terminal_(isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      last_shown_(start_) {}

Progress::~Progress() {
  if (is_terminal_ && done_ > 0) {
    std::fputs("\n", stderr);
  }
}

void Progress::Advance() {
  ++done_;
  const Clock::time_point now = Clock::now();
  const std::chrono::duration<double> interval(is_terminal_ ? 0.2 : 10.0);
  if (now - last_shown_ < interval && done_ < total_) {
    return;
  }
  last_shown_ = now;
  const double elapsed_s = std::chrono::duration<double>(now - start_).count();
  const double rate = done_ / std::max(elapsed_s, 1e-9);
  const double left_s = (total_ - done_) / rate;
  std::fprintf(stderr,
               "%s%zu/%zu %s, %.2f/s, %d:%02d min left%s",
               is_terminal_ ? "\r\033[K" : "",
               done_,
               total_,
               what_.c_str(),
               rate,
               static_cast<int>(left_s / 60.0),
               static_cast<int>(left_s) % 60,
               is_terminal_ ? "" : "\n");
  std::fflush(stderr);
}

}  // namespace nre
