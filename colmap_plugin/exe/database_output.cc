#include "colmap_plugin/exe/database_output.h"

#include "colmap_plugin/exe/messages.h"
#include "nre/error.h"

namespace nre {

void AddDatabaseOutputOptions(DatabaseOutputOptions* options,
                              OptionParser* parser) {
  parser->AddPath("database_path",
                  &options->database_path,
                  "database; not changed unless --in_place 1");
  parser->AddPath("output_database_path",
                  &options->output_database_path,
                  "copy of the database that gets the matches; new");
  parser->Add("in_place",
              &options->in_place,
              "1: write into the database itself, in one transaction");
}

void AddVerificationOptions(VerificationOptions* options,
                            OptionParser* parser) {
  parser->Add("TwoViewGeometry.max_error_px",
              &options->max_error_px,
              "inlier threshold of COLMAP's geometric verification");
  parser->Add("TwoViewGeometry.min_num_inliers",
              &options->min_num_inliers,
              "pairs with fewer matches that agree are not verified");
}

DatabaseOutput::DatabaseOutput(const DatabaseOutputOptions& options)
    : options_(options) {
  Require(options.database_path, "database_path");
  if (options.output_database_path.empty() != options.in_place) {
    throw InputError(
        "Say where to write: either --output_database_path, a new file, or "
        "--in_place 1.");
  }
  Database(
      options.database_path,
      options.in_place ? Database::Mode::kReadWrite : Database::Mode::kReadOnly)
      .CheckMatchTables();
  if (!options.in_place) {
    copy_ = std::make_unique<OutputFile>(
        options.output_database_path,
        std::vector<std::string>{options.database_path});
  }
}

void DatabaseOutput::Write(
    const std::function<void(Database* database)>& write) const {
  if (copy_ != nullptr) {
    CopyDatabase(options_.database_path, copy_->path());
  }
  Database database(copy_ != nullptr ? copy_->path() : options_.database_path,
                    Database::Mode::kReadWrite);
  write(&database);
  database.Commit();
  if (copy_ != nullptr) {
    CommitAll({copy_.get()});
  }
}

}  // namespace nre
