// How a command of ours meets its end: signals, failures, exit codes.
#pragma once

#include <atomic>
#include <functional>

namespace nre {

enum ExitCode {
  kExitDone = 0,
  kExitBadInput = 1,
  kExitFault = 2,  // also: interrupted
  kExitNotAllRegistered = 3,
};

// Runs the command and turns what it throws into one message on stderr and an
// exit code. Around it:
// - SIGINT, SIGTERM and SIGHUP set the flag given to the command; a second one
//   removes temporary output and ends the process at once;
// - COLMAP giving up (a failed CHECK) removes temporary output and ends the
//   process with one message;
// - a file size limit is an error when writing, not a signal.
// To be called once, before any thread is started.
int RunCommand(
    const char* program,
    const std::function<int(const std::atomic<bool>& stop)>& command);

}  // namespace nre
