// Text files that people and other programs write: their lines, their words,
// and bytes in them that are not UTF-8.
#pragma once

#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace nre {

// Opens a text file and skips the byte order mark that some editors put first.
// The stream says whether it could be opened. Throws InputError for UTF-16.
std::ifstream OpenTextFile(const std::string& path);

struct TextLine {
  size_t number = 0;
  std::string text;  // without blanks at its ends
};

// Returns the lines that are neither blank nor comments, which begin with #.
// Throws InputError if the file, called `what` in messages, cannot be read.
std::vector<TextLine> ReadLines(const std::string& path,
                                const std::string& what);

// Returns the text without blanks, tabs and carriage returns at its ends, as a
// part of it.
std::string_view Trimmed(std::string_view text);

// Returns what is between blanks, as parts of the text.
std::vector<std::string_view> SplitWords(std::string_view text);

// Returns the text as UTF-8, for JSON: each byte that belongs to no character
// is written as % and two digits, %80 to %FF. A % that could be read as the
// begin of such a number, or of %25, is written as %25; any other stays. So the
// bytes can be had back, and names in UTF-8 hardly ever change.
std::string EscapeBytes(const std::string& text);

// Returns the text of which EscapeBytes() made this one.
std::string UnescapeBytes(const std::string& escaped);

}  // namespace nre
