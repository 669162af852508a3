#include "s2d/training/teacher_cache.h"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "nre/error.h"
#include "tests/s2d/training/folder_contents.h"
#include "tests/s2d/training/photo_sets.h"

namespace nre {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;
using torch::Tensor;
using Photos = std::vector<TrainingPhoto>;

int64_t NumBytes(const fs::path& folder) {
  int64_t bytes = 0;
  for (const auto& [name, content] : Contents(folder)) bytes += content.size();
  return bytes;
}

Photos MakePhotos(int64_t num, int64_t height, int64_t width) {
  Photos photos;
  for (const Tensor& pixels : TexturedPhotos(num, height, width)) {
    photos.push_back({"photo" + std::to_string(photos.size()), pixels});
  }
  return photos;
}

class TeacherCacheTest : public testing::Test {
 protected:
  TeacherCacheTest() {
    at::set_num_threads(1);
    fs::create_directories(folder_);
  }
  ~TeacherCacheTest() override { fs::remove_all(folder_); }

  TeacherCacheOptions Options(const std::string& name) const {
    TeacherCacheOptions options;
    options.path = (folder_ / name).string();
    return options;
  }

  const std::vector<Teacher> teachers_ =
      LoadTeachers({{"compact"}, {}}, torch::kCPU);
  const fs::path folder_ =
      testing::TempDir() + "nre_teacher_cache_test." + std::to_string(getpid());
};

TEST_F(TeacherCacheTest, CoarseFeaturesAreOfWholePhotographs) {
  const Photos photos = MakePhotos(3, 64, 96);
  const std::vector<Teacher> teachers =
      LoadTeachers({{"compact", "compact_1s"}, {}}, torch::kCPU);
  const auto taught =
      TeachPhotos(photos, teachers, Options("cache"), nullptr).value();
  ASSERT_EQ(taught.size(), 3);
  for (size_t i = 0; i < taught.size(); ++i) {
    EXPECT_TRUE(taught[i].pixels.equal(photos[i].pixels));
    EXPECT_TRUE(taught[i].fine.empty());
    ASSERT_EQ(taught[i].coarse.size(), 2);
    for (size_t t = 0; t < 2; ++t) {
      const TeacherMap expected = teachers[t].coarse.Extract(photos[i].pixels);
      const TeacherMap& map = taught[i].coarse[t];
      EXPECT_TRUE(map.features.equal(expected.features));
      EXPECT_TRUE(map.map_from_image.equal(expected.map_from_image));
      EXPECT_EQ(map.softmax_scale, expected.softmax_scale);
      EXPECT_EQ(map.unit_norm, expected.unit_norm);
    }
  }
  EXPECT_NE(taught[0].coarse[0].softmax_scale,
            taught[0].coarse[1].softmax_scale);
}

TEST_F(TeacherCacheTest, FineFeaturesAreOfWindows) {
  const Photos photos = MakePhotos(2, 120, 160);
  TeacherCacheOptions options = Options("cache");
  options.coarse = false;
  options.fine = true;
  options.window_size = 64;
  options.max_windows = 3;
  const auto taught = TeachPhotos(photos, teachers_, options, nullptr).value();
  ASSERT_EQ(taught.size(), 6);
  std::set<const void*> places;
  for (size_t i = 0; i < taught.size(); ++i) {
    const Tensor& whole = photos[i / 3].pixels;
    const Tensor& window = taught[i].pixels;
    ASSERT_EQ(window.sizes(), torch::IntArrayRef({64, 64, 3}));
    places.insert(window.data_ptr());
    const int64_t offset = static_cast<const uint8_t*>(window.data_ptr()) -
                           static_cast<const uint8_t*>(whole.data_ptr());
    const double x = offset / 3 % 160, y = offset / 3 / 160;
    EXPECT_TRUE(taught[i].coarse.empty());
    ASSERT_EQ(taught[i].fine.size(), 1);
    const TeacherMap& map = taught[i].fine[0];
    // Few more cells than the window has.
    EXPECT_LE(map.features.size(1), 34);
    EXPECT_LE(map.features.size(2), 34);
    // In all of the window, what the whole photograph has there.
    const Tensor in_window = torch::rand({200, 2}) * 64.0;
    const Tensor in_photo =
        in_window.to(torch::kFloat64) + torch::tensor({x, y}, torch::kFloat64);
    EXPECT_TRUE(torch::allclose(
        SampleTeacher(map, in_window),
        SampleTeacher(teachers_[0].fine.Extract(whole), in_photo),
        1e-4,
        1e-5));
  }
  EXPECT_EQ(places.size(), 6);
}

TEST_F(TeacherCacheTest, GoesOnToTheSameBytes) {
  const Photos photos = MakePhotos(12, 64, 80);
  TeacherCacheOptions once = Options("once");
  once.fine = true;
  once.window_size = 48;
  TeachPhotos(photos, teachers_, once, nullptr);
  const auto expected = Contents(once.path);
  ASSERT_EQ(expected.size(), 12);

  // Interrupted when the first files are there; then before anything is done.
  TeacherCacheOptions often = once;
  often.path = (folder_ / "often").string();
  std::atomic<bool> interrupted{false};
  std::thread watcher([&] {
    const fs::path second = fs::path(often.path) / "000001.safetensors";
    while (!fs::exists(second)) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    interrupted = true;
  });
  EXPECT_FALSE(TeachPhotos(photos, teachers_, often, &interrupted).has_value());
  watcher.join();
  const auto part = Contents(often.path);
  EXPECT_GE(part.size(), 2);
  EXPECT_LT(part.size(), 12);
  EXPECT_FALSE(TeachPhotos(photos, teachers_, often, &interrupted).has_value());
  EXPECT_TRUE(Contents(often.path) == part);

  // As if it had been killed while it wrote.
  std::ofstream(fs::path(often.path) / "000011.safetensors.tmp1") << "half";
  const auto first = fs::path(often.path) / "000000.safetensors";
  const auto written = fs::last_write_time(first);
  EXPECT_TRUE(TeachPhotos(photos, teachers_, often, nullptr).has_value());
  EXPECT_TRUE(Contents(often.path) == expected);
  EXPECT_EQ(fs::last_write_time(first), written);
}

TEST_F(TeacherCacheTest, IsNoLargerThanItMayBe) {
  const Photos photos = MakePhotos(12, 96, 128);
  TeacherCacheOptions options = Options("all");
  TeachPhotos(photos, teachers_, options, nullptr);
  const int64_t all = NumBytes(options.path);
  options = Options("some");
  options.max_bytes = all / 2;
  const auto some = TeachPhotos(photos, teachers_, options, nullptr).value();
  EXPECT_LE(NumBytes(options.path), options.max_bytes);
  EXPECT_LE(some.size(), 6);
  EXPECT_GE(some.size(), 3);

  // Windows: one of each photograph, rather than several of few.
  options = Options("windows");
  options.coarse = false;
  options.fine = true;
  options.window_size = 48;
  options.max_bytes = 12 * 80'000;
  const auto windows = TeachPhotos(photos, teachers_, options, nullptr).value();
  EXPECT_EQ(windows.size(), 12);
  EXPECT_LE(NumBytes(options.path), options.max_bytes);
  options = Options("more_windows");
  options.coarse = false;
  options.fine = true;
  options.window_size = 48;
  EXPECT_EQ(TeachPhotos(photos, teachers_, options, nullptr).value().size(),
            48);

  options = Options("none");
  options.max_bytes = 1000;
  EXPECT_THAT([&] { TeachPhotos(photos, teachers_, options, nullptr); },
              ThrowsMessage<InputError>(HasSubstr("--max_teacher_cache_mb")));
  EXPECT_FALSE(fs::exists(options.path));
}

TEST_F(TeacherCacheTest, CachesOfSomethingElseAreRefused) {
  const Photos photos = MakePhotos(3, 64, 64);
  const TeacherCacheOptions options = Options("cache");
  TeachPhotos(photos, teachers_, options, nullptr);
  const auto before = Contents(options.path);
  const auto refuse = [&](const Photos& other_photos,
                          const std::vector<std::string>& names,
                          const TeacherCacheOptions& other,
                          const std::string& what) {
    const auto teachers = LoadTeachers({names, {}}, torch::kCPU);
    EXPECT_THAT(
        [&] { TeachPhotos(other_photos, teachers, other, nullptr); },
        ThrowsMessage<InputError>(AllOf(HasSubstr(options.path),
                                        HasSubstr("is of other " + what),
                                        HasSubstr("--teacher_cache_path"))));
    EXPECT_TRUE(Contents(options.path) == before) << what;
  };
  refuse(photos, {"compact_1s"}, options, "teachers");
  refuse(photos, {"compact", "compact"}, options, "teachers");
  Photos others = photos;
  others[1].pixels = photos[0].pixels;
  refuse(others, {"compact"}, options, "photographs");
  refuse({photos[0], photos[1]}, {"compact"}, options, "photographs");
  TeacherCacheOptions fine = options;
  fine.fine = true;
  refuse(photos, {"compact"}, fine, "teachers");
  // Its own is taken.
  EXPECT_EQ(TeachPhotos(photos, teachers_, options, nullptr)->size(), 3);
  EXPECT_TRUE(Contents(options.path) == before);
}

TEST_F(TeacherCacheTest, OtherWeightsOfTheSameTeacherAreOthers) {
  const Photos photos = MakePhotos(1, 64, 64);
  const TeacherCacheOptions options = Options("cache");
  TeachPhotos(photos, teachers_, options, nullptr);
  const fs::path weights = folder_ / "weights";
  fs::create_directories(weights);
  for (const char* network : {"compact_coarse", "compact_fine"}) {
    const std::string file = std::string(network) + ".safetensors";
    TensorFile shipped =
        ReadTensorFile(std::string(NRE_SOURCE_DIR) + "/s2d/weights/" + file);
    shipped.tensors.at("out.bias").add_(0.01);
    WriteTensorFile((weights / file).string(), shipped);
  }
  const auto others =
      LoadTeachers({{"compact"}, {weights.string()}}, torch::kCPU);
  EXPECT_THAT([&] { TeachPhotos(photos, others, options, nullptr); },
              ThrowsMessage<InputError>(HasSubstr("is of other teachers")));
}

TEST_F(TeacherCacheTest, DamagedFilesAreRefused) {
  const Photos photos = MakePhotos(2, 64, 64);
  const TeacherCacheOptions options = Options("cache");
  TeachPhotos(photos, teachers_, options, nullptr);
  const std::string path = options.path + "/000001.safetensors";
  const TensorFile good = ReadTensorFile(path);
  const auto refuse = [&](const std::string& what) {
    EXPECT_THAT(
        [&] { TeachPhotos(photos, teachers_, options, nullptr); },
        ThrowsMessage<InputError>(AllOf(HasSubstr(path), HasSubstr(what))));
  };
  fs::resize_file(path, fs::file_size(path) - 10);
  refuse("cannot be read");
  TensorFile changed = good;
  changed.tensors.erase("0/coarse/0");
  WriteTensorFile(path, changed);
  refuse("lacks 0/coarse/0");
  changed = good;
  changed.metadata.erase("teachers");
  WriteTensorFile(path, changed);
  refuse("does not say its teachers");
}

TEST_F(TeacherCacheTest, SmallPhotographsAreLeftOut) {
  Photos photos = MakePhotos(2, 64, 64);
  photos.push_back({"small", torch::zeros({20, 64, 3}, torch::kUInt8)});
  EXPECT_EQ(TeachPhotos(photos, teachers_, Options("cache"), nullptr)->size(),
            2);
  photos.erase(photos.begin(), photos.begin() + 2);
  EXPECT_THAT(
      [&] { TeachPhotos(photos, teachers_, Options("none"), nullptr); },
      ThrowsMessage<InputError>(HasSubstr("too small for the teachers")));
  EXPECT_THAT([&] { TeachPhotos({}, teachers_, Options("none"), nullptr); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("no photographs"),
                                              HasSubstr("--image_path"))));
}

}  // namespace
}  // namespace nre
