// The rules of safetensors: what keeps them is read, and each that is broken is told with its place.
#include "tests/io/support.h"

namespace tidemark::test {
namespace {

using SafetensorsTest = FilesOfTensors;
using ::testing::ElementsAre;
using ::testing::StartsWith;

// One tensor of 8 bytes, with these fields.
std::string one(const std::string& fields) { return safetensors("{\"a\":{" + fields + "}}", "01234567"); }

TEST_F(SafetensorsTest, TensorsAreInTheOrderOfTheirBytes) {
  const std::string header =
      R"({"b":{"dtype":"I16","shape":[2,2],"data_offsets":[4,12]},"__metadata__":{"k":"v","\u00e4":"\n"},)"
      R"( "a":{"data_offsets":[0,4],"dtype":"F32","shape":[]},"none":{"dtype":"U8","shape":[3,0],"data_offsets":[4,4]}} )";
  const TensorFile file = open("x.safetensors", safetensors(header, from_hex("0000c03f 0100 0200 feff 0001")));
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.tensors()[1].name, "none");
  EXPECT_EQ(file.tensors()[2].name, "b");
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_EQ(file.path(), folder_ / "x.safetensors");
  const FileTensor& b = *file.find("b");
  EXPECT_EQ(b.type, StoredType::kI16);
  EXPECT_THAT(b.shape, ElementsAre(2, 2));
  EXPECT_EQ(b.elements, 4);
  EXPECT_EQ(b.bytes, 8);
  EXPECT_EQ(b.offset, 8 + static_cast<std::int64_t>(header.size()) + 4);
  EXPECT_EQ(file.find("a")->elements, 1);
  EXPECT_EQ(file.find("none")->elements, 0);
  EXPECT_THAT(elements_of<std::int16_t>(file, "b"), ElementsAre(1, 2, -2, 256));
  EXPECT_THAT(floats_of(file, "a"), ElementsAre(1.5f));
  EXPECT_EQ(bytes_of(file, "none"), "");
  EXPECT_THAT(file.metadata(), ElementsAre(std::pair("k", "v"), std::pair("\xc3\xa4", "\n")));
}

TEST_F(SafetensorsTest, EveryTypeIsRead) {
  const std::pair<const char*, StoredType> types[] = {
      {"BOOL", StoredType::kBool},      {"U8", StoredType::kU8},   {"I8", StoredType::kI8},
      {"F8_E5M2", StoredType::kF8E5M2}, {"I16", StoredType::kI16}, {"F8_E4M3", StoredType::kF8E4M3},
      {"U16", StoredType::kU16},        {"F16", StoredType::kF16}, {"BF16", StoredType::kBF16},
      {"I32", StoredType::kI32},        {"U32", StoredType::kU32}, {"F32", StoredType::kF32},
      {"F64", StoredType::kF64},        {"I64", StoredType::kI64}, {"U64", StoredType::kU64}};
  for (const auto& [name, type] : types) {
    const std::string count = std::to_string(8 / size_of(type));
    const TensorFile file =
        open("x", one("\"dtype\":\"" + std::string(name) + "\",\"shape\":[" + count + "],\"data_offsets\":[0,8]"));
    EXPECT_EQ(file.tensors()[0].type, type) << name;
    EXPECT_EQ(bytes_of(file, "a"), "01234567") << name;
  }
}

TEST_F(SafetensorsTest, TheFileBegins) {
  EXPECT_THAT(error("x", ""), StartsWith("byte 0: is no safetensors file"));
  EXPECT_THAT(error("x", "12345678"), StartsWith("byte 0: is no safetensors file"));
  EXPECT_THAT(error("x", safetensors(" {}", "")), StartsWith("byte 0: is no safetensors file"));
  EXPECT_THAT(error("x", little(0, 8) + "{}"), StartsWith("byte 8: the header does not begin with '{'"));
  EXPECT_THAT(error("x", little(100'000'001, 8) + "{}"), StartsWith("byte 0: a header of 100000001 bytes"));
  EXPECT_THAT(error("x", little(~0ULL, 8) + "{}"), StartsWith("byte 0: a header of 18446744073709551615 bytes"));
  EXPECT_THAT(error("x", little(3, 8) + "{}"), StartsWith("byte 0: a header of 3 bytes, but the file has 10 in all"));
}

TEST_F(SafetensorsTest, TheHeaderIsJson) {
  const std::pair<std::string, const char*> cases[] = {
      {"{", "byte 8: the header is not valid JSON"},
      {"{]", "byte 9: the header is not valid JSON"},
      {"{}x", "byte 10: the header is not valid JSON"},
      {std::string("{}\0", 3), "byte 10: a byte that is no space follows"},
      {std::string("{}\0x", 4), "byte 10: a byte that is no space follows"},
      {"{\"\xff\":{}}", "byte 10: the header is not valid JSON in UTF-8"},
      {"{\"a\":[]}", "byte 13: tensor 'a': should be an object with dtype, shape and data_offsets"},
      {"{\"a\":1}", "tensor 'a': should be an object with dtype, shape and data_offsets"},
      {"{\"a\":\"\"}", "tensor 'a': should be an object with dtype, shape and data_offsets"},
      {"{\"a\":null}", "tensor 'a': should be an object with dtype, shape and data_offsets"},
      {"{\"a\\nb\x7f\":1}", "tensor 'a?b?': should be an object"},
      {"{\"__metadata__\":[]}", "__metadata__ should be an object of texts"},
      {"{\"__metadata__\":{\"a\":1}}", "__metadata__: the value of 'a' should be a text"},
      {"{\"__metadata__\":{\"a\":{}}}", "__metadata__: the value of 'a' should be a text"},
      {"{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", "byte 34: __metadata__: the key 'a' is there twice"},
      {"{\"__metadata__\":{},\"__metadata__\":{}}", "byte 40: the key '__metadata__' is there twice"},
  };
  for (const auto& [header, message] : cases) {
    EXPECT_THAT(error("x", safetensors(header, "")), HasSubstr(message)) << header;
  }
  const std::string deep = "{\"a\":" + std::string(1'000'000, '[');
  EXPECT_THAT(error("x", safetensors(deep, "")), HasSubstr("tensor 'a': should be an object"));
}

TEST_F(SafetensorsTest, ATensorHasThreeFields) {
  const std::string type = R"("dtype":"F32")";
  const std::string shape = R"("shape":[2])";
  const std::string ends = R"("data_offsets":[0,8])";
  EXPECT_EQ(error("x", one(type + "," + shape + "," + ends)), "none");
  const std::pair<std::string, const char*> cases[] = {
      {"", "byte 14: tensor 'a': should have dtype, shape and data_offsets"},
      {type + "," + shape, "tensor 'a': should have dtype, shape and data_offsets"},
      {type + "," + shape + "," + ends + ",\"x\":1", "tensor 'a': has the unknown field 'x'"},
      {type + "," + shape + "," + ends + "," + shape, "tensor 'a': the key 'shape' is there twice"},
      {"\"dtype\":32," + shape + "," + ends, "tensor 'a': dtype should be a text"},
      {"\"dtype\":\"F4\"," + shape + "," + ends, "tensor 'a': is of the unknown type 'F4'; BOOL,"},
      {"\"dtype\":\"f32\"," + shape + "," + ends, "tensor 'a': is of the unknown type 'f32'"},
      {type + ",\"shape\":2," + ends, "tensor 'a': shape should be a list of whole numbers, none below 0"},
      {type + ",\"shape\":[-2]," + ends, "tensor 'a': shape should be a list of whole numbers, none below 0"},
      {type + ",\"shape\":[2.0]," + ends, "tensor 'a': shape should be a list of whole numbers, none below 0"},
      {type + ",\"shape\":[[2]]," + ends, "tensor 'a': shape should be a list of whole numbers, none below 0"},
      {type + ",\"shape\":[18446744073709551615]," + ends, "tensor 'a': 18446744073709551615 is too large"},
      {type + ",\"shape\":[99999999999999999999]," + ends, "tensor 'a': shape should be a list of whole numbers"},
      {type + ",\"shape\":[4294967296,4294967296]," + ends,
       "tensor 'a': the shape [4294967296, 4294967296] is beyond 4 PiB"},
      {type + ",\"shape\":[3]," + ends, "the shape [3] of F32 takes 12 bytes, but data_offsets give it 8"},
      {type + ",\"shape\":[0]," + ends, "the shape [0] of F32 takes 0 bytes, but data_offsets give it 8"},
      {type + "," + shape + ",\"data_offsets\":[8]", "data_offsets should be two numbers"},
      {type + "," + shape + ",\"data_offsets\":[0,8,8]", "data_offsets should be a list of two whole numbers"},
      {type + "," + shape + ",\"data_offsets\":[0,-8]", "data_offsets should be a list of two whole numbers"},
      {type + "," + shape + ",\"data_offsets\":[8,0]", "begins at 8 and ends before that, at 0"},
      {type + "," + shape + ",\"data_offsets\":[8,16]", "ends at byte 16 of the data, of which the file has 8"},
  };
  for (const auto& [fields, message] : cases) EXPECT_THAT(error("x", one(fields)), HasSubstr(message)) << fields;
  std::string dims = "1";
  for (int i = 1; i < 64; ++i) dims += ",1";
  const std::string many = type + "," + ends + ",\"shape\":[2,";
  EXPECT_EQ(error("x", one(many + dims.substr(2) + "]")), "none");
  EXPECT_THAT(error("x", one(many + dims + "]")), HasSubstr("tensor 'a': has more than 64 dimensions"));
}

TEST_F(SafetensorsTest, TensorsFollowEachOtherWithoutGapOrOverlap) {
  const auto two = [](int begin, int end, const std::string& data, const std::string& name = "b") {
    return safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},")" + name +
                           R"(":{"dtype":"U8","shape":[)" + std::to_string(end - begin) + R"(],"data_offsets":[)" +
                           std::to_string(begin) + "," + std::to_string(end) + "]}}",
                       data);
  };
  EXPECT_EQ(error("x", two(4, 8, "01234567")), "none");
  EXPECT_EQ(error("x", two(0, 0, "0123")), "none");
  EXPECT_EQ(error("x", two(4, 4, "0123")), "none");
  EXPECT_THAT(error("x", two(5, 8, "01234567")), HasSubstr("1 bytes before tensor 'b' belong to none"));
  EXPECT_THAT(error("x", two(3, 8, "01234567")), HasSubstr("tensor 'b' begins within tensor 'a'"));
  EXPECT_THAT(error("x", two(0, 4, "01234567")), HasSubstr("tensor 'b' begins within tensor 'a'"));
  EXPECT_THAT(error("x", two(2, 2, "0123")), HasSubstr("tensor 'b' begins within tensor 'a'"));
  EXPECT_THAT(error("x", two(4, 8, "012345678")), HasSubstr("1 bytes after the last tensor belong to none"));
  EXPECT_THAT(error("x", two(4, 8, "0123456")), HasSubstr("ends at byte 8 of the data, of which the file has 7"));
  EXPECT_THAT(error("x", two(4, 8, "01234567", "a")), StartsWith("byte 63: tensor 'a' is there twice"));
  EXPECT_THAT(error("x", two(4, 8, "01234567", "\\u0061")), HasSubstr("tensor 'a' is there twice"));
}

}  // namespace
}  // namespace tidemark::test
