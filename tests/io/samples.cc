#include "tests/io/samples.h"

#include <zlib.h>

#include <cstddef>
#include <stdexcept>

namespace tidemark::test {
namespace {

std::string deflated(const std::string& content) {
  z_stream stream{};
  if (deflateInit2(&stream, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) throw std::bad_alloc();
  std::string packed(deflateBound(&stream, content.size()), '\0');
  std::string from = content;
  stream.next_in = reinterpret_cast<Bytef*>(from.data());
  stream.avail_in = static_cast<uInt>(from.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) throw std::logic_error("deflate");
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string counting(int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(i);
  return text;
}

}  // namespace

std::string from_hex(std::string_view hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string bytes;
  int high = -1;
  for (const char c : hex) {
    if (c == ' ') continue;
    if (high < 0) {
      high = digit(c);
    } else {
      bytes += static_cast<char>(high * 16 + digit(c));
      high = -1;
    }
  }
  return bytes;
}

std::string little(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * i & 0xFF);
  return text;
}

std::string safetensors(const std::string& header, const std::string& data) {
  return little(header.size(), 8) + header + data;
}

std::string npy_dict(const std::string& descr, bool columns_first, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': " + (columns_first ? "True" : "False") + ", 'shape': " + shape +
         ", }";
}

std::string npy(const std::string& dict, const std::string& data, int major) {
  const int size_bytes = major == 1 ? 2 : 4;
  const std::size_t before = 8 + static_cast<std::size_t>(size_bytes);
  std::string text = dict;
  while ((before + text.size() + 1) % 64 != 0) text += ' ';
  text += '\n';
  return "\x93NUMPY" + little(static_cast<std::uint64_t>(major), 1) + little(0, 1) + little(text.size(), size_bytes) +
         text + data;
}

std::string zip(const std::vector<ZipPart>& parts, const ZipOptions& options) {
  std::string file;
  std::string directory;
  for (const ZipPart& part : parts) {
    const std::string packed = !part.packed.empty() ? part.packed
                               : part.deflate       ? deflated(part.content)
                                                    : part.content;
    const int method = part.method >= 0 ? part.method : part.deflate ? 8 : 0;
    const auto crc = static_cast<std::uint32_t>(
        crc32_z(0, reinterpret_cast<const Bytef*>(part.content.data()), part.content.size()));
    const std::uint64_t size = part.content.size() + static_cast<std::uint64_t>(part.size_off);
    const std::uint64_t begin = file.size();
    // The flags, the method, the time, the date, the sum and the sizes are in both records.
    const std::string sizes =
        part.zip64 ? little(0xFFFFFFFF, 4) + little(0xFFFFFFFF, 4) : little(packed.size(), 4) + little(size, 4);
    const std::string both = little(part.flags, 2) + little(static_cast<std::uint64_t>(method), 2) + little(0, 2) +
                             little(33, 2) + little(crc + part.crc_off, 4) + sizes + little(part.name.size(), 2);
    const std::string large = little(size, 8) + little(packed.size(), 8);
    const std::string here = part.zip64 ? little(1, 2) + little(16, 2) + large : "";
    const std::string there = part.zip64 ? little(1, 2) + little(24, 2) + large + little(begin, 8) : "";
    file += "PK\3\4" + little(20, 2) + both + little(here.size(), 2) + part.name + here + packed;
    directory += "PK\1\2" + little(20, 2) + little(20, 2) + both + little(there.size(), 2) + little(0, 2) +
                 little(0, 2) + little(0, 2) + little(0, 4) + little(part.zip64 ? 0xFFFFFFFF : begin, 4) + part.name +
                 there;
  }
  const std::uint64_t begin = file.size();
  const std::uint64_t count = parts.size() + static_cast<std::uint64_t>(options.entries_off);
  file += directory;
  const std::uint64_t end = file.size();
  if (options.zip64_end) {
    file += "PK\6\6" + little(44, 8) + little(45, 2) + little(45, 2) + little(0, 4) + little(0, 4) + little(count, 8) +
            little(count, 8) + little(directory.size(), 8) + little(begin, 8);
    file += "PK\6\7" + little(0, 4) + little(end, 8) + little(1, 4);
  }
  const bool in64 = options.zip64_end;
  file += "PK\5\6" + little(options.disk, 2) + little(options.disk, 2) + little(in64 ? 0xFFFF : count, 2) +
          little(in64 ? 0xFFFF : count, 2) + little(in64 ? 0xFFFFFFFF : directory.size(), 4) +
          little(in64 ? 0xFFFFFFFF : begin, 4) + little(options.comment.size(), 2) + options.comment;
  return file;
}

std::vector<std::pair<std::string, std::string>> samples() {
  const std::string row = npy(npy_dict("<f4", false, "(2, 3)"), counting(24));
  const std::string column = npy(npy_dict(">i2", true, "(2, 3, 2)"), counting(24));
  std::vector<std::pair<std::string, std::string>> all = {
      {"empty.safetensors", safetensors("{}", "")},
      {"one.safetensors", safetensors(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", counting(24))},
      {"several.safetensors",
       safetensors(R"({"__metadata__":{"format":"pt","a":""},"h":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},)"
                   R"("none":{"dtype":"I64","shape":[0,4],"data_offsets":[8,8]},)"
                   R"("scalar":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
                   R"("\u00e4/\"b\"":{"dtype":"BOOL","shape":[1,1,3],"data_offsets":[12,15]}}  )",
                   counting(15))},
      {"row.npy", row},
      {"column.npy", column},
      {"later.npy", npy(npy_dict("<f2", true, "(3, 2)"), counting(12), 3)},
      {"scalar.npy", npy(npy_dict("|b1", false, "()"), counting(1), 2)},
      {"stored.npz", zip({{"a.npy", row}, {"b.npy", column}})},
      {"deflated.npz", zip({{.name = "a.npy", .content = row, .deflate = true},
                            {.name = "b.npy", .content = column, .deflate = true}})},
      {"large.npz", zip({{.name = "a.npy", .content = row, .deflate = true, .zip64 = true},
                         {.name = "b.npy", .content = column, .zip64 = true}},
                        {.zip64_end = true, .comment = "a comment"})},
      {"empty.npz", zip({})},
  };
  return all;
}

}  // namespace tidemark::test
