#include "colmap_plugin/io/lists.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Lists : public testing::Test {
 protected:
  std::string Write(const std::string& content) {
    WriteFile(folder_ / "list.txt", content);
    return folder_ / "list.txt";
  }

  template <typename Function>
  std::string Error(Function&& read, const std::string& path) {
    try {
      read(path);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }

  TestFolder folder_;
};

TEST_F(Lists, QueryListWithCommentsAndBlankLines) {
  const std::vector<Query> queries =
      ReadQueryList(Write("# a comment\n\n   \n"
                          "day/1.jpg PINHOLE 640 480 500 510 320 240\r\n"
                          "2.jpg  SIMPLE_RADIAL\t100 80 90 50 40 -0.1"));
  ASSERT_EQ(queries.size(), 2);
  EXPECT_EQ(queries[0].name, "day/1.jpg");
  EXPECT_EQ(queries[0].error, "");
  EXPECT_EQ(CameraWidth(queries[0].camera), 640);
  EXPECT_THAT(CameraParams(queries[0].camera), ElementsAre(500, 510, 320, 240));
  EXPECT_THAT(CameraParams(queries[1].camera), ElementsAre(90, 50, 40, -0.1));
  EXPECT_EQ(queries[1].image_id, colmap::kInvalidImageId);
}

TEST_F(Lists, BadLinesAreFailedQueries) {
  const std::vector<Query> queries =
      ReadQueryList(Write("1.jpg\n"
                          "2.jpg PINHOLY 640 480 500 500 320 240\n"
                          "3.jpg PINHOLE 640 480 500 500 320\n"
                          "4.jpg PINHOLE 640.5 480 500 500 320 240\n"
                          "5.jpg PINHOLE 640 480 abc 500 320 240\n"
                          "6.jpg PINHOLE 640 480 nan 500 320 240\n"
                          "7.jpg PINHOLE 640 480 -1 500 320 240\n"
                          "8.jpg PINHOLE 640 480 500 500 320 240\n"
                          "8.jpg PINHOLE 640 480 500 500 320 240\n"));
  ASSERT_EQ(queries.size(), 9);
  EXPECT_THAT(queries[0].error,
              testing::AllOf(HasSubstr("line 1"), HasSubstr("no intrinsics")));
  EXPECT_THAT(queries[1].error, HasSubstr("unknown camera model 'PINHOLY'"));
  EXPECT_THAT(queries[2].error, HasSubstr("4 parameters"));
  EXPECT_THAT(queries[3].error, HasSubstr("640.5"));
  EXPECT_THAT(queries[4].error, HasSubstr("abc"));
  EXPECT_THAT(queries[5].error, HasSubstr("nan"));
  EXPECT_THAT(queries[6].error, HasSubstr("focal length"));
  EXPECT_EQ(queries[7].error, "");
  EXPECT_THAT(queries[8].error, HasSubstr("listed before"));
}

TEST_F(Lists, UnknownFocalLengths) {
  const std::vector<Query> queries =
      ReadQueryList(Write("1.jpg SIMPLE_RADIAL 1536 1024 0 700 500 0.1\n"
                          "2.jpg OPENCV 100 200 -1 0 50 90 1 2 3 4\n"
                          "3.jpg SIMPLE_RADIAL 1536 1024\n"
                          "4.jpg SIMPLE_RADIAL 1536 1024 900 700 500 0.1\n"
                          "5.jpg OPENCV 100 200 0 90 50 90 1 2 3 4\n"
                          "6.jpg PINHOLY 100 200\n"
                          "7.jpg OPENCV 100 200 0 0\n"));
  ASSERT_EQ(queries.size(), 7);
  EXPECT_THAT(CameraParams(queries[0].camera),
              ElementsAre(1.2 * 1536, 700, 500, 0.1));
  EXPECT_THAT(CameraParams(queries[1].camera),
              ElementsAre(240, 240, 50, 90, 1, 2, 3, 4));
  EXPECT_THAT(CameraParams(queries[2].camera),
              ElementsAre(1.2 * 1536, 768, 512, 0));
  EXPECT_THAT(CameraParams(queries[3].camera), ElementsAre(900, 700, 500, 0.1));
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(queries[i].error, "");
    EXPECT_EQ(queries[i].focal_length_unknown, i < 3) << i;
  }
  EXPECT_THAT(queries[4].error, HasSubstr("focal length is not positive"));
  EXPECT_THAT(queries[5].error, HasSubstr("unknown camera model"));
  EXPECT_THAT(queries[6].error, HasSubstr("8 parameters"));
}

TEST_F(Lists, UselessQueryLists) {
  EXPECT_THAT(Error(ReadQueryList, Write("")), HasSubstr("no usable line"));
  EXPECT_THAT(Error(ReadQueryList, Write("1.jpg\n2.jpg\n")),
              HasSubstr("no intrinsics"));
  EXPECT_THAT(Error(ReadQueryList, folder_ / "absent"),
              HasSubstr("cannot be read"));
  EXPECT_THAT(Error(ReadQueryList, folder_.path()),
              HasSubstr("cannot be read"));
}

TEST_F(Lists, Priors) {
  const std::map<std::string, Priors> priors = ReadPriors(Write(
      R"({"name": "a b.jpg", "position": [1, 2, 3], "position_std": 0.5})"
      "\n\n"
      R"({"name": "b.jpg", "position": [1, 2, 3], "position_std": [1, 2, 3],)"
      R"( "gravity": [0, 9.81, 0], "gravity_std_deg": 2,)"
      R"( "world_down": [0, 0, -2]})"
      "\n"
      R"({"name": "c.jpg", "position": [1, 2, 3], "position_covariance":)"
      R"( [[2, 1, 0], [1, 2, 0], [0, 0, 1]]})"));
  ASSERT_EQ(priors.size(), 3);
  const Priors& a = priors.at("a b.jpg");
  ASSERT_TRUE(a.position.has_value());
  EXPECT_FALSE(a.gravity.has_value());
  EXPECT_EQ(a.position->mean, Eigen::Vector3d(1, 2, 3));
  EXPECT_EQ(a.position->covariance, 0.25 * Eigen::Matrix3d::Identity());
  const Priors& b = priors.at("b.jpg");
  ASSERT_TRUE(b.gravity.has_value());
  EXPECT_EQ(b.position->covariance.diagonal(), Eigen::Vector3d(1, 4, 9));
  EXPECT_EQ(b.gravity->down_in_cam, Eigen::Vector3d(0, 1, 0));
  EXPECT_EQ(b.gravity->down_in_world, Eigen::Vector3d(0, 0, -1));
  EXPECT_EQ(b.gravity->stddev_deg, 2.0);
  EXPECT_EQ(priors.at("c.jpg").position->covariance(1, 0), 1.0);
}

TEST_F(Lists, BadPriors) {
  const auto error = [&](const std::string& line) {
    return Error(ReadPriors, Write("\n" + line + "\n"));
  };
  const std::string position = R"({"name": "a", "position": [1, 2, 3])";
  const std::string gravity = R"({"name": "a", "gravity": [0, 1, 0])";
  EXPECT_THAT(error("a.jpg 1 2 3"),
              testing::AllOf(HasSubstr("line 2"),
                             HasSubstr("JSON object"),
                             HasSubstr("world_down")));
  EXPECT_THAT(error(R"({"position": [1, 2, 3]})"), HasSubstr("`name`"));
  EXPECT_THAT(error(R"({"name": "a"})"), HasSubstr("neither"));
  EXPECT_THAT(error(position + "}"), HasSubstr("`position_std`"));
  EXPECT_THAT(error(position + R"(, "position_std": 0})"),
              HasSubstr("not positive"));
  EXPECT_THAT(error(position + R"(, "position_std": "1"})"),
              HasSubstr("not a number"));
  EXPECT_THAT(error(position + R"(, "position_std": [1, 2]})"),
              HasSubstr("[x, y, z]"));
  EXPECT_THAT(error(position + R"(, "position_covariance": [[1, 0, 0]]})"),
              HasSubstr("three rows"));
  EXPECT_THAT(error(position + R"(, "position_covariance":)"
                               R"( [[1, 2, 0], [2, 1, 0], [0, 0, 1]]})"),
              HasSubstr("positive definite"));
  EXPECT_THAT(error(position + R"(, "position_std": 1, "pos": 1})"),
              HasSubstr("`pos`"));
  EXPECT_THAT(error(gravity + "}"), HasSubstr("`world_down` is missing"));
  EXPECT_THAT(error(gravity + R"(, "world_down": [0, 0, 0]})"),
              HasSubstr("no direction"));
  EXPECT_THAT(error(gravity + R"(, "world_down": [0, 0, -1]})"),
              HasSubstr("`gravity_std_deg` is missing"));
  EXPECT_THAT(error(gravity + R"(, "world_down": [0, 0, -1],)"
                              R"( "gravity_std_deg": -1})"),
              HasSubstr("not positive"));
  EXPECT_THAT(error(position + R"(, "position_std": 1})" + "\n" + position +
                    R"(, "position_std": 1})"),
              testing::AllOf(HasSubstr("line 3"), HasSubstr("before")));
  EXPECT_THAT(Error(ReadPriors, Write("")), HasSubstr("empty"));
  EXPECT_THAT(Error(ReadPriors, folder_ / "absent"),
              HasSubstr("cannot be read"));
}

TEST_F(Lists, ImageList) {
  EXPECT_THAT(ReadImageList(Write("# x\na.jpg\n\n b c.jpg \r\n")),
              ElementsAre("a.jpg", "b c.jpg"));
  EXPECT_THAT(Error(ReadImageList, Write("# x\n")), HasSubstr("no image"));
  EXPECT_THAT(Error(ReadImageList, folder_ / "absent"),
              HasSubstr("cannot be read"));
}

TEST_F(Lists, PairsKeepTheirOrder) {
  const Pairs pairs = ReadPairs(Write("q1 b\nq2 a\nq1 a\n"));
  EXPECT_EQ(pairs.size(), 2);
  EXPECT_THAT(pairs.at("q1"), ElementsAre("b", "a"));
  EXPECT_THAT(pairs.at("q2"), ElementsAre("a"));
}

TEST_F(Lists, BadPairs) {
  EXPECT_THAT(Error(ReadPairs, Write("q1 a\nq2\n")), HasSubstr("line 2"));
  EXPECT_THAT(Error(ReadPairs, Write("q1 a b\n")), HasSubstr("line 1"));
  EXPECT_THAT(Error(ReadPairs, Write("")), HasSubstr("empty"));
  EXPECT_THAT(Error(ReadPairs, folder_ / "absent"),
              HasSubstr("cannot be read"));
}

constexpr char kMark[] = "\xef\xbb\xbf";

TEST_F(Lists, QueriesWithBlanksInTheirNames) {
  const std::vector<Query> queries =
      ReadQueryList(Write("a plan (2).jpg PINHOLE 640 480 500 510 320 240 \r\n"
                          "a  PINHOLE\t 7.jpg SIMPLE_RADIAL 640 480\n"
                          "a FOV 640 480.jpg PINHOLE 640 480 0 0 320 240\n"
                          "PINHOLE PINHOLE 640 480 500 510 320 240\n"
                          "b c.jpg PINHOLY 640 480 500 500 320 240\n"
                          "no camera.jpg\n"
                          "number.jpg 640 480 500 500 320 240\n"
                          "PINHOLE 640 480 500 500 320 240\n"));
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"a plan (2).jpg", ""},
      {"a  PINHOLE\t 7.jpg", ""},
      {"a FOV 640 480.jpg", ""},
      {"PINHOLE", ""},
      {"b c.jpg", "unknown camera model 'PINHOLY'"},
      {"no camera.jpg", "no intrinsics"},
      {"number.jpg", "unknown camera model '640'"},
      {"PINHOLE", "unknown camera model '640'"}};
  ASSERT_EQ(queries.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(queries[i].name, expected[i].first);
    EXPECT_THAT(queries[i].error, HasSubstr(expected[i].second));
    EXPECT_EQ(queries[i].error.empty(), i < 4) << queries[i].error;
  }
  EXPECT_THAT(CameraParams(queries[0].camera), ElementsAre(500, 510, 320, 240));
  EXPECT_EQ(CameraModelIdOf(queries[1].camera), 2);
  EXPECT_EQ(CameraModelIdOf(queries[2].camera), 1);
}

TEST_F(Lists, PairsOfNamesWithBlanks) {
  const Pairs pairs =
      ReadPairs(Write("a q.jpg\tb  r.jpg \r\n"
                      "a q.jpg \t\t c.jpg\n"
                      "\"a q.jpg\" \"d r.jpg\"\n"
                      "\"a q.jpg\" e.jpg\n"
                      "x.jpg \"f r.jpg\"\n"
                      "\"a \"\"7\"\".jpg\"\t\"g\th.jpg\"\n"
                      "\"y i\"j.jpg\n"));
  EXPECT_THAT(pairs.at("a q.jpg"),
              ElementsAre("b  r.jpg", "c.jpg", "d r.jpg", "e.jpg"));
  EXPECT_THAT(pairs.at("x.jpg"), ElementsAre("f r.jpg"));
  EXPECT_THAT(pairs.at("a \"7\".jpg"), ElementsAre("g\th.jpg"));
  // Not in quotes, since these do not end where a word does.
  EXPECT_THAT(pairs.at("\"y"), ElementsAre("i\"j.jpg"));

  EXPECT_THAT(Error(ReadPairs, Write("a b.jpg c.jpg\n")),
              testing::AllOf(
                  HasSubstr("line 1"), HasSubstr("tab"), HasSubstr("quotes")));
  EXPECT_THAT(Error(ReadPairs, Write("a\tb\tc\n")), HasSubstr("line 1"));
  EXPECT_THAT(Error(ReadPairs, Write("\"a b\"\n")), HasSubstr("line 1"));
}

TEST_F(Lists, PairsAreReadAsTheyAreWritten) {
  EXPECT_EQ(PairLine({"a.jpg", "sub/b\"c.jpg"}), "a.jpg sub/b\"c.jpg\n");
  std::vector<std::string> names = {"a.jpg",
                                    "a b.jpg",
                                    "a\tb.jpg",
                                    "\"a\".jpg",
                                    "\"a\"",
                                    "\"\"",
                                    "#a.jpg",
                                    "a \"b\" c",
                                    "a\"b",
                                    " a ",
                                    "caf\xe9 1.jpg"};
  for (const std::string& first : names) {
    for (const std::string& second : names) {
      const Pairs pairs = ReadPairs(Write(PairLine({first, second})));
      EXPECT_EQ(pairs, (Pairs{{first, {second}}}));
    }
  }
}

TEST_F(Lists, PosesOfNamesWithBlanks) {
  const Poses poses =
      ReadPoses(Write("a plan  (2).jpg 1 0 0 0 1 2 3 \r\n"
                      "b.jpg\t1 0 0 0 4e-001\t5 6\n"
                      "frame 7 1 0 0 0 1e+000 2 3\n"));
  ASSERT_EQ(poses.size(), 3);
  EXPECT_EQ(poses.at("a plan  (2).jpg").translation, Eigen::Vector3d(1, 2, 3));
  EXPECT_EQ(poses.at("b.jpg").translation, Eigen::Vector3d(0.4, 5, 6));
  EXPECT_EQ(poses.at("frame 7").translation, Eigen::Vector3d(1, 2, 3));
  EXPECT_THAT(Error(ReadPoses, Write("a b.jpg 1 0 0 0 1 2\n")),
              HasSubstr("'b.jpg' is not a number"));
}

TEST_F(Lists, AByteOrderMarkIsIgnored) {
  const std::string mark = kMark;
  EXPECT_EQ(
      ReadQueryList(Write(mark + "a.jpg PINHOLE 640 480 1 1 2 2"))[0].name,
      "a.jpg");
  EXPECT_EQ(
      ReadQueryList(Write(mark + "#x\na.jpg PINHOLE 640 480 1 1 2 2")).size(),
      1);
  EXPECT_EQ(ReadPairs(Write(mark + "a.jpg b.jpg")).count("a.jpg"), 1);
  EXPECT_EQ(ReadPoses(Write(mark + "a.jpg 1 0 0 0 1 2 3")).count("a.jpg"), 1);
  EXPECT_THAT(ReadImageList(Write(mark + "a.jpg\n")), ElementsAre("a.jpg"));
  EXPECT_EQ(
      ReadPriors(
          Write(
              mark +
              R"({"name": "a.jpg", "position": [1, 2, 3], "position_std": 1})"))
          .count("a.jpg"),
      1);
}

// As a text editor writes a name in Latin-1. What looks escaped is not.
TEST_F(Lists, PriorsOfNamesInAnotherEncoding) {
  const std::string position =
      R"(", "position": [1, 2, 3], "position_std": 1})";
  const std::map<std::string, Priors> priors =
      ReadPriors(Write("{\"name\": \"caf\xe9.jpg" + position +
                       "\n{\"name\": \"caf%E9.jpg" + position));
  EXPECT_EQ(priors.count("caf\xe9.jpg"), 1);
  EXPECT_EQ(priors.count("caf%E9.jpg"), 1);
}

}  // namespace
}  // namespace nre
