// Results in a file that grows line by line, so that a run that was stopped
// goes on from it.
#pragma once

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "nre/error.h"

namespace nre {

// The words between tabs, which may be empty.
inline std::vector<std::string> SplitTabs(const std::string& line) {
  std::vector<std::string> words;
  std::istringstream stream(line);
  for (std::string word; std::getline(stream, word, '\t');) {
    words.push_back(word);
  }
  return words;
}

// Lines of words between tabs. The first words of a line, `num_key_words`, say
// what it is about. Without a path nothing is kept in a file.
class ResumableTable {
 public:
  // Reads the lines of an earlier run; one that a kill cut off is none. Throws
  // InputError if its columns were other ones, or the file cannot be written.
  ResumableTable(const std::string& path,
                 const std::string& columns,
                 size_t num_key_words)
      : path_(path), num_key_words_(num_key_words) {
    if (path.empty()) return;
    Read(columns);
    // Anew, so that a line that was cut off is gone.
    file_.open(path, std::ios::trunc);
    file_ << columns << '\n';
    for (const auto& [_, line] : lines_) file_ << line << '\n';
    CheckWritten();
  }

  // The line about this, words between tabs; null if there is none.
  const std::string* Find(const std::string& key) const {
    const auto found = lines_.find(key);
    return found == lines_.end() ? nullptr : &found->second;
  }

  // All lines in the order of their keys.
  const std::map<std::string, std::string>& lines() const { return lines_; }

  void Add(const std::string& line) {
    lines_[KeyOf(line)] = line;
    if (path_.empty()) return;
    file_ << line << '\n';
    CheckWritten();
  }

 private:
  std::string KeyOf(const std::string& line) const {
    size_t end = 0;
    for (size_t i = 0; i < num_key_words_ && end != std::string::npos; ++i) {
      end = line.find('\t', end + (i > 0));
    }
    return line.substr(0, end);
  }

  void Read(const std::string& columns) {
    std::ifstream file(path_);
    std::string line;
    if (!std::getline(file, line) || file.eof()) return;
    if (line != columns) {
      throw InputError(path_ +
                       " is the table of another version or of other "
                       "options: expected the columns " +
                       columns + "; name another file");
    }
    while (std::getline(file, line) && !file.eof()) lines_[KeyOf(line)] = line;
  }

  void CheckWritten() {
    if (!file_.flush()) throw InputError("cannot write " + path_);
  }

  std::string path_;
  size_t num_key_words_;
  std::map<std::string, std::string> lines_;  // by key
  std::ofstream file_;
};

}  // namespace nre
