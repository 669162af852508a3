// What the plugin's tests share: folders, small models with real pictures, and
// runs of the executable.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "colmap_plugin/compat/colmap.h"

namespace nre {

// A folder that lives as long as the object.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string operator/(const std::string& name) const {
    return (path_ / name).string();
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, const std::string& content);

// Contents of all files below a folder (or of one file), by path.
std::map<std::string, std::string> Snapshot(const std::string& path);

// Names of what is directly in a folder, sorted.
std::vector<std::string> List(const std::string& path);

// Runs SQL on a database file, which is created if it is not there; returns the
// first column of its last row.
std::string RunSql(const std::string& path, const std::string& sql);

// Two PINHOLE cameras' worth of nothing but geometry: images a.jpg, b.jpg and
// sub/c.jpg with cameras 1, 1, 2 and ids 1, 2, 3, and six points in front of
// them, each observed by all three. No pictures.
colmap::Reconstruction MakeSmallModel();

// A rendered scene on disk: pictures, the model of the references at their true
// poses, and the queries.
struct RenderedScene {
  // Creates everything below `path`: images/, map/, queries.txt, pairs.txt.
  explicit RenderedScene(const std::string& path);

  std::string image_path;
  std::string model_path;
  std::string query_list_path;
  std::string pairs_path;
  std::vector<std::string> reference_names;  // r0.png, ...
  std::vector<std::string> query_names;      // q0.png, q1.png
  std::vector<Rigid3d> query_poses;
};

// Gives a model of a RenderedScene one more reference, image 9, "r9.png":
// r0.png once more, but with camera 7, which has no focal length.
void AddReferenceWithoutFocalLength(const RenderedScene& scene,
                                    colmap::Reconstruction* model);

// The model with all its points, but no 2D points.
colmap::Reconstruction WithoutTracks(const colmap::Reconstruction& model);

// Puts all 2D points of an image into its corner.
void PutPoints2DIntoCorner(const colmap::Image& image);

struct RunResult {
  int exit_code = 0;
  std::string output;  // stdout and stderr
};

// Runs a command of the shell.
RunResult RunShell(const std::string& command);

// Runs the built colmap_nre. `environment`: "NAME=value" assignments in front;
// `limit`: commands of the shell before it, such as ulimit.
RunResult RunColmapNre(const std::vector<std::string>& arguments,
                       const std::string& environment = "",
                       const std::string& limit = "");

// The environment in which colmap_nre finds the COLMAP that it is linked to.
std::string ColmapOnPath();

// COLMAP's own feature_extractor with one PINHOLE camera, "fx,fy,cx,cy".
RunResult ExtractKeypoints(const std::string& database_path,
                           const std::string& image_path,
                           const std::string& camera_params);

// COLMAP's own mapper with cameras as they are; models go to `output_path`,
// which is created: 0, 1, ...
RunResult MapKeypoints(const std::string& database_path,
                       const std::string& image_path,
                       const std::string& output_path);

}  // namespace nre
