// Finds the factors that turn a preset's inner products into the logits of
// a softmax: those that minimise the truncated NRE (Eq. 6 and 7 of Germain,
// Lepetit, Bourmaud, CVPR 2021) at the true positions, on pairs of images with
// known geometry. See README.md here.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <Eigen/Core>
#include <Eigen/Geometry>
#include <Eigen/LU>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "nre/error.h"
#include "s2d/feature_preset.h"

namespace fs = std::filesystem;

namespace nre {
namespace {

constexpr int kMaxPointsPerPair = 200;
constexpr int kMaxPairsPerGap = 6;
constexpr int kFineWindow = 64;           // cells
constexpr int kFineWindowMaxOffset = 16;  // cells

// Two images and the same scene points in both, image coordinates.
struct ImagePair {
  std::string group;  // data set and distance of the two images in their order
  fs::path path1;
  fs::path path2;
  std::vector<Eigen::Vector2d> xy1;
  std::vector<Eigen::Vector2d> xy2;

  void KeepRandom(size_t max_points, std::mt19937* random) {
    for (size_t i = 0; i < std::min(max_points, xy1.size()); ++i) {
      const size_t j =
          std::uniform_int_distribution<size_t>(i, xy1.size() - 1)(*random);
      std::swap(xy1[i], xy1[j]);
      std::swap(xy2[i], xy2[j]);
    }
    xy1.resize(std::min(max_points, xy1.size()));
    xy2.resize(xy1.size());
  }
};

// Pairs (i, i + gap) of `size` images, spread over all of them.
std::vector<std::pair<int, int>> SelectPairs(int size, int gap) {
  std::vector<std::pair<int, int>> pairs;
  const int num_pairs = std::min(size - gap, kMaxPairsPerGap);
  for (int k = 0; k < num_pairs; ++k) {
    const int i = k * (size - gap) / num_pairs;
    pairs.emplace_back(i, i + gap);
  }
  return pairs;
}

// Pairs of a COLMAP text model, true by its tracks. Only images.txt is read.
std::vector<ImagePair> ReadColmapPairs(const fs::path& model_path,
                                       const fs::path& image_path,
                                       std::mt19937* random) {
  const fs::path path = model_path / "images.txt";
  std::ifstream file(path);
  if (!file) throw InputError("cannot read " + path.string());
  using Observations = std::map<int64_t, Eigen::Vector2d>;  // by point id
  std::vector<std::pair<std::string, Observations>> images;
  for (std::string header, points; std::getline(file, header);) {
    if (header.empty() || header[0] == '#') continue;
    std::getline(file, points);
    std::istringstream header_stream(header);
    std::string name;
    for (int i = 0; i < 10; ++i) header_stream >> name;  // the tenth word
    Observations observations;
    std::istringstream points_stream(points);
    Eigen::Vector2d xy;
    int64_t id;
    while (points_stream >> xy.x() >> xy.y() >> id) {
      if (id != -1) observations[id] = xy;
    }
    images.emplace_back(name, observations);
  }
  std::sort(images.begin(), images.end(), [](const auto& a, const auto& b) {
    return a.first < b.first;
  });

  std::vector<ImagePair> pairs;
  for (const int gap : {1, 2, 4, 7}) {
    for (const auto& [i, j] : SelectPairs(images.size(), gap)) {
      ImagePair pair;
      pair.group = "model, gap " + std::to_string(gap);
      pair.path1 = image_path / images[i].first;
      pair.path2 = image_path / images[j].first;
      for (const auto& [id, xy] : images[i].second) {
        const auto other = images[j].second.find(id);
        if (other == images[j].second.end()) continue;
        pair.xy1.push_back(xy);
        pair.xy2.push_back(other->second);
      }
      pair.KeepRandom(kMaxPointsPerPair, random);
      pairs.push_back(std::move(pair));
    }
  }
  return pairs;
}

// A frame of an RGB-D folder: color/*.jpg, depth/*.png (16 bit, mm),
// pose/*.txt (world_from_cam, 4 x 4).
struct RgbdFrame {
  fs::path color_path;
  cv::Mat depth;
  Eigen::Matrix4d world_from_cam;
};

Eigen::MatrixXd ReadMatrix(const fs::path& path, int rows, int cols) {
  std::ifstream file(path);
  Eigen::MatrixXd matrix(rows, cols);
  for (int i = 0; i < rows * cols; ++i) file >> matrix(i / cols, i % cols);
  if (!file) throw InputError("cannot read the matrix " + path.string());
  return matrix;
}

std::vector<RgbdFrame> ReadRgbdFrames(const fs::path& folder) {
  std::vector<fs::path> color_paths;
  for (const auto& entry : fs::directory_iterator(folder / "color")) {
    color_paths.push_back(entry.path());
  }
  std::sort(color_paths.begin(), color_paths.end());
  std::vector<RgbdFrame> frames;
  for (const fs::path& path : color_paths) {
    const std::string stem = path.stem().string();
    RgbdFrame frame;
    frame.color_path = path;
    frame.depth = cv::imread((folder / "depth" / (stem + ".png")).string(),
                             cv::IMREAD_UNCHANGED);
    if (frame.depth.type() != CV_16U) {
      throw InputError("no 16-bit depth for " + path.string());
    }
    frame.world_from_cam = ReadMatrix(folder / "pose" / (stem + ".txt"), 4, 4);
    frames.push_back(frame);
  }
  return frames;
}

// Corners of the first frame and their positions in the second one, where both
// depths agree that it is the same surface. K and the depth's pixels have the
// first pixel's centre at (0, 0).
ImagePair ProjectCorners(const RgbdFrame& frame1,
                         const RgbdFrame& frame2,
                         const Eigen::Matrix3d& K) {
  constexpr double kMaxDepthDifference = 0.05;  // relative
  ImagePair pair;
  pair.path1 = frame1.color_path;
  pair.path2 = frame2.color_path;
  const Eigen::Matrix4d cam2_from_cam1 =
      frame2.world_from_cam.inverse() * frame1.world_from_cam;
  const cv::Mat gray =
      cv::imread(frame1.color_path.string(), cv::IMREAD_GRAYSCALE);
  std::vector<cv::Point2f> corners;
  cv::goodFeaturesToTrack(gray, corners, 1000, 0.01, 5.0);
  for (const cv::Point2f& corner : corners) {
    const double depth =
        1e-3 * frame1.depth.at<uint16_t>(cvRound(corner.y), cvRound(corner.x));
    if (depth == 0.0) continue;
    const Eigen::Vector3d in_cam1 =
        depth * (K.inverse() * Eigen::Vector3d(corner.x, corner.y, 1.0));
    const Eigen::Vector3d in_cam2 =
        (cam2_from_cam1 * in_cam1.homogeneous()).head<3>();
    if (in_cam2.z() <= 0.0) continue;
    const Eigen::Vector2d xy2 = (K * in_cam2).hnormalized();
    const int x2 = static_cast<int>(std::lround(xy2.x()));
    const int y2 = static_cast<int>(std::lround(xy2.y()));
    if (x2 < 0 || y2 < 0 || x2 >= gray.cols || y2 >= gray.rows) continue;
    const double depth2 = 1e-3 * frame2.depth.at<uint16_t>(y2, x2);
    if (std::abs(depth2 - in_cam2.z()) > kMaxDepthDifference * in_cam2.z()) {
      continue;
    }
    pair.xy1.emplace_back(corner.x + 0.5, corner.y + 0.5);
    pair.xy2.push_back(xy2 + Eigen::Vector2d::Constant(0.5));
  }
  return pair;
}

std::vector<ImagePair> ReadRgbdPairs(const fs::path& folder,
                                     std::mt19937* random) {
  const Eigen::Matrix3d K = ReadMatrix(folder / "K.txt", 3, 3);
  const std::vector<RgbdFrame> frames = ReadRgbdFrames(folder);
  std::vector<ImagePair> pairs;
  for (const int gap : {1, 2, 3}) {
    for (const auto& [i, j] : SelectPairs(frames.size(), gap)) {
      ImagePair pair = ProjectCorners(frames[i], frames[j], K);
      pair.group = "RGB-D, gap " + std::to_string(gap);
      pair.KeepRandom(kMaxPointsPerPair, random);
      pairs.push_back(std::move(pair));
    }
  }
  return pairs;
}

// Sums over the points of some pairs.
struct Statistics {
  std::vector<double> nre;  // by scale
  double log_categories = 0.0;
  int within_1_cell = 0;
  int within_2_cells = 0;
  int num_points = 0;

  explicit Statistics(size_t num_scales = 0) : nre(num_scales) {}

  size_t BestScale() const {
    return std::min_element(nre.begin(), nre.end()) - nre.begin();
  }

  void Add(const Statistics& other) {
    nre.resize(other.nre.size());
    for (size_t k = 0; k < nre.size(); ++k) nre[k] += other.nre[k];
    log_categories += other.log_categories;
    within_1_cell += other.within_1_cell;
    within_2_cells += other.within_2_cells;
    num_points += other.num_points;
  }
};

std::vector<double> Scales() {
  std::vector<double> scales;
  for (double scale = 10.0; scale < 161.0; scale *= std::sqrt(std::sqrt(2.0))) {
    scales.push_back(scale);
  }
  return scales;
}

// Adds a point with its cosines [height, width] and true map position. The
// correspondence map is its softmax times `mass`.
void AddPoint(const Eigen::MatrixXf& cosines,
              const Eigen::Vector2d& truth,
              double mass,
              double log_categories,
              const std::vector<double>& scales,
              Statistics* statistics) {
  Eigen::Index peak_y, peak_x;
  const float peak = cosines.maxCoeff(&peak_y, &peak_x);
  const double error =
      (Eigen::Vector2d(peak_x, peak_y) - truth).lpNorm<Eigen::Infinity>();
  statistics->within_1_cell += error <= 1.0;
  statistics->within_2_cells += error <= 2.0;
  ++statistics->num_points;
  statistics->log_categories += log_categories;

  const int x0 = static_cast<int>(std::floor(truth.x()));
  const int y0 = static_cast<int>(std::floor(truth.y()));
  for (size_t k = 0; k < scales.size(); ++k) {
    const float scale = static_cast<float>(scales[k]);
    const double log_sum_exp =
        scale * peak +
        std::log((scale * (cosines.array() - peak)).exp().sum()) -
        std::log(mass);
    for (const int x : {x0, x0 + 1}) {
      for (const int y : {y0, y0 + 1}) {
        double loss = log_categories;
        if (x >= 0 && y >= 0 && x < cosines.cols() && y < cosines.rows()) {
          loss = std::min(loss, log_sum_exp - scale * cosines(y, x));
        }
        statistics->nre[k] += loss * (1.0 - std::abs(truth.x() - x)) *
                              (1.0 - std::abs(truth.y() - y));
      }
    }
  }
}

// A point without descriptor has no map: it costs ln|Omega^|.
void AddUndescribedPoint(double log_categories, Statistics* statistics) {
  for (double& nre : statistics->nre) nre += log_categories;
  statistics->log_categories += log_categories;
  ++statistics->num_points;
}

Eigen::MatrixXf Cosines(const FeatureMap& map,
                        const Eigen::VectorXf& descriptor,
                        const Eigen::AlignedBox2i& cells) {
  const Eigen::Vector2i size = cells.sizes() + Eigen::Vector2i::Ones();
  Eigen::MatrixXf cosines(size.y(), size.x());
  for (int y = 0; y < size.y(); ++y) {
    const Eigen::Map<const Eigen::MatrixXf> row(
        map.Descriptor(cells.min().x(), cells.min().y() + y),
        map.channels,
        size.x());
    cosines.row(y) = descriptor.transpose() * row;
  }
  return cosines;
}

Eigen::AlignedBox2i AllCells(const FeatureMap& map) {
  return {Eigen::Vector2i(0, 0),
          Eigen::Vector2i(map.width - 1, map.height - 1)};
}

// Features of both images of a pair.
struct PairFeatures {
  FeatureMap map1;
  FeatureMap map2;

  PairFeatures(const FeatureExtractor& extractor, const ImagePair& pair)
      : map1(extractor.Extract(ReadImage(pair.path1.string()))),
        map2(extractor.Extract(ReadImage(pair.path2.string()))) {}

  double LogCategories() const {
    return std::log(1.0 + static_cast<double>(map2.width) * map2.height);
  }
};

Statistics EvaluateCoarse(const ImagePair& pair,
                          const PairFeatures& features,
                          const std::vector<double>& scales) {
  Statistics statistics(scales.size());
  const FeatureMap& map = features.map2;
  Eigen::VectorXf descriptor(map.channels);
  for (size_t i = 0; i < pair.xy1.size(); ++i) {
    if (!features.map1.Sample(pair.xy1[i], descriptor.data())) {
      AddUndescribedPoint(features.LogCategories(), &statistics);
      continue;
    }
    AddPoint(Cosines(map, descriptor, AllCells(map)),
             map.map_from_image * pair.xy2[i],
             1.0,
             features.LogCategories(),
             scales,
             &statistics);
  }
  return statistics;
}

// A window of the map, off the truth by a random number of cells.
Eigen::AlignedBox2i RandomWindow(const FeatureMap& map,
                                 const Eigen::Vector2d& truth,
                                 std::mt19937* random) {
  std::uniform_int_distribution<int> offset(-kFineWindowMaxOffset,
                                            kFineWindowMaxOffset);
  Eigen::Vector2i first;
  for (int axis = 0; axis < 2; ++axis) {
    first[axis] = static_cast<int>(std::lround(truth[axis])) + offset(*random) -
                  kFineWindow / 2;
  }
  const Eigen::Vector2i last =
      first + Eigen::Vector2i::Constant(kFineWindow - 1);
  return Eigen::AlignedBox2i(first, last).intersection(AllCells(map));
}

// The part of the softmax of the whole coarse map that falls on coarse cells
// whose centre is in the fine window.
double CoarseMass(const FeatureMap& coarse,
                  const Eigen::VectorXf& descriptor,
                  double scale,
                  const FeatureMap& fine,
                  const Eigen::AlignedBox2i& window) {
  const Eigen::MatrixXf cosines = Cosines(coarse, descriptor, AllCells(coarse));
  const Eigen::ArrayXXf exps =
      (static_cast<float>(scale) * (cosines.array() - cosines.maxCoeff()))
          .exp();
  const Eigen::Vector2d margin(0.5, 0.5);
  const Eigen::AlignedBox2d box(window.min().cast<double>() - margin,
                                window.max().cast<double>() + margin);
  double mass = 0.0;
  for (int y = 0; y < exps.rows(); ++y) {
    for (int x = 0; x < exps.cols(); ++x) {
      const Eigen::Vector2d xy_image =
          coarse.map_from_image.ToImage(Eigen::Vector2d(x, y));
      if (box.contains(fine.map_from_image * xy_image)) mass += exps(y, x);
    }
  }
  return mass / exps.sum();
}

// Fine maps as the estimator makes them (appendix D.1): a window near the
// truth, whose softmax is multiplied by the window's coarse mass.
Statistics EvaluateFine(const ImagePair& pair,
                        const PairFeatures& coarse,
                        double coarse_scale,
                        const PairFeatures& fine,
                        const std::vector<double>& scales,
                        std::mt19937* random) {
  Statistics statistics(scales.size());
  Eigen::VectorXf descriptor(fine.map2.channels);
  Eigen::VectorXf coarse_descriptor(coarse.map2.channels);
  for (size_t i = 0; i < pair.xy1.size(); ++i) {
    const Eigen::Vector2d truth = fine.map2.map_from_image * pair.xy2[i];
    const Eigen::AlignedBox2i window = RandomWindow(fine.map2, truth, random);
    if (window.isEmpty() || !fine.map1.Sample(pair.xy1[i], descriptor.data()) ||
        !coarse.map1.Sample(pair.xy1[i], coarse_descriptor.data())) {
      AddUndescribedPoint(fine.LogCategories(), &statistics);
      continue;
    }
    AddPoint(
        Cosines(fine.map2, descriptor, window),
        truth - window.min().cast<double>(),
        CoarseMass(
            coarse.map2, coarse_descriptor, coarse_scale, fine.map2, window),
        fine.LogCategories(),
        scales,
        &statistics);
  }
  return statistics;
}

// Prints a table by group of pairs; returns the best scale of all together.
double Print(const std::string& title,
             const std::map<std::string, Statistics>& groups,
             const std::vector<double>& scales) {
  std::printf("%s\n", title.c_str());
  std::printf("  %-16s %6s %8s %7s %6s %9s %9s\n",
              "pairs",
              "points",
              "ln|O^|",
              "NRE",
              "scale",
              "<=1 cell",
              "<=2 cells");
  const auto print_row = [&](const std::string& name, const Statistics& s) {
    std::printf("  %-16s %6d %8.3f %7.3f %6.1f %8.1f%% %8.1f%%\n",
                name.c_str(),
                s.num_points,
                s.log_categories / s.num_points,
                s.nre[s.BestScale()] / s.num_points,
                scales[s.BestScale()],
                100.0 * s.within_1_cell / s.num_points,
                100.0 * s.within_2_cells / s.num_points);
  };
  Statistics all;
  for (const auto& [name, statistics] : groups) {
    if (statistics.num_points == 0) continue;
    print_row(name, statistics);
    all.Add(statistics);
  }
  if (all.num_points == 0) throw InputError("no points: check the input");
  print_row("all", all);
  std::printf("  scale: mean NRE of all\n ");
  for (size_t k = 0; k < scales.size(); ++k) {
    std::printf(" %.1f: %.3f", scales[k], all.nre[k] / all.num_points);
  }
  std::printf("\n");
  return scales[all.BestScale()];
}

void Calibrate(const FeaturePreset& preset,
               const std::vector<ImagePair>& pairs) {
  const std::vector<double> scales = Scales();
  std::map<std::string, Statistics> coarse_groups;
  for (const ImagePair& pair : pairs) {
    const PairFeatures coarse(*preset.coarse, pair);
    coarse_groups[pair.group].Add(EvaluateCoarse(pair, coarse, scales));
  }
  const double coarse_scale =
      Print("coarse, whole maps", coarse_groups, scales);

  std::mt19937 random(0);
  std::map<std::string, Statistics> fine_groups;
  for (const ImagePair& pair : pairs) {
    const PairFeatures coarse(*preset.coarse, pair);
    const PairFeatures fine(*preset.fine, pair);
    fine_groups[pair.group].Add(
        EvaluateFine(pair, coarse, coarse_scale, fine, scales, &random));
  }
  Print("fine, windows times their coarse mass", fine_groups, scales);
}

int Run(int argc, char** argv) {
  std::map<std::string, std::string> options = {{"--preset", "dense_sift"},
                                                {"--weights_path", ""},
                                                {"--model_path", ""},
                                                {"--image_path", ""},
                                                {"--rgbd_path", ""}};
  for (int i = 1; i < argc; i += 2) {
    const auto option = options.find(argv[i]);
    if (option == options.end() || i + 1 == argc) {
      std::cerr << "Usage: calibrate_temperature [--preset dense_sift]\n"
                   "  [--weights_path FOLDER]\n"
                   "  [--model_path COLMAP_TEXT_MODEL --image_path IMAGES]\n"
                   "  [--rgbd_path FOLDER_WITH_color_depth_pose_K.txt]\n";
      return EXIT_FAILURE;
    }
    option->second = argv[i + 1];
  }
  std::mt19937 random(0);
  std::vector<ImagePair> pairs;
  if (!options["--model_path"].empty()) {
    pairs = ReadColmapPairs(
        options["--model_path"], options["--image_path"], &random);
  }
  if (!options["--rgbd_path"].empty()) {
    const std::vector<ImagePair> rgbd_pairs =
        ReadRgbdPairs(options["--rgbd_path"], &random);
    pairs.insert(pairs.end(), rgbd_pairs.begin(), rgbd_pairs.end());
  }
  Calibrate(
      CreateFeaturePreset(options["--preset"], {options["--weights_path"]}),
      pairs);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  try {
    return nre::Run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
