// Reading, extending and writing COLMAP models.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "colmap_plugin/compat/colmap.h"
#include "nre/camera.h"
#include "nre/rigid3.h"

namespace nre {

// Reads the model (binary or text) in the folder `path` after checking its
// files (see model_files.h). Returns a warning if it is not all used, else
// nothing. Throws InputError for anything wrong with it and for a model without
// registered images; points it need not have.
std::string ReadModel(const std::string& path, colmap::Reconstruction* model);

// Writes the model, binary, into the existing folder `path` and checks what
// lies there afterwards: COLMAP's writers do not notice a full disk. Throws
// std::runtime_error if the files are not complete.
void WriteModel(const colmap::Reconstruction& model, const std::string& path);

// Ids of the images that have a pose, in the order of their names.
std::vector<colmap::image_t> RegisteredImages(
    const colmap::Reconstruction& model);

// Ids of all images by name.
std::map<std::string, colmap::image_t> ImageIdsByName(
    const colmap::Reconstruction& model);

// The camera of an image of the model. Throws InputError, naming the camera, if
// it cannot be used.
std::unique_ptr<Camera> CameraOf(const colmap::Reconstruction& model,
                                 const colmap::Image& image);

// Ids for what is new: those above all that are in use and, where these end,
// the free ones below.
class FreeIds {
 public:
  // Ids go from 1 to `max_id`.
  FreeIds(std::set<uint32_t> used, uint32_t max_id);

  // Returns another one each time. Throws InputError if there is none.
  uint32_t Take();

 private:
  std::set<uint32_t> used_;
  uint32_t max_id_;
  uint32_t lowest_ = 1;  // no smaller one is free
};

// COLMAP's largest ids; those of images are cut by the numbers of pairs in a
// database.
constexpr colmap::camera_t kMaxCameraId = colmap::kInvalidCameraId - 1;
constexpr colmap::image_t kMaxImageId = std::numeric_limits<int32_t>::max() - 1;

std::set<uint32_t> CameraIds(const colmap::Reconstruction& model);
std::set<uint32_t> ImageIds(const colmap::Reconstruction& model);

// A 2D point of a new image, and the 3D point that it observes
// (colmap::kInvalidPoint3DId: none). Image coordinates are COLMAP's.
struct ImagePoint {
  Eigen::Vector2d xy = Eigen::Vector2d::Zero();
  colmap::point3D_t point3D_id = colmap::kInvalidPoint3DId;
};

// Where COLMAP 4 keeps the pose of an image. COLMAP 3 has neither.
struct FrameIds {
  uint32_t frame_id = 0;
  uint32_t rig_id = 0;
};

// Adds an image with a pose and lengthens the tracks of the points that it
// observes. The camera is added unless the model has one with its id. Image id
// and name must be new, the 3D points must exist, each observed at most once.
// The image gets a frame of its own, and the rig that its camera is in or one
// of its own; new ones have the `frame_ids`, or the ids of image and camera,
// where these are free.
void AddRegisteredImage(const colmap::Camera& camera,
                        colmap::camera_t camera_id,
                        colmap::image_t image_id,
                        const std::string& name,
                        const Rigid3d& cam_from_world,
                        const std::vector<ImagePoint>& points,
                        colmap::Reconstruction* model,
                        const std::optional<FrameIds>& frame_ids = {});

}  // namespace nre
