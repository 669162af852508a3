#include "s2d/fusion.h"

#include <gtest/gtest.h>

#include "nre/error.h"

namespace nre {
namespace {

TEST(Fusion, NamesAreParsed) {
  for (const Fusion fusion :
       {Fusion::kNearest, Fusion::kMean, Fusion::kMax, Fusion::kSum}) {
    EXPECT_EQ(ParseFusion(FusionName(fusion)), fusion);
  }
  EXPECT_THROW(ParseFusion("Mean"), InputError);
}

TEST(Fusion, WithoutRangesEveryPointHasOneRow) {
  const FusedDescriptors rows;
  EXPECT_EQ(rows.Begin(3), 3u);
  EXPECT_EQ(rows.End(3), 4u);
}

TEST(Fusion, OnlyMaxTakesOneSoftmaxOfSeveralRows) {
  FusedDescriptors rows;
  rows.begins = {0, 1, 4};
  EXPECT_EQ(rows.RowsPerSoftmax(1), 1u);
  rows.fusion = Fusion::kMax;
  EXPECT_EQ(rows.RowsPerSoftmax(0), 1u);
  EXPECT_EQ(rows.RowsPerSoftmax(1), 3u);
}

}  // namespace
}  // namespace nre
