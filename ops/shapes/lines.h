// Lines of a tensor that indices point into, each element to a place of its own: what gather and scatter share.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "ops/shapes/moves.h"
#include "tidemark/op.h"

namespace tidemark::ops {

// So many columns are worked on side by side.
inline constexpr std::int64_t kLineColumns = 16;

// Entries [0, count) of some dimension of an index, `width` columns side by side. Entry p of column j is
// index[p * step + j], belongs to element values + p * step + j of what is picked or sent, and points to column j of
// the `size` rows that begin at `rows`, `row_step` apart.
struct IndexLine {
  std::int64_t count = 0;
  std::int64_t width = 1;
  std::int64_t step = 1;
  std::int64_t values = 0;
  std::int64_t rows = 0;
  std::int64_t row_step = 1;
  std::int64_t size = 0;

  // The same line of rows that lie by themselves, one behind the other.
  IndexLine packed() const {
    IndexLine out = *this;
    out.rows = 0;
    out.row_step = width;
    return out;
  }

  // f(element, place) for all entries in their order. Both are offsets.
  template <class F>
  void each(const std::int32_t* index, const F& f) const {
    const std::int32_t* entries = index + values;
    const IndexLine line = *this;  // a copy that no store of f may change
    if (line.width == 1) {
      for (std::int64_t p = 0; p < line.count; ++p) {
        f(line.values + p * line.step, line.rows + entries[p * line.step] * line.row_step);
      }
      return;
    }
    for (std::int64_t p = 0; p < line.count; ++p) {
      for (std::int64_t j = 0; j < line.width; ++j) {
        f(line.values + p * line.step + j, line.rows + entries[p * line.step + j] * line.row_step + j);
      }
    }
  }
};

// All lines of an index: the outer dimensions, in blocks of columns.
class IndexLines {
 public:
  // Other dimensions of `index` than `dim` may be smaller than those of x.
  IndexLines(const Shape& x, int dim, const Shape& index);

  std::int64_t size() const { return line_.size; }
  // Places of a line's rows, those of all its columns.
  std::int64_t places() const { return line_.size * std::min(width_, kLineColumns); }

  // f(line, member) for every line; what it does may not depend on who does it.
  template <class F>
  void run(const Ctx& ctx, F&& f) const {
    if (items() == 0) return;
    const std::int64_t bytes = items() * line_.count * std::min(width_, kLineColumns) * 12;
    for_members(ctx, items(), bytes < kParallelBytes ? 1 : ctx.threads(),
                [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                  for (std::int64_t i = begin; i < end; ++i) f(item(i), member);
                });
  }

  // Bytes of scratch for add().
  std::int64_t add_scratch(int threads) const;
  // Adds values to the rows that they are sent to, in the order of the entries: the same bits on every team.
  void add(const Ctx& ctx, const std::int32_t* index, const float* values, float* rows) const;

 private:
  std::int64_t blocks() const { return (width_ + kLineColumns - 1) / kLineColumns; }
  std::int64_t items() const { return outer_count_ * blocks(); }
  IndexLine item(std::int64_t item) const;
  std::int64_t member_scratch() const;

  struct OuterDim {
    std::int64_t size = 1;
    std::int64_t values = 0;
    std::int64_t rows = 0;
  };
  std::array<OuterDim, Shape::kMaxRank> outer_;
  int outer_dims_ = 0;
  std::int64_t outer_count_ = 1;
  std::int64_t width_ = 1;  // of all blocks together
  IndexLine line_;          // without its place
};

// Throws ShapeError at the first entry outside of [0, size): names it, its place and the shapes. `shape` is that of
// what the index points into.
void check_entries(const Ctx& ctx, std::string_view op, const Buf& index, std::int64_t size, const char* name,
                   const Shape& shape);

}  // namespace tidemark::ops
