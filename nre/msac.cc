#include "nre/msac.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <random>

#include "nre/p3p.h"

namespace nre {
namespace {

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
  // A few points have to be sampled from however small the share is.
  const size_t min_num = std::min<size_t>(candidates.size(), 50);
  candidates.resize(std::clamp(static_cast<size_t>(share * summaries.size()),
                               min_num,
                               candidates.size()));
  return candidates;
}

// Scores poses on all maps, points with the highest peaks first.
class Scorer {
 public:
  Scorer(const Camera& camera,
         const std::vector<Eigen::Vector3d>& points_in_world,
         const LossMaps& maps,
         const std::vector<LossMaps::Summary>& summaries,
         const Priors* priors)
      : camera_(camera),
        points_(points_in_world),
        maps_(maps),
        priors_(priors) {
    order_.resize(summaries.size());
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(), [&](size_t a, size_t b) {
      return summaries[a].weight > summaries[b].weight;
    });
    while (!order_.empty() && summaries[order_.back()].weight <= 0.0) {
      order_.pop_back();
    }
    remaining_.resize(order_.size() + 1, 0.0);
    for (size_t i = order_.size(); i-- > 0;) {
      remaining_[i] = remaining_[i + 1] + summaries[order_[i]].weight;
    }
  }

  // The score, or something below `min_score` if it cannot reach that.
  double operator()(const Rigid3d& cam_from_world, double min_score) const {
    const Eigen::Matrix3d rotation = cam_from_world.rotation.toRotationMatrix();
    const MapFromImage& map_from_image = maps_.geometry().map_from_image;
    double score =
        priors_ != nullptr ? -PriorCost(*priors_, cam_from_world) : 0.0;
    Eigen::Vector2d xy;
    for (size_t i = 0; i < order_.size(); ++i) {
      if (score + remaining_[i] < min_score) {
        return score;
      }
      const size_t point = order_[i];
      if (camera_.Project(
              rotation * points_[point] + cam_from_world.translation,
              &xy,
              nullptr)) {
        score += maps_.Weight(point, map_from_image * xy);
      }
    }
    return score;
  }

  // Mean distance, in map cells, of the projections of some points; a point
  // that only one of the poses sees counts as far.
  double Distance(const Rigid3d& a, const Rigid3d& b) const {
    constexpr size_t kMaxNumPoints = 30;
    constexpr double kFar = 100.0;
    const size_t num_points = std::min(order_.size(), kMaxNumPoints);
    double sum = 0.0;
    for (size_t i = 0; i < num_points; ++i) {
      const Eigen::Vector3d& point = points_[order_[i]];
      Eigen::Vector2d xy_a, xy_b;
      const bool seen_a = camera_.Project(a * point, &xy_a, nullptr);
      const bool seen_b = camera_.Project(b * point, &xy_b, nullptr);
      if (seen_a && seen_b) {
        const Eigen::Vector2d difference =
            maps_.geometry().map_from_image.scale.cwiseProduct(xy_a - xy_b);
        sum += std::min(difference.norm(), kFar);
      } else if (seen_a != seen_b) {
        sum += kFar;
      }
    }
    return sum / std::max<size_t>(num_points, 1);
  }

 private:
  const Camera& camera_;
  const std::vector<Eigen::Vector3d>& points_;
  const LossMaps& maps_;
  const Priors* priors_;  // may be null
  std::vector<size_t> order_;
  std::vector<double> remaining_;  // sum of the peaks from order_[i] on
};

// What a hypothesis has to exceed to be returned with `poses`.
double MinScore(const std::vector<PoseHypothesis>& poses,
                const MsacOptions& options) {
  if (poses.empty()) {
    return 0.0;
  }
  const double share = options.min_score_share * poses.front().score;
  const bool full = poses.size() >= static_cast<size_t>(options.max_num_poses);
  return full ? std::max(share, poses.back().score) : share;
}

// Keeps `poses` sorted, distinct and at most `max_num_poses` long.
void Insert(const PoseHypothesis& hypothesis,
            const Scorer& scorer,
            const MsacOptions& options,
            std::vector<PoseHypothesis>* poses) {
  const auto is_near = [&](const PoseHypothesis& other) {
    return scorer.Distance(other.cam_from_world, hypothesis.cam_from_world) <
           options.min_distance_cells;
  };
  for (const PoseHypothesis& other : *poses) {
    if (other.score >= hypothesis.score && is_near(other)) {
      return;
    }
  }
  poses->erase(std::remove_if(poses->begin(), poses->end(), is_near),
               poses->end());
  const auto position =
      std::find_if(poses->begin(), poses->end(), [&](const auto& other) {
        return other.score < hypothesis.score;
      });
  poses->insert(position, hypothesis);
  const double min_score = options.min_score_share * poses->front().score;
  while (poses->size() > static_cast<size_t>(options.max_num_poses) ||
         poses->back().score < min_score) {
    poses->pop_back();
  }
}

}  // namespace

bool MsacOptions::Check() const {
  return num_hypotheses > 0 && sampling_share > 0.0 && sampling_share <= 1.0 &&
         max_num_poses > 0 && min_distance_cells >= 0.0 &&
         min_score_share >= 0.0 && min_score_share <= 1.0;
}

std::vector<PoseHypothesis> SamplePosesMsac(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    const MsacOptions& options,
    uint64_t seed) {
  std::vector<LossMaps::Summary> summaries(points_in_world.size());
  for (size_t i = 0; i < summaries.size(); ++i) {
    summaries[i] = maps.Summarize(i);
  }
  const std::vector<Candidate> candidates =
      ChooseCandidates(camera, maps, summaries, options.sampling_share);
  std::vector<PoseHypothesis> poses;
  if (candidates.size() < 3) {
    return poses;
  }
  const Scorer scorer(camera, points_in_world, maps, summaries, options.priors);

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
  for (int i = 0; i < options.num_hypotheses; ++i) {
    const std::array<size_t, 3> triplet = sampler.DrawTriplet();
    for (int k = 0; k < 3; ++k) {
      bearings[k] = candidates[triplet[k]].bearing;
      points[k] = points_in_world[candidates[triplet[k]].point];
    }
    const int num_solutions = SolveP3P(bearings, points, &solutions);
    for (int s = 0; s < num_solutions; ++s) {
      const double min_score = MinScore(poses, options);
      const double score = scorer(solutions[s], min_score);
      if (score > min_score) {
        Insert({solutions[s], score}, scorer, options, &poses);
      }
    }
  }
  return poses;
}

}  // namespace nre
