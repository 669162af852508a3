// Queries with unknown focal length: random parts of photographs with known
// poses, resized, so that the map's camera says nothing about theirs. Pose and
// focal length by the NRE, and by COLMAP on the peaks of the same maps.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <cblas.h>

#include "colmap_plugin/compat/absolute_pose.h"
#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/colmap.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/localization_controller.h"
#include "colmap_plugin/controllers/reference_points.h"
#include "colmap_plugin/controllers/seeds.h"
#include "colmap_plugin/io/lists.h"
#include "nre/error.h"
#include "s2d/visualization.h"
#include "scripts/benchmark/focal_query.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

// Times the larger side: COLMAP's guess of a focal length.
constexpr double kGuess = 1.2;

constexpr double kMaxErrorsPx[] = {4.0, 8.0, 12.0, 16.0, 24.0};

// How far a query's estimate is off; infinite without a pose.
struct Errors {
  double focal = INFINITY;   // |f / f_true - 1|
  double center = INFINITY;  // model units
  double rotation_deg = INFINITY;
};

struct Method {
  std::string name;
  std::vector<Errors> errors;  // one per query
};

Errors ErrorsOf(double focal_length,
                const Rigid3d& pose,
                double true_focal_length,
                const Rigid3d& true_pose) {
  return {std::abs(focal_length / true_focal_length - 1.0),
          CenterError(pose, true_pose),
          RotationErrorDeg(pose, true_pose)};
}

double Median(std::vector<double> values) {
  std::nth_element(
      values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

std::vector<double> Column(const std::vector<Errors>& errors,
                           double Errors::*column) {
  std::vector<double> values;
  for (const Errors& e : errors) {
    values.push_back(e.*column);
  }
  return values;
}

// 95 % interval, by bootstrap over the queries, of the ratio of our median to
// the other's.
std::array<double, 2> RatioInterval(const std::vector<double>& ours,
                                    const std::vector<double>& others) {
  std::mt19937_64 engine(1);
  std::vector<double> ratios;
  std::vector<double> a(ours.size()), b(ours.size());
  for (int i = 0; i < 1000; ++i) {
    for (size_t k = 0; k < ours.size(); ++k) {
      const size_t drawn = engine() % ours.size();
      a[k] = ours[drawn];
      b[k] = others[drawn];
    }
    ratios.push_back(Median(a) / Median(b));
  }
  std::sort(ratios.begin(), ratios.end());
  return {ratios[25], ratios[974]};
}

void Print(const std::vector<Method>& methods) {
  std::printf("%-26s %10s %10s %10s %9s   ratios of our medians to these\n",
              "median errors of",
              "focal %",
              "center cm",
              "angle deg",
              "f < 1 %");
  for (const Method& method : methods) {
    const std::vector<double> focal = Column(method.errors, &Errors::focal);
    std::printf("%-26s %10.3f %10.3f %10.4f %9.2f",
                method.name.c_str(),
                100.0 * Median(focal),
                100.0 * Median(Column(method.errors, &Errors::center)),
                Median(Column(method.errors, &Errors::rotation_deg)),
                std::count_if(focal.begin(), focal.end(), [](double error) {
                  return error < 0.01;
                }) / static_cast<double>(focal.size()));
    for (double Errors::*column :
         {&Errors::focal, &Errors::center, &Errors::rotation_deg}) {
      const std::vector<double> ours = Column(methods[0].errors, column);
      const std::vector<double> theirs = Column(method.errors, column);
      const std::array<double, 2> interval = RatioInterval(ours, theirs);
      std::printf("   %.2f [%.2f, %.2f]",
                  Median(ours) / Median(theirs),
                  interval[0],
                  interval[1]);
    }
    std::printf("\n");
  }
}

// A part of a query's image, as a query of its own.
struct Part {
  Query query;  // its camera has the right ratio of fx and fy
  QueryReferences references;
  double true_focal_length;  // their mean
  Rigid3d true_pose;
};

// Of parts of queries whose cameras are PINHOLE. Writes their images to
// `folder`.
std::vector<Part> MakeParts(const std::string& scene,
                            const colmap::Reconstruction& model,
                            int num_versions,
                            const std::string& folder) {
  const std::vector<Query> queries = ReadQueryList(scene + "/queries.txt");
  const std::map<std::string, Rigid3d> truth =
      ReadPoses(scene + "/queries_gt.txt");
  std::vector<std::string> absent;
  const std::vector<QueryReferences> references = ResolvePairs(
      ReadPairs(scene + "/pairs_nearest2.txt"), queries, model, &absent);
  std::vector<Part> parts;
  for (size_t i = 0; i < queries.size(); ++i) {
    const Image image = ReadImage(scene + "/images/" + queries[i].name);
    for (int version = 0; version < num_versions; ++version) {
      const Crop crop = RandomCrop(image, MixSeeds(7, 1000 * i + version));
      const std::vector<double>& whole = CameraParams(queries[i].camera);
      const Eigen::Vector2d focal_lengths =
          crop.scale.cwiseProduct(Eigen::Vector2d(whole[0], whole[1]));
      const Eigen::Vector2d principal_point = crop.scale.cwiseProduct(
          Eigen::Vector2d(whole[2], whole[3]) - crop.origin);
      const int width = crop.image.width, height = crop.image.height;
      Part part;
      part.true_focal_length = focal_lengths.mean();
      const double guess =
          kGuess * std::max(width, height) / part.true_focal_length;
      part.query.name =
          "part_" + std::to_string(i) + "_" + std::to_string(version) + ".png";
      part.query.camera = MakeColmapCamera("PINHOLE",
                                           width,
                                           height,
                                           {guess * focal_lengths.x(),
                                            guess * focal_lengths.y(),
                                            principal_point.x(),
                                            principal_point.y()});
      part.query.focal_length_unknown = true;
      part.references = references[i];
      part.true_pose = truth.at(queries[i].name);
      WriteImage(folder + "/" + part.query.name, crop.image);
      parts.push_back(part);
    }
  }
  return parts;
}

// Links to the model's images in a new folder, for queries to stand beside.
void LinkImages(const std::string& scene,
                const colmap::Reconstruction& model,
                const fs::path& folder) {
  fs::remove_all(folder);
  for (const colmap::image_t id : RegisteredImages(model)) {
    const std::string name = model.Image(id).Name();
    fs::create_directories((folder / name).parent_path());
    fs::create_symlink(fs::absolute(scene) / "images" / name, folder / name);
  }
}

// What COLMAP's estimator gets: peaks of the maps of all points that the NRE
// has, looked at in the same way.
FocalMatches MatchesOf(const Part& part,
                       const QueryResult& result,
                       const colmap::Reconstruction& model,
                       const FeaturePreset& preset,
                       const std::string& folder,
                       ReferenceCache* cache) {
  const LocalizationOptions options;
  const std::unique_ptr<Camera> camera = CreateCamera(ScaleFocalLength(
      part.query.camera, result.estimate.correction.focal_scale));
  std::vector<std::unique_ptr<Camera>> cameras;
  std::vector<const Camera*> pointers;
  for (const colmap::image_t id : part.references.image_ids) {
    cameras.push_back(CreateCamera(model.Camera(model.Image(id).CameraId())));
    pointers.push_back(cameras.back().get());
  }
  const View view = ChooseView(preset, *camera, pointers);
  std::vector<std::shared_ptr<const ReferenceDescription>> descriptions;
  for (const colmap::image_t id : part.references.image_ids) {
    descriptions.push_back(cache->Get(id, view.zoom));
  }
  std::vector<colmap::point3D_t> ids;
  const DescribedPoints points =
      ChoosePoints(model,
                   descriptions,
                   preset,
                   options.fusion,
                   options.estimation.max_num_refinement_points,
                   options.random_seed,
                   &ids);
  const Image image = ReadImage(folder + "/" + part.query.name);
  return FindMatches(preset,
                     {preset.coarse->Extract(image, view.coarse_scale),
                      preset.fine->Extract(image, view.fine_scale)},
                     points,
                     *camera,
                     result.estimate.cam_from_world);
}

// COLMAP's estimate in an image that is stretched until its pixels are square:
// one focal length describes it then, as it does ours.
Errors RunColmap(const Part& part,
                 std::vector<PointMatch> matches,
                 double max_error_px) {
  const std::vector<double>& params = CameraParams(part.query.camera);
  const double stretch = params[0] / params[1];
  for (PointMatch& match : matches) {
    match.xy.y() *= stretch;
  }
  const int width = CameraWidth(part.query.camera);
  const int height = CameraHeight(part.query.camera);
  colmap::Camera camera = MakeColmapCamera(
      "SIMPLE_PINHOLE",
      width,
      static_cast<int>(std::lround(stretch * height)),
      {kGuess * std::max(width, height), params[2], stretch * params[3]});
  const std::optional<Rigid3d> pose =
      SolveFocalLoRansac(matches, max_error_px, &camera);
  if (!pose) {
    return Errors();
  }
  const double true_focal_length =
      part.true_focal_length * 2.0 * params[0] / (params[0] + params[1]);
  return ErrorsOf(CreateCamera(camera)->MeanFocalLength(),
                  *pose,
                  true_focal_length,
                  part.true_pose);
}

// Appends the errors of all versions of all queries of a scene.
void RunScene(const std::string& scene,
              int num_versions,
              std::vector<Method>* methods) {
  const FeaturePreset preset = CreateFeaturePreset("dense_sift");
  colmap::Reconstruction model;
  ReadModel(scene + "/map", &model);
  const std::string folder =
      (fs::temp_directory_path() / "focal_study").string();
  LinkImages(scene, model, folder);
  const std::vector<Part> parts = MakeParts(scene, model, num_versions, folder);
  std::vector<Query> queries;
  std::vector<QueryReferences> references;
  for (const Part& part : parts) {
    queries.push_back(part.query);
    references.push_back(part.references);
  }
  LocalizationOptions options;
  options.num_threads = 1;
  const std::vector<QueryResult> results =
      LocalizationController(model, folder, preset, options, nullptr)
          .Run(queries, references, nullptr);

  ReferenceCache cache(model, folder, preset, 100);
  int num_registered = 0, num_wrong = 0;
  double focal_error2 = 0.0, milliseconds = 0.0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const double true_focal_length = parts[i].true_focal_length;
    const PoseEstimate& estimate = results[i].estimate;
    const Errors ours = estimate.verdict == Verdict::kFailed
                            ? Errors()
                            : ErrorsOf(estimate.focal_length_px,
                                       estimate.cam_from_world,
                                       true_focal_length,
                                       parts[i].true_pose);
    milliseconds += results[i].total_ms / parts.size();
    if (estimate.verdict == Verdict::kRegistered) {
      ++num_registered;
      num_wrong += ours.center > 0.5 || ours.rotation_deg > 5.0;
      focal_error2 += std::pow(
          ours.focal * true_focal_length / estimate.focal_length_std_px, 2);
    }
    const FocalMatches matches =
        MatchesOf(parts[i], results[i], model, preset, folder, &cache);
    size_t next = 0;
    (*methods)[next++].errors.push_back(ours);
    for (const auto* some : {&matches.own, &matches.guided}) {
      for (const double max_error : kMaxErrorsPx) {
        (*methods)[next++].errors.push_back(
            RunColmap(parts[i], *some, max_error));
      }
    }
  }
  fs::remove_all(folder);
  std::printf(
      "%s: %zu queries, %d registered, %d of these wrong (0.5 m, 5 deg); mean "
      "normalised squared error of the focal length %.2f; %.0f ms each\n",
      scene.c_str(),
      parts.size(),
      num_registered,
      num_wrong,
      focal_error2 / std::max(num_registered, 1),
      milliseconds);
}

int Run(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr,
                 "Usage: focal_study <versions of each query> <scene folder> "
                 "[<scene folder> ...]\nA scene folder has images/, map/, "
                 "queries.txt, queries_gt.txt and pairs_nearest2.txt.\n");
    return EXIT_FAILURE;
  }
  openblas_set_num_threads(1);
  const auto create_methods = [] {
    std::vector<Method> methods = {{"nre", {}}};
    for (const char* matches : {"colmap", "colmap, guided"}) {
      for (const double max_error : kMaxErrorsPx) {
        methods.push_back({std::string(matches) + ", " +
                               std::to_string(static_cast<int>(max_error)) +
                               " px",
                           {}});
      }
    }
    return methods;
  };
  std::vector<Method> all = create_methods();
  for (int i = 2; i < argc; ++i) {
    std::vector<Method> methods = create_methods();
    RunScene(argv[i], std::atoi(argv[1]), &methods);
    Print(methods);
    for (size_t k = 0; k < all.size(); ++k) {
      all[k].errors.insert(all[k].errors.end(),
                           methods[k].errors.begin(),
                           methods[k].errors.end());
    }
  }
  std::printf("all scenes\n");
  Print(all);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  try {
    return nre::Run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
}
