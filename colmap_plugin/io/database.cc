#include "colmap_plugin/io/database.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <stdexcept>

#include <sqlite3.h>

#include "colmap_plugin/compat/camera.h"
#include "colmap_plugin/compat/commands.h"
#include "colmap_plugin/io/sqlite.h"
#include "nre/error.h"

namespace nre {
namespace {

namespace fs = std::filesystem;

// A matrix as the tables keypoints and descriptors store it, row by row.
struct Table {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<char> data;
};

Table ReadTable(sqlite3* database,
                const std::string& path,
                const char* sql,
                colmap::image_t image_id) {
  SqliteStatement statement(database, path, sql);
  statement.BindInt(1, image_id);
  Table table;
  if (statement.Step()) {
    table = {statement.Int(0), statement.Int(1), statement.Blob(2)};
  }
  return table;
}

// Keypoints are x, y; x, y, scale, orientation; or x, y and a 2x2 shape.
Table ReadKeypointTable(sqlite3* database,
                        const std::string& path,
                        colmap::image_t image_id) {
  Table table =
      ReadTable(database,
                path,
                "SELECT rows, cols, data FROM keypoints WHERE image_id = ?;",
                image_id);
  if (table.rows == 0) {
    return {0, 6, {}};
  }
  if ((table.cols != 2 && table.cols != 4 && table.cols != 6) ||
      table.data.size() != sizeof(float) * table.rows * table.cols) {
    throw InputError("The database " + path +
                     " has damaged keypoints of image " +
                     std::to_string(image_id) + ".");
  }
  return table;
}

// The frame and rig of an image in a database of COLMAP 4; none in older ones.
// A frame of several images cannot have the pose of one: that image gets the id
// of a frame that is not there.
std::optional<FrameIds> ReadFrameIds(sqlite3* database,
                                     const std::string& path,
                                     colmap::image_t image_id) {
  SqliteStatement tables(
      database, path, "SELECT 1 FROM sqlite_master WHERE name = 'frame_data';");
  if (!tables.Step()) {
    return {};
  }
  // Sensors of type 0 are cameras; their data are images.
  SqliteStatement row(database,
                      path,
                      "SELECT frame_id, rig_id, "
                      "(SELECT COUNT(*) FROM frame_data AS other WHERE "
                      "other.frame_id = frames.frame_id), "
                      "(SELECT MAX(frame_id) FROM frames) + data_id "
                      "FROM frames JOIN frame_data USING (frame_id) "
                      "WHERE data_id = ? AND sensor_type = 0;");
  row.BindInt(1, image_id);
  if (!row.Step()) {
    return {};
  }
  return FrameIds{static_cast<uint32_t>(row.Int(row.Int(2) == 1 ? 0 : 3)),
                  static_cast<uint32_t>(row.Int(1))};
}

// An id of the row that COLMAP can work with.
uint32_t ReadId(const SqliteStatement& row,
                int column,
                uint32_t max_id,
                const std::string& what) {
  const int64_t id = row.Int(column);
  if (id < 0 || id > max_id) {
    throw InputError("its " + what + " id in the database, " +
                     std::to_string(id) + ", is not between 0 and " +
                     std::to_string(max_id) + ", COLMAP's largest");
  }
  return static_cast<uint32_t>(id);
}

// Databases of this and later versions may have anything in their tables.
constexpr int64_t kUnknownVersion = 5000000;

void CheckLayout(sqlite3* database, const std::string& path) {
  try {
    SqliteStatement(
        database,
        path,
        "SELECT 1 FROM images, cameras, keypoints, descriptors LIMIT 1;")
        .Step();
  } catch (const InputError& error) {
    throw InputError(std::string(error.what()) +
                     " Expected a database that COLMAP created.");
  }
  SqliteStatement version(database, path, "PRAGMA user_version;");
  version.Step();
  if (version.Int(0) >= kUnknownVersion) {
    throw InputError("The database " + path + " was written by COLMAP " +
                     std::to_string(version.Int(0) / 1000000) +
                     " or newer, whose databases this program does not know. "
                     "Expected one of COLMAP 3 or 4.");
  }
}

// The version of COLMAP that a database says, as far as it is known: 4020100 is
// 4.2.1. Versions 3.9 to 3.13 all say 3900, and an older one that has tried to
// open the database says its own.
std::string VersionName(int64_t user_version) {
  constexpr int64_t kFirstExact = 4000000;
  if (user_version < kFirstExact) {
    return "COLMAP 3.9 or newer";
  }
  return "COLMAP " + std::to_string(user_version / 1000000) + "." +
         std::to_string(user_version / 10000 % 100) + "." +
         std::to_string(user_version / 100 % 100);
}

// The number of a pair in the tables of matches, the smaller id first.
constexpr int64_t kMaxNumImages = 2147483647;

int64_t PairId(colmap::image_t image_id1, colmap::image_t image_id2) {
  return kMaxNumImages * std::min(image_id1, image_id2) +
         std::max(image_id1, image_id2);
}

std::vector<char> ToBlob(const KeypointMatches& matches) {
  std::vector<char> blob(matches.size() * 2 * sizeof(uint32_t));
  char* data = blob.data();
  for (const auto& [i, j] : matches) {
    const uint32_t row[] = {i, j};
    std::memcpy(data, row, sizeof(row));
    data += sizeof(row);
  }
  return blob;
}

// Row by row.
void BindMatrix(int index,
                const std::optional<Eigen::Matrix3d>& matrix,
                SqliteStatement* statement) {
  if (!matrix.has_value()) {
    statement->BindNull(index);
    return;
  }
  const Eigen::Matrix3d transposed = matrix->transpose();
  std::vector<char> blob(9 * sizeof(double));
  std::memcpy(blob.data(), transposed.data(), blob.size());
  statement->BindBlob(index, blob);
}

std::string ReadOnlyUri(const std::string& path) {
  std::string uri = "file://";  // no host; paths may begin with two slashes
  for (const char c : fs::absolute(path).string()) {
    switch (c) {
      case '%':
        uri += "%25";
        break;
      case '?':
        uri += "%3f";
        break;
      case '#':
        uri += "%23";
        break;
      default:
        uri += c;
    }
  }
  // Immutable: no locks, no journal, no shared-memory file.
  return uri + "?mode=ro&immutable=1";
}

using Connection = std::unique_ptr<sqlite3, decltype(&sqlite3_close)>;

// `name`: the path or a URI.
Connection Connect(const std::string& path,
                   const std::string& name,
                   int flags) {
  sqlite3* database = nullptr;
  const int result = sqlite3_open_v2(name.c_str(), &database, flags, nullptr);
  Connection connection(database, &sqlite3_close);
  if (result != SQLITE_OK) {
    ThrowSqliteError(database, path);
  }
  return connection;
}

// COLMAP's databases write into a log first. What is committed is then on the
// disk, but not in the database if that has no room, of which SQLite says
// nothing. That is of no use to a copy, from whose side the log is removed.
void EndWriteAheadLog(const std::string& path) {
  const Connection database = Connect(path, path, SQLITE_OPEN_READWRITE);
  SqliteStatement(database.get(), path, "PRAGMA journal_mode = DELETE;").Step();
}

bool IsNotEmpty(const std::string& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return !error && size > 0;
}

// What lies beside a database belongs to it, but is not in the file.
void CheckNoJournal(const std::string& path) {
  for (const char* journal : {"-wal", "-journal"}) {
    if (IsNotEmpty(path + journal)) {
      throw InputError("The database " + path + " has unsaved changes in " +
                       path + journal +
                       ": another program is using it, or was killed. Close "
                       "that program, or open and close the database in one.");
    }
  }
}

}  // namespace

Database::Database(const std::string& path, Mode mode) : path_(path) {
  if (!fs::is_regular_file(path)) {
    throw InputError("The database " + path + " does not exist.");
  }
  const bool read_only = mode == Mode::kReadOnly;
  if (read_only) {
    CheckNoJournal(path);
  }
  const std::string name = read_only ? ReadOnlyUri(path) : path;
  const int flags = read_only ? SQLITE_OPEN_READONLY | SQLITE_OPEN_URI
                              : SQLITE_OPEN_READWRITE;
  const int result = sqlite3_open_v2(name.c_str(), &database_, flags, nullptr);
  try {
    if (result != SQLITE_OK) {
      ThrowSqliteError(database_, path_);
    }
    CheckLayout(database_, path_);
    if (mode == Mode::kReadWrite) {
      SqliteStatement(database_, path_, "BEGIN IMMEDIATE;").Step();
    }
  } catch (...) {
    sqlite3_close(database_);
    throw;
  }
}

Database::~Database() { sqlite3_close(database_); }

std::vector<Query> Database::ReadQueries(
    const std::vector<std::string>& names) const {
  std::vector<Query> queries;
  for (const std::string& name : names) {
    Query query;
    query.name = name;
    SqliteStatement row(
        database_,
        path_,
        "SELECT image_id, cameras.camera_id, model, width, height, "
        "params, prior_focal_length FROM images JOIN cameras ON "
        "images.camera_id = "
        "cameras.camera_id WHERE name = ?;");
    row.BindText(1, name);
    try {
      if (!row.Step()) {
        throw InputError("the database " + path_ +
                         " has no image of this name, or no camera of it");
      }
      query.image_id = ReadId(row, 0, kMaxImageId, "image");
      query.camera_id = ReadId(row, 1, kMaxCameraId, "camera");
      query.frame_ids = ReadFrameIds(database_, path_, query.image_id);
      const int model_id = static_cast<int>(row.Int(2));
      const CameraModelInfo* model = FindCameraModel(model_id);
      if (model == nullptr) {
        const std::string newer = NewerCameraModel(model_id);
        throw InputError("its camera " + std::to_string(query.camera_id) +
                         (newer.empty() ? " has the unknown model " +
                                              std::to_string(model_id)
                                        : " cannot be used: " + newer));
      }
      const std::vector<char> blob = row.Blob(5);
      std::vector<double> params(blob.size() / sizeof(double));
      std::memcpy(params.data(), blob.data(), params.size() * sizeof(double));
      query.camera = MakeColmapCamera(model->name,
                                      static_cast<int>(row.Int(3)),
                                      static_cast<int>(row.Int(4)),
                                      params);
      query.focal_length_unknown =
          row.Int(6) == 0 && HasFocalLength(query.camera);
      if (query.focal_length_unknown) {
        query.camera = ScaleFocalLength(query.camera, 1.0);
      }
    } catch (const InputError& error) {
      query.error = error.what();
    }
    queries.push_back(query);
  }
  return queries;
}

std::set<uint32_t> Database::ReadCameraIds() const {
  SqliteStatement row(database_, path_, "SELECT camera_id FROM cameras;");
  std::set<uint32_t> ids;
  while (row.Step()) {
    ids.insert(static_cast<uint32_t>(row.Int(0)));
  }
  return ids;
}

size_t Database::NumKeypoints(colmap::image_t image_id) const {
  SqliteStatement row(
      database_, path_, "SELECT rows FROM keypoints WHERE image_id = ?;");
  row.BindInt(1, image_id);
  return row.Step() ? row.Int(0) : 0;
}

std::vector<Eigen::Vector2d> Database::ReadKeypoints(
    colmap::image_t image_id) const {
  const Table table = ReadKeypointTable(database_, path_, image_id);
  std::vector<Eigen::Vector2d> keypoints;
  for (int64_t i = 0; i < table.rows; ++i) {
    float xy[2];
    std::memcpy(xy, &table.data[i * table.cols * sizeof(float)], sizeof(xy));
    keypoints.emplace_back(xy[0], xy[1]);
  }
  return keypoints;
}

std::vector<std::string> Database::ReadImageNames() const {
  SqliteStatement row(
      database_, path_, "SELECT name FROM images ORDER BY name;");
  std::vector<std::string> names;
  while (row.Step()) {
    names.push_back(row.Text(0));
  }
  return names;
}

KeypointMatches Database::ReadMatches(colmap::image_t image_id1,
                                      colmap::image_t image_id2,
                                      Matches matches_kind) const {
  SqliteStatement statement(
      database_,
      path_,
      matches_kind == Matches::kRaw
          ? "SELECT rows, data FROM matches WHERE pair_id = ?;"
          : "SELECT rows, data FROM two_view_geometries WHERE pair_id = ?;");
  statement.BindInt(1, PairId(image_id1, image_id2));
  if (!statement.Step()) return {};
  const size_t num = statement.Int(0);
  const std::vector<char> data = statement.Blob(1);
  std::vector<uint32_t> indices(2 * num);
  if (data.size() != indices.size() * sizeof(uint32_t)) {
    throw InputError("The database " + path_ + " has damaged matches of the " +
                     "images " + std::to_string(image_id1) + " and " +
                     std::to_string(image_id2) + ".");
  }
  if (num == 0) return {};
  std::memcpy(indices.data(), data.data(), data.size());
  const bool swapped = image_id1 > image_id2;
  KeypointMatches matches;
  for (size_t i = 0; i < num; ++i) {
    matches.emplace_back(indices[2 * i + swapped], indices[2 * i + !swapped]);
  }
  return matches;
}

void Database::CheckIndices(colmap::image_t image_id1,
                            colmap::image_t image_id2,
                            const KeypointMatches& matches) const {
  const size_t num1 = NumKeypoints(image_id1);
  const size_t num2 = NumKeypoints(image_id2);
  for (const auto& [i, j] : matches) {
    if (i >= num1 || j >= num2) {
      throw InputError("The database " + path_ +
                       " has matches of keypoints that it does not have, of "
                       "the images " +
                       std::to_string(image_id1) + " and " +
                       std::to_string(image_id2) +
                       ". Remove the matches and match these images again.");
    }
  }
}

void Database::CheckMatchTables() const {
  try {
    SqliteStatement(
        database_, path_, "SELECT pair_id, rows, cols, data FROM matches;");
    SqliteStatement(database_,
                    path_,
                    "SELECT pair_id, rows, cols, data, config, F, E, H FROM "
                    "two_view_geometries;");
  } catch (const InputError& error) {
    throw InputError(std::string(error.what()) +
                     " Expected a database of COLMAP 3.6 or newer. Migrate a "
                     "copy of it: colmap database_creator --database_path "
                     "<copy>.");
  }
}

void Database::WriteMatches(colmap::image_t image_id1,
                            colmap::image_t image_id2,
                            const KeypointMatches& matches,
                            const TwoViewGeometry& geometry) {
  if (image_id1 > image_id2) {
    KeypointMatches swapped;
    for (const auto& [i, j] : matches) {
      swapped.emplace_back(j, i);
    }
    WriteMatches(image_id2, image_id1, swapped, Inverse(geometry));
    return;
  }
  const int64_t pair_id = PairId(image_id1, image_id2);
  SqliteStatement raw(
      database_,
      path_,
      "INSERT OR REPLACE INTO matches(pair_id, rows, cols, data) "
      "VALUES(?, ?, 2, ?);");
  raw.BindInt(1, pair_id);
  raw.BindInt(2, matches.size());
  raw.BindBlob(3, ToBlob(matches));
  raw.Step();

  SqliteStatement verified(
      database_,
      path_,
      "INSERT OR REPLACE INTO two_view_geometries(pair_id, rows, cols, data, "
      "config, F, E, H) VALUES(?, ?, 2, ?, ?, ?, ?, ?);");
  verified.BindInt(1, pair_id);
  verified.BindInt(2, geometry.inliers.size());
  verified.BindBlob(3, ToBlob(geometry.inliers));
  verified.BindInt(4, geometry.config);
  BindMatrix(5, geometry.F, &verified);
  BindMatrix(6, geometry.E, &verified);
  BindMatrix(7, geometry.H, &verified);
  verified.Step();
}

std::vector<std::pair<colmap::image_t, colmap::image_t>>
Database::ReadMatchedPairs(Matches matches) const {
  SqliteStatement row(
      database_,
      path_,
      matches == Matches::kRaw
          ? "SELECT pair_id FROM matches WHERE rows > 0;"
          : "SELECT pair_id FROM two_view_geometries WHERE rows > "
            "0;");
  std::vector<std::pair<colmap::image_t, colmap::image_t>> pairs;
  while (row.Step()) {
    pairs.emplace_back(row.Int(0) / kMaxNumImages, row.Int(0) % kMaxNumImages);
  }
  return pairs;
}

std::vector<uint8_t> Database::ReadSiftDescriptors(
    colmap::image_t image_id) const {
  const Table table =
      ReadTable(database_,
                path_,
                "SELECT rows, cols, data FROM descriptors WHERE image_id = ?;",
                image_id);
  if (table.cols != kSiftSize) {  // COLMAP 4's other ones are four times wider
    return {};
  }
  if (table.data.size() != kSiftSize * table.rows) {
    throw InputError("The database " + path_ +
                     " has damaged descriptors of image " +
                     std::to_string(image_id) + ".");
  }
  return {table.data.begin(), table.data.end()};
}

void Database::AppendKeypoints(colmap::image_t image_id,
                               const std::vector<Eigen::Vector2d>& keypoints) {
  if (keypoints.empty()) {
    return;
  }
  Table table = ReadKeypointTable(database_, path_, image_id);
  table.rows += keypoints.size();
  for (const Eigen::Vector2d& xy : keypoints) {
    const float x = static_cast<float>(xy.x());
    const float y = static_cast<float>(xy.y());
    const float row2[] = {x, y};
    const float row4[] = {x, y, 1.0f, 0.0f};              // scale, orientation
    const float row6[] = {x, y, 1.0f, 0.0f, 0.0f, 1.0f};  // shape
    const float* row = table.cols == 2 ? row2 : table.cols == 4 ? row4 : row6;
    const char* bytes = reinterpret_cast<const char*>(row);
    table.data.insert(
        table.data.end(), bytes, bytes + table.cols * sizeof(float));
  }
  SqliteStatement write(
      database_,
      path_,
      "INSERT OR REPLACE INTO keypoints(image_id, rows, cols, data) "
      "VALUES(?, ?, ?, ?);");
  write.BindInt(1, image_id);
  write.BindInt(2, table.rows);
  write.BindInt(3, table.cols);
  write.BindBlob(4, table.data);
  write.Step();

  Table descriptors =
      ReadTable(database_,
                path_,
                "SELECT rows, cols, data FROM descriptors WHERE image_id = ?;",
                image_id);
  if (descriptors.rows == 0) {
    return;
  }
  const size_t row_size = descriptors.data.size() / descriptors.rows;
  descriptors.rows += keypoints.size();
  descriptors.data.resize(descriptors.rows * row_size, '\0');
  SqliteStatement update(
      database_,
      path_,
      "UPDATE descriptors SET rows = ?, data = ? WHERE image_id = ?;");
  update.BindInt(1, descriptors.rows);
  update.BindBlob(2, descriptors.data);
  update.BindInt(3, image_id);
  update.Step();
}

void Database::Commit() {
  Execute("COMMIT;");
  const int result = sqlite3_close(database_);
  if (result != SQLITE_OK) {
    throw std::runtime_error("The database " + path_ +
                             " could not be closed: " + sqlite3_errstr(result) +
                             ".");
  }
  database_ = nullptr;
}

void Database::Execute(const std::string& sql) const {
  if (sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr) !=
      SQLITE_OK) {
    throw std::runtime_error(
        "The database " + path_ +
        " could not be written: " + sqlite3_errmsg(database_) + ".");
  }
}

void CopyDatabase(const std::string& path, const std::string& copy_path) {
  CheckNoJournal(path);
  std::error_code error;
  if (!fs::copy_file(path, copy_path, error)) {
    throw std::runtime_error("The database could not be copied to " +
                             copy_path + ": " + error.message() + ".");
  }
  fs::permissions(
      copy_path, fs::perms::owner_write, fs::perm_options::add, error);
  EndWriteAheadLog(copy_path);
}

void CheckThatColmapCanUse(const std::string& path) {
  if (!fs::is_regular_file(path)) {
    return;
  }
  const Connection database =
      Connect(path, ReadOnlyUri(path), SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
  std::set<std::string> columns;
  SqliteStatement row(
      database.get(), path, "SELECT name FROM pragma_table_info('images');");
  while (row.Step()) {
    columns.insert(row.Text(0));
  }
  const std::vector<std::string> needed = ImageColumnsOfColmap();
  if (columns.empty() ||
      std::all_of(needed.begin(), needed.end(), [&](const std::string& name) {
        return columns.count(name) > 0;
      })) {
    return;
  }
  SqliteStatement version(database.get(), path, "PRAGMA user_version;");
  version.Step();
  const std::string maker = VersionName(version.Int(0));
  throw InputError("The database " + path + " was made by " + maker +
                   ". This command is that of " + ColmapVersion() +
                   ", which cannot use such databases: run it with " + maker +
                   ", or make the database anew with " + ColmapVersion() +
                   ". It was not changed.");
}

}  // namespace nre
