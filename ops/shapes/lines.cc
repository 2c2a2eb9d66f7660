#include "ops/shapes/lines.h"

#include <limits>
#include <string>

#include "ops/sums.h"

namespace tidemark::ops {
namespace {

// Without a branch for each entry, so that it is done in vectors: `entry` and `last - entry` both have no sign in an
// entry that is inside.
bool all_inside(const std::int32_t* entries, std::int64_t count, std::int64_t size) {
  const auto last =
      static_cast<std::uint32_t>(std::min<std::int64_t>(size - 1, std::numeric_limits<std::int32_t>::max()));
  std::uint32_t signs = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto entry = static_cast<std::uint32_t>(entries[i]);
    signs |= entry | (last - entry);
  }
  return signs >> 31 == 0;
}

}  // namespace

IndexLines::IndexLines(const Shape& x, int dim, const Shape& index) {
  const int last = x.rank() - 1;
  line_.count = index[dim];
  line_.step = stride_of(index, dim);
  line_.row_step = stride_of(x, dim);
  line_.size = x[dim];
  width_ = dim == last ? 1 : index[last];
  for (int i = 0; i < last; ++i) {
    if (i == dim || index[i] == 1) continue;
    const OuterDim next{index[i], stride_of(index, i), stride_of(x, i)};
    outer_count_ *= next.size;
    if (outer_dims_ > 0) {
      OuterDim& before = outer_[static_cast<std::size_t>(outer_dims_ - 1)];
      if (before.values == next.values * next.size && before.rows == next.rows * next.size) {
        before = {before.size * next.size, next.values, next.rows};
        continue;
      }
    }
    outer_[static_cast<std::size_t>(outer_dims_++)] = next;
  }
}

IndexLine IndexLines::item(std::int64_t item) const {
  IndexLine line = line_;
  const std::int64_t column = item % blocks() * kLineColumns;
  line.width = std::min(kLineColumns, width_ - column);
  line.values = column;
  line.rows = column;
  std::int64_t rest = item / blocks();
  for (int i = outer_dims_ - 1; i >= 0; --i) {
    const OuterDim& dim = outer_[static_cast<std::size_t>(i)];
    const std::int64_t at = rest % dim.size;
    rest /= dim.size;
    line.values += at * dim.values;
    line.rows += at * dim.rows;
  }
  return line;
}

// A sum in double and a counter for each place.
std::int64_t IndexLines::member_scratch() const {
  return round_up(places() * std::int64_t{sizeof(double) + sizeof(std::uint8_t)}, sizeof(double));
}

std::int64_t IndexLines::add_scratch(int threads) const {
  // So few entries may all be added up in float.
  return line_.count <= kSumRows ? 0 : threads * member_scratch();
}

void IndexLines::add(const Ctx& ctx, const std::int32_t* index, const float* values, float* rows) const {
  run(ctx, [&](const IndexLine& line, std::int64_t member) {
    const IndexLine packed = line.packed();
    const std::int64_t places = line.size * line.width;
    auto* const totals = reinterpret_cast<double*>(ctx.scratch<char>() + member * member_scratch());
    auto* const counts = reinterpret_cast<std::uint8_t*>(totals + places);
    std::uint8_t most = 0;
    if (line.count > kSumRows) {
      std::fill_n(counts, places, std::uint8_t{0});
      // A counter that begins anew has been above kSumRows.
      packed.each(index, [&](std::int64_t, std::int64_t at) { most = std::max(most, ++counts[at]); });
    }
    if (most <= kSumRows) {
      line.each(index, [&](std::int64_t from, std::int64_t to) { rows[to] += values[from]; });
      return;
    }
    std::fill_n(totals, places, 0.0);
    packed.each(index, [&](std::int64_t from, std::int64_t at) { totals[at] += static_cast<double>(values[from]); });
    for (std::int64_t i = 0; i < line.size; ++i) {
      for (std::int64_t j = 0; j < line.width; ++j) {
        float& target = rows[line.rows + i * line.row_step + j];
        const double total = totals[i * line.width + j];
        // A zero keeps its sign where nothing came.
        target = total != 0 ? static_cast<float>(static_cast<double>(target) + total) : target;
      }
    }
  });
}

void check_entries(const Ctx& ctx, std::string_view op, const Buf& index, std::int64_t size, const char* name,
                   const Shape& shape) {
  const std::int32_t* entries = index.as<const std::int32_t>();
  for_elements(ctx, index.numel(), 4, [&](std::int64_t begin, std::int64_t end) {
    if (all_inside(entries + begin, end - begin, size)) return;
    std::int64_t i = begin;
    while (entries[i] >= 0 && entries[i] < size) ++i;
    throw ShapeError("[" + std::string(op) + "] index " + std::to_string(entries[i]) + " at position " +
                     std::to_string(i) + " is outside [0, " + std::to_string(size) + "): indices are " +
                     index.shape().to_string() + ", " + name + " is " + shape.to_string());
  });
}

}  // namespace tidemark::ops
