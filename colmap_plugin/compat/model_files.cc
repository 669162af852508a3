#include "colmap_plugin/compat/model_files.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string_view>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/io/text_files.h"
#include "nre/error.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

#if NRE_COLMAP_VERSION < 400
constexpr bool kHasRigsAndFrames = false;
#else
constexpr bool kHasRigsAndFrames = true;
#endif

constexpr const char* kStems[] = {
    "cameras", "images", "points3D", "rigs", "frames"};

// COLMAP's ids of nothing.
constexpr uint64_t kNoPoint3D = std::numeric_limits<uint64_t>::max();
constexpr uint32_t kNoId = std::numeric_limits<uint32_t>::max();

[[noreturn]] void Fail(const fs::path& path, const std::string& what) {
  throw InputError("The model file " + path.string() + " is damaged: " + what +
                   ". Restore it or reconstruct the model again.");
}

template <typename... Args>
std::string Text(const Args&... args) {
  std::ostringstream stream;
  (stream << ... << args);
  return stream.str();
}

// Says which COLMAP has the camera's model, if a newer one has it.
void RefuseNewerModel(const fs::path& path,
                      uint32_t camera_id,
                      const std::string& newer) {
  if (!newer.empty()) {
    throw InputError(Text("Camera ",
                          camera_id,
                          " of the model file ",
                          path.string(),
                          " cannot be used: ",
                          newer,
                          "."));
  }
}

// A number that hardly another observation of an image has, so that sums of
// them tell sets of observations apart (SplitMix64).
uint64_t Fingerprint(uint64_t point_id, uint64_t index) {
  uint64_t z = point_id + 0x9E3779B97F4A7C15u * (index + 1);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// What the files say about each other. The points come before the images, so
// that nothing but their ids has to be remembered.
//
// Observations of points and tracks of images that are not there are what
// remains where somebody deleted these from the files. They are counted, and
// left out, if images and tracks agree on all other observations. Otherwise
// something else is wrong, too, and nobody knows what.
class Consistency {
 public:
  void AddCamera(uint32_t id, int model_id, const std::vector<double>& params) {
    CheckId(id, kNoId, "camera");
    const CameraModelInfo* model = FindCameraModel(model_id);
    if (model == nullptr) {
      RefuseNewerModel(path, id, NewerCameraModel(model_id));
      Fail(path, Text("camera ", id, " has the unknown model ", model_id));
    }
    if (params.size() != model->num_params) {
      Fail(path, Text("camera ", id, " has ", params.size(), " parameters"));
    }
    for (const double param : params) {
      if (!std::isfinite(param)) {
        Fail(path, Text("a parameter of camera ", id, " is not finite"));
      }
    }
    if (!camera_ids_.insert(id).second) {
      Fail(path, Text("camera ", id, " is there twice"));
    }
  }

  void AddPoint(uint64_t id, const std::array<double, 3>& xyz) {
    CheckId(id, kNoPoint3D, "point");
    for (const double value : xyz) {
      if (!std::isfinite(value)) {
        Fail(path, Text("the position of point ", id, " is not finite"));
      }
    }
    point_ids_.push_back(id);
  }

  void AddTrackElement(uint64_t point_id, uint32_t image_id, uint32_t index) {
    Tracks& tracks = tracks_[image_id];
    if (index >= tracks.last_index) {
      tracks.last_index = index;
      tracks.last_point_id = point_id;
    }
    ++tracks.num;
    tracks.sum += Fingerprint(point_id, index);
  }

  void EndPoints() {
    std::sort(point_ids_.begin(), point_ids_.end());
    const auto twice = std::adjacent_find(point_ids_.begin(), point_ids_.end());
    if (twice != point_ids_.end()) {
      Fail(path, Text("point ", *twice, " is there twice"));
    }
  }

  // `pose`: qw, qx, qy, qz, tx, ty, tz.
  void AddImage(uint32_t id,
                const std::array<double, 7>& pose,
                uint32_t camera_id,
                const std::string& name) {
    CheckId(id, kNoId, "image");
    double squared_norm = 0.0;
    for (size_t i = 0; i < pose.size(); ++i) {
      if (!std::isfinite(pose[i])) {
        Fail(path,
             Text("the pose of image ", id, " (", name, ") is not finite"));
      }
      squared_norm += i < 4 ? pose[i] * pose[i] : 0.0;
    }
    if (squared_norm == 0.0) {
      Fail(path, Text("the rotation of image ", id, " (", name, ") is zero"));
    }
    if (camera_ids_.count(camera_id) == 0) {
      Fail(path,
           Text("image ",
                id,
                " (",
                name,
                ") has camera ",
                camera_id,
                ", which the cameras file lacks"));
    }
    if (name.empty() || !image_names_.insert(name).second) {
      Fail(path, Text("image ", id, " has no name or one used before: ", name));
    }
    if (!image_ids_.insert(id).second) {
      Fail(path, Text("image ", id, " is there twice"));
    }
  }

  void AddPoint2D(uint32_t image_id,
                  uint64_t index,
                  const std::array<double, 2>& xy,
                  uint64_t point_id) {
    if (!std::isfinite(xy[0]) || !std::isfinite(xy[1])) {
      Fail(path, Text("a 2D point of image ", image_id, " is not finite"));
    }
    if (point_id == kNoPoint3D) {
      return;
    }
    if (HasPoint(point_id)) {
      ++num_observations_;
      sum_of_image_ += Fingerprint(point_id, index);
      return;
    }
    ++num_observations_of_gone_points_;
    if (first_gone_.empty()) {
      first_gone_ = Text("image ",
                         image_id,
                         " observes point ",
                         point_id,
                         ", which the points3D file lacks");
    }
  }

  void EndImage(uint32_t image_id, uint64_t num_points2D) {
    const auto found = tracks_.find(image_id);
    const Tracks tracks = found == tracks_.end() ? Tracks() : found->second;
    if (tracks.num > 0 && tracks.last_index >= num_points2D) {
      Fail(path,
           Text("image ",
                image_id,
                " has ",
                num_points2D,
                " 2D points, but the track of point ",
                tracks.last_point_id,
                " names its 2D point ",
                tracks.last_index));
    }
    agree_ &= tracks.sum == sum_of_image_;
    sum_of_image_ = 0;
  }

  void EndImages(ModelFilesSummary* summary) {
    for (const auto& [image_id, tracks] : tracks_) {
      if (HasImage(image_id)) {
        continue;
      }
      summary->num_track_elements_of_gone_images += tracks.num;
      if (first_gone_.empty()) {
        first_gone_ = Text("image ",
                           image_id,
                           ", which the track of point ",
                           tracks.last_point_id,
                           " names, is missing");
      }
    }
    if (!first_gone_.empty() &&
        (!agree_ || image_ids_.empty() || point_ids_.empty())) {
      Fail(path, first_gone_);
    }
    summary->num_observations = num_observations_;
    summary->num_observations_of_gone_points = num_observations_of_gone_points_;
  }

  bool HasPoint(uint64_t id) const {
    return std::binary_search(point_ids_.begin(), point_ids_.end(), id);
  }
  bool HasImage(uint32_t id) const { return image_ids_.count(id) > 0; }

  void AddImageOfFrame(uint64_t image_id) {
    if (!image_ids_of_frames_.insert(image_id).second) {
      Fail(path, Text("image ", image_id, " is in two frames"));
    }
  }

  // A model without rigs and frames is one of an older COLMAP. An older COLMAP
  // that writes into the folder of a newer model leaves frames that do not fit.
  void EndFrames() {
    const bool fit =
        image_ids_.size() == image_ids_of_frames_.size() &&
        std::equal(
            image_ids_.begin(), image_ids_.end(), image_ids_of_frames_.begin());
    if (!fit) {
      Fail(path,
           "it does not have the images that the images file has. If an older "
           "COLMAP wrote that one later, the files of rigs and frames are "
           "stale and can be removed");
    }
  }

  // The file that is being read, for messages.
  fs::path path;

 private:
  // What the tracks say of an image.
  struct Tracks {
    size_t num = 0;
    uint64_t sum = 0;  // of Fingerprint()
    uint32_t last_index = 0;
    uint64_t last_point_id = 0;
  };

  void CheckId(uint64_t id, uint64_t none, const std::string& what) const {
    if (id == none) {
      Fail(path,
           Text("a ", what, " has the id ", id, ", which stands for none"));
    }
  }

  std::set<uint32_t> camera_ids_;
  std::set<uint32_t> image_ids_;
  std::set<uint64_t> image_ids_of_frames_;
  std::set<std::string> image_names_;
  std::vector<uint64_t> point_ids_;
  std::map<uint32_t, Tracks> tracks_;  // by image
  size_t num_observations_ = 0;
  size_t num_observations_of_gone_points_ = 0;
  uint64_t sum_of_image_ = 0;  // of the observations of the image being read
  bool agree_ = true;          // these and the tracks, of all images
  std::string first_gone_;     // says what
};

// Reads little-endian values and never past the end of the file.
class BinaryFile {
 public:
  explicit BinaryFile(const fs::path& path)
      : path_(path), file_(path, std::ios::binary) {
    std::error_code error;
    remaining_ = fs::file_size(path, error);
    if (!file_ || error) {
      throw InputError("The model file " + path.string() +
                       " cannot be read. Check that it exists and that you "
                       "may read it.");
    }
  }

  template <typename T>
  T Read() {
    T value;
    Require(sizeof(T));
    file_.read(reinterpret_cast<char*>(&value), sizeof(T));
    if (!file_) {
      Fail(path_, "it cannot be read to its end");
    }
    remaining_ -= sizeof(T);
    return value;
  }

  template <size_t N>
  std::array<double, N> ReadDoubles() {
    return Read<std::array<double, N>>();
  }

  // A number of records of at least `min_size` bytes each, which must still
  // fit into the file.
  uint64_t ReadCount(size_t min_size) {
    const uint64_t count = Read<uint64_t>();
    if (count > remaining_ / min_size) {
      Fail(path_,
           Text("it is truncated (",
                count,
                " records are announced where ",
                remaining_,
                " bytes are left)"));
    }
    return count;
  }

  std::string ReadName() {
    std::string name;
    for (char c = Read<char>(); c != '\0'; c = Read<char>()) {
      name += c;
    }
    return name;
  }

  void End() const {
    if (remaining_ != 0) {
      Fail(path_, Text(remaining_, " bytes follow its last record"));
    }
  }

 private:
  void Require(uint64_t num_bytes) const {
    if (num_bytes > remaining_) {
      Fail(path_, "it is truncated");
    }
  }

  fs::path path_;
  std::ifstream file_;
  uint64_t remaining_ = 0;
};

void WalkBinaryCameras(const fs::path& path,
                       Consistency* model,
                       ModelFilesSummary* summary) {
  BinaryFile file(path);
  summary->num_cameras = file.ReadCount(24);
  for (size_t i = 0; i < summary->num_cameras; ++i) {
    const uint32_t id = file.Read<uint32_t>();
    const int model_id = file.Read<int32_t>();
    file.Read<std::array<uint64_t, 2>>();  // size
    const CameraModelInfo* info = FindCameraModel(model_id);
    std::vector<double> params(info == nullptr ? 0 : info->num_params);
    for (double& param : params) {
      param = file.Read<double>();
    }
    model->AddCamera(id, model_id, params);
  }
  file.End();
}

void WalkBinaryPoints(const fs::path& path,
                      Consistency* model,
                      ModelFilesSummary* summary) {
  BinaryFile file(path);
  summary->num_points = file.ReadCount(51);
  for (size_t i = 0; i < summary->num_points; ++i) {
    const uint64_t id = file.Read<uint64_t>();
    model->AddPoint(id, file.ReadDoubles<3>());
    file.Read<std::array<uint8_t, 3>>();  // colour
    file.Read<double>();                  // error
    const uint64_t length = file.ReadCount(8);
    for (uint64_t j = 0; j < length; ++j) {
      const uint32_t image_id = file.Read<uint32_t>();
      model->AddTrackElement(id, image_id, file.Read<uint32_t>());
    }
  }
  file.End();
}

void WalkBinaryImages(const fs::path& path,
                      Consistency* model,
                      ModelFilesSummary* summary) {
  BinaryFile file(path);
  summary->num_images = file.ReadCount(73);
  for (size_t i = 0; i < summary->num_images; ++i) {
    const uint32_t id = file.Read<uint32_t>();
    const std::array<double, 7> pose = file.ReadDoubles<7>();
    const uint32_t camera_id = file.Read<uint32_t>();
    model->AddImage(id, pose, camera_id, file.ReadName());
    const uint64_t num_points2D = file.ReadCount(24);
    for (uint64_t j = 0; j < num_points2D; ++j) {
      const std::array<double, 2> xy = file.ReadDoubles<2>();
      model->AddPoint2D(id, j, xy, file.Read<uint64_t>());
    }
    model->EndImage(id, num_points2D);
  }
  file.End();
}

void CheckFinitePose(const fs::path& path,
                     const std::array<double, 7>& pose,
                     const std::string& owner) {
  for (const double value : pose) {
    if (!std::isfinite(value)) {
      Fail(path, "the pose of " + owner + " is not finite");
    }
  }
}

constexpr int kCameraSensor = 0;

void WalkBinaryRigs(const fs::path& path) {
  BinaryFile file(path);
  const uint64_t num_rigs = file.ReadCount(8);
  for (uint64_t i = 0; i < num_rigs; ++i) {
    const uint32_t id = file.Read<uint32_t>();
    const uint32_t num_sensors = file.Read<uint32_t>();
    for (uint32_t j = 0; j < num_sensors; ++j) {
      file.Read<std::array<uint32_t, 2>>();  // type and id
      // The first is the reference sensor, which needs no pose.
      if (j > 0 && file.Read<uint8_t>() != 0) {
        CheckFinitePose(path, file.ReadDoubles<7>(), Text("rig ", id));
      }
    }
  }
  file.End();
}

void WalkBinaryFrames(const fs::path& path, Consistency* model) {
  BinaryFile file(path);
  const uint64_t num_frames = file.ReadCount(68);
  for (uint64_t i = 0; i < num_frames; ++i) {
    const uint32_t id = file.Read<uint32_t>();
    file.Read<uint32_t>();  // rig
    CheckFinitePose(path, file.ReadDoubles<7>(), Text("frame ", id));
    const uint32_t num_data = file.Read<uint32_t>();
    for (uint32_t j = 0; j < num_data; ++j) {
      const int sensor_type = file.Read<int32_t>();
      file.Read<uint32_t>();  // sensor id
      const uint64_t data_id = file.Read<uint64_t>();
      if (sensor_type == kCameraSensor) {
        model->AddImageOfFrame(data_id);
      }
    }
  }
  file.End();
}

// Lines of a text file, with their numbers; each is cut into words.
class TextFile {
 public:
  explicit TextFile(const fs::path& path)
      : path_(path), file_(OpenTextFile(path)) {
    if (!file_) {
      throw InputError("The model file " + path.string() +
                       " cannot be read. Check that it exists and that you "
                       "may read it.");
    }
  }

  // The next line that is neither empty nor a comment.
  bool NextRecord() {
    while (NextLine()) {
      if (!words_.empty() && words_[0].front() != '#') {
        return true;
      }
    }
    return false;
  }

  // The next line, whatever is in it.
  bool NextLine() {
    words_.clear();
    word_ = 0;
    if (!std::getline(file_, line_)) {
      return false;
    }
    ++line_number_;
    words_ = SplitWords(line_);
    return true;
  }

  bool HasWord() const { return word_ < words_.size(); }

  std::string Word() {
    if (!HasWord()) {
      FailLine("ends too early");
    }
    return std::string(words_[word_++]);
  }

  // All that is left of the line, with the blanks in it.
  std::string Rest() {
    if (!HasWord()) {
      FailLine("ends too early");
    }
    const char* begin = words_[word_].data();
    word_ = words_.size();
    return {begin, words_.back().data() + words_.back().size()};
  }

  double Double() {
    const std::string word = Word();
    char* end = nullptr;
    const double value = std::strtod(word.c_str(), &end);
    if (end == word.c_str() || *end != '\0') {
      FailLine("has '" + word + "' where a number belongs");
    }
    return value;
  }

  // -1 is COLMAP's spelling of "none", the largest id, which others write out.
  // COLMAP reads no number between.
  uint64_t Id() {
    const std::string word = Word();
    if (word == "-1" || word == std::to_string(kNoPoint3D)) {
      return kNoPoint3D;
    }
    char* end = nullptr;
    errno = 0;
    const long long value = std::strtoll(word.c_str(), &end, 10);
    if (end == word.c_str() || *end != '\0' || value < 0 || errno != 0) {
      FailLine("has '" + word + "' where an id belongs");
    }
    return static_cast<uint64_t>(value);
  }

  uint32_t Id32() {
    const uint64_t id = Id();
    if (id >= kNoId) {
      FailLine(Text("has an id that is not below ", kNoId));
    }
    return static_cast<uint32_t>(id);
  }

  // The line as it is, and its words before the next one.
  const std::string& Line() const { return line_; }
  std::string_view LastWord() const { return words_[word_ - 1]; }

  template <size_t N>
  std::array<double, N> Doubles() {
    std::array<double, N> values;
    for (double& value : values) {
      value = Double();
    }
    return values;
  }

  [[noreturn]] void FailLine(const std::string& what) const {
    Fail(path_, Text("line ", line_number_, " ", what));
  }

 private:
  fs::path path_;
  std::ifstream file_;
  std::string line_;
  size_t line_number_ = 0;
  std::vector<std::string_view> words_;  // parts of it
  size_t word_ = 0;
};

void WalkTextCameras(const fs::path& path,
                     Consistency* model,
                     ModelFilesSummary* summary) {
  TextFile file(path);
  while (file.NextRecord()) {
    const uint32_t id = file.Id32();
    const std::string model_name = file.Word();
    const CameraModelInfo* info = FindCameraModel(model_name);
    if (info == nullptr) {
      RefuseNewerModel(path, id, NewerCameraModel(model_name));
      file.FailLine("has the unknown camera model '" + model_name + "'");
    }
    file.Id();  // width
    file.Id();  // height
    std::vector<double> params;
    while (file.HasWord()) {
      params.push_back(file.Double());
    }
    model->AddCamera(id, info->id, params);
    ++summary->num_cameras;
  }
}

void WalkTextPoints(const fs::path& path,
                    Consistency* model,
                    ModelFilesSummary* summary) {
  TextFile file(path);
  while (file.NextRecord()) {
    const uint64_t id = file.Id();
    model->AddPoint(id, file.Doubles<3>());
    file.Doubles<4>();  // colour and error
    while (file.HasWord()) {
      const uint32_t image_id = file.Id32();
      model->AddTrackElement(id, image_id, file.Id32());
    }
    ++summary->num_points;
  }
}

void WalkTextImages(const fs::path& path,
                    Consistency* model,
                    ModelFilesSummary* summary) {
  TextFile file(path);
  while (file.NextRecord()) {
    const uint32_t id = file.Id32();
    const std::array<double, 7> pose = file.Doubles<7>();
    const uint32_t camera_id = file.Id32();
    const std::string name = file.Rest();
    model->AddImage(id, pose, camera_id, name);
    if (SplitWords(name).size() > 1) {
      summary->names_with_blanks[id] = name;
    }
    ++summary->num_images;
    summary->last_line_is_missing = !file.NextLine();
    uint64_t num_points2D = 0;
    for (; file.HasWord(); ++num_points2D) {
      const std::array<double, 2> xy = file.Doubles<2>();
      const uint64_t point_id = file.Id();
      model->AddPoint2D(id, num_points2D, xy, point_id);
      summary->num_written_out_nones +=
          point_id == kNoPoint3D && file.LastWord() != "-1";
    }
    model->EndImage(id, num_points2D);
  }
}

void WalkTextFrames(const fs::path& path, Consistency* model) {
  TextFile file(path);
  while (file.NextRecord()) {
    const uint64_t id = file.Id();
    file.Id();  // rig
    CheckFinitePose(path, file.Doubles<7>(), Text("frame ", id));
    const uint64_t num_data = file.Id();
    for (uint64_t i = 0; i < num_data; ++i) {
      const std::string sensor_type = file.Word();
      file.Id();  // sensor id
      const uint64_t data_id = file.Id();
      if (sensor_type == "CAMERA") {
        model->AddImageOfFrame(data_id);
      }
    }
  }
}

// Whether COLMAP finds the same words in a text file as we do.
bool IsPlain(const fs::path& path) {
  std::ifstream file = OpenTextFile(path);
  constexpr int kMarkSize = 3;
  bool plain = file.tellg() != kMarkSize;
  std::string line;
  while (plain && std::getline(file, line)) {
    const std::string_view text = Trimmed(line);
    plain = text.substr(0, 1) == "#" ||
            (text.find("  ") == std::string_view::npos &&
             text.find_first_of("\t\r\v\f") == std::string_view::npos);
  }
  return plain;
}

void CopyPlain(const fs::path& path, const fs::path& copy_path) {
  std::ifstream file = OpenTextFile(path);
  std::ofstream copy(copy_path);
  for (std::string line; std::getline(file, line);) {
    const char* separator = "";
    for (const std::string_view word : SplitWords(line)) {
      copy << separator << word;
      separator = " ";
    }
    copy << '\n';
  }
  copy.close();
  if (!copy) {
    throw std::runtime_error("The model file " + path.string() +
                             " could not be copied to " + copy_path.string() +
                             ". Is the disk full?");
  }
}

bool HasFiles(const fs::path& folder, const std::string& extension) {
  return fs::is_regular_file(folder / ("cameras" + extension)) &&
         fs::is_regular_file(folder / ("images" + extension)) &&
         fs::is_regular_file(folder / ("points3D" + extension));
}

// COLMAP's mapper puts models into folders 0, 1, ... of the one it is given,
// which is called sparse in that of the project.
void FindModelsBelow(const fs::path& folder,
                     int depth,
                     std::set<std::string>* models) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (!entry.is_directory()) {
      continue;
    }
    if (HasFiles(entry.path(), ".bin") || HasFiles(entry.path(), ".txt")) {
      models->insert(entry.path().string());
    } else if (depth > 1) {
      FindModelsBelow(entry.path(), depth - 1, models);
    }
  }
}

// For the end of a message; empty if there are none.
std::string NameModelsBelow(const fs::path& folder) {
  std::set<std::string> models;
  try {
    FindModelsBelow(folder, 2, &models);
  } catch (const fs::filesystem_error&) {
    // One of the folders may not be read.
  }
  std::string text;
  for (const std::string& model : models) {
    text +=
        (text.empty() ? " There are models below it. Choose one of: " : ", ") +
        model;
  }
  return text.empty() ? text : text + ".";
}

// Walks through the model in a folder.
Consistency Walk(const fs::path& folder, ModelFilesSummary* summary) {
  if (!fs::is_directory(folder)) {
    throw InputError("The model folder " + folder.string() +
                     " does not exist.");
  }
  summary->binary = HasFiles(folder, ".bin");
  if (!summary->binary && !HasFiles(folder, ".txt")) {
    throw InputError("The folder " + folder.string() +
                     " holds no complete COLMAP model: expected cameras, "
                     "images and points3D, all three as .bin or as .txt." +
                     NameModelsBelow(folder));
  }

  Consistency model;
  if (summary->binary) {
    model.path = folder / "cameras.bin";
    WalkBinaryCameras(model.path, &model, summary);
    model.path = folder / "points3D.bin";
    WalkBinaryPoints(model.path, &model, summary);
    model.EndPoints();
    model.path = folder / "images.bin";
    WalkBinaryImages(model.path, &model, summary);
    model.EndImages(summary);
    if (kHasRigsAndFrames && fs::exists(folder / "rigs.bin")) {
      WalkBinaryRigs(folder / "rigs.bin");
    }
    if (kHasRigsAndFrames && fs::exists(folder / "frames.bin")) {
      model.path = folder / "frames.bin";
      WalkBinaryFrames(model.path, &model);
      model.EndFrames();
    }
  } else {
    model.path = folder / "cameras.txt";
    WalkTextCameras(model.path, &model, summary);
    model.path = folder / "points3D.txt";
    WalkTextPoints(model.path, &model, summary);
    model.EndPoints();
    model.path = folder / "images.txt";
    WalkTextImages(model.path, &model, summary);
    model.EndImages(summary);
    if (kHasRigsAndFrames && fs::exists(folder / "frames.txt")) {
      model.path = folder / "frames.txt";
      WalkTextFrames(model.path, &model);
      model.EndFrames();
    }
  }
  return model;
}

// A file that is written anew from one that was checked.
class RepairedFile {
 public:
  explicit RepairedFile(const fs::path& path)
      : path_(path), file_(path, std::ios::binary) {}

  template <typename T>
  void Write(const T& value) {
    file_.write(reinterpret_cast<const char*>(&value), sizeof(T));
  }

  std::ostream& Text() { return file_; }

  void Close() {
    file_.close();
    if (!file_) {
      throw std::runtime_error("The repaired model file " + path_.string() +
                               " could not be written. Is the disk full?");
    }
  }

 private:
  fs::path path_;
  std::ofstream file_;
};

void RepairBinaryPoints(const fs::path& path,
                        const fs::path& repaired_path,
                        const Consistency& model) {
  BinaryFile file(path);
  RepairedFile repaired(repaired_path);
  const uint64_t num_points = file.ReadCount(51);
  repaired.Write(num_points);
  for (uint64_t i = 0; i < num_points; ++i) {
    // Id, position, colour and error.
    repaired.Write(file.Read<std::array<char, 8 + 24 + 3 + 8>>());
    const uint64_t length = file.ReadCount(8);
    std::vector<std::array<uint32_t, 2>> track;
    for (uint64_t j = 0; j < length; ++j) {
      const auto element = file.Read<std::array<uint32_t, 2>>();
      if (model.HasImage(element[0])) {
        track.push_back(element);
      }
    }
    repaired.Write<uint64_t>(track.size());
    for (const auto& element : track) {
      repaired.Write(element);
    }
  }
  repaired.Close();
}

void RepairBinaryImages(const fs::path& path,
                        const fs::path& repaired_path,
                        const Consistency& model) {
  BinaryFile file(path);
  RepairedFile repaired(repaired_path);
  const uint64_t num_images = file.ReadCount(73);
  repaired.Write(num_images);
  for (uint64_t i = 0; i < num_images; ++i) {
    // Ids and pose.
    repaired.Write(file.Read<std::array<char, 4 + 7 * 8 + 4>>());
    repaired.Text() << file.ReadName() << '\0';
    const uint64_t num_points2D = file.ReadCount(24);
    repaired.Write(num_points2D);
    for (uint64_t j = 0; j < num_points2D; ++j) {
      repaired.Write(file.ReadDoubles<2>());
      const uint64_t point_id = file.Read<uint64_t>();
      repaired.Write(model.HasPoint(point_id) ? point_id : kNoPoint3D);
    }
  }
  repaired.Close();
}

void RepairTextPoints(const fs::path& path,
                      const fs::path& repaired_path,
                      const Consistency& model) {
  TextFile file(path);
  RepairedFile repaired(repaired_path);
  while (file.NextRecord()) {
    for (int i = 0; i < 8; ++i) {  // id, position, colour and error
      repaired.Text() << file.Word() << ' ';
    }
    while (file.HasWord()) {
      const uint32_t image_id = file.Id32();
      const std::string index = file.Word();
      if (model.HasImage(image_id)) {
        repaired.Text() << image_id << ' ' << index << ' ';
      }
    }
    repaired.Text() << '\n';
  }
  repaired.Close();
}

void RepairTextImages(const fs::path& path,
                      const fs::path& repaired_path,
                      const Consistency& model) {
  TextFile file(path);
  RepairedFile repaired(repaired_path);
  while (file.NextRecord()) {
    repaired.Text() << file.Line() << '\n';
    file.NextLine();
    while (file.HasWord()) {
      repaired.Text() << file.Word() << ' ' << file.Word() << ' ';
      const uint64_t point_id = file.Id();
      repaired.Text() << (model.HasPoint(point_id) ? file.LastWord()
                                                   : std::string_view("-1"))
                      << ' ';
    }
    repaired.Text() << '\n';
  }
  repaired.Close();
}

}  // namespace

const std::vector<std::string>& ModelFileNames() {
  static const std::vector<std::string> names =
      kHasRigsAndFrames ? std::vector<std::string>{"rigs.bin",
                                                   "cameras.bin",
                                                   "frames.bin",
                                                   "images.bin",
                                                   "points3D.bin"}
                        : std::vector<std::string>{
                              "cameras.bin", "images.bin", "points3D.bin"};
  return names;
}

bool HoldsModel(const std::string& path) {
  for (const char* stem : kStems) {
    for (const char* extension : {".bin", ".txt"}) {
      if (fs::exists(fs::path(path) / (std::string(stem) + extension))) {
        return true;
      }
    }
  }
  return false;
}

ModelFilesSummary CheckModelFiles(const std::string& path) {
  ModelFilesSummary summary;
  Walk(path, &summary);
  return summary;
}

bool ModelFilesSummary::NeedsRepair() const {
  return num_observations_of_gone_points + num_track_elements_of_gone_images +
                 num_written_out_nones >
             0 ||
         last_line_is_missing;
}

void RepairModelFiles(const std::string& path,
                      const std::string& repaired_path) {
  ModelFilesSummary summary;
  const Consistency model = Walk(path, &summary);
  const fs::path from(path);
  const fs::path to(repaired_path);
  const std::string extension = summary.binary ? ".bin" : ".txt";
  for (const std::string stem : {"cameras", "rigs", "frames"}) {
    if (fs::exists(from / (stem + extension))) {
      fs::copy_file(from / (stem + extension), to / (stem + extension));
    }
  }
  if (summary.binary) {
    RepairBinaryPoints(from / "points3D.bin", to / "points3D.bin", model);
    RepairBinaryImages(from / "images.bin", to / "images.bin", model);
  } else {
    RepairTextPoints(from / "points3D.txt", to / "points3D.txt", model);
    RepairTextImages(from / "images.txt", to / "images.txt", model);
  }
}

std::unique_ptr<TemporaryFolder> CopyUnlessPlain(const std::string& path) {
  std::vector<fs::path> names;
  for (const char* stem : kStems) {
    names.push_back(std::string(stem) + ".txt");
    if (!fs::exists(path / names.back())) {
      names.pop_back();
    }
  }
  if (std::all_of(names.begin(), names.end(), [&](const fs::path& name) {
        return IsPlain(path / name);
      })) {
    return nullptr;
  }
  auto copy = std::make_unique<TemporaryFolder>(fs::temp_directory_path() /
                                                "colmap_nre_model");
  for (const fs::path& name : names) {
    CopyPlain(path / name, copy->path() / name);
  }
  return copy;
}

}  // namespace nre
