#include "scripts/benchmark/pair_study_report.h"

#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nre/error.h"

namespace nre {
namespace {

using testing::HasSubstr;
using testing::Not;

// Ten pairs q0, r to q9, r of a model whose unit is two metres.
std::vector<ModelPair> Pairs() {
  std::vector<ModelPair> pairs(10);
  for (int i = 0; i < 10; ++i) {
    pairs[i].query_name = "q" + std::to_string(i);
    pairs[i].reference_name = "r";
    pairs[i].metres_per_unit = 2.0;
    pairs[i].overlap = i < 4 ? 0.1 : 0.5;
    pairs[i].difficulties = {1.0 + i, 10.0, i < 2 ? 2.5 : 1.0};
    pairs[i].thirds = {i * 3 / 10, 0, 0};
  }
  return pairs;
}

PairRecord Record(int pair, double center_m, double rotation_deg) {
  PairRecord record;
  record.features = "compact";
  record.method = "nre";
  record.query = "q" + std::to_string(pair);
  record.reference = "r";
  record.verdict = Verdict::kRegistered;
  record.error = {center_m / 2.0, rotation_deg};
  return record;
}

PairRecord Rejected(PairRecord record, const std::string& why) {
  record.verdict = Verdict::kRejected;
  record.why = why;
  return record;
}

std::vector<PairRecord> Records() {
  PairRecord failed = Rejected(Record(9, 0, 0), "no_pose");
  failed.verdict = Verdict::kFailed;
  failed.error = PoseError();
  return {Record(0, 0.2, 1.0),
          Record(1, 0.2, 1.0),
          Record(2, 0.3, 1.0),  // right at the second threshold
          Record(3, 0.2, 4.0),  // the same
          Record(4, 4.0, 1.0),  // at the last one
          Record(5, 50.0, 1.0),
          Rejected(Record(6, 0.2, 1.0), "mirrored"),
          Rejected(Record(7, 0.2, 90.0), "mirrored"),
          Rejected(Record(8, 0.4, 1.0), "ambiguous"),
          failed};
}

// The table under the title, up to the next one.
std::string TableOf(const std::string& tables, const std::string& title) {
  const size_t begin = tables.find("\n" + title);
  if (begin == std::string::npos) return "";
  const size_t rows = tables.find("|\n\n", begin);
  return tables.substr(begin, rows - begin);
}

// The cells of the row that begins with the name, without blanks around them.
std::vector<std::string> CellsOf(const std::string& table,
                                 const std::string& name) {
  std::istringstream row(table.substr(table.find("| " + name + " |")));
  std::string line, cell;
  std::getline(row, line);
  std::istringstream cells(line.substr(1));
  std::vector<std::string> all;
  while (std::getline(cells, cell, '|')) {
    const size_t begin = cell.find_first_not_of(' ');
    const size_t end = cell.find_last_not_of(' ');
    if (begin != std::string::npos) {
      all.push_back(cell.substr(begin, end + 1 - begin));
    }
  }
  return all;
}

std::vector<std::string> Values(const std::vector<std::string>& cells) {
  std::vector<std::string> values;
  for (const std::string& cell : cells) {
    values.push_back(cell.substr(0, cell.find(" [")));
  }
  return values;
}

TEST(PairRecord, LineHoldsAll) {
  for (const PairRecord& record : Records()) {
    const PairRecord read = PairRecordFromLine(ToLine(record));
    EXPECT_EQ(ToLine(read), ToLine(record));
    EXPECT_EQ(read.Key(), record.Key());
    EXPECT_EQ(read.verdict, record.verdict);
    EXPECT_EQ(read.why, record.why);
    EXPECT_EQ(read.error.center, record.error.center);
  }
  EXPECT_THROW(PairRecordFromLine("compact\tnre\tq0"), InputError);
}

TEST(PairTables, CountWhatIsNotRight) {
  const std::string tables = PairTables(Pairs(), Records());
  EXPECT_THAT(Values(CellsOf(TableOf(tables, "all\n"), "compact, nre")),
              testing::ElementsAre("compact, nre",
                                   "10",
                                   "0.80",
                                   "0.60",
                                   "0.50",
                                   "0.70",   // found: 0, 1 and 6
                                   "0.40",   // 2, 3 and 8, too
                                   "0.30",   // and 4
                                   "0.60"))  // 0 to 5 are registered
      << tables;
}

TEST(PairTables, HaveIntervals) {
  const std::vector<std::string> cells =
      CellsOf(TableOf(PairTables(Pairs(), Records()), "all\n"), "compact, nre");
  // Of ten pairs with a rate of 0.8, 90 % of the resamples have 0.6 to 1.
  EXPECT_EQ(cells.at(2), "0.80 [0.60, 1.00]");
}

TEST(PairTables, AreOfGroups) {
  const std::string tables = PairTables(Pairs(), Records());
  const auto values = [&](const std::string& title) {
    return Values(CellsOf(TableOf(tables, title), "compact, nre"));
  };
  EXPECT_EQ(values("viewpoint distance, easy: 1 to 4 m").at(1), "4");
  EXPECT_EQ(values("viewpoint distance, easy").at(2), "0.50");
  EXPECT_EQ(values("viewpoint distance, hard: 8 to 10 m").at(1), "3");
  EXPECT_EQ(values("viewpoint distance, hard").at(8), "0.00");
  EXPECT_EQ(values("viewing angle, small").at(1), "10");
  EXPECT_EQ(values("zoom > 2.1").at(1), "2");
  EXPECT_EQ(values("zoom > 2.1").at(8), "1.00");
  EXPECT_EQ(values("overlap < 15 %").at(1), "4");
  // No pair is in it.
  EXPECT_EQ(TableOf(tables, "viewing angle, large"), "");
}

TEST(PairTables, SayWhyPairsAreNotRegisteredAndWhichShouldNotBe) {
  const std::string tables = PairTables(Pairs(), Records());
  EXPECT_THAT(CellsOf(TableOf(tables, "Verdicts"), "compact, nre"),
              testing::ElementsAre(
                  "compact, nre",
                  "10",
                  "6",
                  "4",
                  "2",
                  "1",
                  "ambiguous 1 (1 right), mirrored 2 (1 right), no_pose 1 (0 "
                  "right)"))
      << tables;
}

TEST(PairTables, PutMethodsSideBySideAndLeaveOutOtherPairs) {
  std::vector<PairRecord> records = Records();
  PairRecord sift = Record(0, 0.1, 0.1);
  sift.features = "SIFT";
  sift.method = "magsac";
  records.push_back(sift);
  sift.query = "of another selection";
  records.push_back(sift);
  const std::string tables = PairTables(Pairs(), records);
  const std::string all = TableOf(tables, "all\n");
  EXPECT_EQ(Values(CellsOf(all, "SIFT, magsac")).at(1), "1");
  EXPECT_EQ(Values(CellsOf(all, "SIFT, magsac")).at(2), "0.00");
  EXPECT_EQ(Values(CellsOf(all, "compact, nre")).at(1), "10");
  EXPECT_THAT(TableOf(tables, "viewpoint distance, hard"),
              Not(HasSubstr("SIFT")));
}

}  // namespace
}  // namespace nre
