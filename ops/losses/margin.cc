// Losses of margins, and those of similarities and distances that are made of them.
#include "tidemark/ops/losses.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/losses/margin.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                    // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/losses/formula-inl.h"
#include "ops/losses/options.h"
#include "ops/losses/similarity.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Where max(0, x) has the slope 1: at zero too, as PyTorch's clamp.
HWY_INLINE V above(V x) { return one_if(hn::Ge(x, zero())); }

struct SoftMargin {
  static constexpr std::string_view name = "soft_margin_loss";
  static constexpr std::string_view operands[] = {"x", "y"};
  static constexpr unsigned slope_reads[] = {0b11, 0};
  static constexpr double flops = 50;
  V value(V x, V y) const {
    const V off = hn::Neg(hn::Mul(x, y));
    return hn::Add(at_least(Wide(), 0, off), log1p(exp(Wide(), hn::Neg(hn::Abs(off)))));
  }
  V slope_0(V x, V y) const { return hn::Neg(hn::Mul(y, sigmoid(Wide(), hn::Neg(hn::Mul(x, y))))); }
};

// As PyTorch, both are added up where y is neither 1 nor negative.
struct HingeEmbedding {
  static constexpr std::string_view name = "hinge_embedding_loss";
  static constexpr std::string_view operands[] = {"x", "y"};
  static constexpr std::string_view numbers[] = {"margin"};
  static constexpr LossNumbers variants[] = {{1}, {-0.5f}};
  static constexpr unsigned slope_reads[] = {0b11, 0};
  static constexpr double flops = 8;
  float margin;
  V value(V x, V y) const {
    const V off = at_least(Wide(), 0, hn::Sub(set(margin), x));
    return hn::Add(hn::IfThenZeroElse(hn::Eq(y, set(1)), off), hn::IfThenZeroElse(hn::Lt(y, zero()), x));
  }
  V slope_0(V x, V y) const {
    const V off = above(hn::Sub(set(margin), x));
    return hn::Sub(hn::IfThenZeroElse(hn::Lt(y, zero()), set(1)), hn::IfThenZeroElse(hn::Eq(y, set(1)), off));
  }
};

struct MarginRanking {
  static constexpr std::string_view name = "margin_ranking_loss";
  static constexpr std::string_view operands[] = {"a", "b", "y"};
  static constexpr std::string_view numbers[] = {"margin"};
  static constexpr LossNumbers variants[] = {{0}, {0.7f}};
  static constexpr unsigned slope_reads[] = {0b111, 0b111, 0};
  static constexpr double flops = 6;
  float margin;
  HWY_INLINE V excess(V a, V b, V y) const { return hn::NegMulAdd(y, hn::Sub(a, b), set(margin)); }
  V value(V a, V b, V y) const { return at_least(Wide(), 0, excess(a, b, y)); }
  V slope_0(V a, V b, V y) const { return hn::Neg(slope_1(a, b, y)); }
  V slope_1(V a, V b, V y) const { return hn::Mul(above(excess(a, b, y)), y); }
};

// Of a similarity; where y is neither 1 nor negative it costs nothing, as in PyTorch.
struct CosineEmbedding {
  static constexpr std::string_view name = "cosine_embedding_loss";
  static constexpr std::string_view operands[] = {"similarity", "y"};
  static constexpr std::string_view numbers[] = {"margin"};
  static constexpr LossNumbers variants[] = {{0}, {0.5f}};
  static constexpr unsigned slope_reads[] = {0b11, 0};
  static constexpr double flops = 8;
  float margin;
  V value(V x, V y) const {
    const V off = hn::IfThenElseZero(hn::Lt(y, zero()), at_least(Wide(), 0, hn::Sub(x, set(margin))));
    return hn::IfThenElse(hn::Eq(y, set(1)), hn::Sub(set(1), x), off);
  }
  V slope_0(V x, V y) const {
    const V off = hn::IfThenElseZero(hn::Lt(y, zero()), above(hn::Sub(x, set(margin))));
    return hn::IfThenElse(hn::Eq(y, set(1)), set(-1), off);
  }
};

// Of the distances from the positive and from the negative example.
struct TripletMargin {
  static constexpr std::string_view name = "triplet_margin_loss";
  static constexpr std::string_view operands[] = {"positive", "negative"};
  static constexpr std::string_view numbers[] = {"margin"};
  static constexpr LossNumbers variants[] = {{1}};
  static constexpr unsigned slope_reads[] = {0b11, 0b11};
  static constexpr double flops = 4;
  float margin;
  HWY_INLINE V excess(V p, V n) const { return hn::Add(hn::Sub(p, n), set(margin)); }
  V value(V p, V n) const { return at_least(Wide(), 0, excess(p, n)); }
  V slope_0(V p, V n) const { return above(excess(p, n)); }
  V slope_1(V p, V n) const { return hn::Neg(slope_0(p, n)); }
};

// With the distance between both examples, which counts where it is the smaller; equal ones share the gradient.
struct TripletMarginWithSwap {
  static constexpr std::string_view name = "triplet_margin_loss_with_swap";
  static constexpr std::string_view operands[] = {"positive", "negative", "between"};
  static constexpr std::string_view numbers[] = {"margin"};
  static constexpr LossNumbers variants[] = {{1}};
  static constexpr unsigned slope_reads[] = {0b111, 0b111, 0b111};
  static constexpr double flops = 6;
  float margin;
  HWY_INLINE V smaller(V n, V between) const {
    return hn::IfThenElse(hn::Lt(between, n), between, hn::IfThenElse(hn::Eq(between, between), n, between));
  }
  HWY_INLINE V excess(V p, V n, V between) const { return hn::Add(hn::Sub(p, smaller(n, between)), set(margin)); }
  V value(V p, V n, V between) const { return at_least(Wide(), 0, excess(p, n, between)); }
  V slope_0(V p, V n, V between) const { return above(excess(p, n, between)); }
  V slope_1(V p, V n, V between) const {
    const V share = hn::MulAdd(set(-0.5f), one_if(hn::Le(n, between)), hn::Mul(set(-0.5f), one_if(hn::Lt(n, between))));
    return hn::Mul(share, slope_0(p, n, between));
  }
  V slope_2(V p, V n, V between) const { return slope_1(p, between, n); }
};

using Margin =
    LossFormulas<SoftMargin, HingeEmbedding, MarginRanking, CosineEmbedding, TripletMargin, TripletMarginWithSwap>;
const LossKernels* margin_kernels() { return Margin::kernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(margin_kernels);
constexpr LossOps<HWY_NAMESPACE::Margin> kMargin([] { return HWY_DYNAMIC_DISPATCH(margin_kernels)(); });

std::vector<OpEntry> margin_loss_ops() { return kMargin.entries(); }

}  // namespace ops

namespace formulas = ops::HWY_NAMESPACE;
using ops::kMargin;
using ops::require_option;

Tensor soft_margin_loss(const Tensor& x, const Tensor& y, const LossOptions& options, SourceLocation where) {
  return kMargin.apply(formulas::SoftMargin(), {x, y}, options.reduction, where);
}

Tensor hinge_embedding_loss(const Tensor& x, const Tensor& y, const HingeEmbeddingLossOptions& options,
                            SourceLocation where) {
  require_option(true, "hinge_embedding_loss", "margin", options.margin, "", where);
  return kMargin.apply(formulas::HingeEmbedding{options.margin}, {x, y}, options.reduction, where);
}

Tensor margin_ranking_loss(const Tensor& a, const Tensor& b, const Tensor& y, const MarginRankingLossOptions& options,
                           SourceLocation where) {
  require_option(true, "margin_ranking_loss", "margin", options.margin, "", where);
  return kMargin.apply(formulas::MarginRanking{options.margin}, {a, b, y}, options.reduction, where);
}

Tensor cosine_embedding_loss(const Tensor& a, const Tensor& b, const Tensor& y,
                             const CosineEmbeddingLossOptions& options, SourceLocation where) {
  require_option(true, "cosine_embedding_loss", "margin", options.margin, "", where);
  const Tensor similarity = ops::similarity_of_embeddings(a, b, where);
  return kMargin.apply(formulas::CosineEmbedding{options.margin}, {similarity, y}, options.reduction, where);
}

Tensor triplet_margin_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                           const TripletMarginLossOptions& options, SourceLocation where) {
  require_option(true, "triplet_margin_loss", "margin", options.margin, "", where);
  const PairwiseDistanceOptions norm{.p = options.p, .eps = options.eps};
  const Tensor to_positive = pairwise_distance(anchor, positive, norm, where);
  const Tensor to_negative = pairwise_distance(anchor, negative, norm, where);
  if (!options.swap) {
    return kMargin.apply(formulas::TripletMargin{options.margin}, {to_positive, to_negative}, options.reduction, where);
  }
  const Tensor between = pairwise_distance(positive, negative, norm, where);
  return kMargin.apply(formulas::TripletMarginWithSwap{options.margin}, {to_positive, to_negative, between},
                       options.reduction, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
