#include "tests/testing/generated_maps.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

namespace nre {
namespace {

// Mass of the cells that are at least as likely as `cell`: uniform in [0, 1] if
// the probabilities are honest.
double CredibleMass(const std::vector<float>& probabilities, size_t cell) {
  double sum = 0.0, mass = 0.0;
  for (const float probability : probabilities) {
    sum += probability;
    mass += probability >= probabilities[cell] ? probability : 0.0;
  }
  return mass / sum;
}

Eigen::Vector2d TrueXY(const GeneratedQuery& query, size_t point) {
  Eigen::Vector2d xy;
  EXPECT_TRUE(query.camera().Project(
      query.cam_from_world() * query.points()[point], &xy, nullptr));
  return xy;
}

size_t CellOf(const Eigen::Vector2d& position, int width, int height) {
  const int x = std::clamp<int>(std::lround(position.x()), 0, width - 1);
  const int y = std::clamp<int>(std::lround(position.y()), 0, height - 1);
  return static_cast<size_t>(y) * width + x;
}

// The whole coarse map, and the fine map within a window around the truth.
void CollectMasses(const GeneratedQuery& query,
                   std::vector<double>* coarse,
                   std::vector<double>* fine) {
  std::vector<Eigen::Vector2d> xys;
  for (size_t i = 0; i < query.points().size(); ++i) {
    xys.push_back(TrueXY(query, i));
  }
  const auto maps = query.Compute(xys);
  const auto& windows = dynamic_cast<const DenseLossMaps&>(*maps);
  const LossMaps::Geometry& geometry = query.coarse_maps().geometry();
  for (size_t i = 0; i < xys.size(); ++i) {
    coarse->push_back(CredibleMass(query.CoarseProbabilities(i),
                                   CellOf(geometry.map_from_image * xys[i],
                                          geometry.width,
                                          geometry.height)));
    std::vector<float> cells(windows.Data(i),
                             windows.Data(i) + windows.CellsPerMap());
    for (float& cell : cells) {
      cell = std::exp(cell);
    }
    fine->push_back(
        CredibleMass(cells,
                     CellOf(windows.geometry().map_from_image * xys[i] -
                                windows.Origin(i).cast<double>(),
                            windows.window_width(),
                            windows.window_height())));
  }
}

double ShareBelow(const std::vector<double>& values, double limit) {
  double num = 0.0;
  for (const double value : values) {
    num += value <= limit;
  }
  return num / values.size();
}

TEST(GeneratedQuery, ProbabilitiesAreHonest) {
  GeneratedMapsOptions options;
  options.num_points = 1500;
  options.biased = 0.0;
  for (const double sharpness : {1.0, 2.0, 0.5}) {
    options.sharpness = sharpness;
    std::vector<double> coarse, fine;
    CollectMasses(GeneratedQuery(options, 1), &coarse, &fine);
    for (const auto& masses : {coarse, fine}) {
      const double half = ShareBelow(masses, 0.5);
      if (sharpness == 1.0) {
        // The cells are as coarse as the sharpest modes.
        EXPECT_NEAR(half, 0.5, 0.07);
        EXPECT_NEAR(ShareBelow(masses, 0.9), 0.9, 0.07);
      } else if (sharpness > 1.0) {
        EXPECT_LT(half, 0.42);
      } else {
        EXPECT_GT(half, 0.58);
      }
    }
  }
}

// Peaks that lie within a few cells of `pose`'s projections, by share.
double ShareOfPeaksAt(const GeneratedQuery& query,
                      const Rigid3d& pose,
                      bool wrong) {
  double num = 0.0, num_near = 0.0;
  for (size_t i = 0; i < query.points().size(); ++i) {
    if (query.IsWrong(i) == wrong) {
      Eigen::Vector2d xy;
      const auto& maps = query.coarse_maps();
      num += 1.0;
      num_near +=
          query.camera().Project(pose * query.points()[i], &xy, nullptr) &&
          (maps.geometry().map_from_image * xy - maps.Summarize(i).peak)
                  .norm() < 3.0;
    }
  }
  return num_near / num;
}

TEST(GeneratedQuery, WrongMapsAreWrongAndMayAgree) {
  GeneratedMapsOptions options;
  options.num_points = 1000;
  options.multi_modal = options.diffuse = options.biased = 0.0;
  options.wrong_share = 0.6;
  const GeneratedQuery query(options, 2);
  double num_wrong = 0.0;
  for (size_t i = 0; i < query.points().size(); ++i) {
    num_wrong += query.IsWrong(i);
  }
  EXPECT_NEAR(num_wrong / options.num_points, 0.6, 0.05);
  EXPECT_GT(ShareOfPeaksAt(query, query.cam_from_world(), false), 0.9);
  EXPECT_LT(ShareOfPeaksAt(query, query.cam_from_world(), true), 0.02);
  EXPECT_LT(ShareOfPeaksAt(query, query.wrong_cam_from_world(), true), 0.02);

  options.agreeing_share = 0.5;
  const GeneratedQuery agreeing(options, 2);
  // Less than half: that pose sees some of them outside of the image.
  const double share =
      ShareOfPeaksAt(agreeing, agreeing.wrong_cam_from_world(), true);
  EXPECT_GT(share, 0.35);
  EXPECT_LT(share, 0.55);
  // The others are as they were.
  EXPECT_EQ(agreeing.points(), query.points());
  for (size_t i = 0; i < query.points().size(); ++i) {
    if (!query.IsWrong(i)) {
      EXPECT_EQ(agreeing.CoarseProbabilities(i), query.CoarseProbabilities(i));
    }
  }
}

// D.1: what a window holds is the coarse mass there.
TEST(GeneratedQuery, FineMapsHaveTheCoarseMass) {
  GeneratedMapsOptions options;
  options.num_points = 50;
  options.multi_modal = options.diffuse = options.biased = 0.0;
  const GeneratedQuery query(options, 3);
  std::vector<Eigen::Vector2d> xys;
  for (size_t i = 0; i < query.points().size(); ++i) {
    xys.push_back(TrueXY(query, i));
  }
  const auto maps = query.Compute(xys);
  const auto& windows = dynamic_cast<const DenseLossMaps&>(*maps);
  const double categories = std::exp(maps->geometry().LogCategories());
  for (size_t i = 0; i < xys.size(); ++i) {
    double mass = 0.0;
    for (int k = 0; k < windows.CellsPerMap(); ++k) {
      const float weight = windows.Data(i)[k];
      mass += weight > 0.0f ? std::exp(weight) / categories : 0.0;
    }
    // A sharp mode, within the window but for the border; the floor is cut off.
    EXPECT_GT(mass, 0.4);
    EXPECT_LT(mass, 1.0);
  }
}

TEST(GeneratedMapsOptions, CheckRefusesNonsense) {
  EXPECT_TRUE(GeneratedMapsOptions().Check());
  GeneratedMapsOptions options;
  options.wrong_share = 1.1;
  EXPECT_FALSE(options.Check());
  EXPECT_THROW(GeneratedQuery(options, 1), std::invalid_argument);
  options = GeneratedMapsOptions();
  options.sharp = options.multi_modal = options.diffuse = options.biased = 0.0;
  EXPECT_FALSE(options.Check());
  options = GeneratedMapsOptions();
  options.sharpness = 0.0;
  EXPECT_FALSE(options.Check());
}

}  // namespace
}  // namespace nre
