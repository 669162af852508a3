#include "nre/map_from_image.h"

#include <gtest/gtest.h>

#include "tests/testing/synthetic_maps.h"

namespace nre {
namespace {

TEST(MapFromImage, ToImageInverts) {
  Random random(1);
  const MapFromImage map_from_image{{0.125, 0.4}, {-0.5, 3.0}};
  for (int i = 0; i < 100; ++i) {
    const Eigen::Vector2d xy = random.Uniform2(-1000.0, 1000.0);
    EXPECT_LT((map_from_image.ToImage(map_from_image * xy) - xy).norm(), 1e-9);
  }
}

// Cell (i, j) is centred on first_center + stride * (i, j) of the image that
// the extractor saw; a resize maps x to x * resize, as COLMAP's coordinates
// start at the image's corner.
TEST(MapFromImage, FromStrideCentresTheCells) {
  const Eigen::Vector2d stride(8.0, 4.0);
  const Eigen::Vector2d first_center(7.5, 2.0);
  const Eigen::Vector2d resize(0.5, 0.75);
  const MapFromImage map_from_image =
      MapFromImage::FromStride(stride, first_center, resize);
  const Eigen::Vector2d cell(5.0, 11.0);
  const Eigen::Vector2d seen = first_center + stride.cwiseProduct(cell);
  const Eigen::Vector2d original = seen.cwiseQuotient(resize);
  EXPECT_LT((map_from_image * original - cell).norm(), 1e-12);
  EXPECT_LT((map_from_image.ToImage(cell) - original).norm(), 1e-12);
}

}  // namespace
}  // namespace nre
