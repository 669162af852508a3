#include "colmap_plugin/io/evaluation.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <sstream>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/io/results.h"
#include "colmap_plugin/io/text_files.h"
#include "nre/error.h"

namespace nre {
namespace {

// What can be said about a query in a result file.
struct Outcome {
  std::string status;
  Rigid3d cam_from_world;  // if registered
};
using Outcomes = std::map<std::string, Outcome>;

const std::string kRegistered = VerdictName(Verdict::kRegistered);
const std::string kRejected = VerdictName(Verdict::kRejected);
const std::string kFailed = VerdictName(Verdict::kFailed);
const std::string kMissing = "missing";

// The lines of a report are JSON objects; no image name begins like that.
bool IsReport(const std::string& path) {
  std::ifstream file = OpenTextFile(path);
  char first = 0;
  return file >> first && first == '{';
}

Outcomes ReadOutcomes(const std::string& path) {
  Outcomes outcomes;
  if (!IsReport(path)) {
    for (const auto& [name, pose] : ReadPoses(path)) {
      outcomes[name] = {kRegistered, pose};
    }
    return outcomes;
  }
  for (const QueryOutcome& line : ReadReport(path)) {
    if (!outcomes
             .emplace(line.name,
                      Outcome{VerdictName(line.verdict), line.cam_from_world})
             .second) {
      throw InputError("The report " + path + " has " + line.name +
                       " twice. Give one file per run.");
    }
  }
  return outcomes;
}

std::string LastPart(const std::string& name) {
  return name.substr(name.rfind('/') + 1);
}

// Gives outcomes whole names for last parts of them.
void CompleteNames(const Truth& truth,
                   Outcomes* outcomes,
                   MethodResult* result) {
  std::map<std::string, std::set<std::string>> true_names;  // by last part
  for (const TrueQuery& query : truth.queries) {
    true_names[LastPart(query.name)].insert(query.name);
  }
  for (const std::string& name : truth.other_names) {
    true_names[LastPart(name)].insert(name);
  }
  Outcomes completed;
  for (const auto& [name, outcome] : *outcomes) {
    const auto candidates = true_names.find(name);
    const bool is_last_part =
        candidates != true_names.end() && candidates->second.count(name) == 0;
    const std::string whole = is_last_part && candidates->second.size() == 1
                                  ? *candidates->second.begin()
                                  : name;
    if (whole != name && outcomes->count(whole) == 0) {
      result->by_last_part.push_back(whole);
      completed[whole] = outcome;
    } else {
      completed[name] = outcome;
      if (is_last_part && candidates->second.size() > 1) {
        result->ambiguous.push_back(name);
      }
    }
  }
  *outcomes = completed;
}

bool IsSamePose(const Rigid3d& a, const Rigid3d& b) {
  constexpr double kRounding = 1e-9;
  return (a.translation - b.translation).norm() <=
             kRounding * (1.0 + b.translation.norm()) &&
         std::min((a.rotation.coeffs() - b.rotation.coeffs()).norm(),
                  (a.rotation.coeffs() + b.rotation.coeffs()).norm()) <=
             kRounding;
}

void AddIfOfReference(const std::string& name,
                      const Rigid3d& cam_from_world,
                      const Truth& truth,
                      MethodResult* result) {
  for (const auto& [reference, pose] : truth.references) {
    if (reference != name && IsSamePose(cam_from_world, pose)) {
      result->with_pose_of_reference.emplace_back(name, reference);
      return;
    }
  }
}

std::string Text(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

// Infinite: more than half of the queries have no pose.
std::string ErrorText(double value, const std::string& unit) {
  return std::isnan(value)   ? "-"
         : std::isinf(value) ? "inf"
                             : Text("%.4g", value) + unit;
}

// Length in UTF-8 characters.
size_t NumLetters(const std::string& text) {
  return std::count_if(
      text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; });
}

std::string Pad(const std::string& text, size_t width, bool to_the_right) {
  const size_t letters = NumLetters(text);
  const std::string blanks(width > letters ? width - letters : 0, ' ');
  return to_the_right ? blanks + text : text + blanks;
}

// Rows of cells as lines of equal columns; the first column is flush left. A
// row with one cell is a heading.
std::string Align(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size() && row.size() > 1; ++i) {
      widths[i] = std::max(widths[i], NumLetters(row[i]));
    }
  }
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      text += row.size() == 1 ? row[i]
                              : (i == 0 ? "" : "  ") +
                                    Pad(row[i], widths[i], /*to_the_right=*/i);
    }
    text += '\n';
  }
  return text;
}

std::string CsvCell(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) {
    return text;
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  }
  return quoted + '"';
}

std::string CsvCell(double value) {
  std::ostringstream text;
  text.precision(std::numeric_limits<double>::max_digits10);
  text << value;
  return text.str();
}

std::string CsvLine(const std::vector<std::string>& cells) {
  std::string line;
  for (const std::string& cell : cells) {
    line += (line.empty() ? "" : ",") + cell;
  }
  return line + '\n';
}

// "0.25" or "5%", for the header of a CSV file.
std::string CenterName(const PoseThreshold& threshold) {
  return threshold.relative ? Text("%g", 100.0 * threshold.center) + "%"
                            : Text("%g", threshold.center);
}

size_t NumWithStatus(const MethodResult& method, const std::string& status) {
  return std::count(method.statuses.begin(), method.statuses.end(), status);
}

}  // namespace

MethodResult EvaluateResultFile(const std::string& path,
                                const std::string& name,
                                const Truth& truth,
                                const std::vector<PoseThreshold>& thresholds) {
  MethodResult result;
  result.name = name;
  Outcomes outcomes = ReadOutcomes(path);
  const bool names_any = !outcomes.empty();
  CompleteNames(truth, &outcomes, &result);
  std::vector<double> depths;
  bool any_known = false;
  for (const TrueQuery& query : truth.queries) {
    const auto outcome = outcomes.extract(query.name);
    const bool found = !outcome.empty();
    any_known |= found;
    result.statuses.push_back(found ? outcome.mapped().status : kMissing);
    result.errors.emplace_back();
    if (result.statuses.back() == kRegistered) {
      const Rigid3d& pose = outcome.mapped().cam_from_world;
      result.errors.back() = ErrorOfPose(pose, query.cam_from_world);
      AddIfOfReference(query.name, pose, truth, &result);
    }
    depths.push_back(query.depth);
  }
  for (const auto& [other, _] : outcomes) {
    result.without_truth.push_back(other);
    any_known |= truth.other_names.count(other) > 0;
  }
  if (names_any && !any_known && truth.other_names.empty()) {
    throw InputError(
        "The results " + path +
        " name none of the queries: they "
        "have " +
        result.without_truth.front() + " and so on, the ground truth has " +
        truth.queries.front().name +
        " and so on. Names must be the same in both, or be without folders and "
        "the end of a single one.");
  }
  result.evaluation = EvaluatePoses(result.errors, depths, thresholds);
  return result;
}

std::optional<double> MedianSceneDepth(const colmap::Reconstruction& model,
                                       const std::string& query_name,
                                       const Rigid3d& cam_from_world,
                                       const colmap::Camera* camera) {
  std::vector<double> depths;
  const auto add = [&](const Eigen::Vector3d& xyz) {
    const double depth = (cam_from_world * xyz).z();
    if (depth > 0.0) {
      depths.push_back(depth);
    }
  };
  const auto ids = ImageIdsByName(model);
  const auto id = ids.find(query_name);
  if (id != ids.end()) {
    for (const colmap::Point2D& point : model.Image(id->second).Points2D()) {
      if (point.HasPoint3D()) {
        add(XYZ(model.Point3D(Point3DId(point))));
      }
    }
  } else if (camera != nullptr) {
    const std::unique_ptr<Camera> projection = CreateCamera(*camera);
    for (const auto& [_, point] : model.Points3D()) {
      Eigen::Vector2d xy;
      if (projection->Project(cam_from_world * XYZ(point), &xy, nullptr) &&
          xy.x() >= 0.0 && xy.y() >= 0.0 && xy.x() <= projection->Width() &&
          xy.y() <= projection->Height()) {
        add(XYZ(point));
      }
    }
  }
  if (depths.empty()) {
    return {};
  }
  return Median(depths);
}

Poses PosesOf(const colmap::Reconstruction& model) {
  Poses poses;
  for (const colmap::image_t id : RegisteredImages(model)) {
    const colmap::Image& image = model.Image(id);
    poses[image.Name()] = CamFromWorld(image);
  }
  return poses;
}

Eigen::VectorXd AlignedCenterErrors(const colmap::Reconstruction& model,
                                    const Poses& true_poses) {
  const Poses poses = PosesOf(model);
  Eigen::Matrix3Xd centers(3, poses.size()), true_centers(3, poses.size());
  Eigen::Index i = 0;
  for (const auto& [name, pose] : poses) {
    centers.col(i) = ProjectionCenter(pose);
    true_centers.col(i++) = ProjectionCenter(true_poses.at(name));
  }
  return AlignedDistances(centers, true_centers);
}

std::string FormatEvaluation(const std::vector<MethodResult>& methods,
                             const std::vector<PoseThreshold>& thresholds) {
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const std::string& label, const auto& cell_of) {
    rows.push_back({label});
    for (const MethodResult& method : methods) {
      rows.back().push_back(cell_of(method));
    }
  };
  add(std::to_string(methods.front().errors.size()) + " queries",
      [](const MethodResult& method) { return method.name; });
  for (const std::string& status :
       {kRegistered, kRejected, kFailed, kMissing}) {
    add("  " + status, [&](const MethodResult& method) {
      return std::to_string(NumWithStatus(method, status));
    });
  }
  const auto add_errors = [&](const std::string& label,
                              PoseError PoseEvaluation::*error) {
    add("  " + label + " centre error", [&](const MethodResult& method) {
      return ErrorText((method.evaluation.*error).center, "");
    });
    add("  " + label + " rotation error", [&](const MethodResult& method) {
      return ErrorText((method.evaluation.*error).rotation_deg, " deg");
    });
  };
  rows.push_back({"Of all queries (without a pose: infinite error)"});
  add_errors("median", &PoseEvaluation::median);
  const auto add_scores = [&](const std::string& label,
                              double ThresholdScores::*score,
                              const auto& name_of) {
    for (size_t i = 0; i < thresholds.size(); ++i) {
      add("  " + label + name_of(thresholds[i]),
          [&](const MethodResult& method) {
            return Text("%.1f %%",
                        100.0 * (method.evaluation.scores[i].*score));
          });
    }
  };
  add_scores("recall at ",
             &ThresholdScores::recall,
             [](const PoseThreshold& t) { return t.Name(); });
  add_scores("AUC of the centre error to ",
             &ThresholdScores::center_auc,
             [](const PoseThreshold& t) { return CenterName(t); });
  add_scores(
      "AUC of the rotation error to ",
      &ThresholdScores::rotation_auc,
      [](const PoseThreshold& t) { return Text("%g deg", t.rotation_deg); });
  rows.push_back({"Of its registered queries"});
  add_errors("median", &PoseEvaluation::median_registered);
  add_errors("largest", &PoseEvaluation::max_registered);
  return Align(rows);
}

std::string FormatEvaluationCsv(const std::vector<MethodResult>& methods,
                                const std::vector<PoseThreshold>& thresholds) {
  std::vector<std::string> header = {"method",
                                     "queries",
                                     kRegistered,
                                     kRejected,
                                     kFailed,
                                     kMissing,
                                     "median_center_error",
                                     "median_rotation_error_deg",
                                     "registered_median_center_error",
                                     "registered_median_rotation_error_deg",
                                     "registered_max_center_error",
                                     "registered_max_rotation_error_deg"};
  for (const PoseThreshold& threshold : thresholds) {
    const std::string center = CenterName(threshold);
    const std::string rotation = Text("%gdeg", threshold.rotation_deg);
    header.push_back("recall_" + center + "_" + rotation);
    header.push_back("center_auc_" + center);
    header.push_back("rotation_auc_" + rotation);
  }
  std::string text = CsvLine(header);
  for (const MethodResult& method : methods) {
    const PoseEvaluation& evaluation = method.evaluation;
    std::vector<std::string> cells = {CsvCell(method.name),
                                      std::to_string(evaluation.num_queries)};
    for (const std::string& status :
         {kRegistered, kRejected, kFailed, kMissing}) {
      cells.push_back(std::to_string(NumWithStatus(method, status)));
    }
    for (const PoseError& error : {evaluation.median,
                                   evaluation.median_registered,
                                   evaluation.max_registered}) {
      cells.push_back(CsvCell(error.center));
      cells.push_back(CsvCell(error.rotation_deg));
    }
    for (const ThresholdScores& scores : evaluation.scores) {
      cells.push_back(CsvCell(scores.recall));
      cells.push_back(CsvCell(scores.center_auc));
      cells.push_back(CsvCell(scores.rotation_auc));
    }
    text += CsvLine(cells);
  }
  return text;
}

std::string FormatErrorsCsv(const std::vector<MethodResult>& methods,
                            const std::vector<TrueQuery>& queries) {
  const bool with_depth =
      std::any_of(queries.begin(), queries.end(), [](const TrueQuery& query) {
        return query.depth > 0.0;
      });
  std::vector<std::string> header = {
      "method", "query", "status", "center_error", "rotation_error_deg"};
  if (with_depth) {
    header.push_back("scene_depth");
  }
  std::string text = CsvLine(header);
  for (const MethodResult& method : methods) {
    for (size_t i = 0; i < queries.size(); ++i) {
      std::vector<std::string> cells = {CsvCell(method.name),
                                        CsvCell(queries[i].name),
                                        method.statuses[i],
                                        CsvCell(method.errors[i].center),
                                        CsvCell(method.errors[i].rotation_deg)};
      if (with_depth) {
        cells.push_back(CsvCell(queries[i].depth));
      }
      text += CsvLine(cells);
    }
  }
  return text;
}

}  // namespace nre
