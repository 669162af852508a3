#include "colmap_plugin/io/text_files.h"

#include <algorithm>
#include <cstdint>

#include "nre/error.h"

namespace nre {
namespace {

constexpr char kBlanks[] = " \t\r\v\f\n";

// Returns the number of bytes of the UTF-8 character at `begin`; 0 if there is
// none: a byte that cannot be first, one that is missing, a longer form than
// needed, half of a UTF-16 pair, or a number beyond Unicode's.
size_t LengthOfCharacter(const std::string& text, size_t begin) {
  const auto byte = [&](size_t i) {
    return static_cast<uint8_t>(begin + i < text.size() ? text[begin + i] : 0);
  };
  const uint8_t first = byte(0);
  if (first < 0x80) {
    return 1;
  }
  const size_t length = first < 0xc2   ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                        : first < 0xf5 ? 4
                                       : 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) {
      return 0;
    }
  }
  const uint8_t second = byte(1);
  const bool valid =
      !(first == 0xe0 && second < 0xa0) && !(first == 0xed && second >= 0xa0) &&
      !(first == 0xf0 && second < 0x90) && !(first == 0xf4 && second >= 0x90);
  return valid ? length : 0;
}

constexpr char kDigits[] = "0123456789ABCDEF";

// Returns the byte that the three characters at `begin` stand for, if they are
// what EscapeBytes() writes; else -1.
int EscapedByte(const std::string& text, size_t begin) {
  if (begin + 2 >= text.size() || text[begin] != '%') {
    return -1;
  }
  const std::string_view digits = kDigits;
  const size_t high = digits.find(text[begin + 1]);
  const size_t low = digits.find(text[begin + 2]);
  if (high == std::string_view::npos || low == std::string_view::npos) {
    return -1;
  }
  const int byte = static_cast<int>(16 * high + low);
  return byte >= 0x80 || byte == '%' ? byte : -1;
}

}  // namespace

std::ifstream OpenTextFile(const std::string& path) {
  std::ifstream file(path);
  const int first = file.peek();
  if (first != 0xef && first != 0xfe && first != 0xff) {
    return file;
  }
  char bytes[3] = {};
  file.read(bytes, sizeof(bytes));
  const std::string_view begin(bytes, file.gcount());
  if (begin.substr(0, 2) == "\xff\xfe" || begin.substr(0, 2) == "\xfe\xff") {
    throw InputError("The file " + path +
                     " is UTF-16. Expected UTF-8: save it as that.");
  }
  file.clear();
  // Not by seeking: what is read may be a pipe.
  for (size_t i = 0; i < begin.size() && begin != "\xef\xbb\xbf"; ++i) {
    file.unget();
  }
  return file;
}

std::vector<TextLine> ReadLines(const std::string& path,
                                const std::string& what) {
  std::ifstream file = OpenTextFile(path);
  std::vector<TextLine> lines;
  std::string text;
  for (size_t number = 1; std::getline(file, text); ++number) {
    const std::string_view trimmed = Trimmed(text);
    if (!trimmed.empty() && trimmed.front() != '#') {
      lines.push_back({number, std::string(trimmed)});
    }
  }
  // Reading a folder "succeeds" without an end of file.
  if (!file.eof()) {
    throw InputError("The " + what + " " + path +
                     " cannot be read. Check that it exists and that you may "
                     "read it.");
  }
  return lines;
}

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  return begin == std::string_view::npos
             ? std::string_view()
             : text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

std::vector<std::string_view> SplitWords(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t end = 0;;) {
    const size_t begin = text.find_first_not_of(kBlanks, end);
    if (begin == std::string_view::npos) {
      return words;
    }
    end = std::min(text.find_first_of(kBlanks, begin), text.size());
    words.push_back(text.substr(begin, end - begin));
  }
}

std::string EscapeBytes(const std::string& text) {
  std::string escaped;
  for (size_t i = 0; i < text.size();) {
    const size_t length = LengthOfCharacter(text, i);
    if (length > 0 && EscapedByte(text, i) < 0) {
      escaped += text.substr(i, length);
      i += length;
    } else {
      const auto byte = static_cast<uint8_t>(text[i]);
      escaped += {'%', kDigits[byte / 16], kDigits[byte % 16]};
      ++i;
    }
  }
  return escaped;
}

std::string UnescapeBytes(const std::string& escaped) {
  std::string text;
  for (size_t i = 0; i < escaped.size();) {
    const int byte = EscapedByte(escaped, i);
    text += byte < 0 ? escaped[i] : static_cast<char>(byte);
    i += byte < 0 ? 1 : 3;
  }
  return text;
}

}  // namespace nre
