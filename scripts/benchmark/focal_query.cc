#include "scripts/benchmark/focal_query.h"

#include <algorithm>
#include <cmath>
#include <random>

#include <opencv2/imgproc.hpp>

#include "nre/peaks.h"
#include "s2d/coarse_maps.h"
#include "s2d/fine_maps.h"

namespace nre {
namespace {

std::vector<PointMatch> Peaks(const LossMaps& maps,
                              const std::vector<Eigen::Vector3d>& points) {
  struct Peak {
    double weight;
    PointMatch match;
  };
  std::vector<Peak> peaks;
  for (size_t i = 0; i < points.size(); ++i) {
    const LossMaps::Summary summary = maps.Summarize(i);
    if (summary.weight > 0.0) {
      const Eigen::Vector2d p = RefinePeak(maps, i, summary.peak);
      peaks.push_back({summary.weight,
                       {points[i], maps.geometry().map_from_image.ToImage(p)}});
    }
  }
  std::stable_sort(
      peaks.begin(), peaks.end(), [](const Peak& a, const Peak& b) {
        return a.weight > b.weight;
      });
  std::vector<PointMatch> matches;
  for (const Peak& peak : peaks) {
    matches.push_back(peak.match);
  }
  return matches;
}

}  // namespace

Crop RandomCrop(const Image& image, uint64_t seed) {
  std::mt19937_64 engine(seed);
  const auto uniform = [&](double lower, double upper) {
    return lower + (upper - lower) * ((engine() >> 11) * 0x1.0p-53);
  };
  const int width = std::lround(uniform(0.6, 1.0) * image.width);
  const int height = std::lround(uniform(0.6, 1.0) * image.height);
  const int x = std::lround(uniform(0.0, image.width - width));
  const int y = std::lround(uniform(0.0, image.height - height));
  const double resize = uniform(0.6, 1.2);
  const cv::Size size(std::lround(resize * width),
                      std::lround(resize * height));

  const cv::Mat whole(image.height,
                      image.width,
                      CV_8UC3,
                      const_cast<uint8_t*>(image.rgb.data()));
  Crop crop;
  crop.origin << x, y;
  crop.scale << static_cast<double>(size.width) / width,
      static_cast<double>(size.height) / height;
  crop.image.width = size.width;
  crop.image.height = size.height;
  crop.image.rgb.resize(3 * size.area());
  cv::Mat resized(size, CV_8UC3, crop.image.rgb.data());
  cv::resize(whole(cv::Rect(x, y, width, height)),
             resized,
             size,
             0,
             0,
             resize < 1.0 ? cv::INTER_AREA : cv::INTER_CUBIC);
  return crop;
}

FocalMatches FindMatches(const FeaturePreset& preset,
                         const ImageFeatures& features,
                         const DescribedPoints& points,
                         const Camera& camera,
                         const Rigid3d& cam_from_world) {
  const CoarseMaps coarse = ComputeCoarseMaps(
      points.coarse, points.rows, features.coarse, preset.coarse_softmax_scale);
  const FineMaps fine({features.coarse,
                       features.fine,
                       points.coarse,
                       points.fine,
                       points.rows,
                       coarse.log_sum_exps,
                       preset.coarse_softmax_scale,
                       preset.fine_softmax_scale},
                      FineMapOptions());
  std::vector<Eigen::Vector2d> peaks;
  for (size_t i = 0; i < points.size(); ++i) {
    peaks.push_back(coarse.maps.geometry().map_from_image.ToImage(
        coarse.maps.Summarize(i).peak));
  }
  return {Peaks(*fine.Compute(peaks), points.xyz),
          Peaks(*fine.Compute(ProjectAll(camera, points.xyz, cam_from_world)),
                points.xyz)};
}

}  // namespace nre
