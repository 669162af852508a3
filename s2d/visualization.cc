#include "s2d/visualization.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <utility>

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "s2d/coarse_maps.h"
#include "s2d/fine_maps.h"
#include "s2d/resize.h"

namespace nre {
namespace {

// Inside of this file pictures are cv::Mat, 8-bit BGR.
const cv::Scalar kBackground(24, 24, 24);
const cv::Scalar kText(235, 235, 235);
const cv::Scalar kCrossHair(255, 255, 80);

cv::Mat ToMat(const Image& image) {
  const cv::Mat rgb(image.height,
                    image.width,
                    CV_8UC3,
                    const_cast<uint8_t*>(image.rgb.data()));
  cv::Mat bgr;
  cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
  return bgr;
}

Image ToImage(const cv::Mat& bgr) {
  Image image;
  image.width = bgr.cols;
  image.height = bgr.rows;
  image.rgb.resize(bgr.total() * 3);
  cv::Mat rgb(bgr.rows, bgr.cols, CV_8UC3, image.rgb.data());
  cv::cvtColor(bgr, rgb, cv::COLOR_BGR2RGB);
  return image;
}

// Grey, stretched to the full range and then darkened, so that colours on it
// mean something and a night shows as much as a day.
cv::Mat Darken(const cv::Mat& image, double factor) {
  cv::Mat gray, dark;
  cv::cvtColor(image, gray, cv::COLOR_BGR2GRAY);
  cv::normalize(gray, gray, 0.0, 255.0 * factor, cv::NORM_MINMAX);
  cv::cvtColor(gray, dark, cv::COLOR_GRAY2BGR);
  return dark;
}

// Draws with a sub-pixel precision of 1/16; `xy` has the centre of the top-left
// pixel at (0.5, 0.5).
constexpr int kShift = 4;
cv::Point FixedPoint(const Eigen::Vector2d& xy) {
  constexpr double kOne = 1 << kShift;
  return {static_cast<int>(std::lround((xy.x() - 0.5) * kOne)),
          static_cast<int>(std::lround((xy.y() - 0.5) * kOne))};
}

void DrawCircle(const Eigen::Vector2d& xy,
                double radius,
                const cv::Scalar& color,
                int thickness,
                cv::Mat* canvas) {
  cv::circle(*canvas,
             FixedPoint(xy),
             static_cast<int>(std::lround(radius * (1 << kShift))),
             color,
             thickness,
             cv::LINE_AA,
             kShift);
}

void DrawLine(const Eigen::Vector2d& from,
              const Eigen::Vector2d& to,
              const cv::Scalar& color,
              int thickness,
              cv::Mat* canvas) {
  cv::line(*canvas,
           FixedPoint(from),
           FixedPoint(to),
           color,
           thickness,
           cv::LINE_AA,
           kShift);
}

void DrawText(const std::string& text,
              int x,
              int baseline,
              double scale,
              cv::Mat* canvas) {
  cv::putText(*canvas,
              text,
              {x, baseline},
              cv::FONT_HERSHEY_SIMPLEX,
              scale,
              kText,
              1,
              cv::LINE_AA);
}

// The canvas with a strip of text lines below it.
cv::Mat AddCaption(const cv::Mat& canvas,
                   const std::vector<std::string>& lines) {
  constexpr int kLineHeight = 30;
  const int strip = kLineHeight * static_cast<int>(lines.size()) + 14;
  cv::Mat with_caption(canvas.rows + strip, canvas.cols, CV_8UC3, kBackground);
  canvas.copyTo(with_caption.rowRange(0, canvas.rows));
  int baseline = canvas.rows + kLineHeight;
  for (const std::string& line : lines) {
    DrawText(line, 12, baseline, 0.7, &with_caption);
    baseline += kLineHeight;
  }
  return with_caption;
}

// Green at 0, yellow in the middle, red at 1.
cv::Scalar TrafficLight(double share) {
  share = std::clamp(share, 0.0, 1.0);
  return {40.0,
          255.0 * std::min(1.0, 2.0 * (1.0 - share)),
          255.0 * std::min(1.0, 2.0 * share)};
}

bool HasPose(const PoseEstimate& estimate) {
  return estimate.verdict != Verdict::kFailed;
}

// Where the pose puts a point in the image; false if there is no pose or the
// point is not in the image.
bool Reproject(const Camera& camera,
               const PoseEstimate& estimate,
               const Eigen::Vector3d& point_in_world,
               Eigen::Vector2d* xy) {
  return HasPose(estimate) &&
         camera.Project(
             estimate.cam_from_world * point_in_world, xy, nullptr) &&
         xy->x() >= 0.0 && xy->y() >= 0.0 && xy->x() < camera.Width() &&
         xy->y() < camera.Height();
}

double WeightAtReprojection(const LossMaps& maps,
                            size_t map_index,
                            const Eigen::Vector2d& xy_image) {
  return maps.Weight(map_index, maps.geometry().map_from_image * xy_image);
}

// The first line of a caption.
std::string Headline(const std::string& title, const PoseEstimate& estimate) {
  return estimate.reason.empty() ? title : title + ", " + estimate.reason;
}

// Lays a map over the canvas, its own peak in full brightness.
// image_from_canvas: image = scale * canvas + offset, for coordinates whose
// first pixel is centred on (0.5, 0.5). `spot` (pixels, odd): size that every
// peak is widened by.
void BlendMap(const LossMaps& maps,
              size_t map_index,
              double scale,
              const Eigen::Vector2d& offset,
              int spot,
              cv::Mat* canvas) {
  // A map whose peak is lower than this says nothing and stays dim.
  constexpr double kMinPeak = 1.0;  // nats
  const double peak = std::max(kMinPeak, maps.Summarize(map_index).weight);
  cv::Mat shares(canvas->rows, canvas->cols, CV_8UC1);
  for (int y = 0; y < canvas->rows; ++y) {
    for (int x = 0; x < canvas->cols; ++x) {
      const Eigen::Vector2d xy_image =
          scale * Eigen::Vector2d(x + 0.5, y + 0.5) + offset;
      const double share =
          WeightAtReprojection(maps, map_index, xy_image) / peak;
      shares.at<uint8_t>(y, x) = cv::saturate_cast<uint8_t>(255.0 * share);
    }
  }
  cv::dilate(shares,
             shares,
             cv::getStructuringElement(cv::MORPH_ELLIPSE, {spot, spot}));
  cv::Mat colors;
  cv::applyColorMap(shares, colors, cv::COLORMAP_INFERNO);
  for (int y = 0; y < canvas->rows; ++y) {
    for (int x = 0; x < canvas->cols; ++x) {
      const double opacity =
          std::min(1.0, 1.6 * shares.at<uint8_t>(y, x) / 255.0);
      cv::Vec3b& pixel = canvas->at<cv::Vec3b>(y, x);
      for (int c = 0; c < 3; ++c) {
        pixel[c] =
            cv::saturate_cast<uint8_t>((1.0 - opacity) * pixel[c] +
                                       opacity * colors.at<cv::Vec3b>(y, x)[c]);
      }
    }
  }
}

// Four lines that leave the place itself free.
void DrawCrossHair(const Eigen::Vector2d& xy, cv::Mat* canvas) {
  constexpr double kInner = 8.0, kOuter = 20.0;
  for (const Eigen::Vector2d& direction : {Eigen::Vector2d(1.0, 0.0),
                                           Eigen::Vector2d(-1.0, 0.0),
                                           Eigen::Vector2d(0.0, 1.0),
                                           Eigen::Vector2d(0.0, -1.0)}) {
    const Eigen::Vector2d from = xy + kInner * direction;
    const Eigen::Vector2d to = xy + kOuter * direction;
    DrawLine(from, to, {0.0, 0.0, 0.0}, 3, canvas);
    DrawLine(from, to, kCrossHair, 1, canvas);
  }
}

// The window of the image around `center` that a fine map is shown in,
// magnified; black where the image ends.
constexpr double kFineWindow = 96.0;  // image pixels

cv::Mat DrawFineMap(const cv::Mat& query,
                    const LossMaps& fine,
                    size_t map_index,
                    const Eigen::Vector2d& center,
                    int side) {
  const double scale = kFineWindow / side;
  const Eigen::Vector2d offset =
      center - Eigen::Vector2d::Constant(0.5 * kFineWindow);
  // warpAffine wants pixel indices, whose origin is half a pixel further.
  const Eigen::Vector2d shift =
      Eigen::Vector2d::Constant(0.5 * scale - 0.5) + offset;
  const cv::Matx23d index_from_canvas(
      scale, 0.0, shift.x(), 0.0, scale, shift.y());
  cv::Mat window;
  cv::warpAffine(query,
                 window,
                 index_from_canvas,
                 {side, side},
                 cv::INTER_LINEAR | cv::WARP_INVERSE_MAP);
  window = Darken(window, 0.55);
  BlendMap(fine, map_index, scale, offset, 1, &window);
  DrawCrossHair((center - offset) / scale, &window);
  return window;
}

}  // namespace

Image DrawReprojections(const Image& query,
                        const Camera& camera,
                        const std::vector<Eigen::Vector3d>& points_in_world,
                        const PoseEstimate& estimate,
                        const std::string& title) {
  constexpr int kWidth = 1600;
  constexpr double kMaxResidual = 3.0;  // px, shown in red
  constexpr double kMagnification = 10.0;
  const double scale = static_cast<double>(kWidth) / query.width;
  cv::Mat canvas =
      Resized(ToMat(query),
              {kWidth, static_cast<int>(std::lround(scale * query.height))});
  canvas *= 0.7;

  std::vector<bool> supports(points_in_world.size(), false);
  for (const PoseEstimate::Support& support : estimate.support) {
    supports.at(support.point) = true;
  }
  Eigen::Vector2d xy;
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    if (supports[i]) continue;
    if (!Reproject(camera, estimate, points_in_world[i], &xy)) continue;
    DrawCircle(scale * xy, 3.0, {0.0, 0.0, 0.0}, cv::FILLED, &canvas);
    DrawCircle(scale * xy, 2.0, {230.0, 170.0, 120.0}, cv::FILLED, &canvas);
  }
  std::vector<double> residuals;
  for (const PoseEstimate::Support& support : estimate.support) {
    const Eigen::Vector3d& point = points_in_world[support.point];
    if (!Reproject(camera, estimate, point, &xy)) continue;
    const Eigen::Vector2d offset = support.xy - xy;
    residuals.push_back(offset.norm());
    const cv::Scalar color = TrafficLight(residuals.back() / kMaxResidual);
    const Eigen::Vector2d tip = scale * (xy + kMagnification * offset);
    DrawCircle(scale * xy, 5.0, {0.0, 0.0, 0.0}, 3, &canvas);
    DrawLine(scale * xy, tip, {0.0, 0.0, 0.0}, 3, &canvas);
    DrawCircle(scale * xy, 5.0, color, 1, &canvas);
    DrawLine(scale * xy, tip, color, 1, &canvas);
  }

  std::vector<std::string> caption = {Headline(title, estimate)};
  if (HasPose(estimate)) {
    char text[256];
    double median = 0.0;
    if (!residuals.empty()) {
      const auto middle = residuals.begin() + residuals.size() / 2;
      std::nth_element(residuals.begin(), middle, residuals.end());
      median = *middle;
    }
    std::snprintf(text,
                  sizeof(text),
                  "%zu of %zu points support the pose (circles), their fine "
                  "peaks are %.2f px off in the median (lines: 10 x)",
                  estimate.support.size(),
                  points_in_world.size(),
                  median);
    caption.emplace_back(text);
  }
  return ToImage(AddCaption(canvas, caption));
}

std::vector<size_t> ChooseShownPoints(
    const LossMaps& coarse,
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const PoseEstimate& estimate,
    size_t count) {
  std::vector<std::pair<double, size_t>> ranking;  // -weight, point
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    Eigen::Vector2d xy;
    if (Reproject(camera, estimate, points_in_world[i], &xy)) {
      ranking.emplace_back(-WeightAtReprojection(coarse, i, xy), i);
    } else if (!HasPose(estimate)) {
      ranking.emplace_back(-coarse.Summarize(i).weight, i);
    }
  }
  std::sort(ranking.begin(), ranking.end());
  std::vector<size_t> shown;
  count = std::min(count, ranking.size());
  for (size_t k = 0; k < count; ++k) {
    const size_t rank = count == 1 ? 0 : k * (ranking.size() - 1) / (count - 1);
    shown.push_back(ranking[rank].second);
  }
  return shown;
}

Image DrawLossMaps(const Image& query,
                   const Camera& camera,
                   const std::vector<Eigen::Vector3d>& points_in_world,
                   const PoseEstimate& estimate,
                   const LossMaps& coarse,
                   const LossMaps* fine,
                   const std::vector<size_t>& shown,
                   const std::string& title) {
  constexpr int kCoarseWidth = 480;
  constexpr int kColumns = 2;
  constexpr int kGap = 8;
  constexpr int kLabel = 26;
  constexpr int kSpot = 5;
  const cv::Mat original = ToMat(query);
  const double scale = static_cast<double>(query.width) / kCoarseWidth;
  const int tile_height = static_cast<int>(std::lround(query.height / scale));
  const int fine_side = std::min(tile_height, 360);
  const int tile_width = kCoarseWidth + kGap + fine_side;
  const cv::Mat dark =
      Darken(Resized(original, {kCoarseWidth, tile_height}), 0.45);

  const int num_shown = static_cast<int>(shown.size());
  const int num_rows = (num_shown + kColumns - 1) / kColumns;
  cv::Mat sheet(num_rows * (tile_height + kLabel + kGap) + kGap,
                kColumns * (tile_width + 2 * kGap) + kGap,
                CV_8UC3,
                kBackground);
  for (int k = 0; k < num_shown; ++k) {
    const size_t point = shown[k];
    const int left = kGap + (k % kColumns) * (tile_width + 2 * kGap);
    const int top = kGap + (k / kColumns) * (tile_height + kLabel + kGap);
    cv::Mat tile = dark.clone();
    // A coarse cell is hardly larger than a pixel of the tile.
    BlendMap(coarse, point, scale, Eigen::Vector2d::Zero(), kSpot, &tile);
    char label[128];
    Eigen::Vector2d xy;
    const double chance = coarse.geometry().LogCategories();
    if (Reproject(camera, estimate, points_in_world[point], &xy)) {
      DrawCrossHair(xy / scale, &tile);
      std::snprintf(label,
                    sizeof(label),
                    "point %zu: coarse NRE %.1f, at the map's peak %.1f, at "
                    "most %.1f",
                    point,
                    chance - WeightAtReprojection(coarse, point, xy),
                    chance - coarse.Summarize(point).weight,
                    chance);
      if (fine != nullptr) {
        DrawFineMap(original, *fine, k, xy, fine_side)
            .copyTo(
                sheet({left + kCoarseWidth + kGap, top, fine_side, fine_side}));
      }
    } else {
      std::snprintf(label,
                    sizeof(label),
                    "point %zu: lowest coarse loss %.1f of at most %.1f",
                    point,
                    chance - coarse.Summarize(point).weight,
                    chance);
    }
    tile.copyTo(sheet({left, top, tile.cols, tile.rows}));
    DrawText(label, left, top + tile_height + 18, 0.5, &sheet);
  }
  return ToImage(AddCaption(
      sheet,
      {Headline(title, estimate),
       "Loss maps of points from certain to contradicted: coarse (left), fine "
       "around the reprojection (right); cross hair: the pose"}));
}

QueryPictures DrawQuery(const Image& query,
                        const Camera& camera,
                        const FeaturePreset& preset,
                        const ImageFeatures& features,
                        const DescribedPoints& points,
                        const PoseEstimate& estimate,
                        const std::string& title) {
  constexpr size_t kNumShown = 8;
  const CoarseMaps coarse = ComputeCoarseMaps(
      points.coarse, points.rows, features.coarse, preset.coarse_softmax_scale);
  const std::vector<size_t> shown =
      ChooseShownPoints(coarse.maps, camera, points.xyz, estimate, kNumShown);

  // The fine maps of these points alone.
  const DescribedPoints some =
      Subset(points, shown, features.coarse.channels, features.fine.channels);
  std::vector<Eigen::Vector2d> centers;
  for (const Eigen::Vector3d& point : some.xyz) {
    Eigen::Vector2d xy =
        Eigen::Vector2d::Constant(std::numeric_limits<double>::quiet_NaN());
    Reproject(camera, estimate, point, &xy);
    centers.push_back(xy);
  }
  const std::vector<float> log_sum_exps =
      ComputeCoarseMaps(
          some.coarse, some.rows, features.coarse, preset.coarse_softmax_scale)
          .log_sum_exps;
  const std::unique_ptr<LossMaps> fine = FineMaps({features.coarse,
                                                   features.fine,
                                                   some.coarse,
                                                   some.fine,
                                                   some.rows,
                                                   log_sum_exps,
                                                   preset.coarse_softmax_scale,
                                                   preset.fine_softmax_scale},
                                                  FineMapOptions())
                                             .Compute(centers);
  return {DrawReprojections(query, camera, points.xyz, estimate, title),
          DrawLossMaps(query,
                       camera,
                       points.xyz,
                       estimate,
                       coarse.maps,
                       fine.get(),
                       shown,
                       title)};
}

void WriteImage(const std::string& path, const Image& image) {
  bool written = false;
  try {
    written = cv::imwrite(path, ToMat(image), {cv::IMWRITE_JPEG_QUALITY, 92});
  } catch (const cv::Exception&) {
    // An extension that OpenCV does not know; reported below.
  }
  if (!written) {
    throw std::runtime_error("cannot write the picture " + path +
                             "; check the folder, the space on the disk and "
                             "that the name ends in .jpg or .png");
  }
}

}  // namespace nre
