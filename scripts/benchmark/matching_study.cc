// How exactly keypoints are matched between images related by known
// homographies: sparse-to-dense, sparse-to-sparse with the same descriptors and
// detector, and COLMAP's SIFT. See README.md and matching_study.sh.
//
//   matching_study generate PHOTO_FOLDER OUTPUT [NUM_PHOTOS [MAX_SIZE]]
//   matching_study evaluate FOLDER DATABASE [--features PRESET]
//       [--weights_path FOLDER]
//
// `generate` makes sequences KIND_NAME/{1.png, 2.png, H_1_2} of photographs,
// and OUTPUT/pairs.txt. `evaluate` takes these, or any folder of sequences with
// images 1 to 6 and homographies H_1_2 to H_1_6 as HPatches has them, and a
// COLMAP database with keypoints and verified matches of their images.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <Eigen/Geometry>
#include <Eigen/LU>
#include <cblas.h>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "colmap_plugin/io/database.h"
#include "nre/error.h"
#include "s2d/feature_preset.h"
#include "s2d/matching.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

// --- Generated pairs

const char* const kKinds[] = {"viewpoint", "light", "blur", "noise"};

// Of the corners, as a share of the image's sides.
double MaxDisplacement(const std::string& kind) {
  return kind == "viewpoint" ? 0.25 : 0.03;
}

using Random = std::mt19937;

double Uniform(double min, double max, Random* random) {
  return std::uniform_real_distribution<double>(min, max)(*random);
}

cv::Matx33d RandomHomography(const cv::Size& size,
                             double displacement,
                             Random* random) {
  const cv::Point2f corners[] = {
      {0, 0},
      {static_cast<float>(size.width), 0},
      {static_cast<float>(size.width), static_cast<float>(size.height)},
      {0, static_cast<float>(size.height)}};
  cv::Point2f moved[4];
  for (int i = 0; i < 4; ++i) {
    moved[i].x = corners[i].x +
                 static_cast<float>(
                     size.width * Uniform(-displacement, displacement, random));
    moved[i].y =
        corners[i].y +
        static_cast<float>(size.height *
                           Uniform(-displacement, displacement, random));
  }
  return cv::getPerspectiveTransform(corners, moved);
}

// Another exposure, gamma and white balance, and light from one side.
void ChangeLight(cv::Mat* image, Random* random) {
  image->convertTo(*image, CV_32FC3, 1.0 / 255.0);
  const double gamma = std::exp(Uniform(-0.9, 0.9, random));
  cv::pow(*image, gamma, *image);
  cv::Scalar gains;
  for (int c = 0; c < 3; ++c) gains[c] = std::exp(Uniform(-0.4, 0.4, random));
  cv::multiply(*image, gains * std::exp(Uniform(-0.7, 0.4, random)), *image);
  const double angle = Uniform(0.0, 2.0 * M_PI, random);
  const double slope = Uniform(0.5, 1.5, random);
  for (int y = 0; y < image->rows; ++y) {
    for (int x = 0; x < image->cols; ++x) {
      const double u = static_cast<double>(x) / image->cols - 0.5;
      const double v = static_cast<double>(y) / image->rows - 0.5;
      const double light =
          std::exp(slope * (std::cos(angle) * u + std::sin(angle) * v) * 2.0);
      image->at<cv::Vec3f>(y, x) *= static_cast<float>(light);
    }
  }
  image->convertTo(*image, CV_8UC3, 255.0);
}

void Degrade(const std::string& kind, cv::Mat* image, Random* random) {
  if (kind == "light") ChangeLight(image, random);
  if (kind == "blur") {
    cv::GaussianBlur(*image, *image, {}, Uniform(1.5, 3.5, random));
  }
  if (kind == "noise") {
    cv::Mat noise(image->size(), CV_32FC3), sum;
    cv::theRNG().state = (*random)();
    cv::randn(noise, 0.0, Uniform(20.0, 50.0, random));
    image->convertTo(sum, CV_32FC3);
    sum += noise;
    sum.convertTo(*image, CV_8UC3);
  }
}

void Generate(const std::string& photos,
              const std::string& output,
              size_t max_num_photos,
              int max_size) {
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(photos)) {
    if (entry.is_regular_file()) paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  Random shuffle(0);
  std::shuffle(paths.begin(), paths.end(), shuffle);
  fs::create_directories(output);
  std::ofstream pairs(output + "/pairs.txt");
  size_t num_photos = 0;
  for (const std::string& path : paths) {
    cv::Mat photo = cv::imread(path);
    if (num_photos == max_num_photos) break;
    if (std::min(photo.rows, photo.cols) < 300) continue;
    const double scale =
        std::min(1.0, 1.0 * max_size / std::max(photo.rows, photo.cols));
    cv::resize(photo, photo, {}, scale, scale, cv::INTER_AREA);
    for (const std::string kind : kKinds) {
      Random random(static_cast<unsigned>(1000 * num_photos + kind.size()));
      const cv::Matx33d homography =
          RandomHomography(photo.size(), MaxDisplacement(kind), &random);
      cv::Mat other;
      cv::warpPerspective(photo, other, homography, photo.size());
      Degrade(kind, &other, &random);
      const std::string name = kind + "_" + fs::path(path).stem().string();
      const std::string folder = output + "/" + name;
      fs::create_directories(folder);
      cv::imwrite(folder + "/1.png", photo);
      cv::imwrite(folder + "/2.png", other);
      std::ofstream file(folder + "/H_1_2");
      file.precision(17);
      for (int i = 0; i < 9; ++i) {
        file << homography.val[i] << (i % 3 == 2 ? "\n" : " ");
      }
      pairs << name << "/1.png " << name << "/2.png\n";
    }
    ++num_photos;
  }
}

// --- Evaluation

// OpenCV's and HPatches' homographies are of pixel coordinates with the first
// pixel's centre at (0, 0).
Eigen::Vector2d Transfer(const Eigen::Matrix3d& homography,
                         const Eigen::Vector2d& xy) {
  const Eigen::Vector2d half(0.5, 0.5);
  return (homography * (xy - half).homogeneous()).hnormalized() + half;
}

struct Match {
  Eigen::Vector2d xy1;
  Eigen::Vector2d xy2;
  float score;
};

constexpr double kThresholds[] = {1.0, 2.0, 3.0, 5.0, 10.0};
constexpr int kNumThresholds = 5;
constexpr size_t kMaxNumKeypoints = 1000;

// Shares of correct matches, summed over pairs.
struct Accuracy {
  std::array<double, kNumThresholds> sums = {};
  double num_matches = 0.0;
  double ms = 0.0;  // of the processor, without the features
  int num_pairs = 0;

  void Add(const std::vector<Match>& matches,
           const Eigen::Matrix3d& homography) {
    ++num_pairs;
    num_matches += matches.size();
    for (int t = 0; t < kNumThresholds && !matches.empty(); ++t) {
      const auto is_right = [&](const Match& match) {
        return (Transfer(homography, match.xy1) - match.xy2).norm() <=
               kThresholds[t];
      };
      sums[t] += 1.0 * std::count_if(matches.begin(), matches.end(), is_right) /
                 matches.size();
    }
  }
};

void KeepBest(size_t num, std::vector<Match>* matches) {
  std::stable_sort(
      matches->begin(), matches->end(), [](const Match& a, const Match& b) {
        return a.score > b.score;
      });
  matches->resize(std::min(num, matches->size()));
}

Eigen::Matrix2Xd ToColumns(const std::vector<Eigen::Vector2d>& points) {
  return Eigen::Map<const Eigen::Matrix2Xd>(
      reinterpret_cast<const double*>(points.data()), 2, points.size());
}

// At most so many, chosen at random.
Eigen::Matrix2Xd Choose(std::vector<Eigen::Vector2d> keypoints) {
  Random random(1);
  std::shuffle(keypoints.begin(), keypoints.end(), random);
  keypoints.resize(std::min(keypoints.size(), kMaxNumKeypoints));
  return ToColumns(keypoints);
}

// Mutual nearest neighbours among the keypoints of both images.
std::vector<Match> MatchSparsely(const Eigen::Matrix2Xd& keypoints1,
                                 const Eigen::Matrix2Xd& keypoints2,
                                 const FeatureMap& features1,
                                 const FeatureMap& features2) {
  const DescribedPositions d1 = DescribePositions(keypoints1, features1);
  const DescribedPositions d2 = DescribePositions(keypoints2, features2);
  if (d1.positions.empty() || d2.positions.empty()) return {};
  using Matrix =
      Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Map<const Matrix> m1(
      d1.descriptors.data(), d1.positions.size(), features1.channels);
  const Eigen::Map<const Matrix> m2(
      d2.descriptors.data(), d2.positions.size(), features2.channels);
  const Matrix similarities = m1 * m2.transpose();
  std::vector<Match> matches;
  for (Eigen::Index i = 0; i < similarities.rows(); ++i) {
    Eigen::Index j, back;
    const float score = similarities.row(i).maxCoeff(&j);
    similarities.col(j).maxCoeff(&back);
    if (back == i)
      matches.push_back({keypoints1.col(d1.positions[i]),
                         keypoints2.col(d2.positions[j]),
                         score});
  }
  return matches;
}

class Study {
 public:
  Study(const std::string& folder,
        const std::string& database,
        const FeaturePreset& preset)
      : folder_(folder),
        database_(database, Database::Mode::kReadOnly),
        preset_(preset) {}

  void Run() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (entry.is_directory()) names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      for (int k = 2; k <= 6; ++k) RunPair(name, k);
    }
    for (const auto& [kind, methods] : accuracies_) Print(kind, methods);
  }

 private:
  std::string FindImage(const std::string& sequence, int k) const {
    for (const char* extension : {".png", ".ppm", ".jpg"}) {
      const std::string name = sequence + "/" + std::to_string(k) + extension;
      if (fs::exists(folder_ + "/" + name)) return name;
    }
    return "";
  }

  void RunPair(const std::string& sequence, int k) {
    std::ifstream file(folder_ + "/" + sequence + "/H_1_" + std::to_string(k));
    const std::string name1 = FindImage(sequence, 1);
    const std::string name2 = FindImage(sequence, k);
    if (!file || name1.empty() || name2.empty()) return;
    Eigen::Matrix3d homography;
    for (int i = 0; i < 9; ++i) file >> homography(i / 3, i % 3);

    const std::vector<Query> images = database_.ReadQueries({name1, name2});
    const auto all1 = database_.ReadKeypoints(images[0].image_id);
    const auto all2 = database_.ReadKeypoints(images[1].image_id);
    std::vector<Match> sift;
    for (const auto& [i, j] :
         database_.ReadMatches(images[0].image_id, images[1].image_id)) {
      sift.push_back({all1.at(i), all2.at(j), 1.0f});
    }
    const ImageFeatures features1 = Extract(name1), features2 = Extract(name2);
    const auto keypoints1 = Choose(all1);
    MatchingOptions options;
    options.softmax_scale = preset_.fine_softmax_scale;
    options.coarse_softmax_scale = preset_.coarse_softmax_scale;
    const auto to_matches = [&](const std::vector<DenseMatch>& found) {
      std::vector<Match> matches;
      for (const DenseMatch& match : found) {
        matches.push_back(
            {keypoints1.col(match.keypoint), match.xy, match.probability});
      }
      return matches;
    };
    const std::string kind = sequence.substr(0, sequence.find('_'));
    auto& methods = accuracies_[kind];
    std::clock_t start = std::clock();
    const auto lap = [&](const std::string& method) {
      const std::clock_t now = std::clock();
      methods[method].ms += 1e3 * (now - start) / CLOCKS_PER_SEC;
      start = now;
    };
    std::vector<Match> dense = to_matches(
        MatchDensely(keypoints1, features1.fine, features2.fine, options));
    lap("sparse-to-dense");
    std::vector<Match> coarse_to_fine = to_matches(
        MatchCoarseToFine(keypoints1, features1, features2, options));
    lap("coarse to fine");
    std::vector<Match> sparse = MatchSparsely(
        keypoints1, ToColumns(all2), features1.fine, features2.fine);
    lap("sparse-to-sparse");

    methods["sparse-to-dense"].Add(dense, homography);
    methods["coarse to fine"].Add(coarse_to_fine, homography);
    methods["sparse-to-sparse"].Add(sparse, homography);
    methods["SIFT"].Add(sift, homography);
    const size_t num = std::min(
        {dense.size(), coarse_to_fine.size(), sparse.size(), sift.size()});
    KeepBest(num, &dense);
    KeepBest(num, &coarse_to_fine);
    KeepBest(num, &sparse);
    methods["sparse-to-dense, best as many"].Add(dense, homography);
    methods["coarse to fine, best as many"].Add(coarse_to_fine, homography);
    methods["sparse-to-sparse, best as many"].Add(sparse, homography);
    std::fprintf(stderr, "%s %d\n", sequence.c_str(), k);
  }

  ImageFeatures Extract(const std::string& name) const {
    const Image image = ReadImage(folder_ + "/" + name);
    return {preset_.coarse->Extract(image), preset_.fine->Extract(image)};
  }

  static void Print(const std::string& kind,
                    const std::map<std::string, Accuracy>& methods) {
    std::printf("%-32s pairs  matches", kind.c_str());
    for (const double threshold : kThresholds) {
      std::printf("  %4.0f px", threshold);
    }
    std::printf("\n");
    for (const auto& [method, accuracy] : methods) {
      std::printf("  %-30s %5d %8.0f",
                  method.c_str(),
                  accuracy.num_pairs,
                  accuracy.num_matches / accuracy.num_pairs);
      for (const double sum : accuracy.sums) {
        std::printf("  %5.1f %%", 100.0 * sum / accuracy.num_pairs);
      }
      if (accuracy.ms > 0.0) {
        std::printf("  %6.1f ms", accuracy.ms / accuracy.num_pairs);
      }
      std::printf("\n");
    }
  }

  std::string folder_;
  Database database_;
  const FeaturePreset& preset_;
  std::map<std::string, std::map<std::string, Accuracy>> accuracies_;
};

int Run(const std::vector<std::string>& arguments) {
  const size_t num = arguments.size();
  if (num >= 3 && arguments[0] == "generate") {
    Generate(arguments[1],
             arguments[2],
             num > 3 ? std::stoul(arguments[3]) : 40,
             num > 4 ? std::stoi(arguments[4]) : 640);
    return 0;
  }
  if (num < 3 || arguments[0] != "evaluate") {
    throw InputError(
        "expected generate PHOTO_FOLDER OUTPUT [NUM_PHOTOS [MAX_SIZE]], or "
        "evaluate FOLDER DATABASE [--features PRESET] "
        "[--weights_path FOLDER]");
  }
  std::string features = "dense_sift";
  FeaturePresetOptions options;
  for (size_t i = 3; i + 1 < num; i += 2) {
    if (arguments[i] == "--features") features = arguments[i + 1];
    if (arguments[i] == "--weights_path")
      options.weights_path = arguments[i + 1];
  }
  openblas_set_num_threads(1);
  const FeaturePreset preset = CreateFeaturePreset(features, options);
  Study(arguments[1], arguments[2], preset).Run();
  return 0;
}

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  try {
    return nre::Run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "matching_study: %s\n", error.what());
    return 1;
  }
}
