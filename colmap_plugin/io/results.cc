#include "colmap_plugin/io/results.h"

#include <limits>
#include <sstream>

#include <nlohmann/json.hpp>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/io/text_files.h"
#include "nre/error.h"

namespace nre {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const Eigen::Vector3d& v) { return {v.x(), v.y(), v.z()}; }

Json ToJson(const Eigen::Quaterniond& q) {
  return {q.w(), q.x(), q.y(), q.z()};
}

Json ToJson(const Matrix6d& matrix) {
  Json rows = Json::array();
  for (int i = 0; i < 6; ++i) {
    Json row = Json::array();
    for (int j = 0; j < 6; ++j) {
      row.push_back(matrix(i, j));
    }
    rows.push_back(row);
  }
  return rows;
}

Json ToJson(const QueryResult& result) {
  const PoseEstimate& estimate = result.estimate;
  Json json;
  json["name"] = result.name;
  json["status"] = VerdictName(estimate.verdict);
  json["reason"] = estimate.reason;
  json["reason_code"] = ReasonName(estimate.why);
  json["method"] = EstimationMethodName(result.method);
  for (const char* key : {"qvec",
                          "tvec",
                          "camera_center",
                          "covariance",
                          "focal_length_px",
                          "focal_length_std_px",
                          "camera_model",
                          "camera_params",
                          "msac_cost",
                          "coarse_cost",
                          "fine_cost",
                          "log_false_alarms"}) {
    json[key] = nullptr;
  }
  if (estimate.verdict != Verdict::kFailed) {
    json["qvec"] = ToJson(estimate.cam_from_world.rotation);
    json["tvec"] = ToJson(estimate.cam_from_world.translation);
    json["camera_center"] = ToJson(ProjectionCenter(estimate.cam_from_world));
    json["covariance"] = ToJson(estimate.covariance);
    if (result.focal_length_estimated) {
      json["focal_length_px"] = estimate.focal_length_px;
      json["focal_length_std_px"] = estimate.focal_length_std_px;
      json["camera_model"] =
          FindCameraModel(CameraModelIdOf(result.camera))->name;
      json["camera_params"] = CameraParams(result.camera);
    }
    json["msac_cost"] = estimate.msac_cost;
    json["coarse_cost"] = estimate.coarse_cost;
    json["fine_cost"] = estimate.fine_cost;
    json["log_false_alarms"] = estimate.log_false_alarms;
  }
  json["num_support"] = estimate.support.size();
  json["num_points"] = result.point3D_ids.size();
  json["references"] = result.references;
  json["references_chosen"] = result.references_chosen;
  json["warnings"] = result.warnings;
  if (result.turned_deg != 0) {
    json["turned_deg"] = result.turned_deg;
  }
  json["read_ms"] = result.read_ms;
  json["features_ms"] = result.features_ms;
  json["choose_references_ms"] = result.choose_references_ms;
  json["describe_references_ms"] = result.describe_references_ms;
  json["coarse_maps_ms"] = result.coarse_maps_ms;
  json["msac_ms"] = estimate.msac_ms;
  json["coarse_gnc_ms"] = estimate.coarse_gnc_ms;
  json["fine_maps_ms"] = estimate.fine_maps_ms;
  json["fine_gnc_ms"] = estimate.fine_gnc_ms;
  json["alternatives_ms"] = estimate.alternatives_ms;
  json["refinement_ms"] = estimate.refinement_ms;
  json["pictures_ms"] = result.pictures_ms;
  json["total_ms"] = result.total_ms;
  return json;
}

Verdict ParseVerdict(const std::string& name) {
  for (const Verdict verdict :
       {Verdict::kRegistered, Verdict::kRejected, Verdict::kFailed}) {
    if (name == VerdictName(verdict)) {
      return verdict;
    }
  }
  throw InputError("unknown status '" + name + "'");
}

// Names need not be UTF-8, and other texts have names in them.
void EscapeAllTexts(Json* json) {
  if (json->is_string()) {
    *json = EscapeBytes(*json);
  } else if (json->is_structured()) {
    for (Json& child : *json) {
      EscapeAllTexts(&child);
    }
  }
}

QueryOutcome ParseOutcome(const std::string& line) {
  const Json json = Json::parse(line);
  QueryOutcome outcome;
  outcome.name = UnescapeBytes(json.at("name"));
  outcome.verdict = ParseVerdict(json.at("status"));
  if (outcome.verdict != Verdict::kFailed) {
    const Json& q = json.at("qvec");
    const Json& t = json.at("tvec");
    outcome.cam_from_world.rotation =
        Eigen::Quaterniond(q.at(0), q.at(1), q.at(2), q.at(3));
    outcome.cam_from_world.translation =
        Eigen::Vector3d(t.at(0), t.at(1), t.at(2));
    if (!(outcome.cam_from_world.rotation.norm() > 0.0)) {
      throw InputError("the quaternion is zero");
    }
    outcome.cam_from_world.rotation.normalize();
  }
  return outcome;
}

}  // namespace

std::string FormatResults(const std::vector<QueryResult>& results) {
  std::ostringstream text;
  text.precision(std::numeric_limits<double>::max_digits10);
  for (const QueryResult& result : results) {
    if (result.estimate.verdict != Verdict::kRegistered) {
      continue;
    }
    const Eigen::Quaterniond& q = result.estimate.cam_from_world.rotation;
    const Eigen::Vector3d& t = result.estimate.cam_from_world.translation;
    text << result.name;
    for (const double value :
         {q.w(), q.x(), q.y(), q.z(), t.x(), t.y(), t.z()}) {
      text << ' ' << value;
    }
    text << '\n';
  }
  return text.str();
}

std::string FormatReport(const std::vector<QueryResult>& results) {
  std::string text;
  for (const QueryResult& result : results) {
    Json json = ToJson(result);
    EscapeAllTexts(&json);
    text += json.dump() + '\n';
  }
  return text;
}

std::vector<QueryOutcome> ReadReport(const std::string& path) {
  std::vector<QueryOutcome> outcomes;
  for (const TextLine& line : ReadLines(path, "report")) {
    try {
      outcomes.push_back(ParseOutcome(line.text));
    } catch (const std::exception& error) {  // also those of the JSON library
      throw InputError(path + ", line " + std::to_string(line.number) +
                       " is not one of a report.jsonl: " + error.what() + ".");
    }
  }
  return outcomes;
}

}  // namespace nre
