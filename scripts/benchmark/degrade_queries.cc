// Makes bad pictures of good ones, whose poses are known, for
// degraded_queries.sh.
//
//   degrade_queries SCENE_FOLDER OUTPUT_FOLDER [--variants 2] [--seed 0]
//
// SCENE_FOLDER has images/, map/ (a COLMAP model of the reference images),
// queries.txt (name PINHOLE width height fx fy cx cy), queries_gt.txt and
// pairs_nearest2.txt. OUTPUT_FOLDER, new, gets
//
// - images/: links to all images of the scene, and KIND/NAME_VARIANT.png for
//   each kind of degradation, query and variant;
// - queries.txt, queries_gt.txt, pairs.txt of these pictures and, as the
//   control, of the queries themselves, with KIND.txt, the queries of one kind;
// - sift_images.txt: names of the scene's images in the order of the ids that
//   the map expects; sift_pairs.txt: pairs.txt, and pairs of reference images,
//   since COLMAP wants some matches of every image of its map (they have no
//   influence on the queries);
// - severities.csv: what was done to each picture.
//
// Each picture gets as references both of the query's nearest ones or, as
// often, one of them. Everything depends only on the seed and the names.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/io/lists.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

// The same on every platform, unlike the distributions of the standard library.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  // In [0, 1).
  double Uniform() {
    // SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
    uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

  double Uniform(double min, double max) {
    return min + (max - min) * Uniform();
  }

  double LogUniform(double min, double max) {
    return std::exp(Uniform(std::log(min), std::log(max)));
  }

  // Box and Muller's transform.
  double Normal() {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - Uniform()));
    return radius * std::cos(2.0 * M_PI * Uniform());
  }

 private:
  uint64_t state_;
};

uint64_t Seed(uint64_t seed, const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325ull ^ seed;  // FNV-1a
  for (const unsigned char c : name) hash = (hash ^ c) * 0x100000001b3ull;
  return hash;
}

// A picture, BGR in [0, 1], and its intrinsics.
struct Picture {
  cv::Mat pixels;
  double fx = 0.0, fy = 0.0, cx = 0.0, cy = 0.0;
};

// Between the values of a file and amounts of light, roughly as sRGB.
constexpr double kGamma = 2.2;

cv::Mat ToLight(const cv::Mat& pixels) {
  cv::Mat light;
  cv::pow(pixels, kGamma, light);
  return light;
}

cv::Mat FromLight(const cv::Mat& light) {
  cv::Mat pixels;
  cv::pow(cv::max(light, 0.0), 1.0 / kGamma, pixels);
  return pixels;
}

// Too short an exposure: shot and read noise in proportion to what little light
// there is, and the file's 256 values.
double Darken(Random* random, Picture* picture) {
  const double exposure = 1.0 / random->LogUniform(15.0, 250.0);
  constexpr double kElectrons = 10000.0;  // of a white pixel, well exposed
  constexpr double kReadNoise = 3.0;      // electrons
  cv::Mat light = exposure * kElectrons * ToLight(picture->pixels);
  for (int y = 0; y < light.rows; ++y) {
    float* row = light.ptr<float>(y);
    for (int i = 0; i < 3 * light.cols; ++i) {
      const double sigma = std::sqrt(row[i] + kReadNoise * kReadNoise);
      row[i] += static_cast<float>(sigma * random->Normal());
    }
  }
  picture->pixels = FromLight(light / kElectrons);
  return exposure;
}

double AddNoise(Random* random, Picture* picture) {
  const double sigma = random->LogUniform(60.0, 250.0);  // grey levels
  for (int y = 0; y < picture->pixels.rows; ++y) {
    float* row = picture->pixels.ptr<float>(y);
    for (int i = 0; i < 3 * picture->pixels.cols; ++i) {
      row[i] += static_cast<float>(sigma / 255.0 * random->Normal());
    }
  }
  return sigma;
}

// A straight movement during the exposure, in some direction.
double Blur(Random* random, Picture* picture) {
  const double length = random->LogUniform(15.0, 50.0);  // px
  const double angle = random->Uniform(0.0, M_PI);
  const int half = static_cast<int>(std::ceil(0.5 * length)) + 1;
  cv::Mat kernel = cv::Mat::zeros(2 * half + 1, 2 * half + 1, CV_32F);
  constexpr int kSteps = 2000;
  for (int i = 0; i < kSteps; ++i) {
    const double t = length * ((i + 0.5) / kSteps - 0.5);
    const double x = half + t * std::cos(angle), y = half + t * std::sin(angle);
    const int x0 = static_cast<int>(x), y0 = static_cast<int>(y);
    for (int dy = 0; dy < 2; ++dy) {
      for (int dx = 0; dx < 2; ++dx) {
        kernel.at<float>(y0 + dy, x0 + dx) += static_cast<float>(
            (1.0 - std::abs(x - x0 - dx)) * (1.0 - std::abs(y - y0 - dy)));
      }
    }
  }
  kernel /= kSteps;
  cv::Mat light;
  cv::filter2D(ToLight(picture->pixels),
               light,
               -1,
               kernel,
               {-1, -1},
               0.0,
               cv::BORDER_REPLICATE);
  picture->pixels = FromLight(light);
  return length;
}

double Shrink(Random* random, Picture* picture) {
  const double width = random->LogUniform(80.0, 200.0);
  const cv::Size size(
      cvRound(width),
      cvRound(width * picture->pixels.rows / picture->pixels.cols));
  const double sx = static_cast<double>(size.width) / picture->pixels.cols;
  const double sy = static_cast<double>(size.height) / picture->pixels.rows;
  cv::Mat light;
  cv::resize(ToLight(picture->pixels), light, size, 0.0, 0.0, cv::INTER_AREA);
  picture->pixels = FromLight(light);
  picture->fx *= sx;
  picture->cx *= sx;
  picture->fy *= sy;
  picture->cy *= sy;
  return size.width;
}

// A part of the picture in which the map has points.
double Crop(const std::vector<cv::Point2d>& points,
            Random* random,
            Picture* picture) {
  constexpr int kMinPoints = 50;
  const double share = random->LogUniform(0.05, 0.15);  // of either side
  const int width = cvRound(share * picture->pixels.cols);
  const int height = cvRound(share * picture->pixels.rows);
  cv::Rect part;
  int num_points = 0;
  for (int i = 0; i < 10000 && num_points < kMinPoints; ++i) {
    part = {static_cast<int>(
                random->Uniform(0.0, picture->pixels.cols - width + 1.0)),
            static_cast<int>(
                random->Uniform(0.0, picture->pixels.rows - height + 1.0)),
            width,
            height};
    num_points = std::count_if(
        points.begin(), points.end(), [&](const cv::Point2d& point) {
          return point.x >= part.x && point.y >= part.y &&
                 point.x < part.x + part.width &&
                 point.y < part.y + part.height;
        });
  }
  if (num_points < kMinPoints) {
    throw std::runtime_error("no part of a query has enough points");
  }
  picture->pixels = picture->pixels(part).clone();
  picture->cx -= part.x;
  picture->cy -= part.y;
  return width;
}

struct Scene {
  fs::path folder;
  colmap::Reconstruction map;
  std::vector<Query> queries;
  Poses truth;
  Pairs pairs;
};

Scene ReadScene(const fs::path& folder) {
  Scene scene;
  scene.folder = folder;
  ReadModel((folder / "map").string(), &scene.map);
  scene.queries = ReadQueryList((folder / "queries.txt").string());
  scene.truth = ReadPoses((folder / "queries_gt.txt").string());
  scene.pairs = ReadPairs((folder / "pairs_nearest2.txt").string());
  return scene;
}

Picture ReadPicture(const Scene& scene, const Query& query) {
  const std::string path = (scene.folder / "images" / query.name).string();
  cv::Mat pixels = cv::imread(path, cv::IMREAD_COLOR);
  const std::vector<double>& params = CameraParams(query.camera);
  if (pixels.empty() || params.size() != 4) {
    throw std::runtime_error(path + " is no image with a PINHOLE camera");
  }
  pixels.convertTo(pixels, CV_32FC3, 1.0 / 255.0);
  return {pixels, params[0], params[1], params[2], params[3]};
}

// Where the query shows the points that its references observe.
std::vector<cv::Point2d> VisiblePoints(
    const Scene& scene,
    const Query& query,
    const std::vector<std::string>& references) {
  const std::map<std::string, colmap::image_t> ids = ImageIdsByName(scene.map);
  const std::unique_ptr<Camera> camera = CreateCamera(query.camera);
  std::vector<cv::Point2d> points;
  for (const std::string& reference : references) {
    for (const colmap::Point2D& point :
         scene.map.Image(ids.at(reference)).Points2D()) {
      Eigen::Vector2d xy;
      if (point.HasPoint3D() &&
          camera->Project(scene.truth.at(query.name) *
                              XYZ(scene.map.Point3D(Point3DId(point))),
                          &xy,
                          nullptr)) {
        points.emplace_back(xy.x(), xy.y());
      }
    }
  }
  return points;
}

// Both references or one of them.
std::vector<std::string> DrawReferences(std::vector<std::string> references,
                                        Random* random) {
  const double dice = random->Uniform();
  if (dice < 0.25) return {references.front()};
  if (dice < 0.5) return {references.back()};
  return references;
}

// The files that describe the pictures.
struct Lists {
  explicit Lists(const fs::path& folder)
      : folder(folder),
        queries(folder / "queries.txt"),
        truth(folder / "queries_gt.txt"),
        pairs(folder / "pairs.txt"),
        severities(folder / "severities.csv") {
    truth.precision(17);
    severities << "picture,kind,severity,num_references\n";
  }

  fs::path folder;
  std::ofstream queries, truth, pairs, severities;
};

void List(const std::string& name,
          const std::string& kind,
          double severity,
          const Picture& picture,
          const Rigid3d& pose,
          const std::vector<std::string>& references,
          Lists* lists) {
  char intrinsics[256];
  std::snprintf(intrinsics,
                sizeof(intrinsics),
                "PINHOLE %d %d %.17g %.17g %.17g %.17g",
                picture.pixels.cols,
                picture.pixels.rows,
                picture.fx,
                picture.fy,
                picture.cx,
                picture.cy);
  lists->queries << name << ' ' << intrinsics << '\n';
  std::ofstream(lists->folder / (kind + ".txt"), std::ios::app)
      << name << ' ' << intrinsics << '\n';
  const Eigen::Quaterniond& q = pose.rotation;
  const Eigen::Vector3d& t = pose.translation;
  lists->truth << name << ' ' << q.w() << ' ' << q.x() << ' ' << q.y() << ' '
               << q.z() << ' ' << t.x() << ' ' << t.y() << ' ' << t.z() << '\n';
  for (const std::string& reference : references) {
    lists->pairs << name << ' ' << reference << '\n';
  }
  lists->severities << name << ',' << kind << ',' << severity << ','
                    << references.size() << '\n';
}

double Degrade(const std::string& kind,
               const std::vector<cv::Point2d>& points,
               Random* random,
               Picture* picture) {
  if (kind == "dark") return Darken(random, picture);
  if (kind == "noisy") return AddNoise(random, picture);
  if (kind == "blurred") return Blur(random, picture);
  if (kind == "tiny") return Shrink(random, picture);
  return Crop(points, random, picture);
}

void DegradeQuery(const Scene& scene,
                  const Query& query,
                  int num_variants,
                  uint64_t seed,
                  Lists* lists) {
  const std::vector<std::string>& nearest = scene.pairs.at(query.name);
  const Rigid3d& pose = scene.truth.at(query.name);
  const Picture original = ReadPicture(scene, query);
  List(query.name, "original", 0.0, original, pose, nearest, lists);
  for (const char* kind : {"dark", "noisy", "blurred", "tiny", "cropped"}) {
    fs::create_directories(lists->folder / "images" / kind);
    for (int variant = 0; variant < num_variants; ++variant) {
      const std::string name = std::string(kind) + "/" +
                               fs::path(query.name).stem().string() + "_" +
                               std::to_string(variant) + ".png";
      Random random(Seed(seed, scene.folder.filename().string() + "/" + name));
      const std::vector<std::string> references =
          DrawReferences(nearest, &random);
      Picture picture = original;
      picture.pixels = original.pixels.clone();
      const double severity = Degrade(
          kind, VisiblePoints(scene, query, references), &random, &picture);
      cv::Mat file;
      picture.pixels.convertTo(file, CV_8UC3, 255.0);
      const std::string path = (lists->folder / "images" / name).string();
      if (!cv::imwrite(path, file)) {
        throw std::runtime_error(path + " cannot be written");
      }
      List(name, kind, severity, picture, pose, references, lists);
    }
  }
}

// A fresh database numbers images in the order in which they are extracted: it
// has the map's ids if that is the order of the names of all images.
void ListSiftImages(const Scene& scene, const fs::path& path) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(scene.folder / "images")) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  for (const auto& [name, id] : ImageIdsByName(scene.map)) {
    if (id > names.size() || names[id - 1] != name) {
      throw std::runtime_error(
          "the map's image ids are not in the order of "
          "the names in images/");
    }
  }
  std::ofstream file(path);
  for (const std::string& name : names) file << name << '\n';
}

// Images of the map that are neighbours by name overlap.
void ListSiftPairs(const Scene& scene, const fs::path& folder) {
  std::ofstream file(folder / "sift_pairs.txt");
  file << std::ifstream(folder / "pairs.txt").rdbuf();
  std::string last;
  for (const auto& [name, _] : ImageIdsByName(scene.map)) {
    if (!last.empty()) file << last << ' ' << name << '\n';
    last = name;
  }
}

void Run(const fs::path& scene_folder,
         const fs::path& output,
         int num_variants,
         uint64_t seed) {
  const Scene scene = ReadScene(fs::canonical(scene_folder));
  fs::create_directories(output / "images");
  for (const auto& entry : fs::directory_iterator(scene.folder / "images")) {
    fs::create_symlink(entry.path(),
                       output / "images" / entry.path().filename());
  }
  ListSiftImages(scene, output / "sift_images.txt");
  {
    Lists lists(output);
    for (const Query& query : scene.queries) {
      DegradeQuery(scene, query, num_variants, seed, &lists);
    }
  }
  ListSiftPairs(scene, output);
}

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  int num_variants = 2;
  uint64_t seed = 0;
  bool usage_is_right = argc >= 3 && argc % 2 == 1;
  for (int i = 3; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--variants") {
      num_variants = std::stoi(argv[i + 1]);
    } else if (option == "--seed") {
      seed = std::stoull(argv[i + 1]);
    } else {
      usage_is_right = false;
    }
  }
  if (!usage_is_right) {
    std::cerr << "Usage: degrade_queries SCENE_FOLDER OUTPUT_FOLDER "
                 "[--variants 2] [--seed 0]\n";
    return 1;
  }
  try {
    nre::Run(argv[1], argv[2], num_variants, seed);
  } catch (const std::exception& error) {
    std::cerr << "ERROR: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
