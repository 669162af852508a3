// How exact poses are on photographs with surveyed poses: NRE, and COLMAP's
// SIFT matches through its LO-RANSAC and refinement, on the same random subsets
// of points and reference images. See README.md.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <cblas.h>
#include <opencv2/core.hpp>

#include "colmap_plugin/compat/absolute_pose.h"
#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/reference_points.h"
#include "colmap_plugin/controllers/seeds.h"
#include "colmap_plugin/io/database.h"
#include "colmap_plugin/io/lists.h"
#include "nre/error.h"
#include "nre/pose_evaluation.h"
#include "s2d/image.h"
#include "s2d/localization.h"

namespace nre {
namespace {

struct Options {
  std::vector<std::string> folders;
  // COLMAP database with the SIFT matches of the scene before it, or empty.
  std::vector<std::string> databases;
  int num_subsets = 20;
  uint64_t seed = 0;
  std::string features = "compact";
  std::string weights_path;
  NreEstimationOptions estimation;
  std::vector<Fusion> fusions = {Fusion::kMean};
};

using Descriptions = std::vector<std::shared_ptr<const ReferenceDescription>>;

// The reference images and points of one trial.
struct Subset {
  std::vector<colmap::image_t> image_ids;
  uint64_t seed;

  // Each point with probability 1/2.
  bool HasPoint(colmap::point3D_t id) const {
    return MixSeeds(seed, id) % 2 == 0;
  }
};

// Two reference images at least, and half of the points.
Subset DrawSubset(const std::vector<colmap::image_t>& all, uint64_t seed) {
  std::mt19937_64 random(seed);
  Subset subset{all, seed};
  std::shuffle(subset.image_ids.begin(), subset.image_ids.end(), random);
  if (all.size() > 2) {
    subset.image_ids.resize(2 + random() % (all.size() - 1));
  }
  std::sort(subset.image_ids.begin(), subset.image_ids.end());
  return subset;
}

std::shared_ptr<const ReferenceDescription> Filter(
    const ReferenceDescription& all,
    const Subset& subset,
    const FeaturePreset& preset) {
  auto some = std::make_shared<ReferenceDescription>();
  const auto append = [](const std::vector<float>& from,
                         size_t row,
                         size_t channels,
                         auto* to) {
    const auto begin = from.begin() + row * channels;
    to->insert(to->end(), begin, begin + channels);
  };
  for (size_t i = 0; i < all.point3D_ids.size(); ++i) {
    if (subset.HasPoint(all.point3D_ids[i])) {
      some->point3D_ids.push_back(all.point3D_ids[i]);
      append(all.coarse, i, preset.coarse->Channels(), &some->coarse);
      append(all.fine, i, preset.fine->Channels(), &some->fine);
      some->views.push_back(all.views[i]);
    }
  }
  return some;
}

constexpr char kSift[] = "SIFT, LO-RANSAC";

// Errors of one method: [query][subset]; infinite where it found no pose.
struct Errors {
  std::vector<std::vector<double>> centers_cm;
  std::vector<std::vector<double>> rotations_deg;

  void Add(size_t query, const Rigid3d* pose, const Rigid3d& truth) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    centers_cm.resize(std::max(centers_cm.size(), query + 1));
    rotations_deg.resize(centers_cm.size());
    centers_cm[query].push_back(
        pose == nullptr ? kInfinity : 100.0 * CenterError(*pose, truth));
    rotations_deg[query].push_back(
        pose == nullptr ? kInfinity : RotationErrorDeg(*pose, truth));
  }
};

// [query][subset] of any quantity.
using Samples = std::vector<std::vector<double>>;

// What is drawn again, with replacement, for an interval.
enum class Resampled {
  kSubsets,  // those of each query: as with other subsets of these queries
  kQueries,  // as with other queries
};

// Median of all queries' samples together, with its 95 % interval.
std::string MedianWithInterval(const Samples& samples, Resampled resampled) {
  constexpr int kNumResamples = 1000;
  std::mt19937_64 random(1);
  const auto draw = [&](const std::vector<double>& from,
                        std::vector<double>* to) {
    for (size_t i = 0; i < from.size(); ++i) {
      to->push_back(from[random() % from.size()]);
    }
  };
  std::vector<double> all, medians;
  for (const std::vector<double>& of_query : samples) {
    all.insert(all.end(), of_query.begin(), of_query.end());
  }
  for (int i = 0; i < kNumResamples; ++i) {
    std::vector<double> drawn;
    for (const std::vector<double>& of_query : samples) {
      draw(resampled == Resampled::kSubsets
               ? of_query
               : samples[random() % samples.size()],
           &drawn);
    }
    medians.push_back(Median(drawn));
  }
  std::sort(medians.begin(), medians.end());
  char text[100];
  std::snprintf(text,
                sizeof(text),
                "%7.4f [%.4f, %.4f]",
                Median(all),
                medians[kNumResamples / 40],
                medians[kNumResamples - kNumResamples / 40 - 1]);
  return text;
}

// Of the same subsets, where both found a pose.
Samples Differences(const Samples& a, const Samples& b) {
  Samples differences(a.size());
  for (size_t q = 0; q < a.size(); ++q) {
    for (size_t s = 0; s < a[q].size(); ++s) {
      if (std::isfinite(a[q][s]) && std::isfinite(b[q][s])) {
        differences[q].push_back(a[q][s] - b[q][s]);
      }
    }
  }
  return differences;
}

class Scene {
 public:
  Scene(const std::string& folder,
        const std::string& database,
        const FeaturePreset& preset,
        const Options& options)
      : folder_(folder),
        database_(database),
        preset_(preset),
        options_(options) {
    ReadModel(folder + "/map", &model_);
    truth_ = ReadPoses(folder + "/queries_gt.txt");
  }

  void Run() {
    ReferenceCache cache(model_, folder_ + "/images", preset_, 1000000);
    const std::vector<Query> queries = ReadQueryList(folder_ + "/queries.txt");
    for (size_t q = 0; q < queries.size(); ++q) {
      const Image image = ReadImage(folder_ + "/images/" + queries[q].name);
      const ImageFeatures features = {preset_.coarse->Extract(image),
                                      preset_.fine->Extract(image)};
      for (int s = 0; s < options_.num_subsets; ++s) {
        const Subset subset = DrawSubset(RegisteredImages(model_),
                                         MixSeeds(options_.seed, 100 * q + s));
        Descriptions descriptions;
        for (const colmap::image_t id : subset.image_ids) {
          descriptions.push_back(Filter(*cache.Get(id), subset, preset_));
        }
        for (const Fusion fusion : options_.fusions) {
          RunNre(q, queries[q], features, descriptions, fusion);
        }
        if (!database_.empty()) {
          RunSift(q, queries[q], subset);
        }
      }
    }
    Print();
  }

 private:
  void RunNre(size_t index,
              const Query& query,
              const ImageFeatures& features,
              const Descriptions& descriptions,
              Fusion fusion) {
    std::vector<colmap::point3D_t> ids;
    const DescribedPoints points =
        ChoosePoints(model_,
                     descriptions,
                     preset_,
                     fusion,
                     std::max(options_.estimation.max_num_points,
                              options_.estimation.max_num_refinement_points),
                     options_.seed,
                     &ids);
    const PoseEstimate estimate = Localize(preset_,
                                           features,
                                           *CreateCamera(query.camera),
                                           points,
                                           options_.estimation,
                                           options_.seed,
                                           nullptr,
                                           nullptr);
    errors_[preset_.name + ", NRE, " + FusionName(fusion)].Add(
        index,
        estimate.verdict == Verdict::kRegistered ? &estimate.cam_from_world
                                                 : nullptr,
        truth_.at(query.name));
  }

  // As COLMAP's image_registrator estimates a pose, with its threshold.
  void RunSift(size_t index, const Query& query, const Subset& subset) {
    constexpr double kMaxErrorPx = 12.0;
    const Database database(database_, Database::Mode::kReadOnly);
    const Query in_database = database.ReadQueries({query.name}).front();
    const std::vector<Eigen::Vector2d> keypoints =
        database.ReadKeypoints(in_database.image_id);
    std::set<std::pair<uint32_t, colmap::point3D_t>> seen;
    std::vector<PointMatch> matches;
    for (const colmap::image_t image_id : subset.image_ids) {
      const colmap::Image& image = model_.Image(image_id);
      const colmap::image_t id_in_database =
          database.ReadQueries({image.Name()}).front().image_id;
      if (database.ReadKeypoints(id_in_database).size() !=
          image.Points2D().size()) {
        throw InputError("the keypoints of " + image.Name() + " in " +
                         database_ + " are not the model's");
      }
      for (const auto& [k, k_of_image] :
           database.ReadMatches(in_database.image_id, id_in_database)) {
        const auto& point = image.Points2D()[k_of_image];
        if (point.HasPoint3D() && subset.HasPoint(Point3DId(point)) &&
            seen.insert({k, Point3DId(point)}).second) {
          matches.push_back(
              {XYZ(model_.Point3D(Point3DId(point))), keypoints.at(k)});
        }
      }
    }
    const std::optional<Rigid3d> pose =
        SolveLoRansac(query.camera, matches, kMaxErrorPx, options_.seed);
    errors_[kSift].Add(index, pose ? &*pose : nullptr, truth_.at(query.name));
  }

  void Print() const {
    std::printf(
        "%s: %d random subsets of each query's references and points; median "
        "[95 %% interval]\n  %-24s %-28s %-28s %s\n",
        std::filesystem::path(folder_).filename().c_str(),
        options_.num_subsets,
        "",
        "centre, cm",
        "rotation, deg",
        "registered");
    for (const auto& [method, errors] : errors_) {
      int num_registered = 0, num_all = 0;
      for (const std::vector<double>& of_query : errors.centers_cm) {
        for (const double error : of_query) {
          num_registered += std::isfinite(error);
          ++num_all;
        }
      }
      std::printf(
          "  %-24s %-28s %-28s %d of %d\n",
          method.c_str(),
          MedianWithInterval(errors.centers_cm, Resampled::kSubsets).c_str(),
          MedianWithInterval(errors.rotations_deg, Resampled::kSubsets).c_str(),
          num_registered,
          num_all);
    }
    const auto sift = errors_.find(kSift);
    for (const auto& [method, errors] : errors_) {
      if (sift == errors_.end() || method == kSift) continue;
      const auto difference = [&](Samples Errors::*member) {
        return MedianWithInterval(
            Differences(errors.*member, sift->second.*member),
            Resampled::kQueries);
      };
      std::printf(
          "  %s less %s, of the same subsets [interval for other "
          "queries]:\n  %-24s %-28s %s\n",
          method.c_str(),
          kSift,
          "",
          difference(&Errors::centers_cm).c_str(),
          difference(&Errors::rotations_deg).c_str());
    }
    std::fflush(stdout);
  }

  std::string folder_;
  std::string database_;
  const FeaturePreset& preset_;
  Options options_;
  colmap::Reconstruction model_;
  Poses truth_;
  std::map<std::string, Errors> errors_;
};

Options ReadOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool has_value = i + 1 < argc;
    if (argument == "--scene" && has_value) {
      options.folders.push_back(argv[++i]);
      options.databases.emplace_back();
    } else if (argument == "--sift_database" && has_value &&
               !options.databases.empty()) {
      options.databases.back() = argv[++i];
    } else if (argument == "--features" && has_value) {
      options.features = argv[++i];
    } else if (argument == "--weights_path" && has_value) {
      options.weights_path = argv[++i];
    } else if (argument == "--num_subsets" && has_value) {
      options.num_subsets = std::stoi(argv[++i]);
    } else if (argument == "--random_seed" && has_value) {
      options.seed = std::stoull(argv[++i]);
    } else if (argument == "--max_num_refinement_points" && has_value) {
      options.estimation.max_num_refinement_points = std::stoi(argv[++i]);
    } else if (argument == "--max_num_points" && has_value) {
      options.estimation.max_num_points = std::stoi(argv[++i]);
    } else if (argument == "--all_fusions") {
      options.fusions = {
          Fusion::kNearest, Fusion::kMean, Fusion::kMax, Fusion::kSum};
    } else {
      throw InputError("unknown or incomplete option " + argument +
                       "; see README.md");
    }
  }
  if (options.folders.empty() || options.num_subsets < 1 ||
      !options.estimation.Check()) {
    throw InputError("expected --scene FOLDER and positive numbers");
  }
  return options;
}

void Run(const Options& options) {
  openblas_set_num_threads(1);
  cv::setNumThreads(1);
  const FeaturePreset preset =
      CreateFeaturePreset(options.features, {options.weights_path});
  for (size_t i = 0; i < options.folders.size(); ++i) {
    Scene(options.folders[i], options.databases[i], preset, options).Run();
  }
}

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  try {
    nre::Run(nre::ReadOptions(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "accuracy_study: %s\n", error.what());
    return 1;
  }
  return 0;
}
