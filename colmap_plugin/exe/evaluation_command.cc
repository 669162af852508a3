// pose_evaluator: result files against the ground truth.

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/exe/commands.h"
#include "colmap_plugin/exe/messages.h"
#include "colmap_plugin/exe/options.h"
#include "colmap_plugin/exe/process.h"
#include "colmap_plugin/io/evaluation.h"
#include "colmap_plugin/io/lists.h"
#include "colmap_plugin/io/output.h"
#include "nre/error.h"
#include "nre/pose_evaluation.h"
#include "s2d/error_curves.h"
#include "s2d/visualization.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

struct EvaluatorOptions {
  std::string gt_path;
  std::string result_paths;
  std::string names;
  std::string query_list_path;
  std::string model_path;
  std::string output_path;
  std::string thresholds = "0.25,2;0.5,5;5,10";
};

void AddOptions(EvaluatorOptions* options, OptionParser* parser) {
  parser->AddPath("gt_path",
                  &options->gt_path,
                  "true poses: a file with name qw qx qy qz tx ty tz "
                  "(cam_from_world) per line, or the folder of a COLMAP model");
  parser->AddPath("result_paths",
                  &options->result_paths,
                  "results, with commas between: files like that, or "
                  "report.jsonl files of this program");
  parser->AddPath("names",
                  &options->names,
                  "what the results are called, with commas between; default: "
                  "from the paths");
  parser->Add("thresholds",
              &options->thresholds,
              "centre error and rotation error (deg) of each recall, such as "
              "0.25,2;5%,5; % is relative to the scene's median depth in the "
              "query");
  parser->AddPath("query_list_path",
                  &options->query_list_path,
                  "evaluates only these queries: name MODEL width height "
                  "parameters, per line");
  parser->AddPath(
      "model_path",
      &options->model_path,
      "model that queries were localized in: has the scene's depth, "
      "for thresholds in %, and tells which results are poses of "
      "its images; default: the ground truth, if it is a model. "
      "Depths of queries that it does not have need "
      "--query_list_path");
  parser->AddPath("output_path",
                  &options->output_path,
                  "folder for tables and curves; new or empty");
}

// The parts between commas.
std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) {
    parts.push_back(part);
  }
  return parts;
}

// File names say enough if they differ; else whole paths do.
std::vector<std::string> DefaultNames(const std::vector<std::string>& paths) {
  std::vector<std::string> names;
  for (const std::string& path : paths) {
    names.push_back(fs::path(path).stem().string());
  }
  return std::set<std::string>(names.begin(), names.end()).size() ==
                 paths.size()
             ? names
             : paths;
}

std::vector<std::string> MethodNames(const EvaluatorOptions& options,
                                     const std::vector<std::string>& paths) {
  if (options.names.empty()) {
    return DefaultNames(paths);
  }
  const std::vector<std::string> names = Split(options.names);
  if (names.size() != paths.size()) {
    throw InputError("--names has " + std::to_string(names.size()) +
                     " names, but there are " + std::to_string(paths.size()) +
                     " --result_paths. Give one name for each.");
  }
  return names;
}

// The queries of the list, or all whose pose is known.
Truth ChooseQueries(const Poses& poses, const std::vector<Query>& list) {
  Truth truth;
  std::set<std::string> chosen;
  for (const Query& query : list) {
    if (!query.error.empty()) {
      throw InputError("The query " + query.name +
                       " cannot be evaluated: " + query.error + ".");
    }
    const auto pose = poses.find(query.name);
    if (pose == poses.end()) {
      throw InputError("The query " + query.name +
                       " of the list has no pose in the ground truth.");
    }
    truth.queries.push_back({query.name, pose->second});
    chosen.insert(query.name);
  }
  for (const auto& [name, pose] : poses) {
    if (list.empty()) {
      truth.queries.push_back({name, pose});
    } else if (chosen.count(name) == 0) {
      truth.other_names.insert(name);
    }
  }
  return truth;
}

void FindDepths(const colmap::Reconstruction& model,
                const std::vector<Query>& list,
                std::vector<TrueQuery>* queries) {
  for (size_t i = 0; i < queries->size(); ++i) {
    TrueQuery& query = (*queries)[i];
    const std::optional<double> depth =
        MedianSceneDepth(model,
                         query.name,
                         query.cam_from_world,
                         list.empty() ? nullptr : &list[i].camera);
    if (!depth.has_value()) {
      throw InputError(
          "A threshold is relative to the scene's depth, but the model has no "
          "points in the query " +
          query.name +
          (list.empty() ? ". If the model does not have the queries, give "
                          "their intrinsics by --query_list_path."
                        : "."));
    }
    query.depth = *depth;
  }
}

Truth ReadTruth(const EvaluatorOptions& options,
                const std::vector<PoseThreshold>& thresholds) {
  const std::vector<Query> list = options.query_list_path.empty()
                                      ? std::vector<Query>()
                                      : ReadQueryList(options.query_list_path);
  const bool needs_depths = std::any_of(
      thresholds.begin(), thresholds.end(), [](const PoseThreshold& t) {
        return t.relative;
      });
  colmap::Reconstruction model;
  const bool truth_is_model = fs::is_directory(options.gt_path);
  if (truth_is_model) {
    WarnIfAny(ReadModel(options.gt_path, &model));
  }
  Truth truth = ChooseQueries(
      truth_is_model ? PosesOf(model) : ReadPoses(options.gt_path), list);
  if (truth.queries.empty()) {
    throw InputError("The ground truth " + options.gt_path + " has no poses.");
  }
  if (!options.model_path.empty()) {
    model = colmap::Reconstruction();
    WarnIfAny(ReadModel(options.model_path, &model));
  } else if (needs_depths && !truth_is_model) {
    throw InputError(
        "A threshold is relative to the scene's depth. Give the model that "
        "tells it by --model_path.");
  }
  truth.references = PosesOf(model);
  if (needs_depths) {
    FindDepths(model, list, &truth.queries);
  }
  return truth;
}

std::string Listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "" : ", ") + name;
  }
  return text;
}

void WarnAboutNames(const MethodResult& method) {
  if (!method.by_last_part.empty()) {
    Warn(method.name + " has " + std::to_string(method.by_last_part.size()) +
         " names without folders, as hloc writes them. They are taken for the "
         "images with a true pose whose names end like that: " +
         FirstFew(method.by_last_part) + ".");
  }
  if (!method.without_truth.empty()) {
    Warn(method.name + " has results for " +
         std::to_string(method.without_truth.size()) +
         " images that are not evaluated, for lack of a true pose or since the "
         "query list leaves them out: " +
         Listed(method.without_truth));
  }
  if (!method.ambiguous.empty()) {
    Warn(method.name + " has " + std::to_string(method.ambiguous.size()) +
         " names without folders that are the end of several with a true "
         "pose: " +
         FirstFew(method.ambiguous) + ". Give these queries whole names.");
  }
}

void WarnAboutPosesOfReferences(const MethodResult& method) {
  std::vector<std::string> queries;
  for (const auto& [query, reference] : method.with_pose_of_reference) {
    queries.push_back(query + " that of " + reference);
  }
  if (!queries.empty()) {
    Warn(method.name + " has " + std::to_string(queries.size()) +
         " queries with exactly the pose of an image of the model: " +
         FirstFew(queries) +
         ". hloc gives it to queries that it could not localize; here they "
         "count as registered.");
  }
}

// Errors of all methods, and the thresholds, of one kind.
template <typename ErrorOf, typename LimitOf>
ErrorCurves MakeCurves(const std::string& label,
                       const std::vector<MethodResult>& methods,
                       const std::vector<PoseThreshold>& thresholds,
                       const ErrorOf& error_of,
                       const LimitOf& limit_of) {
  ErrorCurves curves;
  curves.label = label;
  for (const MethodResult& method : methods) {
    curves.errors.emplace_back();
    for (const PoseError& error : method.errors) {
      curves.errors.back().push_back(error_of(error));
    }
  }
  for (const PoseThreshold& threshold : thresholds) {
    limit_of(threshold, &curves.marks);
  }
  return curves;
}

void WriteCurves(const std::vector<MethodResult>& methods,
                 const std::vector<PoseThreshold>& thresholds,
                 const fs::path& folder) {
  const std::vector<ErrorCurves> panels = {
      MakeCurves(
          "centre error (model units)",
          methods,
          thresholds,
          [](const PoseError& error) { return error.center; },
          [](const PoseThreshold& threshold, std::vector<double>* marks) {
            if (!threshold.relative) {
              marks->push_back(threshold.center);
            }
          }),
      MakeCurves(
          "rotation error (deg)",
          methods,
          thresholds,
          [](const PoseError& error) { return error.rotation_deg; },
          [](const PoseThreshold& threshold, std::vector<double>* marks) {
            marks->push_back(threshold.rotation_deg);
          })};
  std::vector<std::string> names;
  for (const MethodResult& method : methods) {
    names.push_back(method.name);
  }
  WriteImage((folder / "curves.png").string(), DrawErrorCurves(panels, names));
  WriteTextFile((folder / "curves.svg").string(),
                ErrorCurvesAsSvg(panels, names));
}

int Evaluate(const EvaluatorOptions& options) {
  if (options.gt_path.empty()) {
    throw InputError("--gt_path is missing.");
  }
  const std::vector<std::string> paths = Split(options.result_paths);
  if (paths.empty()) {
    throw InputError("--result_paths is missing.");
  }
  const std::vector<std::string> names = MethodNames(options, paths);
  const std::vector<PoseThreshold> thresholds =
      ParsePoseThresholds(options.thresholds);
  std::unique_ptr<OutputFolder> output;
  if (!options.output_path.empty()) {
    output = std::make_unique<OutputFolder>(
        options.output_path,
        fs::is_directory(options.gt_path)
            ? std::vector<std::string>{options.gt_path}
            : std::vector<std::string>());
  }

  const Truth truth = ReadTruth(options, thresholds);
  std::vector<MethodResult> methods;
  for (size_t i = 0; i < paths.size(); ++i) {
    methods.push_back(
        EvaluateResultFile(paths[i], names[i], truth, thresholds));
    WarnAboutNames(methods.back());
    WarnAboutPosesOfReferences(methods.back());
  }
  const std::string table = FormatEvaluation(methods, thresholds);
  if (output != nullptr) {
    const fs::path folder = output->path();
    WriteTextFile((folder / "evaluation.txt").string(), table);
    WriteTextFile((folder / "evaluation.csv").string(),
                  FormatEvaluationCsv(methods, thresholds));
    WriteTextFile((folder / "errors.csv").string(),
                  FormatErrorsCsv(methods, truth.queries));
    WriteCurves(methods, thresholds, folder);
    CommitAll({output.get()});
  }
  std::cout << table;
  return kExitDone;
}

}  // namespace

int RunPoseEvaluator(int argc, char** argv) {
  return RunCommand(argv[0], [&](const std::atomic<bool>& /*stop*/) -> int {
    EvaluatorOptions options;
    OptionParser parser(
        "pose_evaluator",
        "compares poses with the truth. Prints a table with one column per "
        "result; writes evaluation.txt, evaluation.csv, errors.csv and the "
        "cumulative error curves (curves.png, curves.svg) into a new folder. "
        "Queries that are not registered count as failed.");
    AddOptions(&options, &parser);
    if (!parser.Parse(argc, argv)) {
      return kExitDone;
    }
    return Evaluate(options);
  });
}

}  // namespace nre
