// Textures for the surfaces of generated scenes. Only for training: includes
// LibTorch.
//
// Textures are [num, 3, size, size], RGB, 0 to 1, on the CPU. generator: of the
// CPU. The same textures come of the same generator, whatever the number of
// threads.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Generator.h>
#include <torch/types.h>

namespace nre {

// Textures drawn at random: noise of several octaves, tiles and windows, bars,
// cells of random points, gradients, in random colours, painted over each other
// and over with shapes, lines and something like letters. No pattern repeats:
// each tile, bar and letter differs. About one in six is plain, with
// contrasts of 3 to 30 per cent of the others', as many real surfaces are.
torch::Tensor ProceduralTextures(int64_t num,
                                 int64_t size,
                                 at::Generator generator);

// Square parts of photographs, uint8 [H, W, 3] on the CPU, at random positions
// and scales (from size / 2 pixels, or the whole photograph if that is smaller,
// up to the shorter side), mirrored and turned by multiples of 90 degrees.
torch::Tensor CutTextures(const std::vector<torch::Tensor>& photos,
                          int64_t num,
                          int64_t size,
                          at::Generator generator);

}  // namespace nre
