#include "s2d/training/distillation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/CPUGeneratorImpl.h>

#include "s2d/training/correspondence_losses.h"
#include "s2d/training/map_sampling.h"

namespace nre {
namespace {

using torch::Tensor;

constexpr int64_t kMaxSamplesPerSide = 4;

// Logits that are in memory at once.
constexpr int64_t kMaxTileLogits = int64_t{1} << 24;

// Of an image at a time.
constexpr double kMaxImitatedCells = 1024.0;

// Where image positions [M, 2] are in a photograph, and how much of it an area
// there stands for: the logarithm, up to a constant, -inf where nothing is
// seen.
struct Seen {
  Tensor positions;  // [M, 2]
  Tensor log_area;   // [M]
};

Seen ToPhoto(const Tensor& positions,
             const Tensor& photo_from_image,
             int64_t photo_width,
             int64_t photo_height) {
  const Tensor matrix =
      photo_from_image.to(positions.device(), torch::kFloat64);
  const Tensor mapped =
      positions.matmul(matrix.slice(1, 0, 2).t()) + matrix.select(1, 2);
  const Tensor depth = mapped.select(1, 2);
  Seen seen;
  seen.positions = mapped.slice(1, 0, 2) / depth.unsqueeze(1);
  const Tensor size = torch::tensor({static_cast<double>(photo_width),
                                     static_cast<double>(photo_height)},
                                    torch::kFloat64)
                          .to(positions.device());
  const Tensor inside =
      (depth > 0.0) &
      ((seen.positions >= 0.0) & (seen.positions <= size)).all(1);
  // |det J| = |det M| / depth^3.
  seen.log_area = torch::where(
      inside,
      -3.0 * depth.clamp_min(1e-12).log(),
      torch::full_like(depth, -std::numeric_limits<double>::infinity()));
  return seen;
}

// Samples of all cells, samples x samples each, those of a cell one after the
// other: image positions [height width samples^2, 2].
Tensor SamplePositions(const CellGrid& cells, int64_t samples) {
  const auto axis = [&](int64_t size) {
    const auto range = [](int64_t n) {
      return torch::arange(static_cast<double>(n), torch::kFloat64);
    };
    const Tensor offsets = (range(samples) + 0.5) / samples - 0.5;
    return cells.level.first_center +
           cells.level.stride * (range(size).unsqueeze(1) + offsets);
  };
  const std::vector<int64_t> all = {
      cells.height, cells.width, samples, samples};
  const Tensor y = axis(cells.height).view({-1, 1, samples, 1}).expand(all);
  const Tensor x = axis(cells.width).view({1, -1, 1, samples}).expand(all);
  return torch::stack({x, y}, 4).view({-1, 2});
}

// Pixels of the photograph to one in the middle of an image, per side.
double Magnification(const Tensor& photo_from_image, double x, double y) {
  const auto m = photo_from_image.accessor<double, 2>();
  const double depth = m[2][0] * x + m[2][1] * y + m[2][2];
  const double determinant = m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) -
                             m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
                             m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
  return std::sqrt(std::abs(determinant / (depth * depth * depth)));
}

// How many teachers' cells a student's cell in the middle covers, per side.
int64_t SamplesPerSide(const std::vector<TeacherMap>& teachers,
                       const Tensor& photo_from_image,
                       const CellGrid& cells) {
  const NetworkLevel& level = cells.level;
  const auto middle = [&](int64_t size) {
    return level.first_center + 0.5 * level.stride * (size - 1);
  };
  const double pixels = level.stride * Magnification(photo_from_image,
                                                     middle(cells.width),
                                                     middle(cells.height));
  double most = 1.0;
  for (const TeacherMap& teacher : teachers) {
    most =
        std::max(most, pixels * teacher.map_from_image[0].max().item<double>());
  }
  return std::lround(std::min<double>(kMaxSamplesPerSide, most));
}

// All teachers' features at positions of the photograph, [M, C], such that
// inner products are logits.
Tensor Combined(const std::vector<TeacherMap>& teachers,
                const Tensor& positions) {
  const double num = teachers.size();
  std::vector<Tensor> features;
  for (const TeacherMap& teacher : teachers) {
    // Equal weights, 1 / num, times sqrt(num).
    features.push_back(SampleTeacher(teacher, positions) *
                       std::sqrt(teacher.softmax_scale / std::sqrt(num)));
  }
  return torch::cat(features, 1);
}

const std::vector<TeacherMap>& TeachersOf(const TaughtPhoto& photo,
                                          const NetworkLevel& level) {
  return level.stride >= kMinCoarseStride ? photo.coarse : photo.fine;
}

Tensor ZeroOf(const TrainingPairs& pairs) {
  return torch::zeros({}).to(pairs.visible.device());
}

// The pairs of photographs among others.
struct ChosenPairs {
  Tensor indices;
  std::vector<const TaughtPhoto*> photos;

  Tensor Choose(const Tensor& of_all) const {
    return of_all.index_select(0, indices.to(of_all.device()));
  }
};

ChosenPairs PairsOfPhotos(const TrainingPairs& pairs,
                          const std::vector<TaughtPhoto>& photos) {
  ChosenPairs chosen = {(pairs.photos >= 0).nonzero().flatten(), {}};
  for (int64_t i = 0; i < chosen.indices.numel(); ++i) {
    chosen.photos.push_back(&photos.at(
        pairs.photos[chosen.indices[i].item<int64_t>()].item<int64_t>()));
  }
  return chosen;
}

// One direction: descriptors where the points are in `from`, maps over `to`.
struct Direction {
  LevelFeatures from;
  LevelFeatures to;
  Tensor from_positions;   // image coordinates, [B, N, 2]
  Tensor photo_from_from;  // [B, 3, 3]
  Tensor photo_from_to;
};

// [B, N, H W] of a level.
Tensor TargetsOf(const NetworkLevel& level,
                 const Tensor& features,
                 const Direction& direction,
                 const std::vector<const TaughtPhoto*>& photos) {
  const CellGrid cells = {level, features.size(2), features.size(3)};
  std::vector<Tensor> targets;
  for (size_t i = 0; i < photos.size(); ++i) {
    const int64_t width = photos[i]->pixels.size(1);
    const int64_t height = photos[i]->pixels.size(0);
    const Tensor positions =
        ToPhoto(direction.from_positions[i].to(torch::kFloat64),
                direction.photo_from_from[i],
                width,
                height)
            .positions;
    targets.push_back(TargetMaps(TeachersOf(*photos[i], level),
                                 positions,
                                 width,
                                 height,
                                 direction.photo_from_to[i],
                                 cells));
  }
  return torch::stack(targets);
}

Tensor LossOf(const std::vector<NetworkLevel>& levels,
              const Direction& direction,
              const Tensor& visible,
              const std::vector<const TaughtPhoto*>& photos,
              const Tensor& scale,
              bool unit_norm) {
  Tensor sum;
  for (size_t i = 0; i < levels.size(); ++i) {
    const Tensor descriptors =
        ComparedDescriptors(direction.from[i],
                            MapPositions(levels[i], direction.from_positions),
                            unit_norm);
    const Tensor loss =
        MaskedMean(MapCrossEntropyLoss(
                       scale * descriptors,
                       direction.to[i],
                       TargetsOf(levels[i], direction.to[i], direction, photos),
                       CorrespondenceLossOptions()),
                   visible);
    sum = i == 0 ? loss : sum + loss;
  }
  return sum;
}

// Of every n-th column and row of cells, from one that changes.
Tensor ImitationOf(const NetworkLevel& level,
                   const ImitationSpace& space,
                   const Tensor& features,  // [B, C, H, W]
                   const Tensor& photo_from_image,
                   const std::vector<const TaughtPhoto*>& photos,
                   int64_t iteration) {
  const CellGrid cells = {level, features.size(2), features.size(3)};
  const double num_cells = static_cast<double>(cells.height * cells.width);
  const int64_t step = std::ceil(std::sqrt(num_cells / kMaxImitatedCells));
  const auto some = [&](const Tensor& of_cells, int64_t dim) {
    return of_cells.slice(dim, iteration / step % step, cells.height, step)
        .slice(dim + 1, iteration % step, cells.width, step);
  };
  const Tensor positions =
      some(SamplePositions(cells, 1).view({cells.height, cells.width, 2}), 0)
          .reshape({-1, 2})
          .to(features.device());
  std::vector<Tensor> targets, visible;
  {
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < photos.size(); ++i) {
      const Seen seen = ToPhoto(positions,
                                photo_from_image[i],
                                photos[i]->pixels.size(1),
                                photos[i]->pixels.size(0));
      const Tensor projected =
          (Combined(TeachersOf(*photos[i], level), seen.positions) - space.mean)
              .matmul(space.basis);
      targets.push_back(projected /
                        projected.norm(2, 1, /*keepdim=*/true).clamp_min(1e-6));
      visible.push_back(torch::isfinite(seen.log_area));
    }
  }
  const Tensor descriptors =
      ComparedFeatures(some(features, 2), /*unit_norm=*/true)
          .flatten(2)
          .transpose(1, 2);
  const Tensor cosines = (descriptors * torch::stack(targets)).sum(2);
  return MaskedMean(1.0 - cosines, torch::stack(visible));
}

}  // namespace

Tensor TargetMaps(const std::vector<TeacherMap>& teachers,
                  const Tensor& positions,
                  int64_t photo_width,
                  int64_t photo_height,
                  const Tensor& photo_from_image,
                  const CellGrid& cells) {
  TORCH_CHECK(!teachers.empty(), "expected features of a teacher");
  const torch::NoGradGuard no_grad;
  const int64_t samples = SamplesPerSide(teachers, photo_from_image, cells);
  const Seen seen =
      ToPhoto(SamplePositions(cells, samples).to(positions.device()),
              photo_from_image,
              photo_width,
              photo_height);
  const Tensor features = Combined(teachers, seen.positions).t();
  const Tensor descriptors = Combined(teachers, positions);
  const Tensor log_area = seen.log_area.to(torch::kFloat32);
  const int64_t points_per_tile =
      std::max<int64_t>(1, kMaxTileLogits / features.size(1));
  std::vector<Tensor> maps;
  for (const Tensor& some : descriptors.split(points_per_tile)) {
    const Tensor logits = some.matmul(features) + log_area;
    const Tensor of_cells =
        logits.view({some.size(0), -1, samples * samples}).logsumexp(2);
    maps.push_back(torch::nan_to_num(of_cells.softmax(1), 0.0));
  }
  return torch::cat(maps);
}

Tensor DistillationLoss(const std::vector<NetworkLevel>& levels,
                        const LevelFeatures& references,
                        const LevelFeatures& queries,
                        const TrainingPairs& pairs,
                        const std::vector<TaughtPhoto>& photos,
                        const Tensor& softmax_scale,
                        bool unit_norm) {
  const ChosenPairs chosen = PairsOfPhotos(pairs, photos);
  if (chosen.photos.empty()) return ZeroOf(pairs);
  Direction forth, back;
  for (size_t i = 0; i < levels.size(); ++i) {
    forth.from.push_back(
        ComparedFeatures(chosen.Choose(references[i]), unit_norm));
    forth.to.push_back(ComparedFeatures(chosen.Choose(queries[i]), unit_norm));
  }
  forth.from_positions = chosen.Choose(pairs.reference_positions);
  forth.photo_from_from = chosen.Choose(pairs.photo_from_reference);
  forth.photo_from_to = chosen.Choose(pairs.photo_from_query);
  back.from = forth.to;
  back.to = forth.from;
  back.from_positions = chosen.Choose(pairs.query_positions);
  back.photo_from_from = forth.photo_from_to;
  back.photo_from_to = forth.photo_from_from;
  const auto loss = [&](const Direction& direction) {
    return LossOf(levels,
                  direction,
                  chosen.Choose(pairs.visible),
                  chosen.photos,
                  softmax_scale,
                  unit_norm);
  };
  return 0.5 * (loss(forth) + loss(back));
}

std::vector<ImitationSpace> ImitationSpaces(
    const std::vector<NetworkLevel>& levels,
    const std::vector<TaughtPhoto>& photos,
    uint64_t seed) {
  constexpr int64_t kNumPerPhoto = 256;
  const torch::NoGradGuard no_grad;
  std::vector<ImitationSpace> spaces;
  for (const NetworkLevel& level : levels) {
    auto generator = at::detail::createCPUGenerator(seed);
    Tensor sum, moments;
    for (const TaughtPhoto& photo : photos) {
      const Tensor size =
          torch::tensor({static_cast<double>(photo.pixels.size(1)),
                         static_cast<double>(photo.pixels.size(0))},
                        torch::kFloat64);
      const Tensor positions =
          torch::rand({kNumPerPhoto, 2}, generator, torch::kFloat64) * size;
      const Tensor some = Combined(TeachersOf(photo, level), positions);
      const Tensor sum_of_photo = some.sum(0).to(torch::kFloat64);
      const Tensor of_photo = some.t().matmul(some).to(torch::kFloat64);
      sum = sum.defined() ? sum + sum_of_photo : sum_of_photo;
      moments = moments.defined() ? moments + of_photo : of_photo;
    }
    const double num = static_cast<double>(photos.size() * kNumPerPhoto);
    const Tensor mean = sum / num;
    // Eigenvalues ascend.
    const Tensor vectors =
        std::get<1>(at::linalg_eigh(moments / num - at::outer(mean, mean)));
    const int64_t num_components =
        std::min<int64_t>(level.channels, mean.numel());
    Tensor basis = torch::zeros({mean.numel(), level.channels});
    basis.narrow(1, 0, num_components)
        .copy_(vectors.slice(1, mean.numel() - num_components));
    spaces.push_back({mean.to(torch::kFloat32), basis});
  }
  return spaces;
}

Tensor ImitationLoss(const std::vector<NetworkLevel>& levels,
                     const std::vector<ImitationSpace>& spaces,
                     const LevelFeatures& references,
                     const LevelFeatures& queries,
                     const TrainingPairs& pairs,
                     const std::vector<TaughtPhoto>& photos,
                     int64_t iteration) {
  const ChosenPairs chosen = PairsOfPhotos(pairs, photos);
  Tensor sum = ZeroOf(pairs);
  if (chosen.photos.empty()) return sum;
  for (size_t i = 0; i < levels.size(); ++i) {
    const auto loss = [&](const LevelFeatures& features,
                          const Tensor& photo_from_image) {
      return ImitationOf(levels[i],
                         spaces[i],
                         chosen.Choose(features[i]),
                         chosen.Choose(photo_from_image),
                         chosen.photos,
                         iteration);
    };
    sum = sum + 0.5 * (loss(references, pairs.photo_from_reference) +
                       loss(queries, pairs.photo_from_query));
  }
  return sum;
}

}  // namespace nre
