// Times of steps, for reports.
#pragma once

#include <chrono>

namespace nre {

class Stopwatch {
 public:
  // Milliseconds since construction or the last lap.
  double LapMs() {
    const Clock::time_point now = Clock::now();
    const std::chrono::duration<double, std::milli> lap = now - last_;
    last_ = now;
    return lap.count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
};

}  // namespace nre
