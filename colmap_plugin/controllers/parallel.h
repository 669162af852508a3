// Independent pieces of work on several threads.
#pragma once

#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>

namespace nre {

// Thrown when a flag that stops the work was found set.
class Interrupted : public std::runtime_error {
 public:
  explicit Interrupted(const std::string& what_is_left = "nothing was written.")
      : std::runtime_error("Interrupted; " + what_is_left) {}
};

// Calls work(i) for all i below `num`, in about this order, on `num_threads`
// threads (-1: as many as there are cores). After the first exception no more
// work is begun, and it is thrown.
void ParallelFor(size_t num,
                 int num_threads,
                 const std::function<void(size_t i)>& work);

}  // namespace nre
