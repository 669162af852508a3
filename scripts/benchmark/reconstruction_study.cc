// How good a reconstruction is, beside surveyed poses; see README.md and
// reconstruction_study.sh.
//
//   reconstruction_study SCENE MODEL
//
// SCENE has map/, a model of some images at their true poses, and
// queries_gt.txt, true poses of the others.

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <Eigen/Core>

#include "colmap_plugin/compat/reconstruction.h"
#include "colmap_plugin/io/evaluation.h"
#include "colmap_plugin/io/lists.h"
#include "nre/error.h"
#include "nre/pose_evaluation.h"

namespace nre {
namespace {

void Run(const std::string& scene, const std::string& path) {
  Poses truth = ReadPoses(scene + "/queries_gt.txt");
  colmap::Reconstruction map, model;
  ReadModel(scene + "/map", &map);
  ReadModel(path, &model);
  truth.merge(PosesOf(map));
  const Eigen::VectorXd errors = AlignedCenterErrors(model, truth);
  std::printf(
      "%zu of %zu images, %zu points, %.2f observations each, %.3f px, centres "
      "off by %.2f cm (median), %.2f (mean), %.2f (max)\n",
      static_cast<size_t>(errors.size()),
      truth.size(),
      static_cast<size_t>(model.NumPoints3D()),
      model.ComputeMeanTrackLength(),
      model.ComputeMeanReprojectionError(),
      100.0 * Median({errors.data(), errors.data() + errors.size()}),
      100.0 * errors.mean(),
      100.0 * errors.maxCoeff());
}

}  // namespace
}  // namespace nre

int main(int argc, char** argv) {
  try {
    if (argc != 3) throw nre::InputError("expected SCENE MODEL");
    nre::Run(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "reconstruction_study: %s\n", error.what());
    return 1;
  }
}
