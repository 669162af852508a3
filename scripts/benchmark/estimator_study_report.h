// Recall tables, cumulative error curves and CSV files of the estimator study.
#pragma once

#include <string>
#include <vector>

#include "nre/pose_estimator.h"
#include "nre/pose_evaluation.h"

namespace nre {

// One method's result on one problem.
struct StudyRecord {
  std::string family;  // kind of maps, "generated/mixed"
  double wrong_share = 0.0;
  std::string problem;  // the same for all methods
  std::string method;
  PoseError error;
  Verdict verdict = Verdict::kFailed;
  double coarse_cost = 0.0, fine_cost = 0.0;  // 0 where there is none
  double cpu_ms = 0.0;
};

// Below, a family includes those whose name goes on after it with a slash.

// A share with the 95 % interval of Wilson's score.
struct Proportion {
  int num_right = 0;
  int num = 0;

  double Share() const { return num > 0 ? 1.0 * num_right / num : 0.0; }
  double Lower() const { return Bound(-1.0); }
  double Upper() const { return Bound(1.0); }

 private:
  double Bound(double sign) const;
};

// The records of one family: recall by wrong share (rows) and method (columns),
// whatever the verdict, and how NRE compares with the best of the `baselines`.
void PrintRecalls(const std::vector<StudyRecord>& records,
                  const std::string& family,
                  const std::vector<std::string>& methods,
                  const std::vector<std::string>& baselines,
                  const PoseThreshold& threshold);

// As Table 1 of Germain et al., CVPR 2021: shares of poses that are off by
// more than several thresholds, medians, verdicts and CPU time.
void PrintErrors(const std::vector<StudyRecord>& records,
                 const std::string& family,
                 const std::vector<std::string>& methods,
                 const PoseThreshold& threshold);

// One line per record, CSV.
void WriteRecords(const std::vector<StudyRecord>& records,
                  const std::string& path);

// As Figure 5: cumulative error curves of one family, at `path` with .svg and
// .png.
void WriteCurves(const std::vector<StudyRecord>& records,
                 const std::string& family,
                 const std::vector<std::string>& methods,
                 const PoseThreshold& threshold,
                 const std::string& path);

}  // namespace nre
