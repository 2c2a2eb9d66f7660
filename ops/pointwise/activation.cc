// Activation functions.
#include "tidemark/ops/pointwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/activation.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                           // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/pointwise/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Comparisons are false for a NaN, so that it passes through both ways and is seen.
struct Relu {
  static constexpr std::string_view name = "relu";
  V value(V x) const { return hn::IfThenZeroElse(hn::Lt(x, set(0)), x); }
  M slope_of_y(V y) const { return hn::Not(hn::Le(y, set(0))); }
};

// The slope is not negative, so that y has the sign of x.
struct LeakyRelu {
  static constexpr std::string_view name = "leaky_relu";
  static constexpr std::string_view attributes[] = {"slope"};
  static constexpr FormulaAttributes variants[] = {{0.01f}, {0.3f}, {0}};
  float slope;
  V value(V x) const { return hn::IfThenElse(hn::Gt(x, set(0)), x, hn::Mul(x, set(slope))); }
  V slope_of_y(V y) const { return hn::IfThenElse(hn::Gt(y, set(0)), set(1), set(slope)); }
};

struct Sigmoid {
  static constexpr std::string_view name = "sigmoid";
  static constexpr double flops = 25;
  V value(V x) const { return sigmoid(Wide(), x); }
  V slope_of_y(V y) const { return hn::Mul(y, hn::Sub(set(1), y)); }
};

struct Tanh {
  static constexpr std::string_view name = "tanh";
  static constexpr double flops = 35;
  V value(V x) const { return tanh(Wide(), x); }
  V slope_of_y(V y) const { return hn::NegMulAdd(y, y, set(1)); }
};

struct Silu {
  static constexpr std::string_view name = "silu";
  static constexpr double flops = 25;
  static constexpr double slope_flops = 30;
  V value(V x) const { return silu(Wide(), x); }
  V slope_of_x(V x) const { return silu_slope(Wide(), x); }
};

// x Phi(x), where Phi is the normal distribution. Far from zero x counts as finite, as for silu.
struct Gelu {
  static constexpr std::string_view name = "gelu";
  static constexpr double flops = 35;
  static constexpr double slope_flops = 40;
  V value(V x) const { return hn::Mul(at_least(Wide(), -64, x), normal(Wide(), x).cumulative); }
  V slope_of_x(V x) const {
    const V density = set(0.3989422804014327f);  // 1 / sqrt(2 pi)
    const auto phi = normal(Wide(), x);
    return hn::MulAdd(hn::Mul(clamp(Wide(), -64, 64, x), density), phi.bell, phi.cumulative);
  }
};

// x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3). The gate is 1 / (1 + e^(-2u)), which cancels nowhere.
struct GeluTanh {
  static constexpr std::string_view name = "gelu_tanh";
  static constexpr double flops = 35;
  static constexpr double slope_flops = 40;
  static constexpr float kScale = 1.5957691216057308f;  // 2 sqrt(2 / pi)
  static constexpr float kCubic = 0.044715f;

  static V gate(V x) {
    const V twice_u = hn::Mul(hn::Mul(set(kScale), x), hn::MulAdd(set(kCubic), hn::Mul(x, x), set(1)));
    return hn::Div(set(1), hn::Add(set(1), exp(Wide(), hn::Neg(twice_u))));
  }
  V value(V x) const { return hn::Mul(at_least(Wide(), -64, x), gate(x)); }
  V slope_of_x(V x) const {
    const V near = clamp(Wide(), -64, 64, x);
    const V g = gate(near);
    const V twice_du = hn::MulAdd(set(3 * kCubic * kScale), hn::Mul(near, near), set(kScale));
    return hn::Add(g, hn::Mul(hn::Mul(near, twice_du), hn::Mul(g, hn::Sub(set(1), g))));
  }
};

using Activations = UnaryFormulas<Relu, LeakyRelu, Sigmoid, Tanh, Silu, Gelu, GeluTanh>;
const UnaryKernels* activation_kernels() { return Activations::kernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(activation_kernels);
constexpr UnaryOps<HWY_NAMESPACE::Activations> kActivations([] { return HWY_DYNAMIC_DISPATCH(activation_kernels)(); });

std::vector<OpEntry> activation_ops() { return kActivations.entries(); }

}  // namespace ops

namespace formulas = ops::HWY_NAMESPACE;
using ops::kActivations;

Tensor relu(const Tensor& x, SourceLocation where) { return kActivations.apply(formulas::Relu(), x, where); }
Tensor sigmoid(const Tensor& x, SourceLocation where) { return kActivations.apply(formulas::Sigmoid(), x, where); }
Tensor tanh(const Tensor& x, SourceLocation where) { return kActivations.apply(formulas::Tanh(), x, where); }
Tensor silu(const Tensor& x, SourceLocation where) { return kActivations.apply(formulas::Silu(), x, where); }

Tensor gelu(const Tensor& x, const GeluOptions& options, SourceLocation where) {
  if (options.approximate) return kActivations.apply(formulas::GeluTanh(), x, where);
  return kActivations.apply(formulas::Gelu(), x, where);
}

Tensor leaky_relu(const Tensor& x, float slope, SourceLocation where) {
  if (!(slope >= 0) || std::isinf(slope)) {
    throw Error("[leaky_relu] the slope is " + std::to_string(slope) + "; it must be finite, and at least 0 (at " +
                to_string(where) + ")");
  }
  return kActivations.apply(formulas::LeakyRelu{slope}, x, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
