#include "colmap_plugin/io/raw_matches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

std::string Error(const std::string& path, const std::string& settings) {
  try {
    RawMatchFile file(path, settings);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(RawMatchFile, WhatIsWrittenIsThereWhenOpenedAgain) {
  TestFolder folder;
  {
    RawMatchFile file(folder / "raw", "s");
    EXPECT_FALSE(file.Has("a", "b", 5));
    file.Write("a", "b", 5, {{1, 2.5f, 3.5f, 0.5f}, {4, 5.0f, 6.0f, 0.25f}});
    file.Write("b", "a", ~0ull, {});
  }
  RawMatchFile file(folder / "raw", "s");
  EXPECT_TRUE(file.Has("a", "b", 5));
  EXPECT_FALSE(file.Has("a", "b", 6)) << "other keypoints";
  EXPECT_TRUE(file.Has("b", "a", ~0ull));
  EXPECT_FALSE(file.Has("a", "c", 5));
  const std::vector<RawMatch> matches = file.Read("a", "b");
  ASSERT_EQ(matches.size(), 2);
  EXPECT_EQ(matches[1].keypoint, 4);
  EXPECT_EQ(matches[1].x, 5.0f);
  EXPECT_EQ(matches[1].y, 6.0f);
  EXPECT_EQ(matches[1].score, 0.25f);
  EXPECT_THAT(file.Read("b", "a"), IsEmpty());
  file.Write("a", "b", 6, {});
  EXPECT_THAT(file.Read("a", "b"), IsEmpty());
}

TEST(RawMatchFile, ANewFileWithoutPairsIsRemoved) {
  TestFolder folder;
  RawMatchFile(folder / "raw", "s");
  EXPECT_THAT(List(folder.path()), IsEmpty());
  RawMatchFile(folder / "raw", "s").Write("a", "b", 5, {});
  RunSql(folder / "raw", "DELETE FROM pairs;");
  RawMatchFile(folder / "raw", "s");
  EXPECT_EQ(List(folder.path()).size(), 1) << "was there before";
  // Nor what could not be made a file of pairs.
  WriteFile(folder / "text", "This is a text, and rather a long one, too.");
  EXPECT_NE(Error(folder / "text", "s"), "");
  EXPECT_EQ(List(folder.path()).size(), 2);
}

TEST(RawMatchFile, OtherSettingsAndOtherFiles) {
  TestFolder folder;
  RawMatchFile(folder / "raw", "sift").Write("a", "b", 5, {});
  EXPECT_EQ(Error(folder / "raw", "sift"), "");
  EXPECT_THAT(Error(folder / "raw", "nre"),
              AllOf(HasSubstr("(sift)"), HasSubstr("(nre)")));
  EXPECT_THAT(Error(folder / "absent/raw", "s"), HasSubstr("does not exist"));
  WriteFile(folder / "text", "This is a text, and rather a long one, too.");
  EXPECT_THAT(Error(folder / "text", "s"), HasSubstr("not a database"));
  RunSql(folder / "other.db", "CREATE TABLE t (x INTEGER);");
  const std::string before = ReadFile(folder / "other.db");
  EXPECT_THAT(Error(folder / "other.db", "s"),
              HasSubstr("no file of raw matches"));
  EXPECT_EQ(ReadFile(folder / "other.db"), before);
}

}  // namespace
}  // namespace nre
