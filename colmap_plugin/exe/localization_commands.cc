// nre_localizer and nre_image_registrator: the same job up to the poses, then
// only results, or also a model that has the queries.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>

#include <cblas.h>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/commands.h"
#include "colmap_plugin/compat/model_files.h"
#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/controllers/localization_controller.h"
#include "colmap_plugin/controllers/parallel.h"
#include "colmap_plugin/controllers/track_matches.h"
#include "colmap_plugin/exe/commands.h"
#include "colmap_plugin/exe/feature_options.h"
#include "colmap_plugin/exe/messages.h"
#include "colmap_plugin/exe/options.h"
#include "colmap_plugin/exe/process.h"
#include "colmap_plugin/exe/progress.h"
#include "colmap_plugin/exe/reference_model.h"
#include "colmap_plugin/io/database.h"
#include "colmap_plugin/io/lists.h"
#include "colmap_plugin/io/output.h"
#include "colmap_plugin/io/results.h"
#include "nre/error.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

struct CommandOptions {
  std::string input_path;
  std::string output_path;
  std::string image_path;
  std::string query_list_path;
  std::string database_path;
  std::string image_list_path;
  std::string pairs_path;
  std::string priors_path;
  std::string visualization_path;
  std::string output_database_path;
  FeatureOptions features;
  // Names of what `localization` has as enums; see ParseNames().
  std::string method;
  std::string fpr_start;
  std::string fpr_loss;
  std::string fusion;
  std::string query_orientations;
  LocalizationOptions localization;
  int log_level = 1;
};

void AddOptions(CommandOptions* options, OptionParser* parser) {
  LocalizationOptions& localization = options->localization;
  NreEstimationOptions& estimation = localization.estimation;
  options->method = EstimationMethodName(estimation.method);
  options->fpr_start = EstimationMethodName(estimation.fpr_start);
  options->fpr_loss = FeatureMetricLossName(estimation.fpr.loss);
  options->fusion = FusionName(localization.fusion);
  options->query_orientations =
      QueryOrientationsName(localization.query_orientations);
  parser->AddPath(
      "input_path", &options->input_path, "folder of the model; not changed");
  parser->AddPath("output_path",
                  &options->output_path,
                  "folder for the output; new or empty");
  parser->AddPath("image_path",
                  &options->image_path,
                  "folder of all images, reference and query");
  parser->AddPath("query_list_path",
                  &options->query_list_path,
                  "query images: name MODEL width height parameters, per line; "
                  "a focal length of 0 is unknown");
  parser->AddPath("database_path",
                  &options->database_path,
                  "instead of a query list: database with the query images, "
                  "their ids and cameras; not changed");
  parser->AddPath("image_list_path",
                  &options->image_list_path,
                  "with a database: names of the query images, one per line");
  parser->AddPath("pairs_path",
                  &options->pairs_path,
                  "reference images of each query: query reference, per line, "
                  "best first; without it they are chosen among all");
  parser->AddPath("priors_path",
                  &options->priors_path,
                  "what is known about the queries' poses: a JSON object per "
                  "line, see the README");
  parser->AddPath("visualization_path",
                  &options->visualization_path,
                  "folder for pictures of every query; new or empty");
  AddFeatureOptions(&options->features, parser);
  parser->Add("num_threads",
              &localization.num_threads,
              "queries worked on at once; -1: one per core");
  parser->Add("random_seed",
              &localization.random_seed,
              "same seed, same result, whatever the number of threads");
  parser->Add("log_level",
              &options->log_level,
              "0: warnings and summary, 1: also progress, 2: a line per query");
  parser->Add("estimate_focal_length",
              &localization.estimate_focal_length,
              "1: estimate the focal length of every query, 0: only where it "
              "is unknown (0 in a query list, prior_focal_length = 0 in a "
              "database)");
  parser->Add("focal_length_std",
              &localization.focal_length_std,
              "standard deviation of stated focal lengths, as a share of them; "
              "-1: 0 where an image of the model has the same camera, 0.003 "
              "where the principal point is not the centre or there is "
              "distortion, else 0.03");
  parser->Add("min_focal_length_ratio",
              &localization.min_focal_length_ratio,
              "of the image's larger side: shortest focal length looked for");
  parser->Add("max_focal_length_ratio",
              &localization.max_focal_length_ratio,
              "the same: longest");
  parser->Add("query_orientations",
              &options->query_orientations,
              "how queries may have been held: auto (as their pixels are or, "
              "of JPEG files that say so, as their EXIF orientation says; what "
              "is not found so, turned as it looks most like a reference) or "
              "all (also turned by 90, 180 and 270 degrees, until one is "
              "registered)");
  parser->Add("max_num_probed_references",
              &localization.max_num_probed_references,
              "without pairs: reference images that are tried");
  parser->Add("num_references",
              &localization.num_references,
              "without pairs: reference images that are then used");
  parser->Add(
      "num_probe_points", &localization.num_probe_points, "points of a trial");
  parser->Add("num_probe_hypotheses",
              &localization.num_probe_hypotheses,
              "P3P hypotheses of a trial");
  parser->Add("max_num_cached_references",
              &localization.max_num_cached_references,
              "reference images whose descriptors stay in memory");
  parser->Add("NreEstimation.method",
              &options->method,
              "nre, or a baseline on the same maps: re, lo_ransac, magsac, "
              "fpr; see the README");
  parser->Add("NreEstimation.max_num_points",
              &estimation.max_num_points,
              "points that a pose is searched with at most");
  parser->Add("NreEstimation.max_num_refinement_points",
              &estimation.max_num_refinement_points,
              "points that a registered pose is refined on at most (by the "
              "method nre)");
  parser->Add("NreEstimation.fusion",
              &options->fusion,
              "map of a point from its descriptors in several references: "
              "nearest (the first reference), mean (descriptor), max (of the "
              "similarities) or sum (of the loss maps)");
  parser->Add("NreEstimation.num_hypotheses",
              &estimation.num_hypotheses,
              "P3P hypotheses");
  parser->Add("NreEstimation.max_num_hypotheses",
              &estimation.max_num_hypotheses,
              "the same where few maps agree");
  parser->Add("NreEstimation.sampling_share",
              &estimation.sampling_share,
              "share of the maps, the most peaked, that P3P samples from");
  parser->Add("NreEstimation.num_refined_hypotheses",
              &estimation.num_refined_hypotheses,
              "hypotheses that are refined on the coarse maps");
  parser->Add("NreEstimation.coarse_max_error_cells",
              &estimation.coarse_max_error_cells,
              "re: last sigma, lo_ransac, magsac: threshold on the coarse "
              "maps; 0: the method's best");
  parser->Add("NreEstimation.max_error_cells",
              &estimation.max_error_cells,
              "the same on the fine maps");
  parser->Add("NreEstimation.fpr_start",
              &options->fpr_start,
              "fpr: method whose pose it refines");
  parser->Add(
      "NreEstimation.fpr_loss", &options->fpr_loss, "fpr: huber or barron");
  parser->Add("NreEstimation.fpr_scale",
              &estimation.fpr.scale,
              "fpr: distance of descriptors where its loss stops being "
              "quadratic");
  parser->Add("NreEstimation.fpr_alpha",
              &estimation.fpr.alpha,
              "fpr: shape of Barron's loss, at most 2");
}

void ParseNames(CommandOptions* options) {
  NreEstimationOptions& estimation = options->localization.estimation;
  estimation.method = ParseEstimationMethod(options->method);
  estimation.fpr_start = ParseEstimationMethod(options->fpr_start);
  estimation.fpr.loss = ParseFeatureMetricLoss(options->fpr_loss);
  options->localization.fusion = ParseFusion(options->fusion);
  options->localization.query_orientations =
      ParseQueryOrientations(options->query_orientations);
}

void CheckOptions(const CommandOptions& options) {
  Require(options.input_path, "input_path");
  Require(options.output_path, "output_path");
  Require(options.image_path, "image_path");
  if (options.query_list_path.empty() == options.database_path.empty()) {
    throw InputError(
        "Name the queries by either --query_list_path or --database_path with "
        "--image_list_path.");
  }
  if (options.database_path.empty() != options.image_list_path.empty()) {
    throw InputError("--database_path and --image_list_path go together.");
  }
  if (options.database_path.empty() && !options.output_database_path.empty()) {
    throw InputError("--output_database_path needs a --database_path to copy.");
  }
  CheckImagePath(options.image_path);
  if (!options.localization.Check()) {
    throw InputError(
        "An option is out of its range: numbers of points are at least 3, "
        "other numbers at least 1, num_threads may also be -1, sampling_share "
        "is in (0, 1], focal length ratios are positive and the smallest is "
        "not above the largest, errors are 0 or in [0.5, 100] cells, fpr_start "
        "is "
        "another method than fpr, fpr_scale is positive, fpr_alpha at most "
        "2.");
  }
}

void CheckImageFolder(const colmap::Reconstruction& model,
                      const std::string& image_path) {
  std::string name;
  for (const colmap::image_t id : RegisteredImages(model)) {
    name = model.Image(id).Name();
    if (fs::exists(fs::path(image_path) / name)) {
      return;
    }
  }
  throw InputError("The image folder " + image_path +
                   " has none of the model's images (for example " + name +
                   "). Choose the folder that the model was made from.");
}

void CheckRigs(const std::string& input_path) {
  const std::vector<std::string>& known = ModelFileNames();
  if (std::count(known.begin(), known.end(), "rigs.bin") == 0 &&
      (fs::exists(fs::path(input_path) / "rigs.bin") ||
       fs::exists(fs::path(input_path) / "rigs.txt"))) {
    Warn("The model has rigs and frames of COLMAP 4, which " + ColmapVersion() +
         " does not know: in the output each image stands alone.");
  }
}

std::vector<Query> ReadQueries(const CommandOptions& options) {
  if (!options.query_list_path.empty()) {
    return ReadQueryList(options.query_list_path);
  }
  const Database database(options.database_path, Database::Mode::kReadOnly);
  if (!options.output_database_path.empty()) {
    database.CheckMatchTables();
  }
  return database.ReadQueries(ReadImageList(options.image_list_path));
}

// Says why the database that the query is from cannot be that of the model;
// empty if it may be.
std::string Contradiction(const colmap::Reconstruction& model,
                          const Query& query) {
  if (query.image_id != colmap::kInvalidImageId &&
      model.ExistsImage(query.image_id) &&
      model.Image(query.image_id).Name() != query.name) {
    return "its image id in the database, " + std::to_string(query.image_id) +
           ", is that of " + model.Image(query.image_id).Name() +
           " in the model: they do not belong together";
  }
  if (query.camera_id == colmap::kInvalidCameraId ||
      !model.ExistsCamera(query.camera_id)) {
    return "";
  }
  const colmap::Camera& camera = model.Camera(query.camera_id);
  if (CameraModelIdOf(camera) != CameraModelIdOf(query.camera) ||
      CameraWidth(camera) != CameraWidth(query.camera) ||
      CameraHeight(camera) != CameraHeight(query.camera)) {
    return "its camera in the database, " + std::to_string(query.camera_id) +
           ", has another model or size than the camera of this id in the "
           "model: they do not belong together";
  }
  return "";
}

// The model's camera wins: its intrinsics have been refined. Poses alone need
// no ids: of a database that is not the model's, they take the cameras, too.
void AdoptCameras(const colmap::Reconstruction& model,
                  bool ids_are_needed,
                  std::vector<Query>* queries) {
  std::string first_contradiction;
  for (Query& query : *queries) {
    if (!query.error.empty()) {
      continue;
    }
    const std::string contradiction = Contradiction(model, query);
    if (ids_are_needed) {
      query.error = contradiction;
    } else if (first_contradiction.empty() && !contradiction.empty()) {
      first_contradiction = query.name + ": " + contradiction;
    }
  }
  if (!first_contradiction.empty()) {
    Warn(first_contradiction +
         ". All cameras of queries are taken as the database has them.");
    return;
  }
  for (Query& query : *queries) {
    if (query.error.empty() && query.camera_id != colmap::kInvalidCameraId &&
        model.ExistsCamera(query.camera_id)) {
      query.camera = model.Camera(query.camera_id);
      query.focal_length_unknown = false;
    }
  }
}

// Names are used to build the paths of output, too.
bool IsBelowItsFolder(const std::string& name) {
  const fs::path path = name;
  return path.is_relative() &&
         std::find(path.begin(), path.end(), "..") == path.end();
}

void CheckQueries(const colmap::Reconstruction& model,
                  bool must_be_new,
                  std::vector<Query>* queries) {
  const auto model_images = ImageIdsByName(model);
  std::set<std::string> names;
  for (Query& query : *queries) {
    if (!query.error.empty()) {
      continue;
    }
    if (!names.insert(query.name).second) {
      query.error = "it was listed before";
    } else if (!IsBelowItsFolder(query.name)) {
      query.error = "its name is not a path below the image folder";
    } else if (must_be_new && model_images.count(query.name) > 0) {
      query.error = "the model has an image of this name already";
    }
  }
  AdoptCameras(model, must_be_new, queries);
}

void AddPriors(const std::string& priors_path, std::vector<Query>* queries) {
  if (priors_path.empty()) {
    return;
  }
  std::map<std::string, Priors> priors = ReadPriors(priors_path);
  for (Query& query : *queries) {
    const auto found = priors.find(query.name);
    if (found != priors.end()) {
      query.priors = found->second;
      priors.erase(found);
    }
  }
  std::vector<std::string> absent;
  for (const auto& [name, unused] : priors) {
    absent.push_back(name);
  }
  if (!absent.empty()) {
    Warn("The file of priors " + priors_path + " names " +
         std::to_string(absent.size()) + " images that are no queries (" +
         FirstFew(absent) + ").");
  }
}

std::vector<QueryReferences> ReadReferences(
    const CommandOptions& options,
    const std::vector<Query>& queries,
    const colmap::Reconstruction& model) {
  if (options.pairs_path.empty()) {
    return {};
  }
  std::vector<std::string> absent;
  std::vector<QueryReferences> references =
      ResolvePairs(ReadPairs(options.pairs_path), queries, model, &absent);
  if (!absent.empty()) {
    Warn("The pairs file " + options.pairs_path + " names " +
         std::to_string(absent.size()) +
         " images that the model does not have registered (" +
         FirstFew(absent) + "); these pairs are not used.");
  }
  return references;
}

std::vector<QueryResult> LocalizeAll(
    const CommandOptions& options,
    const std::vector<Query>& queries,
    const std::vector<QueryReferences>& references,
    const colmap::Reconstruction& model,
    const FeaturePreset& preset,
    const std::atomic<bool>& stop) {
  // Queries run side by side, and a sum must not depend on how many threads it
  // is cut into.
  openblas_set_num_threads(1);
  LocalizationController controller(
      model, options.image_path, preset, options.localization, &stop);
  std::unique_ptr<Progress> progress;
  if (options.log_level == 1) {
    progress = std::make_unique<Progress>("queries", queries.size());
  }
  size_t num_done = 0;
  return controller.Run(queries, references, [&](const QueryResult& result) {
    ++num_done;
    if (progress != nullptr) {
      progress->Advance();
    }
    if (options.log_level >= 2) {
      std::fprintf(stderr,
                   "[%zu/%zu] %s: %s, %zu points, %zu support, %.0f ms\n",
                   num_done,
                   queries.size(),
                   result.name.c_str(),
                   VerdictName(result.estimate.verdict),
                   result.point3D_ids.size(),
                   result.estimate.support.size(),
                   result.total_ms);
    }
  });
}

std::vector<ImagePoint> Observations(const QueryResult& result) {
  std::vector<ImagePoint> points;
  for (const PoseEstimate::Support& support : result.estimate.support) {
    points.push_back({support.xy, result.point3D_ids[support.point]});
  }
  return points;
}

// Adds the registered queries to the model. With a database, the keypoints that
// it has come first, so that its matches stay right.
void RegisterQueries(const std::vector<Query>& queries,
                     const std::vector<QueryResult>& results,
                     const Database* database,
                     colmap::Reconstruction* model) {
  std::set<uint32_t> camera_ids = CameraIds(*model);
  if (database != nullptr) {
    camera_ids.merge(database->ReadCameraIds());
  }
  FreeIds free_camera_ids(camera_ids, kMaxCameraId);
  FreeIds free_image_ids(ImageIds(*model), kMaxImageId);
  for (size_t i = 0; i < queries.size(); ++i) {
    if (results[i].estimate.verdict != Verdict::kRegistered) {
      continue;
    }
    std::vector<ImagePoint> points;
    if (database != nullptr) {
      for (const Eigen::Vector2d& xy :
           database->ReadKeypoints(queries[i].image_id)) {
        points.push_back({xy, colmap::kInvalidPoint3DId});
      }
    }
    for (const ImagePoint& point : Observations(results[i])) {
      points.push_back(point);
    }
    // Images that share a camera in the database have an estimated focal length
    // each: the first keeps the camera's id.
    const bool estimated = results[i].focal_length_estimated;
    const bool keep_id =
        database != nullptr &&
        !(estimated && model->ExistsCamera(queries[i].camera_id));
    AddRegisteredImage(
        results[i].camera,
        keep_id ? queries[i].camera_id : free_camera_ids.Take(),
        database != nullptr ? queries[i].image_id : free_image_ids.Take(),
        queries[i].name,
        results[i].estimate.cam_from_world,
        points,
        model,
        queries[i].frame_ids);
  }
}

// The new keypoints, and the matches with the model's images that COLMAP needs
// to go on from there.
void WriteDatabase(const std::vector<Query>& queries,
                   const std::vector<QueryResult>& results,
                   const colmap::Reconstruction& model,
                   const std::string& database_path,
                   const std::string& copy_path) {
  CopyDatabase(database_path, copy_path);
  Database database(copy_path, Database::Mode::kReadWrite);
  std::vector<colmap::image_t> registered;
  for (size_t i = 0; i < queries.size(); ++i) {
    if (results[i].estimate.verdict == Verdict::kRegistered) {
      std::vector<Eigen::Vector2d> keypoints;
      for (const ImagePoint& point : Observations(results[i])) {
        keypoints.push_back(point.xy);
      }
      database.AppendKeypoints(queries[i].image_id, keypoints);
      registered.push_back(queries[i].image_id);
    }
  }
  const TrackMatchesProblems problems =
      WriteTrackMatches(model, registered, &database);
  database.Commit();
  if (!problems.other_keypoints.empty()) {
    Warn("The database does not have the model's keypoints of " +
         std::to_string(problems.other_keypoints.size()) + " images (" +
         FirstFew(problems.other_keypoints) +
         "), so that its copy gets no matches with these. COLMAP goes on only "
         "from the database that the model was made from.");
  }
  if (!problems.few_matches.empty()) {
    Warn(std::to_string(problems.few_matches.size()) + " new images (" +
         FirstFew(problems.few_matches) + ") share fewer than " +
         std::to_string(kMinNumMatches) +
         " points with any other image: COLMAP goes on only with a smaller "
         "--Mapper.min_num_matches.");
  }
}

void WriteResults(const std::vector<QueryResult>& results,
                  const std::string& path) {
  WriteTextFile((fs::path(path) / "results.txt").string(),
                FormatResults(results));
  WriteTextFile((fs::path(path) / "report.jsonl").string(),
                FormatReport(results));
}

// Says every warning once, but for those that were `said` before. Returns the
// exit code.
int Summarize(const std::vector<QueryResult>& results,
              const std::vector<std::string>& said,
              double elapsed_s) {
  size_t counts[3] = {0, 0, 0};
  std::set<std::string> all_said(said.begin(), said.end());
  for (const QueryResult& result : results) {
    ++counts[static_cast<int>(result.estimate.verdict)];
    for (const std::string& warning : result.warnings) {
      if (all_said.insert(warning).second) {
        Warn(warning);
      }
    }
  }
  std::fprintf(stderr,
               "%zu queries: %zu registered, %zu rejected, %zu failed (%.1f "
               "s)\n",
               results.size(),
               counts[static_cast<int>(Verdict::kRegistered)],
               counts[static_cast<int>(Verdict::kRejected)],
               counts[static_cast<int>(Verdict::kFailed)],
               elapsed_s);
  bool all_registered = true;
  for (const QueryResult& result : results) {
    if (result.estimate.verdict != Verdict::kRegistered) {
      all_registered = false;
      std::cerr << "  " << VerdictName(result.estimate.verdict) << " "
                << result.name << ": " << result.estimate.reason << "\n";
    }
  }
  return all_registered ? kExitDone : kExitNotAllRegistered;
}

// All that a command creates.
struct Outputs {
  explicit Outputs(const CommandOptions& options) {
    std::vector<std::string> others = {options.input_path};
    folder = std::make_unique<OutputFolder>(options.output_path, others);
    others.push_back(options.output_path);
    if (!options.visualization_path.empty()) {
      pictures =
          std::make_unique<OutputFolder>(options.visualization_path, others);
      others.push_back(options.visualization_path);
    }
    if (!options.output_database_path.empty()) {
      database =
          std::make_unique<OutputFile>(options.output_database_path, others);
    }
  }

  void Commit() const {
    std::vector<Output*> all = {folder.get()};
    if (pictures != nullptr) {
      all.push_back(pictures.get());
    }
    if (database != nullptr) {
      all.push_back(database.get());
    }
    CommitAll(all);
  }

  std::unique_ptr<OutputFolder> folder;
  std::unique_ptr<OutputFolder> pictures;  // null if not wanted
  std::unique_ptr<OutputFile> database;    // null if not wanted
};

int Localize(CommandOptions options,
             bool write_model,
             const std::atomic<bool>& stop) {
  const auto start = std::chrono::steady_clock::now();
  ParseNames(&options);
  CheckOptions(options);
  const FeaturePreset preset = CreateFeaturePreset(options.features);
  const Outputs outputs(options);
  if (outputs.pictures != nullptr) {
    options.localization.picture_path = outputs.pictures->path();
  }

  colmap::Reconstruction model;
  const std::vector<std::string> model_warnings =
      ReadReferenceModel(options.input_path, &model);
  CheckImageFolder(model, options.image_path);
  if (write_model) {
    CheckRigs(options.input_path);
  }
  std::vector<Query> queries = ReadQueries(options);
  CheckQueries(model, write_model, &queries);
  AddPriors(options.priors_path, &queries);
  const std::vector<QueryReferences> references =
      ReadReferences(options, queries, model);
  const std::vector<QueryResult> results =
      LocalizeAll(options, queries, references, model, preset, stop);

  if (write_model) {
    std::unique_ptr<Database> database;
    if (!options.database_path.empty()) {
      database = std::make_unique<Database>(options.database_path,
                                            Database::Mode::kReadOnly);
    }
    RegisterQueries(queries, results, database.get(), &model);
    WriteModel(model, outputs.folder->path());
  }
  WriteResults(results, outputs.folder->path());
  if (outputs.database != nullptr) {
    WriteDatabase(queries,
                  results,
                  model,
                  options.database_path,
                  outputs.database->path());
  }
  if (stop) {
    throw Interrupted();
  }

  outputs.Commit();
  return Summarize(
      results,
      model_warnings,
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count());
}

}  // namespace

int RunNreImageRegistrator(int argc, char** argv) {
  return RunCommand(argv[0], [&](const std::atomic<bool>& stop) -> int {
    CommandOptions options;
    OptionParser parser(
        "nre_image_registrator",
        "registers new images into an existing model. Writes the model with "
        "them, results.txt and report.jsonl into a new folder.");
    AddOptions(&options, &parser);
    parser.AddPath("output_database_path",
                   &options.output_database_path,
                   "copy of the database that gets the new keypoints, and "
                   "their matches with the model's; new");
    if (!parser.Parse(argc, argv)) {
      return kExitDone;
    }
    return Localize(options, /*write_model=*/true, stop);
  });
}

int RunNreLocalizer(int argc, char** argv) {
  return RunCommand(argv[0], [&](const std::atomic<bool>& stop) -> int {
    CommandOptions options;
    OptionParser parser("nre_localizer",
                        "estimates the poses of query images. Writes "
                        "results.txt and report.jsonl into a new folder.");
    AddOptions(&options, &parser);
    if (!parser.Parse(argc, argv)) {
      return kExitDone;
    }
    return Localize(options, /*write_model=*/false, stop);
  });
}

}  // namespace nre
