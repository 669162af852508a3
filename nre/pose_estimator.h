// The coarse-to-fine NRE pose estimator (Germain et al., CVPR 2021, sections 5
// and D.1): P3P in MSAC over coarse loss maps, graduated non-convexity on the
// coarse and then on local fine maps, covariance and verdict.
#pragma once

#include <cstdint>
#include <string>

#include "nre/feature_metric.h"
#include "nre/point_match.h"
#include "nre/pose_estimate.h"
#include "nre/pose_problem.h"

namespace nre {

enum class EstimationMethod {
  kNre,       // the Neural Reprojection Error of the whole maps
  kRe,        // the same with the peak cells only (Eq. 11)
  kLoRansac,  // COLMAP's LO-RANSAC and refinement on the peaks
  kMagsac,    // OpenCV's MAGSAC++ on the peaks
  kFpr,       // feature-metric refinement (Eq. 12) of another method's pose
};

// "nre", "re", "lo_ransac", "magsac" or "fpr"; the other way round, throws
// InputError for other names.
const char* EstimationMethodName(EstimationMethod method);
EstimationMethod ParseEstimationMethod(const std::string& name);

struct NreEstimationOptions {
  // The baselines see the same maps of the same points as the NRE.
  EstimationMethod method = EstimationMethod::kNre;
  // Points that a pose is searched with at most, and points that a registered
  // one is refined on at the end (by the NRE; 0: it is not): more points make
  // it more exact, but not easier to find.
  int max_num_points = 1000;
  int max_num_refinement_points = 10000;
  // P3P hypotheses of the sampling stage, and how many there are where fewer
  // left too small a chance of several without a wrong peak.
  int num_hypotheses = 5000;
  int max_num_hypotheses = 40000;
  // Triplets are drawn among this share of the maps, the most peaked ones.
  double sampling_share = 0.25;
  // Hypotheses that go through the coarse GNC; the best of them goes on. Twice
  // as many where more had to be sampled.
  int num_refined_hypotheses = 5;

  // Of the baselines. How far, in map cells, a right match is off on the coarse
  // and on the fine maps: the last sigma of `re`, the thresholds of `lo_ransac`
  // and `magsac`; 0: what was best for the method on other data.
  double coarse_max_error_cells = 0.0;
  double max_error_cells = 0.0;
  // Where `fpr` starts, any other method, and how it goes on.
  EstimationMethod fpr_start = EstimationMethod::kLoRansac;
  FeatureMetricOptions fpr;

  bool Check() const;
};

// What some methods need beside the problem.
struct MethodInputs {
  MatchSolver lo_ransac;
  MatchSolver magsac;
  // For `fpr`: features of the query, and one descriptor per point.
  DenseFeatures fine_features;
  const float* fine_descriptors = nullptr;  // [N, channels]
};

// Estimates the pose that explains all maps, and the intrinsics that the
// problem's priors say are unknown: poses of a few focal lengths are sampled
// then, and the lens is refined on the fine maps. Intrinsics that were found
// before are held; but covariance and verdict are those of a pose whose
// intrinsics are unknown, and RefineOnMorePoints() refines both. A pose that
// the maps alone would have elsewhere than the priors say is rejected, as is
// one whose maps contradict intrinsics that were stated. Deterministic for a
// given seed. Whatever the method, its coarse pose says where the fine maps
// lie, and costs, support, covariance and verdict are those of its pose on the
// whole maps. Throws std::invalid_argument if `inputs` lacks what the method
// needs, or if a baseline gets priors.
PoseEstimate EstimatePose(const PoseProblem& problem,
                          const NreEstimationOptions& options,
                          uint64_t seed,
                          const MethodInputs& inputs = MethodInputs());

// Refines a registered estimate on the fine maps of more points than it was
// found with, or of the same ones, by a GNC that goes no farther than a few
// cells; the problem's coarse maps are not looked at. Camera and priors are
// those that it was found with. Pose, intrinsics if they are unknown, fine
// cost, support (which then indexes the problem's points) and covariance become
// those on these maps, the evidence stays. Returns false, and changes nothing,
// where the refinement does not converge nearby.
bool RefineOnMorePoints(const PoseProblem& problem, PoseEstimate* estimate);

}  // namespace nre
