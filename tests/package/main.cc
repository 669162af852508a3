#include "nre/camera.h"

// Projects a point on the optical axis: the principal point.
int main() {
  const nre::PinholeCamera camera(640, 480, 500, 500, 320, 240);
  Eigen::Vector2d xy;
  if (!camera.Project(Eigen::Vector3d(0, 0, 2), &xy, nullptr)) {
    return 1;
  }
  return xy.isApprox(Eigen::Vector2d(320, 240)) ? 0 : 1;
}
