// The one exception for input that the user can mend.
#pragma once

#include <stdexcept>

namespace nre {

// Says what was wrong, what was expected and what to do. Commands turn it into
// one message and exit code 1, or into a `failed` line of the query it
// concerns.
class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace nre
