#include "nre/pose_methods.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>

#include "nre/evidence.h"
#include "nre/gnc.h"
#include "nre/msac.h"
#include "nre/peaks.h"

namespace nre {
namespace {

// Sampled focal lengths differ by this factor: the coarse GNC reaches half of
// it, and more, from either side.
constexpr double kFocalStep = 1.25;

// Hypotheses of one sampled focal length at least, and how many of its poses
// are kept.
constexpr int kMinNumFocalHypotheses = 200;
constexpr int kNumFocalPoses = 2;

// Scales that sample the range evenly in ln f.
std::vector<double> SampleFocalScales(const FocalLengthRange& range,
                                      const Camera& camera) {
  const double log_range = std::log(range.max_px / range.min_px);
  const int num_samples =
      1 + static_cast<int>(std::ceil(log_range / std::log(kFocalStep)));
  std::vector<double> scales;
  for (int i = 0; i < num_samples; ++i) {
    // Centres of equal parts.
    scales.push_back(range.min_px *
                     std::exp(log_range * (i + 0.5) / num_samples) /
                     camera.MeanFocalLength());
  }
  return scales;
}

// MSAC and GNC on the loss maps themselves.
class NreMethod : public PoseMethod {
 public:
  NreMethod(const PoseProblem& problem,
            const NreEstimationOptions& options,
            const PointView* point_views,
            uint64_t seed)
      : camera_(problem.camera),
        points_(problem.points_in_world),
        priors_(problem.priors),
        seed_(seed),
        max_num_hypotheses_(options.max_num_hypotheses) {
    // What was found before is held.
    if (priors_.focal_length && priors_.focal_length->found) {
      priors_.focal_length.reset();
      priors_.lens_unknown = false;
    }
    msac_options.views = point_views;
    msac_options.num_hypotheses = options.num_hypotheses;
    msac_options.sampling_share = options.sampling_share;
    msac_options.max_num_poses = options.num_refined_hypotheses;
    if (priors_.OfPose()) {
      msac_options.priors = &priors_;
    }
  }
  NreMethod(const NreMethod&) = delete;  // options point to the priors

  // With an unknown focal length, poses of a few all over the range are sampled
  // and refined; then that of the best one is sampled from with all hypotheses.
  std::vector<CorrectedPose> Sample(const LossMaps& coarse) const override {
    if (!priors_.focal_length) {
      return SampleAt(1.0, coarse);
    }
    const std::vector<CorrectedPose> some = SampleFocalLengths(coarse);
    if (some.empty()) {
      return some;
    }
    const CorrectedPose best = RefineCoarse(coarse, some);
    std::vector<CorrectedPose> poses =
        SampleAt(best.correction.focal_scale, coarse);
    poses.push_back(best);
    return poses;
  }

  // The one with the lowest coarse cost, before or after its own coarse GNC:
  // where the map is hardly larger than the first sigma, that may lead away.
  CorrectedPose RefineCoarse(
      const LossMaps& coarse,
      const std::vector<CorrectedPose>& sampled) const override {
    CorrectedPose best;
    double best_cost = std::numeric_limits<double>::infinity();
    const auto keep_better = [&](const CorrectedPose& pose) {
      const double cost =
          points_.size() * MeanNre(CameraOf(camera_, pose.correction),
                                   points_,
                                   coarse,
                                   pose.cam_from_world) +
          PriorCost(priors_, pose.cam_from_world);
      if (cost < best_cost) {
        best_cost = cost;
        best = pose;
      }
    };
    // Coarse maps tell nothing of the lens.
    Priors priors = priors_;
    priors.lens_unknown = false;
    for (CorrectedPose pose : sampled) {
      keep_better(pose);
      RefinePoseGnc(camera_, points_, coarse, coarse_gnc, priors, &pose);
      keep_better(pose);
    }
    return best;
  }

  bool RefineFine(const LossMaps& fine, CorrectedPose* pose) const override {
    RefinePoseGnc(camera_, points_, fine, fine_gnc, priors_, pose);
    return true;
  }

  MsacOptions msac_options;
  GncOptions coarse_gnc = GncOptions::Coarse();
  GncOptions fine_gnc = GncOptions::Fine();

 private:
  // Poses of one focal length, more of them where some may have been missed.
  std::vector<CorrectedPose> SampleAt(double focal_scale,
                                      const LossMaps& coarse) const {
    const CameraOf camera(camera_, {focal_scale});
    std::vector<PoseHypothesis> hypotheses =
        SamplePosesMsac(camera, points_, coarse, msac_options, seed_);
    if (msac_options.num_hypotheses < max_num_hypotheses_ &&
        !hypotheses.empty() && MayHaveMissed(coarse, hypotheses.front())) {
      // The same seed: those of the first time are among these.
      MsacOptions more = msac_options;
      more.num_hypotheses = max_num_hypotheses_;
      // The best one is then often a wrong one.
      more.max_num_poses *= 2;
      hypotheses = SamplePosesMsac(camera, points_, coarse, more, seed_);
    }
    std::vector<CorrectedPose> poses;
    for (const PoseHypothesis& hypothesis : hypotheses) {
      poses.push_back({hypothesis.cam_from_world, {focal_scale}});
    }
    return poses;
  }

  // The best poses of focal lengths all over the range, the same number of
  // hypotheses of each.
  std::vector<CorrectedPose> SampleFocalLengths(const LossMaps& coarse) const {
    const std::vector<double> scales =
        SampleFocalScales(*priors_.focal_length, camera_);
    MsacOptions options = msac_options;
    options.num_hypotheses =
        std::max(kMinNumFocalHypotheses,
                 msac_options.num_hypotheses / static_cast<int>(scales.size()));
    options.max_num_poses = kNumFocalPoses;
    struct ScoredPose {
      CorrectedPose pose;
      double score;
    };
    std::vector<ScoredPose> sampled;
    for (size_t i = 0; i < scales.size(); ++i) {
      for (const PoseHypothesis& hypothesis :
           SamplePosesMsac(CameraOf(camera_, {scales[i]}),
                           points_,
                           coarse,
                           options,
                           seed_ + i)) {
        sampled.push_back(
            {{hypothesis.cam_from_world, {scales[i]}}, hypothesis.score});
      }
    }
    std::stable_sort(
        sampled.begin(), sampled.end(), [](const auto& a, const auto& b) {
          return a.score > b.score;
        });
    std::vector<CorrectedPose> best;
    for (const ScoredPose& candidate : sampled) {
      if (best.size() < static_cast<size_t>(msac_options.max_num_poses)) {
        best.push_back(candidate.pose);
      }
    }
    return best;
  }

  // Whether, if as large a share of the peaks is right as the best hypothesis
  // explains, there were only a few triplets of right ones. Their peaks are a
  // cell or so off, so that one is not enough.
  bool MayHaveMissed(const LossMaps& coarse, const PoseHypothesis& best) const {
    constexpr double kMinNumRight = 10.0;
    double highest = 0.0;
    for (size_t i = 0; i < points_.size(); ++i) {
      highest += coarse.Summarize(i).weight;
    }
    const double gain = best.score + PriorCost(priors_, best.cam_from_world);
    const double share = gain / highest;
    return msac_options.num_hypotheses * share * share * share < kMinNumRight;
  }

  const Camera& camera_;
  const std::vector<Eigen::Vector3d>& points_;
  Priors priors_;
  uint64_t seed_;
  int max_num_hypotheses_;
};

// Eq. 11: the same on one-hot maps, where the last sigma is what other
// estimators call the inlier threshold.
class ReMethod : public PoseMethod {
 public:
  ReMethod(const PoseProblem& problem,
           const NreEstimationOptions& options,
           double coarse_sigma,
           double fine_sigma,
           uint64_t seed)
      : nre_(problem, options, nullptr, seed) {
    // Peaks all look alike: no map is more reliable than another.
    nre_.msac_options.sampling_share = 1.0;
    EndAt(coarse_sigma, &nre_.coarse_gnc);
    EndAt(fine_sigma, &nre_.fine_gnc);
  }

  std::vector<CorrectedPose> Sample(const LossMaps& coarse) const override {
    return nre_.Sample(OneHotMaps(coarse));
  }

  CorrectedPose RefineCoarse(
      const LossMaps& coarse,
      const std::vector<CorrectedPose>& sampled) const override {
    return nre_.RefineCoarse(OneHotMaps(coarse), sampled);
  }

  bool RefineFine(const LossMaps& fine, CorrectedPose* pose) const override {
    return nre_.RefineFine(OneHotMaps(fine), pose);
  }

 private:
  static void EndAt(double sigma, GncOptions* gnc) {
    std::vector<double>& sigmas = gnc->sigmas;
    sigmas.erase(
        std::remove_if(
            sigmas.begin(), sigmas.end(), [&](double s) { return s <= sigma; }),
        sigmas.end());
    sigmas.push_back(sigma);
  }

  NreMethod nre_;
};

// A robust estimator on the peaks, first of the coarse maps, then of the fine
// ones.
class MatchMethod : public PoseMethod {
 public:
  MatchMethod(const PoseProblem& problem,
              const MatchSolver& solver,
              double coarse_max_error_cells,
              double fine_max_error_cells,
              uint64_t seed)
      : camera_(problem.camera),
        points_(problem.points_in_world),
        solver_(solver),
        coarse_max_error_cells_(coarse_max_error_cells),
        fine_max_error_cells_(fine_max_error_cells),
        seed_(seed) {}

  std::vector<CorrectedPose> Sample(const LossMaps& coarse) const override {
    const std::optional<Rigid3d> pose = Solve(coarse, coarse_max_error_cells_);
    return pose.has_value() ? std::vector<CorrectedPose>{{*pose, {}}}
                            : std::vector<CorrectedPose>();
  }

  CorrectedPose RefineCoarse(
      const LossMaps&,
      const std::vector<CorrectedPose>& sampled) const override {
    return sampled.front();
  }

  bool RefineFine(const LossMaps& fine, CorrectedPose* pose) const override {
    const std::optional<Rigid3d> solved = Solve(fine, fine_max_error_cells_);
    if (solved.has_value()) {
      pose->cam_from_world = *solved;
    }
    return solved.has_value();
  }

 private:
  std::optional<Rigid3d> Solve(const LossMaps& maps,
                               double max_error_cells) const {
    struct Peak {
      double weight;
      PointMatch match;
    };
    const MapFromImage& map_from_image = maps.geometry().map_from_image;
    std::vector<Peak> peaks;
    for (size_t i = 0; i < points_.size(); ++i) {
      const LossMaps::Summary summary = maps.Summarize(i);
      if (summary.weight > 0.0 && points_[i].allFinite()) {
        const Eigen::Vector2d p = RefinePeak(maps, i, summary.peak);
        peaks.push_back(
            {summary.weight, {points_[i], map_from_image.ToImage(p)}});
      }
    }
    std::stable_sort(
        peaks.begin(), peaks.end(), [](const Peak& a, const Peak& b) {
          return a.weight > b.weight;
        });
    if (peaks.size() < 3) {
      return std::nullopt;
    }
    std::vector<PointMatch> matches;
    for (const Peak& peak : peaks) {
      matches.push_back(peak.match);
    }
    return solver_(
        camera_, matches, max_error_cells / map_from_image.scale.mean(), seed_);
  }

  const Camera& camera_;
  const std::vector<Eigen::Vector3d>& points_;
  const MatchSolver& solver_;
  double coarse_max_error_cells_;
  double fine_max_error_cells_;
  uint64_t seed_;
};

// Eq. 12, started from the pose of another method.
class FeatureMetricMethod : public PoseMethod {
 public:
  FeatureMetricMethod(const PoseProblem& problem,
                      const DenseFeatures& features,
                      const float* descriptors,
                      const FeatureMetricOptions& options,
                      std::unique_ptr<PoseMethod> start)
      : camera_(problem.camera),
        points_(problem.points_in_world),
        features_(features),
        descriptors_(descriptors),
        options_(options),
        start_(std::move(start)) {}

  std::vector<CorrectedPose> Sample(const LossMaps& coarse) const override {
    return start_->Sample(coarse);
  }

  CorrectedPose RefineCoarse(
      const LossMaps& coarse,
      const std::vector<CorrectedPose>& sampled) const override {
    return start_->RefineCoarse(coarse, sampled);
  }

  // As published, with the points that support the start.
  bool RefineFine(const LossMaps& fine, CorrectedPose* pose) const override {
    if (!start_->RefineFine(fine, pose)) {
      return false;
    }
    PoseEstimate estimate;
    estimate.cam_from_world = pose->cam_from_world;
    FindSupport(camera_, points_, fine, &estimate);
    std::vector<size_t> use;
    for (const PoseEstimate::Support& support : estimate.support) {
      use.push_back(support.point);
    }
    RefinePoseFeatureMetric(camera_,
                            points_,
                            features_,
                            descriptors_,
                            use,
                            options_,
                            &pose->cam_from_world);
    return true;
  }

 private:
  const Camera& camera_;
  const std::vector<Eigen::Vector3d>& points_;
  DenseFeatures features_;
  const float* descriptors_;
  FeatureMetricOptions options_;
  std::unique_ptr<PoseMethod> start_;
};

}  // namespace

std::unique_ptr<PoseMethod> CreatePoseMethod(
    const PoseProblem& problem,
    const NreEstimationOptions& options,
    const MethodInputs& inputs,
    uint64_t seed) {
  // Where the user has not chosen: the best of 0.6 to 4 or 5 cells on 12
  // photographs of a door (also darkened) and 50 frames of rooms, which are
  // not among the scenes that results are reported for. On the coarse maps 0.6
  // to 3 cells make no difference that could be told from chance, on the fine
  // ones 1 to 4 little.
  const auto choose = [](double chosen, double otherwise) {
    return chosen > 0.0 ? chosen : otherwise;
  };
  const auto from_matches = [&](const MatchSolver& solver,
                                double coarse_max_error_cells,
                                double fine_max_error_cells) {
    if (solver == nullptr) {
      throw std::invalid_argument("The method's solver is missing.");
    }
    return std::make_unique<MatchMethod>(
        problem,
        solver,
        choose(options.coarse_max_error_cells, coarse_max_error_cells),
        choose(options.max_error_cells, fine_max_error_cells),
        seed);
  };

  switch (options.method) {
    case EstimationMethod::kNre:
      break;
    case EstimationMethod::kRe:
      return std::make_unique<ReMethod>(
          problem,
          options,
          choose(options.coarse_max_error_cells, 0.6),
          choose(options.max_error_cells, 1.0),
          seed);
    case EstimationMethod::kLoRansac:
      return from_matches(inputs.lo_ransac, 1.0, 3.0);
    case EstimationMethod::kMagsac:
      return from_matches(inputs.magsac, 1.0, 3.0);
    case EstimationMethod::kFpr: {
      if (inputs.fine_features.data == nullptr ||
          inputs.fine_descriptors == nullptr) {
        throw std::invalid_argument("The dense features are missing.");
      }
      NreEstimationOptions start_options = options;
      start_options.method = options.fpr_start;
      return std::make_unique<FeatureMetricMethod>(
          problem,
          inputs.fine_features,
          inputs.fine_descriptors,
          options.fpr,
          CreatePoseMethod(problem, start_options, inputs, seed));
    }
  }
  return std::make_unique<NreMethod>(
      problem, options, problem.point_views, seed);
}

}  // namespace nre
