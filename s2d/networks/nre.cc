// The coarse and fine networks of the NRE (Germain, Lepetit, Bourmaud, CVPR
// 2021, appendix D.2): Inception-v3 (Szegedy et al., CVPR 2016), modified and
// truncated, and a 1x1 convolution. Every convolution keeps the image's border
// by padding. Where the paper and its published code disagree, the code holds:
// the coarse network goes on to Mixed_7a.

#include "s2d/networks/module.h"

namespace nre {
namespace {

namespace F = torch::nn::functional;

// A convolution without bias, batch normalisation, ReLU.
class BasicConv2d : public torch::nn::Module {
 public:
  BasicConv2d(int in, int out, int height, int width, int stride)
      : conv_(torch::nn::Conv2dOptions(in, out, {height, width})
                  .stride(stride)
                  .padding({height / 2, width / 2})
                  .bias(false)),
        bn_(torch::nn::BatchNorm2dOptions(out).eps(1e-3)) {
    register_module("conv", conv_);
    register_module("bn", bn_);
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return bn_->forward(conv_->forward(x)).relu_();
  }

 private:
  torch::nn::Conv2d conv_;
  torch::nn::BatchNorm2d bn_;
};

struct Convolution {
  const char* name;  // published
  int channels;
  int height;
  int width;
  int stride = 1;
};

using Branch = std::vector<Convolution>;

// What an Inception block does besides its branches; 3 x 3, padded.
enum class Pool {
  kAverage,  // in front of the last branch
  kMax,      // with stride 2, a branch of its own
  kNone,     // the input is passed on
};

// An Inception block: branches side by side, concatenated.
class Mixed : public torch::nn::Module {
 public:
  Mixed(int in, const std::vector<Branch>& branches, Pool pool) : pool_(pool) {
    for (const Branch& branch : branches) {
      branches_.emplace_back();
      int channels = in;
      for (const Convolution& c : branch) {
        branches_.back().push_back(register_module(
            c.name,
            std::make_shared<BasicConv2d>(
                channels, c.channels, c.height, c.width, c.stride)));
        channels = c.channels;
      }
    }
  }

  torch::Tensor forward(const torch::Tensor& x) {
    std::vector<torch::Tensor> outputs;
    for (size_t i = 0; i < branches_.size(); ++i) {
      const bool is_last = i + 1 == branches_.size();
      torch::Tensor y = is_last && pool_ == Pool::kAverage ? Average(x) : x;
      for (const auto& convolution : branches_[i]) y = convolution->forward(y);
      outputs.push_back(y);
    }
    if (pool_ == Pool::kMax) {
      outputs.push_back(torch::max_pool2d(x, 3, 2, 1));
    } else if (pool_ == Pool::kNone) {
      outputs.push_back(x);
    }
    return torch::cat(outputs, 1);
  }

 private:
  static torch::Tensor Average(const torch::Tensor& x) {
    return torch::avg_pool2d(x, 3, 1, 1);
  }

  Pool pool_;
  std::vector<std::vector<std::shared_ptr<BasicConv2d>>> branches_;
};

std::shared_ptr<Mixed> InceptionA(int in, int pool_channels) {
  return std::make_shared<Mixed>(
      in,
      std::vector<Branch>{
          {{"branch1x1", 64, 1, 1}},
          {{"branch5x5_1", 48, 1, 1}, {"branch5x5_2", 64, 5, 5}},
          {{"branch3x3dbl_1", 64, 1, 1},
           {"branch3x3dbl_2", 96, 3, 3},
           {"branch3x3dbl_3", 96, 3, 3}},
          {{"branch_pool", pool_channels, 1, 1}}},
      Pool::kAverage);
}

std::shared_ptr<Mixed> InceptionB(int in) {
  return std::make_shared<Mixed>(
      in,
      std::vector<Branch>{{{"branch3x3", 384, 3, 3, 2}},
                          {{"branch3x3dbl_1", 64, 1, 1},
                           {"branch3x3dbl_2", 96, 3, 3},
                           {"branch3x3dbl_3", 96, 3, 3, 2}}},
      Pool::kMax);
}

std::shared_ptr<Mixed> InceptionC(int in, int c7) {
  return std::make_shared<Mixed>(
      in,
      std::vector<Branch>{{{"branch1x1", 192, 1, 1}},
                          {{"branch7x7_1", c7, 1, 1},
                           {"branch7x7_2", c7, 1, 7},
                           {"branch7x7_3", 192, 7, 1}},
                          {{"branch7x7dbl_1", c7, 1, 1},
                           {"branch7x7dbl_2", c7, 7, 1},
                           {"branch7x7dbl_3", c7, 1, 7},
                           {"branch7x7dbl_4", c7, 7, 1},
                           {"branch7x7dbl_5", 192, 1, 7}},
                          {{"branch_pool", 192, 1, 1}}},
      Pool::kAverage);
}

// Inception-v3's has stride 2 and a max pooling.
std::shared_ptr<Mixed> InceptionDWithoutStride(int in) {
  return std::make_shared<Mixed>(
      in,
      std::vector<Branch>{
          {{"branch3x3_1", 192, 1, 1}, {"branch3x3_2", 320, 3, 3}},
          {{"branch7x7x3_1", 192, 1, 1},
           {"branch7x7x3_2", 192, 1, 7},
           {"branch7x7x3_3", 192, 7, 1},
           {"branch7x7x3_4", 192, 3, 3}}},
      Pool::kNone);
}

// One level.
class NreNetwork : public NetworkModule {
 public:
  std::vector<torch::Tensor> Forward(torch::Tensor image) override {
    return {cnn_->forward(image)};
  }

  int MinImageSize() const override { return 1; }

 protected:
  void AddConvolution(int in, int out, int size, int stride = 1) {
    cnn_->push_back(std::make_shared<BasicConv2d>(in, out, size, size, stride));
  }

  void AddPooling() {
    cnn_->push_back(torch::nn::MaxPool2d(
        torch::nn::MaxPool2dOptions(3).stride(2).padding(1)));
  }

  void Finish(int channels) {
    cnn_->push_back(torch::nn::Conv2d(
        torch::nn::Conv2dOptions(channels, channels, 1).bias(false)));
    cnn_->push_back(torch::nn::BatchNorm2d(channels));
    register_module("cnn", cnn_);
  }

  torch::nn::Sequential cnn_;
};

// 1280 channels, stride 16, cell (0, 0) centred on the first pixel.
class NreCoarse : public NreNetwork {
 public:
  NreCoarse() {
    AddConvolution(3, 32, 3, 2);
    AddConvolution(32, 32, 3);
    AddConvolution(32, 64, 3);
    AddPooling();
    AddConvolution(64, 80, 1);
    AddConvolution(80, 192, 3);
    AddPooling();
    cnn_->push_back(InceptionA(192, 32));
    cnn_->push_back(InceptionA(256, 64));
    cnn_->push_back(InceptionA(288, 64));
    cnn_->push_back(InceptionB(288));
    for (const int c7 : {128, 160, 160, 192}) {
      cnn_->push_back(InceptionC(768, c7));
    }
    cnn_->push_back(InceptionDWithoutStride(768));
    Finish(1280);
  }
};

// 288 channels, stride 2, cell (0, 0) centred on the first pixel.
class NreFine : public NreNetwork {
 public:
  NreFine() {
    AddConvolution(3, 32, 3, 2);
    AddConvolution(32, 32, 3);
    AddConvolution(32, 64, 3);
    // Called Conv2d_3b_1x1, but with a kernel of 3 x 3.
    AddConvolution(64, 80, 3);
    AddConvolution(80, 192, 3);
    cnn_->push_back(InceptionA(192, 32));
    cnn_->push_back(InceptionA(256, 64));
    cnn_->push_back(InceptionA(288, 64));
    Finish(288);
  }
};

}  // namespace

std::shared_ptr<NetworkModule> CreateNreCoarse() {
  return std::make_shared<NreCoarse>();
}

std::shared_ptr<NetworkModule> CreateNreFine() {
  return std::make_shared<NreFine>();
}

}  // namespace nre
