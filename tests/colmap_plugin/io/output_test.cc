#include "colmap_plugin/io/output.h"

#include <csignal>
#include <filesystem>
#include <sys/resource.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class OutputTest : public testing::Test {
 protected:
  OutputTest() { fs::create_directory(folder_ / "input"); }

  std::string Error(const std::string& output_path) const {
    try {
      OutputFolder output(output_path, {folder_ / "input"});
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }

  TestFolder folder_;
};

TEST_F(OutputTest, AppearsOnCommitOnly) {
  OutputFolder output(folder_ / "new", {folder_ / "input"});
  WriteTextFile(output.path() + "/file", "text");
  EXPECT_FALSE(fs::exists(folder_ / "new"));
  CommitAll({&output});
  EXPECT_EQ(ReadFile(folder_ / "new/file"), "text");
  EXPECT_THAT(List(folder_.path()), ElementsAre("input", "new"));
}

TEST_F(OutputTest, ReplacesAnEmptyFolder) {
  fs::create_directory(folder_ / "empty");
  OutputFolder output(folder_ / "empty/", {folder_ / "input"});
  WriteTextFile(output.path() + "/file", "text");
  CommitAll({&output});
  EXPECT_EQ(ReadFile(folder_ / "empty/file"), "text");
}

TEST_F(OutputTest, NothingStaysWithoutCommit) {
  {
    OutputFolder output(folder_ / "new", {folder_ / "input"});
    OutputFile file(folder_ / "new.db", {folder_ / "input"});
    WriteTextFile(output.path() + "/file", "text");
    WriteTextFile(file.path(), "text");
  }
  EXPECT_THAT(List(folder_.path()), ElementsAre("input"));
}

TEST_F(OutputTest, RefusedPlaces) {
  fs::create_directory(folder_ / "full");
  WriteFile(folder_ / "full/cameras.bin", "");
  WriteFile(folder_ / "file", "");
  fs::create_directory_symlink(folder_ / "input", folder_ / "link");
  EXPECT_THAT(Error(folder_ / "input"), HasSubstr("never changed"));
  EXPECT_THAT(Error(folder_ / "input/"), HasSubstr("never changed"));
  EXPECT_THAT(Error(folder_ / "x/../input"), HasSubstr("never changed"));
  EXPECT_THAT(Error(folder_ / "input/below"), HasSubstr("never changed"));
  EXPECT_THAT(Error(folder_ / "link"), HasSubstr("never changed"));
  EXPECT_THAT(Error(folder_ / "full"), HasSubstr("not empty"));
  EXPECT_THAT(Error(folder_.path()), HasSubstr("not empty"));
  EXPECT_THAT(Error(folder_ / "file"), HasSubstr("is a file"));
  EXPECT_THAT(Error(folder_ / "no/such"), HasSubstr("parent"));
  EXPECT_THAT(Error(""), HasSubstr("empty"));
  EXPECT_THROW(OutputFile(folder_ / "file", {}), InputError);
  EXPECT_EQ(Error(folder_ / "input2"), "");  // not inside of "input"
}

TEST_F(OutputTest, AllOrNothing) {
  OutputFolder first(folder_ / "first", {});
  OutputFile second(folder_ / "second", {});
  OutputFolder third(folder_ / "third", {});
  WriteTextFile(second.path(), "text");
  // Meanwhile somebody else makes the third impossible.
  fs::create_directory(folder_ / "third");
  WriteFile(folder_ / "third/file", "theirs");
  EXPECT_THROW(CommitAll({&first, &second, &third}), std::runtime_error);
  EXPECT_FALSE(fs::exists(folder_ / "first"));
  EXPECT_FALSE(fs::exists(folder_ / "second"));
  EXPECT_EQ(ReadFile(folder_ / "third/file"), "theirs");
}

TEST_F(OutputTest, FilesBesideAnOutputFileAreNotPublished) {
  {
    OutputFile file(folder_ / "new.db", {});
    WriteTextFile(file.path(), "text");
    WriteTextFile(file.path() + "-journal", "text");
    CommitAll({&file});
  }
  EXPECT_THAT(List(folder_.path()), ElementsAre("input", "new.db"));
}

TEST_F(OutputTest, EmergencyExitRemovesEverything) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        OutputFolder output(folder_ / "new", {});
        WriteTextFile(output.path() + "/file", "text");
        RemoveTemporaryFolders();
        _exit(fs::exists(output.path()) ? 1 : 0);
      },
      testing::ExitedWithCode(0),
      "");
  EXPECT_THAT(List(folder_.path()), ElementsAre("input"));
}

TEST(WriteTextFile, FullDiskIsAnError) {
  // Every write to it fails with "no space left on device".
  EXPECT_THROW(WriteTextFile("/dev/full", "text"), std::runtime_error);
  EXPECT_THROW(WriteTextFile("/no/such/folder/file", ""), std::runtime_error);
}

}  // namespace
}  // namespace nre
