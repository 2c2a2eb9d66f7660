// Activation functions made of straight lines and parabolas.
#include "tidemark/ops/pointwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/piecewise.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                          // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/pointwise/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

struct Relu6 {
  static constexpr std::string_view name = "relu6";
  V value(V x) const { return clamp(Wide(), 0, 6, x); }
  M slope_of_x(V x) const { return hn::Not(hn::Or(hn::Le(x, set(0)), hn::Ge(x, set(6)))); }
};

// The gradient is zero at the bounds and passes a NaN.
struct Hardtanh {
  static constexpr std::string_view name = "hardtanh";
  static constexpr std::string_view attributes[] = {"min", "max"};
  static constexpr FormulaAttributes variants[] = {{-1, 1}, {-0.5f, 2}, {0.25f, 0.75f}};
  float min;
  float max;
  V value(V x) const { return clamp(Wide(), min, max, x); }
  M slope_of_x(V x) const { return hn::Not(hn::Or(hn::Le(x, set(min)), hn::Ge(x, set(max)))); }
};

// The gradient passes at the bounds and is zero at a NaN. Where min is above max, the value is max.
struct Clamp {
  static constexpr std::string_view name = "clamp";
  static constexpr std::string_view attributes[] = {"min", "max"};
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();
  static constexpr FormulaAttributes variants[] = {{-1, 1}, {-kInfinity, 0.5f}, {0.5f, kInfinity}};
  float min;
  float max;
  V value(V x) const { return at_most(Wide(), max, at_least(Wide(), min, x)); }
  M slope_of_x(V x) const { return hn::And(hn::Ge(x, set(min)), hn::Le(x, set(max))); }
};

// x times a gate from 0 to 1. Far below zero x counts as finite, as for silu.
struct Hardswish {
  static constexpr std::string_view name = "hardswish";
  static constexpr double flops = 6;
  static constexpr double slope_flops = 6;
  V value(V x) const {
    const V gate = hn::Mul(clamp(Wide(), 0, 6, hn::Add(x, set(3))), set(1.0f / 6));
    return hn::Mul(at_least(Wide(), -64, x), gate);
  }
  Within<V> slope_of_x(V x) const {
    const V middle = hn::MulAdd(x, set(1.0f / 3), set(0.5f));
    return {hn::Not(hn::Lt(x, set(-3))), hn::IfThenElse(hn::Le(x, set(3)), middle, set(1))};
  }
};

struct Hardsigmoid {
  static constexpr std::string_view name = "hardsigmoid";
  static constexpr double flops = 4;
  static constexpr double slope_flops = 4;
  V value(V x) const { return hn::Mul(clamp(Wide(), 0, 6, hn::Add(x, set(3))), set(1.0f / 6)); }
  Within<V> slope_of_x(V x) const { return {hn::And(hn::Gt(x, set(-3)), hn::Lt(x, set(3))), set(1.0f / 6)}; }
};

// x / (1 + |x|), and its limits at the infinities.
struct Softsign {
  static constexpr std::string_view name = "softsign";
  static constexpr double flops = 4;
  static constexpr double slope_flops = 4;
  V value(V x) const {
    const V y = hn::Div(x, hn::Add(set(1), hn::Abs(x)));
    return hn::IfThenElse(hn::IsInf(x), hn::CopySign(set(1), x), y);
  }
  V slope_of_x(V x) const {
    const V root = hn::Div(set(1), hn::Add(set(1), hn::Abs(x)));
    return hn::Mul(root, root);
  }
};

using Piecewise = UnaryFormulas<Relu6, Hardtanh, Clamp, Hardswish, Hardsigmoid, Softsign>;
const UnaryKernels* piecewise_kernels() { return Piecewise::kernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(piecewise_kernels);
constexpr UnaryOps<HWY_NAMESPACE::Piecewise> kPiecewise([] { return HWY_DYNAMIC_DISPATCH(piecewise_kernels)(); });

std::vector<OpEntry> piecewise_ops() { return kPiecewise.entries(); }

}  // namespace ops

namespace formulas = ops::HWY_NAMESPACE;
using ops::kPiecewise;

Tensor relu6(const Tensor& x, SourceLocation where) { return kPiecewise.apply(formulas::Relu6(), x, where); }
Tensor hardswish(const Tensor& x, SourceLocation where) { return kPiecewise.apply(formulas::Hardswish(), x, where); }
Tensor hardsigmoid(const Tensor& x, SourceLocation where) {
  return kPiecewise.apply(formulas::Hardsigmoid(), x, where);
}
Tensor softsign(const Tensor& x, SourceLocation where) { return kPiecewise.apply(formulas::Softsign(), x, where); }

Tensor hardtanh(const Tensor& x, const HardtanhOptions& options, SourceLocation where) {
  const auto [min, max] = options;
  if (!(min < max)) {
    throw Error("[hardtanh] .min is " + std::to_string(min) + ", .max is " + std::to_string(max) +
                "; .min must be below .max (at " + to_string(where) + ")");
  }
  return kPiecewise.apply(formulas::Hardtanh{min, max}, x, where);
}

Tensor clamp(const Tensor& x, const ClampOptions& options, SourceLocation where) {
  if (!options.min && !options.max) {
    throw Error("[clamp] neither .min nor .max is given; at least one must be (at " + to_string(where) + ")");
  }
  const float infinity = std::numeric_limits<float>::infinity();
  const float min = options.min.value_or(-infinity);
  const float max = options.max.value_or(infinity);
  if (std::isnan(min) || std::isnan(max)) {
    throw Error("[clamp] .min is " + std::to_string(min) + ", .max is " + std::to_string(max) +
                "; they must be numbers (at " + to_string(where) + ")");
  }
  return kPiecewise.apply(formulas::Clamp{min, max}, x, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
