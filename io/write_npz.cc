// .npy, and .npz: a zip file of .npy entries that are not packed. An entry's sum is known when its bytes have been
// written, and so follows them; the directory at the end has it as well.
#include <zlib.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/file.h"
#include "io/npy.h"
#include "io/stored.h"
#include "io/write.h"
#include "io/zip.h"

namespace tidemark::io {
namespace {

constexpr std::uint16_t kDate = 1 << 5 | 1;    // the first of January 1980: the same bytes whenever they are written
constexpr std::uint16_t kSumFollows = 1 << 3;  // flags
constexpr std::uint16_t kUtf8 = 1 << 11;
constexpr std::uint16_t kVersion = 20;
constexpr std::uint16_t kVersion64 = 45;
constexpr std::uint32_t kIn64 = 0xFFFFFFFF;
constexpr std::uint16_t kIn64Short = 0xFFFF;
constexpr std::uint16_t kZip64Field = 1;
constexpr std::size_t kMostName = 65535 - 4;  // with .npy after it

using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

template <class... Numbers>
std::string record(std::string_view mark, Numbers... numbers) {
  std::string text(mark);
  (append_little_endian(text, numbers), ...);
  return text;
}

struct Entry {
  std::string name;
  u64 begin = 0;
  u64 size = 0;
  u32 crc = 0;
};

std::string header_of(const TensorToWrite& tensor, SourceLocation where) {
  std::string header = npy_header(tensor.type, tensor.shape);
  if (header.empty()) {
    refuse(absl::StrCat("tensor ", in_quotes(tensor.name), " is of ", to_string(tensor.type),
                        ", which numpy's formats do not have; write it as f32, or as .safetensors"),
           where);
  }
  if (tensor.name.size() > kMostName) {
    refuse(absl::StrCat("tensor ", in_quotes(tensor.name), ": the name has ", tensor.name.size(), " bytes; .npz allow ",
                        kMostName),
           where);
  }
  return header;
}

class Writer {
 public:
  Writer(Appender& to, u32 most32) : to_(to), most32_(most32) {}

  void add(const TensorToWrite& tensor) {
    const std::string header = header_of(tensor, to_.where());
    Entry entry = {.name = tensor.name + ".npy", .begin = place()};
    const std::int64_t elements = *count_elements(tensor.shape, size_of(tensor.type));
    entry.size = header.size() + static_cast<u64>(elements * size_of(tensor.type));
    // Sizes are said after the bytes; that they are of 64 bits then is said here.
    const bool large = entry.size > most32_;
    const std::string extra = large ? record("", kZip64Field, u16{16}, u64{0}, u64{0}) : "";
    const u32 unsaid = large ? kIn64 : 0;
    to_.append(record("PK\3\4", large ? kVersion64 : kVersion, flags(entry), kStored, u16{0}, kDate, u32{0}, unsaid,
                      unsaid, static_cast<u16>(entry.name.size()), static_cast<u16>(extra.size())));
    to_.append(entry.name);
    to_.append(extra);
    to_.append(header);
    entry.crc = add_to_crc(0, header);
    to_.append(tensor, &entry.crc);
    to_.append(record("PK\7\10", entry.crc));
    to_.append(large ? record("", entry.size, entry.size)
                     : record("", static_cast<u32>(entry.size), static_cast<u32>(entry.size)));
    entries_.push_back(std::move(entry));
  }

  void finish() {
    const u64 begin = place();
    for (const Entry& entry : entries_) {
      std::string numbers;
      const u32 size = in_32(entry.size, numbers);
      const u32 packed = in_32(entry.size, numbers);
      const u32 offset = in_32(entry.begin, numbers);
      const std::string extra =
          numbers.empty() ? "" : record("", kZip64Field, static_cast<u16>(numbers.size())) + numbers;
      const u16 version = numbers.empty() ? kVersion : kVersion64;
      to_.append(record("PK\1\2", version, version, flags(entry), kStored, u16{0}, kDate, entry.crc, packed, size,
                        static_cast<u16>(entry.name.size()), static_cast<u16>(extra.size()), u16{0}, u16{0}, u16{0},
                        u32{0}, offset));
      to_.append(entry.name);
      to_.append(extra);
    }
    const u64 end = place();
    const u64 count = entries_.size();
    if (count >= kIn64Short || end > most32_) {
      constexpr u64 kRest = 44;  // bytes of the record after its size
      to_.append(record("PK\6\6", kRest, kVersion64, kVersion64, u32{0}, u32{0}, count, count, end - begin, begin));
      to_.append(record("PK\6\7", u32{0}, end, u32{1}));
    }
    const u16 shown = count >= kIn64Short ? kIn64Short : static_cast<u16>(count);
    std::string none;
    to_.append(record("PK\5\6", u16{0}, u16{0}, shown, shown, in_32(end - begin, none), in_32(begin, none), u16{0}));
  }

 private:
  u64 place() const { return static_cast<u64>(to_.position()); }
  // As it stands among the numbers of 32 bits; a larger one is added to those of 64.
  u32 in_32(u64 value, std::string& numbers) const {
    if (value <= most32_) return static_cast<u32>(value);
    append_little_endian(numbers, value);
    return kIn64;
  }
  static u16 flags(const Entry& entry) {
    const bool ascii = std::all_of(entry.name.begin(), entry.name.end(), [](char c) { return (c & 0x80) == 0; });
    return ascii ? kSumFollows : static_cast<u16>(kSumFollows | kUtf8);
  }

  Appender& to_;
  u32 most32_;
  std::vector<Entry> entries_;
};

}  // namespace

std::uint32_t add_to_crc(std::uint32_t crc, std::string_view bytes) {
  if (bytes.empty()) return crc;  // where there may be no address, for which zlib begins anew
  const auto* const begin = reinterpret_cast<const Bytef*>(bytes.data());
  return static_cast<std::uint32_t>(crc32_z(crc, begin, bytes.size()));
}

void write_npy(Appender& to, const TensorToWrite& tensor) {
  to.append(header_of(tensor, to.where()));
  to.append(tensor);
}

void write_npz(Appender& to, std::span<const TensorToWrite> tensors, std::uint32_t most32) {
  for (const TensorToWrite& tensor : tensors) header_of(tensor, to.where());
  Writer writer(to, most32);
  for (const TensorToWrite& tensor : tensors) writer.add(tensor);
  writer.finish();
}

}  // namespace tidemark::io
