// .npy: types, orders, versions, and what the header may say.
#include "tests/io/support.h"

namespace tidemark::test {
namespace {

using NpyTest = FilesOfTensors;
using ::testing::ElementsAre;

std::string of(const std::string& descr, const std::string& shape, const std::string& hex) {
  return npy(npy_dict(descr, false, shape), from_hex(hex));
}

// np.lib.format.write_array(f, np.asfortranarray(np.arange(6, dtype='<f4').reshape(2, 3)), version=(3, 0))
const char* const kVersion3 =
    "934e554d50590300740000007b276465736372273a20273c6634272c2027666f727472616e5f6f72646572273a20547275652c2027736861"
    "7065273a2028322c2033292c207d202020202020202020202020202020202020202020202020202020202020202020202020202020202020"
    "2020202020202020202020202020200a00000000000040400000803f00008040000000400000a040";

TEST_F(NpyTest, NumpysOwnFile) {
  const TensorFile file = open("weights.npy", from_hex(kVersion3));
  ASSERT_EQ(file.tensors().size(), 1u);
  const FileTensor& tensor = file.tensors()[0];
  EXPECT_EQ(tensor.name, "weights");
  EXPECT_EQ(tensor.type, StoredType::kF32);
  EXPECT_THAT(tensor.shape, ElementsAre(2, 3));
  EXPECT_EQ(tensor.bytes, 24);
  EXPECT_EQ(tensor.offset, -1);
  EXPECT_THAT(floats_of(file, "weights"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_TRUE(file.metadata().empty());
}

// The elements -2 to 3, or 0 to 5 where the type has no sign, as np.save gives them.
TEST_F(NpyTest, EveryTypeInBothByteOrders) {
  const auto read = [&](const std::string& descr, const std::string& hex) {
    return open("a.npy", of(descr, "(2, 3)", hex));
  };
  EXPECT_THAT(elements_of<std::uint8_t>(read("|b1", "010001000100"), "a"), ElementsAre(1, 0, 1, 0, 1, 0));
  EXPECT_THAT(elements_of<std::uint8_t>(read("|u1", "000102030405"), "a"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(elements_of<std::int8_t>(read("|i1", "feff00010203"), "a"), ElementsAre(-2, -1, 0, 1, 2, 3));
  EXPECT_THAT(elements_of<std::int16_t>(read("<i2", "feffffff0000010002000300"), "a"), ElementsAre(-2, -1, 0, 1, 2, 3));
  EXPECT_THAT(elements_of<std::int16_t>(read(">i2", "fffeffff0000000100020003"), "a"), ElementsAre(-2, -1, 0, 1, 2, 3));
  EXPECT_THAT(elements_of<std::uint16_t>(read("=u2", "000001000200030004000500"), "a"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(floats_of(read("<f2", "00c000bc0000003c00400042"), "a"), ElementsAre(-2, -1, 0, 1, 2, 3));
  EXPECT_THAT(floats_of(read(">f2", "c000bc0000003c0040004200"), "a"), ElementsAre(-2, -1, 0, 1, 2, 3));
  EXPECT_THAT(elements_of<std::int32_t>(read("<i4", "feffffffffffffff00000000010000000200000003000000"), "a"),
              ElementsAre(-2, -1, 0, 1, 2, 3));
  EXPECT_THAT(elements_of<std::uint32_t>(read(">u4", "000000000000000100000002000000030000000400000005"), "a"),
              ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(floats_of(read("<f4", "000000c0000080bf000000000000803f0000004000004040"), "a"),
              ElementsAre(-2, -1, 0, 1, 2, 3));
  EXPECT_THAT(floats_of(read(">f4", "c0000000bf800000000000003f8000004000000040400000"), "a"),
              ElementsAre(-2, -1, 0, 1, 2, 3));
  const std::string doubles =
      "00000000000000c0000000000000f0bf0000000000000000000000000000f03f00000000000000400000000000000840";
  EXPECT_THAT(elements_of<double>(read("<f8", doubles), "a"), ElementsAre(-2, -1, 0, 1, 2, 3));
  EXPECT_THAT(floats_of(read("<f8", doubles), "a"), ElementsAre(-2, -1, 0, 1, 2, 3));
  const std::string swapped =
      "c000000000000000bff000000000000000000000000000003ff000000000000040000000000000004008000000000000";
  EXPECT_THAT(elements_of<double>(read(">f8", swapped), "a"), ElementsAre(-2, -1, 0, 1, 2, 3));
  EXPECT_THAT(floats_of(read(">f8", swapped), "a"), ElementsAre(-2, -1, 0, 1, 2, 3));
  const std::string longs =
      "fffffffffffffffeffffffffffffffff0000000000000000000000000000000100000000000000020000000000000003";
  EXPECT_THAT(elements_of<std::int64_t>(read(">i8", longs), "a"), ElementsAre(-2, -1, 0, 1, 2, 3));
  EXPECT_EQ(read(">u8", longs).tensors()[0].type, StoredType::kU64);
  EXPECT_EQ(read(">u8", longs).tensors()[0].offset, -1);
  EXPECT_EQ(read("<u8", longs).tensors()[0].offset, 128);
}

// Elements count up in C order, so that each says where it belongs.
TEST_F(NpyTest, ColumnsFirstInAnyPart) {
  const std::vector<std::vector<std::int64_t>> shapes = {{2, 3}, {4, 1, 5},  {1, 6, 2}, {3, 2, 2, 3}, {7},
                                                         {1, 9}, {50, 1000}, {300, 40}, {70, 5, 7}};
  for (const auto& shape : shapes) {
    std::int64_t count = 1;
    std::string text;
    for (const std::int64_t dim : shape) {
      count *= dim;
      text += std::to_string(dim) + ",";
    }
    std::string data(static_cast<std::size_t>(4 * count), '\0');
    for (std::int64_t i = 0; i < count; ++i) {
      std::int64_t rest = i;
      std::int64_t place = 0;
      std::int64_t below = count;
      for (std::size_t dim = shape.size(); dim-- > 0; rest /= shape[dim]) {
        below /= shape[dim];
        place += rest % shape[dim] * below;
      }
      const auto element = static_cast<std::uint32_t>(i);
      std::memcpy(data.data() + 4 * place, &element, 4);
    }
    const std::string content = npy(npy_dict("<i4", true, "(" + text + ")"), data);
    const std::string packed = zip({{.name = "a.npy", .content = content, .deflate = true}});
    const std::int64_t step = count < 100 ? 1 : count / 6;
    for (const std::string& bytes : {content, packed}) {
      const TensorFile file = open("a.npy", bytes);
      for (std::int64_t first = 0; first < count; first += step) {
        for (std::int64_t size = count - first; size > 0; size -= step) {
          std::vector<std::int32_t> part(static_cast<std::size_t>(size));
          file.read(file.tensors()[0], first, size, part.data());
          for (std::int64_t i = 0; i < size; ++i) ASSERT_EQ(part[static_cast<std::size_t>(i)], first + i) << text;
        }
      }
    }
  }
}

TEST_F(NpyTest, ColumnsThatAreLongerThanTheBuffer) {
  constexpr std::int64_t kRows = 300'000;
  std::string data(static_cast<std::size_t>(kRows * 2 * 8), '\0');
  for (std::int64_t column = 0; column < 2; ++column) {
    for (std::int64_t row = 0; row < kRows; ++row) {
      const auto element = static_cast<double>(2 * row + column);
      std::memcpy(data.data() + 8 * (column * kRows + row), &element, 8);
    }
  }
  const TensorFile file = open("a.npy", npy(npy_dict("<f8", true, "(300000, 2)"), data));
  const std::vector<float> all = floats_of(file, "a");
  for (std::size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], static_cast<float>(i));
  std::vector<float> middle(3);
  file.read_f32(file.tensors()[0], 299'999, 3, middle.data());
  EXPECT_THAT(middle, ElementsAre(299'999, 300'000, 300'001));
}

TEST_F(NpyTest, VersionsAndSpellingsOfTheHeader) {
  const std::string data = "01234567";
  for (const int major : {1, 2, 3}) {
    EXPECT_EQ(error("a.npy", npy(npy_dict("<f4", false, "(2,)"), data, major)), "none") << major;
  }
  const char* const good[] = {
      "{\"descr\":\"<f4\",\"fortran_order\":False,\"shape\":(2,)}",
      "{ 'shape' : ( 2 , 1 ) , 'fortran_order' : True ,\n'descr' : '|f4' , }",
      "{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }",
  };
  for (const char* dict : good) EXPECT_EQ(error("a.npy", npy(dict, data)), "none") << dict;
  EXPECT_EQ(error("a.npy", npy(npy_dict("<f4", true, "(0, 5)"), "")), "none");
  EXPECT_THAT(error("a.npy", npy(npy_dict("<f4", false, "(2,)"), data, 4)), HasSubstr("byte 6: version 4.0 of .npy"));
  const std::string minor = "\x93NUMPY\x01\x01";
  EXPECT_THAT(error("a.npy", minor + std::string(100, ' ')), HasSubstr("byte 6: version 1.1 of .npy"));
}

TEST_F(NpyTest, WhatIsRefused) {
  const std::pair<std::string, const char*> cases[] = {
      {npy_dict("|O", false, "(1,)"), "byte 20: Python objects (dtype '|O'), which only pickle reads"},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "byte 20: a structured array"},
      {npy_dict("<c8", false, "(1,)"), "elements of dtype '<c8'; b1, i1 to i8"},
      {npy_dict("<M8[ns]", false, "(1,)"), "elements of dtype '<M8[ns]'"},
      {npy_dict("<U5", false, "(1,)"), "elements of dtype '<U5'"},
      {npy_dict("|V2", false, "(1,)"), "elements of dtype '|V2'"},
      {npy_dict("f4", false, "(1,)"), "elements of dtype 'f4'"},
      {npy_dict("", false, "(1,)"), "elements of dtype ''"},
      {npy_dict("<f4", false, "(2)"), "shape is a number, and should be a tuple: (3,)"},
      {npy_dict("<f4", false, "2"), "the header should have '(' here"},
      {npy_dict("<f4", false, "(-2,)"), "shape should be a tuple of whole numbers, none below 0"},
      {npy_dict("<f4", false, "(2 1)"), "shape should be a tuple of whole numbers, none below 0"},
      {npy_dict("<f4", false, "(2, x)"), "shape should be a tuple of whole numbers, none below 0"},
      {npy_dict("<f4", false, "(99999999999999999999,)"), "a dimension is too large"},
      {npy_dict("<f4", false, "(4294967296, 4294967296)"), "the shape [4294967296, 4294967296] is beyond 4 PiB"},
      {npy_dict("<f4", false, "(3,)"),
       "byte 136: ends too early: the shape [3] of f32 takes 12 bytes, and there are 8"},
      {npy_dict("<f4", false, "(1,)"), "byte 132: 4 bytes too many: the shape [1] of f32 takes 4"},
      {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2,), }", "fortran_order should be True or False"},
      {"{'descr': '<f4', 'fortran_order': False, }", "the header has no key 'shape'"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", "the header has the unknown key 'x'"},
      {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "the key 'descr' is there twice"},
      {"{'descr': '\\x3cf4', 'fortran_order': False, 'shape': (2,)}", "a text of the header has a backslash"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} 1", "something follows the header's dict"},
      {"{'descr': '<f4', 'fortran_order': False 'shape': (2,)}", "the header should have '}' here"},
      {"{'descr", "the header should have a text here"},
      {"", "the header should have '{' here"},
  };
  for (const auto& [dict, message] : cases)
    EXPECT_THAT(error("a.npy", npy(dict, "01234567")), HasSubstr(message)) << dict;
  const std::string large = "\x93NUMPY" + std::string(1, '\2') + std::string(1, '\0') + little(65536, 4);
  EXPECT_THAT(error("a.npy", large + std::string(70'000, ' ')), HasSubstr("byte 8: a header of 65536 bytes"));
  EXPECT_THAT(error("a.npy", "\x93NUMPY"), HasSubstr("byte 6: ends within the header"));
}

}  // namespace
}  // namespace tidemark::test
