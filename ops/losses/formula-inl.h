// Losses of elements from formulas, compiled once per instruction set; see simd-inl.h. A formula of two or three
// operands:
//
//   struct Huber {
//     static constexpr std::string_view name = "huber_loss";
//     static constexpr std::string_view operands[] = {"a", "b"};
//     static constexpr std::string_view numbers[] = {"delta"};      // the fields, all of them floats
//     static constexpr LossNumbers variants[] = {{1}, {0.5f}};      // those of the samples
//     static constexpr unsigned slope_reads[] = {0b11, 0b11};       // operands that each slope reads, the first lowest
//     float delta;
//     V value(V a, V b) const;
//     V slope_0(V a, V b) const;  // of the first operand; one that is missing means that it takes no gradient
//     V slope_1(V a, V b) const;
//   };
//
// What a slope does not read holds anything. Optional: `flops` of one element; `range`, which an operand must keep;
// `fills` of the samples; `last_repeats`, see LossFormula.
#if defined(TIDEMARK_OPS_LOSSES_FORMULA_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_OPS_LOSSES_FORMULA_INL_H_
#undef TIDEMARK_OPS_LOSSES_FORMULA_INL_H_
#else
#define TIDEMARK_OPS_LOSSES_FORMULA_INL_H_
#endif

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "hwy/highway.h"
#include "ops/losses/formula.h"
#include "ops/math-inl.h"
#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

using V = hn::Vec<Wide>;

HWY_INLINE V set(float value) { return hn::Set(Wide(), value); }
HWY_INLINE V zero() { return hn::Zero(Wide()); }

// 1 where the mask holds, 0 elsewhere.
HWY_INLINE V one_if(hn::Mask<Wide> mask) { return hn::IfThenElseZero(mask, set(1)); }

// 1, 0 or -1; 0 for a NaN.
HWY_INLINE V sign(V x) { return hn::Sub(one_if(hn::Gt(x, zero())), one_if(hn::Lt(x, zero()))); }

// log(1 + x), accurate near zero too: what 1 + x loses is the same share of its distance from 1 as of its logarithm.
HWY_INLINE V log1p(V x) {
  const V near = hn::Add(set(1), x);
  const V off = hn::Sub(near, set(1));
  return hn::IfThenElse(hn::Eq(off, zero()), x, hn::Mul(log(Wide(), near), hn::Div(x, off)));
}

template <class F>
inline constexpr std::size_t kOperands = std::size(F::operands);

template <class F>
HWY_INLINE F formula_of(const LossNumbers& numbers) {
  F f{};
  if constexpr (!std::is_empty_v<F>) std::memcpy(&f, numbers.data(), sizeof f);
  return f;
}

// go(pointers...), of the operands.
template <class F, class Go>
HWY_INLINE void with_operands(const float* const* in, Go go) {
  if constexpr (kOperands<F> == 2) {
    go(in[0], in[1]);
  } else {
    go(in[0], in[1], in[2]);
  }
}

template <class F>
HWY_FLATTEN void loss_value(const LossNumbers& numbers, std::int64_t n, const float* const* in, float* out) {
  const F f = formula_of<F>(numbers);
  with_operands<F>(in, [&](auto... from) HWY_ATTR {
    map(
        n, out, [f](auto... v) HWY_ATTR { return f.value(v...); }, from...);
  });
}

template <class F>
double loss_sum(const LossNumbers& numbers, std::int64_t n, const float* const* in) {
  HWY_ALIGN float losses[kLossBlock];
  loss_value<F>(numbers, n, in, losses);
  return sum_row(n, losses);
}

template <class F, std::size_t operand>
inline constexpr bool kHasSlope = false;
template <class F>
requires requires { &F::slope_0; }
inline constexpr bool kHasSlope<F, 0> = true;
template <class F>
requires requires { &F::slope_1; }
inline constexpr bool kHasSlope<F, 1> = true;
template <class F>
requires requires { &F::slope_2; }
inline constexpr bool kHasSlope<F, 2> = true;

template <class F, std::size_t operand>
HWY_FLATTEN void loss_slope(const LossNumbers& numbers, std::int64_t n, const float* const* in, const float* g,
                            float* gx) {
  const F f = formula_of<F>(numbers);
  const float* read[kLossOperands];
  for (std::size_t i = 0; i < kLossOperands; ++i) read[i] = ((F::slope_reads[operand] >> i) & 1) != 0 ? in[i] : g;
  with_operands<F>(read, [&](auto... from) HWY_ATTR {
    const auto times_slope = [f](V gradient, auto... v) HWY_ATTR {
      if constexpr (operand == 0) {
        return hn::Mul(gradient, f.slope_0(v...));
      } else if constexpr (operand == 1) {
        return hn::Mul(gradient, f.slope_1(v...));
      } else {
        return hn::Mul(gradient, f.slope_2(v...));
      }
    };
    map(n, gx, times_slope, g, from...);
  });
}

template <class F, std::size_t operand>
constexpr LossKernels::Slope slope_kernel() {
  if constexpr (kHasSlope<F, operand>) {
    return loss_slope<F, operand>;
  } else {
    return nullptr;
  }
}

template <class F>
constexpr LossFormula describe_loss() {
  LossFormula out;
  out.name = F::name;
  out.operands = F::operands;
  if constexpr (!std::is_empty_v<F>) {
    static_assert(sizeof(F) == std::size(F::numbers) * sizeof(float) && sizeof(F) <= sizeof(LossNumbers));
    out.numbers = F::numbers;
    out.variants = F::variants;
  }
  for (std::size_t i = 0; i < std::size(F::slope_reads); ++i) out.slope_reads[i] = F::slope_reads[i];
  out.has_slope = {kHasSlope<F, 0>, kHasSlope<F, 1>, kHasSlope<F, 2>};
  if constexpr (requires { F::flops; }) out.flops = F::flops;
  if constexpr (requires { F::range; }) out.range = F::range;
  if constexpr (requires { F::last_repeats; }) out.last_repeats = F::last_repeats;
  if constexpr (requires { F::fills; }) {
    for (std::size_t i = 0; i < std::size(F::fills); ++i) out.fills[i] = F::fills[i];
  }
  return out;
}

template <class F, class... Others>
constexpr std::size_t loss_position() {
  std::size_t out = 0;
  static_cast<void>(((std::is_same_v<F, Others> || (++out, false)) || ...));
  static_assert((std::is_same_v<F, Others> || ...), "the formula is missing in its file's list");
  return out;
}

template <class... F>
struct LossFormulas {
  static constexpr LossFormula formulas[] = {describe_loss<F>()...};
  static constexpr LossKernels kernels[] = {
      {loss_value<F>, loss_sum<F>, {slope_kernel<F, 0>(), slope_kernel<F, 1>(), slope_kernel<F, 2>()}}...};
  template <class G>
  static constexpr std::size_t kIndex = loss_position<G, F...>();
};

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#endif
