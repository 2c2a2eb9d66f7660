// TensorFile whatever the format is: parts, floats, and wrong calls.
#include <unistd.h>

#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "tests/io/support.h"

namespace tidemark::test {
namespace {

using ::testing::ElementsAre;
using ::testing::ThrowsMessage;

class TensorFileTest : public FilesOfTensors {
 protected:
  // One tensor "a" of a vector of so many elements.
  TensorFile vector(const char* type, std::int64_t count, const std::string& data) const {
    return open("a.safetensors",
                safetensors("{\"a\":{\"dtype\":\"" + std::string(type) + "\",\"shape\":[" + std::to_string(count) +
                                "],\"data_offsets\":[0," + std::to_string(data.size()) + "]}}",
                            data));
  }
};

// What the bits of an f16 mean, by its definition.
double value_of_f16(int bits) {
  const int exponent = bits >> 10 & 31;
  const int fraction = bits & 1023;
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 31) return fraction != 0 ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

TEST_F(TensorFileTest, EveryHalfAndEveryBfloat) {
  std::string all;
  for (std::uint64_t bits = 0; bits < 65536; ++bits) all += little(bits, 2);
  const std::vector<float> halves = floats_of(vector("F16", 65536, all), "a");
  const std::vector<float> bfloats = floats_of(vector("BF16", 65536, all), "a");
  for (int bits = 0; bits < 65536; ++bits) {
    const auto i = static_cast<std::size_t>(bits);
    const double expected = value_of_f16(bits);
    if (std::isnan(expected)) {
      const auto nan = std::bit_cast<std::uint32_t>(halves[i]);
      ASSERT_EQ(nan, static_cast<std::uint32_t>((bits & 0x8000) << 16 | 0x7fc00000 | (bits & 1023) << 13));
    } else {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(halves[i]), std::bit_cast<std::uint32_t>(static_cast<float>(expected)));
    }
    ASSERT_EQ(std::bit_cast<std::uint32_t>(bfloats[i]), static_cast<std::uint32_t>(bits) << 16);
  }
}

TEST_F(TensorFileTest, DoublesAreRounded) {
  const double values[] = {1.0 + 0x1p-24, 1.0 + 0x1.8p-24, 0x1p-149, 1e300, -0.0, 0.1};
  const std::string data(reinterpret_cast<const char*>(values), sizeof values);
  EXPECT_THAT(floats_of(vector("F64", 6, data), "a"),
              ElementsAre(1.0f, 1.0f + 0x1p-23f, 0x1p-149f, std::numeric_limits<float>::infinity(), -0.0f, 0.1f));
}

TEST_F(TensorFileTest, PartsAreThoseOfTheWhole) {
  std::string data;
  for (std::uint64_t i = 0; i < 1'000'000; ++i) data += little(i % 30'000, 2);
  const TensorFile file = vector("F16", 1'000'000, data);
  const FileTensor& a = *file.find("a");
  const std::vector<float> all = floats_of(file, "a");
  EXPECT_EQ(bytes_of(file, "a"), data);
  for (const std::int64_t first : {0, 1, 500'000, 999'999}) {
    std::vector<float> part(static_cast<std::size_t>(1'000'000 - first));
    file.read_f32(a, first, std::ssize(part), part.data());
    EXPECT_EQ(std::memcmp(part.data(), all.data() + first, part.size() * sizeof(float)), 0) << first;
  }
  char there[4];
  ASSERT_EQ(::pread(file.descriptor(), there, 4, a.offset + 2), 4);
  EXPECT_EQ(std::string(there, 4), data.substr(2, 4));
}

TEST_F(TensorFileTest, WrongCallsAreRefused) {
  const TensorFile file = vector("I32", 2, "01234567");
  const FileTensor& a = file.tensors()[0];
  std::int32_t elements[3] = {};
  float floats[3] = {};
  const std::pair<std::int64_t, std::int64_t> parts[] = {
      {0, 3}, {-1, 1}, {1, 2}, {3, 0}, {0, -1}, {std::numeric_limits<std::int64_t>::max(), 1}};
  for (const auto& part : parts) {
    EXPECT_THAT([&] { file.read(a, part.first, part.second, elements); },
                ThrowsMessage<Error>(HasSubstr("tensor 'a' has 2 (at tensor_file_test.cc:")));
  }
  EXPECT_THAT([&] { file.read_f32(a, 0, 2, floats); },
              ThrowsMessage<Error>(HasSubstr("is of i32; as f32 are read f16, bf16, f32 and f64 (at")));
  FileTensor other = a;
  other.name = "b";
  EXPECT_THAT([&] { file.read(other, 0, 0, elements); }, ThrowsMessage<Error>(HasSubstr("holds no tensor 'b'")));
  other = a;
  other.shape = {1};
  EXPECT_THAT([&] { file.read(other, 0, 1, elements); }, ThrowsMessage<Error>(HasSubstr("of this type and shape")));
  file.read(a, 2, 0, elements);
}

TEST_F(TensorFileTest, AFileThatWasMovedFrom) {
  TensorFile file = vector("U8", 2, "ab");
  const TensorFile other = std::move(file);
  EXPECT_EQ(bytes_of(other, "a"), "ab");
  EXPECT_THAT([&] { (void)file.tensors(); }, ThrowsMessage<Error>(HasSubstr("the file was moved from")));  // NOLINT
}

TEST_F(TensorFileTest, AFileThatShrinksOrIsNone) {
  const TensorFile file = vector("U8", 8, "01234567");
  std::filesystem::resize_file(folder_ / "a.safetensors", static_cast<std::uintmax_t>(file.tensors()[0].offset + 4));
  EXPECT_THAT([&] { bytes_of(file, "a"); }, ThrowsMessage<FileError>(HasSubstr("the file ends here; it had")));
  EXPECT_THAT([&] { TensorFile(folder_ / "none"); }, ThrowsMessage<FileError>(HasSubstr("cannot be opened")));
  EXPECT_THAT([&] { TensorFile(folder_.path()); }, ThrowsMessage<FileError>(HasSubstr("is a directory, not a file")));
}

TEST_F(TensorFileTest, AHeaderOfHolesTakesNoMoreThanItsBytes) {
  folder_.write("x.safetensors", little(90'000'000, 8) + "{");
  std::filesystem::resize_file(folder_ / "x.safetensors", std::uintmax_t{1} << 40);  // takes nothing on the disk
  EXPECT_THAT([&] { TensorFile(folder_ / "x.safetensors"); }, ThrowsMessage<FileError>(HasSubstr("byte 9: ")));
}

TEST_F(TensorFileTest, TypesHaveNamesAndSizes) {
  EXPECT_STREQ(to_string(StoredType::kBool), "bool");
  EXPECT_STREQ(to_string(StoredType::kF8E4M3), "f8_e4m3");
  EXPECT_STREQ(to_string(StoredType::kU64), "u64");
  EXPECT_EQ(size_of(StoredType::kBF16), 2);
  EXPECT_EQ(size_of(StoredType::kF64), 8);
}

}  // namespace
}  // namespace tidemark::test
