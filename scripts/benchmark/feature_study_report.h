// What feature_study writes: a line per pair, tables with bootstrap intervals,
// comparisons of features on the same pairs, and curves.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "scripts/benchmark/bootstrap.h"

namespace nre {

// What is evaluated of a pair.
enum class MapKind { kCoarse, kFine, kEpipolar };

// "coarse", "fine" or "epipolar".
const char* MapKindName(MapKind kind);

// Maps of one kind of the points of one pair; means over the points.
struct FeatureRecord {
  std::string set;
  MapKind kind = MapKind::kCoarse;
  std::string features;
  std::string reference;
  std::string query;
  size_t num_points = 0;
  double nre = 0.0;       // nats
  double max_nre = 0.0;   // what maps without information cost
  double within_1 = 0.0;  // shares of the points, see `errors`
  double within_2 = 0.0;
  double chance_1 = 0.0;  // what a random cell would have; 0 unless epipolar
  double chance_2 = 0.0;
  std::vector<double> errors;  // of the points' best cells, in cells

  std::string Key() const;  // the line's first words
};

constexpr size_t kNumFeatureKeyWords = 5;
constexpr char kFeatureColumns[] =
    "set\tmaps\tfeatures\treference\tquery\tpoints\tnre\tmax_nre\twithin_1\t"
    "within_2\tchance_1\tchance_2\terrors";

std::string ToLine(const FeatureRecord& record);
FeatureRecord FeatureRecordFromLine(const std::string& line);

// Which share of the lead of `better` over `base` others close.
struct GapRequest {
  std::string base;
  std::string better;
  std::string other;
};

struct GapResult {
  std::vector<std::string> sets;  // where `better` leads, with the kind of maps
  // Mean over these sets of the share within one cell of `other` less that of
  // `base`, divided by the same of `better`. Of a resample in which `better`
  // does not lead, minus infinity. NaN if there are no sets.
  Estimate closed;
  // Of all sets: where `other` is below the interval of `base`.
  std::vector<std::string> sets_below_base;
};

// Records of several features, by set and kind of maps. Pairs that some of the
// features have not are left out. Intervals are seeded: the same records, the
// same intervals; all features of a set are resampled together.
class FeatureResults {
 public:
  FeatureResults(const std::vector<FeatureRecord>& records,
                 const std::vector<std::string>& features);

  // Markdown, a table for each kind of maps.
  std::string Tables() const;

  // Of fine maps, or of coarse and epipolar ones.
  GapResult Gap(const GapRequest& request, bool fine) const;
  std::string Describe(const GapRequest& request) const;

  // An SVG and a PNG file a set in `folder`: cumulative curves of the errors.
  void WriteCurves(const std::string& folder) const;

 private:
  // One set and kind of maps. [features][pairs], the same pairs for all.
  struct Group {
    std::string set;
    MapKind kind = MapKind::kCoarse;
    std::vector<std::vector<FeatureRecord>> records;
    // [resamples][pairs], how often each pair was drawn; the first one has all
    // once.
    std::vector<std::vector<int>> draws;

    size_t NumPoints() const;
    // Mean over the points that a resample has.
    double Mean(size_t features,
                double FeatureRecord::*value,
                size_t resample) const;
    Estimate MeanWithInterval(size_t features,
                              double FeatureRecord::*value) const;
  };

  size_t IndexOf(const std::string& features) const;
  std::string Table(MapKind kind) const;

  std::vector<std::string> features_;
  std::vector<Group> groups_;
};

}  // namespace nre
