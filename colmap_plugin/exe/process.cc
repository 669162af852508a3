#include "colmap_plugin/exe/process.h"

#include <csignal>
#include <exception>
#include <iostream>
#include <new>
#include <string>
#include <thread>

#include <unistd.h>

#include "colmap_plugin/compat/logging.h"
#include "colmap_plugin/controllers/localization_controller.h"
#include "colmap_plugin/io/output.h"
#include "nre/error.h"

namespace nre {
namespace {

// The thread that waits for signals may still use it when main() has ended.
std::atomic<bool>& StopFlag() {
  static auto* stop = new std::atomic<bool>(false);
  return *stop;
}

[[noreturn]] void EndNow(const std::string& message) {
  RemoveTemporaryFolders();
  std::cerr << message << std::endl;
  _exit(kExitFault);
}

[[noreturn]] void WaitForSignals(sigset_t signals) {
  while (true) {
    int signal = 0;
    sigwait(&signals, &signal);
    if (StopFlag().exchange(true)) {
      EndNow("Interrupted again; nothing was written.");
    }
    std::cerr << "\nInterrupted: stopping after the current step. Interrupt "
                 "again to stop at once."
              << std::endl;
  }
}

void HandleSignals() {
  std::signal(SIGXFSZ, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    sigaddset(&signals, signal);
  }
  // Inherited by every thread started later.
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread(WaitForSignals, signals).detach();
}

void OnColmapFatal(const std::string& message) {
  EndNow("ERROR: COLMAP gave up: " + message);
}

}  // namespace

int RunCommand(
    const char* program,
    const std::function<int(const std::atomic<bool>& stop)>& command) {
  HandleSignals();
  SilenceColmapLogging(program, &OnColmapFatal);
  try {
    return command(StopFlag());
  } catch (const InputError& error) {
    std::cerr << "ERROR: " << error.what() << std::endl;
    return kExitBadInput;
  } catch (const Interrupted&) {
    std::cerr << "Interrupted; nothing was written." << std::endl;
    return kExitFault;
  } catch (const std::bad_alloc&) {
    std::cerr << "ERROR: Out of memory. Use fewer --num_threads or smaller "
                 "images."
              << std::endl;
    return kExitFault;
  } catch (const std::exception& error) {
    std::cerr << "ERROR: " << error.what() << std::endl;
    return kExitFault;
  }
}

}  // namespace nre
