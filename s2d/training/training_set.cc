#include "s2d/training/training_set.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "nre/error.h"

namespace nre {
namespace {

constexpr char kFormat[] = "colmap_nre training set";
constexpr char kVersion[] = "1";

constexpr int64_t kAny = -1;

// `why` becomes part of the message.
[[noreturn]] void Refuse(const std::string& why) { throw InputError(why); }

std::string ImageKey(size_t index) {
  char key[32];
  std::snprintf(key, sizeof(key), "image/%06zu", index);
  return key;
}

// The array, if it is of this type and shape.
const StoredTensor& Find(const SafetensorsView& file,
                         const std::string& name,
                         const std::string& dtype,
                         const std::vector<int64_t>& shape) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end()) Refuse(name + " is missing");
  const StoredTensor& tensor = found->second;
  const bool fits =
      std::equal(tensor.shape.begin(),
                 tensor.shape.end(),
                 shape.begin(),
                 shape.end(),
                 [](int64_t a, int64_t b) { return b == kAny || a == b; });
  if (tensor.dtype != dtype || !fits) {
    Refuse(name + " has another type or shape than expected");
  }
  return tensor;
}

// Arrays may lie at any address.
template <typename T>
std::vector<T> Values(const SafetensorsView& file, const StoredTensor& tensor) {
  std::vector<T> values((tensor.end - tensor.begin) / sizeof(T));
  if (!values.empty()) {
    std::memcpy(values.data(),
                file.data.data() + tensor.begin,
                values.size() * sizeof(T));
  }
  return values;
}

void CheckMetadata(const StoredMetadata& metadata) {
  const auto value = [&](const std::string& key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string() : found->second;
  };
  if (value("format") != kFormat) Refuse("its header does not say that it is");
  if (value("version") != kVersion) {
    Refuse("it has the version '" + value("version") + "', not " + kVersion);
  }
}

// Fills `rows` with those of the array at `data` from `begin` on.
torch::Tensor CopyRows(const char* data, int64_t begin, torch::Tensor rows) {
  if (rows.numel() > 0) {
    const size_t row_bytes = rows.nbytes() / rows.size(0);
    std::memcpy(rows.data_ptr(), data + begin * row_bytes, rows.nbytes());
  }
  return rows;
}

// [N], bool: whether positions [N, 2] are finite and inside of the image.
torch::Tensor IsInImage(const torch::Tensor& positions,
                        const StoredTensor& image) {
  const torch::Tensor size = torch::tensor(
      {static_cast<float>(image.shape[1]), static_cast<float>(image.shape[0])});
  return ((positions >= 0.0f) & (positions <= size)).all(1);
}

}  // namespace

TrainingSet::TrainingSet(const std::string& path)
    : path_(path), file_(ReadSafetensors(path)) {
  try {
    CheckMetadata(file_.metadata);
    ReadImages();
    ReadPairs();
    for (int64_t i = 0; i < NumPairs(); ++i) CheckPair(i);
  } catch (const InputError& error) {
    throw InputError("The file " + path +
                     " is no training set: " + error.what() +
                     ". Expected what colmap_nre training_exporter writes.");
  }
}

void TrainingSet::ReadImages() {
  const std::vector<char> names =
      Values<char>(file_, Find(file_, "image_names", "U8", {kAny}));
  for (auto begin = names.begin(); begin != names.end();) {
    const auto end = std::find(begin, names.end(), '\n');
    if (end == names.end()) Refuse("the last of image_names does not end");
    names_.emplace_back(begin, end);
    begin = end + 1;
  }
  for (size_t i = 0; i < names_.size(); ++i) {
    images_.push_back(Find(file_, ImageKey(i), "U8", {kAny, kAny, 3}));
    if (images_[i].begin == images_[i].end) Refuse(ImageKey(i) + " is empty");
  }
  if (images_.empty()) Refuse("it has no images");
  if (file_.tensors.count(ImageKey(images_.size())) > 0) {
    Refuse("it has more images than image_names");
  }
}

void TrainingSet::ReadPairs() {
  const StoredTensor& images = Find(file_, "pair_images", "I32", {kAny, 2});
  pair_images_ = Values<int32_t>(file_, images);
  for (const int32_t image : pair_images_) {
    if (image < 0 || image >= NumImages()) {
      Refuse("pair_images has the index " + std::to_string(image) + " of " +
             std::to_string(NumImages()) + " images");
    }
  }
  pair_offsets_ = Values<int64_t>(
      file_, Find(file_, "pair_offsets", "I64", {images.shape[0] + 1}));
  if (!std::is_sorted(pair_offsets_.begin(), pair_offsets_.end()) ||
      pair_offsets_.front() != 0) {
    Refuse("pair_offsets do not ascend from 0");
  }
  const int64_t num = pair_offsets_.back();
  const auto find = [&](const std::string& name,
                        const std::string& dtype,
                        const std::vector<int64_t>& shape) {
    return file_.data.data() + Find(file_, name, dtype, shape).begin;
  };
  reference_positions_ = find("reference_positions", "F32", {num, 2});
  query_positions_ = find("query_positions", "F32", {num, 2});
  visible_ = find("visible", "U8", {num});
}

void TrainingSet::CheckPair(int64_t index) const {
  const char* visible = visible_;
  if (std::any_of(visible + pair_offsets_[index],
                  visible + pair_offsets_[index + 1],
                  [](char value) { return value != 0 && value != 1; })) {
    Refuse("visible is neither 0 nor 1 in pair " + std::to_string(index));
  }
  const StoredPair pair = Pair(index);
  const torch::Tensor inside =
      IsInImage(pair.reference_positions, images_[pair.reference]) &
      IsInImage(pair.query_positions, images_[pair.query]);
  if ((pair.visible & ~inside).any().item<bool>()) {
    Refuse("visible points of pair " + std::to_string(index) +
           " are outside of its images");
  }
}

torch::Tensor TrainingSet::Image(int64_t index) const {
  TORCH_CHECK(index >= 0 && index < NumImages(), "no image ", index);
  const StoredTensor& image = images_[index];
  // Not written to: from_blob() takes no const.
  void* data = const_cast<char*>(file_.data.data()) + image.begin;
  return torch::from_blob(
      data, image.shape, [mapping = file_.mapping](void*) {}, torch::kUInt8);
}

const std::string& TrainingSet::ImageName(int64_t index) const {
  TORCH_CHECK(index >= 0 && index < NumImages(), "no image ", index);
  return names_[index];
}

StoredPair TrainingSet::Pair(int64_t index) const {
  TORCH_CHECK(index >= 0 && index < NumPairs(), "no pair ", index);
  const int64_t begin = pair_offsets_[index];
  const int64_t num = pair_offsets_[index + 1] - begin;
  StoredPair pair;
  pair.reference = pair_images_[2 * index];
  pair.query = pair_images_[2 * index + 1];
  pair.reference_positions =
      CopyRows(reference_positions_, begin, torch::empty({num, 2}));
  pair.query_positions =
      CopyRows(query_positions_, begin, torch::empty({num, 2}));
  pair.visible = CopyRows(visible_, begin, torch::empty({num}, torch::kBool));
  return pair;
}

}  // namespace nre
