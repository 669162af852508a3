#include "s2d/error_curves.h"

#include <limits>
#include <sstream>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nre {
namespace {

using testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

const std::vector<ErrorCurves> kPanels = {
    {"centre error (m)", {{0.1, 0.02, kInfinity, 3.0}}, {0.25, 5.0}},
    {"rotation error (deg)", {{1.0, 0.0, kInfinity, 30.0}}, {10.0}}};

// The corners of the polyline in this colour, in the order of the panels.
std::vector<std::vector<std::pair<double, double>>> Polylines(
    const std::string& svg, const std::string& color) {
  std::vector<std::vector<std::pair<double, double>>> lines;
  const std::string begin = "stroke=\"" + color + "\"";
  for (size_t at = svg.find(begin); at != std::string::npos;
       at = svg.find(begin, at + 1)) {
    const size_t points = svg.find("points=\"", at) + 8;
    std::istringstream text(svg.substr(points, svg.find('"', points) - points));
    lines.emplace_back();
    double x, y;
    for (char comma; text >> x >> comma >> y;) lines.back().push_back({x, y});
  }
  return lines;
}

// The steps are where the errors are: panel of 520 x 360 pixels at (70, 24).
TEST(ErrorCurves, StepsAreWhereTheErrorsAre) {
  const auto lines = Polylines(ErrorCurvesAsSvg(kPanels, {"NRE"}), "#0072b2");
  ASSERT_EQ(lines.size(), 3);  // two curves, one in the legend
  // From 0.01 to 10: a decade is 520 / 3 pixels wide.
  const double decade = 520.0 / 3.0;
  ASSERT_EQ(lines[0].size(), 8);
  EXPECT_EQ(lines[0][0], std::make_pair(70.0, 384.0));
  EXPECT_NEAR(lines[0][1].first, 70.0 + decade * 0.30103, 0.01);  // 0.02
  EXPECT_EQ(lines[0][1].second, 384.0);
  EXPECT_EQ(lines[0][2].second, 384.0 - 90.0);
  EXPECT_NEAR(lines[0][3].first, 70.0 + decade, 0.01);  // 0.1
  EXPECT_EQ(lines[0][4].second, 384.0 - 180.0);
  EXPECT_NEAR(lines[0][5].first, 70.0 + decade * 2.47712, 0.01);  // 3
  EXPECT_EQ(lines[0][6].second, 384.0 - 270.0);
  // The query without a pose keeps the curve from the top.
  EXPECT_EQ(lines[0][7], std::make_pair(590.0, 384.0 - 270.0));
  // An error of zero is at the left end, one of 30 beyond the right one, 10.
  EXPECT_EQ(lines[1][2].second, 384.0 - 90.0);
  EXPECT_EQ(lines[1][2].first, lines[1][0].first);
  EXPECT_EQ(lines[1].back().second, 384.0 - 180.0);
}

TEST(ErrorCurves, NamesAreEscapedInSvg) {
  const std::string svg = ErrorCurvesAsSvg(kPanels, {"a < b & c"});
  EXPECT_THAT(svg, HasSubstr("a &lt; b &amp; c"));
  EXPECT_THAT(svg, HasSubstr("centre error (m)"));
  EXPECT_EQ(svg.substr(0, 4), "<svg");
}

TEST(ErrorCurves, PictureHasTheCurves) {
  const Image image = DrawErrorCurves(kPanels, {"NRE"});
  ASSERT_EQ(image.rgb.size(), 3ul * image.width * image.height);
  const auto is_blue = [&](int x, int y) {
    const uint8_t* rgb = &image.rgb[3 * (y * image.width + x)];
    return rgb[0] < 60 && rgb[1] > 80 && rgb[1] < 160 && rgb[2] > 140;
  };
  // On the highest step of the first panel, and not just above.
  EXPECT_TRUE(is_blue(580, 384 - 270));
  EXPECT_FALSE(is_blue(580, 384 - 280));
}

TEST(ErrorCurves, Extremes) {
  EXPECT_THROW(DrawErrorCurves(kPanels, {"a", "b"}), std::invalid_argument);
  const std::vector<ErrorCurves> empty = {
      {"x", {{kInfinity, kInfinity}, {0.0}}, {}}};
  EXPECT_THAT(ErrorCurvesAsSvg(empty, {"none", "exact"}),
              testing::Not(HasSubstr("nan,")));
}

}  // namespace
}  // namespace nre
