#include "colmap_plugin/io/text_files.h"

#include <random>
#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class TextFiles : public testing::Test {
 protected:
  // Of the file, in one string.
  std::string Read(const std::string& content) {
    WriteFile(folder_ / "file", content);
    std::ifstream file = OpenTextFile(folder_ / "file");
    EXPECT_TRUE(file);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TestFolder folder_;
};

TEST_F(TextFiles, AByteOrderMarkIsSkipped) {
  EXPECT_EQ(Read("\xef\xbb\xbf"
                 "a\nb"),
            "a\nb");
  EXPECT_EQ(Read("\xef\xbb\xbf"), "");
}

TEST_F(TextFiles, NothingElseIsSkipped) {
  for (const std::string content : {"",
                                    "a",
                                    "ab",
                                    "\xef",
                                    "\xef\xbb",
                                    "\xef\xbd\x89.jpg",  // a wide letter
                                    "\xff",
                                    "\xfe.jpg"}) {
    EXPECT_EQ(Read(content), content);
  }
}

TEST_F(TextFiles, Utf16IsRefused) {
  for (const std::string content : {"\xff\xfe"
                                    "a",
                                    "\xfe\xff"
                                    "a"}) {
    try {
      Read(content);
      FAIL();
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr("UTF-8"));
    }
  }
}

// Such as a shell makes of <(command).
TEST_F(TextFiles, PipesAreRead) {
  const std::string path = folder_ / "pipe";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  for (const std::string content : {"a\n",
                                    "\xef\xbb\xbf"
                                    "a\n",
                                    "\xef\xbd\x89\n"}) {
    WriteFile(folder_ / "content", content);
    ASSERT_EQ(
        std::system(
            ("cat " + (folder_ / "content") + " > " + path + " &").c_str()),
        0);
    const std::vector<TextLine> lines = ReadLines(path, "list");
    ASSERT_EQ(lines.size(), 1);
    EXPECT_EQ(lines[0].text,
              content.front() != '\xef' ? "a"
              : content[1] == '\xbb'    ? "a"
                                        : "\xef\xbd\x89");
  }
}

TEST_F(TextFiles, LinesAndWords) {
  WriteFile(folder_ / "file", "\xef\xbb\xbf# x\n \n\t a  b\tc \r\n\nd");
  const std::vector<TextLine> lines = ReadLines(folder_ / "file", "list");
  ASSERT_EQ(lines.size(), 2);
  EXPECT_EQ(lines[0].number, 3);
  EXPECT_EQ(lines[0].text, "a  b\tc");
  EXPECT_THAT(SplitWords(lines[0].text), ElementsAre("a", "b", "c"));
  EXPECT_EQ(lines[1].number, 5);
  EXPECT_EQ(lines[1].text, "d");
  EXPECT_TRUE(SplitWords(" \r\n").empty());
  EXPECT_THROW(ReadLines(folder_.path(), "list"), InputError);
  EXPECT_THROW(ReadLines(folder_ / "absent", "list"), InputError);
}

TEST(EscapeBytes, WritesWhatIsNoUtf8) {
  EXPECT_EQ(EscapeBytes("caf\xe9.jpg"), "caf%E9.jpg");
  EXPECT_EQ(EscapeBytes("caf\xc3\xa9.jpg"), "caf\xc3\xa9.jpg");
  EXPECT_EQ(EscapeBytes("\xc3"), "%C3");
  // Only what could be taken for an escaped byte changes.
  EXPECT_EQ(EscapeBytes("100%.jpg %20 %e9 %7F"), "100%.jpg %20 %e9 %7F");
  EXPECT_EQ(EscapeBytes("%E9 %80 %25"), "%25E9 %2580 %2525");
}

// The JSON library refuses to write what is not UTF-8.
TEST(EscapeBytes, IsUtf8AndCanBeUndone) {
  std::mt19937 random(1);
  const std::string letters =
      "a%%%25E98\x80\xa0\xbf\xc0\xc3\xe0\xe9\xed\xef\xf0\xf4\xf5\xff";
  for (int i = 0; i < 100000; ++i) {
    std::string text;
    for (size_t length = random() % 8; text.size() < length;) {
      text += i % 2 == 0 ? letters[random() % letters.size()]
                         : static_cast<char>(random());
    }
    const std::string escaped = EscapeBytes(text);
    EXPECT_NO_THROW(nlohmann::json(escaped).dump()) << escaped;
    EXPECT_EQ(UnescapeBytes(escaped), text);
    // Valid text is left alone but for percent signs.
    bool valid = true;
    try {
      nlohmann::json(text).dump();
    } catch (const nlohmann::json::exception&) {
      valid = false;
    }
    if (text.find('%') == std::string::npos) {
      EXPECT_EQ(escaped == text, valid) << escaped;
    }
  }
}

}  // namespace
}  // namespace nre
