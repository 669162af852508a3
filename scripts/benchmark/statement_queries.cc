#include "scripts/benchmark/statement_queries.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "colmap_plugin/compat/camera.h"
#include "tests/testing/synthetic_scene.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

const std::set<std::string> kBaseKinds = {
    "two references", "one reference", "street", "repeated bays, marked"};

class Dice {
 public:
  explicit Dice(uint32_t seed) : seed_(seed) {}
  double Uniform(double lower, double upper) {
    return lower + (upper - lower) * HashUniform(seed_, ++counter_, 8);
  }
  double Sign() { return Uniform(-1.0, 1.0) < 0.0 ? -1.0 : 1.0; }
  // Between the two, evenly in its logarithm.
  double LogUniform(double lower, double upper) {
    return lower * std::pow(upper / lower, Uniform(0.0, 1.0));
  }
  Eigen::Vector3d Normal3() {
    Eigen::Vector3d normal;
    for (double& value : normal) {
      value = std::sqrt(-2.0 * std::log(Uniform(1e-9, 1.0))) *
              std::cos(Uniform(0.0, 2.0 * M_PI));
    }
    return normal;
  }

 private:
  uint32_t seed_;
  uint32_t counter_ = 0;
};

// The pinhole camera of the scenes met here: f or fx, fy, then cx, cy.
struct Pinhole {
  double fx, fy, cx, cy;

  explicit Pinhole(const colmap::Camera& camera) {
    const std::vector<double> params = CameraParams(camera);
    const size_t center =
        FindCameraModel(CameraModelIdOf(camera))->params_info[1] == 'x' ? 2 : 1;
    fx = params[0];
    fy = params[center - 1];
    cx = params[center];
    cy = params[center + 1];
  }

  colmap::Camera ToColmap(const cv::Size& size) const {
    return MakeColmapCamera(
        "PINHOLE", size.width, size.height, {fx, fy, cx, cy});
  }
};

cv::Size SizeOf(const colmap::Camera& camera) {
  return {static_cast<int>(CameraWidth(camera)),
          static_cast<int>(CameraHeight(camera))};
}

// A picture as another lens takes it, which shows at radius r (in focal
// lengths) what the camera shows at from_radius(r). What it did not see is
// grey.
cv::Mat ThroughLens(const cv::Mat& bgr,
                    const Pinhole& camera,
                    const std::function<double(double)>& from_radius) {
  cv::Mat map_x(bgr.size(), CV_32F), map_y(bgr.size(), CV_32F);
  for (int y = 0; y < bgr.rows; ++y) {
    for (int x = 0; x < bgr.cols; ++x) {
      const double u = (x + 0.5 - camera.cx) / camera.fx;
      const double v = (y + 0.5 - camera.cy) / camera.fy;
      const double radius = std::hypot(u, v);
      const double factor = radius > 0.0 ? from_radius(radius) / radius : 1.0;
      map_x.at<float>(y, x) = camera.fx * factor * u + camera.cx - 0.5;
      map_y.at<float>(y, x) = camera.fy * factor * v + camera.cy - 0.5;
    }
  }
  cv::Mat seen;
  cv::remap(bgr,
            seen,
            map_x,
            map_y,
            cv::INTER_CUBIC,
            cv::BORDER_CONSTANT,
            cv::Scalar(128, 128, 128));
  return seen;
}

// r with r (1 + k r^2) = distorted.
double Undistort(double distorted, double k) {
  double r = distorted;
  for (int i = 0; i < 100; ++i) {
    r -= (r + k * r * r * r - distorted) / (1.0 + 3.0 * k * r * r);
  }
  return r;
}

// What may be stated about one query.
class Statements {
 public:
  Statements(const StudyQuery& base, StudyScene* scene, int number)
      : base_(base),
        scene_(scene),
        number_(number),
        dice_(7000 + number),
        path_((fs::path(scene->image_path) / base.query.name).string()) {}

  void AddAll() {
    scene_->queries.push_back(base_);
    scene_->queries.back().kind = "as it is";
    // Not as it is: a camera of the model is known.
    Query& unknown = AddWithImage("focal length unknown").query;
    unknown.camera = ScaleFocalLength(unknown.camera, 1.1);
    unknown.focal_length_unknown = true;
    AddWrongFocalLength();
    for (const bool tight : {false, true}) {
      for (const bool right : {true, false}) AddPrior(tight, right);
    }
    AddCrop();
    AddDistorted();
  }

 private:
  std::string NewName(const std::string& kind, const std::string& extension) {
    std::string name = "statement_" + std::to_string(number_) + "_" + kind;
    std::replace(name.begin(), name.end(), ' ', '_');
    return name + extension;
  }

  // The same picture under another name, since names have seeds and results.
  StudyQuery& AddWithImage(const std::string& kind) {
    StudyQuery query = base_;
    query.kind = kind;
    query.query.name = NewName(kind, fs::path(path_).extension().string());
    const fs::path link = fs::path(scene_->image_path) / query.query.name;
    if (!fs::exists(link)) {
      fs::create_symlink(fs::canonical(path_), link);
    }
    scene_->queries.push_back(query);
    return scene_->queries.back();
  }

  StudyQuery& AddNewImage(
      const std::string& kind,
      const std::function<cv::Mat(const cv::Mat&)>& change) {
    StudyQuery query = base_;
    query.kind = kind;
    query.query.name = NewName(kind, ".png");
    const std::string path =
        (fs::path(scene_->image_path) / query.query.name).string();
    if (!fs::exists(path)) {
      const cv::Mat bgr =
          cv::imread(path_, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
      if (bgr.empty() || !cv::imwrite(path, change(bgr))) {
        throw std::runtime_error("cannot make " + path);
      }
    }
    scene_->queries.push_back(query);
    return scene_->queries.back();
  }

  void AddWrongFocalLength() {
    const double error = dice_.Sign() * dice_.LogUniform(0.03, 0.3);
    Query& query = AddWithImage("focal length wrong").query;
    query.camera = ScaleFocalLength(query.camera, 1.0 + error);
  }

  // Position, gravity or both. Wrong ones are off by 4 to 12 times as much as
  // they say.
  void AddPrior(bool tight, bool right) {
    StudyQuery& added =
        AddWithImage(std::string("prior ") + (tight ? "tight, " : "loose, ") +
                     (right ? "right" : "wrong"));
    const Rigid3d& truth = *base_.cam_from_world;
    const double position_std = (tight ? 0.1 : 5.0) * scene_->units_per_m;
    const double gravity_std_deg = tight ? 1.0 : 15.0;
    const double wrong = dice_.Uniform(4.0, 12.0);
    const Eigen::Vector3d error =
        right ? dice_.Normal3() : wrong * dice_.Normal3().normalized();
    const double which = dice_.Uniform(0.0, 3.0);
    Priors& priors = added.query.priors;
    if (which < 2.0) {
      priors.position = PositionPrior();
      priors.position->mean = ProjectionCenter(truth) + position_std * error;
      priors.position->covariance *= position_std * position_std;
    }
    if (which > 1.0) {
      priors.gravity = GravityPrior();
      priors.gravity->stddev_deg = gravity_std_deg;
      const double angle_deg =
          std::min(180.0, gravity_std_deg * error.norm() / (right ? 1.2 : 1.0));
      const Eigen::Vector3d down =
          truth.rotation * priors.gravity->down_in_world;
      priors.gravity->down_in_cam =
          (Eigen::AngleAxisd(angle_deg * M_PI / 180.0,
                             down.cross(error).normalized()) *
           down)
              .normalized();
    }
  }

  // A part whose principal point is taken to be its centre.
  void AddCrop() {
    const Pinhole camera(base_.query.camera);
    const cv::Size size = SizeOf(base_.query.camera);
    const double share = dice_.Uniform(0.55, 0.85);
    const cv::Rect part(
        static_cast<int>(dice_.Uniform(0.0, 1.0 - share) * size.width),
        static_cast<int>(dice_.Uniform(0.0, 1.0 - share) * size.height),
        static_cast<int>(share * size.width),
        static_cast<int>(share * size.height));
    StudyQuery& added =
        AddNewImage("crop, centre moved",
                    [&](const cv::Mat& bgr) { return bgr(part).clone(); });
    Pinhole stated = camera;
    stated.cx = 0.5 * part.width;
    stated.cy = 0.5 * part.height;
    added.query.camera = stated.ToColmap(part.size());
  }

  void AddDistorted() {
    const Pinhole camera(base_.query.camera);
    const double k = (number_ % 3 == 0 ? 1.0 : -1.0) * dice_.Uniform(0.03, 0.1);
    const bool fisheye = number_ % 3 == 2;
    AddNewImage(fisheye ? "fisheye" : "distorted", [&](const cv::Mat& bgr) {
      return ThroughLens(bgr, camera, [&](double radius) {
        return fisheye ? std::tan(std::min(radius, 1.5)) : Undistort(radius, k);
      });
    });
  }

  const StudyQuery base_;
  StudyScene* scene_;
  int number_;
  Dice dice_;
  std::string path_;
};

}  // namespace

void StateAboutQueries(StudyScene* scene) {
  std::vector<StudyQuery> all;
  all.swap(scene->queries);
  int number = 0;
  for (const StudyQuery& query : all) {
    if (query.cam_from_world && kBaseKinds.count(query.kind) > 0) {
      Statements(query, scene, number++).AddAll();
    }
  }
}

}  // namespace nre
