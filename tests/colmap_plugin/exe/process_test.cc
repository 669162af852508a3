#include "colmap_plugin/exe/process.h"

#include <atomic>
#include <csignal>
#include <functional>
#include <new>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "colmap_plugin/compat/colmap.h"
#include "colmap_plugin/controllers/parallel.h"
#include "colmap_plugin/io/output.h"
#include "nre/error.h"
#include "tests/colmap_plugin/plugin_testing.h"

namespace nre {
namespace {

// RunCommand() is for once in a process: each case has one of its own.
void ExpectExit(const std::function<int(const std::atomic<bool>&)>& command,
                int exit_code,
                const std::string& message) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(_exit(RunCommand("test", command)),
              testing::ExitedWithCode(exit_code),
              message);
}

TEST(ProcessDeathTest, ExitCodesAndMessages) {
  ExpectExit([](const auto&) { return kExitNotAllRegistered; }, 3, "");
  ExpectExit([](const auto&) -> int { throw InputError("no such model"); },
             1,
             "^ERROR: no such model\n$");
  ExpectExit([](const auto&) -> int { throw std::runtime_error("disk full"); },
             2,
             "^ERROR: disk full\n$");
  ExpectExit(
      [](const auto&) -> int { throw std::bad_alloc(); }, 2, "Out of memory");
  ExpectExit([](const auto&) -> int { throw Interrupted(); }, 2, "Interrupted");
}

TEST(ProcessDeathTest, TheFirstSignalSetsTheFlag) {
  ExpectExit(
      [](const std::atomic<bool>& stop) -> int {
        kill(getpid(), SIGTERM);
        while (!stop) {
        }
        throw Interrupted();
      },
      2,
      "nothing was written");
}

// Not the folder's destructor, which does not run here.
TEST(ProcessDeathTest, ColmapGivingUpIsOneMessageAndLeavesNothing) {
  TestFolder folder;
  const std::string output_path = folder / "out";
  ExpectExit(
      [&output_path](const auto&) -> int {
        OutputFolder output(output_path, {});
        WriteTextFile(output.path() + "/file", "text");
        colmap::Reconstruction().WriteBinary("/no/such/folder");
        return 0;
      },
      2,
      "ERROR: .*/no/such/folder");
  EXPECT_THAT(List(folder.path()), testing::IsEmpty());
}

}  // namespace
}  // namespace nre
