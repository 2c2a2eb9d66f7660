// Losses of probabilities, element by element.
#include "tidemark/ops/losses.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/losses/probability.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                         // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/broadcast.h"
#include "ops/defined.h"
#include "ops/losses/formula-inl.h"
#include "ops/losses/options.h"
#include "tidemark/ops/pointwise.h"
#include "tidemark/ops/reductions.h"
#include "tidemark/ops/shapes.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

struct BinaryCrossEntropy {
  static constexpr std::string_view name = "binary_cross_entropy";
  static constexpr std::string_view operands[] = {"x", "target"};
  static constexpr SampleInput::Fill fills[] = {SampleInput::Fill::kIndices};
  static constexpr LossRange range = {.operand = 0, .low = 0, .high = 1};
  static constexpr unsigned slope_reads[] = {0b11, 0b01};
  static constexpr double flops = 60;
  V value(V x, V t) const {
    const V no = at_least(Wide(), -100, log1p(hn::Neg(x)));
    const V yes = at_least(Wide(), -100, log(Wide(), x));
    return hn::NegMulAdd(t, yes, hn::Mul(hn::Sub(t, set(1)), no));
  }
  V slope_0(V x, V t) const { return hn::Div(hn::Sub(x, t), at_least(Wide(), 1e-12f, hn::Mul(hn::Sub(set(1), x), x))); }
  V slope_1(V x, V) const { return hn::Sub(log1p(hn::Neg(x)), log(Wide(), x)); }
};

// pos_weight t log(1 + e^-x) + (1 - t) log(1 + e^x): sums of what has one sign, so that small losses keep their digits.
struct BinaryCrossEntropyWithLogits {
  static constexpr std::string_view name = "binary_cross_entropy_with_logits";
  static constexpr std::string_view operands[] = {"x", "target", "pos_weight"};
  static constexpr SampleInput::Fill fills[] = {SampleInput::Fill::kNormal, SampleInput::Fill::kNormal,
                                                SampleInput::Fill::kPositive};
  static constexpr bool last_repeats = true;
  static constexpr unsigned slope_reads[] = {0b111, 0b101, 0};
  static constexpr double flops = 60;
  // log(1 + e^-|x|)
  static HWY_INLINE V rest(V x) { return log1p(exp(Wide(), hn::Neg(hn::Abs(x)))); }
  V value(V x, V t, V w) const {
    const V more = rest(x);
    const V yes = hn::Add(at_least(Wide(), 0, hn::Neg(x)), more);
    const V no = hn::Add(at_least(Wide(), 0, x), more);
    return hn::MulAdd(hn::Mul(w, t), yes, hn::Mul(hn::Sub(set(1), t), no));
  }
  V slope_0(V x, V t, V w) const {
    const V no = hn::Mul(hn::Sub(set(1), t), sigmoid(Wide(), x));
    return hn::NegMulAdd(hn::Mul(w, t), sigmoid(Wide(), hn::Neg(x)), no);
  }
  V slope_1(V x, V, V w) const {
    const V far = hn::MulSub(w, at_least(Wide(), 0, hn::Neg(x)), at_least(Wide(), 0, x));
    return hn::MulAdd(hn::Sub(w, set(1)), rest(x), far);
  }
};

struct KlDiv {
  static constexpr std::string_view name = "kl_div";
  static constexpr std::string_view operands[] = {"x", "target"};
  static constexpr SampleInput::Fill fills[] = {SampleInput::Fill::kNormal, SampleInput::Fill::kPositive};
  static constexpr unsigned slope_reads[] = {0b10, 0b11};
  static constexpr double flops = 30;
  V value(V x, V t) const { return hn::IfThenZeroElse(hn::Eq(t, zero()), hn::Mul(t, hn::Sub(log(Wide(), t), x))); }
  V slope_0(V, V t) const { return hn::Neg(t); }
  V slope_1(V x, V t) const {
    const V log_t = log(Wide(), t);
    return hn::IfThenElse(hn::Eq(t, zero()), log_t, hn::Add(log_t, hn::Sub(set(1), x)));
  }
};

struct KlDivOfLogarithms {
  static constexpr std::string_view name = "kl_div_of_logarithms";
  static constexpr std::string_view operands[] = {"x", "target"};
  static constexpr unsigned slope_reads[] = {0b10, 0b11};
  static constexpr double flops = 30;
  V value(V x, V t) const {
    const V p = exp(Wide(), t);
    return hn::IfThenZeroElse(hn::Eq(p, zero()), hn::Mul(p, hn::Sub(t, x)));
  }
  V slope_0(V, V t) const { return hn::Neg(exp(Wide(), t)); }
  V slope_1(V x, V t) const {
    const V p = exp(Wide(), t);
    return hn::IfThenZeroElse(hn::Eq(p, zero()), hn::Mul(p, hn::Add(hn::Sub(t, x), set(1))));
  }
};

using Probability = LossFormulas<BinaryCrossEntropy, BinaryCrossEntropyWithLogits, KlDiv, KlDivOfLogarithms>;
const LossKernels* probability_kernels() { return Probability::kernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(probability_kernels);
constexpr LossOps<HWY_NAMESPACE::Probability> kProbability([] { return HWY_DYNAMIC_DISPATCH(probability_kernels)(); });

std::vector<OpEntry> probability_loss_ops() { return kProbability.entries(); }

namespace {

// The losses of elements, each times its weight, brought together.
Tensor weighted(std::string_view op, const Tensor& losses, const Tensor& weight, LossReduction reduction,
                SourceLocation where) {
  const std::optional<Shape> common = broadcast(losses.shape(where), weight.shape(where));
  if (!common || *common != losses.shape(where)) {
    throw ShapeError("[" + std::string(op) + "] weight " + weight.shape(where).to_string() +
                     " does not broadcast to x, which is " + losses.shape(where).to_string() + " (at " +
                     to_string(where) + ")");
  }
  const Tensor product = mul(losses, weight, where);
  switch (reduction) {
    case LossReduction::kMean:
      return mean(product, {}, where);
    case LossReduction::kNone:
      return product;
    case LossReduction::kSum:
      return sum(product, {}, where);
    case LossReduction::kBatchMean:
      break;
  }
  return div(sum(product, {}, where), static_cast<float>(losses.size(0, where)), where);
}

// pos_weight as the op takes it. Where it broadcasts within the last dimensions of x these are written out.
Tensor repeating(const Tensor& pos_weight, const Shape& x, SourceLocation where) {
  const Shape& own = pos_weight.shape(where);
  if (own.numel() == 1 || broadcast(own, x) != x) return pos_weight;
  Shape last = own;
  bool leading = true;
  for (int i = 0; i < own.rank(); ++i) {
    leading = leading && own[i] == 1;
    if (!leading) last = last.with(i, x[x.rank() - own.rank() + i]);
  }
  return last == own ? pos_weight : expand(pos_weight, last, where);
}

}  // namespace
}  // namespace ops

namespace formulas = ops::HWY_NAMESPACE;
using ops::kProbability;

Tensor binary_cross_entropy(const Tensor& x, const Tensor& target, const BinaryCrossEntropyOptions& options,
                            SourceLocation where) {
  const bool plain = !options.weight.defined();
  const Tensor loss = kProbability.apply(formulas::BinaryCrossEntropy(), {x, target},
                                         plain ? options.reduction : LossReduction::kNone, where);
  return plain ? loss : ops::weighted("binary_cross_entropy", loss, options.weight, options.reduction, where);
}

Tensor binary_cross_entropy_with_logits(const Tensor& x, const Tensor& target,
                                        const BinaryCrossEntropyWithLogitsOptions& options, SourceLocation where) {
  const bool plain = !options.weight.defined();
  ops::require_defined("binary_cross_entropy_with_logits", {&x, &target}, where);
  std::vector<Tensor> operands = {x, target};
  if (options.pos_weight.defined()) operands.push_back(ops::repeating(options.pos_weight, x.shape(where), where));
  const Tensor loss = kProbability.apply(formulas::BinaryCrossEntropyWithLogits(), operands,
                                         plain ? options.reduction : LossReduction::kNone, where);
  return plain ? loss
               : ops::weighted("binary_cross_entropy_with_logits", loss, options.weight, options.reduction, where);
}

Tensor kl_div(const Tensor& x, const Tensor& target, const KlDivOptions& options, SourceLocation where) {
  if (options.log_target) {
    return kProbability.apply(formulas::KlDivOfLogarithms(), {x, target}, options.reduction, where);
  }
  return kProbability.apply(formulas::KlDiv(), {x, target}, options.reduction, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
