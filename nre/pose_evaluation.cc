#include "nre/pose_evaluation.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>

#include <Eigen/Geometry>

#include "nre/error.h"

namespace nre {
namespace {

std::vector<double> CenterErrors(const std::vector<PoseError>& errors) {
  std::vector<double> values;
  for (const PoseError& error : errors) values.push_back(error.center);
  return values;
}

std::vector<double> RotationErrors(const std::vector<PoseError>& errors) {
  std::vector<double> values;
  for (const PoseError& error : errors) values.push_back(error.rotation_deg);
  return values;
}

PoseError MedianError(const std::vector<PoseError>& errors) {
  return {Median(CenterErrors(errors)), Median(RotationErrors(errors))};
}

PoseError MaxError(const std::vector<PoseError>& errors) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  PoseError max = {nan, nan};
  for (const PoseError& error : errors) {
    max.center = std::fmax(max.center, error.center);
    max.rotation_deg = std::fmax(max.rotation_deg, error.rotation_deg);
  }
  return max;
}

ThresholdScores Score(const std::vector<PoseError>& errors,
                      const std::vector<double>& depths,
                      const PoseThreshold& threshold) {
  std::vector<double> centers = CenterErrors(errors);
  if (threshold.relative) {
    for (size_t i = 0; i < centers.size(); ++i) centers[i] /= depths[i];
  }
  size_t num_recalled = 0;
  for (size_t i = 0; i < errors.size(); ++i) {
    num_recalled += centers[i] <= threshold.center &&
                    errors[i].rotation_deg <= threshold.rotation_deg;
  }
  return {
      static_cast<double>(num_recalled) / errors.size(),
      AreaUnderCumulativeCurve(centers, threshold.center),
      AreaUnderCumulativeCurve(RotationErrors(errors), threshold.rotation_deg)};
}

PoseThreshold ParsePoseThreshold(const std::string& text) {
  PoseThreshold threshold;
  std::istringstream stream(text);
  stream >> threshold.center >> std::ws;
  if (stream.peek() == '%') {
    stream.get();
    threshold.relative = true;
    threshold.center /= 100.0;
  }
  char comma = 0;
  stream >> comma >> threshold.rotation_deg;
  const bool read = static_cast<bool>(stream);
  stream >> std::ws;
  if (!read || !stream.eof() || comma != ',' || !(threshold.center > 0.0) ||
      !(threshold.rotation_deg > 0.0)) {
    throw InputError("'" + text +
                     "' is not a threshold. Expected a centre error and a "
                     "rotation error in degrees, both positive, such as "
                     "0.25,2 or, relative to the scene's depth, 5%,5; "
                     "several with semicolons between them.");
  }
  return threshold;
}

}  // namespace

PoseError ErrorOfPose(const Rigid3d& estimate, const Rigid3d& truth) {
  return {CenterError(estimate, truth), RotationErrorDeg(estimate, truth)};
}

std::string PoseThreshold::Name() const {
  std::ostringstream text;
  text << (relative ? 100.0 * center : center) << (relative ? " %, " : ", ")
       << rotation_deg << " deg";
  return text.str();
}

std::vector<PoseThreshold> ParsePoseThresholds(const std::string& text) {
  std::vector<PoseThreshold> thresholds;
  std::istringstream stream(text);
  for (std::string one; std::getline(stream, one, ';');) {
    thresholds.push_back(ParsePoseThreshold(one));
  }
  if (thresholds.empty()) ParsePoseThreshold(text);
  return thresholds;
}

Eigen::VectorXd AlignedDistances(const Eigen::Matrix3Xd& points,
                                 const Eigen::Matrix3Xd& true_points) {
  const Eigen::Matrix4d similarity = Eigen::umeyama(points, true_points);
  return ((similarity * points.colwise().homogeneous()).topRows<3>() -
          true_points)
      .colwise()
      .norm();
}

double Median(std::vector<double> values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half]
                                : 0.5 * (values[half - 1] + values[half]);
}

double AreaUnderCumulativeCurve(const std::vector<double>& errors,
                                double limit) {
  double sum = 0.0;
  for (const double error : errors) {
    sum += std::max(0.0, 1.0 - error / limit);
  }
  return sum / errors.size();
}

PoseEvaluation EvaluatePoses(const std::vector<PoseError>& errors,
                             const std::vector<double>& depths,
                             const std::vector<PoseThreshold>& thresholds) {
  if (errors.empty()) throw std::invalid_argument("no query");
  const bool any_relative = std::any_of(
      thresholds.begin(), thresholds.end(), [](const PoseThreshold& t) {
        return t.relative;
      });
  if (depths.empty() ? any_relative : depths.size() != errors.size()) {
    throw std::invalid_argument("not one depth per query");
  }
  std::vector<PoseError> registered;
  for (const PoseError& error : errors) {
    if (std::isfinite(error.center)) registered.push_back(error);
  }
  PoseEvaluation evaluation;
  evaluation.num_queries = errors.size();
  evaluation.num_registered = registered.size();
  evaluation.median = MedianError(errors);
  evaluation.median_registered = MedianError(registered);
  evaluation.max_registered = MaxError(registered);
  for (const PoseThreshold& threshold : thresholds) {
    evaluation.scores.push_back(Score(errors, depths, threshold));
  }
  return evaluation;
}

}  // namespace nre
