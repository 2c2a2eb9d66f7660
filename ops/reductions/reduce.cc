// sum and mean, over all elements or over some dimensions. They save nothing.
#include "ops/broadcast.h"
#include "ops/kernels.h"
#include "ops/reductions/dims.h"
#include "ops/table.h"
#include "tidemark/ops/reductions.h"

namespace tidemark {
namespace ops {
namespace {

template <bool averaged>
struct Reduce {
  static constexpr std::string_view name = averaged ? "mean" : "sum";
  Dims dims;
  bool keepdim = false;

  void describe(Attributes& a) const {
    dims.describe(a);
    a("keepdim", keepdim);
  }

  struct State {
    Reduction reduction;
    Shape ones;  // the input's shape with 1 where it is summed over
    float scale;
  };

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const Shape& shape = in[0].shape;
    const Shape ones = ones_shape(shape, dims);
    const Meta plain = Meta::plain(shape);
    const std::int64_t outputs = ones.numel();
    const std::int64_t summed = outputs > 0 ? shape.numel() / outputs : 0;
    auto state = std::make_shared<State>(
        State{Reduction(shape, ones), ones, averaged ? static_cast<float>(1.0 / as_double(summed)) : 1.0f});
    const double n = as_double(shape.numel());
    Prepared out;
    out.outputs = {Meta::plain(reduced_shape(shape, dims, keepdim))};
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
            {"channels", {{{3, 4, 2, 5}}}, any_op(Reduce{{false, 0b1101}})},
            {"rows", {{{150, 7}}}, any_op(Reduce{{false, 0b01}})},
            {"last", {{{6, 11}}}, any_op(Reduce{{false, 0b10}, true})}};
  }
};

}  // namespace

std::vector<Sample> sum_samples() { return Reduce<false>::samples(); }
std::vector<Sample> mean_samples() { return Reduce<true>::samples(); }

}  // namespace ops

Tensor sum(const Tensor& x, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Reduce<false>{{}, options.keepdim}, {x}, where);
}
Tensor mean(const Tensor& x, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Reduce<true>{{}, options.keepdim}, {x}, where);
}
Tensor sum(const Tensor& x, std::span<const int> dims, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Reduce<false>{ops::dims_of("sum", x, dims, where), options.keepdim}, {x}, where);
}
Tensor mean(const Tensor& x, std::span<const int> dims, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Reduce<true>{ops::dims_of("mean", x, dims, where), options.keepdim}, {x}, where);
}

}  // namespace tidemark
