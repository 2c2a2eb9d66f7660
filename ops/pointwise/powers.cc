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

// Squares and cubes by multiplication, many times faster; a cube is rounded twice.
HWY_INLINE V power_of_number(V x, float exponent) {
  if (exponent == 2) return hn::Mul(x, x);
  if (exponent == 3) return hn::Mul(hn::Mul(x, x), x);
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
