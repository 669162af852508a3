// Where commands write that add to a database: into a copy, or in place; all or
// nothing, even if they are killed.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "colmap_plugin/exe/options.h"
#include "colmap_plugin/io/database.h"
#include "colmap_plugin/io/output.h"

namespace nre {

struct DatabaseOutputOptions {
  std::string database_path;
  std::string output_database_path;
  bool in_place = false;
};

void AddDatabaseOutputOptions(DatabaseOutputOptions* options,
                              OptionParser* parser);

// Of the geometric verification of matches before they are written.
void AddVerificationOptions(VerificationOptions* options, OptionParser* parser);

class DatabaseOutput {
 public:
  // Throws InputError unless the options say where to write, and if nothing can
  // be written there; so that this is known before the work is done. What
  // another program that was killed has left beside a database that is written
  // in place is cleared up by SQLite here.
  explicit DatabaseOutput(const DatabaseOutputOptions& options);

  // Calls `write` within a transaction, and puts the result into place. If it
  // throws, everything stays as it was.
  void Write(const std::function<void(Database* database)>& write) const;

 private:
  DatabaseOutputOptions options_;
  std::unique_ptr<OutputFile> copy_;  // null: in place
};

}  // namespace nre
