#include "nre/gnc.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <Eigen/Cholesky>
#include <Eigen/Geometry>
#include <ceres/iteration_callback.h>
#include <ceres/manifold.h>
#include <ceres/problem.h>
#include <ceres/solver.h>

#include "nre/nre_cost.h"

namespace nre {
namespace {

// Whether a step from the terms `before` of Eq. 9 to `after` had a net gain of
// more than `min_gain_ratio` of what it moved.
bool PassesGainRatioTest(const std::vector<double>& before,
                         const std::vector<double>& after,
                         double min_gain_ratio) {
  double net = 0.0, moved = 0.0;
  for (size_t i = 0; i < before.size(); ++i) {
    const double gain = before[i] - after[i];
    net += gain;
    moved += std::abs(gain);
  }
  return net > min_gain_ratio * moved;
}

// Eq. 9 of all points, to second order in the left perturbation (rotation
// vector, translation) of the pose and the unknowns of the camera, in the order
// of CorrectedCamera::ByCorrection: none, the first or all.
template <int kSize>
struct Expansion {
  using Vector = Eigen::Matrix<double, kSize, 1>;
  using Matrix = Eigen::Matrix<double, kSize, kSize>;

  std::vector<double> values;  // the points' terms
  double value = 0.0;
  double irls_weight = 0.0;  // sum of the points' W
  Vector gradient = Vector::Zero();
  Matrix irls = Matrix::Zero();     // J^T J of the mean-shift residuals
  Matrix hessian = Matrix::Zero();  // but for the projection's curvature
};

// With more than six unknowns, the camera is a CorrectedCamera.
template <int kSize, class CameraT>
void Expand(const CameraT& camera,
            const std::vector<Eigen::Vector3d>& points_in_world,
            const LossMaps& maps,
            double sigma,
            const Rigid3d& cam_from_world,
            bool with_hessian,
            Expansion<kSize>* expansion) {
  using Matrix3d = Eigen::Matrix3d;
  const MapFromImage& map_from_image = maps.geometry().map_from_image;
  const Matrix3d rotation = cam_from_world.rotation.toRotationMatrix();
  expansion->values.assign(points_in_world.size(), 0.0);
  expansion->irls_weight = 0.0;
  expansion->gradient.setZero();
  expansion->irls.setZero();
  expansion->hessian.setZero();
  Eigen::Vector2d xy;
  Eigen::Matrix<double, 2, 3> by_point;
  Eigen::Matrix<double, 2, kSize> by_pose;
  CorrectedCamera::ByCorrection by_correction;
  const auto project = [&](const Eigen::Vector3d& x) {
    if constexpr (kSize > 6) {
      return camera.Project(x, &xy, &by_point, &by_correction);
    } else {
      return camera.Project(x, &xy, &by_point);
    }
  };
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    const Eigen::Vector3d x =
        rotation * points_in_world[i] + cam_from_world.translation;
    if (!project(x)) {
      continue;
    }
    const SmoothedLoss loss =
        maps.Smoothed(i, map_from_image * xy, sigma, with_hessian);
    if (!(loss.irls > 0.0)) {
      continue;
    }
    expansion->values[i] = loss.value;
    expansion->irls_weight += loss.irls;
    // d(exp(w) x + t) = w x x + dt.
    by_point = map_from_image.scale.asDiagonal() * by_point;
    for (int row = 0; row < 2; ++row) {
      by_pose.template block<1, 3>(row, 0) =
          x.cross(by_point.row(row).transpose()).transpose();
    }
    by_pose.template middleCols<3>(3) = by_point;
    if constexpr (kSize > 6) {
      by_pose.template rightCols<kSize - 6>() =
          map_from_image.scale.asDiagonal() *
          by_correction.template leftCols<kSize - 6>();
    }
    expansion->gradient.noalias() += by_pose.transpose() * loss.Gradient();
    expansion->irls.noalias() += by_pose.transpose() * (loss.irls * by_pose);
    if (with_hessian) {
      expansion->hessian.noalias() +=
          by_pose.transpose() * (loss.hessian * by_pose);
    }
  }
  expansion->value =
      std::accumulate(expansion->values.begin(), expansion->values.end(), 0.0);
}

template <int kSize>
CorrectedPose Perturb(const Eigen::Matrix<double, kSize, 1>& perturbation,
                      const CorrectedPose& pose) {
  CorrectedPose perturbed = {
      PerturbPose(perturbation.template head<6>(), pose.cam_from_world),
      pose.correction};
  if constexpr (kSize > 6) {
    perturbed.correction.focal_scale *= std::exp(perturbation[6]);
  }
  if constexpr (kSize > 7) {
    perturbed.correction.shift += perturbation.template segment<2>(7);
    perturbed.correction.radial += perturbation[9];
  }
  return perturbed;
}

// Minimises Eq. 9 plus PriorCost() level by level.
template <int kSize>
class DenseGnc {
 public:
  using Vector = typename Expansion<kSize>::Vector;
  using Matrix = typename Expansion<kSize>::Matrix;

  DenseGnc(const Camera& camera,
           const std::vector<Eigen::Vector3d>& points_in_world,
           const LossMaps& maps,
           const GncOptions& options,
           const Priors& priors)
      : camera_(camera),
        principal_point_(kSize > 6 ? PrincipalPoint(camera)
                                   : Eigen::Vector2d::Zero()),
        points_in_world_(points_in_world),
        maps_(maps),
        options_(options),
        priors_(priors) {}

  GncSummary Run(CorrectedPose* pose) {
    GncSummary summary;
    for (size_t level = 0; level < options_.sigmas.size(); ++level) {
      RunLevel(options_.sigmas[level],
               level + 1 == options_.sigmas.size(),
               pose,
               &summary);
    }
    return summary;
  }

 private:
  // The last level goes on to convergence, by Newton's steps if it can.
  void RunLevel(double sigma,
                bool last,
                CorrectedPose* pose,
                GncSummary* summary) {
    Expand(sigma, *pose, last, &current_);
    double damping = kInitialDamping;
    double growth = 2.0;
    bool newton = last;
    summary->converged = false;
    for (int i = 0; i < options_.max_num_iterations; ++i) {
      if (!(current_.irls_weight > 0.0)) {
        break;  // nothing to see
      }
      Vector step;
      newton = newton && NewtonStep(sigma, &step);
      if (!newton && !IrlsStep(damping, &step)) {
        break;
      }
      if (StepLength(step) < (last ? kMinStepCells : kMinEarlyStepCells)) {
        summary->converged = true;
        break;
      }
      const CorrectedPose candidate = Perturb<kSize>(step, *pose);
      if (IsInRange(candidate.correction)) {
        Expand(sigma, candidate, last, &next_);
      }
      if (!IsInRange(candidate.correction) || !IsBetter()) {
        if (!newton) {
          damping *= growth;
          growth *= 2.0;
        }
        newton = false;
        continue;
      }
      const bool passed =
          last || PassesGainRatioTest(
                      current_.values, next_.values, options_.min_gain_ratio);
      *pose = candidate;
      std::swap(current_, next_);
      ++summary->num_steps;
      damping = std::max(0.5 * damping, kMinDamping);
      growth = 2.0;
      newton = last;
      if (!passed) {
        break;
      }
    }
    summary->cost =
        std::accumulate(current_.values.begin(), current_.values.end(), 0.0);
  }

  static constexpr double kInitialDamping = 1e-4;
  static constexpr double kMinDamping = 1e-8;
  // A level is done when a step moves the projections by less than this, root
  // mean square in map cells. The kernel's cut-off leaves about as much open.
  static constexpr double kMinStepCells = 1e-6;
  static constexpr double kMinEarlyStepCells = 1e-3;

  void Expand(double sigma,
              const CorrectedPose& pose,
              bool with_hessian,
              Expansion<kSize>* expansion) const {
    const auto expand = [&](const auto& camera) {
      nre::Expand<kSize>(camera,
                         points_in_world_,
                         maps_,
                         sigma,
                         pose.cam_from_world,
                         with_hessian,
                         expansion);
    };
    if constexpr (kSize > 6) {
      expand(CorrectedCamera(camera_, principal_point_, pose.correction));
    } else {
      expand(camera_);
    }
    if (priors_.OfPose()) {
      Eigen::Matrix<double, 6, 1> gradient;
      const Eigen::Matrix<double, 6, 6> hessian =
          PriorHessian(priors_, pose.cam_from_world, &gradient);
      expansion->value += PriorCost(priors_, pose.cam_from_world);
      expansion->gradient.template head<6>() += gradient;
      expansion->irls.template topLeftCorner<6, 6>() += hessian;
      expansion->hessian.template topLeftCorner<6, 6>() += hessian;
    }
  }

  // A lens beyond these limits is no lens.
  bool IsInRange(const CameraCorrection& correction) const {
    constexpr double kMaxShiftShare = 0.5;  // of the image's larger side
    constexpr double kMaxRadial = 1.0;
    const double focal_length =
        correction.focal_scale * camera_.MeanFocalLength();
    return kSize == 6 ||
           (focal_length >= priors_.focal_length->min_px &&
            focal_length <= priors_.focal_length->max_px &&
            correction.shift.norm() <=
                kMaxShiftShare * std::max(camera_.Width(), camera_.Height()) &&
            std::abs(correction.radial) <= kMaxRadial);
  }

  // Newton's step, where the Hessian is positive definite and the step is one
  // that its quadratic model may be trusted with.
  bool NewtonStep(double sigma, Vector* step) const {
    const Eigen::LLT<Matrix> cholesky(current_.hessian);
    if (cholesky.info() != Eigen::Success) {
      return false;
    }
    *step = -cholesky.solve(current_.gradient);
    return StepLength(*step) < sigma;  // not if it is NaN
  }

  bool IrlsStep(double damping, Vector* step) const {
    Matrix damped = current_.irls;
    damped.diagonal() *= 1.0 + damping;
    const Eigen::LLT<Matrix> cholesky(damped);
    *step = -cholesky.solve(current_.gradient);
    return cholesky.info() == Eigen::Success && step->allFinite();
  }

  // Whether `next_` has less cost than `current_`; where the difference drowns
  // in rounding and in the kernel's cut-off, whether the gradient is smaller.
  bool IsBetter() const {
    const double gain = current_.value - next_.value;
    if (std::abs(gain) > 1e-9 * std::abs(current_.value)) {
      return gain > 0.0;
    }
    const Vector scale = current_.irls.diagonal().cwiseInverse();
    return next_.gradient.dot(scale.cwiseProduct(next_.gradient)) <
           current_.gradient.dot(scale.cwiseProduct(current_.gradient));
  }

  double StepLength(const Vector& step) const {
    return std::sqrt(step.dot(current_.irls * step) / current_.irls_weight);
  }

  const Camera& camera_;
  const Eigen::Vector2d principal_point_;
  const std::vector<Eigen::Vector3d>& points_in_world_;
  const LossMaps& maps_;
  const GncOptions& options_;
  const Priors& priors_;
  Expansion<kSize> current_, next_;
};

// Ends a level of the schedule by the gain-ratio test.
class GainRatioTest : public ceres::IterationCallback {
 public:
  GainRatioTest(const std::vector<double>* values, double min_gain_ratio)
      : values_(values), min_gain_ratio_(min_gain_ratio) {}

  ceres::CallbackReturnType operator()(
      const ceres::IterationSummary& summary) override {
    if (!summary.step_is_successful) {
      return ceres::SOLVER_CONTINUE;
    }
    const bool passed =
        previous_.empty() ||
        PassesGainRatioTest(previous_, *values_, min_gain_ratio_);
    previous_ = *values_;
    return passed ? ceres::SOLVER_CONTINUE
                  : ceres::SOLVER_TERMINATE_SUCCESSFULLY;
  }

 private:
  const std::vector<double>* values_;
  double min_gain_ratio_;
  std::vector<double> previous_;  // empty before the first evaluation
};

}  // namespace

bool GncOptions::Check() const {
  if (sigmas.empty() || max_num_iterations < 1 || !(min_gain_ratio >= 0.0)) {
    return false;
  }
  for (size_t i = 0; i < sigmas.size(); ++i) {
    if (!(sigmas[i] >= 0.5) || (i > 0 && sigmas[i] > sigmas[i - 1])) {
      return false;
    }
  }
  return true;
}

GncOptions GncOptions::Fine() {
  GncOptions options;
  options.sigmas = {8.0, 4.0, 2.0, 1.0, 0.9, 0.8, 0.7, 0.6};
  return options;
}

GncSummary RefinePoseGnc(const Camera& camera,
                         const std::vector<Eigen::Vector3d>& points_in_world,
                         const LossMaps& maps,
                         const GncOptions& options,
                         Rigid3d* cam_from_world) {
  CorrectedPose pose = {*cam_from_world, {}};
  const GncSummary summary =
      RefinePoseGnc(camera, points_in_world, maps, options, Priors(), &pose);
  *cam_from_world = pose.cam_from_world;
  return summary;
}

GncSummary RefinePoseGnc(const Camera& camera,
                         const std::vector<Eigen::Vector3d>& points_in_world,
                         const LossMaps& maps,
                         const GncOptions& options,
                         const Priors& priors,
                         CorrectedPose* pose) {
  switch (priors.NumUnknowns()) {
    case 7:
      return DenseGnc<7>(camera, points_in_world, maps, options, priors)
          .Run(pose);
    case 10:
      return DenseGnc<10>(camera, points_in_world, maps, options, priors)
          .Run(pose);
  }
  return DenseGnc<6>(camera, points_in_world, maps, options, priors).Run(pose);
}

GncSummary RefinePoseGncCeres(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    const GncOptions& options,
    const Priors& priors,
    CorrectedPose* pose) {
  double sigma = options.sigmas.front();
  std::vector<double> values(points_in_world.size(), 0.0);
  double* rotation = pose->cam_from_world.rotation.coeffs().data();
  double* translation = pose->cam_from_world.translation.data();
  double log_scale = std::log(pose->correction.focal_scale);
  const Eigen::Vector2d principal_point =
      priors.focal_length ? PrincipalPoint(camera) : Eigen::Vector2d::Zero();

  ceres::EigenQuaternionManifold manifold;
  ceres::Problem::Options problem_options;
  problem_options.manifold_ownership = ceres::DO_NOT_TAKE_OWNERSHIP;
  problem_options.disable_all_safety_checks = true;
  ceres::Problem problem(problem_options);
  problem.AddParameterBlock(rotation, 4, &manifold);
  problem.AddParameterBlock(translation, 3);
  if (priors.focal_length) {
    const double focal_length = camera.MeanFocalLength();
    problem.AddParameterBlock(&log_scale, 1);
    problem.SetParameterLowerBound(
        &log_scale, 0, std::log(priors.focal_length->min_px / focal_length));
    problem.SetParameterUpperBound(
        &log_scale, 0, std::log(priors.focal_length->max_px / focal_length));
  }
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    const Eigen::Vector3d& point = points_in_world[i];
    if (priors.focal_length) {
      problem.AddResidualBlock(
          new NreFocalCostFunction(
              &camera, principal_point, &maps, i, point, &sigma, &values[i]),
          nullptr,
          rotation,
          translation,
          &log_scale);
    } else {
      problem.AddResidualBlock(
          new NreCostFunction(&camera, &maps, i, point, &sigma, &values[i]),
          nullptr,
          rotation,
          translation);
    }
  }
  if (priors.position) {
    problem.AddResidualBlock(
        CreatePositionCost(*priors.position), nullptr, rotation, translation);
  }
  if (priors.gravity) {
    problem.AddResidualBlock(
        CreateGravityCost(*priors.gravity), nullptr, rotation);
  }

  ceres::Solver::Options solver_options;
  solver_options.linear_solver_type = ceres::DENSE_NORMAL_CHOLESKY;
  solver_options.num_threads = 1;
  solver_options.logging_type = ceres::SILENT;
  solver_options.max_num_iterations = options.max_num_iterations;
  // The offset of the cost is many times larger than what is left to gain.
  solver_options.function_tolerance = 1e-16;
  solver_options.parameter_tolerance = 1e-10;

  GncSummary result;
  for (size_t level = 0; level < options.sigmas.size(); ++level) {
    sigma = options.sigmas[level];
    GainRatioTest gain_ratio_test(&values, options.min_gain_ratio);
    solver_options.callbacks.clear();
    if (level + 1 < options.sigmas.size()) {
      solver_options.callbacks.push_back(&gain_ratio_test);
    }
    ceres::Solver::Summary summary;
    ceres::Solve(solver_options, &problem, &summary);
    result.num_steps += summary.num_successful_steps;
    result.converged = summary.termination_type == ceres::CONVERGENCE;
  }
  pose->cam_from_world.rotation.normalize();
  if (priors.focal_length) {
    pose->correction.focal_scale = std::exp(log_scale);
  }
  result.cost = std::accumulate(values.begin(), values.end(), 0.0);
  return result;
}

Rigid3d PerturbPose(const Eigen::Matrix<double, 6, 1>& perturbation,
                    const Rigid3d& cam_from_world) {
  const Eigen::Vector3d w = perturbation.head<3>();
  const double angle = w.norm();
  Rigid3d step;
  if (angle > 0.0) {
    step.rotation = Eigen::AngleAxisd(angle, w / angle);
  }
  step.translation = perturbation.tail<3>();
  return step * cam_from_world;
}

double MeanNre(const Camera& camera,
               const std::vector<Eigen::Vector3d>& points_in_world,
               const LossMaps& maps,
               const Rigid3d& cam_from_world) {
  const double log_categories = maps.geometry().LogCategories();
  if (points_in_world.empty()) {
    return log_categories;
  }
  const MapFromImage& map_from_image = maps.geometry().map_from_image;
  double sum = 0.0;
  Eigen::Vector2d xy;
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    if (camera.Project(cam_from_world * points_in_world[i], &xy, nullptr)) {
      sum += maps.Weight(i, map_from_image * xy);
    }
  }
  return log_categories - sum / points_in_world.size();
}

Eigen::Matrix<double, 6, 6> PoseHessian(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& maps,
    double sigma,
    const Rigid3d& cam_from_world) {
  Expansion<6> expansion;
  Expand<6>(
      camera, points_in_world, maps, sigma, cam_from_world, true, &expansion);
  return expansion.hessian;
}

}  // namespace nre
