#include "colmap_plugin/io/raw_matches.h"

#include <cstring>
#include <filesystem>

#include <sqlite3.h>

#include "colmap_plugin/io/sqlite.h"
#include "nre/error.h"

namespace nre {
namespace {

// SQLite's mark of the program that a file belongs to: "nreM".
constexpr int64_t kApplicationId = 0x6e72654d;

constexpr char kCreateTables[] =
    "PRAGMA application_id = 1852990797;"
    "CREATE TABLE settings (text TEXT NOT NULL);"
    "CREATE TABLE pairs (name1 TEXT NOT NULL, name2 TEXT NOT NULL, "
    "keypoints_hash INTEGER NOT NULL, matches BLOB NOT NULL, "
    "PRIMARY KEY (name1, name2)) WITHOUT ROWID;";
static_assert(kApplicationId == 1852990797);

}  // namespace

RawMatchFile::RawMatchFile(const std::string& path, const std::string& settings)
    : path_(path), is_new_(!std::filesystem::exists(path)) {
  const std::filesystem::path folder =
      std::filesystem::absolute(path).parent_path();
  if (!std::filesystem::is_directory(folder)) {
    throw InputError("The file of raw matches " + path +
                     " cannot be created: its folder does not exist.");
  }
  try {
    if (sqlite3_open(path.c_str(), &database_) != SQLITE_OK) {
      ThrowSqliteError(database_, path_);
    }
    Execute("BEGIN IMMEDIATE;");
    CreateOrCheck(settings);
    Execute("COMMIT;");
  } catch (...) {
    Close();
    throw;
  }
}

RawMatchFile::~RawMatchFile() { Close(); }

void RawMatchFile::Close() {
  bool has_no_pair = false;
  try {
    has_no_pair = is_new_ && NumPairs() == 0;
  } catch (const std::exception&) {
    // It has no tables, or another program locks it.
  }
  sqlite3_close(database_);
  std::error_code ignored;
  if (has_no_pair ||
      (is_new_ && std::filesystem::file_size(path_, ignored) == 0)) {
    std::filesystem::remove(path_, ignored);
  }
}

size_t RawMatchFile::NumPairs() const {
  SqliteStatement row(database_, path_, "SELECT COUNT(*) FROM pairs;");
  row.Step();
  return row.Int(0);
}

void RawMatchFile::CreateOrCheck(const std::string& settings) {
  if (!SqliteStatement(database_, path_, "SELECT 1 FROM sqlite_master;")
           .Step()) {
    Execute(kCreateTables);
    SqliteStatement insert(
        database_, path_, "INSERT INTO settings VALUES (?);");
    insert.BindText(1, settings);
    insert.Step();
    return;
  }
  SqliteStatement id(database_, path_, "PRAGMA application_id;");
  id.Step();
  if (id.Int(0) != kApplicationId) {
    throw InputError("The file " + path_ +
                     " is no file of raw matches. Name another one.");
  }
  SqliteStatement row(database_, path_, "SELECT text FROM settings;");
  row.Step();
  if (row.Text(0) != settings) {
    throw InputError("The file of raw matches " + path_ +
                     " was made with other options (" + row.Text(0) +
                     ") than those of now (" + settings +
                     "). Use the same, remove the file, or name another one.");
  }
}

bool RawMatchFile::Has(const std::string& name1,
                       const std::string& name2,
                       uint64_t keypoints_hash) const {
  SqliteStatement row(
      database_,
      path_,
      "SELECT keypoints_hash FROM pairs WHERE name1 = ? AND name2 = ?;");
  row.BindText(1, name1);
  row.BindText(2, name2);
  return row.Step() && static_cast<uint64_t>(row.Int(0)) == keypoints_hash;
}

void RawMatchFile::Write(const std::string& name1,
                         const std::string& name2,
                         uint64_t keypoints_hash,
                         const std::vector<RawMatch>& matches) {
  const char* bytes = reinterpret_cast<const char*>(matches.data());
  const std::vector<char> blob(bytes,
                               bytes + matches.size() * sizeof(RawMatch));
  SqliteStatement row(
      database_, path_, "INSERT OR REPLACE INTO pairs VALUES (?, ?, ?, ?);");
  row.BindText(1, name1);
  row.BindText(2, name2);
  row.BindInt(3, static_cast<int64_t>(keypoints_hash));
  row.BindBlob(4, blob);
  row.Step();
}

std::vector<RawMatch> RawMatchFile::Read(const std::string& name1,
                                         const std::string& name2) const {
  SqliteStatement row(
      database_,
      path_,
      "SELECT matches FROM pairs WHERE name1 = ? AND name2 = ?;");
  row.BindText(1, name1);
  row.BindText(2, name2);
  row.Step();
  const std::vector<char> blob = row.Blob(0);
  std::vector<RawMatch> matches(blob.size() / sizeof(RawMatch));
  if (matches.empty()) return matches;
  std::memcpy(matches.data(), blob.data(), matches.size() * sizeof(RawMatch));
  return matches;
}

void RawMatchFile::Execute(const char* sql) const {
  if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    ThrowSqliteError(database_, path_);
  }
}

}  // namespace nre
