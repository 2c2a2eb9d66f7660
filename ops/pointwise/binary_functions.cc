// Functions of two operands with broadcasting.
#include "tidemark/ops/pointwise.h"
#include "tidemark/ops/shapes.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/binary_functions.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                                 // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/defined.h"
#include "ops/pointwise/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// The gradients of equal operands are halves. Where one is a NaN both have the whole, as no comparison holds.
struct Maximum {
  static constexpr std::string_view name = "maximum";
  template <class Vector>
  Vector value(Vector a, Vector b) const {
    return hn::IfThenElse(hn::Or(hn::Ge(a, b), hn::IsNaN(a)), a, b);
  }
  template <class Vector>
  Within<Vector> slope_a(Vector a, Vector b) const {
    const hn::DFromV<Vector> d;
    return {hn::Not(hn::Lt(a, b)), hn::IfThenElse(hn::Eq(a, b), hn::Set(d, 0.5f), hn::Set(d, 1.0f))};
  }
  template <class Vector>
  Within<Vector> slope_b(Vector a, Vector b) const {
    return slope_a(b, a);
  }
};

struct Minimum {
  static constexpr std::string_view name = "minimum";
  template <class Vector>
  Vector value(Vector a, Vector b) const {
    return hn::IfThenElse(hn::Or(hn::Le(a, b), hn::IsNaN(a)), a, b);
  }
  template <class Vector>
  Within<Vector> slope_a(Vector a, Vector b) const {
    return Maximum().slope_b(a, b);
  }
  template <class Vector>
  Within<Vector> slope_b(Vector a, Vector b) const {
    return Maximum().slope_a(a, b);
  }
};

// x, and the weight of what is not above zero.
struct Prelu {
  static constexpr std::string_view name = "prelu";
  template <class Vector>
  Vector value(Vector x, Vector weight) const {
    return hn::IfThenElse(hn::Gt(x, hn::Zero(hn::DFromV<Vector>())), x, hn::Mul(x, weight));
  }
  template <class Vector>
  Vector slope_a(Vector x, Vector weight) const {
    const hn::DFromV<Vector> d;
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Set(d, 1.0f), weight);
  }
  template <class Vector>
  Within<Vector> slope_b(Vector x) const {
    return {hn::Not(hn::Gt(x, hn::Zero(hn::DFromV<Vector>()))), x};
  }
};

template <class Vector>
HWY_NOINLINE Vector power_of(Vector a, Vector b) {
  return pow(hn::DFromV<Vector>(), a, b);
}
template <class Vector>
HWY_NOINLINE Vector natural_log(Vector a) {
  return log(hn::DFromV<Vector>(), a);
}

struct Pow {
  static constexpr std::string_view name = "pow";
  static constexpr bool positive = true;
  template <class Vector>
  Vector value(Vector a, Vector b) const {
    return power_of(a, b);
  }
  // Where there is no exponent there is no slope, not even at zero.
  template <class Vector>
  Within<Vector> slope_a(Vector a, Vector b) const {
    const hn::DFromV<Vector> d;
    return {hn::Not(hn::Eq(b, hn::Zero(d))), hn::Mul(b, power_of(a, hn::Sub(b, hn::Set(d, 1.0f))))};
  }
  // The powers of zero are 0 and 1, and do not change, but for negative exponents.
  template <class Vector>
  Within<Vector> slope_b(Vector a, Vector b) const {
    const auto zero = hn::Zero(hn::DFromV<Vector>());
    return {hn::Not(hn::And(hn::Eq(a, zero), hn::Ge(b, zero))), hn::Mul(power_of(a, b), natural_log(a))};
  }
};

using BinaryFunctions = BinaryFormulas<Maximum, Minimum, Prelu, Pow>;
const BinaryKernels* binary_function_kernels() { return BinaryFunctions::kernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(binary_function_kernels);
constexpr BinaryOps<HWY_NAMESPACE::BinaryFunctions> kBinaryFunctions([] {
  return HWY_DYNAMIC_DISPATCH(binary_function_kernels)();
});

std::vector<OpEntry> binary_function_ops() { return kBinaryFunctions.entries(); }

}  // namespace ops

namespace formulas = ops::HWY_NAMESPACE;
using ops::kBinaryFunctions;

Tensor maximum(const Tensor& a, const Tensor& b, SourceLocation where) {
  return kBinaryFunctions.apply(formulas::Maximum(), a, b, where);
}
Tensor minimum(const Tensor& a, const Tensor& b, SourceLocation where) {
  return kBinaryFunctions.apply(formulas::Minimum(), a, b, where);
}
Tensor pow(const Tensor& base, const Tensor& exponent, SourceLocation where) {
  return kBinaryFunctions.apply(formulas::Pow(), base, exponent, where);
}

Tensor prelu(const Tensor& x, const Tensor& weight, SourceLocation where) {
  ops::require_defined("prelu", {&x, &weight}, where);
  const Shape& shape = x.shape(where);
  const Shape& own = weight.shape(where);
  const std::int64_t channels = shape.rank() > 1 ? shape[1] : 1;
  if (own.rank() > 1 || (own.numel() != 1 && own.numel() != channels)) {
    throw ShapeError("[prelu] x is " + shape.to_string() + ", weight is " + own.to_string() +
                     "; weight must have one element, or one for each of x's " + std::to_string(channels) +
                     " channels (at " + to_string(where) + ")");
  }
  if (shape.rank() > 0 && (own.numel() == 1 || shape.rank() == 2)) {
    return kBinaryFunctions.apply(formulas::Prelu(), x, weight, where);
  }
  // Channels are the second dimension: ones for those behind it.
  std::vector<std::int64_t> dims(static_cast<std::size_t>(std::max(0, shape.rank() - 1)), 1);
  if (!dims.empty()) dims[0] = channels;
  return kBinaryFunctions.apply(formulas::Prelu(), x, reshape(weight, Shape(dims), where), where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
