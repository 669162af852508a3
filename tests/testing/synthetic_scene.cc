#include "tests/testing/synthetic_scene.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>
#include <utility>

#include "nre/error.h"

namespace nre {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Keeps a ray from hitting the surface that it starts on.
constexpr double kMinDistance = 1e-6;

// ---------------------------------------------------------------------------
// Building the scene
// ---------------------------------------------------------------------------

// A sequence of random numbers that is equal on every platform.
class Random {
 public:
  explicit Random(uint32_t seed) : seed_(seed) {}

  uint32_t Seed() { return Hash(seed_, ++counter_, 77); }
  double Uniform(double min, double max) {
    return min + (max - min) * HashUniform(seed_, ++counter_, 78);
  }
  Eigen::Vector3f Color(double min, double max) {
    const auto red = static_cast<float>(Uniform(min, max));
    const auto green = static_cast<float>(Uniform(min, max));
    const auto blue = static_cast<float>(Uniform(min, max));
    return {red, green, blue};
  }

 private:
  uint32_t seed_;
  uint32_t counter_ = 0;
};

Texture MakeTexture(Texture::Kind kind,
                    const Eigen::Vector3f& base,
                    const Eigen::Vector3f& accent,
                    Random* random) {
  Texture texture;
  texture.kind = kind;
  texture.seed = random->Seed();
  texture.base = base + random->Color(-0.06, 0.06);
  texture.accent = accent + random->Color(-0.06, 0.06);
  return texture;
}

Quad MakeQuad(const Eigen::Vector3d& origin,
              const Eigen::Vector3d& u_side,
              const Eigen::Vector3d& v_side,
              const Texture& texture) {
  Quad quad;
  quad.origin = origin;
  quad.width = u_side.norm();
  quad.height = v_side.norm();
  quad.u_axis = u_side / quad.width;
  quad.v_axis = v_side / quad.height;
  quad.texture = texture;
  quad.texture.size << static_cast<float>(quad.width),
      static_cast<float>(quad.height);
  return quad;
}

Eigen::AlignedBox3d Bounds(const std::vector<Quad>& quads) {
  constexpr double kSlack = 1e-3;  // an axis-aligned quad's box is flat
  Eigen::AlignedBox3d box;
  for (const Quad& quad : quads) {
    double deepest = 0.0;
    for (const Quad::CutOut& cut_out : quad.cut_outs) {
      deepest = std::max(deepest, cut_out.depth);
    }
    for (const double depth : {0.0, deepest}) {
      const Eigen::Vector3d corner = quad.origin - depth * quad.Normal();
      const Eigen::Vector3d u_side = quad.width * quad.u_axis;
      const Eigen::Vector3d v_side = quad.height * quad.v_axis;
      box.extend(corner);
      box.extend(corner + u_side);
      box.extend(corner + v_side);
      box.extend(corner + u_side + v_side);
    }
  }
  const Eigen::Vector3d slack = Eigen::Vector3d::Constant(kSlack);
  return {box.min() - slack, box.max() + slack};
}

void AddObject(std::vector<Quad> quads, Scene* scene) {
  SceneObject object;
  object.bounds = Bounds(quads);
  object.quads = std::move(quads);
  scene->objects.push_back(std::move(object));
}

// An upright box without bottom, turned by `yaw_deg` about its vertical axis
// through `base_center`; every side has its own texture of one kind.
void AddBox(const Eigen::Vector3d& base_center,
            const Eigen::Vector3d& size,
            double yaw_deg,
            Texture::Kind kind,
            Random* random,
            Scene* scene) {
  const Eigen::Vector3f base = random->Color(0.2, 0.6);
  const Eigen::Vector3f accent = random->Color(0.08, 0.5);
  const Eigen::AngleAxisd turn(yaw_deg * EIGEN_PI / 180.0,
                               Eigen::Vector3d::UnitZ());
  const Eigen::Vector3d x = turn * Eigen::Vector3d(size.x(), 0.0, 0.0);
  const Eigen::Vector3d y = turn * Eigen::Vector3d(0.0, size.y(), 0.0);
  const Eigen::Vector3d z(0.0, 0.0, size.z());
  const Eigen::Vector3d corner = base_center - 0.5 * (x + y);
  const auto side = [&](const Eigen::Vector3d& origin,
                        const Eigen::Vector3d& u_side,
                        const Eigen::Vector3d& v_side) {
    return MakeQuad(
        origin, u_side, v_side, MakeTexture(kind, base, accent, random));
  };
  AddObject({side(corner, x, z),
             side(corner + x, y, z),
             side(corner + x + y, -x, z),
             side(corner + y, -y, z),
             side(corner + z, x, y)},
            scene);
}

// A wall with rows of recessed windows and, between them, posters that hang
// 3 cm in front of it. The normal is u_side x z.
void AddFacade(const Eigen::Vector3d& origin,
               const Eigen::Vector3d& u_side,
               double height,
               Texture::Kind kind,
               Random* random,
               Scene* scene) {
  Quad wall = MakeQuad(
      origin,
      u_side,
      height * Eigen::Vector3d::UnitZ(),
      MakeTexture(
          kind, random->Color(0.3, 0.6), random->Color(0.1, 0.4), random));
  std::vector<Quad> quads;
  constexpr double kFloorHeight = 2.9;
  constexpr double kBayWidth = 2.7;
  for (double v = 0.9; v + 1.7 < height; v += kFloorHeight) {
    for (double u = 0.5; u + 2.0 < wall.width; u += kBayWidth) {
      const double left = u + random->Uniform(0.0, 0.4);
      const double bottom = v + random->Uniform(-0.15, 0.2);
      if (random->Uniform(0.0, 1.0) < 0.35) {
        const Eigen::Vector3d corner = origin + left * wall.u_axis +
                                       bottom * wall.v_axis +
                                       0.03 * wall.Normal();
        quads.push_back(MakeQuad(corner,
                                 random->Uniform(0.9, 1.7) * wall.u_axis,
                                 random->Uniform(1.0, 1.7) * wall.v_axis,
                                 MakeTexture(Texture::Kind::kPoster,
                                             random->Color(0.3, 0.9),
                                             random->Color(0.05, 0.3),
                                             random)));
        continue;
      }
      Quad::CutOut window;
      window.u0 = left;
      window.u1 = left + random->Uniform(1.1, 1.8);
      window.v0 = bottom;
      window.v1 = bottom + random->Uniform(1.3, 1.8);
      window.depth = random->Uniform(0.15, 0.45);
      window.texture = MakeTexture(Texture::Kind::kBlinds,
                                   random->Color(0.1, 0.7),
                                   random->Color(0.05, 0.4),
                                   random);
      wall.cut_outs.push_back(window);
    }
  }
  quads.push_back(std::move(wall));
  AddObject(std::move(quads), scene);
}

// Bays that are the same to the last grain, side by side, each with a strip of
// ground in front of it, and posters on some of them. The normal is u_axis x z.
void AddRepeatedFacade(const Eigen::Vector3d& origin,
                       const Eigen::Vector3d& u_axis,
                       int num_bays,
                       double mark_share,
                       Random* random,
                       Scene* scene) {
  constexpr double kBayWidth = 2.7;
  constexpr double kFloorHeight = 2.9;
  constexpr double kHeight = 6.4;
  constexpr double kGroundDepth = 14.0;
  const Eigen::Vector3d u_side = kBayWidth * u_axis;
  Quad wall = MakeQuad(origin,
                       u_side,
                       kHeight * Eigen::Vector3d::UnitZ(),
                       MakeTexture(Texture::Kind::kPlaster,
                                   random->Color(0.3, 0.6),
                                   random->Color(0.1, 0.4),
                                   random));
  for (double v = 0.9; v + 1.7 < kHeight; v += kFloorHeight) {
    Quad::CutOut window;
    window.u0 = random->Uniform(0.2, 0.4);
    window.u1 = window.u0 + random->Uniform(0.9, 1.1);
    window.v0 = v;
    window.v1 = v + random->Uniform(1.3, 1.7);
    window.depth = random->Uniform(0.15, 0.45);
    window.texture = MakeTexture(Texture::Kind::kBlinds,
                                 random->Color(0.1, 0.7),
                                 random->Color(0.05, 0.4),
                                 random);
    wall.cut_outs.push_back(window);
  }
  Quad ground = MakeQuad(origin + kGroundDepth * wall.Normal(),
                         u_side,
                         -kGroundDepth * wall.Normal(),
                         MakeTexture(Texture::Kind::kPaving,
                                     {0.4f, 0.4f, 0.38f},
                                     {0.2f, 0.2f, 0.22f},
                                     random));
  for (int bay = 0; bay < num_bays; ++bay) {
    const Eigen::Vector3d shift = bay * u_side;
    wall.origin = origin + shift;
    ground.origin = origin + kGroundDepth * wall.Normal() + shift;
    std::vector<Quad> quads = {wall, ground};
    for (double v = 0.7; v + 1.9 < kHeight; v += kFloorHeight) {
      if (random->Uniform(0.0, 1.0) >= mark_share) continue;
      const Eigen::Vector3d corner = wall.origin +
                                     random->Uniform(1.5, 1.7) * u_axis +
                                     v * wall.v_axis + 0.03 * wall.Normal();
      quads.push_back(MakeQuad(corner,
                               random->Uniform(0.7, 0.9) * u_axis,
                               random->Uniform(1.3, 1.9) * wall.v_axis,
                               MakeTexture(Texture::Kind::kPoster,
                                           random->Color(0.3, 0.9),
                                           random->Color(0.05, 0.3),
                                           random)));
    }
    AddObject(std::move(quads), scene);
  }
}

// Upright slats with gaps through which the scene behind is seen.
void AddFence(const Eigen::Vector3d& origin,
              const Eigen::Vector3d& u_side,
              double height,
              Random* random,
              Scene* scene) {
  Quad fence = MakeQuad(origin,
                        u_side,
                        height * Eigen::Vector3d::UnitZ(),
                        MakeTexture(Texture::Kind::kPlaster,
                                    random->Color(0.2, 0.5),
                                    random->Color(0.1, 0.3),
                                    random));
  double u = 0.12;
  while (u + 0.3 < fence.width) {
    const double gap = random->Uniform(0.12, 0.28);
    Quad::CutOut cut_out;
    cut_out.u0 = u;
    cut_out.u1 = u + gap;
    cut_out.v0 = 0.12;
    cut_out.v1 = height - 0.12;
    fence.cut_outs.push_back(cut_out);
    u += gap + random->Uniform(0.1, 0.22);
  }
  AddObject({fence}, scene);
}

// ---------------------------------------------------------------------------
// Casting rays
// ---------------------------------------------------------------------------

// Whether a ray meets a box closer than `max_distance`; `inverse` is one over
// the direction, per axis.
bool HitsBox(const Eigen::AlignedBox3d& box,
             const Eigen::Vector3d& origin,
             const Eigen::Vector3d& inverse,
             double max_distance) {
  const Eigen::Vector3d a = (box.min() - origin).cwiseProduct(inverse);
  const Eigen::Vector3d b = (box.max() - origin).cwiseProduct(inverse);
  const double near = a.cwiseMin(b).maxCoeff();
  const double far = a.cwiseMax(b).minCoeff();
  return far >= std::max(near, 0.0) && near < max_distance;
}

// A ray in a quad's frame: coordinates along u, v and the normal.
struct LocalRay {
  Eigen::Vector3d origin;
  Eigen::Vector3d direction;
};

// Follows a ray through a niche to the side or back where it ends. The sides
// take their texture from parts of it that the back does not show.
void HitNiche(const Quad& quad,
              const Quad::CutOut& niche,
              const LocalRay& ray,
              RayHit* hit) {
  const Eigen::Vector3d min(niche.u0, niche.v0, -niche.depth);
  const Eigen::Vector3d max(niche.u1, niche.v1, 0.0);
  int axis = 2;
  double distance = kInfinity;
  for (int i = 0; i < 3; ++i) {
    if (ray.direction[i] == 0.0) continue;
    const double wall = ray.direction[i] > 0.0 ? max[i] : min[i];
    const double to_wall = (wall - ray.origin[i]) / ray.direction[i];
    if (to_wall < distance) {
      distance = to_wall;
      axis = i;
    }
  }
  const Eigen::Vector3d end = ray.origin + distance * ray.direction;
  const double sign = ray.direction[axis] > 0.0 ? -1.0 : 1.0;
  const Eigen::Vector3d axes[3] = {quad.u_axis, quad.v_axis, quad.Normal()};
  hit->distance = distance;
  hit->normal = sign * axes[axis];
  hit->texture = &niche.texture;
  if (axis == 2) {
    hit->uv << end[0], end[1];
  } else {
    hit->uv << end[1 - axis] + 50.0 * (axis + 1), end[2] + 20.0 * sign;
  }
}

// Updates `hit` if the ray meets the quad closer than hit->distance.
void HitQuad(const Quad& quad,
             const Eigen::Vector3d& origin,
             const Eigen::Vector3d& direction,
             RayHit* hit) {
  const Eigen::Vector3d normal = quad.Normal();
  const double slope = normal.dot(direction);
  if (slope == 0.0) return;
  const Eigen::Vector3d from_corner = origin - quad.origin;
  const double height = normal.dot(from_corner);
  const double distance = -height / slope;
  if (!(distance > kMinDistance && distance < hit->distance)) return;
  const Eigen::Vector3d on_plane = from_corner + distance * direction;
  const double u = on_plane.dot(quad.u_axis);
  const double v = on_plane.dot(quad.v_axis);
  if (u < 0.0 || v < 0.0 || u > quad.width || v > quad.height) return;
  for (const Quad::CutOut& cut_out : quad.cut_outs) {
    if (u <= cut_out.u0 || u >= cut_out.u1 || v <= cut_out.v0 ||
        v >= cut_out.v1) {
      continue;
    }
    if (cut_out.depth == 0.0) return;
    if (slope > 0.0) break;  // from behind, a niche is closed
    const LocalRay ray = {
        {from_corner.dot(quad.u_axis), from_corner.dot(quad.v_axis), height},
        {direction.dot(quad.u_axis), direction.dot(quad.v_axis), slope}};
    RayHit in_niche;
    HitNiche(quad, cut_out, ray, &in_niche);
    if (in_niche.distance < hit->distance) *hit = in_niche;
    return;
  }
  hit->distance = distance;
  hit->normal = slope > 0.0 ? Eigen::Vector3d(-normal) : normal;
  hit->uv << u, v;
  hit->texture = &quad.texture;
}

// ---------------------------------------------------------------------------
// Light and camera
// ---------------------------------------------------------------------------

// Linear light that a hit surface sends along the ray.
Eigen::Vector3f Shade(const RayHit& hit,
                      const Lighting& lighting,
                      float pixel_size) {
  const auto towards = [&hit](const Eigen::Vector3d& direction) {
    return static_cast<float>(std::max(0.0, hit.normal.dot(direction)));
  };
  Eigen::Vector3f light =
      lighting.ambient +
      lighting.sun * towards(lighting.sun_direction.normalized());
  for (const Lighting::Lamp& lamp : lighting.lamps) {
    const Eigen::Vector3d to_lamp = lamp.position - hit.point;
    const double distance = to_lamp.norm();
    const double ratio = distance / lamp.radius;
    // Lamps also lighten what looks away from them a little.
    light += lamp.color * (0.15f + 0.85f * towards(to_lamp / distance)) *
             static_cast<float>(1.0 / (1.0 + ratio * ratio));
  }
  return light.cwiseProduct(
      hit.texture->Reflectance(hit.uv.cast<float>(), pixel_size));
}

// The view from one pose, before the camera's electronics.
class Tracer {
 public:
  Tracer(const Scene& scene,
         const Camera& camera,
         const Rigid3d& cam_from_world,
         const Lighting& lighting)
      : scene_(scene),
        camera_(camera),
        lighting_(lighting),
        world_from_cam_(cam_from_world.Inverse()) {}

  // Linear light of the pixel with centre `xy`, mean of 2x2 samples.
  Eigen::Vector3f Pixel(const Eigen::Vector2d& xy) const {
    Eigen::Vector3f sum = Eigen::Vector3f::Zero();
    for (const double dy : {-0.25, 0.25}) {
      for (const double dx : {-0.25, 0.25}) {
        sum += Sample(xy + Eigen::Vector2d(dx, dy));
      }
    }
    return 0.25f * sum;
  }

  // Distance along the camera's z axis, or infinity.
  float Depth(const Eigen::Vector2d& xy) const {
    Eigen::Vector3d bearing;
    RayHit hit;
    if (!Cast(xy, &bearing, &hit)) return static_cast<float>(kInfinity);
    return static_cast<float>(hit.distance * bearing.z());
  }

 private:
  bool Cast(const Eigen::Vector2d& xy,
            Eigen::Vector3d* bearing,
            RayHit* hit) const {
    return camera_.Unproject(xy, bearing) &&
           CastRay(scene_,
                   world_from_cam_.translation,
                   world_from_cam_.rotation * *bearing,
                   hit);
  }

  Eigen::Vector3f Sample(const Eigen::Vector2d& xy) const {
    Eigen::Vector3d bearing;
    RayHit hit;
    if (!Cast(xy, &bearing, &hit)) return lighting_.sky;
    // A pixel is longer on a surface seen at a slant; the geometric mean of
    // both sizes leaves texture to be seen and little to alias.
    const double slant =
        std::abs(hit.normal.dot(world_from_cam_.rotation * bearing));
    const double pixel_size = hit.distance / camera_.MeanFocalLength() /
                              std::sqrt(std::max(slant, 0.05));
    return Shade(hit, lighting_, static_cast<float>(pixel_size));
  }

  const Scene& scene_;
  const Camera& camera_;
  const Lighting& lighting_;
  const Rigid3d world_from_cam_;
};

// Calls row(y) for all rows, on several threads.
template <typename Function>
void ForEachRow(int height, int num_threads, const Function& row) {
  const auto work = [&](int first) {
    for (int y = first; y < height; y += num_threads) row(y);
  };
  std::vector<std::thread> threads;
  for (int i = 1; i < num_threads; ++i) threads.emplace_back(work, i);
  work(0);
  for (std::thread& thread : threads) thread.join();
}

// Gaussian blur of linear light [height, width]; the border is repeated.
void Blur(int width,
          int height,
          float sigma,
          std::vector<Eigen::Vector3f>* light) {
  const int radius = static_cast<int>(std::ceil(3.0f * sigma));
  std::vector<float> kernel;
  float sum = 0.0f;
  for (int i = -radius; i <= radius; ++i) {
    kernel.push_back(std::exp(-0.5f * i * i / (sigma * sigma)));
    sum += kernel.back();
  }
  const auto pass = [&](const std::vector<Eigen::Vector3f>& from,
                        int dx,
                        int dy) {
    std::vector<Eigen::Vector3f> to(from.size(), Eigen::Vector3f::Zero());
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        for (int i = -radius; i <= radius; ++i) {
          const int sx = std::clamp(x + i * dx, 0, width - 1);
          const int sy = std::clamp(y + i * dy, 0, height - 1);
          to[y * width + x] += kernel[i + radius] / sum * from[sy * width + sx];
        }
      }
    }
    return to;
  };
  *light = pass(pass(*light, 1, 0), 0, 1);
}

// Standard normal, equal on every platform.
float HashNormal(uint32_t seed, uint32_t x, uint32_t y) {
  float sum = -6.0f;
  for (uint32_t i = 0; i < 12; ++i) sum += HashUniform(seed + i, x, y);
  return sum;
}

// What the camera's electronics make of the light at pixel (x, y).
void Develop(const Eigen::Vector3f& light,
             int x,
             int y,
             int width,
             int height,
             const Lighting& lighting,
             uint8_t* rgb) {
  const float from_center_x = (x + 0.5f) / width - 0.5f;
  const float from_center_y = (y + 0.5f) / height - 0.5f;
  const float stops = lighting.gradient.x() * from_center_x +
                      lighting.gradient.y() * from_center_y;
  const float corner =
      2.0f * (from_center_x * from_center_x + from_center_y * from_center_y);
  const float factor = lighting.exposure * std::exp2(stops) *
                       (1.0f - lighting.vignette * corner);
  for (int c = 0; c < 3; ++c) {
    const float linear =
        std::clamp(light[c] * factor * lighting.cast[c], 0.0f, 1.0f);
    float level = 255.0f * std::pow(linear, lighting.gamma / 2.2f);
    if (lighting.noise > 0.0f) {
      level += lighting.noise * HashNormal(lighting.noise_seed + 100 * c, x, y);
    }
    rgb[c] = static_cast<uint8_t>(std::clamp(level + 0.5f, 0.0f, 255.0f));
  }
}

}  // namespace

Lighting MakeLighting(const std::string& name) {
  Lighting lighting;
  if (name == "day") {
    return lighting;
  } else if (name == "dusk") {
    lighting.sky = {0.35f, 0.22f, 0.3f};
    lighting.ambient = {0.16f, 0.17f, 0.26f};
    lighting.sun = {0.5f, 0.26f, 0.12f};
    lighting.sun_direction = {0.9f, -0.4f, 0.15f};
    lighting.noise = 2.0f;
    lighting.vignette = 0.2f;
  } else if (name == "lamps") {
    lighting.sky = {0.004f, 0.005f, 0.012f};
    lighting.ambient = {0.02f, 0.022f, 0.035f};
    lighting.sun.setZero();
    lighting.lamps = {{{-3.0, 4.5, 3.6}, {1.3f, 0.85f, 0.45f}, 2.2},
                      {{6.0, 4.0, 3.2}, {1.2f, 0.9f, 0.5f}, 2.0},
                      {{1.5, 7.0, 4.5}, {0.6f, 0.75f, 1.0f}, 1.8},
                      {{0.0, -1.0, 4.0}, {0.9f, 0.7f, 0.4f}, 2.2}};
    lighting.noise = 3.0f;
  } else if (name == "overexposed") {
    lighting.exposure = 1.8f;
  } else if (name == "warm") {
    lighting.cast = {1.25f, 0.85f, 0.5f};
    lighting.gamma = 1.3f;
  } else if (name == "noise") {
    lighting.exposure = 0.35f;
    lighting.noise = 9.0f;
  } else if (name == "blur") {
    lighting.blur_px = 1.3f;
    lighting.vignette = 0.5f;
  } else if (name == "backlight") {
    lighting.sun_direction = {0.7, 0.2, 0.5};
    lighting.ambient = {0.28f, 0.3f, 0.36f};
    lighting.gradient = {2.5f, -1.0f};
    lighting.gamma = 0.85f;
  } else {
    throw InputError("There is no lighting \"" + name +
                     "\"; there are day, dusk, lamps, overexposed, warm, "
                     "noise, blur and backlight.");
  }
  return lighting;
}

Scene MakeStreetScene(uint32_t seed) {
  using Kind = Texture::Kind;
  Random random(Hash(seed, 1, 2));
  Scene scene;
  // Ground.
  AddObject({MakeQuad({-16.0, -14.0, 0.0},
                      {28.0, 0.0, 0.0},
                      {0.0, 25.0, 0.0},
                      MakeTexture(Kind::kPaving,
                                  {0.4f, 0.4f, 0.38f},
                                  {0.2f, 0.2f, 0.22f},
                                  &random))},
            &scene);
  // Back, right and left facades, all with their normals into the courtyard.
  AddFacade(
      {-10.0, 9.0, 0.0}, {19.0, 0.0, 0.0}, 7.2, Kind::kBrick, &random, &scene);
  AddFacade(
      {9.0, 9.0, 0.0}, {0.0, -14.0, 0.0}, 6.4, Kind::kPlaster, &random, &scene);
  AddFacade({-10.0, -1.0, 0.0},
            {0.0, 10.0, 0.0},
            5.2,
            Kind::kPlaster,
            &random,
            &scene);
  const auto near = [&random](double x, double y, double z) {
    return Eigen::Vector3d(
        x + random.Uniform(-0.5, 0.5), y + random.Uniform(-0.5, 0.5), z);
  };
  // A kiosk and a stack of crates.
  AddBox(near(3.4, 4.6, 0.0),
         {2.4, 1.8, 2.5},
         random.Uniform(10.0, 40.0),
         Kind::kPlaster,
         &random,
         &scene);
  const Eigen::Vector3d crates = near(-2.6, 4.4, 0.0);
  AddBox(crates,
         {1.3, 1.2, 1.1},
         random.Uniform(-30.0, 0.0),
         Kind::kWood,
         &random,
         &scene);
  AddBox(crates + Eigen::Vector3d(1.35, 0.4, 0.0),
         {1.0, 1.0, 0.9},
         random.Uniform(0.0, 30.0),
         Kind::kWood,
         &random,
         &scene);
  AddBox(crates + Eigen::Vector3d(0.1, 0.0, 1.1),
         {0.9, 0.8, 0.7},
         random.Uniform(0.0, 40.0),
         Kind::kWood,
         &random,
         &scene);
  // An archway: two pillars and a lintel.
  AddBox({-7.0, 4.5, 0.0}, {0.7, 0.8, 3.2}, 0.0, Kind::kBrick, &random, &scene);
  AddBox({-4.4, 4.5, 0.0}, {0.7, 0.8, 3.2}, 0.0, Kind::kBrick, &random, &scene);
  AddBox(
      {-5.7, 4.5, 3.2}, {3.5, 0.9, 0.7}, 0.0, Kind::kPlaster, &random, &scene);
  // A row of pillars and a low wall.
  for (const double y : {1.0, 3.2, 5.4}) {
    AddBox({6.9, y + random.Uniform(-0.3, 0.3), 0.0},
           {0.5, 0.5, 3.0},
           random.Uniform(0.0, 45.0),
           Kind::kPlaster,
           &random,
           &scene);
  }
  AddBox(near(0.2, 7.2, 0.0),
         {3.2, 0.4, 0.8},
         random.Uniform(-8.0, 8.0),
         Kind::kBrick,
         &random,
         &scene);
  AddFence({-8.6, 2.2, 0.0}, {3.4, 0.5, 0.0}, 1.3, &random, &scene);
  return scene;
}

Scene MakeRepeatedScene(uint32_t seed, double mark_share) {
  Random random(Hash(seed, 3, 4));
  Scene scene;
  AddRepeatedFacade({-13.5, 7.0, 0.0},
                    Eigen::Vector3d::UnitX(),
                    10,
                    mark_share,
                    &random,
                    &scene);
  return scene;
}

Rigid3d LookAt(const Eigen::Vector3d& center, const Eigen::Vector3d& target) {
  const Eigen::Vector3d forward = (target - center).normalized();
  const Eigen::Vector3d right =
      forward.cross(Eigen::Vector3d::UnitZ()).normalized();
  Eigen::Matrix3d cam_from_world;
  cam_from_world.row(0) = right;
  cam_from_world.row(1) = forward.cross(right);
  cam_from_world.row(2) = forward;
  const Eigen::Quaterniond rotation(cam_from_world);
  return {rotation, -(rotation * center)};
}

bool CastRay(const Scene& scene,
             const Eigen::Vector3d& origin,
             const Eigen::Vector3d& direction,
             RayHit* hit) {
  const Eigen::Vector3d inverse = direction.cwiseInverse();
  hit->distance = kInfinity;
  for (const SceneObject& object : scene.objects) {
    if (!HitsBox(object.bounds, origin, inverse, hit->distance)) continue;
    for (const Quad& quad : object.quads) {
      HitQuad(quad, origin, direction, hit);
    }
  }
  if (hit->distance == kInfinity) return false;
  hit->point = origin + hit->distance * direction;
  return true;
}

RenderedView Render(const Scene& scene,
                    const Camera& camera,
                    const Rigid3d& cam_from_world,
                    const Lighting& lighting,
                    int num_threads) {
  const int width = camera.Width();
  const int height = camera.Height();
  const Tracer tracer(scene, camera, cam_from_world, lighting);
  RenderedView view;
  view.depth.resize(static_cast<size_t>(width) * height);
  std::vector<Eigen::Vector3f> light(view.depth.size());
  ForEachRow(height, num_threads, [&](int y) {
    for (int x = 0; x < width; ++x) {
      const Eigen::Vector2d xy(x + 0.5, y + 0.5);
      light[y * width + x] = tracer.Pixel(xy);
      view.depth[y * width + x] = tracer.Depth(xy);
    }
  });
  if (lighting.blur_px > 0.0f) Blur(width, height, lighting.blur_px, &light);
  view.image.width = width;
  view.image.height = height;
  view.image.rgb.resize(3 * light.size());
  ForEachRow(height, num_threads, [&](int y) {
    for (int x = 0; x < width; ++x) {
      Develop(light[y * width + x],
              x,
              y,
              width,
              height,
              lighting,
              &view.image.rgb[3 * (y * width + x)]);
    }
  });
  return view;
}

std::vector<SurfacePoint> SampleSurfacePoints(const RenderedView& view,
                                              const Camera& camera,
                                              const Rigid3d& cam_from_world,
                                              int num_points,
                                              int margin_px,
                                              uint32_t seed) {
  const int width = view.image.width;
  const int height = view.image.height;
  const auto depth = [&](int x, int y) { return view.depth[y * width + x]; };
  // On a plane, 1 / depth is linear in the image.
  const auto smooth = [&](int x, int y, int dx, int dy) {
    const float before = 1.0f / depth(x - dx, y - dy);
    const float here = 1.0f / depth(x, y);
    const float after = 1.0f / depth(x + dx, y + dy);
    return before > 0.0f && after > 0.0f &&
           std::abs(before + after - 2.0f * here) < 1e-3f * here;
  };
  std::vector<std::pair<uint32_t, int>> order;  // hash, pixel
  for (int y = margin_px; y < height - margin_px; ++y) {
    for (int x = margin_px; x < width - margin_px; ++x) {
      if (!std::isfinite(depth(x, y))) continue;
      if (smooth(x, y, margin_px, 0) && smooth(x, y, 0, margin_px) &&
          smooth(x, y, margin_px, margin_px) &&
          smooth(x, y, margin_px, -margin_px)) {
        order.emplace_back(Hash(seed, x, y), y * width + x);
      }
    }
  }
  std::sort(order.begin(), order.end());
  if (order.size() > static_cast<size_t>(num_points)) order.resize(num_points);

  const Rigid3d world_from_cam = cam_from_world.Inverse();
  std::vector<SurfacePoint> points;
  for (const auto& [hash, pixel] : order) {
    SurfacePoint point;
    point.xy << pixel % width + 0.5, pixel / width + 0.5;
    Eigen::Vector3d bearing;
    if (!camera.Unproject(point.xy, &bearing)) continue;
    point.xyz = world_from_cam * (bearing * (view.depth[pixel] / bearing.z()));
    points.push_back(point);
  }
  return points;
}

bool IsVisible(const Scene& scene,
               const Camera& camera,
               const Rigid3d& cam_from_world,
               const Eigen::Vector3d& xyz,
               Eigen::Vector2d* xy) {
  constexpr double kTolerance = 1e-3;  // m; depths are floats
  Eigen::Vector2d projected;
  if (!camera.Project(cam_from_world * xyz, &projected, nullptr)) return false;
  if (projected.x() < 0.0 || projected.y() < 0.0 ||
      projected.x() > camera.Width() || projected.y() > camera.Height()) {
    return false;
  }
  if (xy != nullptr) *xy = projected;
  const Eigen::Vector3d center = ProjectionCenter(cam_from_world);
  const double distance = (xyz - center).norm();
  RayHit hit;
  return !CastRay(scene, center, (xyz - center) / distance, &hit) ||
         hit.distance > distance - kTolerance;
}

}  // namespace nre
