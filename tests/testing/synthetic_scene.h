// A textured scene with occlusions, rendered by ray casting: pictures with
// exact geometry for tests and for the demo, without any download.
//
// World: lengths in metres, z up. A courtyard of facades with recessed windows
// and posters, and in front of them a kiosk, crates, an archway, pillars and a
// fence with gaps. All textures are procedural and seeded; no two surfaces look
// alike.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <Eigen/Core>
#include <Eigen/Geometry>

#include "nre/camera.h"
#include "nre/rigid3.h"
#include "s2d/image.h"
#include "tests/testing/procedural_texture.h"

namespace nre {

// A rectangle, seen from both sides: points origin + u * u_axis + v * v_axis
// with u in [0, width], v in [0, height].
struct Quad {
  // A rectangular cut-out [u0, u1] x [v0, v1]. With a depth it is a niche that
  // goes in against the normal, with its own texture; with depth 0 rays pass.
  struct CutOut {
    double u0 = 0.0, v0 = 0.0, u1 = 0.0, v1 = 0.0;
    double depth = 0.0;
    Texture texture;
  };

  Eigen::Vector3d origin = Eigen::Vector3d::Zero();
  Eigen::Vector3d u_axis = Eigen::Vector3d::UnitX();  // unit length
  Eigen::Vector3d v_axis = Eigen::Vector3d::UnitY();  // unit length
  double width = 1.0;
  double height = 1.0;
  Texture texture;
  std::vector<CutOut> cut_outs;

  // The side that niches open to.
  Eigen::Vector3d Normal() const { return u_axis.cross(v_axis); }
};

// Quads that lie close together, with a box around them (niches included) that
// most rays miss.
struct SceneObject {
  std::vector<Quad> quads;
  Eigen::AlignedBox3d bounds;
};

struct Scene {
  std::vector<SceneObject> objects;
};

// What light falls on the scene and what the camera makes of it.
struct Lighting {
  struct Lamp {
    Eigen::Vector3d position = Eigen::Vector3d::Zero();
    Eigen::Vector3f color = Eigen::Vector3f::Ones();  // linear, at the lamp
    double radius = 2.0;  // m; at this distance the light has halved
  };

  Eigen::Vector3f sky = Eigen::Vector3f(0.55f, 0.75f, 1.0f);  // background
  Eigen::Vector3f ambient = Eigen::Vector3f::Constant(0.55f);
  Eigen::Vector3f sun = Eigen::Vector3f(0.75f, 0.72f, 0.65f);
  // Points to the sun; no cast shadows.
  Eigen::Vector3d sun_direction = Eigen::Vector3d(-0.45, -0.65, 0.6);
  std::vector<Lamp> lamps;

  float exposure = 1.0f;                               // factor on light
  float gamma = 1.0f;                                  // after sRGB's 1/2.2
  Eigen::Vector3f cast = Eigen::Vector3f::Ones();      // factor per channel
  Eigen::Vector2f gradient = Eigen::Vector2f::Zero();  // stops per side
  float vignette = 0.0f;  // light lost in the corners, 0..1
  float blur_px = 0.0f;   // sigma of a Gaussian
  float noise = 0.0f;     // sigma, in 8-bit levels
  uint32_t noise_seed = 0;
};

// "day" (the default above), "dusk", "lamps", "overexposed", "warm", "noise",
// "blur" or "backlight". Throws InputError for another name.
Lighting MakeLighting(const std::string& name);

// The courtyard. Seeds differ in all textures and in where the boxes stand.
// The facades look towards negative y; views from around (0, -4, 2) that look
// towards (0, 6, 2) see most of it.
Scene MakeStreetScene(uint32_t seed);

// A facade of ten bays that are the same to the last grain, 2.7 m wide each,
// from x = -13.5 to 13.5 at y = 7, that looks towards negative y, with ground
// in front of it. On each floor, `mark_share` of the bays have a poster of
// their own: without one in view, little tells one bay from another.
Scene MakeRepeatedScene(uint32_t seed, double mark_share);

// Pose of a camera at `center` that looks at `target`, without roll.
Rigid3d LookAt(const Eigen::Vector3d& center, const Eigen::Vector3d& target);

struct RayHit {
  double distance = 0.0;  // along the unit direction
  Eigen::Vector3d point = Eigen::Vector3d::Zero();
  Eigen::Vector3d normal = Eigen::Vector3d::Zero();  // towards the ray's origin
  Eigen::Vector2d uv = Eigen::Vector2d::Zero();      // surface coordinates, m
  const Texture* texture = nullptr;                  // owned by the scene
};

// The first surface on a ray; `direction` has unit length. Returns false if
// there is none.
bool CastRay(const Scene& scene,
             const Eigen::Vector3d& origin,
             const Eigen::Vector3d& direction,
             RayHit* hit);

struct RenderedView {
  Image image;
  // Distance along the camera's z axis at every pixel's centre, [height,
  // width], infinite where there is nothing.
  std::vector<float> depth;
};

// Renders with 2x2 samples per pixel and textures limited to the frequencies
// that these can carry. The result does not depend on the number of threads.
RenderedView Render(const Scene& scene,
                    const Camera& camera,
                    const Rigid3d& cam_from_world,
                    const Lighting& lighting,
                    int num_threads);

// A point on a visible surface.
struct SurfacePoint {
  Eigen::Vector2d xy = Eigen::Vector2d::Zero();   // image coordinates
  Eigen::Vector3d xyz = Eigen::Vector3d::Zero();  // world
};

// Up to `num_points` pixel centres with their 3D points, drawn without
// repetition among the pixels whose neighbours within `margin_px` lie on the
// same smooth surface and inside of the image.
std::vector<SurfacePoint> SampleSurfacePoints(const RenderedView& view,
                                              const Camera& camera,
                                              const Rigid3d& cam_from_world,
                                              int num_points,
                                              int margin_px,
                                              uint32_t seed);

// Whether a world point projects into the image with nothing in front of it;
// `xy`, if not null, receives its image coordinates.
bool IsVisible(const Scene& scene,
               const Camera& camera,
               const Rigid3d& cam_from_world,
               const Eigen::Vector3d& xyz,
               Eigen::Vector2d* xy);

}  // namespace nre
