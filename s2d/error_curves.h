// Cumulative error curves: which share of the queries has an error of at most
// x, for several methods side by side.
#pragma once

#include <string>
#include <vector>

#include "s2d/image.h"

namespace nre {

// One panel: the curves of one kind of error.
struct ErrorCurves {
  std::string label;  // of the error axis
  // [methods][queries]; infinite where there is no pose.
  std::vector<std::vector<double>> errors;
  std::vector<double> marks;  // errors with a vertical line
};

// A figure with the panels side by side and a legend of the methods' names
// below. The error axis is logarithmic and ends at the decade of the largest
// mark or, if no error is as large, of the largest error; it spans five decades
// at most. Throws std::invalid_argument if a panel has not one vector of errors
// per name. Letters of the names that are not ASCII become question marks.
Image DrawErrorCurves(const std::vector<ErrorCurves>& panels,
                      const std::vector<std::string>& names);

// The same figure as an SVG document. Names are UTF-8.
std::string ErrorCurvesAsSvg(const std::vector<ErrorCurves>& panels,
                             const std::vector<std::string>& names);

}  // namespace nre
