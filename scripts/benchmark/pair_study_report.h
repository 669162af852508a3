// What pair_study finds out about pairs of images, and the tables of it.
#pragma once

#include <string>
#include <vector>

#include "colmap_plugin/compat/colmap.h"
#include "nre/pose_estimate.h"
#include "nre/pose_evaluation.h"
#include "scripts/benchmark/model_pairs.h"

namespace nre {

// How one way to localize did on one pair.
struct PairRecord {
  std::string features;  // "compact", or "SIFT"
  std::string method;    // "nre", for example
  std::string query;     // names of the images
  std::string reference;
  Verdict verdict = Verdict::kFailed;
  std::string why;  // the stable word of the reason; empty if registered
  PoseError error;  // of the pose found, whatever the verdict

  std::string Key() const;  // the line's first words
};

constexpr size_t kNumPairKeyWords = 4;
constexpr char kPairColumns[] =
    "features\tmethod\tquery\treference\tverdict\twhy\tcenter_error\t"
    "rotation_error_deg";

std::string ToLine(const PairRecord& record);
PairRecord PairRecordFromLine(const std::string& line);

// A pair is right within both errors of a threshold; centre errors in metres.
constexpr size_t kNumPairThresholds = 3;
extern const PoseThreshold kPairThresholds[kNumPairThresholds];

// Returns Markdown about these pairs: error rates (shares of pairs that are not
// right) with 90 % intervals by bootstrap over the pairs, of all and by
// difficulty; then the verdicts, and why pairs were not registered. One row for
// each features and method. Records of other pairs are left out.
std::string PairTables(const std::vector<ModelPair>& pairs,
                       const std::vector<PairRecord>& records);

}  // namespace nre
