#include "colmap_plugin/io/rgbd_folder.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include <Eigen/LU>

#include "colmap_plugin/io/text_files.h"
#include "nre/error.h"
#include "s2d/image.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

bool IsCalledImage(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(),
                 extension.end(),
                 extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  for (const char* known : {".jpg",
                            ".jpeg",
                            ".png",
                            ".bmp",
                            ".tif",
                            ".tiff",
                            ".ppm",
                            ".pgm",
                            ".webp"}) {
    if (extension == known) return true;
  }
  return false;
}

template <typename Iterator>
void ListInto(const std::string& path, std::vector<std::string>* names) {
  for (const fs::directory_entry& entry :
       Iterator(path, fs::directory_options::skip_permission_denied)) {
    if (entry.is_regular_file() && IsCalledImage(entry.path())) {
      names->push_back(fs::relative(entry.path(), path).string());
    }
  }
}

// Exactly `num` numbers, which may be infinite or NaN.
std::vector<double> ReadNumbers(const std::string& path, size_t num) {
  std::ifstream file = OpenTextFile(path);
  std::vector<double> numbers;
  std::string word;
  bool valid = static_cast<bool>(file);
  while (file >> word) {
    char* end = nullptr;
    numbers.push_back(std::strtod(word.c_str(), &end));
    valid = valid && *end == '\0';
  }
  if (!valid || numbers.size() != num) {
    throw InputError("The file " + path + " cannot be used. Expected " +
                     std::to_string(num) + " numbers.");
  }
  return numbers;
}

bool AllFinite(const std::vector<double>& numbers) {
  return std::all_of(numbers.begin(), numbers.end(), [](double number) {
    return std::isfinite(number);
  });
}

// `numbers`: world_from_cam, 4x4.
Rigid3d CamFromWorld(const std::vector<double>& numbers,
                     const std::string& path) {
  const Eigen::Map<const Eigen::Matrix<double, 4, 4, Eigen::RowMajor>> matrix(
      numbers.data());
  const Eigen::Matrix3d rotation = matrix.topLeftCorner<3, 3>();
  constexpr double kTolerance = 0.01;
  if (!(rotation * rotation.transpose()).isIdentity(kTolerance) ||
      rotation.determinant() < 0.0 ||
      !matrix.row(3).isApprox(Eigen::RowVector4d(0.0, 0.0, 0.0, 1.0))) {
    throw InputError("The file " + path +
                     " has no rotation and translation. Expected "
                     "world_from_cam, 4x4, its last row 0 0 0 1.");
  }
  const Rigid3d world_from_cam{Eigen::Quaterniond(rotation).normalized(),
                               matrix.topRightCorner<3, 1>()};
  return world_from_cam.Inverse();
}

// The first of the images below `path` that can be read.
template <typename ImageType, typename Read>
ImageType ReadFirst(const std::vector<std::string>& paths, const Read& read) {
  std::string first_problem;
  for (const std::string& path : paths) {
    try {
      return read(path);
    } catch (const InputError& error) {
      if (first_problem.empty()) first_problem = error.what();
    }
  }
  throw InputError("None of " + std::to_string(paths.size()) +
                   " images can be read. The first: " + first_problem + ".");
}

}  // namespace

std::vector<std::string> ListImages(const std::string& path, bool recursive) {
  if (!fs::is_directory(path)) {
    throw InputError("The folder " + path + " does not exist.");
  }
  std::vector<std::string> names;
  if (recursive) {
    ListInto<fs::recursive_directory_iterator>(path, &names);
  } else {
    ListInto<fs::directory_iterator>(path, &names);
  }
  if (names.empty()) {
    throw InputError("The folder " + path +
                     " has no images. Expected JPEG, PNG, TIFF or other image "
                     "files.");
  }
  std::sort(names.begin(), names.end());
  return names;
}

RgbdFolder::RgbdFolder(const std::string& path) : path_(path) {
  const fs::path folder(path);
  std::vector<std::string> without_depth;
  for (const std::string& file : ListImages(folder / "color", false)) {
    names_.push_back("color/" + file);
    if (!fs::is_regular_file(DepthPath(names_.size() - 1))) {
      without_depth.push_back(file);
    }
  }
  if (!without_depth.empty()) {
    throw InputError(
        std::to_string(without_depth.size()) + " of " +
        std::to_string(names_.size()) + " frames in " + path +
        " have no depth map. Expected, for example, " +
        (folder / "depth" / fs::path(without_depth[0]).stem()).string() +
        ".png. Add them, or remove the pictures.");
  }
  std::vector<std::string> with_pose;
  for (const std::string& name : names_) {
    const std::string pose_path =
        (folder / "pose" / fs::path(name).stem()).string() + ".txt";
    const std::vector<double> pose = ReadNumbers(pose_path, 16);
    if (AllFinite(pose)) {
      with_pose.push_back(name);
      cams_from_world_.push_back(CamFromWorld(pose, pose_path));
    }
  }
  num_without_pose_ = names_.size() - with_pose.size();
  names_ = with_pose;
  if (names_.empty()) throw InputError("No frame in " + path + " has a pose.");

  std::vector<std::string> color_paths, depth_paths;
  for (size_t i = 0; i < names_.size(); ++i) {
    color_paths.push_back((folder / names_[i]).string());
    depth_paths.push_back(DepthPath(i));
  }
  const Image color = ReadFirst<Image>(color_paths, ReadImage);
  const Image16 depth = ReadFirst<Image16>(depth_paths, ReadImage16);
  width_ = color.width;
  height_ = color.height;
  x_factor_ = static_cast<double>(width_) / depth.width;
  y_factor_ = static_cast<double>(height_) / depth.height;

  const std::string intrinsics_path = (folder / "K.txt").string();
  const std::vector<double> k = ReadNumbers(intrinsics_path, 9);
  if (!AllFinite(k) || !(k[0] > 0.0) || !(k[4] > 0.0) || k[1] != 0.0 ||
      k[3] != 0.0 || k[6] != 0.0 || k[7] != 0.0 || k[8] != 1.0) {
    throw InputError("The file " + intrinsics_path +
                     " has no intrinsics. Expected fx 0 cx, 0 fy cy, 0 0 1.");
  }
  depth_camera_ = std::make_unique<PinholeCamera>(depth.width,
                                                  depth.height,
                                                  k[0] / x_factor_,
                                                  k[4] / y_factor_,
                                                  (k[2] + 0.5) / x_factor_,
                                                  (k[5] + 0.5) / y_factor_);
}

std::string RgbdFolder::DepthPath(size_t index) const {
  return (fs::path(path_) / "depth" / fs::path(names_[index]).stem()).string() +
         ".png";
}

RgbdFrame RgbdFolder::ReadFrame(size_t index) const {
  const Image16 image = ReadImage16(DepthPath(index));
  if (image.width != depth_camera_->Width() ||
      image.height != depth_camera_->Height()) {
    throw InputError("The depth map " + DepthPath(index) + " has " +
                     std::to_string(image.width) + "x" +
                     std::to_string(image.height) + " pixels, but others " +
                     std::to_string(depth_camera_->Width()) + "x" +
                     std::to_string(depth_camera_->Height()) +
                     ". Expected the same size for all.");
  }
  RgbdFrame frame;
  frame.cam_from_world = cams_from_world_[index];
  frame.width = image.width;
  frame.height = image.height;
  frame.depth.reserve(image.values.size());
  for (const uint16_t value : image.values) {
    frame.depth.push_back(0.001f * value);
  }
  return frame;
}

}  // namespace nre
