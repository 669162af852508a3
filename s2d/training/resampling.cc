#include "s2d/training/resampling.h"

#include <ATen/ops/_upsample_bilinear2d_aa.h>

namespace nre {

torch::Tensor PhotoPart(const torch::Tensor& photo,
                        int64_t x,
                        int64_t y,
                        int64_t width,
                        int64_t height) {
  return photo.narrow(0, y, height)
      .narrow(1, x, width)
      .permute({2, 0, 1})
      .to(torch::kFloat32,
          /*non_blocking=*/false,
          /*copy=*/true,
          torch::MemoryFormat::Contiguous)
      .mul_(1.0 / 255.0);
}

torch::Tensor Resample(const torch::Tensor& image,
                       int64_t height,
                       int64_t width) {
  if (image.size(1) == height && image.size(2) == width) return image;
  return at::_upsample_bilinear2d_aa(
             image.unsqueeze(0), {height, width}, /*align_corners=*/false)
      .squeeze(0);
}

void CheckPhotos(const std::vector<torch::Tensor>& photos) {
  TORCH_CHECK(!photos.empty(), "expected at least one photograph");
  for (const torch::Tensor& photo : photos) {
    TORCH_CHECK(photo.dim() == 3 && photo.size(2) == 3 && photo.numel() > 0 &&
                    photo.scalar_type() == torch::kUInt8 &&
                    photo.device().is_cpu(),
                "expected photographs, uint8 [H, W, 3] on the CPU, got ",
                photo.options(),
                " ",
                photo.sizes());
  }
}

}  // namespace nre
