#include "s2d/training/tensor_files.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "nre/error.h"

namespace nre {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::ThrowsMessage;

class TensorFilesTest : public testing::Test {
 protected:
  ~TensorFilesTest() override { std::remove(path_.c_str()); }

  const std::string path_ = testing::TempDir() + "nre_tensor_files_test." +
                            std::to_string(getpid()) + ".safetensors";
};

TEST_F(TensorFilesTest, AllTypesAndShapesComeBack) {
  TensorFile file;
  file.metadata = {{"format", "test"}, {"version", "7"}};
  const torch::Tensor values =
      torch::tensor({0.0, 1.0, 0.5, 200.25, 7.0, 3.0}, torch::kFloat64);
  for (const torch::Dtype type : {torch::kFloat64,
                                  torch::kFloat32,
                                  torch::kFloat16,
                                  torch::kBFloat16,
                                  torch::kInt64,
                                  torch::kInt32,
                                  torch::kUInt8}) {
    file.tensors[c10::toString(type)] = values.to(type).view({2, 3});
  }
  file.tensors["scalar"] = torch::full({}, 2.5);
  file.tensors["empty"] = torch::zeros({0, 4});
  // Rows, whatever the order in memory.
  file.tensors["transposed"] = values.view({2, 3}).t();
  file.tensors["channels_last"] =
      torch::arange(24.0f)
          .view({1, 2, 3, 4})
          .contiguous(torch::MemoryFormat::ChannelsLast);
  file.tensors["with_gradient"] = torch::ones({3}).requires_grad_(true);
  WriteTensorFile(path_, file);

  const TensorFile read = ReadTensorFile(path_);
  EXPECT_EQ(read.metadata, file.metadata);
  ASSERT_EQ(read.tensors.size(), file.tensors.size());
  for (const auto& [name, tensor] : file.tensors) {
    const torch::Tensor& other = read.tensors.at(name);
    EXPECT_EQ(other.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_EQ(other.sizes(), tensor.sizes()) << name;
    EXPECT_TRUE(torch::equal(other, tensor)) << name;
  }
}

TEST_F(TensorFilesTest, WhatWasReadOutlivesTheFile) {
  WriteTensorFile(path_, {{}, {{"a", torch::arange(1000)}}});
  TensorFile read = ReadTensorFile(path_);
  WriteTensorFile(path_, {{}, {{"a", torch::zeros({1000}, torch::kInt64)}}});
  read.tensors["a"][0] = 7;  // it may be written to
  EXPECT_EQ(read.tensors["a"][0].item<int64_t>(), 7);
  EXPECT_EQ(read.tensors["a"][999].item<int64_t>(), 999);
}

TEST_F(TensorFilesTest, RefusesTypesThatItDoesNotKnowAndTruncatedFiles) {
  EXPECT_THROW(WriteTensorFile(path_, {{}, {{"a", torch::ones({2}) > 0}}}),
               c10::Error);
  EXPECT_FALSE(fs::exists(path_));

  Safetensors booleans;
  const char bytes[2] = {0, 1};
  AddTensor("a", "BOOL", {2}, bytes, 2, &booleans);
  WriteSafetensors(path_, booleans);
  EXPECT_THAT([&] { ReadTensorFile(path_); },
              ThrowsMessage<InputError>(HasSubstr("BOOL")));

  WriteTensorFile(path_, {{}, {{"a", torch::ones({100})}}});
  fs::resize_file(path_, fs::file_size(path_) - 1);
  EXPECT_THAT([&] { ReadTensorFile(path_); },
              ThrowsMessage<InputError>(HasSubstr("larger than the file")));
}

}  // namespace
}  // namespace nre
