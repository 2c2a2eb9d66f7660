// SIMD building blocks, compiled once per instruction set. Include it inside a file that Highway's foreach_target
// compiles again and again; there is no include guard in the usual sense for that reason.
//
// Results are equal on all instruction sets with fused multiply-add: elementwise code does the same arithmetic in
// every lane, and reductions always use four accumulators of eight lanes, however wide the registers are.
#if defined(TIDEMARK_OPS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_OPS_SIMD_INL_H_
#undef TIDEMARK_OPS_SIMD_INL_H_
#else
#define TIDEMARK_OPS_SIMD_INL_H_
#endif

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Wide = hn::ScalableTag<float>;
using Eight = hn::CappedTag<float, 8>;  // what reductions use

// Elements in memory as lanes, and back. An element type of its own needs an overload here and nowhere else.
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* p) {
  return hn::LoadU(d, p);
}

template <class D>
HWY_INLINE void store(D d, hn::Vec<D> v, float* p) {
  hn::StoreU(v, d, p);
}

// The first n lanes of p, n below the vector's width; zeros beyond.
template <class D>
HWY_INLINE hn::Vec<D> load_part(D d, const float* p, std::int64_t n) {
  HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)] = {};
  std::memcpy(lanes, p, static_cast<std::size_t>(n) * sizeof(float));
  return hn::Load(d, lanes);
}

template <class D>
HWY_INLINE void store_part(D d, hn::Vec<D> v, float* p, std::int64_t n) {
  HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(v, d, lanes);
  std::memcpy(p, lanes, static_cast<std::size_t>(n) * sizeof(float));
}

// to[i] = f(from[k][i]...) over whole vectors.
template <class F, class T, std::size_t... k>
HWY_INLINE void map_vectors(std::int64_t count, T* to, const F& f, const T* const* from, std::index_sequence<k...>) {
  const Wide d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < count; i += width) store(d, f(load(d, from[k] + i)...), to + i);
}

// out[i] = f(in[i]...); `out` may be one of the inputs. The last elements, fewer than a vector has, are copied out and
// go through the same loop: f may be long, and is compiled once.
template <class F, class T, class... In>
HWY_INLINE void map(std::int64_t n, T* out, F f, const In*... in) {
  constexpr std::size_t kInputs = sizeof...(In);
  constexpr std::size_t kMostLanes = HWY_MAX_BYTES / sizeof(T);
  const auto width = static_cast<std::int64_t>(hn::Lanes(Wide()));
  const std::int64_t rest = n % width;
  const T* from[kInputs] = {in...};
  T* to = out;
  std::int64_t count = n - rest;
  HWY_ALIGN T edge[kInputs + 1][kMostLanes];
  for (bool last = rest == 0;; last = true) {
    map_vectors(count, to, f, from, std::index_sequence_for<In...>());
    if (last) break;
    for (std::size_t k = 0; k < kInputs; ++k) {
      std::memset(edge[k], 0, sizeof edge[k]);
      std::memcpy(edge[k], from[k] + count, static_cast<std::size_t>(rest) * sizeof(T));
      from[k] = edge[k];
    }
    to = edge[kInputs];
    count = width;
  }
  if (rest != 0) std::memcpy(out + n - rest, to, static_cast<std::size_t>(rest) * sizeof(T));
}

// acc = f(acc, in[i]...) over all i, on four times eight lanes, which `combine` brings together.
template <class F, class C, class... In>
HWY_INLINE hn::Vec<Eight> fold(std::int64_t n, float start, F f, C combine, const In*... in) {
  const Eight d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  auto a0 = hn::Set(d, start);
  auto a1 = a0;
  auto a2 = a0;
  auto a3 = a0;
  std::int64_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    a0 = f(a0, load(d, in + i)...);
    a1 = f(a1, load(d, in + i + width)...);
    a2 = f(a2, load(d, in + i + 2 * width)...);
    a3 = f(a3, load(d, in + i + 3 * width)...);
  }
  for (; i + width <= n; i += width) a0 = f(a0, load(d, in + i)...);
  if (i < n) {
    const auto used = hn::FirstN(d, static_cast<std::size_t>(n - i));
    a1 = hn::IfThenElse(used, f(a1, load_part(d, in + i, n - i)...), a1);
  }
  return combine(combine(a0, a1), combine(a2, a3));
}

// Sums of more elements than this are made in pieces, whose lanes are added up in double: float's rounding does not
// grow with their length.
inline constexpr std::int64_t kSumPiece = 512;

template <class F, class... In>
HWY_NOINLINE double long_sum_of(std::int64_t n, F f, const In*... in) {
  const auto add = [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); };
  constexpr std::size_t kLanes = hn::MaxLanes(Eight());
  double totals[kLanes] = {};
  for (std::int64_t i = 0; i < n; i += kSumPiece) {
    HWY_ALIGN float lanes[kLanes];
    hn::Store(fold(HWY_MIN(kSumPiece, n - i), 0.0f, f, add, (in + i)...), Eight(), lanes);
    for (std::size_t k = 0; k < kLanes; ++k) totals[k] += static_cast<double>(lanes[k]);
  }
  double total = 0;
  for (const double part : totals) total += part;
  return total;
}

template <class F, class... In>
HWY_INLINE double sum_of(std::int64_t n, F f, const In*... in) {
  if (n > kSumPiece) return long_sum_of(n, f, in...);
  const auto sums = fold(
      n, 0.0f, f, [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); }, in...);
  return static_cast<double>(hn::GetLane(hn::SumOfLanes(Eight(), sums)));
}

HWY_INLINE double sum_row(std::int64_t n, const float* x) {
  return sum_of(
      n, [](auto acc, auto v) HWY_ATTR { return hn::Add(acc, v); }, x);
}

HWY_INLINE double dot_row(std::int64_t n, const float* x, const float* y) {
  return sum_of(
      n, [](auto acc, auto v, auto w) HWY_ATTR { return hn::MulAdd(v, w, acc); }, x, y);
}

HWY_INLINE float max_row(std::int64_t n, const float* x) {
  const auto larger = [](auto a, auto b) HWY_ATTR { return hn::Max(a, b); };
  const auto most = fold(n, -std::numeric_limits<float>::infinity(), larger, larger, x);
  return hn::GetLane(hn::MaxOfLanes(Eight(), most));
}

// The larger or the smaller of x and a number; a NaN stays one. Max and Min of x86's vectors give their second operand
// where one of the two is a NaN.
template <class D>
HWY_INLINE hn::Vec<D> at_least(D d, float low, hn::Vec<D> x) {
  const auto bound = hn::Set(d, low);
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR
  return hn::Max(bound, x);
#else
  return hn::IfThenElse(hn::Lt(x, bound), bound, x);
#endif
}
template <class D>
HWY_INLINE hn::Vec<D> at_most(D d, float high, hn::Vec<D> x) {
  const auto bound = hn::Set(d, high);
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR
  return hn::Min(bound, x);
#else
  return hn::IfThenElse(hn::Gt(x, bound), bound, x);
#endif
}
template <class D>
HWY_INLINE hn::Vec<D> clamp(D d, float low, float high, hn::Vec<D> x) {
  return at_least(d, low, at_most(d, high, x));
}

// e^x to 0.95 ulp over the whole range (1.1 without fused multiply-add), denormal results included; a NaN stays one.
template <class D>
HWY_INLINE hn::Vec<D> exp(D d, hn::Vec<D> x) {
  const hn::Rebind<std::int32_t, D> di;
  const auto bounded = clamp(d, -104.0f, 89.0f, x);
  const auto n = hn::Round(hn::Mul(bounded, hn::Set(d, 1.44269504f)));
  // ln 2 in two parts, the first of which has few enough bits for an exact product.
  auto r = hn::MulAdd(n, hn::Set(d, -0.693359375f), bounded);
  r = hn::MulAdd(n, hn::Set(d, 2.12194440e-4f), r);
  auto p = hn::Set(d, 1.0f / 5040);
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 720));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 120));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 24));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 6));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  // 2^n in two factors, since n may lie outside the exponents of normal numbers.
  const auto exponent = hn::ConvertTo(di, n);
  const auto half = hn::ShiftRight<1>(exponent);
  const auto bias = hn::Set(di, 127);
  const auto first = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(half, bias)));
  const auto second = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::Sub(exponent, half), bias)));
  return hn::Mul(hn::Mul(p, first), second);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#endif
