// permute, transpose, flip and roll: all elements of x, in another order.
#include <array>
#include <cstdint>

#include "ops/defined.h"
#include "ops/shapes/moves.h"
#include "ops/table.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace ops {
namespace {

using Dims = std::array<MoveDim, Shape::kMaxRank>;

std::span<const MoveDim> first_of(const Dims& dims, int rank) { return {dims.data(), static_cast<std::size_t>(rank)}; }

// Steps of y = x with dimension order[i] of x at place i, in either direction.
struct Order {
  std::array<int, Shape::kMaxRank> of{};
  int rank = 0;

  Shape shape(const Shape& x) const {
    Shape y = x;
    for (int i = 0; i < rank; ++i) y = y.with(i, x[of[static_cast<std::size_t>(i)]]);
    return y;
  }

  void run(const Ctx& ctx, const Shape& x, const Buf& from, const Buf& to, bool back) const {
    const Shape y = shape(x);
    Dims dims;
    for (int i = 0; i < rank; ++i) {
      const std::int64_t in_x = stride_of(x, of[static_cast<std::size_t>(i)]);
      const std::int64_t in_y = stride_of(y, i);
      dims[static_cast<std::size_t>(i)] = {y[i], back ? in_y : in_x, back ? in_x : in_y};
    }
    move_elements(ctx, first_of(dims, rank), size_of(from.meta->dtype), from.data, to.data);
  }
};

struct Permute {
  static constexpr std::string_view name = "permute";
  Shape dims;

  void describe(Attributes& a) const { a("dims", dims); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const int rank = in[0].shape.rank();
    bool fits = dims.rank() == rank;
    std::uint32_t met = 0;
    for (int i = 0; fits && i < rank; ++i) {
      const auto dim = static_cast<int>(dims[i]);
      fits = has_dim(dim, rank) && ((met >> from_front(dim, rank)) & 1) == 0;
      if (fits) met |= 1u << from_front(dim, rank);
    }
    prep.require(fits,
                 ops::describe("x", in[0]) + "; dims " + dims.to_string() + " must name each of its dimensions once");
    return prepare_move(in[0], order(rank).shape(in[0].shape), needs);
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    order(dims.rank()).run(ctx, in[0].shape(), in[0], out[0], false);
  }
  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    order(dims.rank()).run(ctx, gx[0].shape(), gy[0], gx[0], true);
  }

  static std::vector<Sample> samples() {
    return {{"rows", {{{3, 4, 5, 6}}}, any_op(Permute{{0, 2, 1, 3}})},
            {"reversed", {{{3, 17, 18}}}, any_op(Permute{{2, 1, 0}})},
            {"cycle", {{{2, 3, 1, 5}}}, any_op(Permute{{-1, 0, 1, 2}})}};
  }

 private:
  Order order(int rank) const {
    Order out;
    out.rank = rank;
    for (int i = 0; i < rank; ++i) {
      out.of[static_cast<std::size_t>(i)] = from_front(static_cast<int>(dims[i]), rank);
    }
    return out;
  }
};

struct Transpose {
  static constexpr std::string_view name = "transpose";
  int a = 0;
  int b = 1;

  void describe(Attributes& attributes) const {
    attributes("a", a);
    attributes("b", b);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const int rank = in[0].shape.rank();
    prep.require(has_dim(a, rank) && has_dim(b, rank) && from_front(a, rank) != from_front(b, rank),
                 ops::describe("x", in[0]) + ", of which dimensions " + std::to_string(a) + " and " +
                     std::to_string(b) + " cannot change places");
    return prepare_move(in[0], order(rank).shape(in[0].shape), needs);
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    order(in[0].shape().rank()).run(ctx, in[0].shape(), in[0], out[0], false);
  }
  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    order(gx[0].shape().rank()).run(ctx, gx[0].shape(), gy[0], gx[0], true);
  }

  static std::vector<Sample> samples() {
    return {{"matrix", {{{19, 35}}}, any_op(Transpose{0, 1})},
            {"rows", {{{2, 5, 3, 4}}}, any_op(Transpose{-4, 1}), {false}},
            {"outer_inner", {{{3, 4, 2, 5}}}, any_op(Transpose{3, 0})}};
  }

 private:
  Order order(int rank) const {
    Order out;
    out.rank = rank;
    for (int i = 0; i < rank; ++i) out.of[static_cast<std::size_t>(i)] = i;
    std::swap(out.of[static_cast<std::size_t>(from_front(a, rank))],
              out.of[static_cast<std::size_t>(from_front(b, rank))]);
    return out;
  }
};

// A flip is its own inverse.
struct Flip {
  static constexpr std::string_view name = "flip";
  Shape dims;

  void describe(Attributes& a) const { a("dims", dims); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const int rank = in[0].shape.rank();
    std::uint32_t met = 0;
    for (const std::int64_t dim : dims.dims()) {
      const int at = has_dim(static_cast<int>(dim), rank) ? from_front(static_cast<int>(dim), rank) : -1;
      prep.require(at >= 0 && ((met >> at) & 1) == 0, ops::describe("x", in[0]) + "; dimension " + std::to_string(dim) +
                                                          " of dims " + dims.to_string() +
                                                          " must exist and be named once");
      met |= 1u << at;
    }
    return prepare_move(in[0], in[0].shape, needs);
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const { run(ctx, in[0], out[0]); }
  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    run(ctx, gy[0], gx[0]);
  }

  static std::vector<Sample> samples() {
    return {{"last", {{{3, 7}}}, any_op(Flip{{1}})},
            {"rows", {{{2, 5, 3}}}, any_op(Flip{{-3, 1}})},
            {"all", {{{4, 3, 2}}}, any_op(Flip{{0, 1, 2}})}};
  }

 private:
  void run(const Ctx& ctx, const Buf& from, const Buf& to) const {
    const Shape& shape = from.shape();
    if (shape.numel() == 0) return;
    const std::int64_t bytes = size_of(from.meta->dtype);
    Dims steps;
    for (int i = 0; i < shape.rank(); ++i) {
      steps[static_cast<std::size_t>(i)] = {shape[i], stride_of(shape, i), stride_of(shape, i)};
    }
    std::int64_t start = 0;
    for (const std::int64_t dim : dims.dims()) {
      MoveDim& step = steps[static_cast<std::size_t>(from_front(static_cast<int>(dim), shape.rank()))];
      start += (step.size - 1) * step.from;
      step.from = -step.from;
    }
    move_elements(ctx, first_of(steps, shape.rank()), bytes, from.as<char>() + start * bytes, to.data);
  }
};

struct Roll {
  static constexpr std::string_view name = "roll";
  Shape shifts;
  Shape dims;

  void describe(Attributes& a) const {
    a("shifts", shifts);
    a("dims", dims);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const int rank = in[0].shape.rank();
    prep.require(shifts.rank() == dims.rank(), ops::describe("x", in[0]) + "; there are " +
                                                   std::to_string(shifts.rank()) + " shifts for " +
                                                   std::to_string(dims.rank()) + " dimensions");
    for (const std::int64_t dim : dims.dims()) {
      prep.require(rank > 0 && has_dim(static_cast<int>(dim), rank),
                   ops::describe("x", in[0]) + ", which has no dimension " + std::to_string(dim));
    }
    return prepare_move(in[0], in[0].shape, needs);
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const { run(ctx, in[0], out[0], 1); }
  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    run(ctx, gy[0], gx[0], -1);
  }

  static std::vector<Sample> samples() {
    return {{"columns", {{{3, 7}}}, any_op(Roll{{2}, {1}})},
            {"both", {{{4, 5, 3}}}, any_op(Roll{{-1, 7}, {2, -3}})},
            {"rows", {{{6, 5, 2}}}, any_op(Roll{{2}, {-3}})}};
  }

 private:
  // What wraps round and what does not are blocks of their own: two a dimension that is rolled.
  void run(const Ctx& ctx, const Buf& from, const Buf& to, std::int64_t sign) const {
    const Shape& shape = from.shape();
    if (shape.numel() == 0) return;
    const auto rank = static_cast<std::size_t>(shape.rank());
    std::array<std::int64_t, Shape::kMaxRank> shift{};
    for (int i = 0; i < dims.rank(); ++i) {
      const auto dim = static_cast<std::size_t>(from_front(static_cast<int>(dims[i]), shape.rank()));
      const std::int64_t size = shape[static_cast<int>(dim)];
      shift[dim] = (shift[dim] + sign * (shifts[i] % size) + size) % size;
    }
    const std::int64_t bytes = size_of(from.meta->dtype);
    for (std::uint32_t wrapped = 0; wrapped < 1u << rank; ++wrapped) {
      Dims steps;
      std::int64_t source = 0;
      std::int64_t target = 0;
      bool empty = false;
      for (std::size_t i = 0; i < rank; ++i) {
        const std::int64_t size = shape[static_cast<int>(i)];
        const std::int64_t stride = stride_of(shape, static_cast<int>(i));
        const bool wraps = ((wrapped >> i) & 1) != 0;
        steps[i] = {wraps ? shift[i] : size - shift[i], stride, stride};
        source += wraps ? (size - shift[i]) * stride : 0;
        target += wraps ? 0 : shift[i] * stride;
        empty = empty || steps[i].size == 0;
      }
      if (empty) continue;
      move_elements(ctx, first_of(steps, shape.rank()), bytes, from.as<char>() + source * bytes,
                    to.as<char>() + target * bytes);
    }
  }
};

}  // namespace

std::vector<Sample> permute_samples() { return Permute::samples(); }
std::vector<Sample> transpose_samples() { return Transpose::samples(); }
std::vector<Sample> flip_samples() { return Flip::samples(); }
std::vector<Sample> roll_samples() { return Roll::samples(); }

}  // namespace ops

Tensor permute(const Tensor& x, std::span<const int> dims, SourceLocation where) {
  return apply(ops::Permute{ops::dims_attribute("permute", dims, where)}, {x}, where);
}

Tensor transpose(const Tensor& x, int a, int b, SourceLocation where) {
  ops::require_defined("transpose", {&x}, where);
  const int rank = x.shape(where).rank();
  const bool same = ops::has_dim(a, rank) && ops::from_front(a, rank) == ops::from_front(b, rank);
  return same ? x : apply(ops::Transpose{a, b}, {x}, where);
}

Tensor flip(const Tensor& x, std::span<const int> dims, SourceLocation where) {
  return apply(ops::Flip{ops::dims_attribute("flip", dims, where)}, {x}, where);
}

Tensor roll(const Tensor& x, std::span<const std::int64_t> shifts, std::span<const int> dims, SourceLocation where) {
  if (shifts.size() > Shape::kMaxRank) {
    ops::refuse("roll", std::to_string(shifts.size()) + " shifts for " + std::to_string(dims.size()) + " dimensions",
                where);
  }
  return apply(ops::Roll{Shape(shifts), ops::dims_attribute("roll", dims, where)}, {x}, where);
}

}  // namespace tidemark
