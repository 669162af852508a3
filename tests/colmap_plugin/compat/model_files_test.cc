#include "colmap_plugin/compat/model_files.h"

#include <cstring>
#include <filesystem>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "colmap_plugin/compat/reconstruction.h"
#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

using testing::HasSubstr;

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
    for (size_t size = 0; size <= last_line; size += 7) {
      WriteFile(path, content.substr(0, size));
      EXPECT_NE(TextError(), "") << name << " " << size;
    }
    WriteFile(path, content);
  }
}

}  // namespace
}  // namespace nre
