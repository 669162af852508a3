#include "s2d/fine_maps.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "s2d/coarse_maps.h"
#include "tests/testing/synthetic_features.h"

namespace nre {
namespace {

constexpr float kCoarseScale = 12.0f;
constexpr float kFineScale = 25.0f;

// Coarse and fine features of one image, and points with descriptors in both.
struct Example {
  FeatureMap coarse;
  FeatureMap fine;
  std::vector<float> coarse_descriptors;
  std::vector<float> fine_descriptors;
  FusedDescriptors rows;
  std::vector<float> log_sum_exps;

  Example(const FeatureMap& coarse,
          const FeatureMap& fine,
          int num_points,
          Random* random)
      : coarse(coarse),
        fine(fine),
        coarse_descriptors(
            RandomDescriptors(num_points, coarse.channels, random)),
        fine_descriptors(RandomDescriptors(num_points, fine.channels, random)),
        log_sum_exps(
            ComputeCoarseMaps(coarse_descriptors, {}, coarse, kCoarseScale)
                .log_sum_exps) {}

  // Points of 1, 2, 3, 4, 1, 2, 3, 4 ... of the descriptors, together
  // `num_points`.
  void Fuse(Fusion fusion, int num_points) {
    rows.fusion = fusion;
    rows.begins = {0};
    for (int i = 0; i < num_points; ++i) {
      rows.begins.push_back(rows.begins.back() + 1 + i % 4);
    }
    coarse_descriptors.resize(rows.begins.back() * coarse.channels);
    fine_descriptors.resize(rows.begins.back() * fine.channels);
    log_sum_exps =
        ComputeCoarseMaps(coarse_descriptors, rows, coarse, kCoarseScale)
            .log_sum_exps;
  }

  std::unique_ptr<LossMaps> Compute(const std::vector<Eigen::Vector2d>& xys,
                                    int window_size,
                                    double mass_divisor = 1.0,
                                    double wrong_share = 0.0,
                                    int coarse_step = 1) const {
    const std::vector<float> sums =
        coarse_step == 1
            ? log_sum_exps
            : CoarseLogSumExps(
                  coarse_descriptors, rows, coarse, kCoarseScale, coarse_step);
    const FineMapInputs inputs{coarse,
                               fine,
                               coarse_descriptors,
                               fine_descriptors,
                               rows,
                               sums,
                               kCoarseScale,
                               kFineScale,
                               coarse_step};
    FineMapOptions options;
    options.window_size = window_size;
    options.mass_divisor = mass_divisor;
    options.wrong_share = wrong_share;
    return FineMaps(inputs, options).Compute(xys);
  }
};

MapFromImage Stride(double stride, double first_center, double resize) {
  return MapFromImage::FromStride(Eigen::Vector2d::Constant(stride),
                                  Eigen::Vector2d::Constant(first_center),
                                  Eigen::Vector2d::Constant(resize));
}

// Of an image of 200 x 136 pixels. Both grids cover it all.
Example Aligned(int num_points, Random* random) {
  return Example(RandomFeatures(25, 17, 8, Stride(8.0, 4.0, 1.0), random),
                 RandomFeatures(100, 68, 12, Stride(2.0, 1.0, 1.0), random),
                 num_points,
                 random);
}

// Both grids stop short of the image's border, with other centres, and were
// made of resized images.
Example Unaligned(int num_points, Random* random) {
  return Example(RandomFeatures(23, 14, 8, Stride(6.0, 7.5, 0.75), random),
                 RandomFeatures(91, 60, 12, Stride(2.5, 5.0, 1.25), random),
                 num_points,
                 random);
}

// Length that the cells [a - 1/2, a + 1/2] and [b - 1/2, b + 1/2] of two grids
// share, in cells of the first.
double SharedLength(double a, double b, double b_size) {
  return std::max(0.0,
                  std::min(a + 0.5, b + 0.5 * b_size) -
                      std::max(a - 0.5, b - 0.5 * b_size));
}

// In every cell the largest logit of the descriptors [begin, end).
std::vector<double> LargestLogits(const std::vector<float>& descriptors,
                                  size_t begin,
                                  size_t end,
                                  const FeatureMap& features,
                                  double softmax_scale) {
  std::vector<double> largest;
  for (size_t row = begin; row < end; ++row) {
    const std::vector<double> logits = BruteForceLogits(
        &descriptors[row * features.channels], features, softmax_scale);
    largest.resize(logits.size(), logits[0]);
    for (size_t k = 0; k < logits.size(); ++k) {
      largest[k] = row == begin ? logits[k] : std::max(largest[k], logits[k]);
    }
  }
  return largest;
}

// Appendix D.1, steps 1 to 5, cell by cell, of the most similar of the
// descriptors [begin, end). -1 for cells beyond the window.
std::vector<double> BruteForceWeights(const Example& example,
                                      size_t begin,
                                      size_t end,
                                      const Eigen::Vector2d& xy,
                                      int window_size) {
  const FeatureMap& coarse = example.coarse;
  const FeatureMap& fine = example.fine;
  const std::vector<double> coarse_logits = LargestLogits(
      example.coarse_descriptors, begin, end, coarse, kCoarseScale);
  const double coarse_log_sum = BruteForceLogSumExp(coarse_logits);
  const std::vector<double> fine_logits =
      LargestLogits(example.fine_descriptors, begin, end, fine, kFineScale);

  // 1, 2: the softmax over the cells of the window, those nearest to xy.
  const Eigen::Vector2d center = fine.map_from_image * xy;
  std::vector<int> window;
  std::vector<double> window_logits;
  for (int y = 0; y < fine.height; ++y) {
    for (int x = 0; x < fine.width; ++x) {
      const Eigen::Vector2d offset = Eigen::Vector2d(x, y) - center;
      if (offset.cwiseAbs().maxCoeff() < 0.5 * window_size) {
        window.push_back(y * fine.width + x);
        window_logits.push_back(fine_logits[window.back()]);
      }
    }
  }
  const double log_categories = std::log(1.0 + fine.width * fine.height);
  std::vector<double> weights(fine.width * fine.height, -1.0);
  if (window.empty()) return weights;
  const double fine_log_sum = BruteForceLogSumExp(window_logits);

  // 3: the coarse mass, by the area that each fine cell shares with each
  // coarse one.
  const Eigen::Vector2d size =
      coarse.map_from_image.scale.cwiseQuotient(fine.map_from_image.scale);
  double mass = 0.0;
  for (const int cell : window) {
    const Eigen::Vector2d p =
        coarse.map_from_image * fine.map_from_image.ToImage(Eigen::Vector2d(
                                    cell % fine.width, cell / fine.width));
    for (int y = 0; y < coarse.height; ++y) {
      const double height = SharedLength(y, p.y(), size.y());
      if (height == 0.0) continue;
      for (int x = 0; x < coarse.width; ++x) {
        const double area = height * SharedLength(x, p.x(), size.x());
        mass += area *
                std::exp(coarse_logits[y * coarse.width + x] - coarse_log_sum);
      }
    }
  }

  // 4 (without its division by 64), 5.
  for (size_t k = 0; k < window.size(); ++k) {
    const double log_c = window_logits[k] - fine_log_sum + std::log(mass);
    weights[window[k]] = log_categories - std::min(log_categories, -log_c);
  }
  return weights;
}

// The weights of a point's map, its descriptors fused.
std::vector<double> FusedWeights(const Example& example,
                                 int point,
                                 const Eigen::Vector2d& xy,
                                 int window_size) {
  const size_t begin = example.rows.Begin(point);
  const size_t end = example.rows.End(point);
  if (example.rows.fusion != Fusion::kSum) {
    return BruteForceWeights(example, begin, end, xy, window_size);
  }
  std::vector<double> mean;
  for (size_t row = begin; row < end; ++row) {
    const std::vector<double> weights =
        BruteForceWeights(example, row, row + 1, xy, window_size);
    mean.resize(weights.size());
    for (size_t k = 0; k < weights.size(); ++k) {
      mean[k] += weights[k] / (end - begin);
    }
  }
  return mean;
}

void ExpectBruteForce(const Example& example,
                      const std::vector<Eigen::Vector2d>& xys,
                      int window_size) {
  const std::unique_ptr<LossMaps> maps = example.Compute(xys, window_size);
  const int width = example.fine.width;
  ASSERT_EQ(maps->NumPoints(), xys.size());
  EXPECT_EQ(maps->CellsPerMap(), window_size * window_size);
  EXPECT_EQ(maps->geometry().width, width);
  EXPECT_EQ(maps->geometry().height, example.fine.height);
  EXPECT_EQ(maps->geometry().map_from_image.scale,
            example.fine.map_from_image.scale);
  EXPECT_EQ(maps->geometry().map_from_image.offset,
            example.fine.map_from_image.offset);
  for (size_t i = 0; i < xys.size(); ++i) {
    const std::vector<double> expected =
        FusedWeights(example, i, xys[i], window_size);
    for (int k = 0; k < width * example.fine.height; ++k) {
      ASSERT_NEAR(maps->Weight(i, {k % width, k / width}),
                  std::max(0.0, expected[k]),
                  1e-3)
          << "point " << i << " at cell " << k % width << ", " << k / width;
    }
  }
}

// Positions all over the image and a little beyond, none of which ties.
std::vector<Eigen::Vector2d> Positions(int num, Random* random) {
  std::vector<Eigen::Vector2d> xys;
  for (int i = 0; i < num; ++i) {
    xys.emplace_back(random->Uniform(-20.0, 220.0),
                     random->Uniform(-20.0, 150.0));
  }
  return xys;
}

TEST(FineMaps, AreThoseOfAppendixD1) {
  Random random(1);
  const Example example = Aligned(40, &random);
  ExpectBruteForce(example, Positions(40, &random), 64);
  ExpectBruteForce(example, Positions(40, &random), 16);
}

TEST(FineMaps, FuseSeveralDescriptors) {
  Random random(7);
  for (const Fusion fusion : {Fusion::kMax, Fusion::kSum}) {
    Example example = Unaligned(100, &random);
    example.Fuse(fusion, 40);
    ExpectBruteForce(example, Positions(40, &random), 24);
  }
}

TEST(FineMaps, GridsNeedNotBeAligned) {
  Random random(2);
  const Example example = Unaligned(40, &random);
  ExpectBruteForce(example, Positions(40, &random), 64);
  ExpectBruteForce(example, Positions(40, &random), 15);
}

// What no descriptor tells apart costs ln(H_f W_f) everywhere in the window,
// also where the border clips it.
TEST(FineMaps, UniformMapsSayNothing) {
  Random random(3);
  Example example = Aligned(30, &random);
  std::fill(example.coarse.data.begin(), example.coarse.data.end(), 0.0f);
  std::fill(example.fine.data.begin(), example.fine.data.end(), 0.0f);
  example.log_sum_exps.assign(30, std::log(25.0f * 17.0f));
  const std::vector<Eigen::Vector2d> xys = Positions(30, &random);
  const std::unique_ptr<LossMaps> maps = example.Compute(xys, 64);
  const double categories = 1.0 + 100.0 * 68.0;
  const double uniform = std::log(categories) - std::log(categories - 1.0);
  for (int i = 0; i < 30; ++i) {
    const Eigen::Vector2d center = example.fine.map_from_image * xys[i];
    const Eigen::Vector2d cell(std::clamp(std::round(center.x()), 0.0, 99.0),
                               std::clamp(std::round(center.y()), 0.0, 67.0));
    EXPECT_NEAR(maps->Weight(i, cell), uniform, 5e-6);
  }
}

// The division by 64 of step 4 lowers all weights alike, before truncation.
TEST(FineMaps, MassMayBeDivided) {
  Random random(6);
  const Example example = Aligned(10, &random);
  const std::vector<Eigen::Vector2d> xys(10, Eigen::Vector2d(90.3, 60.1));
  EXPECT_EQ(FineMapOptions().mass_divisor, 1.0);
  const std::unique_ptr<LossMaps> whole = example.Compute(xys, 16);
  const std::unique_ptr<LossMaps> divided = example.Compute(xys, 16, 64.0);
  for (size_t i = 0; i < xys.size(); ++i) {
    const LossMaps::Summary summary = whole->Summarize(i);
    EXPECT_NEAR(divided->Weight(i, summary.peak),
                std::max(0.0, summary.weight - std::log(64.0)),
                1e-5);
  }
}

// C becomes (1 - share) C + share / |Omega^| where it is more than chance.
TEST(FineMaps, MayBeMixedWithAUniformShare) {
  Random random(8);
  const Example example = Aligned(10, &random);
  const std::vector<Eigen::Vector2d> xys(10, Eigen::Vector2d(90.3, 60.1));
  const double categories = 1.0 + 100.0 * 68.0;
  const std::unique_ptr<LossMaps> pure = example.Compute(xys, 16);
  int num_informative = 0;
  for (const double share : {0.5, FineMapOptions().wrong_share}) {
    const std::unique_ptr<LossMaps> mixed =
        example.Compute(xys, 16, 1.0, share);
    for (size_t i = 0; i < xys.size(); ++i) {
      for (int k = 0; k < 100 * 68; ++k) {
        const Eigen::Vector2d cell(k % 100, k / 100);
        const double weight = pure->Weight(i, cell);
        const double c = std::exp(weight) / categories;
        const double expected =
            weight > 0.0 ? std::log(((1.0 - share) * c + share / categories) *
                                    categories)
                         : 0.0;
        ASSERT_NEAR(mixed->Weight(i, cell), expected, 1e-4);
        num_informative += weight > 0.0;
      }
    }
  }
  EXPECT_GT(num_informative, 100);
}

// How much two maps with the same window differ at its peak: ln of the ratio of
// their coarse masses.
double LogMassRatio(const LossMaps& maps, const LossMaps& other, size_t i) {
  const LossMaps::Summary summary = maps.Summarize(i);
  return other.Weight(i, summary.peak) - summary.weight;
}

TEST(FineMaps, AWindowOfAllHasAllMassWhateverCellsWereSampled) {
  Random random(9);
  const Example example = Aligned(20, &random);
  const std::vector<Eigen::Vector2d> xys(20, Eigen::Vector2d(100.0, 70.0));
  const auto all = example.Compute(xys, 256);
  const auto sampled = example.Compute(xys, 256, 1.0, 0.0, 3);
  for (size_t i = 0; i < xys.size(); ++i) {
    EXPECT_NEAR(LogMassRatio(*all, *sampled, i), 0.0, 1e-4);
  }
}

// What is sampled estimates what is outside of the window; a peak within it is
// there whole, whether or not its cell is among the sampled ones.
TEST(FineMaps, SampledCellsTellTheMassOfWindowsAboutRight) {
  constexpr int kNum = 60;
  Random random(10);
  Example example = Aligned(kNum, &random);
  std::vector<Eigen::Vector2d> xys;
  for (int i = 0; i < kNum; ++i) {
    const int x = 3 + i % 19, y = 3 + i % 11;
    std::copy_n(example.coarse.Descriptor(x, y),
                example.coarse.channels,
                &example.coarse_descriptors[i * example.coarse.channels]);
    xys.push_back(example.coarse.map_from_image.ToImage(Eigen::Vector2d(x, y)));
  }
  example.log_sum_exps =
      ComputeCoarseMaps(
          example.coarse_descriptors, {}, example.coarse, kCoarseScale)
          .log_sum_exps;
  const auto all = example.Compute(xys, 24);
  for (const int step : {2, 3}) {
    const auto sampled = example.Compute(xys, 24, 1.0, 0.0, step);
    double sum = 0.0;
    for (int i = 0; i < kNum; ++i) {
      const double log_ratio = LogMassRatio(*all, *sampled, i);
      EXPECT_LT(std::abs(log_ratio), 1.5) << "point " << i << ", " << step;
      sum += log_ratio;
    }
    EXPECT_NEAR(sum / kNum, 0.0, 0.15) << step;
  }
}

TEST(FineMaps, PositionsWithoutAWindowSayNothing) {
  Random random(5);
  const double kNaN = std::numeric_limits<double>::quiet_NaN();
  const double kInf = std::numeric_limits<double>::infinity();
  const std::vector<Eigen::Vector2d> xys = {{kNaN, 50.0},
                                            {50.0, kNaN},
                                            {kInf, 50.0},
                                            {50.0, -kInf},
                                            {1e300, 1e300},
                                            {-3e9, 50.0},
                                            {50.0, 1e7},
                                            {500.0, 50.0},
                                            {50.0, -300.0}};
  const Example example = Aligned(static_cast<int>(xys.size()) + 1, &random);
  std::vector<Eigen::Vector2d> all = xys;
  all.emplace_back(100.0, 70.0);
  const std::unique_ptr<LossMaps> maps = example.Compute(all, 64);
  for (size_t i = 0; i < xys.size(); ++i) {
    EXPECT_EQ(maps->Summarize(i).weight, 0.0) << xys[i].transpose();
    EXPECT_EQ(maps->Weight(i, {50.0, 25.0}), 0.0);
    EXPECT_EQ(maps->Smoothed(i, {50.0, 25.0}, 2.0, false).value, 0.0);
  }
  EXPECT_GT(maps->Summarize(xys.size()).weight, 0.0);
}

}  // namespace
}  // namespace nre
