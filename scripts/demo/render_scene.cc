// Renders the demo: pictures for mapping, held-out queries under other light,
// and the true poses of both.
//
//   render_scene OUTPUT_FOLDER
//
// writes, into a folder that exists,
//   images/mapping/*.png, images/queries/*.png
//                   all names below are relative to images/
//   camera.txt      fx,fy,cx,cy of the one PINHOLE camera of all pictures
//   mapping.txt     names of the mapping pictures
//   queries.txt     hloc's list: name PINHOLE width height fx fy cx cy
//   lights.txt      name and light of every query
//   mapping_gt.txt, queries_gt.txt
//                   name qw qx qy qz tx ty tz, cam_from_world in metres; a
//                   query that shows another scene is not listed
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "s2d/visualization.h"
#include "tests/testing/synthetic_scene.h"

namespace {

constexpr int kWidth = 800;
constexpr int kHeight = 600;
constexpr double kFocalLength = 680.0;
constexpr uint32_t kSceneSeed = 1;
constexpr uint32_t kOtherSceneSeed = 2;

struct View {
  std::string name;
  std::string light;
  nre::Rigid3d cam_from_world;
  uint32_t scene_seed = kSceneSeed;
};

// Two arcs around the courtyard, at different heights and distances.
std::vector<View> MappingViews() {
  constexpr int kViewsPerArc = 12;
  std::vector<View> views;
  for (const int arc : {0, 1}) {
    const double radius = arc == 0 ? 11.0 : 8.2;
    const double height = arc == 0 ? 1.7 : 2.8;
    for (int i = 0; i < kViewsPerArc; ++i) {
      const double angle =
          (i - 0.5 * (kViewsPerArc - 1) + 0.25 * arc) * 9.5 * EIGEN_PI / 180.0;
      const Eigen::Vector3d target(0.3 * (i % 3 - 1), 6.5, 2.3);
      const Eigen::Vector3d center(radius * std::sin(angle),
                                   6.5 - radius * std::cos(angle),
                                   height + 0.15 * (i % 2));
      char name[32];
      std::snprintf(name, sizeof(name), "mapping/arc%d_%02d.png", arc, i);
      views.push_back({name, "day", nre::LookAt(center, target)});
    }
  }
  return views;
}

// Between, in front of and far behind the mapping views; and the same place in
// another town, which must not be registered.
std::vector<View> QueryViews() {
  using nre::LookAt;
  return {
      {"queries/between_day.png",
       "day",
       LookAt({1.2, -2.8, 2.2}, {0.5, 6.5, 2.0})},
      {"queries/left_dusk.png",
       "dusk",
       LookAt({-6.2, -2.0, 1.6}, {1.0, 7.0, 2.4})},
      {"queries/right_lamps.png",
       "lamps",
       LookAt({4.6, -2.4, 2.0}, {-1.0, 7.0, 2.0})},
      {"queries/near_warm.png",
       "warm",
       LookAt({0.4, 0.6, 1.9}, {-0.6, 9.0, 2.3})},
      {"queries/far_noise.png",
       "noise",
       LookAt({-2.5, -9.5, 3.6}, {0.0, 6.5, 2.2})},
      {"queries/high_overexposed.png",
       "overexposed",
       LookAt({-3.0, -3.0, 5.2}, {0.5, 7.0, 1.4})},
      {"queries/slant_backlight.png",
       "backlight",
       LookAt({-7.6, -1.2, 1.7}, {8.0, 5.5, 2.4})},
      {"queries/crates_blur.png",
       "blur",
       LookAt({-0.4, -0.8, 1.5}, {-3.4, 6.0, 1.6})},
      {"queries/elsewhere_day.png",
       "day",
       LookAt({1.2, -2.8, 2.2}, {0.5, 6.5, 2.0}),
       kOtherSceneSeed},
  };
}

void RenderViews(const std::vector<View>& views,
                 const nre::Camera& camera,
                 const std::string& folder) {
  const int num_threads =
      std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  for (const View& view : views) {
    nre::Lighting lighting = nre::MakeLighting(view.light);
    lighting.noise_seed = nre::Hash(kSceneSeed, &view - views.data(), 0);
    const nre::RenderedView rendered =
        nre::Render(nre::MakeStreetScene(view.scene_seed),
                    camera,
                    view.cam_from_world,
                    lighting,
                    num_threads);
    nre::WriteImage(folder + "/images/" + view.name, rendered.image);
  }
}

// A text file that throws if anything could not be written.
std::ofstream OpenText(const std::string& path) {
  std::ofstream file;
  file.exceptions(std::ios::failbit | std::ios::badbit);
  file.open(path);
  file << std::setprecision(17);
  return file;
}

void WritePoses(const std::string& path, const std::vector<View>& views) {
  std::ofstream file = OpenText(path);
  for (const View& view : views) {
    if (view.scene_seed != kSceneSeed) continue;
    const Eigen::Quaterniond& q = view.cam_from_world.rotation;
    const Eigen::Vector3d& t = view.cam_from_world.translation;
    file << view.name << " " << q.w() << " " << q.x() << " " << q.y() << " "
         << q.z() << " " << t.x() << " " << t.y() << " " << t.z() << "\n";
  }
}

void WriteLists(const std::string& folder,
                const std::vector<View>& mapping,
                const std::vector<View>& queries) {
  OpenText(folder + "/camera.txt")
      << kFocalLength << "," << kFocalLength << "," << 0.5 * kWidth << ","
      << 0.5 * kHeight << "\n";
  std::ofstream query_list = OpenText(folder + "/queries.txt");
  std::ofstream lights = OpenText(folder + "/lights.txt");
  for (const View& view : queries) {
    query_list << view.name << " PINHOLE " << kWidth << " " << kHeight << " "
               << kFocalLength << " " << kFocalLength << " " << 0.5 * kWidth
               << " " << 0.5 * kHeight << "\n";
    lights << view.name << " " << view.light << "\n";
  }
  std::ofstream mapping_list = OpenText(folder + "/mapping.txt");
  for (const View& view : mapping) mapping_list << view.name << "\n";
  WritePoses(folder + "/mapping_gt.txt", mapping);
  WritePoses(folder + "/queries_gt.txt", queries);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || argv[1][0] == '-') {
    std::cerr << "usage: render_scene OUTPUT_FOLDER\n";
    return 1;
  }
  try {
    const std::string folder = argv[1];
    const nre::PinholeCamera camera(kWidth,
                                    kHeight,
                                    kFocalLength,
                                    kFocalLength,
                                    0.5 * kWidth,
                                    0.5 * kHeight);
    const std::vector<View> mapping = MappingViews();
    const std::vector<View> queries = QueryViews();
    std::filesystem::create_directories(folder + "/images/mapping");
    std::filesystem::create_directories(folder + "/images/queries");
    RenderViews(mapping, camera, folder);
    RenderViews(queries, camera, folder);
    WriteLists(folder, mapping, queries);
  } catch (const std::exception& error) {
    std::cerr << "render_scene: " << error.what() << "\n";
    return 2;
  }
  return 0;
}
