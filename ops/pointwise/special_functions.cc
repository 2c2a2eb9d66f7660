// Functions of one operand that are longer than those of functions.cc.
#include "tidemark/ops/pointwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/special_functions.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                                  // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/pointwise/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

struct Expm1 {
  static constexpr std::string_view name = "expm1";
  static constexpr double flops = 35;
  static constexpr double slope_flops = 20;
  V value(V x) const { return expm1(Wide(), x); }
  V slope_of_x(V x) const { return exp(Wide(), x); }
};

struct Log1p {
  static constexpr std::string_view name = "log1p";
  static constexpr bool positive = true;
  static constexpr double flops = 35;
  V value(V x) const { return log1p(Wide(), x); }
  Over<V> slope_of_x(V x) const { return {hn::Add(set(1), x)}; }
};

struct Log2 {
  static constexpr std::string_view name = "log2";
  static constexpr bool positive = true;
  static constexpr double flops = 30;
  V value(V x) const { return log2(Wide(), x); }
  Over<V> slope_of_x(V x) const { return {hn::Mul(x, set(0.6931471805599453f))}; }
};

struct Rsqrt {
  static constexpr std::string_view name = "rsqrt";
  static constexpr bool positive = true;
  static constexpr double flops = 2;
  static constexpr double slope_flops = 3;
  V value(V x) const { return hn::Div(set(1), hn::Sqrt(x)); }
  V slope_of_y(V y) const { return hn::Mul(hn::Mul(set(-0.5f), y), hn::Mul(y, y)); }
};

struct Erf {
  static constexpr std::string_view name = "erf";
  static constexpr double flops = 60;
  static constexpr double slope_flops = 30;
  V value(V x) const { return erf(Wide(), x); }
  // 2 / sqrt(pi) e^(-x^2). The square's rounding error is put back to first order.
  V slope_of_x(V x) const {
    const V near = clamp(Wide(), -64, 64, x);
    const V square = hn::Mul(near, near);
    const V lost = hn::MulSub(near, near, square);
    const V bell = exp(Wide(), hn::Neg(square));
    return hn::Mul(set(1.1283791670955126f), hn::NegMulAdd(bell, lost, bell));
  }
};

using SpecialFunctions = UnaryFormulas<Expm1, Log1p, Log2, Rsqrt, Erf>;
const UnaryKernels* special_function_kernels() { return SpecialFunctions::kernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(special_function_kernels);
constexpr UnaryOps<HWY_NAMESPACE::SpecialFunctions> kSpecialFunctions([] {
  return HWY_DYNAMIC_DISPATCH(special_function_kernels)();
});

std::vector<OpEntry> special_function_ops() { return kSpecialFunctions.entries(); }

}  // namespace ops

namespace formulas = ops::HWY_NAMESPACE;
using ops::kSpecialFunctions;

Tensor expm1(const Tensor& x, SourceLocation where) { return kSpecialFunctions.apply(formulas::Expm1(), x, where); }
Tensor log1p(const Tensor& x, SourceLocation where) { return kSpecialFunctions.apply(formulas::Log1p(), x, where); }
Tensor log2(const Tensor& x, SourceLocation where) { return kSpecialFunctions.apply(formulas::Log2(), x, where); }
Tensor rsqrt(const Tensor& x, SourceLocation where) { return kSpecialFunctions.apply(formulas::Rsqrt(), x, where); }
Tensor erf(const Tensor& x, SourceLocation where) { return kSpecialFunctions.apply(formulas::Erf(), x, where); }

}  // namespace tidemark
#endif  // HWY_ONCE
