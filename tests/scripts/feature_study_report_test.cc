#include "scripts/benchmark/feature_study_report.h"

#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nre {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

FeatureRecord Record(const std::string& set,
                     const std::string& features,
                     int pair,
                     double within_1) {
  FeatureRecord record;
  record.set = set;
  record.features = features;
  record.reference = "a b.jpg";
  record.query = std::to_string(pair);
  record.num_points = 100;
  record.within_1 = within_1;
  return record;
}

// Three kinds of features on `num` pairs of two sets. On `far` and `near`, base
// has a share of 0.2 and better leads by 0.4, in every pair by more or less;
// other closes that share of it.
std::vector<FeatureRecord> Records(double closed, int num) {
  std::vector<FeatureRecord> records;
  for (const std::string set : {"far", "near"}) {
    for (int i = 0; i < num; ++i) {
      const double base = 0.1 + 0.2 * i / (num - 1);
      const double lead = 0.3 + 0.2 * (i % 2);
      records.push_back(Record(set, "base", i, base));
      records.push_back(Record(set, "better", i, base + lead));
      records.push_back(Record(set, "other", i, base + closed * lead));
    }
  }
  return records;
}

const std::vector<std::string> kFeatures = {"base", "better", "other"};

TEST(FeatureRecord, LineHoldsAll) {
  FeatureRecord record = Record("set", "features=/a b", 3, 0.25);
  record.kind = MapKind::kEpipolar;
  record.nre = 1.5, record.max_nre = 4.25, record.within_2 = 0.5;
  record.chance_1 = 0.125, record.chance_2 = 0.0625;
  record.errors = {0.5, 12.0, std::numeric_limits<double>::infinity()};
  const FeatureRecord read = FeatureRecordFromLine(ToLine(record));
  EXPECT_EQ(ToLine(read), ToLine(record));
  EXPECT_EQ(read.Key(), record.Key());
  EXPECT_EQ(read.errors, record.errors);
  EXPECT_EQ(read.max_nre, 4.25);
  EXPECT_EQ(read.num_points, 100);
}

TEST(FeatureResults, GapIsTheShareThatIsClosed) {
  const GapResult gap = FeatureResults(Records(0.25, 8), kFeatures)
                            .Gap({"base", "better", "other"}, false);
  EXPECT_THAT(gap.sets, ElementsAre("far (coarse)", "near (coarse)"));
  // The same in every pair, hence in every resample.
  EXPECT_NEAR(gap.closed.value, 0.25, 1e-9);
  EXPECT_NEAR(gap.closed.lower, 0.25, 1e-9);
  EXPECT_NEAR(gap.closed.upper, 0.25, 1e-9);
  EXPECT_THAT(gap.sets_below_base, IsEmpty());
}

TEST(FeatureResults, GapLeavesOutSetsWhereTheOtherDoesNotLead) {
  std::vector<FeatureRecord> records = Records(0.5, 8);
  for (FeatureRecord& record : records) {
    if (record.set == "near" && record.features != "base") {
      record.within_1 = 0.05;
    }
  }
  const GapResult gap = FeatureResults(records, kFeatures)
                            .Gap({"base", "better", "other"}, false);
  EXPECT_THAT(gap.sets, ElementsAre("far (coarse)"));
  EXPECT_NEAR(gap.closed.value, 0.5, 1e-9);
  EXPECT_THAT(gap.sets_below_base, ElementsAre("near (coarse)"));
}

TEST(FeatureResults, IntervalIsWiderWithFewerPairsAndHoldsTheValue) {
  double widths[2];
  for (const int k : {0, 1}) {
    std::vector<FeatureRecord> records = Records(0.25, k == 0 ? 4 : 64);
    for (size_t i = 2; i < records.size(); i += 6) {  // every other pair
      records[i].within_1 += 0.2;
    }
    const Estimate closed = FeatureResults(records, kFeatures)
                                .Gap({"base", "better", "other"}, false)
                                .closed;
    EXPECT_LT(closed.lower, closed.value);
    EXPECT_LT(closed.value, closed.upper);
    widths[k] = closed.upper - closed.lower;
  }
  // As 1 / sqrt(pairs).
  EXPECT_NEAR(widths[0] / widths[1], 4.0, 1.5);
}

TEST(FeatureResults, PairsThatSomeFeaturesLackAreLeftOut) {
  std::vector<FeatureRecord> records = Records(0.25, 8);
  records.push_back(Record("far", "better", 100, 0.9));
  records.push_back(Record("unfinished", "base", 0, 0.9));
  const std::string tables = FeatureResults(records, kFeatures).Tables();
  EXPECT_THAT(tables, HasSubstr("| far | better | 8 | 800 | 60.0 ["));
  EXPECT_THAT(tables, Not(HasSubstr("unfinished")));
}

}  // namespace
}  // namespace nre
