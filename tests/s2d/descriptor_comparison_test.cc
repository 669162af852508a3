#include "s2d/descriptor_comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nre/error.h"

namespace nre {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(DescriptorComparisonTest, ComesBackAsItWasWritten) {
  for (const float scale : {0.07f, 24.0f, 25.007996f, 1e30f}) {
    for (const bool unit_norm : {false, true}) {
      StoredMetadata metadata = {{"network", "some"}};
      AddDescriptorComparison({scale, unit_norm}, &metadata);
      const auto read = ReadDescriptorComparison(metadata, "file");
      EXPECT_FLOAT_EQ(read.softmax_scale.value(), scale);
      EXPECT_EQ(read.unit_norm, unit_norm);
      EXPECT_EQ(metadata.at("network"), "some");
    }
  }
}

TEST(DescriptorComparisonTest, NothingIsNothing) {
  StoredMetadata metadata;
  AddDescriptorComparison({}, &metadata);
  EXPECT_TRUE(metadata.empty());
  const auto read = ReadDescriptorComparison({{"network", "some"}}, "file");
  EXPECT_FALSE(read.softmax_scale.has_value());
  EXPECT_FALSE(read.unit_norm.has_value());
}

TEST(DescriptorComparisonTest, WhatIsNoneIsRefusedWithItsPlace) {
  for (const char* value :
       {"", "0", "-3", "nan", "inf", "1e99", "24 ", " 24", "24x", "true"}) {
    EXPECT_THAT(
        [&] {
          ReadDescriptorComparison({{"softmax_scale", value}}, "a/b");
        },
        ThrowsMessage<InputError>(
            AllOf(HasSubstr("a/b"),
                  HasSubstr("softmax_scale '" + std::string(value) + "'"),
                  HasSubstr("Expected a positive number"))));
  }
  for (const char* value : {"", "2", "true", "1.0"}) {
    EXPECT_THAT(
        [&] {
          ReadDescriptorComparison({{"unit_norm", value}}, "a/b");
        },
        ThrowsMessage<InputError>(
            AllOf(HasSubstr("a/b"),
                  HasSubstr("unit_norm '" + std::string(value) + "'"),
                  HasSubstr("Expected 0 or 1"))));
  }
}

}  // namespace
}  // namespace nre
