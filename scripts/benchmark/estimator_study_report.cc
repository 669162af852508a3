#include "scripts/benchmark/estimator_study_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <set>
#include <stdexcept>

#include "s2d/error_curves.h"
#include "s2d/visualization.h"

namespace nre {
namespace {

bool IsRight(const StudyRecord& record, const PoseThreshold& threshold) {
  return record.error.center <= threshold.center &&
         record.error.rotation_deg <= threshold.rotation_deg;
}

// "generated" is also the family of "generated/mixed".
bool BelongsTo(const StudyRecord& record, const std::string& family) {
  return record.family == family || record.family.rfind(family + "/", 0) == 0;
}

std::vector<const StudyRecord*> Select(const std::vector<StudyRecord>& records,
                                       const std::string& family,
                                       const std::string& method) {
  std::vector<const StudyRecord*> selected;
  for (const StudyRecord& record : records) {
    if (BelongsTo(record, family) && record.method == method) {
      selected.push_back(&record);
    }
  }
  return selected;
}

std::set<double> WrongShares(const std::vector<StudyRecord>& records,
                             const std::string& family) {
  std::set<double> shares;
  for (const StudyRecord& record : records) {
    if (BelongsTo(record, family)) {
      shares.insert(record.wrong_share);
    }
  }
  return shares;
}

Proportion Recall(const std::vector<const StudyRecord*>& records,
                  double wrong_share,
                  const PoseThreshold& threshold) {
  Proportion recall;
  for (const StudyRecord* record : records) {
    if (record->wrong_share == wrong_share) {
      ++recall.num;
      recall.num_right += IsRight(*record, threshold);
    }
  }
  return recall;
}

}  // namespace

double Proportion::Bound(double sign) const {
  if (num == 0) {
    return sign < 0.0 ? 0.0 : 1.0;
  }
  constexpr double kZ = 1.959964;
  const double p = Share();
  const double z2 = kZ * kZ / num;
  const double center = p + 0.5 * z2;
  const double half = kZ * std::sqrt(p * (1.0 - p) / num + 0.25 * z2 / num);
  return (center + sign * half) / (1.0 + z2);
}

void PrintRecalls(const std::vector<StudyRecord>& records,
                  const std::string& family,
                  const std::vector<std::string>& methods,
                  const std::vector<std::string>& baselines,
                  const PoseThreshold& threshold) {
  std::printf("\n%s: recall (%%) at (%g, %g deg), [95 %% interval]\n%6s",
              family.c_str(),
              threshold.center,
              threshold.rotation_deg,
              "wrong");
  for (const std::string& method : methods) {
    std::printf(" %17s", method.c_str());
  }
  std::printf("   nre against the best baseline\n");
  for (const double share : WrongShares(records, family)) {
    std::printf("%4.0f %%", 100.0 * share);
    Proportion nre, best;
    for (const std::string& method : methods) {
      const Proportion recall =
          Recall(Select(records, family, method), share, threshold);
      if (recall.num == 0) {
        std::printf(" %17s", "-");
        continue;
      }
      std::printf(" %5.1f [%4.1f, %4.1f]",
                  100.0 * recall.Share(),
                  100.0 * recall.Lower(),
                  100.0 * recall.Upper());
      if (method == "nre") {
        nre = recall;
      }
      if (std::count(baselines.begin(), baselines.end(), method) > 0 &&
          (best.num == 0 || recall.Share() > best.Share())) {
        best = recall;
      }
    }
    if (nre.num > 0 && best.num > 0) {
      std::printf("   %s",
                  nre.Share() == best.Share()   ? "equal"
                  : nre.Share() > best.Upper()  ? "above its interval"
                  : nre.Share() > best.Share()  ? "above"
                  : nre.Share() >= best.Lower() ? "below, within its interval"
                                                : "BELOW ITS INTERVAL");
    }
    std::printf("\n");
  }
}

void PrintErrors(const std::vector<StudyRecord>& records,
                 const std::string& family,
                 const std::vector<std::string>& methods,
                 const PoseThreshold& threshold) {
  std::printf(
      "\n%s, all wrong shares together: share (%%) of poses that are off by "
      "more\n%-24s %6s %6s %6s  %6s %6s %6s  %9s %9s %6s %6s %7s\n",
      family.c_str(),
      "",
      "0.02",
      "0.1",
      "0.5",
      "0.2dg",
      "1deg",
      "5deg",
      "median",
      "med. deg",
      "reg.",
      "wrong",
      "CPU ms");
  for (const std::string& method : methods) {
    const std::vector<const StudyRecord*> selected =
        Select(records, family, method);
    if (selected.empty()) {
      continue;
    }
    const auto percent = [&](auto is_true) {
      return 100.0 *
             std::count_if(selected.begin(),
                           selected.end(),
                           [&](const auto* r) { return is_true(*r); }) /
             selected.size();
    };
    std::printf("%-24s", method.c_str());
    for (const double center : {0.02, 0.1, 0.5}) {
      std::printf(" %6.1f", percent([&](const auto& r) {
                    return !(r.error.center <= center);
                  }));
    }
    std::printf(" ");
    for (const double rotation_deg : {0.2, 1.0, 5.0}) {
      std::printf(" %6.1f", percent([&](const auto& r) {
                    return !(r.error.rotation_deg <= rotation_deg);
                  }));
    }
    // Accuracy is that of the poses that are right.
    std::vector<double> centers, rotations, times;
    for (const StudyRecord* record : selected) {
      times.push_back(record->cpu_ms);
      if (IsRight(*record, threshold)) {
        centers.push_back(record->error.center);
        rotations.push_back(record->error.rotation_deg);
      }
    }
    std::printf("  %9.5f %9.4f %6.1f %6.1f %7.1f\n",
                Median(centers),
                Median(rotations),
                percent([](const auto& r) {
                  return r.verdict == Verdict::kRegistered;
                }),
                percent([&](const auto& r) {
                  return r.verdict == Verdict::kRegistered &&
                         !IsRight(r, threshold);
                }),
                Median(times));
  }
}

void WriteRecords(const std::vector<StudyRecord>& records,
                  const std::string& path) {
  std::ofstream file(path);
  file << "family,wrong_share,problem,method,center_error,rotation_error_deg,"
          "verdict,coarse_cost,fine_cost,cpu_ms\n";
  for (const StudyRecord& record : records) {
    file << record.family << ',' << record.wrong_share << ',' << record.problem
         << ',' << record.method << ',' << record.error.center << ','
         << record.error.rotation_deg << ',' << VerdictName(record.verdict)
         << ',' << record.coarse_cost << ',' << record.fine_cost << ','
         << record.cpu_ms << '\n';
  }
  if (!file.flush()) {
    throw std::runtime_error("cannot write " + path);
  }
}

void WriteCurves(const std::vector<StudyRecord>& records,
                 const std::string& family,
                 const std::vector<std::string>& methods,
                 const PoseThreshold& threshold,
                 const std::string& path) {
  std::vector<ErrorCurves> panels = {
      {"centre error (m), " + family, {}, {threshold.center}},
      {"rotation error (deg), " + family, {}, {threshold.rotation_deg}}};
  for (const std::string& method : methods) {
    std::vector<double> centers, rotations;
    for (const StudyRecord* record : Select(records, family, method)) {
      centers.push_back(record->error.center);
      rotations.push_back(record->error.rotation_deg);
    }
    panels[0].errors.push_back(centers);
    panels[1].errors.push_back(rotations);
  }
  std::ofstream file(path + ".svg");
  file << ErrorCurvesAsSvg(panels, methods);
  if (!file.flush()) {
    throw std::runtime_error("cannot write " + path + ".svg");
  }
  WriteImage(path + ".png", DrawErrorCurves(panels, methods));
}

}  // namespace nre
