#include "s2d/training/trainer.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <vector>

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "nre/error.h"
#include "s2d/networks/module.h"
#include "s2d/training/tensor_files.h"
#include "tests/s2d/training/folder_contents.h"
#include "tests/s2d/training/photo_sets.h"

namespace nre {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Json = nlohmann::json;

void WriteFile(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

// The lines of metrics.jsonl, but for how fast they came.
std::vector<Json> Metrics(const fs::path& folder) {
  std::vector<Json> lines;
  std::istringstream stream(ReadFile(folder / "metrics.jsonl"));
  std::string line;
  while (std::getline(stream, line)) {
    Json json = Json::parse(line);  // throws if it is not
    json.erase("iterations_per_s");
    lines.push_back(json);
  }
  return lines;
}

// What decides which weights are best.
double ValidationLoss(const Json& line) {
  return 0.5 *
         (line.at("validation").at("truncated_nre").get<double>() +
          line.at("changed_validation").at("truncated_nre").get<double>());
}

// The same metrics, checkpoint and weights.
void ExpectSameTraining(const fs::path& a, const fs::path& b) {
  EXPECT_EQ(Metrics(a), Metrics(b));
  const auto first = Contents(a);
  const auto second = Contents(b);
  ASSERT_EQ(first.size(), second.size());
  for (const auto& [name, content] : first) {
    ASSERT_EQ(second.count(name), 1) << name;
    if (name != "metrics.jsonl") {
      EXPECT_TRUE(content == second.at(name)) << name;
    }
  }
}

class TrainerTest : public testing::Test {
 protected:
  TrainerTest() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    at::set_num_threads(1);
  }
  ~TrainerTest() override { fs::remove_all(folder_); }

  // A training of a second.
  TrainerOptions Options(const std::string& output) const {
    TrainerOptions options;
    options.network = "compact_fine";
    options.output_path = (folder_ / output).string();
    options.data.image_size = 64;
    options.data.batch_size = 2;
    options.data.num_points = 16;
    options.num_iterations = 10;
    options.num_warmup_iterations = 2;
    options.num_easy_iterations = 5;
    // No multiples of each other.
    options.log_every = 4;
    options.validate_every = 5;
    options.checkpoint_every = 3;
    options.num_validation_batches = 1;
    return options;
  }

  // The same on the command line.
  std::string Command(const std::string& output,
                      const std::string& more = "",
                      int64_t num_iterations = 10) const {
    const TrainerOptions o = Options(output);
    std::ostringstream s;
    s << NRE_TRAINER << " --network " << o.network << " --output_path "
      << o.output_path << " --image_size " << o.data.image_size
      << " --batch_size " << o.data.batch_size << " --num_points "
      << o.data.num_points << " --num_iterations " << num_iterations
      << " --num_warmup_iterations " << o.num_warmup_iterations
      << " --num_easy_iterations " << o.num_easy_iterations << " --log_every "
      << o.log_every << " --validate_every " << o.validate_every
      << " --num_validation_batches " << o.num_validation_batches
      << " --device cpu --num_threads 1 " << more;
    return s.str();
  }

  struct Outcome {
    int exit_code = -1;  // -1: killed
    std::string output;  // stdout and stderr
  };

  // Runs a command; with `signal`, sends it once `moment` is there.
  Outcome Run(const std::string& command,
              int signal = 0,
              const std::function<bool(pid_t)>& moment = nullptr) const {
    const std::string log = (folder_ / "log").string();
    const pid_t child = fork();
    if (child == 0) {
      const std::string line = "exec " + command + " > '" + log + "' 2>&1";
      execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      _exit(127);
    }
    if (child < 0) return {};  // kill(-1) would be for everybody
    int status = 0;
    pid_t ended = 0;
    while (ended == 0) {
      if (signal != 0 && moment(child)) {
        kill(child, signal);
        ended = waitpid(child, &status, 0);
      } else {
        ended = waitpid(child, &status, signal != 0 ? WNOHANG : 0);
      }
      if (ended == 0) usleep(500);
    }
    const Outcome outcome = {WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                             ReadFile(log)};
    fs::remove(log);
    return outcome;
  }

  // Trains in this process, and expects an InputError that leaves the files
  // that are there as they are.
  void ExpectRefusal(const TrainerOptions& options,
                     const std::string& message) const {
    const bool existed = fs::exists(options.output_path);
    std::map<std::string, std::string> before;
    if (existed) before = Contents(options.output_path);
    EXPECT_THAT([&] { Train(options, nullptr); },
                ThrowsMessage<InputError>(HasSubstr(message)));
    if (existed) {
      EXPECT_TRUE(before == Contents(options.output_path)) << message;
    }
  }

  // The executable's usage errors: one line, exit code 1, nothing written.
  void ExpectBadUsage(const std::string& arguments,
                      const std::string& message) const {
    const Outcome outcome = Run(std::string(NRE_TRAINER) + " " + arguments);
    EXPECT_EQ(outcome.exit_code, 1) << arguments;
    EXPECT_THAT(outcome.output, HasSubstr(message)) << arguments;
    EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1)
        << outcome.output;
    EXPECT_FALSE(fs::exists(folder_ / "none")) << arguments;
  }

  const fs::path folder_ =
      testing::TempDir() + "nre_trainer_test." + std::to_string(getpid());
};

using TrainerProcessTest = TrainerTest;

TEST_F(TrainerTest, WritesMetricsWeightsAndCheckpoint) {
  const TrainerOptions options = Options("run");
  EXPECT_EQ(Train(options, nullptr), TrainingEnd::kDone);
  const auto files = Contents(options.output_path);
  ASSERT_EQ(files.size(), 3);
  ASSERT_EQ(files.count("checkpoint.safetensors"), 1);

  // Every log_every and validate_every iterations, and at the end.
  std::vector<int> losses, validations;
  double best = std::numeric_limits<double>::infinity();
  for (const Json& line : Metrics(options.output_path)) {
    const int iteration = line.at("iteration");
    if (line.contains("loss")) {
      losses.push_back(iteration);
      EXPECT_GT(line.at("loss"), 0.0);
      EXPECT_GE(line.at("learning_rate"), 0.0);
      EXPECT_GT(line.at("softmax_scale"), 0.0);
      continue;
    }
    validations.push_back(iteration);
    for (const char* kind : {"validation", "changed_validation"}) {
      const Json& quality = line.at(kind);
      EXPECT_NEAR(quality.at("log_categories"), std::log(1.0 + 32 * 32), 1e-6);
      EXPECT_LE(quality.at("truncated_nre"), quality.at("nre"));
      EXPECT_GE(quality.at("hits"), 0.0);
      EXPECT_LE(quality.at("hits"), 1.0);
    }
    best = std::min(best, ValidationLoss(line));
  }
  EXPECT_THAT(losses, testing::ElementsAre(4, 8, 10));
  EXPECT_THAT(validations, testing::ElementsAre(5, 10));

  // Strict loading is what users' weights get; half precision for matrices.
  const std::string path =
      (fs::path(options.output_path) / "compact_fine.safetensors").string();
  const SafetensorsView weights = ReadSafetensors(path);
  const auto module = CreateNetworkModule(options.network);
  LoadWeights(weights, path, options.network, module.get());
  size_t num_bytes = 0;
  for (const auto& item : module->named_parameters()) {
    const bool half = item.value().dim() > 1;
    EXPECT_EQ(weights.tensors.at(item.key()).dtype, half ? "F16" : "F32");
    num_bytes += item.value().numel() * (half ? 2 : 4);
  }
  for (const auto& item : module->named_buffers()) {
    num_bytes += item.value().nbytes();
  }
  EXPECT_EQ(weights.data.size(), num_bytes);
  EXPECT_LT(fs::file_size(path) - num_bytes, 16384);
  EXPECT_EQ(weights.metadata.at("network"), options.network);
  EXPECT_NEAR(std::stod(weights.metadata.at("validation_nre")), best, 1e-6);
}

TEST_F(TrainerTest, TheBestWeightsAreKept) {
  // Too high a rate, so that an early validation is best.
  TrainerOptions options = Options("run");
  options.num_warmup_iterations = 0;
  options.learning_rate = 0.3;
  options.validate_every = 1;
  Train(options, nullptr);
  double best = std::numeric_limits<double>::infinity();
  int best_iteration = 0, last_iteration = 0;
  for (const Json& line : Metrics(options.output_path)) {
    if (!line.contains("validation")) continue;
    last_iteration = line.at("iteration");
    const double value = ValidationLoss(line);
    if (value < best) best_iteration = last_iteration;
    best = std::min(best, value);
  }
  const auto metadata =
      ReadSafetensors(
          (fs::path(options.output_path) / "compact_fine.safetensors").string())
          .metadata;
  EXPECT_EQ(metadata.at("iteration"), std::to_string(best_iteration));
  EXPECT_LT(best_iteration, last_iteration);
}

TEST_F(TrainerTest, ResumesToTheSameLossesAndWeights) {
  Train(Options("once"), nullptr);
  // Two interruptions, about an iteration after one that writes metrics.
  const TrainerOptions options = Options("often");
  for (const int num_lines : {1, 2}) {
    std::atomic<bool> interrupted{false};
    std::thread watcher([&] {
      const auto metrics = folder_ / "often" / "metrics.jsonl";
      while (!interrupted) {
        const std::string text = ReadFile(metrics);
        if (std::count(text.begin(), text.end(), '\n') >= num_lines) {
          interrupted = true;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
    EXPECT_EQ(Train(options, &interrupted), TrainingEnd::kInterrupted);
    watcher.join();
  }
  EXPECT_EQ(Train(options, nullptr), TrainingEnd::kDone);
  ExpectSameTraining(folder_ / "once", folder_ / "often");
  // Nothing is left to do.
  const auto before = Contents(options.output_path);
  EXPECT_EQ(Train(options, nullptr), TrainingEnd::kDone);
  EXPECT_TRUE(before == Contents(options.output_path));
}

TEST_F(TrainerTest, InterruptedBeforeTheFirstStepThereIsNoCheckpoint) {
  const std::atomic<bool> interrupted{true};
  EXPECT_EQ(Train(Options("run"), &interrupted), TrainingEnd::kInterrupted);
  EXPECT_FALSE(fs::exists(folder_ / "run" / "checkpoint.safetensors"));
}

TEST_F(TrainerTest, SeedsAndWeightsToBeginWithMatter) {
  TrainerOptions options = Options("a");
  options.num_iterations = 1;
  Train(options, nullptr);
  TrainerOptions other = options;
  other.output_path = (folder_ / "b").string();
  other.seed = 1;
  Train(other, nullptr);
  EXPECT_NE(Metrics(options.output_path), Metrics(other.output_path));
  // The network is what differs when it begins with weights.
  TrainerOptions begun = options;
  begun.output_path = (folder_ / "c").string();
  begun.weights_path = (folder_ / "b" / "compact_fine.safetensors").string();
  Train(begun, nullptr);
  EXPECT_NE(Metrics(options.output_path), Metrics(begun.output_path));
}

TEST_F(TrainerTest, EndsEarlyWithoutProgress) {
  TrainerOptions options = Options("run");
  options.learning_rate = 0.3;  // too much to get better for long
  options.num_iterations = 1000;
  options.num_warmup_iterations = 0;
  options.validate_every = 1;
  options.patience = 3;
  EXPECT_EQ(Train(options, nullptr), TrainingEnd::kNoProgress);
  // It ends at the first three in a row without a better one.
  std::vector<double> losses;
  for (const Json& line : Metrics(options.output_path)) {
    if (line.contains("validation")) losses.push_back(ValidationLoss(line));
  }
  const size_t best =
      std::min_element(losses.begin(), losses.end()) - losses.begin();
  EXPECT_EQ(best + 4, losses.size());
  for (size_t i = 3; i + 1 < losses.size(); ++i) {
    const auto begin = losses.begin();
    EXPECT_LT(*std::min_element(begin + i - 2, begin + i + 1),
              *std::min_element(begin, begin + i - 2));
  }
  const auto before = Contents(options.output_path);
  EXPECT_EQ(Train(options, nullptr), TrainingEnd::kNoProgress);
  EXPECT_TRUE(before == Contents(options.output_path));
}

// A loss that the softmax's scale, a parameter, is no part of.
TEST_F(TrainerTest, ResumesTrainingWithTheContrastiveLoss) {
  TrainerOptions options = Options("once");
  options.loss.kind = LossKind::kContrastive;
  options.num_iterations = 4;
  options.checkpoint_every = 2;
  Train(options, nullptr);
  const auto once = Metrics(options.output_path);
  EXPECT_NEAR(once.back().at("validation").at("log_categories"),
              std::log(1.0 + 32 * 32),
              1e-6);
  options.output_path = (folder_ / "twice").string();
  {
    std::atomic<bool> interrupted{false};
    std::thread watcher([&] {
      while (!fs::exists(folder_ / "twice" / "checkpoint.safetensors")) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
      interrupted = true;
    });
    Train(options, &interrupted);
    watcher.join();
  }
  Train(options, nullptr);
  ExpectSameTraining(folder_ / "once", folder_ / "twice");
}

TEST_F(TrainerTest, RefusesCheckpointsThatAreNotItsOwn) {
  TrainerOptions options = Options("run");
  options.num_iterations = 2;
  Train(options, nullptr);
  const std::string path =
      (fs::path(options.output_path) / "checkpoint.safetensors").string();
  const std::string good = ReadFile(path);

  const auto refuse_other = [&](const std::string& what, auto change) {
    TrainerOptions other = options;
    change(&other);
    ExpectRefusal(other, "with other options (" + what);
  };
  refuse_other("learning_rate 0.001, not 0.002",
               [](TrainerOptions* o) { o->learning_rate = 0.002; });
  refuse_other("num_iterations 2, not 3",
               [](TrainerOptions* o) { o->num_iterations = 3; });
  refuse_other("unit_norm 1, not 0",
               [](TrainerOptions* o) { o->loss.unit_norm = false; });
  refuse_other("mixed_precision 0, not 1",
               [](TrainerOptions* o) { o->mixed_precision = true; });
  refuse_other("network compact_fine, not compact_coarse",
               [](TrainerOptions* o) { o->network = "compact_coarse"; });

  fs::resize_file(path, good.size() - 100);
  ExpectRefusal(options, "cannot be read");
  WriteFile(path, "");
  ExpectRefusal(options, "cannot be read");
  // Weights are no checkpoint.
  WriteFile(
      path,
      ReadFile(fs::path(options.output_path) / "compact_fine.safetensors"));
  ExpectRefusal(options, "is none");

  WriteFile(path, good);
  const TensorFile file = ReadTensorFile(path);
  TensorFile changed = file;
  changed.metadata["version"] = "2";
  WriteTensorFile(path, changed);
  ExpectRefusal(options, "another version");
  for (const std::string name : {"adam.1.square", "log_scale", "counts"}) {
    changed = file;
    changed.tensors.erase(name);
    WriteTensorFile(path, changed);
    ExpectRefusal(options, "lacks " + name);
    changed.tensors[name] = torch::zeros({3, 5, 7});
    WriteTensorFile(path, changed);
    ExpectRefusal(options, "lacks " + name + " or has it in another shape");
  }
  // Its own is taken, also one of before it had all that it has now.
  changed = file;
  changed.tensors.erase("losses");
  std::string& stored = changed.metadata["options"];
  const size_t unit_norm = stored.find(" unit_norm=");
  ASSERT_NE(unit_norm, std::string::npos);
  stored.resize(unit_norm);
  WriteTensorFile(path, changed);
  EXPECT_EQ(Train(options, nullptr), TrainingEnd::kDone);
}

TEST_F(TrainerTest, RefusesInvalidOptions) {
  const auto refuse = [&](const std::string& message, auto change) {
    TrainerOptions options = Options("run");
    change(&options);
    ExpectRefusal(options, message);
    EXPECT_FALSE(fs::exists(folder_ / "run")) << message;
  };
  using O = TrainerOptions;
  refuse("--output_path", [](O* o) { o->output_path = ""; });
  refuse("--network", [](O* o) { o->network = "netvlad"; });
  refuse("--num_iterations", [](O* o) { o->num_iterations = 0; });
  refuse("--learning_rate", [](O* o) { o->learning_rate = 0.0; });
  refuse("--learning_rate", [](O* o) { o->learning_rate = 1e30; });
  refuse("--weight_decay", [](O* o) { o->weight_decay = -1.0; });
  refuse("--softmax_scale", [](O* o) { o->softmax_scale = 0.0; });
  refuse("--log_every", [](O* o) { o->log_every = 0; });
  refuse("--patience", [](O* o) { o->patience = -1; });
  refuse("--appearance", [](O* o) { o->appearance = 1.5; });
  refuse("--image_size", [](O* o) { o->data.image_size = 65; });
  refuse("--min_overlap", [](O* o) { o->data.min_overlap = 1.1; });
  refuse("shares", [](O* o) { o->data.real_share = -0.1; });
  refuse("nothing to train on", [](O* o) { o->data.generated_share = 0.0; });
  refuse("no_weights",
         [](O* o) { o->weights_path = "/no_weights.safetensors"; });
  refuse("no_set", [](O* o) { o->data.set_paths = {"/no_set.safetensors"}; });
}

TEST_F(TrainerTest, RefusesFilesThatAreNoTrainingSets) {
  TrainerOptions options = Options("run");
  const std::string path = (folder_ / "set.safetensors").string();
  options.data.set_paths = {path};
  WriteFile(path, "not one");
  ExpectRefusal(options, "no valid safetensors file");
  Safetensors file;
  WriteSafetensors(path, file);
  ExpectRefusal(options, "no training set");
  file.metadata = {{"format", "colmap_nre training set"}, {"version", "1"}};
  AddTensor("image_names", "U8", {0}, nullptr, 0, &file);
  WriteSafetensors(path, file);
  ExpectRefusal(options, "it has no images");
}

TEST_F(TrainerTest, RefusesOutputThatCannotBeWritten) {
  TrainerOptions options = Options("run");
  options.output_path = "/proc/no_folder";
  ExpectRefusal(options, "/proc/no_folder cannot be made");
  WriteFile(folder_ / "file", "kept");
  options.output_path = (folder_ / "file").string();
  EXPECT_THAT([&] { Train(options, nullptr); },
              ThrowsMessage<InputError>(HasSubstr("cannot be made")));
  EXPECT_EQ(ReadFile(folder_ / "file"), "kept");
  // Not even root can open a folder as a file.
  fs::create_directories(folder_ / "run" / "metrics.jsonl");
  options.output_path = (folder_ / "run").string();
  EXPECT_THAT([&] { Train(options, nullptr); },
              ThrowsMessage<InputError>(HasSubstr("Cannot write")));
}

TEST_F(TrainerTest, StopsAtLossesThatAreNotFinite) {
  TrainerOptions options = Options("overflow");
  options.softmax_scale = 1e38;
  EXPECT_THAT([&] { Train(options, nullptr); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("loss of iteration 0"),
                                              HasSubstr("not finite"),
                                              HasSubstr("no checkpoint yet"))));

  // Weights that hold NaN, in a folder with a training's output.
  options = Options("run");
  options.num_iterations = 3;
  Train(options, nullptr);
  const std::string weights =
      (fs::path(options.output_path) / "compact_fine.safetensors").string();
  TensorFile file = ReadTensorFile(weights);
  file.tensors.begin()->second.fill_(NAN);
  options.weights_path = (folder_ / "nan.safetensors").string();
  WriteTensorFile(options.weights_path, file);
  fs::remove(folder_ / "run" / "checkpoint.safetensors");
  fs::remove(folder_ / "run" / "metrics.jsonl");
  const std::string before = ReadFile(weights);
  EXPECT_THAT([&] { Train(options, nullptr); },
              ThrowsMessage<InputError>(HasSubstr("not finite")));
  EXPECT_TRUE(ReadFile(weights) == before);
  EXPECT_FALSE(fs::exists(folder_ / "run" / "checkpoint.safetensors"));
}

class DistillationTest : public TrainerTest {
 protected:
  // A set of photographs without pairs, ten of them for training.
  std::string PhotoSet() const {
    const std::string path = (folder_ / "photos.safetensors").string();
    WritePhotoSet(path, TexturedPhotos(12, 96, 128), /*with_pairs=*/false);
    return path;
  }

  // With a teacher whose weights come with this software.
  TrainerOptions TaughtOptions(const std::string& output) const {
    TrainerOptions options = Options(output);
    options.data.set_paths = {PhotoSet()};
    options.teachers.names = {"compact"};
    options.teacher_cache_path = (folder_ / (output + ".cache")).string();
    options.num_iterations = 4;
    return options;
  }

  // That the teacher's weights of a network are copied to, with this header.
  void WriteWeights(const fs::path& folder, const std::string& architecture) {
    fs::create_directories(folder);
    for (const char* network : {"compact_coarse", "compact_fine"}) {
      const std::string file = std::string(network) + ".safetensors";
      TensorFile weights =
          ReadTensorFile(std::string(NRE_SOURCE_DIR) + "/s2d/weights/" + file);
      weights.metadata["architecture"] = architecture;
      WriteTensorFile((folder / file).string(), weights);
    }
  }
};

// The loss is the weighted sum of all.
TEST_F(DistillationTest, TheWeightSaysHowMuchTeachersCount) {
  const auto loss_of = [&](double weight, double imitation_weight = 0.0) {
    TrainerOptions options = TaughtOptions("run");
    fs::remove_all(options.output_path);
    // Homographies only, whatever the weight.
    options.data.generated_share = 0.0;
    options.num_iterations = 1;
    options.distillation_weight = weight;
    options.imitation_weight = imitation_weight;
    Train(options, nullptr);
    return Metrics(options.output_path).at(0).at("loss").get<double>();
  };
  const double distillation = loss_of(1.0);
  const double nre = loss_of(1e-9);
  EXPECT_GT(std::abs(distillation - nre), 0.05);
  EXPECT_NEAR(loss_of(0.25), 0.25 * distillation + 0.75 * nre, 1e-4);
  const double imitation = loss_of(0.0, 1.0) - nre;
  EXPECT_GT(imitation, 0.05);
  EXPECT_NEAR(loss_of(0.25, 2.0),
              0.25 * distillation + 0.75 * nre + 2.0 * imitation,
              1e-4);
}

// With the weight 1, other sources than homographies have nothing to say.
TEST_F(DistillationTest, AloneItNeedsPhotographsOnly) {
  TrainerOptions options = TaughtOptions("run");
  options.distillation_weight = 1.0;
  options.data.generated_share = 0.0;
  Train(options, nullptr);
  const auto without_scenes = Metrics(options.output_path);
  options = TaughtOptions("run");
  options.distillation_weight = 1.0;
  options.data.generated_share = 1e6;
  fs::remove_all(options.output_path);
  Train(options, nullptr);
  EXPECT_EQ(Metrics(options.output_path).at(0).at("loss"),
            without_scenes.at(0).at("loss"));
}

TEST_F(DistillationTest, BadInputIsRefused) {
  const auto refuse = [&](const std::string& message, auto change) {
    TrainerOptions options = TaughtOptions("run");
    change(&options);
    ExpectRefusal(options, message);
    EXPECT_FALSE(fs::exists(folder_ / "run.cache")) << message;
  };
  using O = TrainerOptions;
  refuse("--distillation_weight", [](O* o) { o->distillation_weight = 0.0; });
  refuse("--distillation_weight", [](O* o) { o->distillation_weight = 1.1; });
  refuse("--max_teacher_cache_mb", [](O* o) { o->max_teacher_cache_mb = 0; });
  refuse("--homography_share", [](O* o) { o->data.homography_share = 0.0; });
  refuse("'dense_sift' is no teacher",
         [](O* o) { o->teachers.names = {"dense_sift"}; });
  refuse("convert_weights.py alike_n", [](O* o) {
    o->teachers.names = {"compact", "alike"};
  });
  refuse("no photographs for the teachers",
         [](O* o) { o->data.set_paths.clear(); });
  fs::remove_all(folder_ / "run");
  refuse("nothing to train on", [](O* o) {
    o->data.set_paths.clear();
    o->distillation_weight = 1.0;
  });
  WriteWeights(folder_ / "others", "7");
  refuse("architecture version 7", [&](O* o) {
    o->teachers.weights_paths = {(folder_ / "others").string()};
  });
  refuse("architecture version 7", [&](O* o) {
    o->weights_path = (folder_ / "others/compact_fine.safetensors").string();
  });
  EXPECT_FALSE(fs::exists(folder_ / "run"));
}

// A cache of something else stays, and so does what was trained.
TEST_F(DistillationTest, ACacheOfOtherTeachersIsRefused) {
  TrainerOptions options = TaughtOptions("run");
  Train(options, nullptr);
  const auto before = Contents(options.teacher_cache_path);
  TrainerOptions other = TaughtOptions("other");
  other.network = "compact_coarse";  // coarse features are not in it
  other.teacher_cache_path = options.teacher_cache_path;
  EXPECT_THAT([&] { Train(other, nullptr); },
              ThrowsMessage<InputError>(HasSubstr("is of other teachers")));
  EXPECT_TRUE(Contents(options.teacher_cache_path) == before);
  other = options;
  other.teachers.names = {"compact_1s"};
  ExpectRefusal(other, "with other options (teacher compact,");
  EXPECT_TRUE(Contents(options.teacher_cache_path) == before);
}

TEST_F(DistillationTest, ResumesToTheSameLossesAndWeights) {
  // Long enough to be interrupted on a machine that has much else to do.
  const auto long_options = [&](const std::string& output) {
    TrainerOptions options = TaughtOptions(output);
    options.num_iterations = 30;
    return options;
  };
  Train(long_options("once"), nullptr);
  // While the teachers are busy, and while the student is.
  const TrainerOptions options = long_options("often");
  const auto interrupt_at = [&](const fs::path& file) {
    std::atomic<bool> interrupted{false};
    std::thread watcher([&] {
      while (!fs::exists(file)) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
      interrupted = true;
    });
    EXPECT_EQ(Train(options, &interrupted), TrainingEnd::kInterrupted);
    watcher.join();
  };
  const fs::path cache = options.teacher_cache_path;
  interrupt_at(cache / "000000.safetensors");
  EXPECT_FALSE(fs::exists(cache / "000009.safetensors"));
  interrupt_at(folder_ / "often" / "checkpoint.safetensors");
  EXPECT_EQ(Train(options, nullptr), TrainingEnd::kDone);
  EXPECT_TRUE(Contents(cache) ==
              Contents(TaughtOptions("once").teacher_cache_path));
  ExpectSameTraining(folder_ / "once", folder_ / "often");
}

// Real pairs decide which weights are kept, and when training ends.
TEST_F(TrainerTest, ValidatesOnTheSetThatIsGiven) {
  const auto photos = TexturedPhotos(2, 80, 80);
  const std::string pairs = (folder_ / "pairs.safetensors").string();
  WritePhotoSet(pairs, photos, /*with_pairs=*/true);
  TrainerOptions options = Options("run");
  options.num_iterations = 2;
  options.appearance = 0.0;
  options.data.validation_set_paths = {pairs};
  Train(options, nullptr);
  const auto with_set = Metrics(options.output_path);
  TrainerOptions without = options;
  without.output_path = (folder_ / "without").string();
  without.data.validation_set_paths.clear();
  Train(without, nullptr);
  const auto without_set = Metrics(without.output_path);
  // The same training, another validation.
  EXPECT_EQ(with_set.at(0), without_set.at(0));
  EXPECT_NE(with_set.at(1).at("validation"),
            without_set.at(1).at("validation"));
  const auto metadata =
      ReadSafetensors(
          (fs::path(options.output_path) / "compact_fine.safetensors").string())
          .metadata;
  EXPECT_NEAR(std::stod(metadata.at("validation_nre")),
              ValidationLoss(with_set.at(1)),
              1e-6);
  EXPECT_EQ(metadata.at("architecture"), "2");

  // Nothing of it may be trained on.
  options.output_path = (folder_ / "both").string();
  options.data.set_paths = {pairs};
  ExpectRefusal(options, "which is trained on, too");
  const std::string copy = (folder_ / "photos.safetensors").string();
  WritePhotoSet(copy, {photos[1]}, /*with_pairs=*/false);
  options.data.set_paths = {copy};
  ExpectRefusal(options, "which is trained on, too");
  options.data.set_paths.clear();
  options.data.validation_set_paths = {copy};
  ExpectRefusal(options, "has no pairs");
  options.data.validation_set_paths = {"/no_set.safetensors"};
  ExpectRefusal(options, "no_set");
  EXPECT_FALSE(fs::exists(folder_ / "both"));
}

TEST_F(TrainerProcessTest, OptionsAreChecked) {
  const std::string none = "--output_path " + (folder_ / "none").string() + " ";
  ExpectBadUsage("", "--output_path");
  ExpectBadUsage(none + "--iterations 5", "Unknown option --iterations");
  ExpectBadUsage(none + "--batch_size", "--batch_size needs a value");
  ExpectBadUsage(none + "--batch_size --num_points 5", "needs a value");
  ExpectBadUsage(none + "--batch_size 2 --batch_size 3", "given twice");
  ExpectBadUsage(none + "--batch_size 12abc", "invalid value '12abc'");
  ExpectBadUsage(none + "--random_seed -1", "invalid value '-1'");
  ExpectBadUsage(none + "--num_threads -1", "--num_threads");
  ExpectBadUsage(none + "--learning_rate 1e-3x", "invalid value '1e-3x'");
  ExpectBadUsage(none + "--unit_norm yes", "invalid value 'yes'");
  ExpectBadUsage(none + "--device tpu", "Unknown device tpu");
  const Outcome help = Run(std::string(NRE_TRAINER) + " -h");
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.output, HasSubstr("--num_iterations (20000)"));
}

TEST_F(TrainerProcessTest, GoesOnAfterInterruptionAsIfThereWasNone) {
  ASSERT_EQ(Run(Command("once")).exit_code, 0);
  const auto has_lines = [this](pid_t) {
    return !ReadFile(folder_ / "twice" / "metrics.jsonl").empty();
  };
  const Outcome interrupted = Run(Command("twice"), SIGINT, has_lines);
  EXPECT_EQ(interrupted.exit_code, 3) << interrupted.output;
  EXPECT_THAT(interrupted.output, HasSubstr("Interrupted."));
  const Outcome rest = Run(Command("twice"));
  EXPECT_EQ(rest.exit_code, 0) << rest.output;
  EXPECT_THAT(rest.output, testing::Not(HasSubstr("from iteration 0 ")));
  ExpectSameTraining(folder_ / "once", folder_ / "twice");
}

// Whatever it is doing: killed after more and more time, and while it writes.
TEST_F(TrainerProcessTest, GoesOnAfterBeingKilledAtAnyMoment) {
  const std::string more = "--checkpoint_every 2 ";
  ASSERT_EQ(Run(Command("once", more)).exit_code, 0);
  const fs::path folder = folder_ / "killed";
  const auto writes = [&](const std::string& name) {
    return [&folder, name](pid_t) {
      std::error_code ignored;
      for (const auto& entry : fs::directory_iterator(folder, ignored)) {
        const std::string file = entry.path().filename().string();
        if (file.rfind(name + ".tmp", 0) == 0) return true;
      }
      return false;
    };
  };
  int num_killed = 0;
  const auto expect_killed = [&](const std::function<bool(pid_t)>& moment) {
    num_killed += Run(Command("killed", more), SIGKILL, moment).exit_code == -1;
    // What has its final name is complete.
    for (const char* name : {"checkpoint", "compact_fine"}) {
      const fs::path path = folder / (std::string(name) + ".safetensors");
      if (fs::exists(path)) ReadSafetensors(path.string());
    }
  };
  expect_killed(writes("compact_fine.safetensors"));
  expect_killed(writes("checkpoint.safetensors"));
  for (const size_t num_lines : {2, 3, 4}) {
    expect_killed([&folder, num_lines](pid_t) {
      const std::string text = ReadFile(folder / "metrics.jsonl");
      return std::count(text.begin(), text.end(), '\n') >=
             static_cast<int64_t>(num_lines);
    });
  }
  EXPECT_GE(num_killed, 3);
  // As if it had been killed while it wrote these.
  WriteFile(folder / "checkpoint.safetensors.tmp1", "half");
  std::ofstream(folder / "metrics.jsonl", std::ios::app) << "{\"iteration\": 9";
  const Outcome rest = Run(Command("killed", more));
  EXPECT_EQ(rest.exit_code, 0) << rest.output;
  ExpectSameTraining(folder_ / "once", folder);
}

TEST_F(TrainerProcessTest, AFullDiskLeavesTheOldCheckpoint) {
  const fs::path folder = folder_ / "run";
  ASSERT_EQ(
      Run(Command("run"),
          SIGINT,
          [&](pid_t) { return !ReadFile(folder / "metrics.jsonl").empty(); })
          .exit_code,
      3);
  const auto before = Contents(folder);
  // Files of at most 512 bytes: less than the metrics, and than a checkpoint.
  for (const char* blocks : {"1", "40"}) {
    const Outcome full = Run("sh -c 'ulimit -f " + std::string(blocks) + "; " +
                             Command("run", "--checkpoint_every 1") + "'");
    EXPECT_EQ(full.exit_code, 1) << full.output;
    EXPECT_THAT(full.output,
                testing::AnyOf(HasSubstr("Cannot write to"),
                               HasSubstr("cannot be written")));
    const auto after = Contents(folder);
    EXPECT_EQ(after.size(), before.size());
    EXPECT_TRUE(after.at("checkpoint.safetensors") ==
                before.at("checkpoint.safetensors"));
  }
  EXPECT_EQ(Run(Command("run")).exit_code, 0);
  ASSERT_EQ(Run(Command("once")).exit_code, 0);
  ExpectSameTraining(folder_ / "once", folder);
}

// All of it, as users call it, in a minute: with five seeds, validation ended
// at 0.66 to 0.72 of what maps cost that say nothing, with changed appearance
// at 0.68 to 0.76, and 31 to 43 % of points were found (by chance: 1 %).
TEST_F(TrainerProcessTest, LearnsWithinAMinute) {
  const Outcome outcome = Run(
      std::string(NRE_TRAINER) + " --network compact_coarse --output_path " +
      (folder_ / "run").string() +
      " --image_size 128 --batch_size 4 --num_points 64 --num_iterations 180 "
      "--learning_rate 2e-3 --num_warmup_iterations 20 --appearance 0.5 "
      "--min_overlap 0.3 --num_validation_batches 4 --num_threads 1 "
      "--device cpu");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const Json last = Metrics(folder_ / "run").back();
  for (const char* kind : {"validation", "changed_validation"}) {
    const Json& quality = last.at(kind);
    EXPECT_LT(quality.at("truncated_nre").get<double>(),
              0.85 * quality.at("log_categories").get<double>());
    EXPECT_GT(quality.at("hits"), 0.1);
  }
}

TEST_F(DistillationTest, LearnsToImitate) {
  TrainerOptions options = TaughtOptions("run");
  options.data.set_paths = {(folder_ / "many.safetensors").string()};
  WritePhotoSet(options.data.set_paths[0],
                TexturedPhotos(24, 160, 160),
                /*with_pairs=*/false);
  options.data.generated_share = 0.0;
  options.data.image_size = 96;
  options.distillation_weight = 0.0;
  options.imitation_weight = 1000.0;  // what else there is hardly counts
  options.learning_rate = 2e-3;
  options.num_warmup_iterations = 5;
  options.num_iterations = options.validate_every = 40;
  options.log_every = 5;
  options.appearance = 0.3;
  Train(options, nullptr);
  const std::vector<Json> metrics = Metrics(options.output_path);
  const double untrained = metrics.front().at("loss");
  const double trained = metrics.at(metrics.size() - 2).at("loss");
  EXPECT_LT(trained, 0.8 * untrained);
}

// From photographs alone, in a minute.
TEST_F(DistillationTest, LearnsFromATeacherWithinAMinute) {
  const std::string set = (folder_ / "photos.safetensors").string();
  WritePhotoSet(set, TexturedPhotos(24, 160, 160), /*with_pairs=*/false);
  const Outcome outcome =
      Run(std::string(NRE_TRAINER) +
          " --network compact_coarse --teacher compact --distillation_weight 1 "
          "--output_path " +
          (folder_ / "run").string() + " --training_set_path " + set +
          " --image_size 96 --batch_size 4 --num_points 48 --num_iterations "
          "150 --log_every 10 --learning_rate 2e-3 --num_warmup_iterations 20 "
          "--appearance 0.3 --num_validation_batches 2 --num_threads 1 "
          "--device cpu");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const std::vector<Json> metrics = Metrics(folder_ / "run");
  const double untrained = metrics.front().at("loss");
  // The last line is a validation.
  const double trained = metrics.at(metrics.size() - 2).at("loss");
  const double uninformed = std::log(12.0 * 12.0);
  EXPECT_LT(trained, 0.75 * untrained);
  EXPECT_LT(trained, 0.75 * uninformed);
}

TEST_F(DistillationTest, TheExecutableTakesItsOptions) {
  const std::string set = PhotoSet();
  const std::string none = "--output_path " + (folder_ / "none").string() + " ";
  ExpectBadUsage(none + "--teacher compact,alike --training_set_path " + set,
                 "--teacher_weights_path");
  ExpectBadUsage(none + "--teacher compact --teacher_weights_path a,b",
                 "1 teachers and 2 folders");
  ExpectBadUsage(none + "--validation_set_path /no_set", "/no_set");
  // Interrupted while the teacher is busy.
  WriteWeights(folder_ / "weights", "2");
  const std::string more =
      "--teacher compact,compact_1s " +
      ("--teacher_weights_path ," + (folder_ / "weights").string()) +
      " --training_set_path " + set;
  const fs::path cache = folder_ / "run" / "teacher_cache";
  const Outcome interrupted = Run(Command("run", more, 2), SIGINT, [&](pid_t) {
    return fs::exists(cache / "000000.safetensors");
  });
  EXPECT_EQ(interrupted.exit_code, 3) << interrupted.output;
  const size_t num_files = Contents(cache).size();
  EXPECT_LT(num_files, 10);
  const Outcome rest = Run(Command("run", more, 2));
  EXPECT_EQ(rest.exit_code, 0) << rest.output;
  EXPECT_EQ(Contents(cache).size(), 10);
  EXPECT_THAT(rest.output, HasSubstr("teachers: 10/10 photographs"));
}

#ifdef NRE_EXECUTABLE
// A folder of pictures, of which one cannot be read.
TEST_F(DistillationTest, AFolderOfPhotographsIsEnough) {
  const fs::path pictures = folder_ / "pictures" / "below";
  fs::create_directories(pictures);
  int index = 0;
  for (const torch::Tensor& photo : TexturedPhotos(5, 96, 128)) {
    WriteFile(pictures / (std::to_string(index++) + ".ppm"),
              "P6\n128 96\n255\n" +
                  std::string(static_cast<const char*>(photo.data_ptr()),
                              photo.numel()));
  }
  WriteFile(pictures / "broken.jpg", "no picture");
  const std::string more = "--teacher compact --image_path " +
                           pictures.parent_path().string() +
                           " --distillation_weight 1";
  const Outcome outcome = Run(Command("run", more, 2));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("broken.jpg"));
  EXPECT_THAT(outcome.output, HasSubstr("left out"));
  // The same command again has nothing to do.
  const auto weights = ReadFile(folder_ / "run" / "compact_fine.safetensors");
  EXPECT_EQ(Run(Command("run", more, 2)).exit_code, 0);
  EXPECT_TRUE(ReadFile(folder_ / "run" / "compact_fine.safetensors") ==
              weights);

  fs::remove_all(pictures);
  fs::create_directories(pictures);
  WriteFile(pictures / "broken.jpg", "no picture");
  const Outcome unreadable = Run(Command("other", more, 2));
  EXPECT_EQ(unreadable.exit_code, 1) << unreadable.output;
  EXPECT_THAT(unreadable.output,
              AllOf(HasSubstr("broken.jpg"), HasSubstr("cannot be packed")));
}
#endif

TEST_F(TrainerProcessTest, TwoDoNotWriteToOneFolder) {
  const auto run_second = [&](pid_t) {
    if (ReadFile(folder_ / "run" / "metrics.jsonl").empty()) return false;
    EXPECT_THAT([&] { Train(Options("run"), nullptr); },
                ThrowsMessage<InputError>(HasSubstr("Another nre_trainer")));
    return true;
  };
  EXPECT_EQ(Run(Command("run", "", 1000), SIGINT, run_second).exit_code, 3);
}

}  // namespace
}  // namespace nre
