// Powers of numbers.
#include "tidemark/ops/pointwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/powers.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                       // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/pointwise/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

HWY_NOINLINE V power(V a, V b) { return pow(Wide(), a, b); }

// What a * b is rounded by. Without an instruction for it, of halves of the factors, whose products are exact (Dekker).
HWY_INLINE V lost_in_product(V a, V b, V product) {
#if HWY_NATIVE_FMA
  return hn::MulSub(a, b, product);
#else
  const hn::RebindToUnsigned<Wide> bits;
  const auto high = [&](V x) { return hn::BitCast(Wide(), hn::And(hn::BitCast(bits, x), hn::Set(bits, 0xFFFFF000))); };
  const V ah = high(a), al = hn::Sub(a, ah);
  const V bh = high(b), bl = hn::Sub(b, bh);
  const V first = hn::Sub(hn::Mul(ah, bh), product);
  return hn::Add(hn::Add(hn::Add(first, hn::Mul(ah, bl)), hn::Mul(al, bh)), hn::Mul(al, bl));
#endif
}

// x^3, within one unit in the last place: what the two products are rounded by goes back into the result. Small numbers
// are scaled up meanwhile, so that this is not lost below the smallest float.
HWY_INLINE V cube(V x) {
  const M small = hn::Lt(hn::Abs(x), set(0x1p-30f));
  const V scaled = hn::IfThenElse(small, hn::Mul(x, set(0x1p40f)), x);
  const V square = hn::Mul(scaled, scaled);
  const V cubed = hn::Mul(square, scaled);
  const V rest = hn::MulAdd(lost_in_product(scaled, scaled, square), scaled, lost_in_product(square, scaled, cubed));
  // Of an infinite x or square there is no rest.
  const V whole = hn::IfThenElse(hn::IsFinite(cubed), hn::Add(cubed, rest), cubed);
  return hn::IfThenElse(small, hn::Mul(whole, set(0x1p-120f)), whole);
}

// Squares and cubes by multiplication, many times faster.
HWY_INLINE V power_of_number(V x, float exponent) {
  if (exponent == 2) return hn::Mul(x, x);
  if (exponent == 3) return cube(x);
  return power(x, set(exponent));
}

struct PowOfTensor {
  static constexpr std::string_view name = "pow_by_number";
  static constexpr std::string_view attributes[] = {"exponent"};
  static constexpr FormulaAttributes variants[] = {{3}, {-1.5f}, {0}, {0.25f}};
  static constexpr bool positive = true;
  static constexpr double flops = 100;
  static constexpr double slope_flops = 100;
  float exponent;
  V value(V x) const { return power_of_number(x, exponent); }
  // Without an exponent there is no slope, not even at zero.
  Within<V> slope_of_x(V x) const {
    const V slope = hn::Mul(set(exponent), power_of_number(x, exponent - 1));
    return {hn::Not(hn::Eq(set(exponent), set(0))), slope};
  }
};

struct PowOfNumber {
  static constexpr std::string_view name = "pow_of_number";
  static constexpr std::string_view attributes[] = {"base", "log_base"};
  static constexpr FormulaAttributes variants[] = {{2, 0.6931471805599453f}, {0.3f, -1.2039728043259361f}};
  static constexpr double flops = 100;
  float base;
  float log_base;
  V value(V x) const { return power(set(base), x); }
  // The powers of zero are 0 and 1, and do not rise, but for negative exponents.
  Within<V> slope_of_y(V y) const {
    const M falls = hn::Or(hn::Not(hn::Eq(set(base), set(0))), hn::Not(hn::Le(y, set(1))));
    return {falls, hn::Mul(y, set(log_base))};
  }
};

using Powers = UnaryFormulas<PowOfTensor, PowOfNumber>;
const UnaryKernels* power_kernels() { return Powers::kernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(power_kernels);
constexpr UnaryOps<HWY_NAMESPACE::Powers> kPowers([] { return HWY_DYNAMIC_DISPATCH(power_kernels)(); });

std::vector<OpEntry> power_ops() { return kPowers.entries(); }

}  // namespace ops

namespace formulas = ops::HWY_NAMESPACE;
using ops::kPowers;

Tensor pow(const Tensor& x, float exponent, SourceLocation where) {
  if (exponent == 2) return square(x, where);
  if (exponent == 1) return affine(x, 1, 0, where);
  if (exponent == 0.5f) return sqrt(x, where);
  if (exponent == -0.5f) return rsqrt(x, where);
  if (exponent == -1) return reciprocal(x, where);
  return kPowers.apply(formulas::PowOfTensor{exponent}, x, where);
}

Tensor pow(float base, const Tensor& x, SourceLocation where) {
  const auto log_base = static_cast<float>(std::log(static_cast<double>(base)));
  return kPowers.apply(formulas::PowOfNumber{base, log_base}, x, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
