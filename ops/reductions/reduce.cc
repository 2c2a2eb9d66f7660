// sum and mean, over all elements or over some dimensions. They save nothing.
#include "ops/broadcast.h"
#include "ops/kernels.h"
#include "ops/table.h"
#include "tidemark/ops/reductions.h"

namespace tidemark {
namespace ops {
namespace {

template <bool averaged>
struct Reduce {
  static constexpr std::string_view name = averaged ? "mean" : "sum";
  bool all = true;
  std::uint32_t dims = 0;  // a bit each, where not all

  void describe(Attributes& a) const {
    a("all", all);
    a("dims", static_cast<std::int64_t>(dims));
  }

  struct State {
    Reduction reduction;
    Shape ones;  // the input's shape with 1 where it is summed over
    float scale;
  };

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const Shape& shape = in[0].shape;
    Shape ones = shape;
    std::vector<std::int64_t> kept;
    for (int i = 0; i < shape.rank(); ++i) {
      if (all || ((dims >> i) & 1) != 0) {
        ones = ones.with(i, 1);
      } else {
        kept.push_back(shape[i]);
      }
    }
    const Meta plain = Meta::plain(shape);
    const std::int64_t outputs = ones.numel();
    const std::int64_t summed = outputs > 0 ? shape.numel() / outputs : 0;
    auto state = std::make_shared<State>(
        State{Reduction(shape, ones), ones, averaged ? static_cast<float>(1.0 / as_double(summed)) : 1.0f});
    const double n = as_double(shape.numel());
    Prepared out;
    out.outputs = {Meta::plain(Shape(kept))};
    out.input_layouts = {kPlain};
    out.scratch = state->reduction.scratch();
    out.work = {n, 4 * n};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.gy = {{0, kPlain}};
      part.work = {n, 4 * n + 4 * as_double(outputs)};
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const State& state = ctx.state<State>();
    state.reduction.run(ctx, in[0].as<>(), state.scale, out[0].as<>());
  }

  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const State& state = ctx.state<State>();
    RowWalk(gx[0].shape(), state.ones, Shape{})
        .run(ctx, gy[0].as<>(), &state.scale, [&](std::int64_t at, std::int64_t count, Row g, Row scale) {
          mul_kernels().value(count, g, scale, gx[0].as<>() + at);
        });
  }

  static std::vector<Sample> samples() {
    return {{"all", {{{3, 4, 5}}}, any_op(Reduce{})},
            {"long", {{{70000}}}, any_op(Reduce{})},
            {"channels", {{{3, 4, 2, 5}}}, any_op(Reduce{false, 0b1101})},
            {"rows", {{{150, 7}}}, any_op(Reduce{false, 0b01})},
            {"last", {{{6, 11}}}, any_op(Reduce{false, 0b10})}};
  }
};

// Negative dimensions count from the end.
template <bool averaged>
Tensor reduce(const Tensor& x, std::span<const int> dims, SourceLocation where) {
  std::uint32_t bits = 0;
  for (const int dim : dims) {
    const int rank = x.shape(where).rank();
    const int at = dim < 0 ? dim + rank : dim;
    if (at < 0 || at >= rank || ((bits >> at) & 1) != 0) {
      throw ShapeError("[" + std::string(Reduce<averaged>::name) + "] x is " + x.shape(where).to_string() +
                       "; dimension " + std::to_string(dim) + " does not exist or is named twice (at " +
                       to_string(where) + ")");
    }
    bits |= 1u << at;
  }
  return apply(Reduce<averaged>{false, bits}, {x}, where);
}

}  // namespace

std::vector<Sample> sum_samples() { return Reduce<false>::samples(); }
std::vector<Sample> mean_samples() { return Reduce<true>::samples(); }

}  // namespace ops

Tensor sum(const Tensor& x, SourceLocation where) { return apply(ops::Reduce<false>{}, {x}, where); }
Tensor mean(const Tensor& x, SourceLocation where) { return apply(ops::Reduce<true>{}, {x}, where); }
Tensor sum(const Tensor& x, std::span<const int> dims, SourceLocation where) {
  return ops::reduce<false>(x, dims, where);
}
Tensor mean(const Tensor& x, std::span<const int> dims, SourceLocation where) {
  return ops::reduce<true>(x, dims, where);
}

}  // namespace tidemark
