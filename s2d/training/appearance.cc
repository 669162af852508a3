#include "s2d/training/appearance.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "s2d/training/jpeg.h"
#include "s2d/training/random_draws.h"
#include "s2d/training/resampling.h"

namespace nre {
namespace {

using torch::Tensor;

Tensor Power(const Tensor& values, double exponent) {
  // Several times as fast as pow().
  return values.clamp_min(1e-8).log_().mul_(exponent).exp_();
}

constexpr double kGamma = 2.2;
Tensor ToLight(const Tensor& values) { return Power(values, kGamma); }
Tensor ToValues(const Tensor& light) { return Power(light, 1.0 / kGamma); }

// The image at hand, [3, H, W], and what the effects need to draw.
class Canvas {
 public:
  Canvas(const Tensor& image, double strength, Draws* draws)
      : image(image),
        height(image.size(1)),
        width(image.size(2)),
        draws(draws),
        strength_(strength) {}

  // Whether an effect is applied; draws its amount.
  bool Draw(const AppearanceEffect& effect, double* amount) const {
    const bool applied = draws->Chance(effect.probability);
    *amount = effect.weakest * std::pow(effect.strongest / effect.weakest,
                                        strength_ * draws->Uniform());
    return applied;
  }

  // Of the pixels, in sides of the image around its middle: [W] and [H, 1].
  Tensor X() const { return Line(width); }
  Tensor Y() const { return Line(height).unsqueeze(1); }

  Tensor OnDevice(const Tensor& tensor) const {
    return tensor.to(image.device());
  }

  Tensor DrawColour(double least) const {  // [3, 1, 1]
    return OnDevice(draws->UniformTensor({3, 1, 1}) * (1.0 - least) + least);
  }

  // Smooth, between 0 and 1 or a little beyond: [H, W].
  Tensor DrawSmoothField() const {
    const int64_t cells = 2 + draws->Index(5);
    return at::upsample_bicubic2d(
               OnDevice(draws->UniformTensor({1, 1, cells, cells})),
               {height, width},
               /*align_corners=*/true)
        .view({height, width});
  }

  Tensor image;
  const int64_t height;
  const int64_t width;
  Draws* const draws;

 private:
  Tensor Line(int64_t size) const {
    return (torch::arange(size, image.options()) + 0.5) / double(size) - 0.5;
  }

  const double strength_;
};

// other: of the batch.
void Occlude(const Tensor& other, double amount, Canvas* canvas) {
  Draws* draws = canvas->draws;
  const double side = amount * std::min(canvas->height, canvas->width);
  const Tensor x = (canvas->X() + 0.5) * double(canvas->width);
  const Tensor y = (canvas->Y() + 0.5) * double(canvas->height);
  const int64_t num = 1 + draws->Index(3);
  for (int64_t i = 0; i < num; ++i) {
    const Tensor dx = x - draws->Uniform(0.0, canvas->width);
    const Tensor dy = y - draws->Uniform(0.0, canvas->height);
    const double aspect = draws->LogUniform(0.5, 2.0);
    const Tensor hidden = draws->Chance(0.5)
                              ? (dx.abs() < 0.5 * side * aspect) &
                                    (dy.abs() < 0.5 * side / aspect)
                              : dx.square() + dy.square() < 0.25 * side * side;
    const double dice = draws->Uniform();
    Tensor fill = other;
    if (dice < 0.6) fill = canvas->DrawColour(0.0);
    if (dice < 0.3) {
      fill = fill + 0.3 * canvas->OnDevice(draws->NormalTensor(
                              {3, canvas->height, canvas->width}));
      fill.clamp_(0.0, 1.0);
    }
    canvas->image = torch::where(hidden, fill, canvas->image);
  }
}

void CastShadow(double stops, Canvas* canvas) {
  Draws* draws = canvas->draws;
  const double softness = draws->LogUniform(0.003, 0.3);
  const int64_t num_sides = 1 + draws->Index(4);
  const double cx = draws->Uniform(-0.4, 0.4), cy = draws->Uniform(-0.4, 0.4);
  const Tensor x = canvas->X() - cx, y = canvas->Y() - cy;
  const double first = draws->Uniform(0.0, 2.0 * M_PI);
  Tensor distance;
  for (int64_t i = 0; i < num_sides; ++i) {
    const double angle = first + 2.0 * M_PI * (i + draws->Uniform(0.0, 0.7)) /
                                     static_cast<double>(num_sides);
    const Tensor side =
        std::cos(angle) * x + std::sin(angle) * y - draws->Uniform(0.05, 0.3);
    distance = i == 0 ? side : torch::maximum(distance, side);
  }
  const Tensor shade = (0.5 - distance / softness).clamp_(0.0, 1.0);
  canvas->image = canvas->image * shade.mul_(-stops * std::log(2.0)).exp_();
}

void AddFog(double depth, Canvas* canvas) {
  Draws* draws = canvas->draws;
  const double slope = draws->Uniform(0.0, 1.0);
  const double clouds = draws->Uniform(0.0, 1.0);
  // 1 everywhere, or less towards the bottom and between clouds.
  const Tensor profile =
      (1.0 - slope * (canvas->Y() + 0.5)) *
      (1.0 - clouds * canvas->DrawSmoothField().clamp_(0.0, 1.0));
  const Tensor seen = (profile * -depth).exp_();
  const double grey = draws->Uniform(0.2, 1.0);
  const Tensor air_light = grey * canvas->DrawColour(0.8);
  canvas->image = air_light.lerp(canvas->image, seen);
}

// Lights as factors on surfaces, [3, H, W], and those in view, added.
void AddLights(Tensor* factors, Tensor* glow, const Canvas& canvas) {
  Draws* draws = canvas.draws;
  const int64_t num = 1 + draws->Index(6);
  for (int64_t i = 0; i < num; ++i) {
    const Tensor dx = canvas.X() - draws->Uniform(-0.6, 0.6);
    const Tensor dy = canvas.Y() - draws->Uniform(-0.6, 0.6);
    const Tensor squared = dx.square() + dy.square();
    const double radius = draws->LogUniform(0.05, 0.5);
    const double power = draws->LogUniform(1.0, 60.0);
    const Tensor colour = canvas.DrawColour(0.4);
    const Tensor falloff =
        (squared * (1.0 / (radius * radius)) + 1.0).square_().reciprocal_();
    factors->addcmul_(falloff, colour, power);
    if (draws->Chance(0.3)) {
      const double lamp = draws->LogUniform(0.005, 0.05);
      const double brightness = draws->LogUniform(0.3, 5.0);
      glow->addcmul_(
          (squared * (1.0 / (lamp * lamp)) + 1.0).square_().reciprocal_(),
          colour,
          brightness);
    }
  }
}

// Of light.
Tensor SensorNoise(const Tensor& light,
                   double electrons,
                   double read_noise,
                   const Canvas& canvas) {
  const Tensor sigma =
      (light.clamp_min(0.0) * electrons + read_noise * read_noise).sqrt_();
  return canvas.OnDevice(canvas.draws->NormalTensor(light.sizes()))
      .mul_(sigma)
      .mul_(1.0 / electrons);
}

void MakeNight(double exposure, double lights_probability, Canvas* canvas) {
  Draws* draws = canvas->draws;
  // From moonlight to street lamps.
  Tensor factors = canvas->DrawColour(0.4).expand_as(canvas->image).clone();
  Tensor glow = torch::zeros_like(factors);
  if (draws->Chance(lights_probability)) AddLights(&factors, &glow, *canvas);
  Tensor light = (canvas->image * factors).mul_(exposure).add_(glow);
  const double electrons = draws->LogUniform(1000.0, 30000.0);
  const double read_noise = draws->LogUniform(1.0, 10.0);
  light.add_(SensorNoise(light, electrons, read_noise, *canvas));
  if (draws->Chance(0.7)) {
    light.mul_(std::pow(1.0 / exposure, draws->Uniform(0.0, 0.9)));
  }
  const Tensor values = ToValues(light.clamp_(0.0, 1.0));
  canvas->image = ToLight((values * 255.0).round_().div_(255.0));
}

// A weight and the pixel, from here, that it is for.
using Kernel = std::map<std::pair<int64_t, int64_t>, double>;

void Convolve(const Kernel& kernel, Canvas* canvas) {
  int64_t radius_y = 0, radius_x = 0;
  for (const auto& [offset, _] : kernel) {
    radius_y = std::max(radius_y, std::abs(offset.first));
    radius_x = std::max(radius_x, std::abs(offset.second));
  }
  const Tensor padded = at::replication_pad2d(
      canvas->image, {radius_x, radius_x, radius_y, radius_y});
  Tensor sum = torch::zeros_like(canvas->image);
  for (const auto& [offset, weight] : kernel) {
    sum.add_(padded.narrow(1, radius_y + offset.first, canvas->height)
                 .narrow(2, radius_x + offset.second, canvas->width),
             weight);
  }
  canvas->image = sum;
}

void Blur(double sigma, Canvas* canvas) {
  const int64_t radius = std::ceil(3.0 * sigma);
  std::vector<double> weights;
  double sum = 0.0;
  for (int64_t i = -radius; i <= radius; ++i) {
    weights.push_back(std::exp(-0.5 * i * i / (sigma * sigma)));
    sum += weights.back();
  }
  Kernel across, down;
  for (int64_t i = -radius; i <= radius; ++i) {
    across[{0, i}] = down[{i, 0}] = weights[i + radius] / sum;
  }
  Convolve(across, canvas);
  Convolve(down, canvas);
}

// Movement at a constant speed.
void BlurByMotion(double length, Canvas* canvas) {
  const double angle = canvas->draws->Uniform(0.0, M_PI);
  const int64_t num = std::max<int64_t>(3, std::lround(2.0 * length));
  Kernel kernel;
  for (int64_t i = 0; i < num; ++i) {
    const double t = length * ((i + 0.5) / num - 0.5);
    const double x = t * std::cos(angle), y = t * std::sin(angle);
    const double x0 = std::floor(x), y0 = std::floor(y);
    for (const int64_t dy : {0, 1}) {
      for (const int64_t dx : {0, 1}) {
        kernel[{int64_t(y0) + dy, int64_t(x0) + dx}] +=
            (1.0 - std::abs(x - x0 - dx)) * (1.0 - std::abs(y - y0 - dy)) / num;
      }
    }
  }
  Convolve(kernel, canvas);
}

void Vignette(double loss, Canvas* canvas) {
  const double power = canvas->draws->Uniform(1.0, 2.5);
  const Tensor squared = canvas->X().square() + canvas->Y().square();
  canvas->image = canvas->image * (1.0 - loss * Power(2.0 * squared, power));
}

void ChangeExposure(double stops, Canvas* canvas) {
  canvas->image = canvas->image * std::exp2(canvas->draws->Sign() * stops);
}

void CastColour(double stops, Canvas* canvas) {
  const Tensor channels = canvas->DrawColour(0.0);  // 0 to 1
  const Tensor relative = (channels - channels.mean()) * 2.0;
  canvas->image = canvas->image * (relative * (stops * std::log(2.0))).exp_();
}

void AddNoise(double sigma, Canvas* canvas) {
  const int64_t channels = canvas->draws->Chance(0.5) ? 3 : 1;
  const Tensor noise = canvas->OnDevice(
      canvas->draws->NormalTensor({channels, canvas->height, canvas->width}));
  canvas->image = (canvas->image + sigma * noise).clamp_(0.0, 1.0);
}

void ChangeContrast(double log_factor, Canvas* canvas) {
  const double factor = std::exp(canvas->draws->Sign() * log_factor);
  canvas->image =
      canvas->image.mean().lerp(canvas->image, factor).clamp_(0.0, 1.0);
}

void ChangeGamma(double log_exponent, Canvas* canvas) {
  canvas->image =
      Power(canvas->image, std::exp(canvas->draws->Sign() * log_exponent));
}

void Desaturate(double share, Canvas* canvas) {
  const Tensor grey = 0.299 * canvas->image[0] + 0.587 * canvas->image[1] +
                      0.114 * canvas->image[2];
  canvas->image = canvas->image.lerp(grey.expand_as(canvas->image), share);
}

void LowerResolution(double factor, Canvas* canvas) {
  const auto shrunk = [&](int64_t size) {
    return std::max<int64_t>(1, std::lround(size / factor));
  };
  const Tensor small =
      Resample(canvas->image, shrunk(canvas->height), shrunk(canvas->width));
  canvas->image = Resample(small, canvas->height, canvas->width);
}

// What happens before there are values in a file.
void ChangeLight(const AppearanceOptions& options, Canvas* canvas) {
  canvas->image = ToLight(canvas->image);
  double amount;
  if (canvas->Draw(options.shadow, &amount)) CastShadow(amount, canvas);
  if (canvas->Draw(options.fog, &amount)) AddFog(amount, canvas);
  if (canvas->Draw(options.night, &amount)) {
    MakeNight(amount, options.lights_probability, canvas);
  }
  if (canvas->Draw(options.blur, &amount)) Blur(amount, canvas);
  if (canvas->Draw(options.motion, &amount)) BlurByMotion(amount, canvas);
  if (canvas->Draw(options.vignetting, &amount)) Vignette(amount, canvas);
  if (canvas->Draw(options.exposure, &amount)) ChangeExposure(amount, canvas);
  if (canvas->Draw(options.colour_cast, &amount)) CastColour(amount, canvas);
  if (canvas->Draw(options.shot_noise, &amount)) {
    canvas->image = canvas->image + SensorNoise(canvas->image,
                                                1.0 / amount,
                                                /*read_noise=*/0.0,
                                                *canvas);
  }
  canvas->image = ToValues(canvas->image.clamp(0.0, 1.0));
}

void ChangeValues(const AppearanceOptions& options, Canvas* canvas) {
  double amount;
  if (canvas->Draw(options.noise, &amount)) AddNoise(amount, canvas);
  if (canvas->Draw(options.contrast, &amount)) ChangeContrast(amount, canvas);
  if (canvas->Draw(options.gamma, &amount)) ChangeGamma(amount, canvas);
  if (canvas->Draw(options.desaturation, &amount)) Desaturate(amount, canvas);
  if (canvas->Draw(options.low_resolution, &amount)) {
    LowerResolution(amount, canvas);
  }
  if (canvas->Draw(options.jpeg, &amount)) {
    canvas->image = CompressAsJpeg(canvas->image, 100 - std::lround(amount));
  }
}

bool IsProbability(double value) { return value >= 0.0 && value <= 1.0; }

}  // namespace

std::array<AppearanceEffect*, 16> AppearanceOptions::Effects() {
  return {&occlusion,
          &shadow,
          &fog,
          &night,
          &blur,
          &motion,
          &vignetting,
          &exposure,
          &colour_cast,
          &shot_noise,
          &noise,
          &contrast,
          &gamma,
          &desaturation,
          &low_resolution,
          &jpeg};
}

bool AppearanceOptions::Check() const {
  AppearanceOptions copy = *this;
  for (const AppearanceEffect* effect : copy.Effects()) {
    if (!IsProbability(effect->probability) || !(effect->weakest > 0.0) ||
        !(effect->strongest > 0.0) || !std::isfinite(effect->weakest) ||
        !std::isfinite(effect->strongest)) {
      return false;
    }
  }
  return IsProbability(strength) && IsProbability(lights_probability) &&
         std::max(vignetting.weakest, vignetting.strongest) <= 1.0 &&
         std::max(desaturation.weakest, desaturation.strongest) <= 1.0 &&
         std::min(low_resolution.weakest, low_resolution.strongest) >= 1.0 &&
         std::max(jpeg.weakest, jpeg.strongest) <= 99.0;
}

Tensor ChangeAppearance(const Tensor& images,
                        const AppearanceOptions& options,
                        at::Generator generator) {
  TORCH_CHECK(options.Check(), "invalid AppearanceOptions");
  TORCH_CHECK(images.dim() == 4 && images.size(1) == 3 &&
                  images.scalar_type() == torch::kFloat32,
              "expected images [B, 3, H, W] in single precision, got ",
              images.options(),
              " ",
              images.sizes());
  Tensor changed = images.clone();
  if (options.strength == 0.0) return changed;
  const int64_t num = images.size(0);
  ForEachItem(
      num, generator, images.device().is_cpu(), [&](int64_t i, Draws* draws) {
        Canvas canvas(images[i], options.strength, draws);
        const int64_t other =
            (i + 1 + draws->Index(std::max<int64_t>(1, num - 1))) % num;
        double amount;
        if (canvas.Draw(options.occlusion, &amount)) {
          Occlude(images[other], amount, &canvas);
        }
        ChangeLight(options, &canvas);
        ChangeValues(options, &canvas);
        changed[i].copy_(canvas.image);
      });
  return changed;
}

}  // namespace nre
