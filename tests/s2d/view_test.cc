#include "s2d/view.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "nre/camera.h"

namespace nre {
namespace {

// One channel, one cell per pixel, and a limit of the image's size.
class SizedExtractor : public FeatureExtractor {
 public:
  explicit SizedExtractor(int max_size) : max_size_(max_size) {}

  int Channels() const override { return 1; }

  double Stride() const override { return 1.0; }

  double MaxScale(int width, int height) const override {
    return static_cast<double>(max_size_) / std::max(width, height);
  }

  FeatureMap Extract(const Image& image, double scale) const override {
    FeatureMap features;
    features.channels = 1;
    features.width = static_cast<int>(std::lround(scale * image.width));
    features.height = static_cast<int>(std::lround(scale * image.height));
    return features;
  }

 private:
  int max_size_;
};

class Views : public testing::Test {
 protected:
  Views() {
    preset_.coarse = std::make_unique<SizedExtractor>(512);
    preset_.fine = std::make_unique<SizedExtractor>(1536);
  }

  // A query of this size and focal length, with references of 1536 x 1024
  // pixels and f = 1000.
  View Choose(int width, int height, double focal_length) const {
    const PinholeCamera query(
        width, height, focal_length, focal_length, 0.5 * width, 0.5 * height);
    return ChooseView(preset_, query, {&reference_});
  }

  // Focal lengths of query and reference after the resize differ by this
  // factor.
  double CoarseMismatch(const View& view, double focal_length) const {
    return view.coarse_scale * focal_length /
           (1000.0 / 3.0 * std::exp2(0.5 * view.zoom.coarse));
  }
  double FineMismatch(const View& view, double focal_length) const {
    return view.fine_scale * focal_length /
           (1000.0 * std::exp2(0.5 * view.zoom.fine));
  }

  PinholeCamera reference_{1536, 1024, 1000, 1000, 768, 512};
  FeaturePreset preset_;
};

// Nothing changes where the cameras are alike.
TEST_F(Views, OfTheSameCamera) {
  const View view = Choose(1536, 1024, 1000.0);
  EXPECT_DOUBLE_EQ(view.coarse_scale, 1.0 / 3.0);
  EXPECT_DOUBLE_EQ(view.fine_scale, 1.0);
  EXPECT_EQ(view.zoom.coarse, 0);
  EXPECT_EQ(view.zoom.fine, 0);
  EXPECT_FALSE(view.shows_part);
}

// A part of a picture has the pixels of the whole: the coarse extractor sees
// the references twice as large as the fine one does by itself, and no larger.
// Parts of the references are used, and the fine extractor enlarges them.
TEST_F(Views, OfACrop) {
  const View view = Choose(150, 100, 1000.0);
  EXPECT_EQ(view.zoom.coarse, 5);  // 512 * 2^2.5 = 2896 < 2 * 1536 pixels
  EXPECT_NEAR(view.coarse_scale, std::exp2(2.5) / 3.0, 1e-12);
  EXPECT_EQ(view.zoom.fine, 3);
  EXPECT_NEAR(view.fine_scale, std::exp2(1.5), 1e-12);
  EXPECT_TRUE(view.shows_part);
}

// Nearly half of either side: there is not room for more.
TEST_F(Views, OfALargeCrop) {
  const View view = Choose(740, 500, 1000.0);
  EXPECT_TRUE(view.shows_part);
  EXPECT_EQ(view.zoom.fine, 1);
  EXPECT_NEAR(view.fine_scale, std::sqrt(2.0), 1e-12);
  EXPECT_FALSE(Choose(780, 520, 1000.0).shows_part);
}

// The same picture with a tenth of the pixels: enlarged, and the references
// reduced to that.
TEST_F(Views, OfATinyPicture) {
  const View view = Choose(154, 102, 100.0);
  EXPECT_LE(view.fine_scale, 4.4);
  EXPECT_GE(view.fine_scale, 2.8);
  EXPECT_LE(view.coarse_scale, 2.2);
  EXPECT_GE(view.coarse_scale, 1.4);
  EXPECT_LT(view.zoom.coarse, 0);
  EXPECT_LT(view.zoom.fine, view.zoom.coarse);
  EXPECT_NEAR(CoarseMismatch(view, 100.0), 1.0, 1e-12);
  EXPECT_NEAR(FineMismatch(view, 100.0), 1.0, 1e-12);
}

// Whatever the query, both are seen alike, up to the tolerance, and what the
// extractors can bear is not exceeded.
TEST_F(Views, OfAnyCamera) {
  for (const int width : {60, 300, 512, 1000, 1536, 3000, 8000}) {
    for (const double focal_length : {100.0, 900.0, 1000.0, 1100.0, 20000.0}) {
      const View view = Choose(width, width / 2, focal_length);
      EXPECT_LE(view.coarse_scale * width, 512.0 + 1e-9);
      EXPECT_LE(view.fine_scale * width, 1536.0 + 1e-9);
      EXPECT_LE(view.zoom.coarse, view.shows_part ? 5 : 3);
      EXPECT_LE(view.zoom.fine, view.shows_part ? 3 : 0);
      for (const double mismatch : {CoarseMismatch(view, focal_length),
                                    FineMismatch(view, focal_length)}) {
        EXPECT_LE(mismatch, 1.0 + 1e-9);
        EXPECT_GE(mismatch, 1.0 / 1.1 - 1e-9);
      }
    }
  }
}

TEST_F(Views, OfAnUnknownFocalLength) {
  const View view = NaturalView(preset_, 1024, 1024);
  EXPECT_EQ(view.coarse_scale, 0.5);
  EXPECT_EQ(view.fine_scale, 1.0);
  EXPECT_EQ(view.zoom.coarse, 0);
}

// A query from half the distance shows what one of twice the focal length
// shows from where the references are.
TEST_F(Views, OfANearerQuery) {
  for (const double nearness : {0.5, 2.0, 3.0}) {
    const PinholeCamera query(1200, 800, 900.0, 900.0, 600.0, 400.0);
    const View view = ChooseView(preset_, query, {&reference_}, nearness);
    const View expected = Choose(1200, 800, nearness * 900.0);
    EXPECT_EQ(view.nearness, nearness);
    EXPECT_EQ(view.coarse_scale, expected.coarse_scale);
    EXPECT_EQ(view.fine_scale, expected.fine_scale);
    EXPECT_EQ(view.zoom.coarse, expected.zoom.coarse);
    EXPECT_EQ(view.zoom.fine, expected.zoom.fine);
    EXPECT_EQ(view.shows_part, expected.shows_part);
  }
  EXPECT_EQ(Choose(1200, 800, 900.0).nearness, 1.0);
}

TEST_F(Views, WithCoarserDetails) {
  const View view = Choose(1536, 1024, 1000.0);
  const View coarser = WithCoarserDetails(view);
  EXPECT_EQ(coarser.coarse_scale, view.coarse_scale);
  EXPECT_EQ(coarser.zoom.coarse, view.zoom.coarse);
  EXPECT_DOUBLE_EQ(coarser.fine_scale, 0.5);
  EXPECT_DOUBLE_EQ(FineMismatch(coarser, 1000.0), 1.0);
}

TEST_F(Views, ReferencesAreResized) {
  EXPECT_DOUBLE_EQ(ReferenceScale(*preset_.coarse, 768, 600, 0), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(ReferenceScale(*preset_.coarse, 768, 600, -2), 1.0 / 3.0);
  EXPECT_DOUBLE_EQ(ReferenceScale(*preset_.fine, 768, 600, 1), std::sqrt(2.0));
}

}  // namespace
}  // namespace nre
