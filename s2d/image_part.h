// Which part of a reference image a query shows that is much smaller.
#pragma once

#include <optional>
#include <vector>

#include <Eigen/Core>

#include "nre/camera.h"
#include "nre/loss_maps.h"
#include "nre/rigid3.h"
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

// The parts of a reference where its keypoints [2, N] (image coordinates) may
// lie if they are what the query shows, the likeliest first; at least one and
// at most `max_num_parts` >= 1. `maps` are the points' loss maps in the query.
// Between similar viewpoints all points in view are shifted alike, in pixels of
// the same focal length: every point votes for shifts with the mass of its
// correspondence map, and those with the most votes win that differ by at least
// half the query's size. A part has its centre where the query has it, and is
// cut at the reference's border.
std::vector<ImagePart> FindParts(const SparseLossMaps& maps,
                                 const Eigen::Matrix2Xd& keypoints,
                                 const Camera& query,
                                 const Camera& reference,
                                 int max_num_parts);

// The part of a reference that a query with this pose shows: with the keypoints
// [2, N] whose 3D points [N] (world) it has in view, and a margin around them.
// None if there are none.
std::optional<ImagePart> PartInView(const std::vector<Eigen::Vector3d>& points,
                                    const Eigen::Matrix2Xd& keypoints,
                                    const Camera& query,
                                    const Rigid3d& cam_from_world,
                                    const Camera& reference);

Image CutOut(const Image& image, const ImagePart& part);

}  // namespace nre
