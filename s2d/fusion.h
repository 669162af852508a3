// One loss map of a 3D point from its descriptors in several reference images.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace nre {

enum class Fusion {
  kNearest,  // the first reference that observes the point, and no other
  kMean,     // the mean descriptor, normalised if all are
  kMax,      // in every cell the similarity of the most similar descriptor
  kSum,      // the loss maps of all descriptors, averaged
};

// "nearest", "mean", "max" or "sum".
const char* FusionName(Fusion fusion);

// Throws InputError, naming what there is, for an unknown name.
Fusion ParseFusion(const std::string& name);

// Which rows of a matrix of descriptors belong to which point, and how they
// make one map.
struct FusedDescriptors {
  Fusion fusion = Fusion::kMean;
  // Point i has the rows [begins[i], begins[i + 1]), one at least. Empty: one
  // row for each point, which is all that kNearest and kMean need.
  std::vector<size_t> begins;

  size_t Begin(size_t point) const {
    return begins.empty() ? point : begins[point];
  }
  size_t End(size_t point) const { return Begin(point + 1); }

  // A softmax is taken of the similarities of this many rows together.
  size_t RowsPerSoftmax(size_t point) const {
    return fusion == Fusion::kMax ? End(point) - Begin(point) : 1;
  }
};

}  // namespace nre
