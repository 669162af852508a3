#include "nre/pose_methods.h"

#include <algorithm>
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

// MSAC and GNC on the loss maps themselves.
class NreMethod : public PoseMethod {
 public:
  NreMethod(const Camera& camera,
            const std::vector<Eigen::Vector3d>& points_in_world,
            const NreEstimationOptions& options,
            const PointView* views,
            uint64_t seed)
      : camera_(camera), points_(points_in_world), seed_(seed) {
    msac_options.views = views;
    msac_options.num_hypotheses = options.num_hypotheses;
    max_num_hypotheses_ = options.max_num_hypotheses;
    msac_options.sampling_share = options.sampling_share;
    msac_options.max_num_poses = options.num_refined_hypotheses;
  }

  std::vector<Rigid3d> Sample(const LossMaps& coarse) const override {
    std::vector<PoseHypothesis> hypotheses =
        SamplePosesMsac(camera_, points_, coarse, msac_options, seed_);
    if (msac_options.num_hypotheses < max_num_hypotheses_ &&
        !hypotheses.empty() && MayHaveMissed(coarse, hypotheses.front())) {
      // The same seed: those of the first time are among these.
      MsacOptions more = msac_options;
      more.num_hypotheses = max_num_hypotheses_;
      // The best one is then often a wrong one.
      more.max_num_poses *= 2;
      hypotheses = SamplePosesMsac(camera_, points_, coarse, more, seed_);
    }
    std::vector<Rigid3d> poses;
    for (const PoseHypothesis& hypothesis : hypotheses) {
      poses.push_back(hypothesis.cam_from_world);
    }
    return poses;
  }

  // The one with the lowest coarse cost, before or after its own coarse GNC:
  // where the map is hardly larger than the first sigma, that may lead away.
  Rigid3d RefineCoarse(const LossMaps& coarse,
                       const std::vector<Rigid3d>& sampled) const override {
    Rigid3d best;
    double best_cost = std::numeric_limits<double>::infinity();
    const auto keep_better = [&](const Rigid3d& pose) {
      const double cost = MeanNre(camera_, points_, coarse, pose);
      if (cost < best_cost) {
        best_cost = cost;
        best = pose;
      }
    };
    for (Rigid3d pose : sampled) {
      keep_better(pose);
      RefinePoseGnc(camera_, points_, coarse, coarse_gnc, &pose);
      keep_better(pose);
    }
    return best;
  }

  bool RefineFine(const LossMaps& fine,
                  Rigid3d* cam_from_world) const override {
    RefinePoseGnc(camera_, points_, fine, fine_gnc, cam_from_world);
    return true;
  }

  MsacOptions msac_options;
  GncOptions coarse_gnc = GncOptions::Coarse();
  GncOptions fine_gnc = GncOptions::Fine();

 private:
  const Camera& camera_;
  const std::vector<Eigen::Vector3d>& points_;
  // Whether, if as large a share of the peaks is right as the best hypothesis
  // explains, there were only a few triplets of right ones. Their peaks are a
  // cell or so off, so that one is not enough.
  bool MayHaveMissed(const LossMaps& coarse, const PoseHypothesis& best) const {
    constexpr double kMinNumRight = 10.0;
    double highest = 0.0;
    for (size_t i = 0; i < points_.size(); ++i) {
      highest += coarse.Summarize(i).weight;
    }
    const double share = best.score / highest;
    return msac_options.num_hypotheses * share * share * share < kMinNumRight;
  }

  uint64_t seed_;
  int max_num_hypotheses_;
};

// Eq. 11: the same on one-hot maps, where the last sigma is what other
// estimators call the inlier threshold.
class ReMethod : public PoseMethod {
 public:
  ReMethod(const Camera& camera,
           const std::vector<Eigen::Vector3d>& points_in_world,
           const NreEstimationOptions& options,
           double coarse_sigma,
           double fine_sigma,
           uint64_t seed)
      : nre_(camera, points_in_world, options, nullptr, seed) {
    // Peaks all look alike: no map is more reliable than another.
    nre_.msac_options.sampling_share = 1.0;
    EndAt(coarse_sigma, &nre_.coarse_gnc);
    EndAt(fine_sigma, &nre_.fine_gnc);
  }

  std::vector<Rigid3d> Sample(const LossMaps& coarse) const override {
    return nre_.Sample(OneHotMaps(coarse));
  }

  Rigid3d RefineCoarse(const LossMaps& coarse,
                       const std::vector<Rigid3d>& sampled) const override {
    return nre_.RefineCoarse(OneHotMaps(coarse), sampled);
  }

  bool RefineFine(const LossMaps& fine,
                  Rigid3d* cam_from_world) const override {
    return nre_.RefineFine(OneHotMaps(fine), cam_from_world);
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
  MatchMethod(const Camera& camera,
              const std::vector<Eigen::Vector3d>& points_in_world,
              const MatchSolver& solver,
              double coarse_max_error_cells,
              double fine_max_error_cells,
              uint64_t seed)
      : camera_(camera),
        points_(points_in_world),
        solver_(solver),
        coarse_max_error_cells_(coarse_max_error_cells),
        fine_max_error_cells_(fine_max_error_cells),
        seed_(seed) {}

  std::vector<Rigid3d> Sample(const LossMaps& coarse) const override {
    const std::optional<Rigid3d> pose = Solve(coarse, coarse_max_error_cells_);
    return pose.has_value() ? std::vector<Rigid3d>{*pose}
                            : std::vector<Rigid3d>();
  }

  Rigid3d RefineCoarse(const LossMaps&,
                       const std::vector<Rigid3d>& sampled) const override {
    return sampled.front();
  }

  bool RefineFine(const LossMaps& fine,
                  Rigid3d* cam_from_world) const override {
    const std::optional<Rigid3d> pose = Solve(fine, fine_max_error_cells_);
    if (pose.has_value()) {
      *cam_from_world = *pose;
    }
    return pose.has_value();
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
  FeatureMetricMethod(const Camera& camera,
                      const std::vector<Eigen::Vector3d>& points_in_world,
                      const DenseFeatures& features,
                      const float* descriptors,
                      const FeatureMetricOptions& options,
                      std::unique_ptr<PoseMethod> start)
      : camera_(camera),
        points_(points_in_world),
        features_(features),
        descriptors_(descriptors),
        options_(options),
        start_(std::move(start)) {}

  std::vector<Rigid3d> Sample(const LossMaps& coarse) const override {
    return start_->Sample(coarse);
  }

  Rigid3d RefineCoarse(const LossMaps& coarse,
                       const std::vector<Rigid3d>& sampled) const override {
    return start_->RefineCoarse(coarse, sampled);
  }

  // As published, with the points that support the start.
  bool RefineFine(const LossMaps& fine,
                  Rigid3d* cam_from_world) const override {
    if (!start_->RefineFine(fine, cam_from_world)) {
      return false;
    }
    PoseEstimate estimate;
    estimate.cam_from_world = *cam_from_world;
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
                            cam_from_world);
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
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
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
        camera,
        points_in_world,
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
          camera,
          points_in_world,
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
          camera,
          points_in_world,
          inputs.fine_features,
          inputs.fine_descriptors,
          options.fpr,
          CreatePoseMethod(
              camera, points_in_world, start_options, inputs, seed));
    }
  }
  return std::make_unique<NreMethod>(
      camera, points_in_world, options, inputs.views, seed);
}

}  // namespace nre
