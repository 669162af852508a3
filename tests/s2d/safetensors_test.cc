#include "s2d/safetensors.h"

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <sys/resource.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "nre/error.h"

namespace nre {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class SafetensorsTest : public testing::Test {
 protected:
  ~SafetensorsTest() override { std::remove(path_.c_str()); }

  void Write(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary) << bytes;
  }

  // With its length in front.
  void WriteHeader(const std::string& header, const std::string& data) const {
    std::string length(8, '\0');
    length[0] = static_cast<char>(header.size());
    length[1] = static_cast<char>(header.size() >> 8);
    Write(length + header + data);
  }

  std::string Bytes() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  void ExpectRefused(const std::string& why) const {
    EXPECT_THAT([&] { ReadSafetensors(path_); },
                ThrowsMessage<InputError>(AllOf(
                    HasSubstr(path_), HasSubstr(why), HasSubstr("xpected"))));
  }

  // Tests run side by side, each in its own process.
  const std::string path_ =
      testing::TempDir() + "nre_safetensors_test." + std::to_string(getpid());
};

Safetensors Example() {
  Safetensors file;
  file.metadata = {{"network", "example"}};
  const float weights[] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
  const int64_t count = -7;
  AddTensor("b.weight", "F32", {2, 3}, weights, sizeof(weights), &file);
  AddTensor("a.count", "I64", {}, &count, sizeof(count), &file);
  AddTensor("empty", "F32", {0, 3}, nullptr, 0, &file);
  return file;
}

TEST_F(SafetensorsTest, ReadsWhatItWrote) {
  const Safetensors file = Example();
  WriteSafetensors(path_, file);
  const SafetensorsView read = ReadSafetensors(path_);
  EXPECT_EQ(read.metadata, file.metadata);
  EXPECT_EQ(read.data, std::string(file.data.begin(), file.data.end()));
  ASSERT_EQ(read.tensors.size(), 3);
  const StoredTensor& weight = read.tensors.at("b.weight");
  EXPECT_EQ(weight.dtype, "F32");
  EXPECT_EQ(weight.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(weight.begin, 0);
  EXPECT_EQ(weight.end, 24);
  EXPECT_TRUE(read.tensors.at("a.count").shape.empty());
}

// As the format's documentation has it.
TEST_F(SafetensorsTest, ReadsAFileWrittenByHand) {
  WriteHeader(R"({"__metadata__":{"k":"v"},"x":{"dtype":"U8","shape":[2],)"
              R"("data_offsets":[0,2]}}   )",
              "hi");
  const SafetensorsView file = ReadSafetensors(path_);
  EXPECT_EQ(file.metadata.at("k"), "v");
  EXPECT_EQ(file.tensors.at("x").dtype, "U8");
  EXPECT_EQ(file.data, "hi");
}

TEST_F(SafetensorsTest, CopiesShareAMappingThatOutlivesTheFile) {
  WriteSafetensors(path_, Example());
  std::optional<SafetensorsView> file = ReadSafetensors(path_);
  const SafetensorsView copy = *file;
  file.reset();
  std::remove(path_.c_str());
  EXPECT_EQ(copy.data.size(), Example().data.size());
  EXPECT_EQ(copy.data[copy.tensors.at("a.count").begin], -7);
}

TEST_F(SafetensorsTest, WritesArrayByArray) {
  const StoredMetadata metadata = {{"format", "example"}};
  const size_t header_size = SafetensorsWriter::MaxHeaderSize(metadata, 3);
  const std::string name(64, 'n');
  {
    SafetensorsWriter writer(path_, header_size);
    writer.Begin(name, "I32", {2, 1});
    const int32_t values[] = {-5, 1 << 30};
    writer.Append(&values[0], 4);
    writer.Append(&values[1], 4);
    const char text[] = "text";
    writer.Add("text", "U8", {2, 2}, text);
    EXPECT_FALSE(std::filesystem::exists(path_));
    writer.Finish(metadata);
  }
  const SafetensorsView file = ReadSafetensors(path_);
  EXPECT_EQ(file.metadata, metadata);
  EXPECT_EQ(file.data, std::string("\xfb\xff\xff\xff\0\0\0\x40text", 12));
  EXPECT_EQ(file.tensors.at(name).shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(file.tensors.at("text").begin, 8);
  EXPECT_EQ(Bytes().size(), 8 + (header_size + 7) / 8 * 8 + 12);
}

// The largest numbers that an array's place and shape can have.
TEST_F(SafetensorsTest, TheLargestHeaderHasRoom) {
  const std::string longest = "18446744073709551615";
  std::string entry = ",\"" + std::string(64, 'n') +
                      R"(":{"data_offsets":[,],"dtype":"BOOL","shape":[,,,]})";
  for (int i = 0; i < 6; ++i) entry += longest;
  EXPECT_LE(entry.size(), SafetensorsWriter::MaxHeaderSize({}, 1));
  EXPECT_THROW(SafetensorsWriter::MaxHeaderSize({}, 1'000'000), InputError);
}

TEST_F(SafetensorsTest, NothingStaysOfWhatIsNotFinished) {
  const auto expect_nothing = [&] {
    const std::filesystem::path path(path_);
    for (const auto& entry :
         std::filesystem::directory_iterator(path.parent_path())) {
      EXPECT_NE(entry.path().filename().string().find(path.filename()), 0)
          << entry.path();
    }
  };
  {
    SafetensorsWriter writer(path_, 100);
    writer.Begin("x", "F32", {2});
    const float value = 1.0f;
    writer.Append(&value, sizeof(value));
    EXPECT_THROW(writer.Begin("y", "F32", {2}), std::logic_error);
    EXPECT_THROW(writer.Finish({}), std::logic_error);
  }
  expect_nothing();
  {
    SafetensorsWriter writer(path_, 8);
    writer.Add("x", "U8", {1}, "x");
    EXPECT_THROW(writer.Add("x", "U8", {1}, "x"), std::logic_error);
    EXPECT_THROW(writer.Finish({}), std::logic_error);
  }
  expect_nothing();
}

TEST_F(SafetensorsTest, FullDisk) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limit = {100'000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  const std::string data(1'000'000, 'x');
  {
    SafetensorsWriter writer(path_, 100);
    EXPECT_THAT(
        [&] { writer.Add("x", "U8", {1'000'000}, data.data()); },
        ThrowsMessage<InputError>(AllOf(HasSubstr(path_), HasSubstr("room"))));
  }
  {
    // Noticed only when buffers are flushed.
    SafetensorsWriter writer(path_, 99'990);
    writer.Add("x", "U8", {10}, data.data());
    EXPECT_THROW(writer.Finish({}), InputError);
  }
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(SafetensorsTest, RefusesEveryTruncation) {
  WriteSafetensors(path_, Example());
  const std::string bytes = Bytes();
  for (size_t size = 0; size < bytes.size(); ++size) {
    Write(bytes.substr(0, size));
    EXPECT_THROW(ReadSafetensors(path_), InputError) << size;
  }
  Write(bytes + "x");
  ExpectRefused("longer");
}

TEST_F(SafetensorsTest, RefusesForeignFiles) {
  Write("PK\x03\x04 this is not the file you are looking for");
  ExpectRefused("header");
  WriteHeader("[1, 2]", "");
  EXPECT_THROW(ReadSafetensors(path_), InputError);
  WriteHeader("{\"x\": 3}", "");
  ExpectRefused("header");
  const auto tensor = [&](const std::string& text) {
    WriteHeader("{\"x\":{" + text + "}}", "01234567");
  };
  tensor(R"("dtype":"Q9","shape":[8],"data_offsets":[0,8])");
  ExpectRefused("unknown type Q9");
  tensor(R"("dtype":"U8","shape":[7],"data_offsets":[0,8])");
  ExpectRefused("x");
  tensor(R"("dtype":"U8","shape":[7],"data_offsets":[1,8])");
  ExpectRefused("gaps");
  tensor(R"("dtype":"U8","shape":[-8],"data_offsets":[0,8])");
  ExpectRefused("x");
  // Would overflow.
  tensor(R"("dtype":"F64","shape":[4294967296,4294967296],)"
         R"("data_offsets":[0,0])");
  ExpectRefused("larger than the file");
  tensor(R"("dtype":"U8","shape":[8],"data_offsets":[0])");
  ExpectRefused("x");
}

TEST_F(SafetensorsTest, MissingFilesAndFolders) {
  EXPECT_THAT([] { ReadSafetensors("/nowhere/x.safetensors"); },
              ThrowsMessage<InputError>(HasSubstr("/nowhere/x.safetensors")));
  EXPECT_THROW(ReadSafetensors(testing::TempDir()), InputError);
  EXPECT_THROW(WriteSafetensors("/nowhere/x.safetensors", Example()),
               InputError);
}

}  // namespace
}  // namespace nre
