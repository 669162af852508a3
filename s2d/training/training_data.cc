#include "s2d/training/training_data.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "nre/error.h"
#include "s2d/training/appearance.h"
#include "s2d/training/content_hash.h"
#include "s2d/training/generated_scenes.h"
#include "s2d/training/homographies.h"
#include "s2d/training/map_sampling.h"
#include "s2d/training/random_draws.h"
#include "s2d/training/real_pairs.h"
#include "s2d/training/resampling.h"
#include "s2d/training/textures.h"
#include "s2d/training/training_set.h"

namespace nre {
namespace {

using torch::Tensor;

// Of every batch; its scenes share them.
constexpr int64_t kNumTextures = 24;
constexpr int64_t kTextureSize = 256;

// Textures are made anew every so many batches.
constexpr int64_t kBatchesPerTextures = 4;

// Points are the best of so many.
constexpr int64_t kCandidatesPerPoint = 3;

// Sizes of images are multiples of this.
constexpr int64_t kSizeStep = 32;

// How much images are enlarged at most.
constexpr double kMaxMagnification = 3.0;

// The least overlap of validation pairs.
constexpr double kValidationOverlap = 0.3;

// Of sets without pairs, every tenth picture is for validation.
constexpr int64_t kValidationPeriod = 10;

// Independent streams of draws.
uint64_t Mix(uint64_t seed, uint64_t stream, uint64_t number) {
  // SplitMix64's finaliser.
  uint64_t z = seed * 0x9e3779b97f4a7c15 + stream * 0xd1b54a32d192ed03 +
               number * 0x8cb92ba72f3d8dd7 + 0x2545f4914f6cdd1d;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

at::Generator Generator(uint64_t seed, uint64_t stream, uint64_t number) {
  return at::detail::createCPUGenerator(Mix(seed, stream, number));
}

// How much there is to see around positions [B, N, 2] of images: the logarithm
// of the standard deviation of the 8 x 8 pixels around them, [B, N].
Tensor LogContrast(const Tensor& images, const Tensor& positions) {
  constexpr int64_t kSize = 8;
  constexpr int64_t kStride = 4;
  const Tensor grey = images.mean(1, /*keepdim=*/true);
  const Tensor mean = torch::avg_pool2d(grey, kSize, kStride);
  const Tensor variance =
      torch::avg_pool2d(grey.square(), kSize, kStride) - mean.square();
  const Tensor contrast = (variance.clamp_min(0.0).sqrt() + 1e-3).log();
  return SampleFeatures(contrast, (positions - 0.5 * kSize) / kStride)
      .squeeze(2);
}

// Keeps `num` of each pair's points: visible ones first, of these rather those
// with something to see than those on plain surfaces, as the points of real
// models are.
TrainingPairs KeepBestPoints(const TrainingPairs& pairs,
                             int64_t num,
                             Draws* draws) {
  constexpr double kScatter = 0.7;
  const Tensor noise =
      draws->NormalTensor(pairs.visible.sizes()).to(pairs.visible.device());
  const Tensor score =
      LogContrast(pairs.reference_images, pairs.reference_positions) +
      kScatter * noise + 100.0 * pairs.visible;
  const Tensor best = std::get<1>(score.topk(num, 1));
  const Tensor both = best.unsqueeze(2).expand({-1, -1, 2});
  return {pairs.reference_images,
          pairs.query_images,
          pairs.reference_positions.gather(1, both),
          pairs.query_positions.gather(1, both),
          pairs.visible.gather(1, best),
          pairs.photos,
          pairs.photo_from_reference,
          pairs.photo_from_query};
}

TrainingPairs To(const TrainingPairs& pairs, torch::Device device) {
  return {pairs.reference_images.to(device),
          pairs.query_images.to(device),
          pairs.reference_positions.to(device),
          pairs.query_positions.to(device),
          pairs.visible.to(device),
          pairs.photos,
          pairs.photo_from_reference,
          pairs.photo_from_query};
}

// The pairs in a larger size: by cubic interpolation, as extractors enlarge.
TrainingPairs Magnify(const TrainingPairs& pairs, int64_t size) {
  const auto magnify = [&](const Tensor& images) {
    return torch::upsample_bicubic2d(
               images, {size, size}, /*align_corners=*/false)
        .clamp(0.0, 1.0);
  };
  const double factor =
      static_cast<double>(size) / pairs.reference_images.size(2);
  const Tensor shrink = torch::diag(
      torch::tensor({1.0 / factor, 1.0 / factor, 1.0}, torch::kFloat64));
  return {magnify(pairs.reference_images),
          magnify(pairs.query_images),
          pairs.reference_positions * factor,
          pairs.query_positions * factor,
          pairs.visible,
          pairs.photos,
          pairs.photo_from_reference.matmul(shrink),
          pairs.photo_from_query.matmul(shrink)};
}

std::vector<TrainingSet> ReadSets(const std::vector<std::string>& paths) {
  std::vector<TrainingSet> sets;
  for (const std::string& path : paths) sets.emplace_back(path);
  return sets;
}

uint64_t HashOf(const Tensor& image) {
  return ContentHash(image.data_ptr(), image.nbytes(), image.size(1));
}

// Throws InputError unless the validation sets have pairs, and no picture that
// is in a training set.
void CheckValidationSets(const std::vector<TrainingSet>& validation,
                         const std::vector<TrainingSet>& training) {
  if (validation.empty()) return;
  std::unordered_map<uint64_t, std::string> seen;
  for (const TrainingSet& set : training) {
    for (int64_t i = 0; i < set.NumImages(); ++i) {
      seen[HashOf(set.Image(i))] = set.ImageName(i) + " of " + set.path();
    }
  }
  for (const TrainingSet& set : validation) {
    if (set.NumPairs() == 0) {
      throw InputError("The validation set " + set.path() +
                       " has no pairs. Expected what colmap_nre "
                       "training_exporter writes of a model or of RGB-D "
                       "frames.");
    }
    for (int64_t i = 0; i < set.NumImages(); ++i) {
      const auto same = seen.find(HashOf(set.Image(i)));
      if (same == seen.end()) continue;
      throw InputError(
          "The validation set " + set.path() + " has the picture " +
          set.ImageName(i) + ", which is trained on, too: " + same->second +
          ". Expected sets without a common picture; training_exporter leaves "
          "out those that --excluded_image_list_path names.");
    }
  }
}

}  // namespace

struct TrainingData::Sources {
  std::vector<TrainingSet> real;
  std::vector<TrainingSet> validation;
  // Pictures of sets without pairs.
  std::vector<TrainingPhoto> photos;  // those of training, with names
  std::vector<Tensor> training_photos;
  std::vector<Tensor> validation_photos;
  std::vector<Tensor> homography_photos;

  // What was made last, and its number.
  struct Textures {
    Tensor textures;
    int64_t number = -1;
  };
  Textures training_textures;
  Textures validation_textures;
};

bool TrainingDataOptions::Check() const {
  return batch_size > 0 && image_size > 0 && image_size % kSizeStep == 0 &&
         min_image_size >= 0 && min_image_size <= image_size &&
         min_image_size % kSizeStep == 0 && num_points > 0 &&
         magnified_share >= 0.0 && magnified_share <= 1.0 &&
         min_overlap >= 0.0 && min_overlap <= max_overlap &&
         max_overlap <= 1.0 && generated_share >= 0.0 &&
         homography_share >= 0.0 && real_share >= 0.0 &&
         procedural_share >= 0.0 && procedural_share <= 1.0;
}

TrainingData::TrainingData(const TrainingDataOptions& options, uint64_t seed)
    : options_(options), seed_(seed), sources_(std::make_unique<Sources>()) {
  const std::vector<TrainingSet> sets = ReadSets(options.set_paths);
  sources_->validation = ReadSets(options.validation_set_paths);
  CheckValidationSets(sources_->validation, sets);
  for (const TrainingSet& set : sets) {
    if (set.NumPairs() > 0) {
      sources_->real.push_back(set);
      continue;
    }
    for (int64_t i = 0; i < set.NumImages(); ++i) {
      if (i % kValidationPeriod == 0) {
        sources_->validation_photos.push_back(set.Image(i));
      } else {
        sources_->photos.push_back({set.ImageName(i), set.Image(i)});
        sources_->training_photos.push_back(set.Image(i));
      }
    }
  }
  sources_->homography_photos = sources_->training_photos;
  if (sources_->real.empty()) options_.real_share = 0.0;
  if (sources_->training_photos.empty()) {
    options_.homography_share = 0.0;
    options_.procedural_share = 1.0;
  }
  if (options_.generated_share + options_.homography_share +
          options_.real_share <=
      0.0) {
    throw InputError(
        "There is nothing to train on: every source of data has the share 0 or "
        "no data. Expected --generated_share > 0 (and no --distillation_weight "
        "1), or --training_set_path or --image_path with data of the sources "
        "that are wanted.");
  }
}

TrainingData::~TrainingData() = default;

const std::vector<TrainingPhoto>& TrainingData::TrainingPhotos() const {
  return sources_->photos;
}

void TrainingData::SetHomographyPhotos(std::vector<Tensor> photos) {
  CheckPhotos(photos);
  sources_->homography_photos = std::move(photos);
}

Tensor TrainingData::Textures(DataSplit split, int64_t number) {
  const bool validation = split == DataSplit::kValidation;
  Sources::Textures& last =
      validation ? sources_->validation_textures : sources_->training_textures;
  const int64_t texture_number = number / kBatchesPerTextures;
  if (last.number == texture_number) return last.textures;
  const auto& photos =
      validation ? sources_->validation_photos : sources_->training_photos;
  const int64_t num_procedural =
      photos.empty() ? kNumTextures
                     : std::llround(options_.procedural_share * kNumTextures);
  const at::Generator generator =
      Generator(seed_, validation ? 1 : 2, texture_number);
  std::vector<Tensor> textures;
  if (num_procedural > 0) {
    textures.push_back(
        ProceduralTextures(num_procedural, kTextureSize, generator));
  }
  if (num_procedural < kNumTextures) {
    textures.push_back(CutTextures(
        photos, kNumTextures - num_procedural, kTextureSize, generator));
  }
  last = {torch::cat(textures), texture_number};
  return last.textures;
}

TrainingPairs TrainingData::Batch(DataSplit split,
                                  int64_t number,
                                  double appearance,
                                  torch::Device device) {
  const torch::NoGradGuard no_grad;
  const bool validation = split == DataSplit::kValidation;
  const at::Generator generator = Generator(seed_, validation ? 3 : 4, number);
  Draws draws(generator);

  // How many pairs come from where.
  const bool real_validation = validation && !sources_->validation.empty();
  const double generated =
      validation ? !real_validation : options_.generated_share;
  const double homography = validation ? 0.0 : options_.homography_share;
  const double real = validation ? real_validation : options_.real_share;
  int64_t num_generated = 0, num_homography = 0, num_real = 0;
  for (int64_t i = 0; i < options_.batch_size; ++i) {
    const double draw = draws.Uniform() * (generated + homography + real);
    if (draw < generated) {
      ++num_generated;
    } else if (draw < generated + homography) {
      ++num_homography;
    } else {
      ++num_real;
    }
  }

  int64_t image_size = options_.image_size;
  if (!validation && options_.min_image_size > 0) {
    const int64_t num_steps =
        (options_.image_size - options_.min_image_size) / kSizeStep;
    image_size -= kSizeStep * draws.Index(num_steps + 1);
  }
  int64_t size = image_size;  // before the images are enlarged
  if (!validation && options_.magnified_share > 0.0 &&
      draws.Chance(options_.magnified_share)) {
    size = std::max<int64_t>(
        kSizeStep,
        std::lround(image_size / draws.LogUniform(1.0, kMaxMagnification)));
  }
  const auto sized = [&](auto options) {
    options.height = options.width = size;
    options.num_points = kCandidatesPerPoint * options_.num_points;
    return options;
  };
  std::vector<TrainingPairs> parts;
  if (num_generated > 0) {
    auto scenes = sized(SceneOptions());
    scenes.min_overlap = validation ? kValidationOverlap : options_.min_overlap;
    scenes.max_overlap = validation ? 1.0 : options_.max_overlap;
    const Tensor textures = Textures(split, number).to(device);
    parts.push_back(GeneratedPairs(num_generated, textures, scenes, generator));
  }
  if (num_homography > 0) {
    auto homographies = sized(HomographyOptions());
    homographies.batch_size = num_homography;
    parts.push_back(
        HomographyPairs(sources_->homography_photos, homographies, generator));
  }
  if (num_real > 0) {
    auto pairs = sized(RealPairOptions());
    pairs.batch_size = num_real;
    parts.push_back(
        CropRealPairs(real_validation ? sources_->validation : sources_->real,
                      pairs,
                      generator));
  }
  for (TrainingPairs& part : parts) part = To(part, device);
  TrainingPairs batch =
      KeepBestPoints(Concatenate(parts), options_.num_points, &draws);
  if (appearance > 0.0) {
    AppearanceOptions changes;
    changes.strength = appearance;
    AppearanceOptions milder = changes;
    milder.strength = validation ? 0.0 : 0.5 * appearance;
    const bool swap = !validation && draws.Chance(0.5);
    batch.query_images = ChangeAppearance(
        batch.query_images, swap ? milder : changes, generator);
    batch.reference_images = ChangeAppearance(
        batch.reference_images, swap ? changes : milder, generator);
  }
  return size < image_size ? Magnify(batch, image_size) : batch;
}

}  // namespace nre
