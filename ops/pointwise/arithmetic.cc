// Arithmetic of two operands with broadcasting, and the operators.
#include "tidemark/ops/pointwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/arithmetic.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                           // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/pointwise/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

struct Add {
  static constexpr std::string_view name = "add";
  static constexpr float slope_a = 1;
  static constexpr float slope_b = 1;
  template <class Vector>
  Vector value(Vector a, Vector b) const {
    return hn::Add(a, b);
  }
};

struct Sub {
  static constexpr std::string_view name = "sub";
  static constexpr float slope_a = 1;
  static constexpr float slope_b = -1;
  template <class Vector>
  Vector value(Vector a, Vector b) const {
    return hn::Sub(a, b);
  }
};

struct Mul {
  static constexpr std::string_view name = "mul";
  template <class Vector>
  Vector value(Vector a, Vector b) const {
    return hn::Mul(a, b);
  }
  template <class Vector>
  Vector slope_a(Vector b) const {
    return b;
  }
  template <class Vector>
  Vector slope_b(Vector a) const {
    return a;
  }
};

struct Div {
  static constexpr std::string_view name = "div";
  static constexpr bool positive = true;
  template <class Vector>
  Vector value(Vector a, Vector b) const {
    return hn::Div(a, b);
  }
  template <class Vector>
  Over<Vector> slope_a(Vector b) const {
    return {b};
  }
  template <class Vector>
  Vector slope_b(Vector a, Vector b) const {
    return hn::Neg(hn::Div(hn::Div(a, b), b));
  }
};

using Arithmetic = BinaryFormulas<Add, Sub, Mul, Div>;
const BinaryKernels* arithmetic_kernels() { return Arithmetic::kernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(arithmetic_kernels);
constexpr BinaryOps<HWY_NAMESPACE::Arithmetic> kArithmetic([] { return HWY_DYNAMIC_DISPATCH(arithmetic_kernels)(); });

std::vector<OpEntry> arithmetic_ops() { return kArithmetic.entries(); }
const BinaryKernels& add_kernels() { return kArithmetic.kernels<HWY_NAMESPACE::Add>(); }
const BinaryKernels& mul_kernels() { return kArithmetic.kernels<HWY_NAMESPACE::Mul>(); }

namespace {

// The operand as a tensor. `operation`: "+"; `side`: "left".
const Tensor& tensor_of(const Operand& operand, const char* operation, const char* side) {
  if (operand.is_number()) {
    throw Error(std::string("[") + operation + "] no operand is a tensor (at " + to_string(operand.where()) + ")");
  }
  if (!operand.tensor().defined()) {
    throw Error(std::string("[") + operation + "] the " + side + " operand is an undefined tensor (at " +
                to_string(operand.where()) + ")");
  }
  return operand.tensor();
}

}  // namespace
}  // namespace ops

namespace formulas = ops::HWY_NAMESPACE;
using ops::kArithmetic;
using ops::tensor_of;

Tensor add(const Tensor& a, const Tensor& b, SourceLocation where) {
  return kArithmetic.apply(formulas::Add(), a, b, where);
}
Tensor sub(const Tensor& a, const Tensor& b, SourceLocation where) {
  return kArithmetic.apply(formulas::Sub(), a, b, where);
}
Tensor mul(const Tensor& a, const Tensor& b, SourceLocation where) {
  return kArithmetic.apply(formulas::Mul(), a, b, where);
}
Tensor div(const Tensor& a, const Tensor& b, SourceLocation where) {
  return kArithmetic.apply(formulas::Div(), a, b, where);
}

Tensor operator+(const Operand& a, const Operand& b) {
  if (b.is_number()) return affine(tensor_of(a, "+", "left"), 1, b.number(), a.where());
  const Tensor& right = tensor_of(b, "+", "right");
  if (a.is_number()) return affine(right, 1, a.number(), b.where());
  return add(tensor_of(a, "+", "left"), right, a.where());
}

Tensor operator-(const Operand& a, const Operand& b) {
  if (b.is_number()) return affine(tensor_of(a, "-", "left"), 1, -b.number(), a.where());
  const Tensor& right = tensor_of(b, "-", "right");
  if (a.is_number()) return affine(right, -1, a.number(), b.where());
  return sub(tensor_of(a, "-", "left"), right, a.where());
}

Tensor operator*(const Operand& a, const Operand& b) {
  if (b.is_number()) return affine(tensor_of(a, "*", "left"), b.number(), 0, a.where());
  const Tensor& right = tensor_of(b, "*", "right");
  if (a.is_number()) return affine(right, a.number(), 0, b.where());
  return mul(tensor_of(a, "*", "left"), right, a.where());
}

Tensor operator/(const Operand& a, const Operand& b) {
  if (b.is_number()) return div(tensor_of(a, "/", "left"), b.number(), a.where());
  const Tensor& right = tensor_of(b, "/", "right");
  if (a.is_number()) return div(a.number(), right, b.where());
  return div(tensor_of(a, "/", "left"), right, a.where());
}

Tensor operator-(const Operand& a) { return neg(tensor_of(a, "-", "only"), a.where()); }

Tensor& operator+=(Tensor& a, const Operand& b) { return a = Operand(a, b.where()) + b; }
Tensor& operator-=(Tensor& a, const Operand& b) { return a = Operand(a, b.where()) - b; }
Tensor& operator*=(Tensor& a, const Operand& b) { return a = Operand(a, b.where()) * b; }
Tensor& operator/=(Tensor& a, const Operand& b) { return a = Operand(a, b.where()) / b; }

}  // namespace tidemark
#endif  // HWY_ONCE
