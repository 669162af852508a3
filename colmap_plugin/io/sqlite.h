// SQLite's statements as values, and its errors as exceptions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;

namespace nre {

// Throws what the last failure of a connection means: std::runtime_error for a
// disk that is full or broken, InputError, naming the file, for anything else.
[[noreturn]] void ThrowSqliteError(sqlite3* database, const std::string& path);

class SqliteStatement {
 public:
  // `path`: of the database, for messages. All functions throw as above.
  SqliteStatement(sqlite3* database, const std::string& path, const char* sql);
  ~SqliteStatement();
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;

  // Parameters count from 1.
  void BindNull(int index);
  void BindInt(int index, int64_t value);
  void BindText(int index, const std::string& value);
  void BindBlob(int index, const std::vector<char>& value);

  // True while there is a row.
  bool Step();

  // Columns count from 0.
  int64_t Int(int column) const;
  std::string Text(int column) const;
  std::vector<char> Blob(int column) const;

 private:
  void Check(int result) const;

  sqlite3* database_;
  std::string path_;
  sqlite3_stmt* statement_ = nullptr;
};

}  // namespace nre
