// training_exporter: models, RGB-D folders and photographs into training sets.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>

#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/camera_image.h"
#include "colmap_plugin/controllers/lru_cache.h"
#include "colmap_plugin/controllers/parallel.h"
#include "colmap_plugin/controllers/seeds.h"
#include "colmap_plugin/controllers/training_pairs.h"
#include "colmap_plugin/exe/commands.h"
#include "colmap_plugin/exe/messages.h"
#include "colmap_plugin/exe/options.h"
#include "colmap_plugin/exe/process.h"
#include "colmap_plugin/exe/progress.h"
#include "colmap_plugin/exe/reference_model.h"
#include "colmap_plugin/io/lists.h"
#include "colmap_plugin/io/output.h"
#include "colmap_plugin/io/rgbd_folder.h"
#include "colmap_plugin/io/training_set_writer.h"
#include "nre/error.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

struct CommandOptions {
  std::string input_path;
  std::string image_path;
  std::string rgbd_path;
  std::string excluded_image_list_path;
  std::string output_path;
  int max_image_size = 640;
  int num_threads = -1;
  TrainingPairOptions pairs;
};

void AddOptions(CommandOptions* options, OptionParser* parser) {
  TrainingPairOptions& pairs = options->pairs;
  parser->AddPath("input_path",
                  &options->input_path,
                  "a COLMAP model, of the images below image_path");
  parser->AddPath("image_path",
                  &options->image_path,
                  "the model's images; without input_path: a folder of "
                  "photographs, at any depth, that have no pairs");
  parser->AddPath("rgbd_path",
                  &options->rgbd_path,
                  "instead of these: a folder of RGB-D frames: color/, depth/ "
                  "(16 bits, mm), pose/ (world_from_cam, 4x4), K.txt");
  parser->AddPath("excluded_image_list_path",
                  &options->excluded_image_list_path,
                  "names of images to leave out, one per line, as the training "
                  "set would have them (of RGB-D frames: color/...); those "
                  "that are for evaluation");
  parser->AddPath(
      "output_path", &options->output_path, "the training set, a new file");
  parser->Add("max_image_size",
              &options->max_image_size,
              "larger images are shrunk to so many pixels on their longer "
              "side");
  parser->Add("max_pairs_per_image",
              &pairs.max_pairs_per_image,
              "pairs of which an image is the reference, spread from the "
              "largest overlap to the smallest");
  parser->Add("min_covisible_points",
              &pairs.min_covisible_points,
              "points that both images of a pair show, at least");
  parser->Add("max_points_per_pair",
              &pairs.max_points_per_pair,
              "points that both images show, at most, and as many that only "
              "the reference does");
  parser->Add("max_reprojection_error_px",
              &pairs.max_reprojection_error_px,
              "models: observations farther from the projection of their "
              "point are left out");
  parser->Add("min_overlap",
              &pairs.min_overlap,
              "RGB-D: share of the reference that the query shows, at least");
  parser->Add("depth_tolerance",
              &pairs.depth_tolerance,
              "RGB-D: relative difference of depths of the same point, at "
              "most");
  parser->Add("num_threads", &options->num_threads, "-1: one per core");
  parser->Add("random_seed",
              &pairs.random_seed,
              "same seed, same training set, whatever the number of threads");
}

void CheckOptions(const CommandOptions& options) {
  Require(options.output_path, "output_path");
  if (options.rgbd_path.empty()) {
    if (options.input_path.empty() && options.image_path.empty()) {
      throw InputError(
          "Name what to export: --input_path and --image_path (a model), "
          "--rgbd_path (RGB-D frames) or --image_path alone (photographs).");
    }
    Require(options.image_path, "image_path");
    CheckImagePath(options.image_path);
  } else if (!options.input_path.empty() || !options.image_path.empty()) {
    throw InputError(
        "A training set has one source: either --rgbd_path, or --image_path "
        "with or without --input_path.");
  }
  if (!options.pairs.Check() || options.max_image_size < 1 ||
      (options.num_threads < 1 && options.num_threads != -1)) {
    throw InputError(
        "An option is out of its range: max_image_size, max_pairs_per_image "
        "and min_covisible_points are at least 1, max_points_per_pair is at "
        "least min_covisible_points, max_reprojection_error_px is positive, "
        "min_overlap in (0, 1], depth_tolerance in (0, 1), num_threads at "
        "least 1 or -1.");
  }
}

void CheckStop(const std::atomic<bool>& stop) {
  if (stop) throw Interrupted();
}

// An image to be exported. `read` throws InputError if it cannot be.
struct SourceImage {
  std::string name;
  std::function<Image()> read;
};

// An image of the training set.
struct ExportedImage {
  int32_t index = 0;
  int width = 0;  // as stored
  int height = 0;
  double x_scale = 1.0;  // stored from original coordinates
  double y_scale = 1.0;
};

Image Shrunk(const Image& image, int max_size) {
  const double scale = std::min(
      1.0, static_cast<double>(max_size) / std::max(image.width, image.height));
  const auto shrink = [&](int size) {
    return std::max(1, static_cast<int>(std::lround(scale * size)));
  };
  return ResizeImage(image, shrink(image.width), shrink(image.height));
}

// Returns the indices of the images that the list of excluded ones does not
// name. Throws InputError for a list that cannot be read or names another image
// than these, which would be a mistake that nobody notices, or all of them.
std::vector<size_t> IncludedImages(const std::vector<SourceImage>& images,
                                   const std::string& excluded_list_path) {
  std::set<std::string> excluded;
  if (!excluded_list_path.empty()) {
    for (const std::string& name : ReadImageList(excluded_list_path)) {
      excluded.insert(name);
    }
  }
  std::vector<size_t> included;
  for (size_t i = 0; i < images.size(); ++i) {
    if (excluded.erase(images[i].name) == 0) included.push_back(i);
  }
  if (!excluded.empty()) {
    throw InputError(excluded_list_path + " excludes " + *excluded.begin() +
                     ", which is not among the " +
                     std::to_string(images.size()) +
                     " images. Expected names such as " + images[0].name + ".");
  }
  if (included.empty()) {
    throw InputError(excluded_list_path + " excludes all images.");
  }
  return included;
}

// Returns what was exported of each; nothing for those that are excluded, and
// for those that cannot be read, which are said. Throws InputError if none is
// left.
std::vector<std::optional<ExportedImage>> ExportImages(
    const std::vector<SourceImage>& images,
    const CommandOptions& options,
    const std::atomic<bool>& stop,
    TrainingSetWriter* writer) {
  constexpr size_t kChunk = 64;  // are in memory at once
  const std::vector<size_t> included =
      IncludedImages(images, options.excluded_image_list_path);
  std::vector<std::optional<ExportedImage>> exported(images.size());
  std::vector<std::string> problems;
  Progress progress("images", included.size());
  for (size_t begin = 0; begin < included.size(); begin += kChunk) {
    const size_t num = std::min(kChunk, included.size() - begin);
    std::vector<Image> pictures(num);
    std::vector<std::string> errors(num);
    ParallelFor(num, options.num_threads, [&](size_t i) {
      CheckStop(stop);
      const size_t index = included[begin + i];
      try {
        const Image image = images[index].read();
        pictures[i] = Shrunk(image, options.max_image_size);
        exported[index] = {
            0,
            pictures[i].width,
            pictures[i].height,
            static_cast<double>(pictures[i].width) / image.width,
            static_cast<double>(pictures[i].height) / image.height};
      } catch (const InputError& error) {
        errors[i] = images[index].name + ": " + error.what();
      }
    });
    for (size_t i = 0; i < num; ++i) {
      const size_t index = included[begin + i];
      if (errors[i].empty()) {
        exported[index]->index =
            writer->AddImage(images[index].name, pictures[i]);
      } else {
        Warn(errors[i]);
        problems.push_back(errors[i]);
      }
      progress.Advance();
    }
  }
  if (problems.size() == included.size()) {
    throw InputError("None of the " + std::to_string(included.size()) +
                     " images can be read. The first: " + problems[0] + ".");
  }
  if (!problems.empty()) {
    Warn(std::to_string(problems.size()) + " of " +
         std::to_string(included.size()) +
         " images cannot be read and are left out.");
  }
  return exported;
}

// Positions in stored images.
void ScalePoints(const ExportedImage& reference,
                 const ExportedImage& query,
                 std::vector<PairPoint>* points) {
  for (PairPoint& point : *points) {
    // Rounding must not lead out of the image.
    point.reference_x = std::min<double>(point.reference_x * reference.x_scale,
                                         reference.width);
    point.reference_y = std::min<double>(point.reference_y * reference.y_scale,
                                         reference.height);
    point.query_x *= query.x_scale;
    point.query_y *= query.y_scale;
    if (point.visible) {
      point.query_x = std::min<double>(point.query_x, query.width);
      point.query_y = std::min<double>(point.query_y, query.height);
    }
  }
}

// Indices of those that were exported.
std::vector<size_t> Present(
    const std::vector<std::optional<ExportedImage>>& images) {
  std::vector<size_t> present;
  for (size_t i = 0; i < images.size(); ++i) {
    if (images[i]) present.push_back(i);
  }
  return present;
}

struct PairCounts {
  size_t num_pairs = 0;
  size_t num_points = 0;
  size_t num_visible = 0;
};

// `points_of` gives the points of a pair (of indices into `images`), in
// original coordinates; none: the pair is left out.
PairCounts ExportPairs(
    const std::vector<IndexPair>& pairs,
    const std::vector<std::optional<ExportedImage>>& images,
    const std::function<std::vector<PairPoint>(const IndexPair&)>& points_of,
    const CommandOptions& options,
    const std::atomic<bool>& stop,
    TrainingSetWriter* writer) {
  constexpr size_t kChunk = 64;  // are in memory at once
  PairCounts counts;
  Progress progress("pairs", pairs.size());
  for (size_t begin = 0; begin < pairs.size(); begin += kChunk) {
    const size_t num = std::min(kChunk, pairs.size() - begin);
    std::vector<std::vector<PairPoint>> points(num);
    ParallelFor(num, options.num_threads, [&](size_t i) {
      CheckStop(stop);
      points[i] = points_of(pairs[begin + i]);
      const auto& [reference, query] = pairs[begin + i];
      ScalePoints(*images[reference], *images[query], &points[i]);
    });
    for (size_t i = 0; i < num; ++i) {
      progress.Advance();
      if (points[i].empty()) continue;
      const auto& [reference, query] = pairs[begin + i];
      writer->AddPair(
          images[reference]->index, images[query]->index, points[i]);
      ++counts.num_pairs;
      counts.num_points += points[i].size();
      for (const PairPoint& point : points[i]) {
        counts.num_visible += point.visible;
      }
    }
  }
  if (counts.num_pairs == 0) {
    throw InputError(
        "No pair of images shares enough to be exported: at least "
        "--min_covisible_points " +
        std::to_string(options.pairs.min_covisible_points) +
        " points, of RGB-D frames also --min_overlap.");
  }
  return counts;
}

PairCounts ExportModel(const CommandOptions& options,
                       const std::atomic<bool>& stop,
                       TrainingSetWriter* writer,
                       const colmap::Reconstruction& model) {
  const std::vector<colmap::image_t> ids = RegisteredImages(model);
  std::vector<SourceImage> images;
  for (const colmap::image_t id : ids) {
    const auto& image = model.Image(id);
    const auto& camera = model.Camera(image.CameraId());
    images.push_back({image.Name(), [&] {
                        CameraOf(model, image);
                        return ReadCameraImage(options.image_path,
                                               image.Name(),
                                               CameraWidth(camera),
                                               CameraHeight(camera),
                                               "its camera in the model");
                      }});
  }
  const auto exported = ExportImages(images, options, stop, writer);
  const std::vector<size_t> present = Present(exported);
  std::vector<colmap::image_t> present_ids;
  for (const size_t i : present) present_ids.push_back(ids[i]);
  std::vector<IndexPair> pairs =
      CovisiblePairs(model, present_ids, options.pairs);
  for (auto& [reference, query] : pairs) {
    reference = present[reference];
    query = present[query];
  }
  return ExportPairs(
      pairs,
      exported,
      [&](const IndexPair& pair) {
        return ModelPairPoints(
            model, ids[pair.first], ids[pair.second], options.pairs);
      },
      options,
      stop,
      writer);
}

PairCounts ExportRgbd(const CommandOptions& options,
                      const std::atomic<bool>& stop,
                      TrainingSetWriter* writer,
                      const RgbdFolder& folder) {
  std::vector<SourceImage> images;
  for (const std::string& name : folder.names()) {
    images.push_back({name, [&] {
                        return ReadCameraImage(options.rgbd_path,
                                               name,
                                               folder.width(),
                                               folder.height(),
                                               "the first frame");
                      }});
  }
  const auto exported = ExportImages(images, options, stop, writer);
  const std::vector<size_t> present = Present(exported);
  std::vector<IndexPair> pairs;
  {
    // Read, then compared.
    Progress progress("frames", 2 * present.size());
    pairs = OverlappingPairs(
        folder, present, options.pairs, options.num_threads, [&] {
          CheckStop(stop);
          progress.Advance();
        });
  }
  for (auto& [reference, query] : pairs) {
    reference = present[reference];
    query = present[query];
  }
  LruCache<size_t, RgbdFrame> frames(128);
  const auto frame = [&](size_t index) {
    return frames.Get(index, [&] {
      return std::make_shared<const RgbdFrame>(folder.ReadFrame(index));
    });
  };
  return ExportPairs(
      pairs,
      exported,
      [&](const IndexPair& pair) {
        TrainingPairOptions of_pair = options.pairs;
        of_pair.random_seed =
            MixSeeds(of_pair.random_seed, MixSeeds(pair.first, pair.second));
        return RgbdPairPoints(
            folder, *frame(pair.first), *frame(pair.second), of_pair);
      },
      options,
      stop,
      writer);
}

void ExportPhotographs(const CommandOptions& options,
                       const std::atomic<bool>& stop,
                       TrainingSetWriter* writer,
                       const std::vector<std::string>& names) {
  std::vector<SourceImage> images;
  for (const std::string& name : names) {
    images.push_back({name, [&options, &name] {
                        return ReadImage(
                            (fs::path(options.image_path) / name).string());
                      }});
  }
  ExportImages(images, options, stop, writer);
}

int Export(const CommandOptions& options, const std::atomic<bool>& stop) {
  CheckOptions(options);
  std::vector<std::string> inputs;
  for (const std::string& input : {options.input_path, options.rgbd_path}) {
    if (!input.empty()) inputs.push_back(input);
  }
  OutputFile output(options.output_path, inputs);
  std::unique_ptr<TrainingSetWriter> writer;
  const auto begin = [&](const std::string& source, size_t num_images) {
    writer =
        std::make_unique<TrainingSetWriter>(output.path(), source, num_images);
  };
  std::optional<PairCounts> counts;
  if (!options.input_path.empty()) {
    colmap::Reconstruction model;
    ReadReferenceModel(options.input_path, &model);
    begin("COLMAP model", RegisteredImages(model).size());
    counts = ExportModel(options, stop, writer.get(), model);
  } else if (!options.rgbd_path.empty()) {
    const RgbdFolder folder(options.rgbd_path);
    if (folder.num_without_pose() > 0) {
      Warn(std::to_string(folder.num_without_pose()) +
           " frames have no finite pose and are left out.");
    }
    begin("RGB-D frames", folder.NumFrames());
    counts = ExportRgbd(options, stop, writer.get(), folder);
  } else {
    const std::vector<std::string> names = ListImages(options.image_path, true);
    begin("photographs", names.size());
    ExportPhotographs(options, stop, writer.get(), names);
  }
  const int32_t num_images = writer->NumImages();
  writer->Finish();
  CheckStop(stop);
  CommitAll({&output});
  std::fprintf(stderr, "Exported %d images", num_images);
  if (counts) {
    std::fprintf(stderr,
                 " and %zu pairs with %zu points, of which both images show "
                 "%zu,",
                 counts->num_pairs,
                 counts->num_points,
                 counts->num_visible);
  }
  std::fprintf(stderr, " to %s\n", options.output_path.c_str());
  return kExitDone;
}

}  // namespace

int RunTrainingExporter(int argc, char** argv) {
  return RunCommand(argv[0], [&](const std::atomic<bool>& stop) -> int {
    CommandOptions options;
    OptionParser parser(
        "training_exporter",
        "packs a COLMAP model, RGB-D frames or photographs into a training "
        "set: images, pairs of them, and where their points are.");
    AddOptions(&options, &parser);
    if (!parser.Parse(argc, argv)) {
      return kExitDone;
    }
    return Export(options, stop);
  });
}

}  // namespace nre
