// Smooth activation functions that lead over exponentials.
#include "tidemark/ops/pointwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/smooth_activation.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                                  // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/pointwise/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// ln(1 + e^x), which overflows nowhere.
HWY_NOINLINE V log_of_one_plus_exp(V x) {
  const V tail = log1p(Wide(), exp(Wide(), hn::Neg(hn::Abs(x))));
  return hn::Add(hn::IfThenZeroElse(hn::Lt(x, set(0)), x), tail);
}

struct LogSigmoid {
  static constexpr std::string_view name = "log_sigmoid";
  static constexpr double flops = 60;
  static constexpr double slope_flops = 25;
  V value(V x) const { return hn::Neg(log_of_one_plus_exp(hn::Neg(x))); }
  V slope_of_x(V x) const { return sigmoid(Wide(), hn::Neg(x)); }
};

struct Softplus {
  static constexpr std::string_view name = "softplus";
  static constexpr std::string_view attributes[] = {"beta", "threshold"};
  static constexpr FormulaAttributes variants[] = {{1, 20}, {2.5f, 20}, {0.5f, 1}};
  static constexpr double flops = 60;
  static constexpr double slope_flops = 25;
  float beta;
  float threshold;
  V value(V x) const {
    const V scaled = hn::Mul(x, set(beta));
    return hn::IfThenElse(hn::Gt(scaled, set(threshold)), x, hn::Div(log_of_one_plus_exp(scaled), set(beta)));
  }
  V slope_of_x(V x) const {
    const V scaled = hn::Mul(x, set(beta));
    return hn::IfThenElse(hn::Gt(scaled, set(threshold)), set(1), sigmoid(Wide(), scaled));
  }
};

// x tanh(ln(1 + e^x)). With e = e^-|x| the gate is a fraction of polynomials of e. Far from zero x counts as finite, as
// for silu.
struct Mish {
  static constexpr std::string_view name = "mish";
  static constexpr double flops = 35;
  static constexpr double slope_flops = 45;
  struct Gate {
    V value;
    V slope;
  };
  static Gate gate(V near) {
    const V one = set(1);
    const V two = set(2);
    const M below = hn::Lt(near, set(0));
    const V e = exp(Wide(), hn::Neg(hn::Abs(near)));
    const V square = hn::Mul(e, e);
    // Above zero (1 + 2e) / (1 + 2e + 2e^2), below it (2e + e^2) / (2 + 2e + e^2).
    const V top = hn::IfThenElse(below, hn::MulAdd(two, e, square), hn::MulAdd(two, e, one));
    const V rest = hn::IfThenElse(below, two, hn::Mul(two, square));  // the denominator is top + rest
    const V scale = hn::Div(one, hn::Add(top, rest));
    const V value = hn::Mul(top, scale);
    // (1 - t^2) sigmoid(x), with 1 - t = rest scale.
    const V gap = hn::Mul(hn::Mul(rest, scale), hn::Add(one, value));
    const V sigmoid = hn::Div(hn::IfThenElse(below, e, one), hn::Add(one, e));
    return {value, hn::Mul(gap, sigmoid)};
  }
  V value(V x) const { return hn::Mul(at_least(Wide(), -200, x), gate(clamp(Wide(), -200, 200, x)).value); }
  V slope_of_x(V x) const {
    const V near = clamp(Wide(), -200, 200, x);
    const Gate g = gate(near);
    return hn::MulAdd(near, g.slope, g.value);
  }
};

// Above zero `above` x, elsewhere `below` (e^(x / width) - 1). A NaN counts as above zero, as in PyTorch's scalar code.
HWY_NOINLINE V exponential_unit(V x, float above, float below, float width) {
  const V y = hn::Mul(set(below), expm1(Wide(), hn::Div(x, set(width))));
  return hn::IfThenElse(hn::Le(x, set(0)), y, hn::Mul(set(above), x));
}
HWY_NOINLINE V slope_of_exponential_unit(V x, float above, float below, float width) {
  const V slope = hn::Mul(set(below / width), exp(Wide(), hn::Div(x, set(width))));
  return hn::IfThenElse(hn::Le(x, set(0)), slope, set(above));
}

struct Elu {
  static constexpr std::string_view name = "elu";
  static constexpr std::string_view attributes[] = {"alpha"};
  static constexpr FormulaAttributes variants[] = {{1}, {0.3f}, {-0.5f}};
  static constexpr double flops = 40;
  static constexpr double slope_flops = 25;
  float alpha;
  V value(V x) const { return exponential_unit(x, 1, alpha, 1); }
  V slope_of_x(V x) const { return slope_of_exponential_unit(x, 1, alpha, 1); }
};

struct Selu {
  static constexpr std::string_view name = "selu";
  static constexpr double flops = 40;
  static constexpr double slope_flops = 25;
  static constexpr double kAlpha = 1.6732632423543772;
  static constexpr double kScale = 1.0507009873554805;
  static constexpr auto kAbove = static_cast<float>(kScale);
  static constexpr auto kBelow = static_cast<float>(kScale * kAlpha);
  V value(V x) const { return exponential_unit(x, kAbove, kBelow, 1); }
  V slope_of_x(V x) const { return slope_of_exponential_unit(x, kAbove, kBelow, 1); }
};

struct Celu {
  static constexpr std::string_view name = "celu";
  static constexpr std::string_view attributes[] = {"alpha"};
  static constexpr FormulaAttributes variants[] = {{1}, {0.3f}, {2}};
  static constexpr double flops = 40;
  static constexpr double slope_flops = 25;
  float alpha;
  V value(V x) const { return exponential_unit(x, 1, alpha, alpha); }
  V slope_of_x(V x) const { return slope_of_exponential_unit(x, 1, alpha, alpha); }
};

using SmoothActivations = UnaryFormulas<LogSigmoid, Softplus, Mish, Elu, Selu, Celu>;
const UnaryKernels* smooth_activation_kernels() { return SmoothActivations::kernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(smooth_activation_kernels);
constexpr UnaryOps<HWY_NAMESPACE::SmoothActivations> kSmoothActivations([] {
  return HWY_DYNAMIC_DISPATCH(smooth_activation_kernels)();
});

std::vector<OpEntry> smooth_activation_ops() { return kSmoothActivations.entries(); }

}  // namespace ops

namespace formulas = ops::HWY_NAMESPACE;
using ops::kSmoothActivations;

Tensor log_sigmoid(const Tensor& x, SourceLocation where) {
  return kSmoothActivations.apply(formulas::LogSigmoid(), x, where);
}
Tensor mish(const Tensor& x, SourceLocation where) { return kSmoothActivations.apply(formulas::Mish(), x, where); }
Tensor selu(const Tensor& x, SourceLocation where) { return kSmoothActivations.apply(formulas::Selu(), x, where); }

Tensor softplus(const Tensor& x, const SoftplusOptions& options, SourceLocation where) {
  const auto [beta, threshold] = options;
  if (!std::isfinite(beta) || beta == 0 || std::isnan(threshold)) {
    throw Error("[softplus] .beta is " + std::to_string(beta) + ", .threshold is " + std::to_string(threshold) +
                "; .beta must be finite and not 0, .threshold a number (at " + to_string(where) + ")");
  }
  return kSmoothActivations.apply(formulas::Softplus{beta, threshold}, x, where);
}

Tensor elu(const Tensor& x, float alpha, SourceLocation where) {
  if (!std::isfinite(alpha)) {
    throw Error("[elu] alpha is " + std::to_string(alpha) + "; it must be finite (at " + to_string(where) + ")");
  }
  return kSmoothActivations.apply(formulas::Elu{alpha}, x, where);
}

Tensor celu(const Tensor& x, float alpha, SourceLocation where) {
  if (!std::isfinite(alpha) || alpha == 0) {
    throw Error("[celu] alpha is " + std::to_string(alpha) + "; it must be finite and not 0 (at " + to_string(where) +
                ")");
  }
  return kSmoothActivations.apply(formulas::Celu{alpha}, x, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
