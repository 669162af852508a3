// Folders of RGB-D frames.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nre/camera.h"
#include "nre/rigid3.h"

namespace nre {

struct RgbdFrame {
  Rigid3d cam_from_world;  // metres
  int width = 0;           // of the depth map
  int height = 0;
  std::vector<float> depth;  // along the z axis, metres; 0: unknown
};

// A folder with
//   color/<frame>.jpg or another picture, all of one size,
//   depth/<frame>.png, 16 bits, in mm, 0: unknown; of any one size with the
//     same field of view,
//   pose/<frame>.txt, 4x4: world_from_cam in metres, x right, y down,
//     z forward, and
//   K.txt, 3x3: the intrinsics of the colour pictures, without distortion; the
//     centre of their first pixel is (0, 0), as in OpenCV.
// Frames whose pose is not finite (not tracked) are left out.
class RgbdFolder {
 public:
  // Reads all but pictures and depth maps, of which it takes the sizes of the
  // first that can be read. Throws InputError, naming the file, for what is
  // missing or not like that.
  explicit RgbdFolder(const std::string& path);

  size_t NumFrames() const { return names_.size(); }

  // Paths of colour pictures below the folder, sorted: "color/00003.jpg".
  const std::vector<std::string>& names() const { return names_; }
  size_t num_without_pose() const { return num_without_pose_; }

  int width() const { return width_; }  // of the pictures
  int height() const { return height_; }

  // The camera of the depth maps, and the factors from their coordinates to
  // those of the pictures.
  const Camera& depth_camera() const { return *depth_camera_; }
  double x_factor() const { return x_factor_; }
  double y_factor() const { return y_factor_; }

  // Throws InputError for a depth map that cannot be read or has another size.
  RgbdFrame ReadFrame(size_t index) const;

 private:
  std::string DepthPath(size_t index) const;

  std::string path_;
  std::vector<std::string> names_;
  std::vector<Rigid3d> cams_from_world_;
  size_t num_without_pose_ = 0;
  int width_ = 0;
  int height_ = 0;
  std::unique_ptr<Camera> depth_camera_;
  double x_factor_ = 1.0;
  double y_factor_ = 1.0;
};

// Names, below `path`, of the files there that are called like images, sorted;
// `recursive`: also those in folders below it. Throws InputError if there are
// none.
std::vector<std::string> ListImages(const std::string& path, bool recursive);

}  // namespace nre
