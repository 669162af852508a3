#include "colmap_plugin/io/lists.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "colmap_plugin/compat/camera.h"
#include "nre/error.h"

namespace nre {
namespace {

struct Line {
  size_t number = 0;
  std::string text;  // without blanks at its ends
  std::vector<std::string> words;
};

// The lines that are neither blank nor comments.
std::vector<Line> ReadLines(const std::string& path, const std::string& what) {
  std::ifstream file(path);
  std::vector<Line> lines;
  std::string text;
  for (size_t number = 1; std::getline(file, text); ++number) {
    const size_t begin = text.find_first_not_of(" \t\r");
    const size_t end = text.find_last_not_of(" \t\r");
    if (begin == std::string::npos || text[begin] == '#') {
      continue;
    }
    Line line{number, text.substr(begin, end + 1 - begin), {}};
    std::istringstream stream(line.text);
    for (std::string word; stream >> word;) {
      line.words.push_back(word);
    }
    lines.push_back(line);
  }
  // Reading a folder "succeeds" without an end of file.
  if (!file.eof()) {
    throw InputError("The " + what + " " + path +
                     " cannot be read. Check that it exists and that you may "
                     "read it.");
  }
  return lines;
}

double ParseDouble(const std::string& word) {
  char* end = nullptr;
  const double value = std::strtod(word.c_str(), &end);
  if (end == word.c_str() || *end != '\0' || !std::isfinite(value)) {
    throw InputError("'" + word + "' is not a number");
  }
  return value;
}

int ParseSize(const std::string& word) {
  const double value = ParseDouble(word);
  if (value < 1.0 || value > 1e6 || value != std::floor(value)) {
    throw InputError("'" + word + "' is not an image size in pixels");
  }
  return static_cast<int>(value);
}

colmap::Camera ParseCamera(const std::vector<std::string>& words,
                           bool* focal_length_unknown) {
  if (words.size() < 4) {
    throw InputError(
        "no intrinsics (expected: name MODEL width height parameters, these "
        "without a focal length if it is unknown: 0, or no parameters)");
  }
  std::vector<double> params;
  for (size_t i = 4; i < words.size(); ++i) {
    params.push_back(ParseDouble(words[i]));
  }
  return MakeColmapCamera(words[1],
                          ParseSize(words[2]),
                          ParseSize(words[3]),
                          params,
                          focal_length_unknown);
}

// words: name qw qx qy qz tx ty tz.
Rigid3d ParsePose(const std::vector<std::string>& words) {
  if (words.size() != 8) {
    throw InputError("expected name qw qx qy qz tx ty tz, separated by spaces");
  }
  double values[7];
  for (int i = 0; i < 7; ++i) {
    values[i] = ParseDouble(words[i + 1]);
  }
  const Eigen::Quaterniond rotation(values[0], values[1], values[2], values[3]);
  if (!(rotation.norm() > 0.0)) {
    throw InputError("the quaternion is zero");
  }
  return {rotation.normalized(), {values[4], values[5], values[6]}};
}

using Json = nlohmann::json;

double ToNumber(const Json& json, const std::string& key) {
  if (!json.is_number() || !std::isfinite(json.get<double>())) {
    throw InputError("`" + key + "` is not a number");
  }
  return json.get<double>();
}

Eigen::Vector3d ToVector(const Json& json, const std::string& key) {
  if (!json.is_array() || json.size() != 3) {
    throw InputError("`" + key + "` is not [x, y, z]");
  }
  return {
      ToNumber(json[0], key), ToNumber(json[1], key), ToNumber(json[2], key)};
}

const Json& Field(const Json& json, const std::string& key) {
  if (!json.contains(key)) {
    throw InputError("`" + key + "` is missing");
  }
  return json[key];
}

Eigen::Vector3d ToDirection(const Json& json, const std::string& key) {
  const Eigen::Vector3d direction = ToVector(Field(json, key), key);
  if (!(direction.norm() > 0.0)) {
    throw InputError("`" + key + "` has no direction");
  }
  return direction.normalized();
}

Eigen::Matrix3d ParsePositionCovariance(const Json& json) {
  if (json.contains("position_std") == json.contains("position_covariance")) {
    throw InputError(
        "`position` needs either `position_std` or `position_covariance`");
  }
  Eigen::Matrix3d covariance = Eigen::Matrix3d::Zero();
  if (json.contains("position_std")) {
    const Json& field = json["position_std"];
    const Eigen::Vector3d stddevs =
        field.is_array()
            ? ToVector(field, "position_std")
            : Eigen::Vector3d::Constant(ToNumber(field, "position_std"));
    if (!(stddevs.minCoeff() > 0.0)) {
      throw InputError("`position_std` is not positive");
    }
    covariance.diagonal() = stddevs.cwiseAbs2();
  } else {
    const Json& rows = json["position_covariance"];
    if (!rows.is_array() || rows.size() != 3) {
      throw InputError("`position_covariance` does not have three rows");
    }
    for (int i = 0; i < 3; ++i) {
      covariance.row(i) = ToVector(rows[i], "position_covariance");
    }
  }
  return covariance;
}

Priors ParsePriors(const Json& json) {
  static const std::set<std::string> kKeys = {"name",
                                              "position",
                                              "position_std",
                                              "position_covariance",
                                              "gravity",
                                              "gravity_std_deg",
                                              "world_down"};
  for (const auto& [key, value] : json.items()) {
    if (kKeys.count(key) == 0) {
      throw InputError("`" + key + "` is not known");
    }
  }
  Priors priors;
  if (json.contains("position")) {
    PositionPrior position;
    position.mean = ToVector(json["position"], "position");
    position.covariance = ParsePositionCovariance(json);
    if (!position.Check()) {
      throw InputError(
          "the covariance of `position` is not symmetric and positive "
          "definite");
    }
    priors.position = position;
  }
  if (json.contains("gravity")) {
    GravityPrior gravity;
    gravity.down_in_cam = ToDirection(json, "gravity");
    gravity.down_in_world = ToDirection(json, "world_down");
    gravity.stddev_deg =
        ToNumber(Field(json, "gravity_std_deg"), "gravity_std_deg");
    if (!gravity.Check()) {
      throw InputError("`gravity_std_deg` is not positive");
    }
    priors.gravity = gravity;
  }
  if (!priors.OfPose()) {
    throw InputError("neither `position` nor `gravity` is given");
  }
  return priors;
}

}  // namespace

std::vector<Query> ReadQueryList(const std::string& path) {
  std::vector<Query> queries;
  std::set<std::string> names;
  bool any_right = false;
  for (const Line& line : ReadLines(path, "query list")) {
    Query query;
    query.name = line.words[0];
    try {
      query.camera = ParseCamera(line.words, &query.focal_length_unknown);
      if (!names.insert(query.name).second) {
        throw InputError("it was listed before");
      }
      any_right = true;
    } catch (const InputError& error) {
      query.error =
          path + ", line " + std::to_string(line.number) + ": " + error.what();
    }
    queries.push_back(query);
  }
  if (!any_right) {
    throw InputError(
        "The query list " + path + " has no usable line. Expected: " +
        "name MODEL width height parameters, one image per line." +
        (queries.empty() ? "" : " First problem: " + queries[0].error));
  }
  return queries;
}

std::map<std::string, Priors> ReadPriors(const std::string& path) {
  std::map<std::string, Priors> priors;
  for (const Line& line : ReadLines(path, "file of priors")) {
    try {
      const Json json = Json::parse(line.text, nullptr, false);
      if (!json.is_object() || !json.contains("name") ||
          !json["name"].is_string()) {
        throw InputError("not a JSON object with a `name`");
      }
      if (!priors.emplace(json["name"], ParsePriors(json)).second) {
        throw InputError(json["name"].get<std::string>() +
                         " was listed before");
      }
    } catch (const InputError& error) {
      throw InputError(path + ", line " + std::to_string(line.number) + ": " +
                       error.what() +
                       ". Expected, for example: {\"name\": \"a.jpg\", "
                       "\"position\": [1, 2, 3], \"position_std\": 0.5, "
                       "\"gravity\": [0, 1, 0], \"gravity_std_deg\": 2, "
                       "\"world_down\": [0, 0, -1]}");
    }
  }
  if (priors.empty()) {
    throw InputError("The file of priors " + path + " is empty.");
  }
  return priors;
}

std::vector<std::string> ReadImageList(const std::string& path) {
  std::vector<std::string> names;
  for (const Line& line : ReadLines(path, "image list")) {
    names.push_back(line.text);
  }
  if (names.empty()) {
    throw InputError("The image list " + path + " names no image.");
  }
  return names;
}

Pairs ReadPairs(const std::string& path) {
  Pairs pairs;
  for (const Line& line : ReadLines(path, "pairs file")) {
    if (line.words.size() != 2) {
      throw InputError(path + ", line " + std::to_string(line.number) +
                       ": expected a query and a reference image, separated "
                       "by a space.");
    }
    pairs[line.words[0]].push_back(line.words[1]);
  }
  if (pairs.empty()) {
    throw InputError("The pairs file " + path + " is empty.");
  }
  return pairs;
}

std::vector<ImagePair> ReadImagePairs(const std::string& path) {
  std::vector<ImagePair> pairs;
  for (const auto& [first, others] : ReadPairs(path)) {
    for (const std::string& second : others) {
      pairs.emplace_back(first, second);
    }
  }
  return pairs;
}

Poses ReadPoses(const std::string& path) {
  Poses poses;
  for (const Line& line : ReadLines(path, "file of poses")) {
    try {
      if (!poses.emplace(line.words[0], ParsePose(line.words)).second) {
        throw InputError("there is a pose of " + line.words[0] + " already");
      }
    } catch (const InputError& error) {
      throw InputError(path + ", line " + std::to_string(line.number) + ": " +
                       error.what() + ".");
    }
  }
  return poses;
}

}  // namespace nre
