// var and std. The mean is kept as two floats, its value and what that leaves: where a mean is large and the deviations
// are small, one float would be too coarse for them.
#include "tidemark/ops/reductions.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/reductions/moments.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                         // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/broadcast.h"
#include "ops/kernels.h"
#include "ops/reductions/fold-inl.h"
#include "ops/reductions/fold.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

struct SpreadSums : Adding {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D>, double, hn::Vec<D>* slots) {
    slots[0] = hn::Add(slots[0], hn::PromoteTo(d, x));
  }
};

// Of deviations from aux, and of their squares.
struct SpreadMoments : Adding {
  static constexpr int kSlots = 2;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D> aux, double, hn::Vec<D>* slots) {
    const auto off = hn::Sub(hn::PromoteTo(d, x), hn::PromoteTo(d, aux));
    slots[0] = hn::Add(slots[0], off);
    slots[1] = hn::MulAdd(off, off, slots[1]);
  }
};

const FoldKernels& spread_sums_kernels() { return kFoldKernels<SpreadSums>; }
const FoldKernels& spread_moments_kernels() { return kFoldKernels<SpreadMoments>; }

// gx = factor * ((x - mean) - rest), where mean, rest and factor are one float each or one for each element.
void spread_gradient(std::int64_t n, const float* x, Row mean, Row rest, Row factor, float* gx) {
  if (mean.repeated) {
    const auto m = hn::Set(Wide(), *mean.at);
    const auto r = hn::Set(Wide(), *rest.at);
    const auto f = hn::Set(Wide(), *factor.at);
    map(
        n, gx, [&](auto v) HWY_ATTR { return hn::Mul(f, hn::Sub(hn::Sub(v, m), r)); }, x);
  } else {
    map(
        n, gx, [](auto v, auto m, auto r, auto f) HWY_ATTR { return hn::Mul(f, hn::Sub(hn::Sub(v, m), r)); }, x,
        mean.at, rest.at, factor.at);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(spread_sums_kernels);
HWY_EXPORT(spread_moments_kernels);
HWY_EXPORT(spread_gradient);

template <bool root>
struct Spread {
  static constexpr std::string_view name = root ? "std" : "var";
  Dims dims;
  double correction = 1;
  bool keepdim = false;

  void describe(Attributes& a) const {
    dims.describe(a);
    a("correction", correction);
    a("keepdim", keepdim);
  }

  struct State {
    Fold fold;
    Shape ones;
    double divisor;
  };

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    prep.require(std::isfinite(correction), "correction is " + std::to_string(correction) + "; it must be finite");
    const Shape& shape = in[0].shape;
    const Fold fold(shape, dims);
    const std::int64_t outputs = fold.outputs();
    const double n = as_double(shape.numel());
    auto state = std::make_shared<State>(
        State{fold, ones_shape(shape, dims), std::max(0.0, as_double(fold.reduced()) - correction)});
    Prepared out;
    // Beside the result the means, and behind them what they leave.
    out.outputs = {Meta::plain(reduced_shape(shape, dims, keepdim)), Meta::plain({2, outputs})};
    out.visible = 1;
    out.input_layouts = {kPlain};
    out.scratch = fold.scratch(2);
    out.work = {5 * n, 8 * n};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {Meta::plain(shape)};
      part.saved = {Saved::input(0, kPlain), Saved::output(1)};
      if (root) part.saved.push_back(Saved::output(0, kPlain));
      part.gy = {{0, kPlain}};
      part.scratch = outputs * size_of(f32);
      part.work = {3 * n, 8 * n};
      part.overwrites = {{0, 0}};
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const State& state = ctx.state<State>();
    const double n = as_double(state.fold.reduced());
    float* means = out[1].as<>();
    float* rests = means + state.fold.outputs();
    state.fold.run(ctx, HWY_DYNAMIC_DISPATCH(spread_sums_kernels)(), {.x = in[0].data}, ctx.scratch(),
                   [&](std::int64_t first, std::int64_t count, const double* states) {
                     for (std::int64_t i = 0; i < count; ++i) means[first + i] = static_cast<float>(states[i] / n);
                   });
    state.fold.run(ctx, HWY_DYNAMIC_DISPATCH(spread_moments_kernels)(), {.x = in[0].data, .aux = means}, ctx.scratch(),
                   [&](std::int64_t first, std::int64_t count, const double* states) {
                     for (std::int64_t i = 0; i < count; ++i) {
                       const double rest = states[i] / n;
                       const double variance = (states[count + i] - rest * states[i]) / state.divisor;
                       // An infinite mean leaves no more: the deviations of the others are infinite, too.
                       rests[first + i] = std::isfinite(rest) ? static_cast<float>(rest) : 0.0f;
                       out[0].as<>()[first + i] = static_cast<float>(root ? std::sqrt(variance) : variance);
                     }
                   });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const State& state = ctx.state<State>();
    const std::int64_t outputs = state.fold.outputs();
    const float* means = saved[1].as<>();
    auto* factors = ctx.scratch<float>();
    for_elements(ctx, outputs, 12, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const double g = static_cast<double>(gy[0].as<>()[i]);
        if constexpr (root) {
          const double y = static_cast<double>(saved[2].as<>()[i]);
          factors[i] = y == 0 ? 0.0f : static_cast<float>(g / (state.divisor * y));
        } else {
          factors[i] = static_cast<float>(2 * g / state.divisor);
        }
      }
    });
    RowWalk(gx[0].shape(), state.ones, state.ones)
        .run(ctx, means, factors, [&](std::int64_t at, std::int64_t count, Row mean, Row factor) {
          HWY_DYNAMIC_DISPATCH(spread_gradient)
          (count, saved[0].as<>() + at, mean, {mean.at + outputs, mean.repeated}, factor, gx[0].as<>() + at);
        });
  }

  static std::vector<Sample> samples() {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const auto of = [](Dims dims, double correction, bool keepdim) {
      return any_op(Spread{dims, correction, keepdim});
    };
    return {{"all", {{{3, 4, 5}}}, of({}, 1, false), {}, nan},
            {"channels", {{{3, 4, 2, 5}}}, of({false, 0b1101}, 0, true), {}, nan},
            {"middle", {{{2, 41, 7}}}, of({false, 0b010}, 1, false), {}, nan},
            {"rows", {{{150, 7}}}, of({false, 0b01}, 0.5, false), {}, nan},
            {"last", {{{6, 45}}}, of({false, 0b10}, 1, true), {}, nan}};
  }
};

}  // namespace

std::vector<Sample> var_samples() { return Spread<false>::samples(); }
std::vector<Sample> std_samples() { return Spread<true>::samples(); }

}  // namespace ops

Tensor var(const Tensor& x, const VarOptions& options, SourceLocation where) {
  return apply(ops::Spread<false>{{}, options.correction, options.keepdim}, {x}, where);
}
Tensor var(const Tensor& x, std::span<const int> dims, const VarOptions& options, SourceLocation where) {
  return apply(ops::Spread<false>{ops::dims_of("var", x, dims, where), options.correction, options.keepdim}, {x},
               where);
}
Tensor std(const Tensor& x, const VarOptions& options, SourceLocation where) {
  return apply(ops::Spread<true>{{}, options.correction, options.keepdim}, {x}, where);
}
Tensor std(const Tensor& x, std::span<const int> dims, const VarOptions& options, SourceLocation where) {
  return apply(ops::Spread<true>{ops::dims_of("std", x, dims, where), options.correction, options.keepdim}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
