#include "nre/covariance.h"

#include <cmath>
#include <map>
#include <optional>

#include <Eigen/Cholesky>

#include "nre/joint_hessian.h"

namespace nre {
namespace {

// Widths of the kernel that the covariance is taken at.
constexpr double kSigmas[] = {1.0, 2.0, 4.0};

// How well the maps determine a pose at one sigma; zero where they do not.
struct Uncertainty {
  Eigen::MatrixXd covariance;
  Eigen::VectorXd posterior_variances;  // the diagonal of H^-1
};

// The sum of a block's terms of Eq. 9.
struct BlockTerms {
  Eigen::VectorXd gradient;
  Eigen::MatrixXd hessian;
};

// The terms of all points, summed over blocks and over quarters of the image.
struct SummedTerms {
  std::map<Block, BlockTerms> blocks;
  std::vector<Eigen::MatrixXd> quarters;  // by their displacement
};

SummedTerms SumTerms(const Camera& camera,
                     const std::vector<Eigen::Vector3d>& points_in_world,
                     const MapFromImage& map_from_image,
                     const Rigid3d& cam_from_world,
                     const PointTerms& terms) {
  const Eigen::Index size = terms.gradients.rows();
  SummedTerms sums;
  sums.quarters.assign(4, Eigen::MatrixXd::Zero(size, 2));
  Eigen::Vector2d xy;
  for (size_t i = 0; i < points_in_world.size(); ++i) {
    if (!terms.gradients.col(i).isZero(0.0) &&
        camera.Project(cam_from_world * points_in_world[i], &xy, nullptr)) {
      BlockTerms& block =
          sums.blocks
              .try_emplace(BlockOf(map_from_image * xy),
                           BlockTerms{Eigen::VectorXd::Zero(size),
                                      Eigen::MatrixXd::Zero(size, size)})
              .first->second;
      block.gradient += terms.gradients.col(i);
      block.hessian += terms.hessians.middleCols(size * i, size);
      sums.quarters[2 * (2.0 * xy.y() > camera.Height()) +
                    (2.0 * xy.x() > camera.Width())] +=
          terms.by_displacement.middleCols<2>(2 * i);
    }
  }
  return sums;
}

// Standard deviation of what all points of a quarter share, in map cells.
double SharedDisplacement(const Camera& camera,
                          const MapFromImage& map_from_image,
                          const SharedErrors& shared_errors) {
  return shared_errors.quarter_angle * camera.MeanFocalLength() *
         map_from_image.scale.mean();
}

// H C H, with C the jackknife's covariance of the pose: of where a Newton step
// on all blocks but one leads, for each of them. Empty if the others do not
// determine the pose.
std::optional<Eigen::MatrixXd> JackknifeScatter(
    const Eigen::MatrixXd& hessian, const std::map<Block, BlockTerms>& blocks) {
  Eigen::MatrixXd scatter =
      Eigen::MatrixXd::Zero(hessian.rows(), hessian.rows());
  for (const auto& [_, block] : blocks) {
    const Eigen::LLT<Eigen::MatrixXd> others(hessian - block.hessian);
    if (others.info() != Eigen::Success) {
      return std::nullopt;
    }
    const Eigen::VectorXd step = hessian * others.solve(block.gradient);
    scatter += step * step.transpose();
  }
  const double num_blocks = static_cast<double>(blocks.size());
  return (num_blocks - 1.0) / num_blocks * scatter;
}

// The information of what is known beforehand about pose and focal length.
Eigen::MatrixXd PriorInformation(const Priors& priors,
                                 const Rigid3d& cam_from_world,
                                 Eigen::Index size) {
  Eigen::MatrixXd information = Eigen::MatrixXd::Zero(size, size);
  information.topLeftCorner<6, 6>() = PriorHessian(priors, cam_from_world);
  if (size > 6 && !priors.focal_length) {
    information(6, 6) =
        1.0 / (priors.focal_length_std * priors.focal_length_std);
  }
  return information;
}

Uncertainty UncertaintyAt(double sigma,
                          const Camera& camera,
                          const std::vector<Eigen::Vector3d>& points_in_world,
                          const LossMaps& fine,
                          const Priors& priors,
                          const Rigid3d& cam_from_world,
                          const SharedErrors& shared_errors) {
  constexpr double kUndeterminedShare = 0.01;
  const int size = priors.focal_length || priors.focal_length_std == 0.0
                       ? priors.NumUnknowns()
                       : 7;
  PointTerms terms;
  Eigen::MatrixXd hessian = JointHessian(
      camera, points_in_world, fine, sigma, size, cam_from_world, &terms);
  const Eigen::MatrixXd information =
      PriorInformation(priors, cam_from_world, size);
  hessian += information;
  const Eigen::MatrixXd zero = Eigen::MatrixXd::Zero(size, size);
  Uncertainty uncertainty = {zero, zero.diagonal()};
  const Eigen::LLT<Eigen::MatrixXd> cholesky(hessian);
  if (cholesky.info() != Eigen::Success) {
    return uncertainty;
  }
  uncertainty.posterior_variances =
      cholesky.solve(Eigen::MatrixXd::Identity(size, size)).diagonal();
  const MapFromImage& map_from_image = fine.geometry().map_from_image;
  const SummedTerms sums =
      SumTerms(camera, points_in_world, map_from_image, cam_from_world, terms);
  if (static_cast<Eigen::Index>(sums.blocks.size()) <= size) {
    return uncertainty;
  }
  const std::optional<Eigen::MatrixXd> jackknife =
      JackknifeScatter(hessian, sums.blocks);
  if (!jackknife) {
    return uncertainty;
  }
  // A prior's gradient scatters as much as its information says.
  Eigen::MatrixXd scatter = *jackknife + information;
  // H^-1 H H^-1 = H^-1.
  scatter += kUndeterminedShare * hessian;
  scatter *= shared_errors.covariance_factor;
  const double displacement =
      SharedDisplacement(camera, map_from_image, shared_errors);
  for (const Eigen::MatrixXd& quarter : sums.quarters) {
    scatter += displacement * displacement * quarter * quarter.transpose();
  }
  const Eigen::MatrixXd half = cholesky.solve(scatter);
  uncertainty.covariance = cholesky.solve(half.transpose());
  return uncertainty;
}

// Standard deviations that intrinsics have at best, with which reconstructions
// are made: shares of the focal length, and radial distortion. A difference of
// this size is no contradiction, however significant it is.
constexpr double kFocalLengthTolerance = 0.0005;
constexpr double kPrincipalPointTolerance = 0.0005;
constexpr double kRadialTolerance = 0.001;
// Whoever knows the focal length to 3 % takes the principal point for the
// image's centre, which lenses miss by half a per cent.
constexpr double kPrincipalPointTolerancePerStd = 1.0 / 6.0;

// Derivatives of Eq. 9 and of what is known beforehand, with what their
// scatter is made of.
struct ScoreInputs {
  Eigen::MatrixXd hessian;
  SummedTerms sums;
  Eigen::VectorXd prior_gradient;
  Eigen::MatrixXd prior_information;
  double displacement = 0.0;   // of the points of a quarter
  Eigen::VectorXd tolerances;  // of the intrinsics, at their indices
  double covariance_factor = 1.0;
};

// The score test of `num_tested` unknowns from index `begin` on, which the
// first `num_free` follow. None if the maps do not determine these.
std::optional<double> Score(const ScoreInputs& inputs,
                            int num_free,
                            int begin,
                            int num_tested) {
  const Eigen::LLT<Eigen::MatrixXd> free(
      inputs.hessian.topLeftCorner(num_free, num_free));
  if (free.info() != Eigen::Success) {
    return std::nullopt;
  }
  const Eigen::MatrixXd follow =
      free.solve(inputs.hessian.block(0, begin, num_free, num_tested))
          .transpose();
  // What a derivative is worth once the free unknowns follow.
  const auto profile = [&](const auto& derivative) -> Eigen::MatrixXd {
    return derivative.middleRows(begin, num_tested) -
           follow * derivative.topRows(num_free);
  };
  Eigen::VectorXd score = profile(inputs.prior_gradient);
  Eigen::MatrixXd variance =
      inputs.covariance_factor * follow *
      inputs.prior_information.topLeftCorner(num_free, num_free) *
      follow.transpose();
  for (const auto& [_, block] : inputs.sums.blocks) {
    const Eigen::VectorXd of_block = profile(block.gradient);
    score += of_block;
    variance += inputs.covariance_factor * of_block * of_block.transpose();
  }
  for (const Eigen::MatrixXd& quarter : inputs.sums.quarters) {
    const Eigen::MatrixXd by_displacement =
        inputs.displacement * profile(quarter);
    variance += by_displacement * by_displacement.transpose();
  }
  // What intrinsics within their tolerance shift the score by.
  const Eigen::MatrixXd curvature =
      profile(inputs.hessian.middleCols(begin, num_tested));
  const Eigen::MatrixXd by_tolerance =
      curvature * inputs.tolerances.segment(begin, num_tested).asDiagonal();
  variance += by_tolerance * by_tolerance.transpose();
  const Eigen::LLT<Eigen::MatrixXd> cholesky(variance);
  if (cholesky.info() != Eigen::Success) {
    return std::nullopt;
  }
  return score.dot(cholesky.solve(score));
}

ScoreInputs InputsOfScores(const Camera& camera,
                           const std::vector<Eigen::Vector3d>& points_in_world,
                           const LossMaps& fine,
                           const Priors& priors,
                           const Rigid3d& cam_from_world,
                           double sigma,
                           const SharedErrors& shared_errors) {
  constexpr int kSize = 10;
  const MapFromImage& map_from_image = fine.geometry().map_from_image;
  PointTerms terms;
  ScoreInputs inputs;
  inputs.hessian = JointHessian(
      camera, points_in_world, fine, sigma, kSize, cam_from_world, &terms);
  inputs.sums =
      SumTerms(camera, points_in_world, map_from_image, cam_from_world, terms);
  Eigen::Matrix<double, 6, 1> prior_gradient;
  inputs.prior_information = Eigen::MatrixXd::Zero(kSize, kSize);
  inputs.prior_information.topLeftCorner<6, 6>() =
      PriorHessian(priors, cam_from_world, &prior_gradient);
  inputs.prior_gradient = Eigen::VectorXd::Zero(kSize);
  inputs.prior_gradient.head<6>() = prior_gradient;
  inputs.hessian += inputs.prior_information;
  inputs.displacement =
      SharedDisplacement(camera, map_from_image, shared_errors);
  const double principal_point_tolerance =
      camera.MeanFocalLength() *
      std::max(kPrincipalPointTolerance,
               kPrincipalPointTolerancePerStd * priors.focal_length_std);
  inputs.tolerances = Eigen::VectorXd::Zero(kSize);
  inputs.tolerances.tail<4>() << kFocalLengthTolerance,
      principal_point_tolerance, principal_point_tolerance, kRadialTolerance;
  inputs.covariance_factor = shared_errors.covariance_factor;
  return inputs;
}

}  // namespace

Block BlockOf(const Eigen::Vector2d& p, double cells) {
  return {static_cast<int>(std::floor(p.x() / cells)),
          static_cast<int>(std::floor(p.y() / cells))};
}

Eigen::MatrixXd PoseCovariance(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& fine,
    const Priors& priors,
    const Rigid3d& cam_from_world,
    double max_sigma,
    const SharedErrors& shared_errors,
    Eigen::VectorXd* posterior_variances) {
  Uncertainty best;
  for (const double sigma : kSigmas) {
    if (sigma > max_sigma) break;
    Uncertainty at_sigma = UncertaintyAt(sigma,
                                         camera,
                                         points_in_world,
                                         fine,
                                         priors,
                                         cam_from_world,
                                         shared_errors);
    if (best.covariance.size() == 0) {
      best = std::move(at_sigma);
      continue;
    }
    if (best.posterior_variances.isZero(0.0)) {
      best.posterior_variances = at_sigma.posterior_variances;
    }
    const auto turn = [](const Uncertainty& u) {
      return u.covariance.topLeftCorner<3, 3>().trace();
    };
    if (turn(at_sigma) > 0.0 &&
        (turn(best) == 0.0 || turn(at_sigma) < turn(best))) {
      best.covariance = std::move(at_sigma.covariance);
    }
  }
  if (posterior_variances != nullptr) {
    *posterior_variances = best.posterior_variances;
  }
  return best.covariance;
}

IntrinsicsScores ScoreIntrinsics(
    const Camera& camera,
    const std::vector<Eigen::Vector3d>& points_in_world,
    const LossMaps& fine,
    const Priors& priors,
    const Rigid3d& cam_from_world,
    double sigma,
    const SharedErrors& shared_errors) {
  std::optional<double> focal_length = 0.0, lens = 0.0;
  if (!priors.focal_length) focal_length.reset();
  if (!priors.lens_unknown) lens.reset();
  // Where intrinsics are wrong, the Hessian may be positive definite only with
  // a wider kernel; or not at all with a focal length that follows.
  for (const double width : {sigma, kSigmas[0], kSigmas[1], kSigmas[2]}) {
    if (focal_length && lens) break;
    const ScoreInputs inputs = InputsOfScores(camera,
                                              points_in_world,
                                              fine,
                                              priors,
                                              cam_from_world,
                                              width,
                                              shared_errors);
    if (!focal_length) focal_length = Score(inputs, 6, 6, 1);
    if (!lens) lens = Score(inputs, 7, 7, 3);
    if (!lens && width == kSigmas[2]) lens = Score(inputs, 6, 7, 3);
  }
  return {focal_length.value_or(0.0), lens.value_or(0.0)};
}

}  // namespace nre
