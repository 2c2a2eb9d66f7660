// Losses of a distance between numbers, and of distributions whose mean is predicted.
#include "tidemark/ops/losses.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/losses/regression.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                        // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/losses/formula-inl.h"
#include "ops/losses/options.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

struct Mse {
  static constexpr std::string_view name = "mse_loss";
  static constexpr std::string_view operands[] = {"a", "b"};
  static constexpr unsigned slope_reads[] = {0b11, 0b11};
  static constexpr double flops = 3;
  V value(V a, V b) const {
    const V off = hn::Sub(a, b);
    return hn::Mul(off, off);
  }
  V slope_0(V a, V b) const { return hn::Mul(set(2), hn::Sub(a, b)); }
  V slope_1(V a, V b) const { return slope_0(b, a); }
};

struct L1 {
  static constexpr std::string_view name = "l1_loss";
  static constexpr std::string_view operands[] = {"a", "b"};
  static constexpr unsigned slope_reads[] = {0b11, 0b11};
  static constexpr double flops = 3;
  V value(V a, V b) const { return hn::Abs(hn::Sub(a, b)); }
  V slope_0(V a, V b) const { return sign(hn::Sub(a, b)); }
  V slope_1(V a, V b) const { return slope_0(b, a); }
};

struct SmoothL1 {
  static constexpr std::string_view name = "smooth_l1_loss";
  static constexpr std::string_view operands[] = {"a", "b"};
  static constexpr std::string_view numbers[] = {"beta"};
  static constexpr LossNumbers variants[] = {{1}, {0.25f}, {0}};
  static constexpr unsigned slope_reads[] = {0b11, 0b11};
  static constexpr double flops = 8;
  float beta;
  V value(V a, V b) const {
    const V off = hn::Abs(hn::Sub(a, b));
    const V far = hn::Sub(off, set(0.5f * beta));
    return hn::IfThenElse(hn::Lt(off, set(beta)), hn::Div(hn::Mul(set(0.5f), hn::Mul(off, off)), set(beta)), far);
  }
  V slope_0(V a, V b) const {
    const V off = hn::Sub(a, b);
    return hn::IfThenElse(hn::Ge(hn::Abs(off), set(beta)), sign(off), hn::Div(off, set(beta)));
  }
  V slope_1(V a, V b) const { return slope_0(b, a); }
};

struct Huber {
  static constexpr std::string_view name = "huber_loss";
  static constexpr std::string_view operands[] = {"a", "b"};
  static constexpr std::string_view numbers[] = {"delta"};
  static constexpr LossNumbers variants[] = {{1}, {0.25f}};
  static constexpr unsigned slope_reads[] = {0b11, 0b11};
  static constexpr double flops = 8;
  float delta;
  V value(V a, V b) const {
    const V off = hn::Abs(hn::Sub(a, b));
    const V far = hn::Mul(set(delta), hn::Sub(off, set(0.5f * delta)));
    return hn::IfThenElse(hn::Lt(off, set(delta)), hn::Mul(set(0.5f), hn::Mul(off, off)), far);
  }
  V slope_0(V a, V b) const { return clamp(Wide(), -delta, delta, hn::Sub(a, b)); }
  V slope_1(V a, V b) const { return slope_0(b, a); }
};

struct PoissonNll {
  static constexpr std::string_view name = "poisson_nll_loss";
  static constexpr std::string_view operands[] = {"x", "target"};
  static constexpr std::string_view numbers[] = {"log_input", "full", "eps"};
  static constexpr LossNumbers variants[] = {{1, 0, 1e-8f}, {0, 1, 1e-3f}, {1, 1, 1e-8f}};
  static constexpr SampleInput::Fill fills[] = {SampleInput::Fill::kPositive, SampleInput::Fill::kPositive};
  static constexpr unsigned slope_reads[] = {0b11, 0b11};
  static constexpr double flops = 50;
  float log_input;
  float full;
  float eps;
  V value(V x, V t) const {
    const V loss =
        log_input != 0 ? hn::NegMulAdd(t, x, exp(Wide(), x)) : hn::NegMulAdd(t, log(Wide(), hn::Add(x, set(eps))), x);
    if (full == 0) return loss;
    // t log t - t + log(2 pi t) / 2.
    const V log_t = log(Wide(), t);
    const V stirling = hn::Add(hn::MulSub(t, log_t, t), hn::MulAdd(set(0.5f), log_t, set(0.918938533f)));
    return hn::Add(loss, hn::IfThenZeroElse(hn::Le(t, set(1)), stirling));
  }
  V slope_0(V x, V t) const {
    return log_input != 0 ? hn::Sub(exp(Wide(), x), t) : hn::Sub(set(1), hn::Div(t, hn::Add(x, set(eps))));
  }
  V slope_1(V x, V t) const {
    const V slope = hn::Neg(log_input != 0 ? x : log(Wide(), hn::Add(x, set(eps))));
    if (full == 0) return slope;
    const V stirling = hn::Add(log(Wide(), t), hn::Div(set(0.5f), t));
    return hn::Add(slope, hn::IfThenZeroElse(hn::Le(t, set(1)), stirling));
  }
};

struct GaussianNll {
  static constexpr std::string_view name = "gaussian_nll_loss";
  static constexpr std::string_view operands[] = {"x", "target", "variance"};
  static constexpr std::string_view numbers[] = {"eps", "constant"};
  static constexpr LossNumbers variants[] = {{1e-6f, 0}, {1e-3f, 0.918938533f}};
  static constexpr SampleInput::Fill fills[] = {SampleInput::Fill::kNormal, SampleInput::Fill::kNormal,
                                                SampleInput::Fill::kPositive};
  static constexpr LossRange range = {.operand = 2};
  static constexpr unsigned slope_reads[] = {0b111, 0b111, 0b111};
  static constexpr double flops = 30;
  float eps;
  float constant;
  V value(V x, V t, V variance) const {
    const V v = at_least(Wide(), eps, variance);
    const V off = hn::Sub(x, t);
    return hn::MulAdd(set(0.5f), hn::Add(log(Wide(), v), hn::Div(hn::Mul(off, off), v)), set(constant));
  }
  V slope_0(V x, V t, V variance) const { return hn::Div(hn::Sub(x, t), at_least(Wide(), eps, variance)); }
  V slope_1(V x, V t, V variance) const { return slope_0(t, x, variance); }
  V slope_2(V x, V t, V variance) const {
    const V v = at_least(Wide(), eps, variance);
    const V scaled = hn::Div(hn::Sub(x, t), v);
    return hn::Mul(set(0.5f), hn::NegMulAdd(scaled, scaled, hn::Div(set(1), v)));
  }
};

using Regression = LossFormulas<Mse, L1, SmoothL1, Huber, PoissonNll, GaussianNll>;
const LossKernels* regression_kernels() { return Regression::kernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(regression_kernels);
constexpr LossOps<HWY_NAMESPACE::Regression> kRegression([] { return HWY_DYNAMIC_DISPATCH(regression_kernels)(); });

std::vector<OpEntry> regression_loss_ops() { return kRegression.entries(); }

}  // namespace ops

namespace formulas = ops::HWY_NAMESPACE;
using ops::kRegression;
using ops::require_option;

Tensor mse_loss(const Tensor& a, const Tensor& b, const LossOptions& options, SourceLocation where) {
  return kRegression.apply(formulas::Mse(), {a, b}, options.reduction, where);
}

Tensor l1_loss(const Tensor& a, const Tensor& b, const LossOptions& options, SourceLocation where) {
  return kRegression.apply(formulas::L1(), {a, b}, options.reduction, where);
}

Tensor smooth_l1_loss(const Tensor& a, const Tensor& b, const SmoothL1LossOptions& options, SourceLocation where) {
  require_option(options.beta >= 0, "smooth_l1_loss", "beta", options.beta, "at least 0", where);
  return kRegression.apply(formulas::SmoothL1{options.beta}, {a, b}, options.reduction, where);
}

Tensor huber_loss(const Tensor& a, const Tensor& b, const HuberLossOptions& options, SourceLocation where) {
  require_option(options.delta > 0, "huber_loss", "delta", options.delta, "above 0", where);
  return kRegression.apply(formulas::Huber{options.delta}, {a, b}, options.reduction, where);
}

Tensor poisson_nll_loss(const Tensor& x, const Tensor& target, const PoissonNllLossOptions& options,
                        SourceLocation where) {
  require_option(options.eps >= 0, "poisson_nll_loss", "eps", options.eps, "at least 0", where);
  const formulas::PoissonNll formula{options.log_input ? 1.0f : 0.0f, options.full ? 1.0f : 0.0f, options.eps};
  return kRegression.apply(formula, {x, target}, options.reduction, where);
}

Tensor gaussian_nll_loss(const Tensor& x, const Tensor& target, const Tensor& variance,
                         const GaussianNllLossOptions& options, SourceLocation where) {
  require_option(options.eps > 0, "gaussian_nll_loss", "eps", options.eps, "above 0", where);
  const formulas::GaussianNll formula{options.eps, options.full ? 0.918938533f : 0.0f};  // log(2 pi) / 2
  return kRegression.apply(formula, {x, target, variance}, options.reduction, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
