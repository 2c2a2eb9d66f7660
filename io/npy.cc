#include "io/npy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "io/file.h"
#include "io/stored.h"

namespace tidemark::io {
namespace {

constexpr std::pair<const char*, StoredType> kTypes[] = {
    {"b1", StoredType::kBool}, {"u1", StoredType::kU8},  {"i1", StoredType::kI8},  {"i2", StoredType::kI16},
    {"u2", StoredType::kU16},  {"f2", StoredType::kF16}, {"i4", StoredType::kI32}, {"u4", StoredType::kU32},
    {"f4", StoredType::kF32},  {"f8", StoredType::kF64}, {"i8", StoredType::kI64}, {"u8", StoredType::kU64}};

// Magic bytes, the version's two, and the header's size: of 2 bytes in version 1, of 4 later.
constexpr std::int64_t kVersionAt = 6;
constexpr std::int64_t kSizeAt = 8;
// What version 1 allows. Only fields of structured types need more.
constexpr std::uint32_t kMostHeader = 65535;

// The header's text: a dict of three keys, whose values are a text, True or False, and a tuple of whole numbers.
class Parser {
 public:
  Parser(const NpyBytes& bytes, std::string_view text, std::int64_t begin)
      : bytes_(bytes), text_(text), begin_(begin) {}

  NpyHeader parse() {
    constexpr std::array<std::string_view, 3> kKeys = {"descr", "fortran_order", "shape"};
    std::array<bool, kKeys.size()> seen{};
    require('{');
    while (!accept('}')) {
      const std::string_view name = quoted();
      const auto key = static_cast<std::size_t>(std::find(kKeys.begin(), kKeys.end(), name) - kKeys.begin());
      if (key == kKeys.size()) fail(absl::StrCat("the header has the unknown key ", in_quotes(name)));
      if (std::exchange(seen[key], true)) fail(absl::StrCat("the key ", in_quotes(name), " is there twice"));
      require(':');
      if (key == 0) {
        type();
      } else if (key == 1) {
        header_.columns_first = boolean();
      } else {
        shape();
      }
      if (!accept(',')) {
        require('}');
        break;
      }
    }
    skip_spaces();
    if (at_ != text_.size()) fail("something follows the header's dict");
    for (std::size_t key = 0; key < kKeys.size(); ++key) {
      if (!seen[key]) fail(absl::StrCat("the header has no key ", in_quotes(kKeys[key])));
    }
    return std::move(header_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    bytes_.fail(begin_ + static_cast<std::int64_t>(std::min(at_, text_.size())), what);
    __builtin_unreachable();
  }
  void skip_spaces() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  bool accept(char c) {
    skip_spaces();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void require(char c) {
    if (!accept(c)) fail(absl::StrCat("the header should have ", in_quotes(std::string_view(&c, 1)), " here"));
  }
  std::string_view quoted() {
    skip_spaces();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    const std::size_t end = text_.find(quote, at_ + 1);
    if ((quote != '\'' && quote != '"') || end == std::string_view::npos) fail("the header should have a text here");
    const std::string_view inside = text_.substr(at_ + 1, end - at_ - 1);
    if (inside.find('\\') != std::string_view::npos) fail("a text of the header has a backslash");
    at_ = end + 1;
    return inside;
  }
  bool boolean() {
    skip_spaces();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return value;
    }
    fail("fortran_order should be True or False");
  }
  void shape() {
    require('(');
    bool tuple = false;  // (3) is a number, (3,) is one of a tuple
    while (!accept(')')) {
      if (!header_.shape.empty() && !tuple) fail("shape should be a tuple of whole numbers, none below 0");
      if (header_.shape.size() == kMostDims) fail(absl::StrCat("shape has more than ", kMostDims, " dimensions"));
      header_.shape.push_back(number());
      tuple = accept(',');
    }
    if (header_.shape.size() == 1 && !tuple) fail("shape is a number, and should be a tuple: (3,)");
  }
  std::int64_t number() {
    skip_spaces();
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error == std::errc::invalid_argument) fail("shape should be a tuple of whole numbers, none below 0");
    if (error != std::errc() || value > std::numeric_limits<std::int64_t>::max()) fail("a dimension is too large");
    at_ = static_cast<std::size_t>(end - text_.data());
    if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // as Python 2 wrote them
    return static_cast<std::int64_t>(value);
  }
  void type() {
    skip_spaces();
    if (text_.substr(at_).starts_with('[') || text_.substr(at_).starts_with('(')) {
      fail("a structured array, which has several fields an element; save each field as an array of its own");
    }
    const std::size_t begin = at_;
    const std::string_view descr = quoted();
    const std::string_view name = descr.substr(std::min<std::size_t>(1, descr.size()));
    const auto* const known =
        std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& each) { return each.first == name; });
    if (known == std::end(kTypes) || std::string_view("<>|=").find(descr[0]) == std::string_view::npos) {
      at_ = begin;
      if (name.starts_with('O')) {
        fail(absl::StrCat("Python objects (dtype ", in_quotes(descr), "), which only pickle reads; save numbers"));
      }
      fail(absl::StrCat("elements of dtype ", in_quotes(descr),
                        "; b1, i1 to i8, u1 to u8, f2, f4 and f8 are read, after one of < > = |"));
    }
    header_.type = known->second;
    header_.big_endian = descr[0] == '>';
  }

  const NpyBytes& bytes_;
  std::string_view text_;
  std::int64_t begin_;  // of the text in the array's bytes
  std::size_t at_ = 0;
  NpyHeader header_;
};

}  // namespace

NpyHeader read_npy_header(const NpyBytes& bytes) {
  std::array<std::uint8_t, 12> head{};
  const auto read = [&](std::int64_t at, std::int64_t count, std::uint8_t* to) {
    if (at + count > bytes.size) bytes.fail(bytes.size, "ends within the header of a .npy array");
    bytes.read(at, count, to);
  };
  read(0, kSizeAt, head.data());
  if (!std::equal(kNpyMagic.begin(), kNpyMagic.end(), head.begin(),
                  [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; })) {
    bytes.fail(0, "does not begin as a .npy array does");
  }
  const int major = head[kVersionAt];
  const int minor = head[kVersionAt + 1];
  if (major < 1 || major > 3 || minor != 0) {
    bytes.fail(kVersionAt, absl::StrCat("version ", major, ".", minor, " of .npy; 1.0, 2.0 and 3.0 are read"));
  }
  const std::int64_t size_bytes = major == 1 ? 2 : 4;
  read(kSizeAt, size_bytes, head.data() + kSizeAt);
  const std::uint32_t size = major == 1 ? little_endian<std::uint16_t>(head.data() + kSizeAt)
                                        : little_endian<std::uint32_t>(head.data() + kSizeAt);
  if (size > kMostHeader) {
    bytes.fail(kSizeAt,
               absl::StrCat("a header of ", size, " bytes; arrays of numbers need no more than ", kMostHeader));
  }
  const std::int64_t begin = kSizeAt + size_bytes;
  std::string text(size, ' ');
  read(begin, size, reinterpret_cast<std::uint8_t*>(text.data()));
  NpyHeader header = Parser(bytes, text, begin).parse();
  header.start = begin + size;
  const std::optional<std::int64_t> elements = count_elements(header.shape, size_of(header.type));
  if (!elements) bytes.fail(begin, absl::StrCat("the shape ", shape_text(header.shape), " is beyond 4 PiB"));
  header.elements = *elements;
  const std::int64_t needed = *elements * size_of(header.type);
  const std::int64_t there = bytes.size - header.start;
  if (needed > there) {
    bytes.fail(bytes.size, absl::StrCat("ends too early: the shape ", shape_text(header.shape), " of ",
                                        to_string(header.type), " takes ", needed, " bytes, and there are ", there));
  }
  if (needed < there) {
    bytes.fail(header.start + needed,
               absl::StrCat(there - needed, " bytes too many: the shape ", shape_text(header.shape), " of ",
                            to_string(header.type), " takes ", needed));
  }
  return header;
}

std::string npy_header(StoredType type, std::span<const std::int64_t> shape) {
  constexpr std::size_t kAlign = 64;
  const auto* const known =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& each) { return each.second == type; });
  if (known == std::end(kTypes)) return {};
  std::string text =
      absl::StrCat("{'descr': '", size_of(type) == 1 ? "|" : "<", known->first, "', 'fortran_order': False, 'shape': (",
                   absl::StrJoin(shape, ", "), shape.size() == 1 ? ",), }" : "), }");
  const std::size_t before = static_cast<std::size_t>(kSizeAt) + 2;
  text.append(kAlign - 1 - (before + text.size()) % kAlign, ' ');
  text += '\n';
  std::string header(kNpyMagic);
  header += {1, 0};
  append_little_endian(header, static_cast<std::uint16_t>(text.size()));
  return header + text;
}

}  // namespace tidemark::io
