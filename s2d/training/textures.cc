#include "s2d/training/textures.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "s2d/training/random_draws.h"
#include "s2d/training/resampling.h"

namespace nre {
namespace {

using torch::Tensor;
using torch::indexing::None;
using torch::indexing::Slice;

using Colour = std::array<double, 3>;

// A random colour near a hue, both in turns of the colour circle.
Colour DrawColour(double hue, double spread, Draws* draws) {
  hue += spread * draws->Uniform(-0.5, 0.5);
  const double saturation = std::pow(draws->Uniform(), 1.7);
  const double value = draws->Uniform(0.05, 1.0);
  Colour colour;
  for (int c = 0; c < 3; ++c) {
    // Of the HSV model: a trapezoid of period 1.
    const double k = std::fmod(5.0 - 2.0 * c + 6.0 * (hue + 4.0), 6.0);
    const double dip = std::clamp(std::min(k, 4.0 - k), 0.0, 1.0);
    colour[c] = value * (1.0 - saturation * dip);
  }
  return colour;
}

// The colours of one texture are all around one hue, or any.
class Palette {
 public:
  explicit Palette(Draws* draws)
      : hue_(draws->Uniform()),
        spread_(draws->Chance(0.6) ? draws->Uniform(0.0, 0.2) : 1.0) {}

  Colour Draw(Draws* draws) const { return DrawColour(hue_, spread_, draws); }

  Tensor DrawColours(int64_t num, Draws* draws) const {  // [num, 3]
    Tensor colours = torch::empty({num, 3});
    auto values = colours.accessor<float, 2>();
    for (int64_t i = 0; i < num; ++i) {
      const Colour colour = Draw(draws);
      for (int c = 0; c < 3; ++c) values[i][c] = static_cast<float>(colour[c]);
    }
    return colours;
  }

 private:
  double hue_;
  double spread_;
};

Tensor ToTensor(const Colour& colour) {  // [3, 1, 1]
  return torch::tensor({static_cast<float>(colour[0]),
                        static_cast<float>(colour[1]),
                        static_cast<float>(colour[2])})
      .view({3, 1, 1});
}

// Smooth Gaussian noise, somewhat below unit variance: [size, size].
Tensor Noise(int64_t size, int64_t cells_y, int64_t cells_x, Draws* draws) {
  const int64_t finest = size / 2;
  if (cells_y > finest && cells_x > finest) {
    return draws->NormalTensor({size, size});
  }
  cells_y = std::clamp<int64_t>(cells_y, 1, finest);
  cells_x = std::clamp<int64_t>(cells_x, 1, finest);
  return at::upsample_bicubic2d(
             draws->NormalTensor({1, 1, cells_y + 1, cells_x + 1}),
             {size, size},
             /*align_corners=*/true)
      .view({size, size});
}

// Noise of several octaves, of about the same variance. cells: of the first
// octave.
Tensor FractalNoise(int64_t size, double cells, double aspect, Draws* draws) {
  const double persistence = draws->Uniform(0.35, 0.85);
  Tensor sum = torch::zeros({size, size});
  double weight = 1.0, squares = 0.0;
  for (; cells <= size && weight > 0.02; cells *= 2.0, weight *= persistence) {
    sum.add_(Noise(size,
                   std::lround(std::max(1.0, cells * aspect)),
                   std::lround(std::max(1.0, cells / aspect)),
                   draws),
             weight);
    squares += weight * weight;
  }
  return sum.mul_(1.0 / std::sqrt(std::max(squares, 1e-9)));
}

Tensor DrawFractalNoise(int64_t size, Draws* draws) {
  // Streaks, as of wood, are less frequent.
  const double aspect = draws->Chance(0.75) ? draws->LogUniform(0.7, 1.4)
                                            : draws->LogUniform(0.1, 10.0);
  Tensor noise =
      FractalNoise(size, draws->LogUniform(1.5, size / 6.0), aspect, draws);
  if (draws->Chance(0.2)) noise = 1.5 - 2.0 * noise.abs();  // ridges
  return noise;
}

// Turns values into colours, linearly between those of the palette: the first
// for 0, the last for 1. values: [size, size].
Tensor Colourize(const Tensor& values, const Tensor& colours) {
  const int64_t num = colours.size(0);
  Tensor image =
      colours[0].view({3, 1, 1}).expand({3, values.size(0), values.size(1)});
  image = image.contiguous();
  for (int64_t i = 0; i + 1 < num; ++i) {
    const Tensor share =
        (values * double(num - 1) - double(i)).clamp_(0.0, 1.0);
    image.addcmul_(share, (colours[i + 1] - colours[i]).view({3, 1, 1}));
  }
  return image;
}

// What is painted at once: colours [3, size, size], and how opaque they are,
// [size, size] or undefined.
struct Layer {
  Tensor colours;
  Tensor opacity;
};

// Coordinates of the pixels, [size, size] each, of a grid that is turned and
// warped. One unit is the texture's side.
std::pair<Tensor, Tensor> DrawCoordinates(int64_t size, Draws* draws) {
  const Tensor line = (torch::arange(size, torch::kFloat32) + 0.5) / size;
  const Tensor x = line.expand({size, size});
  const Tensor y = line.unsqueeze(1).expand({size, size});
  const double angle = draws->Chance(0.5) ? 0.0 : draws->Uniform(-M_PI, M_PI);
  const double c = std::cos(angle), s = std::sin(angle);
  Tensor u = c * x - s * y + draws->Uniform(0.0, 8.0);
  Tensor v = s * x + c * y + draws->Uniform(0.0, 8.0);
  if (draws->Chance(0.35)) {
    const double warp = draws->LogUniform(0.003, 0.03);
    const int64_t cells = 2 + draws->Index(6);
    u.add_(Noise(size, cells, cells, draws), warp);
    v.add_(Noise(size, cells, cells, draws), warp);
  }
  return {u, v};
}

Layer PaintNoise(int64_t size, const Palette& palette, Draws* draws) {
  const double contrast = draws->LogUniform(0.15, 0.6);
  const Tensor values = DrawFractalNoise(size, draws) * contrast + 0.5;
  return {Colourize(values, palette.DrawColours(2 + draws->Index(4), draws)),
          {}};
}

Layer PaintGradient(int64_t size, const Palette& palette, Draws* draws) {
  const Tensor line = torch::linspace(-1.0, 1.0, size);
  const double angle = draws->Uniform(-M_PI, M_PI);
  const Tensor values = 0.5 + 0.5 * (std::cos(angle) * line +
                                     std::sin(angle) * line.unsqueeze(1));
  return {Colourize(values, palette.DrawColours(2 + draws->Index(2), draws)),
          {}};
}

// Lines or bars of random widths and colours, in one direction.
Layer PaintBars(int64_t size, const Palette& palette, Draws* draws) {
  const auto [u, v] = DrawCoordinates(size, draws);
  const int64_t num = 8 * size;  // a length of 8 sides
  const double mean_width = draws->LogUniform(3.0, size / 4.0);
  const Tensor changes =
      (draws->UniformTensor({num}) < 1.0 / mean_width).to(torch::kInt64);
  const Tensor bars = changes.cumsum(0);
  const Tensor values = draws->UniformTensor({num}).index_select(0, bars);
  const Tensor index = (u.remainder(8.0) * size).to(torch::kInt64);
  const Tensor at =
      values.index_select(0, index.clamp_(0, num - 1).view(-1)).view_as(u);
  Tensor opacity;
  if (draws->Chance(0.5)) opacity = (at * 7.0).remainder(1.0).round_();
  return {Colourize(at, palette.DrawColours(2 + draws->Index(4), draws)),
          opacity};
}

// A random number for each cell of a grid that cells [size, size] index.
Tensor CellValues(const Tensor& column, const Tensor& row, Draws* draws) {
  constexpr int64_t kSide = 256;
  const Tensor index = row.remainder(kSide) * kSide + column.remainder(kSide);
  return draws->UniformTensor({kSide * kSide})
      .index_select(0, index.to(torch::kInt64).view(-1))
      .view_as(column);
}

// Tiles, bricks or windows, no two alike.
Layer PaintGrid(int64_t size, const Palette& palette, Draws* draws) {
  const auto [x, y] = DrawCoordinates(size, draws);
  const double num = draws->LogUniform(2.0, size / 9.0);
  const double aspect = draws->LogUniform(0.4, 2.5);
  const Tensor v = y * (num * aspect);
  const Tensor row = v.floor();
  Tensor u = x * (num / aspect);
  if (draws->Chance(0.5)) {  // bricks
    u = u + (draws->Chance(0.5) ? row.remainder(2.0) * 0.5
                                : CellValues(row, row, draws));
  }
  const Tensor column = u.floor();
  // In cells, from the nearest side of the cell.
  const Tensor border = torch::minimum(0.5 - (u - column - 0.5).abs(),
                                       0.5 - (v - row - 0.5).abs());
  const double softness = num / size;  // about a pixel
  const auto inside = [&](double margin) {
    return ((border - margin) / softness + 0.5).clamp_(0.0, 1.0);
  };
  const double spread = draws->LogUniform(0.1, 1.0);
  Tensor values = CellValues(column, row, draws) * spread;
  if (draws->Chance(0.4)) {  // lit from a side
    values = values + draws->Uniform(-0.4, 0.4) * (u - column);
  }
  Layer layer;
  layer.colours =
      Colourize(values, palette.DrawColours(2 + draws->Index(3), draws));
  if (draws->Chance(0.5)) {  // frames, of some of them
    const double margin = draws->Uniform(0.12, 0.3);
    const double share = draws->Uniform(0.3, 1.2);
    const Tensor frame =
        inside(margin) * (CellValues(row, column, draws) < share);
    const Tensor brightness = CellValues(column, row, draws);
    const Tensor panes = Colourize(brightness, palette.DrawColours(2, draws));
    layer.colours = layer.colours.lerp(panes, frame);
  }
  const double gap = draws->LogUniform(0.01, 0.15);
  if (draws->Chance(0.3)) {
    layer.opacity = inside(gap);
  } else if (draws->Chance(0.8)) {
    layer.colours =
        ToTensor(palette.Draw(draws)).lerp(layer.colours, inside(gap));
  }
  return layer;
}

// The cells of random points: stones, crazed glaze, patches.
Layer PaintCells(int64_t size, const Palette& palette, Draws* draws) {
  const auto [x, y] = DrawCoordinates(size, draws);
  const double x0 = x[0][0].item<float>(), y0 = y[0][0].item<float>();
  const int64_t num = 5 + draws->Index(25);
  Tensor nearest = torch::full({size, size}, 9.0);
  Tensor second = nearest.clone();
  Tensor values = torch::zeros({size, size});
  for (int64_t i = 0; i < num; ++i) {
    const double px = x0 + draws->Uniform(-1.2, 1.2);
    const double py = y0 + draws->Uniform(-1.2, 1.2);
    const Tensor distance = torch::hypot(x - px, y - py);
    const Tensor is_nearest = distance < nearest;
    second = torch::minimum(second, torch::maximum(distance, nearest));
    nearest = torch::minimum(nearest, distance);
    values.masked_fill_(is_nearest, draws->Uniform());
  }
  Layer layer;
  layer.colours =
      Colourize(values, palette.DrawColours(2 + draws->Index(4), draws));
  if (draws->Chance(0.6)) {  // joints
    const double width = draws->LogUniform(0.003, 0.03);
    const Tensor inside =
        ((second - nearest) * (0.5 * size) - width * size).clamp_(0.0, 1.0);
    layer.colours = ToTensor(palette.Draw(draws)).lerp(layer.colours, inside);
  }
  return layer;
}

// The signed distance, in pixels, from a random figure around the origin,
// negative inside. u, v: pixels in the figure's own axes.
Tensor DrawFigure(const Tensor& u,
                  const Tensor& v,
                  double radius,
                  Draws* draws) {
  const double flat = draws->Uniform(0.25, 1.0) * radius;
  switch (draws->Index(5)) {
    case 0:  // disc, ring
    {
      const Tensor distance = torch::hypot(u, v) - flat;
      if (draws->Chance(0.6)) return distance;
      return distance.abs() - draws->Uniform(0.1, 0.4) * flat;
    }
    case 1:  // frame
    {
      const Tensor distance = torch::maximum(u.abs() - radius, v.abs() - flat);
      return distance.abs() - draws->Uniform(0.05, 0.3) * flat;
    }
    case 2:  // rectangle
      return torch::maximum(u.abs() - radius, v.abs() - flat);
    case 3:  // line
      return torch::maximum(u.abs() - radius,
                            v.abs() - draws->Uniform(0.5, 3.0));
    default:  // polygon: what lines leave
    {
      const int64_t num_sides = 3 + draws->Index(4);
      Tensor distance;
      for (int64_t i = 0; i < num_sides; ++i) {
        const double angle =
            2.0 * M_PI * (i + draws->Uniform(0.0, 0.7)) / num_sides;
        const Tensor side = u * std::cos(angle) + v * std::sin(angle) -
                            radius * draws->Uniform(0.3, 0.6);
        distance = i == 0 ? side : torch::maximum(distance, side);
      }
      return distance;
    }
  }
}

// Paints figures over an image [3, size, size].
void PaintFigures(const Palette& palette, Draws* draws, Tensor* image) {
  const int64_t size = image->size(1);
  const double largest = draws->LogUniform(size / 32.0, size / 3.0);
  const int64_t num = std::lround(draws->LogUniform(3.0, 50.0));
  for (int64_t i = 0; i < num; ++i) {
    const double radius = std::max(1.5, largest * draws->LogUniform(0.2, 1.0));
    const double cx = draws->Uniform(0.0, size), cy = draws->Uniform(0.0, size);
    // The figure's corners are at most 1.5 radii away.
    const auto begin = [&](double c) {
      return std::clamp<int64_t>(std::floor(c - 1.5 * radius), 0, size - 1);
    };
    const auto end = [&](double c) {
      return std::clamp<int64_t>(std::ceil(c + 1.5 * radius), 1, size);
    };
    const int64_t x0 = begin(cx), x1 = end(cx), y0 = begin(cy), y1 = end(cy);
    const Tensor x = torch::arange(x0, x1, torch::kFloat32) + (0.5 - cx);
    const Tensor y =
        (torch::arange(y0, y1, torch::kFloat32) + (0.5 - cy)).unsqueeze(1);
    const double angle = draws->Chance(0.4) ? 0.0 : draws->Uniform(-M_PI, M_PI);
    const double c = std::cos(angle), s = std::sin(angle);
    const Tensor distance =
        DrawFigure(c * x - s * y, s * x + c * y, radius, draws);
    const Tensor opacity =
        (0.5 - distance).clamp_(0.0, 1.0).mul_(draws->Uniform(0.5, 1.0));
    Tensor part = image->narrow(1, y0, y1 - y0).narrow(2, x0, x1 - x0);
    part.lerp_(ToTensor(palette.Draw(draws)).expand_as(part), opacity);
  }
}

// Opacity of rows of strange letters, [rows * 9, columns * 7], a pixel being a
// stroke's width: each letter has some of the strokes of a grid and diagonals.
Tensor DrawLetters(int64_t rows, int64_t columns, Draws* draws) {
  Tensor letters = torch::zeros({rows, columns, 9, 7});
  const auto draw = [&](double share) {
    return (draws->UniformTensor({rows, columns, 1}) < share)
        .to(torch::kFloat32);
  };
  const auto stroke = [&](int64_t y0, int64_t y1, int64_t x0, int64_t x1) {
    Tensor part =
        letters.index({Slice(), Slice(), Slice(y0, y1), Slice(x0, x1)});
    part.copy_(torch::maximum(part, draw(0.45).unsqueeze(3)));
  };
  for (const int64_t y : {1, 4, 7}) stroke(y, y + 1, 1, 6);
  for (const int64_t x : {1, 3, 5}) {
    stroke(1, 5, x, x + 1);
    stroke(4, 8, x, x + 1);
  }
  const Tensor falling = draw(0.2), rising = draw(0.2);
  for (int64_t i = 0; i < 5; ++i) {
    for (const auto& [diagonal, x] :
         {std::pair(falling, 1 + i), std::pair(rising, 5 - i)}) {
      Tensor part = letters.index({Slice(), Slice(), Slice(2 + i, 3 + i), x});
      part.copy_(torch::maximum(part, diagonal));
    }
  }
  letters.mul_(draw(0.85).unsqueeze(3));  // spaces
  return letters.permute({0, 2, 1, 3}).reshape({rows * 9, columns * 7});
}

// Paints a block of letters over an image [3, size, size].
void PaintLetters(const Palette& palette, Draws* draws, Tensor* image) {
  const int64_t size = image->size(1);
  const double stroke = draws->LogUniform(1.0, 5.0);  // px
  const int64_t rows = std::clamp<int64_t>(
      std::lround(draws->Uniform(1.0, size / (9.0 * stroke))), 1, size);
  const int64_t columns = std::clamp<int64_t>(
      std::lround(draws->Uniform(2.0, size / (7.0 * stroke))), 1, size);
  const int64_t height =
      std::min<int64_t>(size, std::lround(9 * rows * stroke));
  const int64_t width =
      std::min<int64_t>(size, std::lround(7 * columns * stroke));
  const int64_t y = draws->Index(size - height + 1);
  const int64_t x = draws->Index(size - width + 1);
  const Tensor letters =
      Resample(DrawLetters(rows, columns, draws).unsqueeze(0), height, width);
  Tensor part = image->narrow(1, y, height).narrow(2, x, width);
  if (draws->Chance(0.5)) {  // on a sign
    part.lerp_(ToTensor(palette.Draw(draws)).expand_as(part), 0.9);
  }
  const double opacity = draws->Uniform(0.7, 1.0);
  part.lerp_(ToTensor(palette.Draw(draws)).expand_as(part), letters * opacity);
}

Layer PaintBase(int64_t size, const Palette& palette, Draws* draws) {
  const double dice = draws->Uniform();
  if (dice < 0.45) return PaintNoise(size, palette, draws);
  if (dice < 0.6) return PaintGradient(size, palette, draws);
  if (dice < 0.8) return PaintGrid(size, palette, draws);
  return PaintCells(size, palette, draws);
}

void PaintOver(const Palette& palette, Draws* draws, Tensor* image) {
  const int64_t size = image->size(1);
  const double dice = draws->Uniform();
  if (dice < 0.35) return PaintFigures(palette, draws, image);
  if (dice < 0.5) return PaintLetters(palette, draws, image);
  Layer layer = dice < 0.65   ? PaintBars(size, palette, draws)
                : dice < 0.85 ? PaintGrid(size, palette, draws)
                              : PaintNoise(size, palette, draws);
  Tensor opacity = torch::ones({size, size});
  if (draws->Chance(0.5)) {  // worn off in places
    const double threshold = draws->Uniform(-0.75, 0.75);
    opacity =
        ((DrawFractalNoise(size, draws) - threshold) * 4.0).clamp_(0.0, 1.0);
  }
  if (layer.opacity.defined()) opacity.mul_(layer.opacity);
  image->lerp_(layer.colours, opacity.mul_(draws->Uniform(0.3, 1.0)));
}

// Dirt, and the grain that most surfaces have.
void Weather(Draws* draws, Tensor* image) {
  const int64_t size = image->size(1);
  if (draws->Chance(0.5)) {
    const double strength = draws->LogUniform(0.03, 0.3);
    image->mul_((DrawFractalNoise(size, draws) * strength).exp_());
  }
  if (draws->Chance(0.8)) {
    const double strength = draws->LogUniform(0.005, 0.08);
    image->add_(
        FractalNoise(size, size / draws->LogUniform(2.0, 12.0), 1.0, draws),
        strength);
  }
}

Tensor DrawTexture(int64_t size, Draws* draws) {
  const Palette palette(draws);
  Tensor image = PaintBase(size, palette, draws).colours.contiguous();
  const int64_t num_layers = draws->Index(4);
  for (int64_t i = 0; i < num_layers; ++i) PaintOver(palette, draws, &image);
  Weather(draws, &image);
  if (draws->Chance(1.0 / 6.0)) {  // plain
    image = image.mean({1, 2}, /*keepdim=*/true)
                .lerp(image, draws->LogUniform(0.03, 0.3));
  }
  return image.clamp_(0.0, 1.0);
}

Tensor CutTexture(const Tensor& photo, int64_t size, Draws* draws) {
  const int64_t height = photo.size(0), width = photo.size(1);
  const int64_t longest = std::min(height, width);
  const int64_t shortest = std::clamp<int64_t>(size / 2, 1, longest);
  const int64_t side = std::clamp<int64_t>(
      std::lround(draws->LogUniform(shortest, longest)), shortest, longest);
  const int64_t x = draws->Index(width - side + 1);
  const int64_t y = draws->Index(height - side + 1);
  const Tensor texture =
      Resample(PhotoPart(photo, x, y, side, side), size, size);
  const Tensor turned = texture.rot90(draws->Index(4), {1, 2});
  return draws->Chance(0.5) ? turned.flip(2) : turned;
}

}  // namespace

Tensor ProceduralTextures(int64_t num, int64_t size, at::Generator generator) {
  TORCH_CHECK(num >= 0 && size >= 8,
              "expected textures of at least 8 pixels, got ",
              num,
              " of ",
              size);
  Tensor textures = torch::empty({num, 3, size, size});
  ForEachItem(num, generator, /*in_parallel=*/true, [&](int64_t i, Draws* d) {
    textures[i].copy_(DrawTexture(size, d));
  });
  return textures;
}

Tensor CutTextures(const std::vector<Tensor>& photos,
                   int64_t num,
                   int64_t size,
                   at::Generator generator) {
  CheckPhotos(photos);
  TORCH_CHECK(
      num >= 0 && size >= 1, "expected a size, got ", num, " of ", size);
  Tensor textures = torch::empty({num, 3, size, size});
  ForEachItem(num, generator, /*in_parallel=*/true, [&](int64_t i, Draws* d) {
    const Tensor& photo = photos[d->Index(photos.size())];
    textures[i].copy_(CutTexture(photo, size, d));
  });
  return textures;
}

}  // namespace nre
