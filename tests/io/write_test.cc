// Files as they are written: read again bit for bit, as numpy writes them, whole or not at all.
#include <utility>

#include "core/output_file.h"
#include "io/write.h"
#include "tests/io/support.h"

namespace tidemark::test {
namespace {

using WriteTest = FilesOfTensors;
using ::testing::ElementsAre;
using ::testing::ThrowsMessage;

TensorToWrite tensor(const std::string& name, StoredType type, const std::vector<std::int64_t>& shape,
                     const std::string& data, std::size_t part = 1 << 30) {
  return {name, type, shape, [=](const AppendBytes& append) {
            append(nullptr, 0);
            for (std::size_t at = 0; at < data.size(); at += part) {
              const std::string bytes = data.substr(at, part);
              append(bytes.data(), std::ssize(bytes));
            }
          }};
}

std::string pattern(std::int64_t bytes) {
  std::string text(static_cast<std::size_t>(bytes), '\0');
  std::uint32_t state = 1;
  for (char& c : text) c = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
  return text;
}

TEST_F(WriteTest, EveryTypeComesBack) {
  for (const char* ending : {".safetensors", ".npy", ".npz"}) {
    for (int i = 0; i <= static_cast<int>(StoredType::kU64); ++i) {
      const auto type = static_cast<StoredType>(i);
      const bool numpy = type != StoredType::kBF16 && type != StoredType::kF8E4M3 && type != StoredType::kF8E5M2;
      const std::string path = folder_ / ("a" + std::string(ending));
      const std::string data = pattern(30 * size_of(type));
      if (!numpy && !path.ends_with(".safetensors")) {
        EXPECT_THAT(
            [&] {
              write_tensors(path, {tensor("a", type, {5, 6}, data)});
            },
            ThrowsMessage<Error>(HasSubstr("which numpy's formats do not have; write it as f32")));
        continue;
      }
      write_tensors(path, {tensor("a", type, {5, 6}, data)});
      const TensorFile file(path);
      EXPECT_EQ(file.find("a")->type, type);
      EXPECT_THAT(file.find("a")->shape, ElementsAre(5, 6));
      EXPECT_EQ(bytes_of(file, "a"), data);
    }
  }
}

TEST_F(WriteTest, SeveralTensorsInPartsOfAnySize) {
  const std::vector<TensorToWrite> tensors = {
      tensor("small", StoredType::kU8, {3}, "abc"),
      tensor("large", StoredType::kF32, {1000, 1000}, pattern(4'000'000), 999),
      tensor("whole", StoredType::kF64, {400'000}, pattern(3'200'000)),
      tensor("none", StoredType::kF32, {2, 0}, ""),
      tensor("scalar", StoredType::kI64, {}, "01234567"),
      tensor("\xc3\xa4/\"b\"\n", StoredType::kI16, {2}, "wxyz"),
  };
  for (const char* name : {"x.safetensors", "x.npz"}) {
    write_tensors(folder_ / name, tensors);
    const TensorFile file(folder_ / name);
    ASSERT_EQ(file.tensors().size(), tensors.size());
    for (const TensorToWrite& each : tensors) {
      std::string data;
      each.write([&](const void* bytes, std::int64_t count) {
        data.append(static_cast<const char*>(bytes), static_cast<std::size_t>(count));
      });
      EXPECT_EQ(file.find(each.name)->shape, each.shape);
      EXPECT_EQ(bytes_of(file, each.name), data) << each.name;
    }
  }
}

TEST_F(WriteTest, EveryTensorOfSafetensorsIsAligned) {
  const std::string path = folder_ / "x.safetensors";
  write_tensors(path,
                {tensor("a", StoredType::kU8, {3}, "abc"), tensor("b", StoredType::kF32, {1}, "0123"),
                 tensor("c", StoredType::kF16, {1}, "xy"), tensor("d", StoredType::kI64, {1}, "01234567")},
                {{"format", "pt"}, {"\"", "\xe2\x82\xac"}});
  const TensorFile file(path);
  for (const FileTensor& each : file.tensors()) EXPECT_EQ(each.offset % size_of(each.type), 0) << each.name;
  EXPECT_EQ(file.tensors()[0].name, "d");
  EXPECT_EQ(file.tensors()[0].offset % 8, 0);
  EXPECT_THAT(file.metadata(), ElementsAre(std::pair("\"", "\xe2\x82\xac"), std::pair("format", "pt")));
  const std::string content = folder_.read("x.safetensors");
  EXPECT_THAT(content.substr(8), ::testing::StartsWith("{\"__metadata__\":{"));
  write_tensors(path, {});
  EXPECT_EQ(folder_.read("x.safetensors"), little(8, 8) + "{}      ");
}

// np.save(f, np.arange(6, dtype='<f4').reshape(2, 3)), np.save(f, np.uint8([1, 2])), np.save(f, np.float64(0))
TEST_F(WriteTest, NpyIsWhatNumpyWrites) {
  const std::string path = folder_ / "x.npy";
  const auto header = [](const std::string& dict) {
    return from_hex("934e554d5059 0100 7600") + dict + std::string(117 - dict.size(), ' ') + "\n";
  };
  const std::string data = pattern(24);
  write_tensors(path, {tensor("any", StoredType::kF32, {2, 3}, data)});
  EXPECT_EQ(folder_.read("x.npy"), header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }") + data);
  write_tensors(path, {tensor("any", StoredType::kU8, {2}, "\1\2")});
  EXPECT_EQ(folder_.read("x.npy"), header("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }") + "\1\2");
  write_tensors(path, {tensor("any", StoredType::kF64, {}, "01234567")});
  EXPECT_EQ(folder_.read("x.npy"), header("{'descr': '<f8', 'fortran_order': False, 'shape': (), }") + "01234567");
}

// As if 32 bits held nothing, or less than a file: what is otherwise the case beyond 4 GiB.
TEST_F(WriteTest, Zip64WhereItIsNeeded) {
  const std::vector<TensorToWrite> tensors = {tensor("a", StoredType::kF32, {100}, pattern(400)),
                                              tensor("b", StoredType::kU8, {2}, "xy")};
  std::vector<std::string> contents;
  for (const std::uint32_t most : {0u, 200u, 600u, io::kMost32}) {
    const std::string path = folder_ / "x.npz";
    core::OutputFile file(path);
    io::Appender to(file, SourceLocation::current());
    io::write_npz(to, tensors, most);
    to.flush();
    file.publish();
    const TensorFile read(path);
    EXPECT_EQ(bytes_of(read, "a"), pattern(400)) << most;
    EXPECT_EQ(bytes_of(read, "b"), "xy") << most;
    contents.push_back(folder_.read("x.npz"));
    EXPECT_EQ(contents.back().find("PK\6\6") != std::string::npos, most < io::kMost32);
  }
  for (int i = 0; i < 3; ++i)
    EXPECT_GT(contents[static_cast<std::size_t>(i)].size(), contents[static_cast<std::size_t>(i) + 1].size());
}

TEST_F(WriteTest, MoreEntriesThan16Bits) {
  std::vector<TensorToWrite> tensors;
  for (int i = 0; i < 70'000; ++i) tensors.push_back(tensor(std::to_string(i), StoredType::kU8, {}, "x"));
  write_tensors(folder_ / "x.npz", tensors);
  const TensorFile file(folder_ / "x.npz");
  EXPECT_EQ(file.tensors().size(), 70'000u);
  EXPECT_EQ(bytes_of(file, "69999"), "x");
}

TEST_F(WriteTest, WrongCallsAreRefusedAndLeaveTheOldFile) {
  const TensorToWrite good = tensor("a", StoredType::kU8, {3}, "abc");
  const auto refused = [&](const std::string& name, const std::vector<TensorToWrite>& tensors, const char* message,
                           const FileMetadata& metadata = {}) {
    folder_.write(name, "old");
    EXPECT_THAT([&] { write_tensors(folder_ / name, tensors, metadata); },
                ThrowsMessage<Error>(::testing::AllOf(HasSubstr(message), HasSubstr("(at write_test.cc:"))));
    EXPECT_EQ(folder_.read(name), "old");
  };
  refused("x.pt", {good}, "ends neither in .safetensors nor in .npy or .npz");
  refused("x.npy", {good, tensor("b", StoredType::kU8, {}, "x")}, "holds one tensor, and not 2");
  refused("x.npy", {}, "holds one tensor, and not 0");
  refused("x.npz", {good}, "has no place for metadata", {{"a", "b"}});
  refused("x.npz", {tensor(std::string(65'532, 'n'), StoredType::kU8, {}, "x")}, "the name has 65532 bytes");
  refused("x.safetensors", {good}, "metadata 'a': not UTF-8", {{"a", "\xff"}});
  refused("x.safetensors", {tensor("__metadata__", StoredType::kU8, {}, "x")}, "is no name of a tensor");
  for (const char* name : {"x.safetensors", "x.npz"}) {
    refused(name, {good, good}, "two tensors have the name 'a'");
    refused(name, {tensor("\xff", StoredType::kU8, {}, "x")}, "the name is not UTF-8");
    refused(name, {tensor("b", StoredType::kU8, {-1}, "")}, "the shape [-1] is below 0 or beyond 4 PiB");
    refused(name, {tensor("b", StoredType::kF32, {1 << 30, 1 << 30}, "")}, "is below 0 or beyond 4 PiB");
    refused(name, {tensor("b", StoredType::kU8, std::vector<std::int64_t>(65, 1), "x")}, "has 65 dimensions");
    refused(name, {{"b", StoredType::kU8, {}, nullptr}}, "has no function that gives its elements");
    refused(name, {good, tensor("b", StoredType::kF32, {2}, "0123")},
            "tensor 'b' gave 4 bytes; the shape [2] of f32 takes 8");
    refused(name, {tensor("b", StoredType::kF32, {1}, "01234")}, "tensor 'b' gave more bytes");
    refused(name, {{"b", StoredType::kU8, {1}, [](const AppendBytes& append) { append("x", -1); }}},
            "tensor 'b' gave a negative number of bytes");
  }
}

TEST_F(WriteTest, AFullDiskLeavesTheOldFile) {
  const std::vector<TensorToWrite> tensors = {tensor("a", StoredType::kF32, {1000, 1000}, pattern(4'000'000))};
  for (const char* name : {"x.safetensors", "x.npy", "x.npz"}) {
    folder_.write(name, "old");
    {
      const FullDisk full(2'000'000);
      EXPECT_THAT([&] { write_tensors(folder_ / name, tensors); },
                  ThrowsMessage<FileError>(HasSubstr(std::string(name) + ": cannot be written: ")));
    }
    EXPECT_EQ(folder_.read(name), "old");
  }
  std::filesystem::create_symlink("/dev/full", folder_ / "full.npz");
  EXPECT_THAT([&] { write_tensors(folder_ / "full.npz", tensors); },
              ThrowsMessage<FileError>(HasSubstr("full.npz: cannot be written: No space left")));
  EXPECT_EQ(folder_.count(), 4);
}

TEST_F(WriteTest, WhatTheProgramThrowsLeavesTheOldFile) {
  folder_.write("x.npz", "old");
  const TensorToWrite bad = {"a", StoredType::kU8, {2}, [](const AppendBytes& append) {
                               append("x", 1);
                               throw std::runtime_error("stop");
                             }};
  EXPECT_THROW(write_tensors(folder_ / "x.npz", {bad}), std::runtime_error);
  EXPECT_EQ(folder_.read("x.npz"), "old");
  EXPECT_EQ(folder_.count(), 1);
}

}  // namespace
}  // namespace tidemark::test
