#include "tidemark/nn/losses.h"

namespace tidemark::nn {

Tensor CrossEntropyLoss::operator()(const Tensor& logits, const Tensor& target, SourceLocation where) const {
  return cross_entropy(logits, target, options_, where);
}

Tensor NLLLoss::operator()(const Tensor& log_probabilities, const Tensor& classes, SourceLocation where) const {
  return nll_loss(log_probabilities, classes, options_, where);
}

Tensor CTCLoss::operator()(const Tensor& log_probabilities, const Tensor& targets, const Tensor& input_lengths,
                           const Tensor& target_lengths, SourceLocation where) const {
  return ctc_loss(log_probabilities, targets, input_lengths, target_lengths, options_, where);
}

Tensor BCELoss::operator()(const Tensor& x, const Tensor& target, SourceLocation where) const {
  return binary_cross_entropy(x, target, options_, where);
}

Tensor BCEWithLogitsLoss::operator()(const Tensor& x, const Tensor& target, SourceLocation where) const {
  return binary_cross_entropy_with_logits(x, target, options_, where);
}

Tensor KLDivLoss::operator()(const Tensor& x, const Tensor& target, SourceLocation where) const {
  return kl_div(x, target, options_, where);
}

Tensor MSELoss::operator()(const Tensor& a, const Tensor& b, SourceLocation where) const {
  return mse_loss(a, b, options_, where);
}

Tensor L1Loss::operator()(const Tensor& a, const Tensor& b, SourceLocation where) const {
  return l1_loss(a, b, options_, where);
}

Tensor SmoothL1Loss::operator()(const Tensor& a, const Tensor& b, SourceLocation where) const {
  return smooth_l1_loss(a, b, options_, where);
}

Tensor HuberLoss::operator()(const Tensor& a, const Tensor& b, SourceLocation where) const {
  return huber_loss(a, b, options_, where);
}

Tensor CosineEmbeddingLoss::operator()(const Tensor& a, const Tensor& b, const Tensor& y, SourceLocation where) const {
  return cosine_embedding_loss(a, b, y, options_, where);
}

Tensor TripletMarginLoss::operator()(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                                     SourceLocation where) const {
  return triplet_margin_loss(anchor, positive, negative, options_, where);
}

Tensor CosineSimilarity::operator()(const Tensor& a, const Tensor& b, SourceLocation where) const {
  return cosine_similarity(a, b, options_, where);
}

}  // namespace tidemark::nn
