#include "tests/testing/generated_maps.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include <Eigen/Geometry>
#include <Eigen/LU>

namespace nre {
namespace {

constexpr int kCoarseStride = 12;
constexpr int kFineStride = 2;
constexpr int kWindowSize = 64;
// What the modes leave to all other places.
constexpr double kFloor = 0.05;

LossMaps::Geometry MapGeometry(int stride) {
  return {GeneratedQuery::kWidth / stride,
          GeneratedQuery::kHeight / stride,
          MapFromImage::FromStride(Eigen::Vector2d::Constant(stride),
                                   Eigen::Vector2d::Constant(0.5 * stride),
                                   Eigen::Vector2d::Ones())};
}

enum class Shape { kSharp, kMultiModal, kDiffuse, kBiased };

Shape DrawShape(const GeneratedMapsOptions& options, Random* random) {
  double unit = random->Uniform(
      0.0,
      options.sharp + options.multi_modal + options.diffuse + options.biased);
  if ((unit -= options.multi_modal) < 0.0) return Shape::kMultiModal;
  if ((unit -= options.diffuse) < 0.0) return Shape::kDiffuse;
  if ((unit -= options.biased) < 0.0) return Shape::kBiased;
  return Shape::kSharp;
}

Eigen::Vector2d DrawDirection(Random* random) {
  const double angle = random->Uniform(0.0, 2.0 * M_PI);
  return {std::cos(angle), std::sin(angle)};
}

// An ellipse: `major` along `axis`, `minor` across.
struct Blur {
  Eigen::Vector2d axis;
  double major, minor;

  Eigen::Matrix2d Information() const {
    const Eigen::Vector2d across(-axis.y(), axis.x());
    return axis * axis.transpose() / (major * major) +
           across * across.transpose() / (minor * minor);
  }
  Eigen::Vector2d DrawError(Random* random) const {
    const Eigen::Vector2d along_across = random->Normal2(1.0);
    return along_across.x() * major * axis +
           along_across.y() * minor * Eigen::Vector2d(-axis.y(), axis.x());
  }
};

// Probabilities that are uniform among all that sum to one.
std::vector<double> DrawProbabilities(int size, Random* random) {
  std::vector<double> probabilities(size);
  double sum = 0.0;
  for (double& probability : probabilities) {
    probability = -std::log(random->Uniform(1e-12, 1.0));
    sum += probability;
  }
  for (double& probability : probabilities) {
    probability /= sum;
  }
  return probabilities;
}

size_t DrawIndex(const std::vector<double>& probabilities, Random* random) {
  double unit = random->Uniform(0.0, 1.0);
  for (size_t i = 0; i + 1 < probabilities.size(); ++i) {
    if ((unit -= probabilities[i]) < 0.0) {
      return i;
    }
  }
  return probabilities.size() - 1;
}

// A mode that a matcher sees where the point is at `xy`.
GeneratedMode DrawMode(const Eigen::Vector2d& xy,
                       double probability,
                       bool diffuse,
                       Random* random) {
  Blur coarse, fine;
  coarse.axis = fine.axis = DrawDirection(random);
  coarse.minor = kCoarseStride * random->Uniform(0.6, 1.2);
  fine.minor = kFineStride * random->Uniform(0.8, 2.0);
  coarse.major = coarse.minor;
  fine.major = fine.minor;
  if (diffuse) {
    coarse.major = kCoarseStride * random->Uniform(2.0, 5.0);
    fine.major = kFineStride * random->Uniform(4.0, 16.0);
    if (random->Uniform(0.0, 1.0) < 0.5) {
      coarse.minor = coarse.major;
      fine.minor = fine.major;
    }
  }
  GeneratedMode mode;
  mode.probability = probability;
  mode.coarse_mean = xy + coarse.DrawError(random);
  mode.fine_mean = xy + fine.DrawError(random);
  mode.coarse_information = coarse.Information();
  mode.fine_information = fine.Information();
  return mode;
}

Eigen::Vector2d DrawPosition(Random* random) {
  const double x = random->Uniform(0.0, GeneratedQuery::kWidth);
  return {x, random->Uniform(0.0, GeneratedQuery::kHeight)};
}

// Places that all look like the one at `xy`; which of them is first drawn
// there is up to their probabilities, so that these are honest.
std::vector<GeneratedMode> DrawMultiModal(const Eigen::Vector2d& xy,
                                          Random* random) {
  constexpr double kMaxNearby = 24.0 * kFineStride;
  std::vector<GeneratedMode> modes;
  const int num_places = static_cast<int>(random->Uniform(2.0, 7.0));
  const std::vector<double> places = DrawProbabilities(num_places, random);
  const size_t true_place = DrawIndex(places, random);
  for (size_t place = 0; place < places.size(); ++place) {
    const int num_near = static_cast<int>(random->Uniform(1.0, 4.0));
    const std::vector<double> near = DrawProbabilities(num_near, random);
    const size_t center = DrawIndex(near, random);
    const Eigen::Vector2d center_xy =
        place == true_place ? xy : DrawPosition(random);
    for (size_t i = 0; i < near.size(); ++i) {
      const Eigen::Vector2d offset = random->Uniform2(-kMaxNearby, kMaxNearby);
      modes.push_back(DrawMode(
          i == center ? center_xy : Eigen::Vector2d(center_xy + offset),
          places[place] * near[i],
          false,
          random));
    }
  }
  return modes;
}

std::vector<GeneratedMode> DrawModes(const Eigen::Vector2d& xy,
                                     Shape shape,
                                     Random* random) {
  switch (shape) {
    case Shape::kMultiModal:
      return DrawMultiModal(xy, random);
    case Shape::kBiased:
      return {DrawMode(xy + kCoarseStride * random->Uniform(1.0, 4.0) *
                                DrawDirection(random),
                       1.0,
                       false,
                       random)};
    default:
      return {DrawMode(xy, 1.0, shape == Shape::kDiffuse, random)};
  }
}

// Adds a Gaussian of unit integral (over cells) times `factor` to the cells of
// a grid that starts at `origin`, where it is not negligible.
void AddGaussian(const Eigen::Vector2d& mean,
                 const Eigen::Matrix2d& information,
                 double factor,
                 const MapFromImage& map_from_image,
                 const Eigen::Vector2i& origin,
                 int width,
                 int height,
                 float* cells) {
  constexpr double kRadius = 5.0;
  const Eigen::Vector2d center = map_from_image * mean - origin.cast<double>();
  const Eigen::Vector2d px_per_cell = map_from_image.scale.cwiseInverse();
  const Eigen::Matrix2d in_cells =
      px_per_cell.asDiagonal() * information * px_per_cell.asDiagonal();
  const Eigen::Vector2d reach =
      kRadius * in_cells.inverse().diagonal().cwiseSqrt();
  const auto clamp = [](double value, int size) {
    return static_cast<int>(std::clamp<double>(value, 0.0, size));
  };
  const int x_begin = clamp(std::ceil(center.x() - reach.x()), width);
  const int x_end = clamp(std::floor(center.x() + reach.x()) + 1.0, width);
  const int y_begin = clamp(std::ceil(center.y() - reach.y()), height);
  const int y_end = clamp(std::floor(center.y() + reach.y()) + 1.0, height);
  const double norm = factor * std::sqrt(in_cells.determinant()) / (2.0 * M_PI);
  const double xx = in_cells(0, 0), xy = in_cells(0, 1), yy = in_cells(1, 1);
  for (int y = y_begin; y < y_end; ++y) {
    const double dy = y - center.y();
    for (int x = x_begin; x < x_end; ++x) {
      const double dx = x - center.x();
      const double squared = xx * dx * dx + 2.0 * xy * dx * dy + yy * dy * dy;
      if (squared < kRadius * kRadius) {
        cells[y * width + x] += norm * std::exp(-0.5 * squared);
      }
    }
  }
}

// Raises to a power, most cells being equal to `floor`, and makes the sum one.
void Normalize(double sharpness, float floor, std::vector<float>* cells) {
  const float floor_power = std::pow(floor, sharpness);
  double sum = 0.0;
  for (float& cell : *cells) {
    if (sharpness != 1.0) {
      cell = cell == floor ? floor_power : std::pow(cell, sharpness);
    }
    sum += cell;
  }
  for (float& cell : *cells) {
    cell /= sum;
  }
}

// ln|Omega^| - L; `factor` is C's and |Omega^|'s.
void ToWeights(float factor, std::vector<float>* cells) {
  for (float& cell : *cells) {
    cell *= factor;
    cell = cell > 1.0f ? std::log(cell) : 0.0f;
  }
}

// Part of [begin, end] that the unit cell around `cell` covers.
double CellOverlap(int cell, double begin, double end) {
  return std::max(0.0, std::min(end, cell + 0.5) - std::max(begin, cell - 0.5));
}

}  // namespace

bool GeneratedMapsOptions::Check() const {
  const auto is_share = [](double x) { return x >= 0.0 && x <= 1.0; };
  return num_points >= 0 && is_share(wrong_share) && is_share(agreeing_share) &&
         sharp >= 0.0 && multi_modal >= 0.0 && diffuse >= 0.0 &&
         biased >= 0.0 && sharp + multi_modal + diffuse + biased > 0.0 &&
         sharpness > 0.0;
}

GeneratedQuery::GeneratedQuery(const GeneratedMapsOptions& options,
                               uint64_t seed)
    : camera_(kWidth,
              kHeight,
              kFocalLength,
              kFocalLength,
              0.5 * kWidth,
              0.5 * kHeight),
      sharpness_(options.sharpness),
      coarse_maps_(MapGeometry(kCoarseStride)) {
  if (!options.Check()) {
    throw std::invalid_argument("These maps cannot be generated.");
  }
  Random random(seed);
  cam_from_world_ = random.Pose();
  wrong_cam_from_world_ =
      MoveAway(cam_from_world_, 5.0 * M_PI / 180.0, 1.0, &random);
  for (int i = 0; i < options.num_points; ++i) {
    AddPoint(options, &random);
  }
}

void GeneratedQuery::AddPoint(const GeneratedMapsOptions& options,
                              Random* random) {
  const Eigen::Vector2d true_xy = DrawPosition(random);
  Eigen::Vector3d bearing;
  camera_.Unproject(true_xy, &bearing);
  points_.push_back(cam_from_world_.Inverse() *
                    Eigen::Vector3d(bearing / bearing.z() *
                                    random->Uniform(kMinDepth, kMaxDepth)));

  // All is drawn for every point, so that more wrong ones leave the others as
  // they are.
  const Eigen::Vector2d other_xy = DrawPosition(random);
  is_wrong_.push_back(random->Uniform(0.0, 1.0) < options.wrong_share);
  const bool agrees = random->Uniform(0.0, 1.0) < options.agreeing_share;
  const Shape shape = DrawShape(options, random);
  Random shape_random(static_cast<uint64_t>(random->Uniform(0.0, 1e15)));
  Eigen::Vector2d xy = true_xy;
  if (is_wrong_.back()) {
    xy = other_xy;
    if (agrees) {
      camera_.Project(wrong_cam_from_world_ * points_.back(), &xy, nullptr);
    }
  }
  modes_.push_back(DrawModes(xy, shape, &shape_random));

  coarse_probabilities_.push_back(ComputeCoarse(modes_.back(), sharpness_));
  std::vector<float> weights = coarse_probabilities_.back();
  ToWeights(std::exp(coarse_maps_.geometry().LogCategories()), &weights);
  coarse_maps_.AddPoint(weights.data());
}

std::vector<float> GeneratedQuery::ComputeCoarse(
    const std::vector<GeneratedMode>& modes, double sharpness) const {
  const LossMaps::Geometry& geometry = coarse_maps_.geometry();
  const int num_cells = geometry.width * geometry.height;
  const float floor = kFloor / num_cells;
  std::vector<float> cells(num_cells, floor);
  for (const GeneratedMode& mode : modes) {
    AddGaussian(mode.coarse_mean,
                mode.coarse_information,
                (1.0 - kFloor) * mode.probability,
                geometry.map_from_image,
                Eigen::Vector2i::Zero(),
                geometry.width,
                geometry.height,
                cells.data());
  }
  Normalize(sharpness, floor, &cells);
  return cells;
}

double GeneratedQuery::CoarseMass(size_t point,
                                  const Eigen::Vector2i& origin) const {
  const LossMaps::Geometry& coarse = coarse_maps_.geometry();
  const MapFromImage fine = MapGeometry(kFineStride).map_from_image;
  const auto to_coarse = [&](const Eigen::Vector2d& p) {
    return Eigen::Vector2d(coarse.map_from_image * fine.ToImage(p));
  };
  const Eigen::Vector2d half = Eigen::Vector2d::Constant(0.5);
  const Eigen::Vector2d lower = to_coarse(origin.cast<double>() - half);
  const Eigen::Vector2d upper =
      to_coarse((origin.array() + kWindowSize).matrix().cast<double>() - half);
  const auto clamp = [](double value, int size) {
    return static_cast<int>(std::clamp<double>(value, 0.0, size));
  };
  const int x_end = clamp(upper.x() + 1.5, coarse.width);
  const int y_end = clamp(upper.y() + 1.5, coarse.height);
  double mass = 0.0;
  for (int y = clamp(lower.y() - 0.5, coarse.height); y < y_end; ++y) {
    for (int x = clamp(lower.x() - 0.5, coarse.width); x < x_end; ++x) {
      mass += CellOverlap(x, lower.x(), upper.x()) *
              CellOverlap(y, lower.y(), upper.y()) *
              coarse_probabilities_[point][y * coarse.width + x];
    }
  }
  return mass;
}

std::unique_ptr<LossMaps> GeneratedQuery::Compute(
    const std::vector<Eigen::Vector2d>& xy_image) const {
  const LossMaps::Geometry geometry = MapGeometry(kFineStride);
  std::vector<Eigen::Vector2i> origins;
  for (const Eigen::Vector2d& xy : xy_image) {
    const Eigen::Vector2d center = geometry.map_from_image * xy;
    const bool near = center.allFinite() && center.norm() < 1e6;
    origins.push_back(
        near ? Eigen::Vector2i((center.array() - 0.5 * (kWindowSize - 1))
                                   .round()
                                   .matrix()
                                   .cast<int>())
             : Eigen::Vector2i(-1000000, -1000000));
  }
  auto maps = std::make_unique<DenseLossMaps>(
      geometry, kWindowSize, kWindowSize, origins);
  const double categories = std::exp(geometry.LogCategories());
  const float floor =
      kFloor / (static_cast<double>(geometry.width) * geometry.height);
  std::vector<float> cells(kWindowSize * kWindowSize);
  for (size_t i = 0; i < origins.size(); ++i) {
    const double mass = CoarseMass(i, origins[i]);
    if (mass <= 0.0) {
      continue;
    }
    std::fill(cells.begin(), cells.end(), floor);
    for (const GeneratedMode& mode : modes_[i]) {
      AddGaussian(mode.fine_mean,
                  mode.fine_information,
                  (1.0 - kFloor) * mode.probability,
                  geometry.map_from_image,
                  origins[i],
                  kWindowSize,
                  kWindowSize,
                  cells.data());
    }
    // What sticks out of the image does not exist.
    for (int y = 0; y < kWindowSize; ++y) {
      for (int x = 0; x < kWindowSize; ++x) {
        const Eigen::Vector2i cell = origins[i] + Eigen::Vector2i(x, y);
        if (cell.minCoeff() < 0 || cell.x() >= geometry.width ||
            cell.y() >= geometry.height) {
          cells[y * kWindowSize + x] = 0.0f;
        }
      }
    }
    Normalize(sharpness_, floor, &cells);
    ToWeights(categories * mass, &cells);
    std::copy(cells.begin(), cells.end(), maps->Data(i));
  }
  return maps;
}

}  // namespace nre
