#include "tests/fuzz/packed.h"

#include <zlib.h>

namespace tidemark::fuzz {

std::vector<std::uint8_t> unpack(Input& input) {
  constexpr std::size_t kMost = 100'000;
  std::vector<std::uint8_t> content;
  for (bool last = false; !last && !input.empty() && content.size() < kMost;) {
    const std::uint8_t kind = input.byte();
    last = (kind & 1U) != 0;
    const std::size_t count = std::size_t{input.byte()} << (kind >> 1 & 7);
    if ((kind & 0x80U) != 0) {
      const auto taken = input.take(count);
      content.insert(content.end(), taken.begin(), taken.end());
    } else {
      content.insert(content.end(), count, input.byte());
    }
  }
  return content;
}

std::vector<std::uint8_t> gzip(std::span<const std::uint8_t> content) {
  constexpr int kGzip = 16;  // zlib adds it to the window's bits
  z_stream stream{};
  require(deflateInit2(&stream, 1, Z_DEFLATED, MAX_WBITS + kGzip, 8, Z_DEFAULT_STRATEGY) == Z_OK, "deflateInit2");
  std::vector<std::uint8_t> packed(deflateBound(&stream, content.size()));
  std::vector<std::uint8_t> from(content.begin(), content.end());
  stream.next_in = from.data();
  stream.avail_in = static_cast<uInt>(from.size());
  stream.next_out = packed.data();
  stream.avail_out = static_cast<uInt>(packed.size());
  require(deflate(&stream, Z_FINISH) == Z_STREAM_END, "deflate");
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

}  // namespace tidemark::fuzz
