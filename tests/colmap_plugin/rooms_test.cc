// What crosses the wall between the plugin and the other rooms. COLMAP 3.8
// specialises std::vector for some types of Eigen, so that the plugin and the
// others, which do not see its headers, mean two types by the same name: the
// linker does not notice, and the compiler cannot.

#include <filesystem>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {

// Is not static, so that its name is among this program's symbols.
size_t TakesSpecialisedVector(const std::vector<Eigen::Vector2d>& vector) {
  return vector.size();
}

namespace {

namespace fs = std::filesystem;

// The types of the list in COLMAP 3.8's util/alignment.h, as nm prints them.
bool NamesSpecialisedVector(const std::string& symbol) {
  static const std::regex pattern(
      "vector<Eigen::(Matrix<double, (2, 1|4, 1|2, 2|4, 4|3, 4),|"
      "Matrix<float, (4, 1|2, 2|4, 4|3, 4),|"
      "Transform<(double|float), 3, 2,|Quaternion<)");
  return std::regex_search(symbol, pattern);
}

struct Symbols {
  std::set<std::string> defined;
  std::set<std::string> undefined;
};

// The symbols in namespace nre of a library or program.
Symbols SymbolsOf(const std::string& path) {
  const RunResult nm = RunShell("nm --demangle '" + path + "'");
  EXPECT_EQ(nm.exit_code, 0) << nm.output;
  Symbols symbols;
  std::istringstream lines(nm.output);
  // An address or none, the kind, and the name.
  const std::regex pattern("^[0-9a-f ]+ ([A-Za-z]) (nre::.*)$");
  std::smatch match;
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_match(line, match, pattern)) {
      (match[1] == "U" ? symbols.undefined : symbols.defined).insert(match[2]);
    }
  }
  return symbols;
}

// What the plugin calls in other rooms.
std::set<std::string> CalledSymbols() {
  const Symbols plugin = SymbolsOf(NRE_PLUGIN_LIBRARY);
  std::set<std::string> called;
  for (const std::string& symbol : plugin.undefined) {
    if (plugin.defined.count(symbol) == 0) called.insert(symbol);
  }
  return called;
}

TEST(Rooms, NoSpecialisedVectorIsAnArgument) {
  const std::set<std::string> called = CalledSymbols();
  EXPECT_GT(called.size(), 20);  // they are found at all
  for (const std::string& symbol : called) {
    EXPECT_FALSE(NamesSpecialisedVector(symbol)) << symbol;
  }
  // It would be found.
  EXPECT_EQ(TakesSpecialisedVector(std::vector<Eigen::Vector2d>()), 0);
  const std::string self = fs::read_symlink("/proc/self/exe").string();
  int num_found = 0;
  for (const std::string& symbol : SymbolsOf(self).defined) {
    num_found += symbol.find("TakesSpecialisedVector") != std::string::npos &&
                 NamesSpecialisedVector(symbol);
  }
  EXPECT_EQ(num_found, 1);
}

// A symbol does not have the type of what a function returns.
TEST(Rooms, NoSpecialisedVectorIsReturnedOrAMember) {
  const std::set<std::string> called = CalledSymbols();
  const std::regex pattern(
      R"(std::vector<Eigen::Vector2d>>?\s+(\w+)\s*([({;=]))");
  int num_functions = 0;
  for (const std::string room : {"nre", "s2d"}) {
    for (const auto& entry :
         fs::directory_iterator(fs::path(NRE_SOURCE_DIR) / room)) {
      if (entry.path().extension() != ".h") continue;
      const std::string header = ReadFile(entry.path().string());
      for (std::sregex_iterator found(header.begin(), header.end(), pattern);
           found != std::sregex_iterator();
           ++found) {
        const std::string name = (*found)[1];
        EXPECT_EQ((*found)[2], "(") << entry.path() << ": " << name;
        ++num_functions;
        for (const std::string& symbol : called) {
          EXPECT_THAT(symbol,
                      testing::Not(testing::HasSubstr("::" + name + "(")));
        }
      }
    }
  }
  EXPECT_GT(num_functions, 0);  // as ProjectAll()
}

}  // namespace
}  // namespace nre
