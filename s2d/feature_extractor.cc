#include "s2d/feature_extractor.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "nre/error.h"

namespace nre {

bool FeatureMap::Sample(const Eigen::Vector2d& xy_image,
                        float* descriptor) const {
  const Eigen::Vector2d xy = map_from_image * xy_image;
  // Written such that NaN fails.
  if (!(xy.x() >= 0.0 && xy.y() >= 0.0 && xy.x() <= width - 1.0 &&
        xy.y() <= height - 1.0)) {
    return false;
  }
  const int x0 = static_cast<int>(xy.x());
  const int y0 = static_cast<int>(xy.y());
  const int x1 = std::min(x0 + 1, width - 1);
  const int y1 = std::min(y0 + 1, height - 1);
  const float fx = static_cast<float>(xy.x() - x0);
  const float fy = static_cast<float>(xy.y() - y0);
  const float* d00 = Descriptor(x0, y0);
  const float* d10 = Descriptor(x1, y0);
  const float* d01 = Descriptor(x0, y1);
  const float* d11 = Descriptor(x1, y1);
  float squared_norm = 0.0f;
  for (int c = 0; c < channels; ++c) {
    const float top = (1.0f - fx) * d00[c] + fx * d10[c];
    const float bottom = (1.0f - fx) * d01[c] + fx * d11[c];
    descriptor[c] = (1.0f - fy) * top + fy * bottom;
    squared_norm += descriptor[c] * descriptor[c];
  }
  // Unit descriptors that cancel out say as little as zero ones.
  constexpr float kMinSquaredNorm = 1e-4f;
  if (!(squared_norm > (unit_norm ? kMinSquaredNorm : 0.0f))) return false;
  if (!unit_norm) return true;
  const float inverse_norm = 1.0f / std::sqrt(squared_norm);
  for (int c = 0; c < channels; ++c) descriptor[c] *= inverse_norm;
  return true;
}

DescribedPositions DescribePositions(const Eigen::Matrix2Xd& xys,
                                     const FeatureMap& features) {
  DescribedPositions described;
  std::vector<float> descriptor(features.channels);
  for (Eigen::Index i = 0; i < xys.cols(); ++i) {
    if (features.Sample(xys.col(i), descriptor.data())) {
      described.positions.push_back(i);
      described.descriptors.insert(
          described.descriptors.end(), descriptor.begin(), descriptor.end());
    }
  }
  return described;
}

void CheckSize(const Image& image, int width, int height, int min_size) {
  if (std::min(width, height) >= min_size) return;
  const auto name = [](int a, int b) {
    return std::to_string(a) + " x " + std::to_string(b);
  };
  const bool is_resized = width != image.width || height != image.height;
  throw InputError("the image is too small for features: it has " +
                   name(image.width, image.height) + " pixels" +
                   (is_resized ? ", resized to " + name(width, height) : "") +
                   ", expected at least " + name(min_size, min_size));
}

}  // namespace nre
