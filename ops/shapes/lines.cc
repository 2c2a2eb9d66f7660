#include "ops/shapes/lines.h"

#include <string>

#include "ops/sums.h"

namespace tidemark::ops {
namespace {

template <bool shared, class Target>
void add_entries(const Line& line, const std::int32_t* index, const float* values, Target* rows,
                 std::int64_t row_step) {
  for (std::int64_t p = 0; p < line.count; ++p) {
    const std::int32_t* entries = index + line.index + p * line.step;
    const float* from = values + line.values + p * line.value_step;
    if constexpr (shared) {
      Target* to = rows + *entries * row_step;
      for (std::int64_t j = 0; j < line.width; ++j) to[j] += static_cast<Target>(from[j]);
    } else {
      for (std::int64_t j = 0; j < line.width; ++j) rows[entries[j] * row_step + j] += static_cast<Target>(from[j]);
    }
  }
}

template <class Target>
void add_entries(const Line& line, const std::int32_t* index, const float* values, Target* rows,
                 std::int64_t row_step) {
  if (line.shared) {
    add_entries<true>(line, index, values, rows, row_step);
  } else {
    add_entries<false>(line, index, values, rows, row_step);
  }
}

}  // namespace

Lines Lines::of_elements(const Shape& x, int dim, const Shape& index) {
  Lines out;
  const int last = x.rank() - 1;
  out.line_.count = index[dim];
  out.line_.step = stride_of(index, dim);
  out.line_.value_step = out.line_.step;
  out.line_.row_step = stride_of(x, dim);
  out.line_.size = x[dim];
  out.width_ = dim == last ? 1 : index[last];
  for (int i = 0; i < last; ++i) {
    if (i == dim || index[i] == 1) continue;
    const std::int64_t step = stride_of(index, i);
    const OuterDim next{index[i], step, step, stride_of(x, i)};
    out.outer_count_ *= next.size;
    if (out.outer_dims_ > 0) {
      OuterDim& before = out.outer_[static_cast<std::size_t>(out.outer_dims_ - 1)];
      if (before.index == next.index * next.size && before.rows == next.rows * next.size) {
        before = {before.size * next.size, next.index, next.values, next.rows};
        continue;
      }
    }
    out.outer_[static_cast<std::size_t>(out.outer_dims_++)] = next;
  }
  return out;
}

Lines Lines::of_slabs(const Shape& x, int dim, std::int64_t count) {
  const Split split(x, dim);
  Lines out;
  out.line_.count = count;
  out.line_.shared = true;
  out.line_.value_step = split.inner;
  out.line_.row_step = split.inner;
  out.line_.size = split.size;
  out.width_ = split.inner;
  out.outer_[0] = {split.outer, 0, count * split.inner, split.row()};
  out.outer_dims_ = 1;
  out.outer_count_ = split.outer;
  return out;
}

Line Lines::item(std::int64_t item) const {
  Line line = line_;
  const std::int64_t column = item % blocks() * kLineColumns;
  line.width = std::min(kLineColumns, width_ - column);
  line.index = line.shared ? 0 : column;
  line.values = column;
  line.rows = column;
  std::int64_t rest = item / blocks();
  for (int i = outer_dims_ - 1; i >= 0; --i) {
    const OuterDim& dim = outer_[static_cast<std::size_t>(i)];
    const std::int64_t at = rest % dim.size;
    rest /= dim.size;
    line.index += at * dim.index;
    line.values += at * dim.values;
    line.rows += at * dim.rows;
  }
  return line;
}

std::int64_t Lines::add_scratch(int threads) const {
  // So few entries may all be added up in float.
  if (line_.count <= kSumRows) return 0;
  return threads * line_.size * std::min(width_, kLineColumns) * std::int64_t{sizeof(double)};
}

void Lines::add(const Ctx& ctx, const std::int32_t* index, const float* values, float* rows) const {
  const std::int64_t width = std::min(width_, kLineColumns);
  run(ctx, ctx.threads(), [&](const Line& line, std::int64_t member) {
    float* to = rows + line.rows;
    if (line.count <= kSumRows) return add_entries(line, index, values, to, line.row_step);
    double* const totals = ctx.scratch<double>() + member * line.size * width;
    std::fill_n(totals, line.size * width, 0.0);
    add_entries(line, index, values, totals, width);
    for (std::int64_t i = 0; i < line.size; ++i) {
      for (std::int64_t j = 0; j < line.width; ++j) {
        float& target = to[i * line.row_step + j];
        const double total = totals[i * width + j];
        // A zero keeps its sign where nothing came.
        if (total != 0) target = static_cast<float>(static_cast<double>(target) + total);
      }
    }
  });
}

void check_entries(const Ctx& ctx, std::string_view op, const Buf& index, std::int64_t size, const char* name,
                   const Shape& shape) {
  const std::int32_t* entries = index.as<const std::int32_t>();
  for_elements(ctx, index.numel(), 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      if (entries[i] >= 0 && entries[i] < size) continue;
      throw ShapeError("[" + std::string(op) + "] index " + std::to_string(entries[i]) + " at position " +
                       std::to_string(i) + " is outside [0, " + std::to_string(size) + "): indices are " +
                       index.shape().to_string() + ", " + name + " is " + shape.to_string());
    }
  });
}

}  // namespace tidemark::ops
