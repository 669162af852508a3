// S2DNet (Germain, Bourmaud, Lepetit, ECCV 2020; thesis 3.5.2.5): VGG-16 with
// an adaptation of three of its layers.

#include "s2d/networks/module.h"
#include "s2d/networks/vgg.h"

namespace nre {
namespace {

// conv1_2 and conv3_3, after their ReLU, and conv5_3 before: strides 1, 4 and
// 16, cell (0, 0) covering the first stride x stride pixels. The thesis takes
// all three after their ReLU; the published code keeps what comes before, but
// torchvision's ReLU works in place, on what was kept, and the last one is cut
// off. So the published weights are for this.
const std::vector<int> kLayers = {3, 15, 28};

torch::nn::Sequential CreateAdaptation(int channels) {
  constexpr int kHidden = 64;
  constexpr int kDescriptor = 128;
  using torch::nn::Conv2dOptions;
  return torch::nn::Sequential(
      torch::nn::Conv2d(Conv2dOptions(channels, kHidden, 1)),
      torch::nn::ReLU(),
      torch::nn::Conv2d(Conv2dOptions(kHidden, kDescriptor, 5).padding(2)),
      torch::nn::BatchNorm2d(kDescriptor));
}

// Three levels of 128 channels. Not normalised: the sum over levels of their
// correlations, upsampled bilinearly, are the logits of a softmax.
class S2dNet : public NetworkModule {
 public:
  S2dNet() : encoder_(CreateVgg16Encoder()) {
    register_module("encoder", encoder_);
    auto all = std::make_shared<torch::nn::Module>();
    for (const int channels : {64, 256, 512}) {
      adaptations_.push_back(all->register_module(
          "adap_layer_" + std::to_string(adaptations_.size()),
          CreateAdaptation(channels)));
    }
    register_module("adaptation_layers", all);
  }

  std::vector<torch::Tensor> Forward(torch::Tensor image) override {
    std::vector<torch::Tensor> levels =
        RunVgg16Encoder(encoder_, image, kLayers);
    for (size_t i = 0; i < levels.size(); ++i) {
      levels[i] = adaptations_[i]->forward(levels[i]);
    }
    return levels;
  }

  int MinImageSize() const override { return kMinVgg16ImageSize; }

 private:
  torch::nn::Sequential encoder_;
  std::vector<torch::nn::Sequential> adaptations_;
};

}  // namespace

std::shared_ptr<NetworkModule> CreateS2dNet() {
  return std::make_shared<S2dNet>();
}

}  // namespace nre
