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

#include "nre/error.h"
#include "s2d/feature_preset.h"
#include "scripts/calibration/map_quality.h"

namespace fs = std::filesystem;

namespace nre {
namespace {

constexpr int kMaxPointsPerPair = 200;
constexpr int kMaxPairsPerGap = 6;

// Two images and the same scene points in both.
struct ImagePair {
  std::string group;  // data set and distance of the two images in their order
  fs::path path1;
  fs::path path2;
  std::vector<PointPair> points;
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
        pair.points.push_back({xy, other->second});
      }
      KeepRandom(kMaxPointsPerPair, random, &pair.points);
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
  const Eigen::Matrix2Xd corners = FindCorners(frame1.color_path.string());
  const Eigen::Vector2d half(0.5, 0.5);
  for (Eigen::Index i = 0; i < corners.cols(); ++i) {
    const Eigen::Vector2d corner = corners.col(i) - half;
    const double depth = 1e-3 * frame1.depth.at<uint16_t>(cvRound(corner.y()),
                                                          cvRound(corner.x()));
    if (depth == 0.0) continue;
    const Eigen::Vector3d in_cam1 =
        depth * (K.inverse() * corner.homogeneous());
    const Eigen::Vector3d in_cam2 =
        (cam2_from_cam1 * in_cam1.homogeneous()).head<3>();
    if (in_cam2.z() <= 0.0) continue;
    const Eigen::Vector2d xy2 = (K * in_cam2).hnormalized();
    const int x2 = static_cast<int>(std::lround(xy2.x()));
    const int y2 = static_cast<int>(std::lround(xy2.y()));
    const cv::Mat& depths2 = frame2.depth;
    if (x2 < 0 || y2 < 0 || x2 >= depths2.cols || y2 >= depths2.rows) continue;
    const double depth2 = 1e-3 * depths2.at<uint16_t>(y2, x2);
    if (std::abs(depth2 - in_cam2.z()) > kMaxDepthDifference * in_cam2.z()) {
      continue;
    }
    pair.points.push_back({corner + half, xy2 + half});
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
      KeepRandom(kMaxPointsPerPair, random, &pair.points);
      pairs.push_back(std::move(pair));
    }
  }
  return pairs;
}

std::vector<double> Scales() {
  std::vector<double> scales;
  for (double scale = 10.0; scale < 161.0; scale *= std::sqrt(std::sqrt(2.0))) {
    scales.push_back(scale);
  }
  return scales;
}

PairFeatures Extract(const FeatureExtractor& extractor, const ImagePair& pair) {
  return {extractor.Extract(ReadImage(pair.path1.string())),
          extractor.Extract(ReadImage(pair.path2.string()))};
}

// Prints a table by group of pairs; returns the best scale of all together.
double Print(const std::string& title,
             const std::map<std::string, MapStatistics>& groups,
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
  const auto print_row = [&](const std::string& name, const MapStatistics& s) {
    std::printf("  %-16s %6zu %8.3f %7.3f %6.1f %8.1f%% %8.1f%%\n",
                name.c_str(),
                s.NumPoints(),
                s.log_categories / s.NumPoints(),
                s.nre[s.BestScale()] / s.NumPoints(),
                scales[s.BestScale()],
                100.0 * s.ShareWithin(1.0),
                100.0 * s.ShareWithin(2.0));
  };
  MapStatistics all;
  for (const auto& [name, statistics] : groups) {
    if (statistics.NumPoints() == 0) continue;
    print_row(name, statistics);
    all.Add(statistics);
  }
  if (all.NumPoints() == 0) throw InputError("no points: check the input");
  print_row("all", all);
  std::printf("  scale: mean NRE of all\n ");
  for (size_t k = 0; k < scales.size(); ++k) {
    std::printf(" %.1f: %.3f", scales[k], all.nre[k] / all.NumPoints());
  }
  std::printf("\n");
  return scales[all.BestScale()];
}

void Calibrate(const FeaturePreset& preset,
               const std::vector<ImagePair>& pairs) {
  const std::vector<double> scales = Scales();
  std::map<std::string, MapStatistics> coarse_groups;
  for (const ImagePair& pair : pairs) {
    coarse_groups[pair.group].Add(
        EvaluateCoarse(pair.points, Extract(*preset.coarse, pair), scales));
  }
  const double coarse_scale =
      Print("coarse, whole maps", coarse_groups, scales);

  std::mt19937 random(0);
  std::map<std::string, MapStatistics> fine_groups;
  for (const ImagePair& pair : pairs) {
    fine_groups[pair.group].Add(EvaluateFine(pair.points,
                                             Extract(*preset.coarse, pair),
                                             coarse_scale,
                                             Extract(*preset.fine, pair),
                                             scales,
                                             &random));
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
