#include "tests/testing/seeded_weights.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include "s2d/networks/module.h"

namespace nre {
namespace {

// Draws in [-1, 1), one per index: FNV-1a of the name, then SplitMix64.
class Draws {
 public:
  explicit Draws(const std::string& name) {
    for (const char c : name) {
      state_ = (state_ ^ static_cast<uint8_t>(c)) * 0x100000001b3;
    }
  }

  double Next() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    return static_cast<double>(z >> 40) / (1 << 23) - 1.0;
  }

 private:
  uint64_t state_ = 0xcbf29ce484222325;
};

bool EndsWith(const std::string& name, const std::string& end) {
  return name.size() >= end.size() &&
         name.compare(name.size() - end.size(), end.size(), end) == 0;
}

// value = offset + scale * draw, such that signals keep their scale.
struct Range {
  double offset;
  double scale;
};

Range RangeOf(const std::string& name, const std::vector<int64_t>& shape) {
  if (shape.size() == 4) {
    return {0.0, std::sqrt(6.0 / (shape[1] * shape[2] * shape[3]))};
  }
  if (shape.size() == 2) return {0.0, 0.05};  // centroids
  if (EndsWith(name, ".running_var")) return {1.0, 0.5};
  if (EndsWith(name, ".weight")) return {1.0, 0.2};
  return {0.0, 0.1};
}

void AddSeeded(const std::string& name,
               const torch::Tensor& tensor,
               Safetensors* file) {
  if (tensor.scalar_type() == torch::kInt64) {
    const int64_t zero = 0;
    AddTensor(name, "I64", {}, &zero, sizeof(zero), file);
    return;
  }
  const std::vector<int64_t> shape = tensor.sizes().vec();
  const Range range = RangeOf(name, shape);
  Draws draws(name);
  std::vector<float> values(tensor.numel());
  for (float& value : values) {
    value = static_cast<float>(range.offset + range.scale * draws.Next());
  }
  AddTensor(
      name, "F32", shape, values.data(), values.size() * sizeof(float), file);
}

}  // namespace

Safetensors SeededWeights(const std::string& network) {
  Safetensors file;
  file.metadata["network"] = WeightsOf(network);
  const auto module = CreateNetworkModule(network);
  for (const auto& item : module->named_parameters()) {
    AddSeeded(item.key(), item.value(), &file);
  }
  for (const auto& item : module->named_buffers()) {
    AddSeeded(item.key(), item.value(), &file);
  }
  return file;
}

Image SeededImage(int width, int height) {
  Image image{width, height, {}};
  Draws draws("image");
  image.rgb.resize(static_cast<size_t>(3) * width * height);
  for (uint8_t& value : image.rgb) {
    value = static_cast<uint8_t>((draws.Next() + 1.0) * 128.0);
  }
  return image;
}

}  // namespace nre
