#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace nre {

// Returns the value that this share of the values lies below; NaN if there are
// none.
inline double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return std::nan("");
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1,
                         static_cast<size_t>(share * values.size()))];
}

}  // namespace nre
