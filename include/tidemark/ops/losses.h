// Losses and distances. Values and gradients are those of PyTorch; where they differ it is said. Nothing is broadcast:
// operands of other shapes are refused, since the mean over what a broadcast makes is a loss that nobody meant. A NaN
// gives a NaN, and the mean of nothing is one.
#pragma once

#include <cstdint>

#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

enum class LossReduction : std::uint8_t {
  kMean,
  kSum,
  kNone,       // a loss for each element, or each row
  kBatchMean,  // the sum over the size of the first dimension; only for losses of elements
};

struct LossOptions {
  LossReduction reduction = LossReduction::kMean;
};

// Classes come last here, where PyTorch has them second: logits [..., C], of which each row of C is one loss.

struct CrossEntropyOptions {
  Tensor weight = {};         // of each class, [C]; takes no gradient
  int ignore_index = -100;    // rows of this class cost nothing and get gradients of zero
  float label_smoothing = 0;  // in [0, 1]
  LossReduction reduction = LossReduction::kMean;
};
// -log softmax(logits)[class] -> [] or [...]. The target is
// - classes (i32) [...], each in [0, C) or ignore_index. The mean divides by the sum of the weights of the classes that
//   are not ignored: where all are ignored it is NaN, with gradients of zero. A row that is ignored has a gradient of
//   zero even where its logits are NaN.
// - or probabilities (f32) [..., C], which have a gradient too. The mean divides by the number of rows, and
//   ignore_index has no meaning. As in PyTorch, a probability of 0 for a logit of -inf makes a NaN.
Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options = {},
                     SourceLocation where = SourceLocation::current());

struct LinearCrossEntropyOptions {
  int ignore_index = -100;
  float label_smoothing = 0;
  LossReduction reduction = LossReduction::kMean;
};
// cross_entropy(linear(x, weight, bias), classes) -> [] or [...]: x [..., D], weight [V, D], bias [V] or undefined,
// classes (i32) [...]. The logits exist only in tiles of at most 6 MiB, forward and backward: for a vocabulary of
// 50,257 and 1,024 rows they would be 196 MiB. Backward makes them once more, and all gradients from each tile, so that
// a step takes four products where linear and cross_entropy take three.
Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& classes,
                            const LinearCrossEntropyOptions& options = {},
                            SourceLocation where = SourceLocation::current());

struct NllLossOptions {
  Tensor weight = {};  // of each class, [C]; takes no gradient
  int ignore_index = -100;
  LossReduction reduction = LossReduction::kMean;
};
// -log_probabilities[class] -> [] or [...]: log_probabilities [..., C], classes (i32) [...], means as in cross_entropy.
Tensor nll_loss(const Tensor& log_probabilities, const Tensor& classes, const NllLossOptions& options = {},
                SourceLocation where = SourceLocation::current());

struct MultiMarginLossOptions {
  int p = 1;  // or 2
  float margin = 1;
  Tensor weight = {};  // of each class, [C]; takes no gradient
  LossReduction reduction = LossReduction::kMean;
};
// weight[class] * sum of max(0, margin - x[class] + x[i])^p over the other classes i, over C -> [] or [...]:
// x [..., C], classes (i32) [...]. The mean is over rows.
Tensor multi_margin_loss(const Tensor& x, const Tensor& classes, const MultiMarginLossOptions& options = {},
                         SourceLocation where = SourceLocation::current());

struct CtcLossOptions {
  int blank = 0;
  bool zero_infinity = false;  // what cannot be aligned costs nothing and has no gradient
  LossReduction reduction = LossReduction::kMean;
};
// Connectionist temporal classification: log_probabilities [T, N, C], targets (i32) [N, S] of which the first
// target_lengths[n] count and none is the blank, input_lengths and target_lengths (i32) [N] -> [] or [N]. The mean
// divides each loss by its target's length (at least 1) first. A target that does not fit into its input costs
// infinity, with NaNs for its gradient. The gradient is that of log_probabilities as they are; PyTorch adds
// e^log_probabilities to it, which makes no difference to what they are the log_softmax of.
Tensor ctc_loss(const Tensor& log_probabilities, const Tensor& targets, const Tensor& input_lengths,
                const Tensor& target_lengths, const CtcLossOptions& options = {},
                SourceLocation where = SourceLocation::current());

// Of probabilities x in [0, 1] (others throw) and targets: -(target log x + (1 - target) log(1 - x)), whose logarithms
// are at least -100. `weight`, which broadcasts to x, is multiplied with the elements' losses.
struct BinaryCrossEntropyOptions {
  Tensor weight = {};
  LossReduction reduction = LossReduction::kMean;
};
Tensor binary_cross_entropy(const Tensor& x, const Tensor& target, const BinaryCrossEntropyOptions& options = {},
                            SourceLocation where = SourceLocation::current());
// The same of sigmoid(x), for logits of any size. pos_weight, which has one element or broadcasts to x's shape, is the
// weight of `target` against that of 1 - target; it takes no gradient.
struct BinaryCrossEntropyWithLogitsOptions {
  Tensor weight = {};
  Tensor pos_weight = {};
  LossReduction reduction = LossReduction::kMean;
};
Tensor binary_cross_entropy_with_logits(const Tensor& x, const Tensor& target,
                                        const BinaryCrossEntropyWithLogitsOptions& options = {},
                                        SourceLocation where = SourceLocation::current());

struct KlDivOptions {
  bool log_target = false;  // the target is a logarithm too
  LossReduction reduction = LossReduction::kMean;
};
// target * (log target - x), x a logarithm. Elements whose target is zero cost nothing, whatever x is, with a gradient
// of zero (where PyTorch has NaNs if x, or the target's logarithm, is -inf); the target's own gradient there is -inf,
// or 0 for log_target.
Tensor kl_div(const Tensor& x, const Tensor& target, const KlDivOptions& options = {},
              SourceLocation where = SourceLocation::current());

// (a - b)^2.
Tensor mse_loss(const Tensor& a, const Tensor& b, const LossOptions& options = {},
                SourceLocation where = SourceLocation::current());
// |a - b|, whose slope is 0 at zero and at a NaN.
Tensor l1_loss(const Tensor& a, const Tensor& b, const LossOptions& options = {},
               SourceLocation where = SourceLocation::current());
// (a - b)^2 / (2 beta) where |a - b| is below beta, which is at least 0, and |a - b| - beta / 2 elsewhere.
struct SmoothL1LossOptions {
  float beta = 1;
  LossReduction reduction = LossReduction::kMean;
};
Tensor smooth_l1_loss(const Tensor& a, const Tensor& b, const SmoothL1LossOptions& options = {},
                      SourceLocation where = SourceLocation::current());
// (a - b)^2 / 2 where |a - b| is below delta, which is above 0, and delta (|a - b| - delta / 2) elsewhere.
struct HuberLossOptions {
  float delta = 1;
  LossReduction reduction = LossReduction::kMean;
};
Tensor huber_loss(const Tensor& a, const Tensor& b, const HuberLossOptions& options = {},
                  SourceLocation where = SourceLocation::current());

struct PoissonNllLossOptions {
  bool log_input = true;  // e^x - target x; else x - target log(x + eps)
  bool full = false;      // with Stirling's approximation of log(target!) where the target is above 1
  float eps = 1e-8f;
  LossReduction reduction = LossReduction::kMean;
};
Tensor poisson_nll_loss(const Tensor& x, const Tensor& target, const PoissonNllLossOptions& options = {},
                        SourceLocation where = SourceLocation::current());
struct GaussianNllLossOptions {
  bool full = false;  // with log(2 pi) / 2
  float eps = 1e-6f;
  LossReduction reduction = LossReduction::kMean;
};
// (log v + (x - target)^2 / v) / 2 with v = max(variance, eps), through which the gradient passes as if it were the
// variance. A variance below zero throws.
Tensor gaussian_nll_loss(const Tensor& x, const Tensor& target, const Tensor& variance,
                         const GaussianNllLossOptions& options = {}, SourceLocation where = SourceLocation::current());

// Here y is 1 or -1 in each element, and takes no gradient.
//
// log(1 + e^(-y x)), finite for every finite x.
Tensor soft_margin_loss(const Tensor& x, const Tensor& y, const LossOptions& options = {},
                        SourceLocation where = SourceLocation::current());
// x where y is 1, max(0, margin - x) where it is -1.
struct HingeEmbeddingLossOptions {
  float margin = 1;
  LossReduction reduction = LossReduction::kMean;
};
Tensor hinge_embedding_loss(const Tensor& x, const Tensor& y, const HingeEmbeddingLossOptions& options = {},
                            SourceLocation where = SourceLocation::current());
// max(0, margin - y (a - b)).
struct MarginRankingLossOptions {
  float margin = 0;
  LossReduction reduction = LossReduction::kMean;
};
Tensor margin_ranking_loss(const Tensor& a, const Tensor& b, const Tensor& y,
                           const MarginRankingLossOptions& options = {},
                           SourceLocation where = SourceLocation::current());
// 1 - cos(a, b) where y is 1, max(0, cos(a, b) - margin) where it is -1: a and b [..., D], y [...] -> [] or [...].
struct CosineEmbeddingLossOptions {
  float margin = 0;
  LossReduction reduction = LossReduction::kMean;
};
Tensor cosine_embedding_loss(const Tensor& a, const Tensor& b, const Tensor& y,
                             const CosineEmbeddingLossOptions& options = {},
                             SourceLocation where = SourceLocation::current());

struct TripletMarginLossOptions {
  float margin = 1;
  float p = 2;
  float eps = 1e-6f;
  bool swap = false;  // takes the smaller of the distances of `negative` from `anchor` and from `positive`
  LossReduction reduction = LossReduction::kMean;
};
// max(0, margin + distance(anchor, positive) - distance(anchor, negative)), of pairwise_distance: three times [..., D]
// -> [] or [...].
Tensor triplet_margin_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                           const TripletMarginLossOptions& options = {},
                           SourceLocation where = SourceLocation::current());

struct CosineSimilarityOptions {
  int dim = 1;
  float eps = 1e-8f;  // of each length, at least; above 0
};
// The cosine of the angle between a and b along `dim`, which vanishes. Along another dimension than the last, a and b
// are brought there first, as transpose does.
Tensor cosine_similarity(const Tensor& a, const Tensor& b, const CosineSimilarityOptions& options = {},
                         SourceLocation where = SourceLocation::current());

struct PairwiseDistanceOptions {
  float p = 2;  // above 0, infinity included
  float eps = 1e-6f;
  bool keepdim = false;
};
// The p-norm of a - b + eps over the last dimension: [..., D] -> [...] or [..., 1]. The gradient of a norm of zero is
// zero, and equal largest elements share that of the infinity norm.
Tensor pairwise_distance(const Tensor& a, const Tensor& b, const PairwiseDistanceOptions& options = {},
                         SourceLocation where = SourceLocation::current());

}  // namespace tidemark
#pragma GCC visibility pop
