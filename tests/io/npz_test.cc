// .npz: entries stored and deflated, zip64, and what a zip file may not say.
#include "tests/io/support.h"

namespace tidemark::test {
namespace {

using NpzTest = FilesOfTensors;
using ::testing::ElementsAre;
using ::testing::StartsWith;

const std::string kData = "abcdefgh01234567ABCDEFGH";
const std::string kRow = npy(npy_dict("<f4", false, "(2, 3)"), kData);
const std::string kColumn = npy(npy_dict("<i4", true, "(2, 3)"), kData);

std::string repeated(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

// np.savez_compressed(f, a=np.arange(6, dtype='<f4').reshape(2, 3), b=np.float32(1.5))
const char* const kCompressed =
    "504b0304140000000800000021004fe9002a550000009800000005001400612e6e707901001000980000000000000055000000000000009b"
    "ec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9366a2aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91a"
    "463a0ac69a3a0ab50a64032e063068b007120e4004c40d40bcc00100504b0304140000000800000021002513e65d46000000840000000500"
    "1400622e6e707901001000840000000000000046000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9366a2aea3a09e"
    "965f54529498179f5f94920a12774bcc294e058a17672416a402f91a9a3a0ab50a14012e068603f600504b01021403140000000800000021"
    "004fe9002a5500000098000000050000000000000000000000800100000000612e6e7079504b01021403140000000800000021002513e65d"
    "460000008400000005000000000000000000000080018c000000622e6e7079504b0506000000000200020066000000090100000000";

// np.savez(f, a=np.arange(6, dtype='<f4').reshape(2, 3))
const char* const kPlain =
    "504b0304140000000000000021004fe9002a980000009800000005001400612e6e7079010010009800000000000000980000000000000093"
    "4e554d5059010076007b276465736372273a20273c6634272c2027666f727472616e5f6f72646572273a2046616c73652c20277368617065"
    "273a2028322c2033292c207d2020202020202020202020202020202020202020202020202020202020202020202020202020202020202020"
    "20202020202020202020202020200a000000000000803f0000004000004040000080400000a040504b01021403140000000000000021004f"
    "e9002a9800000098000000050000000000000000000000800100000000612e6e7079504b0506000000000100010033000000cf0000000000";

// The same of a alone, with zipfile.ZIP64_LIMIT = 10 and zipfile.ZIP_FILECOUNT_LIMIT = 0
const char* const kZip64 =
    "504b03042d0000000800000021004fe9002affffffffffffffff05001400612e6e707901001000980000000000000055000000000000009b"
    "ec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9366a2aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91a"
    "463a0ac69a3a0ab50a64032e063068b007120e4004c40d40bcc00100504b01022d032d0000000800000021004fe9002affffffffffffffff"
    "050014000000000000000000800100000000612e6e70790100100098000000000000005500000000000000504b06062c000000000000002d"
    "002d0000000000000000000100000000000000010000000000000047000000000000008c00000000000000504b060700000000d300000000"
    "00000001000000504b05060000000001000100470000008c0000000000";

TEST_F(NpzTest, NumpysOwnFiles) {
  const TensorFile packed = open("x.npz", from_hex(kCompressed));
  ASSERT_EQ(packed.tensors().size(), 2u);
  EXPECT_EQ(packed.tensors()[0].name, "a");
  EXPECT_EQ(packed.tensors()[0].offset, -1);
  EXPECT_THAT(floats_of(packed, "a"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(packed.find("b")->shape, ElementsAre());
  EXPECT_THAT(floats_of(packed, "b"), ElementsAre(1.5f));
  EXPECT_THAT(floats_of(packed, "a"), ElementsAre(0, 1, 2, 3, 4, 5));

  EXPECT_THAT(floats_of(open("z.npz", from_hex(kZip64)), "a"), ElementsAre(0, 1, 2, 3, 4, 5));

  const std::string content = from_hex(kPlain);
  const TensorFile plain = open("y.npz", content);
  EXPECT_THAT(floats_of(plain, "a"), ElementsAre(0, 1, 2, 3, 4, 5));
  const auto offset = static_cast<std::size_t>(plain.find("a")->offset);
  EXPECT_EQ(content.substr(offset, 8), from_hex("000000000000803f"));
}

TEST_F(NpzTest, StoredAndDeflatedAndZip64) {
  for (const bool deflate : {false, true}) {
    for (const bool zip64 : {false, true}) {
      const TensorFile file =
          open("x.npz", zip({{.name = "b.npy", .content = kColumn, .deflate = deflate, .zip64 = zip64},
                             {.name = "in/a.npy", .content = kRow, .deflate = deflate, .zip64 = zip64}},
                            {.zip64_end = zip64, .comment = "PK"}));
      EXPECT_EQ(file.tensors()[0].name, "b");
      EXPECT_EQ(file.tensors()[1].name, "in/a");
      EXPECT_EQ(file.tensors()[1].offset >= 0, !deflate);
      EXPECT_EQ(file.tensors()[0].offset, -1);
      EXPECT_EQ(bytes_of(file, "in/a"), kData);
      EXPECT_EQ(bytes_of(file, "b"), "abcd0123ABCDefgh4567EFGH");
    }
  }
  EXPECT_EQ(open("x.npz", zip({})).tensors().size(), 0u);
}

TEST_F(NpzTest, PartsInAnyOrder) {
  std::string data;
  for (int i = 0; i < 100'000; ++i) data += little(static_cast<std::uint64_t>(i), 4);
  const std::string content = npy(npy_dict("<i4", false, "(100000,)"), data);
  const TensorFile file =
      open("x.npz", zip({{.name = "a.npy", .content = content, .deflate = true}, {"b.npy", content}}));
  for (const char* name : {"a", "b"}) {
    for (const int first : {0, 1, 70'000, 6, 99'999, 0}) {
      std::int32_t element = -1;
      file.read(*file.find(name), first, 1, &element);
      EXPECT_EQ(element, first);
    }
  }
}

// Where calls go on from each other, the sum is checked when the last element has been read.
TEST_F(NpzTest, TheSumIsChecked) {
  for (const bool deflate : {false, true}) {
    for (const std::string& content : {kRow, kColumn}) {
      const std::string bad = zip({{.name = "a.npy", .content = content, .deflate = deflate, .crc_off = 1}});
      EXPECT_THAT(error("x.npz", bad), HasSubstr("damaged: the bytes' sum (CRC-32) is")) << deflate;
    }
    const TensorFile file = open("x.npz", zip({{.name = "a.npy", .content = kRow, .deflate = deflate, .crc_off = 1}}));
    const FileTensor& a = file.tensors()[0];
    std::uint32_t part[6] = {};
    file.read(a, 0, 3, part);
    file.read(a, 3, 2, part);
    EXPECT_THAT([&] { file.read(a, 5, 1, part); }, ::testing::ThrowsMessage<FileError>(HasSubstr("sum (CRC-32)")));
    file.read(a, 1, 3, part);
    EXPECT_THROW(file.read(a, 0, 6, part), FileError);
    EXPECT_THROW(file.read(a, 0, 6, part), FileError);
  }
  // An array without elements is its header, which opening reads.
  const std::string none = npy(npy_dict("<f4", false, "(0,)"), "");
  EXPECT_THAT(error("x.npz", zip({{.name = "a.npy", .content = none, .crc_off = 1}})), HasSubstr("sum (CRC-32)"));
}

TEST_F(NpzTest, PackedDataEndsWhereItShould) {
  const auto packed = [](const std::string& content, std::int64_t size_off, const std::string& bytes = {}) {
    return zip({{.name = "a.npy", .content = content, .deflate = true, .packed = bytes, .size_off = size_off}});
  };
  EXPECT_EQ(error("x.npz", packed(kRow, 0)), "none");
  // The entry says 24 elements' bytes and has more, or fewer.
  EXPECT_THAT(error("x.npz", packed(kRow + "1234", -4)), HasSubstr("the packed data goes on after its size of 152"));
  EXPECT_THAT(error("x.npz", packed(kRow.substr(0, 148), 4)),
              HasSubstr("the packed data ends 4 bytes before its size"));
  EXPECT_THAT(error("x.npz", packed(kRow, 4)), HasSubstr("4 bytes too many"));
  EXPECT_THAT(error("x.npz", packed(kRow, -4)), HasSubstr("ends too early"));
  const std::string nothing = packed(kRow, 0, "\1");
  EXPECT_THAT(error("x.npz", nothing), HasSubstr("the packed data ends too early"));
  EXPECT_THAT(error("x.npz", packed(kRow, 0, repeated("\377", 200))),
              HasSubstr("damaged packed data (invalid block type)"));
  // One of 1032 bytes is all that a packed byte gives.
  EXPECT_THAT(error("x.npz", packed(kRow, 1 << 20)), HasSubstr("packed bytes do not unpack to"));
}

TEST_F(NpzTest, WhatFollowsPackedDataBelongsToNothing) {
  const std::string content = zip({{.name = "a.npy", .content = kRow, .deflate = true}});
  const std::size_t from = 30 + 5;
  const std::size_t to = content.find("PK\1\2");
  const std::string more = content.substr(from, to - from) + "rest";
  EXPECT_THAT(error("x.npz", zip({{.name = "a.npy", .content = kRow, .deflate = true, .packed = more}})),
              HasSubstr("the packed data ends before the next entry does"));
}

TEST_F(NpzTest, WhatIsRefused) {
  const auto entry = [](const ZipPart& part) { return zip({part}); };
  const std::pair<std::string, const char*> cases[] = {
      {entry({.name = "a.npy", .content = kRow, .flags = 1}), "entry 'a.npy': is encrypted"},
      {entry({.name = "a.npy", .content = kRow, .flags = 64}), "entry 'a.npy': is encrypted"},
      {entry({.name = "a.npy", .content = kRow, .flags = 32}), "entry 'a.npy': is a patch of another file"},
      {entry({.name = "a.npy", .content = kRow, .method = 12}), "is packed by method 12; stored and deflated"},
      {entry({.name = "data.pkl", .content = kRow}), "entry 'data.pkl' is no .npy array"},
      {entry({.name = "a/", .content = ""}), "entry 'a/' is no .npy array"},
      {entry({.name = "a.npy", .content = "x"}), "entry 'a.npy': ends within the header of a .npy array"},
      {entry({.name = "a.npy", .content = std::string(200, 'x')}), "entry 'a.npy': does not begin as a .npy array"},
      {entry({.name = "a.npy", .content = std::string(200, 'x'), .deflate = true}),
       "entry 'a.npy': byte 0 when it is unpacked: does not begin as a .npy array"},
      {entry({.name = "a.npy", .content = kRow, .size_off = 1}), "has two different sizes, and is not packed"},
      {zip({{"a.npy", kRow}, {"a.npy", kRow}}), "entry 'a.npy' is there twice"},
      {zip({{"a.npy", kRow}}, {.disk = 1}), "a zip file in several parts; join them"},
      {zip({{"a.npy", kRow}}, {.entries_off = 1}), "the directory has 1 entries, and its end says 2"},
      {zip({{"a.npy", kRow}}, {.entries_off = -1}), "the directory has 1 entries, and its end says 0"},
      {zip({{"a.npy", kRow}}) + "x", "the zip file's directory is not at its end"},
      {"PK\7\10" + zip({{"a.npy", kRow}}), "byte 0: a zip file in several parts"},
      {"PK\3\4", "the zip file's directory is not at its end"},
      {"PK\3\4 before" + zip({{"a.npy", kRow}}), "the directory is said to have"},
  };
  for (const auto& [content, message] : cases) {
    EXPECT_THAT(error("x.npz", content), HasSubstr(message));
    EXPECT_THAT(error("x.npz", content), StartsWith("byte "));
  }
}

// Bytes of a good file in the places where a reader looks for them.
TEST_F(NpzTest, RecordsThatDisagree) {
  const std::string good = zip({{"a.npy", kRow}, {"b.npy", kRow}});
  const std::size_t directory = good.find("PK\1\2");
  const std::size_t second = good.find("PK\1\2", directory + 1);
  const std::size_t local = good.find("PK\3\4", 1);
  const auto with = [&](std::size_t at, const std::string& bytes) {
    std::string changed = good;
    return changed.replace(at, bytes.size(), bytes);
  };
  EXPECT_EQ(error("x.npz", good), "none");
  EXPECT_THAT(error("x.npz", with(30, "c")), HasSubstr("has another name or method here than in the directory"));
  EXPECT_THAT(error("x.npz", with(8, little(8, 2))), HasSubstr("has another name or method here"));
  EXPECT_THAT(error("x.npz", with(local, "XX")), HasSubstr("entry 'b.npy': should begin here"));
  EXPECT_THAT(error("x.npz", with(28, little(1, 2))), HasSubstr("entry 'a.npy': overlaps what follows it"));
  EXPECT_THAT(error("x.npz", with(second + 42, little(0, 4))), HasSubstr("overlaps what follows it"));
  EXPECT_THAT(error("x.npz", with(second + 42, little(1 << 30, 4))), HasSubstr("beyond the directory's begin"));
  EXPECT_THAT(error("x.npz", with(second + 42, little(0xFFFFFFFF, 4))), HasSubstr("its zip64 field is damaged"));
  EXPECT_THAT(error("x.npz", with(second + 34, little(1, 2))), HasSubstr("is in another part of the zip file"));
  EXPECT_THAT(error("x.npz", with(second, "XX")), HasSubstr("the directory's next entry is damaged"));
  EXPECT_THAT(error("x.npz", with(second + 30, little(1, 2))), HasSubstr("the directory's last entry is cut off"));

  const std::string large = zip({{"a.npy", kRow}}, {.zip64_end = true});
  const std::size_t locator = large.find("PK\6\7");
  const auto with64 = [&](std::size_t at, const std::string& bytes) {
    std::string changed = large;
    return changed.replace(at, bytes.size(), bytes);
  };
  EXPECT_EQ(error("x.npz", large), "none");
  EXPECT_THAT(error("x.npz", with64(locator + 8, little(~0ULL, 8))),
              HasSubstr("zip64's end at byte 18446744073709551615"));
  EXPECT_THAT(error("x.npz", with64(locator + 8, little(locator, 8))),
              HasSubstr("zip64's end is not before this place"));
  EXPECT_THAT(error("x.npz", with64(locator + 8, little(1, 8))), HasSubstr("zip64's end should be here"));
  EXPECT_THAT(error("x.npz", with64(locator + 4, little(1, 4))), HasSubstr("a zip file in several parts"));
  EXPECT_THAT(error("x.npz", with64(locator, "XX")), HasSubstr("the directory's place 4294967295 is beyond"));
}

}  // namespace
}  // namespace tidemark::test
