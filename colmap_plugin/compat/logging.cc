#include "colmap_plugin/compat/logging.h"

#include <cstdlib>
#include <mutex>

#include <glog/logging.h>

namespace nre {
namespace {

void (*g_on_fatal)(const std::string& message) = nullptr;

// Remembers the last words.
class FatalMessageSink : public google::LogSink {
 public:
  void send(google::LogSeverity severity,
            const char* /*full_filename*/,
            const char* base_filename,
            int line,
            const struct ::tm* /*time*/,
            const char* message,
            size_t message_length) override {
    if (severity == google::GLOG_FATAL) {
      std::lock_guard<std::mutex> lock(mutex_);
      message_ = std::string(message, message_length) + " (" + base_filename +
                 ":" + std::to_string(line) + ")";
    }
  }

  std::string message() {
    std::lock_guard<std::mutex> lock(mutex_);
    return message_;
  }

 private:
  std::mutex mutex_;
  std::string message_;
};

FatalMessageSink& Sink() {
  static FatalMessageSink* sink = new FatalMessageSink;  // outlives everything
  return *sink;
}

[[noreturn]] void OnFatal() {
  g_on_fatal(Sink().message());
  std::abort();
}

}  // namespace

void SilenceColmapLogging(const char* program,
                          void (*on_fatal)(const std::string& message)) {
  g_on_fatal = on_fatal;
  google::InitGoogleLogging(program);
  for (int severity = 0; severity < google::NUM_SEVERITIES; ++severity) {
    google::SetLogDestination(severity, "");  // no log files
  }
  FLAGS_stderrthreshold = google::NUM_SEVERITIES;
  google::AddLogSink(&Sink());
  google::InstallFailureFunction(&OnFatal);
}

}  // namespace nre
