// expand, and repetitions made of it.
#include <array>
#include <cstdint>
#include <vector>

#include "ops/broadcast.h"
#include "ops/shapes/moves.h"
#include "ops/table.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace ops {
namespace {

struct Expand {
  static constexpr std::string_view name = "expand";
  Shape shape;  // -1: as x has it

  void describe(Attributes& a) const { a("shape", shape); }

  using State = Reduction;

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Shape& x = in[0].shape;
    const int more = shape.rank() - x.rank();
    bool fits = more >= 0;
    Shape to = shape;
    for (int i = 0; fits && i < to.rank(); ++i) {
      const std::int64_t own = i < more ? 1 : x[i - more];
      if (to[i] == -1 && i >= more) to = to.with(i, own);
      fits = to[i] >= 0 && (own == to[i] || own == 1);
    }
    prep.require(fits, ops::describe("x", in[0]) + ", which cannot be expanded to " + shape.to_string() +
                           "; dimensions, from the last on, must be equal, or 1 in x");
    Prepared out = prepare_move(in[0], to, needs);
    if (to.numel() == x.numel()) {
      out.view_of = 0;
      out.work = {};
      for (Part& part : out.parts) part.view = true;
      return out;
    }
    auto state = std::make_shared<State>(to, x);
    for (Part& part : out.parts) part.scratch = state->scratch();
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Shape& x = in[0].shape();
    const Shape& y = out[0].shape();
    std::array<MoveDim, Shape::kMaxRank> dims;
    const int more = y.rank() - x.rank();
    for (int i = 0; i < y.rank(); ++i) {
      const bool repeats = i < more || x[i - more] == 1;
      dims[static_cast<std::size_t>(i)] = {y[i], repeats ? 0 : stride_of(x, i - more), stride_of(y, i)};
    }
    move_elements(ctx, {dims.data(), static_cast<std::size_t>(y.rank())}, size_of(in[0].meta->dtype), in[0].data,
                  out[0].data);
  }

  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    ctx.state<State>().run(ctx, gy[0].as<>(), 1, gx[0].as<>());
  }

  static std::vector<Sample> samples() {
    return {{"rows", {{{1, 7}}}, any_op(Expand{{5, 7}}), {false}},
            {"columns", {{{4, 1, 3}}}, any_op(Expand{{-1, 6, 3}})},
            {"more", {{{3, 1}}}, any_op(Expand{{2, 3, 5}}), {false}},
            {"long", {{{2, 1}}}, any_op(Expand{{2, 40000}}), {false}},
            {"equal", {{{2, 1, 4}}}, any_op(Expand{{1, 2, 1, -1}}), {false}}};
  }
};

}  // namespace

std::vector<Sample> expand_samples() { return Expand::samples(); }

}  // namespace ops

Tensor expand(const Tensor& x, const Shape& shape, SourceLocation where) {
  return apply(ops::Expand{shape}, {x}, where);
}

Tensor repeat(const Tensor& x, std::span<const std::int64_t> repeats, SourceLocation where) {
  const Shape& shape = x.shape(where);
  const auto rank = static_cast<int>(repeats.size());
  bool fits = rank >= shape.rank() && rank <= Shape::kMaxRank;
  for (const std::int64_t count : repeats) fits = fits && count >= 0;
  if (!fits) {
    ops::refuse("repeat",
                "x is " + shape.to_string() + ", and there are " + std::to_string(rank) +
                    " numbers of repeats; there must be one for each dimension, or more for new ones in "
                    "front, and none below 0",
                where);
  }
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(rank - shape.rank()), 1);
  sizes.insert(sizes.end(), shape.dims().begin(), shape.dims().end());
  // A dimension that is repeated becomes two, [1, size], of which the first is expanded. From the last on, what is
  // behind it is one dimension, and what is in front another.
  Tensor y = x;
  for (int i = rank - 1; i >= 0; --i) {
    const std::int64_t count = repeats[static_cast<std::size_t>(i)];
    if (count == 1) continue;
    const Shape now(sizes);
    const ops::Split split(now, i);
    y = reshape(y, {split.outer, 1, split.row()}, where);
    y = expand(y, {split.outer, count, split.row()}, where);
    sizes[static_cast<std::size_t>(i)] *= count;
  }
  return reshape(y, Shape(sizes), where);
}

Tensor repeat_interleave(const Tensor& x, std::int64_t repeats, int dim, SourceLocation where) {
  const int at = ops::cut_dim_of("repeat_interleave", x, dim, where);
  const Shape shape = x.shape(where);
  if (repeats < 0) {
    ops::refuse(
        "repeat_interleave",
        "x is " + shape.to_string() + " and repeats are " + std::to_string(repeats) + "; there must be 0 or more",
        where);
  }
  const ops::Split split(shape, at);
  const Tensor apart = reshape(x, {split.outer * split.size, 1, split.inner}, where);
  return reshape(expand(apart, {split.outer * split.size, repeats, split.inner}, where),
                 shape.with(at, shape[at] * repeats), where);
}

}  // namespace tidemark
