#include "tests/testing/procedural_texture.h"

#include <algorithm>
#include <cmath>

namespace nre {
namespace {

float Clamp01(float x) { return std::min(std::max(x, 0.0f), 1.0f); }

Eigen::Vector3f Mix(const Eigen::Vector3f& a,
                    const Eigen::Vector3f& b,
                    float share_of_b) {
  return a + share_of_b * (b - a);
}

// A step at x = 0 that is as wide as a pixel.
float SoftStep(float x, float pixel_size) {
  return Clamp01(x / pixel_size + 0.5f);
}

// Value noise in [-1, 1] with lattice constant 1.
float Noise(uint32_t seed, float x, float y) {
  const float floor_x = std::floor(x);
  const float floor_y = std::floor(y);
  const auto ix = static_cast<uint32_t>(static_cast<int32_t>(floor_x));
  const auto iy = static_cast<uint32_t>(static_cast<int32_t>(floor_y));
  const float fx = x - floor_x;
  const float fy = y - floor_y;
  const float sx = fx * fx * (3.0f - 2.0f * fx);
  const float sy = fy * fy * (3.0f - 2.0f * fy);
  const float top = HashUniform(seed, ix, iy) * (1.0f - sx) +
                    HashUniform(seed, ix + 1, iy) * sx;
  const float bottom = HashUniform(seed, ix, iy + 1) * (1.0f - sx) +
                       HashUniform(seed, ix + 1, iy + 1) * sx;
  return 2.0f * (top * (1.0f - sy) + bottom * sy) - 1.0f;
}

// Octaves of noise from `coarsest` metres down to what a pixel resolves; an
// octave is faded out before its cells become smaller than a pixel's samples.
float Fractal(uint32_t seed,
              const Eigen::Vector2f& uv,
              float coarsest,
              float pixel_size) {
  constexpr int kNumOctaves = 9;
  constexpr float kPersistence = 0.85f;
  float sum = 0.0f;
  float amplitude = 0.5f;
  float cell = coarsest;
  for (int octave = 0; octave < kNumOctaves; ++octave) {
    const float fade = Clamp01(2.0f * cell / pixel_size - 1.0f);
    if (fade == 0.0f) break;
    sum +=
        fade * amplitude * Noise(seed + octave, uv.x() / cell, uv.y() / cell);
    amplitude *= kPersistence;
    cell *= 0.5f;
  }
  return sum;
}

// Coverage in [0, 1] of discs, at most one per square of `cell` metres, and
// `tone` in [0, 1] of the disc there.
float Spots(uint32_t seed,
            const Eigen::Vector2f& uv,
            float cell,
            float pixel_size,
            float* tone) {
  if (cell < 2.0f * pixel_size) return 0.0f;
  const float x = uv.x() / cell;
  const float y = uv.y() / cell;
  const auto ix = static_cast<uint32_t>(static_cast<int32_t>(std::floor(x)));
  const auto iy = static_cast<uint32_t>(static_cast<int32_t>(std::floor(y)));
  if (HashUniform(seed, ix, iy) < 0.35f) return 0.0f;
  const float radius = 0.12f + 0.25f * HashUniform(seed + 1, ix, iy);
  const float span = 1.0f - 2.0f * radius;
  const float dx =
      x - std::floor(x) - radius - span * HashUniform(seed + 2, ix, iy);
  const float dy =
      y - std::floor(y) - radius - span * HashUniform(seed + 3, ix, iy);
  *tone = HashUniform(seed + 4, ix, iy);
  return SoftStep((radius - std::sqrt(dx * dx + dy * dy)) * cell, pixel_size);
}

Eigen::Vector3f AddSpots(uint32_t seed,
                         const Eigen::Vector2f& uv,
                         float cell,
                         float pixel_size,
                         float strength,
                         const Eigen::Vector3f& color) {
  float tone = 0.0f;
  const float coverage = Spots(seed, uv, cell, pixel_size, &tone);
  return color * (1.0f + coverage * strength * (2.0f * tone - 1.2f));
}

// Rectangular stones with mortar between them; every stone has its own shade.
Eigen::Vector3f Stones(const Texture& texture,
                       const Eigen::Vector2f& uv,
                       float stone_width,
                       float stone_height,
                       float mortar,
                       float pixel_size) {
  const float row = std::floor(uv.y() / stone_height);
  const auto iy = static_cast<uint32_t>(static_cast<int32_t>(row));
  const float shifted = uv.x() / stone_width + 0.5f * (iy & 1u);
  const auto ix =
      static_cast<uint32_t>(static_cast<int32_t>(std::floor(shifted)));
  const float x = (shifted - std::floor(shifted)) * stone_width;
  const float y = uv.y() - row * stone_height;
  const float to_edge =
      std::min(std::min(x, stone_width - x), std::min(y, stone_height - y));
  const float inside = SoftStep(to_edge - 0.5f * mortar, pixel_size);
  const float shade = HashUniform(texture.seed + 20, ix, iy);
  const Eigen::Vector3f stone =
      Mix(texture.base, texture.accent, shade) *
      (0.6f + 0.8f * HashUniform(texture.seed + 21, ix, iy));
  return Mix(Eigen::Vector3f::Constant(0.42f), stone, inside);
}

// Marks like writing: 5x7 dots per letter, random but the same every time.
float Writing(uint32_t seed,
              const Eigen::Vector2f& uv,
              float letter_width,
              float pixel_size) {
  const float dot = letter_width / 6.0f;
  if (dot < 0.5f * pixel_size) return 0.0f;
  const float x = uv.x() / dot;
  const float y = uv.y() / dot;
  const auto column = static_cast<int32_t>(std::floor(x));
  const auto line = static_cast<int32_t>(std::floor(y));
  const int in_x = ((column % 6) + 6) % 6;
  const int in_y = ((line % 10) + 10) % 10;
  if (in_x == 5 || in_y >= 7) return 0.0f;
  const auto letter_x = static_cast<uint32_t>((column - in_x) / 6);
  const auto letter_y = static_cast<uint32_t>((line - in_y) / 10);
  if (HashUniform(seed, letter_x, letter_y) < 0.15f) return 0.0f;  // a space
  const uint32_t letter = Hash(seed + 1, letter_x, letter_y);
  return HashUniform(letter, in_x, in_y) < 0.5f ? 1.0f : 0.0f;
}

Eigen::Vector3f Poster(const Texture& texture,
                       const Eigen::Vector2f& uv,
                       float pixel_size) {
  const uint32_t seed = texture.seed;
  const float size = texture.size.minCoeff();
  Eigen::Vector3f color = texture.base;
  // A picture of discs in the upper part, lines of writing below it.
  for (uint32_t i = 0; i < 9; ++i) {
    const Eigen::Vector2f center(
        HashUniform(seed, i, 1) * texture.size.x(),
        (0.35f + 0.65f * HashUniform(seed, i, 2)) * texture.size.y());
    const float radius = size * (0.05f + 0.2f * HashUniform(seed, i, 3));
    const float coverage = SoftStep(radius - (uv - center).norm(), pixel_size);
    const Eigen::Vector3f disc(HashUniform(seed, i, 4),
                               HashUniform(seed, i, 5),
                               HashUniform(seed, i, 6));
    color = Mix(color, disc, coverage);
  }
  if (uv.y() < 0.33f * texture.size.y()) {
    color = Mix(
        color, texture.accent, Writing(seed + 7, uv, 0.11f * size, pixel_size));
  }
  const float to_edge = std::min(std::min(uv.x(), texture.size.x() - uv.x()),
                                 std::min(uv.y(), texture.size.y() - uv.y()));
  return Mix(
      texture.accent, color, SoftStep(to_edge - 0.03f * size, pixel_size));
}

Eigen::Vector3f Blinds(const Texture& texture,
                       const Eigen::Vector2f& uv,
                       float pixel_size) {
  // Bands of random width: two lattices of lines, hashed.
  const float x = uv.x() / 0.17f + 0.7f * Noise(texture.seed, uv.x() * 3, 0);
  const float y = uv.y() / 0.23f + 0.7f * Noise(texture.seed, 0, uv.y() * 3);
  const float shade = Noise(texture.seed + 1, x, 0.3f * y);
  const Eigen::Vector3f color =
      Mix(texture.base, texture.accent, 0.5f + 0.5f * shade);
  return AddSpots(texture.seed + 2, uv, 0.3f, pixel_size, 0.8f, color);
}

}  // namespace

uint32_t Hash(uint32_t seed, uint32_t x, uint32_t y) {
  uint32_t h = seed * 0x9e3779b1u + x * 0x85ebca6bu + y * 0xc2b2ae35u;
  h ^= h >> 16;
  h *= 0x7feb352du;
  h ^= h >> 15;
  h *= 0x846ca68bu;
  h ^= h >> 16;
  return h;
}

float HashUniform(uint32_t seed, uint32_t x, uint32_t y) {
  return static_cast<float>(Hash(seed, x, y) >> 8) * (1.0f / 16777216.0f);
}

Eigen::Vector3f Texture::Reflectance(const Eigen::Vector2f& uv,
                                     float pixel_size) const {
  Eigen::Vector3f color = base;
  float grain = 0.0f;
  switch (kind) {
    case Kind::kPlaster:
      grain = 0.75f * Fractal(seed, uv, 1.6f, pixel_size);
      color = AddSpots(seed + 30, uv, 0.55f, pixel_size, 0.5f, color);
      color = AddSpots(seed + 40, uv, 0.19f, pixel_size, 0.7f, color);
      break;
    case Kind::kBrick:
      grain = 0.4f * Fractal(seed, uv, 0.8f, pixel_size);
      color = Stones(*this, uv, 0.25f, 0.085f, 0.014f, pixel_size);
      break;
    case Kind::kPaving:
      grain = 0.5f * Fractal(seed, uv, 1.1f, pixel_size);
      color = Stones(*this, uv, 0.62f, 0.41f, 0.025f, pixel_size);
      color = AddSpots(seed + 30, uv, 0.35f, pixel_size, 0.5f, color);
      break;
    case Kind::kWood:
      grain = 0.5f * Fractal(seed, {0.15f * uv.x(), uv.y()}, 0.4f, pixel_size);
      color = Stones(*this, uv, 1.9f, 0.16f, 0.01f, pixel_size);
      color = AddSpots(seed + 30, uv, 0.21f, pixel_size, 0.8f, color);
      break;
    case Kind::kPoster:
      grain = 0.12f * Fractal(seed, uv, 0.3f, pixel_size);
      color = Poster(*this, uv, pixel_size);
      break;
    case Kind::kBlinds:
      grain = 0.25f * Fractal(seed, uv, 0.5f, pixel_size);
      color = Blinds(*this, uv, pixel_size);
      break;
  }
  return (color * std::exp(grain)).cwiseMax(0.01f).cwiseMin(0.95f);
}

}  // namespace nre
