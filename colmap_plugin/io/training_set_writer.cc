#include "colmap_plugin/io/training_set_writer.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "nre/error.h"

namespace nre {
namespace {

StoredMetadata Metadata(const std::string& source) {
  return {{"format", "colmap_nre training set"},
          {"version", "1"},
          {"source", source}};
}

// All arrays but those of the images.
constexpr size_t kNumOtherArrays = 6;

}  // namespace

TrainingSetWriter::GrowingArray::GrowingArray(const std::string& path)
    : path_(path),
      stream_(
          path,
          std::ios::binary | std::ios::in | std::ios::out | std::ios::trunc) {
  if (!stream_) Fail();
}

TrainingSetWriter::GrowingArray::~GrowingArray() { std::remove(path_.c_str()); }

void TrainingSetWriter::GrowingArray::Fail() const {
  const int error = errno;
  std::remove(path_.c_str());
  throw InputError("The file " + path_ + " cannot be written: " +
                   std::strerror(error) + ". Is there room?");
}

void TrainingSetWriter::GrowingArray::Append(const void* data, size_t bytes) {
  stream_.write(static_cast<const char*>(data), bytes);
  if (!stream_) Fail();
}

void TrainingSetWriter::GrowingArray::CopyTo(SafetensorsWriter* writer) {
  if (!stream_.seekg(0)) Fail();  // flushes
  std::vector<char> buffer(1 << 20);
  while (stream_) {
    stream_.read(buffer.data(), buffer.size());
    writer->Append(buffer.data(), stream_.gcount());
  }
}

TrainingSetWriter::TrainingSetWriter(const std::string& path,
                                     const std::string& source,
                                     size_t max_num_images)
    : metadata_(Metadata(source)),
      writer_(path,
              SafetensorsWriter::MaxHeaderSize(
                  metadata_, max_num_images + kNumOtherArrays)),
      reference_positions_(path + ".reference_positions"),
      query_positions_(path + ".query_positions"),
      visible_(path + ".visible") {}

TrainingSetWriter::~TrainingSetWriter() = default;

int32_t TrainingSetWriter::AddImage(const std::string& name,
                                    const Image& image) {
  char key[32];
  std::snprintf(key, sizeof(key), "image/%06d", num_images_);
  writer_.Add(key, "U8", {image.height, image.width, 3}, image.rgb.data());
  std::string line = name;
  std::replace(line.begin(), line.end(), '\n', ' ');
  names_ += line + "\n";
  return num_images_++;
}

void TrainingSetWriter::AddPair(int32_t reference,
                                int32_t query,
                                const std::vector<PairPoint>& points) {
  pair_images_.insert(pair_images_.end(), {reference, query});
  pair_offsets_.push_back(pair_offsets_.back() + points.size());
  for (const PairPoint& point : points) {
    const float reference_xy[] = {static_cast<float>(point.reference_x),
                                  static_cast<float>(point.reference_y)};
    const float query_xy[] = {static_cast<float>(point.query_x),
                              static_cast<float>(point.query_y)};
    const uint8_t visible = point.visible;
    reference_positions_.Append(reference_xy, sizeof(reference_xy));
    query_positions_.Append(query_xy, sizeof(query_xy));
    visible_.Append(&visible, sizeof(visible));
  }
}

void TrainingSetWriter::Finish() {
  const int64_t num_pairs = pair_offsets_.size() - 1;
  const int64_t num_points = pair_offsets_.back();
  writer_.Add("image_names",
              "U8",
              {static_cast<int64_t>(names_.size())},
              names_.data());
  writer_.Add("pair_images", "I32", {num_pairs, 2}, pair_images_.data());
  writer_.Add("pair_offsets", "I64", {num_pairs + 1}, pair_offsets_.data());
  writer_.Begin("reference_positions", "F32", {num_points, 2});
  reference_positions_.CopyTo(&writer_);
  writer_.Begin("query_positions", "F32", {num_points, 2});
  query_positions_.CopyTo(&writer_);
  writer_.Begin("visible", "U8", {num_points});
  visible_.CopyTo(&writer_);
  writer_.Finish(metadata_);
}

}  // namespace nre
