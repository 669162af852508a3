#include "scripts/benchmark/feature_study_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <map>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "nre/error.h"
#include "s2d/error_curves.h"
#include "s2d/visualization.h"
#include "scripts/benchmark/resumable_table.h"

namespace nre {
namespace {

constexpr MapKind kKinds[] = {
    MapKind::kCoarse, MapKind::kFine, MapKind::kEpipolar};

MapKind ParseMapKind(const std::string& name) {
  for (const MapKind kind : kKinds) {
    if (name == MapKindName(kind)) return kind;
  }
  throw InputError("there are no " + name + " maps");
}

std::string Format(const char* format, double a, double b = 0, double c = 0) {
  char text[100];
  std::snprintf(text, sizeof(text), format, a, b, c);
  return text;
}

std::string Percent(const Estimate& e) {
  return Format(
      "%.1f [%.1f, %.1f]", 100.0 * e.value, 100.0 * e.lower, 100.0 * e.upper);
}

std::string Join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : ", ") + word;
  }
  return text.empty() ? "none" : text;
}

// So many quantiles at most: a curve needs no more.
std::vector<double> Thinned(std::vector<double> values) {
  constexpr size_t kMaxNum = 250;
  std::sort(values.begin(), values.end());
  const size_t num = std::min(kMaxNum, values.size());
  std::vector<double> thinned;
  for (size_t i = 0; i < num; ++i) {
    thinned.push_back(values[(2 * i + 1) * values.size() / (2 * num)]);
  }
  return thinned;
}

const char* Title(MapKind kind) {
  switch (kind) {
    case MapKind::kCoarse:
      return "Coarse maps, known points";
    case MapKind::kFine:
      return "Fine maps, known points";
    default:
      return "Coarse maps, epipolar lines";
  }
}

}  // namespace

const char* MapKindName(MapKind kind) {
  switch (kind) {
    case MapKind::kCoarse:
      return "coarse";
    case MapKind::kFine:
      return "fine";
    default:
      return "epipolar";
  }
}

std::string FeatureRecord::Key() const {
  return set + '\t' + MapKindName(kind) + '\t' + features + '\t' + reference +
         '\t' + query;
}

std::string ToLine(const FeatureRecord& r) {
  std::ostringstream line;
  line << r.Key() << '\t' << r.num_points << '\t' << r.nre << '\t' << r.max_nre
       << '\t' << r.within_1 << '\t' << r.within_2 << '\t' << r.chance_1 << '\t'
       << r.chance_2 << '\t';
  for (const double error : r.errors) line << Format("%.4g ", error);
  return line.str();
}

FeatureRecord FeatureRecordFromLine(const std::string& line) {
  std::vector<std::string> w = SplitTabs(line);
  w.resize(13);
  FeatureRecord r;
  r.set = w[0], r.kind = ParseMapKind(w[1]), r.features = w[2];
  r.reference = w[3], r.query = w[4];
  r.num_points = std::stoul(w[5]);
  r.nre = std::stod(w[6]), r.max_nre = std::stod(w[7]);
  r.within_1 = std::stod(w[8]), r.within_2 = std::stod(w[9]);
  r.chance_1 = std::stod(w[10]), r.chance_2 = std::stod(w[11]);
  std::istringstream errors(w[12]);
  for (std::string error; errors >> error;) {
    r.errors.push_back(std::stod(error));  // "inf", too
  }
  return r;
}

size_t FeatureResults::Group::NumPoints() const {
  size_t num = 0;
  for (const FeatureRecord& record : records[0]) num += record.num_points;
  return num;
}

double FeatureResults::Group::Mean(size_t features,
                                   double FeatureRecord::*value,
                                   size_t resample) const {
  double sum = 0.0, num = 0.0;
  for (size_t i = 0; i < records[features].size(); ++i) {
    const FeatureRecord& record = records[features][i];
    const double weight = 1.0 * draws[resample][i] * record.num_points;
    sum += weight * record.*value;
    num += weight;
  }
  return sum / num;
}

Estimate FeatureResults::Group::MeanWithInterval(
    size_t features, double FeatureRecord::*value) const {
  std::vector<double> values;
  for (size_t r = 0; r < draws.size(); ++r) {
    values.push_back(Mean(features, value, r));
  }
  return WithInterval(values);
}

FeatureResults::FeatureResults(const std::vector<FeatureRecord>& records,
                               const std::vector<std::string>& features)
    : features_(features) {
  // By set and kind, pair, and features.
  std::map<std::pair<std::string, MapKind>,
           std::map<std::string, std::map<std::string, FeatureRecord>>>
      sorted;
  for (const FeatureRecord& record : records) {
    if (std::count(features.begin(), features.end(), record.features) > 0) {
      sorted[{record.set, record.kind}][record.reference + '\t' + record.query]
            [record.features] = record;
    }
  }
  for (const auto& [set_and_kind, pairs] : sorted) {
    Group group;
    group.set = set_and_kind.first;
    group.kind = set_and_kind.second;
    group.records.resize(features.size());
    for (const auto& [_, by_features] : pairs) {
      if (by_features.size() < features.size()) continue;
      for (size_t k = 0; k < features.size(); ++k) {
        group.records[k].push_back(by_features.at(features[k]));
      }
    }
    if (group.records[0].empty()) continue;
    group.draws = DrawResamples(group.records[0].size(), groups_.size());
    groups_.push_back(std::move(group));
  }
}

size_t FeatureResults::IndexOf(const std::string& features) const {
  const auto found = std::find(features_.begin(), features_.end(), features);
  if (found == features_.end()) {
    throw InputError("no features " + features + " in the study: expected " +
                     Join(features_));
  }
  return found - features_.begin();
}

std::string FeatureResults::Table(MapKind kind) const {
  const bool is_epipolar = kind == MapKind::kEpipolar;
  std::string table = std::string("\n") + Title(kind) +
                      "\n\n| set | features | pairs | points | <= 1 cell, % | "
                      "<= 2 cells, % | NRE, nats | at most |";
  if (is_epipolar) table += " chance, 1 and 2 cells, % |";
  table += "\n| --- | --- | ---: | ---: | --- | --- | --- | ---: |";
  if (is_epipolar) table += " --- |";
  table += "\n";
  bool is_empty = true;
  for (const Group& group : groups_) {
    if (group.kind != kind) continue;
    is_empty = false;
    for (size_t k = 0; k < features_.size(); ++k) {
      const Estimate nre = group.MeanWithInterval(k, &FeatureRecord::nre);
      table +=
          "| " + group.set + " | " + features_[k] + " | " +
          std::to_string(group.records[k].size()) + " | " +
          std::to_string(group.NumPoints()) + " | " +
          Percent(group.MeanWithInterval(k, &FeatureRecord::within_1)) + " | " +
          Percent(group.MeanWithInterval(k, &FeatureRecord::within_2)) + " | " +
          Format("%.2f [%.2f, %.2f]", nre.value, nre.lower, nre.upper) + " | " +
          Format("%.2f |", group.Mean(k, &FeatureRecord::max_nre, 0));
      if (is_epipolar) {
        table += Format(" %.1f, %.1f |",
                        100.0 * group.Mean(k, &FeatureRecord::chance_1, 0),
                        100.0 * group.Mean(k, &FeatureRecord::chance_2, 0));
      }
      table += "\n";
    }
  }
  return is_empty ? "" : table;
}

std::string FeatureResults::Tables() const {
  std::string tables;
  for (const MapKind kind : kKinds) tables += Table(kind);
  return tables;
}

GapResult FeatureResults::Gap(const GapRequest& request, bool fine) const {
  const size_t base = IndexOf(request.base);
  const size_t better = IndexOf(request.better);
  const size_t other = IndexOf(request.other);
  GapResult result;
  std::vector<double> leads(1 + kNumResamples), gains(1 + kNumResamples);
  for (const Group& group : groups_) {
    if ((group.kind == MapKind::kFine) != fine) continue;
    const auto share = [&](size_t features, size_t resample) {
      return group.Mean(features, &FeatureRecord::within_1, resample);
    };
    const std::string name = group.set + " (" + MapKindName(group.kind) + ")";
    if (share(other, 0) <
        group.MeanWithInterval(base, &FeatureRecord::within_1).lower) {
      result.sets_below_base.push_back(name);
    }
    if (!(share(better, 0) > share(base, 0))) continue;
    result.sets.push_back(name);
    for (size_t r = 0; r < leads.size(); ++r) {
      leads[r] += share(better, r) - share(base, r);
      gains[r] += share(other, r) - share(base, r);
    }
  }
  std::vector<double> closed;
  for (size_t r = 0; r < leads.size(); ++r) {
    closed.push_back(result.sets.empty() ? std::nan("")
                     : leads[r] > 0.0
                         ? gains[r] / leads[r]
                         : -std::numeric_limits<double>::infinity());
  }
  result.closed = WithInterval(closed);
  return result;
}

std::string FeatureResults::Describe(const GapRequest& request) const {
  std::string text = "\nOf what " + request.better + " leads " + request.base +
                     " by in shares within one cell, " + request.other +
                     " closes:\n\n";
  for (const bool fine : {false, true}) {
    const GapResult gap = Gap(request, fine);
    text += std::string("- ") + (fine ? "fine" : "coarse") + ": " +
            Format("%.2f [%.2f, %.2f]",
                   gap.closed.value,
                   gap.closed.lower,
                   gap.closed.upper) +
            ", on the sets where it leads: " + Join(gap.sets) + "; " +
            request.other + " is below the interval of " + request.base +
            " on: " + Join(gap.sets_below_base) + "\n";
  }
  return text;
}

void FeatureResults::WriteCurves(const std::string& folder) const {
  std::map<std::string, std::vector<ErrorCurves>> panels;
  for (const Group& group : groups_) {
    ErrorCurves curves;
    curves.label = std::string("error of the best cell (cells), ") +
                   MapKindName(group.kind) + ", " + group.set;
    curves.marks = {1.0, 2.0};
    for (const std::vector<FeatureRecord>& records : group.records) {
      std::vector<double> errors;
      for (const FeatureRecord& record : records) {
        errors.insert(errors.end(), record.errors.begin(), record.errors.end());
      }
      curves.errors.push_back(Thinned(std::move(errors)));
    }
    panels[group.set].push_back(std::move(curves));
  }
  for (const auto& [set, curves] : panels) {
    const std::string path = folder + "/" + set;
    std::ofstream file(path + ".svg");
    file << ErrorCurvesAsSvg(curves, features_);
    if (!file.flush())
      throw std::runtime_error("cannot write " + path + ".svg");
    WriteImage(path + ".png", DrawErrorCurves(curves, features_));
  }
}

}  // namespace nre
