// Functions of one operand, and its arithmetic with numbers.
#include "tidemark/ops/pointwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/functions.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                          // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/pointwise/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

struct Exp {
  static constexpr std::string_view name = "exp";
  static constexpr double flops = 20;
  V value(V x) const { return exp(Wide(), x); }
  V slope_of_y(V y) const { return y; }
};

struct Log {
  static constexpr std::string_view name = "log";
  static constexpr double flops = 25;
  static constexpr bool positive = true;
  V value(V x) const { return log(Wide(), x); }
  Over<V> slope_of_x(V x) const { return {x}; }
};

struct Sqrt {
  static constexpr std::string_view name = "sqrt";
  static constexpr bool positive = true;
  V value(V x) const { return hn::Sqrt(x); }
  Over<V> slope_of_y(V y) const { return {hn::Add(y, y)}; }
};

struct Square {
  static constexpr std::string_view name = "square";
  V value(V x) const { return hn::Mul(x, x); }
  V slope_of_x(V x) const { return hn::Add(x, x); }
};

// The slope is the sign: 0 at zeros, and for a NaN too, as PyTorch has it.
struct Abs {
  static constexpr std::string_view name = "abs";
  V value(V x) const { return hn::Abs(x); }
  V slope_of_x(V x) const {
    return hn::IfThenElse(hn::Gt(x, set(0)), set(1), hn::IfThenElseZero(hn::Lt(x, set(0)), set(-1)));
  }
};

struct Neg {
  static constexpr std::string_view name = "neg";
  V value(V x) const { return hn::Neg(x); }
  V slope() const { return set(-1); }
};

struct Reciprocal {
  static constexpr std::string_view name = "reciprocal";
  static constexpr bool positive = true;
  V value(V x) const { return hn::Div(set(1), x); }
  V slope_of_y(V y) const { return hn::Neg(hn::Mul(y, y)); }
};

// scale x + shift. No shift is -0, which leaves the product's sign alone where that is zero.
struct Affine {
  static constexpr std::string_view name = "affine";
  static constexpr std::string_view attributes[] = {"scale", "shift"};
  static constexpr FormulaAttributes variants[] = {{2.5f, -0.75f}, {1, 3}, {-2, 0}};
  static constexpr double flops = 2;
  float scale;
  float shift;
  V value(V x) const { return hn::Add(hn::Mul(x, set(scale)), set(shift == 0 ? -0.0f : shift)); }
  V slope() const { return set(scale); }
};

struct DivByNumber {
  static constexpr std::string_view name = "div_by_number";
  static constexpr std::string_view attributes[] = {"divisor"};
  static constexpr FormulaAttributes variants[] = {{3}, {-0.7f}};
  float divisor;
  V value(V x) const { return hn::Div(x, set(divisor)); }
  Over<V> slope() const { return {set(divisor)}; }
};

struct DivOfNumber {
  static constexpr std::string_view name = "div_of_number";
  static constexpr std::string_view attributes[] = {"dividend"};
  static constexpr FormulaAttributes variants[] = {{3}, {-0.7f}};
  static constexpr bool positive = true;
  float dividend;
  V value(V x) const { return hn::Div(set(dividend), x); }
  V slope_of_x(V x) const { return hn::Neg(hn::Div(hn::Div(set(dividend), x), x)); }
};

using Functions = UnaryFormulas<Exp, Log, Sqrt, Square, Abs, Neg, Reciprocal, Affine, DivByNumber, DivOfNumber>;
const UnaryKernels* function_kernels() { return Functions::kernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(function_kernels);
constexpr UnaryOps<HWY_NAMESPACE::Functions> kFunctions([] { return HWY_DYNAMIC_DISPATCH(function_kernels)(); });

std::vector<OpEntry> function_ops() { return kFunctions.entries(); }

}  // namespace ops

namespace formulas = ops::HWY_NAMESPACE;
using ops::kFunctions;

Tensor exp(const Tensor& x, SourceLocation where) { return kFunctions.apply(formulas::Exp(), x, where); }
Tensor log(const Tensor& x, SourceLocation where) { return kFunctions.apply(formulas::Log(), x, where); }
Tensor sqrt(const Tensor& x, SourceLocation where) { return kFunctions.apply(formulas::Sqrt(), x, where); }
Tensor square(const Tensor& x, SourceLocation where) { return kFunctions.apply(formulas::Square(), x, where); }
Tensor abs(const Tensor& x, SourceLocation where) { return kFunctions.apply(formulas::Abs(), x, where); }
Tensor neg(const Tensor& x, SourceLocation where) { return kFunctions.apply(formulas::Neg(), x, where); }
Tensor reciprocal(const Tensor& x, SourceLocation where) { return kFunctions.apply(formulas::Reciprocal(), x, where); }

Tensor affine(const Tensor& x, float scale, float shift, SourceLocation where) {
  return kFunctions.apply(formulas::Affine{scale, shift}, x, where);
}
Tensor div(const Tensor& x, float divisor, SourceLocation where) {
  return kFunctions.apply(formulas::DivByNumber{divisor}, x, where);
}
Tensor div(float dividend, const Tensor& x, SourceLocation where) {
  return kFunctions.apply(formulas::DivOfNumber{dividend}, x, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
