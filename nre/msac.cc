#include "nre/msac.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <numeric>
#include <queue>
#include <random>
#include <utility>

#include "nre/p3p.h"
#include "nre/vector_math.h"

namespace nre {
namespace {

// One coordinate of a point under many transforms.
NRE_VECTOR_CLONES void TransformRow(const double* by_x,
                                    const double* by_y,
                                    const double* by_z,
                                    const double* translations,
                                    const double* point,
                                    int num,
                                    double* transformed) {
  const double x = point[0], y = point[1], z = point[2];
#pragma omp simd
  for (int k = 0; k < num; ++k) {
    transformed[k] = by_x[k] * x + by_y[k] * y + by_z[k] * z + translations[k];
  }
}

NRE_VECTOR_CLONES void Scale(double scale,
                             double offset,
                             int num,
                             double* values) {
#pragma omp simd
  for (int k = 0; k < num; ++k) {
    values[k] = scale * values[k] + offset;
  }
}

// Draws indices with given weights; the same on every platform, unlike
// std::discrete_distribution.
class WeightedSampler {
 public:
  WeightedSampler(const std::vector<double>& weights, uint64_t seed)
      : cumulative_(weights.size()), engine_(seed) {
    std::partial_sum(weights.begin(), weights.end(), cumulative_.begin());
  }

  size_t Draw() {
    const double unit = (engine_() >> 11) * 0x1.0p-53;
    const auto it = std::upper_bound(
        cumulative_.begin(), cumulative_.end(), unit * cumulative_.back());
    return std::min<size_t>(it - cumulative_.begin(), cumulative_.size() - 1);
  }

  // Three different indices.
  std::array<size_t, 3> DrawTriplet() {
    std::array<size_t, 3> triplet;
    do {
      for (size_t& index : triplet) {
        index = Draw();
      }
    } while (triplet[0] == triplet[1] || triplet[0] == triplet[2] ||
             triplet[1] == triplet[2]);
    return triplet;
  }

 private:
  std::vector<double> cumulative_;
  std::mt19937_64 engine_;
};

// A point that triplets are drawn from.
struct Candidate {
  size_t point;
  double entropy;
  Eigen::Vector3d bearing;
};

std::vector<Candidate> ChooseCandidates(
    const Camera& camera,
    const LossMaps& maps,
    const std::vector<LossMaps::Summary>& summaries,
    double share) {
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < summaries.size(); ++i) {
    Candidate candidate{i, summaries[i].entropy, Eigen::Vector3d::Zero()};
    if (summaries[i].weight > 0.0 &&
        camera.Unproject(
            maps.geometry().map_from_image.ToImage(summaries[i].peak),
            &candidate.bearing)) {
      candidates.push_back(candidate);
    }
  }
  std::stable_sort(candidates.begin(),
                   candidates.end(),
                   [](const Candidate& a, const Candidate& b) {
                     return a.entropy < b.entropy;
                   });
  // However small the share is: few points make few different triplets.
  constexpr size_t kMinNumCandidates = 150;
  const size_t min_num = std::min<size_t>(candidates.size(), kMinNumCandidates);
  candidates.resize(std::clamp(static_cast<size_t>(share * summaries.size()),
                               min_num,
                               candidates.size()));
  return candidates;
}

// Points in the order in which they are scored: the highest peaks first, none
// without a peak.
struct ScoringOrder {
  std::vector<size_t> points;
  std::vector<double> remaining;  // sum of the peaks from points[i] on

  explicit ScoringOrder(const std::vector<LossMaps::Summary>& summaries)
      : points(summaries.size()) {
    std::iota(points.begin(), points.end(), 0);
    std::stable_sort(points.begin(), points.end(), [&](size_t a, size_t b) {
      return summaries[a].weight > summaries[b].weight;
    });
    while (!points.empty() && !(summaries[points.back()].weight > 0.0)) {
      points.pop_back();
    }
    remaining.resize(points.size() + 1, 0.0);
    for (size_t i = points.size(); i-- > 0;) {
      remaining[i] = remaining[i + 1] + summaries[points[i]].weight;
    }
  }
};

double PriorScore(const Priors* priors, const Rigid3d& cam_from_world) {
  return priors != nullptr ? -PriorCost(*priors, cam_from_world) : 0.0;
}

// Hypotheses that may still win, coordinate by coordinate.
class HypothesisBatch {
 public:
  // Scores begin with what `priors`, which may be null, say.
  HypothesisBatch(const std::vector<Rigid3d>& cams_from_world,
                  const Priors* priors)
      : indices_(cams_from_world.size()), scores_(indices_.size(), 0.0) {
    std::iota(indices_.begin(), indices_.end(), 0);
    for (auto& entries : transforms_) {
      entries.resize(indices_.size());
    }
    for (size_t k = 0; k < indices_.size(); ++k) {
      scores_[k] = PriorScore(priors, cams_from_world[k]);
      const Eigen::Matrix3d rotation =
          cams_from_world[k].rotation.toRotationMatrix();
      for (int row = 0; row < 3; ++row) {
        for (int column = 0; column < 3; ++column) {
          transforms_[4 * row + column][k] = rotation(row, column);
        }
        transforms_[4 * row + 3][k] = cams_from_world[k].translation[row];
      }
    }
  }

  int Size() const { return static_cast<int>(indices_.size()); }
  int Index(int k) const { return indices_[k]; }
  double Score(int k) const { return scores_[k]; }
  // 0 if that is more: what has not even that is no hypothesis.
  double BestScore() const {
    double best = 0.0;
    for (const double score : scores_) {
      best = std::max(best, score);
    }
    return best;
  }

  // Adds the weights of some points, one after the other, to the scores.
  void AddPoints(const Camera& camera,
                 const std::vector<Eigen::Vector3d>& points_in_world,
                 const MapFromImage& map_from_image,
                 const std::vector<LossMaps::Raster>& rasters) {
    // Transforms, which are read once for all points, and what lies between the
    // steps stay in the first-level cache.
    constexpr int kBlockSize = 128;
    alignas(64) double in_cam[3][kBlockSize];
    alignas(64) double xys[2][kBlockSize];
    for (int begin = 0; begin < Size(); begin += kBlockSize) {
      const int num = std::min(kBlockSize, Size() - begin);
      for (size_t i = 0; i < points_in_world.size(); ++i) {
        for (int row = 0; row < 3; ++row) {
          TransformRow(&transforms_[4 * row][begin],
                       &transforms_[4 * row + 1][begin],
                       &transforms_[4 * row + 2][begin],
                       &transforms_[4 * row + 3][begin],
                       points_in_world[i].data(),
                       num,
                       in_cam[row]);
        }
        camera.ProjectMany(
            in_cam[0], in_cam[1], in_cam[2], num, xys[0], xys[1]);
        for (int axis = 0; axis < 2; ++axis) {
          Scale(map_from_image.scale[axis],
                map_from_image.offset[axis],
                num,
                xys[axis]);
        }
        rasters[i].AddWeights(xys[0], xys[1], num, &scores_[begin]);
      }
    }
  }

  // Drops the hypotheses with a lower score.
  void Keep(double min_score) {
    int size = 0;
    for (int k = 0; k < Size(); ++k) {
      if (scores_[k] < min_score) {
        continue;
      }
      if (size < k) {
        indices_[size] = indices_[k];
        scores_[size] = scores_[k];
        for (auto& entries : transforms_) {
          entries[size] = entries[k];
        }
      }
      ++size;
    }
    indices_.resize(size);
    scores_.resize(size);
  }

 private:
  std::vector<int> indices_;
  std::vector<double> scores_;
  // The 3x4 matrices [R t], entry by entry, row by row.
  std::array<std::vector<double>, 12> transforms_;
};

// Scores all hypotheses but those that cannot reach `min_score_share` of the
// best score, or any at all. Scores are exact up to `tolerance`.
HypothesisBatch ScoreHypotheses(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    const ScoringOrder& order,
    const std::vector<Rigid3d>& cams_from_world,
    const MsacOptions& options,
    double tolerance) {
  constexpr size_t kPointsAtOnce = 4;
  constexpr size_t kPointsBetweenDrops = 32;
  HypothesisBatch batch(cams_from_world, options.priors);
  std::vector<LossMaps::Raster> rasters(kPointsAtOnce);
  std::vector<Eigen::Vector3d> points;
  const size_t num = order.points.size();
  for (size_t begin = 0; begin < num; begin += kPointsAtOnce) {
    const size_t end = std::min(num, begin + kPointsAtOnce);
    points.clear();
    for (size_t i = begin; i < end; ++i) {
      const size_t point = order.points[i];
      maps.Rasterize(point, &rasters[i - begin]);
      points.push_back(points_in_world[point]);
    }
    batch.AddPoints(camera, points, maps.geometry().map_from_image, rasters);
    if (end % kPointsBetweenDrops == 0) {
      batch.Keep(options.min_score_share * batch.BestScore() -
                 order.remaining[end] - 2.0 * tolerance);
    }
  }
  return batch;
}

// The score in double precision.
double ExactScore(const Camera& camera,
                  const std::vector<Eigen::Vector3d>& points_in_world,
                  const LossMaps& maps,
                  const ScoringOrder& order,
                  const Priors* priors,
                  const Rigid3d& cam_from_world) {
  const MapFromImage& map_from_image = maps.geometry().map_from_image;
  double score = PriorScore(priors, cam_from_world);
  Eigen::Vector2d xy;
  for (const size_t point : order.points) {
    if (camera.Project(cam_from_world * points_in_world[point], &xy, nullptr)) {
      score += maps.Weight(point, map_from_image * xy);
    }
  }
  return score;
}

// Tells which poses are near to those chosen so far.
class DistinctPoses {
 public:
  DistinctPoses(const Camera& camera,
                const std::vector<Eigen::Vector3d>& points_in_world,
                const LossMaps& maps,
                const ScoringOrder& order,
                double min_distance_cells)
      : camera_(camera),
        scale_(maps.geometry().map_from_image.scale),
        min_distance_cells_(min_distance_cells) {
    constexpr size_t kMaxNumPoints = 30;
    const size_t num = std::min(order.points.size(), kMaxNumPoints);
    for (size_t i = 0; i < num; ++i) {
      points_.push_back(points_in_world[order.points[i]]);
    }
  }

  void Add(const Rigid3d& cam_from_world) {
    std::vector<Eigen::Vector2d> projections(points_.size());
    for (size_t i = 0; i < points_.size(); ++i) {
      projections[i] = Project(cam_from_world, i);
    }
    chosen_.push_back(std::move(projections));
  }

  bool IsNear(const Rigid3d& cam_from_world) const {
    return std::any_of(
        chosen_.begin(), chosen_.end(), [&](const auto& projections) {
          // Distances only add up: most poses are known to be far at once.
          const double far = min_distance_cells_ * points_.size();
          double sum = 0.0;
          for (size_t i = 0; i < points_.size() && sum < far; ++i) {
            sum += Distance(projections[i], Project(cam_from_world, i));
          }
          return sum < far;
        });
  }

 private:
  // In map cells, but for the offset; NaN for a point without an image.
  Eigen::Vector2d Project(const Rigid3d& cam_from_world, size_t i) const {
    Eigen::Vector2d xy;
    if (!camera_.Project(cam_from_world * points_[i], &xy, nullptr)) {
      return Eigen::Vector2d::Constant(
          std::numeric_limits<double>::quiet_NaN());
    }
    return scale_.cwiseProduct(xy);
  }

  static double Distance(const Eigen::Vector2d& a, const Eigen::Vector2d& b) {
    constexpr double kFar = 100.0;
    if (std::isnan(a.x()) && std::isnan(b.x())) {
      return 0.0;
    }
    const double distance = (a - b).norm();
    return distance < kFar ? distance : kFar;  // also for NaN
  }

  const Camera& camera_;
  Eigen::Vector2d scale_;
  double min_distance_cells_;
  std::vector<Eigen::Vector3d> points_;
  std::vector<std::vector<Eigen::Vector2d>> chosen_;
};

std::vector<Rigid3d> DrawFromSummaries(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    const std::vector<LossMaps::Summary>& summaries,
    const MsacOptions& options,
    uint64_t seed) {
  const std::vector<Candidate> candidates =
      ChooseCandidates(camera, maps, summaries, options.sampling_share);
  std::vector<Rigid3d> cams_from_world;
  if (candidates.size() < 3) {
    return cams_from_world;
  }

  // As in the published estimator, the weight falls linearly with the entropy;
  // the highest one keeps a small chance.
  std::vector<double> weights(candidates.size());
  const double lowest = candidates.front().entropy;
  const double highest = candidates.back().entropy;
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i] =
        highest - candidates[i].entropy + 0.05 * (highest - lowest) + 1e-6;
  }
  WeightedSampler sampler(weights, seed);

  std::array<Eigen::Vector3d, 3> bearings, points;
  std::array<Rigid3d, 4> solutions;
  const auto is_possible = [&](const Rigid3d& cam_from_world,
                               const std::array<size_t, 3>& triplet) {
    const Eigen::Matrix3d rotation = cam_from_world.rotation.toRotationMatrix();
    return std::all_of(triplet.begin(), triplet.end(), [&](size_t i) {
      const size_t point = candidates[i].point;
      return IsSeenAlike(options.views[point],
                         points_in_world[point],
                         rotation,
                         cam_from_world.translation);
    });
  };
  // Most wrong triplets are passed over, at a small part of what it costs to
  // score a pose; where hardly any is left, more of them would not help.
  constexpr int kMaxDrawsPerHypothesis = 20;
  const int max_num_draws =
      (options.views != nullptr ? kMaxDrawsPerHypothesis : 1) *
      options.num_hypotheses;
  for (int num_draws = 0, num_kept = 0;
       num_draws < max_num_draws && num_kept < options.num_hypotheses;
       ++num_draws) {
    const std::array<size_t, 3> triplet = sampler.DrawTriplet();
    for (int k = 0; k < 3; ++k) {
      bearings[k] = candidates[triplet[k]].bearing;
      points[k] = points_in_world[candidates[triplet[k]].point];
    }
    const int num_solutions = SolveP3P(bearings, points, &solutions);
    const size_t num_before = cams_from_world.size();
    std::copy_if(solutions.begin(),
                 solutions.begin() + num_solutions,
                 std::back_inserter(cams_from_world),
                 [&](const Rigid3d& solution) {
                   return options.views == nullptr ||
                          is_possible(solution, triplet);
                 });
    num_kept += options.views == nullptr || cams_from_world.size() > num_before;
  }
  return cams_from_world;
}

std::vector<LossMaps::Summary> SummarizeAll(const LossMaps& maps) {
  std::vector<LossMaps::Summary> summaries(maps.NumPoints());
  for (size_t i = 0; i < summaries.size(); ++i) {
    summaries[i] = maps.Summarize(i);
  }
  return summaries;
}

}  // namespace

bool MsacOptions::Check() const {
  return num_hypotheses > 0 && sampling_share > 0.0 && sampling_share <= 1.0 &&
         max_num_poses > 0 && min_distance_cells >= 0.0 &&
         min_score_share >= 0.0 && min_score_share <= 1.0;
}

std::vector<Rigid3d> DrawHypotheses(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    const MsacOptions& options,
    uint64_t seed) {
  return DrawFromSummaries(
      camera, points_in_world, maps, SummarizeAll(maps), options, seed);
}

std::vector<PoseHypothesis> SamplePosesMsac(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    const MsacOptions& options,
    uint64_t seed) {
  const std::vector<LossMaps::Summary> summaries = SummarizeAll(maps);
  const std::vector<Rigid3d> cams_from_world = DrawFromSummaries(
      camera, points_in_world, maps, summaries, options, seed);
  if (cams_from_world.empty()) {
    return {};
  }
  const ScoringOrder order(summaries);
  // Interpolation in floats is off by a few units in the last place.
  const double tolerance = 1e-6 * order.remaining.front();
  const HypothesisBatch batch = ScoreHypotheses(camera,
                                                points_in_world,
                                                maps,
                                                order,
                                                cams_from_world,
                                                options,
                                                tolerance);

  // The best first, by scores that are exact where it matters: an upper bound
  // that comes out on top is replaced by the exact score and has to come out
  // on top once more.
  struct Entry {
    double score;
    int index;
    bool exact;
    bool operator<(const Entry& other) const {
      return score < other.score ||
             (score == other.score && index > other.index);
    }
  };
  std::vector<Entry> entries;
  for (int k = 0; k < batch.Size(); ++k) {
    entries.push_back({batch.Score(k) + tolerance, batch.Index(k), false});
  }
  std::priority_queue<Entry> queue(std::less<Entry>(), std::move(entries));
  DistinctPoses distinct_poses(
      camera, points_in_world, maps, order, options.min_distance_cells);
  std::vector<PoseHypothesis> poses;
  while (!queue.empty() &&
         poses.size() < static_cast<size_t>(options.max_num_poses)) {
    Entry entry = queue.top();
    queue.pop();
    const Rigid3d& cam_from_world = cams_from_world[entry.index];
    const double min_score =
        poses.empty() ? 0.0 : options.min_score_share * poses.front().score;
    if (!(entry.score > 0.0) || entry.score < min_score) {
      break;
    }
    if (distinct_poses.IsNear(cam_from_world)) {
      continue;
    }
    if (entry.exact) {
      poses.push_back({cam_from_world, entry.score});
      distinct_poses.Add(cam_from_world);
    } else {
      entry.score = ExactScore(
          camera, points_in_world, maps, order, options.priors, cam_from_world);
      entry.exact = true;
      queue.push(entry);
    }
  }
  return poses;
}

}  // namespace nre
