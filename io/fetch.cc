#include "io/fetch.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

namespace tidemark::io {
namespace {

constexpr std::int64_t kBuffer = std::int64_t{1} << 20;
// Bytes that nobody wants are read through where they are fewer than this between two that are wanted.
constexpr std::int64_t kGap = 4096;

// A part of a stored tensor that moves forward. Places count bytes of its elements.
class Window {
 public:
  // `through`: whatever lies before `limit` is read, so that reads follow each other.
  Window(Content& content, const Stored& stored, std::int64_t limit, bool through)
      : content_(content), stored_(stored), limit_(limit), through_(through) {}

  // Good until the next call. At most kBuffer bytes.
  const std::uint8_t* bytes(std::int64_t at, std::int64_t count) {
    if (at < begin_ || at + count > end_) {
      const std::int64_t kept = at >= begin_ && at < end_ ? end_ - at : 0;
      const std::int64_t size = through_ ? std::min(kBuffer, limit_ - at) : count;
      if (std::ssize(buffer_) < size) buffer_.resize(static_cast<std::size_t>(size));
      if (kept > 0) std::memmove(buffer_.data(), buffer_.data() + (at - begin_), static_cast<std::size_t>(kept));
      begin_ = end_ = 0;  // where reading throws
      content_.read(stored_.extent, stored_.start, stored_.start + at + kept, size - kept, buffer_.data() + kept);
      begin_ = at;
      end_ = at + size;
    }
    return buffer_.data() + (at - begin_);
  }

 private:
  Content& content_;
  const Stored& stored_;
  std::int64_t limit_;
  bool through_;
  std::int64_t begin_ = 0;
  std::int64_t end_ = 0;
  std::vector<std::uint8_t> buffer_;
};

// Goes through the indices of all dimensions but the outermost as they lie columns first, and tells where each is in C
// order.
class Columns {
 public:
  explicit Columns(const std::vector<std::int64_t>& shape) : shape_(shape), index_(shape.size()), step_(shape.size()) {
    for (std::size_t dim = shape.size() - 1; dim > 0; --dim) {
      step_[dim] = size_;
      size_ *= shape[dim];
    }
  }
  std::int64_t size() const { return size_; }
  std::int64_t place() const { return place_; }
  void next() {
    for (std::size_t dim = 1; dim < shape_.size(); ++dim) {
      place_ += step_[dim];
      if (++index_[dim] < shape_[dim]) return;
      place_ -= step_[dim] * shape_[dim];
      index_[dim] = 0;
    }
  }

 private:
  const std::vector<std::int64_t>& shape_;
  std::vector<std::int64_t> index_;
  std::vector<std::int64_t> step_;  // of a dimension, in elements in C order
  std::int64_t size_ = 1;           // elements below an index of the outermost dimension
  std::int64_t place_ = 0;
};

// Rows of the outermost dimension lie next to each other: of each column a run of them is wanted. A few columns at a
// time, and a few rows of each, write to the same places of memory one soon after another.
void fetch_columns(Content& content, const FileTensor& tensor, const Stored& stored, std::int64_t first,
                   std::int64_t count, Place place, std::int64_t size, std::uint8_t* to) {
  constexpr std::int64_t kColumns = 16;
  constexpr std::int64_t kRows = 64;
  struct Run {
    std::int64_t place, low, high;
  };
  std::array<Run, kColumns> runs{};
  const std::int64_t from_size = size_of(tensor.type);
  const std::int64_t most = kBuffer / from_size;
  const std::int64_t end = first + count;
  Columns columns(tensor.shape);
  const std::int64_t rows = tensor.shape[0];
  const std::int64_t row = columns.size();
  const std::int64_t wanted = (end - 1) / row - first / row + 1;
  const bool through = stored.extent.deflated || (rows - wanted) * from_size < kGap;
  Window window(content, stored, tensor.bytes, through);
  const std::int64_t group = through ? std::clamp<std::int64_t>(most / rows, 1, kColumns) : 1;
  const std::int64_t step = group > 1 ? kRows : most;
  for (std::int64_t column = 0; column < row; column += group) {
    const std::int64_t here = std::min(group, row - column);
    for (Run& run : std::span(runs).first(static_cast<std::size_t>(here))) {
      // Of row r the element is r * row + place, which is in [first, end).
      const std::int64_t at = columns.place();
      run = {at, std::max<std::int64_t>(0, first - at + row - 1) / row, end > at ? (end - 1 - at) / row + 1 : 0};
      columns.next();
    }
    if (group > 1) window.bytes(column * rows * from_size, here * rows * from_size);  // none is read twice
    for (std::int64_t r = 0; r < rows; r += step) {
      for (std::int64_t i = 0; i < here; ++i) {
        const Run& run = runs[static_cast<std::size_t>(i)];
        const std::int64_t low = std::max(r, run.low);
        const std::int64_t part = std::min(r + step, run.high) - low;
        if (part <= 0) continue;
        const std::uint8_t* from = window.bytes(((column + i) * rows + low) * from_size, part * from_size);
        place(from, part, to + (low * row + run.place - first) * size, row);
      }
    }
  }
}

}  // namespace

void fetch(Content& content, const FileTensor& tensor, const Stored& stored, std::int64_t first, std::int64_t count,
           Place place, std::int64_t size, std::uint8_t* to) {
  if (stored.columns_first) return fetch_columns(content, tensor, stored, first, count, place, size, to);
  const std::int64_t from_size = size_of(tensor.type);
  const std::int64_t most = kBuffer / from_size;
  const std::int64_t end = first + count;
  Window window(content, stored, end * from_size, true);
  for (std::int64_t i = first; i < end; i += most) {
    const std::int64_t part = std::min(most, end - i);
    place(window.bytes(i * from_size, part * from_size), part, to + (i - first) * size, 1);
  }
}

}  // namespace tidemark::io
