// norm: (sum |x|^p)^(1/p) and its limits. Powers are summed in double precision, so that the squares of no float
// overflow.
#include "tidemark/ops/reductions.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/reductions/norm.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                      // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/broadcast.h"
#include "ops/kernels.h"
#include "ops/math-inl.h"
#include "ops/reductions/fold-inl.h"
#include "ops/reductions/fold.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

struct NormSquares : Adding {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D>, double, hn::Vec<D>* slots) {
    const auto v = hn::PromoteTo(d, x);
    slots[0] = hn::MulAdd(v, v, slots[0]);
  }
};

struct NormMagnitudes : Adding {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D>, double, hn::Vec<D>* slots) {
    slots[0] = hn::Add(slots[0], hn::PromoteTo(d, hn::Abs(x)));
  }
};

// Whole powers from the third to the eighth: double precision holds the eighth of every float.
HWY_INLINE bool norm_multiplies(double p) { return p >= 3 && p <= 8 && p == std::floor(p); }

// x^n for n above 0.
template <class D>
HWY_INLINE hn::Vec<D> norm_whole_power(D, hn::Vec<D> x, int n) {
  auto y = x;
  for (int i = 1; i < n; ++i) y = hn::Mul(y, x);
  return y;
}

struct NormWholePowers : Adding {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D>, double p, hn::Vec<D>* slots) {
    slots[0] = hn::Add(slots[0], norm_whole_power(d, hn::PromoteTo(d, hn::Abs(x)), static_cast<int>(p)));
  }
};

// Other powers: roots[i] = |x[i]|^(p/8), which float holds wherever double precision holds |x|^p, and is then raised to
// the eighth.
HWY_INLINE void norm_roots(std::int64_t n, const float* x, double p, float* roots) {
  const auto exponent = hn::Set(Wide(), static_cast<float>(p / 8));
  map(
      n, roots, [&](auto v) HWY_ATTR { return pow(Wide(), hn::Abs(v), exponent); }, x);
}

HWY_FLATTEN void norm_powers_row(std::int64_t n, const void* elements, const float*, double p, double* states) {
  const auto* x = static_cast<const float*>(elements);
  float roots[kFoldColumns];
  for (std::int64_t i = 0; i < n; i += kFoldColumns) {
    const std::int64_t count = std::min(kFoldColumns, n - i);
    norm_roots(count, x + i, p, roots);
    fold_row<NormWholePowers, float>(count, roots, nullptr, 8, states);
  }
}

HWY_FLATTEN void norm_powers_columns(std::int64_t rows, std::int64_t columns, const void* elements, std::int64_t step,
                                     const float*, double p, double* states) {
  float roots[kFoldColumns];
  for (std::int64_t row = 0; row < rows; ++row) {
    norm_roots(columns, static_cast<const float*>(elements) + row * step, p, roots);
    fold_columns<NormWholePowers, float>(1, columns, roots, columns, nullptr, 8, states);
  }
}

inline constexpr FoldKernels kNormPowers{NormWholePowers::kSlots, NormWholePowers::kStart, norm_powers_row,
                                         norm_powers_columns, fold_merge<NormWholePowers>};

// How many elements are not zero.
struct NormNonzeros : Adding {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D>, double, hn::Vec<D>* slots) {
    const NarrowTag<D> narrow;
    const auto counted = hn::IfThenZeroElse(hn::Eq(x, hn::Zero(narrow)), hn::Set(narrow, 1.0f));
    slots[0] = hn::Add(slots[0], hn::PromoteTo(d, counted));
  }
};

template <bool largest>
struct NormExtreme : Extreme<largest> {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D>, double, hn::Vec<D>* slots) {
    slots[0] = Extreme<largest>::merge(d, slots[0], hn::PromoteTo(d, hn::Abs(x)));
  }
};

// |x| is y; NaNs are equal.
template <class V>
HWY_INLINE hn::Mask<hn::DFromV<V>> norm_is(V x, V y) {
  return hn::Or(hn::Eq(hn::Abs(x), y), hn::And(hn::IsNaN(x), hn::IsNaN(y)));
}

struct NormTies : Adding {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D> aux, double, hn::Vec<D>* slots) {
    const NarrowTag<D> narrow;
    const auto counted = hn::IfThenElseZero(norm_is(x, aux), hn::Set(narrow, 1.0f));
    slots[0] = hn::Add(slots[0], hn::PromoteTo(d, counted));
  }
};

const FoldKernels& norm_kernels(double p) {
  if (p == 0) return kFoldKernels<NormNonzeros>;
  if (p == 1) return kFoldKernels<NormMagnitudes>;
  if (p == 2) return kFoldKernels<NormSquares>;
  if (norm_multiplies(p)) return kFoldKernels<NormWholePowers>;
  if (!std::isinf(p)) return kNormPowers;
  return p > 0 ? kFoldKernels<NormExtreme<true>> : kFoldKernels<NormExtreme<false>>;
}
const FoldKernels& norm_ties_kernels() { return kFoldKernels<NormTies>; }

// gx = f(x, y, g), where y and g are one float each or one for each element.
template <class F>
HWY_INLINE void norm_map(std::int64_t n, const float* x, Row y, Row g, float* gx, F f) {
  if (y.repeated) {
    const auto own = hn::Set(Wide(), *y.at);
    const auto gradient = hn::Set(Wide(), *g.at);
    map(
        n, gx, [&](auto v) HWY_ATTR { return f(v, own, gradient); }, x);
  } else {
    map(n, gx, f, x, y.at, g.at);
  }
}

// 1 with the sign of x; 0 where x is zero or a NaN, as in PyTorch.
HWY_INLINE hn::Vec<Wide> norm_sign(hn::Vec<Wide> x) {
  const Wide d;
  const auto none = hn::Or(hn::Eq(x, hn::Zero(d)), hn::IsNaN(x));
  return hn::IfThenZeroElse(none, hn::CopySign(hn::Set(d, 1.0f), x));
}

void norm_gradient(double p, std::int64_t n, const float* x, Row y, Row g, float* gx) {
  const Wide d;
  if (p == 1) {
    norm_map(n, x, g, g, gx, [](auto v, auto, auto w) HWY_ATTR { return hn::Mul(w, norm_sign(v)); });
  } else if (p == 2) {
    norm_map(n, x, y, g, gx, [&](auto v, auto own, auto w) HWY_ATTR {
      return hn::IfThenZeroElse(hn::Eq(own, hn::Zero(d)), hn::Mul(w, hn::Div(v, own)));
    });
  } else if (std::isinf(p)) {
    norm_map(n, x, y, g, gx, [&](auto v, auto own, auto w) HWY_ATTR {
      return hn::IfThenElseZero(norm_is(v, own), hn::Mul(w, norm_sign(v)));
    });
  } else {
    // With the ratio of x to the norm, which is small, nothing overflows.
    const auto slope_by = [&](auto power) HWY_ATTR {
      norm_map(n, x, y, g, gx, [&](auto v, auto own, auto w) HWY_ATTR {
        const auto flat = hn::Or(hn::Eq(v, hn::Zero(d)), hn::Eq(own, hn::Zero(d)));
        const auto slope = hn::CopySign(power(hn::Div(hn::Abs(v), own)), v);
        return hn::Mul(w, hn::IfThenZeroElse(flat, slope));
      });
    };
    if (norm_multiplies(p)) {
      slope_by([&](auto ratio) HWY_ATTR { return norm_whole_power(d, ratio, static_cast<int>(p) - 1); });
    } else {
      const auto exponent = hn::Set(d, static_cast<float>(p - 1));
      slope_by([&](auto ratio) HWY_ATTR { return pow(d, ratio, exponent); });
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(norm_kernels);
HWY_EXPORT(norm_ties_kernels);
HWY_EXPORT(norm_gradient);

struct Norm {
  static constexpr std::string_view name = "norm";
  Dims dims;
  double p = 2;
  bool keepdim = false;

  void describe(Attributes& a) const {
    dims.describe(a);
    a("p", p);
    a("keepdim", keepdim);
  }

  using State = FoldState;

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    prep.require(!std::isnan(p), "p is NaN; it must be a number");
    const Fold fold(in[0].shape, dims);
    prep.require(!std::isinf(p) || fold.reduced() > 0 || fold.outputs() == 0,
                 ops::describe("x", in[0]) + "; what is reduced over must not be empty for an infinite p");
    const double n = as_double(in[0].shape.numel());
    Prepared out = prepare_fold(fold, in[0], dims, keepdim, {3 * n, 4 * n});
    if (needs[0]) {
      std::vector<Saved> saved;
      if (p != 0) saved.push_back(Saved::input(0, kPlain));
      if (p != 0 && p != 1) saved.push_back(Saved::output(0, kPlain));
      const std::int64_t scratch = std::isinf(p) ? gradient_bytes(fold) + fold.scratch(1) : 0;
      out.parts.push_back(fold_gradient(in[0], std::move(saved), scratch, {3 * n, 8 * n}));
      if (p == 0) out.parts.back().overwrites.clear();
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    ctx.state<State>().fold.run(ctx, HWY_DYNAMIC_DISPATCH(norm_kernels)(p), {.x = in[0].data, .p = p}, ctx.scratch(),
                                [&](std::int64_t first, std::int64_t count, const double* states) {
                                  for (std::int64_t i = 0; i < count; ++i) {
                                    out[0].as<>()[first + i] = static_cast<float>(root(states[i]));
                                  }
                                });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const State& state = ctx.state<State>();
    if (p == 0) {
      for_elements(ctx, gx[0].numel(), 4, [&](std::int64_t begin, std::int64_t end) {
        std::fill(gx[0].as<>() + begin, gx[0].as<>() + end, 0.0f);
      });
      return;
    }
    const float* g = gy[0].as<>();
    const float* y = p == 1 ? g : saved[1].as<>();
    if (std::isinf(p)) {
      auto* shares = ctx.scratch<float>();
      state.fold.run(ctx, HWY_DYNAMIC_DISPATCH(norm_ties_kernels)(), {.x = saved[0].data, .aux = y},
                     ctx.scratch<char>() + gradient_bytes(state.fold),
                     [&](std::int64_t first, std::int64_t count, const double* states) {
                       for (std::int64_t i = 0; i < count; ++i) {
                         shares[first + i] = g[first + i] / static_cast<float>(states[i]);
                       }
                     });
      g = shares;
    }
    RowWalk(gx[0].shape(), state.ones, state.ones)
        .run(ctx, y, g, [&](std::int64_t at, std::int64_t count, Row own, Row gradient) {
          HWY_DYNAMIC_DISPATCH(norm_gradient)
          (p, count, saved[0].as<>() + at, own, gradient, gx[0].as<>() + at);
        });
  }

  static std::vector<Sample> samples() {
    const double inf = std::numeric_limits<double>::infinity();
    return {{"all", {{{3, 4, 5}}}, any_op(Norm{})},
            {"long", {{{70000}}}, any_op(Norm{})},
            {"p of one", {{{3, 4, 2, 5}}}, any_op(Norm{{false, 0b1101}, 1, true})},
            {"two", {{{2, 41, 7}}}, any_op(Norm{{false, 0b010}, 2})},
            {"three", {{{5, 13}}}, any_op(Norm{{false, 0b10}, 3})},
            {"minus", {{{5, 3}, f32, SampleInput::Fill::kPositive}}, any_op(Norm{{false, 0b10}, -1.5})},
            {"zero", {{{5, 13}}}, any_op(Norm{{false, 0b10}, 0})},
            {"largest", {{{6, 23}}}, any_op(Norm{{false, 0b10}, inf})},
            {"smallest", {{{4, 6}}}, any_op(Norm{{false, 0b10}, -inf})}};
  }

 private:
  static std::int64_t gradient_bytes(const Fold& fold) { return round_up(fold.outputs() * size_of(f32), 64); }

  double root(double total) const {
    if (p == 0 || p == 1 || std::isinf(p)) return total;
    return p == 2 ? std::sqrt(total) : std::pow(total, 1 / p);
  }
};

}  // namespace

std::vector<Sample> norm_samples() { return Norm::samples(); }

}  // namespace ops

Tensor norm(const Tensor& x, const NormOptions& options, SourceLocation where) {
  return apply(ops::Norm{{}, options.p, options.keepdim}, {x}, where);
}
Tensor norm(const Tensor& x, std::span<const int> dims, const NormOptions& options, SourceLocation where) {
  return apply(ops::Norm{ops::dims_of("norm", x, dims, where), options.p, options.keepdim}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
