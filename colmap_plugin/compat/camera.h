// Cameras of all models that the COLMAP underneath knows.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "colmap_plugin/compat/colmap.h"
#include "nre/camera.h"

namespace nre {

// Names of the camera models, in the order of their ids, and the id of each.
struct CameraModelInfo {
  std::string name;
  int id = 0;
  size_t num_params = 0;
  std::string params_info;  // "fx, fy, cx, cy"
};
const std::vector<CameraModelInfo>& CameraModels();

// The model with this name or id; null if this COLMAP has none.
const CameraModelInfo* FindCameraModel(const std::string& name);
const CameraModelInfo* FindCameraModel(int id);

// The sentence on a camera model that only a newer COLMAP than this one has,
// which names both: "SIMPLE_DIVISION (12) is a camera model of COLMAP 4.0 ...".
// Empty for models that this one has, and for those that are not known here.
std::string NewerCameraModel(const std::string& name);
std::string NewerCameraModel(int id);

// A camera without an id. Sizes in pixels, parameters in COLMAP's order.
// Throws InputError, saying what was expected, for an unknown model, a wrong
// number of parameters, a size or focal length that is not positive, or a
// parameter that is not finite.
colmap::Camera MakeColmapCamera(const std::string& model_name,
                                int width,
                                int height,
                                const std::vector<double>& params);

// The same, where the focal length may be missing: without parameters at all
// (the principal point is the image's centre then and there is no distortion),
// or if none of the focal lengths is positive, as in `SIMPLE_RADIAL 640 480 0
// 320 240 0`. Then it becomes COLMAP's guess, 1.2 times the larger side, and
// `focal_length_unknown` true. Throws InputError also if the model has no focal
// length that could be missing.
colmap::Camera MakeColmapCamera(const std::string& model_name,
                                int width,
                                int height,
                                std::vector<double> params,
                                bool* focal_length_unknown);

// Whether the intrinsics come from a calibration, and not from EXIF data or a
// guess: these put the principal point at the centre and know no distortion.
bool LooksCalibrated(const colmap::Camera& camera);

// Whether the camera's model has a focal length; a panorama does not.
bool HasFocalLength(const colmap::Camera& camera);

// The camera with its focal lengths multiplied by `scale` (see
// CorrectedCamera), marked as estimated, not known from elsewhere.
colmap::Camera ScaleFocalLength(const colmap::Camera& camera, double scale);

// Whether model, size and parameters are the same, these up to the rounding of
// text files.
bool HaveSameIntrinsics(const colmap::Camera& a, const colmap::Camera& b);

// Whether CorrectIntrinsics() can give the camera another radial distortion.
bool HasRadialDistortion(const colmap::Camera& camera);

// The camera whose intrinsics differ as the correction says, marked as
// estimated: a SIMPLE_PINHOLE or PINHOLE that gets a radial distortion becomes
// a SIMPLE_RADIAL or OPENCV. Of a camera with a distortion of its own, the sum
// of both is the same up to higher orders.
colmap::Camera CorrectIntrinsics(const colmap::Camera& camera,
                                 const CameraCorrection& correction);

// The model's name and the parameters, as in query lists.
std::string DescribeCamera(const colmap::Camera& camera);

// The estimator's view of a COLMAP camera. Project() has derivatives by
// automatic differentiation of COLMAP's own projection; Unproject() returns
// false where COLMAP's inverse does not lead back to the image position.
// Throws InputError for a camera that MakeColmapCamera would refuse.
std::unique_ptr<Camera> CreateCamera(const colmap::Camera& camera);

}  // namespace nre
