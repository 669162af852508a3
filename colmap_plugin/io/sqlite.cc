#include "colmap_plugin/io/sqlite.h"

#include <stdexcept>

#include <sqlite3.h>

#include "nre/error.h"

namespace nre {

void ThrowSqliteError(sqlite3* database, const std::string& path) {
  const std::string message = sqlite3_errmsg(database);
  switch (sqlite3_errcode(database)) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
      throw std::runtime_error("The database " + path +
                               " could not be read or written: " + message +
                               ".");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw InputError("The database " + path +
                       " is locked by another program. Close that one first.");
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      throw InputError("The database " + path +
                       " may not be written: " + message +
                       ". Change its permissions or those of its folder, or "
                       "write to a copy.");
    default:
      throw InputError("The database " + path + " cannot be used: " + message +
                       ".");
  }
}

SqliteStatement::SqliteStatement(sqlite3* database,
                                 const std::string& path,
                                 const char* sql)
    : database_(database), path_(path) {
  Check(sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr));
}

SqliteStatement::~SqliteStatement() { sqlite3_finalize(statement_); }

void SqliteStatement::BindNull(int index) {
  Check(sqlite3_bind_null(statement_, index));
}

void SqliteStatement::BindInt(int index, int64_t value) {
  Check(sqlite3_bind_int64(statement_, index, value));
}

void SqliteStatement::BindText(int index, const std::string& value) {
  Check(sqlite3_bind_text(
      statement_, index, value.c_str(), -1, SQLITE_TRANSIENT));
}

void SqliteStatement::BindBlob(int index, const std::vector<char>& value) {
  // A null pointer would be NULL, which is not an empty blob.
  Check(sqlite3_bind_blob64(statement_,
                            index,
                            value.empty() ? "" : value.data(),
                            value.size(),
                            SQLITE_TRANSIENT));
}

bool SqliteStatement::Step() {
  const int result = sqlite3_step(statement_);
  if (result != SQLITE_ROW && result != SQLITE_DONE) {
    ThrowSqliteError(database_, path_);
  }
  return result == SQLITE_ROW;
}

int64_t SqliteStatement::Int(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string SqliteStatement::Text(int column) const {
  const std::vector<char> text = Blob(column);
  return std::string(text.begin(), text.end());
}

std::vector<char> SqliteStatement::Blob(int column) const {
  const char* data =
      static_cast<const char*>(sqlite3_column_blob(statement_, column));
  const int size = sqlite3_column_bytes(statement_, column);
  return data == nullptr ? std::vector<char>()
                         : std::vector<char>(data, data + size);
}

void SqliteStatement::Check(int result) const {
  if (result != SQLITE_OK) {
    ThrowSqliteError(database_, path_);
  }
}

}  // namespace nre
