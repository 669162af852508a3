#include "colmap_plugin/controllers/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace nre {

void ParallelFor(size_t num,
                 int num_threads,
                 const std::function<void(size_t i)>& work) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;  // the first; the others end soon after
  const auto run = [&]() {
    try {
      for (size_t i = next++; i < num; i = next++) {
        work(i);
      }
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex);
      if (failure == nullptr) {
        failure = std::current_exception();
      }
      next = num;
    }
  };

  const size_t wanted = num_threads > 0 ? static_cast<size_t>(num_threads)
                                        : std::thread::hardware_concurrency();
  std::vector<std::thread> threads;
  for (size_t i = 1; i < std::min(std::max<size_t>(wanted, 1), num); ++i) {
    threads.emplace_back(run);
  }
  run();
  for (std::thread& thread : threads) {
    thread.join();
  }
  if (failure != nullptr) {
    std::rethrow_exception(failure);
  }
}

}  // namespace nre
