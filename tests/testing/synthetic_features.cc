#include "tests/testing/synthetic_features.h"

#include <algorithm>
#include <cmath>

namespace nre {

std::vector<float> RandomDescriptors(int num, int channels, Random* random) {
  std::vector<float> descriptors;
  for (int i = 0; i < num; ++i) {
    Eigen::VectorXd descriptor(channels);
    for (double& value : descriptor) value = random->Normal(1.0);
    descriptor.normalize();
    for (const double value : descriptor) {
      descriptors.push_back(static_cast<float>(value));
    }
  }
  return descriptors;
}

FeatureMap RandomFeatures(int width,
                          int height,
                          int channels,
                          const MapFromImage& map_from_image,
                          Random* random) {
  FeatureMap features;
  features.channels = channels;
  features.height = height;
  features.width = width;
  features.map_from_image = map_from_image;
  features.data = RandomDescriptors(width * height, channels, random);
  return features;
}

std::vector<double> BruteForceLogits(const float* descriptor,
                                     const FeatureMap& features,
                                     double softmax_scale) {
  std::vector<double> logits;
  for (int y = 0; y < features.height; ++y) {
    for (int x = 0; x < features.width; ++x) {
      double similarity = 0.0;
      for (int c = 0; c < features.channels; ++c) {
        similarity +=
            static_cast<double>(descriptor[c]) * features.Descriptor(x, y)[c];
      }
      logits.push_back(softmax_scale * similarity);
    }
  }
  return logits;
}

double BruteForceLogSumExp(const std::vector<double>& logits) {
  const double maximum = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const double logit : logits) sum += std::exp(logit - maximum);
  return maximum + std::log(sum);
}

}  // namespace nre
