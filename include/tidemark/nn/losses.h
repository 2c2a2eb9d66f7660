// Losses and distances as modules: each is the function of its name with the options that it was made with. Weights of
// classes are options as well, and no part of state().
#pragma once

#include "tidemark/nn/module.h"
#include "tidemark/ops/losses.h"

namespace tidemark::nn {

struct CrossEntropyLoss : FunctionLayer<CrossEntropyOptions> {
  explicit CrossEntropyLoss(const CrossEntropyOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& logits, const Tensor& target, SourceLocation where = SourceLocation::current()) const;
};

struct NLLLoss : FunctionLayer<NllLossOptions> {
  explicit NLLLoss(const NllLossOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& log_probabilities, const Tensor& classes,
                    SourceLocation where = SourceLocation::current()) const;
};

struct CTCLoss : FunctionLayer<CtcLossOptions> {
  explicit CTCLoss(const CtcLossOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& log_probabilities, const Tensor& targets, const Tensor& input_lengths,
                    const Tensor& target_lengths, SourceLocation where = SourceLocation::current()) const;
};

struct BCELoss : FunctionLayer<BinaryCrossEntropyOptions> {
  explicit BCELoss(const BinaryCrossEntropyOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, const Tensor& target, SourceLocation where = SourceLocation::current()) const;
};

struct BCEWithLogitsLoss : FunctionLayer<BinaryCrossEntropyWithLogitsOptions> {
  explicit BCEWithLogitsLoss(const BinaryCrossEntropyWithLogitsOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, const Tensor& target, SourceLocation where = SourceLocation::current()) const;
};

struct KLDivLoss : FunctionLayer<KlDivOptions> {
  explicit KLDivLoss(const KlDivOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, const Tensor& target, SourceLocation where = SourceLocation::current()) const;
};

struct MSELoss : FunctionLayer<LossOptions> {
  explicit MSELoss(const LossOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current()) const;
};

struct L1Loss : FunctionLayer<LossOptions> {
  explicit L1Loss(const LossOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current()) const;
};

struct SmoothL1Loss : FunctionLayer<SmoothL1LossOptions> {
  explicit SmoothL1Loss(const SmoothL1LossOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current()) const;
};

struct HuberLoss : FunctionLayer<HuberLossOptions> {
  explicit HuberLoss(const HuberLossOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current()) const;
};

struct CosineEmbeddingLoss : FunctionLayer<CosineEmbeddingLossOptions> {
  explicit CosineEmbeddingLoss(const CosineEmbeddingLossOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& a, const Tensor& b, const Tensor& y,
                    SourceLocation where = SourceLocation::current()) const;
};

struct TripletMarginLoss : FunctionLayer<TripletMarginLossOptions> {
  explicit TripletMarginLoss(const TripletMarginLossOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                    SourceLocation where = SourceLocation::current()) const;
};

struct CosineSimilarity : FunctionLayer<CosineSimilarityOptions> {
  explicit CosineSimilarity(const CosineSimilarityOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current()) const;
};

}  // namespace tidemark::nn
