// Procedural, seeded surface textures, rich in structure at all scales.
#pragma once

#include <cstdint>

#include <Eigen/Core>

namespace nre {

// A well mixed 32-bit hash of lattice coordinates; the only source of
// randomness of the synthetic scenes, equal on every platform.
uint32_t Hash(uint32_t seed, uint32_t x, uint32_t y);

// The same, as a number in [0, 1).
float HashUniform(uint32_t seed, uint32_t x, uint32_t y);

// A surface's linear RGB reflectance as a function of surface coordinates in
// metres.
struct Texture {
  enum class Kind { kPlaster, kBrick, kPaving, kWood, kPoster, kBlinds };

  Kind kind = Kind::kPlaster;
  uint32_t seed = 0;
  Eigen::Vector3f base = Eigen::Vector3f::Constant(0.5f);
  Eigen::Vector3f accent = Eigen::Vector3f::Constant(0.2f);
  Eigen::Vector2f size = Eigen::Vector2f::Ones();  // of a poster, in metres

  // Reflectance in [0, 1] at uv, without the frequencies that cannot be seen
  // at `pixel_size` (metres of surface per pixel).
  Eigen::Vector3f Reflectance(const Eigen::Vector2f& uv,
                              float pixel_size) const;
};

}  // namespace nre
