// Other light, weather, cameras and files: what changes an image, but not where
// its points are. Only for training: includes LibTorch.
#pragma once

#include <array>

#include <ATen/core/Generator.h>
#include <torch/types.h>

namespace nre {

// How often something is done to an image, and how much: an amount between the
// weakest and the strongest, uniform in its logarithm.
struct AppearanceEffect {
  double probability;
  double weakest;
  double strongest;
};

// Effects in the order in which they are applied. Values: 0 to 1, as in a file;
// light: values to the power of 2.2. The strongest amounts leave hardly
// anything to see.
struct AppearanceOptions {
  // Scales the amounts: at 0 images stay as they are; at 1/2 each is, at most,
  // the geometric mean of the weakest and the strongest.
  double strength = 1.0;

  // One to three rectangles or discs of one colour, noise or another image of
  // the batch; their size is a share of the image's shorter side. Points behind
  // them do not count as hidden.
  AppearanceEffect occlusion = {0.15, 0.05, 0.35};

  // A half-plane, wedge or polygon with less light, by that many stops; sharp
  // or soft.
  AppearanceEffect shadow = {0.25, 0.3, 3.0};

  // Fog, of optical depth up to that, more towards the top and in clouds.
  AppearanceEffect fog = {0.1, 0.1, 3.0};

  // Light is multiplied by that; what is left is of one colour; then noise, the
  // stronger the darker it is, often a gain that makes up for some of the
  // darkness, and the file's 256 values.
  AppearanceEffect night = {0.2, 0.25, 0.002};
  // At night: up to six coloured lights in places, some of them in view.
  double lights_probability = 0.6;

  // Gaussian, standard deviation in px; and a straight movement, in px, any
  // direction. Of light.
  AppearanceEffect blur = {0.15, 0.5, 5.0};
  AppearanceEffect motion = {0.15, 2.0, 50.0};

  // The share of light that is lost in the corners.
  AppearanceEffect vignetting = {0.15, 0.1, 0.9};

  // More or less light, in stops; channels differ, in stops.
  AppearanceEffect exposure = {0.5, 0.1, 2.0};
  AppearanceEffect colour_cast = {0.4, 0.05, 1.0};

  // One over the electrons of a white pixel (variance of light / light).
  AppearanceEffect shot_noise = {0.2, 1e-4, 0.1};

  // Standard deviation of Gaussian noise of values; half of the time the same
  // in all channels.
  AppearanceEffect noise = {0.3, 0.01, 1.0};

  // Values around the mean times, values to the power of exp(+- that).
  AppearanceEffect contrast = {0.4, 0.05, 1.2};
  AppearanceEffect gamma = {0.3, 0.05, 0.8};

  // The share of colour that is lost.
  AppearanceEffect desaturation = {0.25, 0.1, 1.0};

  // Shrunk by that and enlarged again.
  AppearanceEffect low_resolution = {0.15, 1.2, 8.0};

  // JPEG, 100 - quality.
  AppearanceEffect jpeg = {0.3, 5.0, 95.0};

  std::array<AppearanceEffect*, 16> Effects();
  bool Check() const;
};

// Changes each of the images, [B, 3, H, W], RGB, 0 to 1, float32 on any device,
// by effects of its own. generator: of the CPU; the same images come of the
// same generator, whatever the number of threads. Returns other images of the
// same kind. Throws c10::Error for invalid options and shapes.
torch::Tensor ChangeAppearance(const torch::Tensor& images,
                               const AppearanceOptions& options,
                               at::Generator generator);

}  // namespace nre
