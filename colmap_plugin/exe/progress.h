// Progress on stderr: how many of how many, how fast, how much longer.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace nre {

class Progress {
 public:
  // `what`: "queries". A terminal gets one line that is rewritten, anything
  // else a line now and then.
  Progress(const std::string& what, size_t total);
  ~Progress();

  void Advance();

 private:
  using Clock = std::chrono::steady_clock;

  std::string what_;
  size_t total_;
  size_t done_ = 0;
  bool is_terminal_;
  Clock::time_point start_;
  Clock::time_point last_shown_;
};

}  // namespace nre
