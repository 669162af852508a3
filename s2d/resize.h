// The one way in which this room resizes pictures. Includes OpenCV: only for
// its sources.
#pragma once

#include <opencv2/core.hpp>

namespace nre {

// Of any type: by averages of areas where it shrinks, else by cubic
// interpolation.
cv::Mat Resized(const cv::Mat& image, const cv::Size& size);

}  // namespace nre
