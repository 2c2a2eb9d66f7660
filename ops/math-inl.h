// Functions of whole vectors, compiled once per instruction set; see simd-inl.h. They hold for every argument: errors
// in ulp are the largest over all floats, against double precision.
#if defined(TIDEMARK_OPS_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_OPS_MATH_INL_H_
#undef TIDEMARK_OPS_MATH_INL_H_
#else
#define TIDEMARK_OPS_MATH_INL_H_
#endif

#include <cstdint>
#include <limits>

#include "hwy/highway.h"
#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// ln x to 0.9 ulp, of denormal numbers as well. -inf at zeros, a NaN below them.
template <class D>
HWY_INLINE hn::Vec<D> log(D d, hn::Vec<D> x) {
  const hn::Rebind<std::int32_t, D> di;
  const auto infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  // x = 2^e (1 + f) with 1 + f from sqrt(1/2) to sqrt(2).
  const auto denormal = hn::Lt(x, hn::Set(d, 0x1p-126f));
  const auto scaled = hn::IfThenElse(denormal, hn::Mul(x, hn::Set(d, 0x1p24f)), x);
  const auto root_half = hn::Set(di, 0x3F3504F3);  // the bits of sqrt(1/2)
  const auto above = hn::Sub(hn::BitCast(di, scaled), root_half);
  auto e = hn::ConvertTo(d, hn::ShiftRight<23>(above));
  e = hn::Sub(e, hn::IfThenElseZero(denormal, hn::Set(d, 24.0f)));
  const auto mantissa = hn::BitCast(d, hn::Add(hn::And(above, hn::Set(di, 0x7FFFFF)), root_half));
  const auto f = hn::Sub(mantissa, hn::Set(d, 1.0f));
  // ln(1 + f) = f - f^2 / 2 + f^3 P(f), P fitted to a relative error of 5.8e-9.
  auto p = hn::Set(d, -0x1.38b858p-4f);
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.055c12p-3f));
  p = hn::MulAdd(p, f, hn::Set(d, -0x1.0d8500p-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.22d9fep-3f));
  p = hn::MulAdd(p, f, hn::Set(d, -0x1.547248p-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.99a00ap-3f));
  p = hn::MulAdd(p, f, hn::Set(d, -0x1.000226p-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.555554p-2f));
  const auto square = hn::Mul(f, f);
  // ln 2 in two parts, the first of which has few enough bits for an exact product.
  auto small = hn::MulAdd(e, hn::Set(d, -2.12194440e-4f), hn::Mul(hn::Mul(square, f), p));
  small = hn::MulAdd(hn::Set(d, -0.5f), square, small);
  auto y = hn::MulAdd(e, hn::Set(d, 0.693359375f), hn::Add(f, small));
  y = hn::IfThenElse(hn::Lt(x, infinity), y, x);  // inf and NaN
  y = hn::IfThenElse(hn::Eq(x, hn::Zero(d)), hn::Neg(infinity), y);
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Set(d, std::numeric_limits<float>::quiet_NaN()), y);
}

// 1 / (1 + e^-x) to 2.5 ulp, denormal results included.
template <class D>
HWY_INLINE hn::Vec<D> sigmoid(D d, hn::Vec<D> x) {
  // e^-|x| is at most 1, so that nothing overflows; below zero the result is that much smaller than above it.
  const auto one = hn::Set(d, 1.0f);
  const auto e = exp(d, hn::Neg(hn::Abs(x)));
  return hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
}

// The hyperbolic tangent to 1.5 ulp.
template <class D>
HWY_INLINE hn::Vec<D> tanh(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0f);
  const auto two = hn::Set(d, 2.0f);
  const auto a = hn::Abs(x);
  // Near zero x + x^3 Q(x^2), Q fitted to a relative error of 4.4e-9; elsewhere 1 - 2 / (e^2a + 1).
  const auto square = hn::Mul(a, a);
  auto q = hn::Set(d, -0x1.75e1c2p-8f);
  q = hn::MulAdd(q, square, hn::Set(d, 0x1.522698p-6f));
  q = hn::MulAdd(q, square, hn::Set(d, -0x1.b83c5ap-5f));
  q = hn::MulAdd(q, square, hn::Set(d, 0x1.110726p-3f));
  q = hn::MulAdd(q, square, hn::Set(d, -0x1.555532p-2f));
  const auto near = hn::MulAdd(hn::Mul(square, a), q, a);
  const auto far = hn::Sub(one, hn::Div(two, hn::Add(exp(d, hn::Mul(two, a)), one)));
  return hn::CopySign(hn::IfThenElse(hn::Lt(a, hn::Set(d, 0.625f)), near, far), x);
}

// The normal distribution: Phi(x), accurate in the tails too, and e^(-x^2 / 2).
template <class D>
struct Normal {
  hn::Vec<D> cumulative;
  hn::Vec<D> bell;
};

template <class D>
HWY_INLINE Normal<D> normal(D d, hn::Vec<D> x) {
  // Phi(-a) = e^(-a^2/2) R(a), with (a + 4) R(a) a polynomial in t = (a - 4) / (a + 4), fitted at Chebyshev nodes of
  // a in [0, 20] to a relative error of 1.8e-8.
  const auto a = at_most(d, 64.0f, hn::Abs(x));  // from 15 on the exponential is 0
  const auto four = hn::Set(d, 4.0f);
  const auto q = hn::Div(hn::Set(d, 1.0f), hn::Add(a, four));
  const auto t = hn::Mul(hn::Sub(a, four), q);
  auto p = hn::Set(d, -0x1.2b6f72p-13f);
  p = hn::MulAdd(p, t, hn::Set(d, 0x1.42fca6p-13f));
  p = hn::MulAdd(p, t, hn::Set(d, 0x1.98c082p-10f));
  p = hn::MulAdd(p, t, hn::Set(d, -0x1.caab68p-9f));
  p = hn::MulAdd(p, t, hn::Set(d, -0x1.ec90cap-8f));
  p = hn::MulAdd(p, t, hn::Set(d, 0x1.eed05cp-5f));
  p = hn::MulAdd(p, t, hn::Set(d, -0x1.7e00f2p-3f));
  p = hn::MulAdd(p, t, hn::Set(d, 0x1.8c6da0p-2f));
  p = hn::MulAdd(p, t, hn::Set(d, -0x1.373e36p-1f));
  p = hn::MulAdd(p, t, hn::Set(d, 0x1.82b4bcp-1f));
  // The square's rounding error would be many ulp of the exponential: put it back to first order.
  const auto minus_half = hn::Set(d, -0.5f);
  const auto square = hn::Mul(a, a);
  const auto lost = hn::MulSub(a, a, square);
  auto bell = exp(d, hn::Mul(minus_half, square));
  bell = hn::MulAdd(bell, hn::Mul(minus_half, lost), bell);
  const auto tail = hn::Mul(bell, hn::Mul(p, q));
  return {hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(hn::Set(d, 1.0f), tail)), bell};
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#endif
