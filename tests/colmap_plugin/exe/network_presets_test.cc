// Presets of networks (vgg16 is s2dhm without pooling) through the executable,
// with random weights.

#include <cstdlib>
#include <ostream>
#include <string>

#include <gtest/gtest.h>

#include "colmap_plugin/io/lists.h"
#include "nre/pose_evaluation.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

struct Preset {
  std::string name;
  std::string networks;
  // Random convolutions still tell some places from others. These do well
  // enough for a view as near as this one.
  bool registers = false;
};

void PrintTo(const Preset& preset, std::ostream* stream) {
  *stream << preset.name;
}

class NetworkPresetsTest : public testing::TestWithParam<Preset> {
 protected:
  const TestFolder folder_;
};

TEST_P(NetworkPresetsTest, RunsEndToEnd) {
  const RenderedScene scene(folder_ / "in");
  const Preset& preset = GetParam();
  ASSERT_EQ(std::system((std::string(NRE_WRITE_SEEDED_WEIGHTS) + " " +
                         folder_ / "weights" + " " + preset.networks)
                            .c_str()),
            0);
  const std::string list = ReadFile(scene.query_list_path);
  WriteFile(folder_ / "one.txt", list.substr(0, list.find('\n') + 1));
  const RunResult run = RunColmapNre({"nre_localizer",
                                      "--input_path",
                                      scene.model_path,
                                      "--image_path",
                                      scene.image_path,
                                      "--query_list_path",
                                      folder_ / "one.txt",
                                      "--pairs_path",
                                      scene.pairs_path,
                                      "--features",
                                      preset.name,
                                      "--weights_path",
                                      folder_ / "weights",
                                      "--device",
                                      "cpu",
                                      "--output_path",
                                      folder_ / "out"});
  EXPECT_TRUE(run.exit_code == 0 || run.exit_code == 3) << run.output;
  const Poses poses = ReadPoses(folder_ / "out/results.txt");
  const auto pose = poses.find(scene.query_names[0]);
  EXPECT_TRUE(pose != poses.end() || !preset.registers) << run.output;
  if (pose != poses.end()) {
    EXPECT_LT(CenterError(pose->second, scene.query_poses[0]), 0.1);
    EXPECT_LT(RotationErrorDeg(pose->second, scene.query_poses[0]), 1.0);
  }
}

INSTANTIATE_TEST_SUITE_P(All,
                         NetworkPresetsTest,
                         testing::Values(Preset{"nre", "nre_coarse nre_fine"},
                                         Preset{"s2dnet", "s2dnet"},
                                         Preset{"s2dhm", "s2dhm"},
                                         Preset{"gnnet", "gnnet", true},
                                         Preset{"alike_t", "alike_t"},
                                         Preset{"xfeat", "xfeat"}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nre
