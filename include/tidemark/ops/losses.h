// Losses.
#pragma once

#include "tidemark/tensor.h"

namespace tidemark {

// logits [..., C], classes (i32) [...] -> [] the mean of -log softmax(logits)[class].
Tensor cross_entropy(const Tensor& logits, const Tensor& classes, SourceLocation where = SourceLocation::current());
// The mean of (a - b)^2 -> [].
Tensor mse_loss(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());

}  // namespace tidemark
