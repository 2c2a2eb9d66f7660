// amax and amin, and max and min of all elements. Backward compares the input with the output, and shares the gradient
// among the elements that are equal. Where the extreme is a NaN amax and amin give a NaN to all elements, and max and
// min share the gradient among the NaNs: both as in PyTorch.
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

// x is the extreme y. `nans`: they are equal where both are NaNs.
template <bool nans, class V>
HWY_INLINE hn::Mask<hn::DFromV<V>> is_extreme(V x, V y) {
  return nans ? hn::Or(hn::Eq(x, y), hn::And(hn::IsNaN(x), hn::IsNaN(y))) : hn::Eq(x, y);
}

template <bool nans>
struct ExtremeTies : Adding {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D> aux, double, hn::Vec<D>* slots) {
    const auto counted = hn::IfThenElseZero(is_extreme<nans>(x, aux), hn::Set(NarrowTag<D>(), 1.0f));
    slots[0] = hn::Add(slots[0], hn::PromoteTo(d, counted));
  }
};

// Rows in float, of which a vector holds more: nothing is rounded. Max and Min may drop a NaN, so these are looked for
// beside them.
template <bool largest>
HWY_FLATTEN void extreme_row(std::int64_t n, const void* elements, const float*, double, double* states) {
  using Policy = Extreme<largest>;
  constexpr int kVectors = 4;
  const Eight d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  const auto* x = static_cast<const float*>(elements);
  const auto start = hn::Set(d, static_cast<float>(Policy::kStart));
  hn::Vec<Eight> most[kVectors] = {start, start, start, start};
  const auto none = hn::IsNaN(start);
  hn::Mask<Eight> nan[kVectors] = {none, none, none, none};
  const auto offer = [&](int k, auto v) HWY_ATTR {
    most[k] = largest ? hn::Max(v, most[k]) : hn::Min(v, most[k]);
    nan[k] = hn::Or(nan[k], hn::IsNaN(v));
  };
  std::int64_t i = 0;
  for (; i + kVectors * width <= n; i += kVectors * width) {
    for (int k = 0; k < kVectors; ++k) offer(k, load(d, x + i + k * width));
  }
  for (; i + width <= n; i += width) offer(0, load(d, x + i));
  if (i < n)
    offer(1, hn::IfThenElse(hn::FirstN(d, static_cast<std::size_t>(n - i)), load_part(d, x + i, n - i), start));
  for (int k = 1; k < kVectors; ++k) {
    offer(0, most[k]);
    nan[0] = hn::Or(nan[0], nan[k]);
  }
  const float found = hn::GetLane(largest ? hn::MaxOfLanes(d, most[0]) : hn::MinOfLanes(d, most[0]));
  const OneDouble one;
  const auto row = hn::Set(one, hn::AllFalse(d, nan[0]) ? static_cast<double>(found) : std::nan(""));
  *states = hn::GetLane(Policy::merge(one, hn::Set(one, *states), row));
}

// Columns [begin, ...) that make up whole vectors; where they end. Four rows are read before `most` is written again.
template <bool largest, class D>
HWY_INLINE std::int64_t extreme_vectors(D d, std::int64_t begin, std::int64_t rows, std::int64_t columns,
                                        const float* x, std::int64_t step, float* most) {
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t last = begin + (columns - begin) / width * width;
  for (std::int64_t row = 0; row < rows;) {
    const std::int64_t together = rows - row >= 4 ? 4 : 1;
    for (std::int64_t j = begin; j < last; j += width) {
      const float* at = x + row * step + j;
      auto v = Extreme<largest>::merge(d, load(d, most + j), load(d, at));
      for (std::int64_t k = 1; k < together; ++k) v = Extreme<largest>::merge(d, v, load(d, at + k * step));
      store(d, v, most + j);
    }
    row += together;
  }
  return last;
}

template <bool largest>
HWY_FLATTEN void extreme_columns(std::int64_t rows, std::int64_t columns, const void* elements, std::int64_t step,
                                 const float*, double, double* states) {
  const auto* x = static_cast<const float*>(elements);
  float most[kFoldColumns];
  std::fill_n(most, columns, static_cast<float>(Extreme<largest>::kStart));
  const std::int64_t wide = extreme_vectors<largest>(Wide(), 0, rows, columns, x, step, most);
  extreme_vectors<largest>(hn::CappedTag<float, 1>(), wide, rows, columns, x, step, most);
  fold_columns<ExtremeElement<largest>, float>(1, columns, most, columns, nullptr, 0, states);
}

template <bool largest>
inline constexpr FoldKernels kExtremeKernels{1, Extreme<largest>::kStart, extreme_row<largest>,
                                             extreme_columns<largest>, fold_merge<ExtremeElement<largest>>};

const FoldKernels& extreme_kernels(bool largest) { return largest ? kExtremeKernels<true> : kExtremeKernels<false>; }
const FoldKernels& extreme_ties_kernels(bool nans) {
  return nans ? kFoldKernels<ExtremeTies<true>> : kFoldKernels<ExtremeTies<false>>;
}

// Without `nans` nothing equals an extreme that is a NaN; the share then is NaN, and all elements get it.
template <bool nans>
HWY_INLINE void gradient_of_extreme(std::int64_t n, const float* x, Row y, Row share, float* gx) {
  const auto formula = [](auto v, auto own, auto g) HWY_ATTR {
    const auto taken = is_extreme<nans>(v, own);
    return hn::IfThenElseZero(nans ? taken : hn::Or(taken, hn::IsNaN(g)), g);
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

void extreme_gradient(bool nans, std::int64_t n, const float* x, Row y, Row share, float* gx) {
  if (nans) {
    gradient_of_extreme<true>(n, x, y, share, gx);
  } else {
    gradient_of_extreme<false>(n, x, y, share, gx);
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

// max and min of all elements where `whole`.
template <bool largest, bool whole = false>
struct Extremum {
  static constexpr std::string_view name =
      whole ? (largest ? "max_of_all" : "min_of_all") : (largest ? "amax" : "amin");
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
    state.fold.run(ctx, HWY_DYNAMIC_DISPATCH(extreme_ties_kernels)(whole), {.x = saved[0].data, .aux = y},
                   ctx.scratch<char>() + share_bytes(state.fold),
                   [&](std::int64_t first, std::int64_t count, const double* states) {
                     for (std::int64_t i = 0; i < count; ++i) {
                       shares[first + i] = states[i] == 0 ? std::numeric_limits<float>::quiet_NaN()
                                                          : gy[0].as<>()[first + i] / static_cast<float>(states[i]);
                     }
                   });
    RowWalk(gx[0].shape(), state.ones, state.ones)
        .run(ctx, y, shares, [&](std::int64_t at, std::int64_t count, Row own, Row share) {
          HWY_DYNAMIC_DISPATCH(extreme_gradient)(whole, count, saved[0].as<>() + at, own, share, gx[0].as<>() + at);
        });
  }

  static std::vector<Sample> samples() {
    std::vector<Sample> out = {{"all", {{{3, 4, 5}}}, any_op(Extremum{})}, {"long", {{{70000}}}, any_op(Extremum{})}};
    if constexpr (!whole) {
      out.push_back({"channels", {{{3, 4, 2, 5}}}, any_op(Extremum{{false, 0b1101}, true})});
      out.push_back({"middle", {{{2, 41, 7}}}, any_op(Extremum{{false, 0b010}})});
      out.push_back({"last", {{{6, 45}}}, any_op(Extremum{{false, 0b10}})});
    }
    return out;
  }

 private:
  static std::int64_t share_bytes(const Fold& fold) { return round_up(fold.outputs() * size_of(f32), 64); }
};

}  // namespace

std::vector<Sample> amax_samples() { return Extremum<true>::samples(); }
std::vector<Sample> amin_samples() { return Extremum<false>::samples(); }
std::vector<Sample> max_of_all_samples() { return Extremum<true, true>::samples(); }
std::vector<Sample> min_of_all_samples() { return Extremum<false, true>::samples(); }

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
Tensor max(const Tensor& x, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Extremum<true, true>{{}, options.keepdim}, {x}, where);
}
Tensor min(const Tensor& x, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Extremum<false, true>{{}, options.keepdim}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
