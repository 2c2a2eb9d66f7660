// The bytes of extents: as they lie in the file, or inflated.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <vector>

#include "io/file.h"
#include "io/stored.h"

namespace tidemark::io {

class Content {
 public:
  explicit Content(const File& file) : file_(file) {}
  Content(const Content&) = delete;
  Content& operator=(const Content&) = delete;
  ~Content();

  // Bytes [at, at + count) of an extent, whose elements begin at `start`. Whoever goes on where the last call ended
  // unpacks nothing twice. An extent that was read from its elements' start to its end has been checked: its sum, and
  // that its packed bytes end where they should.
  void read(const Extent& extent, std::int64_t start, std::int64_t at, std::int64_t count, void* to);

 private:
  void begin(const Extent& extent);
  // The next bytes of the extent that was begun.
  void next(std::int64_t count, std::uint8_t* to);
  void skip(std::int64_t count);
  void inflate(std::int64_t count, std::uint8_t* to);
  // One call of zlib, with more packed bytes where it has used up those before.
  void inflate_some(std::int64_t count, std::uint8_t* to);
  std::int64_t packed_position() const { return extent_.offset + packed_read_ - stream_.avail_in; }
  void check_end();

  const File& file_;
  Extent extent_;
  std::int64_t position_ = -1;  // of the next byte in it; -1: none has been begun
  uLong crc_ = 0;
  z_stream stream_{};
  bool stream_made_ = false;
  bool stream_ended_ = false;
  std::int64_t packed_read_ = 0;
  std::vector<std::uint8_t> packed_;
};

}  // namespace tidemark::io
