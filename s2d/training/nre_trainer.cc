// Trains the networks. Links LibTorch only: see trainer.h.

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <functional>
#include <iostream>
#include <set>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include <ATen/Parallel.h>

#include "nre/error.h"
#include "s2d/freed_memory.h"
#include "s2d/networks/module.h"
#include "s2d/training/trainer.h"

namespace nre {
namespace {

// 0 all done, also early; 1 bad usage or input; 2 a fault; 3 interrupted.
constexpr int kBadInput = 1;
constexpr int kFault = 2;
constexpr int kInterrupted = 3;

std::atomic<bool> interrupted{false};

void Interrupt(int) { interrupted = true; }

// An option of the command line.
struct Option {
  std::string name;
  std::string help;
  std::string value;  // the default, for the help
  std::function<void(const std::string&)> set;
};

template <typename T>
std::string Text(const T& value) {
  std::ostringstream stream;
  stream << value;
  return stream.str();
}

// Throws InputError unless all of `text` is a number.
template <typename T>
T Number(const std::string& name, const std::string& text) {
  std::istringstream stream(text);
  T value;
  const bool is_number = static_cast<bool>(stream >> value);
  // A stream takes -1 for a large unsigned number.
  const bool has_sign = std::is_unsigned_v<T> && text.find('-') == 0;
  if (!is_number || stream.peek() != EOF || has_sign) {
    throw InputError("--" + name + " has the invalid value '" + text +
                     "'. Expected a number" +
                     (std::is_integral_v<T> ? " without fraction." : "."));
  }
  return value;
}

template <typename T>
Option Value(const std::string& name, const std::string& help, T* target) {
  return {name, help, Text(*target), [name, target](const std::string& text) {
            *target = Number<T>(name, text);
          }};
}

template <>
Option Value(const std::string& name, const std::string& help, bool* target) {
  return {
      name, help, Text(*target), [name, target](const std::string& text) {
        if (text != "0" && text != "1" && text != "true" && text != "false") {
          throw InputError("--" + name + " has the invalid value '" + text +
                           "'. Expected 0 or 1.");
        }
        *target = text == "1" || text == "true";
      }};
}

template <>
Option Value(const std::string& name,
             const std::string& help,
             std::string* target) {
  return {name, help, *target, [target](const std::string& text) {
            *target = text;
          }};
}

// What is not a member of TrainerOptions as it is typed.
struct TypedOptions {
  std::string loss = "nre";
  std::string device = "auto";
  std::string mixed_precision = "auto";
  std::string set_paths;
  std::string validation_set_paths;
  std::string teachers;
  std::string teacher_weights_paths;
  int num_threads = 0;
};

std::vector<Option> AllOptions(TrainerOptions* o, TypedOptions* typed) {
  TrainingDataOptions* d = &o->data;
  return {
      Value("network", "which network to train", &o->network),
      Value("output_path",
            "folder for checkpoint, weights and metrics; goes on if there is a "
            "checkpoint",
            &o->output_path),
      Value("training_set_path",
            "what training_exporter wrote; several, separated by commas",
            &typed->set_paths),
      Value("image_path",
            "a folder of photographs, at any depth: one more training set, "
            "packed anew at every start; for many, pack them once by "
            "training_exporter",
            &o->image_path),
      Value("validation_set_path",
            "sets with pairs for validation, and so for which weights are best "
            "and for --patience; without: generated scenes. No picture may be "
            "in a training set, too",
            &typed->validation_set_paths),
      Value("weights_path", "weights to begin with", &o->weights_path),
      Value("loss", "nre, cross_entropy or contrastive", &typed->loss),
      Value("teacher",
            "features, e.g. compact,alike, from whose correspondence maps of "
            "the plain photographs the network learns, while it sees them "
            "through homographies and under other light; needs photographs: "
            "--image_path, or a set without pairs",
            &typed->teachers),
      Value("teacher_weights_path",
            "folder with the teachers' <network>.safetensors, or one for each "
            "teacher, separated by commas; empty: those that come with this "
            "software",
            &typed->teacher_weights_paths),
      Value("distillation_weight",
            "of the teachers' loss; that of --loss has the rest. 1: the "
            "teachers alone, on homographies alone",
            &o->distillation_weight),
      Value("imitation_weight",
            "of one more loss, on how far descriptors are from the teachers', "
            "of which the network's channels take the largest components; "
            "speeds up the beginning",
            &o->imitation_weight),
      Value("teacher_cache_path",
            "folder for the teachers' features, which are computed once; "
            "empty: teacher_cache in output_path",
            &o->teacher_cache_path),
      Value("max_teacher_cache_mb",
            "size of that folder; what does not fit of the photographs is left "
            "out",
            &o->max_teacher_cache_mb),
      Value("unit_norm",
            "whether descriptors are normalised",
            &o->loss.unit_norm),
      Value("wrong_share",
            "of loss nre: of the points, how many may be anywhere; near 1, "
            "precision counts where points are found at all",
            &o->loss.wrong_share),
      Value("softmax_scale",
            "what inner products are multiplied by at first; learned",
            &o->softmax_scale),
      Value("num_iterations", "how long to train", &o->num_iterations),
      Value("batch_size", "pairs of images", &d->batch_size),
      Value("image_size", "height and width of the images", &d->image_size),
      Value("min_image_size",
            "each batch's images are between this and image_size; 0: that",
            &d->min_image_size),
      Value("num_points", "points of each pair", &d->num_points),
      Value("magnified_share",
            "share of batches of enlarged images, up to three times",
            &d->magnified_share),
      Value("learning_rate", "falls to 0 along a cosine", &o->learning_rate),
      Value("num_warmup_iterations",
            "until it is reached",
            &o->num_warmup_iterations),
      Value("weight_decay", "AdamW's", &o->weight_decay),
      Value("generated_share",
            "how likely a pair is of a generated scene, relatively",
            &d->generated_share),
      Value("homography_share",
            "how likely it is of one photograph",
            &d->homography_share),
      Value("real_share", "how likely it is of a real model", &d->real_share),
      Value("procedural_share",
            "of generated scenes' textures, beside photographs",
            &d->procedural_share),
      Value("min_overlap", "of generated scenes' pairs", &d->min_overlap),
      Value("max_overlap", "", &d->max_overlap),
      Value("appearance",
            "how much images change: light, night, fog, noise, ...; 0 to 1",
            &o->appearance),
      Value("num_easy_iterations",
            "until when they change less",
            &o->num_easy_iterations),
      Value("log_every", "iterations", &o->log_every),
      Value("checkpoint_every", "iterations", &o->checkpoint_every),
      Value("validate_every", "iterations", &o->validate_every),
      Value("num_validation_batches", "", &o->num_validation_batches),
      Value("patience",
            "validations without a better one before training ends; 0: any",
            &o->patience),
      Value("random_seed", "", &o->seed),
      Value("device", "auto, cpu or cuda", &typed->device),
      Value("mixed_precision",
            "auto (on a GPU), on or off: convolutions in bfloat16",
            &typed->mixed_precision),
      Value("num_threads", "0: all cores", &typed->num_threads),
  };
}

void PrintHelp(const std::vector<Option>& options) {
  std::cout << "nre_trainer: trains a network for dense features.\n\n";
  for (const Option& option : options) {
    std::cout << "  --" << option.name;
    if (!option.value.empty()) std::cout << " (" << option.value << ")";
    std::cout << "\n      " << option.help << "\n";
  }
}

void Parse(int argc, char** argv, const std::vector<Option>& options) {
  std::set<std::string> given;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    const auto option = std::find_if(
        options.begin(), options.end(), [&](const Option& candidate) {
          return name == "--" + candidate.name;
        });
    if (option == options.end()) {
      throw InputError("Unknown option " + name +
                       "; nre_trainer -h prints those there are.");
    }
    if (i + 1 == argc || std::string(argv[i + 1]).rfind("--", 0) == 0) {
      throw InputError(name + " needs a value.");
    }
    if (!given.insert(name).second) {
      throw InputError(name + " is given twice. Expected it once.");
    }
    option->set(argv[i + 1]);
  }
}

// Between commas, empty parts included; of no text, none.
std::vector<std::string> SplitAll(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; !text.empty() && begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts = SplitAll(text);
  parts.erase(std::remove(parts.begin(), parts.end(), ""), parts.end());
  return parts;
}

bool ChoosePrecision(const std::string& name, torch::Device device) {
  if (name == "auto") return device.is_cuda();
  if (name == "on") return true;
  if (name == "off") return false;
  throw InputError("Unknown --mixed_precision " + name +
                   "; expected auto, on or off.");
}

int Run(int argc, char** argv) {
  TrainerOptions options;
  TypedOptions typed;
  const std::vector<Option> all = AllOptions(&options, &typed);
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "-h" || std::string(argv[i]) == "--help") {
      PrintHelp(all);
      return 0;
    }
  }
  Parse(argc, argv, all);
  options.loss.kind = ParseLossKind(typed.loss);
  options.data.set_paths = Split(typed.set_paths);
  options.data.validation_set_paths = Split(typed.validation_set_paths);
  options.teachers.names = Split(typed.teachers);
  // An empty one stands for the weights that come with this software.
  options.teachers.weights_paths = SplitAll(typed.teacher_weights_paths);
  options.device = ChooseDevice(ParseDevice(typed.device));
  options.mixed_precision =
      ChoosePrecision(typed.mixed_precision, options.device);
  if (typed.num_threads < 0) {
    throw InputError("Invalid options: expected --num_threads >= 0.");
  }
  if (typed.num_threads > 0) at::set_num_threads(typed.num_threads);
  switch (Train(options, &interrupted)) {
    case TrainingEnd::kDone:
      std::printf("Done.\n");
      return 0;
    case TrainingEnd::kNoProgress:
      std::printf("No better validation for %lld times: done.\n",
                  static_cast<long long>(options.patience));
      return 0;
    case TrainingEnd::kInterrupted:
      std::printf("Interrupted. The same command goes on from there.\n");
      return kInterrupted;
  }
  return kFault;
}

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  nre::KeepFreedMemory();
  std::signal(SIGINT, nre::Interrupt);
  std::signal(SIGTERM, nre::Interrupt);
  // A limit to files' sizes is an error of writing, as a full disk is.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return nre::Run(argc, argv);
  } catch (const nre::InputError& error) {
    std::fprintf(stderr, "nre_trainer: %s\n", error.what());
    return nre::kBadInput;
  } catch (const c10::Error& error) {
    std::fprintf(stderr, "nre_trainer: %s\n", error.what_without_backtrace());
    return nre::kFault;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "nre_trainer: %s\n", error.what());
    return nre::kFault;
  }
}
