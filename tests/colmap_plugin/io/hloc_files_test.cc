#include "colmap_plugin/io/hloc_files.h"

#include <cstdlib>
#include <filesystem>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

constexpr auto kRead = Hdf5File::Mode::kReadOnly;
constexpr auto kCreate = Hdf5File::Mode::kCreate;

class HlocFilesTest : public testing::Test {
 protected:
  // Writes single arrays into the file h5.
  void Write(const std::string& path,
             const Hdf5Array<float>& array,
             Hdf5Type type = Hdf5Type::kFloat32) {
    std::filesystem::remove(h5_);
    Hdf5File file(h5_, kCreate);
    file.Write(path, array, type);
    file.Close();
  }
  void Write(const std::map<std::string, std::vector<int64_t>>& arrays) {
    std::filesystem::remove(h5_);
    Hdf5File file(h5_, kCreate);
    for (const auto& [path, values] : arrays) {
      const auto size = static_cast<int64_t>(values.size());
      file.Write(path, Hdf5Array<int64_t>{{size}, values}, Hdf5Type::kInt32);
    }
    file.Close();
  }

  template <typename Function>
  std::string ErrorOf(const Function& function) {
    try {
      function();
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }
  std::string FeaturesError(const std::string& image) {
    return ErrorOf([&] { HlocFeaturesFile(h5_, kRead).Read(image); });
  }
  std::string MatchesError(const ImagePair& pair, size_t num1, size_t num2) {
    return ErrorOf([&] { HlocMatchesFile(h5_, kRead).Read(pair, num1, num2); });
  }
  std::string PairsError(const std::vector<std::string>& images) {
    return ErrorOf([&] { HlocMatchesFile(h5_, kRead).Pairs(images); });
  }

  // What tests/data/hloc_files.py prints.
  std::string Python(const std::string& arguments) {
    const std::string log = folder_ / "log";
    const std::string command = "'" NRE_PYTHON "' '" NRE_SOURCE_DIR
                                "'/tests/data/hloc_files.py " +
                                arguments + " >'" + log + "' 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0) << ReadFile(log);
    return ReadFile(log);
  }

  TestFolder folder_;
  std::string h5_ = folder_ / "h5";
};

TEST_F(HlocFilesTest, FeaturesComeBack) {
  HlocFeatures features;
  features.width = 640;
  features.height = 480;
  features.keypoints = {{0.5, 0.5}, {10.25, 479.75}, {639.5, 0.125}};
  {
    HlocFeaturesFile file(h5_, kCreate);
    file.Write("sub/dir/b.jpg", features);
    file.Write("a.jpg", HlocFeatures());
    EXPECT_THAT(ErrorOf([&] { file.Write("a.jpg", features); }),
                HasSubstr("`a.jpg/keypoints` is there already"));
    file.Close();
  }
  const HlocFeaturesFile file(h5_, kRead);
  EXPECT_THAT(file.ImageNames(), ElementsAre("a.jpg", "sub/dir/b.jpg"));
  const HlocFeatures again = file.Read("sub/dir/b.jpg");
  EXPECT_EQ(again.width, 640);
  EXPECT_EQ(again.height, 480);
  EXPECT_EQ(again.keypoints, features.keypoints);
  EXPECT_THAT(file.Read("a.jpg").keypoints, IsEmpty());
}

// A folder called as an array is no image.
TEST_F(HlocFilesTest, FolderNamedKeypoints) {
  HlocFeaturesFile(h5_, kCreate).Write("x/keypoints/a.jpg", HlocFeatures());
  EXPECT_THAT(HlocFeaturesFile(h5_, kRead).ImageNames(),
              ElementsAre("x/keypoints/a.jpg"));
}

TEST_F(HlocFilesTest, MatchesComeBackInEitherOrder) {
  {
    HlocMatchesFile file(h5_, kCreate);
    EXPECT_EQ(file.Write({"s/a.jpg", "b.jpg"}, 4, {{0, 7}, {3, 2}}), 0);
    file.Close();
  }
  const HlocMatchesFile file(h5_, kRead);
  EXPECT_THAT(file.Pairs({"b.jpg", "c.jpg", "s/a.jpg"}),
              ElementsAre(Pair("s/a.jpg", "b.jpg")));
  EXPECT_THAT(file.Read({"s/a.jpg", "b.jpg"}, 4, 8),
              ElementsAre(Pair(0, 7), Pair(3, 2)));
  EXPECT_THAT(file.Read({"b.jpg", "s/a.jpg"}, 8, 4),
              ElementsAre(Pair(7, 0), Pair(2, 3)));
}

TEST_F(HlocFilesTest, OneMatchPerKeypointOfTheFirstImage) {
  HlocMatchesFile file(h5_, kCreate);
  EXPECT_EQ(file.Write({"a", "b"}, 3, {{0, 1}, {0, 2}, {1, 1}, {0, 0}}), 2);
  file.Close();
  EXPECT_THAT(HlocMatchesFile(h5_, kRead).Read({"a", "b"}, 3, 3),
              ElementsAre(Pair(0, 1), Pair(1, 1)));
}

TEST_F(HlocFilesTest, PairsOfTheSameName) {
  HlocMatchesFile file(h5_, kCreate);
  file.Write({"s/a", "b"}, 1, {{0, 0}});
  EXPECT_THAT(ErrorOf([&] {
                file.Write({"s-a", "b"}, 1, {{0, 0}});
              }),
              AllOf(HasSubstr("s-a and b"), HasSubstr("apart")));
}

TEST_F(HlocFilesTest, OldNamesOfPairs) {
  Write({{"n_1-a.jpg_b_2.jpg/matches0", {1, -1}}});
  const HlocMatchesFile file(h5_, kRead);
  const ImagePair pair("n_1/a.jpg", "b_2.jpg");
  EXPECT_THAT(file.Pairs({"b_2.jpg", "n_1/a.jpg"}), ElementsAre(pair));
  EXPECT_THAT(file.Read(pair, 2, 2), ElementsAre(Pair(0, 1)));
  EXPECT_THAT(file.Read({"b_2.jpg", "n_1/a.jpg"}, 2, 2),
              ElementsAre(Pair(1, 0)));
}

TEST_F(HlocFilesTest, PairsThatCannotBeTold) {
  Write({{"a-b.jpg/c.jpg/matches0", {-1}}});
  EXPECT_THAT(PairsError({"a-b.jpg", "a/b.jpg", "c.jpg"}),
              AllOf(HasSubstr("a-b.jpg/c.jpg"),
                    HasSubstr("a/b.jpg and c.jpg"),
                    HasSubstr("pairs file")));
  EXPECT_THAT(PairsError({"a/b.jpg", "d.jpg"}),
              HasSubstr("`a-b.jpg/c.jpg` is not a pair of images"));
  Write({{"a_b_c/matches0", {-1}}});
  EXPECT_THAT(PairsError({"a", "b_c", "a_b", "c"}), HasSubstr("a_b and c"));
  Write({{"a/b/matches", {-1}}});
  EXPECT_THAT(PairsError({"a", "b"}), HasSubstr("no matches"));
}

TEST_F(HlocFilesTest, HalfPrecisionKeypoints) {
  Write("a/keypoints",
        {{2, 2}, {0.0f, 1.1f, 1500.4f, 2048.9f}},
        Hdf5Type::kFloat16);
  const HlocFeatures features = HlocFeaturesFile(h5_, kRead).Read("a");
  ASSERT_EQ(features.keypoints.size(), 2);
  // Eleven bits: steps of 2^-10 from 1, of 1 from 1024 and of 2 from 2048.
  EXPECT_EQ(features.keypoints[0], Eigen::Vector2d(0.5, 1126.0 / 1024 + 0.5));
  EXPECT_EQ(features.keypoints[1], Eigen::Vector2d(1500.5, 2048.5));
  EXPECT_EQ(features.width, 0);
}

TEST_F(HlocFilesTest, BadFeatures) {
  const float kInfinity = std::numeric_limits<float>::infinity();
  Write("a/keypoints", {{1, 2}, {0, kInfinity}});
  EXPECT_THAT(
      FeaturesError("a"),
      AllOf(
          HasSubstr(h5_), HasSubstr("`a/keypoints`"), HasSubstr("not finite")));
  EXPECT_THAT(FeaturesError("b"), HasSubstr("`b/keypoints` is missing"));
  EXPECT_THAT(FeaturesError("a/keypoints/c"), HasSubstr("is missing"));
  EXPECT_THAT(FeaturesError(""), HasSubstr("is missing"));
  Write("a/keypoints", {{2, 3}, {1, 2, 3, 4, 5, 6}});
  EXPECT_THAT(FeaturesError("a"), HasSubstr("3 columns instead of 2"));
  Write("a/keypoints", {{2}, {1, 2}});
  EXPECT_THAT(FeaturesError("a"), HasSubstr("1 dimensions instead of 2"));
  Write("a/keypoints/b", {{2}, {1, 2}});
  EXPECT_THAT(FeaturesError("a"), HasSubstr("not a dataset"));
  Write("a/other", {{2}, {1, 2}});
  EXPECT_THAT(ErrorOf([&] { HlocFeaturesFile(h5_, kRead).ImageNames(); }),
              HasSubstr("no features"));
  {
    std::filesystem::remove(h5_);
    Hdf5File file(h5_, kCreate);
    file.Write("a/keypoints", Hdf5Array<float>{{0, 2}, {}}, Hdf5Type::kFloat32);
    file.Write(
        "a/image_size", Hdf5Array<int64_t>{{3}, {1, 2, 3}}, Hdf5Type::kInt64);
    file.Close();
  }
  EXPECT_THAT(FeaturesError("a"), HasSubstr("`a/image_size` is not"));
}

TEST_F(HlocFilesTest, BadMatches) {
  Write({{"a/b/matches0", {-1, 4}}});
  EXPECT_EQ(MatchesError({"a", "b"}, 2, 5), "");
  EXPECT_THAT(
      MatchesError({"a", "b"}, 2, 4),
      AllOf(HasSubstr("`a/b/matches0` names keypoint 4 of b"), HasSubstr("4")));
  EXPECT_THAT(MatchesError({"b", "a"}, 4, 2), HasSubstr("keypoint 4 of b"));
  EXPECT_THAT(MatchesError({"a", "b"}, 1, 5),
              HasSubstr("is for 2 keypoints, but a has 1"));
  EXPECT_THAT(MatchesError({"b", "a"}, 5, 1), HasSubstr("but a has 1"));
  EXPECT_THAT(MatchesError({"a", "c"}, 2, 5),
              HasSubstr("no matches of a and c"));
  Write({{"a/b/matches0", {-2}}});
  EXPECT_THAT(MatchesError({"a", "b"}, 1, 5), HasSubstr("keypoint -2"));
  Write("a/b/matches0", {{1}, {0.5f}});
  EXPECT_THAT(MatchesError({"a", "b"}, 1, 5),
              HasSubstr("does not have integers"));
}

TEST_F(HlocFilesTest, BadFiles) {
  EXPECT_THAT(FeaturesError("a"), HasSubstr("does not exist"));
  WriteFile(h5_, "this is no HDF5 file, by no means at all");
  EXPECT_THAT(FeaturesError("a"),
              AllOf(HasSubstr(h5_), HasSubstr("not of this format")));
  EXPECT_THROW(HlocFeaturesFile(h5_, kCreate), std::runtime_error);
  // Cut off where the numbers are, and in the middle of the groups.
  Hdf5Array<float> keypoints{{20000, 2}, std::vector<float>(40000, 1.0f)};
  Write("a/keypoints", keypoints);
  const std::string whole = ReadFile(h5_);
  for (const size_t size : {whole.size() - 1000, size_t{900}}) {
    WriteFile(h5_, whole.substr(0, size));
    EXPECT_THAT(FeaturesError("a"), HasSubstr("damaged or incomplete"));
  }
  // Whole, but with a group's contents overwritten.
  std::string damaged = whole;
  for (size_t at = 0; (at = damaged.find("SNOD", at)) != std::string::npos;) {
    damaged.replace(at, 4, "XXXX");
  }
  WriteFile(h5_, damaged);
  EXPECT_THAT(ErrorOf([&] { HlocFeaturesFile(h5_, kRead).ImageNames(); }),
              HasSubstr("damaged"));
}

// h5py is an independent reader and writer.
TEST_F(HlocFilesTest, ReadsWhatHlocWrites) {
  Python("write '" + folder_.path() + "'");
  const HlocFeaturesFile features(folder_ / "features.h5", kRead);
  const std::vector<std::string> names = features.ImageNames();
  EXPECT_THAT(names, ElementsAre("db/one.jpg", "query/night/two.jpg"));
  const HlocFeatures two = features.Read(names[1]);
  EXPECT_EQ(two.width, 1600);
  EXPECT_EQ(two.height, 1200);
  EXPECT_THAT(two.keypoints,
              ElementsAre(Eigen::Vector2d(0.5, 0.5),
                          Eigen::Vector2d(10.75, 21.0),
                          Eigen::Vector2d(1500.5, 4.5)));
  const HlocMatchesFile matches(folder_ / "matches.h5", kRead);
  EXPECT_THAT(matches.Pairs(names), ElementsAre(Pair(names[1], names[0])));
  EXPECT_THAT(matches.Read({names[1], names[0]}, 3, 3),
              ElementsAre(Pair(0, 2), Pair(2, 0)));
}

// As hloc/match_dense.py writes them, and hloc/utils/io.py reads them.
TEST_F(HlocFilesTest, ReadsWhatDenseMatchersOfHlocWrite) {
  Python("write_dense '" + folder_.path() + "'");
  const HlocFeaturesFile features(folder_ / "dense_features.h5", kRead);
  EXPECT_THAT(features.ImageNames(), ElementsAre("a.jpg", "b.jpg", "none.jpg"));
  EXPECT_EQ(features.Read("a.jpg").keypoints.size(), 4);
  EXPECT_THAT(features.Read("none.jpg").keypoints, IsEmpty());

  const HlocMatchesFile matches(folder_ / "dense_matches.h5", kRead);
  EXPECT_THAT(matches.Read({"a.jpg", "b.jpg"}, 4, 3),
              ElementsAre(Pair(0, 1), Pair(2, 0)));
  EXPECT_THAT(matches.Read({"b.jpg", "a.jpg"}, 3, 4),
              ElementsAre(Pair(1, 0), Pair(0, 2)));
  EXPECT_THAT(matches.Read({"a.jpg", "none.jpg"}, 4, 0), IsEmpty());
}

TEST_F(HlocFilesTest, HlocReadsWhatIsWritten) {
  HlocFeatures features;
  features.width = 64;
  features.height = 48;
  features.keypoints = {{0.5, 0.75}, {2001.125, 3.5}};
  features.descriptors = {{3, 2}, {1, 2, 3, 4, 5, 6}};
  HlocFeaturesFile features_file(folder_ / "f.h5", kCreate);
  features_file.Write("s/a.jpg", features);
  features_file.Close();
  HlocMatchesFile matches_file(folder_ / "m.h5", kCreate);
  matches_file.Write({"s/a.jpg", "b.jpg"}, 3, {{2, 70000}, {0, 4}});
  matches_file.Close();
  WriteFile(folder_ / "pairs.txt", "s/a.jpg b.jpg\n");
  const nlohmann::json seen = nlohmann::json::parse(
      Python("read '" + (folder_ / "f.h5") + "' '" + (folder_ / "m.h5") +
             "' '" + (folder_ / "pairs.txt") + "'"));
  EXPECT_EQ(seen, nlohmann::json::parse(R"({
    "features": {"s/a.jpg": {
      "keypoints": ["float32", [[0.0, 0.25], [2000.625, 3.0]]],
      "descriptors": ["float16", [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]],
      "image_size": ["int64", [64, 48]]}},
    "matches": {"s/a.jpg b.jpg": [[[0, 4], [2, 70000]], [1.0, 1.0]]}})"));
}

}  // namespace
}  // namespace nre
