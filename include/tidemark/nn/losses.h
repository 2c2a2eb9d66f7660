// Losses and distances as modules: each is the function of its name with the options that it was made with. Weights of
// classes are options as well, and no part of state().
#pragma once

#include "tidemark/nn/module.h"
#include "tidemark/ops/losses.h"

#pragma GCC visibility push(default)
namespace tidemark::nn {

// A function of two tensors, and its options.
template <class Options, Tensor (*kFunction)(const Tensor&, const Tensor&, const Options&, SourceLocation)>
class PairFunction : public FunctionLayer<Options> {
 public:
  explicit PairFunction(const Options& options = {}) : FunctionLayer<Options>(options) {}
  Tensor operator()(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current()) const {
    return kFunction(a, b, this->options_, where);
  }
};

// Of a prediction and its target, as their functions take them (ops/losses.h).
using CrossEntropyLoss = PairFunction<CrossEntropyOptions, cross_entropy>;
using NLLLoss = PairFunction<NllLossOptions, nll_loss>;
using BCELoss = PairFunction<BinaryCrossEntropyOptions, binary_cross_entropy>;
using BCEWithLogitsLoss = PairFunction<BinaryCrossEntropyWithLogitsOptions, binary_cross_entropy_with_logits>;
using KLDivLoss = PairFunction<KlDivOptions, kl_div>;
using MSELoss = PairFunction<LossOptions, mse_loss>;
using L1Loss = PairFunction<LossOptions, l1_loss>;
using SmoothL1Loss = PairFunction<SmoothL1LossOptions, smooth_l1_loss>;
using HuberLoss = PairFunction<HuberLossOptions, huber_loss>;
using CosineSimilarity = PairFunction<CosineSimilarityOptions, cosine_similarity>;

struct CTCLoss : FunctionLayer<CtcLossOptions> {
  explicit CTCLoss(const CtcLossOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& log_probabilities, const Tensor& targets, const Tensor& input_lengths,
                    const Tensor& target_lengths, SourceLocation where = SourceLocation::current()) const {
    return ctc_loss(log_probabilities, targets, input_lengths, target_lengths, options_, where);
  }
};

struct CosineEmbeddingLoss : FunctionLayer<CosineEmbeddingLossOptions> {
  explicit CosineEmbeddingLoss(const CosineEmbeddingLossOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& a, const Tensor& b, const Tensor& y,
                    SourceLocation where = SourceLocation::current()) const {
    return cosine_embedding_loss(a, b, y, options_, where);
  }
};

struct TripletMarginLoss : FunctionLayer<TripletMarginLossOptions> {
  explicit TripletMarginLoss(const TripletMarginLossOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                    SourceLocation where = SourceLocation::current()) const {
    return triplet_margin_loss(anchor, positive, negative, options_, where);
  }
};

}  // namespace tidemark::nn
#pragma GCC visibility pop
