// Distillation: a student sees photographs under other light and through
// homographies, and learns the correspondence maps that teachers have of the
// photographs as they are. Only for training: includes LibTorch.
#pragma once

#include <vector>

#include <torch/types.h>

#include "s2d/networks/levels.h"
#include "s2d/training/network_loss.h"
#include "s2d/training/teacher_cache.h"
#include "s2d/training/training_pairs.h"

namespace nre {

// Cells with a stride of less learn from the teachers' fine features, others
// from the coarse ones.
constexpr double kMinCoarseStride = 4.0;

// The cells of a student's map: of a level's output of an image.
struct CellGrid {
  NetworkLevel level;
  int64_t height = 0;
  int64_t width = 0;
};

// The correspondence maps of points in a photograph, as teachers have them,
// carried to the cells of a student that sees the photograph through a
// homography: the probability that a cell shows the point.
//
// Each teacher's descriptors at the points are correlated with its features,
// both of the photograph as it is. With several teachers, features weighted
// such that inner products are a teacher's logits (by the roots of its softmax
// factor) are concatenated with equal weights, and the softmax factor is the
// root of their number: between 1, for teachers that always err together, and
// their number, for teachers that never do (two scales of `compact` have 1.5,
// as calibrated; two teachers here 1.41).
//
// The softmax is over all of the photograph that the image shows. A cell's
// probability is the integral over the cell, from samples on a regular grid:
// about as many per side as it has teachers' cells, at most 4, weighted by how
// much of the photograph they stand for, |det J| of the homography. What is
// beyond the photograph has none.
//
// positions: [N, 2], where the points are in the photograph; photo_size: its
// width and height; photo_from_image: [3, 3], see TrainingPairs. Returns
// [N, height width], single precision, without gradient, on the device of the
// positions. Each row has the sum 1; all zeros if the image shows nothing of
// the photograph.
torch::Tensor TargetMaps(const std::vector<TeacherMap>& teachers,
                         const torch::Tensor& positions,
                         int64_t photo_width,
                         int64_t photo_height,
                         const torch::Tensor& photo_from_image,
                         const CellGrid& cells);

// The cross-entropy between the target maps and those of a student, in both
// directions, on every level of the network: the mean over the visible points
// of the pairs of photographs, in nats (levels are summed); 0 if there is no
// such pair. references, queries: the student's outputs; pairs.photos counts
// `photos`; softmax_scale, unit_norm: the student's, as for NetworkLoss().
torch::Tensor DistillationLoss(const std::vector<NetworkLevel>& levels,
                               const LevelFeatures& references,
                               const LevelFeatures& queries,
                               const TrainingPairs& pairs,
                               const std::vector<TaughtPhoto>& photos,
                               const torch::Tensor& softmax_scale,
                               bool unit_norm);

// What a student with fewer channels can imitate of the descriptors of its
// teachers, concatenated to C channels as for TargetMaps(): what they have in
// common with all others does not tell places apart, and is left out.
struct ImitationSpace {
  torch::Tensor mean;   // [C]
  torch::Tensor basis;  // [C, channels of the student], orthonormal or zero
};

// The largest principal components over the photographs, for every level of the
// network. Channels that a student has beyond C are to be zero.
std::vector<ImitationSpace> ImitationSpaces(
    const std::vector<NetworkLevel>& levels,
    const std::vector<TaughtPhoto>& photos,
    uint64_t seed);

// 1 - the cosine between the student's descriptors and the projections of the
// teachers' of the photograph as it is: the mean over cells of both images of
// the pairs of photographs, about 1024 of an image, others in every iteration
// (levels are summed); 0 if there is no such pair. Descriptors themselves say
// more to a student, and of more places, than the maps that follow from them.
// Arguments as for DistillationLoss().
torch::Tensor ImitationLoss(const std::vector<NetworkLevel>& levels,
                            const std::vector<ImitationSpace>& spaces,
                            const LevelFeatures& references,
                            const LevelFeatures& queries,
                            const TrainingPairs& pairs,
                            const std::vector<TaughtPhoto>& photos,
                            int64_t iteration);

}  // namespace nre
