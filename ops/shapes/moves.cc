#include "ops/shapes/moves.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace tidemark::ops {
namespace {

// Square tiles keep both sides' cache lines in use until they are done with.
constexpr std::int64_t kTile = 16;
// Rows are shared out in blocks of so many elements.
constexpr std::int64_t kBlock = 16384;

// One tile of elements that are no runs: rows into a small square, columns out of it.
template <class T>
void swap_tile(std::int64_t rows, std::int64_t columns, const T* from, std::int64_t from_row, T* to,
               std::int64_t to_row) {
  T square[kTile][kTile];
  if (rows == kTile && columns == kTile) {
    for (std::int64_t row = 0; row < kTile; ++row, from += from_row) {
      for (std::int64_t column = 0; column < kTile; ++column) square[column][row] = from[column];
    }
    for (std::int64_t column = 0; column < kTile; ++column, to += to_row) std::copy_n(square[column], kTile, to);
    return;
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) to[column * to_row + row] = from[row * from_row + column];
  }
}

// The dimensions of a move, brought into an order that serves it.
struct Plan {
  std::array<MoveDim, Shape::kMaxRank> outer;
  int outer_dims = 0;
  std::int64_t outer_count = 1;
  MoveDim inner{1, 1, 1};
  // Set where elements lie one after the other in this dimension of `from` and in `inner` of `to`: tiles pay there.
  bool tiled = false;
  MoveDim across{1, 1, 1};

  explicit Plan(std::span<const MoveDim> dims) {
    std::array<MoveDim, Shape::kMaxRank> sorted;
    int count = 0;
    for (const MoveDim& dim : dims) {
      if (dim.size == 0) outer_count = 0;
      if (dim.size != 1) sorted[static_cast<std::size_t>(count++)] = dim;
    }
    // Insertion keeps the order of equals and takes no heap.
    for (int i = 1; i < count; ++i) {
      for (auto k = static_cast<std::size_t>(i); k > 0 && std::abs(sorted[k - 1].to) < std::abs(sorted[k].to); --k) {
        std::swap(sorted[k - 1], sorted[k]);
      }
    }
    for (int i = 0; i < count; ++i) {
      const MoveDim& dim = sorted[static_cast<std::size_t>(i)];
      if (outer_dims > 0) {
        MoveDim& last = outer[static_cast<std::size_t>(outer_dims - 1)];
        if (last.from == dim.from * dim.size && last.to == dim.to * dim.size) {
          last = {last.size * dim.size, dim.from, dim.to};
          continue;
        }
      }
      outer[static_cast<std::size_t>(outer_dims++)] = dim;
    }
    if (outer_dims > 0) inner = outer[static_cast<std::size_t>(--outer_dims)];
    const bool runs = inner.from == 1 || inner.from == 0;
    for (int i = 0; i < outer_dims && inner.to == 1 && !runs; ++i) {
      if (outer[static_cast<std::size_t>(i)].from != 1) continue;
      tiled = true;
      across = outer[static_cast<std::size_t>(i)];
      std::copy(outer.begin() + i + 1, outer.begin() + outer_dims, outer.begin() + i);
      --outer_dims;
      break;
    }
    for (int i = 0; i < outer_dims; ++i) outer_count *= outer[static_cast<std::size_t>(i)].size;
  }
};

// Where an index of the outer dimensions lies on both sides; it goes from one to the next without dividing.
class Position {
 public:
  Position(const Plan& plan, std::int64_t index) : plan_(plan) {
    for (int i = plan.outer_dims - 1; i >= 0; --i) {
      const MoveDim& dim = plan.outer[static_cast<std::size_t>(i)];
      at_[static_cast<std::size_t>(i)] = index % dim.size;
      from += index % dim.size * dim.from;
      to += index % dim.size * dim.to;
      index /= dim.size;
    }
  }
  void next() {
    for (int i = plan_.outer_dims - 1; i >= 0; --i) {
      const MoveDim& dim = plan_.outer[static_cast<std::size_t>(i)];
      std::int64_t& at = at_[static_cast<std::size_t>(i)];
      from += dim.from;
      to += dim.to;
      if (++at < dim.size) return;
      at = 0;
      from -= dim.size * dim.from;
      to -= dim.size * dim.to;
    }
  }

  std::int64_t from = 0;
  std::int64_t to = 0;

 private:
  const Plan& plan_;
  std::array<std::int64_t, Shape::kMaxRank> at_{};
};

// f(position, part) for each part, of `parts`, of each index of the outer dimensions.
template <class F>
void for_parts(const Ctx& ctx, const Plan& plan, std::int64_t parts, std::int64_t bytes_each, const F& f) {
  for_range(ctx, plan.outer_count * parts, bytes_each, [&](std::int64_t begin, std::int64_t end) {
    Position position(plan, begin / parts);
    std::int64_t part = begin % parts;
    for (std::int64_t item = begin; item < end; ++item) {
      f(position, part);
      if (++part == parts) {
        part = 0;
        position.next();
      }
    }
  });
}

template <class T>
void move_row(std::int64_t count, const T* from, std::int64_t from_step, T* to, std::int64_t to_step) {
  if (to_step == 1 && from_step == 1) {
    std::copy_n(from, count, to);
  } else if (to_step == 1 && from_step == 0) {
    std::fill_n(to, count, *from);
  } else if (to_step == 1 && from_step == -1) {
    std::reverse_copy(from - count + 1, from + 1, to);
  } else {
    for (std::int64_t i = 0; i < count; ++i) to[i * to_step] = from[i * from_step];
  }
}

template <class T, class RowKernel>
void run_rows(const Ctx& ctx, const Plan& plan, const T* from, T* to, const RowKernel& kernel) {
  const MoveDim& inner = plan.inner;
  const std::int64_t blocks = (inner.size + kBlock - 1) / kBlock;
  for_parts(ctx, plan, blocks, 2 * std::int64_t{sizeof(T)} * std::min(inner.size, kBlock),
            [&](const Position& position, std::int64_t block) {
              const std::int64_t first = block * kBlock;
              kernel(std::min(kBlock, inner.size - first), from + position.from + first * inner.from, inner.from,
                     to + position.to + first * inner.to, inner.to);
            });
}

template <class T>
void run_tiles(const Ctx& ctx, const Plan& plan, const T* from, T* to) {
  const std::int64_t strips = (plan.across.size + kTile - 1) / kTile;
  const std::int64_t rows = plan.inner.size;
  const std::int64_t bytes = 2 * std::int64_t{sizeof(T)} * rows * std::min(kTile, plan.across.size);
  for_parts(ctx, plan, strips, bytes, [&](const Position& position, std::int64_t strip) {
    const std::int64_t first = strip * kTile;
    const std::int64_t columns = std::min(kTile, plan.across.size - first);
    const T* source = from + position.from + first;
    T* target = to + position.to + first * plan.across.to;
    for (std::int64_t row = 0; row < rows; row += kTile) {
      swap_tile(std::min(kTile, rows - row), columns, source + row * plan.inner.from, plan.inner.from, target + row,
                plan.across.to);
    }
  });
}

template <class T>
void move_of(const Ctx& ctx, const Plan& plan, const void* from, void* to) {
  if (plan.tiled) {
    run_tiles(ctx, plan, static_cast<const T*>(from), static_cast<T*>(to));
  } else {
    run_rows(ctx, plan, static_cast<const T*>(from), static_cast<T*>(to), move_row<T>);
  }
}

}  // namespace

void refuse(std::string_view op, const std::string& message, SourceLocation where) {
  throw ShapeError("[" + std::string(op) + "] " + message + " (at " + to_string(where) + ")");
}

int dim_of(std::string_view op, const Tensor& x, int dim, SourceLocation where) {
  const Shape& shape = x.shape(where);
  if (!has_dim(dim, shape.rank())) {
    refuse(op, "x is " + shape.to_string() + ", which has no dimension " + std::to_string(dim), where);
  }
  return from_front(dim, shape.rank());
}

int cut_dim_of(std::string_view op, const Tensor& x, int dim, SourceLocation where) {
  if (x.shape(where).rank() == 0) refuse(op, "x is a number, []; it must have a dimension", where);
  return dim_of(op, x, dim, where);
}

Shape dims_attribute(std::string_view op, std::span<const int> dims, SourceLocation where) {
  if (dims.size() > Shape::kMaxRank) {
    refuse(
        op,
        std::to_string(dims.size()) + " dimensions are named; a shape has at most " + std::to_string(Shape::kMaxRank),
        where);
  }
  return Shape(std::vector<std::int64_t>(dims.begin(), dims.end()));
}

Prepared prepare_move(const Meta& x, const Shape& y, Needs needs) {
  Prepared out;
  out.outputs = {Meta::plain(y, x.dtype)};
  out.input_layouts = {kPlain};
  out.work = {0, 2 * as_double(out.outputs[0].bytes)};
  if (needs[0]) {
    Part part;
    part.inputs = {0};
    part.gx = {Meta::plain(x.shape)};
    part.gy = {{0, kPlain}};
    part.work = {0, as_double(part.gx[0].bytes + out.outputs[0].bytes)};
    out.parts.push_back(std::move(part));
  }
  return out;
}

void move_elements(const Ctx& ctx, std::span<const MoveDim> dims, std::int64_t element_bytes, const void* from,
                   void* to) {
  const Plan plan(dims);
  if (plan.outer_count == 0) return;
  switch (element_bytes) {
    case 1:
      return move_of<std::uint8_t>(ctx, plan, from, to);
    case 2:
      return move_of<std::uint16_t>(ctx, plan, from, to);
    default:
      return move_of<std::uint32_t>(ctx, plan, from, to);
  }
}

void add_elements(const Ctx& ctx, std::span<const MoveDim> dims, const float* from, float* to) {
  const Plan plan(dims);
  if (plan.outer_count == 0) return;
  const auto add_row = [](std::int64_t count, const float* x, std::int64_t x_step, float* y, std::int64_t y_step) {
    if (x_step == 1 && y_step == 1) {
      for (std::int64_t i = 0; i < count; ++i) y[i] += x[i];
    } else {
      for (std::int64_t i = 0; i < count; ++i) y[i * y_step] += x[i * x_step];
    }
  };
  run_rows(ctx, plan, from, to, add_row);
}

void clear_bytes(const Ctx& ctx, void* to, std::int64_t bytes) {
  for_range(
      ctx, bytes, 1,
      [&](std::int64_t begin, std::int64_t end) {
        std::memset(static_cast<char*>(to) + begin, 0, static_cast<std::size_t>(end - begin));
      },
      64);
}

}  // namespace tidemark::ops
