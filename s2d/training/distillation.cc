#include "s2d/training/distillation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "s2d/training/correspondence_losses.h"
#include "s2d/training/map_sampling.h"

namespace nre {
namespace {

using torch::Tensor;

constexpr int64_t kMaxSamplesPerSide = 4;

// Logits that are in memory at once.
constexpr int64_t kMaxTileLogits = int64_t{1} << 24;

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
  const bool coarse = level.stride >= kMinCoarseStride;
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
    targets.push_back(TargetMaps(coarse ? photos[i]->coarse : photos[i]->fine,
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
  const torch::Device device = pairs.visible.device();
  const Tensor chosen = (pairs.photos >= 0).nonzero().flatten();
  if (chosen.numel() == 0) return torch::zeros({}).to(device);
  const auto choose = [&](const Tensor& tensor) {
    return tensor.index_select(0, chosen.to(tensor.device()));
  };
  std::vector<const TaughtPhoto*> taught;
  for (int64_t i = 0; i < chosen.numel(); ++i) {
    taught.push_back(
        &photos.at(pairs.photos[chosen[i].item<int64_t>()].item<int64_t>()));
  }
  Direction forth, back;
  for (size_t i = 0; i < levels.size(); ++i) {
    forth.from.push_back(ComparedFeatures(choose(references[i]), unit_norm));
    forth.to.push_back(ComparedFeatures(choose(queries[i]), unit_norm));
  }
  forth.from_positions = choose(pairs.reference_positions);
  forth.photo_from_from = choose(pairs.photo_from_reference);
  forth.photo_from_to = choose(pairs.photo_from_query);
  back.from = forth.to;
  back.to = forth.from;
  back.from_positions = choose(pairs.query_positions);
  back.photo_from_from = forth.photo_from_to;
  back.photo_from_to = forth.photo_from_from;
  const auto loss = [&](const Direction& direction) {
    return LossOf(levels,
                  direction,
                  choose(pairs.visible),
                  taught,
                  softmax_scale,
                  unit_norm);
  };
  return 0.5 * (loss(forth) + loss(back));
}

}  // namespace nre
