// amax and amin. Backward compares the input with the output, and shares the gradient among the elements that are
// equal.
#include "tidemark/ops/reductions.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/reductions/extremes.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                          // IWYU pragma: keep
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

template <bool largest>
struct ExtremeElement : Extreme<largest> {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D>, double, hn::Vec<D>* slots) {
    slots[0] = Extreme<largest>::merge(d, slots[0], hn::PromoteTo(d, x));
  }
};

struct ExtremeTies : Adding {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D> aux, double, hn::Vec<D>* slots) {
    const auto counted = hn::IfThenElseZero(hn::Eq(x, aux), hn::Set(NarrowTag<D>(), 1.0f));
    slots[0] = hn::Add(slots[0], hn::PromoteTo(d, counted));
  }
};

const FoldKernels& extreme_kernels(bool largest) {
  return largest ? kFoldKernels<ExtremeElement<true>> : kFoldKernels<ExtremeElement<false>>;
}
const FoldKernels& extreme_ties_kernels() { return kFoldKernels<ExtremeTies>; }

// Where the extreme is a NaN nothing equals it, and the share is NaN: as in PyTorch, all of its elements get that.
void extreme_gradient(std::int64_t n, const float* x, Row y, Row share, float* gx) {
  const auto formula = [](auto v, auto own, auto g) HWY_ATTR {
    return hn::IfThenElse(hn::Or(hn::Eq(v, own), hn::IsNaN(g)), g, hn::Zero(Wide()));
  };
  if (y.repeated) {
    const auto own = hn::Set(Wide(), *y.at);
    const auto g = hn::Set(Wide(), *share.at);
    map(
        n, gx, [&](auto v) HWY_ATTR { return formula(v, own, g); }, x);
  } else {
    map(n, gx, formula, x, y.at, share.at);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(extreme_kernels);
HWY_EXPORT(extreme_ties_kernels);
HWY_EXPORT(extreme_gradient);

template <bool largest>
struct Extremum {
  static constexpr std::string_view name = largest ? "amax" : "amin";
  Dims dims;
  bool keepdim = false;

  void describe(Attributes& a) const {
    dims.describe(a);
    a("keepdim", keepdim);
  }

  using State = FoldState;

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const Fold fold(in[0].shape, dims);
    prep.require(fold.reduced() > 0 || fold.outputs() == 0,
                 ops::describe("x", in[0]) + "; what is reduced over must not be empty");
    const double n = as_double(in[0].shape.numel());
    Prepared out = prepare_fold(fold, in[0], dims, keepdim, {n, 4 * n});
    if (needs[0]) {
      out.parts.push_back(fold_gradient(in[0], {Saved::input(0, kPlain), Saved::output(0, kPlain)},
                                        share_bytes(fold) + fold.scratch(1), {3 * n, 12 * n}));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    ctx.state<State>().fold.run(ctx, HWY_DYNAMIC_DISPATCH(extreme_kernels)(largest), {.x = in[0].data}, ctx.scratch(),
                                [&](std::int64_t first, std::int64_t count, const double* states) {
                                  for (std::int64_t i = 0; i < count; ++i) {
                                    out[0].as<>()[first + i] = static_cast<float>(states[i]);
                                  }
                                });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const State& state = ctx.state<State>();
    const float* y = saved[1].as<>();
    auto* shares = ctx.scratch<float>();
    state.fold.run(ctx, HWY_DYNAMIC_DISPATCH(extreme_ties_kernels)(), {.x = saved[0].data, .aux = y},
                   ctx.scratch<char>() + share_bytes(state.fold),
                   [&](std::int64_t first, std::int64_t count, const double* states) {
                     for (std::int64_t i = 0; i < count; ++i) {
                       shares[first + i] = states[i] == 0 ? std::numeric_limits<float>::quiet_NaN()
                                                          : gy[0].as<>()[first + i] / static_cast<float>(states[i]);
                     }
                   });
    RowWalk(gx[0].shape(), state.ones, state.ones)
        .run(ctx, y, shares, [&](std::int64_t at, std::int64_t count, Row own, Row share) {
          HWY_DYNAMIC_DISPATCH(extreme_gradient)(count, saved[0].as<>() + at, own, share, gx[0].as<>() + at);
        });
  }

  static std::vector<Sample> samples() {
    return {{"all", {{{3, 4, 5}}}, any_op(Extremum{})},
            {"long", {{{70000}}}, any_op(Extremum{})},
            {"channels", {{{3, 4, 2, 5}}}, any_op(Extremum{{false, 0b1101}, true})},
            {"middle", {{{2, 41, 7}}}, any_op(Extremum{{false, 0b010}})},
            {"last", {{{6, 45}}}, any_op(Extremum{{false, 0b10}})}};
  }

 private:
  static std::int64_t share_bytes(const Fold& fold) { return round_up(fold.outputs() * size_of(f32), 64); }
};

}  // namespace

std::vector<Sample> amax_samples() { return Extremum<true>::samples(); }
std::vector<Sample> amin_samples() { return Extremum<false>::samples(); }

}  // namespace ops

Tensor amax(const Tensor& x, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Extremum<true>{{}, options.keepdim}, {x}, where);
}
Tensor amax(const Tensor& x, std::span<const int> dims, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Extremum<true>{ops::dims_of("amax", x, dims, where), options.keepdim}, {x}, where);
}
Tensor amin(const Tensor& x, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Extremum<false>{{}, options.keepdim}, {x}, where);
}
Tensor amin(const Tensor& x, std::span<const int> dims, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Extremum<false>{ops::dims_of("amin", x, dims, where), options.keepdim}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
