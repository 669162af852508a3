#include "scripts/benchmark/pair_study_report.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <map>
#include <sstream>
#include <utility>

#include "nre/error.h"
#include "scripts/benchmark/bootstrap.h"
#include "scripts/benchmark/resumable_table.h"

namespace nre {

const PoseThreshold kPairThresholds[kNumPairThresholds] = {
    {0.25, false, 2.0}, {0.5, false, 5.0}, {5.0, false, 10.0}};

namespace {

// Where more fails than elsewhere.
constexpr double kLargeZoom = 2.1;
constexpr double kSmallOverlap = 0.15;

struct JudgedPair {
  const ModelPair* pair = nullptr;
  PairRecord record;

  bool Registered() const { return record.verdict == Verdict::kRegistered; }
  bool FoundWithin(const PoseThreshold& threshold) const {
    return pair->metres_per_unit * record.error.center <= threshold.center &&
           record.error.rotation_deg <= threshold.rotation_deg;
  }
};

// By features and method.
using JudgedPairs = std::map<std::string, std::vector<JudgedPair>>;

// Pairs that have a table of their own.
struct Group {
  std::string title;
  std::function<bool(const ModelPair&)> has;
};

std::string Format(const char* format, double a, double b = 0, double c = 0) {
  char text[100];
  std::snprintf(text, sizeof(text), format, a, b, c);
  return text;
}

// "0.10 to 2.30 m": the values that pairs of a third have.
std::string Range(const std::vector<ModelPair>& pairs,
                  Difficulty difficulty,
                  int third) {
  std::vector<double> values;
  for (const ModelPair& pair : pairs) {
    if (pair.thirds[difficulty] == third) {
      values.push_back(pair.difficulties[difficulty]);
    }
  }
  if (values.empty()) return "none";
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  return Format("%.3g to %.3g", *min, *max);
}

std::vector<Group> Groups(const std::vector<ModelPair>& pairs) {
  struct Name {
    Difficulty difficulty;
    std::string name;
    std::string unit;
    std::array<std::string, 3> thirds;
  };
  const Name names[] = {
      {kDistance, "viewpoint distance", " m", {"easy", "medium", "hard"}},
      {kAngle, "viewing angle", "°", {"small", "medium", "large"}},
      {kZoom,
       "zoom",
       "",
       {"query shows it smaller", "medium", "query shows it larger"}}};
  std::vector<Group> groups = {{"all", [](const ModelPair&) { return true; }}};
  for (const Name& name : names) {
    for (int third = 0; third < 3; ++third) {
      groups.push_back(
          {name.name + ", " + name.thirds[third] + ": " +
               Range(pairs, name.difficulty, third) + name.unit,
           [difficulty = name.difficulty, third](const ModelPair& pair) {
             return pair.thirds[difficulty] == third;
           }});
    }
  }
  groups.push_back(
      {Format("zoom > %.1f", kLargeZoom), [](const ModelPair& pair) {
         return pair.difficulties[kZoom] > kLargeZoom;
       }});
  groups.push_back(
      {Format("overlap < %.0f %%", 100.0 * kSmallOverlap),
       [](const ModelPair& pair) { return pair.overlap < kSmallOverlap; }});
  return groups;
}

// Returns the share of the pairs of which this is true; all methods are drawn
// alike.
std::string Share(const std::vector<JudgedPair>& pairs,
                  const std::function<bool(const JudgedPair&)>& is_true) {
  std::vector<double> shares;
  for (const std::vector<int>& draw : DrawResamples(pairs.size(), 0)) {
    double sum = 0.0;
    for (size_t i = 0; i < pairs.size(); ++i) {
      sum += draw[i] * is_true(pairs[i]);
    }
    shares.push_back(sum / pairs.size());
  }
  const Estimate e = WithInterval(shares);
  return Format("%.2f [%.2f, %.2f]", e.value, e.lower, e.upper);
}

std::string RateRow(const std::string& name,
                    const std::vector<JudgedPair>& pairs) {
  std::string row = "| " + name + " | " + std::to_string(pairs.size()) + " |";
  for (const PoseThreshold& threshold : kPairThresholds) {
    row += " " +
           Share(pairs,
                 [&](const JudgedPair& pair) {
                   return !pair.Registered() || !pair.FoundWithin(threshold);
                 }) +
           " |";
  }
  for (const PoseThreshold& threshold : kPairThresholds) {
    row += " " +
           Share(pairs,
                 [&](const JudgedPair& pair) {
                   return !pair.FoundWithin(threshold);
                 }) +
           " |";
  }
  row +=
      " " +
      Share(pairs, [](const JudgedPair& pair) { return pair.Registered(); }) +
      " |\n";
  return row;
}

std::string RateTable(const Group& group, const JudgedPairs& judged) {
  std::string header = "\n" + group.title + "\n\n| features, method | pairs |";
  std::string rule = "\n| --- | ---: |";
  for (const std::string what : {"", "found: "}) {
    for (const PoseThreshold& threshold : kPairThresholds) {
      header += " " + what +
                Format("%g m, %g°", threshold.center, threshold.rotation_deg) +
                " |";
      rule += " --- |";
    }
  }
  std::string rows;
  for (const auto& [name, pairs] : judged) {
    std::vector<JudgedPair> of_group;
    for (const JudgedPair& pair : pairs) {
      if (group.has(*pair.pair)) of_group.push_back(pair);
    }
    if (!of_group.empty()) rows += RateRow(name, of_group);
  }
  if (rows.empty()) return "";
  return header + " registered |" + rule + " --- |\n" + rows;
}

// "mirrored 3 (2 right)": reasons and their counts.
std::string Reasons(const std::vector<JudgedPair>& pairs) {
  std::map<std::string, std::pair<int, int>> counts;  // all, right ones
  for (const JudgedPair& pair : pairs) {
    if (pair.Registered()) continue;
    auto& [num, num_right] = counts[pair.record.why];
    ++num;
    num_right += pair.FoundWithin(kPairThresholds[kNumPairThresholds - 1]);
  }
  std::string text;
  for (const auto& [why, count] : counts) {
    text += (text.empty() ? "" : ", ") + why + " " +
            std::to_string(count.first) + " (" + std::to_string(count.second) +
            " right)";
  }
  return text.empty() ? "–" : text;
}

std::string VerdictTable(const JudgedPairs& judged) {
  std::string table =
      "\nVerdicts; right is within the last threshold\n\n"
      "| features, method | pairs | registered |";
  std::string rule = "\n| --- | ---: | ---: |";
  for (const PoseThreshold& threshold : kPairThresholds) {
    table +=
        Format(" beyond %g m, %g° |", threshold.center, threshold.rotation_deg);
    rule += " ---: |";
  }
  table += " not registered |" + rule + " --- |\n";
  const auto count = [](const std::vector<JudgedPair>& pairs, auto is_true) {
    return " | " +
           std::to_string(std::count_if(pairs.begin(), pairs.end(), is_true));
  };
  for (const auto& [name, pairs] : judged) {
    table += "| " + name + " | " + std::to_string(pairs.size()) +
             count(pairs, [](const auto& pair) { return pair.Registered(); });
    for (const PoseThreshold& threshold : kPairThresholds) {
      table += count(pairs, [&](const auto& pair) {
        return pair.Registered() && !pair.FoundWithin(threshold);
      });
    }
    table += " | " + Reasons(pairs) + " |\n";
  }
  return table;
}

}  // namespace

std::string PairRecord::Key() const {
  return features + '\t' + method + '\t' + query + '\t' + reference;
}

std::string ToLine(const PairRecord& r) {
  std::ostringstream line;
  line.precision(9);
  line << r.Key() << '\t' << VerdictName(r.verdict) << '\t' << r.why << '\t'
       << r.error.center << '\t' << r.error.rotation_deg;
  return line.str();
}

PairRecord PairRecordFromLine(const std::string& line) {
  const std::vector<std::string> w = SplitTabs(line);
  if (w.size() != 8) throw InputError("not the line of a pair: " + line);
  PairRecord r;
  r.features = w[0], r.method = w[1], r.query = w[2], r.reference = w[3];
  for (const Verdict verdict :
       {Verdict::kRegistered, Verdict::kRejected, Verdict::kFailed}) {
    if (w[4] == VerdictName(verdict)) r.verdict = verdict;
  }
  r.why = w[5];
  r.error = {std::stod(w[6]), std::stod(w[7])};  // "inf", too
  return r;
}

std::string PairTables(const std::vector<ModelPair>& pairs,
                       const std::vector<PairRecord>& records) {
  std::map<std::pair<std::string, std::string>, const ModelPair*> by_names;
  for (const ModelPair& pair : pairs) {
    by_names[{pair.query_name, pair.reference_name}] = &pair;
  }
  JudgedPairs judged;
  for (const PairRecord& record : records) {
    const auto pair = by_names.find({record.query, record.reference});
    if (pair != by_names.end()) {
      judged[record.features + ", " + record.method].push_back(
          {pair->second, record});
    }
  }
  std::string tables;
  for (const Group& group : Groups(pairs)) tables += RateTable(group, judged);
  return tables + VerdictTable(judged);
}

}  // namespace nre
