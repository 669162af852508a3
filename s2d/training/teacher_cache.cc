#include "s2d/training/teacher_cache.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <sstream>
#include <utility>

#include "nre/error.h"
#include "s2d/training/content_hash.h"
#include "s2d/training/output_folder.h"
#include "s2d/training/random_draws.h"
#include "s2d/training/tensor_files.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

using torch::Tensor;

// More than the header of a photograph's file.
constexpr int64_t kHeaderBytes = 16384;

// A part of a photograph, in its pixels.
struct Rectangle {
  int64_t x, y, width, height;
};

// What is to be in the cache.
struct Plan {
  std::vector<TrainingPhoto> photos;
  int64_t num_windows = 1;  // of each photograph
  StoredMetadata metadata;  // of all files
};

int64_t Height(const TrainingPhoto& photo) { return photo.pixels.size(0); }
int64_t Width(const TrainingPhoto& photo) { return photo.pixels.size(1); }

// Of a window, in a photograph with this side.
int64_t WindowSide(int64_t side, const TeacherCacheOptions& options) {
  return options.fine ? std::min(options.window_size, side) : side;
}

// Those that a student with these options needs.
std::vector<const TeacherExtractor*> Extractors(
    const std::vector<Teacher>& teachers, const TeacherCacheOptions& options) {
  std::vector<const TeacherExtractor*> extractors;
  for (const Teacher& teacher : teachers) {
    if (options.coarse) extractors.push_back(&teacher.coarse);
    if (options.fine) extractors.push_back(&teacher.fine);
  }
  return extractors;
}

// At least the bytes of its file.
int64_t MaxBytes(const TrainingPhoto& photo,
                 const std::vector<Teacher>& teachers,
                 int64_t num_windows,
                 const TeacherCacheOptions& options) {
  int64_t bytes = 0;
  for (const TeacherExtractor* extractor : Extractors(teachers, options)) {
    bytes += extractor->MaxBytes(Height(photo),
                                 Width(photo),
                                 WindowSide(Height(photo), options),
                                 WindowSide(Width(photo), options));
  }
  return kHeaderBytes + num_windows * bytes;
}

std::vector<TrainingPhoto> LargeEnough(const std::vector<TrainingPhoto>& photos,
                                       const std::vector<Teacher>& teachers,
                                       const TeacherCacheOptions& options) {
  const auto extractors = Extractors(teachers, options);
  std::vector<TrainingPhoto> large;
  for (const TrainingPhoto& photo : photos) {
    const bool takes =
        std::all_of(extractors.begin(), extractors.end(), [&](auto extractor) {
          return extractor->Takes(Height(photo), Width(photo));
        });
    if (takes) large.push_back(photo);
  }
  if (large.empty()) {
    throw InputError(
        photos.empty()
            ? "There are no photographs for the teachers. Expected "
              "--image_path, a folder of photographs, or --training_set_path "
              "with what training_exporter writes of one."
            : "All " + std::to_string(photos.size()) +
                  " photographs are too small for the teachers. Expected "
                  "larger ones.");
  }
  if (large.size() < photos.size()) {
    std::printf(
        "%zu of %zu photographs are too small for the teachers and are left "
        "out.\n",
        photos.size() - large.size(),
        photos.size());
  }
  return large;
}

// As many as fit, at random, in their order.
std::vector<TrainingPhoto> Fitting(const std::vector<TrainingPhoto>& photos,
                                   const std::vector<Teacher>& teachers,
                                   int64_t num_windows,
                                   const TeacherCacheOptions& options) {
  Draws draws(at::detail::createCPUGenerator(options.seed));
  std::vector<size_t> order(photos.size());
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[draws.Index(i)]);
  }
  int64_t bytes = 0;
  size_t num = 0;
  for (; num < order.size(); ++num) {
    bytes += MaxBytes(photos[order[num]], teachers, num_windows, options);
    if (bytes > options.max_bytes) break;
  }
  if (num == 0) {
    throw InputError("A photograph's features of the teachers take " +
                     std::to_string(bytes / 1'000'000 + 1) +
                     " MB, but the cache may have " +
                     std::to_string(options.max_bytes / 1'000'000) +
                     ". Expected a larger --max_teacher_cache_mb.");
  }
  if (num < photos.size()) {
    std::printf(
        "The teachers' features of %zu of %zu photographs fit in %lld "
        "MB (--max_teacher_cache_mb): these are used.\n",
        num,
        photos.size(),
        static_cast<long long>(options.max_bytes / 1'000'000));
  }
  std::sort(order.begin(), order.begin() + num);
  std::vector<TrainingPhoto> fitting;
  for (size_t i = 0; i < num; ++i) fitting.push_back(photos[order[i]]);
  return fitting;
}

// More than one only if all photographs have room.
int64_t NumWindows(const std::vector<TrainingPhoto>& photos,
                   const std::vector<Teacher>& teachers,
                   const TeacherCacheOptions& options) {
  if (!options.fine) return 1;
  for (int64_t num = options.max_windows; num > 1; --num) {
    int64_t bytes = 0;
    for (const TrainingPhoto& photo : photos) {
      bytes += MaxBytes(photo, teachers, num, options);
    }
    if (bytes <= options.max_bytes) return num;
  }
  return 1;
}

std::string HashOf(const std::vector<TrainingPhoto>& photos) {
  uint64_t hash = 0;
  for (const TrainingPhoto& photo : photos) {
    hash = ContentHash(
        photo.pixels.data_ptr(), photo.pixels.nbytes(), hash ^ Width(photo));
  }
  std::ostringstream text;
  text << photos.size() << " with hash " << std::hex << hash;
  return text.str();
}

Plan MakePlan(const std::vector<TrainingPhoto>& photos,
              const std::vector<Teacher>& teachers,
              const TeacherCacheOptions& options) {
  const auto large = LargeEnough(photos, teachers, options);
  Plan plan;
  plan.num_windows = NumWindows(large, teachers, options);
  plan.photos = Fitting(large, teachers, plan.num_windows, options);
  std::string all_teachers;
  for (const Teacher& teacher : teachers) {
    all_teachers += (all_teachers.empty() ? "" : "; ") + teacher.name;
    if (options.coarse) all_teachers += ", " + teacher.coarse.fingerprint();
    if (options.fine) all_teachers += ", " + teacher.fine.fingerprint();
  }
  const auto windows = [&] {
    return std::to_string(plan.num_windows) + " of " +
           std::to_string(options.window_size) + " pixels, seed " +
           std::to_string(options.seed);
  };
  plan.metadata = {{"format", "colmap_nre teacher cache"},
                   {"version", "1"},
                   {"teachers", all_teachers},
                   {"photographs", HashOf(plan.photos)},
                   {"windows", options.fine ? windows() : "none"}};
  return plan;
}

std::vector<Rectangle> Windows(const Plan& plan,
                               size_t index,
                               const TeacherCacheOptions& options) {
  const TrainingPhoto& photo = plan.photos[index];
  const int64_t width = Width(photo), height = Height(photo);
  Draws draws(at::detail::createCPUGenerator(options.seed * 1000003 + index));
  const int64_t w = WindowSide(width, options);
  const int64_t h = WindowSide(height, options);
  std::vector<Rectangle> windows;
  for (int64_t i = 0; i < plan.num_windows; ++i) {
    windows.push_back(
        {draws.Index(width - w + 1), draws.Index(height - h + 1), w, h});
  }
  return windows;
}

// The cells that have something of the window, in its coordinates.
TeacherMap CutOut(const TeacherMap& map, const Rectangle& window) {
  const auto corner = [](int64_t x, int64_t y) {
    return torch::tensor({static_cast<double>(x), static_cast<double>(y)},
                         torch::kFloat64)
        .view({1, 2});
  };
  const Tensor first = MapPositions(map, corner(window.x, window.y)).view({2});
  const Tensor last =
      MapPositions(map,
                   corner(window.x + window.width, window.y + window.height))
          .view({2});
  std::array<int64_t, 2> begin, end;
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t size = map.features.size(2 - axis);
    begin[axis] = std::clamp<int64_t>(
        std::floor(first[axis].item<double>()), 0, size - 1);
    end[axis] = std::clamp<int64_t>(
        std::ceil(last[axis].item<double>()) + 1, begin[axis] + 1, size);
  }
  TeacherMap part = map;
  part.features = map.features.slice(1, begin[1], end[1])
                      .slice(2, begin[0], end[0])
                      .contiguous();
  part.map_from_image = torch::stack(
      {map.map_from_image[0], first - corner(begin[0], begin[1]).view({2})});
  return part;
}

std::string PhotoFile(const std::string& folder, size_t index) {
  char name[48];
  std::snprintf(name, sizeof(name), "%06zu.safetensors", index);
  return (fs::path(folder) / name).string();
}

std::string MapKey(size_t window, const char* part, size_t teacher) {
  return std::to_string(window) + "/" + part + "/" + std::to_string(teacher);
}

void WritePhoto(const Plan& plan,
                size_t index,
                const std::vector<Teacher>& teachers,
                const TeacherCacheOptions& options) {
  TensorFile file;
  file.metadata = plan.metadata;
  const auto windows = Windows(plan, index, options);
  const auto add =
      [&](const char* part, size_t teacher, const TeacherExtractor& extractor) {
        const TeacherMap map = extractor.Extract(plan.photos[index].pixels);
        for (size_t w = 0; w < windows.size(); ++w) {
          const TeacherMap cut = CutOut(map, windows[w]);
          const std::string key = MapKey(w, part, teacher);
          file.tensors[key] = cut.features;
          file.tensors[key + "/affine"] = cut.map_from_image;
        }
      };
  for (size_t t = 0; t < teachers.size(); ++t) {
    if (options.coarse) add("coarse", t, teachers[t].coarse);
    if (options.fine) add("fine", t, teachers[t].fine);
  }
  WriteTensorFile(PhotoFile(options.path, index), file);
}

[[noreturn]] void RefuseFile(const std::string& path, const std::string& why) {
  throw InputError(
      "The teachers' cache has the file " + path + ", which " + why +
      ". Expected what nre_trainer wrote with the same teachers, "
      "photographs and options; remove the folder, or take another "
      "--teacher_cache_path.");
}

// Throws InputError for a file that is not of this plan.
SafetensorsView OpenPhoto(const Plan& plan, const std::string& path) {
  SafetensorsView file;
  try {
    file = ReadSafetensors(path);
  } catch (const InputError& error) {
    RefuseFile(path, std::string("cannot be read: ") + error.what());
  }
  for (const auto& [name, value] : plan.metadata) {
    const auto stored = file.metadata.find(name);
    if (stored == file.metadata.end()) {
      RefuseFile(path, "does not say its " + name);
    }
    if (stored->second != value) {
      RefuseFile(
          path,
          "is of other " + name + ": " + stored->second + ", not " + value);
    }
  }
  return file;
}

TeacherMap ReadMap(const SafetensorsView& file,
                   const std::string& path,
                   const std::string& key,
                   const TeacherExtractor& extractor) {
  const auto features = file.tensors.find(key);
  const auto affine = file.tensors.find(key + "/affine");
  if (features == file.tensors.end() || features->second.dtype != "F16" ||
      features->second.shape.size() != 3 || affine == file.tensors.end() ||
      affine->second.dtype != "F64" ||
      affine->second.shape != std::vector<int64_t>{2, 2}) {
    RefuseFile(path, "lacks " + key + " or has it in another shape");
  }
  TeacherMap map;
  // Not written to: from_blob() takes no const.
  void* data = const_cast<char*>(file.data.data()) + features->second.begin;
  map.features = torch::from_blob(
      data,
      features->second.shape,
      [mapping = file.mapping](void*) {},
      torch::kFloat16);
  // May lie at any address.
  map.map_from_image = torch::empty({2, 2}, torch::kFloat64);
  std::memcpy(map.map_from_image.data_ptr(),
              file.data.data() + affine->second.begin,
              map.map_from_image.nbytes());
  map.softmax_scale = extractor.softmax_scale();
  map.unit_norm = extractor.unit_norm();
  return map;
}

std::vector<TaughtPhoto> ReadPhoto(const Plan& plan,
                                   size_t index,
                                   const std::vector<Teacher>& teachers,
                                   const TeacherCacheOptions& options) {
  const std::string path = PhotoFile(options.path, index);
  const SafetensorsView file = OpenPhoto(plan, path);
  std::vector<TaughtPhoto> taught;
  const auto windows = Windows(plan, index, options);
  for (size_t w = 0; w < windows.size(); ++w) {
    const Rectangle& r = windows[w];
    TaughtPhoto photo;
    photo.pixels = plan.photos[index]
                       .pixels.narrow(0, r.y, r.height)
                       .narrow(1, r.x, r.width);
    for (size_t t = 0; t < teachers.size(); ++t) {
      if (options.coarse) {
        photo.coarse.push_back(
            ReadMap(file, path, MapKey(w, "coarse", t), teachers[t].coarse));
      }
      if (options.fine) {
        photo.fine.push_back(
            ReadMap(file, path, MapKey(w, "fine", t), teachers[t].fine));
      }
    }
    taught.push_back(std::move(photo));
  }
  return taught;
}

// Whatever a cache has must be of the plan, also beyond its last photograph.
void CheckFiles(const Plan& plan, const std::string& folder) {
  for (size_t i = 0;; ++i) {
    const std::string path = PhotoFile(folder, i);
    if (fs::exists(path)) {
      OpenPhoto(plan, path);
    } else if (i >= plan.photos.size()) {
      return;
    }
  }
}

class Progress {
 public:
  explicit Progress(size_t total) : total_(total) {}

  void Advance(size_t done) {
    ++num_;
    const auto now = Clock::now();
    if (now - said_ < std::chrono::seconds(10) && done < total_) return;
    said_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double rate = num_ / std::max(seconds, 1e-3);
    std::printf("teachers: %zu/%zu photographs, %.2f/s, %.0f s left\n",
                done,
                total_,
                rate,
                (total_ - done) / rate);
    std::fflush(stdout);
  }

 private:
  using Clock = std::chrono::steady_clock;
  const size_t total_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point said_ = start_;
  size_t num_ = 0;
};

}  // namespace

bool TeacherCacheOptions::Check() const {
  return !path.empty() && (coarse || fine) && window_size > 0 &&
         max_windows > 0 && max_bytes > 0;
}

std::optional<std::vector<TaughtPhoto>> TeachPhotos(
    const std::vector<TrainingPhoto>& photos,
    const std::vector<Teacher>& teachers,
    const TeacherCacheOptions& options,
    const std::atomic<bool>* interrupted) {
  TORCH_CHECK(options.Check(), "invalid TeacherCacheOptions");
  const Plan plan = MakePlan(photos, teachers, options);
  const OutputFolder folder(options.path, "--teacher_cache_path");
  CheckFiles(plan, folder.path());
  folder.RemoveTemporaryFiles();
  Progress progress(plan.photos.size());
  for (size_t i = 0; i < plan.photos.size(); ++i) {
    if (fs::exists(PhotoFile(options.path, i))) continue;
    if (interrupted != nullptr && *interrupted) return std::nullopt;
    WritePhoto(plan, i, teachers, options);
    progress.Advance(i + 1);
  }
  std::vector<TaughtPhoto> taught;
  for (size_t i = 0; i < plan.photos.size(); ++i) {
    for (TaughtPhoto& photo : ReadPhoto(plan, i, teachers, options)) {
      taught.push_back(std::move(photo));
    }
  }
  return taught;
}

}  // namespace nre
