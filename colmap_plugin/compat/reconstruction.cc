#include "colmap_plugin/compat/reconstruction.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <stdexcept>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/model_files.h"
#include "colmap_plugin/io/output.h"
#include "nre/error.h"

namespace nre {
namespace {

template <typename Map>
std::set<uint32_t> IdsOf(const Map& map) {
  std::set<uint32_t> ids;
  for (const auto& [id, _] : map) {
    ids.insert(id);
  }
  return ids;
}

#if NRE_COLMAP_VERSION < 400

double Error(const colmap::Point3D& point) { return point.Error(); }

void SetError(double error, colmap::Point3D* point) { point->SetError(error); }

void AddCamera(const colmap::Camera& camera, colmap::Reconstruction* model) {
  model->AddCamera(camera);
}

void AddImage(colmap::Image image,
              const Rigid3d& cam_from_world,
              const FrameIds& /*frame_ids*/,
              colmap::Reconstruction* model) {
  const Eigen::Quaterniond& q = cam_from_world.rotation;
  image.SetQvec(Eigen::Vector4d(q.w(), q.x(), q.y(), q.z()));
  image.SetTvec(cam_from_world.translation);
  image.SetUp(model->Camera(image.CameraId()));
  const colmap::image_t image_id = image.ImageId();
  model->AddImage(std::move(image));
  model->RegisterImage(image_id);
}

#else

double Error(const colmap::Point3D& point) { return point.error; }

void SetError(double error, colmap::Point3D* point) { point->error = error; }

void AddCamera(const colmap::Camera& camera, colmap::Reconstruction* model) {
  model->AddCamera(camera);
}

// The rig that the camera belongs to; a new one of its own if there is none,
// with the id `new_id` if that is free.
colmap::rig_t RigOfCamera(colmap::camera_t camera_id,
                          colmap::rig_t new_id,
                          colmap::Reconstruction* model) {
  const colmap::sensor_t sensor(colmap::SensorType::CAMERA, camera_id);
  for (const auto& [rig_id, rig] : model->Rigs()) {
    if (rig.HasSensor(sensor)) {
      return rig_id;
    }
  }
  if (model->ExistsRig(new_id)) {
    new_id = FreeIds(IdsOf(model->Rigs()), colmap::kInvalidRigId - 1).Take();
  }
  colmap::Rig rig;
  rig.SetRigId(new_id);
  rig.AddRefSensor(sensor);
  model->AddRig(std::move(rig));
  return new_id;
}

void AddImage(colmap::Image image,
              const Rigid3d& cam_from_world,
              const FrameIds& frame_ids,
              colmap::Reconstruction* model) {
  colmap::frame_t frame_id = frame_ids.frame_id;
  if (model->ExistsFrame(frame_id)) {
    frame_id =
        FreeIds(IdsOf(model->Frames()), colmap::kInvalidFrameId - 1).Take();
  }
  const colmap::rig_t rig_id =
      RigOfCamera(image.CameraId(), frame_ids.rig_id, model);
  colmap::Rigid3d rig_from_world(cam_from_world.rotation,
                                 cam_from_world.translation);
  const colmap::Rig& rig = model->Rig(rig_id);
  const colmap::sensor_t sensor(colmap::SensorType::CAMERA, image.CameraId());
  if (!rig.IsRefSensor(sensor)) {
    rig_from_world =
        colmap::Inverse(rig.SensorFromRig(sensor)) * rig_from_world;
  }
  colmap::Frame frame;
  frame.SetFrameId(frame_id);
  frame.SetRigId(rig_id);
  frame.AddDataId(image.DataId());
  frame.SetRigFromWorld(rig_from_world);
  image.SetFrameId(frame_id);
  model->AddFrame(std::move(frame));
  model->AddImage(std::move(image));
}

#endif

// Keeps the point's mean reprojection error, in pixels, right when an
// observation is added to its track; unknown errors stay unknown.
void AddToError(const Camera& camera,
                const Rigid3d& cam_from_world,
                const Eigen::Vector2d& xy,
                colmap::Point3D* point) {
  Eigen::Vector2d projection;
  if (point->HasError() &&
      camera.Project(cam_from_world * XYZ(*point), &projection, nullptr)) {
    const double length = static_cast<double>(TrackOf(*point).Length());
    SetError(
        (Error(*point) * length + (projection - xy).norm()) / (length + 1.0),
        point);
  }
}

// The warning on a model that somebody cut or edited.
std::string SentenceOnRepair(const std::string& path,
                             const ModelFilesSummary& files) {
  std::string parts;
  const auto add = [&](size_t num, const std::string& what) {
    if (num > 0) {
      parts += (parts.empty() ? "" : ", ") + std::to_string(num) + " " + what;
    }
  };
  add(files.num_observations_of_gone_points,
      "observations of points that are gone");
  add(files.num_track_elements_of_gone_images,
      "observations by images that are gone");
  add(files.num_written_out_nones,
      "2D points with 18446744073709551615 instead of -1");
  add(files.last_line_is_missing, "image without its line of 2D points");
  return "The model in " + path + " was cut or edited: " + parts +
         ". What fits together is used. COLMAP fails on such models, and has "
         "no command to mend them: delete images of the whole model by colmap "
         "image_deleter, or go on with what nre_image_registrator writes.";
}

}  // namespace

std::string ReadModel(const std::string& path, colmap::Reconstruction* model) {
  const ModelFilesSummary files = CheckModelFiles(path);
  if (files.num_images == 0) {
    throw InputError("The model in " + path +
                     " is empty: it has no images. Expected images with "
                     "poses.");
  }
  std::unique_ptr<TemporaryFolder> repaired;
  if (files.NeedsRepair()) {
    repaired = std::make_unique<TemporaryFolder>(
        std::filesystem::temp_directory_path() / "colmap_nre_model");
    RepairModelFiles(path, repaired->path().string());
  }
  const std::string readable =
      repaired == nullptr ? path : repaired->path().string();
  const auto plain = files.binary ? nullptr : CopyUnlessPlain(readable);
  try {
    model->Read(plain == nullptr ? readable : plain->path().string());
    for (const auto& [id, name] : files.names_with_blanks) {
      model->Image(id).SetName(name);
    }
  } catch (const std::exception& error) {
    throw InputError("COLMAP cannot read the model in " + path + ": " +
                     error.what());
  }
  if (RegisteredImages(*model).empty()) {
    throw InputError("No image of the model in " + path + " has a pose.");
  }
  return files.NeedsRepair() ? SentenceOnRepair(path, files) : "";
}

void WriteModel(const colmap::Reconstruction& model, const std::string& path) {
  try {
    model.WriteBinary(path);
    const ModelFilesSummary files = CheckModelFiles(path);
    if (files.num_cameras == model.NumCameras() &&
        files.num_images == model.NumRegImages() &&
        files.num_points == model.NumPoints3D()) {
      return;
    }
  } catch (const std::exception&) {
    // The files that the model was read from were whole, so the new ones lost
    // something on their way to the disk.
  }
  throw std::runtime_error("The model could not be written completely to " +
                           path + ". Is the disk full?");
}

std::vector<colmap::image_t> RegisteredImages(
    const colmap::Reconstruction& model) {
  std::vector<colmap::image_t> ids;
  for (const auto& [name, id] : ImageIdsByName(model)) {
    if (HasPose(model.Image(id))) {
      ids.push_back(id);
    }
  }
  return ids;
}

std::map<std::string, colmap::image_t> ImageIdsByName(
    const colmap::Reconstruction& model) {
  std::map<std::string, colmap::image_t> ids;
  for (const auto& [id, image] : model.Images()) {
    ids.emplace(image.Name(), id);
  }
  return ids;
}

std::unique_ptr<Camera> CameraOf(const colmap::Reconstruction& model,
                                 const colmap::Image& image) {
  try {
    return CreateCamera(model.Camera(image.CameraId()));
  } catch (const InputError& error) {
    throw InputError("its camera " + std::to_string(image.CameraId()) +
                     " is wrong: " + error.what());
  }
}

FreeIds::FreeIds(std::set<uint32_t> used, uint32_t max_id)
    : used_(std::move(used)), max_id_(max_id) {}

uint32_t FreeIds::Take() {
  uint32_t id = used_.empty() ? 1 : *used_.rbegin() + 1;
  if (id == 0 || id > max_id_) {
    while (used_.count(lowest_) > 0) {
      ++lowest_;
    }
    id = lowest_;
  }
  if (id > max_id_) {
    throw InputError("No id is free: all up to " + std::to_string(max_id_) +
                     " are in use.");
  }
  used_.insert(id);
  return id;
}

std::set<uint32_t> CameraIds(const colmap::Reconstruction& model) {
  return IdsOf(model.Cameras());
}

std::set<uint32_t> ImageIds(const colmap::Reconstruction& model) {
  return IdsOf(model.Images());
}

void AddRegisteredImage(const colmap::Camera& camera,
                        colmap::camera_t camera_id,
                        colmap::image_t image_id,
                        const std::string& name,
                        const Rigid3d& cam_from_world,
                        const std::vector<ImagePoint>& points,
                        colmap::Reconstruction* model,
                        const std::optional<FrameIds>& frame_ids) {
  if (!model->ExistsCamera(camera_id)) {
    colmap::Camera new_camera = camera;
    SetCameraId(camera_id, &new_camera);
    AddCamera(new_camera, model);
  }

  colmap::Image image;
  image.SetImageId(image_id);
  image.SetName(name);
  image.SetCameraId(camera_id);
  std::vector<Eigen::Vector2d> xys;
  for (const ImagePoint& point : points) {
    xys.push_back(point.xy);
  }
  image.SetPoints2D(xys);
  AddImage(std::move(image),
           cam_from_world,
           frame_ids.value_or(FrameIds{image_id, camera_id}),
           model);

  const std::unique_ptr<Camera> projection =
      CreateCamera(model->Camera(camera_id));
  for (size_t i = 0; i < points.size(); ++i) {
    if (points[i].point3D_id != colmap::kInvalidPoint3DId) {
      AddToError(*projection,
                 cam_from_world,
                 points[i].xy,
                 &model->Point3D(points[i].point3D_id));
      model->AddObservation(
          points[i].point3D_id,
          colmap::TrackElement(image_id, static_cast<colmap::point2D_t>(i)));
    }
  }
}

}  // namespace nre
