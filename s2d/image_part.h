// Which part of a reference image a query shows that is much smaller.
#pragma once

#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "s2d/image.h"

namespace nre {

// Pixels [x, x + width) x [y, y + height).
struct ImagePart {
  int x = 0;
  int y = 0;
  int width = 0;
  int height = 0;

  bool Contains(const Eigen::Vector2d& xy) const {
    return xy.x() >= x && xy.y() >= y && xy.x() < x + width &&
           xy.y() < y + height;
  }
};

// A part is so many times as wide and as high as the query: more shows points
// that the query does not, whose peaks are wrong; less, not all that it does.
constexpr double kPartMargin = 1.25;

// The part of a reference where its keypoints [N] (image coordinates) lie if
// they are what the query shows. `maps` are the points' loss maps in the query.
// Between similar viewpoints all points in view are shifted alike, in pixels of
// the same focal length: every point votes for shifts with the mass of its
// correspondence map, and the shift with the most votes wins. The part has its
// centre where the query has it, and is cut at the reference's border.
ImagePart FindPart(const SparseLossMaps& maps,
                   const std::vector<Eigen::Vector2d>& keypoints,
                   const Camera& query,
                   const Camera& reference);

Image CutOut(const Image& image, const ImagePart& part);

}  // namespace nre
