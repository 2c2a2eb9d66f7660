// transpose: two dimensions change places, elements are copied.
#include <cstdint>

#include "ops/kernels.h"
#include "ops/table.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace ops {
namespace {

// [outer, rows, middle, columns, inner] -> [outer, columns, middle, rows, inner]
struct Swap {
  std::int64_t outer = 1;
  std::int64_t rows = 1;
  std::int64_t middle = 1;
  std::int64_t columns = 1;
  std::int64_t inner = 1;

  Swap(const Shape& shape, int a, int b) : rows(shape[a]), columns(shape[b]) {
    for (int i = 0; i < a; ++i) outer *= shape[i];
    for (int i = a + 1; i < b; ++i) middle *= shape[i];
    for (int i = b + 1; i < shape.rank(); ++i) inner *= shape[i];
  }
};

// Square tiles keep both sides' cache lines in use until they are done with.
constexpr std::int64_t kTile = 16;

// One tile of elements that are no runs: rows into a small square, columns out of it.
void swap_tile(std::int64_t rows, std::int64_t columns, const std::uint32_t* from, std::int64_t from_row,
               std::uint32_t* to, std::int64_t to_row) {
  std::uint32_t square[kTile][kTile];
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

// Elements are moved, never looked at.
void swap(const Ctx& ctx, const Swap& s, const std::uint32_t* from, std::uint32_t* to) {
  const std::int64_t tiles = (s.columns + kTile - 1) / kTile;
  const std::int64_t from_row = s.middle * s.columns * s.inner;
  const std::int64_t to_row = s.middle * s.rows * s.inner;
  const auto move_strip = [&](std::int64_t item) {
    const std::int64_t first = item % tiles * kTile;
    const std::int64_t slab = item / tiles;
    const std::int64_t outer = slab / s.middle * s.rows * from_row;
    const std::int64_t middle = slab % s.middle;
    const std::uint32_t* source = from + outer + (middle * s.columns + first) * s.inner;
    std::uint32_t* target = to + outer + middle * s.rows * s.inner + first * to_row;
    const std::int64_t columns = std::min(kTile, s.columns - first);
    if (s.inner == 1) {
      for (std::int64_t row = 0; row < s.rows; row += kTile) {
        swap_tile(std::min(kTile, s.rows - row), columns, source + row * from_row, from_row, target + row, to_row);
      }
      return;
    }
    for (std::int64_t column = 0; column < columns; ++column) {
      for (std::int64_t row = 0; row < s.rows; ++row) {
        std::copy_n(source + row * from_row + column * s.inner, s.inner, target + column * to_row + row * s.inner);
      }
    }
  };
  const std::int64_t items = s.outer * s.middle * tiles;
  for_range(ctx, items, 8 * s.rows * std::min(kTile, s.columns) * s.inner, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) move_strip(item);
  });
}

struct Transpose {
  static constexpr std::string_view name = "transpose";
  int a = 0;
  int b = 1;

  void describe(Attributes& attributes) const {
    attributes("a", a);
    attributes("b", b);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Meta& x = in[0];
    const auto [low, high] = dims(x.shape);
    prep.require(low >= 0 && high < x.shape.rank() && low < high && size_of(x.dtype) == 4,
                 ops::describe("x", x) + ", of which dimensions " + std::to_string(a) + " and " + std::to_string(b) +
                     " cannot change places");
    const Meta plain = Meta::plain(x.shape, x.dtype);
    const Shape swapped = x.shape.with(low, x.shape[high]).with(high, x.shape[low]);
    Prepared out;
    out.outputs = {Meta::plain(swapped, x.dtype)};
    out.input_layouts = {kPlain};
    out.work = {0, 2 * as_double(plain.bytes)};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.gy = {{0, kPlain}};
      part.work = out.work;
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const { run(ctx, in[0], out[0]); }
  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    run(ctx, gy[0], gx[0]);
  }

  static std::vector<Sample> samples() {
    return {{"matrix", {{{19, 35}}}, any_op(Transpose{0, 1})},
            {"heads", {{{2, 5, 3, 4}}}, any_op(Transpose{2, 1})},
            {"outer_inner", {{{3, 4, 2, 5}}}, any_op(Transpose{0, -1})}};
  }

 private:
  std::pair<int, int> dims(const Shape& shape) const {
    const int first = a < 0 ? a + shape.rank() : a;
    const int second = b < 0 ? b + shape.rank() : b;
    return {std::min(first, second), std::max(first, second)};
  }

  void run(const Ctx& ctx, const Buf& from, const Buf& to) const {
    const auto [low, high] = dims(from.shape());
    swap(ctx, Swap(from.shape(), low, high), from.as<std::uint32_t>(), to.as<std::uint32_t>());
  }
};

}  // namespace

std::vector<Sample> transpose_samples() { return Transpose::samples(); }

}  // namespace ops

Tensor transpose(const Tensor& x, int a, int b, SourceLocation where) {
  return apply(ops::Transpose{a, b}, {x}, where);
}

}  // namespace tidemark
