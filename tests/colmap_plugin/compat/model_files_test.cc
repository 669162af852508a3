#include "colmap_plugin/compat/model_files.h"

#include <cstring>
#include <filesystem>
#include <limits>
#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Where things are in the files of MakeSmallModel(): camera records have
// 4 + 4 + 8 + 8 + 4 * 8 bytes after a count of 8.
constexpr size_t kCount = 8;

class ModelFiles : public testing::Test {
 protected:
  ModelFiles() {
    std::filesystem::create_directory(folder_ / "text");
    const colmap::Reconstruction model = MakeSmallModel();
    WriteModel(model, folder_.path());
    model.WriteText(folder_ / "text");
  }

  std::string Error(const std::string& path) const {
    try {
      CheckModelFiles(path);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }
  std::string Error() const { return Error(folder_.path()); }
  std::string TextError() const { return Error(folder_ / "text"); }

  template <typename T>
  void Patch(const std::string& name, size_t offset, T value) {
    std::string content = ReadFile(folder_ / name);
    ASSERT_LE(offset + sizeof(T), content.size());
    std::memcpy(&content[offset], &value, sizeof(T));
    WriteFile(folder_ / name, content);
  }

  // In text/`name`, replaces the first occurrence.
  void Replace(const std::string& name,
               const std::string& from,
               const std::string& to) {
    std::string content = ReadFile(folder_ / ("text/" + name));
    const size_t position = content.find(from);
    ASSERT_NE(position, std::string::npos) << content;
    content.replace(position, from.size(), to);
    WriteFile(folder_ / ("text/" + name), content);
  }

  TestFolder folder_;
};

TEST_F(ModelFiles, WholeModelsPass) {
  for (const std::string& path : {folder_.path(), folder_ / "text"}) {
    const ModelFilesSummary summary = CheckModelFiles(path);
    EXPECT_EQ(summary.num_cameras, 2);
    EXPECT_EQ(summary.num_images, 3);
    EXPECT_EQ(summary.num_points, 6);
    EXPECT_EQ(summary.num_observations, 18);
  }
  EXPECT_TRUE(CheckModelFiles(folder_.path()).binary);
  EXPECT_FALSE(CheckModelFiles(folder_ / "text").binary);
  EXPECT_TRUE(HoldsModel(folder_ / "text"));
  TestFolder empty;
  EXPECT_FALSE(HoldsModel(empty.path()));
}

TEST_F(ModelFiles, EveryTruncationIsFound) {
  for (const std::string& name : ModelFileNames()) {
    const std::string content = ReadFile(folder_ / name);
    for (size_t size = 0; size < content.size(); ++size) {
      WriteFile(folder_ / name, content.substr(0, size));
      ASSERT_THAT(Error(), HasSubstr(name)) << size;
    }
    WriteFile(folder_ / name, content + "x");
    EXPECT_THAT(Error(), HasSubstr(name));
    WriteFile(folder_ / name, content);
  }
  EXPECT_EQ(Error(), "");
}

TEST_F(ModelFiles, HugeCountsAreFoundAtOnce) {
  for (const std::string name : {"cameras.bin", "images.bin", "points3D.bin"}) {
    const std::string content = ReadFile(folder_ / name);
    Patch<uint64_t>(name, 0, uint64_t{1} << 60);
    EXPECT_THAT(Error(), HasSubstr("truncated"));
    WriteFile(folder_ / name, content);
  }
}

TEST_F(ModelFiles, MissingFilesAndFolders) {
  EXPECT_THAT(Error(folder_ / "nowhere"), HasSubstr("does not exist"));
  for (const std::string name : {"cameras.bin", "images.bin", "points3D.bin"}) {
    const std::string content = ReadFile(folder_ / name);
    std::filesystem::remove(folder_ / name);
    EXPECT_THAT(Error(), HasSubstr("no complete COLMAP model"));
    WriteFile(folder_ / name, content);
  }
}

TEST_F(ModelFiles, ModelsBelowTheFolderAreNamed) {
  const std::string project = folder_ / "project";
  for (const std::string name : {"sparse/0", "sparse/10", "dense/a/b"}) {
    std::filesystem::create_directories(project + "/" + name);
    WriteModel(MakeSmallModel(), project + "/" + name);
  }
  std::filesystem::create_directories(project + "/images");
  EXPECT_THAT(Error(project + "/sparse"),
              HasSubstr("Choose one of: " + project + "/sparse/0, " + project +
                        "/sparse/10."));
  EXPECT_THAT(Error(project), HasSubstr(": " + project + "/sparse/0, "));
  EXPECT_THAT(Error(project + "/images"),
              testing::AllOf(HasSubstr("no complete COLMAP model"),
                             testing::Not(HasSubstr("Choose"))));
}

TEST_F(ModelFiles, NonFiniteNumbers) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string images = ReadFile(folder_ / "images.bin");
  for (size_t i = 0; i < 7; ++i) {
    Patch("images.bin", kCount + 4 + 8 * i, nan);
    EXPECT_THAT(Error(), HasSubstr("pose of image"));
    WriteFile(folder_ / "images.bin", images);
  }
  // After the pose, the camera's id and a name ("a.jpg", say) with its zero.
  const size_t name = kCount + 4 + 7 * 8 + 4;
  const size_t point2D = images.find('\0', name) + 1 + 8;
  Patch("images.bin", point2D, nan);
  EXPECT_THAT(Error(), HasSubstr("2D point"));
  WriteFile(folder_ / "images.bin", images);

  Patch("points3D.bin", kCount + 8, nan);
  EXPECT_THAT(Error(), HasSubstr("position of point"));
}

TEST_F(ModelFiles, ZeroRotation) {
  for (size_t i = 0; i < 4; ++i) {
    Patch("images.bin", kCount + 4 + 8 * i, 0.0);
  }
  EXPECT_THAT(Error(), HasSubstr("rotation"));
}

TEST_F(ModelFiles, UnknownIds) {
  const std::string cameras = ReadFile(folder_ / "cameras.bin");
  Patch<int32_t>("cameras.bin", kCount + 4, 99);
  EXPECT_THAT(Error(), HasSubstr("unknown model 99"));
  WriteFile(folder_ / "cameras.bin", cameras);
  Patch<uint32_t>("cameras.bin", kCount, 77);
  EXPECT_THAT(Error(), HasSubstr("has camera"));
  WriteFile(folder_ / "cameras.bin", cameras);

  const std::string points = ReadFile(folder_ / "points3D.bin");
  Patch<uint64_t>("points3D.bin", kCount, 777);
  EXPECT_THAT(Error(), HasSubstr("which the points3D file lacks"));
  WriteFile(folder_ / "points3D.bin", points);
  const size_t track = kCount + 8 + 24 + 3 + 8 + 8;
  Patch<uint32_t>("points3D.bin", track, 55);
  EXPECT_THAT(Error(), HasSubstr("image 55"));
  WriteFile(folder_ / "points3D.bin", points);
  Patch<uint32_t>("points3D.bin", track + 4, 1000);
  EXPECT_THAT(Error(), HasSubstr("2D point 1000"));
}

TEST_F(ModelFiles, FramesMustHoldTheImages) {
  if (!std::filesystem::exists(folder_ / "frames.bin")) {
    GTEST_SKIP() << "this COLMAP has no frames";
  }
  // After the ids of frame and rig, the pose, and the number of data, the
  // sensor of the first and the image's id.
  const size_t image_id = kCount + 4 + 4 + 7 * 8 + 4 + 4 + 4;
  Patch<uint64_t>("frames.bin", image_id, 99);
  EXPECT_THAT(Error(),
              testing::AllOf(HasSubstr("frames.bin"), HasSubstr("stale")));
  Patch<uint64_t>("frames.bin", image_id, 3);
  EXPECT_THAT(Error(), HasSubstr("in two frames"));
  // Without both files it is a model of an older COLMAP.
  std::filesystem::remove(folder_ / "frames.bin");
  std::filesystem::remove(folder_ / "rigs.bin");
  EXPECT_EQ(Error(), "");

  Replace("frames.txt", " CAMERA 1 2", " CAMERA 1 99");
  EXPECT_THAT(TextError(),
              testing::AllOf(HasSubstr("frames.txt"), HasSubstr("stale")));
}

TEST_F(ModelFiles, NewerCameraModelsAreNamed) {
  if (FindCameraModel(12) != nullptr) {
    GTEST_SKIP() << "this COLMAP has them";
  }
  Patch<int32_t>("cameras.bin", kCount + 4, 12);
  Replace("cameras.txt", "\n1 PINHOLE", "\n1 SIMPLE_DIVISION");
  for (const std::string& error : {Error(), TextError()}) {
    EXPECT_THAT(error,
                AllOf(HasSubstr("SIMPLE_DIVISION (12)"),
                      HasSubstr("COLMAP 4.0"),
                      HasSubstr("cameras."),
                      Not(HasSubstr("damaged"))));
  }
  // Which of them comes first in the binary file is COLMAP's business.
  EXPECT_THAT(TextError(), HasSubstr("Camera 1 of"));
}

TEST_F(ModelFiles, IdsThatMeanNone) {
  const size_t offset = kCount;  // of the first record's id
  for (const std::string name : {"cameras.bin", "images.bin"}) {
    const std::string content = ReadFile(folder_ / name);
    Patch<uint32_t>(name, offset, std::numeric_limits<uint32_t>::max());
    EXPECT_THAT(Error(), HasSubstr("stands for none")) << name;
    WriteFile(folder_ / name, content);
  }
  Patch<uint64_t>("points3D.bin", offset, std::numeric_limits<uint64_t>::max());
  EXPECT_THAT(Error(), HasSubstr("stands for none"));

  // No id is cut down to one that is there.
  Replace("cameras.txt", "2 PINHOLE", "4294967298 PINHOLE");
  EXPECT_THAT(TextError(), HasSubstr("not below 4294967295"));
  Replace("cameras.txt", "4294967298 PINHOLE", "-1 PINHOLE");
  EXPECT_THAT(TextError(), HasSubstr("not below 4294967295"));
  Replace("cameras.txt", "-1 PINHOLE", "99999999999999999999 PINHOLE");
  EXPECT_THAT(TextError(), HasSubstr("where an id belongs"));
}

// What is left in the files of a model, text and binary, from which somebody
// deleted images or points. COLMAP itself deletes them from `whole`.
class EditedModel : public ModelFiles {
 protected:
  // The model as we and COLMAP read it.
  colmap::Reconstruction Read(const std::string& path,
                              const std::string& expected_warning) const {
    colmap::Reconstruction model;
    EXPECT_THAT(ReadModel(path, &model), HasSubstr(expected_warning));
    return model;
  }

  void ExpectSame(const colmap::Reconstruction& a,
                  const colmap::Reconstruction& b) const {
    EXPECT_EQ(a.NumRegImages(), b.NumRegImages());
    EXPECT_EQ(a.NumPoints3D(), b.NumPoints3D());
    for (const auto& [id, image] : b.Images()) {
      ASSERT_TRUE(a.ExistsImage(id));
      EXPECT_EQ(a.Image(id).Name(), image.Name());
      EXPECT_EQ(a.Image(id).NumPoints3D(), image.NumPoints3D());
      ASSERT_EQ(a.Image(id).NumPoints2D(), image.NumPoints2D());
      for (size_t i = 0; i < image.NumPoints2D(); ++i) {
        EXPECT_EQ(XY(a.Image(id).Point2D(i)), XY(image.Point2D(i)));
        EXPECT_EQ(Point3DId(a.Image(id).Point2D(i)),
                  Point3DId(image.Point2D(i)));
      }
    }
    for (const auto& [id, point] : b.Points3D()) {
      ASSERT_TRUE(a.ExistsPoint3D(id));
      EXPECT_EQ(XYZ(a.Point3D(id)), XYZ(point));
      EXPECT_EQ(TrackOf(a.Point3D(id)).Length(), TrackOf(point).Length());
    }
  }

  // Removes the records of a binary file whose ids are these.
  void RemoveRecords(const std::string& name,
                     const std::set<uint64_t>& removed) {
    const std::string content = ReadFile(folder_ / name);
    const bool images = name == "images.bin";
    std::string kept;
    uint64_t num_kept = 0;
    for (size_t begin = kCount, end = 0; begin < content.size(); begin = end) {
      if (images) {
        end = content.find('\0', begin + 4 + 7 * 8 + 4) + 1;
        end += 8 + 24 * At<uint64_t>(content, end);
      } else {
        end = begin + 8 + 24 + 3 + 8;
        end += 8 + 8 * At<uint64_t>(content, end);
      }
      const uint64_t id =
          images ? At<uint32_t>(content, begin) : At<uint64_t>(content, begin);
      if (removed.count(id) == 0) {
        kept += content.substr(begin, end - begin);
        ++num_kept;
      }
    }
    std::string count(sizeof(num_kept), '\0');
    std::memcpy(count.data(), &num_kept, sizeof(num_kept));
    WriteFile(folder_ / name, count + kept);
  }

  template <typename T>
  static T At(const std::string& content, size_t offset) {
    T value;
    std::memcpy(&value, &content.at(offset), sizeof(T));
    return value;
  }

  // Removes a record of `num_lines` lines of a text file.
  void RemoveLines(const std::string& name,
                   const std::string& begin,
                   int num_lines) {
    std::istringstream lines(ReadFile(folder_ / ("text/" + name)));
    std::string kept;
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind(begin, 0) != 0) {
        kept += line + "\n";
        continue;
      }
      for (int i = 1; i < num_lines; ++i) std::getline(lines, line);
    }
    WriteFile(folder_ / ("text/" + name), kept);
  }

  // The line of a text file that begins like this.
  std::string Line(const std::string& name, const std::string& begin) const {
    std::istringstream lines(ReadFile(folder_ / ("text/" + name)));
    std::string line;
    while (std::getline(lines, line) && line.rfind(begin, 0) != 0) {
    }
    return line;
  }

  // Frames would name images that are gone.
  void RemoveFrames() {
    for (const std::string name : {"rigs", "frames"}) {
      std::filesystem::remove(folder_ / (name + ".bin"));
      std::filesystem::remove(folder_ / ("text/" + name + ".txt"));
    }
  }
};

TEST_F(EditedModel, PointsThatAreGone) {
  RemoveRecords("points3D.bin", {2, 5});
  RemoveLines("points3D.txt", "2 ", 1);
  RemoveLines("points3D.txt", "5 ", 1);
  colmap::Reconstruction whole = MakeSmallModel();
  whole.DeletePoint3D(2);
  whole.DeletePoint3D(5);
  for (const std::string& path : {folder_.path(), folder_ / "text"}) {
    const auto before = Snapshot(path);
    EXPECT_EQ(CheckModelFiles(path).num_observations, 12);
    ExpectSame(Read(path, "6 observations of points that are gone"), whole);
    EXPECT_TRUE(Snapshot(path) == before);
  }
}

TEST_F(EditedModel, ImagesThatAreGone) {
  RemoveFrames();
  RemoveRecords("images.bin", {2});
  RemoveLines("images.txt", "2 ", 2);
  colmap::Reconstruction whole = MakeSmallModel();
  const size_t num_points2D = whole.Image(2).NumPoints2D();
  for (size_t i = 0; i < num_points2D; i += 2) {
    whole.DeleteObservation(2, i);
  }
  for (const std::string& path : {folder_.path(), folder_ / "text"}) {
    const colmap::Reconstruction model =
        Read(path, "6 observations by images that are gone");
    EXPECT_EQ(model.NumRegImages(), 2);
    EXPECT_FALSE(model.ExistsImage(2));
    for (const auto& [id, point] : whole.Points3D()) {
      EXPECT_EQ(TrackOf(model.Point3D(id)).Length(), TrackOf(point).Length());
      for (const auto& element : TrackOf(model.Point3D(id)).Elements()) {
        EXPECT_NE(element.image_id, 2);
      }
    }
  }
}

// Where images and tracks disagree besides, it is not known what was done.
TEST_F(EditedModel, AmbiguousOnesAreRefused) {
  RemoveRecords("points3D.bin", {2});
  RemoveLines("points3D.txt", "2 ", 1);
  // The track of point 1 in another 2D point of an image.
  const std::string content = ReadFile(folder_ / "points3D.bin");
  const size_t point = content.find(std::string("\1\0\0\0\0\0\0\0", 8), 8);
  Patch<uint32_t>("points3D.bin", point + 8 + 24 + 3 + 8 + 8 + 4, 11);
  Replace("points3D.txt", " 1 0 2 0", " 1 11 2 0");
  EXPECT_THAT(Error(), HasSubstr("observes point 2"));
  EXPECT_THAT(TextError(), HasSubstr("observes point 2"));
}

TEST_F(EditedModel, NothingLeft) {
  RemoveFrames();
  const std::string images = ReadFile(folder_ / "images.bin");
  RemoveRecords("images.bin", {1, 2, 3});
  EXPECT_THAT(Error(), HasSubstr("is missing"));
  WriteFile(folder_ / "images.bin", images);
  RemoveRecords("points3D.bin", {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(Error(), HasSubstr("points3D file lacks"));
}

TEST_F(EditedModel, LastImageWithoutItsLine) {
  // Nothing of it is observed.
  colmap::Reconstruction whole = MakeSmallModel();
  for (size_t i = 0; i < 12; i += 2) {
    whole.DeleteObservation(3, i);
  }
  whole.WriteText(folder_ / "text");
  // COLMAP 3.8 writes them in any order.
  const std::string third = Line("images.txt", "3 ");
  RemoveLines("images.txt", "3 ", 2);
  const std::string images = ReadFile(folder_ / "text/images.txt") + third;
  for (const std::string end : {"", "\n"}) {
    WriteFile(folder_ / "text/images.txt", images + end);
    const colmap::Reconstruction model =
        Read(folder_ / "text", "1 image without its line");
    EXPECT_EQ(model.NumRegImages(), 3);
    EXPECT_EQ(model.Image(3).Name(), "sub/c.jpg");
    EXPECT_EQ(model.Image(3).NumPoints2D(), 0);
  }
  // Its line was cut off if tracks name 2D points of it.
  MakeSmallModel().WriteText(folder_ / "text");
  WriteFile(folder_ / "text/images.txt", images);
  EXPECT_THAT(TextError(), HasSubstr("image 3 has 0 2D points"));
}

TEST_F(EditedModel, LargestNumberInsteadOfMinusOne) {
  std::string images = ReadFile(folder_ / "text/images.txt");
  for (size_t at = 0; (at = images.find(" -1", at)) != std::string::npos;) {
    images.replace(at, 3, " 18446744073709551615");
  }
  WriteFile(folder_ / "text/images.txt", images);
  ExpectSame(Read(folder_ / "text", "18 2D points with 18446744073709551615"),
             MakeSmallModel());
}

TEST_F(ModelFiles, DuplicatedIds) {
  Patch<uint32_t>("cameras.bin", kCount, 1);
  Patch<uint32_t>("cameras.bin", kCount + 56, 1);
  EXPECT_THAT(Error(), HasSubstr("twice"));
}

TEST_F(ModelFiles, TextErrorsNameTheLine) {
  Replace("cameras.txt", "PINHOLE", "PINHOLY");
  EXPECT_THAT(TextError(),
              testing::AllOf(HasSubstr("line 4"), HasSubstr("PINHOLY")));
  Replace("cameras.txt", "PINHOLY", "PINHOLE");
  Replace("cameras.txt", " 60", " sixty");
  EXPECT_THAT(TextError(), HasSubstr("sixty"));
  Replace("cameras.txt", " sixty", " nan");
  EXPECT_THAT(TextError(), HasSubstr("not finite"));
  Replace("cameras.txt", " nan", "");
  EXPECT_THAT(TextError(), HasSubstr("3 parameters"));
  Replace("cameras.txt", " 60", " 60 60");
  EXPECT_EQ(TextError(), "");

  Replace("images.txt", "1 0 0 0 ", "1 0 nan 0 ");
  EXPECT_THAT(TextError(), HasSubstr("pose of image"));
}

TEST_F(ModelFiles, TruncatedTextIsFound) {
  for (const std::string name : {"cameras.txt", "images.txt", "points3D.txt"}) {
    const std::string path = folder_ / ("text/" + name);
    const std::string content = ReadFile(path);
    // Up to the start of the last line; beyond, a shorter number is a number.
    const size_t last_line = content.find_last_of('\n', content.size() - 2);
    for (size_t size = 0; size <= last_line; ++size) {
      WriteFile(path, content.substr(0, size));
      // Between two records it may have been done on purpose.
      EXPECT_TRUE(TextError() != "" ||
                  CheckModelFiles(folder_ / "text").NeedsRepair())
          << name << " " << size;
    }
    WriteFile(path, content);
  }
}

}  // namespace
}  // namespace nre
