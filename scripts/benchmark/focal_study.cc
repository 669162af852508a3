// Queries with unknown focal length: random parts of photographs with known
// poses, resized, so that the map's camera says nothing about theirs. Pose and
// focal length by the NRE, and by COLMAP on the peaks of the same maps.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
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
#include "colmap_plugin/io/lists.h"
#include "nre/error.h"
#include "scripts/benchmark/focal_query.h"

namespace nre {
namespace {

constexpr double kMaxErrorsPx[] = {2.0, 4.0, 8.0, 12.0};

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

// Appends the errors of all versions of all queries of a scene.
void RunScene(const std::string& folder,
              int num_versions,
              std::vector<Method>* methods) {
  const FeaturePreset preset = CreateFeaturePreset("dense_sift");
  colmap::Reconstruction model;
  ReadModel(folder + "/map", &model);
  const std::vector<Query> queries = ReadQueryList(folder + "/queries.txt");
  const std::map<std::string, Rigid3d> truth =
      ReadPoses(folder + "/queries_gt.txt");
  std::vector<std::string> absent;
  const std::vector<QueryReferences> references = ResolvePairs(
      ReadPairs(folder + "/pairs_nearest2.txt"), queries, model, &absent);
  ReferenceCache cache(model, folder + "/images", preset, 100);

  int num_registered = 0, num_wrong = 0, num_queries = 0;
  double focal_error2 = 0.0, milliseconds = 0.0;
  for (size_t i = 0; i < queries.size(); ++i) {
    const Rigid3d& true_pose = truth.at(queries[i].name);
    const Image image = ReadImage(folder + "/images/" + queries[i].name);
    const std::unique_ptr<Camera> whole_camera =
        CreateCamera(queries[i].camera);
    std::vector<std::shared_ptr<const ReferenceDescription>> descriptions;
    for (const colmap::image_t id : references[i].image_ids) {
      descriptions.push_back(cache.Get(id));
    }
    std::vector<colmap::point3D_t> ids;
    const DescribedPoints points = ChoosePoints(model,
                                                descriptions,
                                                preset,
                                                LocalizationOptions().fusion,
                                                1000,
                                                0,
                                                &ids);
    for (int version = 0; version < num_versions; ++version) {
      const uint64_t seed = 1000 * i + version;
      const Crop crop = RandomCrop(image, MixSeeds(7, seed));
      const double true_focal_length =
          crop.scale.mean() * whole_camera->MeanFocalLength();
      const Eigen::Vector2d principal_point =
          crop.scale.cwiseProduct(PrincipalPoint(*whole_camera) - crop.origin);
      const int width = crop.image.width, height = crop.image.height;
      const int size = std::max(width, height);
      const colmap::Camera guess = MakeColmapCamera(
          "SIMPLE_PINHOLE",
          width,
          height,
          {1.2 * size, principal_point.x(), principal_point.y()});
      Priors priors;
      priors.focal_length = {0.1 * size, 10.0 * size};
      const FocalQueryResult result = RunFocalQuery(
          preset, crop.image, *CreateCamera(guess), points, priors, seed);

      const PoseEstimate& estimate = result.estimate;
      const bool failed = estimate.verdict == Verdict::kFailed;
      const Errors ours = failed ? Errors()
                                 : ErrorsOf(estimate.focal_length_px,
                                            estimate.cam_from_world,
                                            true_focal_length,
                                            true_pose);
      ++num_queries;
      milliseconds += result.estimate_ms;
      if (estimate.verdict == Verdict::kRegistered) {
        ++num_registered;
        num_wrong += ours.center > 0.5 || ours.rotation_deg > 5.0;
        focal_error2 += std::pow(
            ours.focal * true_focal_length / estimate.focal_length_std_px, 2);
      }
      size_t next = 0;
      (*methods)[next++].errors.push_back(ours);
      for (const auto* matches :
           {&result.own_matches, &result.guided_matches}) {
        for (size_t k = 0; k < std::size(kMaxErrorsPx); ++k) {
          colmap::Camera camera = guess;
          const std::optional<Rigid3d> pose =
              SolveFocalLoRansac(*matches, kMaxErrorsPx[k], &camera);
          (*methods)[next++].errors.push_back(
              pose ? ErrorsOf(CreateCamera(camera)->MeanFocalLength(),
                              *pose,
                              true_focal_length,
                              true_pose)
                   : Errors());
        }
      }
    }
  }
  std::printf(
      "%s: %d queries, %d registered, %d of these wrong (0.5 m, 5 deg); mean "
      "normalised squared error of the focal length %.2f; %.0f ms each\n",
      folder.c_str(),
      num_queries,
      num_registered,
      num_wrong,
      focal_error2 / std::max(num_registered, 1),
      milliseconds / num_queries);
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
