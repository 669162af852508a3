#include "s2d/training/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <type_traits>
#include <vector>

#include <ATen/autocast_mode.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>
#include <torch/version.h>

#include "nre/error.h"
#include "s2d/descriptor_comparison.h"
#include "s2d/networks/module.h"
#include "s2d/training/distillation.h"
#include "s2d/training/output_folder.h"
#include "s2d/training/photo_folder.h"
#include "s2d/training/teacher_cache.h"
#include "s2d/training/tensor_files.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

using torch::Tensor;

// Convolutions in bfloat16 for as long as this is there.
class MixedPrecision {
 public:
  MixedPrecision(bool enabled, torch::Device device)
      : enabled_(enabled), device_(device) {
    if (enabled_) Set(true);
  }
  ~MixedPrecision() {
    if (!enabled_) return;
    at::autocast::clear_cache();
    Set(false);
  }
  MixedPrecision(const MixedPrecision&) = delete;
  MixedPrecision& operator=(const MixedPrecision&) = delete;

 private:
  void Set(bool on) const {
#if TORCH_VERSION_MAJOR > 2 || \
    (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
    at::autocast::set_autocast_dtype(device_.type(), torch::kBFloat16);
    at::autocast::set_autocast_enabled(device_.type(), on);
#else
    if (device_.is_cuda()) {
      at::autocast::set_autocast_gpu_dtype(torch::kBFloat16);
      at::autocast::set_enabled(on);
    } else {
      at::autocast::set_autocast_cpu_dtype(torch::kBFloat16);
      at::autocast::set_cpu_enabled(on);
    }
#endif
  }

  bool enabled_;
  torch::Device device_;
};

// A number as JSON has it; not finite: null.
std::string Number(double value) {
  if (!std::isfinite(value)) return "null";
  std::ostringstream stream;
  stream << std::setprecision(8) << value;
  return stream.str();
}

std::string Duration(double seconds) {
  char text[32];
  const int64_t s = std::llround(seconds);
  std::snprintf(text,
                sizeof(text),
                "%lld:%02lld:%02lld",
                static_cast<long long>(s / 3600),
                static_cast<long long>(s / 60 % 60),
                static_cast<long long>(s % 60));
  return text;
}

// What the losses to come depend on, to tell whether a checkpoint is of the
// same training.
std::string Fingerprint(const TrainerOptions& o) {
  std::ostringstream s;
  const TrainingDataOptions& d = o.data;
  s << "network=" << o.network << " weights_path=" << o.weights_path
    << " loss=" << static_cast<int>(o.loss.kind)
    << " num_iterations=" << o.num_iterations
    << " learning_rate=" << o.learning_rate
    << " weight_decay=" << o.weight_decay << " seed=" << o.seed
    << " batch_size=" << d.batch_size << " image_size=" << d.image_size
    << " min_image_size=" << d.min_image_size << " num_points=" << d.num_points
    << " magnified_share=" << d.magnified_share
    << " min_overlap=" << d.min_overlap << " max_overlap=" << d.max_overlap
    << " appearance=" << o.appearance
    << " generated_share=" << d.generated_share
    << " homography_share=" << d.homography_share
    << " real_share=" << d.real_share
    << " procedural_share=" << d.procedural_share
    << " training_sets=" << d.set_paths.size()
    << " num_easy_iterations=" << o.num_easy_iterations
    << " unit_norm=" << o.loss.unit_norm
    << " wrong_share=" << o.loss.wrong_share
    << " mixed_precision=" << o.mixed_precision
    << " num_warmup_iterations=" << o.num_warmup_iterations
    << " training_set_bytes=";
  for (const std::string& path : d.set_paths) s << fs::file_size(path) << ",";
  s << " validation_set_bytes=";
  for (const std::string& path : d.validation_set_paths) {
    s << fs::file_size(path) << ",";
  }
  s << " teacher=";
  for (const std::string& name : o.teachers.names) s << name << ",";
  if (!o.teachers.names.empty()) {
    s << " distillation_weight=" << o.distillation_weight
      << " imitation_weight=" << o.imitation_weight
      << " max_teacher_cache_mb=" << o.max_teacher_cache_mb;
  }
  return s.str();
}

// The options of a fingerprint by name.
std::map<std::string, std::string> ParseFingerprint(const std::string& text) {
  std::map<std::string, std::string> options;
  std::istringstream stream(text);
  std::string word, name;
  while (stream >> word) {
    const size_t end = word.find('=');
    if (end == std::string::npos) {  // of a path with spaces
      options[name] += " " + word;
    } else {
      name = word.substr(0, end);
      options[name] = word.substr(end + 1);
    }
  }
  return options;
}

// How the options of a checkpoint differ from these; empty: not at all. Those
// that it does not have were not written yet at its time.
std::string Differences(const std::string& stored, const std::string& current) {
  const auto options = ParseFingerprint(current);
  std::string differences;
  for (const auto& [name, value] : ParseFingerprint(stored)) {
    const auto option = options.find(name);
    if (option != options.end() && option->second == value) continue;
    differences += (differences.empty() ? "" : ", ") + name + " " + value;
    if (option != options.end()) differences += ", not " + option->second;
  }
  return differences;
}

// Adam's state of a parameter, whose key was another type before LibTorch 2.
template <typename States>
auto& StateOf(States& states, const Tensor& parameter) {
  using Key = typename States::key_type;
  if constexpr (std::is_same_v<Key, std::string>) {
    std::ostringstream key;
    key << parameter.unsafeGetTensorImpl();
    return states[key.str()];
  } else {
    return states[parameter.unsafeGetTensorImpl()];
  }
}

class Trainer {
 public:
  Trainer(const TrainerOptions& options, const std::atomic<bool>* interrupted)
      : options_(options),
        interrupted_(interrupted),
        levels_(NetworkLevels(options.network)),
        teachers_(LoadTeachers(options.teachers, options.device)) {
    if (!options_.image_path.empty()) AddPhotographs();
    if (HasTeachers() && options_.distillation_weight == 1.0) {
      options_.data.generated_share = options_.data.real_share = 0.0;
    }
    data_.emplace(options_.data, options_.seed);
    torch::manual_seed(options.seed);
    module_ = CreateNetworkModule(options.network);
    if (!options.weights_path.empty()) {
      LoadWeights(ReadSafetensors(options.weights_path),
                  options.weights_path,
                  options.network,
                  module_.get());
    }
    module_->to(options.device);
    log_scale_ =
        torch::full({}, std::log(options.softmax_scale)).to(options.device);
    log_scale_.requires_grad_(true);
    UseChannelsLast(module_.get());
    std::vector<Tensor> weights, others = {log_scale_};
    for (Tensor& parameter : module_->parameters()) {
      (parameter.dim() > 1 ? weights : others).push_back(parameter);
    }
    using torch::optim::AdamWOptions;
    std::vector<torch::optim::OptimizerParamGroup> groups = {
        {weights,
         std::make_unique<AdamWOptions>(
             AdamWOptions(options.learning_rate)
                 .weight_decay(options.weight_decay))},
        {others,
         std::make_unique<AdamWOptions>(
             AdamWOptions(options.learning_rate).weight_decay(0.0))}};
    optimizer_ = std::make_unique<torch::optim::AdamW>(
        groups, AdamWOptions(options.learning_rate));
    OpenFolder();
    folder_->RemoveTemporaryFiles();
    if (fs::exists(CheckpointPath())) Resume();
    TrimMetrics();
    metrics_.open(MetricsPath(), std::ios::app);
    CheckMetrics();
  }

  TrainingEnd Run() {
    if (HasTeachers() && iteration_ < options_.num_iterations && !Teach()) {
      return TrainingEnd::kInterrupted;
    }
    const auto start = std::chrono::steady_clock::now();
    const int64_t first = iteration_;
    std::printf("%s from iteration %lld to %lld on %s%s.\n",
                options_.network.c_str(),
                static_cast<long long>(first),
                static_cast<long long>(options_.num_iterations),
                options_.device.str().c_str(),
                options_.mixed_precision ? ", mixed precision" : "");
    double data_seconds = 0.0;
    while (iteration_ < options_.num_iterations) {
      if (options_.patience > 0 &&
          num_validations_since_best_ >= options_.patience) {
        WriteCheckpoint();
        return TrainingEnd::kNoProgress;
      }
      if (interrupted_ != nullptr && *interrupted_) {
        // Before the first step there is nothing to keep.
        if (iteration_ > first) WriteCheckpoint();
        return TrainingEnd::kInterrupted;
      }
      loss_sum_ += Step(&data_seconds);
      ++num_losses_;
      ++iteration_;
      const bool last = iteration_ == options_.num_iterations;
      const double seconds = SecondsSince(start);
      if (iteration_ % options_.log_every == 0 || last) {
        const double rate = (iteration_ - first) / seconds;
        Log(loss_sum_ / num_losses_, rate, data_seconds / seconds);
        loss_sum_ = 0.0;
        num_losses_ = 0;
      }
      if (iteration_ % options_.validate_every == 0 || last) Validate();
      if (iteration_ % options_.checkpoint_every == 0 || last) {
        WriteCheckpoint();
      }
    }
    return TrainingEnd::kDone;
  }

 private:
  static double SecondsSince(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() -
                                         start)
        .count();
  }

  std::string CheckpointPath() const {
    return folder_->File("checkpoint.safetensors");
  }
  std::string MetricsPath() const { return folder_->File("metrics.jsonl"); }
  std::string WeightsPath() const {
    return folder_->File(options_.network + ".safetensors");
  }

  bool HasTeachers() const { return !options_.teachers.names.empty(); }

  void OpenFolder() {
    if (!folder_) folder_.emplace(options_.output_path, "--output_path");
  }

  void AddPhotographs() {
    OpenFolder();
    const std::string path = folder_->File("photographs.safetensors");
    PackPhotographs(options_.image_path, path);
    options_.data.set_paths.push_back(path);
  }

  // Completes the teachers' cache; false: interrupted before.
  bool Teach() {
    // Windows show somewhat more than an image.
    constexpr double kWindowPerImage = 4.0 / 3.0;
    TeacherCacheOptions cache;
    cache.path = options_.teacher_cache_path.empty()
                     ? folder_->File("teacher_cache")
                     : options_.teacher_cache_path;
    const auto is_coarse = [](const NetworkLevel& level) {
      return level.stride >= kMinCoarseStride;
    };
    cache.coarse = std::any_of(levels_.begin(), levels_.end(), is_coarse);
    cache.fine = !std::all_of(levels_.begin(), levels_.end(), is_coarse);
    cache.window_size =
        std::llround(kWindowPerImage * options_.data.image_size);
    cache.max_bytes = 1'000'000 * options_.max_teacher_cache_mb;
    cache.seed = options_.seed;
    const auto taught =
        TeachPhotos(data_->TrainingPhotos(), teachers_, cache, interrupted_);
    if (!taught) return false;
    taught_ = *taught;
    if (options_.imitation_weight > 0.0) {
      spaces_ = ImitationSpaces(levels_, taught_, options_.seed);
      for (ImitationSpace& space : spaces_) {
        space.mean = space.mean.to(options_.device);
        space.basis = space.basis.to(options_.device);
      }
    }
    teachers_.clear();  // from now on their memory is the student's
    std::vector<Tensor> photos;
    for (const TaughtPhoto& photo : taught_) photos.push_back(photo.pixels);
    data_->SetHomographyPhotos(std::move(photos));
    return true;
  }

  double LearningRate() const {
    const double warmup =
        std::min(1.0,
                 (iteration_ + 1.0) /
                     std::max<int64_t>(1, options_.num_warmup_iterations));
    const double share =
        static_cast<double>(iteration_) / options_.num_iterations;
    return options_.learning_rate * warmup * 0.5 *
           (1.0 + std::cos(M_PI * share));
  }

  // Features of both images of all pairs, by level.
  std::pair<LevelFeatures, LevelFeatures> Features(const TrainingPairs& pairs) {
    const int64_t num_pairs = pairs.visible.size(0);
    const Tensor images = module_->NormalizedImages(
        torch::cat({pairs.reference_images, pairs.query_images}));
    std::vector<Tensor> outputs;
    {
      const MixedPrecision mixed(options_.mixed_precision, options_.device);
      outputs = module_->Forward(images);
    }
    LevelFeatures references, queries;
    for (const NetworkLevel& level : levels_) {
      references.push_back(outputs.at(level.output).narrow(0, 0, num_pairs));
      queries.push_back(
          outputs.at(level.output).narrow(0, num_pairs, num_pairs));
    }
    return {references, queries};
  }

  Tensor Loss(const TrainingPairs& pairs) {
    const auto features = Features(pairs);
    const LevelFeatures& references = features.first;
    const LevelFeatures& queries = features.second;
    const auto distillation = [&] {
      return DistillationLoss(levels_,
                              references,
                              queries,
                              pairs,
                              taught_,
                              log_scale_.exp(),
                              options_.loss.unit_norm);
    };
    const auto other = [&] {
      return NetworkLoss(
          levels_,
          references,
          queries,
          pairs,
          log_scale_.exp(),
          options_.loss,
          iteration_,
          at::detail::createCPUGenerator(options_.seed * 1000003 + iteration_));
    };
    if (!HasTeachers()) return other();
    Tensor loss;
    const auto add = [&](double weight, const auto& term) {
      if (weight == 0.0) return;
      const Tensor weighted = weight * term();
      loss = loss.defined() ? loss + weighted : weighted;
    };
    add(1.0 - options_.distillation_weight, other);
    add(options_.distillation_weight, distillation);
    add(options_.imitation_weight, [&] {
      return ImitationLoss(
          levels_, spaces_, references, queries, pairs, taught_, iteration_);
    });
    return loss;
  }

  double Step(double* data_seconds) {
    const auto start = std::chrono::steady_clock::now();
    const double ease =
        std::min(1.0,
                 (iteration_ + 1.0) /
                     std::max<int64_t>(1, options_.num_easy_iterations));
    const TrainingPairs pairs = data_->Batch(DataSplit::kTraining,
                                             iteration_,
                                             ease * options_.appearance,
                                             options_.device);
    *data_seconds += SecondsSince(start);
    module_->train();
    for (auto& group : optimizer_->param_groups()) {
      static_cast<torch::optim::AdamWOptions&>(group.options())
          .lr(LearningRate());
    }
    optimizer_->zero_grad();
    const Tensor loss = Loss(pairs);
    loss.backward();
    const double value = loss.item<double>();
    const double norm = torch::nn::utils::clip_grad_norm_(
        module_->parameters(), options_.max_gradient_norm);
    if (!std::isfinite(value) || !std::isfinite(norm)) {
      throw InputError(
          "The loss of iteration " + std::to_string(iteration_) +
          " or its gradient is not finite. Expected a smaller "
          "--learning_rate; " +
          (fs::exists(CheckpointPath())
               ? "the last checkpoint is kept in " + CheckpointPath() + "."
               : "there is no checkpoint yet."));
    }
    optimizer_->step();
    return value;
  }

  void Log(double loss, double rate, double data_share) {
    const double left = (options_.num_iterations - iteration_) / rate;
    std::printf(
        "%lld/%lld loss %.4f, learning rate %.2e, %.2f it/s (data "
        "%.0f %%), %s left\n",
        static_cast<long long>(iteration_),
        static_cast<long long>(options_.num_iterations),
        loss,
        LearningRate(),
        rate,
        100.0 * data_share,
        Duration(left).c_str());
    std::fflush(stdout);
    metrics_ << "{\"iteration\": " << iteration_
             << ", \"loss\": " << Number(loss)
             << ", \"learning_rate\": " << Number(LearningRate())
             << ", \"softmax_scale\": "
             << Number(log_scale_.exp().item<double>())
             << ", \"iterations_per_s\": " << Number(rate) << "}" << std::endl;
    CheckMetrics();
  }

  void CheckMetrics() const {
    if (!metrics_) {
      throw InputError("Cannot write to " + MetricsPath() +
                       ". Is the folder writable, and is there room?");
    }
  }

  // Means over the validation's batches.
  MapQuality Quality(double appearance) {
    const torch::NoGradGuard no_grad;
    MapQuality sum;
    for (int64_t i = 0; i < options_.num_validation_batches; ++i) {
      const TrainingPairs pairs =
          data_->Batch(DataSplit::kValidation, i, appearance, options_.device);
      const auto [references, queries] = Features(pairs);
      const MapQuality batch = SumMapQuality(levels_[0],
                                             references[0],
                                             queries[0],
                                             pairs,
                                             log_scale_.exp(),
                                             options_.loss.unit_norm);
      sum.nre += batch.nre;
      sum.truncated_nre += batch.truncated_nre;
      sum.hits += batch.hits;
      sum.num_points += batch.num_points;
      sum.log_categories = batch.log_categories;
    }
    const double num = std::max<double>(1.0, sum.num_points);
    sum.nre /= num;
    sum.truncated_nre /= num;
    sum.hits /= num;
    return sum;
  }

  void Validate() {
    module_->eval();
    const MapQuality plain = Quality(0.0);
    const MapQuality changed = Quality(options_.appearance);
    const double loss = 0.5 * (plain.truncated_nre + changed.truncated_nre);
    if (!std::isfinite(loss)) {
      throw InputError("The validation of iteration " +
                       std::to_string(iteration_) +
                       " is not finite. Expected a smaller --learning_rate.");
    }
    const auto print = [](const char* name, const MapQuality& quality) {
      std::printf("  %s: NRE %.3f (ln|Omega| %.3f), %.1f %% within a cell\n",
                  name,
                  quality.truncated_nre,
                  quality.log_categories,
                  100.0 * quality.hits);
    };
    print("validation", plain);
    print("appearance changed", changed);
    const auto json = [](const MapQuality& quality) {
      return "{\"nre\": " + Number(quality.nre) +
             ", \"truncated_nre\": " + Number(quality.truncated_nre) +
             ", \"log_categories\": " + Number(quality.log_categories) +
             ", \"hits\": " + Number(quality.hits) + "}";
    };
    metrics_ << "{\"iteration\": " << iteration_
             << ", \"validation\": " << json(plain)
             << ", \"changed_validation\": " << json(changed) << "}"
             << std::endl;
    CheckMetrics();
    if (loss < best_loss_) {
      best_loss_ = loss;
      num_validations_since_best_ = 0;
      WriteWeights();
    } else {
      ++num_validations_since_best_;
    }
  }

  // Half precision for what is large. Without paths: weights are for others.
  void WriteWeights() {
    TrainerOptions options = options_;
    options.weights_path = fs::path(options.weights_path).filename().string();
    TensorFile file;
    for (const auto& item : module_->named_parameters()) {
      file.tensors[item.key()] = item.value().dim() > 1
                                     ? item.value().to(torch::kFloat16)
                                     : item.value();
    }
    for (const auto& item : module_->named_buffers()) {
      file.tensors[item.key()] = item.value();
    }
    file.metadata = {{"network", options_.network},
                     {"version", "1"},
                     {"architecture", ArchitectureVersion(options_.network)},
                     {"training", Fingerprint(options)},
                     {"iteration", std::to_string(iteration_)},
                     {"validation_nre", Number(best_loss_)}};
    DescriptorComparison comparison;
    comparison.unit_norm = options_.loss.unit_norm;
    // The contrastive loss has no softmax, whose factor it could learn.
    if (options_.loss.kind != LossKind::kContrastive) {
      comparison.softmax_scale = log_scale_.exp().item<float>();
    }
    AddDescriptorComparison(comparison, &file.metadata);
    WriteTensorFile(WeightsPath(), file);
  }

  // All that changes during training, by name.
  NamedTensors State() {
    NamedTensors state;
    for (const auto& item : module_->named_parameters()) {
      state["network." + item.key()] = item.value();
    }
    for (const auto& item : module_->named_buffers()) {
      state["network." + item.key()] = item.value();
    }
    state["log_scale"] = log_scale_;
    return state;
  }

  void WriteCheckpoint() {
    TensorFile file;
    file.tensors = State();
    size_t index = 0;
    for (auto& group : optimizer_->param_groups()) {
      for (Tensor& parameter : group.params()) {
        const std::string name = "adam." + std::to_string(index++);
        const auto* state = static_cast<torch::optim::AdamWParamState*>(
            StateOf(optimizer_->state(), parameter).get());
        // None of what the loss does not depend on.
        const Tensor zero = torch::zeros_like(parameter);
        file.tensors[name + ".mean"] = state ? state->exp_avg() : zero;
        file.tensors[name + ".square"] = state ? state->exp_avg_sq() : zero;
      }
    }
    file.tensors["best_loss"] = torch::full({}, best_loss_, torch::kFloat64);
    file.tensors["counts"] =
        torch::tensor({iteration_, num_validations_since_best_}, torch::kInt64);
    file.tensors["losses"] = torch::tensor(
        {loss_sum_, static_cast<double>(num_losses_)}, torch::kFloat64);
    file.metadata = {{"format", "colmap_nre checkpoint"},
                     {"version", "1"},
                     {"options", Fingerprint(options_)}};
    WriteTensorFile(CheckpointPath(), file);
  }

  void Resume() {
    const auto refuse = [&](const std::string& why) {
      throw InputError("The checkpoint " + CheckpointPath() + " " + why +
                       ". Expected what nre_trainer wrote with the same "
                       "options; remove it, or take another --output_path, to "
                       "begin anew.");
    };
    TensorFile file;
    try {
      file = ReadTensorFile(CheckpointPath());
    } catch (const InputError& error) {
      refuse(std::string("cannot be read: ") + error.what());
    }
    if (file.metadata["format"] != "colmap_nre checkpoint") refuse("is none");
    if (file.metadata["version"] != "1") refuse("has another version than 1");
    const std::string differences =
        Differences(file.metadata["options"], Fingerprint(options_));
    if (!differences.empty()) {
      refuse("is of a training with other options (" + differences + ")");
    }
    const torch::NoGradGuard no_grad;
    const auto restore = [&](const std::string& name, const Tensor& tensor) {
      const auto stored = file.tensors.find(name);
      if (stored == file.tensors.end() ||
          stored->second.sizes() != tensor.sizes()) {
        refuse("lacks " + name + " or has it in another shape");
      }
      Tensor(tensor).copy_(stored->second);
    };
    for (const auto& [name, tensor] : State()) restore(name, tensor);
    Tensor best = torch::zeros({}, torch::kFloat64);
    Tensor counts = torch::zeros({2}, torch::kInt64);
    restore("best_loss", best);
    restore("counts", counts);
    best_loss_ = best.item<double>();
    iteration_ = counts[0].item<int64_t>();
    num_validations_since_best_ = counts[1].item<int64_t>();
    if (file.tensors.count("losses") > 0) {  // not in the first checkpoints
      Tensor losses = torch::zeros({2}, torch::kFloat64);
      restore("losses", losses);
      loss_sum_ = losses[0].item<double>();
      num_losses_ = losses[1].item<int64_t>();
    }
    size_t index = 0;
    for (auto& group : optimizer_->param_groups()) {
      for (Tensor& parameter : group.params()) {
        const std::string name = "adam." + std::to_string(index++);
        auto state = std::make_unique<torch::optim::AdamWParamState>();
        state->step(iteration_);
        state->exp_avg(torch::zeros_like(parameter));
        state->exp_avg_sq(torch::zeros_like(parameter));
        restore(name + ".mean", state->exp_avg());
        restore(name + ".square", state->exp_avg_sq());
        StateOf(optimizer_->state(), parameter) = std::move(state);
      }
    }
  }

  // Lines that were written after the checkpoint come again.
  void TrimMetrics() {
    std::ifstream in(MetricsPath());
    if (!in) return;
    const std::string temporary = MetricsPath() + ".tmp";
    std::ofstream out(temporary);
    std::string line;
    while (std::getline(in, line)) {
      long long iteration = 0;
      if (std::sscanf(line.c_str(), "{\"iteration\": %lld", &iteration) == 1 &&
          iteration <= iteration_ && line.back() == '}') {
        out << line << "\n";
      }
    }
    out.close();
    std::error_code error;
    if (out) fs::rename(temporary, MetricsPath(), error);
    if (!out || error) {
      fs::remove(temporary, error);
      metrics_.setstate(std::ios::failbit);
      CheckMetrics();
    }
  }

  TrainerOptions options_;
  const std::atomic<bool>* interrupted_;
  std::vector<NetworkLevel> levels_;
  std::optional<OutputFolder> folder_;
  std::vector<Teacher> teachers_;
  std::optional<TrainingData> data_;
  std::vector<TaughtPhoto> taught_;
  std::vector<ImitationSpace> spaces_;
  std::shared_ptr<NetworkModule> module_;
  Tensor log_scale_;
  std::unique_ptr<torch::optim::AdamW> optimizer_;
  std::ofstream metrics_;
  int64_t iteration_ = 0;  // done
  double loss_sum_ = 0.0;  // since the last line of the log
  int64_t num_losses_ = 0;
  double best_loss_ = std::numeric_limits<double>::infinity();
  int64_t num_validations_since_best_ = 0;
};

}  // namespace

void TrainerOptions::Check() const {
  const auto expect = [](bool good, const std::string& what) {
    if (!good) throw InputError("Invalid options: expected " + what + ".");
  };
  expect(!output_path.empty(), "--output_path, a folder");
  expect(!NetworkLevels(network).empty(),
         "--network, a network with dense features, not '" + network + "'");
  expect(num_iterations > 0, "--num_iterations > 0");
  // More makes Adam's weights overflow, or at least useless.
  expect(learning_rate > 0.0 && learning_rate <= 1.0,
         "--learning_rate > 0, at most 1");
  expect(weight_decay >= 0.0, "--weight_decay >= 0");
  expect(max_gradient_norm > 0.0, "--max_gradient_norm > 0");
  expect(softmax_scale > 0.0, "--softmax_scale > 0");
  expect(loss.wrong_share >= 0.0 && loss.wrong_share < 1.0,
         "--wrong_share from 0 to less than 1");
  expect(num_warmup_iterations >= 0 && num_easy_iterations >= 0,
         "--num_warmup_iterations and --num_easy_iterations >= 0");
  expect(log_every > 0 && checkpoint_every > 0 && validate_every > 0 &&
             num_validation_batches > 0,
         "--log_every, --checkpoint_every, --validate_every and "
         "--num_validation_batches > 0");
  expect(patience >= 0, "--patience >= 0");
  teachers.Check();
  expect(distillation_weight >= 0.0 && distillation_weight <= 1.0 &&
             distillation_weight + imitation_weight > 0.0,
         "--distillation_weight from 0 to 1, more than 0 without "
         "--imitation_weight");
  expect(imitation_weight >= 0.0 && (imitation_weight == 0.0 || loss.unit_norm),
         "--imitation_weight >= 0, and with it --unit_norm 1");
  expect(max_teacher_cache_mb > 0, "--max_teacher_cache_mb > 0");
  expect(teachers.names.empty() || data.homography_share > 0.0,
         "--homography_share > 0 with --teacher, which needs homographies of "
         "photographs");
  expect(appearance >= 0.0 && appearance <= 1.0, "--appearance from 0 to 1");
  expect(data.Check(),
         "--batch_size, --image_size and --num_points > 0, --min_image_size <= "
         "--image_size, multiples of 32, --min_overlap <= --max_overlap from 0 "
         "to 1, --magnified_share and --procedural_share from 0 to 1, other "
         "shares that are not negative");
}

TrainingEnd Train(const TrainerOptions& options,
                  const std::atomic<bool>* interrupted) {
  options.Check();
  return Trainer(options, interrupted).Run();
}

}  // namespace nre
