// Lines of a tensor that indices point into: what gather, scatter and their kin share.
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
// index[p * step + (shared ? 0 : j)], belongs to element values + p * value_step + j of what is picked or sent, and
// points to column j of the `size` rows that begin at `rows`, `row_step` apart.
struct Line {
  std::int64_t count = 0;
  std::int64_t width = 1;
  std::int64_t index = 0;
  std::int64_t step = 1;
  bool shared = false;
  std::int64_t values = 0;
  std::int64_t value_step = 1;
  std::int64_t rows = 0;
  std::int64_t row_step = 1;
  std::int64_t size = 0;
};

// All lines of an index: the outer dimensions, in blocks of columns.
class Lines {
 public:
  // Each element of an index has a place of its own: gather. Other dimensions of `index` may be smaller than those of
  // x.
  static Lines of_elements(const Shape& x, int dim, const Shape& index);
  // Each entry of an index of one dimension stands for all that lies at that place of x's dimension: index_select.
  static Lines of_slabs(const Shape& x, int dim, std::int64_t count);

  std::int64_t size() const { return line_.size; }
  std::int64_t items() const { return outer_count_ * blocks(); }
  Line item(std::int64_t item) const;

  // f(line, member) for every line; what it does may not depend on who does it. `team` is the largest number of
  // members.
  template <class F>
  void run(const Ctx& ctx, std::int64_t team, F&& f) const {
    if (items() == 0) return;
    const std::int64_t bytes = items() * line_.count * std::min(width_, kLineColumns) * 12;
    for_members(ctx, items(), bytes < kParallelBytes ? 1 : team,
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

  struct OuterDim {
    std::int64_t size = 1;
    std::int64_t index = 0;
    std::int64_t values = 0;
    std::int64_t rows = 0;
  };
  std::array<OuterDim, Shape::kMaxRank> outer_;
  int outer_dims_ = 0;
  std::int64_t outer_count_ = 1;
  std::int64_t width_ = 1;  // of all blocks together
  Line line_;               // without its place
};

// Throws ShapeError at the first entry outside of [0, size): names it, its place and the shapes. `shape` is that of
// what the index points into.
void check_entries(const Ctx& ctx, std::string_view op, const Buf& index, std::int64_t size, const char* name,
                   const Shape& shape);

}  // namespace tidemark::ops
