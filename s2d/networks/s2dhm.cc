// What S2DHM (Germain, Bourmaud, Lepetit, 3DV 2019; thesis 3.4) takes from
// VGG-16: hypercolumns as local features, NetVLAD (Arandjelovic et al., CVPR
// 2016) as global ones.

#include "s2d/networks/module.h"
#include "s2d/networks/vgg.h"

namespace nre {
namespace {

namespace F = torch::nn::functional;

// The thesis (3.4.3) names conv3_3, conv4_1, conv4_3, conv5_1 and conv5_3. The
// published code takes what enters these layers: relu3_2, pool3, relu4_2, pool4
// and relu5_2, whose channels add up to the 2048 of the thesis' Table 3.8.
const std::vector<int> kLayers = {13, 16, 20, 23, 27};
constexpr int kConv5_3 = 28;

constexpr int kNumClusters = 64;
constexpr int kChannels = 512;

torch::Tensor Normalized(const torch::Tensor& x, int dimension) {
  return x / x.norm(2, dimension, /*keepdim=*/true).clamp_min(1e-12);
}

// NetVLAD: residuals of unit descriptors to the clusters' centroids, weighted
// by a softmax over clusters. [1, C, H, W] to [1, K * C], unit norm.
class NetVladPooling : public torch::nn::Module {
 public:
  NetVladPooling()
      : conv_(
            torch::nn::Conv2dOptions(kChannels, kNumClusters, 1).bias(false)) {
    register_module("conv", conv_);
    centroids_ =
        register_parameter("centroids", torch::rand({kNumClusters, kChannels}));
  }

  torch::Tensor Forward(const torch::Tensor& features) {
    const torch::Tensor x = Normalized(features, 1);
    const torch::Tensor shares =
        conv_->forward(x).flatten(2).softmax(1).squeeze(0);     // [K, H W]
    const torch::Tensor descriptors = x.flatten(2).squeeze(0);  // [C, H W]
    const torch::Tensor residuals =
        shares.matmul(descriptors.t()) -
        shares.sum(1, /*keepdim=*/true) * centroids_;
    return Normalized(Normalized(residuals, 1).reshape({1, -1}), 1);
  }

 private:
  torch::nn::Conv2d conv_;
  torch::Tensor centroids_;
};

// One level: the hypercolumn, 2048 channels of unit norm, stride 4, cell (0, 0)
// covering the first 4 x 4 pixels.
class Hypercolumns : public NetworkModule {
 public:
  // with_pool: the weights are those of an image retrieval network.
  explicit Hypercolumns(bool with_pool) : encoder_(CreateVgg16Encoder()) {
    register_module("encoder", encoder_);
    if (with_pool) {
      pool_ = register_module("pool", std::make_shared<NetVladPooling>());
    }
  }

  std::vector<torch::Tensor> Forward(torch::Tensor image) override {
    std::vector<torch::Tensor> levels =
        RunVgg16Encoder(encoder_, image, kLayers);
    const std::vector<int64_t> size = {levels[0].size(2), levels[0].size(3)};
    for (size_t i = 1; i < levels.size(); ++i) {
      // As published; corners aligned, a level is off by up to half its cell.
      levels[i] = F::interpolate(levels[i],
                                 F::InterpolateFuncOptions()
                                     .size(size)
                                     .mode(torch::kBilinear)
                                     .align_corners(true));
    }
    return {Normalized(torch::cat(levels, 1), 1)};
  }

  int MinImageSize() const override { return kMinVgg16ImageSize; }

 protected:
  torch::nn::Sequential encoder_;
  std::shared_ptr<NetVladPooling> pool_;
};

// One output: the global descriptor, [32768, 1, 1].
class NetVlad : public Hypercolumns {
 public:
  NetVlad() : Hypercolumns(true) {}

  std::vector<torch::Tensor> Forward(torch::Tensor image) override {
    const torch::Tensor features =
        RunVgg16Encoder(encoder_, image, {kConv5_3}).front();
    return {pool_->Forward(features).unsqueeze(2).unsqueeze(3)};
  }
};

}  // namespace

std::shared_ptr<NetworkModule> CreateHypercolumns(bool with_pool) {
  return std::make_shared<Hypercolumns>(with_pool);
}

std::shared_ptr<NetworkModule> CreateNetVlad() {
  return std::make_shared<NetVlad>();
}

}  // namespace nre
