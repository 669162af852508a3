#include "colmap_plugin/io/lists.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <string_view>

#include <nlohmann/json.hpp>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/io/text_files.h"
#include "nre/error.h"

namespace nre {
namespace {

double ParseDouble(std::string_view view) {
  const std::string word(view);
  char* end = nullptr;
  const double value = std::strtod(word.c_str(), &end);
  if (end == word.c_str() || *end != '\0' || !std::isfinite(value)) {
    throw InputError("'" + word + "' is not a number");
  }
  return value;
}

int ParseSize(std::string_view word) {
  const double value = ParseDouble(word);
  if (value < 1.0 || value > 1e6 || value != std::floor(value)) {
    throw InputError("'" + std::string(word) +
                     "' is not an image size in pixels");
  }
  return static_cast<int>(value);
}

bool IsNumber(std::string_view word) {
  try {
    ParseDouble(word);
    return true;
  } catch (const InputError&) {
    return false;
  }
}

using Words = std::vector<std::string_view>;

// Returns the number of words in a line of a query list that are the image's
// name: those before the last one that is called like a camera model or, where
// none is, before the word in front of the numbers at the end.
size_t NumWordsOfName(const Words& words) {
  for (size_t i = words.size(); i-- > 1;) {
    if (FindCameraModel(std::string(words[i])) != nullptr) {
      return i;
    }
  }
  size_t num = words.size();
  while (num > 1 && IsNumber(words[num - 1])) {
    --num;
  }
  return num < words.size() && num > 1 ? num - 1 : num;
}

// Returns the first words of a text, with the blanks that are between them.
std::string FirstWords(const std::string& text,
                       const Words& words,
                       size_t num) {
  const std::string_view last = words[num - 1];
  return text.substr(0, last.data() + last.size() - text.data());
}

// words: MODEL width height parameters.
colmap::Camera ParseCamera(const Words& words, bool* focal_length_unknown) {
  if (words.size() < 3) {
    throw InputError(
        "no intrinsics (expected: name MODEL width height parameters, these "
        "without a focal length if it is unknown: 0, or no parameters)");
  }
  std::vector<double> params;
  for (size_t i = 3; i < words.size(); ++i) {
    params.push_back(ParseDouble(words[i]));
  }
  return MakeColmapCamera(std::string(words[0]),
                          ParseSize(words[1]),
                          ParseSize(words[2]),
                          params,
                          focal_length_unknown);
}

// text: name qw qx qy qz tx ty tz.
std::pair<std::string, Rigid3d> ParsePose(const std::string& text) {
  const Words words = SplitWords(text);
  if (words.size() < 8) {
    throw InputError("expected name qw qx qy qz tx ty tz, separated by spaces");
  }
  const size_t num_in_name = words.size() - 7;
  double values[7];
  for (int i = 0; i < 7; ++i) {
    values[i] = ParseDouble(words[num_in_name + i]);
  }
  const Eigen::Quaterniond rotation(values[0], values[1], values[2], values[3]);
  if (!(rotation.norm() > 0.0)) {
    throw InputError("the quaternion is zero");
  }
  return {FirstWords(text, words, num_in_name),
          {rotation.normalized(), {values[4], values[5], values[6]}}};
}

// Returns the name in double quotes that begins at *begin, and moves *begin
// behind it; nothing if the quotes do not end, or not at the end of a word.
std::optional<std::string> ParseQuotedName(const std::string& text,
                                           size_t* begin) {
  std::string name;
  for (size_t i = *begin + 1; i < text.size(); ++i) {
    const char next = i + 1 < text.size() ? text[i + 1] : ' ';
    if (text[i] != '"') {
      name += text[i];
    } else if (next == '"') {
      name += text[i++];
    } else if (next == ' ' || next == '\t') {
      *begin = i + 1;
      return name;
    } else {
      return {};
    }
  }
  return {};
}

// Whether a name cannot stand in a pairs file as it is: it has blanks, or would
// be taken for one in quotes or for a comment.
bool NeedsQuotes(const std::string& name) {
  return name.find_first_of(" \t") != std::string::npos || name[0] == '"' ||
         name[0] == '#';
}

std::string Quoted(const std::string& name) {
  std::string quoted = "\"";
  for (const char c : name) {
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  }
  return quoted + '"';
}

// text: two names, separated by a tab or else by blanks, or in double quotes
// (see PairLine()).
ImagePair ParsePair(const std::string& text) {
  const char separator = text.find('\t') == std::string::npos ? ' ' : '\t';
  std::vector<std::string> names;
  for (size_t begin = 0; begin < text.size();) {
    begin = text.find_first_not_of(" \t", begin);
    std::optional<std::string> name;
    if (text[begin] == '"') {
      name = ParseQuotedName(text, &begin);
    }
    if (!name.has_value()) {
      const size_t end = std::min(text.find(separator, begin), text.size());
      name = Trimmed(std::string_view(text).substr(begin, end - begin));
      begin = end;
    }
    names.push_back(*name);
  }
  if (names.size() != 2) {
    throw InputError(
        "expected a query and a reference image, separated by a space; if "
        "their names have blanks, by a tab, or in double quotes");
  }
  return {names[0], names[1]};
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
  for (const TextLine& line : ReadLines(path, "query list")) {
    const Words words = SplitWords(line.text);
    const size_t num_in_name = NumWordsOfName(words);
    Query query;
    query.name = FirstWords(line.text, words, num_in_name);
    try {
      query.camera = ParseCamera({words.begin() + num_in_name, words.end()},
                                 &query.focal_length_unknown);
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
  for (const TextLine& line : ReadLines(path, "file of priors")) {
    try {
      const Json json = Json::parse(EscapeBytes(line.text), nullptr, false);
      if (!json.is_object() || !json.contains("name") ||
          !json["name"].is_string()) {
        throw InputError("not a JSON object with a `name`");
      }
      const std::string name = UnescapeBytes(json["name"]);
      if (!priors.emplace(name, ParsePriors(json)).second) {
        throw InputError(name + " was listed before");
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
  for (const TextLine& line : ReadLines(path, "image list")) {
    names.push_back(line.text);
  }
  if (names.empty()) {
    throw InputError("The image list " + path + " names no image.");
  }
  return names;
}

Pairs ReadPairs(const std::string& path) {
  Pairs pairs;
  for (const TextLine& line : ReadLines(path, "pairs file")) {
    try {
      const auto [query, reference] = ParsePair(line.text);
      pairs[query].push_back(reference);
    } catch (const InputError& error) {
      throw InputError(path + ", line " + std::to_string(line.number) + ": " +
                       error.what() + ".");
    }
  }
  if (pairs.empty()) {
    throw InputError("The pairs file " + path + " is empty.");
  }
  return pairs;
}

std::string PairLine(const ImagePair& pair) {
  return NeedsQuotes(pair.first) || NeedsQuotes(pair.second)
             ? Quoted(pair.first) + " " + Quoted(pair.second) + "\n"
             : pair.first + " " + pair.second + "\n";
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
  for (const TextLine& line : ReadLines(path, "file of poses")) {
    try {
      const auto [name, pose] = ParsePose(line.text);
      if (!poses.emplace(name, pose).second) {
        throw InputError("there is a pose of " + name + " already");
      }
    } catch (const InputError& error) {
      throw InputError(path + ", line " + std::to_string(line.number) + ": " +
                       error.what() + ".");
    }
  }
  return poses;
}

}  // namespace nre
