#include "colmap_plugin/compat/camera.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>

#include <ceres/jet.h>

#include "nre/error.h"

namespace nre {
namespace {

using Jet = ceres::Jet<double, 3>;

// An unprojected position that lands further away than this when it is
// projected again was not inverted at all.
constexpr double kMaxInversionError_px = 1e-2;

// Guess of an unknown focal length, of the larger side; COLMAP's.
constexpr double kFocalLengthGuess = 1.2;

#if NRE_COLMAP_VERSION < 400

template <typename Model>
constexpr size_t kNumParams = Model::kNumParams;
template <typename Model>
constexpr int kModelId = Model::kModelId;

template <typename Model, typename T>
bool ImgFromCam(const T* params, const T& u, const T& v, const T& w, T* xy) {
  if (!(w > T(std::numeric_limits<double>::epsilon()))) {
    return false;
  }
  Model::WorldToImage(params, T(u / w), T(v / w), &xy[0], &xy[1]);
  return true;
}

template <typename Model>
bool RayFromImg(const double* params,
                const Eigen::Vector2d& xy,
                Eigen::Vector3d* ray) {
  ray->z() = 1.0;
  Model::ImageToWorld(params, xy.x(), xy.y(), &ray->x(), &ray->y());
  return true;
}

#else

template <typename Model>
constexpr size_t kNumParams = Model::num_params;
template <typename Model>
constexpr int kModelId = static_cast<int>(Model::model_id);

template <typename Model, typename T>
bool ImgFromCam(const T* params, const T& u, const T& v, const T& w, T* xy) {
  // The division models do not look at the sign of w, and mirror points behind
  // the camera into the image.
  if constexpr (std::is_same_v<Model, colmap::SimpleDivisionCameraModel> ||
                std::is_same_v<Model, colmap::DivisionCameraModel>) {
    if (!(w > T(std::numeric_limits<double>::epsilon()))) {
      return false;
    }
  }
  return Model::ImgFromCam(params, u, v, w, &xy[0], &xy[1]);
}

template <typename Model>
bool RayFromImg(const double* params,
                const Eigen::Vector2d& xy,
                Eigen::Vector3d* ray) {
  return Model::CamRayFromImg(
      params, xy.x(), xy.y(), &ray->x(), &ray->y(), &ray->z());
}

#endif

// Models that came after COLMAP 3.8, and the version that each came with.
struct DatedCameraModel {
  int id;
  const char* name;
  const char* version;
};
constexpr DatedCameraModel kLaterModels[] = {
    {11, "RAD_TAN_THIN_PRISM_FISHEYE", "3.11"},
    {12, "SIMPLE_DIVISION", "4.0"},
    {13, "DIVISION", "4.0"},
    {14, "SIMPLE_FISHEYE", "4.0"},
    {15, "FISHEYE", "4.0"},
    {16, "EUCM", "4.1"},
    {17, "EQUIRECTANGULAR", "4.1"}};

std::string NewerThanThis(const DatedCameraModel& model) {
  if (FindCameraModel(model.id) != nullptr) {
    return "";
  }
  return std::string(model.name) + " (" + std::to_string(model.id) +
         ") is a camera model of COLMAP " + model.version +
         " and newer, but this program is built with " +
         colmap::GetVersionInfo() +
         ". Build it with a newer one, or undistort the images with that "
         "(colmap image_undistorter)";
}

// COLMAP's own first guess of a camera.
std::vector<double> InitialParams(const CameraModelInfo& model,
                                  double focal_length,
                                  int width,
                                  int height) {
#if NRE_COLMAP_VERSION < 400
  return colmap::CameraModelInitializeParams(
      model.id, focal_length, width, height);
#else
  return colmap::CameraModelInitializeParams(
      static_cast<colmap::CameraModelId>(model.id),
      focal_length,
      width,
      height);
#endif
}

void SetCameraParams(const std::vector<double>& params,
                     bool focal_length_known,
                     colmap::Camera* camera) {
#if NRE_COLMAP_VERSION < 400
  camera->SetParams(params);
  camera->SetPriorFocalLength(focal_length_known);
#else
  camera->params = params;
  camera->has_prior_focal_length = focal_length_known;
#endif
}

// The index of the parameter of this name.
std::optional<size_t> ParamIdx(const CameraModelInfo& model,
                               const std::string& name) {
  std::istringstream names(model.params_info);
  std::string candidate;
  for (size_t idx = 0; std::getline(names >> std::ws, candidate, ','); ++idx) {
    if (candidate == name) {
      return idx;
    }
  }
  return std::nullopt;
}

// The index of the first coefficient of radial distortion.
std::optional<size_t> RadialIdx(const CameraModelInfo& model) {
  const std::optional<size_t> idx = ParamIdx(model, "k1");
  return idx ? idx : ParamIdx(model, "k");
}

// The model, or the one that has the same parameters and then a radial
// distortion, if it has none.
const CameraModelInfo& WithRadialDistortion(const CameraModelInfo& model) {
  if (model.name == "SIMPLE_PINHOLE") {
    return *FindCameraModel("SIMPLE_RADIAL");
  }
  return model.name == "PINHOLE" ? *FindCameraModel("OPENCV") : model;
}

// Without any check.
colmap::Camera AssembleCamera(const CameraModelInfo& model,
                              int width,
                              int height,
                              const std::vector<double>& params) {
  colmap::Camera camera;
#if NRE_COLMAP_VERSION < 400
  camera.SetModelId(model.id);
  camera.SetWidth(width);
  camera.SetHeight(height);
#else
  camera.model_id = static_cast<colmap::CameraModelId>(model.id);
  camera.width = width;
  camera.height = height;
#endif
  SetCameraParams(params, /*focal_length_known=*/true, &camera);
  return camera;
}

std::vector<size_t> FocalLengthIdxs(const colmap::Camera& camera) {
  std::vector<size_t> idxs;
  for (const size_t idx : camera.FocalLengthIdxs()) {
    idxs.push_back(idx);
  }
  return idxs;
}

// Pixels per radian at the image's centre.
double PixelsPerRadian(const colmap::Camera& camera) {
  const std::vector<size_t> idxs = FocalLengthIdxs(camera);
  if (idxs.empty()) {  // a panorama
    return CameraWidth(camera) / (2.0 * M_PI);
  }
  double sum = 0.0;
  for (const size_t idx : idxs) {
    sum += CameraParams(camera)[idx];
  }
  return sum / idxs.size();
}

template <typename Model>
class ColmapCamera : public Camera {
 public:
  explicit ColmapCamera(const colmap::Camera& camera)
      : width_(CameraWidth(camera)),
        height_(CameraHeight(camera)),
        mean_focal_length_(PixelsPerRadian(camera)) {
    for (size_t i = 0; i < kNumParams<Model>; ++i) {
      params_[i] = CameraParams(camera)[i];
      jet_params_[i] = Jet(params_[i]);
    }
  }

  int Width() const override { return width_; }
  int Height() const override { return height_; }
  double MeanFocalLength() const override { return mean_focal_length_; }

  bool Project(const Eigen::Vector3d& point_in_cam,
               Eigen::Vector2d* xy,
               Eigen::Matrix<double, 2, 3>* jacobian) const override {
    if (jacobian == nullptr) {
      return ImgFromCam<Model, double>(params_,
                                       point_in_cam.x(),
                                       point_in_cam.y(),
                                       point_in_cam.z(),
                                       xy->data()) &&
             xy->allFinite();
    }
    const Jet u(point_in_cam.x(), 0);
    const Jet v(point_in_cam.y(), 1);
    const Jet w(point_in_cam.z(), 2);
    Jet xy_jet[2];
    if (!ImgFromCam<Model, Jet>(jet_params_, u, v, w, xy_jet)) {
      return false;
    }
    *xy << xy_jet[0].a, xy_jet[1].a;
    jacobian->row(0) = xy_jet[0].v.transpose();
    jacobian->row(1) = xy_jet[1].v.transpose();
    return xy->allFinite() && jacobian->allFinite();
  }

  void ProjectMany(const double* xs_in_cam,
                   const double* ys_in_cam,
                   const double* zs_in_cam,
                   int num,
                   double* xs,
                   double* ys) const override {
    for (int i = 0; i < num; ++i) {
      double xy[2];
      // Without Jacobian and virtual call, the compiler has the model inline.
      if (!ImgFromCam<Model, double>(
              params_, xs_in_cam[i], ys_in_cam[i], zs_in_cam[i], xy)) {
        xy[0] = xy[1] = std::numeric_limits<double>::quiet_NaN();
      }
      xs[i] = xy[0];
      ys[i] = xy[1];
    }
  }

  bool Unproject(const Eigen::Vector2d& xy,
                 Eigen::Vector3d* bearing) const override {
    Eigen::Vector3d ray;
    Eigen::Vector2d xy_again;
    if (!RayFromImg<Model>(params_, xy, &ray) || !ray.allFinite() ||
        !Project(ray, &xy_again, nullptr) ||
        (xy_again - xy).norm() > kMaxInversionError_px) {
      return false;
    }
    *bearing = ray.normalized();
    return true;
  }

 private:
  int width_;
  int height_;
  double mean_focal_length_;
  double params_[kNumParams<Model>];
  Jet jet_params_[kNumParams<Model>];
};

template <typename Model>
void AddCameraModel(std::vector<CameraModelInfo>* models) {
  models->push_back({Model::model_name,
                     kModelId<Model>,
                     kNumParams<Model>,
                     Model::params_info});
}

std::vector<CameraModelInfo> ListCameraModels() {
  std::vector<CameraModelInfo> models;
#define CAMERA_MODEL_CASE(CameraModel) \
  AddCameraModel<colmap::CameraModel>(&models);
  CAMERA_MODEL_CASES
#undef CAMERA_MODEL_CASE
  return models;
}

std::string CameraModelNames() {
  std::string names;
  for (const CameraModelInfo& model : CameraModels()) {
    names += (names.empty() ? "" : ", ") + model.name;
  }
  return names;
}

void CheckCamera(const colmap::Camera& camera, const CameraModelInfo& model) {
  if (CameraWidth(camera) <= 0 || CameraHeight(camera) <= 0) {
    std::ostringstream message;
    message << "the image size " << CameraWidth(camera) << "x"
            << CameraHeight(camera) << " is not positive";
    throw InputError(message.str());
  }
  for (const double param : CameraParams(camera)) {
    if (!std::isfinite(param)) {
      throw InputError("a parameter of the camera is not finite (expected " +
                       model.params_info + ")");
    }
  }
  for (const size_t idx : FocalLengthIdxs(camera)) {
    if (!(CameraParams(camera)[idx] > 0.0)) {
      throw InputError("the focal length is not positive (expected " +
                       model.params_info + ")");
    }
  }
}

}  // namespace

const std::vector<CameraModelInfo>& CameraModels() {
  static const std::vector<CameraModelInfo> models = ListCameraModels();
  return models;
}

const CameraModelInfo* FindCameraModel(const std::string& name) {
  for (const CameraModelInfo& model : CameraModels()) {
    if (model.name == name) {
      return &model;
    }
  }
  return nullptr;
}

const CameraModelInfo* FindCameraModel(int id) {
  for (const CameraModelInfo& model : CameraModels()) {
    if (model.id == id) {
      return &model;
    }
  }
  return nullptr;
}

std::string NewerCameraModel(const std::string& name) {
  for (const DatedCameraModel& model : kLaterModels) {
    if (model.name == name) {
      return NewerThanThis(model);
    }
  }
  return "";
}

std::string NewerCameraModel(int id) {
  for (const DatedCameraModel& model : kLaterModels) {
    if (model.id == id) {
      return NewerThanThis(model);
    }
  }
  return "";
}

colmap::Camera MakeColmapCamera(const std::string& model_name,
                                int width,
                                int height,
                                const std::vector<double>& params) {
  const CameraModelInfo* model = FindCameraModel(model_name);
  if (model == nullptr) {
    const std::string newer = NewerCameraModel(model_name);
    if (!newer.empty()) {
      throw InputError(newer);
    }
    throw InputError("unknown camera model '" + model_name + "' (" +
                     colmap::GetVersionInfo() + " knows " + CameraModelNames() +
                     ")");
  }
  if (params.size() != model->num_params) {
    std::ostringstream message;
    message << model_name << " has " << model->num_params << " parameters ("
            << model->params_info << "), but " << params.size() << " are given";
    throw InputError(message.str());
  }
  const colmap::Camera camera = AssembleCamera(*model, width, height, params);
  CheckCamera(camera, *model);
  return camera;
}

colmap::Camera MakeColmapCamera(const std::string& model_name,
                                int width,
                                int height,
                                std::vector<double> params,
                                bool* focal_length_unknown) {
  *focal_length_unknown = false;
  const CameraModelInfo* model = FindCameraModel(model_name);
  if (model != nullptr && width > 0 && height > 0 &&
      (params.empty() || params.size() == model->num_params)) {
    const std::vector<size_t> idxs = FocalLengthIdxs(AssembleCamera(
        *model, width, height, std::vector<double>(model->num_params, 1.0)));
    if (idxs.empty() && params.empty()) {
      throw InputError(model_name +
                       " has no focal length that could be estimated: give "
                       "its parameters (" +
                       model->params_info + ")");
    }
    *focal_length_unknown =
        params.empty() ||
        (!idxs.empty() &&
         std::all_of(idxs.begin(), idxs.end(), [&](size_t idx) {
           return params[idx] <= 0.0;
         }));
    if (*focal_length_unknown) {
      const std::vector<double> guess = InitialParams(
          *model, kFocalLengthGuess * std::max(width, height), width, height);
      if (params.empty()) {
        params = guess;
      }
      for (const size_t idx : idxs) {
        params[idx] = guess[idx];
      }
    }
  }
  colmap::Camera camera = MakeColmapCamera(model_name, width, height, params);
  SetCameraParams(params, !*focal_length_unknown, &camera);
  return camera;
}

bool HasFocalLength(const colmap::Camera& camera) {
  return !FocalLengthIdxs(camera).empty();
}

colmap::Camera ScaleFocalLength(const colmap::Camera& camera, double scale) {
  colmap::Camera scaled = camera;
  std::vector<double> params = CameraParams(camera);
  for (const size_t idx : FocalLengthIdxs(camera)) {
    params[idx] *= scale;
  }
  SetCameraParams(params, /*focal_length_known=*/false, &scaled);
  return scaled;
}

bool HaveSameIntrinsics(const colmap::Camera& a, const colmap::Camera& b) {
  constexpr double kTolerance = 1e-5;
  const std::vector<double> a_params = CameraParams(a);
  const std::vector<double> b_params = CameraParams(b);
  return CameraModelIdOf(a) == CameraModelIdOf(b) &&
         CameraWidth(a) == CameraWidth(b) &&
         CameraHeight(a) == CameraHeight(b) &&
         std::equal(a_params.begin(),
                    a_params.end(),
                    b_params.begin(),
                    b_params.end(),
                    [](double x, double y) {
                      return std::abs(x - y) <=
                             kTolerance * std::max(1.0, std::abs(x));
                    });
}

bool LooksCalibrated(const colmap::Camera& camera) {
  constexpr double kRoundingPx = 1.0;
  const Eigen::Vector2d center(0.5 * CameraWidth(camera),
                               0.5 * CameraHeight(camera));
  if ((PrincipalPoint(*CreateCamera(camera)) - center).cwiseAbs().maxCoeff() >
      kRoundingPx) {
    return true;
  }
  const std::vector<double> params = CameraParams(camera);
  const std::string& names =
      FindCameraModel(CameraModelIdOf(camera))->params_info;
  const size_t num_before_distortion = names.rfind("fx", 0) == 0 ? 4 : 3;
  return std::any_of(
      params.begin() + std::min(num_before_distortion, params.size()),
      params.end(),
      [](double distortion) { return distortion != 0.0; });
}

bool HasRadialDistortion(const colmap::Camera& camera) {
  const CameraModelInfo* model = FindCameraModel(CameraModelIdOf(camera));
  return model != nullptr && RadialIdx(WithRadialDistortion(*model));
}

colmap::Camera CorrectIntrinsics(const colmap::Camera& camera,
                                 const CameraCorrection& correction) {
  colmap::Camera corrected = ScaleFocalLength(camera, correction.focal_scale);
  if (correction.shift.isZero(0.0) && correction.radial == 0.0) {
    return corrected;
  }
  const CameraModelInfo& model =
      WithRadialDistortion(*FindCameraModel(CameraModelIdOf(camera)));
  std::vector<double> params = CameraParams(corrected);
  params.resize(model.num_params, 0.0);
  params.at(*ParamIdx(model, "cx")) += correction.shift.x();
  params.at(*ParamIdx(model, "cy")) += correction.shift.y();
  params.at(*RadialIdx(model)) += correction.radial;
  corrected =
      AssembleCamera(model, CameraWidth(camera), CameraHeight(camera), params);
  SetCameraParams(params, /*focal_length_known=*/false, &corrected);
  return corrected;
}

std::string DescribeCamera(const colmap::Camera& camera) {
  std::ostringstream text;
  text << FindCameraModel(CameraModelIdOf(camera))->name;
  for (const double param : CameraParams(camera)) {
    text << ' ' << param;
  }
  return text.str();
}

std::unique_ptr<Camera> CreateCamera(const colmap::Camera& camera) {
  const CameraModelInfo* model = FindCameraModel(CameraModelIdOf(camera));
  if (model == nullptr || CameraParams(camera).size() != model->num_params) {
    throw InputError("the camera has no model or no parameters");
  }
  CheckCamera(camera, *model);
#define CAMERA_MODEL_CASE(CameraModel)                                  \
  if (model->id == kModelId<colmap::CameraModel>) {                     \
    return std::make_unique<ColmapCamera<colmap::CameraModel>>(camera); \
  }
  CAMERA_MODEL_CASES
#undef CAMERA_MODEL_CASE
  throw InputError("unknown camera model " + model->name);
}

}  // namespace nre
