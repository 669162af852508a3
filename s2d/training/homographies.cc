#include "s2d/training/homographies.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "s2d/training/random_draws.h"
#include "s2d/training/resampling.h"

namespace nre {
namespace {

using torch::Tensor;

// Row by row. Maps (x, y, 1); a point is behind the camera if the third
// coordinate of what comes out is not positive.
using Matrix = std::array<double, 9>;

Matrix operator*(const Matrix& a, const Matrix& b) {
  Matrix product{};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      for (int k = 0; k < 3; ++k)
        product[3 * i + j] += a[3 * i + k] * b[3 * k + j];
    }
  }
  return product;
}

Matrix Rotation(double angle) {
  const double c = std::cos(angle), s = std::sin(angle);
  return {c, -s, 0, s, c, 0, 0, 0, 1};
}

Matrix Scaling(double x, double y) { return {x, 0, 0, 0, y, 0, 0, 0, 1}; }

Matrix Translation(double x, double y) { return {1, 0, x, 0, 1, y, 0, 0, 1}; }

// Maps positions x and y; NaN behind the camera.
std::array<Tensor, 2> Map(const Matrix& m, const Tensor& x, const Tensor& y) {
  const Tensor depth = m[6] * x + m[7] * y + m[8];
  const Tensor inverse = depth.reciprocal().masked_fill_(
      depth <= 0.0, std::numeric_limits<double>::quiet_NaN());
  return {(m[0] * x + m[1] * y + m[2]) * inverse,
          (m[3] * x + m[4] * y + m[5]) * inverse};
}

// Where the reference image is in the photograph, in its pixels.
struct Part {
  int64_t x, y, width, height;
};

Part DrawPart(const Tensor& photo,
              const HomographyOptions& options,
              Draws* draws) {
  const double shrinking =
      std::min({draws->LogUniform(options.min_shrinking, options.max_shrinking),
                double(photo.size(1)) / options.width,
                double(photo.size(0)) / options.height});
  Part part;
  const auto side = [&](int64_t size, int64_t limit) {
    return std::clamp<int64_t>(std::lround(shrinking * size), 1, limit);
  };
  part.width = side(options.width, photo.size(1));
  part.height = side(options.height, photo.size(0));
  part.x = draws->Index(photo.size(1) - part.width + 1);
  part.y = draws->Index(photo.size(0) - part.height + 1);
  return part;
}

// With positions relative to the middles, in halves of the shorter side.
struct Homography {
  Matrix query_from_reference;
  Matrix reference_from_query;
};

Homography DrawHomography(const HomographyOptions& options, Draws* draws) {
  const auto either_way = [&](double max) {
    return std::exp(std::log(max) * draws->Uniform(-1.0, 1.0));
  };
  const double scale = either_way(options.max_scale_change);
  const double stretch = std::sqrt(either_way(options.max_stretch));
  const double axis = draws->Uniform(0.0, M_PI);
  const double max_rotation = draws->Chance(options.any_rotation_probability)
                                  ? M_PI
                                  : options.max_rotation_deg * M_PI / 180.0;
  const double rotation = max_rotation * draws->Uniform(-1.0, 1.0);
  const double shift_x = options.max_shift * draws->Uniform(-1.0, 1.0);
  const double shift_y = options.max_shift * draws->Uniform(-1.0, 1.0);
  // Of the depth at distance 1, such that it is within the bounds in the
  // farthest corner.
  const double shorter = std::min(options.width, options.height);
  const double farthest =
      std::hypot(options.width / shorter + std::abs(shift_x),
                 options.height / shorter + std::abs(shift_y));
  const double slant =
      options.max_perspective / farthest * std::sqrt(draws->Uniform());
  const double direction = draws->Uniform(0.0, 2.0 * M_PI);
  const double px = slant * std::cos(direction);
  const double py = slant * std::sin(direction);

  Homography homography;
  homography.query_from_reference =
      Translation(shift_x, shift_y) * Matrix{1, 0, 0, 0, 1, 0, px, py, 1} *
      Rotation(axis) * Scaling(scale * stretch, scale / stretch) *
      Rotation(rotation - axis);
  homography.reference_from_query =
      Rotation(axis - rotation) *
      Scaling(1.0 / (scale * stretch), stretch / scale) * Rotation(-axis) *
      Matrix{1, 0, 0, 0, 1, 0, -px, -py, 1} * Translation(-shift_x, -shift_y);
  return homography;
}

// From pixels to where homographies are, and back.
Matrix ToMiddle(const HomographyOptions& options) {
  const double scale = 2.0 / std::min(options.width, options.height);
  return Scaling(scale, scale) *
         Translation(-0.5 * options.width, -0.5 * options.height);
}

Matrix FromMiddle(const HomographyOptions& options) {
  const double scale = 0.5 * std::min(options.width, options.height);
  return Translation(0.5 * options.width, 0.5 * options.height) *
         Scaling(scale, scale);
}

// Pixels of the photograph to one of the query image, in its middle.
double Shrinking(const Matrix& photo_from_query,
                 const HomographyOptions& options) {
  const double h = 1e-3;
  const double x = 0.5 * options.width, y = 0.5 * options.height;
  const auto [px, py] =
      Map(photo_from_query,
          torch::tensor({x - h, x + h, x, x}, torch::kFloat64),
          torch::tensor({y, y, y - h, y + h}, torch::kFloat64));
  const auto difference = [&](const Tensor& values, int64_t i) {
    return (values[i + 1] - values[i]).item<double>() / (2.0 * h);
  };
  return std::sqrt(std::abs(difference(px, 0) * difference(py, 2) -
                            difference(px, 2) * difference(py, 0)));
}

// The pixels [begin, end) that positions need, some around them included.
std::array<int64_t, 2> Needed(const Tensor& positions,
                              double margin,
                              int64_t size) {
  const double min = positions.min().item<double>() - margin;
  const double max = positions.max().item<double>() + margin;
  const double last = static_cast<double>(size - 1);
  const int64_t begin = std::floor(std::clamp(min, 0.0, last));
  const int64_t end = std::ceil(std::clamp(max, begin + 1.0, last + 1.0));
  return {begin, end};
}

Tensor RenderQuery(const Tensor& photo,
                   const Matrix& photo_from_query,
                   const HomographyOptions& options,
                   Draws* draws) {
  // Four samples of each pixel, of a photograph with pixels about that large.
  const auto line = [](int64_t size) {
    return torch::arange(2 * size, torch::kFloat32) * 0.5 + 0.25;
  };
  const auto [x, y] = Map(photo_from_query,
                          line(options.width).unsqueeze(0),
                          line(options.height).unsqueeze(1));
  const double shrinking =
      std::max(1.0, 0.65 * Shrinking(photo_from_query, options));
  const double margin = 2.0 * shrinking + 1.0;
  const auto [x0, x1] = Needed(x, margin, photo.size(1));
  const auto [y0, y1] = Needed(y, margin, photo.size(0));
  const auto shrunk = [&](int64_t size) {
    return std::max<int64_t>(1, std::lround(size / shrinking));
  };
  const Tensor part = Resample(PhotoPart(photo, x0, y0, x1 - x0, y1 - y0),
                               shrunk(y1 - y0),
                               shrunk(x1 - x0));
  const Tensor grid = torch::stack({(x - double(x0)) * (2.0 / (x1 - x0)) - 1.0,
                                    (y - double(y0)) * (2.0 / (y1 - y0)) - 1.0},
                                   2);
  constexpr int64_t kBilinear = 0, kReflection = 2;
  const Tensor samples = at::grid_sampler(part.unsqueeze(0),
                                          grid.unsqueeze(0),
                                          kBilinear,
                                          kReflection,
                                          /*align_corners=*/false);
  const Tensor image = at::avg_pool2d(samples, 2).squeeze(0);
  if (draws->Chance(0.5)) return image;
  const Tensor outside = (x < 0.0) | (x > double(photo.size(1))) | (y < 0.0) |
                         (y > double(photo.size(0)));
  return image.lerp(
      draws->UniformTensor({3, 1, 1}).expand_as(image),
      at::avg_pool2d(outside.to(torch::kFloat32).unsqueeze(0), 2));
}

struct Points {
  Tensor reference_positions, query_positions, visible;
};

Points DrawPoints(int64_t num,
                  const Matrix& query_from_reference,
                  const HomographyOptions& options,
                  Draws* draws) {
  const Tensor size =
      torch::tensor({options.width, options.height}, torch::kFloat32);
  Points points;
  points.reference_positions = draws->UniformTensor({num, 2}) * size;
  const Tensor exact = points.reference_positions.to(torch::kFloat64);
  const auto [x, y] =
      Map(query_from_reference, exact.select(1, 0), exact.select(1, 1));
  points.query_positions = torch::stack({x, y}, 1).to(torch::kFloat32);
  points.visible =
      ((points.query_positions >= 0.0) & (points.query_positions < size))
          .all(1);
  return points;
}

// Some among the visible ones, the others anywhere.
Points DrawEnoughPoints(const Matrix& query_from_reference,
                        const HomographyOptions& options,
                        Draws* draws) {
  const int64_t num = options.num_points;
  const Points many =
      DrawPoints(16 * num, query_from_reference, options, draws);
  const Points any = DrawPoints(num, query_from_reference, options, draws);
  const int64_t num_visible = std::ceil(options.min_visible * num);
  const Tensor visible =
      many.visible.nonzero().flatten().slice(0, 0, num_visible);
  const auto join = [&](const Tensor& from_many, const Tensor& from_any) {
    return torch::cat({from_many.index_select(0, visible),
                       from_any.slice(0, visible.size(0))});
  };
  return {join(many.reference_positions, any.reference_positions),
          join(many.query_positions, any.query_positions),
          join(many.visible, any.visible)};
}

Tensor ToTensor(const Matrix& matrix) {
  return torch::tensor(at::ArrayRef<double>(matrix.data(), matrix.size()),
                       torch::kFloat64)
      .view({3, 3});
}

void DrawPair(const Tensor& photo,
              const HomographyOptions& options,
              int64_t index,
              Draws* draws,
              TrainingPairs* pairs) {
  const Part part = DrawPart(photo, options, draws);
  const Homography homography = DrawHomography(options, draws);
  const Matrix query_from_reference =
      FromMiddle(options) * homography.query_from_reference * ToMiddle(options);
  const Matrix photo_from_reference =
      Translation(part.x, part.y) *
      Scaling(double(part.width) / options.width,
              double(part.height) / options.height);
  const Matrix photo_from_query = photo_from_reference * FromMiddle(options) *
                                  homography.reference_from_query *
                                  ToMiddle(options);
  pairs->reference_images[index].copy_(
      Resample(PhotoPart(photo, part.x, part.y, part.width, part.height),
               options.height,
               options.width));
  pairs->query_images[index].copy_(
      RenderQuery(photo, photo_from_query, options, draws));
  const Points points = DrawEnoughPoints(query_from_reference, options, draws);
  pairs->reference_positions[index].copy_(points.reference_positions);
  pairs->query_positions[index].copy_(points.query_positions);
  pairs->visible[index].copy_(points.visible);
  pairs->photo_from_reference[index].copy_(ToTensor(photo_from_reference));
  pairs->photo_from_query[index].copy_(ToTensor(photo_from_query));
}

}  // namespace

bool HomographyOptions::Check() const {
  const auto is_factor = [](double value) {
    return std::isfinite(value) && value >= 1.0;
  };
  const auto is_share = [](double value) {
    return value >= 0.0 && value <= 1.0;
  };
  return batch_size > 0 && height > 0 && width > 0 && num_points > 0 &&
         min_shrinking > 0.0 && max_shrinking >= min_shrinking &&
         std::isfinite(max_shrinking) && is_factor(max_scale_change) &&
         is_factor(max_stretch) && max_rotation_deg >= 0.0 &&
         max_rotation_deg <= 180.0 && is_share(any_rotation_probability) &&
         is_share(max_perspective) && max_perspective < 1.0 &&
         max_shift >= 0.0 && std::isfinite(max_shift) && is_share(min_visible);
}

TrainingPairs HomographyPairs(const std::vector<Tensor>& photos,
                              const HomographyOptions& options,
                              at::Generator generator) {
  TORCH_CHECK(options.Check(), "invalid HomographyOptions");
  CheckPhotos(photos);
  const int64_t num = options.batch_size;
  TrainingPairs pairs;
  pairs.reference_images =
      torch::empty({num, 3, options.height, options.width});
  pairs.query_images = torch::empty_like(pairs.reference_images);
  pairs.reference_positions = torch::empty({num, options.num_points, 2});
  pairs.query_positions = torch::empty_like(pairs.reference_positions);
  pairs.visible = torch::empty({num, options.num_points}, torch::kBool);
  pairs.photos = torch::empty({num}, torch::kInt64);
  pairs.photo_from_reference = torch::empty({num, 3, 3}, torch::kFloat64);
  pairs.photo_from_query = torch::empty_like(pairs.photo_from_reference);
  ForEachItem(
      num, generator, /*in_parallel=*/true, [&](int64_t i, Draws* draws) {
        const int64_t photo = draws->Index(photos.size());
        pairs.photos[i].fill_(photo);
        DrawPair(photos[photo], options, i, draws, &pairs);
      });
  return pairs;
}

}  // namespace nre
