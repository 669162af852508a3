#include "nre/p3p.h"

#include <algorithm>
#include <cmath>

#include <Eigen/Geometry>
#include <Eigen/LU>

namespace nre {
namespace {

using Eigen::Matrix3d;
using Eigen::Vector3d;

// Real roots of x^3 + b x^2 + c x + d; returns their number, 1 or 3 (equal
// ones repeated).
int SolveCubic(double b, double c, double d, double* roots) {
  const double shift = b / 3.0;
  const double p = c - b * shift;
  const double q = d - shift * (c - 2.0 * shift * shift);
  const double discriminant = 0.25 * q * q + p * p * p / 27.0;
  int num_roots = 1;
  if (discriminant > 0.0) {
    // The cube root of the larger magnitude loses no digits.
    const double u = -std::copysign(
        std::cbrt(0.5 * std::abs(q) + std::sqrt(discriminant)), q);
    roots[0] = u - p / (3.0 * u);
  } else {
    const double radius = std::sqrt(std::max(0.0, -p / 3.0));
    const double cube = radius * radius * radius;
    const double cosine =
        cube > 0.0 ? std::clamp(-0.5 * q / cube, -1.0, 1.0) : 1.0;
    const double angle = std::acos(cosine) / 3.0;
    num_roots = 3;
    for (int i = 0; i < 3; ++i) {
      roots[i] = 2.0 * radius * std::cos(angle - 2.0 * M_PI * i / 3.0);
    }
  }
  for (int i = 0; i < num_roots; ++i) {
    double& x = roots[i];
    x -= shift;
    for (int iteration = 0; iteration < 2; ++iteration) {
      const double derivative = (3.0 * x + 2.0 * b) * x + c;
      if (derivative == 0.0) {
        break;
      }
      x -= (((x + b) * x + c) * x + d) / derivative;
    }
  }
  return num_roots;
}

Matrix3d Adjugate(const Matrix3d& symmetric) {
  Matrix3d adjugate;
  adjugate.col(0) = symmetric.col(1).cross(symmetric.col(2));
  adjugate.col(1) = symmetric.col(2).cross(symmetric.col(0));
  adjugate.col(2) = symmetric.col(0).cross(symmetric.col(1));
  return adjugate;
}

// Splits a symmetric matrix of rank 2 into the lines g, h with C ~ g h^T + h
// g^T. Returns false if they are complex.
bool SplitLinePair(const Matrix3d& conic, Vector3d* g, Vector3d* h) {
  const Matrix3d adjugate = -Adjugate(conic);
  int i;
  adjugate.diagonal().maxCoeff(&i);
  if (!(adjugate(i, i) > 0.0)) {
    return false;
  }
  const Vector3d p = adjugate.col(i) / std::sqrt(adjugate(i, i));
  Matrix3d product = conic;  // becomes 2 g h^T
  product(0, 1) -= p.z();
  product(1, 0) += p.z();
  product(0, 2) += p.y();
  product(2, 0) -= p.y();
  product(1, 2) -= p.x();
  product(2, 1) += p.x();
  int row, column;
  product.cwiseAbs().maxCoeff(&row, &column);
  *g = product.row(row);
  *h = product.col(column);
  return true;
}

// The three distance constraints |d_i b_i - d_j b_j|^2 = a_ij.
struct DistanceConstraints {
  double a01, a02, a12;  // squared distances of the points
  double b01, b02, b12;  // cosines between the bearings

  // The conic d^T M d of the left-hand side of each.
  Matrix3d M01() const {
    return (Matrix3d() << 1, -b01, 0, -b01, 1, 0, 0, 0, 0).finished();
  }
  Matrix3d M02() const {
    return (Matrix3d() << 1, 0, -b02, 0, 0, 0, -b02, 0, 1).finished();
  }
  Matrix3d M12() const {
    return (Matrix3d() << 0, 0, 0, 0, 1, -b12, 0, -b12, 1).finished();
  }

  Vector3d Residual(const Vector3d& depths) const {
    const double x = depths.x(), y = depths.y(), z = depths.z();
    return {x * x + y * y - 2.0 * b01 * x * y - a01,
            x * x + z * z - 2.0 * b02 * x * z - a02,
            y * y + z * z - 2.0 * b12 * y * z - a12};
  }

  // Newton's method, as long as it makes progress: where two solutions meet,
  // the Jacobian is singular and a step may lead anywhere.
  void Polish(Vector3d* depths) const {
    Vector3d residual = Residual(*depths);
    for (int iteration = 0; iteration < 3; ++iteration) {
      const double x = depths->x(), y = depths->y(), z = depths->z();
      Matrix3d jacobian;
      jacobian << x - b01 * y, y - b01 * x, 0.0,  //
          x - b02 * z, 0.0, z - b02 * x,          //
          0.0, y - b12 * z, z - b12 * y;
      const Vector3d step = 0.5 * (jacobian.inverse() * residual);
      const Vector3d next = *depths - step;
      const Vector3d next_residual = Residual(next);
      // Written such that NaN fails.
      if (!(next_residual.squaredNorm() < residual.squaredNorm())) {
        return;
      }
      *depths = next;
      residual = next_residual;
      if (step.squaredNorm() < 1e-30 * depths->squaredNorm()) {
        return;
      }
    }
  }
};

// Directions of depths on the line `line` (normal form) and on the conic.
int IntersectLine(const Vector3d& line,
                  const Matrix3d& conic,
                  std::array<Vector3d, 2>* directions) {
  // Two vectors that span the line's points.
  int largest;
  line.cwiseAbs().maxCoeff(&largest);
  const Vector3d s = line.cross(Vector3d::Unit((largest + 1) % 3));
  const Vector3d t = line.cross(Vector3d::Unit((largest + 2) % 3));
  const double a = s.dot(conic * s);
  const double b = s.dot(conic * t);
  const double c = t.dot(conic * t);
  // Rounding must not lose a line that touches the conic, where two solutions
  // meet.
  constexpr double kTouching = -1e-12;
  const double discriminant = b * b - a * c;
  if (!(discriminant >= kTouching * (b * b + std::abs(a * c)))) {
    return 0;
  }
  // a u^2 + 2 b u v + c v^2 = 0 for (u : v), without cancellation.
  const double q =
      -(b + std::copysign(std::sqrt(std::max(0.0, discriminant)), b));
  (*directions)[0] = q * s + a * t;
  (*directions)[1] = c * s + q * t;
  return 2;
}

}  // namespace

int SolveP3P(const std::array<Vector3d, 3>& bearings,
             const std::array<Vector3d, 3>& points_in_world,
             std::array<Rigid3d, 4>* cams_from_world) {
  const Vector3d x01 = points_in_world[1] - points_in_world[0];
  const Vector3d x02 = points_in_world[2] - points_in_world[0];
  const Vector3d x12 = points_in_world[2] - points_in_world[1];
  Matrix3d world_basis;
  world_basis << x01, x02, x01.cross(x02);
  const double area = world_basis.col(2).norm();
  if (!(area > 1e-10 * std::max(x01.squaredNorm(), x02.squaredNorm()))) {
    return 0;
  }
  const Matrix3d world_basis_inverse = world_basis.inverse();

  const DistanceConstraints constraints{x01.squaredNorm(),
                                        x02.squaredNorm(),
                                        x12.squaredNorm(),
                                        bearings[0].dot(bearings[1]),
                                        bearings[0].dot(bearings[2]),
                                        bearings[1].dot(bearings[2])};
  const double scale =
      1.0 / (constraints.a01 + constraints.a02 + constraints.a12);
  const Matrix3d m01 = constraints.M01();
  const Matrix3d m02 = constraints.M02();
  const Matrix3d m12 = constraints.M12();
  const Matrix3d sum = m01 + m02 + m12;
  const Matrix3d d1 = scale * (constraints.a12 * m01 - constraints.a01 * m12);
  const Matrix3d d2 = scale * (constraints.a12 * m02 - constraints.a02 * m12);

  // det(d1 + gamma d2) = 0.
  const double c3 = d2.determinant();
  const double c2 = d1.cwiseProduct(Adjugate(d2)).sum();
  const double c1 = d2.cwiseProduct(Adjugate(d1)).sum();
  const double c0 = d1.determinant();
  double gammas[3];
  int num_gammas = 1;
  if (std::abs(c3) > 1e-14) {
    num_gammas = SolveCubic(c2 / c3, c1 / c3, c0 / c3, gammas);
  } else {
    gammas[0] = 1e14;  // d2 itself is degenerate
  }

  int num_poses = 0;
  Vector3d lines[2];
  for (int k = 0; k < num_gammas; ++k) {
    const double gamma = gammas[k];
    const double normalizer = 1.0 / std::hypot(1.0, gamma);
    const Matrix3d degenerate = normalizer * d1 + (gamma * normalizer) * d2;
    if (!SplitLinePair(degenerate, &lines[0], &lines[1])) {
      continue;
    }
    // Any other member of the pencil does; the orthogonal one is the farthest.
    const Matrix3d other = normalizer * d2 - (gamma * normalizer) * d1;
    for (const Vector3d& line : lines) {
      std::array<Vector3d, 2> directions;
      const int num_directions = IntersectLine(line, other, &directions);
      for (int i = 0; i < num_directions; ++i) {
        Vector3d depths = directions[i];
        if (depths.sum() < 0.0) {
          depths = -depths;
        }
        const double length = depths.dot(sum * depths);
        if (!(depths.minCoeff() > 0.0) || !(length > 0.0)) {
          continue;
        }
        depths *= std::sqrt(1.0 / (scale * length));
        constraints.Polish(&depths);
        if (!(depths.minCoeff() > 0.0)) {
          continue;
        }
        const Vector3d y0 = depths[0] * bearings[0];
        const Vector3d y01 = depths[1] * bearings[1] - y0;
        const Vector3d y02 = depths[2] * bearings[2] - y0;
        Matrix3d cam_basis;
        cam_basis << y01, y02, y01.cross(y02);
        const Matrix3d rotation = cam_basis * world_basis_inverse;
        Rigid3d& pose = (*cams_from_world)[num_poses];
        pose.rotation = Eigen::Quaterniond(rotation).normalized();
        pose.translation = y0 - pose.rotation * points_in_world[0];
        if (pose.rotation.coeffs().allFinite() &&
            pose.translation.allFinite()) {
          ++num_poses;
        }
      }
    }
    break;  // one real line pair holds all common points
  }
  return num_poses;
}

}  // namespace nre
