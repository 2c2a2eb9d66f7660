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

// x = 2^exponent mantissa, with the mantissa from sqrt(1/2) to sqrt(2); of positive finite numbers, denormal ones as
// well.
template <class D>
struct Binade {
  hn::Vec<D> exponent;
  hn::Vec<D> mantissa;
};

template <class D>
HWY_INLINE Binade<D> binade(D d, hn::Vec<D> x) {
  const hn::Rebind<std::int32_t, D> di;
  const auto denormal = hn::Lt(x, hn::Set(d, 0x1p-126f));
  const auto scaled = hn::IfThenElse(denormal, hn::Mul(x, hn::Set(d, 0x1p24f)), x);
  const auto root_half = hn::Set(di, 0x3F3504F3);  // the bits of sqrt(1/2)
  const auto above = hn::Sub(hn::BitCast(di, scaled), root_half);
  const auto e = hn::ConvertTo(d, hn::ShiftRight<23>(above));
  return {hn::Sub(e, hn::IfThenElseZero(denormal, hn::Set(d, 24.0f))),
          hn::BitCast(d, hn::Add(hn::And(above, hn::Set(di, 0x7FFFFF)), root_half))};
}

// ln(1 + f) = f - square / 2 + cubic, where 1 + f is a mantissa.
template <class D>
struct LogTerms {
  hn::Vec<D> square;
  hn::Vec<D> cubic;
};

template <class D>
HWY_INLINE LogTerms<D> log_terms(D d, hn::Vec<D> f) {
  // f^3 P(f), P fitted to a relative error of 5.8e-9.
  auto p = hn::Set(d, -0x1.38b858p-4f);
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.055c12p-3f));
  p = hn::MulAdd(p, f, hn::Set(d, -0x1.0d8500p-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.22d9fep-3f));
  p = hn::MulAdd(p, f, hn::Set(d, -0x1.547248p-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.99a00ap-3f));
  p = hn::MulAdd(p, f, hn::Set(d, -0x1.000226p-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.555554p-2f));
  const auto square = hn::Mul(f, f);
  return {square, hn::Mul(hn::Mul(square, f), p)};
}

// A logarithm's values where y does not hold: at infinity, NaN, zeros and below.
template <class D>
HWY_INLINE hn::Vec<D> with_ends_of_log(D d, hn::Vec<D> x, hn::Vec<D> y) {
  const auto infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  y = hn::IfThenElse(hn::Lt(x, infinity), y, x);  // inf and NaN
  y = hn::IfThenElse(hn::Eq(x, hn::Zero(d)), hn::Neg(infinity), y);
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Set(d, std::numeric_limits<float>::quiet_NaN()), y);
}

// ln x to 0.9 ulp, of denormal numbers as well. -inf at zeros, a NaN below them.
template <class D>
HWY_INLINE hn::Vec<D> log(D d, hn::Vec<D> x) {
  const auto [e, mantissa] = binade(d, x);
  const auto f = hn::Sub(mantissa, hn::Set(d, 1.0f));
  const auto [square, cubic] = log_terms(d, f);
  // ln 2 in two parts, the first of which has few enough bits for an exact product.
  auto small = hn::MulAdd(e, hn::Set(d, -2.12194440e-4f), cubic);
  small = hn::MulAdd(hn::Set(d, -0.5f), square, small);
  return with_ends_of_log(d, x, hn::MulAdd(e, hn::Set(d, 0.693359375f), hn::Add(f, small)));
}

// The binary logarithm to 2 ulp, exact of powers of two.
template <class D>
HWY_INLINE hn::Vec<D> log2(D d, hn::Vec<D> x) {
  const auto [e, mantissa] = binade(d, x);
  const auto f = hn::Sub(mantissa, hn::Set(d, 1.0f));
  const auto [square, cubic] = log_terms(d, f);
  const auto ln = hn::Add(f, hn::MulAdd(hn::Set(d, -0.5f), square, cubic));
  return with_ends_of_log(d, x, hn::MulAdd(ln, hn::Set(d, 1.44269504f), e));
}

// ln(1 + x) to 3 ulp, near zero too.
template <class D>
HWY_INLINE hn::Vec<D> log1p(D d, hn::Vec<D> x) {
  // What rounding took from 1 + x multiplies the logarithm, to first order.
  const auto one = hn::Set(d, 1.0f);
  const auto sum = hn::Add(one, x);
  const auto y = hn::Mul(log(d, sum), hn::Div(x, hn::Sub(sum, one)));
  const auto bare = hn::Or(hn::Eq(sum, one), hn::Eq(x, hn::Set(d, std::numeric_limits<float>::infinity())));
  return hn::IfThenElse(bare, x, y);
}

// e^x - 1 to 3 ulp, near zero too; keeps the sign of zero.
template <class D>
HWY_INLINE hn::Vec<D> expm1(D d, hn::Vec<D> x) {
  // Near zero x + x^2 P(x), P fitted to an error of 3.6e-10.
  auto p = hn::Set(d, 0x1.a2210cp-16f);
  p = hn::MulAdd(p, x, hn::Set(d, 0x1.a2a31ep-13f));
  p = hn::MulAdd(p, x, hn::Set(d, 0x1.6c15bep-10f));
  p = hn::MulAdd(p, x, hn::Set(d, 0x1.110fccp-7f));
  p = hn::MulAdd(p, x, hn::Set(d, 0x1.555556p-5f));
  p = hn::MulAdd(p, x, hn::Set(d, 0x1.555556p-3f));
  p = hn::MulAdd(p, x, hn::Set(d, 0.5f));
  const auto near = hn::CopySign(hn::MulAdd(hn::Mul(x, x), p, x), x);
  const auto far = hn::Sub(exp(d, x), hn::Set(d, 1.0f));
  return hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, 0.5f)), near, far);
}

// 1 / (1 + e^-x) to 2.5 ulp, denormal results included.
template <class D>
HWY_INLINE hn::Vec<D> sigmoid(D d, hn::Vec<D> x) {
  // e^-|x| is at most 1, so that nothing overflows; below zero the result is that much smaller than above it.
  const auto one = hn::Set(d, 1.0f);
  const auto e = exp(d, hn::Neg(hn::Abs(x)));
  return hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
}

// sigmoid(x) and sigmoid(-x), each as accurate as the other.
template <class Vector>
struct Sigmoids {
  Vector of_x;
  Vector of_minus_x;
};

template <class D>
HWY_INLINE Sigmoids<hn::Vec<D>> sigmoids(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0f);
  const auto e = exp(d, hn::Neg(hn::Abs(x)));
  const auto large = hn::Div(one, hn::Add(one, e));
  const auto small = hn::Mul(e, large);
  const auto below = hn::Lt(x, hn::Zero(d));
  return {hn::IfThenElse(below, small, large), hn::IfThenElse(below, large, small)};
}

// x sigmoid(x) and its slope. Where the other factor is 0, x counts as a finite number: infinity times 0 would be a
// NaN.
template <class D>
HWY_INLINE hn::Vec<D> silu(D d, hn::Vec<D> x) {
  return hn::Mul(at_least(d, -200, x), sigmoid(d, x));
}
template <class D>
HWY_INLINE hn::Vec<D> silu_slope(D d, hn::Vec<D> x) {
  const auto near = clamp(d, -200, 200, x);
  const auto [gate, other] = sigmoids(d, near);
  return hn::Mul(gate, hn::MulAdd(near, other, hn::Set(d, 1.0f)));
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

// The error function to 2.5 ulp.
template <class D>
HWY_INLINE hn::Vec<D> erf(D d, hn::Vec<D> x) {
  // Near zero x P(x^2), P fitted to an error of 1.2e-9; elsewhere one less two tails of the normal distribution.
  const auto one = hn::Set(d, 1.0f);
  const auto a = hn::Abs(x);
  const auto square = hn::Mul(x, x);
  auto p = hn::Set(d, 0x1.4a5690p-14f);
  p = hn::MulAdd(p, square, hn::Set(d, -0x1.a45088p-11f));
  p = hn::MulAdd(p, square, hn::Set(d, 0x1.541270p-8f));
  p = hn::MulAdd(p, square, hn::Set(d, -0x1.b7fabap-6f));
  p = hn::MulAdd(p, square, hn::Set(d, 0x1.ce2d10p-4f));
  p = hn::MulAdd(p, square, hn::Set(d, -0x1.81273ep-2f));
  p = hn::MulAdd(p, square, hn::Set(d, 0x1.20dd76p+0f));
  const auto tail = normal(d, hn::Mul(a, hn::Set(d, -1.41421356f))).cumulative;
  const auto far = hn::CopySign(hn::NegMulAdd(hn::Set(d, 2.0f), tail, one), x);
  return hn::IfThenElse(hn::Lt(a, one), hn::Mul(x, p), far);
}

// Two vectors that go together.
template <class Vector>
struct Pair {
  Vector first;
  Vector second;
};

// f over the elements in double precision, half a vector at a time: f(d, v...) gives a Pair.
template <class D, class F, class... Vectors>
HWY_INLINE Pair<hn::Vec<D>> in_double(D d, F f, Vectors... v) {
  if constexpr (hn::MaxLanes(D()) == 1) {
    const hn::Rebind<double, D> dd;
    const auto y = f(dd, hn::PromoteTo(dd, v)...);
    return {hn::DemoteTo(d, y.first), hn::DemoteTo(d, y.second)};
#if HWY_TARGET != HWY_SCALAR
  } else {
    const hn::Half<D> half;
    const hn::Rebind<double, hn::Half<D>> dd;
    const auto low = f(dd, hn::PromoteTo(dd, hn::LowerHalf(half, v))...);
    const auto high = f(dd, hn::PromoteTo(dd, hn::UpperHalf(half, v))...);
    return {hn::Combine(d, hn::DemoteTo(half, high.first), hn::DemoteTo(half, low.first)),
            hn::Combine(d, hn::DemoteTo(half, high.second), hn::DemoteTo(half, low.second))};
#endif
  }
}

// a^b to 1 ulp, with the special values of C's pow.
template <class D>
HWY_INLINE hn::Vec<D> pow(D d, hn::Vec<D> a, hn::Vec<D> b) {
  const auto infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  const auto zero = hn::Zero(d);
  const auto one = hn::Set(d, 1.0f);
  const auto size = hn::Abs(a);
  const auto [e, mantissa] = binade(d, size);
  // 2^p with p = b log2 |a| as 2^whole 2^rest.
  const auto [power, whole] = in_double(
      d,
      [](auto dd, auto exponent, auto m, auto y, auto x) HWY_ATTR {
        // ln m = 2 artanh(s), s = (m - 1) / (m + 1) of at most 0.172; the series to s^13.
        const auto unit = hn::Set(dd, 1.0);
        const auto s = hn::Div(hn::Sub(m, unit), hn::Add(m, unit));
        const auto square = hn::Mul(s, s);
        auto p = hn::Set(dd, 1.0 / 13);
        for (const double factor : {1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3, 1.0}) {
          p = hn::MulAdd(p, square, hn::Set(dd, factor));
        }
        auto log = hn::MulAdd(hn::Mul(s, p), hn::Set(dd, 2 * 1.4426950408889634), exponent);
        const auto end = hn::Set(dd, 1e300);  // in place of infinity, of which 0 makes a NaN
        log = hn::IfThenElse(hn::Eq(x, hn::Zero(dd)), hn::Neg(end), log);
        log = hn::IfThenElse(hn::Gt(x, hn::Set(dd, 1e39)), end, log);
        const auto most = hn::Set(dd, 300.0);
        const auto product = hn::Max(hn::Min(hn::Mul(y, log), most), hn::Neg(most));
        const auto n = hn::Round(product);
        const auto r = hn::Mul(hn::Sub(product, n), hn::Set(dd, 0.6931471805599453));
        auto q = hn::Set(dd, 1.0 / 40320);
        for (const double factor : {1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0}) {
          q = hn::MulAdd(q, r, hn::Set(dd, factor));
        }
        return Pair<decltype(q)>{q, n};
      },
      e, mantissa, b, size);
  const hn::Rebind<std::int32_t, D> di;
  const auto exponent = hn::ConvertTo(di, whole);
  const auto bias = hn::Set(di, 127);
  // 2^whole in three factors: each is a normal number up to 2^100.
  const auto third = hn::ConvertTo(di, hn::Mul(whole, hn::Set(d, 1.0f / 3)));
  const auto rest = hn::Sub(exponent, hn::Add(third, third));
  const auto factor = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(third, bias)));
  auto y = hn::Mul(hn::Mul(power, hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(rest, bias)))), factor);
  y = hn::Mul(y, factor);
  const auto half = hn::Mul(b, hn::Set(d, 0.5f));
  const auto is_whole = hn::Eq(hn::Floor(b), b);
  const auto is_even = hn::Eq(hn::Floor(half), half);
  y = hn::IfThenElse(hn::AndNot(is_even, is_whole), hn::CopySign(y, a), y);
  const auto nan = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
  const auto imaginary = hn::AndNot(is_whole, hn::And(hn::Lt(a, zero), hn::Lt(size, infinity)));
  y = hn::IfThenElse(hn::Or(imaginary, hn::IsNaN(hn::Add(a, b))), nan, y);
  y = hn::IfThenElse(hn::And(hn::IsInf(a), hn::IsInf(b)), hn::IfThenElse(hn::Gt(b, zero), infinity, zero), y);
  const auto unit = hn::Or(hn::Eq(a, one), hn::And(hn::Eq(size, one), hn::IsInf(b)));
  return hn::IfThenElse(hn::Or(unit, hn::Eq(b, zero)), one, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#endif
