// The network that the pose stage is compared with.
#pragma once

#include <memory>
#include <string>

namespace nre {

// The convolutional part of VGG-16 (Simonyan, Zisserman, ICLR 2015,
// configuration D): 13 convolutions with bias and ReLU, 4 max poolings, without
// the fully connected layers, in float. Weights and input are random: neither
// has an influence on the time.
class Vgg16 {
 public:
  // Sets the number of LibTorch's threads to 1.
  Vgg16(int width, int height);
  ~Vgg16();

  // One forward pass of a batch of one image; returns the mean of its output,
  // so that nothing can be left out.
  float Forward() const;

  // Version and backends of the LibTorch that runs it.
  static std::string Description();

 private:
  struct Network;  // keeps LibTorch's headers out
  std::unique_ptr<Network> network_;
};

}  // namespace nre
