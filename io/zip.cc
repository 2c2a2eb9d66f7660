#include "io/zip.h"

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tidemark/shape.h"

namespace tidemark::io {
namespace {

constexpr std::int64_t kEndSize = 22;        // the end's record, without its comment
constexpr std::int64_t kLocatorSize = 20;    // of zip64, right before it
constexpr std::int64_t kEnd64Size = 56;      // zip64's record of the end
constexpr std::int64_t kDirectorySize = 46;  // an entry of the directory, without its name and what follows
constexpr std::int64_t kLocalSize = 30;      // the record before an entry's bytes, likewise
constexpr std::int64_t kMostComment = 65535;
constexpr std::int64_t kMostDirectory = 100'000'000;
constexpr std::uint64_t kMostRatio = 1032;   // unpacked bytes of a packed one: deflate does no better
constexpr std::uint32_t kIn64 = 0xFFFFFFFF;  // the number is in the entry's zip64 field

constexpr std::string_view kEndMark = "PK\5\6";
constexpr std::string_view kLocatorMark = "PK\6\7";
constexpr std::string_view kEnd64Mark = "PK\6\6";
constexpr std::string_view kDirectoryMark = "PK\1\2";
constexpr std::string_view kLocalMark = "PK\3\4";

bool has(const std::uint8_t* at, std::string_view mark) {
  return std::equal(mark.begin(), mark.end(), at, [](char a, std::uint8_t b) { return a == static_cast<char>(b); });
}
std::uint16_t u16(const std::uint8_t* from) { return little_endian<std::uint16_t>(from); }
std::uint32_t u32(const std::uint8_t* from) { return little_endian<std::uint32_t>(from); }
std::uint64_t u64(const std::uint8_t* from) { return little_endian<std::uint64_t>(from); }

struct Directory {
  std::uint64_t entries = 0;
  std::int64_t offset = 0;
  std::int64_t size = 0;
};

class Reader {
 public:
  explicit Reader(const File& file) : file_(file) {}

  std::vector<ZipEntry> read() {
    const Directory directory = find_directory();
    if (directory.size > kMostDirectory) {
      file_.fail(directory.offset,
                 absl::StrCat("a directory of ", directory.size, " bytes; ", kMostDirectory, " are read at most"));
    }
    core::Bytes bytes(static_cast<std::size_t>(directory.size));
    file_.read(directory.offset, directory.size, bytes.data());
    std::int64_t at = 0;
    while (at < directory.size) at += read_entry(bytes, directory, at);
    if (entries_.size() != directory.entries) {
      file_.fail(directory.offset,
                 absl::StrCat("the directory has ", entries_.size(), " entries, and its end says ", directory.entries));
    }
    std::sort(entries_.begin(), entries_.end(), [](const Found& a, const Found& b) { return a.begin < b.begin; });
    std::vector<ZipEntry> result;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      Found& found = entries_[i];
      find_bytes(found, i + 1 < entries_.size() ? entries_[i + 1].begin : directory.offset);
      result.push_back(std::move(found.entry));
    }
    return result;
  }

 private:
  struct Found {
    std::int64_t begin = 0;  // of the record before the entry's bytes
    ZipEntry entry;
  };

  // A number that a zip64 record may have as well: as a place or size, no more than the file has.
  std::int64_t within_file(std::uint64_t value, std::int64_t at, const char* what) const {
    if (value > static_cast<std::uint64_t>(file_.size())) {
      file_.fail(at, absl::StrCat(what, " ", value, " is beyond the file's ", file_.size(), " bytes"));
    }
    return static_cast<std::int64_t>(value);
  }

  Directory find_directory() const {
    const std::int64_t begin = std::max<std::int64_t>(0, file_.size() - kEndSize - kMostComment);
    core::Bytes tail(static_cast<std::size_t>(file_.size() - begin));
    file_.read(begin, std::ssize(tail), tail.data());
    for (std::int64_t i = std::ssize(tail) - kEndSize; i >= 0; --i) {
      const std::uint8_t* record = tail.data() + i;
      if (has(record, kEndMark) && u16(record + 20) == std::ssize(tail) - kEndSize - i) {
        return directory_of(record, begin + i);
      }
    }
    file_.fail(file_.size(), "the zip file's directory is not at its end: it is cut off, or something was added");
  }

  Directory directory_of(const std::uint8_t* record, std::int64_t at) const {
    std::uint32_t disks = u16(record + 4) | u16(record + 6) | (u16(record + 8) ^ u16(record + 10));
    std::uint64_t entries = u16(record + 10);
    std::uint64_t size = u32(record + 12);
    std::uint64_t offset = u32(record + 16);
    std::int64_t end = at;
    std::uint8_t locator[kLocatorSize] = {};
    if (at >= kLocatorSize) file_.read(at - kLocatorSize, kLocatorSize, locator);
    if (has(locator, kLocatorMark)) {
      end = within_file(u64(locator + 8), at - kLocatorSize, "zip64's end at byte");
      if (end + kEnd64Size > at - kLocatorSize) file_.fail(at - kLocatorSize, "zip64's end is not before this place");
      std::uint8_t end64[kEnd64Size];
      file_.read(end, kEnd64Size, end64);
      if (!has(end64, kEnd64Mark)) file_.fail(end, "zip64's end should be here");
      disks = u32(locator + 4) | u32(end64 + 16) | u32(end64 + 20) | (u64(end64 + 24) != u64(end64 + 32) ? 1U : 0U);
      entries = u64(end64 + 32);
      size = u64(end64 + 40);
      offset = u64(end64 + 48);
    }
    if (disks != 0) file_.fail(at, "a zip file in several parts; join them");
    const Directory directory = {entries, within_file(offset, at, "the directory's place"),
                                 within_file(size, at, "the directory's size")};
    if (directory.offset + directory.size != end) {
      file_.fail(at, absl::StrCat("the directory is said to have ", size, " bytes from byte ", offset,
                                  " on, and ends at ", end));
    }
    return directory;
  }

  // The bytes that it has in the directory.
  std::int64_t read_entry(const core::Bytes& bytes, const Directory& directory, std::int64_t at) {
    const std::int64_t place = directory.offset + at;
    const std::uint8_t* record = bytes.data() + at;
    const std::int64_t left = directory.size - at;
    if (left < kDirectorySize || !has(record, kDirectoryMark))
      file_.fail(place, "the directory's next entry is damaged");
    const std::int64_t name_size = u16(record + 28);
    const std::int64_t extra_size = u16(record + 30);
    const std::int64_t whole = kDirectorySize + name_size + extra_size + u16(record + 32);
    if (left < whole) file_.fail(place, "the directory's last entry is cut off");
    if (entries_.size() == kMostNames) file_.fail(place, absl::StrCat("holds more than ", kMostNames, " entries"));
    const std::uint8_t* name = record + kDirectorySize;
    Found found;
    found.entry.name.assign(name, name + name_size);
    const auto refuse = [&](const std::string& why) {
      file_.fail(place, absl::StrCat("entry ", in_quotes(found.entry.name), ": ", why));
    };
    const std::uint16_t flags = u16(record + 8);
    const std::uint16_t method = u16(record + 10);
    if ((flags & 0x2041U) != 0) refuse("is encrypted");
    if ((flags & 0x0020U) != 0) refuse("is a patch of another file");
    if (method != kStored && method != kDeflated) {
      refuse(absl::StrCat("is packed by method ", method, "; stored and deflated entries are read"));
    }
    std::uint64_t packed = u32(record + 20);
    std::uint64_t size = u32(record + 24);
    std::uint64_t begin = u32(record + 42);
    if (!read_large({name + name_size, static_cast<std::size_t>(extra_size)}, {&size, &packed, &begin})) {
      refuse("its zip64 field is damaged");
    }
    if (u16(record + 34) != 0) refuse("is in another part of the zip file; join them");
    const auto limit = static_cast<std::uint64_t>(directory.offset);
    if (begin > limit || packed > limit) refuse("its place or size is beyond the directory's begin");
    if (method == kStored && packed != size) refuse("has two different sizes, and is not packed");
    if (size / kMostRatio > packed || size > kMaxBytes) {
      refuse(absl::StrCat(packed, " packed bytes do not unpack to ", size));
    }
    found.begin = static_cast<std::int64_t>(begin);
    found.entry.extent = {.packed = static_cast<std::int64_t>(packed),
                          .size = static_cast<std::int64_t>(size),
                          .deflated = method == kDeflated,
                          .crc = u32(record + 16)};
    entries_.push_back(std::move(found));
    return whole;
  }

  // Of an entry's numbers those that 32 bits do not hold are in a field of its extra bytes, one after another. False
  // where they are not.
  static bool read_large(std::span<const std::uint8_t> extra, std::initializer_list<std::uint64_t*> numbers) {
    constexpr std::size_t kField = 4;  // its kind and its size, 2 bytes each
    constexpr std::uint16_t kZip64 = 1;
    std::span<const std::uint8_t> large;
    while (extra.size() >= kField) {
      const std::uint16_t kind = u16(extra.data());
      const std::size_t size = u16(extra.data() + 2);
      if (extra.size() - kField < size) return false;
      if (kind == kZip64) large = extra.subspan(kField, size);
      extra = extra.subspan(kField + size);
    }
    for (std::uint64_t* number : numbers) {
      if (*number != kIn64) continue;
      if (large.size() < sizeof *number) return false;
      *number = u64(large.data());
      large = large.subspan(sizeof *number);
    }
    return true;
  }

  // Where the entry's bytes are: between the record before them, which says the same as the directory, and `limit`.
  void find_bytes(Found& found, std::int64_t limit) const {
    const auto refuse = [&](const std::string& why) {
      file_.fail(found.begin, absl::StrCat("entry ", in_quotes(found.entry.name), ": ", why));
    };
    Extent& extent = found.entry.extent;
    std::uint8_t record[kLocalSize];
    if (found.begin + kLocalSize > limit) refuse("overlaps what follows it");
    file_.read(found.begin, kLocalSize, record);
    if (!has(record, kLocalMark)) refuse("should begin here");
    const std::int64_t name_size = u16(record + 26);
    extent.offset = found.begin + kLocalSize + name_size + u16(record + 28);
    if (extent.offset > limit || extent.packed > limit - extent.offset) refuse("overlaps what follows it");
    std::string name(static_cast<std::size_t>(name_size), ' ');
    file_.read(found.begin + kLocalSize, name_size, name.data());
    if (name != found.entry.name || u16(record + 8) != (extent.deflated ? kDeflated : kStored)) {
      refuse("has another name or method here than in the directory");
    }
  }

  const File& file_;
  std::vector<Found> entries_;
};

}  // namespace

std::vector<ZipEntry> read_zip_directory(const File& file) { return Reader(file).read(); }

}  // namespace tidemark::io
