#include "s2d/resize.h"

#include <opencv2/imgproc.hpp>

namespace nre {

cv::Mat Resized(const cv::Mat& image, const cv::Size& size) {
  const bool shrinks = size.width < image.cols;
  cv::Mat resized;
  cv::resize(image,
             resized,
             size,
             0.0,
             0.0,
             shrinks ? cv::INTER_AREA : cv::INTER_CUBIC);
  return resized;
}

}  // namespace nre
