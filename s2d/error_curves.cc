#include "s2d/error_curves.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>
#include <stdexcept>

#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

namespace nre {
namespace {

// All lengths are pixels, y points down.
constexpr double kPanelWidth = 520.0;
constexpr double kPanelHeight = 360.0;
constexpr double kMarginLeft = 70.0;
constexpr double kMarginRight = 20.0;
constexpr double kMarginTop = 24.0;
constexpr double kLegendTop = 70.0;  // below the panels
constexpr double kLegendRow = 24.0;
constexpr double kFontSize = 15.0;
constexpr int kMaxDecades = 5;

constexpr int kBlack = 0x222222;
constexpr int kGrid = 0xe4e4e4;
constexpr int kMark = 0x999999;
// Okabe and Ito's colours, which the colour-blind tell apart too.
constexpr int kCurveColors[] = {0x0072b2,
                                0xd55e00,
                                0x009e73,
                                0xcc79a7,
                                0xe69f00,
                                0x56b4e9,
                                0x000000,
                                0xf0e442};

int CurveColor(size_t i) { return kCurveColors[i % std::size(kCurveColors)]; }

struct Xy {
  double x = 0.0;
  double y = 0.0;
};

struct Line {
  std::vector<Xy> points;
  int color = kBlack;  // 0xRRGGBB
  int width = 1;
};

struct Text {
  Xy center;
  bool from_center = true;  // else it begins there
  std::string text;
};

// What both kinds of files show.
struct Figure {
  double width = 0.0;
  double height = 0.0;
  std::vector<Line> lines;
  std::vector<Text> texts;
};

std::string Format(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

// Powers of ten at the ends of the error axis.
struct Decades {
  int begin = 0;
  int end = 0;
};

Decades ChooseDecades(const ErrorCurves& curves) {
  double largest = 0.0;
  for (const std::vector<double>& errors : curves.errors) {
    for (const double error : errors) {
      if (std::isfinite(error)) largest = std::max(largest, error);
    }
  }
  double largest_mark = 0.0;
  for (const double mark : curves.marks) {
    largest_mark = std::max(largest_mark, mark);
  }
  if (largest_mark > 0.0) largest = largest_mark;
  if (largest == 0.0) largest = 1.0;
  const int end = static_cast<int>(std::ceil(std::log10(largest) - 1e-9));
  double smallest = std::pow(10.0, end - 1);
  for (const std::vector<double>& errors : curves.errors) {
    for (const double error : errors) smallest = std::min(smallest, error);
  }
  const double exponent =
      smallest > 0.0 ? std::floor(std::log10(smallest)) : -1e9;
  return {static_cast<int>(std::max<double>(end - kMaxDecades, exponent)), end};
}

// The curves of one panel in its frame.
class Panel {
 public:
  Panel(const ErrorCurves& curves, double left, Figure* figure)
      : decades_(ChooseDecades(curves)), left_(left), figure_(figure) {
    AddGrid();
    for (const double mark : curves.marks) AddMark(mark);
    // The first method ends up on top.
    for (size_t i = curves.errors.size(); i-- > 0;) {
      AddCurve(curves.errors[i], CurveColor(i));
    }
    AddFrame(curves.label);
  }

 private:
  double X(double error) const {
    const double begin = decades_.begin;
    const double exponent = error > 0.0 ? std::log10(error) : begin;
    const double share =
        (std::max(begin, exponent) - begin) / (decades_.end - begin);
    return left_ + kPanelWidth * std::min(1.0, share);
  }

  static double Y(double share) {
    return kMarginTop + kPanelHeight * (1.0 - share);
  }

  void AddGrid() {
    for (int percent = 0; percent <= 100; percent += 20) {
      const double y = Y(0.01 * percent);
      figure_->lines.push_back({{{X(0.0), y}, {X(HUGE_VAL), y}}, kGrid});
      figure_->texts.push_back({{left_ - 32.0, y}, true, Percent(percent)});
    }
    for (int decade = decades_.begin; decade <= decades_.end; ++decade) {
      const double x = X(std::pow(10.0, decade));
      figure_->lines.push_back({{{x, Y(0.0)}, {x, Y(1.0)}}, kGrid});
      figure_->texts.push_back(
          {{x, Y(0.0) + 16.0}, true, Format("%g", std::pow(10.0, decade))});
    }
  }

  static std::string Percent(int percent) {
    return std::to_string(percent) + " %";
  }

  void AddMark(double error) {
    // Dashes, since lines have but one style.
    for (double share = 0.0; share < 1.0; share += 0.04) {
      figure_->lines.push_back(
          {{{X(error), Y(share)}, {X(error), Y(share + 0.02)}}, kMark});
    }
  }

  void AddCurve(std::vector<double> errors, int color) {
    std::sort(errors.begin(), errors.end());
    Line curve = {{{X(0.0), Y(0.0)}}, color, 2};
    double share = 0.0;
    const double axis_end = std::pow(10.0, decades_.end);
    for (size_t i = 0; i < errors.size() && errors[i] <= axis_end; ++i) {
      curve.points.push_back({X(errors[i]), Y(share)});
      share = static_cast<double>(i + 1) / errors.size();
      curve.points.push_back({X(errors[i]), Y(share)});
    }
    curve.points.push_back({X(HUGE_VAL), Y(share)});
    figure_->lines.push_back(curve);
  }

  void AddFrame(const std::string& label) {
    const double begin = X(0.0), end = X(HUGE_VAL);
    figure_->lines.push_back({{{begin, Y(0.0)},
                               {end, Y(0.0)},
                               {end, Y(1.0)},
                               {begin, Y(1.0)},
                               {begin, Y(0.0)}}});
    figure_->texts.push_back(
        {{0.5 * (begin + end), Y(0.0) + 40.0}, true, label});
  }

  Decades decades_;
  double left_;
  Figure* figure_;
};

Figure MakeFigure(const std::vector<ErrorCurves>& panels,
                  const std::vector<std::string>& names) {
  Figure figure;
  for (const ErrorCurves& curves : panels) {
    if (curves.errors.size() != names.size()) {
      throw std::invalid_argument("not one curve per name");
    }
    Panel(curves, figure.width + kMarginLeft, &figure);
    figure.width += kMarginLeft + kPanelWidth + kMarginRight;
  }
  double y = kMarginTop + kPanelHeight + kLegendTop;
  for (size_t i = 0; i < names.size(); ++i) {
    figure.lines.push_back(
        {{{kMarginLeft, y}, {kMarginLeft + 30.0, y}}, CurveColor(i), 2});
    figure.texts.push_back({{kMarginLeft + 40.0, y}, false, names[i]});
    y += kLegendRow;
  }
  figure.height = y;
  return figure;
}

cv::Scalar Rgb(int color) {
  return {static_cast<double>(color >> 16),
          static_cast<double>(color >> 8 & 0xff),
          static_cast<double>(color & 0xff)};
}

void DrawText(const Text& text, cv::Mat* canvas) {
  constexpr double kScale = kFontSize / 28.0;
  int below = 0;
  const cv::Size size =
      cv::getTextSize(text.text, cv::FONT_HERSHEY_SIMPLEX, kScale, 1, &below);
  const cv::Point begin(
      cvRound(text.center.x - (text.from_center ? 0.5 * size.width : 0.0)),
      cvRound(text.center.y + 0.5 * size.height));
  cv::putText(*canvas,
              text.text,
              begin,
              cv::FONT_HERSHEY_SIMPLEX,
              kScale,
              Rgb(kBlack),
              1,
              cv::LINE_AA);
}

std::string Escape(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

}  // namespace

Image DrawErrorCurves(const std::vector<ErrorCurves>& panels,
                      const std::vector<std::string>& names) {
  const Figure figure = MakeFigure(panels, names);
  Image image;
  image.width = cvRound(figure.width);
  image.height = cvRound(figure.height);
  image.rgb.resize(3 * static_cast<size_t>(image.width) * image.height);
  cv::Mat canvas(image.height, image.width, CV_8UC3, image.rgb.data());
  canvas = cv::Scalar(255.0, 255.0, 255.0);
  for (const Line& line : figure.lines) {
    std::vector<cv::Point> points;
    for (const Xy& xy : line.points) {
      points.emplace_back(cvRound(xy.x), cvRound(xy.y));
    }
    cv::polylines(
        canvas, points, false, Rgb(line.color), line.width, cv::LINE_AA);
  }
  for (const Text& text : figure.texts) DrawText(text, &canvas);
  return image;
}

std::string ErrorCurvesAsSvg(const std::vector<ErrorCurves>& panels,
                             const std::vector<std::string>& names) {
  const Figure figure = MakeFigure(panels, names);
  std::ostringstream svg;
  svg << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << figure.width
      << "\" height=\"" << figure.height
      << "\" font-family=\"sans-serif\" font-size=\"" << kFontSize << "\">\n"
      << "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  for (const Line& line : figure.lines) {
    char color[8];
    std::snprintf(color, sizeof(color), "#%06x", line.color);
    svg << "<polyline fill=\"none\" stroke=\"" << color << "\" stroke-width=\""
        << line.width << "\" points=\"";
    for (const Xy& xy : line.points) {
      svg << Format("%.2f", xy.x) << ',' << Format("%.2f", xy.y) << ' ';
    }
    svg << "\"/>\n";
  }
  for (const Text& text : figure.texts) {
    svg << "<text x=\"" << text.center.x << "\" y=\"" << text.center.y
        << "\" dominant-baseline=\"central\" text-anchor=\""
        << (text.from_center ? "middle" : "start") << "\">" << Escape(text.text)
        << "</text>\n";
  }
  svg << "</svg>\n";
  return svg.str();
}

}  // namespace nre
