#include "colmap_plugin/exe/process.h"

#include <csignal>
#include <exception>
#include <iostream>
#include <new>
#include <string>
#include <thread>

#include <semaphore.h>
#include <unistd.h>

#include "colmap_plugin/compat/logging.h"
#include "colmap_plugin/controllers/parallel.h"
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

// Handlers may do hardly anything, so they only wake the thread that does it.
// (Blocking the signals and waiting for them would be simpler, but OpenBLAS
// starts threads that do not block them before main() runs.)
sem_t g_signals;

void OnSignal(int /*signal*/) { sem_post(&g_signals); }

[[noreturn]] void WaitForSignals() {
  while (true) {
    while (sem_wait(&g_signals) != 0) {
    }
    if (StopFlag().exchange(true)) {
      EndNow("Interrupted again; nothing was written.");
    }
    std::cerr << "\nInterrupted: stopping after the current step. Interrupt "
                 "again to stop at once."
              << std::endl;
  }
}

void HandleSignals() {
  sem_init(&g_signals, 0, 0);
  struct sigaction action = {};
  action.sa_handler = &OnSignal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction old_action = {};
    sigaction(signal, nullptr, &old_action);
    if (old_action.sa_handler != SIG_IGN) {  // nohup stays in force
      sigaction(signal, &action, nullptr);
    }
  }
  std::signal(SIGXFSZ, SIG_IGN);
  std::thread(WaitForSignals).detach();
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
  } catch (const Interrupted& interrupted) {
    std::cerr << interrupted.what() << std::endl;
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
