#include "io/content.h"

#include <algorithm>
#include <array>
#include <new>

#include "absl/strings/str_cat.h"

namespace tidemark::io {
namespace {

constexpr std::int64_t kPackedBuffer = std::int64_t{1} << 16;

}  // namespace

Content::~Content() {
  if (stream_made_) inflateEnd(&stream_);
}

void Content::read(const Extent& extent, std::int64_t start, std::int64_t at, std::int64_t count, void* to) {
  auto* bytes = static_cast<std::uint8_t*>(to);
  if (!extent.deflated && !extent.crc) return file_.read(extent.offset + at, count, bytes);
  const bool follows = position_ >= 0 && extent_.offset == extent.offset && at >= position_;
  if (extent.deflated) {
    if (!follows) begin(extent);
    skip(at - position_);
  } else if (at <= start) {  // a sum can be made from here
    begin(extent);
    skip(at);
  } else if (!follows || at != position_) {
    position_ = -1;
    return file_.read(extent.offset + at, count, bytes);
  }
  next(count, bytes);
}

void Content::begin(const Extent& extent) {
  position_ = -1;
  extent_ = extent;
  crc_ = 0;
  if (extent.deflated) {
    constexpr int kRaw = -MAX_WBITS;  // without a header of zlib or gzip
    if (!stream_made_ && inflateInit2(&stream_, kRaw) != Z_OK) throw std::bad_alloc();
    stream_made_ = true;
    inflateReset(&stream_);
    stream_.avail_in = 0;
    stream_ended_ = false;
    packed_read_ = 0;
    packed_.resize(static_cast<std::size_t>(kPackedBuffer));
  }
  position_ = 0;
}

void Content::next(std::int64_t count, std::uint8_t* to) {
  const std::int64_t at = position_;
  position_ = -1;  // where this throws
  if (extent_.deflated) {
    inflate(count, to);
  } else {
    file_.read(extent_.offset + at, count, to);
  }
  crc_ = crc32_z(crc_, to, static_cast<z_size_t>(count));
  if (at + count == extent_.size) check_end();
  position_ = at + count;
}

void Content::skip(std::int64_t count) {
  std::array<std::uint8_t, 1 << 14> passed;
  while (count > 0) {
    const std::int64_t part = std::min<std::int64_t>(count, passed.size());
    next(part, passed.data());
    count -= part;
  }
}

void Content::inflate(std::int64_t count, std::uint8_t* to) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  while (count > 0) {
    const std::int64_t part = std::min(count, kMost);
    inflate_some(part, to);
    const std::int64_t got = part - stream_.avail_out;
    to += got;
    count -= got;
    if (stream_ended_ && count > 0) {
      file_.fail(packed_position(), absl::StrCat("the packed data ends ", count, " bytes before its size of ",
                                                 extent_.size, " unpacked bytes"));
    }
  }
}

void Content::inflate_some(std::int64_t count, std::uint8_t* to) {
  if (stream_.avail_in == 0) {
    const std::int64_t part = std::min(kPackedBuffer, extent_.packed - packed_read_);
    file_.read(extent_.offset + packed_read_, part, packed_.data());
    packed_read_ += part;
    stream_.next_in = packed_.data();
    stream_.avail_in = static_cast<uInt>(part);
  }
  stream_.next_out = to;
  stream_.avail_out = static_cast<uInt>(count);
  const int result = ::inflate(&stream_, Z_NO_FLUSH);
  stream_ended_ = result == Z_STREAM_END;
  if (result == Z_OK || result == Z_STREAM_END) return;
  if (result == Z_MEM_ERROR) throw std::bad_alloc();
  if (result == Z_BUF_ERROR) file_.fail(packed_position(), "the packed data ends too early");
  file_.fail(packed_position(),
             absl::StrCat("damaged packed data", stream_.msg == nullptr ? "" : absl::StrCat(" (", stream_.msg, ")")));
}

void Content::check_end() {
  while (extent_.deflated && !stream_ended_) {
    std::uint8_t more = 0;
    inflate_some(1, &more);
    if (stream_.avail_out == 0) {
      file_.fail(packed_position(),
                 absl::StrCat("the packed data goes on after its size of ", extent_.size, " unpacked bytes"));
    }
  }
  if (extent_.deflated && packed_position() != extent_.offset + extent_.packed) {
    file_.fail(packed_position(), "the packed data ends before the next entry does; the rest belongs to nothing");
  }
  if (extent_.crc && *extent_.crc != crc_) {
    file_.fail(extent_.offset, absl::StrCat("damaged: the bytes' sum (CRC-32) is ", absl::Hex(crc_, absl::kZeroPad8),
                                            ", but should be ", absl::Hex(*extent_.crc, absl::kZeroPad8)));
  }
}

}  // namespace tidemark::io
