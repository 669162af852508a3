#include "s2d/training/generated_scenes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "s2d/training/random_draws.h"

namespace nre {
namespace {

using torch::Tensor;

// Rays are cast in tiles, each against the rectangles that may be there; those
// of a rendering are squares of the image.
constexpr int64_t kTileSize = 64;
constexpr int64_t kTileRays = kTileSize * kTileSize;

// Inverse depths that differ by less, relatively, are of the same surface.
constexpr double kSameDepth = 0.01;

using Vector3 = std::array<double, 3>;

Vector3 operator+(const Vector3& a, const Vector3& b) {
  return {a[0] + b[0], a[1] + b[1], a[2] + b[2]};
}

Vector3 operator*(double s, const Vector3& a) {
  return {s * a[0], s * a[1], s * a[2]};
}

Vector3 operator-(const Vector3& a, const Vector3& b) { return a + -1.0 * b; }

double Dot(const Vector3& a, const Vector3& b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

Vector3 Cross(const Vector3& a, const Vector3& b) {
  return {a[1] * b[2] - a[2] * b[1],
          a[2] * b[0] - a[0] * b[2],
          a[0] * b[1] - a[1] * b[0]};
}

double Norm(const Vector3& a) { return std::sqrt(Dot(a, a)); }

Vector3 Normalized(const Vector3& a) { return (1.0 / Norm(a)) * a; }

Tensor ToTensor(const Vector3& a) {
  return torch::tensor({a[0], a[1], a[2]}, torch::kFloat64);
}

Vector3 ToVector(const Tensor& tensor) {
  const Tensor values = tensor.to(torch::kCPU, torch::kFloat64).contiguous();
  const double* data = values.data_ptr<double>();
  return {data[0], data[1], data[2]};
}

Vector3 Center(const SceneView& view) {
  return ToVector(-view.rotation.t().mv(view.translation));
}

Tensor PrincipalPoint(const SceneView& view) {
  return torch::tensor({0.5 * view.width, 0.5 * view.height}, torch::kFloat64);
}

// Rectangles as they are collected for a scene.
class SceneBuilder {
 public:
  SceneBuilder(int64_t num_textures, int64_t texture_size, Draws* draws)
      : num_textures_(num_textures),
        texture_size_(texture_size),
        draws_(draws) {}

  struct Look {
    int64_t texture;
    // Textures per length of the rectangle's longer side.
    double repeats;
    Vector3 color;
  };

  Look DrawLook(double max_repeats) {
    const double brightness = draws_->Uniform(0.5, 1.1);
    Look look;
    look.texture = draws_->Index(num_textures_);
    // Mostly sharp in the image.
    look.repeats = draws_->LogUniform(0.7, 2.0 * max_repeats);
    for (double& channel : look.color) {
      channel = brightness * draws_->Uniform(0.85, 1.15);
    }
    return look;
  }

  void AddRectangle(const Vector3& center,
                    const Vector3& half_u,
                    const Vector3& half_v,
                    const Look& look,
                    bool round = false,
                    double hole = 0.0) {
    Append(center, &centers_);
    Append(half_u, &half_us_);
    Append(half_v, &half_vs_);
    rounds_.push_back(round ? 1.0 : 0.0);
    holes_.push_back(hole);
    textures_.push_back(look.texture);
    const double texels = look.repeats * texture_size_;
    densities_.push_back(texels / (2.0 * std::max(Norm(half_u), Norm(half_v))));
    for (int i = 0; i < 2; ++i) {
      origins_.push_back(draws_->Uniform(0.0, texture_size_));
    }
    // Light from somewhere: surfaces of other directions differ.
    const Vector3 normal = Normalized(Cross(half_u, half_v));
    Append((1.0 + 0.2 * Dot(normal, light_)) * look.color, &colors_);
  }

  // All six faces of a box that stands upright, turned about z by yaw.
  void AddBox(const Vector3& center,
              const Vector3& half_size,
              double yaw,
              double max_repeats) {
    const std::array<Vector3, 3> axes = {
        Vector3{std::cos(yaw), std::sin(yaw), 0.0},
        Vector3{-std::sin(yaw), std::cos(yaw), 0.0},
        Vector3{0.0, 0.0, 1.0}};
    for (int axis = 0; axis < 3; ++axis) {
      for (const double sign : {-1.0, 1.0}) {
        const int u = (axis + 1) % 3;
        const int v = (axis + 2) % 3;
        AddRectangle(center + (sign * half_size[axis]) * axes[axis],
                     half_size[u] * axes[u],
                     half_size[v] * axes[v],
                     DrawLook(max_repeats));
      }
    }
  }

  // A flat, upright thing without corners, or with a hole.
  void AddCutOut(const Vector3& foot, double half_width, double half_height) {
    const double yaw = draws_->Uniform(0.0, M_PI);
    AddRectangle(foot + Vector3{0.0, 0.0, half_height},
                 half_width * Vector3{std::cos(yaw), std::sin(yaw), 0.0},
                 half_height * Vector3{0.0, 0.0, 1.0},
                 DrawLook(1.0),
                 draws_->Chance(0.6),
                 draws_->Chance(0.5) ? draws_->Uniform(0.2, 0.7) : 0.0);
  }

  GeneratedScene Finish() {
    const auto matrix = [](const std::vector<double>& values, int64_t columns) {
      return torch::tensor(values, torch::kFloat64).view({-1, columns});
    };
    GeneratedScene scene;
    scene.centers = matrix(centers_, 3);
    scene.half_us = matrix(half_us_, 3);
    scene.half_vs = matrix(half_vs_, 3);
    scene.round = torch::tensor(rounds_, torch::kFloat64);
    scene.holes = torch::tensor(holes_, torch::kFloat64);
    scene.textures = torch::tensor(textures_, torch::kInt64);
    scene.texture_origins = matrix(origins_, 2);
    scene.texels_per_metre = torch::tensor(densities_, torch::kFloat64);
    scene.colors = matrix(colors_, 3);
    const double sky = draws_->Uniform(0.3, 1.0);
    scene.sky = torch::tensor(
        {{0.7 * sky, 0.85 * sky, sky}, {0.9 * sky, 0.9 * sky, 0.95 * sky}},
        torch::kFloat64);
    return scene;
  }

 private:
  static void Append(const Vector3& vector, std::vector<double>* values) {
    values->insert(values->end(), vector.begin(), vector.end());
  }

  int64_t num_textures_;
  int64_t texture_size_;
  Draws* draws_;
  const Vector3 light_ = {draws_->Uniform(-1.0, 1.0),
                          draws_->Uniform(-1.0, 1.0),
                          draws_->Uniform(0.0, 1.0)};
  std::vector<double> centers_, half_us_, half_vs_, rounds_, holes_, origins_;
  std::vector<double> densities_, colors_;
  std::vector<int64_t> textures_;
};

// The rows of [x, y, 1] -> (1 / z, u / z, v / z), each affine in normalised
// image coordinates (x, y), of the rectangles in front of the camera; with
// which they are.
struct ProjectedRectangles {
  Tensor rows;     // [3, K', 3]
  Tensor indices;  // [K']
  Tensor round;    // [K', 1]
  Tensor squared_holes;
  // The first so many have nothing cut out.
  int64_t num_whole = 0;

  ProjectedRectangles Select(const Tensor& which) const {
    return {rows.index_select(1, which),
            indices.index_select(0, which),
            round.index_select(0, which),
            squared_holes.index_select(0, which),
            (which < num_whole).sum().item<int64_t>()};
  }
};

// rows [3, K, 3] times (xs, ys, 1) [P]: [3, K, P].
Tensor Affine(const Tensor& rows, const Tensor& xs, const Tensor& ys) {
  return torch::addcmul(rows.narrow(2, 2, 1), rows.narrow(2, 0, 1), xs)
      .addcmul_(rows.narrow(2, 1, 1), ys);
}

// Whether a rectangle may be seen: not all corners are beyond the same side of
// the pyramid of view. corners: [K, 4, 3], in the camera. Returns [K].
Tensor MayBeSeen(const Tensor& corners, double max_x, double max_y) {
  const Tensor x = corners.select(2, 0);
  const Tensor y = corners.select(2, 1);
  const Tensor z = corners.select(2, 2);
  const Tensor beyond = (z <= 0).all(1) | (x > max_x * z).all(1) |
                        (x < -max_x * z).all(1) | (y > max_y * z).all(1) |
                        (y < -max_y * z).all(1);
  return beyond.logical_not();
}

ProjectedRectangles Project(const GeneratedScene& scene,
                            const SceneView& view,
                            const torch::TensorOptions& options) {
  const Tensor rotation = view.rotation.t();  // to multiply rows by
  const Tensor center = scene.centers.mm(rotation) + view.translation;
  const Tensor half_u = scene.half_us.mm(rotation);
  const Tensor half_v = scene.half_vs.mm(rotation);
  const Tensor normal = torch::linalg_cross(half_u, half_v);
  // The plane is normal^T X = distance; on it, 1 / z = normal^T (x, y, 1) /
  // distance.
  const Tensor distance = (normal * center).sum(1, true);
  const Tensor corners = torch::stack({center - half_u - half_v,
                                       center - half_u + half_v,
                                       center + half_u - half_v,
                                       center + half_u + half_v},
                                      1);
  const Tensor seen =
      MayBeSeen(corners,
                0.5 * view.width / view.focal_length,
                0.5 * view.height / view.focal_length) &
      (distance.squeeze(1).abs() > 1e-4 * normal.square().sum(1).sqrt());
  const Tensor is_cut = (scene.round > 0) | (scene.holes > 0);
  const Tensor whole = (seen & ~is_cut).nonzero().squeeze(1);
  const Tensor indices =
      torch::cat({whole, (seen & is_cut).nonzero().squeeze(1)});
  const auto chosen = [&](const Tensor& t) {
    return t.index_select(0, indices);
  };
  const Tensor inverse_depth = chosen(normal / distance);
  // u = half_u^T (X - center) / |half_u|^2.
  const auto coordinate = [&](const Tensor& half) {
    const Tensor axis = chosen(half / half.square().sum(1, true));
    return axis - (axis * chosen(center)).sum(1, true) * inverse_depth;
  };
  const Tensor rows =
      torch::stack({inverse_depth, coordinate(half_u), coordinate(half_v)});
  return {rows.to(options),
          indices.to(options.device()),
          chosen(scene.round).unsqueeze(1).to(options),
          chosen(scene.holes.square()).unsqueeze(1).to(options),
          whole.size(0)};
}

// [P, 3], rows (x, y, 1).
Tensor NormalizedPositions(const SceneView& view, const Tensor& positions) {
  const Tensor xy = (positions - PrincipalPoint(view).to(positions.options())) /
                    view.focal_length;
  return torch::cat({xy, torch::ones_like(xy.narrow(1, 0, 1))}, 1);
}

Tensor UnitRows(const Tensor& rows) {
  return rows / rows.square().sum(1, true).sqrt();
}

// Which rectangles may be hit within a box around rays [P, 3]: not all its
// corners are beyond the same side of it. rows: [3, K, 3]. Returns [K], bool.
Tensor MayBeHit(const Tensor& rows, const Tensor& rays) {
  const Tensor low = rays.amin(0);
  const Tensor high = rays.amax(0);
  const Tensor xs = torch::stack({low[0], high[0], low[0], high[0]});
  const Tensor ys = torch::stack({low[1], low[1], high[1], high[1]});
  const Tensor at = Affine(rows, xs, ys);  // [3, K, 4]
  const Tensor w = at[0];
  const Tensor beyond = (w <= 0).all(1) | (at[1] > w).all(1) |
                        (at[1] < -w).all(1) | (at[2] > w).all(1) |
                        (at[2] < -w).all(1);
  return beyond.logical_not();
}

// Where rays hit the last K rectangles, with something cut out: see
// GeneratedScene. projected: [3, K, P]. Returns [K, P], bool.
Tensor HitsCutOuts(const ProjectedRectangles& rectangles,
                   const Tensor& projected) {
  const auto cut = [&](const Tensor& t) {
    return t.narrow(0, rectangles.num_whole, projected.size(1));
  };
  const Tensor w2 = projected[0].square();
  const Tensor u2 = projected[1].square();
  const Tensor v2 = projected[2].square();
  // Square of what GeneratedScene calls r, times 1 / z^2.
  const Tensor r2 =
      torch::maximum(u2, v2) + torch::minimum(u2, v2) * cut(rectangles.round);
  return (r2 <= w2) & (r2 >= w2 * cut(rectangles.squared_holes)) &
         (projected[0] > 0);
}

// The first hits of a tile of rays [P, 3].
RayHits CastTile(const ProjectedRectangles& rectangles, const Tensor& rays) {
  const Tensor projected =
      Affine(rectangles.rows, rays.select(1, 0), rays.select(1, 1));
  const Tensor w = projected[0];
  // |u| <= 1 and |v| <= 1: this is where time goes.
  const Tensor there =
      torch::maximum(projected[1].abs(), projected[2].abs()) <= w;
  if (rectangles.num_whole < w.size(0)) {
    const int64_t num = w.size(0) - rectangles.num_whole;
    there.narrow(0, rectangles.num_whole, num)
        .copy_(HitsCutOuts(rectangles,
                           projected.narrow(1, rectangles.num_whole, num)));
  }
  const auto [nearest, index] = (w * there).max(0);
  RayHits hits;
  hits.inverse_depths = nearest;
  hits.rectangles = rectangles.indices.index_select(0, index);
  const Tensor depth = 1.0 / nearest.clamp_min(1e-9);
  const Tensor at = index.unsqueeze(0);
  hits.us = projected[1].gather(0, at).squeeze(0) * depth;
  hits.vs = projected[2].gather(0, at).squeeze(0) * depth;
  return hits;
}

RayHits NoHits(const Tensor& positions) {
  RayHits hits;
  hits.inverse_depths = torch::zeros({positions.size(0)}, positions.options());
  hits.rectangles = torch::zeros({positions.size(0)},
                                 positions.options().dtype(torch::kInt64));
  hits.us = hits.inverse_depths;
  hits.vs = hits.inverse_depths;
  return hits;
}

// The centres of all pixels, [H W, 2].
Tensor PixelCenters(const SceneView& view,
                    const torch::TensorOptions& options) {
  const auto grid = torch::meshgrid({torch::arange(view.height, options) + 0.5,
                                     torch::arange(view.width, options) + 0.5},
                                    "ij");
  return torch::stack({grid[1].flatten(), grid[0].flatten()}, 1);
}

// Tensors [H W, ...] of pixels tile by tile, and back: squares beside and below
// each other. Images with parts of squares stay as they are.
Tensor InTiles(const Tensor& pixels, const SceneView& view) {
  if (view.height % kTileSize != 0 || view.width % kTileSize != 0) {
    return pixels;
  }
  return pixels
      .view({view.height / kTileSize,
             kTileSize,
             view.width / kTileSize,
             kTileSize,
             -1})
      .transpose(1, 2)
      .reshape({view.height * view.width, -1});
}

Tensor OutOfTiles(const Tensor& pixels, const SceneView& view) {
  if (view.height % kTileSize != 0 || view.width % kTileSize != 0) {
    return pixels;
  }
  return pixels
      .view({view.height / kTileSize,
             view.width / kTileSize,
             kTileSize,
             kTileSize,
             -1})
      .transpose(1, 2)
      .reshape({view.height * view.width, -1});
}

// Points of rays with a hit, in world coordinates, [P, 3].
Tensor HitPoints(const SceneView& view,
                 const Tensor& positions,
                 const RayHits& hits) {
  const Tensor rays = NormalizedPositions(view, positions);
  const Tensor camera = rays / hits.inverse_depths.clamp_min(1e-9).unsqueeze(1);
  return (camera - view.translation.to(camera.options()))
      .mm(view.rotation.to(camera.options()));
}

struct Projection {
  Tensor positions;       // [P, 2]
  Tensor inverse_depths;  // [P]; not positive behind the camera
};

Projection ProjectPoints(const SceneView& view, const Tensor& points) {
  const Tensor camera = points.mm(view.rotation.to(points.options()).t()) +
                        view.translation.to(points.options());
  Projection projection;
  projection.inverse_depths = 1.0 / camera.select(1, 2);
  projection.positions = camera.narrow(1, 0, 2) *
                             projection.inverse_depths.unsqueeze(1) *
                             view.focal_length +
                         PrincipalPoint(view).to(points.options());
  return projection;
}

// Whether the view sees these points: in front of it, inside the image, and
// nothing in between. [P], bool.
Tensor SeesPoints(const GeneratedScene& scene,
                  const SceneView& view,
                  const Projection& projection) {
  const Tensor x = projection.positions.select(1, 0);
  const Tensor y = projection.positions.select(1, 1);
  const Tensor inside = (projection.inverse_depths > 0) & (x >= 0) & (y >= 0) &
                        (x <= view.width) & (y <= view.height);
  // The cast leaves out what lies beyond the image: no rays there.
  const Tensor positions = torch::where(
      inside.unsqueeze(1),
      projection.positions,
      PrincipalPoint(view).to(projection.positions.options()).unsqueeze(0));
  const Tensor found = CastRays(scene, view, positions).inverse_depths;
  const Tensor same = (found - projection.inverse_depths).abs() <=
                      kSameDepth * projection.inverse_depths;
  return inside & same;
}

// A camera at `position` that looks at `target`, turned about its axis.
SceneView LookAt(const Vector3& position,
                 const Vector3& target,
                 double roll,
                 double fov,
                 const SceneOptions& options) {
  const Vector3 forward = Normalized(target - position);
  const Vector3 right = Normalized(Cross(forward, {0.0, 0.0, 1.0}));
  const Vector3 down = Cross(forward, right);
  const Vector3 x = std::cos(roll) * right + std::sin(roll) * down;
  const Vector3 y = std::cos(roll) * down - std::sin(roll) * right;
  SceneView view;
  view.rotation =
      torch::stack({ToTensor(x), ToTensor(y), ToTensor(forward)}, 0);
  view.translation = -view.rotation.mv(ToTensor(position));
  view.focal_length = 0.5 * options.width / std::tan(0.5 * fov);
  view.height = options.height;
  view.width = options.width;
  return view;
}

double DrawFov(const SceneOptions& options, Draws* draws) {
  return draws->Uniform(options.min_fov_deg, options.max_fov_deg) * M_PI /
         180.0;
}

// A coarse grid of positions all over the image, for looking before rendering.
Tensor ProbePositions(const SceneOptions& options) {
  constexpr int64_t kSize = 16;
  SceneView view;
  view.height = kSize;
  view.width = kSize;
  return PixelCenters(view, torch::kFloat32) *
         torch::tensor({options.width / static_cast<float>(kSize),
                        options.height / static_cast<float>(kSize)});
}

struct Probe {
  Tensor points;  // [P, 3], of the probes with a hit, in world coordinates
  double hit_share = 0.0;
  double near_depth = 0.0;    // the 5 % nearest are nearer
  double median_depth = 0.0;  // of the hits
};

Probe ProbeView(const GeneratedScene& scene,
                const SceneView& view,
                const Tensor& positions) {
  const RayHits hits = CastRays(scene, view, positions);
  const Tensor hit = (hits.inverse_depths > 0).nonzero().squeeze(1);
  Probe probe;
  probe.hit_share = static_cast<double>(hit.size(0)) / positions.size(0);
  if (hit.size(0) == 0) return probe;
  probe.points = HitPoints(view, positions, hits).index_select(0, hit);
  const Tensor sorted = std::get<0>(
      hits.inverse_depths.index_select(0, hit).sort(0, /*descending=*/true));
  const int64_t num = hit.size(0);
  probe.near_depth = 1.0 / sorted[num / 20].item<double>();
  probe.median_depth = 1.0 / sorted[num / 2].item<double>();
  return probe;
}

bool IsUsable(const Probe& probe) {
  return probe.hit_share > 0.5 && probe.near_depth > 0.4;
}

// Where cameras may stand, and what they look at from there.
struct Space {
  Vector3 min;
  Vector3 max;
};

Space SpaceOf(const GeneratedScene& scene) {
  // The first rectangle is the ground.
  const Vector3 center = ToVector(scene.centers[0]);
  const Vector3 u = ToVector(scene.half_us[0]);
  const Vector3 v = ToVector(scene.half_vs[0]);
  const double x = std::max(std::abs(u[0]), std::abs(v[0]));
  const double y = std::max(std::abs(u[1]), std::abs(v[1]));
  return {{center[0] - x, center[1] - y, center[2]},
          {center[0] + x, center[1] + y, center[2]}};
}

Vector3 DrawPosition(const Space& space, Draws* draws) {
  return {draws->Uniform(0.9 * space.min[0], 0.9 * space.max[0]),
          draws->Uniform(0.9 * space.min[1], 0.9 * space.max[1]),
          draws->Uniform(0.6, 2.2)};
}

// A camera somewhere in the scene with something to see.
SceneView DrawReference(const GeneratedScene& scene,
                        const Tensor& probes,
                        const SceneOptions& options,
                        Draws* draws,
                        Probe* probe) {
  constexpr int kNumTries = 20;
  const Space space = SpaceOf(scene);
  SceneView view;
  for (int i = 0; i < kNumTries; ++i) {
    const Vector3 position = DrawPosition(space, draws);
    const int64_t target = draws->Index(scene.centers.size(0));
    Vector3 at = ToVector(scene.centers[target]);
    at[2] += draws->Uniform(-0.3, 0.3);
    // Not straight up or down.
    if (std::hypot(at[0] - position[0], at[1] - position[1]) < 0.3) continue;
    view = LookAt(position,
                  at,
                  draws->Uniform(-0.1, 0.1),
                  DrawFov(options, draws),
                  options);
    *probe = ProbeView(scene, view, probes);
    if (IsUsable(*probe)) break;
  }
  TORCH_CHECK(probe->points.defined(), "a scene without anything to see");
  return view;
}

// A camera from which the reference's share of surface that is seen comes
// closest to the wanted one.
SceneView DrawQuery(const GeneratedScene& scene,
                    const SceneView& reference,
                    const Probe& reference_probe,
                    const Tensor& probes,
                    const SceneOptions& options,
                    Draws* draws) {
  constexpr int kNumCandidates = 8;
  const double wanted =
      draws->Uniform(options.min_overlap, options.max_overlap);
  const Vector3 center = Center(reference);
  SceneView best = reference;
  double best_error = 2.0;
  for (int i = 0; i < kNumCandidates; ++i) {
    // Far for small overlaps, but also near: by turning away.
    const double distance = reference_probe.median_depth *
                            draws->LogUniform(0.05, 1.5) * (1.2 - wanted);
    Vector3 position = center;
    for (int k = 0; k < 3; ++k) {
      position[k] +=
          distance * draws->Uniform(-1.0, 1.0) * (k == 2 ? 0.3 : 1.0);
    }
    position[2] = std::max(position[2], 0.3);
    Vector3 target = ToVector(
        reference_probe.points[draws->Index(reference_probe.points.size(0))]);
    const double away = (1.0 - wanted) * reference_probe.median_depth;
    for (double& t : target) t += away * draws->Uniform(-1.0, 1.0);
    if (std::hypot(target[0] - position[0], target[1] - position[1]) < 0.3) {
      continue;
    }
    const double max_roll = draws->Chance(0.1) ? M_PI / 2.0 : 0.2;
    const SceneView view = LookAt(position,
                                  target,
                                  draws->Uniform(-max_roll, max_roll),
                                  DrawFov(options, draws),
                                  options);
    if (!IsUsable(ProbeView(scene, view, probes))) continue;
    const Tensor seen =
        SeesPoints(scene, view, ProjectPoints(view, reference_probe.points));
    const double overlap = seen.to(torch::kFloat64).mean().item<double>();
    if (std::abs(overlap - wanted) < best_error) {
      best_error = std::abs(overlap - wanted);
      best = view;
    }
  }
  return best;
}

// One pair.
TrainingPairs GeneratePair(const TextureAtlas& atlas,
                           const SceneOptions& options,
                           Draws* draws) {
  const GeneratedScene scene =
      draws->Chance(options.street_share)
          ? GenerateStreet(atlas.NumTextures(), atlas.Size(), draws)
          : GenerateRoom(atlas.NumTextures(), atlas.Size(), draws);
  const Tensor probes = ProbePositions(options);
  Probe probe;
  const SceneView reference =
      DrawReference(scene, probes, options, draws, &probe);
  const SceneView query =
      DrawQuery(scene, reference, probe, probes, options, draws);

  const auto device = atlas.Options();
  const Tensor size = torch::tensor({static_cast<float>(options.width),
                                     static_cast<float>(options.height)})
                          .to(device);
  // More than half of the image shows a surface (IsUsable()), so that these
  // suffice; those on a surface first.
  const Tensor candidates =
      draws->UniformTensor({4 * options.num_points, 2}).to(device) * size;
  const Tensor nothing =
      CastRays(scene, reference, candidates).inverse_depths == 0;
  const Tensor positions = candidates.index_select(
      0,
      std::get<1>(
          nothing.to(torch::kInt32).sort(c10::optional<bool>(true), 0, false))
          .narrow(0, 0, options.num_points));
  const RayHits hits = CastRays(scene, reference, positions);
  const Projection projection =
      ProjectPoints(query, HitPoints(reference, positions, hits));
  const Tensor visible =
      SeesPoints(scene, query, projection) & (hits.inverse_depths > 0);
  return {Render(scene, reference, atlas).image.unsqueeze(0),
          Render(scene, query, atlas).image.unsqueeze(0),
          positions.unsqueeze(0),
          projection.positions.unsqueeze(0),
          visible.unsqueeze(0)};
}

}  // namespace

RayHits CastRays(const GeneratedScene& scene,
                 const SceneView& view,
                 const Tensor& positions) {
  const ProjectedRectangles rectangles =
      Project(scene, view, positions.options());
  if (rectangles.indices.size(0) == 0) return NoHits(positions);
  const Tensor rays = NormalizedPositions(view, positions);
  if (positions.is_cuda()) return CastTile(rectangles, rays);
  std::vector<RayHits> tiles;
  for (const Tensor& tile : rays.split(kTileRays)) {
    const Tensor which = MayBeHit(rectangles.rows, tile).nonzero().squeeze(1);
    tiles.push_back(which.size(0) > 0 ? CastTile(rectangles.Select(which), tile)
                                      : NoHits(tile));
  }
  const auto join = [&](Tensor RayHits::*member) {
    std::vector<Tensor> tensors;
    for (const RayHits& tile : tiles) tensors.push_back(tile.*member);
    return torch::cat(tensors);
  };
  return {join(&RayHits::inverse_depths),
          join(&RayHits::rectangles),
          join(&RayHits::us),
          join(&RayHits::vs)};
}

TextureAtlas::TextureAtlas(const Tensor& textures) {
  const int64_t size = textures.size(2);
  TORCH_CHECK(textures.dim() == 4 && textures.size(1) == 3 &&
                  textures.size(3) == size && size > 0 &&
                  (size & (size - 1)) == 0,
              "expected textures [T, 3, S, S], S a power of two");
  num_textures_ = textures.size(0);
  size_ = size;
  std::vector<Tensor> levels;
  std::vector<int64_t> sizes, offsets;
  Tensor level = textures.to(torch::kFloat32);
  for (int64_t s = size; s >= 1; s /= 2) {
    offsets.push_back(texels_per_texture_);
    sizes.push_back(s);
    texels_per_texture_ += s * s;
    levels.push_back(level.flatten(2).transpose(1, 2));
    if (s > 1) level = torch::avg_pool2d(level, 2);
  }
  texels_ = torch::cat(levels, 1).reshape({-1, 3});
  level_sizes_ = torch::tensor(sizes, torch::kInt64).to(textures.device());
  level_offsets_ = torch::tensor(offsets, torch::kInt64).to(textures.device());
}

Tensor TextureAtlas::Sample(const Tensor& textures,
                            const Tensor& positions,
                            const Tensor& texels_per_pixel) const {
  const Tensor level = texels_per_pixel.clamp_min(1e-6)
                           .log2()
                           .round()
                           .clamp(0, level_sizes_.size(0) - 1)
                           .to(torch::kInt64);
  const Tensor size = level_sizes_.index_select(0, level);
  const Tensor base =
      textures * texels_per_texture_ + level_offsets_.index_select(0, level);
  // Halving a texture halves positions; texel 0 is centred on 0.5.
  const Tensor scale =
      (level_sizes_.to(positions.dtype()) / size_).index_select(0, level);
  const Tensor at = positions * scale.unsqueeze(1) - 0.5;
  const Tensor first = at.floor();
  const Tensor share = at - first;
  const Tensor corner = first.to(torch::kInt64);
  // The remainder by a power of two.
  const Tensor mask = size - 1;
  const Tensor x0 = corner.select(1, 0).bitwise_and(mask);
  const Tensor y0 = corner.select(1, 1).bitwise_and(mask);
  const Tensor x1 = (x0 + 1).bitwise_and(mask);
  const Tensor row0 = base + y0 * size;
  const Tensor row1 = base + (y0 + 1).bitwise_and(mask) * size;
  const auto texel = [&](const Tensor& index) {
    return texels_.index_select(0, index);
  };
  const Tensor sx = share.narrow(1, 0, 1);
  const Tensor sy = share.narrow(1, 1, 1);
  const Tensor top = torch::lerp(texel(row0 + x0), texel(row0 + x1), sx);
  const Tensor bottom = torch::lerp(texel(row1 + x0), texel(row1 + x1), sx);
  return torch::lerp(top, bottom, sy);
}

Rendering Render(const GeneratedScene& scene,
                 const SceneView& view,
                 const TextureAtlas& atlas) {
  const torch::TensorOptions options = atlas.Options();
  const Tensor positions = InTiles(PixelCenters(view, options), view);
  const RayHits hits = CastRays(scene, view, positions);
  const auto of_hit = [&](const Tensor& values) {
    return values.to(options).index_select(0, hits.rectangles);
  };
  const Tensor density = scene.texels_per_metre.unsqueeze(1);
  const Tensor extents = torch::stack({scene.half_us.square().sum(1).sqrt(),
                                       scene.half_vs.square().sum(1).sqrt()},
                                      1);
  const Tensor texels =
      torch::stack({hits.us, hits.vs}, 1) * of_hit(extents * density) +
      of_hit(scene.texture_origins);
  // How far apart neighbouring pixels are on a surface that is not slanted;
  // slanted, they are farther apart in one direction.
  const Tensor normals = UnitRows(
      torch::linalg_cross(scene.half_us, scene.half_vs).mm(view.rotation.t()));
  const Tensor rays = NormalizedPositions(view, positions);
  const Tensor cosine =
      ((of_hit(normals) * rays).sum(1).abs() / rays.square().sum(1).sqrt())
          .clamp_min(0.05);
  const Tensor texels_per_pixel =
      of_hit(density).squeeze(1) /
      (hits.inverse_depths.clamp_min(1e-3) * view.focal_length * cosine.sqrt());
  const Tensor colors =
      atlas.Sample(
          scene.textures.to(options.device()).index_select(0, hits.rectangles),
          texels,
          texels_per_pixel) *
      of_hit(scene.colors);
  const Tensor sky = scene.sky.to(options);
  const Tensor height =
      (positions.select(1, 1) / static_cast<double>(view.height)).unsqueeze(1);
  const Tensor background = sky[0] * (1.0 - height) + sky[1] * height;
  const Tensor seen =
      torch::where((hits.inverse_depths > 0).unsqueeze(1), colors, background);
  return {OutOfTiles(seen.clamp(0.0, 1.0), view)
              .t()
              .reshape({3, view.height, view.width}),
          OutOfTiles(hits.inverse_depths.unsqueeze(1), view)
              .view({view.height, view.width})};
}

bool SceneOptions::Check() const {
  return height > 0 && width > 0 && num_points > 0 && min_overlap >= 0.0 &&
         min_overlap <= max_overlap && max_overlap <= 1.0 &&
         min_fov_deg > 0.0 && min_fov_deg <= max_fov_deg &&
         max_fov_deg < 180.0 && street_share >= 0.0 && street_share <= 1.0;
}

GeneratedScene GenerateRoom(int64_t num_textures,
                            int64_t texture_size,
                            Draws* draws) {
  SceneBuilder builder(num_textures, texture_size, draws);
  const double x = draws->Uniform(1.5, 5.0);
  const double y = draws->Uniform(1.5, 5.0);
  const double z = draws->Uniform(1.2, 2.5);
  // The ground first.
  const std::array<Vector3, 3> half = {
      Vector3{x, 0.0, 0.0}, Vector3{0.0, y, 0.0}, Vector3{0.0, 0.0, z}};
  const Vector3 middle = {0.0, 0.0, z};
  for (const int axis : {2, 0, 1}) {
    for (const double sign : {-1.0, 1.0}) {
      builder.AddRectangle(middle + sign * half[axis],
                           half[(axis + 1) % 3],
                           half[(axis + 2) % 3],
                           builder.DrawLook(3.0));
    }
  }
  for (int64_t i = 3 + draws->Index(7); i > 0; --i) {
    const Vector3 size = {draws->LogUniform(0.1, 0.8),
                          draws->LogUniform(0.1, 0.8),
                          draws->LogUniform(0.1, 0.9)};
    const double foot = draws->Chance(0.3) ? draws->Uniform(0.0, z) : 0.0;
    builder.AddBox(
        {draws->Uniform(-x, x), draws->Uniform(-y, y), foot + size[2]},
        size,
        draws->Uniform(0.0, M_PI),
        1.5);
  }
  // Pictures, shelves, mirrors of nothing: flat on the walls.
  for (int64_t i = draws->Index(9); i > 0; --i) {
    const bool on_x = draws->Chance(0.5);
    const double gap = draws->Uniform(0.01, 0.15);
    const double side = draws->Sign();
    const Vector3 center =
        on_x ? Vector3{side * (x - gap), draws->Uniform(-y, y), 0.0}
             : Vector3{draws->Uniform(-x, x), side * (y - gap), 0.0};
    const double width = draws->LogUniform(0.15, 1.0);
    builder.AddRectangle(
        center + Vector3{0.0, 0.0, draws->Uniform(0.4, 1.8 * z)},
        width * (on_x ? Vector3{0.0, 1.0, 0.0} : Vector3{1.0, 0.0, 0.0}),
        {0.0, 0.0, draws->LogUniform(0.15, 1.0)},
        builder.DrawLook(1.0),
        draws->Chance(0.15),
        draws->Chance(0.15) ? draws->Uniform(0.3, 0.8) : 0.0);
  }
  for (int64_t i = draws->Index(5); i > 0; --i) {
    builder.AddCutOut({draws->Uniform(-x, x), draws->Uniform(-y, y), 0.0},
                      draws->LogUniform(0.1, 0.6),
                      draws->LogUniform(0.2, 1.0));
  }
  return builder.Finish();
}

GeneratedScene GenerateStreet(int64_t num_textures,
                              int64_t texture_size,
                              Draws* draws) {
  SceneBuilder builder(num_textures, texture_size, draws);
  const double length = draws->Uniform(8.0, 25.0);
  const double width = draws->Uniform(3.0, 12.0);  // half of it
  builder.AddRectangle({0.0, 0.0, 0.0},
                       {length, 0.0, 0.0},
                       {0.0, width, 0.0},
                       builder.DrawLook(6.0));
  for (const double side : {-1.0, 1.0}) {
    for (double x = -length; x < length;) {
      const double half = draws->Uniform(2.0, 6.0);
      const double height = draws->Uniform(1.5, 7.0);
      const double depth = draws->Uniform(1.0, 3.0);
      const double front = width + draws->Uniform(0.0, 1.5);
      const Vector3 center = {x + half, side * (front + depth), height};
      builder.AddBox(center, {half, depth, height}, 0.0, 3.0);
      // Relief: sills, balconies, columns, doors.
      for (int64_t i = draws->Index(7); i > 0; --i) {
        const double thickness = draws->LogUniform(0.05, 0.6);
        builder.AddBox({x + draws->Uniform(0.1, 1.9) * half,
                        side * front,
                        draws->Uniform(0.1, 1.9) * height},
                       {draws->LogUniform(0.1, 0.5 * half),
                        thickness,
                        draws->LogUniform(0.1, 0.7 * height)},
                       0.0,
                       1.0);
      }
      x += 2.0 * half + (draws->Chance(0.3) ? draws->Uniform(0.0, 4.0) : 0.0);
    }
  }
  // The street's ends.
  for (const double side : {-1.0, 1.0}) {
    if (draws->Chance(0.4)) continue;
    builder.AddBox({side * (length + 2.0), 0.0, draws->Uniform(2.0, 5.0)},
                   {1.0, draws->Uniform(0.5, 1.0) * width, 5.0},
                   0.0,
                   3.0);
  }
  for (int64_t i = 2 + draws->Index(7); i > 0; --i) {
    const double size = draws->LogUniform(0.2, 1.2);
    builder.AddBox(
        {draws->Uniform(-length, length), draws->Uniform(-width, width), size},
        {draws->LogUniform(0.2, 2.0), draws->LogUniform(0.2, 1.0), size},
        draws->Uniform(0.0, M_PI),
        1.5);
  }
  for (int64_t i = draws->Index(9); i > 0; --i) {
    builder.AddCutOut(
        {draws->Uniform(-length, length), draws->Uniform(-width, width), 0.0},
        draws->LogUniform(0.15, 1.5),
        draws->LogUniform(0.5, 2.5));
  }
  return builder.Finish();
}

TrainingPairs GeneratedPairs(int64_t num_pairs,
                             const Tensor& textures,
                             const SceneOptions& options,
                             at::Generator generator) {
  TORCH_CHECK(options.Check(), "invalid SceneOptions");
  const torch::NoGradGuard no_grad;
  const TextureAtlas atlas(textures);
  std::vector<TrainingPairs> pairs(num_pairs);
  ForEachItem(num_pairs,
              std::move(generator),
              /*in_parallel=*/!textures.is_cuda(),
              [&](int64_t i, Draws* draws) {
                pairs[i] = GeneratePair(atlas, options, draws);
              });
  return Concatenate(pairs);
}

}  // namespace nre
