// Where the time of a query goes, step by step, on one core, and what the pose
// stage costs compared with one forward pass of VGG-16. See README.md.
//
//   query_benchmark [--repetitions N] [--smoke] [--features NAME]
//
// --smoke: small sizes and one repetition, to see that it runs. The exit code
// is 1 if a query does not get the right pose and verdict. Times are never
// judged.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <cblas.h>
#include <opencv2/core/utility.hpp>
#include <unistd.h>

#include "s2d/freed_memory.h"
#include "s2d/visualization.h"
#include "scripts/benchmark/rendered_query.h"
#include "scripts/benchmark/vgg16.h"

namespace nre {
namespace {

struct Options {
  int repetitions = 10;
  int width = 1536, height = 1024;
  int num_points = 1000;
  int vgg16_width = 640, vgg16_height = 480;
  std::string features = kDefaultFeatures;
};

// Since construction or the last lap.
class Stopwatch {
 public:
  struct Lap {
    double wall_ms = 0.0;
    double cpu_ms = 0.0;  // of all threads together
  };

  Lap TakeLap() {
    const auto now = std::chrono::steady_clock::now();
    const std::clock_t cpu_now = std::clock();
    const Lap lap{
        std::chrono::duration<double, std::milli>(now - last_).count(),
        1e3 * (cpu_now - cpu_last_) / CLOCKS_PER_SEC};
    last_ = now;
    cpu_last_ = cpu_now;
    return lap;
  }

 private:
  std::chrono::steady_clock::time_point last_ =
      std::chrono::steady_clock::now();
  std::clock_t cpu_last_ = std::clock();
};

// One row of the table: a number per repetition.
struct Row {
  const char* name;
  std::vector<double> values;

  explicit Row(const char* name) : name(name) {}

  double Min() const { return *std::min_element(values.begin(), values.end()); }
  double Max() const { return *std::max_element(values.begin(), values.end()); }
  double Median() const {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    const size_t half = sorted.size() / 2;
    return sorted.size() % 2 == 1 ? sorted[half]
                                  : 0.5 * (sorted[half - 1] + sorted[half]);
  }
};

struct Table {
  Row decode{"decode image"};
  Row coarse_features{"coarse features"};
  Row fine_features{"fine features"};
  Row coarse_maps{"coarse maps"};
  Row msac{"MSAC"};
  Row coarse_gnc{"coarse GNC"};
  Row fine_maps{"fine maps"};
  Row fine_gnc{"fine GNC, evidence"};
  Row pose_stage{"pose stage"};
  Row query{"whole query"};
  Row vgg16{"VGG-16"};
  // CPU time does not depend on what else the machine does, and counts
  // whatever a second thread would do.
  Row pose_stage_cpu{"pose stage, CPU time"};
  Row vgg16_cpu{"VGG-16, CPU time"};
  // Of the pose stage and the forward pass right after it.
  Row ratio{"pose stage / VGG-16"};
  Row ratio_cpu{"the same, CPU time"};

  void Print() const {
    std::printf(
        "  %-20s %9s %9s %9s %7s\n", "ms", "median", "min", "max", "share");
    for (const Row* row : {&decode,
                           &coarse_features,
                           &fine_features,
                           &coarse_maps,
                           &msac,
                           &coarse_gnc,
                           &fine_maps,
                           &fine_gnc,
                           &query,
                           &pose_stage}) {
      PrintRow(*row, 1);
      std::printf(" %5.1f %%\n", 100.0 * row->Median() / query.Median());
    }
    for (const Row* row : {&vgg16, &pose_stage_cpu, &vgg16_cpu}) {
      PrintRow(*row, 1);
      std::printf("\n");
    }
    for (const Row* row : {&ratio, &ratio_cpu}) {
      PrintRow(*row, 3);
      std::printf("\n");
    }
  }

 private:
  static void PrintRow(const Row& row, int digits) {
    std::printf("  %-20s %9.*f %9.*f %9.*f",
                row.name,
                digits,
                row.Median(),
                digits,
                row.Min(),
                digits,
                row.Max());
  }
};

// One query, from its file to its pose.
PoseEstimate RunQuery(const FeaturePreset& preset,
                      const std::string& image_path,
                      const PinholeCamera& camera,
                      const DescribedPoints& points,
                      Table* table) {
  Stopwatch total, step;
  const Image image = ReadImage(image_path);
  table->decode.values.push_back(step.TakeLap().wall_ms);
  ImageFeatures features;
  features.coarse = preset.coarse->Extract(image);
  table->coarse_features.values.push_back(step.TakeLap().wall_ms);
  features.fine = preset.fine->Extract(image);
  table->fine_features.values.push_back(step.TakeLap().wall_ms);

  double coarse_maps_ms = 0.0;
  const PoseEstimate estimate = Localize(preset,
                                         features,
                                         camera,
                                         points,
                                         NreEstimationOptions(),
                                         /*seed=*/0,
                                         /*lo_ransac=*/nullptr,
                                         &coarse_maps_ms);
  const Stopwatch::Lap pose_stage = step.TakeLap();
  table->query.values.push_back(total.TakeLap().wall_ms);
  table->pose_stage.values.push_back(pose_stage.wall_ms);
  table->pose_stage_cpu.values.push_back(pose_stage.cpu_ms);
  table->coarse_maps.values.push_back(coarse_maps_ms);
  table->msac.values.push_back(estimate.msac_ms);
  table->coarse_gnc.values.push_back(estimate.coarse_gnc_ms);
  table->fine_maps.values.push_back(estimate.fine_maps_ms);
  table->fine_gnc.values.push_back(estimate.fine_gnc_ms);
  return estimate;
}

void RunVgg16(const Vgg16& vgg16, Table* table) {
  Stopwatch stopwatch;
  vgg16.Forward();
  const Stopwatch::Lap lap = stopwatch.TakeLap();
  table->vgg16.values.push_back(lap.wall_ms);
  table->vgg16_cpu.values.push_back(lap.cpu_ms);
  table->ratio.values.push_back(table->pose_stage.values.back() / lap.wall_ms);
  table->ratio_cpu.values.push_back(table->pose_stage_cpu.values.back() /
                                    lap.cpu_ms);
}

// Prints what came out; returns whether it is right.
bool Report(const QueryView& view, const PoseEstimate& estimate) {
  const double center_error =
      CenterError(estimate.cam_from_world, view.cam_from_world);
  const double angle_deg =
      RotationErrorDeg(estimate.cam_from_world, view.cam_from_world);
  std::printf(
      "\nA query %s: %s", view.name.c_str(), VerdictName(estimate.verdict));
  if (!view.same_scene) {
    std::printf("\n");
    return estimate.verdict != Verdict::kRegistered;
  }
  std::printf(", %zu points support it, off by %.1f mm and %.3f deg\n",
              estimate.support.size(),
              1e3 * center_error,
              angle_deg);
  return estimate.verdict == Verdict::kRegistered && center_error < 0.1 &&
         angle_deg < 0.5;
}

bool RunAndReport(const QueryView& view,
                  const FeaturePreset& preset,
                  const PinholeCamera& camera,
                  const DescribedPoints& points,
                  const Vgg16& vgg16,
                  int repetitions) {
  const std::string image_path =
      (std::filesystem::temp_directory_path() /
       ("query_benchmark_" + std::to_string(getpid()) + ".jpg"))
          .string();
  WriteImage(image_path, RenderQuery(camera, view));
  Table warm_up, table;
  const PoseEstimate estimate =
      RunQuery(preset, image_path, camera, points, &warm_up);
  for (int i = 0; i < repetitions; ++i) {
    RunQuery(preset, image_path, camera, points, &table);
    RunVgg16(vgg16, &table);
  }
  std::filesystem::remove(image_path);
  const bool is_right = Report(view, estimate);
  table.Print();
  return is_right;
}

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) == 0) {
      return line.substr(line.find(':') + 2);
    }
  }
  return "unknown CPU";
}

Options ReadOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--smoke") {
      options = {1, 600, 400, 300, 64, 48, options.features};
    } else if (argument == "--repetitions" && i + 1 < argc) {
      options.repetitions = std::max(1, std::stoi(argv[++i]));
    } else if (argument == "--features" && i + 1 < argc) {
      options.features = argv[++i];
    } else {
      throw std::invalid_argument(
          "usage: query_benchmark [--repetitions N] [--smoke] "
          "[--features NAME]");
    }
  }
  return options;
}

bool Run(const Options& options) {
  KeepFreedMemory();  // as colmap_nre does
  openblas_set_num_threads(1);
  cv::setNumThreads(1);
  std::printf("%s; OpenBLAS for %s; %s\n",
              CpuName().c_str(),
              openblas_get_corename(),
              Vgg16::Description().c_str());
  std::printf("Images of %d x %d, %d points; VGG-16 at %d x %d; 1 thread\n",
              options.width,
              options.height,
              options.num_points,
              options.vgg16_width,
              options.vgg16_height);

  const FeaturePreset preset = CreateFeaturePreset(options.features);
  const PinholeCamera camera = CreateViewCamera(options.width, options.height);
  const DescribedPoints points =
      DescribeReference(camera, preset, options.num_points);
  const Vgg16 vgg16(options.vgg16_width, options.vgg16_height);
  vgg16.Forward();  // warms up
  bool all_right = true;
  for (const QueryView& view : QueryViews()) {
    all_right &=
        RunAndReport(view, preset, camera, points, vgg16, options.repetitions);
  }
  return all_right;
}

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  try {
    if (!nre::Run(nre::ReadOptions(argc, argv))) {
      std::fprintf(stderr, "query_benchmark: a result is wrong\n");
      return 1;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "query_benchmark: %s\n", error.what());
    return 1;
  }
  return 0;
}
