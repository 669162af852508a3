// Training of a network. Only for training: includes LibTorch.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include <torch/types.h>

#include "s2d/training/network_loss.h"
#include "s2d/training/teachers.h"
#include "s2d/training/training_data.h"

namespace nre {

struct TrainerOptions {
  // One of s2d/networks.
  std::string network = "compact_coarse";

  // A folder, made if it is not there; one training at a time writes to it.
  // checkpoint.safetensors: to go on from; <network>.safetensors: the weights
  // that were best in validation, for --weights_path; metrics.jsonl: a line per
  // log_every iterations and per validation. At the end there are all three.
  std::string output_path;

  // Weights to begin with; empty: random ones.
  std::string weights_path;

  NetworkLossOptions loss;
  TrainingDataOptions data;

  // A folder of photographs, at any depth, that is packed into output_path and
  // is one more training set; by colmap_nre training_exporter, which must be
  // installed beside. Empty: none.
  std::string image_path;

  // Distillation; without teachers, none.
  TeacherOptions teachers;

  // The loss is (1 - weight) `loss` + weight DistillationLoss(). 1: the
  // teachers alone, on homographies of photographs alone. 0: not at all, beside
  // ImitationLoss().
  double distillation_weight = 0.5;

  // Plus weight ImitationLoss().
  double imitation_weight = 0.0;

  // TeacherCacheOptions::path and max_bytes; without a path, a folder in
  // output_path.
  std::string teacher_cache_path;
  int64_t max_teacher_cache_mb = 2000;

  int64_t num_iterations = 20000;
  double learning_rate = 1e-3;  // falls to 0 along half a cosine
  int64_t num_warmup_iterations = 200;
  double weight_decay = 1e-4;
  double max_gradient_norm = 1.0;

  // What descriptors' inner products are multiplied by at first; it is learned,
  // and goes into the weights' header.
  double softmax_scale = 20.0;

  // How much the appearance of images changes, 0 to 1; less in the first
  // num_easy_iterations.
  double appearance = 1.0;
  int64_t num_easy_iterations = 1000;

  uint64_t seed = 0;
  torch::Device device = torch::kCPU;

  // Convolutions in bfloat16; weights, losses and gradients of weights stay in
  // single precision.
  bool mixed_precision = false;

  int64_t log_every = 20;
  int64_t checkpoint_every = 500;
  int64_t validate_every = 500;
  int64_t num_validation_batches = 8;

  // Validations without a better one after which training ends; 0: never.
  int64_t patience = 0;

  // Throws InputError saying which option is invalid.
  void Check() const;
};

enum class TrainingEnd { kDone, kNoProgress, kInterrupted };

// Trains, or goes on where the checkpoint in the output folder is: to the same
// losses, on the CPU with the same number of threads. Writes progress to
// stdout. Ends soon after `*interrupted` is set, with a checkpoint. Throws
// InputError for invalid options or files, a checkpoint of other options,
// losses that are not finite, what LoadTeachers() and TeachPhotos() refuse, and
// files that cannot be written; the checkpoint
// and weights that were written before stay. Killed, it leaves no half files
// but temporary ones, which the next training there removes.
TrainingEnd Train(const TrainerOptions& options,
                  const std::atomic<bool>* interrupted);

}  // namespace nre
