#include "s2d/training/distillation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/s2d/training/gradient_check.h"

namespace nre {
namespace {

using torch::Tensor;
using Vector = std::vector<double>;
using Point = std::pair<double, double>;

constexpr int64_t kPhotoWidth = 60;
constexpr int64_t kPhotoHeight = 44;

double Value(const Tensor& tensor) { return tensor.item<double>(); }

// A teacher with random features whose cells cover stride x stride pixels.
TeacherMap RandomTeacher(double stride,
                         int64_t channels,
                         double softmax_scale,
                         bool unit_norm) {
  TeacherMap map;
  const auto cells = [&](int64_t size) {
    return static_cast<int64_t>(size / stride);
  };
  map.features =
      torch::randn({channels, cells(kPhotoHeight), cells(kPhotoWidth)});
  map.map_from_image =
      Doubles({1.0 / stride, 1.0 / stride, -0.5, -0.5}, {2, 2});
  map.softmax_scale = softmax_scale;
  map.unit_norm = unit_norm;
  return map;
}

// Bilinear, by hand; beyond the border the cell at the border.
Vector SampleByHand(const TeacherMap& map, const Point& p) {
  const auto place = [&](double x, int axis, int64_t size) {
    return std::clamp(x * Value(map.map_from_image[0][axis]) +
                          Value(map.map_from_image[1][axis]),
                      0.0,
                      size - 1.0);
  };
  const int64_t height = map.features.size(1), width = map.features.size(2);
  const double x = place(p.first, 0, width), y = place(p.second, 1, height);
  Vector sum(map.features.size(0));
  double squared_norm = 0.0;
  for (size_t c = 0; c < sum.size(); ++c) {
    for (int64_t v = 0; v < height; ++v) {
      for (int64_t u = 0; u < width; ++u) {
        const double weight = std::max(0.0, 1.0 - std::abs(x - u)) *
                              std::max(0.0, 1.0 - std::abs(y - v));
        if (weight > 0.0) sum[c] += weight * Value(map.features[c][v][u]);
      }
    }
    squared_norm += sum[c] * sum[c];
  }
  if (map.unit_norm) {
    for (double& value : sum) value /= std::sqrt(squared_norm);
  }
  return sum;
}

Point Transform(const Tensor& matrix, const Point& p) {
  const auto row = [&](int i) {
    return Value(matrix[i][0]) * p.first + Value(matrix[i][1]) * p.second +
           Value(matrix[i][2]);
  };
  return {row(0) / row(2), row(1) / row(2)};
}

// The area of the photograph that a small square of the image shows, by its
// corners.
double AreaByHand(const Tensor& matrix, const Point& p, double side) {
  const double h = 0.5 * side;
  const Point corners[] = {{p.first - h, p.second - h},
                           {p.first + h, p.second - h},
                           {p.first + h, p.second + h},
                           {p.first - h, p.second + h}};
  double doubled = 0.0;
  for (int i = 0; i < 4; ++i) {
    const Point a = Transform(matrix, corners[i]);
    const Point b = Transform(matrix, corners[(i + 1) % 4]);
    doubled += a.first * b.second - a.second * b.first;
  }
  return 0.5 * doubled;
}

// The map of a point, from samples x samples samples of each cell.
Vector MapByHand(const std::vector<TeacherMap>& teachers,
                 const Point& point,
                 const Tensor& photo_from_image,
                 const CellGrid& cells,
                 int samples) {
  Vector map(cells.height * cells.width);
  double total = 0.0;
  std::vector<Vector> descriptors;
  for (const TeacherMap& teacher : teachers) {
    descriptors.push_back(SampleByHand(teacher, point));
  }
  const double stride = cells.level.stride;
  for (int64_t cell = 0; cell < static_cast<int64_t>(map.size()); ++cell) {
    for (int i = 0; i < samples * samples; ++i) {
      const auto along = [&](int64_t index, int sample) {
        return cells.level.first_center +
               stride * (index + (sample + 0.5) / samples - 0.5);
      };
      const Point in_image = {along(cell % cells.width, i % samples),
                              along(cell / cells.width, i / samples)};
      const Point in_photo = Transform(photo_from_image, in_image);
      if (in_photo.first < 0.0 || in_photo.first > kPhotoWidth ||
          in_photo.second < 0.0 || in_photo.second > kPhotoHeight) {
        continue;
      }
      double mean_logit = 0.0;
      for (size_t t = 0; t < teachers.size(); ++t) {
        const Vector feature = SampleByHand(teachers[t], in_photo);
        for (size_t c = 0; c < feature.size(); ++c) {
          mean_logit += teachers[t].softmax_scale * feature[c] *
                        descriptors[t][c] / teachers.size();
        }
      }
      map[cell] += std::exp(std::sqrt(teachers.size()) * mean_logit) *
                   AreaByHand(photo_from_image, in_image, 1e-3);
    }
    total += map[cell];
  }
  for (double& value : map) value /= total;
  return map;
}

// Slanted; some of the image is beyond the photograph. A pixel of the image is
// about `scale` of the photograph.
Tensor SlantedView(double scale) {
  return Doubles({scale, 0.1, -3.0, -0.05, scale, 4.0, 0.004, -0.002, 1.0},
                 {3, 3});
}

const CellGrid kCells = {{0, 0, 8.0, 4.0}, 5, 6};

Tensor Points() {
  return Doubles({20.0, 10.0, 31.5, 33.0, 1.0, 43.0, 52.0, 3.0}, {4, 2});
}

class TargetMapsTest : public testing::Test {
 protected:
  TargetMapsTest() {
    at::set_num_threads(1);
    torch::manual_seed(5);
  }
};

TEST_F(TargetMapsTest, AreThoseOfBruteForce) {
  const std::vector<TeacherMap> teachers = {RandomTeacher(4.0, 5, 6.0, true),
                                            RandomTeacher(6.0, 3, 1.5, false)};
  const Tensor photo_from_image = SlantedView(1.1);
  const Tensor maps = TargetMaps(
      teachers, Points(), kPhotoWidth, kPhotoHeight, photo_from_image, kCells);
  ASSERT_EQ(maps.sizes(), torch::IntArrayRef({4, 30}));
  for (int64_t i = 0; i < 4; ++i) {
    const Point point = {Value(Points()[i][0]), Value(Points()[i][1])};
    // A cell is about 2.2 of the teachers' finer ones wide.
    const Vector expected =
        MapByHand(teachers, point, photo_from_image, kCells, 2);
    for (size_t cell = 0; cell < expected.size(); ++cell) {
      EXPECT_NEAR(Value(maps[i][cell]), expected[cell], 2e-5) << i;
    }
    EXPECT_NEAR(Value(maps[i].sum()), 1.0, 1e-5);
  }
}

// Of features that change smoothly; one sample in the middle of each cell would
// be off by up to 0.05.
TEST_F(TargetMapsTest, AreIntegralsOverCells) {
  TeacherMap teacher = RandomTeacher(4.0, 4, 30.0, true);
  for (int64_t y = 0; y < teacher.features.size(1); ++y) {
    for (int64_t x = 0; x < teacher.features.size(2); ++x) {
      const double u = 0.05 * 4.0 * (x + 0.5), v = 0.05 * 4.0 * (y + 0.5);
      teacher.features.select(2, x).select(1, y).copy_(
          Doubles({std::cos(u), std::sin(u), std::cos(v), std::sin(v)}, {4}));
    }
  }
  const Tensor photo_from_image = SlantedView(1.1);
  const Tensor maps = TargetMaps(
      {teacher}, Points(), kPhotoWidth, kPhotoHeight, photo_from_image, kCells);
  for (const int64_t i : {0, 1, 3}) {
    const Vector integral =
        MapByHand({teacher},
                  {Value(Points()[i][0]), Value(Points()[i][1])},
                  photo_from_image,
                  kCells,
                  8);
    for (size_t cell = 0; cell < integral.size(); ++cell) {
      EXPECT_NEAR(Value(maps[i][cell]), integral[cell], 0.02) << i;
    }
  }
}

// At most four samples per side, of cells that cover many of the teacher's.
TEST_F(TargetMapsTest, CellsMayCoverManyOfTheTeachers) {
  const std::vector<TeacherMap> teachers = {RandomTeacher(2.0, 4, 5.0, true)};
  const Tensor photo_from_image = SlantedView(1.1);
  const Tensor maps = TargetMaps(
      teachers, Points(), kPhotoWidth, kPhotoHeight, photo_from_image, kCells);
  const Vector expected =
      MapByHand(teachers, {20.0, 10.0}, photo_from_image, kCells, 4);
  for (size_t cell = 0; cell < expected.size(); ++cell) {
    EXPECT_NEAR(Value(maps[0][cell]), expected[cell], 2e-5);
  }
}

TEST_F(TargetMapsTest, PeakWhereTheHomographyPutsThePoint) {
  // Descriptors that are their own best match.
  const std::vector<TeacherMap> teachers = {RandomTeacher(2.0, 64, 60.0, true)};
  const Tensor photo_from_image = SlantedView(0.9);
  const Tensor image_from_photo = torch::inverse(photo_from_image);
  const Tensor maps = TargetMaps(
      teachers, Points(), kPhotoWidth, kPhotoHeight, photo_from_image, kCells);
  for (int64_t i = 0; i < 2; ++i) {
    const Point p = Transform(image_from_photo,
                              {Value(Points()[i][0]), Value(Points()[i][1])});
    const int64_t x = std::lround((p.first - 4.0) / 8.0);
    const int64_t y = std::lround((p.second - 4.0) / 8.0);
    EXPECT_EQ(maps[i].argmax().item<int64_t>(), y * kCells.width + x);
    EXPECT_GT(maps[i].max().item<float>(), 0.9f);
  }
}

TEST_F(TargetMapsTest, AreZeroWhereThereIsNoPhotograph) {
  const std::vector<TeacherMap> teachers = {RandomTeacher(4.0, 3, 2.0, true)};
  const auto maps = [&](const Tensor& photo_from_image) {
    return TargetMaps(teachers,
                      Points(),
                      kPhotoWidth,
                      kPhotoHeight,
                      photo_from_image,
                      kCells);
  };
  // The left half of the image is beyond the photograph's left border.
  const Tensor shifted = Doubles({1, 0, -24, 0, 1, 0, 0, 0, 1}, {3, 3});
  const Tensor half = maps(shifted).view({4, 5, 6});
  EXPECT_EQ(half.slice(2, 0, 3).abs().max().item<float>(), 0.0f);
  EXPECT_GT(half.slice(2, 3, 6).min().item<float>(), 0.0f);
  // All of it, and behind the camera.
  const Tensor beyond = Doubles({1, 0, 100, 0, 1, 0, 0, 0, 1}, {3, 3});
  const Tensor behind = Doubles({-1, 0, -9, 0, -1, -9, 0, 0, -1}, {3, 3});
  for (const Tensor& matrix : {beyond, behind}) {
    EXPECT_EQ(maps(matrix).abs().max().item<float>(), 0.0f);
  }
  // A point that is nowhere has some map, but no NaN.
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(TargetMaps(teachers,
                         Doubles({nan, nan}, {1, 2}),
                         kPhotoWidth,
                         kPhotoHeight,
                         shifted,
                         kCells)
                  .isfinite()
                  .all()
                  .item<bool>());
}

// Two that are the same are a teacher that is surer by sqrt(2).
TEST_F(TargetMapsTest, TeachersHaveEqualWeights) {
  TeacherMap teacher = RandomTeacher(4.0, 5, 3.0, true);
  const auto maps = [&](const std::vector<TeacherMap>& teachers) {
    return TargetMaps(teachers,
                      Points(),
                      kPhotoWidth,
                      kPhotoHeight,
                      SlantedView(1.0),
                      kCells);
  };
  const Tensor twice = maps({teacher, teacher});
  const Tensor once = maps({teacher});
  EXPECT_GT((twice - once).abs().max().item<float>(), 0.01f);
  teacher.softmax_scale *= std::sqrt(2.0);
  EXPECT_LT((twice - maps({teacher})).abs().max().item<float>(), 1e-5f);
}

// Three pairs, of which the second is not of a photograph.
class DistillationLossTest : public TargetMapsTest {
 protected:
  DistillationLossTest() {
    for (int i = 0; i < 2; ++i) {
      TaughtPhoto photo;
      photo.pixels =
          torch::zeros({kPhotoHeight, kPhotoWidth, 3}, torch::kUInt8);
      photo.coarse = {RandomTeacher(4.0, 4, 4.0, true)};
      photo.fine = {RandomTeacher(2.0, 4, 4.0, true)};
      photos_.push_back(photo);
    }
    pairs_.reference_positions = torch::rand({3, 4, 2}) * 30.0 + 4.0;
    pairs_.query_positions = torch::rand({3, 4, 2}) * 30.0 + 4.0;
    pairs_.visible = torch::ones({3, 4}, torch::kBool);
    pairs_.visible[0][2] = false;
    pairs_.query_positions[0][2] = NAN;
    pairs_.photos = torch::tensor({1, -1, 0}, torch::kInt64);
    pairs_.photo_from_reference =
        torch::eye(3, torch::kFloat64).repeat({3, 1, 1});
    pairs_.photo_from_query = SlantedView(1.0).repeat({3, 1, 1});
  }

  Tensor Loss(const Tensor& references,
              const Tensor& queries,
              const Tensor& scale) const {
    return DistillationLoss(
        levels_, {references}, {queries}, pairs_, photos_, scale, true);
  }

  std::vector<NetworkLevel> levels_ = {{0, 3, 8.0, 4.0}};
  std::vector<TaughtPhoto> photos_;
  TrainingPairs pairs_;
};

TEST_F(DistillationLossTest, IsTheCrossEntropyOfTargetAndStudent) {
  const Tensor references = RandomDoubles({3, 3, 5, 6});
  const Tensor queries = RandomDoubles({3, 3, 5, 6});
  const double scale = 3.0;
  // By one point after the other.
  double sum = 0.0;
  int num = 0;
  const auto direction = [&](const Tensor& from,
                             const Tensor& to,
                             const Tensor& positions,
                             const Tensor& photo_from_from,
                             const Tensor& photo_from_to) {
    for (const int64_t b : {0, 2}) {
      const auto& teachers = photos_[pairs_.photos[b].item<int64_t>()].coarse;
      TeacherMap student;  // its descriptors are sampled in the same way
      student.map_from_image = Doubles({0.125, 0.125, -0.5, -0.5}, {2, 2});
      student.unit_norm = true;
      student.features = from[b] / from[b].norm(2, {0}, true);
      const Tensor cells = (to[b] / to[b].norm(2, {0}, true)).flatten(1);
      for (int64_t i = 0; i < 4; ++i) {
        if (!pairs_.visible[b][i].item<bool>()) continue;
        const Point p = {Value(positions[b][i][0]), Value(positions[b][i][1])};
        const Tensor target =
            torch::tensor(MapByHand(teachers,
                                    Transform(photo_from_from[b], p),
                                    photo_from_to[b],
                                    kCells,
                                    2),
                          torch::kFloat64);
        const Tensor logits =
            scale * torch::tensor(SampleByHand(student, p), torch::kFloat64)
                        .matmul(cells);
        sum -= Value((target * logits.log_softmax(0)).sum());
        ++num;
      }
    }
  };
  direction(references,
            queries,
            pairs_.reference_positions,
            pairs_.photo_from_reference,
            pairs_.photo_from_query);
  direction(queries,
            references,
            pairs_.query_positions,
            pairs_.photo_from_query,
            pairs_.photo_from_reference);
  EXPECT_EQ(num, 14);
  EXPECT_NEAR(
      Value(Loss(references, queries, Doubles({scale}, {}))), sum / num, 1e-4);
}

TEST_F(DistillationLossTest, HasTheGradientOfFiniteDifferences) {
  ExpectGradients(
      [&](const std::vector<Tensor>& inputs) {
        return Loss(inputs[0], inputs[1], inputs[2]);
      },
      {RandomDoubles({3, 3, 5, 6}),
       RandomDoubles({3, 3, 5, 6}),
       Doubles({3.0}, {})});
}

TEST_F(DistillationLossTest, FineLevelsLearnFromFineFeatures) {
  const Tensor features = RandomDoubles({3, 3, 20, 24});
  const Tensor scale = Doubles({3.0}, {});
  levels_[0] = {0, 3, 2.0, 1.0};
  const double fine = Value(Loss(features, features, scale));
  for (TaughtPhoto& photo : photos_) photo.coarse.clear();
  EXPECT_EQ(Value(Loss(features, features, scale)), fine);
  levels_[0] = {0, 3, 4.0, 2.0};
  EXPECT_THROW(Loss(features, features, scale), c10::Error);
}

TEST_F(DistillationLossTest, IsZeroWithoutPhotographs) {
  pairs_.photos.fill_(-1);
  const Tensor features = torch::randn({3, 3, 5, 6});
  EXPECT_EQ(Value(Loss(features, features, torch::ones({}))), 0.0);
}

class ImitationLossTest : public DistillationLossTest {
 protected:
  Tensor Loss(const Tensor& references,
              const Tensor& queries,
              int64_t iteration = 0) const {
    return ImitationLoss(
        levels_, spaces_, {references}, {queries}, pairs_, photos_, iteration);
  }

  std::vector<ImitationSpace> spaces_ = {
      {torch::tensor({0.3, -0.2, 0.1, 0.5}), torch::eye(4).narrow(1, 0, 3)}};
};

TEST_F(ImitationLossTest, IsOneLessTheCosineByHand) {
  const Tensor references = RandomDoubles({3, 3, 5, 6});
  const Tensor queries = RandomDoubles({3, 3, 5, 6});
  const auto mean = [&](const Tensor& features,
                        const Tensor& photo_from_image) {
    double sum = 0.0;
    int num = 0;
    for (const int64_t b : {0, 2}) {
      const TeacherMap& map =
          photos_[pairs_.photos[b].item<int64_t>()].coarse[0];
      for (int v = 0; v < 5; ++v) {
        for (int u = 0; u < 6; ++u) {
          const Point in_photo =
              Transform(photo_from_image[b], {8.0 * u + 4.0, 8.0 * v + 4.0});
          if (in_photo.first < 0.0 || in_photo.first > kPhotoWidth ||
              in_photo.second < 0.0 || in_photo.second > kPhotoHeight) {
            continue;
          }
          const Vector teacher = SampleByHand(map, in_photo);
          double product = 0.0, norm = 0.0, own_norm = 0.0;
          for (int c = 0; c < 3; ++c) {  // the basis leaves out the fourth
            const double centred = std::sqrt(map.softmax_scale) * teacher[c] -
                                   Value(spaces_[0].mean[c]);
            const double own = Value(features[b][c][v][u]);
            product += own * centred;
            norm += centred * centred;
            own_norm += own * own;
          }
          sum += 1.0 - product / std::sqrt(norm * own_norm);
          ++num;
        }
      }
    }
    return sum / num;
  };
  EXPECT_NEAR(Value(Loss(references, queries)),
              0.5 * (mean(references, pairs_.photo_from_reference) +
                     mean(queries, pairs_.photo_from_query)),
              1e-5);
}

TEST_F(ImitationLossTest, TakesTurnsWithManyCells) {
  levels_ = {{0, 3, 0.5, 0.25}};
  pairs_.photo_from_query = pairs_.photo_from_reference;
  const Tensor features = RandomDoubles({3, 3, 50, 60}).requires_grad_();
  const Tensor others = RandomDoubles({3, 3, 50, 60});
  Tensor turns = torch::zeros({3, 50, 60}, torch::kInt64);
  for (int64_t i = 0; i < 4; ++i) {
    features.mutable_grad() = Tensor();
    Loss(features, others, i).backward();
    turns += (features.grad() != 0.0).any(1);
  }
  EXPECT_TRUE((turns[0] == 1).all().item<bool>());
  EXPECT_TRUE((turns[1] == 0).all().item<bool>());
  EXPECT_TRUE((turns[2] == 1).all().item<bool>());
}

// The teacher's features themselves, in another basis, on the same cells.
TEST_F(ImitationLossTest, IsZeroForTheTeacher) {
  levels_ = {{0, 4, 4.0, 2.0}};
  const Tensor basis = std::get<0>(at::linalg_qr(torch::randn({4, 4})));
  spaces_ = {{torch::zeros({4}), basis}};
  pairs_.photo_from_query = pairs_.photo_from_reference;
  std::vector<Tensor> features;
  for (const int64_t photo : {1, 1, 0}) {
    const Tensor& of_photo = photos_[photo].coarse[0].features;
    features.push_back(basis.t().matmul(of_photo.flatten(1)).view_as(of_photo));
    features.back() /= features.back().norm(2, {0}, true);
    photos_[photo].coarse[0].features = of_photo / of_photo.norm(2, {0}, true);
  }
  const Tensor all = torch::stack(features);
  EXPECT_NEAR(Value(Loss(all, all)), 0.0, 1e-5);
  EXPECT_GT(Value(Loss(all, -all)), 0.9);
}

TEST_F(ImitationLossTest, HasTheGradientOfFiniteDifferences) {
  ExpectGradients(
      [&](const std::vector<Tensor>& inputs) {
        return Loss(inputs[0], inputs[1]);
      },
      {RandomDoubles({3, 3, 5, 6}), RandomDoubles({3, 3, 5, 6})});
}

TEST_F(ImitationLossTest, IsZeroWithoutPhotographs) {
  pairs_.photos.fill_(-1);
  const Tensor features = torch::randn({3, 3, 5, 6});
  EXPECT_EQ(Value(Loss(features, features)), 0.0);
}

// Descriptors that vary in three directions only are kept as they are.
TEST_F(ImitationLossTest, SpacesKeepWhatTeachersSay) {
  const Tensor directions = std::get<0>(at::linalg_qr(torch::randn({6, 3})));
  for (TaughtPhoto& photo : photos_) {
    photo.coarse = {RandomTeacher(4.0, 3, 4.0, true)};
    Tensor& features = photo.coarse[0].features;
    features = directions.matmul(features.flatten(1))
                   .view({6, features.size(1), features.size(2)});
  }
  const Tensor basis = ImitationSpaces(levels_, photos_, 1)[0].basis;
  ASSERT_EQ(basis.sizes(), torch::IntArrayRef({6, 3}));
  const auto difference = [](const Tensor& a, const Tensor& b) {
    return (a - b).abs().max().item<double>();
  };
  EXPECT_LT(difference(basis.t().matmul(basis), torch::eye(3)), 1e-5);
  EXPECT_LT(difference(basis.matmul(basis.t().matmul(directions)), directions),
            1e-5);
}

TEST_F(ImitationLossTest, AStudentMayHaveMoreChannelsThanItsTeachers) {
  levels_[0].channels = 6;
  const Tensor basis = ImitationSpaces(levels_, photos_, 1)[0].basis;
  ASSERT_EQ(basis.sizes(), torch::IntArrayRef({4, 6}));
  const Tensor kept = basis.narrow(1, 0, 4);
  EXPECT_LT((kept.matmul(kept.t()) - torch::eye(4)).abs().max().item<double>(),
            1e-5);
  EXPECT_TRUE((basis.narrow(1, 4, 2) == 0.0).all().item<bool>());
}

TEST_F(ImitationLossTest, SpacesLeaveOutWhatDescriptorsHaveInCommon) {
  Tensor mean = torch::zeros({4});
  for (TaughtPhoto& photo : photos_) {
    photo.coarse = {RandomTeacher(4.0, 4, 9.0, true)};
    Tensor& features = photo.coarse[0].features;
    const Tensor descriptor = torch::randn({4});
    features.copy_(descriptor.view({4, 1, 1}).expand_as(features));
    mean += 3.0 * descriptor / descriptor.norm() /
            static_cast<double>(photos_.size());
  }
  const Tensor found = ImitationSpaces(levels_, photos_, 1)[0].mean;
  EXPECT_LT((found - mean).abs().max().item<double>(), 1e-5);
}

}  // namespace
}  // namespace nre
