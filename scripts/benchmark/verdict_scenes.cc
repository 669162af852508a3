#include "scripts/benchmark/verdict_scenes.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>
#include <utility>

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "nre/error.h"
#include "tests/testing/synthetic_scene.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

// Light, places and choices all come from here, the same on every platform.
class Dice {
 public:
  explicit Dice(uint32_t seed) : seed_(seed) {}
  uint32_t Next() { return Hash(seed_, ++counter_, 5); }
  double Uniform(double lower, double upper) {
    return lower + (upper - lower) * HashUniform(seed_, ++counter_, 6);
  }

 private:
  uint32_t seed_;
  uint32_t counter_ = 0;
};

// ---------------------------------------------------------------------------
// Pictures
// ---------------------------------------------------------------------------

// An image and a camera without lens distortion that matters here.
struct Picture {
  cv::Mat bgr;
  colmap::Camera camera;
};

cv::Mat ReadPicture(const std::string& path) {
  const cv::Mat bgr =
      cv::imread(path, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
  if (bgr.empty()) throw InputError("cannot read the image " + path);
  return bgr;
}

void WritePicture(const std::string& path, const cv::Mat& bgr) {
  fs::create_directories(fs::path(path).parent_path());
  if (!cv::imwrite(path, bgr)) throw std::runtime_error("cannot write " + path);
}

void AddNoise(double sigma, uint32_t seed, cv::Mat* bgr) {
  cv::Mat noise(bgr->size(), CV_16SC3);
  cv::RNG(seed).fill(noise, cv::RNG::NORMAL, 0.0, sigma);
  cv::add(*bgr, noise, *bgr, cv::noArray(), CV_8U);
}

// Index of the first parameter of the principal point: all the models met here
// are f or fx, fy, then cx, cy, then distortion.
colmap::Camera WithGeometry(const colmap::Camera& camera,
                            const cv::Size& size,
                            double scale,
                            double shift_x,
                            double shift_y) {
  const CameraModelInfo& model = *FindCameraModel(CameraModelIdOf(camera));
  std::vector<double> params = CameraParams(camera);
  const size_t center = model.params_info.rfind("fx", 0) == 0 ? 2 : 1;
  for (size_t k = 0; k < center; ++k) params[k] *= scale;
  params[center] = params[center] * scale - shift_x;
  params[center + 1] = params[center + 1] * scale - shift_y;
  return MakeColmapCamera(model.name, size.width, size.height, params);
}

// The ways in which a query is made hard; "mirrored" makes it a stranger.
const char* const kHardships[] = {
    "dark", "noisy", "blurred", "moved", "small", "cropped"};

Picture Vary(const std::string& way, const Picture& in, uint32_t seed) {
  Dice dice(seed);
  Picture out{in.bgr.clone(), in.camera};
  if (way == "dark") {
    out.bgr.convertTo(out.bgr, CV_8U, dice.Uniform(0.06, 0.15));
    AddNoise(2.0, seed, &out.bgr);
  } else if (way == "noisy") {
    AddNoise(dice.Uniform(25.0, 60.0), seed, &out.bgr);
  } else if (way == "blurred") {
    cv::GaussianBlur(in.bgr, out.bgr, cv::Size(), dice.Uniform(2.5, 6.0));
  } else if (way == "moved") {
    const int length = 2 * static_cast<int>(dice.Uniform(8.0, 20.0)) + 1;
    cv::Mat kernel = cv::Mat::zeros(length, length, CV_32F);
    const double angle = dice.Uniform(0.0, M_PI);
    const double middle = 0.5 * (length - 1);
    const cv::Point2d center(middle, middle);
    const cv::Point2d half(middle * std::cos(angle), middle * std::sin(angle));
    cv::line(kernel, center - half, center + half, 1.0);
    // Symmetric, so that the picture does not move by a fraction of a pixel.
    cv::Mat turned;
    cv::rotate(kernel, turned, cv::ROTATE_180);
    kernel += turned;
    cv::filter2D(in.bgr, out.bgr, -1, kernel / cv::sum(kernel)[0]);
  } else if (way == "small") {
    const double wanted = dice.Uniform(0.15, 0.3);
    // OpenCV samples at this scale, whatever size that is rounded to.
    cv::resize(in.bgr, out.bgr, cv::Size(), wanted, wanted, cv::INTER_AREA);
    out.camera = WithGeometry(in.camera, out.bgr.size(), wanted, 0.0, 0.0);
  } else if (way == "cropped") {
    const double share = dice.Uniform(0.25, 0.45);
    const cv::Size size(in.bgr.cols * share, in.bgr.rows * share);
    const int x = dice.Uniform(0.0, in.bgr.cols - size.width);
    const int y = dice.Uniform(0.0, in.bgr.rows - size.height);
    out.bgr = in.bgr(cv::Rect(x, y, size.width, size.height)).clone();
    out.camera = WithGeometry(in.camera, size, 1.0, x, y);
  } else if (way == "mirrored") {
    cv::flip(in.bgr, out.bgr, 1);
  }
  return out;
}

// Noise of all sizes, or next to nothing.
cv::Mat Pattern(const std::string& kind, const cv::Size& size, uint32_t seed) {
  Dice dice(seed);
  cv::Mat bgr(size, CV_8UC3);
  const double level = dice.Uniform(60.0, 200.0);
  bgr.setTo(cv::Scalar(level, level, level));
  if (kind == "noise") {
    // White, or smoothed and stretched again.
    AddNoise(50.0, seed, &bgr);
    const double sigma = seed % 4 == 0 ? 0.0 : dice.Uniform(0.7, 12.0);
    if (sigma > 0.0) {
      cv::GaussianBlur(bgr, bgr, cv::Size(), sigma);
      cv::normalize(bgr, bgr, 0, 255, cv::NORM_MINMAX);
    }
  } else {
    // A blank wall: light that falls off, and the sensor's noise.
    const double slope = dice.Uniform(-60.0, 60.0);
    for (int y = 0; y < bgr.rows; ++y) {
      for (int x = 0; x < bgr.cols; ++x) {
        const auto value =
            cv::saturate_cast<uint8_t>(level + slope * x / bgr.cols);
        bgr.at<cv::Vec3b>(y, x) = {value, value, value};
      }
    }
    if (seed % 3 != 0) AddNoise(dice.Uniform(0.5, 3.0), seed, &bgr);
  }
  return bgr;
}

// ---------------------------------------------------------------------------
// Scenes
// ---------------------------------------------------------------------------

// Adds queries to a scene and writes their images.
class SceneBuilder {
 public:
  SceneBuilder(const std::string& name,
               const std::string& work_path,
               const StudySelection& selection)
      : scene_(std::make_unique<StudyScene>()), selection_(selection) {
    scene_->name = name;
    scene_->image_path = (fs::path(work_path) / name).string();
    fs::create_directories(scene_->image_path);
  }

  StudyScene& scene() { return *scene_; }

  std::string Path(const std::string& name) const {
    return (fs::path(scene_->image_path) / name).string();
  }

  // The reference images of the model, where they are.
  void LinkImages(const std::string& folder) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string link = Path(entry.path().filename().string());
      if (!fs::exists(link)) {
        fs::create_symlink(fs::absolute(entry.path()), link);
      }
    }
  }

  // The `count` references that look from and to nearly the same, from the
  // `first` nearest on.
  QueryReferences Nearest(const Rigid3d& pose,
                          const std::string& except,
                          size_t first,
                          size_t count) const {
    constexpr double kFarM = 5.0;
    constexpr double kFarDeg = 30.0;
    QueryReferences references;
    references.given = true;
    std::vector<std::pair<double, colmap::image_t>> ranked;
    for (const colmap::image_t id : RegisteredImages(scene_->model)) {
      const colmap::Image& image = scene_->model.Image(id);
      if (image.Name() == except) {
        references.excluded.push_back(id);
        continue;
      }
      const Rigid3d other = CamFromWorld(image);
      const double meters = CenterError(other, pose) / scene_->units_per_m;
      ranked.emplace_back(
          meters / kFarM + RotationErrorDeg(other, pose) / kFarDeg, id);
    }
    std::sort(ranked.begin(), ranked.end());
    first = std::min(first, ranked.size() - 1);
    for (size_t i = first; i < std::min(first + count, ranked.size()); ++i) {
      references.image_ids.push_back(ranked[i].second);
    }
    return references;
  }

  // Two references, whichever; or, for every tenth, whatever the product
  // chooses.
  QueryReferences Any(uint32_t seed) const {
    const std::vector<colmap::image_t> all = RegisteredImages(scene_->model);
    QueryReferences references;
    references.given = seed % 10 != 0;
    if (references.given) {
      references.image_ids = {all[Hash(seed, 1, 9) % all.size()],
                              all[Hash(seed, 2, 9) % all.size()]};
    }
    return references;
  }

  // `picture` is called unless the image is there already; it must always give
  // the same. The camera is needed in any case.
  void Add(const std::string& kind,
           const colmap::Camera& camera,
           const QueryReferences& references,
           const std::optional<Rigid3d>& truth,
           bool ambiguous,
           const std::function<cv::Mat()>& picture) {
    const int number = count_++;
    if (number % selection_.thin_out != 0) return;
    char file[64];
    std::snprintf(file, sizeof(file), "query_%04d.jpg", number);
    if (!fs::exists(Path(file))) WritePicture(Path(file), picture());
    StudyQuery query;
    query.kind = kind;
    query.query.name = file;
    query.query.camera = camera;
    query.references = references;
    query.cam_from_world = truth;
    query.ambiguous = ambiguous;
    scene_->queries.push_back(query);
  }

  // An image that exists, varied.
  void AddVaried(const std::string& kind,
                 const std::string& way,
                 const std::string& path,
                 const colmap::Camera& camera,
                 const QueryReferences& references,
                 const std::optional<Rigid3d>& truth) {
    const uint32_t seed = 1000 + count_;
    if (count_ % selection_.thin_out != 0) {
      ++count_;
      return;
    }
    const Picture varied = Vary(way, {ReadPicture(path), camera}, seed);
    Add(kind, varied.camera, references, truth, false, [&] {
      return varied.bgr;
    });
  }

  // Images that do not belong, up to `max_num`, evenly spread.
  void AddStrangers(const std::string& kind,
                    std::vector<std::string> paths,
                    size_t max_num) {
    const size_t num = std::min(max_num, paths.size());
    for (size_t i = 0; i < num; ++i) {
      const std::string& path = paths[i * paths.size() / num];
      cv::Mat bgr = ReadPicture(path);
      constexpr int kMaxSide = 1536;
      const double scale =
          std::min(1.0, 1.0 * kMaxSide / std::max(bgr.cols, bgr.rows));
      if (scale < 1.0) {
        cv::resize(bgr, bgr, cv::Size(), scale, scale, cv::INTER_AREA);
      }
      Add(kind, AnyCamera(bgr.size()), Any(count_), {}, false, [&] {
        return bgr;
      });
    }
  }

  void AddPatterns(const cv::Size& size, int num_noise, int num_blank) {
    for (int i = 0; i < num_noise + num_blank; ++i) {
      const std::string kind = i < num_noise ? "noise" : "blank";
      Add(kind, AnyCamera(size), Any(count_), {}, false, [&] {
        return Pattern(kind, size, 77 + i);
      });
    }
  }

  int count() const { return count_; }
  std::unique_ptr<StudyScene> Take() { return std::move(scene_); }

 private:
  static colmap::Camera AnyCamera(const cv::Size& size) {
    const double focal_length = 0.9 * std::max(size.width, size.height);
    return MakeColmapCamera(
        "PINHOLE",
        size.width,
        size.height,
        {focal_length, focal_length, 0.5 * size.width, 0.5 * size.height});
  }

  std::unique_ptr<StudyScene> scene_;
  StudySelection selection_;
  int count_ = 0;
};

std::vector<std::string> Files(const std::string& folder) {
  std::vector<std::string> paths;
  if (fs::exists(folder)) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension == ".jpg" || extension == ".JPG" || extension == ".png") {
        paths.push_back(entry.path().string());
      }
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// ---------------------------------------------------------------------------
// Generated scenes
// ---------------------------------------------------------------------------

constexpr int kWidth = 640;
constexpr int kHeight = 480;
constexpr double kFocalLength = 544.0;

colmap::Camera GeneratedCamera() {
  return MakeColmapCamera(
      "PINHOLE",
      kWidth,
      kHeight,
      {kFocalLength, kFocalLength, 0.5 * kWidth, 0.5 * kHeight});
}

RenderedView RenderFor(const Scene& scene,
                       const Rigid3d& pose,
                       const std::string& light,
                       uint32_t seed) {
  Lighting lighting = MakeLighting(light);
  lighting.noise_seed = seed;
  const int num_threads =
      std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return Render(
      scene, *CreateCamera(GeneratedCamera()), pose, lighting, num_threads);
}

cv::Mat ToBgr(const Image& image) {
  cv::Mat bgr;
  cv::cvtColor(cv::Mat(image.height,
                       image.width,
                       CV_8UC3,
                       const_cast<uint8_t*>(image.rgb.data())),
               bgr,
               cv::COLOR_RGB2BGR);
  return bgr;
}

using RenderAt = std::function<RenderedView(const Rigid3d&)>;

// Whether a point is what a view shows, by its depth.
bool IsShown(const RenderedView& view,
             const Camera& camera,
             const Eigen::Vector3d& point_in_cam,
             Eigen::Vector2d* xy) {
  constexpr double kMaxDepthError = 0.01;  // share
  if (!camera.Project(point_in_cam, xy, nullptr)) return false;
  const int x = static_cast<int>(std::floor(xy->x()));
  const int y = static_cast<int>(std::floor(xy->y()));
  if (x < 0 || y < 0 || x >= kWidth || y >= kHeight) return false;
  const double depth = view.depth[y * kWidth + x];
  return std::abs(depth - point_in_cam.z()) < kMaxDepthError * depth;
}

// A model whose points are drawn on the surfaces that the references see.
// `scene`: what is rendered, to tell exactly what is hidden, or null.
void BuildModel(const Scene* scene,
                const RenderAt& render,
                const std::vector<Rigid3d>& poses,
                int points_per_image,
                SceneBuilder* builder) {
  const std::unique_ptr<Camera> camera = CreateCamera(GeneratedCamera());
  std::vector<RenderedView> views;
  for (const Rigid3d& pose : poses) views.push_back(render(pose));
  std::vector<std::vector<ImagePoint>> points(poses.size());
  colmap::Reconstruction& model = builder->scene().model;
  for (size_t i = 0; i < poses.size(); ++i) {
    WritePicture(builder->Path("reference_" + std::to_string(i) + ".png"),
                 ToBgr(views[i].image));
    for (const SurfacePoint& point : SampleSurfacePoints(
             views[i], *camera, poses[i], points_per_image, 4, 100 + i)) {
      const colmap::point3D_t id = model.AddPoint3D(point.xyz, colmap::Track());
      for (size_t j = 0; j < poses.size(); ++j) {
        Eigen::Vector2d xy = point.xy;
        if (j == i ||
            (scene != nullptr
                 ? IsVisible(*scene, *camera, poses[j], point.xyz, &xy)
                 : IsShown(views[j], *camera, poses[j] * point.xyz, &xy))) {
          points[j].push_back({xy, id});
        }
      }
    }
  }
  for (size_t i = 0; i < poses.size(); ++i) {
    AddRegisteredImage(GeneratedCamera(),
                       1,
                       1 + i,
                       "reference_" + std::to_string(i) + ".png",
                       poses[i],
                       points[i],
                       &model);
  }
}

RenderAt RenderDay(const Scene& scene) {
  return [&scene](const Rigid3d& pose) {
    return RenderFor(scene, pose, "day", 0);
  };
}

const char* const kLights[] = {"day",
                               "dusk",
                               "lamps",
                               "overexposed",
                               "warm",
                               "noise",
                               "blur",
                               "backlight"};

Rigid3d RandomStreetView(Dice* dice) {
  const double x = dice->Uniform(-5.0, 4.0);
  const double y = dice->Uniform(-8.0, 0.5);
  const double z = dice->Uniform(1.2, 4.0);
  return LookAt({x, y, z},
                {dice->Uniform(-3.0, 3.0), 6.5, dice->Uniform(1.4, 2.8)});
}

std::unique_ptr<StudyScene> Street(const std::string& name,
                                   const std::string& work_path,
                                   uint32_t seed,
                                   const StudySelection& selection) {
  SceneBuilder builder(name, work_path, selection);
  const Scene scene = MakeStreetScene(seed);
  std::vector<Rigid3d> poses;
  for (const double x : {-4.0, -2.0, 0.0, 2.0, 4.0}) {
    poses.push_back(LookAt({x, -4.0 + 0.3 * x, 2.0}, {0.3 * x, 6.5, 2.2}));
  }
  BuildModel(&scene, RenderDay(scene), poses, 700, &builder);

  Dice dice(seed);
  const colmap::Camera camera = GeneratedCamera();
  for (int i = 0; i < 16; ++i) {
    const Rigid3d pose = RandomStreetView(&dice);
    const std::string light = kLights[i % 8];
    builder.Add("street",
                camera,
                builder.Nearest(pose, "", 0, 1 + i / 8),
                pose,
                false,
                [&] { return ToBgr(RenderFor(scene, pose, light, i).image); });
  }
  for (int i = 0; i < 12; ++i) {
    const char* way = kHardships[i % 6];
    const Rigid3d pose = RandomStreetView(&dice);
    const uint32_t vary_seed = 100 * seed + i;
    const cv::Mat clear = ToBgr(RenderFor(scene, pose, "day", i).image);
    const Picture varied = Vary(way, {clear, camera}, vary_seed);
    builder.Add(
        way, varied.camera, builder.Nearest(pose, "", 0, 1), pose, false, [&] {
          return varied.bgr;
        });
  }
  const Scene other = MakeStreetScene(seed + 500);
  for (int i = 0; i < 10; ++i) {
    const Rigid3d pose = RandomStreetView(&dice);
    const std::string light = kLights[i % 4 == 3 ? 1 : 0];
    builder.Add("another street",
                camera,
                builder.Nearest(pose, "", 0, 1 + i % 2),
                {},
                false,
                [&] { return ToBgr(RenderFor(other, pose, light, i).image); });
  }
  for (int i = 0; i < 6; ++i) {
    const Rigid3d pose = RandomStreetView(&dice);
    builder.Add(
        "mirrored", camera, builder.Nearest(pose, "", 0, 2), {}, false, [&] {
          cv::Mat bgr = ToBgr(RenderFor(scene, pose, "day", i).image);
          cv::flip(bgr, bgr, 1);
          return bgr;
        });
  }
  builder.AddPatterns({kWidth, kHeight}, 4, 2);
  return builder.Take();
}

// A street of which `share` of the side x > 0, square by square, is the mirror
// image of the other side.
RenderedView RenderSymmetric(const Scene& scene,
                             double share,
                             uint32_t seed,
                             const Rigid3d& pose,
                             const std::string& light) {
  constexpr double kSquareM = 2.0;
  const Eigen::DiagonalMatrix<double, 3> flip(-1.0, 1.0, 1.0);
  RenderedView view = RenderFor(scene, pose, light, seed);
  // What the flipped camera sees from the other side is the mirrored scene.
  const RenderedView mirrored = RenderFor(
      scene,
      {Eigen::Quaterniond(
           Eigen::Matrix3d(flip * pose.rotation.toRotationMatrix() * flip)),
       flip * pose.translation},
      light,
      seed);
  const std::unique_ptr<Camera> camera = CreateCamera(GeneratedCamera());
  const Rigid3d world_from_cam = pose.Inverse();
  const auto point_at = [&](const Eigen::Vector2d& xy, double depth) {
    Eigen::Vector3d bearing;
    camera->Unproject(xy, &bearing);
    return Eigen::Vector3d(world_from_cam * (bearing / bearing.z() * depth));
  };
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      const int to = y * kWidth + x;
      const int from = y * kWidth + kWidth - 1 - x;
      const float depth = mirrored.depth[from];
      if (!std::isfinite(depth)) continue;
      const Eigen::Vector2d xy(x + 0.5, y + 0.5);
      const Eigen::Vector3d point = point_at(xy, depth);
      const bool hidden =
          depth > view.depth[to] && point_at(xy, view.depth[to]).x() < 0.0;
      if (point.x() < 0.0 || hidden ||
          HashUniform(seed,
                      static_cast<uint32_t>(point.x() / kSquareM),
                      static_cast<uint32_t>(10.0 + point.z() / kSquareM)) >=
              share) {
        continue;
      }
      view.depth[to] = depth;
      std::copy_n(&mirrored.image.rgb[3 * from], 3, &view.image.rgb[3 * to]);
    }
  }
  return view;
}

std::unique_ptr<StudyScene> SymmetricStreet(const std::string& name,
                                            const std::string& work_path,
                                            uint32_t seed,
                                            double share,
                                            const StudySelection& selection) {
  SceneBuilder builder(name, work_path, selection);
  const Scene scene = MakeStreetScene(seed);
  const auto render = [&](const Rigid3d& pose, const std::string& light) {
    return RenderSymmetric(scene, share, seed, pose, light);
  };
  std::vector<Rigid3d> poses;
  for (const double x : {-4.0, -2.0, 0.0, 2.0, 4.0}) {
    poses.push_back(LookAt({x, -4.0 + 0.3 * x, 2.0}, {0.3 * x, 6.5, 2.2}));
  }
  BuildModel(
      nullptr,
      [&](const Rigid3d& pose) { return render(pose, "day"); },
      poses,
      700,
      &builder);

  Dice dice(seed);
  const colmap::Camera camera = GeneratedCamera();
  const auto any_view = [&] {
    const double x = dice.Uniform(-3.0, 3.0);
    return LookAt({x, dice.Uniform(-7.0, -1.0), dice.Uniform(1.4, 3.0)},
                  {0.3 * x + dice.Uniform(-1.0, 1.0), 6.5, 2.2});
  };
  for (int i = 0; i < 8; ++i) {
    const Rigid3d pose = any_view();
    builder.Add("symmetric street",
                camera,
                builder.Nearest(pose, "", 0, 1 + i / 4),
                pose,
                false,
                [&] { return ToBgr(render(pose, kLights[i]).image); });
  }
  for (int i = 0; i < 8; ++i) {
    const Rigid3d pose = any_view();
    const QueryReferences references = builder.Nearest(pose, "", 0, 1 + i / 4);
    builder.Add(
        "mirrored, symmetric street", camera, references, {}, false, [&] {
          cv::Mat bgr = ToBgr(render(pose, kLights[i % 2]).image);
          cv::flip(bgr, bgr, 1);
          return bgr;
        });
  }
  return builder.Take();
}

Rigid3d RandomFacadeView(Dice* dice) {
  const double x = dice->Uniform(-7.0, 7.0);
  const double y = dice->Uniform(-2.5, 1.0);
  const double z = dice->Uniform(1.4, 2.4);
  return LookAt({x, y, z},
                {x + dice->Uniform(-1.5, 1.5), 7.0, dice->Uniform(1.8, 3.0)});
}

std::unique_ptr<StudyScene> Facade(const std::string& name,
                                   const std::string& work_path,
                                   uint32_t seed,
                                   bool marked,
                                   const StudySelection& selection) {
  SceneBuilder builder(name, work_path, selection);
  const Scene scene = MakeRepeatedScene(seed, marked ? 0.6 : 0.0);
  std::vector<Rigid3d> poses;
  for (double x = -8.0; x < 8.5; x += 2.0) {
    poses.push_back(LookAt({x, -1.0, 1.8}, {x + 0.2, 7.0, 2.4}));
  }
  BuildModel(&scene, RenderDay(scene), poses, 500, &builder);

  Dice dice(seed);
  const colmap::Camera camera = GeneratedCamera();
  for (int i = 0; i < (marked ? 16 : 8); ++i) {
    const Rigid3d pose = RandomFacadeView(&dice);
    const std::string light = kLights[i % 2];
    builder.Add(
        marked ? "repeated bays, marked" : "repeated bays, all the same",
        camera,
        builder.Nearest(pose, "", i % 4 == 3 ? 2 : 0, 1 + i % 3),
        pose,
        !marked,
        [&] { return ToBgr(RenderFor(scene, pose, light, i).image); });
  }
  const Scene other = MakeRepeatedScene(seed + 500, 0.6);
  for (int i = 0; i < 6; ++i) {
    const Rigid3d pose = RandomFacadeView(&dice);
    builder.Add("another facade",
                camera,
                builder.Nearest(pose, "", 0, 2),
                {},
                false,
                [&] { return ToBgr(RenderFor(other, pose, "day", i).image); });
  }
  for (int i = 0; i < 6; ++i) {
    const Rigid3d pose = RandomFacadeView(&dice);
    builder.Add(
        "mirrored", camera, builder.Nearest(pose, "", 0, 2), {}, false, [&] {
          cv::Mat bgr = ToBgr(RenderFor(scene, pose, "day", i).image);
          cv::flip(bgr, bgr, 1);
          return bgr;
        });
  }
  return builder.Take();
}

// ---------------------------------------------------------------------------
// Real scenes
// ---------------------------------------------------------------------------

// Distance of the points from the image's centre of projection.
double MedianDepth(const colmap::Reconstruction& model) {
  std::vector<double> depths;
  for (const colmap::image_t id : RegisteredImages(model)) {
    const colmap::Image& image = model.Image(id);
    for (const auto& point : image.Points2D()) {
      if (point.HasPoint3D()) {
        depths.push_back(
            (CamFromWorld(image) * XYZ(model.Point3D(Point3DId(point))))
                .norm());
      }
    }
  }
  std::nth_element(
      depths.begin(), depths.begin() + depths.size() / 2, depths.end());
  return depths[depths.size() / 2];
}

// Every photograph, near and far from its references, and made hard; images
// of the model are never their own reference.
void AddPhotographs(const std::map<std::string, Rigid3d>& poses,
                    const std::map<std::string, colmap::Camera>& cameras,
                    bool hard,
                    SceneBuilder* builder) {
  for (const auto& [name, pose] : poses) {
    const colmap::Camera& camera = cameras.at(name);
    const std::string path = builder->Path(name);
    const auto add = [&](const std::string& kind,
                         const std::string& way,
                         size_t first,
                         size_t count) {
      builder->AddVaried(kind,
                         way,
                         path,
                         camera,
                         builder->Nearest(pose, name, first, count),
                         pose);
    };
    add("two references", "", 0, 2);
    add("one reference", "", 0, 1);
    add("one far reference", "", 3, 1);
    if (hard) {
      for (const char* way : kHardships) add(way, way, 0, 1);
      add("small and noisy", "small", 0, 2);
    }
    builder->AddVaried("mirrored",
                       "mirrored",
                       path,
                       camera,
                       builder->Nearest(pose, name, 0, 2),
                       {});
  }
}

// A scene with a COLMAP model, with or without query lists.
void AddModelScene(const std::string& folder,
                   const std::string& model_path,
                   bool hard,
                   SceneBuilder* builder) {
  StudyScene& scene = builder->scene();
  builder->LinkImages(folder + "/images");
  ReadModel(folder + "/" + model_path, &scene.model);
  std::map<std::string, Rigid3d> poses;
  if (fs::exists(folder + "/queries_gt.txt")) {
    poses = ReadPoses(folder + "/queries_gt.txt");
  }
  if (poses.empty()) {
    constexpr double kMedianDepthM = 10.0;
    scene.units_per_m = MedianDepth(scene.model) / kMedianDepthM;
  }
  std::map<std::string, colmap::Camera> cameras;
  if (!poses.empty()) {
    for (const Query& query : ReadQueryList(folder + "/queries.txt")) {
      cameras[query.name] = query.camera;
    }
  }
  for (const colmap::image_t id : RegisteredImages(scene.model)) {
    const colmap::Image& image = scene.model.Image(id);
    poses[image.Name()] = CamFromWorld(image);
    cameras[image.Name()] = scene.model.Camera(image.CameraId());
  }
  AddPhotographs(poses, cameras, hard, builder);
}

// Frames with depth: every fifth one, with corners as points, is a reference.
void AddRgbdScene(const std::string& folder, SceneBuilder* builder) {
  constexpr int kStep = 5;
  constexpr double kMaxDepthError = 0.03;  // share
  StudyScene& scene = builder->scene();
  builder->LinkImages(folder + "/color");
  double k[9];
  std::ifstream intrinsics(folder + "/K.txt");
  for (double& value : k) intrinsics >> value;

  struct Frame {
    std::string name;
    Rigid3d cam_from_world;
    cv::Mat depth;  // m
    cv::Mat gray;
  };
  std::vector<Frame> frames;
  for (const std::string& path : Files(folder + "/color")) {
    const std::string stem = fs::path(path).stem().string();
    Frame frame;
    frame.name = fs::path(path).filename().string();
    frame.gray = cv::imread(path, cv::IMREAD_GRAYSCALE);
    cv::imread(folder + "/depth/" + stem + ".png", cv::IMREAD_UNCHANGED)
        .convertTo(frame.depth, CV_32F, 1e-3);
    std::ifstream file(folder + "/pose/" + stem + ".txt");
    Eigen::Matrix4d world_from_cam;
    for (int i = 0; i < 16; ++i) file >> world_from_cam(i / 4, i % 4);
    frame.cam_from_world =
        Rigid3d{Eigen::Quaterniond(
                    Eigen::Matrix3d(world_from_cam.topLeftCorner<3, 3>()))
                    .normalized(),
                world_from_cam.topRightCorner<3, 1>()}
            .Inverse();
    if (!file || frame.depth.empty()) {
      throw InputError("no depth or pose for " + path);
    }
    frames.push_back(frame);
  }
  const cv::Size size = frames.front().gray.size();
  // The principal point is given with the first pixel's centre at (0, 0).
  const colmap::Camera colmap_camera = MakeColmapCamera(
      "PINHOLE", size.width, size.height, {k[0], k[4], k[2] + 0.5, k[5] + 0.5});
  const std::unique_ptr<Camera> camera = CreateCamera(colmap_camera);
  const auto depth_at = [&](const Frame& frame, const Eigen::Vector2d& xy) {
    const int x = static_cast<int>(std::floor(xy.x()));
    const int y = static_cast<int>(std::floor(xy.y()));
    const bool inside = x >= 0 && y >= 0 && x < size.width && y < size.height;
    return inside ? static_cast<double>(frame.depth.at<float>(y, x)) : 0.0;
  };

  std::vector<std::vector<ImagePoint>> points(frames.size());
  for (size_t i = 0; i < frames.size(); i += kStep) {
    std::vector<cv::Point2f> corners;
    cv::goodFeaturesToTrack(frames[i].gray, corners, 600, 0.002, 6.0);
    for (const cv::Point2f& corner : corners) {
      const Eigen::Vector2d xy(corner.x + 0.5, corner.y + 0.5);
      const double depth = depth_at(frames[i], xy);
      Eigen::Vector3d bearing;
      if (depth < 0.2 || !camera->Unproject(xy, &bearing)) continue;
      const Eigen::Vector3d xyz =
          frames[i].cam_from_world.Inverse() *
          Eigen::Vector3d(bearing * depth / bearing.z());
      const colmap::point3D_t id = scene.model.AddPoint3D(xyz, colmap::Track());
      points[i].push_back({xy, id});
      for (size_t j = 0; j < frames.size(); j += kStep) {
        const Eigen::Vector3d in_cam = frames[j].cam_from_world * xyz;
        Eigen::Vector2d other;
        if (j == i || !camera->Project(in_cam, &other, nullptr)) continue;
        const double seen = depth_at(frames[j], other);
        if (std::abs(seen - in_cam.z()) < kMaxDepthError * in_cam.z()) {
          points[j].push_back({other, id});
        }
      }
    }
  }
  for (size_t i = 0; i < frames.size(); i += kStep) {
    AddRegisteredImage(colmap_camera,
                       1,
                       1 + i,
                       frames[i].name,
                       frames[i].cam_from_world,
                       points[i],
                       &scene.model);
  }
  for (size_t i = kStep / 2; i < frames.size(); i += kStep) {
    const Rigid3d& pose = frames[i].cam_from_world;
    for (const size_t count : {1, 2}) {
      builder->AddVaried(count == 1 ? "one reference" : "two references",
                         "",
                         builder->Path(frames[i].name),
                         colmap_camera,
                         builder->Nearest(pose, "", 0, count),
                         pose);
    }
    builder->AddVaried("mirrored",
                       "mirrored",
                       builder->Path(frames[i].name),
                       colmap_camera,
                       builder->Nearest(pose, "", 0, 2),
                       {});
  }
}

}  // namespace

std::vector<std::unique_ptr<StudyScene>> GeneratedScenes(
    const std::string& work_path, const StudySelection& selection) {
  std::vector<std::unique_ptr<StudyScene>> scenes;
  const auto add = [&](bool for_tuning, const std::string& name, auto make) {
    if (selection.Has(name, for_tuning)) {
      scenes.push_back(make(name));
      scenes.back()->for_tuning = for_tuning;
    }
  };
  for (const bool for_tuning : {true, false}) {
    const uint32_t first = for_tuning ? 11 : 51;
    for (uint32_t seed = first; seed < first + 4; ++seed) {
      add(for_tuning, "street_" + std::to_string(seed), [&](const auto& name) {
        return Street(name, work_path, seed, selection);
      });
    }
    for (uint32_t i = 0; i < 4; ++i) {
      add(for_tuning,
          "symmetric_" + std::to_string(first + 20 + i),
          [&](const auto& name) {
            return SymmetricStreet(
                name, work_path, first + 20 + i, 0.2 * (i + 1), selection);
          });
    }
    for (uint32_t seed = first + 10; seed < first + 15; ++seed) {
      const bool marked = seed < first + 13;
      add(for_tuning, "facade_" + std::to_string(seed), [&](const auto& name) {
        return Facade(name, work_path, seed, marked, selection);
      });
    }
  }
  return scenes;
}

std::vector<std::unique_ptr<StudyScene>> RealScenes(
    const std::string& dataset_path,
    const std::string& work_path,
    const StudySelection& selection) {
  const auto folder = [&](const std::string& name) {
    return (fs::path(dataset_path) / name).string();
  };
  const cv::Size pattern_size(1536, 1024);
  std::vector<std::unique_ptr<StudyScene>> scenes;
  const std::string model_scenes[] = {"fountain", "herzjesu", "lund_door"};
  for (const std::string& name : model_scenes) {
    if (!fs::exists(folder(name)) || !selection.Has(name, false)) continue;
    const bool is_lund = name == "lund_door";
    SceneBuilder builder(name, work_path, selection);
    AddModelScene(
        folder(name), is_lund ? "model_txt" : "map", !is_lund, &builder);
    for (const std::string& other : model_scenes) {
      if (other != name) {
        builder.AddStrangers(
            "another scene", Files(folder(other) + "/images"), 15);
      }
    }
    builder.AddStrangers(
        "another scene", Files(folder("sacre_coeur") + "/images"), 11);
    builder.AddStrangers("another scene", Files(folder("nre_sample")), 2);
    builder.AddStrangers("another scene", Files(folder("hololens/color")), 10);
    builder.AddStrangers("photograph", Files(folder("photos")), 50);
    builder.AddPatterns(pattern_size, 12, 6);
    scenes.push_back(builder.Take());
  }
  if (fs::exists(folder("hololens")) && selection.Has("hololens", false)) {
    SceneBuilder builder("hololens", work_path, selection);
    AddRgbdScene(folder("hololens"), &builder);
    builder.AddStrangers("photograph", Files(folder("photos")), 20);
    builder.AddStrangers(
        "another scene", Files(folder("lund_door/images")), 12);
    scenes.push_back(builder.Take());
  }
  return scenes;
}

}  // namespace nre
